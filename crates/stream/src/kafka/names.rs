//! Names of this adapter's metrics.

/// Appends, by outcome.
pub(super) const APPENDS: &str = "dos_stream_appends_total";
/// Producers replaced after a fatal error.
pub(super) const PRODUCERS: &str = "dos_stream_producers_replaced_total";
/// Clients that got nowhere while others did, and were replaced.
pub(super) const RENEWED: &str = "dos_stream_clients_renewed_total";
/// Whether the brokers are reached.
pub(super) const UP: &str = "dos_stream_up";
/// Changes of a group's assignment.
pub(super) const REBALANCES: &str = "dos_stream_rebalances_total";

/// Registers help texts with the installed recorder.
pub fn describe() {
    metrics::describe_counter!(APPENDS, "Appends to Kafka, by outcome");
    metrics::describe_counter!(PRODUCERS, "Producers replaced after a fatal error");
    metrics::describe_counter!(RENEWED, "Clients that got nowhere while others did, and were replaced, by kind");
    metrics::describe_gauge!(UP, "1 while the brokers are reached and every partition has a leader");
    metrics::describe_counter!(REBALANCES, "Changes of what a group assigned to this member");
}

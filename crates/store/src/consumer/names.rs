//! Names of the store's metrics.

/// Commands answered, by type, action and result.
pub(super) const COMMANDS: &str = "dos_store_commands_total";
/// Commands committed together.
pub(super) const BATCH_COMMANDS: &str = "dos_store_batch_commands";
/// Seconds from the making of a batch's first command to its commit.
pub(super) const DELAY_SECONDS: &str = "dos_store_delay_seconds";
/// Events set aside.
pub(super) const QUARANTINED: &str = "dos_store_quarantined_total";
/// Batches decided again because the state had changed.
pub(super) const CONFLICTS: &str = "dos_store_conflicts_total";
/// Partitions that stopped for good.
pub(super) const FAILED: &str = "dos_store_partitions_failed_total";

/// Events of the outbox appended again because one failed.
pub(super) const REPEATED: &str = "dos_store_events_repeated_total";
/// Views published again because an older one had come late.
pub(super) const REPAIRED: &str = "dos_store_views_repaired_total";

/// Registers help texts with the installed recorder.
pub fn describe() {
    metrics::describe_counter!(COMMANDS, "Commands answered, by type, action and result");
    metrics::describe_histogram!(BATCH_COMMANDS, "Commands committed together");
    metrics::describe_histogram!(DELAY_SECONDS, "Seconds from the making of a batch's first command to its commit");
    metrics::describe_counter!(QUARANTINED, "Events that could not be read or carried out and were set aside");
    metrics::describe_counter!(CONFLICTS, "Batches decided again because the state had changed");
    metrics::describe_counter!(FAILED, "Partitions that stopped for good");
    metrics::describe_counter!(REPEATED, "Events of the outbox appended again because an append failed");
    metrics::describe_counter!(REPAIRED, "Views published again because an older one had come late");
}

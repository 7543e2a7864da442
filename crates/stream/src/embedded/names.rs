//! Names of this adapter's metrics.

/// Group commits that were durable.
pub(super) const GROUP_COMMITS: &str = "dos_stream_group_commits_total";
/// Jobs in those groups.
pub(super) const GROUP_JOBS: &str = "dos_stream_group_jobs_total";
/// Seconds from the begin of a group to the end of its fsync.
pub(super) const GROUP_SECONDS: &str = "dos_stream_group_seconds";
/// Groups that were rolled back as a whole.
pub(super) const GROUP_FAILURES: &str = "dos_stream_group_failures_total";
/// Jobs that wait for the writer.
pub(super) const QUEUE_JOBS: &str = "dos_stream_queue_jobs";
/// Jobs refused because too many waited.
pub(super) const QUEUE_REFUSALS: &str = "dos_stream_queue_refusals_total";
/// Bytes in the write-ahead log.
pub(super) const WAL_BYTES: &str = "dos_stream_wal_bytes";
/// Records removed by compaction and retention.
pub(super) const REMOVED: &str = "dos_stream_records_removed_total";

/// Registers help texts with the installed recorder.
pub fn describe() {
    metrics::describe_counter!(GROUP_COMMITS, "Group commits that were durable");
    metrics::describe_counter!(GROUP_JOBS, "Jobs in durable group commits");
    metrics::describe_histogram!(GROUP_SECONDS, "Seconds from the begin of a group to the end of its fsync");
    metrics::describe_counter!(GROUP_FAILURES, "Groups that were rolled back as a whole");
    metrics::describe_gauge!(QUEUE_JOBS, "Jobs that wait for the stream's writer");
    metrics::describe_counter!(QUEUE_REFUSALS, "Jobs refused because too many waited");
    metrics::describe_gauge!(WAL_BYTES, "Bytes in the write-ahead log");
    metrics::describe_counter!(REMOVED, "Records removed by compaction and retention");
}

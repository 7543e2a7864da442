//! What the gateway is told; the binary reads and checks it.

use std::path::PathBuf;
use std::time::Duration;

use crate::feed::FeedConfig;
use crate::views::SharedCache;

/// Settings of one gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names this instance among others, as in the events' `source`: `/gateway/<instance>`.
    pub instance: String,
    /// Where clients reach the API, without a slash at the end; empty makes every URL a path.
    pub public_url: String,
    /// Begins the names of the topics, for the document that tells of them.
    pub topic_prefix: String,
    /// Where reads come from.
    pub views: ViewMode,
    /// Commands that may wait for their answer at once; one more is refused.
    pub in_flight_max: usize,
    /// Connections at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// How long a write waits for its view where the client does not say.
    pub write_wait: Duration,
    /// How long a read waits for the answer to its retrieve.
    pub read_wait: Duration,
    /// How long a request's header may take to arrive, and again its body; and how long a client may take nothing of its
    /// answer.
    pub receive_timeout: Duration,
    /// How long requests under way may take when the gateway stops.
    pub drain_timeout: Duration,
    /// On demand: bytes of views held in memory.
    pub cache_bytes: u64,
    /// On demand: how long a view is held without being seen again; a safety net only.
    pub cache_ttl: Duration,
    /// On demand: how long a not-found is remembered.
    pub not_found_ttl: Duration,
    /// On demand: the cache that gateways share, if any.
    pub shared_cache: Option<SharedCache>,
    /// Materialised: the folder of this process's snapshots of the view; without one, a start reads the whole topic.
    pub snapshot_dir: Option<PathBuf>,
    /// How often a snapshot is written, besides the one at the end.
    pub snapshot_every: Duration,
    /// The change feed.
    pub feed: FeedConfig,
}

/// Where reads come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewMode {
    /// The complete view in memory, rebuilt from the views topic at start.
    Materialised,
    /// A bounded cache, then a retrieve event and its reply.
    OnDemand,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Read.
    Read,
    /// Read and write.
    Write,
}

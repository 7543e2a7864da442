//! The event-stream port and its adapters.

pub mod conformance;
pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;
mod port;

pub use port::{AppendError, Bounds, Change, Membership, Stream, StreamError, Tail, Topology};

//! The event-stream port and its adapters.

pub mod conformance;
pub mod embedded;
mod port;

pub use port::{AppendError, Bounds, Change, Membership, Stream, StreamError, Tail};

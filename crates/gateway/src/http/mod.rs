//! HTTP in and out.

#[cfg(test)]
mod age_tests;
mod body;
mod conditions;
mod consistency;
mod cors;
pub(crate) mod cursor;
mod encoding;
mod event_stream;
mod handlers;
mod head_timer;
mod list_query;
mod middleware;
mod negotiation;
mod outgoing;
mod request;
mod response;
mod router;
mod server;
mod unstalled;

pub(crate) use body::Incoming;
pub(crate) use encoding::{Precompressed, STREAMS_MAX};
pub(crate) use handlers::BATCHES_MAX;
pub(crate) use middleware::handle;
pub use outgoing::{Cut, Outgoing};
pub use server::serve;

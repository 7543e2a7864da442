//! HTTP in and out.

mod body;
mod conditions;
mod consistency;
mod cors;
pub(crate) mod cursor;
mod event_stream;
mod handlers;
mod middleware;
mod outgoing;
mod request;
mod response;
mod router;
mod server;
mod unstalled;

pub(crate) use body::Incoming;
pub(crate) use middleware::handle;
pub use outgoing::{Cut, Outgoing};
pub use server::serve;

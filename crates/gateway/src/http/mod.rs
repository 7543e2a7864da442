//! HTTP in and out.

mod body;
mod conditions;
pub(crate) mod cursor;
mod handlers;
mod list_query;
mod middleware;
mod request;
mod response;
mod router;
mod server;
mod unstalled;

pub(crate) use body::Incoming;
pub(crate) use middleware::handle;
pub use server::serve;

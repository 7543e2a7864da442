//! The command line's client side: what talks to a gateway over HTTP, and what makes events readable.
//!
//! [`import`] and [`export`] use the public API only, so they work against every gateway that keeps the contract.
//! They write to nothing but what they are handed: a [`progress::Progress`], a directory, a report's writer.

mod batch;
pub mod export;
pub mod http;
pub mod import;
mod link;
mod problem;
pub mod progress;
mod report;
mod retry;
mod rows;
mod sender;
pub mod tail;
pub(crate) mod text;

#[cfg(test)]
mod fake;

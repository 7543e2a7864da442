//! The door from the public internet to the event stream: HTTP in, commands out, views and replies back.

mod config;
mod dispatch;
mod docs;
mod feed;
mod gateway;
mod http;
mod metrics;
mod position;
mod ready;
#[cfg(test)]
mod test_env;
mod views;

pub use config::{Access, Config, ViewMode};
pub use docs::{API_VERSION, asyncapi, openapi, to_yaml};
pub use feed::FeedConfig;
pub use gateway::Gateway;
pub use http::cursor::Cursor;
pub use http::{Cut, Outgoing, serve};
pub use position::Position;
pub use views::SharedCache;

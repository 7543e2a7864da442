//! What the gateway and the data store agree on: entity types, commands, views, replies and their wire format.
//!
//! Nothing here does I/O or is `async`; every other crate depends on this one and this one on none of them.

pub mod command;
pub mod entity;
pub mod env;
pub mod etag;
pub mod id;
pub mod idempotency;
pub mod json;
pub mod list;
pub mod partition;
pub mod precondition;
pub mod problem;
pub mod record;
pub mod reply;
pub mod sealed;
mod spelled;
pub mod time;
pub mod view;
pub mod wire;

pub use command::{Action, Command};
pub use entity::{Draft, EntityType, Registry};
pub use env::Env;
pub use etag::ETag;
pub use id::{CommandId, EntityId, Key, OperationId, TypeName};
pub use idempotency::{Digest, Idempotency};
pub use list::{KeyRef, ListPosition, ListQuery, PositionRef, Sort, SortBy, SortKey};
pub use precondition::Precondition;
pub use problem::{FieldError, Problem, Retry, Slug};
pub use record::{Headers, Offset, Partition, Record, Stored, Topic};
pub use reply::{Outcome, OutcomeStatus, Repeat, Reply, ReplyBody};
pub use time::Timestamp;
pub use view::{View, ViewRef};

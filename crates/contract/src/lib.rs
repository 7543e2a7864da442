//! What the gateway and the data store agree on: entity types, commands, views, replies and their wire format.
//!
//! Nothing here does I/O or is `async`; every other crate depends on this one and this one on none of them.

pub mod command;
pub mod entity;
pub mod env;
pub mod id;
pub mod json;
pub mod partition;
pub mod problem;
pub mod record;
pub mod reply;
pub mod time;
pub mod view;
pub mod wire;

pub use command::{Action, Command, ListPosition, ListQuery, Precondition};
pub use entity::{Draft, EntityType, Registry};
pub use env::Env;
pub use id::{CommandId, EntityId, Key, OperationId, TypeName};
pub use problem::{FieldError, Problem, Retry, Slug};
pub use record::{Headers, Offset, Partition, Record, Stored, Topic};
pub use reply::{Outcome, OutcomeStatus, Reply, ReplyBody};
pub use time::Timestamp;
pub use view::{View, ViewRef};

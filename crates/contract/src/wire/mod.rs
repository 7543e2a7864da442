//! How events are written into records: the native format. (The Laravel format will stand beside it.)

pub mod cloudevents;
mod headers;

use thiserror::Error;

use crate::id::{CommandId, Key};

/// An event that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{reason}")]
pub struct DecodeError {
    /// Why.
    pub reason: String,
    /// The command it was, or answered, as far as that could be read.
    pub correlation: Option<CommandId>,
    /// The entity it was about, as far as that could be read.
    pub key: Option<Key>,
}

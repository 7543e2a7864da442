//! Answers that make no view.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::command::ListPosition;
use crate::id::{CommandId, Key};
use crate::problem::Problem;
use crate::time::Timestamp;

/// The answer to one command.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The command it answers.
    pub correlation: CommandId,
    /// The command's key.
    pub key: Key,
    /// The entity's version that led to this answer; none where it never existed, and for lists.
    pub version: Option<u64>,
    /// When it was decided.
    pub time: Timestamp,
    /// The answer.
    pub body: ReplyBody,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum ReplyBody {
    /// The command was refused, and nothing was changed.
    Rejected(Problem),
    /// The write changed nothing: the entity as it is.
    Unchanged(Current),
    /// The entity as it is.
    Retrieved(Current),
    /// One page.
    Listed(Page),
    /// What became of a command: asked for, or because the command came again.
    Outcome(Outcome),
}

impl ReplyBody {
    /// The last part of the event's type.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "rejected",
            Self::Unchanged(_) => "unchanged",
            Self::Retrieved(_) => "retrieved",
            Self::Listed(_) => "listed",
            Self::Outcome(_) => "outcome",
        }
    }
}

/// An entity's state within a reply; its version is the reply's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The full object, as in [`crate::View::object`].
    pub object: Bytes,
    /// When that version came to be: the time of its view.
    pub view_time: Timestamp,
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page {
    /// Full objects, oldest first.
    pub items: Vec<Box<RawValue>>,
    /// How many the whole list has.
    pub total: u64,
    /// Where the next page begins; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ListPosition>,
}

/// What the data store remembers of a write for at least 24 hours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The command it is about.
    #[serde(with = "command_id")]
    pub command: CommandId,
    /// Succeeded, failed, or never seen.
    pub status: OutcomeStatus,
    /// The version that the write led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// When the gateway made the command.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "timestamp")]
    pub created: Option<Timestamp>,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeStatus {
    /// It was carried out.
    Succeeded,
    /// It was refused.
    Failed,
    /// The data store has not seen it, and will not: the question came behind it on the same partition.
    Unknown,
}

mod command_id {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::id::CommandId;

    pub(super) fn serialize<S: Serializer>(id: &CommandId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CommandId, D::Error> {
        CommandId::parse(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("a UUID is expected"))
    }
}

mod timestamp {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::time::Timestamp;

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(super) fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(time),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| Timestamp::parse(&text).ok_or_else(|| D::Error::custom("a time in RFC 3339 is expected")))
            .transpose()
    }
}

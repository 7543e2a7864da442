//! Answers that make no view.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::{CommandId, Key};
use crate::list::ListPosition;
use crate::problem::Problem;
use crate::spelled;
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
    /// The write had the idempotency key of an earlier one: that one's answer.
    Repeated(Repeat),
}

impl Reply {
    /// The state that the answer tells of: a gateway must not show an older one behind it. None for what depends on none.
    pub fn depends_on(&self) -> Option<(&Key, u64)> {
        match &self.body {
            ReplyBody::Repeated(repeat) => Some((&repeat.key, repeat.version?)),
            _ => Some((&self.key, self.version?)),
        }
    }
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
            Self::Repeated(_) => "repeated",
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
    #[serde(with = "spelled::one")]
    pub command: CommandId,
    /// Succeeded, failed, or never seen.
    pub status: OutcomeStatus,
    /// The version that the write led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The entity it is about, where that is not the command's own: the command repeated one that had created it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "spelled::option")]
    pub entity: Option<Key>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// When the gateway made the command.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "spelled::option")]
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

/// The first answer to an idempotency key, with everything that is needed to give it again, byte for byte, whatever has
/// become of the entity since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// The command that was carried out, or refused, then.
    pub command: CommandId,
    /// The entity it was about: not that of the command that is answered, where both were to create one at a new id.
    pub key: Key,
    /// What it did.
    pub action: WriteAction,
    /// The entity's version that led to the answer; none where it never existed.
    pub version: Option<u64>,
    /// The answer.
    pub answer: FirstAnswer,
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteAction {
    /// It creates the entity.
    Create,
    /// It merges fields into it.
    Update,
    /// It deletes it.
    Delete,
}

/// What a write was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstAnswer {
    /// The entity as it was then, new or unchanged.
    Object(Current),
    /// The entity was deleted.
    Deleted,
    /// The write was refused.
    Rejected(Problem),
}

/// [`Repeat`] as JSON, in replies and in databases. The object's text is kept to the byte.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepeatText {
    #[serde(with = "spelled::one")]
    command: CommandId,
    #[serde(with = "spelled::one")]
    key: Key,
    action: WriteAction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "spelled::option")]
    view_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

impl Serialize for Repeat {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let (object, view_time, problem) = match &self.answer {
            FirstAnswer::Object(current) => {
                let text = String::from_utf8(current.object.to_vec()).map_err(S::Error::custom)?;
                (Some(RawValue::from_string(text).map_err(S::Error::custom)?), Some(current.view_time), None)
            }
            FirstAnswer::Deleted => (None, None, None),
            FirstAnswer::Rejected(problem) => (None, None, Some(problem.clone())),
        };
        let Self { command, action, version, .. } = *self;
        RepeatText { command, key: self.key.clone(), action, version, object, view_time, problem }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Repeat {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let RepeatText { command, key, action, version, object, view_time, problem } =
            RepeatText::deserialize(deserializer)?;
        let answer = match (action, version, object, view_time, problem) {
            (WriteAction::Create | WriteAction::Update, Some(_), Some(object), Some(view_time), None) => {
                let object = Box::<str>::from(object).into_string().into();
                FirstAnswer::Object(Current { object, view_time })
            }
            (WriteAction::Delete, Some(_), None, None, None) => FirstAnswer::Deleted,
            (_, _, None, None, Some(problem)) => FirstAnswer::Rejected(problem),
            _ => return Err(D::Error::custom("an object with its time and version, or a problem, is expected")),
        };
        if key.id.is_none() {
            return Err(D::Error::custom("the key of an entity is expected"));
        }
        Ok(Self { command, key, action, version, answer })
    }
}

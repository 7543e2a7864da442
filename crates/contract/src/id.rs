//! Names of things: entity types, entities, message keys, commands, operations.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::sealed;

/// An entity's identity: 1-64 of `A-Z a-z 0-9 . _ -`, opaque.
///
/// `.` and `..` are none: in a path they are dot segments, which clients remove before they send it [RFC 3986 5.2.4].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityId(Arc<str>);

impl EntityId {
    /// The longest id.
    pub const BYTES_MAX: usize = 64;

    /// The grammar as a regular expression, for schemas and documents.
    pub const PATTERN: &str = "^[A-Za-z0-9._-]{1,64}$";

    /// Reads an id; `None` where it is outside the grammar.
    pub fn parse(text: &str) -> Option<Self> {
        Self::is_valid(text).then(|| Self(text.into()))
    }

    /// A new id from a UUID.
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid.to_string().into())
    }

    /// Whether the text is within the grammar.
    pub fn is_valid(text: &str) -> bool {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        (1..=Self::BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for EntityId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name of an entity type: a lower-case letter, then at most 31 of `a-z 0-9 _`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeName(Arc<str>);

impl TypeName {
    /// Reads a type's name; `None` where it is outside the grammar.
    pub fn parse(text: &str) -> Option<Self> {
        let head = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        (head && rest && text.len() <= 32).then(|| Self(text.into()))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key of a message: `type:id`; for a list `type:`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The entity's type.
    pub entity_type: TypeName,
    /// The entity; none for a list.
    pub id: Option<EntityId>,
}

impl Key {
    /// The key of one entity.
    pub fn new(entity_type: TypeName, id: EntityId) -> Self {
        Self { entity_type, id: Some(id) }
    }

    /// The key of a list command.
    pub fn list(entity_type: TypeName) -> Self {
        Self { entity_type, id: None }
    }

    /// Reads `type:id` or `type:`.
    pub fn parse(text: &str) -> Option<Self> {
        let (entity_type, id) = text.split_once(':')?;
        let entity_type = TypeName::parse(entity_type)?;
        match id {
            "" => Some(Self::list(entity_type)),
            id => Some(Self::new(entity_type, EntityId::parse(id)?)),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.entity_type.0, self.id.as_ref().map_or("", EntityId::as_str))
    }
}

/// A command's id, a UUIDv7 made by the gateway for each request; also the correlation id of every event it causes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub Uuid);

impl CommandId {
    /// Reads the hyphenated form that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 36).then(|| Uuid::try_parse(text).ok().map(Self)).flatten()
    }
}

/// What `/operation/{id}` names: a command and the key it was sent under. Opaque to clients.
///
/// Layout: [`sealed`], the command id's 16 bytes followed by the message key.
#[derive(Clone, PartialEq, Eq)]
pub struct OperationId {
    /// The command.
    pub command: CommandId,
    /// The key it was sent under, so that a look-up goes to the same partition, behind it.
    pub key: Key,
}

impl OperationId {
    /// Reads what [`fmt::Display`] wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        // One that was cut or edited would tell of an operation that never was.
        let content = sealed::open(text, 160)?;
        let (command, key) = content.split_first_chunk::<16>()?;
        let key = Key::parse(std::str::from_utf8(key).ok()?)?;
        key.id.as_ref()?;
        Some(Self { command: CommandId(Uuid::from_bytes(*command)), key })
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.command.0.as_bytes().to_vec();
        bytes.extend_from_slice(self.key.to_string().as_bytes());
        f.write_str(&sealed::seal(bytes))
    }
}

macro_rules! text_forms {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }
    )*};
}
text_forms!(EntityId, TypeName, CommandId);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn ids_keep_to_the_grammar() {
        let longest = "a".repeat(64);
        for good in ["a", "A.b_c-9", longest.as_str(), "5f3b1c7e9d2a44.12345678"] {
            assert_eq!(EntityId::parse(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(65);
        for bad in ["", ".", "..", "a/b", "a b", "a\0", "ä", "a:b", too_long.as_str()] {
            assert_eq!(EntityId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn operation_ids_round_trip_and_refuse_the_rest() {
        let command = CommandId(Uuid::from_u128(7));
        let key = Key::parse("provider:old-1").unwrap();
        let id = OperationId { command, key };
        let text = id.to_string();
        assert_eq!(OperationId::parse(&text), Some(id));
        // Cut, or another entity's name: none that ever was.
        let edited = |content: &[u8]| URL_SAFE_NO_PAD.encode(content);
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        assert_eq!(OperationId::parse(&edited(&bytes[..bytes.len() - 2])), None);
        assert_eq!(
            OperationId::parse(&edited(&[&bytes[..16], b"provider:zz", &bytes[bytes.len() - 4..]].concat())),
            None
        );
        for bad in ["", "AAAA", "!!", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(OperationId::parse(bad), None, "{bad}");
        }
    }
}

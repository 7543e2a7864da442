//! Serde for types that travel as the text they are written and read by.

use std::fmt::Display;

use crate::id::{CommandId, EntityId, Key};
use crate::list::Sort;
use crate::time::Timestamp;

/// A type with one spelling.
pub(crate) trait Spelled: Display + Sized {
    /// What is said where the text is none of it.
    const EXPECTED: &str;

    fn read(text: &str) -> Option<Self>;
}

macro_rules! spelled {
    ($($name:ty: $expected:literal,)*) => { $(impl Spelled for $name {
        const EXPECTED: &str = $expected;

        fn read(text: &str) -> Option<Self> {
            Self::parse(text)
        }
    })* };
}

spelled! {
    CommandId: "a UUID is expected",
    EntityId: "an entity id is expected",
    Key: "a key of the form type:id is expected",
    Sort: "created, updated or name is expected, with - before it for the last ones first",
    Timestamp: "a time in RFC 3339 is expected",
}

fn read<T: Spelled, E: serde::de::Error>(text: &str) -> Result<T, E> {
    T::read(text).ok_or_else(|| E::custom(T::EXPECTED))
}

pub(crate) mod one {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Spelled;

    pub(crate) fn serialize<T: Spelled, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T: Spelled, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        super::read(&String::deserialize(deserializer)?)
    }
}

pub(crate) mod option {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Spelled;

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(crate) fn serialize<T: Spelled, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T: Spelled, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(|text| super::read(&text)).transpose()
    }
}

pub(crate) mod list {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Spelled;

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(crate) fn serialize<T: Spelled, S: Serializer>(
        values: &Option<Vec<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().flatten().map(ToString::to_string))
    }

    pub(crate) fn deserialize<'de, T: Spelled, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<T>>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| super::read(text)).collect::<Result<_, _>>().map(Some)
    }
}

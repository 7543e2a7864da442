//! The attributes of a CloudEvent as Kafka headers (CloudEvents 1.0, Kafka protocol binding 3.2.3, binary mode).

use crate::id::{CommandId, Key};
use crate::record::{Headers, Record};
use crate::time::Timestamp;
use crate::view::VERSION_MAX;

use super::DecodeError;

macro_rules! attributes {
    ($($name:ident $header:literal)*) => {
        /// The attributes of one event, as they are written.
        #[derive(Default)]
        pub(super) struct Attributes<'a> { $(pub(super) $name: Option<&'a str>,)* }

        impl<'a> Attributes<'a> {
            /// Reads those this contract knows; a value that is no UTF-8 is an error, other headers are passed over.
            pub(super) fn read(record: &'a Record) -> Result<Self, String> {
                let mut attributes = Self::default();
                for (name, value) in record.headers.iter() {
                    let slot = match name { $($header => &mut attributes.$name,)* _ => continue };
                    *slot = Some(std::str::from_utf8(value).map_err(|_| {
                        format!("header {} is not UTF-8", String::from_utf8_lossy(name))
                    })?);
                }
                Ok(attributes)
            }

            /// Writes those that are set.
            pub(super) fn write(&self) -> Headers {
                let pairs = [$((str_of($header), self.$name),)*];
                Headers::from_pairs(pairs.iter().filter_map(|(name, value)| Some((*name, (*value)?.as_bytes()))))
            }
        }
    };
}

attributes! {
    specversion b"ce_specversion"
    id b"ce_id"
    source b"ce_source"
    r#type b"ce_type"
    subject b"ce_subject"
    time b"ce_time"
    dataschema b"ce_dataschema"
    correlationid b"ce_correlationid"
    version b"ce_version"
    viewtime b"ce_viewtime"
    precondition b"ce_precondition"
    idempotencykey b"ce_idempotencykey"
    fingerprint b"ce_fingerprint"
    operation b"ce_operation"
    requestid b"ce_requestid"
    traceparent b"ce_traceparent"
    content_type b"content-type"
}

/// The headers' names are ASCII.
const fn str_of(name: &[u8]) -> &str {
    match std::str::from_utf8(name) {
        Ok(name) => name,
        Err(_) => "",
    }
}

impl Attributes<'_> {
    /// Checks what every event of ours has, and splits `dos.<type>.<name>`.
    pub(super) fn kind(&self) -> Result<(&str, &str), String> {
        match self.specversion {
            Some("1.0") => {}
            Some(other) => return Err(format!("CloudEvents version {other} is not 1.0")),
            None => return Err("it is no CloudEvent: it has no header ce_specversion".to_owned()),
        }
        for (name, value) in [("ce_id", self.id), ("ce_source", self.source)] {
            if value.is_none_or(str::is_empty) {
                return Err(format!("it is no CloudEvent: it has no header {name}"));
            }
        }
        let event_type = self.r#type.ok_or("it is no CloudEvent: it has no header ce_type")?;
        let mut parts = event_type.splitn(3, '.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("dos"), Some(entity_type), Some(name)) => Ok((entity_type, name)),
            _ => Err(format!("its type {event_type:?} is not of the form dos.<entity type>.<name>")),
        }
    }

    pub(super) fn correlation(&self) -> Option<CommandId> {
        self.correlationid.and_then(CommandId::parse)
    }

    pub(super) fn require_correlation(&self) -> Result<CommandId, String> {
        self.correlation().ok_or_else(|| "it has no correlationid that is a UUID".to_owned())
    }

    pub(super) fn require_time(&self) -> Result<Timestamp, String> {
        self.time.and_then(Timestamp::parse).ok_or_else(|| "it has no time in RFC 3339".to_owned())
    }

    pub(super) fn require_json(&self) -> Result<(), String> {
        let media_type = self.content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
        match media_type {
            Some(value) if value.eq_ignore_ascii_case("application/json") => Ok(()),
            Some(other) => Err(format!("its content-type {other:?} is not application/json")),
            None => Err("it has no content-type".to_owned()),
        }
    }

    /// The version, within 1 and [`VERSION_MAX`].
    pub(super) fn version(&self) -> Result<Option<u64>, String> {
        let version = self.version.map(|text| text.parse().ok().filter(|version| (1..=VERSION_MAX).contains(version)));
        version
            .map(|version| version.ok_or_else(|| format!("its version is no number from 1 to {VERSION_MAX}")))
            .transpose()
    }
}

/// The longest reason, in bytes: it quotes the event, and must fit into a message beside it.
const REASON_BYTES_MAX: usize = 1000;

/// The error, with what can still be read of the event.
pub(super) fn unreadable(record: &Record, key: Option<Key>, mut reason: String) -> DecodeError {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    let correlation = record.headers.get("ce_correlationid").and_then(|value| std::str::from_utf8(value).ok());
    let key = key.or_else(|| key_of(record));
    DecodeError { reason, correlation: correlation.and_then(CommandId::parse), key }
}

pub(super) fn key_of(record: &Record) -> Option<Key> {
    Key::parse(std::str::from_utf8(&record.key).ok()?)
}

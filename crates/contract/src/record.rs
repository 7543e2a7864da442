//! A message as every event stream carries it: key, headers, value.

use bytes::{BufMut, Bytes, BytesMut};

/// A partition's number, from 0.
pub type Partition = u32;

/// A record's place in its partition, from 0. Offsets grow; where records were removed there are gaps.
pub type Offset = u64;

/// The four topics of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What gateways ask.
    Commands,
    /// The current view of every entity; compacted: only a key's last record is kept for ever.
    Views,
    /// What makes no view.
    Replies,
    /// Events that no store could read.
    Quarantine,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Commands, Self::Views, Self::Replies, Self::Quarantine];

    /// The topic's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commands => "dos.commands",
            Self::Views => "dos.views",
            Self::Replies => "dos.replies",
            Self::Quarantine => "dos.quarantine",
        }
    }

    /// Whether only the last record of each key must be kept.
    pub const fn is_compacted(self) -> bool {
        matches!(self, Self::Views)
    }
}

/// Names that are stored as a number: what the attributes of this contract's events are called. Durable: a name keeps its
/// place for ever, and new ones come at the end.
macro_rules! known {
    ($($code:literal $name:literal)*) => {
        const fn known(code: u8) -> Option<&'static str> {
            match code { $($code => Some($name),)* _ => None }
        }

        fn code(name: &str) -> u8 {
            match name { $($name => $code,)* _ => SPELLED }
        }
    };
}

known! {
    1 "ce_specversion"
    2 "ce_id"
    3 "ce_source"
    4 "ce_type"
    5 "ce_subject"
    6 "ce_time"
    7 "ce_dataschema"
    8 "ce_correlationid"
    9 "ce_version"
    10 "ce_viewtime"
    11 "ce_precondition"
    12 "ce_idempotencykey"
    13 "ce_fingerprint"
    14 "ce_operation"
    15 "ce_requestid"
    16 "ce_traceparent"
    17 "content-type"
}

/// Instead of a code: the name follows.
const SPELLED: u8 = 0;
/// Instead of a value's length in one byte: it follows in four.
const LONG: u8 = u8::MAX;
/// What a header counts for besides its name and value.
const HEADER_BYTES: usize = 6;

/// The headers of a record, in order, in one buffer. Per header: the name, as a byte that stands for it or as 0, `u16` length
/// and the name itself; then the value, as a byte for its length, or 255 and `u32` length, and the value itself. Numbers are big
/// endian. Durable: the embedded stream stores these bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Bytes);

impl Headers {
    /// Encodes name-value pairs. A name longer than 65,535 bytes or a value longer than 4 GiB is cut.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut buffer = BytesMut::with_capacity(384);
        for (name, value) in pairs {
            Self::put(&mut buffer, name, value);
        }
        Self(buffer.freeze())
    }

    /// Encodes one more, behind those in the buffer.
    pub fn put(buffer: &mut BytesMut, name: &str, value: &[u8]) {
        let code = code(name);
        buffer.put_u8(code);
        if code == SPELLED {
            let name = &name.as_bytes()[..name.len().min(usize::from(u16::MAX))];
            buffer.put_u16(name.len() as u16);
            buffer.put_slice(name);
        }
        let value = &value[..value.len().min(u32::MAX as usize)];
        if value.len() < usize::from(LONG) {
            buffer.put_u8(value.len() as u8);
        } else {
            buffer.put_u8(LONG);
            buffer.put_u32(value.len() as u32);
        }
        buffer.put_slice(value);
    }

    /// The same and one more, at the end.
    #[must_use]
    pub fn with(&self, name: &str, value: &[u8]) -> Self {
        let mut buffer = BytesMut::with_capacity(self.0.len() + name.len() + value.len() + HEADER_BYTES + 2);
        buffer.put_slice(&self.0);
        Self::put(&mut buffer, name, value);
        Self(buffer.freeze())
    }

    /// Takes stored bytes; `None` where they are no such encoding.
    pub fn from_bytes(bytes: Bytes) -> Option<Self> {
        let headers = Self(bytes);
        let mut rest: &[u8] = &headers.0;
        while !rest.is_empty() {
            rest = Self::split(rest)?.2;
        }
        Some(headers)
    }

    /// The encoding.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// What they take where names are written out, with a few bytes more for each.
    pub fn size_bytes(&self) -> usize {
        self.iter().map(|(name, value)| HEADER_BYTES + name.len() + value.len()).sum()
    }

    /// Name and value of each header, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let (name, value, tail) = Self::split(rest)?;
            rest = tail;
            Some((name, value))
        })
    }

    /// The value of the first header of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    fn split(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
        let (&number, rest) = rest.split_first()?;
        let (name, rest) = if number == SPELLED {
            let (length, rest) = rest.split_first_chunk()?;
            let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            // One spelling each, so that equal headers are equal bytes.
            let has_code = str::from_utf8(name).is_ok_and(|name| code(name) != SPELLED);
            (!has_code).then_some((name, rest))?
        } else {
            (known(number)?.as_bytes(), rest)
        };
        let (&length, rest) = rest.split_first()?;
        let (value, rest) = if length == LONG {
            let (length, rest) = rest.split_first_chunk()?;
            let length = u32::from_be_bytes(*length);
            (length >= u32::from(LONG)).then(|| rest.split_at_checked(length as usize))??
        } else {
            rest.split_at_checked(usize::from(length))?
        };
        Some((name, value, rest))
    }
}

/// A message to append, or one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Decides the partition; on a compacted topic, which records replace which.
    pub key: Bytes,
    /// Attributes of the event.
    pub headers: Headers,
    /// The event's data.
    pub value: Bytes,
}

impl Record {
    /// Whether the stream wrote it about itself, and it is no event of an entity: no type's name begins so.
    pub fn is_about_stream(&self) -> bool {
        self.key.starts_with(b"$")
    }

    /// Bytes that count against a stream's message limit.
    pub fn size_bytes(&self) -> usize {
        self.key.len() + self.headers.size_bytes() + self.value.len()
    }
}

/// A record and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The partition.
    pub partition: Partition,
    /// The place in it.
    pub offset: Offset,
    /// The message.
    pub record: Record,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip() {
        let long = vec![b'x'; 300];
        for name in (1..=u8::MAX).map_while(known) {
            assert_eq!(known(code(name)), Some(name));
        }
        let pairs = [
            ("ce_id", &b"1"[..]),
            ("ce_subject", &long[..254]),
            ("ce_type", &long[..255]),
            ("empty", b""),
            ("ce_id", &long),
        ];
        let headers = Headers::from_pairs(pairs);
        assert_eq!(headers.get("ce_id"), Some(&b"1"[..]));
        assert_eq!(headers.get("empty"), Some(&b""[..]));
        let read: Vec<_> = headers.iter().map(|(name, value)| (std::str::from_utf8(name).unwrap(), value)).collect();
        assert_eq!(read, pairs);
        assert_eq!(Headers::from_bytes(headers.as_bytes().clone()), Some(headers.clone()));
        assert_eq!(headers.with("more", b"3").get("more"), Some(&b"3"[..]));
        assert_eq!(headers.with("more", b"3").iter().count(), 6);
        assert!(headers.size_bytes() >= headers.as_bytes().len());
    }

    #[test]
    fn damaged_headers_are_noticed() {
        let value = vec![b'x'; 300];
        for name in ["ce_id", "spelled"] {
            let good = Headers::from_pairs([(name, &value[..])]);
            for cut in 1..good.as_bytes().len() {
                assert_eq!(Headers::from_bytes(good.as_bytes().slice(..cut)), None);
            }
        }
        for (bytes, why) in [
            (&[200, 0][..], "no name has this number"),
            (b"\0\0\x05ce_id\x00", "the name has a number"),
            (b"\x01\xff\0\0\0\x01x", "the length fits in a byte"),
        ] {
            assert_eq!(Headers::from_bytes(Bytes::copy_from_slice(bytes)), None, "{why}");
        }
    }
}

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

/// The headers of a record, in order, in one buffer: per header `u16` name length, `u32` value length (both big
/// endian), name, value. Durable: the embedded stream stores these bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Bytes);

impl Headers {
    /// Encodes name-value pairs. A name longer than 65,535 bytes or a value longer than 4 GiB is cut.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut buffer = BytesMut::with_capacity(512);
        for (name, value) in pairs {
            let name = &name.as_bytes()[..name.len().min(usize::from(u16::MAX))];
            let value = &value[..value.len().min(u32::MAX as usize)];
            buffer.put_u16(name.len() as u16);
            buffer.put_u32(value.len() as u32);
            buffer.put_slice(name);
            buffer.put_slice(value);
        }
        Self(buffer.freeze())
    }

    /// The same and one more, at the end.
    #[must_use]
    pub fn with(&self, name: &str, value: &[u8]) -> Self {
        let more = Self::from_pairs([(name, value)]);
        let mut buffer = BytesMut::with_capacity(self.0.len() + more.0.len());
        buffer.put_slice(&self.0);
        buffer.put_slice(&more.0);
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
        let (sizes, rest) = rest.split_first_chunk::<6>()?;
        let name_len = usize::from(u16::from_be_bytes([sizes[0], sizes[1]]));
        let value_len = u32::from_be_bytes([sizes[2], sizes[3], sizes[4], sizes[5]]) as usize;
        let (name, rest) = rest.split_at_checked(name_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
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
    /// Bytes that count against a stream's message limit.
    pub fn size_bytes(&self) -> usize {
        self.key.len() + self.headers.as_bytes().len() + self.value.len()
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
        let headers = Headers::from_pairs([("ce_id", &b"1"[..]), ("empty", b""), ("ce_id", b"2")]);
        assert_eq!(headers.get("ce_id"), Some(&b"1"[..]));
        assert_eq!(headers.get("empty"), Some(&b""[..]));
        assert_eq!(headers.iter().count(), 3);
        assert_eq!(Headers::from_bytes(headers.as_bytes().clone()), Some(headers.clone()));
        assert_eq!(headers.with("more", b"3").get("more"), Some(&b"3"[..]));
        assert_eq!(headers.with("more", b"3").iter().count(), 4);
    }

    #[test]
    fn damaged_headers_are_noticed() {
        let good = Headers::from_pairs([("ce_id", &b"1"[..])]);
        for cut in 1..good.as_bytes().len() {
            assert_eq!(Headers::from_bytes(good.as_bytes().slice(..cut)), None);
        }
    }
}

//! The layout of a snapshot file.
//!
//! A row of frames. Each is a payload's length (`u32`, little endian), a checksum (`u64`, little endian: XXH3 of the payload,
//! seeded with the frame's kind and number), the kind (one byte), and the payload:
//!
//! | kind | payload |
//! |---|---|
//! | 1, the first frame | [`Header`] as JSON |
//! | 2 | a block: the type's number in the header (`u16`), then records |
//! | 3, the last frame | the number of records (`u64`) |
//!
//! A record is its length (`u32`) and a view as [`Held`] lays it out; or the length with its highest bit set and the id of
//! an entity whose latest record could not be read; or the length with the bit below it set, and of an entity that was
//! deleted the version of that (`u64`, little endian) and the id.
//!
//! A file is whole if every frame has its checksum, the last frame is there, nothing is behind it, and it counts as many
//! records as there were. The number in the checksum tells of frames that are missing, twice there, or in another order.

use std::io::{self, Read, Write};

use contract::{EntityId, Offset};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::super::Held;

/// Changes with this layout and with that of [`Held`].
pub(super) const FORMAT: u32 = 2;
/// A block is written once it has so many bytes; one record more may be in it.
pub(super) const BLOCK_BYTES: usize = 256 << 10;
/// No frame is larger; a larger one is damage, and no memory is asked for it.
const FRAME_BYTES_MAX: usize = 8 << 20;
const FRAME_HEAD_BYTES: usize = 13;
/// Marks a record that could not be read.
const UNREADABLE: u32 = 1 << 31;
/// Marks the record of a deletion.
const DELETED: u32 = 1 << 30;

/// What the file is of, and what it reflects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) format: u32,
    /// The program's version: another one may read what this one could not.
    pub(super) program: String,
    /// `little` or `big`: views hold numbers as the processor does.
    pub(super) endian: String,
    pub(super) cluster: String,
    /// Per partition, all views before this offset.
    pub(super) positions: Vec<Offset>,
    pub(super) types: Vec<Type>,
}

/// An entity type as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Type {
    pub(super) name: String,
    pub(super) data_schema: String,
    /// About so many entities.
    pub(super) count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Header = 1,
    Block = 2,
    End = 3,
}

/// A frame as it was read; its checksum is not checked yet.
#[derive(Debug)]
pub(super) struct Frame {
    number: u64,
    kind: u8,
    checksum: u64,
    payload: Vec<u8>,
}

/// One record of a block.
pub(super) enum Entry<'a> {
    View(Held),
    /// With this version.
    Deleted(&'a str, u64),
    Unreadable(&'a str),
}

fn checksum(number: u64, kind: u8, payload: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(number << 8 | u64::from(kind), payload)
}

/// Writes a frame.
pub(super) fn write(out: &mut impl Write, number: u64, kind: Kind, payload: &[u8]) -> io::Result<()> {
    let too_large = |_| io::Error::other("a block is too large");
    let mut head = [0; FRAME_HEAD_BYTES];
    head[..4].copy_from_slice(&u32::try_from(payload.len()).map_err(too_large)?.to_le_bytes());
    head[4..12].copy_from_slice(&checksum(number, kind as u8, payload).to_le_bytes());
    head[12] = kind as u8;
    out.write_all(&head)?;
    out.write_all(payload)
}

/// Reads the frame of that number; none at the end of the file.
pub(super) fn read(from: &mut impl Read, number: u64) -> io::Result<Option<Frame>> {
    let mut head = Vec::with_capacity(FRAME_HEAD_BYTES);
    from.take(FRAME_HEAD_BYTES as u64).read_to_end(&mut head)?;
    if head.is_empty() {
        return Ok(None);
    }
    let cut = || io::Error::other("it is cut off");
    let (size, rest) = head.split_first_chunk::<4>().ok_or_else(cut)?;
    let (sum, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let kind = *rest.first().ok_or_else(cut)?;
    let size = u32::from_le_bytes(*size) as usize;
    if size > FRAME_BYTES_MAX {
        return Err(io::Error::other("a frame is too large"));
    }
    let mut payload = Vec::with_capacity(size);
    from.take(size as u64).read_to_end(&mut payload)?;
    if payload.len() < size {
        return Err(cut());
    }
    Ok(Some(Frame { number, kind, checksum: u64::from_le_bytes(*sum), payload }))
}

impl Frame {
    /// What it holds, if its checksum is right.
    pub(super) fn payload(&self) -> Result<(Kind, &[u8]), String> {
        if checksum(self.number, self.kind, &self.payload) != self.checksum {
            return Err(format!("frame {} is damaged", self.number));
        }
        let kinds = [Kind::Header, Kind::Block, Kind::End];
        let kind = kinds.into_iter().find(|kind| *kind as u8 == self.kind);
        kind.map(|kind| (kind, self.payload.as_slice())).ok_or_else(|| format!("frame {} is of no kind", self.number))
    }

    pub(super) fn is_block(&self) -> bool {
        self.kind == Kind::Block as u8
    }
}

/// Begins a block of a type.
pub(super) fn begin_block(block: &mut Vec<u8>, type_number: u16) {
    block.clear();
    block.extend_from_slice(&type_number.to_le_bytes());
}

pub(super) fn push_view(block: &mut Vec<u8>, held: &Held) {
    push(block, 0, held.as_bytes());
}

pub(super) fn push_unreadable(block: &mut Vec<u8>, id: &EntityId) {
    push(block, UNREADABLE, id.as_str().as_bytes());
}

pub(super) fn push_deleted(block: &mut Vec<u8>, id: &EntityId, version: u64) {
    push(block, DELETED, &[&version.to_le_bytes(), id.as_str().as_bytes()].concat());
}

fn push(block: &mut Vec<u8>, mark: u32, bytes: &[u8]) {
    // An object has at most 512 KiB.
    let size = u32::try_from(bytes.len()).unwrap_or(0);
    block.extend_from_slice(&(size | mark).to_le_bytes());
    block.extend_from_slice(bytes);
}

/// The number of a block's type, and its records.
pub(super) fn block(payload: &[u8]) -> Option<(usize, impl Iterator<Item = Result<Entry<'_>, String>>)> {
    let (type_number, mut rest) = payload.split_first_chunk::<2>()?;
    let entries = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = entry(&mut rest).ok_or_else(|| "a record is not one".to_owned());
        if entry.is_err() {
            rest = &[];
        }
        Some(entry)
    });
    Some((usize::from(u16::from_le_bytes(*type_number)), entries))
}

fn entry<'a>(rest: &mut &'a [u8]) -> Option<Entry<'a>> {
    let (size, tail) = rest.split_first_chunk::<4>()?;
    let size = u32::from_le_bytes(*size);
    let (bytes, tail) = tail.split_at_checked((size & !(UNREADABLE | DELETED)) as usize)?;
    *rest = tail;
    let id = |bytes| std::str::from_utf8(bytes).ok().filter(|id| EntityId::is_valid(id));
    match size & (UNREADABLE | DELETED) {
        0 => Held::from_bytes(bytes).map(Entry::View),
        DELETED => {
            let (version, bytes) = bytes.split_first_chunk::<8>()?;
            Some(Entry::Deleted(id(bytes)?, u64::from_le_bytes(*version)))
        }
        UNREADABLE => id(bytes).map(Entry::Unreadable),
        _ => None,
    }
}

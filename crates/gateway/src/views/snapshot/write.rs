//! Writing a snapshot beside the one that is there.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use contract::{ListQuery, Registry};

use super::super::Materialised;
use super::super::rows::Page;
use super::format::{self, BLOCK_BYTES, Header, Kind};
use super::{FILE, PARTIAL};

/// Rows taken from the view at a time; all that is held in memory besides one block.
const ROWS: usize = 1000;

/// Writes all that the view holds, and puts it in the place of the last snapshot once it is on the disk; answers the number
/// of records.
///
/// The view goes on changing meanwhile. What is written reflects everything before the header's positions, which were
/// taken before, and of what came later some: that is read again from the topic and changes nothing.
pub(super) fn write(folder: &Path, header: &Header, views: &Materialised, registry: &Registry) -> io::Result<u64> {
    let partial = folder.join(PARTIAL);
    let written = write_file(&partial, header, views, registry);
    if written.is_err() {
        // It may be what fills the disk.
        drop(fs::remove_file(&partial));
    }
    let records = written?;
    fs::rename(&partial, folder.join(FILE))?;
    File::open(folder)?.sync_all()?;
    Ok(records)
}

fn write_file(path: &Path, header: &Header, views: &Materialised, registry: &Registry) -> io::Result<u64> {
    let mut frames = Frames { out: BufWriter::with_capacity(BLOCK_BYTES, File::create(path)?), number: 0, records: 0 };
    frames.put(Kind::Header, &serde_json::to_vec(header)?)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES * 2);
    for (number, entity_type) in (0..).zip(registry.iter()) {
        format::begin_block(&mut block, number);
        let begun = block.len();
        let mut query = ListQuery { limit: ROWS, ..ListQuery::default() };
        loop {
            let Page { rows, next, .. } = views.oldest_first(entity_type.name(), &query);
            for held in &rows {
                format::push_view(&mut block, held);
                frames.records += 1;
                if block.len() >= BLOCK_BYTES {
                    frames.put(Kind::Block, &block)?;
                    format::begin_block(&mut block, number);
                }
            }
            query.after = next;
            if query.after.is_none() {
                break;
            }
        }
        for (id, deleted) in views.without_view(entity_type.name()) {
            match deleted {
                Some(version) => format::push_deleted(&mut block, &id, version),
                None => format::push_unreadable(&mut block, &id),
            }
            frames.records += 1;
            if block.len() >= BLOCK_BYTES {
                frames.put(Kind::Block, &block)?;
                format::begin_block(&mut block, number);
            }
        }
        if block.len() > begun {
            frames.put(Kind::Block, &block)?;
        }
    }
    let records = frames.records;
    frames.put(Kind::End, &records.to_le_bytes())?;
    frames.out.into_inner()?.sync_all()?;
    Ok(records)
}

struct Frames<W: Write> {
    out: W,
    number: u64,
    records: u64,
}

impl<W: Write> Frames<W> {
    fn put(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        format::write(&mut self.out, self.number, kind, payload)?;
        self.number += 1;
        Ok(())
    }
}

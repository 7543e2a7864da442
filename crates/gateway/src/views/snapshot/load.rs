//! Loading a snapshot: one thread reads the file, several check, unpack and apply its blocks.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use contract::{EntityId, EntityType, Key, Offset, Registry};
use stream::Bounds;

use super::super::{Loading, Materialised};
use super::format::{self, Entry, Frame, Header, Kind};
use super::{FILE, header};

/// Blocks that wait for a thread.
const WAITING: usize = 8;
/// More threads wait for the memory rather than for each other.
const THREADS_MAX: usize = 8;
/// A view takes at least so many bytes in the file, whatever the header says of their number.
const VIEW_BYTES_MIN: u64 = 64;

/// What was loaded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    /// Where each partition is to be read from.
    pub(super) positions: Vec<Offset>,
    pub(super) records: u64,
}

/// Loads the snapshot of a folder into an empty view; none where there is no snapshot. An error says why the one there is cannot be used; the view is empty then.
pub(super) fn load(
    folder: &Path,
    cluster: &str,
    bounds: &[Bounds],
    views: &Materialised,
    registry: &Registry,
) -> Result<Option<Loaded>, String> {
    let file = match File::open(folder.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("it cannot be opened: {error}")),
    };
    let size_bytes = file.metadata().map_err(|error| format!("it cannot be read: {error}"))?.len();
    let mut file = BufReader::with_capacity(1 << 20, file);
    let first = format::read(&mut file, 0).map_err(|error| error.to_string())?.ok_or("it is empty")?;
    let (Kind::Header, payload) = first.payload()? else { return Err("it does not begin with a header".to_owned()) };
    let header: Header = serde_json::from_slice(payload).map_err(|error| format!("its header: {error}"))?;
    check(&header, cluster, bounds, registry)?;
    for (entity_type, counted) in registry.iter().zip(&header.types) {
        let room = counted.count.min(size_bytes / VIEW_BYTES_MIN);
        views.reserve(entity_type.name(), usize::try_from(room).unwrap_or(0));
    }
    match fill(&mut file, views, registry) {
        Ok(records) => Ok(Some(Loaded { positions: header.positions, records })),
        Err(reason) => {
            views.clear();
            Err(reason)
        }
    }
}

/// Whether the file is of this system and of this program, and the topic has what it lacks.
fn check(found: &Header, cluster: &str, bounds: &[Bounds], registry: &Registry) -> Result<(), String> {
    let wanted = header(cluster, Vec::new(), registry, |_| 0);
    if found.format != wanted.format || found.endian != wanted.endian {
        return Err("it is of another format".to_owned());
    }
    if found.program != wanted.program {
        return Err(format!("version {} of the program wrote it", found.program));
    }
    if found.cluster != wanted.cluster {
        return Err(format!("it is of another stream, {}", found.cluster));
    }
    let types =
        |header: &Header| header.types.iter().map(|t| (t.name.clone(), t.data_schema.clone())).collect::<Vec<_>>();
    if types(found) != types(&wanted) {
        return Err("its entity types have other schemas".to_owned());
    }
    if found.positions.len() != bounds.len() {
        return Err(format!("it has {} partitions and the topic {}", found.positions.len(), bounds.len()));
    }
    for (position, Bounds { start, end }) in found.positions.iter().zip(bounds) {
        if position < start || position > end {
            return Err(format!("its position {position} is outside the topic, which holds {start} to {end}"));
        }
    }
    Ok(())
}

/// Applies all blocks; answers the number of records.
fn fill(file: &mut impl Read, views: &Materialised, registry: &Registry) -> Result<u64, String> {
    let types: Vec<&EntityType> = registry.iter().map(AsRef::as_ref).collect();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let (send, blocks) = sync_channel::<Frame>(WAITING);
    let (blocks, failed) = (Mutex::new(blocks), AtomicBool::new(false));
    let (read, filled) = thread::scope(|scope| {
        let worker = |_| {
            thread::Builder::new().name("views-snapshot".to_owned()).spawn_scoped(scope, || {
                let filled = work(&blocks, &failed, &types, views);
                if filled.is_err() {
                    failed.store(true, Ordering::Relaxed);
                    // The reader may wait for room.
                    while blocks.lock().unwrap_or_else(PoisonError::into_inner).recv().is_ok() {}
                }
                filled
            })
        };
        let workers: Vec<_> = (0..threads).map(worker).collect();
        failed.fetch_or(workers.iter().any(Result::is_err), Ordering::Relaxed);
        let read = read_frames(file, |frame| !failed.load(Ordering::Relaxed) && send.send(frame).is_ok());
        drop(send);
        let joined = workers.into_iter().map(|worker| match worker {
            Ok(worker) => worker.join().unwrap_or_else(|_| Err("a thread has failed".to_owned())),
            Err(error) => Err(format!("there is no thread for it: {error}")),
        });
        (read, joined.collect::<Vec<_>>())
    });
    let mut records = 0;
    for filled in filled {
        records += filled?;
    }
    let expected = read?;
    if records != expected {
        return Err(format!("it has {records} records and should have {expected}"));
    }
    Ok(records)
}

/// Reads up to the last frame, and hands the blocks on; answers how many records there should be.
fn read_frames(file: &mut impl Read, mut hand_on: impl FnMut(Frame) -> bool) -> Result<u64, String> {
    for number in 1.. {
        let frame = format::read(file, number).map_err(|error| error.to_string())?.ok_or("it is cut off")?;
        if frame.is_block() {
            if !hand_on(frame) {
                break;
            }
            continue;
        }
        let (Kind::End, payload) = frame.payload()? else { return Err("it has two headers".to_owned()) };
        let records = payload.try_into().map_err(|_| "its last frame is damaged".to_owned())?;
        return match format::read(file, number + 1) {
            Ok(None) => Ok(u64::from_le_bytes(records)),
            _ => Err("something is behind its last frame".to_owned()),
        };
    }
    Err("a block is damaged".to_owned())
}

/// Takes blocks until there are no more, or one is damaged; answers the number of its records.
fn work(
    blocks: &Mutex<Receiver<Frame>>,
    failed: &AtomicBool,
    types: &[&EntityType],
    views: &Materialised,
) -> Result<u64, String> {
    let (mut records, mut loading) = (0, Loading::new(0));
    loop {
        let frame = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(frame) = frame else { break };
        if failed.load(Ordering::Relaxed) {
            // Taken, so that the reader does not wait.
            continue;
        }
        let (_, payload) = frame.payload()?;
        let (number, entries) = format::block(payload).ok_or("a block has no type")?;
        let entity_type = types.get(number).ok_or("a block is of no type")?;
        for entry in entries {
            match entry? {
                Entry::View(held) => views.apply(entity_type.name(), &held, Some(&mut loading)),
                Entry::Deleted(id, version) => views.delete(&key(entity_type, id)?, version),
                Entry::Unreadable(id) => views.mark_unreadable(&key(entity_type, id)?),
            }
            records += 1;
        }
    }
    views.loaded(loading);
    Ok(records)
}

fn key(entity_type: &EntityType, id: &str) -> Result<Key, String> {
    let id = EntityId::parse(id).ok_or("an id is outside the grammar")?;
    Ok(Key::new(entity_type.name().clone(), id))
}

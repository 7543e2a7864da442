//! Every kind of damage is noticed: never a wrong view, never a panic.

use std::fs;
use std::sync::OnceLock;

use contract::Registry;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::super::{FILE, write};
use super::{content, loaded, now, views};

#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Write(Index, Vec<u8>),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    /// A part takes another's place, as where a disk loses a write.
    Copy(Index, Index, usize),
    /// Whole frames in another order, twice, or not at all.
    SwapFrames(Index, Index),
    RepeatFrame(Index),
    DropFrame(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    let bytes = || vec(any::<u8>(), 1..40);
    prop_oneof![
        4 => (index(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => (index(), bytes()).prop_map(|(at, bytes)| Damage::Write(at, bytes)),
        2 => index().prop_map(Damage::Cut),
        1 => (index(), 1..5000_usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        1 => (index(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (index(), index(), 1..5000_usize).prop_map(|(from, to, count)| Damage::Copy(from, to, count)),
        1 => (index(), index()).prop_map(|(a, b)| Damage::SwapFrames(a, b)),
        1 => index().prop_map(Damage::RepeatFrame),
        1 => index().prop_map(Damage::DropFrame),
    ]
}

/// Where each frame begins, and the end.
fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    while let Some((size, _)) = rest.split_first_chunk::<4>() {
        let (frame, tail) = rest.split_at(13 + u32::from_le_bytes(*size) as usize);
        frames.push(frame.to_vec());
        rest = tail;
    }
    frames
}

fn damaged(bytes: &[u8], damage: &Damage) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let size = bytes.len();
    match damage {
        Damage::Flip(at, bit) => bytes[at.index(size)] ^= 1 << bit,
        Damage::Write(at, new) => {
            for (place, new) in bytes[at.index(size)..].iter_mut().zip(new) {
                *place = *new;
            }
        }
        Damage::Cut(at) => bytes.truncate(at.index(size)),
        Damage::Remove(at, count) => {
            let at = at.index(size);
            bytes.drain(at..size.min(at + count));
        }
        Damage::Insert(at, new) => {
            let at = at.index(size + 1);
            bytes.splice(at..at, new.iter().copied());
        }
        Damage::Copy(from, to, count) => {
            let (from, to) = (from.index(size), to.index(size));
            let count = (*count).min(size - from.max(to));
            bytes.copy_within(from..from + count, to);
        }
        Damage::SwapFrames(..) | Damage::RepeatFrame(_) | Damage::DropFrame(_) => {
            let mut frames = frames(&bytes);
            let count = frames.len();
            match damage {
                Damage::SwapFrames(a, b) => frames.swap(a.index(count), b.index(count)),
                Damage::RepeatFrame(at) => frames.insert(at.index(count), frames[at.index(count)].clone()),
                Damage::DropFrame(at) => drop(frames.remove(at.index(count))),
                _ => {}
            }
            bytes = frames.concat();
        }
    }
    bytes
}

/// A good file, and what it holds.
fn good() -> &'static (Registry, Vec<u8>, Vec<String>) {
    static GOOD: OnceLock<(Registry, Vec<u8>, Vec<String>)> = OnceLock::new();
    GOOD.get_or_init(|| {
        let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::built_in().unwrap());
        let views = views(&registry, 3000);
        write::write(folder.path(), &now(&registry, &views), &views, &registry).unwrap();
        let bytes = fs::read(folder.path().join(FILE)).unwrap();
        assert!(frames(&bytes).len() > 6, "too few frames to mix up");
        let content = content(&registry, &views);
        (registry, bytes, content)
    })
}

/// Where the file is not the good one, nothing is taken from it.
fn check(folder: &TempDir, bytes: &[u8]) {
    let (registry, good, content) = good();
    fs::write(folder.path().join(FILE), bytes).unwrap();
    let (loaded, found) = loaded(folder.path(), registry);
    if bytes == good {
        assert!(loaded.is_ok() && found == *content);
    } else {
        assert!(loaded.is_err(), "{loaded:?}");
        assert!(found.is_empty(), "{} remain", found.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn damage_is_noticed(damages in vec(damage(), 1..3)) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = damages.iter().fold(good().1.clone(), |bytes, damage| match bytes.is_empty() {
            true => bytes,
            false => try_damaged(&bytes, damage),
        });
        check(&folder, &bytes);
    }

    #[test]
    fn rubbish_is_noticed(bytes in vec(any::<u8>(), 0..2000)) {
        check(&tempfile::tempdir().unwrap(), &bytes);
    }
}

/// Frames can be mixed up in a good file only.
fn try_damaged(bytes: &[u8], damage: &Damage) -> Vec<u8> {
    let mixes = matches!(damage, Damage::SwapFrames(..) | Damage::RepeatFrame(_) | Damage::DropFrame(_));
    if mixes && bytes != good().1 { bytes.to_vec() } else { damaged(bytes, damage) }
}

#[test]
fn every_byte_of_head_and_end_is_covered() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), &good().1);
    check(&folder, bytes);
    let parts = [0..60, bytes.len() - 60..bytes.len()];
    for at in parts.into_iter().flatten() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        check(&folder, &bytes);
    }
    check(&folder, &[bytes.as_slice(), b"x"].concat());
}

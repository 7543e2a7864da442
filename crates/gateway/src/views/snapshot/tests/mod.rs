//! Snapshots that are whole, damaged, of something else, or half written; and starts from them.

mod damage;
mod start;

use std::fs;
use std::path::Path;

use contract::record::Offset;
use contract::{EntityId, Key, ListQuery, Registry, Timestamp, TypeName};
use serde_json::Map;
use stream::Bounds;

use super::format::Header;
use super::load::Loaded;
use super::{FILE, PARTIAL, header, load, write};
use crate::views::{Held, Loading, Look, Materialised, Page};

pub(super) const CLUSTER: &str = "cluster";
const BOUNDS: [Bounds; 2] = [Bounds { start: 0, end: 900 }, Bounds { start: 10, end: 800 }];
const POSITIONS: [Offset; 2] = [700, 800];

pub(super) fn held(registry: &Registry, name: &str, id: &str, version: u64, created: i64) -> Held {
    let entity_type = registry.get(name).unwrap();
    let (id, created) = (EntityId::parse(id).unwrap(), Timestamp::from_millis(created));
    let label = entity_type.label().map_or("option", |field| field.name.as_str());
    let fields = Map::from_iter([(label.to_owned(), format!("“{id}”\u{a0}£{version}\n").into())]);
    let object = entity_type.render(&id, &fields, created, created);
    Held::new(entity_type, id.as_str(), version, created, &object, entity_type.data_schema()).unwrap()
}

/// So many entities of two types, some of which could not be read, and some of which were deleted.
pub(super) fn views(registry: &Registry, count: u64) -> Materialised {
    let views = Materialised::new(registry);
    let mut loading = Loading::new(count);
    for n in 0..count {
        let name = ["venue", "service"][(n % 2) as usize];
        let held = held(registry, name, &format!("{n:05}"), n % 7 + 1, 1_000_000 - (n as i64 % 100) * 1000);
        views.apply(registry.get(name).unwrap().name(), &held, Some(&mut loading));
    }
    views.loaded(loading);
    views.complete();
    for n in (0..count).step_by(100) {
        views.mark_unreadable(&Key::parse(&format!("venue:{n:05}")).unwrap());
    }
    views.mark_unreadable(&Key::parse("contact:never-seen").unwrap());
    for n in (1..count).step_by(50) {
        views.delete(&Key::parse(&format!("service:{n:05}")).unwrap(), 10 + n);
    }
    views.delete(&Key::parse("contact:deleted-before-it-was-seen").unwrap(), u64::MAX);
    views
}

/// All that can be told of a view: its lists in order, its counts, what was deleted and what cannot be read.
pub(super) fn content(registry: &Registry, views: &Materialised) -> Vec<String> {
    let mut content = Vec::new();
    for entity_type in registry.iter() {
        let name: &TypeName = entity_type.name();
        let mut query = ListQuery { limit: 200, ..ListQuery::default() };
        loop {
            let Page { rows, total, next } = views.oldest_first(name, &query);
            content.extend(rows.iter().map(|row| {
                let found = matches!(views.look(&key_of(name, row)), Look::Found(found) if found.tag() == row.tag());
                format!("{name} of {total}: {} {:?} {found} {:?}", row.tag(), row.time(), row.object())
            }));
            query.after = next;
            if query.after.is_none() {
                break;
            }
        }
        let mut without: Vec<_> =
            views.without_view(name).iter().map(|(id, deleted)| format!("{name}:{id} {deleted:?}")).collect();
        without.sort();
        content.extend(without);
    }
    content
}

fn key_of(name: &TypeName, held: &Held) -> Key {
    Key::new(name.clone(), EntityId::parse(held.id()).unwrap())
}

fn now(registry: &Registry, views: &Materialised) -> Header {
    header(CLUSTER, POSITIONS.to_vec(), registry, |name| views.count(name))
}

/// Loads into an empty view; what there is in it then.
fn loaded(folder: &Path, registry: &Registry) -> (Result<Option<Loaded>, String>, Vec<String>) {
    let views = Materialised::new(registry);
    let loaded = load::load(folder, CLUSTER, &BOUNDS, &views, registry);
    views.complete();
    (loaded, content(registry, &views))
}

#[test]
fn what_is_written_is_loaded() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::built_in().unwrap());
    for count in [0, 1, 3000] {
        let views = views(&registry, count);
        let records = write::write(folder.path(), &now(&registry, &views), &views, &registry).unwrap();
        assert_eq!(records, count + 2);
        let (loaded, found) = loaded(folder.path(), &registry);
        assert_eq!(loaded, Ok(Some(Loaded { positions: POSITIONS.to_vec(), records: count + 2 })));
        assert!(found == content(&registry, &views));
        assert!(!folder.path().join(PARTIAL).exists());
    }
}

#[test]
fn a_view_as_it_lies_in_the_file() {
    // Where this changes, `FORMAT` must change too, or older files would be taken for what they are not.
    let registry = Registry::built_in().unwrap();
    let held = held(&registry, "costoption", "a", 3, 1000);
    let sum = twox_hash::XxHash3_64::oneshot(&held.as_bytes()[..40]);
    assert_eq!(
        (super::format::FORMAT, held.as_bytes().len(), format!("{sum:x}")),
        (2, 142, "c59f8d5b6545e894".to_owned())
    );
    let again = Held::from_bytes(held.as_bytes()).unwrap();
    assert_eq!((again.tag(), again.id(), again.object()), (held.tag(), "a", held.object()));
}

#[test]
fn what_is_of_something_else_is_dropped() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::built_in().unwrap());
    assert_eq!(loaded(folder.path(), &registry), (Ok(None), Vec::new()));
    let views = views(&registry, 100);
    let good = now(&registry, &views);
    let other = |change: &dyn Fn(&mut Header)| {
        let mut header = good.clone();
        change(&mut header);
        write::write(folder.path(), &header, &views, &registry).unwrap();
        let (loaded, content) = loaded(folder.path(), &registry);
        assert!(content.is_empty());
        loaded.unwrap_err()
    };
    assert_eq!(other(&|header| header.format += 1), "it is of another format");
    assert_eq!(other(&|header| header.endian = "middle".to_owned()), "it is of another format");
    assert_eq!(other(&|header| header.program = "0.0.0".to_owned()), "version 0.0.0 of the program wrote it");
    assert_eq!(other(&|header| header.cluster = "another".to_owned()), "it is of another stream, another");
    assert_eq!(other(&|header| drop(header.types.pop())), "its entity types have other schemas");
    assert_eq!(other(&|header| header.types[0].data_schema.push('1')), "its entity types have other schemas");
    assert_eq!(other(&|header| header.positions.push(1)), "it has 3 partitions and the topic 2");
    assert_eq!(other(&|header| header.positions[1] = 9), "its position 9 is outside the topic, which holds 10 to 800");
    assert_eq!(
        other(&|header| header.positions[0] = 901),
        "its position 901 is outside the topic, which holds 0 to 900"
    );
    write::write(folder.path(), &good, &views, &registry).unwrap();
    assert!(loaded(folder.path(), &registry).0.is_ok());
}

#[test]
fn a_half_written_file_is_passed_over() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::built_in().unwrap());
    let views = views(&registry, 500);
    let path = |name| folder.path().join(name);
    write::write(folder.path(), &now(&registry, &views), &views, &registry).unwrap();
    // As a process leaves it that was killed while it wrote the next one.
    let bytes = fs::read(path(FILE)).unwrap();
    fs::write(path(PARTIAL), &bytes[..bytes.len() / 2]).unwrap();
    assert!(loaded(folder.path(), &registry).1 == content(&registry, &views));
    write::write(folder.path(), &now(&registry, &views), &views, &registry).unwrap();
    assert!(!path(PARTIAL).exists());
    // The first one.
    fs::remove_file(path(FILE)).unwrap();
    fs::write(path(PARTIAL), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(loaded(folder.path(), &registry), (Ok(None), Vec::new()));
}

#[test]
fn a_full_disk_leaves_the_last_one() {
    let (folder, registry) = (tempfile::tempdir().unwrap(), Registry::built_in().unwrap());
    let before = views(&registry, 100);
    write::write(folder.path(), &now(&registry, &before), &before, &registry).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join(PARTIAL)).unwrap();
    let after = views(&registry, 3000);
    let error = write::write(folder.path(), &now(&registry, &after), &after, &registry).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(!folder.path().join(PARTIAL).exists());
    assert!(loaded(folder.path(), &registry).1 == content(&registry, &before));
}

#[test]
fn a_folder_is_one_process_s() {
    let folder = tempfile::tempdir().unwrap();
    let first = super::take(&folder.path().join("below")).unwrap();
    assert_eq!(super::take(&folder.path().join("below")).unwrap_err(), "another process uses the folder");
    drop(first);
    super::take(&folder.path().join("below")).unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    super::take(&folder.path().join("file")).unwrap_err();
}

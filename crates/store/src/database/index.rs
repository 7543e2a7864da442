//! The index of lists: what an entity is found and sorted by.
//!
//! `store_index(type, field, value, id)` has a row per entry, in both databases. `field` is `=` and the name of a field that
//! lists can be filtered by, with its terms as values ([`contract::EntityType::terms`]); or `<updated`, with the time as 8 bytes
//! that sort as it does; or `<name`, with the byte 1 and the name's key ([`contract::list::name_key`]), or the byte 2 alone where
//! there is none. All compare by bytes. The order of `created` has an index of its own over the entities.
//!
//! It is kept where somebody asks for lists: a plain write would pay for about ten rows. `store_meta` holds under
//! `index:<type>` what the type's entries were made by ([`definition`]); where that is another, they are made anew at the start.

use std::sync::Arc;

use contract::{EntityType, SortKey, Timestamp};

use crate::decide::Revision;

pub(super) const UPDATED: &str = "<updated";
pub(super) const NAME: &str = "<name";
const NAMED: u8 = 1;
pub(super) const UNNAMED: u8 = 2;

/// One entry of an entity: field and value.
pub type Entry = (Arc<str>, Vec<u8>);

/// What becomes of an entity's entries.
#[derive(Debug, Default)]
pub struct IndexChange {
    /// No longer.
    pub removed: Vec<Entry>,
    /// From now on.
    pub added: Vec<Entry>,
}

impl IndexChange {
    /// The difference between two states of an entity.
    pub fn between(entity_type: &EntityType, before: Option<&Revision>, next: &Revision) -> Self {
        let entries = |revision: &Revision| match revision.live() {
            Some(entity) => entries(entity_type, &entity.object, entity.updated),
            None => Vec::new(),
        };
        let (old, new) = (before.map(entries).unwrap_or_default(), entries(next));
        let removed = old.iter().filter(|entry| !new.contains(entry)).cloned().collect();
        let added = new.into_iter().filter(|entry| !old.contains(entry)).collect();
        Self { removed, added }
    }
}

/// All entries of an entity. One whose object cannot be read has none: no list can show it.
pub fn entries(entity_type: &EntityType, object: &[u8], updated: Timestamp) -> Vec<Entry> {
    let Ok(fields) = entity_type.fields_of(object) else { return Vec::new() };
    let mut entries: Vec<Entry> = vec![
        (UPDATED.into(), time_value(updated).to_vec()),
        (NAME.into(), name_value(entity_type.name_key(&fields).as_deref())),
    ];
    for (field, terms) in entity_type.terms(&fields) {
        let name: Arc<str> = filter_field(&field.name).into();
        entries.extend(terms.into_iter().map(|term| (Arc::clone(&name), term.into_bytes())));
    }
    entries
}

/// What the entries of a type are made by.
pub(super) fn definition(entity_type: &EntityType) -> String {
    let (major, minor, update) = char::UNICODE_VERSION;
    format!("1 {} unicode {major}.{minor}.{update}", entity_type.data_schema())
}

/// Where [`definition`] lies in `store_meta`.
pub(super) fn definition_name(entity_type: &EntityType) -> String {
    format!("index:{}", entity_type.name())
}

/// What is wrong where the index is needed and not kept.
pub(super) fn not_kept(entity_type: &EntityType) -> super::Error {
    super::Error::Data(format!("this data store keeps no index of lists of {}", entity_type.name()))
}

pub(super) fn filter_field(name: &str) -> String {
    format!("={name}")
}

/// Bytes that sort as the times do.
pub(super) fn time_value(time: Timestamp) -> [u8; 8] {
    (time.as_millis().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

pub(super) fn name_value(key: Option<&str>) -> Vec<u8> {
    match key {
        Some(key) => [&[NAMED], key.as_bytes()].concat(),
        None => vec![UNNAMED],
    }
}

/// Reads [`name_value`].
pub(super) fn name_of(value: &[u8]) -> SortKey {
    match value.split_first() {
        Some((&NAMED, key)) => SortKey::Name(String::from_utf8_lossy(key).into_owned()),
        _ => SortKey::Unnamed,
    }
}

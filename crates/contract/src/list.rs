//! Lists: what is asked for, in which order, and where a page ends. The same for whoever answers them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::entity::EntityType;
use crate::id::EntityId;
use crate::problem::FieldError;
use crate::spelled;
use crate::time::Timestamp;

/// The most rows that a list command asks for.
pub const LIST_LIMIT_MAX: usize = 200;

/// The most ids that a list asks for by name: they fit into one page.
pub const IDS_MAX: usize = LIST_LIMIT_MAX;

/// The most values of one filter.
pub const FILTER_VALUES_MAX: usize = 200;

/// The longest value of a filter, in characters. Longer texts are found by none.
pub const FILTER_CHARS_MAX: usize = 255;

/// The longest [`name_key`], in bytes.
pub const NAME_KEY_BYTES_MAX: usize = 1024;

/// A page of a type's entities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// By field: the entity shows one of these values, or holds one where the field is a list; an empty value stands for an
    /// unset field. All fields must fit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: BTreeMap<String, Vec<String>>,
    /// Only those whose `updated` is later.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "spelled::option")]
    pub modified_after: Option<Timestamp>,
    /// Only these, in this order, whatever `sort` says.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "spelled::list")]
    pub ids: Option<Vec<EntityId>>,
    /// The order.
    #[serde(default, skip_serializing_if = "Sort::is_default", with = "spelled::one")]
    pub sort: Sort,
    /// Rows at most.
    pub limit: usize,
    /// Where the page before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ListPosition>,
}

/// The order of a list. Equal ones go by id; the reverse of an order reverses the ids as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sort {
    /// By what.
    pub by: SortBy,
    /// The last ones first; what has no name is last all the same.
    pub descending: bool,
}

/// What lists are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SortBy {
    /// `created`.
    #[default]
    Created,
    /// `updated`.
    Updated,
    /// The label, as [`name_key`] makes it comparable.
    Name,
}

/// A row's place in the order of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPosition {
    /// What the list is sorted by.
    pub key: SortKey,
    /// The row's id.
    pub id: EntityId,
}

/// What a row is sorted by; in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SortKey {
    /// `created` or `updated`.
    Time(Timestamp),
    /// The [`name_key`] of its label.
    Name(String),
    /// It has no label.
    Unnamed,
}

/// A [`ListPosition`] that lies elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PositionRef<'a> {
    /// What the list is sorted by.
    pub key: KeyRef<'a>,
    /// The row's id.
    pub id: &'a str,
}

/// A [`SortKey`] that lies elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyRef<'a> {
    /// `created` or `updated`.
    Time(Timestamp),
    /// The [`name_key`] of its label.
    Name(&'a str),
    /// It has no label.
    Unnamed,
}

impl PositionRef<'_> {
    /// A copy; none where the id is none.
    pub fn to_owned(self) -> Option<ListPosition> {
        let key = match self.key {
            KeyRef::Time(time) => SortKey::Time(time),
            KeyRef::Name(name) => SortKey::Name(name.to_owned()),
            KeyRef::Unnamed => SortKey::Unnamed,
        };
        Some(ListPosition { key, id: EntityId::parse(self.id)? })
    }
}

impl Sort {
    /// Reads `created`, `updated` or `name`, with `-` before it for descending.
    pub fn parse(text: &str) -> Option<Self> {
        let (descending, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        let by = match name {
            "created" => SortBy::Created,
            "updated" => SortBy::Updated,
            "name" => SortBy::Name,
            _ => return None,
        };
        Some(Self { by, descending })
    }

    /// Whether it is the order that a list has where none is asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How two rows stand to each other.
    pub fn compare(self, one: PositionRef<'_>, other: PositionRef<'_>) -> std::cmp::Ordering {
        let unnamed = |position: PositionRef<'_>| position.key == KeyRef::Unnamed;
        let order = one.cmp(&other);
        unnamed(one).cmp(&unnamed(other)).then(if self.descending { order.reverse() } else { order })
    }

    /// Whether rows are sorted by such a key.
    pub fn takes(self, key: &SortKey) -> bool {
        matches!((self.by, key), (SortBy::Created | SortBy::Updated, SortKey::Time(_)))
            || matches!((self.by, key), (SortBy::Name, SortKey::Name(_) | SortKey::Unnamed))
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.by {
            SortBy::Created => "created",
            SortBy::Updated => "updated",
            SortBy::Name => "name",
        };
        write!(f, "{}{name}", if self.descending { "-" } else { "" })
    }
}

impl ListPosition {
    /// A place in an order by time.
    pub const fn at(time: Timestamp, id: EntityId) -> Self {
        Self { key: SortKey::Time(time), id }
    }

    /// The same, borrowed.
    pub fn as_ref(&self) -> PositionRef<'_> {
        let key = match &self.key {
            SortKey::Time(time) => KeyRef::Time(*time),
            SortKey::Name(name) => KeyRef::Name(name),
            SortKey::Unnamed => KeyRef::Unnamed,
        };
        PositionRef { key, id: self.id.as_str() }
    }

    /// The time it is sorted by, if it is sorted by one.
    pub const fn time(&self) -> Option<Timestamp> {
        match self.key {
            SortKey::Time(time) => Some(time),
            SortKey::Name(_) | SortKey::Unnamed => None,
        }
    }
}

impl ListQuery {
    /// Whether it is the whole list of a type in the default order, page by page.
    pub fn is_plain(&self) -> bool {
        self.filter.is_empty() && self.modified_after.is_none() && self.ids.is_none() && self.sort.is_default()
    }

    /// Whether an entity is what the filters ask for. Which ids are asked for is not looked at.
    pub fn matches(&self, entity_type: &EntityType, fields: &Map<String, Value>, updated: Timestamp) -> bool {
        let one_of = |name: &String, terms: &[String]| {
            self.filter.get(name).is_none_or(|values| values.iter().any(|value| terms.contains(value)))
        };
        self.modified_after.is_none_or(|after| updated > after)
            && entity_type.terms(fields).all(|(field, terms)| one_of(&field.name, &terms))
    }

    /// An entity's place in the order.
    pub fn position(
        &self,
        entity_type: &EntityType,
        fields: &Map<String, Value>,
        (created, updated): (Timestamp, Timestamp),
        id: EntityId,
    ) -> ListPosition {
        let key = match self.sort.by {
            SortBy::Created => SortKey::Time(created),
            SortBy::Updated => SortKey::Time(updated),
            SortBy::Name => entity_type.name_key(fields).map_or(SortKey::Unnamed, SortKey::Name),
        };
        ListPosition { key, id }
    }

    /// Everything that is wrong with it for this type, by the names of the query's parameters.
    pub fn faults(&self, entity_type: &EntityType) -> Vec<FieldError> {
        let mut faults = Vec::new();
        let mut fault = |name: &str, detail: String| faults.push(FieldError::parameter(name, detail));
        if !(1..=LIST_LIMIT_MAX).contains(&self.limit) {
            fault("limit", format!("must be a whole number from 1 to {LIST_LIMIT_MAX}"));
        }
        for (name, values) in &self.filter {
            let Some(field) = entity_type.field(name).filter(|field| field.filter && field.name == *name) else {
                fault(name, format!("is no field that lists of {} can be filtered by", entity_type.name()));
                continue;
            };
            if !(1..=FILTER_VALUES_MAX).contains(&values.len()) {
                fault(name, format!("has {} values; a filter has 1 to {FILTER_VALUES_MAX}", values.len()));
            }
            for value in values {
                match field.filter_value(value) {
                    Ok(spelled) if spelled == *value => {}
                    Ok(spelled) => fault(name, format!("is to be written {spelled} here")),
                    Err(detail) => fault(name, detail),
                }
            }
        }
        if let Some(ids) = &self.ids {
            if !(1..=IDS_MAX).contains(&ids.len()) {
                fault("ids", format!("must be 1 to {IDS_MAX} ids"));
            }
            let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
            if distinct.len() < ids.len() {
                fault("ids", "has an id twice".to_owned());
            }
        }
        if self.after.as_ref().is_some_and(|after| !self.sort.takes(&after.key)) {
            fault("cursor", format!("is of another order than {}", self.sort));
        }
        faults
    }
}

/// A text made comparable: Unicode's case folding, as far as upper and lower case give it (`STRASSE` is `straße`), compared
/// by bytes, and cut off after [`NAME_KEY_BYTES_MAX`]. Gateways and databases sort by it, so that all of them agree.
pub fn name_key(text: &str) -> String {
    let lower = text.chars().flat_map(char::to_lowercase);
    let mut key: String = lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    key.truncate(key.floor_char_boundary(NAME_KEY_BYTES_MAX));
    key
}

/// `["2026-01-01T00:00:00Z","id"]`, or `[{"name":"food bank"},"id"]`, so that the events stay readable.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Time(#[serde(with = "spelled::one")] Timestamp),
    Name { name: Option<String> },
}

impl Serialize for ListPosition {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key = match &self.key {
            SortKey::Time(time) => Written::Time(*time),
            SortKey::Name(name) => Written::Name { name: Some(name.clone()) },
            SortKey::Unnamed => Written::Name { name: None },
        };
        (key, self.id.as_str()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ListPosition {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let (key, id) = <(Written, String)>::deserialize(deserializer)?;
        let key = match key {
            Written::Time(time) => SortKey::Time(time),
            Written::Name { name: None } => SortKey::Unnamed,
            Written::Name { name: Some(name) } if name.len() <= NAME_KEY_BYTES_MAX => SortKey::Name(name),
            Written::Name { .. } => return Err(D::Error::custom("a name that is sorted by is shorter")),
        };
        let id = EntityId::parse(&id).ok_or_else(|| D::Error::custom("an entity id is expected"))?;
        Ok(Self { key, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_their_case() {
        for (one, other) in [
            ("Food Bank", "fOOD bANK"),
            ("STRASSE", "stra\u{df}e"),
            ("STRASSE", "STRA\u{1e9e}E"),
            ("\u{39f}\u{3a3}", "\u{3bf}\u{3c2}"),
            ("\u{3bf}\u{3c3}", "\u{3bf}\u{3c2}"),
            ("\u{c9}t\u{e9}", "\u{e9}T\u{c9}"),
            ("\u{fb01}ve", "FIVE"),
            ("\u{17f}un", "Sun"),
        ] {
            assert_eq!(name_key(one), name_key(other), "{one} {other}");
        }
        assert!(name_key("apple") < name_key("Banana") && name_key("Zebra") < name_key("\u{e9}t\u{e9}"));
        let long = "\u{20ac}".repeat(400);
        assert_eq!(name_key(&long).len(), 1023);
    }

    #[test]
    fn what_has_no_name_is_last_both_ways() {
        let at = |key: SortKey, id: &str| ListPosition { key, id: EntityId::parse(id).unwrap() };
        let name = |name: &str| SortKey::Name(name.to_owned());
        let rows = [at(name("a"), "x"), at(name("a"), "y"), at(name("b"), "a"), at(SortKey::Unnamed, "a")];
        let order = |descending| {
            let sort = Sort { by: SortBy::Name, descending };
            let mut numbers: Vec<_> = (0..4).rev().collect();
            numbers.sort_by(|a, b| sort.compare(rows[*a].as_ref(), rows[*b].as_ref()));
            numbers
        };
        assert_eq!((order(false), order(true)), (vec![0, 1, 2, 3], vec![2, 1, 0, 3]));
    }
}

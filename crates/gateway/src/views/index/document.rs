//! What one view is found and sorted by.

use contract::{EntityType, KeyRef, ListQuery, PositionRef, SortBy, Timestamp};

use super::super::Held;

/// Stands for one value of a filter: a hash so wide that two values never share it. Its keys are this process's own, so
/// that nobody can choose two that do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Term(u128);

/// Makes [`Term`]s.
pub(super) struct Terms([ahash::RandomState; 2]);

/// A view with all that lists look at.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) held: Held,
    pub(super) updated: Timestamp,
    /// What it is sorted by its name by; none where it has no name.
    pub(super) name: Option<Box<str>>,
    /// By the number of a filter ([`filters`]), in ascending order.
    pub(super) terms: Vec<(u32, Term)>,
}

/// What all rows of a list must fit.
#[derive(Debug)]
pub(super) enum Condition {
    /// One of these values of the filter of this number.
    OneOf(u32, Vec<Term>),
    /// A later `updated`.
    ModifiedAfter(Timestamp),
}

impl Terms {
    pub(super) fn new() -> Self {
        Self([ahash::RandomState::new(), ahash::RandomState::new()])
    }

    fn of(&self, value: &str) -> Term {
        let [one, other] = &self.0;
        Term(u128::from(one.hash_one(value)) << 64 | u128::from(other.hash_one(value)))
    }

    /// The conditions of a list. A filter that the type does not have is fitted by nothing.
    pub(super) fn conditions(&self, entity_type: &EntityType, query: &ListQuery) -> Vec<Condition> {
        let filters = query.filter.iter().map(|(name, values)| {
            let number = filters(entity_type).position(|field| field == name);
            let terms = values.iter().map(|value| self.of(value)).collect();
            Condition::OneOf(number.and_then(|number| u32::try_from(number).ok()).unwrap_or(u32::MAX), terms)
        });
        filters.chain(query.modified_after.map(Condition::ModifiedAfter)).collect()
    }
}

/// The fields that lists of a type can be filtered by, in the order of their numbers.
pub(super) fn filters(entity_type: &EntityType) -> impl Iterator<Item = &str> {
    entity_type.fields().iter().filter(|field| field.filter).map(|field| field.name.as_str())
}

impl Document {
    /// None where the object cannot be read, so that no list can show it.
    pub(super) fn new(entity_type: &EntityType, terms: &Terms, held: Held) -> Option<Self> {
        let listed = entity_type.listed(held.object()).ok()?;
        let mut found = Vec::with_capacity(16);
        for (number, (_, values)) in (0..).zip(entity_type.terms(&listed.fields)) {
            found.extend(values.iter().map(|value| (number, terms.of(value))));
        }
        let name = entity_type.name_key(&listed.fields).map(String::into_boxed_str);
        Some(Self { held, updated: listed.updated, name, terms: found })
    }

    pub(super) fn fits(&self, conditions: &[Condition]) -> bool {
        conditions.iter().all(|condition| match condition {
            Condition::OneOf(number, terms) => terms.iter().any(|term| self.terms.contains(&(*number, *term))),
            Condition::ModifiedAfter(after) => self.updated > *after,
        })
    }

    pub(super) fn position(&self, by: SortBy) -> PositionRef<'_> {
        let key = match by {
            SortBy::Created => KeyRef::Time(self.held.created()),
            SortBy::Updated => KeyRef::Time(self.updated),
            SortBy::Name => self.name.as_deref().map_or(KeyRef::Unnamed, KeyRef::Name),
        };
        PositionRef { key, id: self.held.id() }
    }
}

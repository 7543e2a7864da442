//! The queries of lists that need the index, in SQL that both databases understand.
//!
//! The number of all that match is counted from the condition that has the fewest entries. Where few have to be looked at, or
//! few match, those are gathered and sorted; else the order is walked and each row is looked at, of which one in so many
//! matches.

use contract::{ListPosition, ListQuery, Sort, SortBy, SortKey, Timestamp};

use super::change::NEVER;
use super::index::{NAME, UNNAMED, UPDATED, filter_field, name_value, time_value};

/// So many are few: rows that are gathered to be sorted.
const FEW: i64 = 5000;

/// Entries of a condition are counted up to here, to find the one that has the fewest.
const COUNTED: i64 = 50_000;

/// A parameter of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Text(String),
    Bytes(Vec<u8>),
    Integer(i64),
}

/// A query with its parameters, each used once.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) parameters: Vec<Parameter>,
}

/// What the two databases write differently.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// What all rows of a list must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// One of these values of a filter.
    OneOf(String, Vec<String>),
    /// A later `updated`.
    ModifiedAfter(Timestamp),
}

/// A part of a list; one after the other, they are the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    All,
    Named,
    Unnamed,
}

/// What a list must fit.
pub(super) fn conditions(query: &ListQuery) -> Vec<Condition> {
    let filters = query.filter.iter().map(|(name, values)| Condition::OneOf(name.clone(), values.clone()));
    filters.chain(query.modified_after.map(Condition::ModifiedAfter)).collect()
}

/// The parts of a list that are still to come. What has no name is last, also where the names are reversed.
pub(super) fn parts(query: &ListQuery) -> &'static [Part] {
    match (query.sort, &query.after) {
        (Sort { by: SortBy::Name, descending: true }, Some(ListPosition { key: SortKey::Unnamed, .. })) => {
            &[Part::Unnamed]
        }
        (Sort { by: SortBy::Name, descending: true }, _) => &[Part::Named, Part::Unnamed],
        _ => &[Part::All],
    }
}

/// How many entries a condition has, [`COUNTED`] at most.
pub(super) fn count(dialect: Dialect, entity_type: &str, condition: &Condition) -> Sql {
    let mut sql = Builder::new(dialect, entity_type);
    sql.push("SELECT count(*) FROM (SELECT 1 FROM store_index a WHERE ");
    sql.entries("a", condition);
    sql.push(&format!(" LIMIT {COUNTED}) AS counted"));
    sql.finish()
}

/// How many entities fit the first condition and all others.
pub(super) fn total(dialect: Dialect, entity_type: &str, first: &Condition, others: &[&Condition]) -> Sql {
    let mut sql = Builder::new(dialect, entity_type);
    sql.push("SELECT count(*) FROM (");
    sql.ids(first);
    sql.push(") AS d WHERE 1 = 1");
    sql.probes("d", others);
    sql.finish()
}

/// The rows of a page: `id, created, updated, schema, object, value`; the last one is what names are sorted by, else null.
///
/// `gathered` is the condition whose entries are looked at; without one the order is walked.
pub(super) fn page(
    dialect: Dialect,
    entity_type: &str,
    query: &ListQuery,
    part: Part,
    gathered: Option<&Condition>,
    others: &[&Condition],
) -> Sql {
    let by_name = query.sort.by == SortBy::Name;
    let value = if by_name { "p.k" } else { "CAST(NULL AS bytea)" };
    let mut sql = Builder::new(dialect, entity_type);
    sql.push(&format!("SELECT p.id, e.created, e.updated, e.schema, e.object, {value} FROM ("));
    match gathered {
        Some(condition) => {
            sql.push("SELECT g.id AS id, g.k AS k FROM (SELECT d.id AS id, (SELECT ");
            match query.sort.by {
                SortBy::Created => sql.push("y.created FROM store_entities y WHERE "),
                SortBy::Updated => sql.push("y.updated FROM store_entities y WHERE "),
                SortBy::Name => sql.push(&format!("y.value FROM store_index y WHERE y.field = '{NAME}' AND ")),
            }
            sql.of_type("y");
            sql.push(" AND y.id = d.id LIMIT 1) AS k FROM (");
            sql.ids(condition);
            sql.push(") AS d WHERE 1 = 1");
            sql.probes("d", others);
            sql.push(") AS g WHERE 1 = 1");
            sql.range(query, part, "g.k", "g.id", by_name);
        }
        None => {
            let (table, key, field) = match query.sort.by {
                SortBy::Created => ("store_entities w", "w.created", None),
                SortBy::Updated => ("store_index w", "w.value", Some(UPDATED)),
                SortBy::Name => ("store_index w", "w.value", Some(NAME)),
            };
            let hint = match (dialect, query.sort.by) {
                (Dialect::Sqlite, SortBy::Created) => " INDEXED BY store_entities_by_created",
                _ => "",
            };
            sql.push(&format!("SELECT w.id AS id, {key} AS k FROM {table}{hint} WHERE "));
            sql.of_type("w");
            match field {
                Some(field) => sql.push(&format!(" AND w.field = '{field}'")),
                None => sql.push(&format!(" AND w.created < {NEVER}")),
            }
            sql.range(query, part, key, "w.id", field.is_some());
            sql.probes("w", others);
        }
    }
    let order = if query.sort.descending { " DESC" } else { "" };
    // One more than asked for tells whether there is a next page.
    let limit = query.limit.saturating_add(1);
    sql.push(&format!(" ORDER BY k{order}, id{order} LIMIT {limit}) AS p JOIN store_entities e ON "));
    sql.of_type("e");
    sql.push(&format!(" AND e.id = p.id ORDER BY p.k{order}, p.id{order}"));
    sql.finish()
}

struct Builder<'a> {
    dialect: Dialect,
    entity_type: &'a str,
    sql: Sql,
}

impl<'a> Builder<'a> {
    fn new(dialect: Dialect, entity_type: &'a str) -> Self {
        Self { dialect, entity_type, sql: Sql { text: String::with_capacity(512), parameters: Vec::new() } }
    }

    fn push(&mut self, text: &str) {
        self.sql.text.push_str(text);
    }

    fn bind(&mut self, parameter: Parameter) {
        self.sql.parameters.push(parameter);
        let marker = if self.dialect == Dialect::Sqlite { '?' } else { '$' };
        let number = self.sql.parameters.len();
        self.push(&format!("{marker}{number}"));
    }

    fn of_type(&mut self, alias: &str) {
        self.push(&format!("{alias}.type = "));
        self.bind(Parameter::Text(self.entity_type.to_owned()));
    }

    /// The entries of a condition.
    fn entries(&mut self, alias: &str, condition: &Condition) {
        self.of_type(alias);
        match condition {
            Condition::OneOf(name, values) => {
                self.push(&format!(" AND {alias}.field = "));
                self.bind(Parameter::Text(filter_field(name)));
                self.push(&format!(" AND {alias}.value IN ("));
                for (number, value) in values.iter().enumerate() {
                    self.push(if number == 0 { "" } else { ", " });
                    self.bind(Parameter::Bytes(value.clone().into_bytes()));
                }
                self.push(")");
            }
            Condition::ModifiedAfter(time) => {
                self.push(&format!(" AND {alias}.field = '{UPDATED}' AND {alias}.value > "));
                self.bind(Parameter::Bytes(time_value(*time).to_vec()));
            }
        }
    }

    /// The ids that a condition finds, each once.
    fn ids(&mut self, condition: &Condition) {
        let many = matches!(condition, Condition::OneOf(_, values) if values.len() > 1);
        self.push(if many {
            "SELECT DISTINCT a.id FROM store_index a WHERE "
        } else {
            "SELECT a.id FROM store_index a WHERE "
        });
        self.entries("a", condition);
    }

    /// Looks an entity up by its id for each condition. As a value, and so is the key that is sorted by: `EXISTS` or a join a
    /// planner may carry out in its own way, and on tables that grew since they were last counted it has been seen to compare
    /// each row with every other.
    fn probes(&mut self, alias: &str, conditions: &[&Condition]) {
        for condition in conditions {
            match condition {
                Condition::OneOf(..) => {
                    self.push(" AND (SELECT 1 FROM store_index x WHERE ");
                    self.entries("x", condition);
                }
                // By its time an entry is not found by id.
                Condition::ModifiedAfter(time) => {
                    self.push(" AND (SELECT 1 FROM store_entities x WHERE ");
                    self.of_type("x");
                    self.push(" AND x.updated > ");
                    self.bind(Parameter::Integer(time.as_millis()));
                }
            }
            self.push(&format!(" AND x.id = {alias}.id LIMIT 1) = 1"));
        }
    }

    /// What of the order is still to come; `bytes` tells whether the key is compared as the index has it.
    fn range(&mut self, query: &ListQuery, part: Part, key: &str, id: &str, bytes: bool) {
        match part {
            Part::All => {}
            Part::Named => {
                self.push(&format!(" AND {key} < "));
                self.bind(Parameter::Bytes(vec![UNNAMED]));
            }
            Part::Unnamed => {
                self.push(&format!(" AND {key} = "));
                self.bind(Parameter::Bytes(vec![UNNAMED]));
            }
        }
        let Some(after) = &query.after else { return };
        let value = match &after.key {
            // The page before ended in an earlier part.
            SortKey::Name(_) if part == Part::Unnamed => return,
            SortKey::Time(time) if bytes => Parameter::Bytes(time_value(*time).to_vec()),
            SortKey::Time(time) => Parameter::Integer(time.as_millis()),
            SortKey::Name(name) => Parameter::Bytes(name_value(Some(name))),
            SortKey::Unnamed => Parameter::Bytes(name_value(None)),
        };
        let comparison = if query.sort.descending { '<' } else { '>' };
        self.push(&format!(" AND ({key}, {id}) {comparison} ("));
        self.bind(value);
        self.push(", ");
        self.bind(Parameter::Text(after.id.as_str().to_owned()));
        self.push(")");
    }

    fn finish(self) -> Sql {
        self.sql
    }
}

/// Whether the entries of the condition with the fewest are gathered, rather than the order walked.
pub(super) const fn gathers(fewest: i64, total: i64) -> bool {
    fewest <= FEW || total <= FEW
}

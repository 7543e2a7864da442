//! What the query of a list asks for.

use std::collections::HashMap;

use contract::list::{FILTER_VALUES_MAX, IDS_MAX, LIST_LIMIT_MAX};
use contract::{EntityId, EntityType, FieldError, ListQuery, Problem, Slug, Sort, Timestamp};
use http::Uri;
use percent_encoding::{CONTROLS, utf8_percent_encode};

use super::cursor::{CHARS_BY_TIME_MAX, CHARS_MAX, Cursor};
use super::middleware::URI_BYTES_MAX;
use super::request::{cut, decode};
use super::response::Failure;

const LIMIT_DEFAULT: usize = 50;

/// The parameters beside the type's filters.
const PARAMETERS: [&str; 5] = ["limit", "cursor", "ids", "modified_after", "sort"];

/// A list as it was asked for.
pub(crate) struct Asked {
    pub(crate) query: ListQuery,
    /// The parameters as they came, without those that tell one page from another; empty or with `&` at its end.
    pub(crate) parameters: String,
}

/// Reads the query of a list; a failure names everything that is wrong with it. A stream of all rows has no pages.
pub(crate) fn list_query(entity_type: &EntityType, uri: &Uri, pages: bool) -> Result<Asked, Failure> {
    let mut reading = Reading {
        entity_type,
        query: ListQuery { limit: LIMIT_DEFAULT, ..ListQuery::default() },
        cursor: None,
        seen: Vec::new(),
        given: HashMap::new(),
        errors: Vec::new(),
    };
    let mut parameters = String::new();
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            reading.fault(&cut(name), "is not percent-encoded UTF-8");
            continue;
        };
        reading.take(&name, &value);
        if name != "limit" && name != "cursor" {
            parameters.extend(utf8_percent_encode(pair, CONTROLS));
            parameters.push('&');
        }
    }
    if !pages {
        for name in ["limit", "cursor"] {
            if reading.seen.contains(&name) {
                reading.fault(name, "is for pages, and a stream has all rows");
            }
        }
    }
    let query = reading.finish()?;
    // With the cursor of the next page it must not be longer than what is taken.
    let cursor = if query.sort.by == contract::SortBy::Name { CHARS_MAX } else { CHARS_BY_TIME_MAX };
    let link = uri.path().len() + parameters.len() + "?limit=200&cursor=".len() + cursor;
    if link > URI_BYTES_MAX {
        let most = URI_BYTES_MAX - (link - parameters.len());
        let detail = format!("the list's parameters have {} bytes; {most} are allowed", parameters.len());
        return Err(Failure::new(Slug::UriTooLong, detail));
    }
    Ok(Asked { query, parameters })
}

struct Reading<'a> {
    entity_type: &'a EntityType,
    query: ListQuery,
    cursor: Option<Cursor>,
    /// Parameters that may be there once only.
    seen: Vec<&'static str>,
    /// How many values each filter has, repeated ones too.
    given: HashMap<String, usize>,
    errors: Vec<FieldError>,
}

impl Reading<'_> {
    fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::parameter(name, detail));
    }

    fn take(&mut self, name: &str, value: &str) {
        let Some(known) = PARAMETERS.into_iter().find(|known| *known == name) else {
            return self.filter(name, value);
        };
        if self.seen.contains(&known) && known != "ids" {
            return self.fault(known, "is given twice");
        }
        self.seen.push(known);
        match known {
            "limit" => match value.parse() {
                Ok(limit @ 1..=LIST_LIMIT_MAX) if value.starts_with(|c: char| matches!(c, '1'..='9')) => {
                    self.query.limit = limit;
                }
                _ => self.fault(known, format!("must be a whole number from 1 to {LIST_LIMIT_MAX}")),
            },
            "cursor" => {
                self.cursor = Cursor::decode(value);
                if self.cursor.is_none() {
                    let detail = "is none of this gateway's; take it from rel=\"next\" as it is, or start without one";
                    self.fault(known, detail);
                }
            }
            "ids" => self.ids(value),
            "modified_after" => {
                self.query.modified_after = Timestamp::parse(value);
                if self.query.modified_after.is_none() {
                    let detail =
                        "must be a time such as 2026-01-31T12:00:00Z [RFC 3339]; in a query, + is to be written %2B";
                    self.fault(known, detail);
                }
            }
            _ => match Sort::parse(value) {
                Some(sort) => self.query.sort = sort,
                None => self.fault(known, "must be created, updated or name, with - before it for descending"),
            },
        }
    }

    fn ids(&mut self, value: &str) {
        let mut ids = self.query.ids.take().unwrap_or_default();
        for text in value.split(',') {
            match EntityId::parse(text) {
                Some(id) if ids.contains(&id) => {
                    self.fault("ids", format!("has {id} twice"));
                }
                Some(id) => ids.push(id),
                None => self.fault("ids", format!("{:?} is no id; ids are separated by commas", cut(text))),
            }
            if ids.len() > IDS_MAX {
                self.fault("ids", format!("must be {IDS_MAX} at most"));
                break;
            }
        }
        self.query.ids = Some(ids);
    }

    fn filter(&mut self, name: &str, value: &str) {
        let Some(field) = self.entity_type.field(name).filter(|field| field.filter) else {
            let filters =
                self.entity_type.fields().iter().filter(|field| field.filter).map(|field| field.name.as_str());
            let known: Vec<_> = PARAMETERS.into_iter().chain(filters).collect();
            return self.fault(&cut(name), format!("is not known; known here: {}", known.join(", ")));
        };
        match field.filter_value(value) {
            Ok(value) => {
                let given = self.given.entry(field.name.clone()).or_default();
                *given += 1;
                // Said once, however many more there are.
                if *given == FILTER_VALUES_MAX + 1 {
                    self.fault(name, format!("has more than the {FILTER_VALUES_MAX} values that a filter may have"));
                } else if *given <= FILTER_VALUES_MAX {
                    let values = self.query.filter.entry(field.name.clone()).or_default();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
            }
            Err(detail) => self.fault(name, detail),
        }
    }

    fn finish(mut self) -> Result<ListQuery, Failure> {
        // One list has one spelling, whatever the order of its values.
        self.query.filter.values_mut().for_each(|values| values.sort_unstable());
        if self.errors.is_empty() {
            self.errors = self.query.faults(self.entity_type);
        }
        if let Some(cursor) = self.cursor.take().filter(|_| self.errors.is_empty()) {
            if cursor.list != Cursor::list_of(self.entity_type.name(), &self.query) {
                self.fault(
                    "cursor",
                    "belongs to another list; type, filters and order must be those of the page it came with",
                );
            } else {
                self.query.after = Some(cursor.after);
                self.errors = self.query.faults(self.entity_type);
            }
        }
        if self.errors.is_empty() {
            Ok(self.query)
        } else {
            Err(Problem::with_errors(Slug::InvalidRequest, self.errors).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::Registry;

    use super::*;

    fn read(query: &str) -> Result<ListQuery, Vec<String>> {
        let registry = Registry::built_in().unwrap();
        let uri: Uri = format!("/service?{query}").parse().unwrap();
        let read = list_query(registry.get("service").unwrap(), &uri, true);
        read.map(|asked| asked.query).map_err(|failure| {
            let place = |error: &FieldError| match &error.place {
                contract::problem::Place::Parameter(name) => name.clone(),
                other => format!("{other:?}"),
            };
            failure.problem.errors.iter().map(place).collect()
        })
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let bad = "limit=0&cursor=x&ids=a,,a&modified_after=yesterday&sort=age&flagged=yes&colour=red&published=2&sort=name&name=%ff";
        let expected = [
            "limit",
            "cursor",
            "ids",
            "ids",
            "modified_after",
            "sort",
            "flagged",
            "colour",
            "published",
            "sort",
            "name",
        ];
        assert_eq!(read(bad).unwrap_err(), expected);
        let many: String = (0..300).map(|number| format!("name=n{number}&")).collect();
        assert_eq!(read(&many).unwrap_err(), ["name"]);
        assert_eq!(read(&"name=n&".repeat(300)).unwrap_err(), ["name"]);
        assert_eq!(read(&"name=n&".repeat(FILTER_VALUES_MAX)).unwrap().filter["name"], ["n"]);
        let ids: Vec<_> = (0..300).map(|number| number.to_string()).collect();
        assert_eq!(read(&format!("ids={}", ids.join(","))).unwrap_err(), ["ids"]);
        assert_eq!(read("ids=").unwrap_err(), ["ids"]);
        assert_eq!(read("modified_after=2026-01-01T00:00:00+01:00").unwrap_err(), ["modified_after"]);
    }

    #[test]
    fn spellings_of_one_list_are_one_list() {
        let query = read("published=true&published=1&name=b&name=a&name=b&limit=7").unwrap();
        assert_eq!(query.filter["published"], ["1"]);
        assert_eq!(query.filter["name"], ["a", "b"]);
        assert_eq!(query, ListQuery { limit: 7, ..read("name=a&name=b&published=1").unwrap() });
        let query = read("ids=b,a&ids=c&provider_id=&modified_after=2026-01-01T01:00:00%2B01:00").unwrap();
        assert_eq!(query.ids.unwrap().iter().map(EntityId::as_str).collect::<Vec<_>>(), ["b", "a", "c"]);
        assert_eq!(query.filter["provider_id"], [""]);
        assert_eq!(query.modified_after, Timestamp::parse("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn a_list_whose_next_page_could_not_be_asked_for_is_refused() {
        let names = |bytes: usize| format!("name={}", "x".repeat(bytes));
        assert!(read(&(0..30).map(|_| names(230)).collect::<Vec<_>>().join("&")).is_ok());
        let registry = Registry::built_in().unwrap();
        let long = format!("/service?sort=name&{}", (0..30).map(|_| names(230)).collect::<Vec<_>>().join("&"));
        let failure = list_query(registry.get("service").unwrap(), &long.parse().unwrap(), true).err().unwrap();
        assert_eq!(failure.problem.slug, Slug::UriTooLong);
    }
}

//! What lists find and sort entities by.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{EntityType, Field, Kind};
use crate::json::Strict;
use crate::list::{FILTER_CHARS_MAX, name_key};
use crate::time::Timestamp;

/// What lists need of a full object.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The fields that were set, of those that lists filter and sort by.
    pub fields: Map<String, Value>,
    /// When it was last changed.
    pub updated: Timestamp,
}

impl Field {
    /// The one spelling of a filter's value, as [`EntityType::terms`] gives it; the error says what is wrong with it.
    pub fn filter_value(&self, text: &str) -> Result<String, String> {
        if text.is_empty() {
            return Ok(String::new());
        }
        let item = self.schema.get("items").filter(|_| self.kind == Kind::List);
        let types = item.unwrap_or(&self.schema).get("type");
        let is = |name: &str| match types {
            Some(Value::String(one)) => one == name,
            Some(Value::Array(many)) => many.iter().any(|one| one == name),
            _ => false,
        };
        let spelled = match text {
            "0" | "false" if self.kind == Kind::Flag => Some("0".to_owned()),
            "1" | "true" if self.kind == Kind::Flag => Some("1".to_owned()),
            _ if self.kind == Kind::Flag => {
                return Err("must be 0 or 1, or empty for those where it is unset".to_owned());
            }
            "true" | "false" if is("boolean") => Some(text.to_owned()),
            _ if is("number") || is("integer") => serde_json::from_str::<Number>(text).ok().map(|n| spell(&n)),
            _ => None,
        };
        if spelled.is_none() && types.is_some() && !is("string") {
            return Err(format!("is no value of {}", self.name));
        }
        if text.contains('\0') || text.chars().count() > FILTER_CHARS_MAX {
            return Err(format!("must have at most {FILTER_CHARS_MAX} characters, none of them U+0000"));
        }
        Ok(spelled.unwrap_or_else(|| text.to_owned()))
    }

    /// What filters find an entity by that shows this value.
    fn terms(&self, shown: &Value) -> Vec<String> {
        let mut terms: Vec<String> = match shown {
            Value::Array(items) => items.iter().filter_map(term).collect(),
            one => term(one).into_iter().collect(),
        };
        if is_unset(shown) {
            terms.push(String::new());
        }
        terms.sort_unstable();
        terms.dedup();
        terms
    }
}

impl EntityType {
    /// By each field that lists can be filtered by: what an entity with these fields is found by. An unset field is found by
    /// the empty value.
    pub fn terms<'a>(&'a self, fields: &'a Map<String, Value>) -> impl Iterator<Item = (&'a Field, Vec<String>)> {
        self.fields.iter().filter(|field| field.filter).map(|field| (field, field.terms(field.shown(fields))))
    }

    /// What an entity with these fields is sorted by its name by; none where it has no name.
    pub fn name_key(&self, fields: &Map<String, Value>) -> Option<String> {
        let label = self.label()?.shown(fields);
        if is_unset(label) { None } else { label.as_str().map(name_key) }
    }

    /// Reads no more of a full object than lists need: an index reads millions of them.
    pub fn listed(&self, object: &[u8]) -> Result<Listed, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(object);
        let listed = deserializer.deserialize_map(Needed(self))?;
        deserializer.end()?;
        Ok(listed)
    }

    fn is_listed(&self, field: &Field) -> bool {
        field.filter || self.label().is_some_and(|label| label.name == field.name)
    }
}

/// Reads [`Listed`] from an object.
struct Needed<'a>(&'a EntityType);

/// One key of it.
enum Key<'a> {
    Field(&'a Field),
    Updated,
    Other,
}

impl<'de, 'a> DeserializeSeed<'de> for &Needed<'a> {
    type Value = Key<'a>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Key<'a>, D::Error> {
        struct Name<'a>(&'a EntityType);
        impl<'a> Visitor<'_> for Name<'a> {
            type Value = Key<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, name: &str) -> Result<Key<'a>, E> {
                let field = self.0.field(name).filter(|field| field.name == name && self.0.is_listed(field));
                Ok(match field {
                    Some(field) => Key::Field(field),
                    None if name == "updated" => Key::Updated,
                    None => Key::Other,
                })
            }
        }
        deserializer.deserialize_str(Name(self.0))
    }
}

impl<'de> Visitor<'de> for Needed<'_> {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Listed, A::Error> {
        let (mut fields, mut updated, huge) = (Map::new(), None, Cell::new(false));
        while let Some(key) = access.next_key_seed(&self)? {
            match key {
                Key::Field(field) => {
                    let value = access.next_value_seed(Strict::within(&huge))?;
                    if !value.is_null() {
                        fields.insert(field.name.clone(), value);
                    }
                }
                Key::Updated => {
                    let text: std::borrow::Cow<'de, str> = access.next_value()?;
                    updated = Timestamp::parse(&text);
                }
                Key::Other => drop(access.next_value::<IgnoredAny>()?),
            }
        }
        let updated = updated.ok_or_else(|| A::Error::custom("it does not say when it was updated"))?;
        Ok(Listed { fields, updated })
    }
}

/// Whether the empty value of a filter finds it.
fn is_unset(shown: &Value) -> bool {
    match shown {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn term(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(spell(number)),
        Value::String(text) if text.is_empty() => None,
        // A text of so many bytes need not be counted.
        Value::String(text) if text.len() <= FILTER_CHARS_MAX || text.chars().count() <= FILTER_CHARS_MAX => {
            Some(text.clone())
        }
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// One spelling for 51 and 51.0, as [`crate::json::same_value`] takes them for the same.
fn spell(number: &Number) -> String {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if !number.is_i64() && !number.is_u64() && float.fract() == 0.0 && float.abs() < EXACT => {
            (float as i64).to_string()
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{EntityId, Registry, Timestamp};

    #[test]
    fn filters_have_one_spelling_and_find_what_is_shown() {
        let registry = Registry::built_in().unwrap();
        let service = registry.get("service").unwrap();
        let value = |field: &str, text: &str| service.field(field).unwrap().filter_value(text).ok();
        assert_eq!(value("published", "true").as_deref(), Some("1"));
        assert_eq!(value("published", "2"), None);
        assert_eq!(value("published", "").as_deref(), Some(""));
        assert_eq!((value("flagged", "true").as_deref(), value("flagged", "yes")), (Some("true"), None));
        assert_eq!(value("name", "A\u{e9}").as_deref(), Some("A\u{e9}"));
        assert_eq!((value("name", &"\u{20ac}".repeat(255)).is_some(), value("name", &"a".repeat(256))), (true, None));
        let fields = json!({"name":"A","published":1,"taxonomy_ids":["b","a","b"],"provider_id":null});
        let terms: Vec<_> = service
            .terms(fields.as_object().unwrap())
            .map(|(field, terms)| (field.name.clone(), terms.join("|")))
            .collect();
        let expected = [
            ("name", "A"),
            ("published", "1"),
            ("provider_id", ""),
            ("event_id", ""),
            ("contact_id", ""),
            ("eligibility_id", ""),
            ("costoption_id", ""),
            ("taxonomy_ids", "a|b"),
            ("flagged", "false"),
        ];
        assert_eq!(terms, expected.map(|(name, terms)| (name.to_owned(), terms.to_owned())));
        assert_eq!(service.name_key(fields.as_object().unwrap()).as_deref(), Some("a"));
    }

    #[test]
    fn what_lists_need_is_read_as_from_all_fields() {
        let registry = Registry::built_in().unwrap();
        let service = registry.get("service").unwrap();
        let fields =
            json!({"name":"A \" \u{e9}","published":0,"description":"long","taxonomy_ids":["b","a"],"event_id":"e"});
        let fields = fields.as_object().unwrap();
        let (created, updated) = (Timestamp::from_millis(1), Timestamp::from_millis(2));
        let object = service.render(&EntityId::parse("x").unwrap(), fields, created, updated);
        let listed = service.listed(&object).unwrap();
        assert_eq!(listed.updated, updated);
        let terms = |fields| service.terms(fields).map(|(field, terms)| (&field.name, terms)).collect::<Vec<_>>();
        assert_eq!(terms(&listed.fields), terms(fields));
        assert_eq!(service.name_key(&listed.fields), service.name_key(fields));
        assert_eq!(listed.fields.get("description"), None);
        assert!(service.listed(b"{\"name\":\"A\"}").is_err() && service.listed(&object[1..]).is_err());
    }

    #[test]
    fn numbers_are_found_by_value() {
        let text =
            r#"{"type":"object","properties":{"seats":{"type":"number","x-filter":true},"any":{"x-filter":true}}}"#;
        let registry = Registry::with_files(&[("thing".to_owned(), text.to_owned())]).unwrap();
        let thing = registry.get("thing").unwrap();
        let seats = thing.field("seats").unwrap();
        for text in ["51", "51.0", "5.1e1"] {
            assert_eq!(seats.filter_value(text).as_deref(), Ok("51"), "{text}");
        }
        assert!(seats.filter_value("many").is_err());
        for (value, expected) in [(json!(51.0), "51"), (json!(51.5), "51.5"), (json!(u64::MAX), "18446744073709551615")]
        {
            let fields = json!({"seats": value, "any": {"a": 1}});
            let terms: Vec<_> = thing.terms(fields.as_object().unwrap()).map(|(_, terms)| terms).collect();
            assert_eq!(terms, [vec![expected.to_owned()], Vec::new()]);
        }
    }
}

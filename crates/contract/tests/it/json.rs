//! The strict JSON reader against serde_json.

use contract::json::{DEPTH_MAX, parse_object};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use crate::{arbitrary, checks};

/// The text of a value with one member of one object given twice, the second time with another value.
fn with_repeated_key(value: &Value, at: Index) -> Option<String> {
    let objects: Vec<&Value> =
        all(value).into_iter().filter(|v| v.as_object().is_some_and(|map| !map.is_empty())).collect();
    let chosen = *objects.get(at.index(objects.len().max(1)))?;
    Some(write(value, chosen, at))
}

fn all(value: &Value) -> Vec<&Value> {
    let inner: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    };
    std::iter::once(value).chain(inner.into_iter().flat_map(all)).collect()
}

fn write(value: &Value, chosen: &Value, at: Index) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| write(item, chosen, at)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(map) => {
            let member = |(name, value)| format!("{}:{}", Value::String(name), write(value, chosen, at));
            let mut members: Vec<_> = map.iter().map(|(name, value)| member((name.clone(), value))).collect();
            if std::ptr::eq(value, chosen) {
                let (name, _) = map.iter().nth(at.index(map.len())).unwrap();
                // As an escape it is the same key.
                let escaped: String = name.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                let again =
                    if at.index(2) == 0 { Value::String(name.clone()).to_string() } else { format!("\"{escaped}\"") };
                members.push(format!("{again}:null"));
            }
            format!("{{{}}}", members.join(","))
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn reads_what_serde_json_reads(map in arbitrary::object(), pretty in any::<bool>()) {
        let value = Value::Object(map.clone());
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        prop_assert_eq!(checks::json::object(text.as_bytes()), Some(map));
    }

    #[test]
    fn refuses_a_repeated_key_wherever_it_is(map in arbitrary::object(), at in any::<Index>()) {
        let value = Value::Object(map);
        if let Some(text) = with_repeated_key(&value, at) {
            let error = parse_object(text.as_bytes()).unwrap_err().to_string();
            prop_assert!(error.contains("appears twice"), "{}: {}", text, error);
        }
    }

    #[test]
    fn bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..60), text in "[\\[\\]{}\",:0-9a-c\\\\u.e -]{0,40}") {
        checks::json::object(&bytes);
        checks::json::object(text.as_bytes());
        checks::json::object(format!("{{\"a\":{text}}}").as_bytes());
    }

    #[test]
    fn a_cut_or_flipped_text_is_read_or_refused(map in arbitrary::object(), at in any::<Index>(), bits in any::<u8>()) {
        let mut bytes = Value::Object(map).to_string().into_bytes();
        let i = at.index(bytes.len());
        prop_assert_eq!(checks::json::object(&bytes[..i]), None);
        bytes[i] ^= bits;
        checks::json::object(&bytes);
    }

    #[test]
    fn anything_but_an_object_is_named(value in arbitrary::json()) {
        prop_assert_eq!(parse_object(value.to_string().as_bytes()).is_ok(), value.is_object());
    }
}

#[test]
fn nests_to_the_bound_and_no_further() {
    let nested = |levels: usize| format!("{}{}", "{\"a\":".repeat(levels - 1) + "{}", "}".repeat(levels - 1));
    assert!(checks::json::object(nested(DEPTH_MAX).as_bytes()).is_some());
    assert!(checks::json::object(nested(DEPTH_MAX + 1).as_bytes()).is_none());
}

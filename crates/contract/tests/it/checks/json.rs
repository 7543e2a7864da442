//! What must hold for the strict JSON reader, with serde_json as the witness.

use contract::json::{DEPTH_MAX, JsonError, parse, parse_object};
use serde_json::{Map, Value};

/// The strict reader gives what serde_json gives, and refuses beyond it only what the contract names.
pub(crate) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    let witness = serde_json::from_slice::<Value>(bytes);
    let map = match parse_object(bytes) {
        Ok(map) => map,
        Err(error) => {
            refused(bytes, &error, witness.as_ref());
            return None;
        }
    };
    let value = Value::Object(map.clone());
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(depth(&value) <= DEPTH_MAX);
    assert_eq!(names(&value), colons(text), "a key was swallowed");
    if !has_magic_key(text) {
        assert_eq!(&value, &witness.unwrap());
    }
    assert_eq!(parse_object(value.to_string().as_bytes()), Ok(map.clone()), "written and read again");
    Some(map)
}

fn refused(bytes: &[u8], error: &JsonError, witness: Result<&Value, &serde_json::Error>) {
    assert!(!error.to_string().is_empty());
    match (error, witness) {
        (_, Err(_)) => {}
        (JsonError::NotObject(_), Ok(value)) => {
            assert!(!value.is_object());
            assert!(parse(bytes).is_ok());
        }
        (JsonError::NotUtf8(_), Ok(_)) => panic!("serde_json reads it"),
        (JsonError::OutOfRange { .. }, Ok(value)) => assert!(has_huge(value), "{value}"),
        (JsonError::Malformed(reason), Ok(value)) => {
            let text = std::str::from_utf8(bytes).unwrap();
            // A value that a repeated key replaced may have been the deep one.
            let repeated = names(value) < colons(text);
            assert!(depth(value) > DEPTH_MAX || repeated || has_magic_key(text), "{reason}");
        }
    }
}

/// Whether a number has the magnitude of one that 64 bits cannot hold.
fn has_huge(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number.abs() >= 9.2e18),
        Value::Array(items) => items.iter().any(has_huge),
        Value::Object(map) => map.values().any(has_huge),
        _ => false,
    }
}

/// serde_json with `raw_value` takes this key of a nested object for its own.
fn has_magic_key(text: &str) -> bool {
    text.contains("$serde_json") || text.contains("\\u00") || text.contains("\\/")
}

/// Names of members, at every depth.
fn names(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(names).sum(),
        Value::Object(map) => map.len() + map.values().map(names).sum::<usize>(),
        _ => 0,
    }
}

/// Colons outside strings: one per member, repeated ones too.
fn colons(text: &str) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b':' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// How deep arrays and objects nest.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

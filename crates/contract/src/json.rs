//! Reading JSON [RFC 8259] as strictly as the contract wants: UTF-8, one object, no key twice, bounded depth.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// How deep arrays and objects may nest, the outermost counted.
pub const DEPTH_MAX: usize = 32;

/// Why a text is not the JSON object that was asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JsonError {
    /// Bytes that are no UTF-8.
    #[error("not UTF-8 from byte {0} on; send JSON encoded as UTF-8")]
    NotUtf8(usize),
    /// Valid JSON, but no object.
    #[error("a JSON object is expected here, not {0}")]
    NotObject(&'static str),
    /// An integer that no number here can hold as it is written [RFC 7493 2.2].
    #[error(
        "number out of range at line {line} column {column}: an integer has at most 64 bits here; send longer ones as text"
    )]
    OutOfRange {
        /// From 1.
        line: usize,
        /// Of its first character, in bytes from 1.
        column: usize,
    },
    /// Anything else, with the place.
    #[error("not valid JSON: {0}")]
    Malformed(String),
}

/// Parses one JSON object.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    match parse(bytes)? {
        Value::Object(map) => Ok(map),
        Value::Null => Err(JsonError::NotObject("null")),
        Value::Bool(_) => Err(JsonError::NotObject("a boolean")),
        Value::Number(_) => Err(JsonError::NotObject("a number")),
        Value::String(_) => Err(JsonError::NotObject("a string")),
        Value::Array(_) => Err(JsonError::NotObject("an array")),
    }
}

/// Parses one JSON value of any kind, as strictly.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::NotUtf8(error.valid_up_to()))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let huge = Cell::new(false);
    let value = Strict { depth: 0, huge: &huge }.deserialize(&mut deserializer).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    match huge.get().then(|| integer_out_of_range(text)).flatten() {
        Some(at) => Err(out_of_range(text, at)),
        None => Ok(value),
    }
}

/// Where the first integer begins that 64 bits cannot hold, in a text that is valid JSON.
fn integer_out_of_range(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let rest = &bytes[at..];
        match byte {
            b'"' => at += string_length(rest),
            b'-' | b'0'..=b'9' => {
                let in_number = |b: &&u8| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let end = at + rest.iter().take_while(in_number).count();
                let number = &text[at..end];
                let is_integer = !number.contains(['.', 'e', 'E']);
                if is_integer && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some(at);
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    None
}

/// The bytes of the string that a valid text begins with, its quotes among them.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    let ends = |byte: &u8| match (escaped, byte) {
        (true, _) => {
            escaped = false;
            false
        }
        (false, b'\\') => {
            escaped = true;
            false
        }
        (false, byte) => *byte == b'"',
    };
    text.iter().skip(1).position(ends).map_or(text.len(), |last| last + 2)
}

fn out_of_range(text: &str, at: usize) -> JsonError {
    let before = &text.as_bytes()[..at];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    JsonError::OutOfRange { line, column: at - line_start + 1 }
}

/// Whether two values are the same, however their numbers are spelled: 51 is 51.0.
pub fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_value(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(name, value): (&String, &Value)| other.get(name).is_some_and(|other| same_value(value, other));
            one.len() == other.len() && one.iter().all(same)
        }
        (one, other) => one == other,
    }
}

fn same_number(one: &Number, other: &Number) -> bool {
    match (one.as_i128(), other.as_i128(), one.as_f64(), other.as_f64()) {
        (Some(one), Some(other), _, _) => one == other,
        (None, None, Some(one), Some(other)) => one == other,
        (Some(integer), None, _, Some(float)) | (None, Some(integer), Some(float), _) => {
            // Exact up to the 64 bits of an integer, where a conversion to a double would round.
            float.fract() == 0.0 && float.abs() < INTEGER_END && float as i128 == integer
        }
        _ => false,
    }
}

/// 2^64: from here on no integer is held as one.
const INTEGER_END: f64 = 18_446_744_073_709_551_616.0;

/// 2^63: a double below it, in magnitude, is none that stands for an integer of more than 64 bits.
const HUGE: f64 = 9_223_372_036_854_775_808.0;

fn malformed(error: serde_json::Error) -> JsonError {
    JsonError::Malformed(error.to_string())
}

/// Builds a `Value` like serde_json's own visitor, but refuses repeated keys and deep nesting.
#[derive(Clone, Copy)]
pub(crate) struct Strict<'a> {
    depth: usize,
    /// Set where a double may stand for an integer that was longer: the visitor cannot see which it was.
    huge: &'a Cell<bool>,
}

impl<'a> Strict<'a> {
    /// For a value within an object; `huge` is set where a number is beyond what an integer can be.
    pub(crate) fn within(huge: &'a Cell<bool>) -> Self {
        Self { depth: 1, huge }
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        if value.abs() >= HUGE {
            self.huge.set(true);
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                let shown: String = key.chars().take(64).collect();
                return Err(A::Error::custom(format_args!("the key {shown:?} appears twice")));
            }
            let value = access.next_value_seed(inner)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_serde_json_reads() {
        let text = r#"{"a":[1,-2,3.5,"x\u00e9",null,true],"b":{"c":{}},"d":18446744073709551615}"#;
        assert_eq!(Value::Object(parse_object(text.as_bytes()).unwrap()), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn integers_beyond_64_bits_are_refused_and_doubles_are_not() {
        for (text, place) in [
            ("{\"a\":123456789012345678901234567890}", "line 1 column 6"),
            ("{\"a\":18446744073709551616}", "line 1 column 6"),
            ("{\"a\":[1e30,{\n \"1\\\"2\":\"3\",\"b\":-9223372036854775809}]}", "line 2 column 17"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("number out of range") && error.contains(place), "{error}");
        }
        for text in [
            r#"{"a":[18446744073709551615,-9223372036854775808,9007199254740993,-0]}"#,
            r#"{"a":123456789012345678901234567890.0,"b":-1E40,"c":"123456789012345678901234567890","d\\\"":1}"#,
        ] {
            let value = parse(text.as_bytes()).unwrap();
            assert_eq!(parse(value.to_string().as_bytes()).unwrap(), value, "written and read again");
        }
    }

    #[test]
    fn numbers_are_the_same_by_value() {
        for (one, other, same) in [
            ("51", "51.0", true),
            ("[1,{\"a\":2e0}]", "[1.0,{\"a\":2}]", true),
            ("0", "-0.0", true),
            ("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true),
            ("9007199254740993", "9007199254740992.0", false),
            ("18446744073709551615", "18446744073709551615.0", false),
            ("9223372036854775808", "9223372036854775808.0", true),
            ("51", "51.5", false),
            ("[1]", "[1,1]", false),
            ("{\"a\":1}", "{\"b\":1}", false),
            ("1", "true", false),
            ("1", "\"1\"", false),
        ] {
            let parse = |text: &str| parse(text.as_bytes()).unwrap();
            assert_eq!(same_value(&parse(one), &parse(other)), same, "{one} {other}");
            assert_eq!(same_value(&parse(other), &parse(one)), same, "{other} {one}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        let deep = "[".repeat(10_000);
        let deep_object = format!("{{\"a\":{deep}");
        for (text, reason) in [
            (&b"{\"a\":1"[..], "EOF"),
            (b"{\"a\":1} x", "trailing"),
            (b"[]", "an array"),
            (b"", "EOF"),
            (b"{\"a\":1,\"a\":2}", "appears twice"),
            (b"{\"b\":{\"a\":1,\"a\":2}}", "appears twice"),
            (b"{\"a\":\"\xff\"}", "UTF-8 from byte 6"),
            (b"{\"a\":1e400}", "out of range"),
            (deep_object.as_bytes(), "nested deeper"),
        ] {
            let error = parse_object(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}

//! Reading JSON [RFC 8259] as strictly as the contract wants: UTF-8, one object, no key twice, bounded depth.

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
    let value = Strict { depth: 0 }.deserialize(&mut deserializer).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    Ok(value)
}

fn malformed(error: serde_json::Error) -> JsonError {
    JsonError::Malformed(error.to_string())
}

/// Builds a `Value` like serde_json's own visitor, but refuses repeated keys and deep nesting.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
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

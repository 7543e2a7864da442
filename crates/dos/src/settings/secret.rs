//! Settings that are not shown: what holds passwords.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// A text that is not shown, such as a URL with a password.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text. Do not log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// Names and values for librdkafka; only the names are shown. Written as tables (`sasl.password = ".."` is one) or under
/// names in quotes.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Properties(pub BTreeMap<String, String>);

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What a property's value may be written as.
#[derive(Deserialize)]
#[serde(untagged, expecting = "text, a number, true or false is wanted")]
enum Written {
    Text(String),
    Number(i64),
    Truth(bool),
    Table(BTreeMap<String, Written>),
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut properties = BTreeMap::new();
        flatten(&mut properties, "", BTreeMap::deserialize(deserializer)?);
        Ok(Self(properties))
    }
}

fn flatten(properties: &mut BTreeMap<String, String>, prefix: &str, table: BTreeMap<String, Written>) {
    for (name, value) in table {
        let name = format!("{prefix}{name}");
        let text = match value {
            Written::Text(text) => text,
            Written::Number(number) => number.to_string(),
            Written::Truth(truth) => truth.to_string(),
            Written::Table(table) => {
                flatten(properties, &format!("{name}."), table);
                continue;
            }
        };
        properties.insert(name, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_however_they_are_written_and_not_shown() {
        let json = r#"{"sasl": {"password": "hunter2", "mechanism": "PLAIN"}, "linger.ms": 5, "socket.keepalive.enable": true}"#;
        let properties: Properties = serde_json::from_str(json).unwrap();
        let pairs: Vec<_> = properties.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let wanted = [
            ("linger.ms", "5"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.password", "hunter2"),
            ("socket.keepalive.enable", "true"),
        ];
        assert_eq!(pairs, wanted);
        assert!(!format!("{properties:?} {:?}", Secret::from("hunter2")).contains("hunter2"));
        assert!(serde_json::from_str::<Properties>(r#"{"a": [1]}"#).unwrap_err().to_string().contains("is wanted"));
    }
}

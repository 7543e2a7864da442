//! Settings from variables: `DOS_` and the name, `__` between levels.

use figment::providers::Env;
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

/// Variables that are for tests and not settings.
const NOT_SETTINGS: &str = "DOS_TEST_";

/// Settings within sections that are text, whatever it looks like; with a dot at the end, all that begin so.
const TEXTS: [&str; 9] = [
    "log.",
    "kafka.brokers",
    "kafka.topic_prefix",
    PROPERTIES,
    "database.url",
    "database.schema",
    "database.ca_file",
    "redis.",
    "snapshot.dir",
];

/// librdkafka's names have dots and no `_`, variables the other way round.
const PROPERTIES: &str = "kafka.properties.";

/// The variables that are settings.
pub(super) struct Environment(Env);

impl Environment {
    pub(super) fn new() -> Self {
        let is_setting = |name: &str| !format!("DOS_{name}").to_uppercase().starts_with(NOT_SETTINGS);
        Self(Env::prefixed("DOS_").filter(move |name| is_setting(name.as_str())).split("__"))
    }

    /// What is no text and looks like a number or a truth is one.
    fn value(name: &str, text: String) -> Value {
        if is_text(name) {
            return Value::from(text);
        }
        match (text.trim().parse::<u64>(), text.trim().parse::<bool>()) {
            (Ok(number), _) => Value::from(number),
            (_, Ok(truth)) => Value::from(truth),
            _ => Value::from(text),
        }
    }
}

/// Puts a value into sections within sections. A variable of a section's own name is refused when it is read.
fn insert(settings: &mut Dict, path: &[&str], value: Value) {
    match path {
        [] => {}
        [name] => drop(settings.insert((*name).to_owned(), value)),
        [section, rest @ ..] => {
            let section = settings.entry((*section).to_owned()).or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, section) = section {
                insert(section, rest, value);
            }
        }
    }
}

/// No setting outside of a section is a number, nor are these: `DOS_INSTANCE=1` is text.
fn is_text(name: &str) -> bool {
    !name.contains('.') || TEXTS.iter().any(|text| name == *text || text.ends_with('.') && name.starts_with(text))
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("the environment, DOS_...")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut settings = Dict::new();
        for (name, text) in self.0.iter() {
            let name = name.as_str();
            let value = Self::value(name, text);
            let property = name.strip_prefix(PROPERTIES).map(|property| property.replace('_', "."));
            let path: Vec<&str> = match &property {
                Some(property) => vec!["kafka", "properties", property],
                None => name.splitn(2, '.').collect(),
            };
            insert(&mut settings, &path, value);
        }
        Ok(Profile::Default.collect(settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn text_in_a_variable_stays_text() {
        let text = |name: &str, text: &str| assert_eq!(Environment::value(name, text.to_owned()), Value::from(text));
        for name in [
            "instance",
            "public_url",
            "entities",
            "data_dir",
            "listen",
            "log.filter",
            "kafka.topic_prefix",
            "kafka.properties.sasl_password",
            "database.url",
        ] {
            for value in ["1", "007", "true", "1.10", "{a=1}", "[x]", "\"q\""] {
                text(name, value);
            }
        }
        text("http.write_wait_ms", "long");
        text("http.write_wait_ms", "-1");
        assert_eq!(Environment::value("stream.partitions", "8".to_owned()), Value::from(8_u64));
        assert_eq!(Environment::value("kafka.create_topics", "false".to_owned()), Value::from(false));
    }

    #[test]
    fn properties_of_librdkafka_have_dots() {
        let mut settings = Dict::new();
        insert(&mut settings, &["kafka", "brokers"], Value::from("a:1"));
        insert(&mut settings, &["kafka", "properties", "sasl.password"], Value::from("1"));
        let Some(Value::Dict(_, kafka)) = settings.get("kafka") else { panic!("{settings:?}") };
        let Some(Value::Dict(_, properties)) = kafka.get("properties") else { panic!("{settings:?}") };
        assert!(kafka.contains_key("brokers") && properties.contains_key("sasl.password"));
    }

    /// What [`Environment::value`] takes for granted.
    #[test]
    fn text_is_told_from_numbers_by_its_name() {
        let settings = serde_json::to_value(Settings::default()).unwrap();
        let no_text_without_default =
            ["stream.partitions", "kafka.partitions", "kafka.replication", "kafka.min_insync_replicas", "store.lists"];
        for (name, value) in settings.as_object().unwrap() {
            assert!(!value.is_number() && !value.is_boolean(), "{name}");
            for (inner, value) in value.as_object().into_iter().flatten() {
                let name = format!("{name}.{inner}");
                let is_number = value.is_number() || value.is_boolean() || no_text_without_default.contains(&&*name);
                assert_eq!(is_number || value.is_object(), !is_text(&name), "{name}");
            }
        }
    }
}

//! `dos tail`: which events are shown, and how one looks on a line.
//!
//! Everything on the stream is somebody else's: an event may lack any attribute, be no CloudEvent at all, or hold
//! escape sequences. It is shown as what it is, on one line, with nothing that steers a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::PathBuf;

use contract::{EntityId, Key, Stored, Topic, TypeName};
use serde_json::{Map, Value};

use super::text::{cut, printable, thousands};

const DATA_CHARS_MAX: usize = 300;
const NAME_CHARS_MAX: usize = 120;
const FAINT: &str = "\u{1b}[2m";
const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const PLAIN: &str = "\u{1b}[0m";

/// Show events of `dos serve` as they pass.
///
/// It reads the data folder of the embedded stream, and cannot follow Kafka; there, kafka-console-consumer.sh shows the topics.
///
/// A line per event: time, topic/partition@offset, type, entity, version, correlation id, size.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of the data.
    #[arg(long, value_name = "DIR", default_value = "dos-data")]
    pub data_dir: PathBuf,
    /// Only events of this entity type (repeat for several).
    #[arg(long = "type", value_name = "T", value_parser = entity_type)]
    pub types: Vec<TypeName>,
    /// Only events of the entity with this id (repeat for several).
    #[arg(long = "id", value_name = "ID", value_parser = entity_id)]
    pub ids: Vec<EntityId>,
    /// Only events of this topic (repeat for several).
    #[arg(long = "topic", value_name = "TOPIC")]
    pub topics: Vec<TopicName>,
    /// Begin with the oldest event that is kept, not with the next one.
    #[arg(long)]
    pub from_start: bool,
    /// Show each event's data, cut where it is long.
    #[arg(long)]
    pub data: bool,
    /// Show data whole.
    #[arg(long, requires = "data")]
    pub full: bool,
    /// Write a JSON object per event, for other programs.
    #[arg(long, conflicts_with_all = ["data", "full"])]
    pub json: bool,
}

/// A topic by its short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TopicName {
    /// What gateways ask.
    Commands,
    /// The current view of every entity.
    Views,
    /// What makes no view.
    Replies,
    /// What no store could read.
    Quarantine,
}

/// How much of an event is shown, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// With colours.
    pub color: bool,
    /// With the data, at most this many characters of it.
    pub data_chars_max: Option<usize>,
}

impl Args {
    /// The topics to read.
    pub fn topics(&self) -> Vec<Topic> {
        let chosen = |topic: &Topic| self.topics.is_empty() || self.topics.iter().any(|name| name.topic() == *topic);
        Topic::ALL.into_iter().filter(chosen).collect()
    }

    /// Whether this event was asked for.
    pub fn wants(&self, topic: Topic, stored: &Stored) -> bool {
        if !self.topics().contains(&topic) {
            return false;
        }
        let (entity_type, id) = entity(stored);
        let type_wanted =
            self.types.is_empty() || self.types.iter().any(|t| Some(t.as_str()) == entity_type.as_deref());
        let id_wanted = self.ids.is_empty() || self.ids.iter().any(|i| Some(i.as_str()) == id.as_deref());
        type_wanted && id_wanted
    }

    /// The look that was asked for.
    pub fn look(&self, color: bool) -> Look {
        let data_chars_max = self.data.then_some(if self.full { usize::MAX } else { DATA_CHARS_MAX });
        Look { color, data_chars_max }
    }

    /// The event as it was asked for, without the end of the line.
    pub fn show(&self, topic: Topic, stored: &Stored, color: bool) -> String {
        if self.json { json(topic, stored) } else { line(topic, stored, self.look(color)) }
    }
}

impl TopicName {
    /// The topic it names.
    pub fn topic(self) -> Topic {
        match self {
            Self::Commands => Topic::Commands,
            Self::Views => Topic::Views,
            Self::Replies => Topic::Replies,
            Self::Quarantine => Topic::Quarantine,
        }
    }
}

/// One readable line.
pub fn line(topic: Topic, stored: &Stored, look: Look) -> String {
    let paint = |code: &str, text: String| if look.color { format!("{code}{text}{PLAIN}") } else { text };
    let record = &stored.record;
    let place = format!("{}/{}@{}", topic.name(), stored.partition, stored.offset);
    let time = shown(stored, "ce_time").unwrap_or_else(|| "-".to_owned());
    let mut line = format!("{} {}", paint(FAINT, time), paint(FAINT, place));
    match shown(stored, "ce_type") {
        Some(event_type) => {
            let subject = shown(stored, "ce_subject").unwrap_or_else(|| key(stored));
            let _ = write!(line, " {} {subject}", paint(BOLD, event_type));
        }
        None => {
            let _ = write!(line, " {} key={}", paint(RED, "no CloudEvent".to_owned()), key(stored));
        }
    }
    if let Some(version) = shown(stored, "ce_version") {
        let _ = write!(line, " v{version}");
    }
    if let Some(id) = shown(stored, "ce_correlationid") {
        let _ = write!(line, " {}", paint(FAINT, short(&id)));
    }
    let _ = write!(line, " {} B", thousands(record.value.len() as u64));
    if let Some(chars_max) = look.data_chars_max
        && !record.value.is_empty()
    {
        // Cut before escaping, so that the work is bounded by what is shown.
        let _ = write!(line, " {}", printable(&cut(&String::from_utf8_lossy(&record.value), chars_max)));
    }
    line
}

/// The event as a JSON object on one line. Headers and keys that are no UTF-8 get replacement characters; a value that
/// is no JSON stands as `text`.
pub fn json(topic: Topic, stored: &Stored) -> String {
    let record = &stored.record;
    let mut headers = Map::new();
    for (name, value) in record.headers.iter() {
        headers.insert(lossy(name).into_owned(), lossy(value).into());
    }
    let mut event = Map::new();
    event.insert("topic".to_owned(), topic.name().into());
    event.insert("partition".to_owned(), stored.partition.into());
    event.insert("offset".to_owned(), stored.offset.into());
    event.insert("key".to_owned(), lossy(&record.key).into());
    event.insert("headers".to_owned(), headers.into());
    event.insert("size_bytes".to_owned(), record.value.len().into());
    match serde_json::from_slice::<Value>(&record.value) {
        Ok(data) => event.insert("data".to_owned(), data),
        Err(_) if record.value.is_empty() => None,
        Err(_) => event.insert("text".to_owned(), lossy(&record.value).into()),
    };
    Value::Object(event).to_string()
}

/// The entity that an event is about, as far as it says: from the attributes, else from the key.
fn entity(stored: &Stored) -> (Option<String>, Option<String>) {
    let key = std::str::from_utf8(&stored.record.key).ok().and_then(Key::parse);
    let attribute = |name| stored.record.headers.get(name).map(|value| lossy(value).into_owned());
    // `dos.<type>.<what>`
    let from_type = attribute("ce_type").and_then(|t| t.split('.').nth(1).map(str::to_owned));
    let entity_type = from_type.or_else(|| Some(key.as_ref()?.entity_type.to_string()));
    let id = attribute("ce_subject").or_else(|| Some(key.as_ref()?.id.as_ref()?.to_string()));
    (entity_type, id)
}

fn shown(stored: &Stored, header: &str) -> Option<String> {
    let value = stored.record.headers.get(header).filter(|value| !value.is_empty())?;
    Some(printable(&cut(&lossy(value), NAME_CHARS_MAX)))
}

fn key(stored: &Stored) -> String {
    if stored.record.key.is_empty() {
        "(none)".to_owned()
    } else {
        printable(&cut(&lossy(&stored.record.key), NAME_CHARS_MAX))
    }
}

/// The end of an id: UUIDv7s of one second begin alike.
fn short(id: &str) -> String {
    let skip = id.chars().count().saturating_sub(8);
    let end: String = id.chars().skip(skip).collect();
    if skip == 0 { end } else { format!("…{end}") }
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn entity_type(text: &str) -> Result<TypeName, String> {
    TypeName::parse(text).ok_or_else(|| "not the name of an entity type, like provider".to_owned())
}

fn entity_id(text: &str) -> Result<EntityId, String> {
    EntityId::parse(text).ok_or_else(|| "not 1 to 64 of A-Z a-z 0-9 . _ -".to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use contract::{Headers, Record};

    use super::*;

    fn stored(key: &'static str, headers: &[(&str, &str)], value: &'static [u8]) -> Stored {
        let headers = Headers::from_pairs(headers.iter().map(|(n, v)| (*n, v.as_bytes())));
        let record = Record { key: Bytes::from_static(key.as_bytes()), headers, value: Bytes::from_static(value) };
        Stored { partition: 3, offset: 41, record }
    }

    fn view() -> Stored {
        let headers = [
            ("ce_id", "x"),
            ("ce_type", "dos.provider.view"),
            ("ce_subject", "old-1"),
            ("ce_time", "2026-01-02T03:04:05Z"),
            ("ce_version", "7"),
            ("ce_correlationid", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ];
        stored("provider:old-1", &headers, b"{\"id\":\"old-1\",\"name\":\"caf\xc3\xa9\\n\"}")
    }

    fn args(words: &[&str]) -> Args {
        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            args: Args,
        }
        let words = std::iter::once("tail").chain(words.iter().copied());
        <Program as clap::Parser>::try_parse_from(words).unwrap().args
    }

    #[test]
    fn an_event_is_one_line() {
        let plain = "2026-01-02T03:04:05Z dos.views/3@41 dos.provider.view old-1 v7 …099a8057 31 B";
        assert_eq!(line(Topic::Views, &view(), Look::default()), plain);
        let with_data = args(&["--data"]).show(Topic::Views, &view(), false);
        assert_eq!(with_data, format!("{plain} {{\"id\":\"old-1\",\"name\":\"café\\n\"}}"));
        let look = Look { color: true, data_chars_max: Some(4) };
        let colored = line(Topic::Views, &view(), look);
        assert!(colored.contains("\u{1b}[1mdos.provider.view\u{1b}[0m") && colored.ends_with(" {\"id…"));
    }

    #[test]
    fn what_is_no_event_is_shown_as_such() {
        let strange = stored("a\u{1b}[2J\nb", &[("x", "\u{7}")], b"\xff\x1b{");
        let text = line(Topic::Commands, &strange, Look { color: false, data_chars_max: Some(10) });
        assert_eq!(text, "- dos.commands/3@41 no CloudEvent key=a\\u{1b}[2J\\nb 3 B \u{fffd}\\u{1b}{");
        assert!(
            line(Topic::Commands, &stored("", &[], b""), Look::default()).ends_with("no CloudEvent key=(none) 0 B")
        );
        let value: Value = serde_json::from_str(&json(Topic::Commands, &strange)).unwrap();
        assert_eq!(value["text"], "\u{fffd}\u{1b}{");
        assert_eq!(value["key"], "a\u{1b}[2J\nb");
    }

    #[test]
    fn filters_by_topic_type_and_id() {
        let all: &[&str] = &[];
        for (words, expected) in [
            (all, true),
            (&["--type", "provider"][..], true),
            (&["--type", "service", "--type", "provider"], true),
            (&["--type", "service"], false),
            (&["--id", "old-1", "--topic", "views"], true),
            (&["--id", "old-2"], false),
            (&["--topic", "commands", "--topic", "replies"], false),
        ] {
            assert_eq!(args(words).wants(Topic::Views, &view()), expected, "{words:?}");
        }
        let bare = stored("provider:old-1", &[], b"");
        assert!(args(&["--type", "provider", "--id", "old-1"]).wants(Topic::Views, &bare));
        assert_eq!(args(&[]).topics().len(), 4);
    }

    #[test]
    fn json_has_everything() {
        let value: Value = serde_json::from_str(&args(&["--json"]).show(Topic::Views, &view(), true)).unwrap();
        assert_eq!(value["data"]["id"], "old-1");
        assert_eq!(value["headers"]["ce_version"], "7");
        assert_eq!((&value["topic"], &value["offset"]), (&"dos.views".into(), &41.into()));
    }
}

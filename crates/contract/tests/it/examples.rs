//! One example of each event, as it lies on the stream: others have written such records and will read them, so a change of a
//! snapshot is a change of the format.

use bytes::Bytes;
use contract::precondition::{Tag, Tags};
use contract::reply::{Current, FirstAnswer, Page, WriteAction};
use contract::wire::cloudevents::{encode_command, encode_quarantined, encode_reply, encode_view};
use contract::{
    Action, Command, CommandId, Digest, FieldError, Idempotency, Key, ListPosition, ListQuery, Outcome, OutcomeStatus,
    Precondition, Problem, Record, Registry, Repeat, Reply, ReplyBody, Retry, Slug, Sort, SortBy, SortKey, Stored,
    Timestamp, Topic, View,
};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::checks;

/// Frozen here, so that its hash in `dataschema` does not follow the text of the file in `entities`.
const TAXONOMY: &str =
    r#"{"type":"object","properties":{"term":{"type":"string"},"parent_id":{"type":["string","null"]}}}"#;

/// The same, with what lists can be filtered by.
const FILTERED: &str = r#"{"type":"object","properties":{"term":{"type":"string","x-filter":true},"parent_id":{"type":["string","null"],"x-filter":true}}}"#;

const COMMAND: &str = "019364f0-7a4b-7c52-9d5e-0a1b2c3d4e5f";
const OTHER: &str = "019364f0-7a4b-7c52-9d5e-0a1b2c3d4e60";
const OBJECT: &str = r#"{"id":"old-1","term":"Keeping healthy – “well”","parent_id":null,"created":"2023-04-04T00:00:00Z","updated":"2026-11-24T09:30:00.125Z"}"#;

fn registry() -> Registry {
    Registry::with_files(&[("taxonomy".to_owned(), TAXONOMY.to_owned())]).unwrap()
}

fn time() -> Timestamp {
    Timestamp::parse("2026-11-24T09:30:00.125Z").unwrap()
}

fn key() -> Key {
    Key::parse("taxonomy:old-1").unwrap()
}

fn position() -> ListPosition {
    ListPosition::at(Timestamp::parse("2023-04-04T00:00:00Z").unwrap(), key().id.unwrap())
}

fn fields(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("an object") };
    map
}

/// A command of that name.
pub(crate) fn command(name: &str) -> Command {
    let action = match name {
        "create" => Action::Create(fields(json!({"term":"Keeping healthy","created":"2023-04-04T00:00:00Z"}))),
        "update" => Action::Update(fields(json!({"term":"Keeping healthy – “well”","parent_id":null}))),
        "delete" => Action::Delete,
        "retrieve" => Action::Retrieve { operation: None },
        "outcome" => Action::Retrieve { operation: CommandId::parse(OTHER) },
        "list-filtered" => Action::List(ListQuery {
            filter: [("term", "Keeping healthy"), ("parent_id", "")]
                .map(|(n, v)| (n.to_owned(), vec![v.to_owned()]))
                .into(),
            modified_after: Timestamp::parse("2023-04-04T00:00:00Z"),
            ids: None,
            sort: Sort { by: SortBy::Name, descending: true },
            limit: 50,
            after: Some(ListPosition { key: SortKey::Name("keeping".to_owned()), id: key().id.unwrap() }),
        }),
        "list-ids" => Action::List(ListQuery { limit: 2, ids: Some(vec![key().id.unwrap()]), ..ListQuery::default() }),
        _ => Action::List(ListQuery { limit: 50, after: Some(position()), ..ListQuery::default() }),
    };
    let tag = |weak, opaque: &str| Tag { weak, opaque: opaque.to_owned() };
    let precondition = match action {
        Action::Create(_) => Some(Precondition::absent()),
        Action::Delete => Some(Precondition {
            if_match: Some(Tags::Listed(vec![tag(false, "2-00f1a2b3c4d5e6f7"), tag(true, "x")])),
            if_none_match: None,
            if_unmodified_since: Timestamp::parse("2026-11-24T09:30:00Z"),
        }),
        _ => None,
    };
    let idempotency = (name == "delete").then_some(Idempotency { key: Digest([7; 32]), fingerprint: Digest([8; 32]) });
    let is_list = matches!(action, Action::List(_));
    Command {
        id: CommandId::parse(COMMAND).unwrap(),
        key: if is_list { Key::list(key().entity_type) } else { key() },
        precondition,
        idempotency,
        action,
        time: time(),
        source: "/gateway/1".to_owned(),
        request_id: Some("job-7:row-12".to_owned()),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    }
}

pub(crate) fn view() -> View {
    View {
        key: key(),
        version: 2,
        time: time(),
        correlation: CommandId::parse(COMMAND).unwrap(),
        object: Some(Bytes::from_static(OBJECT.as_bytes())),
        data_schema: registry().get("taxonomy").unwrap().data_schema().to_owned(),
    }
}

fn reply(name: &str) -> Reply {
    let problem =
        Problem::with_errors(Slug::InvalidEntity, vec![FieldError::field("term", "is required")]).retry(Retry::No);
    let current = Current { object: Bytes::from_static(OBJECT.as_bytes()), view_time: time() };
    let body = match name {
        "rejected" => ReplyBody::Rejected(problem),
        "unchanged" => ReplyBody::Unchanged(current),
        "retrieved" => ReplyBody::Retrieved(current),
        "listed" => {
            let items = vec![RawValue::from_string(OBJECT.to_owned()).unwrap()];
            ReplyBody::Listed(Page { items, total: 61, next: Some(position()) })
        }
        "repeated" | "repeated-rejection" => ReplyBody::Repeated(Repeat {
            command: CommandId::parse(OTHER).unwrap(),
            key: key(),
            action: WriteAction::Create,
            version: Some(1),
            answer: if name == "repeated" { FirstAnswer::Object(current) } else { FirstAnswer::Rejected(problem) },
        }),
        _ => ReplyBody::Outcome(Outcome {
            command: CommandId::parse(OTHER).unwrap(),
            status: OutcomeStatus::Failed,
            version: Some(2),
            entity: None,
            problem: Some(problem),
            created: Some(time()),
        }),
    };
    Reply {
        correlation: CommandId::parse(COMMAND).unwrap(),
        key: if name == "listed" { Key::list(key().entity_type) } else { key() },
        version: (name != "listed").then_some(2),
        time: Timestamp::parse("2026-11-24T09:30:01Z").unwrap(),
        body,
    }
}

#[test]
fn events_are_written_as_ever() {
    let registry = registry();
    let show = |name: &str, record: &Record| insta::assert_snapshot!(name, checks::text::of_record(record));
    for name in ["create", "update", "delete", "retrieve", "outcome", "list", "list-ids"] {
        let record = encode_command(&command(name), &registry);
        show(&format!("command-{name}"), &record);
        assert!(checks::command(&record, &registry));
    }
    let record = encode_view(&view(), "/store/1");
    show("view", &record);
    assert!(checks::view(&record));
    let record = encode_view(&View { object: None, data_schema: String::new(), version: 3, ..view() }, "/store/1");
    show("view-deleted", &record);
    assert!(checks::view(&record));
    let filtered = Registry::with_files(&[("taxonomy".to_owned(), FILTERED.to_owned())]).unwrap();
    let record = encode_command(&command("list-filtered"), &filtered);
    show("command-list-filtered", &record);
    assert!(checks::command(&record, &filtered));
    for name in ["rejected", "unchanged", "retrieved", "listed", "outcome", "repeated", "repeated-rejection"] {
        let record = encode_reply(&reply(name), "/store/1");
        show(&format!("reply-{name}"), &record);
        assert!(checks::reply(&record));
    }
    let stored = Stored { partition: 3, offset: 70, record: encode_command(&command("create"), &registry) };
    show(
        "quarantined",
        &encode_quarantined(Topic::Commands, &stored, "there is no entity type \"taxonomy\" here", 2 << 20),
    );
}

/// Durable as well: the embedded stream stores headers in this form.
#[test]
fn headers_are_stored_as_ever() {
    let headers =
        contract::Headers::from_pairs([("ce_id", &b"\xff1"[..]), ("", b""), ("content-type", b"application/json")]);
    insta::assert_debug_snapshot!("headers", headers.as_bytes());
}

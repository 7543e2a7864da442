//! Anything at all: ids, times, JSON, bodies, events.

use bytes::Bytes;
use contract::command::LIST_LIMIT_MAX;
use contract::entity::Kind;
use contract::problem::Place;
use contract::reply::{Current, Page};
use contract::{
    Action, Command, CommandId, EntityId, EntityType, FieldError, Key, ListPosition, ListQuery, Outcome, OutcomeStatus,
    Precondition, Problem, Registry, Reply, ReplyBody, Retry, Slug, Timestamp, TypeName, View,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

/// The first instant of the year 0 and the last one of 9999, in milliseconds.
pub(crate) const MILLIS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

pub(crate) fn timestamp() -> impl Strategy<Value = Timestamp> {
    let edges = prop_oneof![Just(*MILLIS.start()), Just(*MILLIS.end()), Just(0), Just(-1)];
    prop_oneof![8 => MILLIS, 1 => edges].prop_map(Timestamp::from_millis)
}

pub(crate) fn entity_id() -> impl Strategy<Value = EntityId> {
    "[A-Za-z0-9._-]{1,64}".prop_filter_map("dot segments", |text| EntityId::parse(&text))
}

pub(crate) fn command_id() -> impl Strategy<Value = CommandId> {
    any::<u128>().prop_map(|number| CommandId(uuid::Uuid::from_u128(number)))
}

pub(crate) fn key() -> impl Strategy<Value = Key> {
    ("[a-z][a-z0-9_]{0,31}", entity_id()).prop_map(|(name, id)| Key::new(TypeName::parse(&name).unwrap(), id))
}

/// Text as directories have it, with what breaks parsers among it.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "",
        "\u{a0}",
        "“quoted”",
        "£5",
        "a\r\nb",
        "\"\\/",
        "\u{2028}",
        "\u{10ffff}",
        "\u{0}",
    ]);
    prop_oneof![4 => "\\PC{0,40}", 2 => any::<String>(), 1 => odd.prop_map(str::to_owned)]
}

pub(crate) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((text(), inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

pub(crate) fn object() -> impl Strategy<Value = Map<String, Value>> {
    vec((text(), json()), 0..6).prop_map(|pairs| pairs.into_iter().collect())
}

/// A value that the field's schema takes, or sometimes `null`.
fn good_value(name: &str, kind: Kind, required: bool) -> BoxedStrategy<Value> {
    let good = match (kind, name) {
        (Kind::Flag, _) => prop_oneof![Just(json!(0)), Just(json!(1)), Just(json!(true)), Just(json!(0.0))].boxed(),
        (Kind::List, "parts") => vec(text_without_nul().prop_map(Value::from), 0..3).prop_map(Value::from).boxed(),
        (Kind::List, _) => prop::collection::btree_set(entity_id().prop_map(|id| id.to_string()), 0..9)
            .prop_map(|ids| ids.into_iter().collect())
            .boxed(),
        (_, "flagged") => any::<bool>().prop_map(Value::from).boxed(),
        (_, "latitude" | "longitude") => (-90.0..=90.0_f64).prop_map(Value::from).boxed(),
        (_, "seats" | "wheels") => (1..9_u8).prop_map(Value::from).boxed(),
        (_, "plate") => "[A-Z0-9]{1,8}".prop_map(Value::from).boxed(),
        (_, "extra") => btree_map("[a-z]", text_without_nul(), 0..3).prop_map(|map| json!(map)).boxed(),
        (_, name) if name.ends_with("_id") => entity_id().prop_map(|id| json!(id.as_str())).boxed(),
        _ => text_without_nul().prop_map(Value::from).boxed(),
    };
    if required { good } else { prop_oneof![5 => good, 1 => Just(Value::Null)].boxed() }
}

fn text_without_nul() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.replace('\0', " "))
}

/// Complete fields that the type's schema takes.
pub(crate) fn good_fields(entity_type: &EntityType) -> BoxedStrategy<Map<String, Value>> {
    let mut all = Just(Map::new()).boxed();
    for field in entity_type.fields() {
        let (name, required) = (field.name.clone(), field.required);
        let value = good_value(&name, field.kind, required);
        let sent = if required { Just(true).boxed() } else { any::<bool>().boxed() };
        all = (all, value, sent)
            .prop_map(move |(mut map, value, sent)| {
                if sent {
                    map.insert(name.clone(), value);
                }
                map
            })
            .boxed();
    }
    all
}

/// A type's body in which some things may be wrong: values, aliases, unknown names, stamps.
pub(crate) fn body(entity_type: &EntityType) -> BoxedStrategy<Map<String, Value>> {
    let mut names: Vec<String> = entity_type.fields().iter().map(|field| field.name.clone()).collect();
    names.extend(entity_type.fields().iter().filter_map(|field| field.alias.clone()));
    names.extend(["id", "created", "updated"].map(str::to_owned));
    let names = prop_oneof![6 => prop::sample::select(names), 1 => text()];
    let time = timestamp().prop_map(|time| json!(time.to_string()));
    let value = prop_oneof![3 => json(), 1 => Just(json!("a-1")), 1 => time, 1 => text().prop_map(Value::from)];
    (good_fields(entity_type), vec((names, value), 0..5))
        .prop_map(|(mut map, wrong)| {
            map.extend(wrong);
            map
        })
        .boxed()
}

/// One of the registry's types, with complete fields.
pub(crate) fn entity(registry: &Registry) -> impl Strategy<Value = (TypeName, Map<String, Value>)> + use<> {
    let types: Vec<_> = registry.iter().map(|t| (t.name().clone(), good_fields(t))).collect();
    prop::sample::select(types).prop_flat_map(|(name, fields)| (Just(name), fields))
}

fn label() -> impl Strategy<Value = String> {
    text().prop_filter("CloudEvents wants a source", |text| !text.is_empty())
}

fn position() -> impl Strategy<Value = ListPosition> {
    (timestamp(), entity_id()).prop_map(|(created, id)| ListPosition { created, id })
}

pub(crate) fn command(registry: &Registry) -> impl Strategy<Value = Command> + use<> {
    let list = (1..=LIST_LIMIT_MAX, option::of(position())).prop_map(|(limit, after)| ListQuery { limit, after });
    let rest = (command_id(), any::<bool>(), timestamp(), label(), option::of(text()), option::of(text()));
    (entity(registry), entity_id(), 0..4_u8, option::of(command_id()), list, rest).prop_map(
        |((name, fields), id, action, operation, list, rest)| {
            let (command, absent, time, source, request_id, traceparent) = rest;
            let action = match action {
                0 => Action::Create(fields),
                1 => Action::Update(fields),
                2 => Action::Retrieve { operation },
                _ => Action::List(list),
            };
            let key = if action.name() == "list" { Key::list(name) } else { Key::new(name, id) };
            let precondition = absent.then_some(Precondition::Absent);
            Command { id: command, key, action, precondition, time, source, request_id, traceparent }
        },
    )
}

fn full_object() -> impl Strategy<Value = Bytes> {
    object().prop_map(|map| Value::Object(map).to_string().into())
}

pub(crate) fn view() -> impl Strategy<Value = View> {
    (key(), 1..=u64::MAX, timestamp(), command_id(), full_object(), text()).prop_map(
        |(key, version, time, correlation, object, data_schema)| View {
            key,
            version,
            time,
            correlation,
            object,
            data_schema,
        },
    )
}

pub(crate) fn problem() -> impl Strategy<Value = Problem> {
    let place =
        prop_oneof![text().prop_map(Place::Pointer), text().prop_map(Place::Parameter), text().prop_map(Place::Header)];
    let errors = vec((place, text()).prop_map(|(place, detail)| FieldError { place, detail }), 0..4);
    let retry = option::of(prop::sample::select(vec![Retry::Safe, Retry::Unknown, Retry::No]));
    (prop::sample::select(Slug::ALL), text(), errors, retry).prop_map(|(slug, detail, errors, retry)| Problem {
        slug,
        detail: detail.into(),
        errors,
        retry,
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let status = vec![OutcomeStatus::Succeeded, OutcomeStatus::Failed, OutcomeStatus::Unknown];
    let rest = (option::of(any::<u64>()), option::of(problem()), option::of(timestamp()));
    (command_id(), prop::sample::select(status), rest).prop_map(|(command, status, (version, problem, created))| {
        Outcome { command, status, version, problem, created }
    })
}

pub(crate) fn reply() -> impl Strategy<Value = Reply> {
    let current = || (full_object(), timestamp()).prop_map(|(object, view_time)| Current { object, view_time });
    let page = (vec(json(), 0..4), any::<u64>(), option::of(position())).prop_map(|(items, total, next)| {
        let items = items.iter().map(|item| to_raw_value(item).unwrap()).collect();
        ReplyBody::Listed(Page { items, total, next })
    });
    let body = prop_oneof![
        problem().prop_map(ReplyBody::Rejected),
        current().prop_map(ReplyBody::Unchanged),
        current().prop_map(ReplyBody::Retrieved),
        page,
        outcome().prop_map(ReplyBody::Outcome),
    ];
    (command_id(), key(), any::<bool>(), option::of(1..=u64::MAX), timestamp(), body).prop_map(
        |(correlation, key, is_list, version, time, body)| {
            let needs = matches!(body, ReplyBody::Unchanged(_) | ReplyBody::Retrieved(_));
            let version = if needs { version.or(Some(1)) } else { version };
            let key = if is_list { Key::list(key.entity_type) } else { key };
            Reply { correlation, key, version, time, body }
        },
    )
}

//! Anything at all: ids, times, JSON, bodies, events.

use bytes::Bytes;
use contract::entity::Kind;
use contract::list::{FILTER_VALUES_MAX, IDS_MAX, LIST_LIMIT_MAX, name_key};
use contract::precondition::{Tag, Tags};
use contract::problem::Place;
use contract::reply::{Current, FirstAnswer, Page, WriteAction};
use contract::{
    Action, Command, CommandId, Digest, EntityId, EntityType, FieldError, Idempotency, Key, ListPosition, ListQuery,
    Outcome, OutcomeStatus, Precondition, Problem, Registry, Repeat, Reply, ReplyBody, Retry, Slug, Sort, SortBy,
    SortKey, Timestamp, TypeName, View,
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

fn label() -> impl Strategy<Value = String> {
    text().prop_filter("CloudEvents wants a source", |text| !text.is_empty())
}

fn position_in(by: SortBy) -> BoxedStrategy<ListPosition> {
    let key = match by {
        SortBy::Created | SortBy::Updated => timestamp().prop_map(SortKey::Time).boxed(),
        SortBy::Name => {
            let name = text().prop_map(|text| SortKey::Name(name_key(&text)));
            prop_oneof![4 => name, 1 => Just(SortKey::Unnamed)].boxed()
        }
    };
    (key, entity_id()).prop_map(|(key, id)| ListPosition { key, id }).boxed()
}

fn position() -> impl Strategy<Value = ListPosition> {
    prop_oneof![position_in(SortBy::Created), position_in(SortBy::Name)]
}

fn sort() -> impl Strategy<Value = Sort> {
    let by = prop::sample::select(vec![SortBy::Created, SortBy::Updated, SortBy::Name]);
    (by, any::<bool>()).prop_map(|(by, descending)| Sort { by, descending })
}

/// Lists that the type can answer.
fn list_query(entity_type: &EntityType) -> BoxedStrategy<ListQuery> {
    let mut filter = Just(std::collections::BTreeMap::new()).boxed();
    for field in entity_type.fields().iter().filter(|field| field.filter) {
        let (name, kind) = (field.name.clone(), field.kind);
        let value = match (kind, name.as_str()) {
            (Kind::Flag, _) => prop::sample::select(vec!["0", "1", ""]).prop_map(str::to_owned).boxed(),
            (_, "flagged") => prop::sample::select(vec!["true", "false", ""]).prop_map(str::to_owned).boxed(),
            _ => text_without_nul().boxed(),
        };
        let values =
            option::weighted(0.2, prop_oneof![9 => vec(value.clone(), 1..4), 1 => vec(value, FILTER_VALUES_MAX)]);
        filter = (filter, values)
            .prop_map(move |(mut filter, values)| {
                filter.extend(values.map(|values| (name.clone(), values)));
                filter
            })
            .boxed();
    }
    let ids = option::weighted(0.2, prop::collection::btree_set(entity_id(), 1..=IDS_MAX));
    let ids = ids.prop_map(|ids| ids.map(|ids| ids.into_iter().collect::<Vec<_>>()));
    (filter, option::weighted(0.3, timestamp()), ids, sort(), 1..=LIST_LIMIT_MAX)
        .prop_flat_map(|(filter, modified_after, ids, sort, limit)| {
            option::of(position_in(sort.by)).prop_map(move |after| ListQuery {
                filter: filter.clone(),
                modified_after,
                ids: ids.clone(),
                sort,
                limit,
                after,
            })
        })
        .boxed()
}

pub(crate) fn tags() -> impl Strategy<Value = Tags> {
    let tag = (any::<bool>(), "[!#-~\u{80}-\u{2ff}]{0,12}").prop_map(|(weak, opaque)| Tag { weak, opaque });
    prop_oneof![1 => Just(Tags::Any), 4 => vec(tag, 0..4).prop_map(Tags::Listed)]
}

pub(crate) fn precondition() -> impl Strategy<Value = Precondition> {
    let parts = (option::of(tags()), option::of(tags()), option::of(timestamp()));
    let all = parts.prop_map(|(if_match, if_none_match, if_unmodified_since)| Precondition {
        if_match,
        if_none_match,
        if_unmodified_since,
    });
    all.prop_filter("at least one condition", |precondition| !precondition.is_empty())
}

fn idempotency() -> impl Strategy<Value = Idempotency> {
    (any::<[u8; 32]>(), any::<[u8; 32]>())
        .prop_map(|(key, fingerprint)| Idempotency { key: Digest(key), fingerprint: Digest(fingerprint) })
}

pub(crate) fn command(registry: &Registry) -> impl Strategy<Value = Command> + use<> {
    let types: Vec<_> = registry.iter().map(|t| (t.name().clone(), good_fields(t), list_query(t))).collect();
    let typed = prop::sample::select(types).prop_flat_map(|(name, fields, list)| (Just(name), fields, list));
    let labels = (command_id(), timestamp(), label(), option::of(text()), option::of(text()));
    let conditions = (option::of(precondition()), option::of(idempotency()));
    (typed, entity_id(), 0..5_u8, option::of(command_id()), conditions, labels).prop_map(
        |((name, fields, list), id, action, operation, (precondition, idempotency), labels)| {
            let (command, time, source, request_id, traceparent) = labels;
            let action = match action {
                0 => Action::Create(fields),
                1 => Action::Update(fields),
                2 => Action::Delete,
                3 => Action::Retrieve { operation },
                _ => Action::List(list),
            };
            let key = if action.name() == "list" { Key::list(name) } else { Key::new(name, id) };
            let idempotency = idempotency.filter(|_| action.is_write());
            Command { id: command, key, action, precondition, idempotency, time, source, request_id, traceparent }
        },
    )
}

fn full_object() -> impl Strategy<Value = Bytes> {
    object().prop_map(|map| Value::Object(map).to_string().into())
}

pub(crate) fn view() -> impl Strategy<Value = View> {
    let object = option::weighted(0.8, full_object());
    (key(), 1..=contract::view::VERSION_MAX, timestamp(), command_id(), object, text()).prop_map(
        |(key, version, time, correlation, object, data_schema)| {
            let data_schema = if object.is_some() { data_schema } else { String::new() };
            View { key, version, time, correlation, object, data_schema }
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
    let rest = (option::of(any::<u64>()), option::of(key()), option::of(problem()), option::of(timestamp()));
    (command_id(), prop::sample::select(status), rest).prop_map(
        |(command, status, (version, entity, problem, created))| Outcome {
            command,
            status,
            version,
            entity,
            problem,
            created,
        },
    )
}

pub(crate) fn repeat() -> impl Strategy<Value = Repeat> {
    let current = (full_object(), timestamp()).prop_map(|(object, view_time)| Current { object, view_time });
    let answer = prop_oneof![
        current.prop_map(FirstAnswer::Object),
        Just(FirstAnswer::Deleted),
        problem().prop_map(FirstAnswer::Rejected),
    ];
    (command_id(), key(), option::of(1..=contract::view::VERSION_MAX), 0..3_u8, answer).prop_map(
        |(command, key, version, action, answer)| {
            let action = match (&answer, action) {
                (FirstAnswer::Deleted, _) => WriteAction::Delete,
                (FirstAnswer::Rejected(_), 2) => WriteAction::Delete,
                (_, 0) => WriteAction::Create,
                _ => WriteAction::Update,
            };
            let version = if matches!(answer, FirstAnswer::Rejected(_)) { version } else { version.or(Some(1)) };
            Repeat { command, key, action, version, answer }
        },
    )
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
        repeat().prop_map(ReplyBody::Repeated),
    ];
    (command_id(), key(), any::<bool>(), option::of(1..=contract::view::VERSION_MAX), timestamp(), body).prop_map(
        |(correlation, key, is_list, version, time, body)| {
            let needs = matches!(body, ReplyBody::Unchanged(_) | ReplyBody::Retrieved(_));
            let version = if needs { version.or(Some(1)) } else { version };
            let key = if is_list { Key::list(key.entity_type) } else { key };
            Reply { correlation, key, version, time, body }
        },
    )
}

//! Each rule once by example, then all of them over any sequence of commands.

use std::collections::HashMap;
use std::sync::Arc;

use contract::{CommandId, Key, Registry};
use serde_json::json;
use uuid::Uuid;

use super::*;

mod any_sequence;
mod conditions;
mod keys;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

fn provider() -> Arc<EntityType> {
    Arc::clone(Registry::built_in().unwrap().get("provider").unwrap())
}

fn command(number: u128, id: &str, action: Action) -> Command {
    Command {
        id: CommandId(Uuid::from_u128(number)),
        key: Key::parse(&format!("provider:{id}")).unwrap(),
        action,
        precondition: None,
        idempotency: None,
        time: at(0),
        source: "/gateway/test".to_owned(),
        request_id: None,
        traceparent: None,
    }
}

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("an object") };
    map
}

fn create(data: Value) -> Command {
    command(1, "a", Action::Create(map(data)))
}

fn update(data: Value) -> Command {
    command(2, "a", Action::Update(map(data)))
}

/// A decision where nothing is remembered.
fn first(entity_type: &EntityType, state: Option<&Revision>, command: &Command, now: Timestamp) -> Decision {
    decide(entity_type, state, Remembered::default(), command, now)
}

fn live() -> Revision {
    let decision = first(&provider(), None, &create(json!({"name":"A","published":1})), at(0));
    decision.next.unwrap()
}

fn entity(decision: Decision) -> Entity {
    let Some(Revision::Live(entity)) = decision.next else { panic!("an entity") };
    entity
}

fn object(entity: &Entity) -> Value {
    serde_json::from_slice(&entity.object).unwrap()
}

fn problem(decision: &Decision) -> (Slug, Option<u64>, Option<Retry>) {
    assert!(decision.next.is_none());
    match &decision.answer {
        Answer::Reply(Reply { version, body: ReplyBody::Rejected(problem), .. }) => {
            assert!(!problem.detail.is_empty());
            (problem.slug, *version, problem.retry)
        }
        other => panic!("no rejection: {other:?}"),
    }
}

#[test]
fn a_create_makes_version_1_with_its_view() {
    let decision = first(&provider(), None, &create(json!({"name":"A","published":true})), at(5));
    let (outcome, view) = (decision.outcome.clone().unwrap(), decision.answer.clone());
    let entity = entity(decision);
    let Answer::View(view) = view else { panic!("a view") };
    assert_eq!((entity.version, entity.created, entity.updated, entity.time), (1, at(5), at(5), at(5)));
    assert_eq!((view.version, view.object.as_ref(), view.time), (1, Some(&entity.object), at(5)));
    let expected = json!({"id":"a","name":"A","published":1,"description":null,"venue_id":null,"contact_id":null,
        "flagged":false,"created":at(5).to_string(),"updated":at(5).to_string()});
    assert_eq!(object(&entity), expected);
    assert_eq!((outcome.status, outcome.version), (OutcomeStatus::Succeeded, Some(1)));
}

#[test]
fn kept_times_are_stored() {
    let data = json!({"name":"A","published":1,"created":"2020-01-01T00:00:00Z","updated":"2021-01-01T00:00:00Z"});
    let entity = self::entity(first(&provider(), None, &create(data.clone()), at(5)));
    assert_eq!(object(&entity)["created"], "2020-01-01T00:00:00Z");
    assert_eq!(object(&entity)["updated"], "2021-01-01T00:00:00Z");
    assert_eq!(entity.time, at(5));
    let again = first(&provider(), Some(&Revision::Live(entity.clone())), &update(data), at(6));
    assert!(again.next.is_none(), "the same times are no change");
    let data = json!({"updated":"2019-01-01T00:00:00Z"});
    let next = self::entity(first(&provider(), Some(&Revision::Live(entity)), &update(data), at(6)));
    assert_eq!((next.version, object(&next)["updated"].as_str()), (2, Some("2019-01-01T00:00:00Z")));
}

#[test]
fn what_breaks_a_condition_or_the_schema_is_rejected_for_good() {
    let (entity_type, state) = (provider(), live());
    let good = json!({"name":"B","published":0});
    let state = Some(&state);
    let decide = |state: Option<&Revision>, command: &Command| first(&entity_type, state, command, at(9));
    let no = Some(Retry::No);
    assert_eq!(problem(&decide(state, &create(good.clone()))), (Slug::PreconditionFailed, Some(1), no));
    let conditional = Command { precondition: Some(Precondition::absent()), ..create(good.clone()) };
    assert_eq!(problem(&decide(state, &conditional)), (Slug::PreconditionFailed, Some(1), no));
    let conditional = Command { precondition: Some(Precondition::absent()), ..update(good.clone()) };
    assert_eq!(problem(&decide(state, &conditional)), (Slug::PreconditionFailed, Some(1), no));
    assert_eq!(problem(&decide(None, &update(good))), (Slug::NotFound, None, no));
    assert_eq!(problem(&decide(None, &create(json!({"name":7})))), (Slug::InvalidEntity, None, no));
    assert_eq!(problem(&decide(state, &update(json!({"colour":"red"})))), (Slug::InvalidEntity, Some(1), no));
    assert_eq!(problem(&decide(state, &update(json!({"name":null})))), (Slug::InvalidEntity, Some(1), no));
}

#[test]
fn what_changes_nothing_makes_no_version() {
    let (entity_type, state) = (provider(), live());
    for data in [json!({}), json!({"name":"A"}), json!({"description":null,"flagged":false}), json!({"flagged":null})] {
        let decision = first(&entity_type, Some(&state), &update(data), at(9));
        assert!(decision.next.is_none());
        let Answer::Reply(Reply { version: Some(1), body: ReplyBody::Unchanged(current), .. }) = decision.answer else {
            panic!("unchanged");
        };
        assert_eq!(current.view_time, at(0));
        assert_eq!(decision.outcome.unwrap().version, Some(1));
    }
}

/// A type with a number and an object among its fields, and one entity of it.
fn place(data: Value) -> (Arc<EntityType>, Revision) {
    let text = r#"{"type":"object","properties":{"latitude":{"type":"number"},"extra":{"type":"object"}}}"#;
    let registry = Registry::with_files(&[("provider".to_owned(), text.to_owned())]).unwrap();
    let entity_type = Arc::clone(registry.get("provider").unwrap());
    let state = first(&entity_type, None, &create(data), at(0)).next.unwrap();
    (entity_type, state)
}

#[test]
fn another_spelling_of_a_number_makes_no_version() {
    let (entity_type, state) = place(json!({"latitude":51.0,"extra":{"a":[1,{"b":2.0}]}}));
    for data in [json!({"latitude":51}), json!({"latitude":51.0,"extra":{"a":[1.0,{"b":2}]}})] {
        assert!(first(&entity_type, Some(&state), &update(data), at(9)).next.is_none());
    }
    for data in [json!({"latitude":51.5}), json!({"extra":{"a":[1,{"b":3}]}}), json!({"extra":{"a":[]}})] {
        assert!(first(&entity_type, Some(&state), &update(data), at(9)).next.is_some());
    }
}

#[test]
fn what_get_gave_of_a_nested_null_can_be_put_back() {
    let (entity_type, state) = place(json!({"extra":{"a":null,"b":{"c":null,"d":[null,{"e":null}]}}}));
    let Revision::Live(entity) = &state else { panic!("an entity") };
    assert_eq!(object(entity)["extra"], json!({"b":{"d":[null,{"e":null}]}}));
    let mut full = map(object(entity));
    full.retain(|name, _| !["created", "updated"].contains(&name.as_str()));
    assert!(first(&entity_type, Some(&state), &update(Value::Object(full)), at(9)).next.is_none());
}

#[test]
fn times_grow_where_the_clock_stands_still_or_goes_back() {
    let next = entity(first(&provider(), Some(&live()), &update(json!({"name":"B"})), at(-500)));
    assert_eq!((next.version, next.created, next.updated, next.time), (2, at(0), at(1), at(1)));
}

#[test]
fn a_remembered_write_is_not_carried_out_again() {
    let first = first(&provider(), None, &create(json!({"name":"A","published":1})), at(0));
    let state = first.next.unwrap();
    let again = create(json!({"name":"A","published":1}));
    let remembered = Remembered { outcome: first.outcome.as_ref(), keyed: None };
    let decision = decide(&provider(), Some(&state), remembered, &again, at(1));
    assert!(decision.next.is_none() && decision.outcome.is_none());
    let Answer::Reply(Reply { version: Some(1), body: ReplyBody::Outcome(outcome), .. }) = decision.answer else {
        panic!("an outcome");
    };
    assert_eq!(Some(outcome), first.outcome);
}

#[test]
fn a_retrieve_answers_with_the_object_or_an_operation() {
    let entity_type = provider();
    let retrieve = command(3, "a", Action::Retrieve { operation: None });
    let decision = first(&entity_type, Some(&live()), &retrieve, at(1));
    assert!(matches!(decision.answer, Answer::Reply(Reply { version: Some(1), body: ReplyBody::Retrieved(_), .. })));
    let decision = first(&entity_type, None, &retrieve, at(1));
    assert_eq!(problem(&decision), (Slug::NotFound, None, None));
    let operation = CommandId(Uuid::from_u128(9));
    let asked = command(4, "a", Action::Retrieve { operation: Some(operation) });
    let decision = first(&entity_type, Some(&live()), &asked, at(1));
    let Answer::Reply(Reply { body: ReplyBody::Outcome(outcome), .. }) = decision.answer else { panic!("an outcome") };
    assert_eq!((outcome.command, outcome.status), (operation, OutcomeStatus::Unknown));
    // That was the last word: the command comes late, and nothing is done.
    assert_eq!(decision.outcome.as_ref(), Some(&outcome));
    let late = command(9, "a", Action::Update(map(json!({"name":"B"}))));
    let remembered = Remembered { outcome: Some(&outcome), keyed: None };
    let decision = decide(&entity_type, Some(&live()), remembered, &late, at(2));
    assert!(decision.next.is_none() && decision.outcome.is_none());
    assert!(matches!(decision.answer, Answer::Reply(Reply { body: ReplyBody::Outcome(told), .. }) if told == outcome));
    assert!(decide(&entity_type, Some(&live()), remembered, &asked, at(3)).outcome.is_none(), "once is enough");
}

#[test]
fn another_schema_shows_in_every_answer() {
    let text = r#"{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"size":{"type":"integer","default":3}}}"#;
    let registry = Registry::with_files(&[("provider".to_owned(), text.to_owned())]).unwrap();
    let (later, state) = (registry.get("provider").unwrap(), live());
    let retrieve = command(3, "a", Action::Retrieve { operation: None });
    for command in [retrieve, update(json!({"size":3}))] {
        let decision = first(later, Some(&state), &command, at(1));
        let Answer::Reply(Reply { body: ReplyBody::Retrieved(current) | ReplyBody::Unchanged(current), .. }) =
            decision.answer
        else {
            panic!("the object");
        };
        let shown: Value = serde_json::from_slice(&current.object).unwrap();
        assert_eq!((&shown["size"], shown.get("published")), (&json!(3), None));
    }
    let next = entity(first(later, Some(&state), &update(json!({"size":4})), at(1)));
    assert_eq!((object(&next)["size"].clone(), &*next.data_schema), (json!(4), later.data_schema()));
}

#[test]
fn an_object_over_the_limit_is_rejected() {
    let text = r#"{"type":"object","properties":{"a":{"type":"string"}}}"#;
    let registry = Registry::with_files(&[("provider".to_owned(), text.to_owned())]).unwrap();
    let command = create(json!({"a":"x".repeat(600_000)}));
    let decision = first(registry.get("provider").unwrap(), None, &command, at(1));
    assert_eq!(problem(&decision).0, Slug::EntityTooLarge);
}

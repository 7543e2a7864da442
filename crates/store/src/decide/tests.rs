//! Each rule once by example, then all of them over any sequence of commands.

use std::collections::HashMap;

use contract::{CommandId, Key, Registry};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;

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

fn live() -> State {
    let decision = decide(&provider(), &State::Absent, None, &create(json!({"name":"A","published":1})), at(0));
    State::Live(decision.next.unwrap())
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
    let decision = decide(&provider(), &State::Absent, None, &create(json!({"name":"A","published":true})), at(5));
    let entity = decision.next.unwrap();
    let Answer::View(view) = decision.answer else { panic!("a view") };
    assert_eq!((entity.version, entity.created, entity.updated, entity.time), (1, at(5), at(5), at(5)));
    assert_eq!((view.version, &view.object, view.time), (1, &entity.object, at(5)));
    let expected = json!({"id":"a","name":"A","published":1,"description":null,"venue_id":null,"contact_id":null,
        "flagged":false,"created":at(5).to_string(),"updated":at(5).to_string()});
    assert_eq!(object(&entity), expected);
    let outcome = decision.outcome.unwrap();
    assert_eq!((outcome.status, outcome.version), (OutcomeStatus::Succeeded, Some(1)));
}

#[test]
fn kept_times_are_stored() {
    let data = json!({"name":"A","published":1,"created":"2020-01-01T00:00:00Z","updated":"2021-01-01T00:00:00Z"});
    let entity = decide(&provider(), &State::Absent, None, &create(data.clone()), at(5)).next.unwrap();
    assert_eq!(object(&entity)["created"], "2020-01-01T00:00:00Z");
    assert_eq!(object(&entity)["updated"], "2021-01-01T00:00:00Z");
    assert_eq!(entity.time, at(5));
    let again = decide(&provider(), &State::Live(entity.clone()), None, &update(data), at(6));
    assert!(again.next.is_none(), "the same times are no change");
    let data = json!({"updated":"2019-01-01T00:00:00Z"});
    let next = decide(&provider(), &State::Live(entity), None, &update(data), at(6)).next.unwrap();
    assert_eq!((next.version, object(&next)["updated"].as_str()), (2, Some("2019-01-01T00:00:00Z")));
}

#[test]
fn what_breaks_a_condition_or_the_schema_is_rejected_for_good() {
    let (entity_type, state) = (provider(), live());
    let good = json!({"name":"B","published":0});
    let decide = |state: &State, command: &Command| decide(&entity_type, state, None, command, at(9));
    let no = Some(Retry::No);
    assert_eq!(problem(&decide(&state, &create(good.clone()))), (Slug::PreconditionFailed, Some(1), no));
    let conditional = Command { precondition: Some(Precondition::Absent), ..create(good.clone()) };
    assert_eq!(problem(&decide(&state, &conditional)), (Slug::PreconditionFailed, Some(1), no));
    let conditional = Command { precondition: Some(Precondition::Absent), ..update(good.clone()) };
    assert_eq!(problem(&decide(&state, &conditional)), (Slug::PreconditionFailed, Some(1), no));
    assert_eq!(problem(&decide(&State::Absent, &update(good))), (Slug::NotFound, None, no));
    assert_eq!(problem(&decide(&State::Absent, &create(json!({"name":7})))), (Slug::InvalidEntity, None, no));
    assert_eq!(problem(&decide(&state, &update(json!({"colour":"red"})))), (Slug::InvalidEntity, Some(1), no));
    assert_eq!(problem(&decide(&state, &update(json!({"name":null})))), (Slug::InvalidEntity, Some(1), no));
}

#[test]
fn what_changes_nothing_makes_no_version() {
    let (entity_type, state) = (provider(), live());
    for data in [json!({}), json!({"name":"A"}), json!({"description":null,"flagged":false}), json!({"flagged":null})] {
        let decision = decide(&entity_type, &state, None, &update(data), at(9));
        assert!(decision.next.is_none());
        let Answer::Reply(Reply { version: Some(1), body: ReplyBody::Unchanged(current), .. }) = decision.answer else {
            panic!("unchanged");
        };
        assert_eq!(current.view_time, at(0));
        assert_eq!(decision.outcome.unwrap().version, Some(1));
    }
}

/// A type with a number and an object among its fields, and one entity of it.
fn place(data: Value) -> (Arc<EntityType>, State) {
    let text = r#"{"type":"object","properties":{"latitude":{"type":"number"},"extra":{"type":"object"}}}"#;
    let registry = Registry::with_files(&[("provider".to_owned(), text.to_owned())]).unwrap();
    let entity_type = Arc::clone(registry.get("provider").unwrap());
    let state = State::Live(decide(&entity_type, &State::Absent, None, &create(data), at(0)).next.unwrap());
    (entity_type, state)
}

#[test]
fn another_spelling_of_a_number_makes_no_version() {
    let (entity_type, state) = place(json!({"latitude":51.0,"extra":{"a":[1,{"b":2.0}]}}));
    for data in [json!({"latitude":51}), json!({"latitude":51.0,"extra":{"a":[1.0,{"b":2}]}})] {
        assert!(decide(&entity_type, &state, None, &update(data), at(9)).next.is_none());
    }
    for data in [json!({"latitude":51.5}), json!({"extra":{"a":[1,{"b":3}]}}), json!({"extra":{"a":[]}})] {
        assert!(decide(&entity_type, &state, None, &update(data), at(9)).next.is_some());
    }
}

#[test]
fn what_get_gave_of_a_nested_null_can_be_put_back() {
    let (entity_type, state) = place(json!({"extra":{"a":null,"b":{"c":null,"d":[null,{"e":null}]}}}));
    let State::Live(entity) = &state else { panic!("an entity") };
    assert_eq!(object(entity)["extra"], json!({"b":{"d":[null,{"e":null}]}}));
    let mut full = map(object(entity));
    full.retain(|name, _| !["created", "updated"].contains(&name.as_str()));
    assert!(decide(&entity_type, &state, None, &update(Value::Object(full)), at(9)).next.is_none());
}

#[test]
fn times_grow_where_the_clock_stands_still_or_goes_back() {
    let next = decide(&provider(), &live(), None, &update(json!({"name":"B"})), at(-500)).next.unwrap();
    assert_eq!((next.version, next.created, next.updated, next.time), (2, at(0), at(1), at(1)));
}

#[test]
fn a_remembered_write_is_not_carried_out_again() {
    let first = decide(&provider(), &State::Absent, None, &create(json!({"name":"A","published":1})), at(0));
    let state = State::Live(first.next.unwrap());
    let again = create(json!({"name":"A","published":1}));
    let decision = decide(&provider(), &state, first.outcome.as_ref(), &again, at(1));
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
    let decision = decide(&entity_type, &live(), None, &retrieve, at(1));
    assert!(matches!(decision.answer, Answer::Reply(Reply { version: Some(1), body: ReplyBody::Retrieved(_), .. })));
    let decision = decide(&entity_type, &State::Absent, None, &retrieve, at(1));
    assert_eq!(problem(&decision), (Slug::NotFound, None, None));
    let operation = CommandId(Uuid::from_u128(9));
    let asked = command(4, "a", Action::Retrieve { operation: Some(operation) });
    let decision = decide(&entity_type, &live(), None, &asked, at(1));
    let Answer::Reply(Reply { body: ReplyBody::Outcome(outcome), .. }) = decision.answer else { panic!("an outcome") };
    assert_eq!((outcome.command, outcome.status), (operation, OutcomeStatus::Unknown));
    // That was the last word: the command comes late, and nothing is done.
    assert_eq!(decision.outcome.as_ref(), Some(&outcome));
    let late = command(9, "a", Action::Update(map(json!({"name":"B"}))));
    let decision = decide(&entity_type, &live(), Some(&outcome), &late, at(2));
    assert!(decision.next.is_none() && decision.outcome.is_none());
    assert!(matches!(decision.answer, Answer::Reply(Reply { body: ReplyBody::Outcome(told), .. }) if told == outcome));
    assert!(decide(&entity_type, &live(), Some(&outcome), &asked, at(3)).outcome.is_none(), "once is enough");
}

#[test]
fn another_schema_shows_in_every_answer() {
    let text = r#"{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"size":{"type":"integer","default":3}}}"#;
    let registry = Registry::with_files(&[("provider".to_owned(), text.to_owned())]).unwrap();
    let (later, state) = (registry.get("provider").unwrap(), live());
    let retrieve = command(3, "a", Action::Retrieve { operation: None });
    for command in [retrieve, update(json!({"size":3}))] {
        let decision = decide(later, &state, None, &command, at(1));
        let Answer::Reply(Reply { body: ReplyBody::Retrieved(current) | ReplyBody::Unchanged(current), .. }) =
            decision.answer
        else {
            panic!("the object");
        };
        let shown: Value = serde_json::from_slice(&current.object).unwrap();
        assert_eq!((&shown["size"], shown.get("published")), (&json!(3), None));
    }
    let next = decide(later, &state, None, &update(json!({"size":4})), at(1)).next.unwrap();
    assert_eq!((object(&next)["size"].clone(), &*next.data_schema), (json!(4), later.data_schema()));
}

#[test]
fn an_object_over_the_limit_is_rejected() {
    let text = r#"{"type":"object","properties":{"a":{"type":"string"}}}"#;
    let registry = Registry::with_files(&[("provider".to_owned(), text.to_owned())]).unwrap();
    let command = create(json!({"a":"x".repeat(600_000)}));
    let decision = decide(registry.get("provider").unwrap(), &State::Absent, None, &command, at(1));
    assert_eq!(problem(&decision).0, Slug::EntityTooLarge);
}

/// The store without its I/O.
#[derive(Default)]
struct Model {
    states: HashMap<Key, State>,
    outcomes: HashMap<CommandId, Outcome>,
    views: HashMap<Key, Vec<View>>,
}

impl Model {
    /// Delivers a command and checks what must hold of every single decision.
    fn deliver(&mut self, entity_type: &EntityType, command: &Command, now: Timestamp) {
        let state = self.states.get(&command.key).cloned().unwrap_or(State::Absent);
        let remembered = self.outcomes.get(&command.id).cloned();
        let decision = decide(entity_type, &state, remembered.as_ref(), command, now);
        assert!(remembered.is_none() || (decision.next.is_none() && decision.outcome.is_none()));
        assert_eq!(decision.next.is_some(), matches!(decision.answer, Answer::View(_)));
        if let Some(outcome) = decision.outcome {
            assert!(command.action.is_write());
            self.outcomes.insert(command.id, outcome);
        }
        let (Some(entity), Answer::View(view)) = (decision.next, decision.answer) else { return };
        let kept = |name: &str| match &command.action {
            Action::Create(data) | Action::Update(data) => data.contains_key(name),
            _ => false,
        };
        assert_eq!(entity.version, state.version().unwrap_or(0) + 1);
        if let State::Live(before) = &state {
            assert!(kept("created") || entity.created == before.created);
            assert!(kept("updated") || entity.updated > before.updated);
            assert!(entity.time > before.time);
        }
        assert_eq!((&entity.object, entity.version, entity.time), (&view.object, view.version, view.time));
        self.views.entry(view.key.clone()).or_default().push(view);
        self.states.insert(command.key.clone(), State::Live(entity));
    }
}

fn any_data() -> impl Strategy<Value = Value> {
    let name = prop_oneof![4 => (0..3u8).prop_map(|n| json!(format!("name {n}"))), 1 => Just(json!(7)), 1 => Just(Value::Null)];
    let flagged = prop_oneof![Just(json!(true)), Just(json!(false)), Just(Value::Null)];
    let time = (0..4i64).prop_map(|n| json!(at(n * 1000).to_string()));
    let fields = (
        proptest::option::of(name),
        proptest::option::weighted(0.8, Just(json!(1))),
        proptest::option::of(flagged),
        proptest::option::weighted(0.1, time.clone()),
        proptest::option::weighted(0.1, time),
    );
    fields.prop_map(|(name, published, flagged, created, updated)| {
        let fields = [name, published, flagged, created, updated];
        let names = ["name", "published", "flagged", "created", "updated"];
        let set = names.into_iter().zip(fields).filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(set.collect())
    })
}

/// A command on one of three entities, and the time at which it is first delivered; clocks may go back.
fn any_commands() -> impl Strategy<Value = Vec<(Command, Timestamp)>> {
    let action = prop_oneof![
        3 => any_data().prop_map(|data| Action::Create(map(data))),
        5 => any_data().prop_map(|data| Action::Update(map(data))),
        1 => Just(Action::Retrieve { operation: None }),
    ];
    let one = (0..3u8, action, proptest::bool::weighted(0.1), 0..50i64);
    proptest::collection::vec(one, 1..40).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        let commands = numbered.map(|(number, (id, action, absent, time))| {
            let mut command = command(number as u128, &format!("id{id}"), action);
            command.precondition = absent.then_some(Precondition::Absent);
            (command, at(time))
        });
        commands.collect()
    })
}

proptest! {
    #[test]
    fn repeats_and_other_orders_across_entities_give_the_same_views(
        commands in any_commands(),
        choices in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()), 40),
    ) {
        let entity_type = provider();
        let mut plain = Model::default();
        for (command, now) in &commands {
            plain.deliver(&entity_type, command, *now);
        }
        let mut queues: HashMap<&Key, Vec<usize>> = HashMap::new();
        for (number, (command, _)) in commands.iter().enumerate().rev() {
            queues.entry(&command.key).or_default().push(number);
        }
        let (mut mixed, mut delivered) = (Model::default(), Vec::new());
        for (which, repeated, repeat) in choices {
            let mut keys: Vec<_> = queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(key, _)| *key).collect();
            keys.sort();
            if keys.is_empty() { break; }
            let Some(number) = queues.get_mut(keys[which.index(keys.len())]).and_then(Vec::pop) else { break };
            mixed.deliver(&entity_type, &commands[number].0, commands[number].1);
            delivered.push(number);
            if repeat {
                let again = delivered[repeated.index(delivered.len())];
                mixed.deliver(&entity_type, &commands[again].0, at(1_000_000));
            }
        }
        prop_assert_eq!(&plain.views, &mixed.views);
        prop_assert_eq!(&plain.states, &mixed.states);
        prop_assert_eq!(&plain.outcomes, &mixed.outcomes);
        for views in plain.views.values() {
            let versions: Vec<_> = views.iter().map(|view| view.version).collect();
            prop_assert_eq!(versions, (1..=views.len() as u64).collect::<Vec<_>>());
        }
    }
}

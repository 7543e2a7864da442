//! All rules at once, over any sequence of commands, delivered as streams deliver: again and again, and entities among each
//! other in any order.

use contract::precondition::{Tag, Tags};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// The store without its I/O.
#[derive(Default)]
struct Model {
    states: HashMap<Key, Revision>,
    outcomes: HashMap<CommandId, Outcome>,
    keyed: HashMap<Digest, Keyed>,
    views: HashMap<Key, Vec<View>>,
    answers: HashMap<CommandId, String>,
}

impl Model {
    /// Delivers a command and checks what must hold of every single decision.
    fn deliver(&mut self, entity_type: &EntityType, command: &Command, now: Timestamp) {
        let state = self.states.get(&command.key).cloned();
        let outcome = self.outcomes.get(&command.id).cloned();
        let keyed = command.idempotency.and_then(|sent| self.keyed.get(&sent.key)).cloned();
        let known = keyed.as_ref().map(|keyed| (keyed.idempotency.fingerprint, &keyed.first));
        let remembered = Remembered { outcome: outcome.as_ref(), keyed: known };
        let decision = decide(entity_type, state.as_ref(), remembered, command, now);
        let is_new = outcome.is_none() && command.action.is_write();
        assert_eq!(decision.outcome.is_some(), is_new);
        assert_eq!(decision.next.is_some(), matches!(decision.answer, Answer::View(_)));
        assert!(decision.next.is_none() || (is_new && keyed.is_none()));
        assert_eq!(decision.keyed.is_some(), is_new && keyed.is_none() && command.idempotency.is_some());
        self.answer(command, &decision, outcome.as_ref(), keyed.as_ref());
        self.outcomes.extend(decision.outcome.map(|outcome| (command.id, outcome)));
        self.keyed.extend(decision.keyed.map(|keyed| (keyed.idempotency.key, keyed)));
        let (Some(next), Answer::View(view)) = (decision.next, decision.answer) else { return };
        check_next(command, state.as_ref(), &next);
        assert_eq!(next.view(command.key.clone()), view);
        self.views.entry(view.key.clone()).or_default().push(view);
        self.states.insert(command.key.clone(), next);
    }

    fn answer(&mut self, command: &Command, decision: &Decision, outcome: Option<&Outcome>, keyed: Option<&Keyed>) {
        let Answer::Reply(reply) = &decision.answer else {
            self.answers.insert(command.id, "view".to_owned());
            return;
        };
        match (&reply.body, outcome, keyed) {
            (ReplyBody::Outcome(told), Some(outcome), _) => assert_eq!(told, outcome),
            (ReplyBody::Repeated(told), None, Some(keyed)) => assert_eq!(*told, keyed.first),
            (ReplyBody::Rejected(problem), None, Some(keyed)) => {
                assert_eq!(problem.slug, Slug::IdempotencyKeyReused);
                assert_ne!(command.idempotency.unwrap().fingerprint, keyed.idempotency.fingerprint);
            }
            (ReplyBody::Rejected(_) | ReplyBody::Unchanged(_) | ReplyBody::Retrieved(_), None, None) => {}
            other => panic!("{other:?}"),
        }
        if outcome.is_none() && command.action.is_write() {
            self.answers.insert(command.id, format!("{:?}", reply.body));
        }
    }
}

/// A version follows the one before.
fn check_next(command: &Command, before: Option<&Revision>, next: &Revision) {
    assert_eq!(next.version(), before.map_or(0, Revision::version) + 1);
    let time = |revision: &Revision| match revision {
        Revision::Live(entity) => entity.time,
        Revision::Deleted(tombstone) => tombstone.time,
    };
    assert!(before.is_none_or(|before| time(next) > time(before)));
    let kept = |name: &str| match &command.action {
        Action::Create(data) | Action::Update(data) => data.contains_key(name),
        _ => false,
    };
    match (&command.action, before, next) {
        (Action::Delete, Some(Revision::Live(_)), Revision::Deleted(_)) => {}
        (Action::Create(_), None, Revision::Live(_)) => {}
        (Action::Create(_), Some(Revision::Deleted(_)), Revision::Live(_)) => {
            assert!(command.precondition.as_ref().is_some_and(Precondition::is_absent));
        }
        (Action::Update(_), Some(Revision::Live(before)), Revision::Live(entity)) => {
            assert!(kept("created") || entity.created == before.created);
            assert!(kept("updated") || entity.updated > before.updated);
        }
        other => panic!("{other:?}"),
    }
}

fn any_data() -> impl Strategy<Value = Value> {
    let name = prop_oneof![4 => (0..3u8).prop_map(|n| json!(format!("name {n}"))), 1 => Just(json!(7)), 1 => Just(Value::Null)];
    let flagged = prop_oneof![Just(json!(true)), Just(json!(false)), Just(Value::Null)];
    let time = (0..4i64).prop_map(|n| json!(at(n * 1000).to_string()));
    let fields = (
        option::of(name),
        option::weighted(0.8, Just(json!(1))),
        option::of(flagged),
        option::weighted(0.1, time.clone()),
        option::weighted(0.1, time),
    );
    fields.prop_map(|(name, published, flagged, created, updated)| {
        let fields = [name, published, flagged, created, updated];
        let names = ["name", "published", "flagged", "created", "updated"];
        let set = names.into_iter().zip(fields).filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(set.collect())
    })
}

/// A condition before it is known which tags there are.
#[derive(Clone, Debug)]
enum Wish {
    Absent,
    /// A tag that its entity had, or has.
    Match(Index),
    NoneMatch(Index),
    Since(i64),
}

#[derive(Clone, Debug)]
struct Sent {
    command: Command,
    wish: Option<Wish>,
    now: Timestamp,
}

/// A command on one of three entities, and the time at which it is first delivered; clocks may go back. A key is one entity's
/// own, or shared by all of them.
fn any_commands(shared_keys: bool) -> impl Strategy<Value = Vec<Sent>> {
    let action = prop_oneof![
        3 => any_data().prop_map(|data| Action::Create(map(data))),
        5 => any_data().prop_map(|data| Action::Update(map(data))),
        2 => Just(Action::Delete),
        1 => Just(Action::Retrieve { operation: None }),
    ];
    let wish = prop_oneof![
        3 => Just(Wish::Absent),
        3 => any::<Index>().prop_map(Wish::Match),
        1 => any::<Index>().prop_map(Wish::NoneMatch),
        1 => (-1..3i64).prop_map(Wish::Since),
    ];
    let key = option::weighted(0.4, (0..3u8, 0..2u8));
    let one = (0..3u8, action, option::weighted(0.4, wish), key, 0..2500i64);
    vec(one, 1..40).prop_map(move |all| {
        let numbered = all.into_iter().enumerate();
        let commands = numbered.map(|(number, (id, action, wish, key, time))| {
            let mut command = command(number as u128, &format!("id{id}"), action);
            command.idempotency = key.filter(|_| command.action.is_write()).map(|(key, fingerprint)| {
                let owner = if shared_keys { 9 } else { id };
                Idempotency { key: Digest([10 * owner + key; 32]), fingerprint: Digest([fingerprint; 32]) }
            });
            Sent { command, wish, now: at(time) }
        });
        commands.collect()
    })
}

/// Delivers all in order, and makes each wish a condition on what its entity has had until then.
fn plain(entity_type: &EntityType, sent: &mut [Sent]) -> Model {
    let mut model = Model::default();
    for Sent { command, wish, now } in sent {
        let seen: Vec<_> =
            model.views.get(&command.key).into_iter().flatten().filter(|view| view.object.is_some()).collect();
        let tags = |index: &Index| {
            let etag = match seen.is_empty() {
                true => ETag::of(1, b""),
                false => {
                    let view = seen[index.index(seen.len())];
                    ETag::of(view.version, view.object.as_ref().unwrap())
                }
            };
            Some(Tags::Listed(vec![Tag { weak: false, opaque: etag.to_string().trim_matches('"').to_owned() }]))
        };
        command.precondition = wish.as_ref().map(|wish| match wish {
            Wish::Absent => Precondition::absent(),
            Wish::Match(index) => Precondition { if_match: tags(index), ..Precondition::default() },
            Wish::NoneMatch(index) => Precondition { if_none_match: tags(index), ..Precondition::default() },
            Wish::Since(second) => {
                Precondition { if_unmodified_since: Some(at(second * 1000)), ..Precondition::default() }
            }
        });
        model.deliver(entity_type, command, *now);
    }
    model
}

fn assert_same(plain: &Model, mixed: &Model) {
    assert_eq!(plain.views, mixed.views);
    assert_eq!(plain.states, mixed.states);
    assert_eq!(plain.outcomes, mixed.outcomes);
    assert_eq!(plain.keyed, mixed.keyed);
    for views in plain.views.values() {
        let versions: Vec<_> = views.iter().map(|view| view.version).collect();
        assert_eq!(versions, (1..=views.len() as u64).collect::<Vec<_>>());
    }
}

proptest! {
    #[test]
    fn repeats_and_other_orders_across_entities_give_the_same_views(
        mut commands in any_commands(false),
        choices in vec((any::<Index>(), any::<Index>(), any::<bool>()), 40),
    ) {
        let entity_type = provider();
        let plain = plain(&entity_type, &mut commands);
        let mut queues: HashMap<&Key, Vec<usize>> = HashMap::new();
        for (number, sent) in commands.iter().enumerate().rev() {
            queues.entry(&sent.command.key).or_default().push(number);
        }
        let (mut mixed, mut delivered) = (Model::default(), Vec::new());
        for (which, repeated, repeat) in choices {
            let mut keys: Vec<_> = queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(key, _)| *key).collect();
            keys.sort();
            if keys.is_empty() { break; }
            let Some(number) = queues.get_mut(keys[which.index(keys.len())]).and_then(Vec::pop) else { break };
            mixed.deliver(&entity_type, &commands[number].command, commands[number].now);
            delivered.push(number);
            if repeat {
                let again = delivered[repeated.index(delivered.len())];
                mixed.deliver(&entity_type, &commands[again].command, at(1_000_000));
            }
        }
        assert_same(&plain, &mixed);
        prop_assert_eq!(plain.answers, mixed.answers);
    }

    #[test]
    fn a_key_that_entities_share_has_one_first_answer(
        mut commands in any_commands(true),
        repeats in vec(any::<Index>(), 40),
    ) {
        let entity_type = provider();
        let plain = plain(&entity_type, &mut commands);
        let mut mixed = Model::default();
        for ((number, sent), again) in commands.iter().enumerate().zip(repeats) {
            mixed.deliver(&entity_type, &sent.command, sent.now);
            mixed.deliver(&entity_type, &commands[again.index(number + 1)].command, at(1_000_000));
        }
        assert_same(&plain, &mixed);
        prop_assert_eq!(plain.answers, mixed.answers);
    }
}

//! Idempotency keys.

use super::*;

fn digest(number: u8) -> Digest {
    Digest([number; 32])
}

fn with_key(number: u128, fingerprint: u8, command: Command) -> Command {
    let idempotency = Some(Idempotency { key: digest(1), fingerprint: digest(fingerprint) });
    Command { id: CommandId(Uuid::from_u128(number)), idempotency, ..command }
}

fn again(state: Option<&Revision>, keyed: &Keyed, command: &Command) -> Decision {
    let remembered = Remembered { outcome: None, keyed: Some((keyed.idempotency.fingerprint, &keyed.first)) };
    decide(&provider(), state, remembered, command, at(50))
}

fn repeat(decision: &Decision) -> Repeat {
    assert!(decision.next.is_none() && decision.keyed.is_none());
    let Answer::Reply(reply) = &decision.answer else { panic!("a reply") };
    let ReplyBody::Repeated(repeat) = &reply.body else { panic!("a repeat: {reply:?}") };
    assert_eq!(reply.depends_on(), repeat.version.map(|version| (&repeat.key, version)));
    repeat.clone()
}

#[test]
fn the_first_answer_is_given_again_whatever_came_since() {
    let create = with_key(1, 9, create(json!({"name":"A","published":1})));
    let decision = first(&provider(), None, &create, at(0));
    let keyed = decision.keyed.clone().unwrap();
    let made = entity(decision);
    let later = entity(first(&provider(), Some(&Revision::Live(made.clone())), &update(json!({"name":"B"})), at(7)));
    // Sent again it has an id of its own, as a new entity has.
    let elsewhere = Command { key: Key::parse("provider:b").unwrap(), ..with_key(2, 9, create.clone()) };
    for (state, sent) in [(Some(Revision::Live(later)), with_key(2, 9, create.clone())), (None, elsewhere)] {
        let decision = again(state.as_ref(), &keyed, &sent);
        let repeat = repeat(&decision);
        assert_eq!((repeat.command, &repeat.key, repeat.version), (create.id, &create.key, Some(1)));
        let FirstAnswer::Object(current) = repeat.answer else { panic!("the object") };
        assert_eq!((current.object, current.view_time), (made.object.clone(), made.time));
        let outcome = decision.outcome.unwrap();
        assert_eq!((outcome.command, outcome.status, outcome.version), (sent.id, OutcomeStatus::Succeeded, Some(1)));
        assert_eq!(outcome.entity, (sent.key != create.key).then(|| create.key.clone()));
    }
}

#[test]
fn rejections_and_deletions_are_remembered_too() {
    let missing = with_key(1, 9, update(json!({"name":"B"})));
    let keyed = first(&provider(), None, &missing, at(0)).keyed.unwrap();
    let decision = again(Some(&live()), &keyed, &with_key(2, 9, update(json!({"name":"B"}))));
    let FirstAnswer::Rejected(problem) = repeat(&decision).answer else { panic!("a rejection") };
    assert_eq!((problem.slug, problem.retry), (Slug::NotFound, Some(Retry::No)));
    let outcome = decision.outcome.unwrap();
    assert_eq!((outcome.status, outcome.problem), (OutcomeStatus::Failed, Some(problem)));

    let delete = with_key(1, 9, command(1, "a", Action::Delete));
    let decision = first(&provider(), Some(&live()), &delete, at(0));
    let repeat = repeat(&again(decision.next.as_ref(), &decision.keyed.unwrap(), &with_key(2, 9, delete)));
    assert_eq!((repeat.action, repeat.version, repeat.answer), (WriteAction::Delete, Some(2), FirstAnswer::Deleted));

    let same = with_key(1, 9, update(json!({"name":"A"})));
    let decision = first(&provider(), Some(&live()), &same, at(5));
    let FirstAnswer::Object(current) = decision.keyed.unwrap().first.answer else { panic!("the object") };
    assert_eq!(current.view_time, at(0), "unchanged");
}

#[test]
fn a_key_stands_for_one_request() {
    let keyed = first(&provider(), Some(&live()), &with_key(1, 9, update(json!({"name":"B"}))), at(0)).keyed.unwrap();
    let decision = again(Some(&live()), &keyed, &with_key(2, 8, update(json!({"name":"C"}))));
    assert!(decision.keyed.is_none(), "the key stays the first one's");
    assert_eq!(problem(&decision), (Slug::IdempotencyKeyReused, Some(1), Some(Retry::No)));
    assert_eq!(decision.outcome.unwrap().status, OutcomeStatus::Failed);
}

#[test]
fn a_command_that_comes_again_is_known_by_its_id_first() {
    let sent = with_key(1, 9, update(json!({"name":"B"})));
    let decision = first(&provider(), Some(&live()), &sent, at(0));
    let (outcome, keyed) = (decision.outcome.unwrap(), decision.keyed.unwrap());
    let remembered = Remembered { outcome: Some(&outcome), keyed: Some((digest(9), &keyed.first)) };
    let decision = decide(&provider(), decision.next.as_ref(), remembered, &sent, at(1));
    let Answer::Reply(Reply { body: ReplyBody::Outcome(told), .. }) = decision.answer else { panic!("an outcome") };
    assert!(told == outcome && decision.keyed.is_none() && decision.outcome.is_none());
}

#[test]
fn without_a_key_nothing_is_kept() {
    assert!(first(&provider(), Some(&live()), &update(json!({"name":"B"})), at(0)).keyed.is_none());
}

//! Deletions, and conditions on what is there.

use contract::precondition::{Tag, Tags};

use super::*;

fn delete() -> Command {
    command(5, "a", Action::Delete)
}

fn deleted() -> Revision {
    first(&provider(), Some(&live()), &delete(), at(3)).next.unwrap()
}

fn tags(etags: &[ETag]) -> Option<Tags> {
    let tag = |etag: &ETag| Tag { weak: false, opaque: etag.to_string().trim_matches('"').to_owned() };
    Some(Tags::Listed(etags.iter().map(tag).collect()))
}

fn with(precondition: Precondition, command: Command) -> Command {
    Command { precondition: Some(precondition), ..command }
}

#[test]
fn a_delete_leaves_its_version_and_is_told_to_everybody() {
    let decision = first(&provider(), Some(&live()), &delete(), at(-9));
    let Some(Revision::Deleted(tombstone)) = &decision.next else { panic!("a deletion") };
    assert_eq!((tombstone.version, tombstone.time, tombstone.command), (2, at(1), delete().id));
    let Answer::View(view) = &decision.answer else { panic!("an event for everybody") };
    assert_eq!((view.version, &view.object, view.time, view.correlation), (2, &None, at(1), delete().id));
    let outcome = decision.outcome.unwrap();
    assert_eq!((outcome.status, outcome.version), (OutcomeStatus::Succeeded, Some(2)));
}

#[test]
fn what_was_deleted_is_gone_and_what_never_was_is_missing() {
    let (entity_type, gone) = (provider(), deleted());
    let decide = |state: Option<&Revision>, command: &Command| problem(&first(&entity_type, state, command, at(9)));
    let no = Some(Retry::No);
    let any_match = Precondition { if_match: Some(Tags::Any), ..Precondition::default() };
    for command in [delete(), update(json!({"name":"B"})), with(any_match.clone(), delete()), update(json!({"name":7}))]
    {
        // A condition is looked at only where the write would else go ahead.
        assert_eq!(decide(Some(&gone), &command), (Slug::Gone, Some(2), no));
        assert_eq!(decide(None, &command), (Slug::NotFound, None, no));
    }
    let retrieve = command(3, "a", Action::Retrieve { operation: None });
    assert_eq!(decide(Some(&gone), &retrieve), (Slug::Gone, Some(2), None));
    let create = create(json!({"name":"A","published":1}));
    assert_eq!(decide(Some(&gone), &create), (Slug::Gone, Some(2), no), "a new id is not meant to meet an old one");
    let both = Precondition { if_match: Some(Tags::Any), ..Precondition::absent() };
    assert_eq!(decide(Some(&gone), &with(both, create)), (Slug::PreconditionFailed, Some(2), no));
}

#[test]
fn what_was_deleted_is_created_anew_with_the_next_version() {
    let again = with(Precondition::absent(), create(json!({"name":"New","published":0})));
    let anew = entity(first(&provider(), Some(&deleted()), &again, at(1)));
    assert_eq!((anew.version, anew.created, anew.updated, anew.time), (3, at(4), at(4), at(4)));
    assert_eq!(object(&anew)["name"], "New");
    assert_eq!(object(&anew)["description"], Value::Null, "nothing of what was there before");
}

#[test]
fn conditions_are_held_against_the_version_and_its_bytes() {
    let (entity_type, state) = (provider(), live());
    let bytes = state.live().unwrap().object.clone();
    let (current, other) = (ETag::of(1, &bytes), ETag::of(1, b"{}"));
    let if_match = |etags: Vec<ETag>| Precondition { if_match: tags(&etags), ..Precondition::default() };
    let if_none_match = |etags: Vec<ETag>| Precondition { if_none_match: tags(&etags), ..Precondition::default() };
    let since = |time| Precondition { if_unmodified_since: Some(time), ..Precondition::default() };
    for (precondition, holds) in [
        (if_match(vec![current]), true),
        (if_match(vec![other, current]), true),
        (if_match(vec![other, ETag::of(2, &bytes)]), false),
        (if_match(vec![]), false),
        (if_none_match(vec![other]), true),
        (if_none_match(vec![other, current]), false),
        (since(at(0)), true),
        (since(at(-1000)), false),
        (Precondition { if_unmodified_since: Some(at(-1000)), ..if_match(vec![current]) }, true),
    ] {
        for command in [delete(), update(json!({"name":"B"}))] {
            let decision = first(&entity_type, Some(&state), &with(precondition.clone(), command), at(9));
            assert_eq!(decision.next.is_some(), holds, "{precondition}");
            if !holds {
                assert_eq!(problem(&decision), (Slug::PreconditionFailed, Some(1), Some(Retry::No)));
            }
        }
    }
    // Before the body is looked at.
    let bad = with(if_match(vec![other]), update(json!({"name":7})));
    assert_eq!(problem(&first(&entity_type, Some(&state), &bad, at(9))).0, Slug::PreconditionFailed);
}

/// A gateway sends the tag of what it shows, which is what today's schema makes of it.
#[test]
fn tags_are_those_of_the_object_as_it_is_shown() {
    let text = r#"{"type":"object","properties":{"name":{"type":"string"},"size":{"type":"integer","default":3}}}"#;
    let registry = Registry::with_files(&[("provider".to_owned(), text.to_owned())]).unwrap();
    let (later, state) = (registry.get("provider").unwrap(), live());
    let stored = &state.live().unwrap().object;
    let shown = later.render_again(&EntityId::parse("a").unwrap(), stored).unwrap();
    for (bytes, holds) in [(&shown[..], true), (&stored[..], false)] {
        let precondition = Precondition { if_match: tags(&[ETag::of(1, bytes)]), ..Precondition::default() };
        let decision = first(later, Some(&state), &with(precondition, update(json!({"size":4}))), at(9));
        assert_eq!(decision.next.is_some(), holds);
    }
}

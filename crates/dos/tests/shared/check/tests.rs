//! The checker itself: a good history passes, and each broken promise is noticed.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Checker, Kind};
use crate::shared::history::{Found, Outcome, Version, Write};

fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn object(id: &str, name: &str, url: Option<&str>, version: u64) -> Vec<u8> {
    let updated = format!("2026-01-01T00:00:00.{version:03}Z");
    let object = json!({"id": id, "name": name, "url": url, "flagged": false, "created": "2026-01-01T00:00:00Z", "updated": updated});
    object.to_string().into_bytes()
}

fn version(id: &str, number: u64, correlation: &str, object: Vec<u8>) -> Version {
    Version { id: id.to_owned(), version: number, correlation: correlation.to_owned(), label: None, object }
}

fn acknowledged(id: &str, version: u64, body: Vec<u8>) -> Outcome {
    Outcome::Acknowledged { id: id.to_owned(), version, etag: format!("\"{version}-ab\""), body }
}

fn write(marker: &str, entity: Option<&str>, patch: &Value, outcome: Outcome) -> Write {
    let entity = entity.map(str::to_owned);
    let creates = patch.get("name").is_some();
    let (marker, patch) = (marker.to_owned(), fields(patch));
    Write { marker, entity, creates, patch, outcome, ..Write::default() }
}

/// Entity `a`: created by m-1, changed by m-2 and by m-3, whose answer was lost; m-4 was refused.
struct History {
    writes: Vec<Write>,
    versions: Vec<Version>,
    found: HashMap<String, Found>,
}

impl History {
    fn good() -> Self {
        let objects =
            [object("a", "m-1", None, 1), object("a", "m-1", Some("m-2"), 2), object("a", "m-1", Some("m-3"), 3)];
        let [one, two, three] = objects;
        let writes = vec![
            write("m-1", None, &json!({"name": "m-1"}), acknowledged("a", 1, one.clone())),
            write("m-2", Some("a"), &json!({"url": "m-2"}), acknowledged("a", 2, two.clone())),
            write("m-3", Some("a"), &json!({"url": "m-3"}), Outcome::Unknown { operation: None }),
            write("m-4", Some("a"), &json!({"url": "m-4"}), Outcome::Refused(503)),
        ];
        let found = Found { etag: "\"3-ab\"".to_owned(), body: three.clone() };
        let versions = vec![version("a", 1, "c1", one), version("a", 2, "c2", two), version("a", 3, "c3", three)];
        Self { writes, versions, found: HashMap::from([("a".to_owned(), found)]) }
    }

    fn kinds(&self) -> Vec<Kind> {
        let violations = Checker::default().round(&self.writes, &self.versions, &self.found);
        violations.into_iter().map(|violation| violation.kind).collect()
    }

    /// Ends the topic after version 2.
    fn without_the_third(mut self) -> Self {
        self.versions.truncate(2);
        let found = Found { etag: "\"2-ab\"".to_owned(), body: self.versions[1].object.clone() };
        self.found.insert("a".to_owned(), found);
        self
    }
}

#[test]
fn a_good_history_passes_with_and_without_the_unknown_write() {
    assert_eq!(History::good().kinds(), []);
    assert_eq!(History::good().without_the_third().kinds(), []);
}

#[test]
fn a_lost_acknowledged_write() {
    let mut history = History::good().without_the_third();
    history.versions.truncate(1);
    let found = Found { etag: "\"1-ab\"".to_owned(), body: history.versions[0].object.clone() };
    history.found.insert("a".to_owned(), found);
    assert_eq!(history.kinds(), [Kind::Lost]);
}

#[test]
fn an_accepted_write_without_an_outcome_or_without_its_effect() {
    for succeeded in [None, Some(true)] {
        let mut history = History::good().without_the_third();
        history.writes[2].outcome = Outcome::Accepted { operation: "/operation/x".to_owned(), succeeded };
        assert_eq!(history.kinds(), [Kind::Lost]);
    }
    let mut history = History::good();
    history.writes[2].outcome = Outcome::Accepted { operation: "/operation/x".to_owned(), succeeded: Some(false) };
    assert_eq!(history.kinds(), [Kind::Ghost]);
}

#[test]
fn a_write_applied_twice() {
    let mut history = History::good();
    history.versions.push(version("a", 4, "c4", object("a", "m-1", Some("m-2"), 4)));
    history
        .found
        .insert("a".to_owned(), Found { etag: "\"4-ab\"".to_owned(), body: history.versions[3].object.clone() });
    // Neither number nor bytes of the second are those acknowledged.
    assert_eq!(history.kinds(), [Kind::Changed, Kind::Changed, Kind::Doubled]);
}

#[test]
fn a_command_that_made_two_versions_and_a_version_that_comes_twice() {
    let mut history = History::good();
    history.versions[2].correlation = "c2".to_owned();
    assert_eq!(history.kinds(), [Kind::Doubled]);
    let mut history = History::good();
    let mut again = history.versions[2].clone();
    again.correlation = "c4".to_owned();
    history.versions.push(again);
    assert!(history.kinds().contains(&Kind::Doubled));
}

#[test]
fn a_write_applied_again_in_a_later_round() {
    let (mut checker, history) = (Checker::default(), History::good());
    assert!(checker.round(&history.writes, &history.versions, &history.found).is_empty());
    let late = version("a", 4, "c4", object("a", "m-1", Some("m-2"), 4));
    let found = Found { etag: "\"4-ab\"".to_owned(), body: late.object.clone() };
    let violations = checker.round(&[], &[late], &HashMap::from([("a".to_owned(), found)]));
    let kinds: Vec<Kind> = violations.into_iter().map(|violation| violation.kind).collect();
    assert_eq!(kinds, [Kind::Ghost, Kind::Doubled]);
}

#[test]
fn a_gap_between_versions() {
    let mut history = History::good();
    history.versions[2].version = 4;
    history.found.get_mut("a").unwrap().etag = "\"4-ab\"".to_owned();
    assert_eq!(history.kinds(), [Kind::Gap]);
    let mut history = History::good();
    history.versions.remove(0);
    assert!(history.kinds().contains(&Kind::Gap));
}

#[test]
fn changed_bytes() {
    let mut history = History::good();
    history.versions[1].object.push(b' ');
    assert_eq!(history.kinds(), [Kind::Changed]);
    let mut history = History::good();
    history.found.get_mut("a").unwrap().body.push(b' ');
    assert_eq!(history.kinds(), [Kind::Stale]);
}

#[test]
fn a_field_that_nobody_set_or_that_was_not_kept() {
    let mut history = History::good();
    history.versions[2].object = object("a", "other", Some("m-3"), 3);
    history.found.get_mut("a").unwrap().body = history.versions[2].object.clone();
    assert_eq!(history.kinds(), [Kind::Effect]);
    let mut history = History::good();
    history.writes[2].patch.insert("email".to_owned(), "e".into());
    assert_eq!(history.kinds(), [Kind::Effect]);
}

#[test]
fn a_refused_write_that_is_there() {
    let mut history = History::good();
    history.writes[2].outcome = Outcome::Refused(412);
    assert_eq!(history.kinds(), [Kind::Ghost]);
}

#[test]
fn a_version_that_nobody_wrote() {
    let mut history = History::good();
    history.writes.remove(2);
    assert_eq!(history.kinds(), [Kind::Ghost]);
}

#[test]
fn an_entity_that_get_does_not_find_or_finds_older() {
    let mut history = History::good();
    history.found.clear();
    assert_eq!(history.kinds(), [Kind::Stale]);
    let mut history = History::good();
    history
        .found
        .insert("a".to_owned(), Found { etag: "\"2-ab\"".to_owned(), body: history.versions[1].object.clone() });
    assert_eq!(history.kinds(), [Kind::Stale]);
}

#[test]
fn writes_of_one_writer_in_the_wrong_order() {
    let mut history = History::good();
    history.writes.swap(0, 1);
    assert_eq!(history.kinds(), [Kind::Order]);
}

#[test]
fn a_refusal_because_of_an_entity_that_is_not_there() {
    let mut history = History::good();
    history.writes.push(write("m-5", Some("a"), &json!({"name": "m-5"}), Outcome::Refused(412)));
    assert_eq!(history.kinds(), []);
    history.writes.push(write("m-6", Some("b"), &json!({"name": "m-6"}), Outcome::Refused(412)));
    assert_eq!(history.kinds(), [Kind::Condition]);
}

#[test]
fn another_gateway_that_gives_an_older_version() {
    let (mut checker, history) = (Checker::default(), History::good());
    assert!(checker.round(&history.writes, &history.versions, &history.found).is_empty());
    assert!(checker.elsewhere(&history.versions, &history.found).is_empty());
    let older = Found { etag: "\"2-ab\"".to_owned(), body: history.versions[1].object.clone() };
    let violations = checker.elsewhere(&history.versions, &HashMap::from([("a".to_owned(), older)]));
    assert_eq!(violations.into_iter().map(|violation| violation.kind).collect::<Vec<_>>(), [Kind::Stale]);
}

#[test]
fn an_answer_that_no_write_may_have() {
    let mut history = History::good();
    history.writes[3].outcome = Outcome::Strange("500".to_owned());
    assert_eq!(history.kinds(), [Kind::Strange]);
}

#[test]
fn a_condition_on_a_version_that_was_passed_over_or_that_held_and_was_refused() {
    let mut history = History::good();
    history.writes[1].based_on = Some("\"1-ab\"".to_owned());
    history.writes[2].based_on = Some("\"2-ab\"".to_owned());
    let refused = |marker: &str, etag: &str| {
        let write = write(marker, Some("a"), &json!({"url": marker}), Outcome::Refused(412));
        Write { based_on: Some(etag.to_owned()), ..write }
    };
    history.writes.push(refused("m-5", "\"1-ab\""));
    assert_eq!(history.kinds(), []);
    history.writes.push(refused("m-6", "\"3-ab\""));
    assert_eq!(history.kinds(), [Kind::Condition], "it is version 3 still");
    history.writes.pop();
    history.writes[2].based_on = Some("\"1-ab\"".to_owned());
    assert_eq!(history.kinds(), [Kind::Condition], "two writes on version 1");
}

fn deletion(marker: &str, outcome: Outcome) -> Write {
    Write { deletes: true, ..write(marker, Some("a"), &json!({}), outcome) }
}

/// Entity `a` after version 3: deleted by m-5 and created anew by m-6.
fn created_anew() -> History {
    let mut history = History::good();
    history.writes.push(deletion("m-5", Outcome::Deleted));
    let anew = object("a", "m-6", None, 5);
    history.writes.push(write("m-6", Some("a"), &json!({"name": "m-6"}), acknowledged("a", 5, anew.clone())));
    let gone = Version { label: Some("m-5".to_owned()), ..version("a", 4, "c5", Vec::new()) };
    history.versions.extend([gone, version("a", 5, "c6", anew.clone())]);
    history.found.insert("a".to_owned(), Found { etag: "\"5-ab\"".to_owned(), body: anew });
    history
}

#[test]
fn a_deletion_and_what_is_created_anew() {
    assert_eq!(created_anew().kinds(), []);
    let mut history = created_anew();
    history.writes.pop();
    history.versions.pop();
    history.found.insert("a".to_owned(), Found { etag: "\"4-deleted\"".to_owned(), body: Vec::new() });
    history.writes.push(write("m-7", Some("a"), &json!({"url": "m-7"}), Outcome::Refused(410)));
    assert_eq!(history.kinds(), []);
    history.found.clear();
    assert_eq!(history.kinds(), [Kind::Stale], "404 and not 410");
}

#[test]
fn a_deletion_that_is_lost_or_that_nobody_asked_for() {
    let mut history = History::good();
    history.writes.push(deletion("m-5", Outcome::Deleted));
    assert_eq!(history.kinds(), [Kind::Lost]);
    let mut history = created_anew();
    history.writes[4].outcome = Outcome::Refused(412);
    assert_eq!(history.kinds(), [Kind::Ghost]);
    let mut history = created_anew();
    history.writes[4].deletes = false;
    assert_eq!(history.kinds(), [Kind::Effect]);
}

#[test]
fn a_version_that_begins_anew_and_a_change_of_what_was_deleted() {
    let mut history = created_anew();
    history.versions[4].version = 1;
    assert!(history.kinds().contains(&Kind::Doubled));
    let mut history = created_anew();
    history.writes[5].creates = false;
    assert_eq!(history.kinds(), [Kind::Effect]);
}

#[test]
fn a_refusal_because_of_a_deletion_that_never_was() {
    let mut history = History::good();
    history.writes.push(write("m-5", Some("a"), &json!({"url": "m-5"}), Outcome::Refused(410)));
    assert_eq!(history.kinds(), [Kind::Condition]);
    history.writes[4].outcome = Outcome::Refused(404);
    assert_eq!(history.kinds(), [Kind::Order], "its writer had written it");
}

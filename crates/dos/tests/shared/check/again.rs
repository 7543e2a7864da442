//! Writes that were sent several times under one idempotency key: one write, and one answer.

use std::collections::HashMap;

use super::{Kind, Violation};
use crate::shared::history::{Outcome, Write};

/// Makes one write of all the times that it was sent, in the place of the first; and what is wrong with their answers.
pub(crate) fn as_one(attempts: Vec<Write>) -> (Vec<Write>, Vec<Violation>) {
    let (mut writes, mut violations): (Vec<Write>, Vec<Violation>) = Default::default();
    let mut place: HashMap<String, usize> = HashMap::new();
    for attempt in attempts {
        if attempt.replayed && !attempt.keyed {
            violations.push(broken(Kind::Strange, &attempt, "has no key and was answered before"));
        }
        match place.get(&attempt.marker) {
            Some(first) if attempt.keyed => join(&mut writes[*first], attempt, &mut violations),
            _ => {
                place.insert(attempt.marker.clone(), writes.len());
                writes.push(attempt);
            }
        }
    }
    (writes, violations)
}

fn broken(kind: Kind, attempt: &Write, what: &str) -> Violation {
    Violation { kind, detail: format!("{} {what}", attempt.marker) }
}

/// What its writer knows of a write that it sent once more.
fn join(write: &mut Write, attempt: Write, violations: &mut Vec<Violation>) {
    match (certainty(&write.outcome), certainty(&attempt.outcome)) {
        (Certainty::Final, Certainty::Final) => {
            if write.outcome != attempt.outcome {
                let what = format!("was answered with {:?}, and then with {:?}", write.outcome, attempt.outcome);
                violations.push(broken(Kind::Changed, &attempt, &what));
            }
            // What the gateway itself refuses is not remembered.
            let is_done = !matches!(attempt.outcome, Outcome::Refused(_));
            if is_done && !write.replayed && !attempt.replayed {
                violations.push(broken(Kind::Doubled, &attempt, "was carried out for two requests with its key"));
            }
            write.replayed &= attempt.replayed;
        }
        (Certainty::Final, Certainty::Promised(done)) | (Certainty::Promised(done), Certainty::Final) => {
            let known = if certainty(&write.outcome) == Certainty::Final { &write.outcome } else { &attempt.outcome };
            if matches!(known, Outcome::Refused(_)) == done {
                let what = format!("ended as {known:?}, and an operation says that it was done: {done}");
                violations.push(broken(Kind::Changed, &attempt, &what));
            }
            if certainty(&attempt.outcome) == Certainty::Final {
                *write = Write { entity: write.entity.take(), ..attempt };
            }
        }
        (Certainty::Promised(one), Certainty::Promised(other)) if one != other => {
            violations.push(broken(Kind::Changed, &attempt, "succeeded and failed"));
        }
        // An operation without an end is a violation of its own: it stays.
        (Certainty::Endless, _) => {}
        (before, now) if now > before => *write = Write { entity: write.entity.take(), ..attempt },
        _ => {}
    }
}

/// How much an outcome tells, least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Certainty {
    /// This attempt was not carried out.
    Nothing,
    Doubt,
    /// What an operation says.
    Promised(bool),
    Final,
    /// An operation that does not end, or an answer that no write may have.
    Endless,
}

fn certainty(outcome: &Outcome) -> Certainty {
    match outcome {
        Outcome::Refused(500..) | Outcome::Never | Outcome::None => Certainty::Nothing,
        Outcome::Unknown { .. } => Certainty::Doubt,
        Outcome::Accepted { succeeded: Some(done), .. } => Certainty::Promised(*done),
        Outcome::Acknowledged { .. } | Outcome::Deleted | Outcome::Refused(_) => Certainty::Final,
        Outcome::Accepted { succeeded: None, .. } | Outcome::Strange(_) => Certainty::Endless,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(outcome: Outcome, replayed: bool) -> Write {
        Write { marker: "m-1".to_owned(), keyed: true, replayed, outcome, ..Write::default() }
    }

    fn done(version: u64) -> Outcome {
        Outcome::Acknowledged { id: "a".to_owned(), version, etag: format!("\"{version}-ab\""), body: b"{}".to_vec() }
    }

    fn promised(succeeded: Option<bool>) -> Outcome {
        Outcome::Accepted { operation: "/operation/x".to_owned(), succeeded }
    }

    fn one(attempts: Vec<Write>) -> (Outcome, Vec<Kind>) {
        let (mut writes, violations) = as_one(attempts);
        assert_eq!(writes.len(), 1);
        (writes.remove(0).outcome, violations.into_iter().map(|violation| violation.kind).collect())
    }

    #[test]
    fn what_is_known_in_the_end() {
        let unknown = || attempt(Outcome::Unknown { operation: None }, false);
        let safe = || attempt(Outcome::Refused(503), false);
        assert_eq!(one(vec![unknown(), safe(), attempt(done(2), true)]), (done(2), vec![]));
        assert_eq!(one(vec![attempt(done(2), false), unknown(), attempt(done(2), true)]), (done(2), vec![]));
        assert_eq!(one(vec![safe(), unknown()]).0, Outcome::Unknown { operation: None });
        assert_eq!(one(vec![safe(), safe()]), (Outcome::Refused(503), vec![]), "nothing may be there");
        let accepted = attempt(promised(Some(true)), false);
        assert_eq!(one(vec![accepted.clone(), unknown()]), (promised(Some(true)), vec![]));
        assert_eq!(one(vec![accepted, attempt(done(2), true)]), (done(2), vec![]));
    }

    #[test]
    fn answers_that_do_not_agree() {
        let first = || attempt(done(2), false);
        assert_eq!(one(vec![first(), attempt(done(3), true)]).1, [Kind::Changed]);
        assert_eq!(one(vec![first(), attempt(Outcome::Refused(412), true)]).1, [Kind::Changed]);
        assert_eq!(one(vec![first(), attempt(done(2), false)]).1, [Kind::Doubled]);
        let refused = || attempt(Outcome::Refused(422), false);
        assert_eq!(one(vec![refused(), refused()]).1, []);
        assert_eq!(one(vec![first(), attempt(promised(Some(false)), false)]).1, [Kind::Changed]);
        assert_eq!(
            one(vec![attempt(promised(Some(true)), false), attempt(Outcome::Refused(410), true)]).1,
            [Kind::Changed]
        );
        let no_key = Write { keyed: false, ..attempt(done(2), true) };
        assert_eq!(one(vec![no_key]).1, [Kind::Strange]);
    }
}

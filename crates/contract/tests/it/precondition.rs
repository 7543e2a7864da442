//! The table of RFC 9110 section 13, against a second reading of it that knows nothing of the first.

use contract::precondition::{Tags, Unmet, Validators};
use contract::{ETag, Precondition, Timestamp};
use proptest::prelude::*;
use proptest::{collection::vec, option};

use crate::{arbitrary, checks};

/// A field as a client might send it: of the tags 0, 1 and 2, the entity may have 1.
#[derive(Clone, Debug)]
enum Field {
    Star,
    Tags(Vec<(bool, u64)>),
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![1 => Just(Field::Star), 3 => vec((any::<bool>(), 0..3_u64), 0..4).prop_map(Field::Tags)]
}

fn etag(number: u64) -> ETag {
    ETag::of(number + 1, format!("{{\"n\":{number}}}").as_bytes())
}

/// With the commas and blanks that the grammar lets pass.
fn sent(field: &Field, blank: &str) -> String {
    match field {
        Field::Star => format!("{blank}*{blank}"),
        Field::Tags(tags) => {
            let tag = |(weak, number): &(bool, u64)| format!("{}{}", if *weak { "W/" } else { "" }, etag(*number));
            tags.iter().map(tag).collect::<Vec<_>>().join(&format!("{blank},{blank}"))
        }
    }
}

/// 13.1.1: false where there is no representation, or no listed tag matches by strong comparison.
fn if_match_holds(field: &Field, exists: bool) -> bool {
    exists
        && match field {
            Field::Star => true,
            Field::Tags(tags) => tags.contains(&(false, 1)),
        }
}

/// 13.1.2: false where `*` meets a representation, or a listed tag matches by weak comparison.
fn if_none_match_holds(field: &Field, exists: bool) -> bool {
    match field {
        Field::Star => !exists,
        Field::Tags(tags) => !exists || tags.iter().all(|(_, number)| *number != 1),
    }
}

proptest! {
    /// 13.2.2, its steps one after the other, for a method that is neither GET nor HEAD.
    #[test]
    fn conditions_are_decided_in_the_order_of_the_rfc(
        if_match in option::of(field()), if_none_match in option::of(field()),
        since in option::of(-2..3_i64), millis in 0..3000_i64, exists in any::<bool>(), blank in "[ \t]{0,2}",
    ) {
        let read = |field: &Option<Field>| field.as_ref().map(|field| Tags::parse(&sent(field, &blank)).unwrap());
        let time = |millis: i64| Timestamp::from_millis(1_700_000_000_000 + millis);
        let precondition = Precondition {
            if_match: read(&if_match),
            if_none_match: read(&if_none_match),
            if_unmodified_since: since.map(|second| time(second * 1000)),
        };
        let current = exists.then(|| Validators { etag: etag(1), modified: time(millis) });
        let step_1_or_2 = match (&if_match, since) {
            (Some(field), _) if !if_match_holds(field, exists) => Some(Unmet::IfMatch),
            (Some(_), _) => None,
            // A date counts whole seconds, and without a date of modification the field is ignored.
            (None, Some(since)) if exists && millis / 1000 > since => Some(Unmet::IfUnmodifiedSince),
            (None, _) => None,
        };
        let step_3 = if_none_match.filter(|field| !if_none_match_holds(field, exists)).map(|_| Unmet::IfNoneMatch);
        let expected = step_1_or_2.or(step_3);
        prop_assert_eq!(precondition.evaluate(current.as_ref()).err(), expected, "{}", precondition);
        if !precondition.is_empty() {
            prop_assert_eq!(Precondition::parse(&precondition.to_string()), Ok(precondition));
        }
    }

    #[test]
    fn fields_are_read_back(tags in arbitrary::tags(), any in arbitrary::text(), mixed in "[\"W/*, a1;\t]{0,20}") {
        prop_assert!(checks::tags(&tags.to_string()));
        checks::tags(&any);
        checks::tags(&mixed);
    }

    #[test]
    fn attributes_are_read_back_and_mutations_refused(condition in arbitrary::precondition(), at in any::<prop::sample::Index>(), other in any::<char>()) {
        let text = condition.to_string();
        prop_assert_eq!(Precondition::parse(&text), Ok(condition));
        let mut chars: Vec<char> = text.chars().collect();
        let place = at.index(chars.len());
        chars[place] = other;
        let edited: String = chars.into_iter().collect();
        if let Ok(read) = Precondition::parse(&edited) {
            prop_assert_eq!(Precondition::parse(&read.to_string()), Ok(read));
        }
    }
}

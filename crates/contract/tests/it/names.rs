//! Ids, keys, partitions and times.

use contract::{CommandId, EntityId, Key, OperationId, Timestamp, TypeName, partition};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{arbitrary, checks};

proptest! {
    #[test]
    fn ids_are_their_text(id in arbitrary::entity_id(), any in arbitrary::text()) {
        prop_assert_eq!(EntityId::parse(id.as_str()), Some(id.clone()));
        prop_assert_eq!(EntityId::parse(&any).map(|id| id.to_string()), EntityId::is_valid(&any).then_some(any.clone()));
        prop_assert!(EntityId::parse(&(id.to_string() + "/")).is_none());
        if let Some(name) = TypeName::parse(&any) {
            prop_assert_eq!(name.as_str(), any);
        }
    }

    #[test]
    fn keys_have_one_spelling(key in arbitrary::key(), text in "[a-z:._-]{0,12}") {
        prop_assert_eq!(Key::parse(&key.to_string()), Some(key.clone()));
        let list = Key::list(key.entity_type);
        prop_assert_eq!(Key::parse(&list.to_string()), Some(list));
        if let Some(key) = Key::parse(&text) {
            prop_assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn command_ids_are_read_back(id in arbitrary::command_id(), text in "[0-9a-fA-F{}-]{34,38}") {
        prop_assert_eq!(CommandId::parse(&id.to_string()), Some(id));
        prop_assert_eq!(CommandId::parse(&id.0.simple().to_string()), None);
        prop_assert_eq!(CommandId::parse(&id.0.urn().to_string()), None);
        prop_assert_eq!(CommandId::parse(&id.0.braced().to_string()), None);
        if let Some(id) = CommandId::parse(&text) {
            prop_assert_eq!(id.to_string(), text.to_ascii_lowercase());
        }
    }

    #[test]
    fn operation_ids_have_one_spelling(
        command in arbitrary::command_id(), key in arbitrary::key(), at in any::<Index>(), other in "[A-Za-z0-9_-]", any in "[A-Za-z0-9_-]{0,170}",
    ) {
        let id = OperationId { command, key };
        let text = id.to_string();
        prop_assert!(checks::operation_id(&text) && text.len() <= 160);
        prop_assert_eq!(OperationId::parse(&text), Some(id));
        let mut edited = text;
        let i = at.index(edited.len());
        edited.replace_range(i..=i, &other);
        checks::operation_id(&edited);
        checks::operation_id(&any);
    }

    #[test]
    fn partitions_are_within_their_number(key in vec(any::<u8>(), 0..80), count in any::<u32>()) {
        prop_assert!(partition::of_key(&key, count) < count.max(1));
        prop_assert_eq!(partition::of_key(&key, 1), 0);
        // All of the hash but its sign decides.
        prop_assert_eq!(partition::of_key(&key, 0x8000_0000) % 12, partition::of_key(&key, 12));
    }

    #[test]
    fn times_are_read_back(time in arbitrary::timestamp(), later in arbitrary::timestamp()) {
        let text = time.to_string();
        prop_assert!(checks::entity::timestamp(&text), "{}", text);
        prop_assert_eq!(Timestamp::parse(&text), Some(time));
        prop_assert_eq!(text.contains('.'), time.as_millis() % 1000 != 0);
        // Within the same second, `.` sorts before `Z`.
        if time.as_seconds() != later.as_seconds() {
            prop_assert_eq!(time < later, text < later.to_string());
        }
    }

    #[test]
    fn times_of_every_offset_are_the_same_instant(time in arbitrary::timestamp(), minutes in -1439..=1439_i64, digits in "[0-9]{0,9}") {
        let local = time.plus_millis(minutes * 60_000).to_string();
        let (sign, minutes) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
        let digits = if local.contains('.') { digits } else { String::new() };
        let text = format!("{}{digits}{sign}{:02}:{:02}", local.trim_end_matches('Z'), minutes / 60, minutes % 60);
        let within = |millis| arbitrary::MILLIS.contains(&millis);
        if within(time.as_millis() + minutes * 60_000) && within(time.as_millis() - minutes * 60_000) {
            prop_assert_eq!(Timestamp::parse(&text), Some(time), "{}", text);
        }
    }

    #[test]
    fn texts_that_look_like_times_are_read_by_the_grammar(
        date in "[0-9]{4}-[01][0-9]-[0-3][0-9]", t in "[Tt ]", time in "[0-2][0-9]:?[0-5][0-9](:?[0-6][0-9])?([.,][0-9]{0,10})?",
        offset in "(Z|z|[+-][01][0-9](:?[0-5][0-9](:?[0-5][0-9])?)?)?", tail in "(\\[UTC\\]|\\[u-ca=iso8601\\]| |\\PC)?", any in arbitrary::text(),
    ) {
        checks::entity::timestamp(&format!("{date}{t}{time}{offset}{tail}"));
        checks::entity::timestamp(&any);
    }
}

/// Every instant can be written, so an event never has a time that its reader refuses.
#[test]
fn times_stay_within_the_years_that_can_be_written() {
    let (first, last) = (*arbitrary::MILLIS.start(), *arbitrary::MILLIS.end());
    for (millis, expected, text) in [
        (i64::MIN, first, "0000-01-01T00:00:00Z"),
        (first - 1, first, "0000-01-01T00:00:00Z"),
        (last + 1, last, "9999-12-31T23:59:59.999Z"),
        (i64::MAX, last, "9999-12-31T23:59:59.999Z"),
    ] {
        let time = Timestamp::from_millis(millis);
        assert_eq!((time.as_millis(), time.to_string().as_str()), (expected, text));
        assert!(checks::entity::timestamp(text));
    }
    assert_eq!(Timestamp::from_millis(last).plus_millis(1).as_millis(), last);
    for beyond in ["0000-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"] {
        assert_eq!(Timestamp::parse(beyond), None, "{beyond}");
    }
}

/// The forms of RFC 9557 and ISO 8601 that RFC 3339 has not.
#[test]
fn other_forms_of_a_time_are_refused() {
    for text in [
        "2023-04-04T00:00:00Z[UTC]",
        "2023-04-04T00:00:00+01:00[Europe/London]",
        "2023-04-04T00:00:00,5Z",
        "2023-04-04T00:00+01:00",
        "2023-04-04T00:00:00+0100",
        "2023-04-04T00:00:00+01",
        "2023-04-04T00:00:00+01:00:30",
    ] {
        assert_eq!(Timestamp::parse(text), None, "{text}");
    }
}

#[test]
fn leap_seconds_are_read() {
    assert_eq!(Timestamp::parse("2016-12-31T23:59:60Z").unwrap().to_string(), "2016-12-31T23:59:59Z");
}

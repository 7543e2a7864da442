//! What could not be read is set aside as it came, within the bounds of a message.

use contract::wire::cloudevents::{decode_command, decode_quarantined, encode_command, encode_quarantined, with_run};
use contract::{Headers, Record, Stored, Topic};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{arbitrary, checks};

proptest! {
    #[test]
    fn keeps_the_event_as_it_came(
        key in vec(any::<u8>(), 0..40),
        pairs in vec((arbitrary::text(), vec(any::<u8>(), 0..40)), 0..9),
        value in vec(any::<u8>(), 0..99),
        reason in arbitrary::text(),
    ) {
        let pairs = pairs.iter().map(|(name, value)| (name.as_str(), &value[..]));
        checks::quarantined(&Record { key: key.into(), headers: Headers::from_pairs(pairs), value: value.into() }, &reason);
    }
}

/// A header that says so already is the event's, not ours.
#[test]
fn the_reason_is_ours_even_where_the_event_has_one() {
    let headers = Headers::from_pairs([("dos_reason", &b"theirs"[..]), ("dos_key", b"theirs")]);
    let record = Record { key: "k".into(), headers, value: "v".into() };
    let stored = Stored { partition: 0, offset: 0, record };
    let kept = encode_quarantined(Topic::Commands, &stored, "ours", 2 << 20);
    assert_eq!(kept.headers.get("dos_reason"), Some(&b"ours"[..]));
    assert_eq!(kept.headers.get("dos_key"), Some(&b"k"[..]));
    assert_eq!(kept.headers.iter().filter(|(_, value)| *value == b"theirs").count(), 2);
}

/// The reason travels in a header beside the event: one as long as the event would not fit.
#[test]
fn a_reason_is_short_however_long_the_event_is() {
    let registry = checks::entity::registry();
    let long = "\u{1}".repeat(1 << 20);
    let example = crate::examples::command("create");
    let record = encode_command(&example, &registry);
    for name in ["ce_specversion", "ce_type", "ce_precondition", "content-type"] {
        let pairs = record.headers.iter().map(|(name, value)| (std::str::from_utf8(name).unwrap(), value));
        let pairs = pairs.chain([(name, long.as_bytes())]);
        let headers = Headers::from_pairs(pairs);
        let record = Record { headers, ..record.clone() };
        assert!(decode_command(&record, &registry).is_err(), "{name}");
        checks::command(&record, &registry);
    }
    let long_type = format!("dos.{}.create", "a".repeat(1 << 20));
    let headers = Headers::from_pairs([
        ("ce_specversion", &b"1.0"[..]),
        ("ce_id", b"1"),
        ("ce_source", b"/x"),
        ("ce_type", long_type.as_bytes()),
    ]);
    checks::command(&Record { headers, ..record }, &registry);
}

/// What is too large for the stream with our headers in front loses its data first, then its own headers.
#[test]
fn an_event_at_the_limit_still_fits() {
    let headers = Headers::from_pairs([("theirs", &[7; 600][..])]);
    let record = Record { key: "k".into(), headers, value: vec![7; 300].into() };
    let stored = Stored { partition: 0, offset: 0, record };
    let kept = |size_bytes_max| encode_quarantined(Topic::Commands, &stored, "ours", size_bytes_max);
    assert_eq!(kept(2000).value.len(), 300);
    assert_eq!((kept(800).value.len(), kept(800).headers.get("theirs").is_some()), (0, true));
    assert!(kept(200).size_bytes() <= 200);
    for limit in [200, 800, 2000] {
        assert_eq!(kept(limit).headers.get("dos_reason"), Some(&b"ours"[..]));
    }
}

/// What a store set aside and published is given back as it came, unless some of it was left out.
#[test]
fn an_event_comes_out_of_quarantine_as_it_went_in() {
    let headers = Headers::from_pairs([("dos_reason", &b"theirs"[..]), ("dos_key", b"theirs"), ("theirs", &[7; 600])]);
    let record = Record { key: "k".into(), headers, value: vec![7; 300].into() };
    let stored = Stored { partition: 3, offset: 41, record };
    let read = |size_bytes_max| {
        let kept = encode_quarantined(Topic::Commands, &stored, "ours", size_bytes_max);
        decode_quarantined(&with_run(&kept, "3/run")).unwrap()
    };
    let whole = read(2000);
    assert_eq!(
        (whole.topic, whole.place.as_str(), whole.reason.as_str()),
        (Topic::Commands, "dos.commands:3:41", "ours")
    );
    assert_eq!(whole.record, Some(stored.record.clone()));
    for limit in [800, 200] {
        assert_eq!((read(limit).record, read(limit).reason.as_str()), (None, "ours"), "{limit}");
    }
    for key in ["dos.commands:3", "dos.commands:x:1", "other:1:2", "dos.commands:1:2"] {
        let record = Record { key: key.into(), headers: Headers::default(), value: "v".into() };
        assert_eq!(decode_quarantined(&record), None, "{key}");
    }
}

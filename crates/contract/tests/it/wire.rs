//! The native format: what is written is read the same, and nothing that comes along does harm.

use contract::view::VERSION_MAX;
use contract::wire::cloudevents::{
    decode_command, decode_reply, decode_view, encode_command, encode_reply, encode_view, version_of,
};
use contract::{Headers, Record, View};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{arbitrary, checks};

/// A way in which a record can be wrong.
#[derive(Clone, Debug)]
enum Damage {
    Drop(Index),
    Double(Index, Vec<u8>),
    Replace(Index, Vec<u8>),
    Flip(Index, u8),
    Cut(Index),
    Key(Vec<u8>),
    Value(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = || prop_oneof![vec(any::<u8>(), 0..24), arbitrary::text().prop_map(String::into_bytes)];
    prop_oneof![
        any::<Index>().prop_map(Damage::Drop),
        (any::<Index>(), bytes()).prop_map(|(at, value)| Damage::Double(at, value)),
        (any::<Index>(), bytes()).prop_map(|(at, value)| Damage::Replace(at, value)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        any::<Index>().prop_map(Damage::Cut),
        bytes().prop_map(Damage::Key),
        bytes().prop_map(Damage::Value),
    ]
}

fn damaged(record: &Record, damage: &Damage) -> Record {
    let mut record = record.clone();
    let mut pairs: Vec<(String, Vec<u8>)> = record
        .headers
        .iter()
        .map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.to_vec()))
        .collect();
    match damage {
        Damage::Drop(at) if !pairs.is_empty() => drop(pairs.remove(at.index(pairs.len()))),
        Damage::Double(at, value) if !pairs.is_empty() => {
            let name = at.get(&pairs).0.clone();
            pairs.insert(at.index(pairs.len()), (name, value.clone()));
        }
        Damage::Replace(at, value) if !pairs.is_empty() => {
            let at = at.index(pairs.len());
            pairs[at].1.clone_from(value);
        }
        Damage::Flip(at, bits) => {
            let mut parts: Vec<Vec<u8>> = vec![record.key.to_vec(), record.value.to_vec()];
            parts.extend(pairs.iter().map(|(_, value)| value.clone()));
            let part = at.index(parts.len());
            if !parts[part].is_empty() {
                let byte = at.index(parts[part].len());
                parts[part][byte] ^= bits;
            }
            record.key = parts[0].clone().into();
            record.value = parts[1].clone().into();
            for (pair, value) in pairs.iter_mut().zip(&parts[2..]) {
                pair.1.clone_from(value);
            }
        }
        Damage::Cut(at) => record.value = record.value.slice(..at.index(record.value.len() + 1)),
        Damage::Key(key) => record.key = key.clone().into(),
        Damage::Value(value) => record.value = value.clone().into(),
        Damage::Drop(_) | Damage::Double(..) | Damage::Replace(..) => {}
    }
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), &value[..]));
    Record { headers: Headers::from_pairs(pairs), ..record }
}

/// Nothing of ours: any key, headers and value.
fn record() -> impl Strategy<Value = Record> {
    let bytes = || vec(any::<u8>(), 0..40);
    let names = vec!["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_version", "content-type"];
    let name = prop_oneof![prop::sample::select(names).prop_map(str::to_owned), arbitrary::text()];
    let known = vec![
        "1.0",
        "dos.provider.create",
        "dos.provider.delete",
        "dos.provider.view",
        "dos.provider.deleted",
        "application/json",
        "7",
    ];
    let value = prop_oneof![bytes(), prop::sample::select(known).prop_map(|text| text.as_bytes().to_vec())];
    let key = prop_oneof![bytes(), arbitrary::key().prop_map(|key| key.to_string().into_bytes())];
    (key, vec((name, value), 0..12), bytes()).prop_map(|(key, pairs, value)| {
        let pairs = pairs.iter().map(|(name, value)| (name.as_str(), &value[..]));
        Record { key: key.into(), headers: Headers::from_pairs(pairs), value: value.into() }
    })
}

#[test]
fn commands_come_back_as_they_were() {
    let registry = checks::entity::registry();
    proptest!(|(command in arbitrary::command(&registry))| {
        let record = encode_command(&command, &registry);
        prop_assert_eq!(decode_command(&record, &registry), Ok(command));
        prop_assert!(checks::command(&record, &registry));
    });
}

#[test]
fn damaged_commands_are_refused_or_read_as_what_they_say() {
    let registry = checks::entity::registry();
    proptest!(|(command in arbitrary::command(&registry), damages in vec(damage(), 1..4))| {
        let record = encode_command(&command, &registry);
        checks::command(&damages.iter().fold(record, |record, damage| damaged(&record, damage)), &registry);
    });
}

/// Taken for a view, one with such a version would hide every later view of its entity.
#[test]
fn versions_that_no_store_gives_make_no_view() {
    let view = decode_view(&encode_view(&crate::examples::view(), "/store/1")).unwrap();
    for version in [0, VERSION_MAX + 1, u64::MAX] {
        let record = encode_view(&View { version, ..view.clone() }, "/store/1");
        let error = decode_view(&record).unwrap_err();
        assert!(error.reason.contains("9007199254740991"), "{error}");
        assert_eq!(error.key, Some(view.key.clone()), "it is known whose view it is not");
        assert_eq!(version_of(&record), Some((view.key.clone(), None)));
    }
    let highest = View { version: VERSION_MAX, ..view };
    assert_eq!(decode_view(&encode_view(&highest, "/store/1")), Ok(highest));
}

#[test]
fn whatever_comes_along_does_no_harm() {
    let registry = checks::entity::registry();
    proptest!(|(record in record())| {
        checks::command(&record, &registry);
        checks::view(&record);
        checks::reply(&record);
    });
}

proptest! {
    #[test]
    fn views_come_back_as_they_were(view in arbitrary::view(), damages in vec(damage(), 1..4)) {
        let record = encode_view(&view, "/store/1");
        prop_assert_eq!(decode_view(&record), Ok(view));
        prop_assert!(checks::view(&record));
        checks::view(&damages.iter().fold(record, |record, damage| damaged(&record, damage)));
    }

    #[test]
    fn replies_come_back_as_they_were(reply in arbitrary::reply(), damages in vec(damage(), 1..4)) {
        let record = encode_reply(&reply, "/store/1");
        let again = decode_reply(&record);
        prop_assert_eq!(format!("{:?}", again.unwrap()), format!("{reply:?}"));
        prop_assert!(checks::reply(&record));
        checks::reply(&damages.iter().fold(record, |record, damage| damaged(&record, damage)));
    }

    #[test]
    fn records_as_text_are_the_same_records(view in arbitrary::view()) {
        let record = encode_view(&View { data_schema: String::new(), ..view }, "/store/1");
        prop_assert_eq!(checks::text::to_record(checks::text::of_record(&record).as_bytes()), record);
    }

    #[test]
    fn headers_are_kept_to_the_byte(bytes in vec(0..4_u8, 0..60), pairs in vec((arbitrary::text(), vec(any::<u8>(), 0..9)), 0..9)) {
        checks::headers(&bytes);
        let headers = Headers::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), &value[..])));
        prop_assert!(checks::headers(headers.as_bytes()));
        let read: Vec<_> = headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        let sent: Vec<_> = pairs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
        prop_assert_eq!(read, sent);
    }
}

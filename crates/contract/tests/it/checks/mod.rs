//! What must hold for any bytes at all. Each function panics where it does not, and returns whether its input was
//! accepted. `fuzz/fuzz_targets` includes this file: a fuzz target is one call of one of these.

pub(crate) mod entity;
pub(crate) mod json;
pub(crate) mod text;

use contract::precondition::{BYTES_MAX, Tags};
use contract::wire::DecodeError;
use contract::wire::cloudevents::{
    decode_command, decode_reply, decode_view, encode_command, encode_quarantined, encode_reply, encode_view,
};
use contract::{Headers, OperationId, Precondition, Record, Registry, Stored, Topic};

/// The longest reason that a reader may give: it travels in a header of the quarantined event.
const REASON_BYTES_MAX: usize = 1024;

/// A command that is read is written and read again as the same one; one that is not is set aside whole.
pub(crate) fn command(record: &Record, registry: &Registry) -> bool {
    let command = match decode_command(record, registry) {
        Ok(command) => command,
        Err(error) => return refused(record, &error),
    };
    let written = encode_command(&command, registry);
    assert_eq!(decode_command(&written, registry).as_ref(), Ok(&command));
    assert_eq!(encode_command(&decode_command(&written, registry).unwrap(), registry), written);
    true
}

/// As [`command`], for views.
pub(crate) fn view(record: &Record) -> bool {
    let view = match decode_view(record) {
        Ok(view) => view,
        Err(error) => return refused(record, &error),
    };
    assert!(view.version > 0 && view.key.id.is_some());
    let written = encode_view(&view, "/store/1");
    assert_eq!(decode_view(&written).as_ref(), Ok(&view));
    assert_eq!(&written.key, &record.key);
    assert!(view.object.is_none() || written.value == record.value);
    true
}

/// As [`command`], for replies, which are compared as they are written.
pub(crate) fn reply(record: &Record) -> bool {
    let reply = match decode_reply(record) {
        Ok(reply) => reply,
        Err(error) => return refused(record, &error),
    };
    let written = encode_reply(&reply, "/store/1");
    let again = decode_reply(&written).unwrap();
    assert_eq!((again.correlation, &again.key, again.version), (reply.correlation, &reply.key, reply.version));
    assert_eq!((again.time, again.body.name()), (reply.time, reply.body.name()));
    assert_eq!(encode_reply(&again, "/store/1"), written);
    true
}

fn refused(record: &Record, error: &DecodeError) -> bool {
    assert!(!error.reason.is_empty());
    assert!(error.reason.len() <= REASON_BYTES_MAX, "a reason of {} bytes", error.reason.len());
    quarantined(record, &error.reason);
    false
}

/// A quarantined event holds the key, every header in order, and the value as they came, with the place and the reason.
pub(crate) fn quarantined(record: &Record, reason: &str) {
    let stored = Stored { partition: 3, offset: 70, record: record.clone() };
    let kept = encode_quarantined(Topic::Commands, &stored, reason, 2 << 20);
    assert_eq!(&kept.key[..], b"dos.commands:3:70");
    assert_eq!(kept.value, record.value);
    let headers: Vec<_> = kept.headers.iter().collect();
    let own = [(&b"dos_reason"[..], reason.as_bytes()), (b"dos_key", &record.key)];
    for header in own {
        assert!(headers.contains(&header));
    }
    let came: Vec<_> = headers.into_iter().filter(|header| !own.contains(header)).collect();
    let sent: Vec<_> = record.headers.iter().filter(|header| !own.contains(header)).collect();
    assert_eq!(came, sent);
}

/// Headers that are accepted are kept to the byte, and those with names of text are written the same again.
pub(crate) fn headers(bytes: &[u8]) -> bool {
    let Some(headers) = Headers::from_bytes(bytes.to_vec().into()) else { return false };
    assert_eq!(&headers.as_bytes()[..], bytes);
    assert!(headers.size_bytes() >= bytes.len());
    for (name, _) in headers.iter() {
        let Ok(name) = std::str::from_utf8(name) else { return true };
        let first = headers.iter().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value);
        assert_eq!(headers.get(name), first);
    }
    let pairs = headers.iter().map(|(name, value)| (std::str::from_utf8(name).unwrap(), value));
    assert_eq!(Headers::from_pairs(pairs), headers);
    true
}

/// An operation id has one spelling, and names one entity.
pub(crate) fn operation_id(text: &str) -> bool {
    let Some(id) = OperationId::parse(text) else { return false };
    assert!(id.key.id.is_some());
    assert_eq!(id.to_string(), text);
    true
}

/// Tags that are read are written and read as the same; so are the conditions they are a part of.
pub(crate) fn tags(field: &str) -> bool {
    let Ok(tags) = Tags::parse(field) else { return false };
    assert_eq!(Tags::parse(&tags.to_string()).as_ref(), Ok(&tags));
    let all = Precondition { if_match: Some(tags.clone()), if_none_match: Some(tags), if_unmodified_since: None };
    let text = all.to_string();
    assert_eq!(Precondition::parse(&text), if text.len() <= BYTES_MAX { Ok(all) } else { Err("is too long") });
    true
}

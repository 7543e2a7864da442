//! Server-sent events [HTML 9.2]: changes as text.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::feed::{Change, Follower, Step, What};

/// How long a browser waits before it comes again, unless it is told otherwise.
const RETRY: &[u8] = b"retry: 1000\n";

/// The changes of a step, each with the position behind it, of which the follower is told. With `typed` each object begins
/// with the type of its entity, as `@type`, which no field can be called.
pub(crate) fn changes(follower: &mut Follower, step: &Step, typed: bool) -> Bytes {
    let mut text = BytesMut::with_capacity(4096);
    follower.touch();
    for change in &step.changes {
        follower.advance(step.partition, change.offset + 1);
        event(&mut text, &follower.position().encode(), change, typed);
    }
    follower.advance(step.partition, step.next);
    text.freeze()
}

/// One change at a position.
pub(crate) fn one(position: &str, change: &Change) -> Bytes {
    let mut text = BytesMut::new();
    event(&mut text, position, change, false);
    text.freeze()
}

fn event(text: &mut BytesMut, id: &str, change: &Change, typed: bool) {
    let name = match &change.what {
        What::View(_) => "view",
        What::Deleted(..) => "deleted",
    };
    for piece in ["event: ", name, "\nid: ", id, "\ndata: {"] {
        text.put_slice(piece.as_bytes());
    }
    if typed {
        for piece in ["\"@type\":\"", change.entity_type.as_str(), "\","] {
            text.put_slice(piece.as_bytes());
        }
    }
    match &change.what {
        What::View(held) => data(text, held.object().get(1..).unwrap_or_default()),
        What::Deleted(id, _) => {
            for piece in ["\"id\":\"", id.as_str(), "\"}"] {
                text.put_slice(piece.as_bytes());
            }
        }
    }
    text.put_slice(b"\n\n");
}

/// JSON; where it has line ends between its tokens, each line is a field of its own.
fn data(text: &mut BytesMut, json: &[u8]) {
    for (i, line) in json.split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
        if i > 0 {
            text.put_slice(b"\ndata: ");
        }
        text.put_slice(line);
    }
}

/// The beginning: from where it goes on, so that a client which is cut off before the first event comes back to there.
pub(crate) fn beginning(position: &str) -> Bytes {
    [RETRY, b"id: ", position.as_bytes(), b"\n\n"].concat().into()
}

/// The client has to begin anew, and goes on from a position.
pub(crate) fn reset(position: &str) -> Bytes {
    [b"event: reset\nid: ", position.as_bytes(), b"\ndata: {}\n\n"].concat().into()
}

/// Nothing has happened up to a position. It has no data, so no event comes of it.
pub(crate) fn heartbeat(position: &str) -> Bytes {
    [b": still here\nid: ", position.as_bytes(), b"\n\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use contract::{EntityId, Registry, Timestamp, TypeName};

    use super::*;
    use crate::views::Held;

    #[test]
    fn an_object_with_line_ends_stays_one_event() {
        let registry = Registry::built_in().unwrap();
        let entity_type = registry.get("costoption").unwrap();
        let object = "{\"id\":\"a\",\r\n\"created\":\"2026-01-01T00:00:00Z\",\n\"updated\":\"2026-01-01T00:00:00Z\",\"option\":\"x\"}";
        let time = Timestamp::from_millis(0);
        let held = Held::new(entity_type, "a", 1, time, object.as_bytes(), entity_type.data_schema()).unwrap();
        let change = Change { offset: 3, entity_type: entity_type.name().clone(), what: What::View(held) };
        let mut text = BytesMut::new();
        event(&mut text, "pos", &change, true);
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.starts_with("event: view\nid: pos\ndata: {\"@type\":\"costoption\",\"id\":\"a\",\n"), "{text}");
        assert!(text.ends_with("\"option\":\"x\"}\n\n") && text.trim_end().lines().all(|line| line.contains(": ")));
        let data: String = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&data).unwrap()["option"], "x");
    }

    #[test]
    fn a_deletion_names_the_entity() {
        let what = What::Deleted(EntityId::parse("a").unwrap(), 2);
        let change = Change { offset: 3, entity_type: TypeName::parse("venue").unwrap(), what };
        let mut text = BytesMut::new();
        event(&mut text, "p", &change, false);
        event(&mut text, "q", &change, true);
        let expected = "event: deleted\nid: p\ndata: {\"id\":\"a\"}\n\nevent: deleted\nid: q\ndata: {\"@type\":\"venue\",\"id\":\"a\"}\n\n";
        assert_eq!(text, expected.as_bytes());
    }
}

//! Cursors of lists, and positions of the views: as text, and with the checksum made good, since anyone can compute it.

#![no_main]

#[allow(dead_code, reason = "each target uses a part")]
#[path = "../../crates/contract/tests/it/checks/mod.rs"]
mod checks;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::{Action, Command, CommandId, Key, ListQuery, Registry, Sort, SortBy, Timestamp};
use gateway::{Cursor, Position};
use libfuzzer_sys::fuzz_target;
use twox_hash::XxHash3_64;

static REGISTRY: LazyLock<Registry> = LazyLock::new(checks::entity::registry);

/// Whether the text is a cursor; one that is is written and read as the same, and the command made from it can be read.
fn cursor(text: &str) -> bool {
    if let Some(position) = Position::decode(text) {
        assert_eq!(Position::decode(&position.encode()).as_ref(), Some(&position));
    }
    let Some(cursor) = Cursor::decode(text) else { return false };
    assert_eq!(Cursor::decode(&cursor.encode()).as_ref(), Some(&cursor));
    let by = if cursor.after.time().is_some() { SortBy::Created } else { SortBy::Name };
    let sort = Sort { by, descending: false };
    let command = Command {
        id: CommandId::parse("019364f0-7a4b-7c52-9d5e-0a1b2c3d4e5f").expect("a UUID"),
        key: Key::list(REGISTRY.iter().next().expect("a type").name().clone()),
        action: Action::List(ListQuery { limit: 50, sort, after: Some(cursor.after), ..ListQuery::default() }),
        precondition: None,
        idempotency: None,
        time: Timestamp::default(),
        source: "/gateway/1".to_owned(),
        request_id: None,
        traceparent: None,
    };
    let record = contract::wire::cloudevents::encode_command(&command, &REGISTRY);
    assert_eq!(contract::wire::cloudevents::decode_command(&record, &REGISTRY), Ok(command));
    true
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        cursor(text);
    }
    let mut signed = bytes.to_vec();
    signed.extend_from_slice(&XxHash3_64::oneshot(bytes).to_be_bytes()[..4]);
    cursor(&URL_SAFE_NO_PAD.encode(signed));
});

//! The seeds of the fuzz targets: each is accepted, or a fuzzer would begin outside the door.

use std::path::Path;

use crate::checks;

fn each(target: &str, accepted: impl Fn(&[u8]) -> bool) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert!(accepted(&std::fs::read(&path).unwrap()), "{} is refused", path.display());
        count += 1;
    }
    assert!(count > 0, "{} is empty", directory.display());
}

#[test]
fn every_seed_is_accepted() {
    let registry = checks::entity::registry();
    each("command", |bytes| checks::command(&checks::text::to_record(bytes), &registry));
    each("view", |bytes| checks::view(&checks::text::to_record(bytes)));
    each("reply", |bytes| checks::reply(&checks::text::to_record(bytes)));
    each("request_body", |bytes| checks::json::object(bytes).is_some_and(|map| checks::entity::body(&map, &registry)));
    each("headers", checks::headers);
    each("entity_tags", |bytes| checks::tags(std::str::from_utf8(bytes).unwrap()));
    each("operation_id", |bytes| checks::operation_id(std::str::from_utf8(bytes).unwrap()));
}

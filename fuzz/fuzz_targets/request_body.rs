//! Bodies of writes: strict JSON, then every entity type by every rule.

#![no_main]

#[allow(dead_code, reason = "each target uses a part")]
#[path = "../../crates/contract/tests/it/checks/mod.rs"]
mod checks;

use std::sync::LazyLock;

use contract::Registry;
use libfuzzer_sys::fuzz_target;

static REGISTRY: LazyLock<Registry> = LazyLock::new(checks::entity::registry);

fuzz_target!(|bytes: &[u8]| {
    if let Some(map) = checks::json::object(bytes) {
        checks::entity::body(&map, &REGISTRY);
    }
});

//! The last segment of `/operation/{id}`.

#![no_main]

#[allow(dead_code, reason = "each target uses a part")]
#[path = "../../crates/contract/tests/it/checks/mod.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    checks::operation_id(text);
});

//! The values of `If-Match` and `If-None-Match`, and the attribute they become.

#![no_main]

#[allow(dead_code, reason = "each target uses a part")]
#[path = "../../crates/contract/tests/it/checks/mod.rs"]
mod checks;

use contract::Precondition;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    checks::tags(text);
    if let Ok(read) = Precondition::parse(text) {
        assert_eq!(Precondition::parse(&read.to_string()), Ok(read));
    }
});

//! Files of entity types, as an operator writes them, and bodies that are held against what they say.
//!
//! An input is a file and, behind a U+0000, which no JSON holds, a body.

#![no_main]

#[allow(dead_code, reason = "each target uses a part")]
#[path = "../../crates/contract/tests/it/checks/mod.rs"]
mod checks;

use contract::Registry;
use contract::entity::{IdRule, Rules, Timestamps};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (file, body) = text.split_once('\0').unwrap_or((text, "{}"));
    let Ok(registry) = Registry::with_files(&[("vehicle".to_owned(), file.to_owned())]) else { return };
    let (Some(entity_type), Some(map)) = (registry.get("vehicle"), checks::json::object(body.as_bytes())) else { return };
    for complete in [false, true] {
        let rules = Rules { complete, id: IdRule::Forbidden, timestamps: Timestamps::Keep };
        checks::entity::accept(entity_type, &map, rules);
    }
});

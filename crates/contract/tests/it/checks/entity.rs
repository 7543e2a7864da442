//! What must hold for what a client sends as an entity.

use contract::entity::{IdRule, Rules, Timestamps, stamps};
use contract::problem::Place;
use contract::{Draft, EntityId, EntityType, Problem, Registry, Slug, Timestamp};
use serde_json::{Map, Value};

/// An entity type with what the built-in ones have not: objects within objects, and a default.
const NINTH: &str = r##"{
    "type": "object", "required": ["plate"], "dependentRequired": {"seats": ["wheels"]}, "x-label": "plate",
    "$defs": {"size": {"type": "integer", "minimum": 1}},
    "properties": {
        "plate": {"type": "string", "minLength": 1, "maxLength": 8, "x-alias": "number-plate"},
        "seats": {"$ref": "#/$defs/size"},
        "wheels": {"type": ["integer", "null"], "default": 4},
        "parts": {"type": "array", "items": {"type": ["object", "number", "string"]}, "maxItems": 3},
        "extra": {"type": ["object", "null"], "properties": {"a b": {"type": "string"}}, "default": {"a b": "c"}},
        "any": {}
    }
}"##;

/// The built-in types and a ninth.
pub(crate) fn registry() -> Registry {
    Registry::with_files(&[("vehicle".to_owned(), NINTH.to_owned())]).unwrap()
}

/// Reads a body as every type, by every rule; whether one of them took it.
pub(crate) fn body(map: &Map<String, Value>, registry: &Registry) -> bool {
    let id = EntityId::parse("a-1").unwrap();
    let mut accepted = false;
    for entity_type in registry.iter() {
        for complete in [false, true] {
            for timestamps in [Timestamps::Ignore, Timestamps::Keep] {
                for id in [IdRule::Forbidden, IdRule::Equal(&id)] {
                    accepted |= accept(entity_type, map, Rules { complete, id, timestamps });
                }
            }
        }
    }
    accepted
}

/// A body is read whole or refused with every fault; one that was read is read the same again.
pub(crate) fn accept(entity_type: &EntityType, map: &Map<String, Value>, rules: Rules<'_>) -> bool {
    let draft = match entity_type.accept(map.clone(), rules) {
        Ok(draft) => draft,
        Err(problem) => {
            faults(&problem);
            return false;
        }
    };
    let keep = Rules { timestamps: Timestamps::Keep, ..rules };
    assert_eq!(entity_type.accept(draft.clone().into_data(), keep).unwrap(), draft);
    assert!(draft.fields.keys().all(|name| entity_type.field(name).unwrap().name == *name));
    if rules.complete {
        assert!(entity_type.fields().iter().all(|field| !field.required || !draft.fields[&field.name].is_null()));
        full_object(entity_type, &draft);
    }
    true
}

/// What is stored of a complete draft is written, read and merged without a change.
fn full_object(entity_type: &EntityType, draft: &Draft) {
    let id = EntityId::parse("a-1").unwrap();
    let (created, updated) = (draft.created.unwrap_or_default(), draft.updated.unwrap_or_default());
    let written = entity_type.render(&id, &draft.fields, created, updated);
    let read = stamps(&written).unwrap();
    assert_eq!((read.id, read.created, read.updated), (id.as_str(), created, updated));
    let fields = entity_type.fields_of(&written).unwrap();
    assert_eq!(entity_type.render(&id, &fields, created, updated), written);
    assert_eq!(entity_type.render_again(&id, &written).unwrap(), written);

    // What GET gave can be PUT back.
    let full = contract::json::parse_object(&written).unwrap();
    let names = entity_type.fields().iter().map(|field| field.name.as_str());
    let order = ["id"].into_iter().chain(names).chain(["created", "updated"]);
    assert!(full.keys().eq(order), "every declared field, in schema order");
    let rules = Rules { complete: false, id: IdRule::Equal(&id), timestamps: Timestamps::Ignore };
    let patch = entity_type.accept(full, rules).unwrap().fields;
    let merged = entity_type.merge(&draft.fields, patch);
    assert_eq!(entity_type.render(&id, &merged, created, updated), written);
}

fn faults(problem: &Problem) {
    assert_eq!(problem.slug, Slug::InvalidEntity);
    assert!((1..=100).contains(&problem.errors.len()), "{} errors", problem.errors.len());
    for error in &problem.errors {
        let Place::Pointer(pointer) = &error.place else { panic!("{error:?}") };
        assert!(is_pointer(pointer), "{pointer:?} is no JSON pointer as a URI fragment");
        assert!(!error.detail.is_empty());
    }
}

/// Whether it is a JSON pointer in the form of a URI fragment [RFC 6901 6, RFC 3986 3.5].
pub(crate) fn is_pointer(fragment: &str) -> bool {
    let Some(encoded) = fragment.strip_prefix('#') else { return false };
    let mut bytes = encoded.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'x'), bytes.next().unwrap_or(b'x')];
                let digits = std::str::from_utf8(&digits).unwrap_or("x").to_owned();
                let Ok(byte) = u8::from_str_radix(&digits, 16) else { return false };
                decoded.push(byte);
            }
            b if b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&b) => decoded.push(b),
            _ => return false,
        }
    }
    let Ok(pointer) = String::from_utf8(decoded) else { return false };
    let escapes = pointer.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    escapes && (pointer.is_empty() || pointer.starts_with('/'))
}

/// A time that is read is written as RFC 3339 says, and read the same again.
pub(crate) fn timestamp(text: &str) -> bool {
    let Some(time) = Timestamp::parse(text) else { return false };
    let written = time.to_string();
    assert_eq!(Timestamp::parse(&written), Some(time), "{text}");
    assert!(is_rfc_3339(&written) && written.ends_with('Z'), "{written}");
    assert!(is_rfc_3339(text), "{text:?} is no RFC 3339 time");
    true
}

/// The grammar of RFC 3339 section 5.6.
fn is_rfc_3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = |bytes: &[u8], shape: &[u8]| {
        let fits = |(byte, shape): (&u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
        bytes.len() == shape.len() && bytes.iter().zip(shape).all(fits)
    };
    if bytes.len() < 20 || !shape(&bytes[..10], b"0000-00-00") || !shape(&bytes[11..19], b"00:00:00") {
        return false;
    }
    let rest = match bytes[19] {
        b'.' => {
            let digits = bytes[20..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &bytes[20 + digits..]
        }
        _ => &bytes[19..],
    };
    let offset = shape(rest, b"+00:00") || shape(rest, b"-00:00");
    matches!(bytes[10], b'T' | b't') && (matches!(rest, b"Z" | b"z") || offset)
}

//! What clients send, against every entity type.

use contract::entity::{IdRule, Kind, Rules, Timestamps};
use contract::{EntityType, FieldError, Slug};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::{arbitrary, checks};

const COMPLETE: Rules<'_> = Rules { complete: true, id: IdRule::Forbidden, timestamps: Timestamps::Ignore };
const CASES: u32 = 96;

/// Runs a property for every entity type, on values made for it.
fn for_every_type<S: Strategy>(make: impl Fn(&EntityType) -> S, property: impl Fn(&EntityType, S::Value)) {
    for entity_type in checks::entity::registry().iter() {
        let mut runner = TestRunner::new(Config::with_cases(CASES));
        let property = |value| {
            property(entity_type, value);
            Ok(())
        };
        if let Err(error) = runner.run(&make(entity_type), property) {
            panic!("{}: {error}", entity_type.name());
        }
    }
}

#[test]
fn good_fields_are_accepted_stored_and_put_back() {
    for_every_type(arbitrary::good_fields, |entity_type, fields| {
        assert!(checks::entity::accept(entity_type, &fields, COMPLETE));
    });
}

#[test]
fn any_body_is_read_whole_or_refused_with_every_fault() {
    let registry = checks::entity::registry();
    proptest!(|(body in arbitrary::object())| { checks::entity::body(&body, &registry); });
    for_every_type(arbitrary::body, |_, body| {
        checks::entity::body(&body, &registry);
    });
}

/// An accepted value is one that the schema in the file takes; a refused one is not, but for what the contract adds.
#[test]
fn what_is_accepted_is_what_the_schema_takes() {
    for_every_type(arbitrary::body, |entity_type, body| {
        for field in entity_type.fields() {
            let Some(value) = body.get(&field.name) else { continue };
            let rules = Rules { complete: false, ..COMPLETE };
            let alone = Map::from_iter([(field.name.clone(), value.clone())]);
            let accepted = entity_type.accept(alone, rules).map(|draft| draft.fields[&field.name].clone());
            let root = json!({"$defs": entity_type.document().get("$defs").unwrap_or(&json!({})), "$ref": "#/$defs/-"});
            let mut root = root;
            root["$defs"]["-"] = field.schema.clone();
            let valid = jsonschema::draft202012::new(&root).unwrap().is_valid(accepted.as_ref().unwrap_or(value));
            let clears = value.is_null() && !field.required;
            let adds = value.is_object() || clears || (field.kind == Kind::Flag && value.is_boolean());
            match accepted {
                Ok(_) => assert!(valid || adds, "{} took {value}", field.name),
                Err(_) => assert!(!valid || value.to_string().contains("\\u0000"), "{} refused {value}", field.name),
            }
        }
    });
}

#[test]
fn a_merge_sets_what_is_sent_clears_on_null_and_keeps_the_rest() {
    let pair = |entity_type: &EntityType| (arbitrary::good_fields(entity_type), arbitrary::good_fields(entity_type));
    for_every_type(pair, |entity_type, (current, patch)| {
        let accepted = |fields| entity_type.accept(fields, COMPLETE).unwrap().fields;
        let (current, patch) = (accepted(current), accepted(patch));
        let merged = entity_type.merge(&current, patch.clone());
        for field in entity_type.fields() {
            let expected = match patch.get(&field.name) {
                None => current.get(&field.name),
                Some(Value::Null) => None,
                Some(Value::Object(_)) => continue,
                sent => sent,
            };
            assert_eq!(merged.get(&field.name), expected, "{}", field.name);
        }
        assert_eq!(entity_type.merge(&merged, patch), merged, "the same patch again changes nothing");
        assert_eq!(entity_type.merge(&merged, Map::new()), merged, "nor does an empty one");
    });
}

/// Names come from clients, and JSON pointers and URI fragments have characters of their own.
#[test]
fn pointers_to_odd_names_are_uri_fragments() {
    for (name, expected) in [
        ("", "#/"),
        ("a/b~c", "#/a~1b~0c"),
        ("a b", "#/a%20b"),
        ("ä", "#/%C3%A4"),
        ("50%", "#/50%25"),
        ("\"<>\\^`{|}#[]", "#/%22%3C%3E%5C%5E%60%7B%7C%7D%23%5B%5D"),
        ("a?b@c:d&e='(*)',;!$-._", "#/a?b@c:d&e='(*)',;!$-._"),
    ] {
        let error = serde_json::to_value(FieldError::field(name, "x")).unwrap();
        assert_eq!(error["pointer"], expected);
        assert!(checks::entity::is_pointer(expected));
    }
    let beneath = serde_json::to_value(FieldError::field("extra", "x").beneath("/a b")).unwrap();
    assert_eq!(beneath["pointer"], "#/extra/a%20b");
}

#[test]
fn the_faults_of_one_answer_are_bounded() {
    let registry = checks::entity::registry();
    let body: Map<_, _> = (0..5_000).map(|i| (format!("unknown {i}"), Value::Null)).collect();
    let problem = registry.get("provider").unwrap().accept(body.clone(), COMPLETE).unwrap_err();
    assert_eq!((problem.slug, problem.errors.len()), (Slug::InvalidEntity, 100));
    assert!(!checks::entity::body(&body, &registry));
}

/// serde_json with `raw_value` takes this key of an object for its own; to us it is data.
#[test]
fn an_object_with_a_key_of_serde_json_is_kept() {
    let registry = checks::entity::registry();
    for text in ["[1]", "no JSON"] {
        let body = json!({"plate": "A", "extra": {"$serde_json::private::RawValue": text}});
        assert!(checks::entity::accept(registry.get("vehicle").unwrap(), body.as_object().unwrap(), COMPLETE));
    }
}

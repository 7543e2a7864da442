use std::collections::BTreeSet;

use super::*;

fn document(registry: &Registry) -> Value {
    asyncapi(registry, "test.", "1.1.0")
}

fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a str)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                visit(reference);
            }
            map.values().for_each(|value| walk(value, visit));
        }
        _ => {}
    }
}

#[test]
fn every_reference_resolves_and_every_component_is_used() {
    let document = document(&Registry::built_in().unwrap());
    let mut seen = BTreeSet::new();
    walk(&document, &mut |reference| {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} points at nothing");
        seen.insert(reference);
    });
    for (kind, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(seen.contains(reference.as_str()), "{reference} is not used");
        }
    }
}

#[test]
fn topics_have_the_messages_of_all_types() {
    let document = document(&Registry::built_in().unwrap());
    for (topic, count) in [("commands", 5 * 8), ("views", 2 * 8), ("replies", 6 * 8), ("quarantine", 1)] {
        let channel = &document["channels"][topic];
        assert_eq!(channel["address"], format!("test.dos.{topic}"));
        assert_eq!(channel["messages"].as_object().unwrap().len(), count, "{topic}");
    }
    let cleanup =
        |topic: &str| &document["channels"][topic]["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"];
    assert_eq!((cleanup("views"), cleanup("replies")), (&json!(["compact"]), &json!(["delete"])));
}

#[test]
fn examples_keep_to_their_schemas() {
    // A type of one's own, whose schema has definitions and no examples.
    let vehicle = r##"{"title":"Vehicle","type":"object","required":["plate"],"$defs":{"plate":{"type":"string"}},
        "properties":{"plate":{"$ref":"#/$defs/plate","x-alias":"number","x-filter":true},"seats":{"type":"integer"}}}"##;
    let registry = Registry::with_files(&[("vehicle".to_owned(), vehicle.to_owned())]).unwrap();
    let document = document(&registry);
    let mut checked = 0;
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        let valid = |part: &str, value: &Value| {
            let mut schema = message[part].clone();
            schema["components"] = document["components"].clone();
            let validator = jsonschema::draft7::options().should_validate_formats(true).build(&schema).unwrap();
            let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{name} {part}: {errors:?}");
        };
        let examples = message["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{name}");
        for example in examples {
            valid("headers", &example["headers"]);
            assert_eq!(message.get("payload").is_some(), example.get("payload").is_some(), "{name}");
            if let Some(payload) = example.get("payload") {
                valid("payload", payload);
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 9 * 18 + 1);
}

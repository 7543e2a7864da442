//! The examples of RFC 7396, appendix A, whose target and patch are objects.

use serde_json::{Value, json};

#[test]
fn the_examples_of_the_rfc() {
    let registry = crate::checks::entity::registry();
    let entity_type = registry.get("vehicle").unwrap();
    for (target, patch, expected) in [
        (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
        (json!({"a":"b"}), json!({"a":null}), json!({})),
        (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
        (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
        (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
        (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
        (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
    ] {
        let (Value::Object(target), Value::Object(patch)) = (target, patch) else { panic!("objects") };
        assert_eq!(Value::Object(entity_type.merge(&target, patch)), expected);
    }
}

#[test]
fn the_example_of_section_3() {
    let registry = crate::checks::entity::registry();
    let target = json!({"title":"Goodbye!","author":{"givenName":"John","familyName":"Doe"},"tags":["example","sample"],
        "content":"This will be unchanged"});
    let patch =
        json!({"title":"Hello!","phoneNumber":"+01-123-456-7890","author":{"familyName":null},"tags":["example"]});
    let expected = json!({"title":"Hello!","author":{"givenName":"John"},"tags":["example"],
        "content":"This will be unchanged","phoneNumber":"+01-123-456-7890"});
    let (Value::Object(target), Value::Object(patch)) = (target, patch) else { panic!("objects") };
    assert_eq!(Value::Object(registry.get("vehicle").unwrap().merge(&target, patch)), expected);
}

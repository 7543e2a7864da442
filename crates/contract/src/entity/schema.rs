//! What an entity file may not say, though JSON Schema would allow it: what this program would not honour, and references that
//! a check would follow without end.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The dialect of every file.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// How many schemas, one referring to the next, may apply to one value: a check follows them on the stack.
const CHAIN_MAX: usize = 100;

/// Keywords whose one schema applies to the same value.
const SAME_ONE: [&str; 4] = ["not", "if", "then", "else"];
/// Keywords whose array of schemas applies to the same value.
const SAME_MANY: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords whose schemas by name apply to the same value.
const SAME_NAMED: [&str; 2] = ["dependentSchemas", "dependencies"];
/// Keywords whose one schema applies to something within the value.
const INNER_ONE: [&str; 7] = [
    "items",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
];
/// Keywords whose array of schemas applies to something within the value.
const INNER_MANY: [&str; 1] = ["prefixItems"];
/// Keywords whose schemas by name apply to something within the value, or only where they are referred to.
const INNER_NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

/// Checks a whole file; the error says what is wrong with it, and where.
pub(super) fn check(file: &Value) -> Result<(), String> {
    let Value::Object(root) = file else { return Err("it is no JSON object".to_owned()) };
    check_root(root)?;
    if let Err(error) = jsonschema::draft202012::meta::validate(file) {
        let reason = error.masked_with("the value");
        return Err(format!("it is no JSON Schema (2020-12): #{}: {reason}", error.instance_path()));
    }
    let mut walk = Walk { file, heights: HashMap::new() };
    walk.schema(file, "#")
}

/// What stands at the root and would not be honoured.
fn check_root(root: &Map<String, Value>) -> Result<(), String> {
    if let Some(dialect) = root.get("$schema")
        && dialect.as_str().map(|text| text.trim_end_matches('#')) != Some(DIALECT)
    {
        return Err(format!("its `$schema` must be {DIALECT}, or be left out; other dialects are not read"));
    }
    if root.get("type").is_some_and(|name| name != "object") {
        return Err("its `type` must be \"object\", or be left out: an entity is an object".to_owned());
    }
    let is_names = |value: &Value| value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
    if root.get("required").is_some_and(|required| !is_names(required)) {
        return Err("its `required` must be an array of strings, the names of fields".to_owned());
    }
    for keyword in ["additionalProperties", "unevaluatedProperties"] {
        if root.get(keyword).is_some_and(|value| *value != Value::Bool(false)) {
            return Err(format!(
                "its `{keyword}` must be false, or be left out: fields that are not declared are always refused"
            ));
        }
    }
    if root.contains_key("patternProperties") {
        return Err("`patternProperties` is not honoured at the root: declare each field in `properties`".to_owned());
    }
    Ok(())
}

/// A walk over all schemas of a file.
struct Walk<'a> {
    file: &'a Value,
    /// By the schema's address: how many schemas in a row apply to one value from it on; none while that is being found out.
    heights: HashMap<*const Value, Option<usize>>,
}

impl<'a> Walk<'a> {
    /// Checks a schema and all within it.
    fn schema(&mut self, schema: &'a Value, place: &str) -> Result<(), String> {
        let Value::Object(map) = schema else { return Ok(()) };
        for keyword in ["$id", "$schema", "$vocabulary", "$dynamicRef", "$recursiveRef"] {
            let at_root = place == "#" && matches!(keyword, "$id" | "$schema");
            if map.contains_key(keyword) && !at_root {
                return Err(format!("{place}: `{keyword}` is not honoured; refer to `#/$defs/..` with `$ref`"));
            }
        }
        self.height(schema, place, 0)?;
        for (step, inner) in subschemas(map, &SAME_ONE, &SAME_MANY, &SAME_NAMED) {
            self.schema(inner, &format!("{place}/{step}"))?;
        }
        for (step, inner) in subschemas(map, &INNER_ONE, &INNER_MANY, &INNER_NAMED) {
            self.schema(inner, &format!("{place}/{step}"))?;
        }
        Ok(())
    }

    /// How many schemas in a row apply to one value, from this one on. What applies to something within a value ends, for
    /// values nest only so deep; a circle of those that apply to the same value never does.
    fn height(&mut self, schema: &'a Value, place: &str, above: usize) -> Result<usize, String> {
        let Value::Object(map) = schema else { return Ok(0) };
        let address = std::ptr::from_ref(schema);
        match self.heights.get(&address) {
            Some(None) => return Err(format!("{place}: its references go round in a circle and never end")),
            Some(Some(height)) => return chain(*height, above, place),
            None => {}
        }
        chain(0, above, place)?;
        self.heights.insert(address, None);
        let mut height = 0;
        for (_, inner) in subschemas(map, &SAME_ONE, &SAME_MANY, &SAME_NAMED) {
            height = height.max(self.height(inner, place, above + 1)?);
        }
        if let Some(target) = map.get("$ref") {
            let target = self.target(target).map_err(|reason| format!("{place}: {reason}"))?;
            height = height.max(self.height(target, place, above + 1)?);
        }
        self.heights.insert(address, Some(height + 1));
        chain(height + 1, above, place)
    }

    /// What a `$ref` points at. Documents have the definitions elsewhere, so only those can be referred to.
    fn target(&self, reference: &Value) -> Result<&'a Value, String> {
        let text = reference.as_str().unwrap_or_default();
        if !text.starts_with("#/$defs/") || text.contains('%') {
            return Err(format!(
                "its `$ref` {reference} must be `#/$defs/` and the name of a definition of this file, without percent-encoding"
            ));
        }
        let target = text.get(1..).and_then(|pointer| self.file.pointer(pointer));
        match target {
            Some(target @ (Value::Object(_) | Value::Bool(_))) => Ok(target),
            _ => Err(format!("its `$ref` {reference} points at no schema")),
        }
    }
}

/// The whole chain, of which `above` were followed to get here.
fn chain(height: usize, above: usize, place: &str) -> Result<usize, String> {
    if height + above > CHAIN_MAX {
        return Err(format!("{place}: more than {CHAIN_MAX} schemas in a row apply to one value"));
    }
    Ok(height)
}

/// The schemas that a schema holds under these keywords, each with the way to it.
fn subschemas<'a>(
    map: &'a Map<String, Value>,
    one: &[&str],
    many: &[&str],
    named: &[&str],
) -> Vec<(String, &'a Value)> {
    let mut found = Vec::new();
    for keyword in one {
        found.extend(map.get(*keyword).map(|schema| ((*keyword).to_owned(), schema)));
    }
    for keyword in many {
        let items = map.get(*keyword).and_then(Value::as_array).into_iter().flatten().enumerate();
        found.extend(items.map(|(i, schema)| (format!("{keyword}/{i}"), schema)));
    }
    for keyword in named {
        let members = map.get(*keyword).and_then(Value::as_object).into_iter().flatten();
        found.extend(members.map(|(name, schema)| (format!("{keyword}/{name}"), schema)));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(file: Value, reason: &str) {
        let error = check(&file).unwrap_err();
        assert!(error.contains(reason), "{file}: {error}");
    }

    #[test]
    fn what_is_not_honoured_is_refused() {
        refused(json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "`$schema` must be https://");
        refused(json!({"$schema": 7}), "`$schema` must be");
        for name in [json!("array"), json!(["object"]), json!(7)] {
            refused(json!({ "type": name }), "`type` must be \"object\"");
        }
        for required in [json!("a"), json!([7]), json!({"a": true})] {
            refused(json!({ "required": required }), "`required` must be an array of strings");
        }
        for other in [json!(true), json!({}), json!({"type": "string"})] {
            refused(json!({ "additionalProperties": other }), "`additionalProperties` must be false");
            refused(json!({ "unevaluatedProperties": other }), "`unevaluatedProperties` must be false");
        }
        refused(json!({"patternProperties": {"^x": {}}}), "declare each field");
        refused(json!({"properties": {"a": {"$id": "b"}}}), "#/properties/a: `$id`");
        refused(json!({"properties": {"a": {"items": {"$dynamicRef": "#b"}}}}), "#/properties/a/items: `$dynamicRef`");
        let accepted = json!({"$schema": DIALECT, "$id": "/schema/x", "type": "object", "required": ["a"],
            "additionalProperties": false, "unevaluatedProperties": false, "properties": {"a": {"properties": {"$id": {}}}}});
        assert_eq!(check(&accepted), Ok(()));
    }

    #[test]
    fn what_the_meta_schema_refuses_is_refused_with_its_place() {
        refused(json!({"properties": {"a": {"maxLength": -1}}}), "#/properties/a/maxLength");
        refused(json!({"properties": {"a": {"enum": 7}}}), "#/properties/a/enum");
        refused(json!({"properties": {"a": {"anyOf": []}}}), "#/properties/a/anyOf");
        refused(json!({"properties": []}), "#/properties");
        refused(json!({"$defs": {"a": 7}}), "#/$defs/a");
        refused(json!({"required": ["a", "a"]}), "#/required");
    }

    #[test]
    fn references_lead_to_definitions_and_end() {
        let field = |schema: Value, definitions: Value| json!({"properties": {"a": schema}, "$defs": definitions});
        for target in ["#", "#/properties/b", "#/$defs", "other.json", "#anchor", "#/$defs/%62"] {
            refused(field(json!({ "$ref": target }), json!({"b": {}})), "must be `#/$defs/`");
        }
        refused(field(json!({"$ref": "#/$defs/c"}), json!({"b": {}})), "points at no schema");
        refused(field(json!({"$ref": "#/$defs/b/enum"}), json!({"b": {"enum": [1]}})), "points at no schema");
        let circles = [
            json!({"b": {"$ref": "#/$defs/b"}}),
            json!({"b": {"$ref": "#/$defs/c"}, "c": {"$ref": "#/$defs/b"}}),
            json!({"b": {"anyOf": [{"type": "null"}, {"not": {"$ref": "#/$defs/b"}}]}}),
            json!({"b": {"dependentSchemas": {"x": {"$ref": "#/$defs/b"}}}}),
            json!({"b": {"if": {"$ref": "#/$defs/c"}}, "c": {"allOf": [{"$ref": "#/$defs/b"}]}}),
        ];
        for definitions in circles {
            refused(field(json!({"$ref": "#/$defs/b"}), definitions.clone()), "never end");
            refused(json!({ "properties": {}, "$defs": definitions }), "never end");
        }
        let tree =
            json!({"b": {"properties": {"left": {"$ref": "#/$defs/b"}}, "items": {"anyOf": [{"$ref": "#/$defs/b"}]}}});
        assert_eq!(check(&field(json!({"$ref": "#/$defs/b"}), tree)), Ok(()));
    }

    #[test]
    fn a_chain_of_references_is_bounded_in_whichever_order_it_stands() {
        for length in [90, 101, 5_000] {
            let link = |i: usize| (format!("d{i}"), json!({"$ref": format!("#/$defs/d{}", i + 1)}));
            let last = (format!("d{length}"), json!({}));
            let forwards: Map<_, _> = (0..length).map(link).chain([last]).collect();
            let backwards: Map<_, _> = forwards.clone().into_iter().rev().collect();
            for definitions in [forwards, backwards] {
                let checked = check(&json!({ "$defs": definitions }));
                assert_eq!(checked.is_ok(), length == 90, "{checked:?}");
            }
        }
    }
}

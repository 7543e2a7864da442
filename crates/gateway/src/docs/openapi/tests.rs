use std::collections::HashSet;

use super::*;

fn document() -> Value {
    openapi(&Registry::built_in().unwrap(), "http://127.0.0.1:8080/", "1.1.0")
}

fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Map<String, Value>)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(map) => {
            visit(map);
            map.values().for_each(|value| walk(value, visit));
        }
        _ => {}
    }
}

fn target<'a>(document: &'a Value, reference: &str) -> &'a Value {
    let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is not local"));
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} points at nothing"))
}

/// Method, path, path item and operation.
fn operations(document: &Value) -> Vec<(&str, &str, &Value, &Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "head", "post", "put", "options", "patch", "delete"] {
            all.extend(item.get(method).map(|operation| (method, path.as_str(), item, operation)));
        }
    }
    all
}

fn parameters<'a>(document: &'a Value, item: &'a Value, operation: &'a Value) -> Vec<&'a Value> {
    let both = [item, operation].into_iter().flat_map(|of| of["parameters"].as_array().into_iter().flatten());
    both.map(|parameter| parameter["$ref"].as_str().map_or(parameter, |r| target(document, r))).collect()
}

#[test]
fn every_reference_resolves() {
    let document = document();
    let mut seen = 0;
    walk(&document, &mut |map| {
        if let Some(Value::String(reference)) = map.get("$ref") {
            target(&document, reference);
            seen += 1;
        }
    });
    assert!(seen > 500, "{seen}");
}

#[test]
fn operations_are_complete() {
    let document = document();
    let (mut ids, mut links) = (HashSet::new(), Vec::new());
    for (method, path, item, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{id} names two operations");
        for key in ["summary", "description", "tags", "responses"] {
            assert!(operation.get(key).is_some(), "{method} {path} has no {key}");
        }
        let parameters = parameters(&document, item, operation);
        let named = |place: &'static str| {
            parameters.iter().filter(move |p| p["in"] == place).map(|p| p["name"].as_str().unwrap())
        };
        let declared: Vec<_> = named("path").collect();
        let used: Vec<_> = path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(declared, used, "{path}");
        assert!(named("header").any(|name| name == "X-Request-ID"), "{method} {path}");
        for status in ["400", "408", "414", "431"] {
            assert!(operation["responses"].get(status).is_some(), "{method} {path} {status}");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = response["$ref"].as_str().map_or(response, |r| target(&document, r));
            assert!(response["description"].is_string(), "{method} {path} {status}");
            assert!(response["headers"]["X-Request-ID"].is_object(), "{method} {path} {status}");
            links.extend(response["links"].as_object().into_iter().flat_map(|links| links.values()));
        }
    }
    assert_eq!(ids.len(), 8 * 10 + 7 * 6 + 12);
    assert!(links.iter().all(|link| ids.contains(link["operationId"].as_str().unwrap())) && !links.is_empty());
}

#[test]
fn tags_and_components_are_used() {
    let document = document();
    let names = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let mut tags: HashSet<_> = document["tags"].as_array().unwrap().iter().map(names).collect();
    for (_, _, _, operation) in operations(&document) {
        tags.remove(operation["tags"][0].as_str().unwrap());
    }
    assert!(tags.is_empty(), "{tags:?}");
    let text = document.to_string();
    for kind in ["parameters", "headers", "responses", "examples"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(text.contains(&format!("\"#/components/{kind}/{name}\"")), "{kind}/{name} is not used");
        }
    }
}

#[test]
fn old_paths_are_deprecated_and_point_at_the_new() {
    let document = document();
    let old = &document["paths"]["/costoptions/{id}"]["put"];
    assert_eq!(old["deprecated"], true);
    let mut answers = 0;
    for (method, path, _, operation) in operations(&document).into_iter().filter(|(_, _, _, o)| o["deprecated"] == true)
    {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let headers = resolved(&document, response)["headers"].as_object().unwrap();
            let both = headers.contains_key("Deprecation") && headers.contains_key("Link");
            assert!(both, "{method} {path} {status}");
            answers += 1;
        }
    }
    assert!(answers > 200, "{answers}");
    assert_eq!(document["components"]["headers"]["Deprecation"]["example"], "@1795478400");
    assert_eq!(old["requestBody"], document["paths"]["/costoption/{id}"]["put"]["requestBody"]);
    assert!(document["paths"].get("/taxonomies").is_none());
}

fn resolved<'a>(document: &'a Value, response: &'a Value) -> &'a Value {
    response["$ref"].as_str().map_or(response, |reference| target(document, reference))
}

/// As `http::response`, `http::middleware` and the handlers set them.
#[test]
fn answers_have_the_headers_that_the_gateway_sends() {
    let document = document();
    let headers = |path: &str, method: &str, status: &str| {
        let response = &document["paths"][path][method]["responses"][status];
        assert!(response.is_object(), "{method} {path} {status}");
        let names = resolved(&document, response)["headers"].as_object().unwrap().keys();
        names.cloned().collect::<HashSet<_>>()
    };
    for (path, method, status, names) in [
        ("/provider", "post", "201", "Vary Location Content-Location ETag Preference-Applied Cache-Control"),
        ("/provider", "post", "202", "Vary Location Retry-After Preference-Applied"),
        ("/provider", "post", "412", "Vary Preference-Applied"),
        ("/provider", "post", "415", "Vary Accept-Encoding"),
        ("/provider", "post", "422", "Vary Preference-Applied"),
        ("/provider", "post", "503", "Vary Retry-After Location Preference-Applied"),
        ("/provider/{id}", "put", "200", "Vary Content-Location ETag Preference-Applied"),
        ("/provider/{id}", "put", "404", "Vary Preference-Applied"),
        ("/provider/{id}", "put", "500", "Vary Preference-Applied"),
        ("/provider/{id}", "get", "304", "Vary ETag Last-Modified Cache-Control Age"),
        ("/provider", "get", "200", "Vary Link X-Total-Count Content-Encoding Age"),
        ("/provider/{id}", "head", "404", "Vary Cache-Control"),
        ("/provider/{id}", "head", "503", "Vary Retry-After"),
        ("/provider/{id}", "options", "204", "Allow Accept-Patch Cache-Control"),
        ("/provider/{id}", "put", "204", "Vary ETag Preference-Applied Idempotent-Replayed"),
        ("/provider/{id}", "patch", "200", "Vary Content-Location ETag Preference-Applied Idempotent-Replayed"),
        ("/provider/{id}", "patch", "415", "Vary Accept-Encoding Accept-Patch"),
        ("/provider/{id}", "patch", "422", "Vary Preference-Applied Idempotent-Replayed"),
        ("/provider/{id}", "delete", "204", "Vary Preference-Applied Idempotent-Replayed"),
        ("/provider/{id}", "delete", "410", "Vary Preference-Applied Idempotent-Replayed"),
        ("/operation/{id}", "get", "200", "Vary Retry-After Cache-Control Preference-Applied"),
        ("/health/alive", "get", "200", "Vary Cache-Control"),
        ("/health/ready", "get", "503", "Vary Retry-After"),
        ("/openapi.json", "get", "304", "Vary ETag"),
        ("/openapi.yaml", "get", "200", "Vary ETag Content-Encoding"),
        ("/docs", "get", "200", "ETag Content-Security-Policy X-Content-Type-Options Vary Content-Encoding"),
        ("/problem/{slug}", "get", "200", "Content-Security-Policy X-Content-Type-Options"),
    ] {
        let found = headers(path, method, status);
        for name in names.split(' ').chain(["X-Request-ID"]) {
            assert!(found.contains(name), "{method} {path} {status} lacks {name}");
        }
    }
    assert_eq!(document["components"]["parameters"]["Cursor"]["schema"]["minLength"], 1);
}

/// What is written is nullable in the document as it is in fact, whatever its schema asks.
#[test]
fn null_is_taken_wherever_it_clears() {
    let text = r##"{"$defs":{"d":{"type":"string"}},"properties":{"anything":true,"constant":{"type":"string","const":"x"},
        "referred":{"type":"string","$ref":"#/$defs/d"},"chosen":{"enum":["a"]},"plain":{"type":"string","enum":["a"]}}}"##;
    let registry = Registry::with_files(&[("vehicle".to_owned(), text.to_owned())]).unwrap();
    let document = openapi(&registry, "", "1");
    let fields = &document["components"]["schemas"]["VehicleUpdate"]["properties"];
    assert_eq!(fields["anything"], json!({}));
    assert_eq!(fields["plain"], json!({"type": ["string", "null"], "enum": ["a", null]}));
    for name in ["constant", "referred", "chosen"] {
        assert_eq!(fields[name]["anyOf"][1], json!({"type": "null"}), "{name}");
    }
}

#[test]
fn examples_keep_to_their_schemas() {
    let registry = Registry::built_in().unwrap();
    let document = document();
    let rules = contract::entity::Rules {
        complete: true,
        id: contract::entity::IdRule::Forbidden,
        timestamps: contract::entity::Timestamps::Ignore,
    };
    for entity_type in registry.iter() {
        let names = Names::of(entity_type);
        let example =
            |suffix: &str| &document["components"]["examples"][format!("{}{suffix}", names.component)]["value"];
        let create = example("Create").as_object().unwrap().clone();
        let draft = entity_type.accept(create, rules).unwrap();
        let id = contract::EntityId::parse(example::ID).unwrap();
        let time = contract::Timestamp::parse(example::CREATED).unwrap();
        let rendered = entity_type.render(&id, &draft.fields, time, time);
        assert_eq!(serde_json::to_string(example("")).unwrap().as_bytes(), rendered, "{}", names.path);
        let update = example("Update").as_object().unwrap().clone();
        entity_type.accept(update, contract::entity::Rules { complete: false, ..rules }).unwrap();
        assert!(example("Invalid")["errors"].as_array().unwrap().len() >= 2, "{}", names.path);
    }
    let operation = contract::OperationId::parse(example::OPERATION).unwrap();
    assert_eq!(operation.key.to_string(), format!("provider:{}", example::ID));
}

#[test]
fn a_ninth_type_joins_with_its_own_definitions() {
    let vehicle = r##"{"title":"Vehicle","type":"object","required":["plate"],"$defs":{"plate":{"type":"string"}},
        "properties":{"plate":{"$ref":"#/$defs/plate","x-alias":"number"},"seats":{"type":"integer"}}}"##;
    let version = r#"{"properties":{"text":{"type":"string"}}}"#;
    let files = [("vehicle", vehicle), ("version", version)].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let document = openapi(&Registry::with_files(&files).unwrap(), "", "1");
    walk(&document, &mut |map| {
        if let Some(Value::String(reference)) = map.get("$ref") {
            target(&document, reference);
        }
    });
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Vehicle"]["properties"]["plate"]["$ref"], "#/components/schemas/Vehicle/$defs/plate");
    assert_eq!(schemas["Vehicle"]["properties"]["seats"]["type"], json!(["integer", "null"]));
    assert_eq!(schemas["VehicleCreate"]["allOf"][0]["oneOf"][1]["required"], json!(["number"]));
    assert!(schemas["Version_"].is_object() && schemas["Version"]["properties"]["deprecated"].is_object());
    assert_eq!(document["servers"][0]["url"], "/");
    assert!(document["paths"]["/vehicle/{id}"]["get"].is_object());
}

#[test]
fn yaml_says_the_same() {
    let document = document();
    let again: Value = serde_norway::from_str(&to_yaml(&document)).unwrap();
    assert_eq!(again, document);
}

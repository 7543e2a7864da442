//! An entity type is data: a file adds one without a rebuild.

use serde_json::json;

use crate::harness::{Api, matrix};

matrix! {
    a_ninth_type_is_served_documented_and_kept
    a_changed_type_shows_old_entities_by_the_new_schema
}

const VEHICLE: &str = r##"{
    "title": "Vehicle", "description": "A minibus.", "type": "object", "x-label": "plate", "x-plural": "vehicles",
    "required": ["plate"], "additionalProperties": false,
    "$defs": { "seats": { "type": "integer", "minimum": 1, "maximum": 16 } },
    "properties": {
        "plate": { "type": "string", "maxLength": 8, "x-alias": "registration", "examples": ["LB24 DOS"] },
        "seats": { "$ref": "#/$defs/seats" },
        "access": { "type": "object", "properties": { "ramp": { "type": "boolean" }, "width_mm": { "type": "integer" } } }
    }
}"##;

async fn a_ninth_type_is_served_documented_and_kept(plain: Api) {
    plain.get("/vehicle").await.expect_problem(404, "not-found");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("vehicle.json"), VEHICLE).unwrap();
    let entities = folder.path().to_owned();
    let mut api = Api::start_with(plain.shape, |settings| settings.entities = Some(entities)).await;

    let created = api.post("/vehicle", json!({"registration": "A1", "access": {"ramp": true, "width_mm": 800}})).await;
    let path = created.expect(201).header("location").unwrap().to_owned();
    assert_eq!(created.json["seats"], json!(null));
    let merged = api.put(&path, json!({"seats": 9, "access": {"ramp": null}})).await;
    assert_eq!(merged.expect(200).json["access"], json!({"width_mm": 800}));
    let bad = api.put(&path, json!({"seats": 17, "plate": "far too long"})).await;
    assert_eq!(bad.expect_problem(422, "invalid-entity").places(), ["#/seats", "#/plate"]);
    let bad = api.put(&path, json!({"access": {"width_mm": "wide"}})).await;
    assert_eq!(bad.expect_problem(422, "invalid-entity").places(), ["#/access/width_mm"]);

    let document = api.get("/openapi.json").await.json;
    for known in ["/vehicle", "/vehicle/{id}", "/vehicles"] {
        assert!(document["paths"].get(known).is_some(), "{known}");
    }
    assert_eq!(document["components"]["schemas"]["Vehicle"]["properties"]["plate"]["maxLength"], json!(8));
    api.restart().await;
    assert_eq!(api.get(&path).await.expect(200).text, merged.text);
    assert_eq!(api.get("/vehicles").await.expect(200).json.as_array().unwrap().len(), 1);
    assert_eq!(api.get("/").await.json.as_array().unwrap().len(), 9);
}

async fn a_changed_type_shows_old_entities_by_the_new_schema(mut api: Api) {
    let path = api.post("/eligibility", json!({"eligibility": "over 50"})).await.header("location").unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let changed = r#"{"title":"Eligibility","type":"object","required":["eligibility"],"additionalProperties":false,
        "properties":{"age_min":{"type":["integer","null"]},"eligibility":{"type":"string"}}}"#;
    std::fs::write(folder.path().join("eligibility.json"), changed).unwrap();
    api.settings.entities = Some(folder.path().to_owned());
    api.restart().await;
    let read = api.get(&path).await;
    let fields: Vec<_> = read.expect(200).json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields.join(" "), "id age_min eligibility created updated");
    assert_eq!(read.json["eligibility"], json!("over 50"));
    let set = api.put(&path, json!({"age_min": 50})).await;
    assert_eq!(set.expect(200).json["age_min"], json!(50));
}

//! Requests of a client of the published 1.0.x specification: plural paths, `desc`, integer `published`, `PUT` as a merge.

use serde_json::{Value, json};

use crate::harness::{Api, matrix};

matrix! {
    every_plural_path_creates_reads_lists_and_updates
    errors_have_what_the_old_schema_had
}

async fn every_plural_path_creates_reads_lists_and_updates(api: Api) {
    for (plural, singular, body, change, field) in [
        ("providers", "provider", json!({"name": "n", "published": 1}), json!({"published": 0}), "published"),
        ("services", "service", json!({"name": "n", "published": 1, "desc": "d"}), json!({"desc": "e"}), "description"),
        ("events", "event", json!({"details": "d"}), json!({"details": "e"}), "details"),
        ("venues", "venue", json!({"name": "n", "address": "a"}), json!({"address": "b"}), "address"),
        ("contacts", "contact", json!({"name": "n"}), json!({"phonenumber": "0161 4960000"}), "phonenumber"),
        ("costoptions", "costoption", json!({"option": "o"}), json!({"option": "p"}), "option"),
        ("eligibilities", "eligibility", json!({"eligibility": "e"}), json!({"eligibility": "f"}), "eligibility"),
    ] {
        let created = api.post(&format!("/{plural}"), body).await;
        let id = created.expect(201).json["id"].as_str().unwrap().to_owned();
        let (old, new) = (format!("/{plural}/{id}"), format!("/{singular}/{id}"));
        assert_eq!(created.header("location"), Some(new.as_str()));
        let updated = api.put(&old, change.clone()).await;
        assert_eq!(updated.expect(200).header("content-location"), Some(new.as_str()));
        let value = change.as_object().unwrap().values().next().unwrap();
        assert_eq!(&updated.json[field], value, "{plural}: what was sent is set");
        assert_eq!(updated.json.get("desc"), None);
        let read = api.get(&old).await;
        assert_eq!((&read.expect(200).json, api.get(&new).await.json), (&updated.json, updated.json.clone()));
        let list = api.get(&format!("/{plural}")).await;
        assert_eq!(list.expect(200).json, Value::Array(vec![updated.json.clone()]));
        for answer in [&created, &updated, &read, &list] {
            assert!(answer.header("deprecation").unwrap().starts_with('@'), "{plural}");
            let successor = format!("</{singular}");
            assert!(answer.headers("link").iter().any(|link| link.starts_with(&successor)), "{plural}: {answer:?}");
        }
    }
    let service = api.get("/services").await.json[0].clone();
    assert_eq!(service["published"], json!(1), "an integer, and not sent means not changed");
}

async fn errors_have_what_the_old_schema_had(api: Api) {
    for (status, answer) in [
        (404, api.get("/providers/none").await),
        (422, api.post("/services", json!({"name": "n"})).await),
        (422, api.post("/services", json!({"name": "n", "published": 1, "desc": "d", "description": "e"})).await),
    ] {
        assert_eq!((answer.status, &answer.json["code"]), (status, &json!(status)), "{answer:?}");
        assert!(!answer.json["message"].as_str().unwrap().is_empty());
        assert!(answer.header("deprecation").is_some());
    }
}

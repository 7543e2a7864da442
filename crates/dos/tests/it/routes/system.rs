//! `/`, `/versions`, `/health`, `/docs`, `/problem`

use contract::Slug;
use serde_json::json;

use crate::harness::{Answer, Api, matrix};

matrix! {
    the_index_lists_the_resources(|settings| settings.public_url = Some("https://dos.example.org/api/".into()))
    versions_and_health
    requests_are_labelled
    every_problem_has_a_page
    every_type_has_its_schema
    the_reference_is_served_whole_and_locally
}

async fn the_index_lists_the_resources(api: Api) {
    let answer = api.get("/").await;
    let resources = answer.expect(200).json.as_array().unwrap();
    let paths: Vec<_> = resources.iter().map(|r| r["apiPath"].as_str().unwrap()).collect();
    assert_eq!(paths.join(" "), "/provider /service /taxonomy /event /venue /contact /costoption /eligibility");
    assert_eq!(resources[0]["apiUrl"], json!("https://dos.example.org/api/provider"));
    for field in ["description", "apiVersionNumber", "apiDocumentationUrl"] {
        assert!(!resources[0][field].as_str().unwrap().is_empty(), "{field}");
    }
    // URLs come from the settings, never from the request.
    let created = Answer::of(
        api.request("POST", "/provider").header("host", "evil.example").json(&json!({"name": "n", "published": 1})),
    )
    .await;
    assert!(created.expect(201).header("location").unwrap().starts_with("https://dos.example.org/api/provider/"));
}

async fn versions_and_health(api: Api) {
    let versions = api.get("/versions").await;
    let current: Vec<_> =
        versions.expect(200).json.as_array().unwrap().iter().filter(|v| v["current"] == true).collect();
    assert_eq!(current.len(), 1);
    for field in ["version", "id", "updated", "current", "deprecated"] {
        assert!(current[0].get(field).is_some(), "{field}");
    }
    for path in ["/health/alive", "/health/ready"] {
        let answer = api.get(path).await;
        assert_eq!(answer.expect(200).json, json!({"status": "ok"}));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

async fn requests_are_labelled(api: Api) {
    let taken = Answer::of(api.request("GET", "/provider").header("x-request-id", "abc-1:2")).await;
    assert_eq!(taken.header("x-request-id"), Some("abc-1:2"));
    let (long, spaced) = ("x".repeat(129), "a b");
    for odd in [long.as_str(), spaced, ""] {
        let made = Answer::of(api.request("GET", "/provider").header("x-request-id", odd)).await;
        assert!(made.header("x-request-id").is_some_and(|label| label != odd && !label.is_empty()));
    }
    let one = api.get("/provider").await;
    assert_ne!(one.header("x-request-id"), api.get("/provider").await.header("x-request-id"));
}

async fn every_problem_has_a_page(api: Api) {
    for slug in Slug::ALL {
        let page = api.get(&format!("/problem/{}", slug.as_str())).await;
        assert!(page.expect(200).text.contains(slug.title()));
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.header("content-security-policy").is_some());
    }
    api.get("/problem/none").await.expect_problem(404, "not-found");
}

async fn the_reference_is_served_whole_and_locally(api: Api) {
    let page = api.get("/docs").await;
    assert_eq!(page.expect(200).header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(!page.text.contains("http://") && !page.text.contains("https://"), "{}", page.text);
    let known = api.request("GET", "/docs").header("if-none-match", page.header("etag").unwrap());
    Answer::of(known).await.expect(304);
    api.get("/docs/none.js").await.expect_problem(404, "not-found");
    api.get("/docs/../provider").await.expect(200);
}

async fn every_type_has_its_schema(api: Api) {
    let resources = api.get("/").await;
    for resource in resources.expect(200).json.as_array().unwrap() {
        let path = format!("/schema{}", resource["apiPath"].as_str().unwrap());
        let schema = api.get(&path).await;
        assert_eq!(schema.expect(200).header("content-type"), Some("application/schema+json"), "{path}");
        assert!(schema.json["properties"].as_object().is_some_and(|fields| !fields.is_empty()), "{path}");
        let known = api.request("GET", &path).header("if-none-match", schema.header("etag").unwrap());
        Answer::of(known).await.expect(304);
    }
    let json = Answer::of(api.request("GET", "/schema/provider").header("accept", "application/json")).await;
    assert_eq!(json.expect(200).header("content-type"), Some("application/json"));
    for path in ["/schema/rocket", "/schema/providers", "/schema"] {
        api.get(path).await.expect_problem(404, "not-found");
    }
}

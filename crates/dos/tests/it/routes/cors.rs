//! Pages of other origins [Fetch 3.2].

use serde_json::json;

use crate::harness::{Answer, Api, matrix};

matrix! {
    preflights_are_answered_directly
    anonymous_reads_are_open_to_every_origin
    writes_are_open_to_none
}

fn preflight(api: &Api, path: &str, method: &str) -> reqwest::RequestBuilder {
    let request = api.request("OPTIONS", path).header("origin", "https://a.example");
    request.header("access-control-request-method", method)
}

async fn preflights_are_answered_directly(api: Api) {
    for path in ["/provider", "/provider/p", "/operation/x", "/openapi.json", "/nothing"] {
        let request = preflight(&api, path, "GET").header("access-control-request-headers", "if-none-match, prefer");
        let answer = Answer::of(request).await;
        assert_eq!(answer.expect(204).header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(answer.header("access-control-allow-methods"), Some("GET, HEAD"));
        assert!(answer.header("access-control-max-age").unwrap().parse::<u32>().unwrap() > 0);
        let allowed = answer.header("access-control-allow-headers").unwrap().to_lowercase();
        let allowed: Vec<_> = allowed.split(", ").collect();
        for name in "accept cache-control consistency-token content-type idempotency-key if-match if-modified-since \
            if-none-match if-unmodified-since last-event-id prefer traceparent x-request-id"
            .split(' ')
        {
            assert!(allowed.contains(&name), "{name}");
        }
        // Credentials are nobody's who is anonymous.
        assert!(!allowed.contains(&"authorization"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    // One of the two headers makes no preflight.
    let plain = Answer::of(api.request("OPTIONS", "/provider").header("origin", "https://a.example")).await;
    assert_eq!(plain.expect(204).header("allow"), Some("GET, HEAD, POST, OPTIONS"));
    assert_eq!(plain.header("access-control-allow-methods"), None);
}

async fn anonymous_reads_are_open_to_every_origin(api: Api) {
    let id = api.provider("n").await;
    let path = format!("/provider/{id}");
    let etag = api.get(&path).await.header("etag").unwrap().to_owned();
    for (method, path, status) in [
        ("GET", path.as_str(), 200),
        ("HEAD", &path, 200),
        ("GET", "/providers", 200),
        ("GET", "/provider/none", 404),
        ("GET", "/provider?limit=x", 400),
        ("GET", "/operation/x", 404),
        ("GET", "/health/ready", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/docs", 200),
        ("GET", "/nothing", 404),
    ] {
        // With an `Origin` or without: a cache gives one answer to all.
        for origin in [None, Some("https://a.example")] {
            let request = api.request(method, path);
            let request = origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
            let answer = Answer::of(request).await;
            assert_eq!(answer.expect(status).header("access-control-allow-origin"), Some("*"), "{method} {path}");
            // All of them: what is asked without credentials may be answered so.
            assert_eq!(answer.header("access-control-expose-headers"), Some("*"));
        }
    }
    let unchanged = Answer::of(api.request("GET", &path).header("if-none-match", etag)).await;
    assert_eq!(unchanged.expect(304).header("access-control-allow-origin"), Some("*"));
    let known = Answer::of(api.request("GET", &path).header("authorization", "Bearer x")).await;
    assert_eq!(known.header("access-control-allow-origin"), None);
}

async fn writes_are_open_to_none(api: Api) {
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let answer = Answer::of(preflight(&api, "/provider", method)).await;
        let methods = answer.expect(204).header("access-control-allow-methods").unwrap();
        assert!(!methods.contains(method), "{methods}");
    }
    let request = api.request("POST", "/provider").header("origin", "https://a.example");
    let answer = Answer::of(request.json(&json!({"name": "n", "published": 1}))).await;
    assert_eq!(answer.expect(201).header("access-control-allow-origin"), None);
}

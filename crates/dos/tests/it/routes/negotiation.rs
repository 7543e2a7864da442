//! `Accept`, `Accept-Encoding`, and what caches are told [RFC 9110 12, RFC 9111]

use std::io::Read as _;

use serde_json::{Value, json};

use crate::harness::{Answer, Api, matrix};

matrix! {
    the_type_is_chosen_by_quality
    a_refusal_lists_what_is_offered
    lists_and_documents_are_compressed
    entities_are_never_compressed
    encoded_and_other_bodies_are_refused
    caches_are_told_what_an_answer_depends_on
}

async fn the_type_is_chosen_by_quality(api: Api) {
    let id = api.provider("n").await;
    let entity = format!("/provider/{id}");
    for (path, accept, status) in [
        (entity.as_str(), "application/json", 200),
        (&entity, "application/json; charset=utf-8", 200),
        (&entity, "text/html, application/*;q=0.1", 200),
        (&entity, "text/html;q=0.9, */*;q=0.01", 200),
        (&entity, "application/json;q=0, */*", 406),
        (&entity, "text/html", 406),
        (&entity, "application/json;charset=utf-16", 406),
        ("/provider", "application/xml, application/json;q=0.1", 200),
        ("/provider", "image/*", 406),
        ("/openapi.yaml", "application/yaml", 200),
        ("/openapi.yaml", "application/json", 406),
        ("/asyncapi.json", "application/json", 200),
        ("/asyncapi.json", "application/yaml", 406),
        ("/problem/gone", "text/html", 200),
        ("/problem/gone", "application/json", 406),
        ("/operation/x", "text/plain", 406),
        ("/", "text/plain", 406),
    ] {
        let answer = Answer::of(api.request("GET", path).header("accept", accept)).await;
        assert_eq!(answer.status, status, "{path} {accept}: {answer:?}");
        if status == 406 {
            answer.expect_problem(406, "not-acceptable");
        }
    }
    for method in ["PUT", "PATCH"] {
        let request = api.request(method, &entity).header("accept", "text/html").json(&json!({"name": "m"}));
        let answer = Answer::of(request).await;
        assert_eq!(answer.expect_problem(406, "not-acceptable").json["retry"], json!("no"));
    }
    assert_eq!(api.get(&entity).await.json["name"], json!("n"), "nothing was written");
}

async fn a_refusal_lists_what_is_offered(api: Api) {
    let id = api.provider("n").await;
    for (path, offered) in [
        (format!("/provider/{id}"), "application/json"),
        ("/provider".to_owned(), "application/json"),
        ("/openapi.yaml".to_owned(), "application/yaml"),
        ("/problem/gone".to_owned(), "text/html"),
    ] {
        let answer = Answer::of(api.request("GET", &path).header("accept", "image/png")).await;
        assert_eq!(answer.expect_problem(406, "not-acceptable").places(), ["accept"]);
        assert!(answer.json["detail"].as_str().unwrap().contains(offered), "{answer:?}");
    }
}

/// Status, `Content-Encoding`, `ETag` and the body as it came.
async fn fetch(api: &Api, path: &str, headers: &[(&str, &str)]) -> (u16, Option<String>, Option<String>, Vec<u8>) {
    let request = headers.iter().fold(api.request("GET", path), |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, encoding, etag) = (response.status().as_u16(), header("content-encoding"), header("etag"));
    let length = header("content-length").map(|length| length.parse::<usize>().unwrap());
    let body = response.bytes().await.unwrap().to_vec();
    assert!(length.is_none_or(|length| length == body.len()));
    (status, encoding, etag, body)
}

fn plain(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

async fn lists_and_documents_are_compressed(api: Api) {
    for i in 0..20 {
        let row = json!({"name": format!("n{i}"), "address": "one and the same street, over and over again"});
        api.put_new(&format!("/venue/v{i:02}"), row).await.expect(201);
    }
    for path in
        ["/venue", "/", "/openapi.json", "/openapi.yaml", "/asyncapi.json", "/docs/swagger-ui.css", "/problem/gone"]
    {
        let (_, none, _, whole) = fetch(&api, path, &[]).await;
        assert_eq!(none, None, "{path}");
        let (status, encoding, etag, body) = fetch(&api, path, &[("accept-encoding", "br, gzip;q=0.5")]).await;
        assert_eq!((status, encoding.as_deref()), (200, Some("gzip")), "{path}");
        assert!(body.len() * 3 < whole.len() * 2, "{path}: {} of {}", body.len(), whole.len());
        assert_eq!(plain(&body).into_bytes(), whole, "{path}");
        if let Some(etag) = etag {
            // Other bytes than those of the strong validator, which stays good for both.
            assert!(etag.starts_with("W/\""), "{path}: {etag}");
            let known = fetch(&api, path, &[("accept-encoding", "gzip"), ("if-none-match", &etag)]).await;
            assert_eq!((known.0, known.1, known.2), (304, None, Some(etag)), "{path}");
        }
        let refused = fetch(&api, path, &[("accept-encoding", "gzip;q=0, *")]).await;
        assert_eq!((refused.1, refused.3), (None, whole), "{path}");
    }
    let (_, short, _, body) = fetch(&api, "/event", &[("accept-encoding", "gzip")]).await;
    assert_eq!((short, body.as_slice()), (None, b"[]".as_slice()), "what is short stays as it is");
}

async fn entities_are_never_compressed(api: Api) {
    let row = json!({"name": "n", "address": "street ".repeat(2000)});
    let etag = api.put_new("/venue/v", row).await.expect(201).header("etag").unwrap().to_owned();
    let (status, encoding, same, body) = fetch(&api, "/venue/v", &[("accept-encoding", "gzip")]).await;
    assert_eq!((status, encoding, same), (200, None, Some(etag)));
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["id"], json!("v"));
    let answer = Answer::of(api.request("GET", "/venue/v").header("accept-encoding", "gzip")).await;
    assert_eq!(answer.header("vary"), Some("Accept, Authorization"));
}

async fn encoded_and_other_bodies_are_refused(api: Api) {
    let id = api.provider("n").await;
    let path = format!("/provider/{id}");
    for (method, path, name, value) in [
        ("PUT", path.as_str(), "content-encoding", "gzip"),
        ("PATCH", &path, "content-encoding", "br"),
        ("POST", "/provider", "content-encoding", "deflate"),
    ] {
        let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = api.request(method, path).header("content-type", media_type).header(name, value).body("{}");
        let answer = Answer::of(request).await;
        assert_eq!(answer.expect_problem(415, "unsupported-media-type").header("accept-encoding"), Some("identity"));
    }
    for (method, path, media_type) in [
        ("PATCH", path.as_str(), "application/json"),
        ("PATCH", &path, "application/json-patch+json"),
        ("PUT", &path, "application/merge-patch+json"),
        ("PUT", &path, "application/problem+json"),
        ("PUT", &path, "application/json; charset=latin1"),
        ("POST", "/provider", "text/plain"),
    ] {
        let request =
            api.request(method, path).header("content-type", media_type).body(r#"{"name":"m","published":1}"#);
        let answer = Answer::of(request).await;
        let patch = (method == "PATCH").then_some("application/merge-patch+json");
        assert_eq!(answer.expect_problem(415, "unsupported-media-type").header("accept-patch"), patch, "{media_type}");
    }
    for media_type in ["application/json; charset=UTF-8", "Application/JSON;charset=\"utf-8\""] {
        let request = api.request("PUT", &path).header("content-type", media_type).body(r#"{"name":"m"}"#);
        Answer::of(request).await.expect(200);
    }
}

async fn caches_are_told_what_an_answer_depends_on(api: Api) {
    let id = api.provider("n").await;
    let entity = format!("/provider/{id}");
    for (path, vary, cache) in [
        (entity.as_str(), "Accept, Authorization", "no-cache"),
        ("/provider", "Accept, Authorization, Accept-Encoding", "no-cache"),
        ("/openapi.json", "Accept, Authorization, Accept-Encoding", "no-cache"),
        ("/docs", "Accept-Encoding", "no-cache"),
        ("/provider/none", "Accept, Authorization", "no-cache"),
        ("/operation/x", "Accept, Authorization", "no-cache"),
        ("/health/ready", "Accept, Authorization", "no-store"),
        ("/provider?limit=x", "Accept, Authorization, Accept-Encoding", "no-store"),
    ] {
        let answer = api.get(path).await;
        assert_eq!((answer.header("vary"), answer.header("cache-control")), (Some(vary), Some(cache)), "{path}");
        // The stream is there, so nothing is old.
        assert_eq!(answer.header("age"), None, "{path}");
    }
}

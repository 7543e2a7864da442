//! Whatever comes in gets the right problem, and nothing of it stays.

use serde_json::json;

use crate::harness::{Answer, Api, matrix};
use dos::settings::Anonymous;

matrix! {
    bodies_that_are_no_json_object
    bodies_that_break_the_schema
    bodies_of_the_wrong_kind
    a_body_that_is_too_large
    ids_outside_the_grammar
    heads_that_are_too_large
    conditions_that_cannot_be_read_are_not_passed_over
    what_is_not_acceptable
    a_slow_body_is_told_so(|settings| settings.http.receive_timeout_ms = 300)
    an_object_that_would_be_too_large
    anonymous_callers_may_only_read_where_that_is_set(|settings| settings.anonymous = Some(Anonymous::Read))
}

async fn nothing_stayed(api: &Api) {
    assert_eq!(api.get("/provider").await.header("x-total-count"), Some("0"));
}

async fn bodies_that_are_no_json_object(api: Api) {
    let deep = format!("{{\"name\":{}", "[".repeat(10_000));
    let bodies: [&[u8]; 11] = [
        b"",
        b"{\"name\":\"n\"",
        b"{\"name\":\"\xff\xfe\",\"published\":1}",
        deep.as_bytes(),
        b"{\"name\":\"a\",\"name\":\"b\",\"published\":1}",
        b"{\"name\":1e400}",
        b"[]",
        b"null",
        b"\"text\"",
        b"{} {}",
        b"\xef\xbb\xbf{}",
    ];
    for body in bodies {
        for (method, path) in [("POST", "/provider"), ("PUT", "/provider/p")] {
            let request = api.request(method, path).header("content-type", "application/json").body(body.to_vec());
            let answer = Answer::of(request).await;
            let answer = answer.expect_problem(400, "invalid-json");
            assert_eq!(answer.json["retry"], json!("no"));
        }
    }
    nothing_stayed(&api).await;
}

async fn bodies_that_break_the_schema(api: Api) {
    let five = json!({"name": 1, "published": "x", "description": [], "venue_id": {}, "flagged": 3});
    let answer = api.post("/provider", five).await;
    let expected = ["#/name", "#/published", "#/description", "#/venue_id", "#/flagged"];
    assert_eq!(answer.expect_problem(422, "invalid-entity").places(), expected);
    for (body, places) in [
        (json!({}), vec!["#/name", "#/published"]),
        (json!({"name": null, "published": 1}), vec!["#/name"]),
        (json!({"name": "n", "published": 1, "colour": "red", "a/b~c": 1}), vec!["#/colour", "#/a~1b~0c"]),
        (json!({"name": "n".repeat(256), "published": 1}), vec!["#/name"]),
        (json!({"name": "a\u{0}b", "published": 1}), vec!["#/name"]),
        (json!({"name": "n", "published": 2}), vec!["#/published"]),
        (json!({"name": "n", "published": 1, "venue_id": "a/b"}), vec!["#/venue_id"]),
    ] {
        let answer = api.post("/provider", body).await;
        assert_eq!(answer.expect_problem(422, "invalid-entity").places(), places);
    }
    for (body, place) in [
        (json!({"name": "n", "address": "a", "latitude": 90.1}), "#/latitude"),
        (json!({"name": "n", "address": "a", "longitude": -180.5}), "#/longitude"),
        (json!({"name": "n", "address": "a", "longitude": 1e300}), "#/longitude"),
    ] {
        assert_eq!(api.post("/venue", body).await.expect_problem(422, "invalid-entity").places(), [place]);
    }
    let both = json!({"name": "n", "published": 1, "desc": "a", "description": "b"});
    assert_eq!(api.post("/service", both).await.expect_problem(422, "invalid-entity").places().len(), 2);
    for list in [json!(["a", "a"]), json!(["a b"]), json!("a"), json!(vec!["a"; 201])] {
        api.post("/service", json!({"name": "n", "published": 1, "taxonomy_ids": list}))
            .await
            .expect_problem(422, "invalid-entity");
    }
    nothing_stayed(&api).await;
}

async fn bodies_of_the_wrong_kind(api: Api) {
    let body = r#"{"name":"n","published":1}"#;
    for kind in ["text/plain", "application/xml", "application/json; charset=latin1", "application/jsonx"] {
        let answer = Answer::of(api.request("POST", "/provider").header("content-type", kind).body(body)).await;
        answer.expect_problem(415, "unsupported-media-type");
    }
    Answer::of(api.request("POST", "/provider").body(body)).await.expect_problem(415, "unsupported-media-type");
    let encoded =
        api.request("POST", "/provider").header("content-encoding", "gzip").header("content-type", "application/json");
    let answer = Answer::of(encoded.body(body)).await;
    assert_eq!(answer.expect_problem(415, "unsupported-media-type").header("accept-encoding"), Some("identity"));
    nothing_stayed(&api).await;
    let fine =
        api.request("POST", "/provider").header("content-type", "Application/JSON; charset=\"UTF-8\"").body(body);
    Answer::of(fine).await.expect(201);
}

async fn a_body_that_is_too_large(api: Api) {
    let body = format!(r#"{{"name":"n","published":1,"description":"{}"}}"#, "x".repeat(10 << 20));
    let answer =
        Answer::of(api.request("POST", "/provider").header("content-type", "application/json").body(body.clone()))
            .await;
    answer.expect_problem(413, "body-too-large");
    // Without an announced length.
    let mut request =
        b"POST /provider HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    request.extend_from_slice(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes());
    api.raw(&request).await.expect_problem(413, "body-too-large");
    // With `Expect`, the body is never asked for.
    let head = "POST /provider HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10485760\r\nexpect: 100-continue\r\n\r\n";
    api.raw(head.as_bytes()).await.expect_problem(413, "body-too-large");
    // Fields within their limits, together beyond the object's.
    nothing_stayed(&api).await;
}

async fn ids_outside_the_grammar(api: Api) {
    let long = "x".repeat(65);
    for id in ["a/b", "a%2Fb", "%00", "a%20b", "%ff", "", long.as_str(), "a:b", "..%2f"] {
        let get = format!("GET /provider/{id} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        api.raw(get.as_bytes()).await.expect_problem(404, "not-found");
    }
    for (id, status, slug) in
        [("a%2Fb", 400, "invalid-request"), (&long, 400, "invalid-request"), ("a/b", 404, "not-found")]
    {
        let answer = api.put_new(&format!("/provider/{id}"), json!({"name": "n", "published": 1})).await;
        answer.expect_problem(status, slug);
    }
    nothing_stayed(&api).await;
}

async fn heads_that_are_too_large(api: Api) {
    let many: String = (0..500).map(|i| format!("x-header-{i}: v\r\n")).collect();
    let request = format!("GET /provider HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{many}\r\n");
    api.raw(request.as_bytes()).await.expect_problem(431, "headers-too-large");
    let request =
        format!("GET /provider HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {}\r\n\r\n", "v".repeat(40_000));
    api.raw(request.as_bytes()).await.expect_problem(431, "headers-too-large");
    let request = format!("GET /provider?{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "v".repeat(9_000));
    api.raw(request.as_bytes()).await.expect_problem(414, "uri-too-long");
}

async fn conditions_that_cannot_be_read_are_not_passed_over(api: Api) {
    let id = api.provider("n").await;
    let path = format!("/provider/{id}");
    for (name, value) in [
        ("if-match", "1-0"),
        ("if-match", "\"1-0"),
        ("if-unmodified-since", "yesterday"),
        ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("if-none-match", "*, \"1-0\""),
        ("idempotency-key", "0123456789abcde"),
        ("idempotency-key", "0123456789 abcdef"),
    ] {
        for method in ["PUT", "DELETE"] {
            let answer = Answer::of(api.request(method, &path).header(name, value).json(&json!({"name": "m"}))).await;
            assert_eq!(answer.expect_problem(400, "invalid-request").places(), [name]);
            assert_eq!(answer.json["retry"], json!("no"));
        }
    }
    let post =
        api.request("POST", "/provider").header("if-none-match", "*").json(&json!({"name": "n", "published": 1}));
    Answer::of(post).await.expect_problem(412, "precondition-failed");
    assert_eq!(api.get(&path).await.json["name"], json!("n"));
    assert_eq!(api.get("/provider").await.header("x-total-count"), Some("1"));
}

async fn what_is_not_acceptable(api: Api) {
    let id = api.provider("n").await;
    for path in ["/provider".to_owned(), format!("/provider/{id}"), "/".to_owned(), "/openapi.json".to_owned()] {
        let with = |value: &'static str| Answer::of(api.request("GET", &path).header("accept", value));
        for refused in ["text/html", "application/json;q=0", "image/*"] {
            with(refused).await.expect_problem(406, "not-acceptable");
        }
        for taken in ["application/json", "text/html, */*;q=0.1", "application/*"] {
            with(taken).await.expect(200);
        }
    }
    let post =
        api.request("POST", "/provider").header("accept", "text/html").json(&json!({"name": "n", "published": 1}));
    Answer::of(post).await.expect_problem(406, "not-acceptable");
    assert_eq!(api.get("/provider").await.header("x-total-count"), Some("1"));
}

async fn a_slow_body_is_told_so(api: Api) {
    let head = "POST /provider HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let answer = api.raw(head.as_bytes()).await;
    assert_eq!(answer.expect_problem(408, "request-timeout").json["retry"], json!("safe"));
    nothing_stayed(&api).await;
}

async fn an_object_that_would_be_too_large(api: Api) {
    // Each field is within its limit as text, but not as JSON: a control character takes six bytes there.
    let long = "\u{1}".repeat(60_000);
    let answer = api.post("/provider", json!({"name": "n", "published": 1, "description": long})).await;
    let path = answer.expect(201).header("location").unwrap().to_owned();
    let venue = json!({"name": "n", "address": long, "details": long});
    let answer = api.post("/venue", venue).await;
    assert_eq!(answer.expect_problem(422, "entity-too-large").json["retry"], json!("no"));
    assert_eq!(api.get("/venue").await.header("x-total-count"), Some("0"));
    api.get(&path).await.expect(200);
}

async fn anonymous_callers_may_only_read_where_that_is_set(api: Api) {
    let answer = api.post("/provider", json!({"name": "n", "published": 1})).await;
    assert_eq!(answer.expect_problem(403, "forbidden").json["retry"], json!("no"));
    api.put_new("/provider/p", json!({"name": "n", "published": 1})).await.expect_problem(403, "forbidden");
    api.get("/provider").await.expect(200);
}

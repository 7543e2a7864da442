//! `/operation/{id}` and `Prefer`

use contract::{CommandId, EntityId, Key, OperationId, TypeName};
use serde_json::{Value, json};

use crate::harness::{Answer, Api, eventually, matrix};

matrix! {
    respond_async_gives_an_operation
    a_rejected_operation_has_the_problem
    an_operation_is_known_after_a_restart
    what_was_never_sent_is_404
    waits_are_honoured
    preferences_go_together
    an_operation_can_be_waited_for
}

async fn respond_async(api: &Api, method: &str, path: &str, body: Value) -> Answer {
    Answer::of(api.request(method, path).header("prefer", "respond-async").json(&body)).await
}

/// The operation once it has ended.
async fn ended(api: &Api, location: &str) -> Value {
    eventually(async || {
        let answer = api.get(location).await;
        assert_eq!(answer.expect(200).header("cache-control"), Some("no-store"));
        (answer.json["status"] != "pending").then_some(answer.json)
    })
    .await
}

async fn respond_async_gives_an_operation(api: Api) {
    let accepted = respond_async(&api, "POST", "/provider", json!({"name": "n", "published": 1})).await;
    let location = accepted.expect(202).header("location").unwrap().to_owned();
    assert_eq!(accepted.header("retry-after"), Some("1"));
    assert_eq!(accepted.header("preference-applied"), Some("respond-async"));
    assert_eq!(accepted.json["status"], json!("pending"));
    assert_eq!(location, format!("/operation/{}", accepted.json["id"].as_str().unwrap()));
    let operation = ended(&api, &location).await;
    let fields: Vec<_> = operation.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields.join(" "), "id status type entity_id href created");
    assert_eq!(operation["status"], json!("succeeded"));
    assert_eq!(operation["type"], json!("provider"));
    assert_eq!(operation["created"], accepted.json["created"]);
    let href = operation["href"].as_str().unwrap();
    assert_eq!(api.get(href).await.expect(200).json["id"], operation["entity_id"]);
}

async fn a_rejected_operation_has_the_problem(api: Api) {
    let accepted = respond_async(&api, "PUT", "/provider/none", json!({"name": "n"})).await;
    let operation = ended(&api, accepted.expect(202).header("location").unwrap()).await;
    assert_eq!(operation["status"], json!("failed"));
    assert_eq!(operation["problem"]["type"], json!("/problem/not-found"));
    assert_eq!(operation["problem"]["retry"], json!("no"));
    assert_eq!(operation.get("href"), None);
}

async fn an_operation_is_known_after_a_restart(mut api: Api) {
    let body = json!({"name": "n", "published": 1});
    let good = respond_async(&api, "POST", "/provider", body).await;
    let bad = respond_async(&api, "PUT", "/provider/none", json!({"name": "n"})).await;
    let (good, bad) = (good.expect(202), bad.expect(202));
    let (good, bad) = (good.header("location").unwrap().to_owned(), bad.header("location").unwrap().to_owned());
    api.restart().await;
    assert_eq!(ended(&api, &good).await["status"], json!("succeeded"));
    let failed = ended(&api, &bad).await;
    assert_eq!((&failed["status"], &failed["problem"]["status"]), (&json!("failed"), &json!(404)));
}

async fn what_was_never_sent_is_404(api: Api) {
    let command = CommandId(uuid::Uuid::from_u128(7));
    let key = Key::new(TypeName::parse("provider").unwrap(), EntityId::parse("p").unwrap());
    let unknown_type = Key::new(TypeName::parse("rocket").unwrap(), EntityId::parse("p").unwrap());
    for id in [
        OperationId { command, key }.to_string(),
        OperationId { command, key: unknown_type }.to_string(),
        "x".to_owned(),
        "%00".to_owned(),
        "A".repeat(500),
    ] {
        api.get(&format!("/operation/{id}")).await.expect_problem(404, "not-found");
    }
    let post = Answer::of(api.request("POST", "/operation/x")).await;
    assert_eq!(post.expect_problem(405, "method-not-allowed").header("allow"), Some("GET, HEAD, OPTIONS"));
}

async fn waits_are_honoured(api: Api) {
    let request = api.request("POST", "/provider").header("prefer", "wait=100, return=minimal");
    let answer = Answer::of(request.json(&json!({"name": "n", "published": 1}))).await;
    assert_eq!(answer.expect(201).header("preference-applied"), Some("wait=30, return=minimal"));
}

async fn preferences_go_together(api: Api) {
    let body = json!({"name": "n", "published": 1});
    for (prefer, status, applied) in [
        ("wait=10", 201, Some("wait=10")),
        ("respond-async, wait=10", 201, Some("wait=10")),
        ("respond-async; a=b, wait=\"10\", return=minimal", 201, Some("wait=10, return=minimal")),
        ("respond-async, return=representation", 202, Some("respond-async")),
        ("respond-async, wait=0, return=minimal", 202, Some("respond-async, wait=0")),
        ("wait=0", 202, Some("wait=0")),
        ("return=representation, handling=lenient", 201, Some("return=representation")),
        ("wait=soon, return=nothing", 201, None),
    ] {
        let answer = Answer::of(api.request("POST", "/provider").header("prefer", prefer).json(&body)).await;
        assert_eq!(answer.status, status, "{prefer}: {answer:?}");
        assert_eq!(answer.header("preference-applied"), applied, "{prefer}");
        assert_eq!(answer.text.is_empty(), applied.is_some_and(|applied| applied.ends_with("minimal")), "{prefer}");
    }
    let request = api.request("PUT", "/provider/none").header("prefer", "respond-async, wait=10, return=minimal");
    let answer = Answer::of(request.json(&json!({"name": "n"}))).await;
    assert_eq!(answer.expect_problem(404, "not-found").header("preference-applied"), Some("wait=10"));
}

async fn an_operation_can_be_waited_for(api: Api) {
    for (method, path, body, status) in [
        ("POST", "/provider", json!({"name": "n", "published": 1}), "succeeded"),
        ("PUT", "/provider/none", json!({"name": "n"}), "failed"),
    ] {
        let accepted = respond_async(&api, method, path, body).await;
        let location = accepted.expect(202).header("location").unwrap().to_owned();
        // Twenty at once are told of the same end; none of them asks again.
        let ask = async || Answer::of(api.request("GET", &location).header("prefer", "respond-async, wait=20")).await;
        for answer in futures_util::future::join_all((0..20).map(|_| ask())).await {
            assert_eq!(answer.expect(200).json["status"], json!(status));
            assert_eq!(answer.header("preference-applied"), Some("wait=20"));
            assert_eq!(answer.header("retry-after"), None);
        }
    }
    let unknown = OperationId {
        command: CommandId(uuid::Uuid::from_u128(7)),
        key: Key::new(TypeName::parse("provider").unwrap(), EntityId::parse("p").unwrap()),
    };
    let answer = Answer::of(api.request("GET", &format!("/operation/{unknown}")).header("prefer", "wait=20")).await;
    assert_eq!(answer.expect_problem(404, "not-found").header("preference-applied"), Some("wait=20"));
}

//! `Idempotency-Key`

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use contract::env::BoxFuture;
use contract::{Env, Timestamp};
use dos::env::System;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, Shape, eventually, matrix};

const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

matrix! {
    a_write_that_is_sent_again_is_answered_alike
    a_key_stands_for_one_request
    two_at_once_are_one
    rejections_are_remembered_and_refusals_are_not
    a_key_is_known_after_a_restart
    an_operation_of_a_repeat_tells_of_the_first
}

matrix! {
    shape => a_key_is_known_on_every_gateway
    a_key_is_known_for_a_day_and_then_free
}

async fn keyed(api: &Api, method: &str, path: &str, key: &str, body: &Value) -> Answer {
    let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = api.request(method, path).header("idempotency-key", key).header("content-type", media_type);
    Answer::of(request.body(body.to_string())).await
}

/// All of an answer that tells of the entity.
fn told(answer: &Answer) -> (u16, String, [Option<String>; 3]) {
    let headers = ["location", "etag", "content-location"].map(|name| answer.header(name).map(str::to_owned));
    (answer.status, answer.text.clone(), headers)
}

async fn a_write_that_is_sent_again_is_answered_alike(api: Api) {
    let body = json!({"name": "n", "published": 1});
    let first = keyed(&api, "POST", "/provider", KEY, &body).await;
    assert_eq!(first.expect(201).header("idempotent-replayed"), None);
    let path = first.header("location").unwrap();
    // What became of the entity since is not told.
    api.put(path, json!({"name": "m"})).await.expect(200);
    for key in [KEY.to_owned(), format!("\"{KEY}\"")] {
        let again = keyed(&api, "POST", "/provider", &key, &body).await;
        assert_eq!((told(&again), again.header("idempotent-replayed")), (told(&first), Some("true")));
    }
    assert_eq!(api.get("/provider").await.header("x-total-count"), Some("1"));
    for (n, (method, body)) in
        [("PUT", json!({"name": "o"})), ("PATCH", json!({"name": "p"})), ("DELETE", json!({}))].into_iter().enumerate()
    {
        let key = format!("{KEY}-{n}");
        let first = keyed(&api, method, path, &key, &body).await;
        assert!([200, 204].contains(&first.status) && first.header("idempotent-replayed").is_none(), "{first:?}");
        let again = keyed(&api, method, path, &key, &body).await;
        assert_eq!((told(&again), again.header("idempotent-replayed")), (told(&first), Some("true")), "{method}");
    }
    api.get(path).await.expect_problem(410, "gone");
}

async fn a_key_stands_for_one_request(api: Api) {
    let path = format!("/provider/{}", api.provider("n").await);
    keyed(&api, "PUT", &path, KEY, &json!({"name": "m"})).await.expect(200);
    let other_path = format!("/provider/{}", api.provider("other").await);
    for (method, path, body) in [
        ("PUT", path.as_str(), json!({"name": "o"})),
        ("PATCH", &path, json!({"name": "m"})),
        ("DELETE", &path, json!({"name": "m"})),
        ("PUT", &format!("{path}?timestamps=keep"), json!({"name": "m"})),
        ("PUT", &other_path, json!({"name": "m"})),
    ] {
        let answer = keyed(&api, method, path, KEY, &body).await;
        let answer = answer.expect_problem(422, "idempotency-key-reused");
        assert_eq!((&answer.json["retry"], answer.header("idempotent-replayed")), (&json!("no"), None));
    }
    let conditional = api.request("PUT", &path).header("idempotency-key", KEY).header("if-match", "*");
    let conditional = Answer::of(conditional.json(&json!({"name": "m"}))).await;
    conditional.expect_problem(422, "idempotency-key-reused");
    assert_eq!(api.get(&path).await.json["name"], json!("m"));
    assert_eq!(api.get(&other_path).await.json["name"], json!("other"));
}

async fn two_at_once_are_one(api: Api) {
    for round in 0..5 {
        let (key, body) = (format!("{KEY}-{round}"), json!({"name": round.to_string(), "published": 1}));
        let sent = (0..6).map(|_| keyed(&api, "POST", "/provider", &key, &body));
        let answers = futures_util::future::join_all(sent).await;
        assert!(answers.iter().all(|answer| told(answer) == told(&answers[0])), "{answers:?}");
        assert_eq!(answers[0].expect(201).json["name"], body["name"]);
        let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_some()).count();
        assert_eq!(replayed, 5);
    }
    assert_eq!(api.get("/provider").await.header("x-total-count"), Some("5"));
}

async fn rejections_are_remembered_and_refusals_are_not(api: Api) {
    let missing = keyed(&api, "PUT", "/provider/p", KEY, &json!({"name": "n"})).await;
    missing.expect_problem(404, "not-found");
    api.put_new("/provider/p", json!({"name": "m", "published": 1})).await.expect(201);
    let again = keyed(&api, "PUT", "/provider/p", KEY, &json!({"name": "n"})).await;
    let again = again.expect_problem(404, "not-found");
    assert_eq!((&again.json["detail"], again.header("idempotent-replayed")), (&missing.json["detail"], Some("true")));
    assert_eq!(api.get("/provider/p").await.json["name"], json!("m"));
    // Refused before the stream: the key is free.
    let key = format!("{KEY}-2");
    keyed(&api, "PUT", "/provider/p", &key, &json!({"nam": "n"})).await.expect_problem(422, "invalid-entity");
    let taken = keyed(&api, "PUT", "/provider/p", &key, &json!({"name": "n"})).await;
    assert_eq!(taken.expect(200).header("idempotent-replayed"), None);
}

async fn a_key_is_known_after_a_restart(mut api: Api) {
    let body = json!({"option": "“£5”\u{a0}\n"});
    let first = keyed(&api, "POST", "/costoption", KEY, &body).await;
    first.expect(201);
    api.restart().await;
    let again = keyed(&api, "POST", "/costoption", KEY, &body).await;
    assert_eq!((told(&again), again.header("idempotent-replayed")), (told(&first), Some("true")));
}

async fn an_operation_of_a_repeat_tells_of_the_first(api: Api) {
    let body = json!({"name": "n", "published": 1});
    let first = keyed(&api, "POST", "/provider", KEY, &body).await;
    let path = first.expect(201).header("location").unwrap();
    let again = api.request("POST", "/provider").header("idempotency-key", KEY).header("prefer", "respond-async");
    let again = Answer::of(again.header("content-type", "application/json").body(body.to_string())).await;
    let operation = again.expect(202).header("location").unwrap().to_owned();
    let ended = eventually(async || {
        let answer = api.get(&operation).await;
        (answer.expect(200).json["status"] != json!("pending")).then_some(answer)
    });
    assert_eq!(ended.await.json["href"], json!(path));
}

async fn a_key_is_known_on_every_gateway(shape: Shape) {
    let one = Api::start_with(shape, |_| {}).await;
    let other = one.second().await;
    let path = format!("/provider/{}", one.provider("n").await);
    for (n, (method, path, body)) in [
        ("POST", "/provider", json!({"name": "\u{201c}\u{a3}5\u{201d}\n", "published": true})),
        ("PATCH", &path, json!({"name": "m"})),
        ("PUT", &path, json!({"name": "m"})),
        ("PUT", "/provider/none", json!({"name": "m"})),
        ("DELETE", &path, json!({})),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("{KEY}-{n}");
        let first = keyed(&one, method, path, &key, &body).await;
        let again = keyed(&other, method, path, &key, &body).await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{method}: {again:?}");
        match first.status {
            404 => assert_eq!((&again.json["detail"], again.status), (&first.json["detail"], 404)),
            _ => assert_eq!(told(&again), told(&first), "{method}"),
        }
    }
    // At once on both: one is carried out.
    for round in 0..5 {
        let (key, body) = (format!("{KEY}-at-once-{round}"), json!({"option": round.to_string()}));
        let send = |api| keyed(api, "POST", "/costoption", &key, &body);
        let (here, there) = tokio::join!(send(&one), send(&other));
        assert_eq!(told(here.expect(201)), told(&there));
        assert!(here.header("idempotent-replayed").is_some() != there.header("idempotent-replayed").is_some());
    }
    assert_eq!(one.get("/costoption").await.expect(200).json.as_array().unwrap().len(), 5);
}

/// The real world at another time.
struct Ahead {
    system: System,
    by_millis: AtomicI64,
}

impl Env for Ahead {
    fn now(&self) -> Timestamp {
        self.system.now().plus_millis(self.by_millis.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }

    fn random(&self) -> [u8; 10] {
        self.system.random()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.system.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.system.spawn(task);
    }
}

async fn a_key_is_known_for_a_day_and_then_free(shape: Shape) {
    const MINUTE: i64 = 60_000;
    let env = Arc::new(Ahead { system: System::new(), by_millis: AtomicI64::new(0) });
    let api = Api::start_in(shape, |settings| settings.store.outcome_retention_hours = 24, env.clone()).await;
    let body = json!({"option": "x"});
    let first = keyed(&api, "POST", "/costoption", KEY, &body).await;
    first.expect(201);
    let after = |minutes: i64| env.by_millis.store(minutes * MINUTE, Ordering::SeqCst);
    // Keys that are too old go with those that come.
    let later = async || {
        let other = System::new().uuid().to_string();
        keyed(&api, "POST", "/costoption", &other, &body).await.expect(201);
        keyed(&api, "POST", "/costoption", KEY, &body).await
    };
    after(23 * 60 + 58);
    for _ in 0..8 {
        let again = later().await;
        assert_eq!((told(&again), again.header("idempotent-replayed")), (told(&first), Some("true")));
    }
    after(24 * 60 + 1);
    let other = eventually(async || Some(later().await).filter(|answer| told(answer) != told(&first))).await;
    assert_eq!(other.expect(201).header("idempotent-replayed"), None);
}

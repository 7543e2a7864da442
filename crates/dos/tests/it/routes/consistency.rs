//! `Consistency-Token`: what was read or written on one instance is not missed on another

use std::time::Duration;

use contract::{Env as _, partition};
use dos::env::System;
use dos::settings::Settings;
use gateway::Position;
use serde_json::json;

use crate::harness::{Answer, Api, Shape, bounded, matrix};

matrix! {
    every_answer_about_entities_has_one
    what_is_no_token_of_this_stream_is_refused
    one_that_is_not_reached_is_a_503(|settings: &mut Settings| settings.http.read_wait_ms = 100)
    a_request_waits_until_it_is_reached
    tokens_survive_a_restart
}

matrix! {
    shape => what_was_written_on_one_gateway_is_read_on_another
    what_a_later_gateway_gives_an_earlier_one_can_reach
}

const TOKEN: &str = "consistency-token";

fn token(answer: &Answer) -> Position {
    let text = answer.header(TOKEN).unwrap_or_else(|| panic!("no token: {answer:?}"));
    Position::decode(text).unwrap()
}

async fn get_with(api: &Api, path: &str, token: &Position) -> Answer {
    Answer::of(api.request("GET", path).header(TOKEN, token.encode())).await
}

/// The position behind the next record of a key.
fn next(token: &Position, key: &str) -> Position {
    let count = u32::try_from(token.offsets.len()).unwrap();
    let at = partition::of_key(key.as_bytes(), count) as usize;
    let mut next = token.clone();
    next.offsets[at] += 1;
    next
}

fn is_behind(token: &Position, other: &Position) -> bool {
    token.offsets.iter().zip(&other.offsets).any(|(mine, theirs)| mine < theirs)
}

async fn every_answer_about_entities_has_one(api: Api) {
    let empty = token(&api.get("/provider").await);
    let created = api.post("/provider", json!({"name": "n", "published": 1})).await;
    let path = created.expect(201).header("location").unwrap().to_owned();
    let etag = created.header("etag").unwrap();
    let written = token(&created);
    let own = next(&empty, &format!("provider:{}", created.json["id"].as_str().unwrap()));
    assert!(!is_behind(&written, &own), "its own view is covered: {written:?}");

    let mut before = written;
    for (status, request) in [
        (200, api.request("GET", &path)),
        (200, api.request("HEAD", &path)),
        (200, api.request("GET", &path).header("cache-control", "no-cache")),
        (304, api.request("GET", &path).header("if-none-match", etag)),
        (412, api.request("GET", &path).header("if-match", "\"1-0\"")),
        (404, api.request("GET", "/provider/none")),
        (200, api.request("GET", "/provider?limit=1")),
        (200, api.request("PUT", &path).json(&json!({"name": "m"}))),
        (200, api.request("PUT", &path).json(&json!({"name": "m"}))),
        (412, api.request("PUT", &path).header("if-match", etag).json(&json!({"name": "o"}))),
        (202, api.request("PUT", &path).header("prefer", "respond-async").json(&json!({"name": "o"}))),
        (404, api.request("PUT", "/provider/none").json(&json!({"name": "m"}))),
        (422, api.request("PUT", &path).json(&json!({"nam": "m"}))),
        (204, api.request("DELETE", &path)),
        (410, api.request("GET", &path)),
    ] {
        let answer = Answer::of(request.header(TOKEN, before.encode())).await;
        let after = token(answer.expect(status));
        assert!(!is_behind(&after, &before), "{answer:?}");
        before = after;
    }
    let pending = api.request("PUT", "/provider/x").header("if-none-match", "*").header("prefer", "respond-async");
    let pending = Answer::of(pending.json(&json!({"name": "n", "published": 1}))).await;
    token(&api.get(pending.expect(202).header("location").unwrap()).await);
    for path in ["/", "/health/ready", "/openapi.json", "/nothing"] {
        assert_eq!(api.get(path).await.header(TOKEN), None, "{path}");
    }
}

async fn what_is_no_token_of_this_stream_is_refused(api: Api) {
    let path = format!("/provider/{}", api.provider("n").await);
    let good = token(&api.get(&path).await);
    let text = good.encode();
    let edited = format!("{}{}", &text[..text.len() - 1], if text.ends_with('A') { "B" } else { "A" });
    let other = Api::start_with(Shape::Embedded, |_| {}).await;
    let foreign = token(&other.get("/provider").await).encode();
    let wider = Position { offsets: [&good.offsets[..], &[0]].concat(), ..good.clone() }.encode();
    for bad in ["x", "", edited.as_str(), &text[1..], &foreign, &wider, &"A".repeat(9000)] {
        for (method, path) in [("GET", path.as_str()), ("GET", "/provider"), ("PUT", &path), ("DELETE", &path)] {
            let answer = Answer::of(api.request(method, path).header(TOKEN, bad).json(&json!({"name": "m"}))).await;
            assert_eq!(answer.expect_problem(400, "invalid-request").places(), [TOKEN], "{bad}");
        }
    }
    let twice = api.request("GET", &path).header(TOKEN, &text).header(TOKEN, &text);
    Answer::of(twice).await.expect_problem(400, "invalid-request");
    assert_eq!(api.get(&path).await.expect(200).json["name"], "n", "nothing was written");
}

async fn one_that_is_not_reached_is_a_503(api: Api) {
    let path = format!("/provider/{}", api.provider("n").await);
    let ahead = next(&token(&api.get(&path).await), "provider:x");
    for (method, path) in [("GET", path.as_str()), ("GET", "/provider"), ("PUT", &path)] {
        let request = api.request(method, path).header(TOKEN, ahead.encode()).json(&json!({"name": "m"}));
        let answer = Answer::of(request).await;
        answer.expect_problem(503, "behind");
        assert!(!is_behind(&token(&answer), &ahead), "what the client has seen is not forgotten");
        assert_eq!(answer.json["retry"], if method == "PUT" { json!("safe") } else { json!(null) });
    }
    assert_eq!(api.get(&path).await.expect(200).json["name"], "n", "nothing was written");
}

async fn a_request_waits_until_it_is_reached(api: Api) {
    let id = api.provider("n").await;
    let path = format!("/provider/{id}");
    let ahead = next(&token(&api.get(&path).await), &format!("provider:{id}"));
    let read = get_with(&api, &path, &ahead);
    let write = async {
        // Long enough for a read that does not wait to be answered with the old name.
        System::new().sleep(Duration::from_millis(100)).await;
        api.put(&path, json!({"name": "m"})).await
    };
    let (read, written) = bounded(async { tokio::join!(read, write) }).await;
    written.expect(200);
    assert_eq!(read.expect(200).json["name"], "m");
    assert!(!is_behind(&token(&read), &ahead));
}

async fn tokens_survive_a_restart(mut api: Api) {
    let path = format!("/provider/{}", api.provider("n").await);
    let before = token(&api.put(&path, json!({"name": "m"})).await);
    api.restart().await;
    let answer = get_with(&api, &path, &before).await;
    assert_eq!(answer.expect(200).json["name"], "m");
    assert!(!is_behind(&token(&answer), &before));
}

async fn what_was_written_on_one_gateway_is_read_on_another(shape: Shape) {
    let first = Api::start_with(shape, |_| {}).await;
    let second = first.second().await;
    let mut token = token(&first.get("/provider").await);
    let path = "/provider/p";
    for round in 1..60 {
        let (writes, reads) = if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
        let name = format!("n{round}");
        let body = json!({"name": name, "published": 1});
        let write = writes.request("PUT", path).header(TOKEN, token.encode());
        let write = if round == 1 { write.header("if-none-match", "*") } else { write };
        let written = Answer::of(write.json(&body)).await;
        written.expect(if round == 1 { 201 } else { 200 });
        token.merge(&self::token(&written));
        let read = get_with(reads, path, &token).await;
        assert_eq!(read.expect(200).json["name"], *name, "round {round}");
        token.merge(&self::token(&read));
    }
    Answer::of(first.request("DELETE", path).header(TOKEN, token.encode())).await.expect(204);
}

/// A gateway that starts takes the end of the topic for its position, and there may be records of the stream's own at it.
async fn what_a_later_gateway_gives_an_earlier_one_can_reach(shape: Shape) {
    let first = Api::start_with(shape, |_| {}).await;
    for wanted in [1, 0] {
        let in_partition = |id: &String| partition::of_key(format!("provider:{id}").as_bytes(), 2) == wanted;
        let id = (0..).map(|i| format!("p{i}")).find(in_partition).unwrap();
        first.put_new(&format!("/provider/{id}"), json!({"name": "n", "published": 1})).await.expect(201);
        let mut second = first.second().await;
        let token = token(&second.get("/provider").await);
        get_with(&first, &format!("/provider/{id}"), &token).await.expect(200);
        second.stop().await;
    }
}

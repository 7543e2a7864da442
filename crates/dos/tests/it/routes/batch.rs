//! `POST /T` with `application/x-ndjson`

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Answer, Api, bounded, eventually, matrix};

matrix! {
    rows_are_created_and_merged_and_answered_in_order
    one_bad_row_in_ten_thousand_is_its_own_problem
    of_one_id_the_later_row_wins
    bad_rows_say_why
    what_cannot_be_kept_is_refused
    answers_come_while_rows_are_sent
    what_was_answered_before_the_cut_is_durable
    a_row_that_never_comes_is_not_waited_for(|settings| settings.http.receive_timeout_ms = 300)
}

fn batch(api: &Api, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    api.request("POST", path).header("content-type", "application/x-ndjson").body(body)
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn rows_are_created_and_merged_and_answered_in_order(api: Api) {
    api.put_new("/provider/there", json!({"name": "old", "published": 1, "description": "kept"})).await.expect(201);
    let gone = api.provider("gone").await;
    Answer::of(api.request("DELETE", &format!("/provider/{gone}"))).await.expect(204);
    let created = "2020-01-02T03:04:05Z";
    let rows = [
        json!({"name": "a", "published": true}),
        json!({"id": "there", "name": "new", "published": 1}),
        json!({"id": "there", "published": 1}),
        json!({"id": "other", "name": "b", "published": 0, "created": created, "updated": created}),
        json!({"id": gone, "name": "back", "published": 1}),
    ];
    let body = rows.iter().map(|row| format!("{row}\r\n")).collect::<String>();
    let answer = Answer::of(batch(&api, "/providers?timestamps=keep", body)).await;
    assert_eq!(answer.expect(200).header("content-type"), Some("application/x-ndjson"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("deprecation").is_some(), "the plural path is answered in place");
    let lines = lines(&answer);
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (line["line"].as_u64().unwrap(), line["status"].as_u64().unwrap(), line["changed"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(told, [(1, 201, true), (2, 200, true), (3, 200, false), (4, 201, true), (5, 201, true)]);
    for (line, version) in lines.iter().zip([1, 2, 2, 1, 3]) {
        let path = format!("/provider/{}", line["id"].as_str().unwrap());
        let read = api.get(&path).await;
        assert_eq!((&read.expect(200).json, read.header("etag")), (&line["object"], line["etag"].as_str()));
        assert!(line["etag"].as_str().unwrap().starts_with(&format!("\"{version}-")), "{line}");
        assert_eq!(line["location"], if line["status"] == 201 { json!(path) } else { Value::Null });
    }
    assert_eq!((&lines[1]["object"]["name"], &lines[1]["object"]["description"]), (&json!("new"), &json!("kept")));
    assert_eq!(lines[3]["object"]["created"], json!(created));

    // The same again changes nothing.
    let again = Answer::of(
        batch(&api, "/provider?timestamps=keep", format!("{}\n{}", rows[1], rows[3]))
            .header("prefer", "return=minimal"),
    )
    .await;
    assert_eq!(again.expect(200).header("preference-applied"), Some("return=minimal"));
    for line in self::lines(&again) {
        assert_eq!((&line["status"], &line["changed"], &line["object"]), (&json!(200), &json!(false), &Value::Null));
    }
    let empty = Answer::of(batch(&api, "/provider", "\n\n")).await;
    assert_eq!(empty.expect(200).text, "");
}

async fn one_bad_row_in_ten_thousand_is_its_own_problem(api: Api) {
    let row = |i: usize| {
        if i == 7000 { "{\"option\":\n".to_owned() } else { format!("{{\"id\":\"c{i}\",\"option\":\"o{i}\"}}\n") }
    };
    let body = (1..=10_000).map(row).collect::<String>();
    // In pieces, as a client streams a file.
    let pieces = body
        .into_bytes()
        .chunks(60_000)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect::<Vec<_>>();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let request = batch(&api, "/costoption", body).header("prefer", "return=minimal").timeout(Duration::from_secs(120));
    let answer = Answer::of(request).await;
    let lines = lines(answer.expect(200));
    assert_eq!(lines.len(), 10_000);
    for (i, line) in (1..).zip(&lines) {
        assert_eq!((&line["line"], &line["status"]), (&json!(i), &json!(if i == 7000 { 400 } else { 201 })));
    }
    let problem = &lines[6999]["problem"];
    assert_eq!((&problem["type"], &problem["retry"]), (&json!("/problem/invalid-json"), &json!("no")));
    assert_eq!(api.get("/costoption?limit=1").await.header("x-total-count"), Some("9999"));
}

async fn of_one_id_the_later_row_wins(api: Api) {
    let body = (0..200).map(|i| format!("{{\"id\":\"same\",\"option\":\"o{i}\"}}\n")).collect::<String>();
    let answer = Answer::of(batch(&api, "/costoption", body)).await;
    let lines = lines(answer.expect(200));
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["object"]["option"], json!(format!("o{i}")));
        assert_eq!(line["status"], json!(if i == 0 { 201 } else { 200 }));
    }
    assert_eq!(api.get("/costoption/same").await.json["option"], json!("o199"));
}

async fn bad_rows_say_why(api: Api) {
    api.put_new("/provider/p", json!({"name": "n", "published": 1})).await.expect(201);
    let long = "x".repeat(1 << 20);
    for (row, status, slug, place) in [
        ("[]".to_owned(), 400, "invalid-json", None),
        ("{\"name\":\"a\",\"name\":\"b\"}".to_owned(), 400, "invalid-json", None),
        (format!("{{\"name\":\"{long}\"}}"), 413, "body-too-large", None),
        ("{\"name\":\"n\"}".to_owned(), 422, "invalid-entity", Some("#/published")),
        ("{\"id\":\"new\",\"name\":\"n\"}".to_owned(), 422, "invalid-entity", Some("#/published")),
        ("{\"id\":\"a/b\",\"name\":\"n\",\"published\":1}".to_owned(), 422, "invalid-entity", Some("#/id")),
        ("{\"id\":7,\"name\":\"n\",\"published\":1}".to_owned(), 422, "invalid-entity", Some("#/id")),
        ("{\"id\":\"p\",\"nam\":\"n\"}".to_owned(), 422, "invalid-entity", Some("#/nam")),
    ] {
        let good = "{\"id\":\"p\",\"published\":0}\n";
        let answer = Answer::of(batch(&api, "/provider", format!("{good}{row}\n{good}"))).await;
        let lines = lines(answer.expect(200));
        assert_eq!((lines.len(), &lines[0]["status"], &lines[2]["status"]), (3, &json!(200), &json!(200)), "{slug}");
        let problem = &lines[1]["problem"];
        assert_eq!((&lines[1]["status"], &problem["status"]), (&json!(status), &json!(status)), "{}", lines[1]);
        assert_eq!((&problem["type"], &problem["retry"]), (&json!(format!("/problem/{slug}")), &json!("no")));
        assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"));
        let pointers = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(place.is_none_or(|place| pointers.iter().any(|error| error["pointer"] == place)), "{problem}");
    }
    assert_eq!(api.get("/provider").await.json.as_array().unwrap().len(), 1);
}

async fn what_cannot_be_kept_is_refused(api: Api) {
    let row = "{\"name\":\"n\",\"published\":1}\n";
    for (name, value) in [
        ("if-match", "\"1-a\""),
        ("if-none-match", "*"),
        ("if-unmodified-since", "Tue, 24 Nov 2026 09:30:00 GMT"),
        ("idempotency-key", "0123456789abcdef"),
    ] {
        let answer = Answer::of(batch(&api, "/provider", row).header(name, value)).await;
        assert_eq!(answer.expect_problem(400, "invalid-request").places(), [name]);
        assert_eq!(answer.json["retry"], json!("no"));
    }
    let answer = Answer::of(batch(&api, "/provider", row).header("accept", "application/json")).await;
    answer.expect_problem(406, "not-acceptable");
    let answer = Answer::of(batch(&api, "/provider", row).header("content-encoding", "gzip")).await;
    assert_eq!(answer.expect_problem(415, "unsupported-media-type").header("accept-encoding"), Some("identity"));
    let answer = Answer::of(batch(&api, "/provider?limit=1", row)).await;
    assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["limit"]);
    let put = api.request("PUT", "/provider/p").header("content-type", "application/x-ndjson").body(row);
    Answer::of(put).await.expect_problem(415, "unsupported-media-type");
    assert_eq!(api.get("/provider").await.text, "[]", "nothing was written");
    // There is nothing to tell later: each row has its answer here.
    let answer = Answer::of(batch(&api, "/provider", row).header("prefer", "respond-async, wait=9")).await;
    assert_eq!(answer.expect(200).header("preference-applied"), Some("wait=9"));
    assert_eq!(lines(&answer)[0]["status"], json!(201));
}

async fn answers_come_while_rows_are_sent(api: Api) {
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    let row = |id: &str| send.send(Ok::<_, std::io::Error>(format!("{{\"id\":\"{id}\",\"option\":\"x\"}}\n"))).unwrap();
    let rows = futures_util::stream::unfold(receive, async |mut receive| Some((receive.recv().await?, receive)));
    row("a");
    let response = bounded(batch(&api, "/costoption", reqwest::Body::wrap_stream(rows)).send()).await.unwrap();
    let mut answers = response.bytes_stream();
    for id in ["a", "b", "c"] {
        let line = bounded(answers.next()).await.unwrap().unwrap();
        let line: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&line["id"], &line["status"]), (&json!(id), &json!(201)));
        if id != "c" {
            row(if id == "a" { "b" } else { "c" });
        }
    }
    drop(send);
    assert!(bounded(answers.next()).await.is_none());
}

const HEAD: &str =
    "POST /costoption HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ncontent-length: 100000\r\n\r\n";

async fn what_was_answered_before_the_cut_is_durable(mut api: Api) {
    let mut socket = TcpStream::connect(api.running.as_ref().unwrap().address().unwrap()).await.unwrap();
    let rows = (0..50).map(|i| format!("{{\"id\":\"c{i}\",\"option\":\"x\"}}\n")).collect::<String>();
    socket.write_all(format!("{HEAD}{rows}{{\"id\":\"half\",\"opt").as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while String::from_utf8_lossy(&text).matches("\"status\":201").count() < 50 {
        assert!(bounded(socket.read_buf(&mut text)).await.unwrap() > 0, "{}", String::from_utf8_lossy(&text));
    }
    drop(socket);
    api.restart().await;
    assert_eq!(api.get("/costoption?limit=1").await.header("x-total-count"), Some("50"));
    api.get("/costoption/half").await.expect(404);
}

async fn a_row_that_never_comes_is_not_waited_for(api: Api) {
    let answer = api
        .raw(
            format!(
                "{}{{\"id\":\"a\",\"option\":\"x\"}}\n{{\"id\":",
                HEAD.replace("host: x", "host: x\r\nconnection: close")
            )
            .as_bytes(),
        )
        .await;
    assert_eq!(answer.expect(200).header("content-type"), Some("application/x-ndjson"));
    let told: Vec<Value> =
        answer.text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect();
    assert_eq!(
        (told.len(), &told[0]["status"], &told[1]["status"], &told[1]["line"]),
        (2, &json!(201), &json!(408), &json!(2))
    );
    assert_eq!(told[1]["problem"]["type"], json!("/problem/request-timeout"));
    eventually(async || (api.get("/costoption").await.json.as_array()?.len() == 1).then_some(())).await;
}

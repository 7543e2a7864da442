//! What arrives on a connection besides one good request.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Answer, Api, bounded, matrix};
use dos::settings::Settings;

matrix! {
    an_answer_is_sent_whatever_follows_its_request
    one_host_is_wanted
    doubled_headers_are_not_passed_over
    conditions_that_are_not_offered
    pages_are_bounded_in_bytes
    a_slow_head_is_answered_and_an_idle_connection_closed(impatient)
    a_body_that_was_announced_as_too_large_is_told_so_though_it_never_comes(impatient)
    a_client_that_does_not_read_is_cut_off(impatient)
}

fn impatient(settings: &mut Settings) {
    settings.http.receive_timeout_ms = 300;
}

async fn connect(api: &Api) -> TcpStream {
    TcpStream::connect(api.running.as_ref().unwrap().address().unwrap()).await.unwrap()
}

/// Reads until the text is there.
async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(text) {
        let read = bounded(socket.read_buf(&mut bytes)).await.unwrap();
        assert!(read > 0, "the connection ended; said: {}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

async fn an_answer_is_sent_whatever_follows_its_request(api: Api) {
    let body = r#"{"name":"n","published":1}"#;
    for follows in ["\r\n", "\n", "GET /prov", "GET /provider HTTP/1.1\r\nhost: x\r\n"] {
        let mut socket = connect(&api).await;
        let head = format!(
            "POST /provider HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(format!("{head}{body}{follows}").as_bytes()).await.unwrap();
        let answer = read_until(&mut socket, "\"updated\"").await;
        assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    }
    let mut socket = connect(&api).await;
    let get = "GET /health/alive HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /provider/last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(format!("{}{last}", get.repeat(50)).as_bytes()).await.unwrap();
    let mut all = String::new();
    bounded(socket.read_to_string(&mut all)).await.unwrap();
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 50);
    assert_eq!(all.matches("HTTP/1.1 404 Not Found").count(), 1);
}

async fn one_host_is_wanted(api: Api) {
    for (head, status) in [
        ("GET /provider HTTP/1.1\r\nconnection: close\r\n\r\n", 400),
        ("GET /provider HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n", 400),
        ("GET /provider HTTP/1.0\r\n\r\n", 200),
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 204),
    ] {
        let answer = api.raw(head.as_bytes()).await;
        assert_eq!(answer.status, status, "{head}: {answer:?}");
    }
}

async fn doubled_headers_are_not_passed_over(api: Api) {
    let body = r#"{"name":"n","published":1}"#;
    let json = "content-type: application/json\r\n";
    for (headers, status) in [
        (format!("{json}content-type: text/plain\r\n"), 415),
        (format!("{json}content-encoding: identity\r\ncontent-encoding: gzip\r\n"), 415),
        ("content-type: application/json; charset=utf-8; charset=latin1\r\n".to_owned(), 415),
        (format!("{json}if-none-match: *\r\nif-none-match: \"x\"\r\n"), 400),
        (format!("{json}if-none-match: \"x\"\r\nif-none-match: *\r\n"), 400),
    ] {
        let request = format!(
            "PUT /provider/p HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        let answer = api.raw(request.as_bytes()).await;
        assert_eq!(answer.status, status, "{headers}: {answer:?}");
    }
    api.get("/provider/p").await.expect(404);
}

async fn conditions_that_are_not_offered(api: Api) {
    let id = api.provider("n").await;
    for (method, path, name) in [("GET", "/provider", "if-match"), ("GET", "/openapi.json", "if-unmodified-since")] {
        let answer = Answer::of(api.request(method, path).header(name, "x").json(&json!({}))).await;
        assert_eq!(answer.expect_problem(400, "invalid-request").places(), [name]);
    }
    let known = Answer::of(api.request("GET", &format!("/provider/{id}")).header("authorization", "Bearer x")).await;
    assert_eq!(known.expect(200).header("cache-control"), Some("private, no-cache"));
    let lost = Answer::of(api.request("OPTIONS", "/nothing")).await;
    assert_eq!(lost.expect_problem(404, "not-found").header("cache-control"), Some("no-store"));
    let rejected = api.request("PUT", "/provider/none").header("prefer", "wait=3").json(&json!({"name": "n"}));
    let rejected = Answer::of(rejected).await;
    assert_eq!(rejected.expect_problem(404, "not-found").header("preference-applied"), Some("wait=3"));
}

async fn pages_are_bounded_in_bytes(api: Api) {
    let details = "x".repeat(65_000);
    for i in 0..30 {
        let path = format!("/venue/v{i:02}");
        api.put_new(&path, json!({"name": "n", "address": details, "details": details})).await.expect(201);
    }
    let page = api.get("/venue?limit=200").await;
    assert!(page.expect(200).text.len() < 1 << 20 && page.header("link").is_some());
    let (mut rows, mut path) = (0, Some("/venue?limit=200".to_owned()));
    while let Some(next) = path {
        let page = api.get(&next).await;
        rows += page.expect(200).json.as_array().unwrap().len();
        path = page.header("link").map(|link| link[1..].split('>').next().unwrap().to_owned());
    }
    assert_eq!(rows, 30);
}

async fn a_slow_head_is_answered_and_an_idle_connection_closed(api: Api) {
    let answer = api.raw(b"GET /provider HTTP/1.1\r\nhost: x\r\nx-sl").await;
    assert_eq!((answer.status, &answer.json["type"]), (408, &json!("/problem/request-timeout")));
    let mut socket = connect(&api).await;
    let mut rest = Vec::new();
    bounded(socket.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

async fn a_body_that_was_announced_as_too_large_is_told_so_though_it_never_comes(api: Api) {
    let head =
        "POST /provider HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2000000\r\n\r\n{";
    let answer = api.raw(head.as_bytes()).await;
    assert_eq!(answer.expect_problem(413, "body-too-large").json["retry"], json!("no"));
}

async fn a_client_that_does_not_read_is_cut_off(api: Api) {
    let details = "x".repeat(65_000);
    for i in 0..10 {
        // One each: the server may close one that is kept just when the next request is sent.
        let request = api.request("POST", "/venue").header("connection", "close");
        let row = json!({"name": format!("n{i}"), "address": details, "details": details});
        Answer::of(request.json(&row)).await.expect(201);
    }
    let mut socket = connect(&api).await;
    let get = "GET /venue HTTP/1.1\r\nhost: x\r\n\r\n";
    // Far more answers than any socket buffers; the server stops reading, too.
    let (mut reader, mut writer) = socket.split();
    let asked = 400;
    let _ =
        tokio::time::timeout(std::time::Duration::from_secs(2), writer.write_all(get.repeat(asked).as_bytes())).await;
    // Writing into the connection fails once the server has let go of it.
    let ended = async { while writer.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok() {} };
    bounded(ended).await;
    let mut all = Vec::new();
    let _ = bounded(reader.read_to_end(&mut all)).await;
    assert!(String::from_utf8_lossy(&all).matches("HTTP/1.1 200 OK").count() < asked);
}

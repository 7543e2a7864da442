//! Streams that break off in the middle, from either side.

use std::time::Duration;

use bytes::Bytes;
use contract::Env as _;
use dos::env::System;
use dos::settings::Settings;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Answer, Api, bounded, matrix};

matrix! {
    a_batch_that_ends_before_its_announced_length_has_a_line_for_each_row
    what_was_not_answered_of_a_cut_batch_is_there_whole_or_not_at_all
    who_sends_rows_and_takes_no_answers_is_cut_off(impatient)
    who_takes_nothing_of_a_list_holds_nothing(crowded)
}

fn impatient(settings: &mut Settings) {
    settings.http.receive_timeout_ms = 500;
}

fn crowded(settings: &mut Settings) {
    impatient(settings);
    settings.http.connections_max = 5;
}

async fn connect(api: &Api, path: &str, length: usize) -> TcpStream {
    let mut socket = TcpStream::connect(api.address()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Lines of the answer that came whole; those of its head and of chunked coding are none.
fn lines(text: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect()
}

fn row(number: usize) -> String {
    format!("{{\"id\":\"c{number}\",\"option\":\"o{number}\"}}\n")
}

async fn a_batch_that_ends_before_its_announced_length_has_a_line_for_each_row(api: Api) {
    for last in ["{\"id\":\"half\",\"opt", "{\"id\":\"half\",\"option\":\"x\"}", ""] {
        let mut socket = connect(&api, "/costoption", 100_000).await;
        let rows: String = (0..40).map(row).collect();
        socket.write_all(format!("{rows}{last}").as_bytes()).await.unwrap();
        // It sends no more, and still listens.
        socket.shutdown().await.unwrap();
        let mut text = Vec::new();
        let _ = bounded(socket.read_to_end(&mut text)).await;
        let lines = lines(&text);
        assert_eq!(lines.len(), 41, "{}", String::from_utf8_lossy(&text));
        for (number, line) in lines[..40].iter().enumerate() {
            assert_eq!((&line["line"], &line["id"]), (&json!(number + 1), &json!(format!("c{number}"))));
            assert!([json!(200), json!(201)].contains(&line["status"]), "{line}");
        }
        // A row without the end of its line may be half of one, and is none.
        let problem = &lines[40]["problem"];
        assert_eq!((&lines[40]["line"], &lines[40]["status"]), (&json!(41), &json!(400)), "{last}");
        assert_eq!((&problem["type"], &problem["retry"]), (&json!("/problem/invalid-request"), &json!("no")));
        assert_eq!(api.get("/costoption?limit=1").await.header("x-total-count"), Some("40"));
    }
}

async fn what_was_not_answered_of_a_cut_batch_is_there_whole_or_not_at_all(mut api: Api) {
    const COUNT: usize = 400;
    let rows = (0..COUNT).map(|number| {
        json!({"id": format!("v{number}"), "name": format!("n{number}"), "address": "a".repeat(300), "details": "x"})
            .to_string()
            + "\n"
    });
    let body: String = rows.collect();
    let mut socket = connect(&api, "/venue", body.len() * 2).await;
    socket.write_all(body.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while lines(&text).len() < 20 {
        assert!(bounded(socket.read_buf(&mut text)).await.unwrap() > 0, "{}", String::from_utf8_lossy(&text));
    }
    // Gone in the middle of its rows and of its answers.
    drop(socket);
    let answered = lines(&text);
    for restarted in [false, true] {
        if restarted {
            api.restart().await;
        }
        for line in &answered {
            let read = api.get(&format!("/venue/{}", line["id"].as_str().unwrap())).await;
            assert_eq!((&read.expect(200).json, read.header("etag")), (&line["object"], line["etag"].as_str()));
        }
    }
    // What else was carried out came in the order of the rows, but for those under way at once, and is whole.
    let answer = Answer::of(api.request("GET", "/venue").header("accept", "application/x-ndjson")).await;
    let there: Vec<Value> = answer.expect(200).text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!((answered.len()..=COUNT).contains(&there.len()), "{}", there.len());
    for venue in &there {
        let number: usize = venue["id"].as_str().unwrap()[1..].parse().unwrap();
        assert_eq!((&venue["name"], &venue["details"]), (&json!(format!("n{number}")), &json!("x")));
        assert!(number < there.len() + 128, "{number} is there, of {}", there.len());
    }
    // The same batch again makes the directory what the file says.
    let request = api.request("POST", "/venue").header("content-type", "application/x-ndjson").body(body);
    let again = Answer::of(request).await;
    let created = lines(again.expect(200).text.as_bytes()).iter().filter(|line| line["status"] == 201).count();
    // Those that were under way may have come since.
    assert!((COUNT - 128..=COUNT).contains(&(created + there.len())), "{created} and {}", there.len());
    assert_eq!(api.get("/venue?limit=1").await.header("x-total-count"), Some(COUNT.to_string().as_str()));
}

/// Its answers are far more than sockets and the gateway keep for it.
async fn who_sends_rows_and_takes_no_answers_is_cut_off(api: Api) {
    let details = "x".repeat(60_000);
    let row = |number: usize| {
        json!({"id": "same", "name": number.to_string(), "address": "a", "details": details}).to_string() + "\n"
    };
    let mut socket = connect(&api, "/venue", 1 << 30).await;
    let sending = async {
        let mut sent = 0;
        loop {
            // It is cut off: what it sends is refused.
            if socket.write_all(row(sent).as_bytes()).await.is_err() {
                return sent;
            }
            sent += 1;
        }
    };
    let others = async {
        loop {
            api.get("/provider").await.expect(200);
            api.provider("meanwhile").await;
            System::new().sleep(Duration::from_millis(20)).await;
        }
    };
    let sent = bounded(async {
        tokio::select! {
            sent = sending => sent,
            () = others => unreachable!(),
        }
    })
    .await;
    // The rows under way, the answers that wait, and the buffers of two sockets.
    assert!(sent < 600, "{sent} rows were taken");
    let last: usize = api.get("/venue/same").await.expect(200).json["name"].as_str().unwrap().parse().unwrap();
    assert!(last < sent, "{last} of {sent}");
}

async fn who_takes_nothing_of_a_list_holds_nothing(api: Api) {
    let details = "x".repeat(60_000);
    let rows = (0..120).map(|number| {
        Bytes::from(
            json!({"id": format!("v{number}"), "name": "n", "address": "a", "details": details}).to_string() + "\n",
        )
    });
    let rows = rows.map(Ok::<_, std::io::Error>).collect::<Vec<_>>();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(rows));
    let request = api.request("POST", "/venue").header("content-type", "application/x-ndjson");
    Answer::of(request.header("prefer", "return=minimal").body(body)).await.expect(200);
    let mut sockets = Vec::new();
    for _ in 0..4 {
        let mut socket = TcpStream::connect(api.address()).await.unwrap();
        socket.write_all(b"GET /venue HTTP/1.1\r\nhost: x\r\naccept: application/x-ndjson\r\n\r\n").await.unwrap();
        sockets.push(socket);
    }
    // Writes and compactions go on, and who reads gets all.
    for number in 0..10 {
        api.put(&format!("/venue/v{number}"), json!({"details": "changed"})).await.expect(200);
    }
    let answer = Answer::of(api.request("GET", "/venue").header("accept", "application/x-ndjson")).await;
    assert_eq!(answer.expect(200).text.lines().count(), 120);
    // Their places are free again, with the client's own all that there are.
    let mut others = Vec::new();
    for _ in 0..4 {
        let mut socket = TcpStream::connect(api.address()).await.unwrap();
        socket.write_all(b"GET /provider HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(bounded(socket.read(&mut [0; 100])).await.unwrap() > 0);
        others.push(socket);
    }
    // Each was cut off without its last chunk, so that it cannot take what it has for all there is.
    for mut socket in sockets {
        let mut text = Vec::new();
        let ended = bounded(socket.read_to_end(&mut text)).await;
        assert!(text.starts_with(b"HTTP/1.1 200"), "{ended:?}");
        assert!(!text.ends_with(b"0\r\n\r\n"), "a reader that stood still was waited for");
        assert!(text.len() < 120 * 60_000, "{}", text.len());
    }
    drop(others);
}

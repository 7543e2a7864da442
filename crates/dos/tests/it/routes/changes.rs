//! The change feed: as events on `/T`, `/T/{id}` and `/changes`, and as pages of `/changes`

use std::collections::BTreeMap;
use std::time::Duration;

use contract::Env as _;
use dos::env::System;
use dos::settings::Settings;
use gateway::Position;
use serde_json::{Value, json};

use super::event_stream::{Events, ask};
use crate::harness::{Answer, Api, Shape, bounded, eventually, matrix};

matrix! {
    changes_come_as_they_happen
    who_comes_back_gets_what_changed_since
    a_snapshot_comes_first_where_it_is_asked_for
    a_snapshot_has_nothing_that_was_deleted
    who_cannot_go_on_is_told_to_begin_anew(short)
    what_has_left_memory_is_read_from_the_stream(short)
    who_polls_gets_pages
    malformed_requests_are_refused
    a_list_and_the_feed_from_its_token_are_the_true_state
    streams_are_bounded_and_end_with_the_gateway(few)
    who_never_reads_is_cut_off(few)
}

matrix! {
    shape => who_comes_back_may_go_to_another_gateway
}

fn short(settings: &mut Settings) {
    settings.feed.buffer_bytes = 64 << 10;
    settings.http.read_wait_ms = 500;
}

fn few(settings: &mut Settings) {
    settings.feed.subscribers_max = 2;
    settings.feed.heartbeat_ms = 100;
    settings.feed.buffer_bytes = 256 << 10;
    settings.http.receive_timeout_ms = 500;
}

async fn delete(api: &Api, path: &str) {
    Answer::of(api.request("DELETE", path)).await.expect(204);
}

/// Creates or changes an entity.
async fn put(api: &Api, path: &str, name: &str) {
    let mut body = json!({"name": name});
    if path.starts_with("/provider") {
        body["published"] = json!(1);
    } else if path.starts_with("/venue") {
        body["address"] = json!("a");
    }
    let answer = api.put(path, body.clone()).await;
    if answer.status != 200 {
        api.put_new(path, body).await.expect(201);
    }
}

async fn changes_come_as_they_happen(api: Api) {
    put(&api, "/provider/a", "before").await;
    let mut one = Events::open(&api, "/provider/a").await;
    let mut of_type = Events::open(&api, "/providers").await;
    let mut all = Events::open(&api, "/changes").await;
    let mut venues = Events::open(&api, "/changes?type=venue").await;
    put(&api, "/provider/a", "a1").await;
    put(&api, "/provider/b", "b1").await;
    put(&api, "/venue/a", "v1").await;
    let object = api.get("/provider/a").await.text;
    let event = one.next().await;
    assert_eq!((event.name.as_str(), &event.text), ("view", &object), "the object as GET gives it");
    assert_eq!(of_type.next().await.text, object);
    assert_eq!(of_type.shown().await, "view b1");
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = all.next().await;
        seen.push(format!("{} {}", event.data["@type"].as_str().unwrap(), event.data["name"].as_str().unwrap()));
    }
    seen.sort();
    assert_eq!(seen, ["provider a1", "provider b1", "venue v1"]);
    assert_eq!(venues.shown().await, "view v1");

    delete(&api, "/provider/a").await;
    put(&api, "/provider/a", "anew").await;
    let event = one.next().await;
    assert_eq!((event.name.as_str(), event.text.as_str()), ("deleted", r#"{"id":"a"}"#));
    assert_eq!(one.shown().await, "view anew");
    assert_eq!(all.next().await.data, json!({"@type": "provider", "id": "a"}));

    let head = Answer::of(api.request("HEAD", "/provider/a").header("accept", "text/event-stream")).await;
    assert_eq!(head.expect(200).header("content-type"), Some("text/event-stream"));
}

/// Reads until the latest of each of these entities is as wanted; gives the latest of all that came.
async fn until(events: &mut Events, wanted: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut latest = BTreeMap::new();
    let is_there = |latest: &BTreeMap<String, String>| {
        wanted.iter().all(|(id, name)| latest.get(*id).is_some_and(|latest| latest == name))
    };
    while !is_there(&latest) {
        let event = events.next().await;
        let name = event.data["name"].as_str().unwrap_or("deleted").to_owned();
        latest.insert(event.data["id"].as_str().unwrap().to_owned(), name);
    }
    latest
}

async fn who_comes_back_gets_what_changed_since(mut api: Api) {
    let mut events = Events::open(&api, "/provider").await;
    for name in ["a", "b", "c"] {
        put(&api, &format!("/provider/{name}"), name).await;
    }
    let first = events.next().await;
    let others = [events.next().await, events.next().await];
    // Which of two partitions is read first is not said.
    let has_c = first.data["id"] != "c";
    assert!(others.iter().any(|event| event.data["id"] == "c") == has_c);
    let (first, whole) = (first.id, events.last_id.clone());
    drop(events);
    for restarted in [false, true] {
        put(&api, "/provider/a", &format!("a again {restarted}")).await;
        put(&api, "/provider/d", &format!("d {restarted}")).await;
        put(&api, "/provider/d", &format!("d at last {restarted}")).await;
        if restarted {
            delete(&api, "/provider/b").await;
            api.restart().await;
        }
    }
    put(&api, "/provider/end", "end").await;
    for (since, has_c) in [(&whole, false), (&first, has_c)] {
        for query in [false, true] {
            let mut events = if query {
                Events::open(&api, &format!("/provider?since={since}")).await
            } else {
                Events::resume(&api, "/provider", since).await
            };
            let wanted = [("a", "a again true"), ("b", "deleted"), ("d", "d at last true"), ("end", "end")];
            let latest = until(&mut events, &wanted).await;
            assert_eq!(latest.contains_key("c"), has_c, "{latest:?}");
        }
    }
}

async fn a_snapshot_comes_first_where_it_is_asked_for(api: Api) {
    for name in ["a", "b", "gone"] {
        put(&api, &format!("/provider/{name}"), name).await;
    }
    put(&api, "/provider/a", "a2").await;
    delete(&api, "/provider/gone").await;
    put(&api, "/venue/v", "v").await;
    let mut events = Events::open(&api, "/provider?snapshot=true").await;
    let mut all = Events::open(&api, "/changes?snapshot=true").await;
    let mut one = Events::open(&api, "/provider/a?snapshot=true").await;
    let mut deleted = Events::open(&api, "/provider/gone?snapshot=true").await;
    let mut none = Events::open(&api, "/provider/none?snapshot=true").await;
    until(&mut events, &[("a", "a2"), ("b", "b")]).await;
    while all.next().await.data["@type"] != "venue" {}
    assert_eq!(one.shown().await, "view a2");
    put(&api, "/provider/a", "a3").await;
    put(&api, "/provider/none", "some").await;
    put(&api, "/provider/gone", "anew").await;
    assert_eq!(one.shown().await, "view a3");
    assert_eq!(none.shown().await, "view some");
    let first = deleted.shown().await;
    assert!(first == "view anew" || (first == "deleted gone" && deleted.shown().await == "view anew"), "{first}");
    // What was deleted before it began came with its deletion, or not at all.
    put(&api, "/provider/last", "last").await;
    let latest = until(&mut events, &[("a", "a3"), ("none", "some"), ("gone", "anew"), ("last", "last")]).await;
    assert_eq!(latest.len(), 4, "{latest:?}");
    let mut again = Events::open(&api, "/provider?snapshot=true").await;
    put(&api, "/provider/end", "end").await;
    delete(&api, "/provider/gone").await;
    let wanted = [("a", "a3"), ("b", "b"), ("none", "some"), ("last", "last"), ("gone", "deleted"), ("end", "end")];
    until(&mut again, &wanted).await;
}

/// In a snapshot there is nothing that was deleted before it began, or it is followed by its deletion.
async fn a_snapshot_has_nothing_that_was_deleted(api: Api) {
    let ids = ["a", "b", "c", "d"];
    for id in ids {
        put(&api, &format!("/contact/{id}"), id).await;
        delete(&api, &format!("/contact/{id}")).await;
    }
    for round in 0..5 {
        put(&api, "/contact/e", &format!("e{round}")).await;
        put(&api, "/contact/f", &format!("f{round}")).await;
    }
    let mut events = Events::open(&api, "/contact?snapshot=true").await;
    put(&api, "/contact/g", "g").await;
    put(&api, "/contact/h", "h").await;
    let latest = until(&mut events, &[("e", "e4"), ("f", "f4"), ("g", "g"), ("h", "h")]).await;
    let ghosts: Vec<_> = ids.iter().filter(|id| latest.get(**id).is_some_and(|name| name != "deleted")).collect();
    // Each partition comes in its order, so what lies before the last two has been told.
    assert!(ghosts.is_empty(), "{latest:?}");
}

async fn who_cannot_go_on_is_told_to_begin_anew(api: Api) {
    put(&api, "/provider/a", "a").await;
    let events = Events::open(&api, "/provider").await;
    let here = Position::decode(&events.last_id).unwrap();
    let beyond = Position { offsets: here.offsets.iter().map(|offset| offset + 1000).collect(), ..here.clone() };
    let all = [
        Position { cluster: [7; 8], ..here.clone() },
        Position { offsets: vec![0; 7], ..here.clone() },
        Position { hour: here.hour - 169, ..here.clone() },
        beyond,
    ];
    for (i, unknown) in all.iter().enumerate() {
        let unknown = unknown.encode();
        let mut events = Events::resume(&api, "/provider", &unknown).await;
        let reset = events.next().await;
        assert_eq!((reset.name.as_str(), reset.text.as_str()), ("reset", "{}"));
        put(&api, "/provider/b", &format!("b{i}")).await;
        assert_eq!(events.shown().await, format!("view b{i}"), "it goes on from here");
        let mut snapshot = Events::open(&api, &format!("/provider?snapshot=true&since={unknown}")).await;
        assert_eq!(snapshot.next().await.name, "reset");
        until(&mut snapshot, &[("a", "a"), ("b", &format!("b{i}"))]).await;
        let poll = api.get(&format!("/changes?since={unknown}")).await;
        poll.expect_problem(410, "position-expired");
    }
    let recent = Position { hour: here.hour - 167, ..here }.encode();
    let mut events = Events::resume(&api, "/provider", &recent).await;
    put(&api, "/provider/a", "a2").await;
    bounded(async { while events.shown().await != "view a2" {} }).await;
}

async fn what_has_left_memory_is_read_from_the_stream(api: Api) {
    let begin = Events::open(&api, "/changes").await.last_id;
    let (mut expected, details) = (BTreeMap::new(), "x".repeat(3000));
    for round in 0..3 {
        for i in 0..40 {
            let (path, name) = (format!("/venue/v{i}"), format!("{round}.{i}"));
            let body = json!({"name": name, "address": "a", "details": details});
            match round {
                0 => api.put_new(&path, body).await.expect(201),
                _ => api.put(&path, body).await.expect(200),
            };
            expected.insert(format!("v{i}"), Value::from(name));
        }
    }
    delete(&api, "/venue/v7").await;
    expected.insert("v7".to_owned(), Value::Null);
    let mut events = Events::resume(&api, "/venue", &begin).await;
    let mut seen = BTreeMap::new();
    bounded(async {
        while seen != expected {
            let event = events.next().await;
            seen.insert(event.data["id"].as_str().unwrap().to_owned(), event.data["name"].clone());
        }
    })
    .await;
    let (mut polled, mut next) = (BTreeMap::new(), format!("/changes?limit=30&since={begin}"));
    loop {
        let page = api.get(&next).await;
        let rows = page.expect(200).json.as_array().unwrap();
        for row in rows {
            polled.insert(row["id"].as_str().unwrap().to_owned(), row["object"]["name"].clone());
        }
        if rows.is_empty() {
            break;
        }
        next = follow(&page);
    }
    assert_eq!(polled, expected);
    put(&api, "/provider/p", "live").await;
    let mut all = Events::resume(&api, "/changes", &begin).await;
    bounded(async { while all.shown().await != "view live" {} }).await;
}

fn follow(page: &Answer) -> String {
    let link = page.header("link").unwrap_or_else(|| panic!("{page:?}"));
    let (url, rest) = link[1..].split_once('>').unwrap();
    assert_eq!(rest, "; rel=\"next\"");
    url.to_owned()
}

async fn who_polls_gets_pages(api: Api) {
    let first = api.get("/changes?limit=2").await;
    assert_eq!((first.expect(200).json.clone(), first.header("cache-control")), (json!([]), Some("no-cache")));
    put(&api, "/provider/a", "a").await;
    put(&api, "/venue/v", "v").await;
    put(&api, "/provider/a", "a2").await;
    delete(&api, "/provider/a").await;
    put(&api, "/provider/b", "b").await;
    let (mut rows, mut next) = (Vec::new(), follow(&first));
    loop {
        let page = api.get(&next).await;
        let page_rows = page.expect(200).json.as_array().unwrap().clone();
        assert!(page_rows.len() <= 2);
        assert!(follow(&page).starts_with("/changes?limit=2&since="));
        if page_rows.is_empty() {
            break;
        }
        rows.extend(page_rows);
        next = follow(&page);
    }
    let of = |id: &str| rows.iter().filter(|row| row["id"] == id).cloned().collect::<Vec<_>>();
    let deleted = json!({"type": "provider", "id": "a", "version": 3, "deleted": true, "object": null});
    assert_eq!(of("a").last(), Some(&deleted));
    assert!(of("a").is_sorted_by_key(|row| row["version"].as_u64()));
    let b = api.get("/provider/b").await.json;
    assert_eq!(of("b"), [json!({"type": "provider", "id": "b", "version": 1, "deleted": false, "object": b})]);
    let venues = api.get(&format!("{}&type=venue", follow(&first))).await;
    assert_eq!(venues.expect(200).json[0]["id"], "v");
    assert!(follow(&venues).contains("&type=venue&since="));
    // A list's token is a position too.
    let list = api.get("/provider").await;
    let from = format!("/changes?since={}", list.header("consistency-token").unwrap());
    assert_eq!(api.get(&from).await.expect(200).json, json!([]));
    put(&api, "/provider/c", "c").await;
    assert_eq!(api.get(&from).await.json[0]["id"], "c");
}

async fn malformed_requests_are_refused(api: Api) {
    for (path, place) in [
        ("/changes?limit=0", "limit"),
        ("/changes?limit=201", "limit"),
        ("/changes?limit=+1", "limit"),
        ("/changes?type=providers", "type"),
        ("/changes?since=x", "since"),
        ("/changes?since=", "since"),
        ("/changes?snapshot=true", "snapshot"),
        ("/changes?cursor=x", "cursor"),
    ] {
        assert_eq!(api.get(path).await.expect_problem(400, "invalid-request").places(), [place], "{path}");
    }
    for (path, place) in [
        ("/changes?limit=1", "limit"),
        ("/changes?type=x", "type"),
        ("/provider?type=provider", "type"),
        ("/provider?since=x", "since"),
        ("/provider?snapshot=yes", "snapshot"),
        ("/provider/a?limit=1", "limit"),
    ] {
        let answer = Answer::of(ask(&api, path)).await;
        assert_eq!(answer.expect_problem(400, "invalid-request").places(), [place], "{path}");
    }
    let answer = Answer::of(ask(&api, "/provider").header("last-event-id", "x")).await;
    assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["last-event-id"]);
    Answer::of(ask(&api, "/provider/a%20b")).await.expect_problem(404, "not-found");
    Answer::of(api.request("GET", "/changes").header("accept", "text/html"))
        .await
        .expect_problem(406, "not-acceptable");
    let post = api.post("/changes", json!({})).await;
    assert_eq!(post.expect_problem(405, "method-not-allowed").header("allow"), Some("GET, HEAD, OPTIONS"));
    Events::of(ask(&api, "/provider").header("last-event-id", "")).await;
}

async fn a_list_and_the_feed_from_its_token_are_the_true_state(api: Api) {
    let writes = async {
        for i in 0..150 {
            let path = format!("/costoption/c{}", i % 12);
            if i % 5 == 4 {
                Answer::of(api.request("DELETE", &path)).await;
                continue;
            }
            let body = json!({"option": i.to_string()});
            let answer = api.put(&path, body.clone()).await;
            if answer.status != 200 {
                api.put_new(&path, body).await.expect(201);
            }
        }
    };
    let lists = async {
        let mut taken = Vec::new();
        for _ in 0..8 {
            let list = api.get("/costoption?limit=200").await;
            let rows = list.expect(200).json.as_array().unwrap().iter();
            let rows: BTreeMap<String, Value> =
                rows.map(|row| (row["id"].as_str().unwrap().to_owned(), row.clone())).collect();
            taken.push((rows, list.header("consistency-token").unwrap().to_owned()));
            System::new().sleep(Duration::from_millis(20)).await;
        }
        taken
    };
    let ((), taken) = tokio::join!(writes, lists);
    let end = api.get("/costoption?limit=200").await;
    let truth: Vec<Value> = end.json.as_array().unwrap().clone();
    let by_id: BTreeMap<String, Value> =
        truth.into_iter().map(|row| (row["id"].as_str().unwrap().to_owned(), row)).collect();
    for (mut rows, token) in taken {
        let mut next = format!("/changes?limit=200&type=costoption&since={token}");
        loop {
            let page = api.get(&next).await;
            let changes = page.expect(200).json.as_array().unwrap();
            if changes.is_empty() {
                break;
            }
            for change in changes {
                let id = change["id"].as_str().unwrap().to_owned();
                match change["deleted"].as_bool().unwrap() {
                    true => rows.remove(&id),
                    false => rows.insert(id, change["object"].clone()),
                };
            }
            next = follow(&page);
        }
        assert_eq!(rows, by_id);
    }
}

async fn streams_are_bounded_and_end_with_the_gateway(mut api: Api) {
    let mut first = Events::open(&api, "/provider").await;
    let mut second = Events::open(&api, "/changes").await;
    let refused = Answer::of(ask(&api, "/provider/a")).await;
    refused.expect_problem(503, "overloaded");
    api.get("/changes").await.expect(200);
    bounded(async {
        while first.heartbeats < 2 {
            let waited = tokio::time::timeout(Duration::from_millis(50), first.try_next()).await;
            assert!(waited.is_err(), "nothing happened");
        }
    })
    .await;
    drop(second);
    let response =
        eventually(async || Some(ask(&api, "/provider/a").send().await.unwrap()).filter(|r| r.status() == 200));
    second = Events::read_from(response.await).await;
    let last_id = second.last_id.clone();
    api.stop().await;
    assert!(bounded(first.try_next()).await.is_none() && bounded(second.try_next()).await.is_none());
    assert!(Position::decode(&last_id).is_some());
}

async fn who_never_reads_is_cut_off(api: Api) {
    let mut socket = tokio::net::TcpStream::connect(api.address()).await.unwrap();
    let request = b"GET /venue HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut socket, request).await.unwrap();
    let mut live = Events::open(&api, "/venue").await;
    let details = "x".repeat(60_000);
    // More than sockets and buffers hold.
    for i in 0..120 {
        let body = json!({"name": "n", "address": details, "details": details});
        api.put_new(&format!("/venue/v{i}"), body).await.expect(201);
        live.next().await;
    }
    // Its place is free again.
    let open = async || Some(ask(&api, "/venue").send().await.unwrap()).filter(|response| response.status() == 200);
    let next = eventually(open).await;
    Answer::of(ask(&api, "/venue")).await.expect_problem(503, "overloaded");
    drop((next, live));
}

async fn who_comes_back_may_go_to_another_gateway(shape: Shape) {
    let first = Api::start_with(shape, |_| {}).await;
    let second = first.second().await;
    let mut events = Events::open(&first, "/provider").await;
    for round in 0..20 {
        let (api, other) = if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
        let name = format!("n{round}");
        put(api, "/provider/a", &name).await;
        assert_eq!(events.shown().await, format!("view {name}"));
        let last_id = events.last_id.clone();
        put(other, "/provider/b", &name).await;
        events = Events::resume(other, "/provider", &last_id).await;
        assert_eq!(events.shown().await, format!("view {name}"));
    }
}

//! `GET /T` with filters, orders and ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use contract::{EntityId, ListQuery, Registry, Sort, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Answer, Api, matrix};
use crate::random::Random;

matrix! {
    filters_orders_and_ids_find_what_they_should
    everything_that_is_wrong_is_named_at_once
    a_cursor_is_good_for_its_own_list_only
    a_page_that_is_as_it_was_is_not_sent_again
    any_list_is_what_the_contract_says_of_each_row
    while_rows_change_none_comes_twice_and_none_is_missed
    a_stream_has_all_that_fits
    a_stream_outlasts_writes_and_a_reader_that_takes_its_time
}

/// Follows `rel="next"` to the end; every page tells the same number of all.
async fn walk(api: &Api, mut path: String) -> (Vec<Value>, u64) {
    let (mut rows, mut totals) = (Vec::new(), BTreeSet::new());
    loop {
        let answer = api.get(&path).await;
        rows.extend(answer.expect(200).json.as_array().unwrap().iter().cloned());
        totals.insert(answer.header("x-total-count").unwrap().parse::<u64>().unwrap());
        let Some(link) = answer.header("link") else { break };
        let target = link.strip_suffix(">; rel=\"next\"").unwrap();
        path = target.strip_prefix('<').unwrap().to_owned();
    }
    assert_eq!(totals.len(), 1, "{totals:?}");
    (rows, totals.first().copied().unwrap())
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["id"].as_str().unwrap()).collect()
}

async fn put(api: &Api, id: &str, mut fields: Value, created: &str, updated: &str) {
    fields["created"] = created.into();
    fields["updated"] = updated.into();
    api.put_new(&format!("/service/{id}?timestamps=keep"), fields).await.expect(201);
}

async fn filters_orders_and_ids_find_what_they_should(api: Api) {
    let rows = [
        ("a", json!({"name": "Food Bank", "published": 1, "provider_id": "p1", "taxonomy_ids": ["t1", "t2"]}), 3, 1),
        ("b", json!({"name": "food bank", "published": 0, "provider_id": "p2", "taxonomy_ids": ["t2"]}), 2, 4),
        ("c", json!({"name": "Z, & more", "published": 1, "flagged": true, "provider_id": "p1"}), 1, 5),
        ("d", json!({"name": "\u{e9}t\u{e9}", "published": true, "taxonomy_ids": ["t3", "t1"]}), 5, 2),
        ("e", json!({"name": "", "published": 1, "provider_id": "p2"}), 4, 3),
        ("f", json!({"name": "\u{c9}T\u{c9}", "published": 0, "provider_id": "p3"}), 4, 3),
    ];
    let day = |day: u8| format!("2026-01-{day:02}T00:00:00Z");
    for (id, fields, created, updated) in rows {
        put(&api, id, fields, &day(created), &day(updated)).await;
    }
    for (query, expected) in [
        ("", "c b a e f d"),
        ("sort=created", "c b a e f d"),
        ("sort=-created", "d f e a b c"),
        ("sort=updated", "a d e f b c"),
        ("sort=-updated", "c b f e d a"),
        // Without case, and what has no name is last both ways.
        ("sort=name", "a b c d f e"),
        ("sort=-name", "f d c b a e"),
        ("published=1", "c a e d"),
        ("published=true", "c a e d"),
        ("published=0&published=1", "c b a e f d"),
        ("flagged=true", "c"),
        ("flagged=false", "b a e f d"),
        ("flagged=", ""),
        ("provider_id=p1", "c a"),
        ("provider_id=p1&provider_id=p3", "c a f"),
        ("provider_id=", "d"),
        ("provider_id=p1&provider_id=", "c a d"),
        ("provider_id=nobody", ""),
        ("taxonomy_ids=t1", "a d"),
        ("taxonomy_ids=t1&taxonomy_ids=t2", "b a d"),
        ("taxonomy_ids=", "c e f"),
        ("taxonomy_ids=t2&published=1", "a"),
        ("provider_id=p1&published=1&flagged=true", "c"),
        // A filter by the label is by the whole of it, as it is written.
        ("name=Food%20Bank", "a"),
        ("name=Food+Bank&name=food+bank", "b a"),
        ("name=Z,+%26+more", "c"),
        ("name=", "e"),
        ("name=%C3%A9t%C3%A9", "d"),
        ("modified_after=2026-01-03T00:00:00Z", "c b"),
        ("modified_after=2026-01-03T00:59:59.999%2B01:00", "c b e f"),
        ("modified_after=2026-01-03T00:00:00Z&published=0", "b"),
        ("modified_after=2027-01-01T00:00:00Z", ""),
        ("published=1&sort=-name", "d c a e"),
        ("published=1&sort=-updated", "c e d a"),
        ("ids=d,nobody,a", "d a"),
        ("ids=d&ids=a,f", "d a f"),
        ("ids=d,a,f,e&sort=-name", "d a f e"),
        ("ids=f,b,e,a&published=0", "f b"),
        ("ids=a,b&modified_after=2026-01-03T00:00:00Z", "b"),
    ] {
        for limit in ["", "limit=1", "limit=2"] {
            let (rows, total) = walk(&api, format!("/service?{query}&{limit}")).await;
            assert_eq!(ids(&rows).join(" "), expected, "{query} {limit}");
            assert_eq!(total, rows.len() as u64, "{query} {limit}");
        }
    }
    // Deleted is not listed, and created anew it is.
    Answer::of(api.request("DELETE", "/service/a")).await.expect(204);
    assert_eq!(ids(&walk(&api, "/service?provider_id=p1".to_owned()).await.0), ["c"]);
    assert_eq!(ids(&walk(&api, "/service?ids=a,c".to_owned()).await.0), ["c"]);
    put(&api, "a", json!({"name": "new", "published": 1, "provider_id": "p1"}), &day(9), &day(9)).await;
    assert_eq!(ids(&walk(&api, "/service?provider_id=p1".to_owned()).await.0), ["c", "a"]);
    // The 1.0.x path lists the same, and its next page is the successor's.
    let answer = api.get("/services?published=1&limit=1&sort=name").await;
    assert!(
        answer.headers("link").iter().any(|link| link.starts_with("</service?published=1&sort=name&limit=1&cursor="))
    );
    // The label of another type, and its alias.
    api.put_new("/taxonomy/x", json!({"term": "Advice"})).await.expect(201);
    assert_eq!(ids(&walk(&api, "/taxonomy?sort=-name".to_owned()).await.0), ["x"]);
}

async fn everything_that_is_wrong_is_named_at_once(api: Api) {
    let bad = "limit=0&cursor=x&ids=a%20b&modified_after=yesterday&sort=age&flagged=yes&colour=red&published=2";
    let answer = api.get(&format!("/service?{bad}")).await;
    let expected = ["limit", "cursor", "ids", "modified_after", "sort", "flagged", "colour", "published"];
    assert_eq!(answer.expect_problem(400, "invalid-request").places()[..8], expected, "{answer:?}");
    let known = "known here: limit, cursor, ids, modified_after, sort, name, published, provider_id";
    assert!(answer.text.contains(known), "{answer:?}");
    // What has no `x-filter` is none.
    assert_eq!(
        api.get("/service?description=x").await.expect_problem(400, "invalid-request").places(),
        ["description"]
    );
    for bad in ["2026", "2026-02-30T00:00:00Z", "2026-01-01", "1700000000", "2026-01-01T00:00:00+01:00", ""] {
        let answer = api.get(&format!("/service?modified_after={bad}")).await;
        assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["modified_after"], "{bad}");
    }
    for bad in ["name,created", "--name", "+name", "", "description"] {
        let answer = api.get(&format!("/service?sort={bad}")).await;
        assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["sort"], "{bad}");
    }
    let too_many = format!("ids={}", (0..201).map(|number| number.to_string()).collect::<Vec<_>>().join(","));
    for bad in ["ids=", "ids=a,,b", "ids=a&ids=a", "ids=a/b", &too_many] {
        let answer = api.get(&format!("/service?{bad}")).await;
        assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["ids"], "{bad}");
    }
    // Filters without end: of one field, of unknown ones, and more than a URI holds.
    let filters = |count: usize, name: fn(usize) -> String| (0..count).map(name).collect::<Vec<_>>().join("&");
    let answer = api.get(&format!("/service?{}", filters(300, |n| format!("provider_id=p{n}")))).await;
    assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["provider_id"]);
    let answer = api.get(&format!("/service?{}", filters(500, |n| format!("x{n}=1")))).await;
    let detail = answer.expect_problem(400, "invalid-request").json["detail"].as_str().unwrap().to_owned();
    assert!(answer.places().len() == 100 && detail.contains("499 more"), "{detail}");
    let many = filters(10_000, |n| format!("f{}=", n % 10));
    api.get(&format!("/service?{many}")).await.expect_problem(414, "uri-too-long");
    let more = filters(10_000, |_| "published=1".to_owned());
    let request = format!("GET /service?{more} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(api.raw(request.as_bytes()).await.status, 414);
    // A name of 255 characters may be asked for, one that no filter finds may not.
    api.get(&format!("/service?name={}", "x".repeat(255))).await.expect(200);
    let answer = api.get(&format!("/service?name={}", "x".repeat(256))).await;
    assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["name"]);
}

async fn a_cursor_is_good_for_its_own_list_only(api: Api) {
    for id in ["a", "b", "c"] {
        let fields = json!({"name": format!("n{id}"), "published": 1, "provider_id": "p"});
        api.put_new(&format!("/service/{id}"), fields).await.expect(201);
    }
    let cursor = async |query: &str| {
        let answer = api.get(&format!("/service?limit=1&{query}")).await;
        let link = answer.expect(200).header("link").unwrap();
        link.split("cursor=").nth(1).unwrap().split('>').next().unwrap().to_owned()
    };
    let queries = [
        "",
        "published=1",
        "published=1&provider_id=p",
        "sort=name",
        "sort=-name",
        "sort=updated",
        "ids=b,a,c",
        "modified_after=2000-01-01T00:00:00Z",
    ];
    for one in queries {
        let cursor = cursor(one).await;
        for other in queries {
            let answer = api.get(&format!("/service?{other}&cursor={cursor}")).await;
            if one == other {
                assert_eq!(answer.expect(200).json.as_array().unwrap().len(), 2, "{one}");
            } else {
                assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["cursor"], "{one} {other}");
            }
        }
        for at in [0, 5, cursor.len() / 2, cursor.len() - 1] {
            let mut edited = cursor.clone().into_bytes();
            edited[at] = if edited[at] == b'A' { b'B' } else { b'A' };
            let edited = String::from_utf8(edited).unwrap();
            let answer = api.get(&format!("/service?{one}&cursor={edited}")).await;
            assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["cursor"], "{one} {at}");
        }
    }
    // The page may have another size, and the filters another order.
    let cursor = cursor("provider_id=p&published=1").await;
    let answer = api.get(&format!("/service?published=true&provider_id=p&limit=2&cursor={cursor}")).await;
    assert_eq!(answer.expect(200).json.as_array().unwrap().len(), 2);
}

async fn a_page_that_is_as_it_was_is_not_sent_again(api: Api) {
    for id in ["a", "b", "c"] {
        api.put_new(&format!("/venue/{id}"), json!({"name": id, "address": "x"})).await.expect(201);
    }
    let path = "/venue?sort=name&limit=2";
    let etag = async |path: &str| api.get(path).await.expect(200).header("etag").unwrap().to_owned();
    let known = async |path: &str, etag: &str| {
        let answer = Answer::of(api.request("GET", path).header("if-none-match", etag)).await;
        assert_eq!(answer.header("etag").map(|tag| tag.starts_with("W/\"")), Some(true), "{answer:?}");
        if answer.status == 304 {
            assert_eq!((answer.text.as_str(), answer.header("cache-control")), ("", Some("no-cache")));
            assert_eq!(answer.header("etag"), Some(etag.split(", ").last().unwrap()));
        }
        answer.status
    };
    let mut last = etag(path).await;
    assert_eq!(last, etag(path).await);
    assert_eq!(known(path, &last).await, 304);
    assert_eq!(known(path, &format!("\"x\", {last}")).await, 304);
    assert_eq!(known(path, "W/\"0\"").await, 200);
    let head = Answer::of(api.request("HEAD", path).header("if-none-match", &last)).await;
    assert_eq!(head.status, 304);
    // A row changes, one comes elsewhere, one goes elsewhere, the order changes.
    let change = async |number: usize| match number {
        0 => api.put("/venue/a", json!({"address": "y"})).await,
        1 => api.put_new("/venue/z", json!({"name": "z", "address": "x"})).await,
        2 => Answer::of(api.request("DELETE", "/venue/z")).await,
        3 => api.put("/venue/b", json!({"name": "0"})).await,
        _ => Answer::of(api.request("DELETE", "/venue/c")).await,
    };
    for number in 0..5 {
        let changed = change(number).await;
        assert!(changed.status < 300, "{changed:?}");
        assert_eq!(known(path, &last).await, 200, "change {number}");
        last = etag(path).await;
        assert_eq!(known(path, &last).await, 304);
    }
    // Another page, and an empty list.
    assert_ne!(etag("/venue?sort=name&limit=1").await, etag("/venue?sort=-name&limit=1").await);
    let empty = etag("/eligibility").await;
    assert_eq!(known("/eligibility", &empty).await, 304);
}

const NAMES: [&str; 6] = ["alpha", "ALPHA", "Beta", "", "\u{c9}t\u{e9}", "zeta"];

fn any_fields(random: &mut Random) -> Value {
    let list: Vec<_> = ["t1", "t2", "t3"].into_iter().filter(|_| random.below(3) == 0).collect();
    json!({
        "name": NAMES[random.below(NAMES.len())],
        "published": random.below(2),
        "provider_id": ([Value::Null, "p1".into(), "p2".into()])[random.below(3)],
        "taxonomy_ids": list,
        "flagged": random.below(2) == 0,
    })
}

/// A list, and its query as a client writes it.
fn any_query(random: &mut Random) -> (ListQuery, String) {
    let mut query = ListQuery { limit: 3 + random.below(20), ..ListQuery::default() };
    let mut parameters = vec![format!("limit={}", query.limit)];
    for (name, of) in [
        ("name", &NAMES[..]),
        ("published", &["0", "1"]),
        ("provider_id", &["p1", "p2", "", "p9"]),
        ("taxonomy_ids", &["t1", "t2", ""]),
        ("flagged", &["true", "false"]),
    ] {
        for _ in 0..random.below(12).saturating_sub(8) {
            let value = of[random.below(of.len())];
            query.filter.entry(name.to_owned()).or_default().push(value.to_owned());
            parameters.push(format!("{name}={}", value.replace('\u{c9}', "%C3%89").replace('\u{e9}', "%C3%A9")));
        }
    }
    if random.below(4) == 0 {
        let after = format!("2026-01-01T00:00:{:02}Z", random.below(60));
        query.modified_after = Timestamp::parse(&after);
        parameters.push(format!("modified_after={after}"));
    }
    if random.below(5) == 0 {
        let asked: Vec<_> = (0..8).map(|number| format!("s{}", (number * 7 + random.below(7)) % 60)).collect();
        parameters.push(format!("ids={}", asked.join(",")));
        query.ids = Some(asked.iter().map(|id| EntityId::parse(id).unwrap()).collect());
    } else {
        let sort = ["created", "-created", "updated", "-updated", "name", "-name"][random.below(6)];
        query.sort = Sort::parse(sort).unwrap();
        parameters.push(format!("sort={sort}"));
    }
    (query, parameters.join("&"))
}

async fn any_list_is_what_the_contract_says_of_each_row(api: Api) {
    let registry = Registry::built_in().unwrap();
    let entity_type = registry.get("service").unwrap();
    let (mut random, mut model) = (Random::new(7, 1), BTreeMap::new());
    for round in 0..3 {
        for number in 0..60 {
            let (id, fields) = (format!("s{number}"), any_fields(&mut random));
            let time = |random: &mut Random| format!("2026-01-01T00:00:{:02}Z", random.below(60));
            if round == 0 {
                let (created, updated) = (time(&mut random), time(&mut random));
                put(&api, &id, fields.clone(), &created, &updated).await;
                model.insert(id, (fields, created, updated));
            } else if random.below(4) == 0
                && let Some((old, _, updated)) = model.get_mut(&id)
            {
                let mut body = fields.clone();
                *updated = time(&mut random);
                body["updated"] = updated.clone().into();
                api.put(&format!("/service/{id}?timestamps=keep"), body).await.expect(200);
                *old = fields;
            } else if random.below(15) == 0 && model.remove(&id).is_some() {
                Answer::of(api.request("DELETE", &format!("/service/{id}"))).await.expect(204);
            }
        }
        for _ in 0..25 {
            let (query, parameters) = any_query(&mut random);
            let mut expected = Vec::new();
            for (id, (fields, created, updated)) in &model {
                let fields = fields.as_object().unwrap();
                let time = |text: &str| Timestamp::parse(text).unwrap();
                let id = EntityId::parse(id).unwrap();
                let place = query.ids.as_ref().map(|ids| ids.iter().position(|asked| *asked == id));
                if place != Some(None) && query.matches(entity_type, fields, time(updated)) {
                    let times = (time(created), time(updated));
                    expected.push((place, query.position(entity_type, fields, times, id)));
                }
            }
            expected.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| query.sort.compare(a.1.as_ref(), b.1.as_ref())));
            let expected: Vec<_> = expected.iter().map(|(_, position)| position.id.as_str()).collect();
            let (rows, total) = walk(&api, format!("/service?{parameters}")).await;
            assert_eq!(ids(&rows), expected, "{parameters}");
            assert_eq!(total, expected.len() as u64, "{parameters}");
        }
    }
}

async fn while_rows_change_none_comes_twice_and_none_is_missed(api: Api) {
    let fields = |published: u8| json!({"name": "n", "published": published, "provider_id": "p"});
    for number in 0..40 {
        api.put_new(&format!("/service/s{number}"), fields(1)).await.expect(201);
        api.put_new(&format!("/service/x{number}"), fields(u8::from(number % 2 == 0))).await.expect(201);
    }
    let done = AtomicBool::new(false);
    // Those that are not touched again once they are there.
    let whole: Mutex<BTreeSet<String>> = Mutex::new((0..40).map(|number| format!("s{number}")).collect());
    let writers = (0..4).map(|writer| {
        let (api, done, whole) = (&api, &done, &whole);
        async move {
            let mut random = Random::new(3, writer);
            for turn in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                if turn % 8 == 0 {
                    let id = format!("s{writer}-{turn}");
                    api.put_new(&format!("/service/{id}"), fields(1)).await.expect(201);
                    whole.lock().unwrap().insert(id);
                }
                let number = random.below(10) * 4 + usize::try_from(writer).unwrap();
                let answer = match random.below(6) {
                    // It changes, and goes on to fit.
                    0..3 => api.put(&format!("/service/s{number}"), json!({"name": random.next().to_string()})).await,
                    3 => api.put(&format!("/service/x{number}"), json!({"published": random.below(2)})).await,
                    4 => Answer::of(api.request("DELETE", &format!("/service/x{number}"))).await,
                    _ => {
                        api.put_new(
                            &format!("/service/x{number}"),
                            json!({"name": "n", "published": 1, "provider_id": "p"}),
                        )
                        .await
                    }
                };
                assert!([200, 201, 204, 410, 412].contains(&answer.status), "{answer:?}");
            }
        }
    });
    let reader = async {
        for round in 0..12 {
            let sort = if round % 2 == 0 { "created" } else { "-created" };
            // Lists of whole types are another way through the views than those with filters.
            let filters = if round % 4 < 2 { "provider_id=p&published=1&" } else { "" };
            let mut path = format!("/service?{filters}limit={}&sort={sort}", 7 + round);
            let (mut seen, mut last) = (Vec::new(), None);
            let begun = whole.lock().unwrap().clone();
            loop {
                let answer = api.get(&path).await;
                for row in answer.expect(200).json.as_array().unwrap() {
                    let fits = (&row["published"], &row["provider_id"]) == (&json!(1), &json!("p"));
                    assert!(fits || filters.is_empty(), "it does not fit");
                    let place = (row["created"].as_str().map(Timestamp::parse), row["id"].as_str().unwrap().to_owned());
                    let order = last.as_ref().map(|last| place.cmp(last));
                    let expected = if round % 2 == 0 { std::cmp::Ordering::Greater } else { std::cmp::Ordering::Less };
                    assert!(order.is_none_or(|order| order == expected), "{place:?} behind {last:?}");
                    seen.push(place.1.clone());
                    last = Some(place);
                }
                let Some(link) = answer.header("link") else { break };
                path = link.strip_prefix('<').unwrap().split('>').next().unwrap().to_owned();
            }
            let stable: Vec<_> = seen.iter().filter(|id| id.starts_with('s')).collect();
            let once: BTreeSet<_> = stable.iter().copied().collect();
            assert_eq!(once.len(), stable.len(), "a row came twice");
            let missed: Vec<_> = begun.iter().filter(|id| !once.contains(id)).collect();
            assert!(missed.is_empty(), "{missed:?} were missed");
        }
        done.store(true, Ordering::Relaxed);
    };
    futures_util::future::join(futures_util::future::join_all(writers), reader).await;
    let (rows, total) = walk(&api, "/service?provider_id=p&published=1".to_owned()).await;
    assert_eq!(total, rows.len() as u64);
}

async fn stream(api: &Api, path: &str) -> Answer {
    Answer::of(api.request("GET", path).header("accept", "application/x-ndjson")).await
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn a_stream_has_all_that_fits(api: Api) {
    for number in 0..230 {
        let fields = json!({"name": format!("n{}\nx", number % 7), "published": number % 2});
        api.put_new(&format!("/service/s{number}"), fields).await.expect(201);
    }
    for (query, count) in [("", 230), ("published=1", 115), ("published=1&sort=-name", 115), ("ids=s9,s3,none,s7", 3)] {
        let (rows, _) = walk(&api, format!("/service?{query}")).await;
        let answer = stream(&api, &format!("/service?{query}")).await;
        assert_eq!(answer.expect(200).header("content-type"), Some("application/x-ndjson"), "{answer:?}");
        assert_eq!(answer.header("x-total-count"), Some(count.to_string().as_str()));
        assert_eq!((answer.header("cache-control"), answer.header("link")), (Some("no-cache"), None));
        assert!(answer.text.ends_with("}\n") && rows.len() == count);
        assert_eq!(lines(&answer), rows, "{query}");
    }
    let answer = stream(&api, "/service?published=0&name=nobody").await;
    assert_eq!((answer.expect(200).text.as_str(), answer.header("x-total-count")), ("", Some("0")));
    let answer = stream(&api, "/service?limit=7").await;
    assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["limit"]);
    let answer = stream(&api, "/service?colour=red&limit=7").await;
    assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["colour", "limit"]);
    let head = Answer::of(api.request("HEAD", "/service").header("accept", "application/x-ndjson")).await;
    assert_eq!(head.expect(200).header("content-type"), Some("application/x-ndjson"));
    // Only who asks for it gets it.
    for accept in ["application/json", "*/*", "application/*", "text/html, application/json;q=0.1"] {
        let answer = Answer::of(api.request("GET", "/service").header("accept", accept)).await;
        assert_eq!(answer.expect(200).header("content-type"), Some("application/json"), "{accept}");
    }
    let answer = Answer::of(api.request("GET", "/service").header("accept", "text/csv")).await;
    answer.expect_problem(406, "not-acceptable");
}

/// The rows are far more than sockets hold, so that most of them are sent after they changed.
async fn a_stream_outlasts_writes_and_a_reader_that_takes_its_time(api: Api) {
    const COUNT: usize = 320;
    let text = "x".repeat(60_000);
    for number in 0..COUNT {
        let fields = json!({"name": "before", "published": 1, "description": text});
        api.put_new(&format!("/service/s{number:03}"), fields).await.expect(201);
    }
    let request = api.request("GET", "/service?published=1").header("accept", "application/x-ndjson");
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut bytes = response.chunk().await.unwrap().unwrap().to_vec();
    // The last ones change while nobody reads.
    for number in COUNT - 20..COUNT {
        api.put(&format!("/service/s{number:03}"), json!({"name": "after"})).await.expect(200);
    }
    while let Some(chunk) = response.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    let rows: Vec<Value> =
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected: Vec<_> = (0..COUNT).map(|number| format!("s{number:03}")).collect();
    assert_eq!(ids(&rows), expected);
    assert_eq!(rows[0]["name"], "before");
    assert!(rows[COUNT - 20..].iter().all(|row| row["name"] == "after"), "a row is as of its sending");
}

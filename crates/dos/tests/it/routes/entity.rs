//! `/T/{id}`

use serde_json::{Value, json};

use crate::harness::{Answer, Api, eventually, matrix};

matrix! {
    what_is_not_there_is_404
    a_create_clears_a_not_found
    put_merges
    put_that_changes_nothing_makes_no_version
    put_with_if_none_match_creates_once
    put_checks_the_id
    times_are_kept_where_asked
    validators_spare_the_body
    no_cache_asks_the_data_store
    concurrent_updates_are_all_applied
    head_and_options
    everything_is_there_after_a_restart
}

async fn what_is_not_there_is_404(api: Api) {
    for _ in 0..2 {
        let answer = api.get("/provider/none").await;
        assert_eq!(answer.expect_problem(404, "not-found").header("cache-control"), Some("no-cache"));
    }
    let answer = api.put("/provider/none", json!({"name": "n"})).await;
    assert_eq!(answer.expect_problem(404, "not-found").json["retry"], json!("no"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

async fn a_create_clears_a_not_found(api: Api) {
    api.get("/provider/p").await.expect(404);
    api.put_new("/provider/p", json!({"name": "n", "published": 0})).await.expect(201);
    api.get("/provider/p").await.expect(200);
}

async fn put_merges(api: Api) {
    let created = api.post("/provider", json!({"name": "n", "published": 0, "description": "d"})).await;
    let path = created.header("location").unwrap().to_owned();
    let answer = api.put(&path, json!({"name": "m"})).await;
    assert_eq!(answer.expect(200).json["name"], json!("m"));
    assert_eq!(answer.json["description"], json!("d"));
    assert_eq!(answer.header("content-location"), Some(path.as_str()));
    assert!(answer.header("etag").unwrap().starts_with("\"2-"));
    assert_eq!(answer.json["created"], created.json["created"]);
    assert!(answer.json["updated"].as_str() > created.json["updated"].as_str());
    let answer = api.put(&path, json!({"description": null})).await;
    assert_eq!(answer.expect(200).json["description"], Value::Null);
    let read = api.get(&path).await;
    assert_eq!((read.text.as_str(), read.header("etag")), (answer.text.as_str(), answer.header("etag")));
    // What GET gave can be PUT back.
    let again = api.put(&path, read.json.clone()).await;
    assert_eq!((again.expect(200).text.as_str(), again.header("etag")), (read.text.as_str(), read.header("etag")));
}

async fn put_that_changes_nothing_makes_no_version(api: Api) {
    let id = api.provider("n").await;
    let path = format!("/provider/{id}");
    let before = api.get(&path).await;
    for body in [json!({}), json!({"name": "n"}), json!({"description": null, "flagged": false, "published": true})] {
        let answer = api.put(&path, body).await;
        assert_eq!(answer.expect(200).header("etag"), before.header("etag"));
        assert_eq!(answer.text, before.text);
    }
}

async fn put_with_if_none_match_creates_once(api: Api) {
    let path = "/venue/5f3b1c7e9d2a44.12345678";
    let answer = api.put_new(path, json!({"name": "n", "address": "a"})).await;
    assert_eq!(answer.expect(201).header("location"), Some(path));
    let again = api.put_new(path, json!({"name": "m", "address": "a"})).await;
    assert_eq!(again.expect_problem(412, "precondition-failed").json["retry"], json!("no"));
    assert_eq!(api.get(path).await.text, answer.text);
    let incomplete = api.put_new("/venue/v2", json!({"name": "n"})).await;
    assert_eq!(incomplete.expect_problem(422, "invalid-entity").places(), ["#/address"]);
    api.get("/venue/v2").await.expect(404);
}

async fn put_checks_the_id(api: Api) {
    let id = api.provider("n").await;
    let path = format!("/provider/{id}");
    api.put(&path, json!({"id": id, "name": "m"})).await.expect(200);
    for wrong in [json!("other"), json!(7), Value::Null] {
        let answer = api.put(&path, json!({"id": wrong})).await;
        assert_eq!(answer.expect_problem(422, "invalid-entity").places(), ["#/id"]);
    }
    let answer = api.post("/provider", json!({"id": "x", "name": "n", "published": 1})).await;
    let answer = answer.expect_problem(422, "invalid-entity");
    assert!(answer.text.contains("PUT with If-None-Match: *"), "{answer:?}");
}

async fn times_are_kept_where_asked(api: Api) {
    let row = json!({"option": "free", "created": "1965-04-29T00:00:00Z", "updated": "2023-04-04T01:00:00+01:00"});
    let answer = api.put_new("/costoption/c?timestamps=keep", row.clone()).await;
    assert_eq!(answer.expect(201).json["created"], json!("1965-04-29T00:00:00Z"));
    assert_eq!(answer.json["updated"], json!("2023-04-04T00:00:00Z"));
    let same = api.put("/costoption/c?timestamps=keep", row).await;
    assert_eq!(same.expect(200).header("etag"), answer.header("etag"));
    let ignored = api.put("/costoption/c", json!({"created": "2000-01-01T00:00:00Z"})).await;
    assert_eq!(ignored.expect(200).header("etag"), answer.header("etag"));
    let changed = api.put("/costoption/c", json!({"option": "dear"})).await;
    assert_eq!(changed.json["created"], json!("1965-04-29T00:00:00Z"));
    assert!(changed.json["updated"].as_str() > Some("2026"));
    let bad = api.put("/costoption/c?timestamps=keep", json!({"updated": "yesterday"})).await;
    assert_eq!(bad.expect_problem(422, "invalid-entity").places(), ["#/updated"]);
    let bad = api.put("/costoption/c?timestamps=drop", json!({})).await;
    assert_eq!(bad.expect_problem(400, "invalid-request").places(), ["timestamps"]);
}

async fn validators_spare_the_body(api: Api) {
    let id = api.provider("n").await;
    let path = format!("/provider/{id}");
    let etag = api.get(&path).await.header("etag").unwrap().to_owned();
    let with = |name: &str, value: &str| Answer::of(api.request("GET", &path).header(name, value));
    for fits in [etag.clone(), format!("\"x\", {etag}"), format!("W/{etag}"), "*".to_owned()] {
        let answer = with("if-none-match", &fits).await;
        assert_eq!(answer.expect(304).header("etag"), Some(etag.as_str()), "{fits}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("vary"), Some("Accept, Authorization"));
        assert_eq!(answer.text, "");
    }
    for other in ["\"x\"", "x", &etag.replace('1', "2")] {
        with("if-none-match", other).await.expect(200);
    }
    // `Last-Modified` comes once its second is over.
    let modified = eventually(async || api.get(&path).await.header("last-modified").map(str::to_owned)).await;
    with("if-modified-since", &modified).await.expect(304);
    with("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT").await.expect(200);
    with("if-modified-since", "no date").await.expect(200);
    let both = api.request("GET", &path).header("if-modified-since", &modified).header("if-none-match", "\"x\"");
    Answer::of(both).await.expect(200);
}

async fn no_cache_asks_the_data_store(api: Api) {
    let id = api.provider("n").await;
    let path = format!("/provider/{id}");
    let plain = api.get(&path).await;
    let asked = Answer::of(api.request("GET", &path).header("cache-control", "max-age=0, no-cache")).await;
    assert_eq!((asked.expect(200).text.as_str(), asked.header("etag")), (plain.text.as_str(), plain.header("etag")));
    let none = Answer::of(api.request("GET", "/provider/none").header("cache-control", "no-cache")).await;
    none.expect_problem(404, "not-found");
    let known = api
        .request("GET", &path)
        .header("cache-control", "no-cache")
        .header("if-none-match", plain.header("etag").unwrap());
    Answer::of(known).await.expect(304);
}

async fn concurrent_updates_are_all_applied(api: Api) {
    let id = api.provider("n").await;
    let path = format!("/provider/{id}");
    let fields = ["name", "description", "venue_id", "contact_id"];
    let updates = (0..40).map(|i| api.put(&path, json!({ fields[i % 4]: format!("v{i}") })));
    let answers = futures_util::future::join_all(updates).await;
    let mut versions: Vec<u64> = answers.iter().map(|a| version(a.expect(200))).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=41).collect::<Vec<_>>());
    assert_eq!(version(&api.get(&path).await), 41);
}

fn version(answer: &Answer) -> u64 {
    answer.header("etag").unwrap().trim_start_matches('"').split('-').next().unwrap().parse().unwrap()
}

async fn head_and_options(api: Api) {
    let id = api.provider("n").await;
    let path = format!("/provider/{id}");
    let get = api.get(&path).await;
    let head = Answer::of(api.request("HEAD", &path)).await;
    assert_eq!(head.expect(200).text, "");
    for name in ["content-length", "etag", "content-type", "cache-control"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    Answer::of(api.request("HEAD", "/provider/none")).await.expect(404);
    let options = Answer::of(api.request("OPTIONS", &path)).await;
    assert_eq!(options.expect(204).header("allow"), Some("GET, HEAD, PUT, PATCH, DELETE, OPTIONS"));
    for method in ["POST", "TRACE"] {
        let answer = Answer::of(api.request(method, &path)).await;
        assert_eq!(
            answer.expect_problem(405, "method-not-allowed").header("allow"),
            Some("GET, HEAD, PUT, PATCH, DELETE, OPTIONS")
        );
    }
}

async fn everything_is_there_after_a_restart(mut api: Api) {
    let id = api.provider("n").await;
    let path = format!("/provider/{id}");
    let changed = api.put(&path, json!({"name": "m"})).await;
    for _ in 0..2 {
        api.restart().await;
        let read = api.get(&path).await;
        assert_eq!(
            (read.expect(200).text.as_str(), read.header("etag")),
            (changed.text.as_str(), changed.header("etag"))
        );
        assert_eq!(api.get("/provider").await.header("x-total-count"), Some("1"));
    }
    assert!(version(&api.put(&path, json!({"name": "o"})).await) == 3);
}

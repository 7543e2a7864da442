//! `/T`

use serde_json::{Value, json};

use crate::harness::{Answer, Api, matrix};

matrix! {
    an_empty_list_is_an_empty_array
    pages_cover_the_list_once_oldest_first
    a_full_last_page_has_no_next
    parameters_are_checked
    post_creates_and_gives_the_full_object
    post_takes_other_spellings
    head_and_options
    the_plural_paths_of_1_0_still_work
}

async fn an_empty_list_is_an_empty_array(api: Api) {
    let answer = api.get("/eligibility").await;
    assert_eq!(answer.expect(200).text, "[]");
    assert_eq!(answer.header("x-total-count"), Some("0"));
    assert_eq!(answer.header("link"), None);
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("vary"), Some("Accept, Authorization, Accept-Encoding"));
}

/// Follows `rel="next"` to the end.
async fn walk(api: &Api, mut path: String) -> Vec<Value> {
    let mut rows = Vec::new();
    loop {
        let answer = api.get(&path).await;
        rows.extend(answer.expect(200).json.as_array().unwrap().iter().cloned());
        let Some(link) = answer.header("link") else { return rows };
        let target = link.strip_suffix(">; rel=\"next\"").unwrap();
        path = target.strip_prefix('<').unwrap().to_owned();
    }
}

async fn pages_cover_the_list_once_oldest_first(api: Api) {
    let mut made = Vec::new();
    for i in 0..7 {
        // Two share their time, so that the id has to decide; the order of creation is not the list's.
        let created = format!("2020-01-0{}T00:00:00Z", 1 + (i * 3) % 6);
        let path = format!("/costoption/c{i}?timestamps=keep");
        api.put_new(&path, json!({"option": "x", "created": created})).await.expect(201);
        made.push((created, format!("c{i}")));
    }
    made.sort();
    for limit in [1, 2, 3, 7, 200] {
        let rows = walk(&api, format!("/costoption?limit={limit}")).await;
        let seen: Vec<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(seen, made.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>(), "limit {limit}");
    }
    assert_eq!(api.get("/costoption?limit=2").await.header("x-total-count"), Some("7"));
}

async fn a_full_last_page_has_no_next(api: Api) {
    for id in ["a", "b"] {
        api.put_new(&format!("/costoption/{id}"), json!({"option": "x"})).await.expect(201);
    }
    assert_eq!(api.get("/costoption?limit=2").await.expect(200).header("link"), None);
}

async fn parameters_are_checked(api: Api) {
    api.put_new("/costoption/a", json!({"option": "x"})).await.expect(201);
    api.put_new("/costoption/b", json!({"option": "x"})).await.expect(201);
    let page = api.get("/costoption?limit=1").await;
    let link = page.header("link").unwrap();
    let cursor = link.split("cursor=").nth(1).unwrap().split('>').next().unwrap().to_owned();
    for bad in ["limit=0", "limit=201", "limit=x", "limit=-1", "limit=", "limit=1&limit=2"] {
        let answer = api.get(&format!("/costoption?{bad}")).await;
        assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["limit"], "{bad}");
    }
    let answer = api.get("/costoption?colour=red&limit=3").await;
    assert!(answer.expect_problem(400, "invalid-request").text.contains("known here: limit, cursor"), "{answer:?}");
    let answer = api.get(&format!("/provider?cursor={cursor}")).await;
    assert!(answer.expect_problem(400, "invalid-request").text.contains("belongs to another list"), "{answer:?}");
    for bad in ["", "AAAA", "%00", &format!("{cursor}A"), &cursor[..cursor.len() - 2]] {
        let answer = api.get(&format!("/costoption?cursor={bad}")).await;
        assert_eq!(answer.expect_problem(400, "invalid-request").places(), ["cursor"], "{bad}");
    }
    let row = api.get(&format!("/costoption?cursor={cursor}")).await;
    assert_eq!(row.expect(200).json.as_array().unwrap().len(), 1);
}

async fn post_creates_and_gives_the_full_object(api: Api) {
    let body = json!({"name": "Citizens Advice\n\u{a0}“Hackney” £5", "published": 1, "flagged": null});
    let answer = api.post("/service", body).await;
    let id = answer.expect(201).json["id"].as_str().unwrap().to_owned();
    let path = format!("/service/{id}");
    assert_eq!(answer.header("location"), Some(path.as_str()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("etag").unwrap().starts_with("\"1-"));
    let fields: Vec<_> = answer.json.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "id name published description provider_id event_id contact_id eligibility_id costoption_id taxonomy_ids \
                    flagged created updated";
    assert_eq!(fields.join(" "), expected);
    assert_eq!(answer.json["description"], Value::Null);
    assert_eq!(answer.json["taxonomy_ids"], json!([]));
    assert_eq!(answer.json["flagged"], json!(false));
    assert_eq!(answer.json["created"], answer.json["updated"]);
    let read = api.get(&path).await;
    assert_eq!(read.expect(200).text, answer.text);
    assert_eq!(read.header("etag"), answer.header("etag"));
    assert_eq!(api.get("/service").await.json, json!([answer.json]));
}

async fn post_takes_other_spellings(api: Api) {
    let answer = api.post("/service", json!({"name": "n", "published": true, "desc": "d", "updated": "never"})).await;
    assert_eq!(answer.expect(201).json["published"], json!(1));
    assert_eq!(answer.json["description"], json!("d"));
    assert_eq!(answer.json.get("desc"), None);
    let answer = api.post("/taxonomy", json!({"name": "Advice"})).await;
    assert_eq!(answer.expect(201).json["term"], json!("Advice"));
}

async fn head_and_options(api: Api) {
    api.provider("Ada").await;
    let get = api.get("/provider").await;
    let head = Answer::of(api.request("HEAD", "/provider")).await;
    assert_eq!(head.expect(200).text, "");
    for name in ["content-length", "x-total-count", "content-type", "cache-control"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let options = Answer::of(api.request("OPTIONS", "/provider")).await;
    assert_eq!(options.expect(204).header("allow"), Some("GET, HEAD, POST, OPTIONS"));
    for method in ["PUT", "PATCH", "DELETE", "BREW"] {
        let answer = Answer::of(api.request(method, "/provider")).await;
        let answer = answer.expect_problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, POST, OPTIONS"));
    }
}

async fn the_plural_paths_of_1_0_still_work(api: Api) {
    let answer = api.post("/services", json!({"name": "n", "published": 1, "desc": "d"})).await;
    let id = answer.expect(201).json["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location").unwrap(), format!("/service/{id}"));
    let answer = api.put(&format!("/services/{id}"), json!({"desc": "e"})).await;
    assert_eq!(answer.expect(200).header("content-location").unwrap(), format!("/service/{id}"));
    for (path, successor) in
        [("/services".to_owned(), "/service".to_owned()), (format!("/services/{id}"), format!("/service/{id}"))]
    {
        let answer = api.get(&path).await;
        assert!(answer.expect(200).header("deprecation").unwrap().starts_with('@'));
        assert!(
            answer.headers("link").contains(&format!("<{successor}>; rel=\"successor-version\"").as_str()),
            "{answer:?}"
        );
    }
    let answer = api.get(&format!("/service/{id}")).await;
    assert_eq!((answer.header("deprecation"), answer.header("link")), (None, None));
    for plural in ["providers", "events", "venues", "contacts", "costoptions", "eligibilities"] {
        api.get(&format!("/{plural}")).await.expect(200);
    }
    api.get("/taxonomies").await.expect_problem(404, "not-found");
}

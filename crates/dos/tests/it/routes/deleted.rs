//! `DELETE /T/{id}`, and what becomes of the path

use serde_json::json;

use crate::harness::{Answer, Api, eventually, matrix};

matrix! {
    what_was_deleted_is_gone_for_ever
    a_put_with_if_none_match_creates_it_anew
    lists_lack_what_was_deleted
    a_delete_is_an_operation_too
    what_is_not_there_cannot_be_deleted
}

async fn delete(api: &Api, path: &str) -> Answer {
    Answer::of(api.request("DELETE", path)).await
}

async fn what_was_deleted_is_gone_for_ever(mut api: Api) {
    let path = format!("/provider/{}", api.provider("n").await);
    let etag = api.get(&path).await.header("etag").unwrap().to_owned();
    let deleted = delete(&api, &path).await;
    assert_eq!((deleted.expect(204).text.as_str(), deleted.header("cache-control")), ("", Some("no-store")));
    assert_eq!((deleted.header("content-type"), deleted.header("etag")), (None, None));
    for restarted in [false, true] {
        if restarted {
            api.restart().await;
        }
        for _ in 0..2 {
            let read = api.get(&path).await;
            assert_eq!(read.expect_problem(410, "gone").header("cache-control"), Some("no-cache"));
            assert_eq!((read.header("etag"), read.header("last-modified")), (None, None));
            let asked = Answer::of(api.request("GET", &path).header("cache-control", "no-cache")).await;
            assert_eq!(asked.expect_problem(410, "gone").json["detail"], read.json["detail"]);
        }
        Answer::of(api.request("GET", &path).header("if-none-match", &etag)).await.expect_problem(410, "gone");
        Answer::of(api.request("HEAD", &path)).await.expect(410);
        assert_eq!(delete(&api, &path).await.expect_problem(410, "gone").json["retry"], json!("no"));
        api.put(&path, json!({"name": "m"})).await.expect_problem(410, "gone");
        let patch = api.request("PATCH", &path).header("content-type", "application/merge-patch+json").body("{}");
        Answer::of(patch).await.expect_problem(410, "gone");
        let conditional = api.request("DELETE", &path).header("if-match", &etag);
        Answer::of(conditional).await.expect_problem(410, "gone");
    }
    let plural = path.replace("/provider/", "/providers/");
    assert!(api.get(&plural).await.expect_problem(410, "gone").header("deprecation").is_some());
}

async fn a_put_with_if_none_match_creates_it_anew(mut api: Api) {
    let path = "/venue/v";
    api.put_new(path, json!({"name": "n", "address": "a", "details": "d"})).await.expect(201);
    delete(&api, path).await.expect(204);
    let incomplete = api.put_new(path, json!({"name": "n"})).await;
    assert_eq!(incomplete.expect_problem(422, "invalid-entity").places(), ["#/address"]);
    api.get(path).await.expect_problem(410, "gone");
    let anew = api.put_new(path, json!({"name": "n", "address": "b"})).await;
    assert!(anew.expect(201).header("etag").unwrap().starts_with("\"3-"), "{anew:?}");
    assert_eq!(anew.json["details"], json!(null));
    assert_eq!(api.get(path).await.expect(200).text, anew.text);
    api.put_new(path, json!({"name": "n", "address": "b"})).await.expect_problem(412, "precondition-failed");
    delete(&api, path).await.expect(204);
    api.restart().await;
    api.get(path).await.expect_problem(410, "gone");
}

async fn lists_lack_what_was_deleted(api: Api) {
    for id in ["a", "b", "c"] {
        api.put_new(&format!("/provider/{id}"), json!({"name": id, "published": 1})).await.expect(201);
    }
    delete(&api, "/provider/b").await.expect(204);
    let list = api.get("/provider").await;
    let ids: Vec<_> = list.expect(200).json.as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!((ids, list.header("x-total-count")), (vec![json!("a"), json!("c")], Some("2")));
    api.put_new("/provider/b", json!({"name": "b", "published": 1})).await.expect(201);
    let list = api.get("/provider").await;
    let ids: Vec<_> = list.json.as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, [json!("a"), json!("c"), json!("b")]);
}

async fn a_delete_is_an_operation_too(api: Api) {
    let path = format!("/provider/{}", api.provider("n").await);
    let accepted = Answer::of(api.request("DELETE", &path).header("prefer", "respond-async")).await;
    let operation = accepted.expect(202).header("location").unwrap().to_owned();
    let ended = eventually(async || {
        let answer = api.get(&operation).await;
        (answer.expect(200).json["status"] != json!("pending")).then_some(answer)
    });
    assert_eq!(ended.await.json["status"], json!("succeeded"));
    api.get(&path).await.expect_problem(410, "gone");
}

async fn what_is_not_there_cannot_be_deleted(api: Api) {
    assert_eq!(delete(&api, "/provider/none").await.expect_problem(404, "not-found").json["retry"], json!("no"));
    delete(&api, "/provider/no%20id").await.expect_problem(404, "not-found");
    let unknown = delete(&api, "/provider/none?force=1").await;
    assert_eq!(unknown.expect_problem(400, "invalid-request").places(), ["force"]);
    delete(&api, "/provider").await.expect_problem(405, "method-not-allowed");
    api.get("/provider/none").await.expect_problem(404, "not-found");
}

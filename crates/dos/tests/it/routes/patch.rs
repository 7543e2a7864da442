//! `PATCH /T/{id}` and `Prefer: return=`

use serde_json::{Value, json};

use crate::harness::{Answer, Api, matrix};

matrix! {
    patch_merges
    patch_takes_merge_patches_only
    a_patch_that_changes_nothing_makes_no_version
    what_is_returned_can_be_chosen
}

async fn patch(api: &Api, path: &str, body: Value) -> Answer {
    let request = api.request("PATCH", path).header("content-type", "application/merge-patch+json");
    Answer::of(request.body(body.to_string())).await
}

async fn patch_merges(api: Api) {
    let path = "/provider/p";
    api.put_new(path, json!({"name": "n", "published": 0, "description": "d"})).await.expect(201);
    let answer = patch(&api, path, json!({"name": "m", "description": null, "flagged": true})).await;
    assert_eq!(answer.expect(200).json["name"], json!("m"));
    assert_eq!((&answer.json["description"], &answer.json["published"]), (&Value::Null, &json!(0)));
    assert_eq!(answer.header("content-location"), Some(path));
    assert!(answer.header("etag").unwrap().starts_with("\"2-"));
    let read = api.get(path).await;
    assert_eq!((&read.text, read.header("etag")), (&answer.text, answer.header("etag")));
    patch(&api, "/provider/none", json!({"name": "m"})).await.expect_problem(404, "not-found");
    let bad = patch(&api, path, json!({"nam": "x", "published": 7})).await;
    assert_eq!(bad.expect_problem(422, "invalid-entity").places().len(), 2);
    let bad = patch(&api, path, json!({"id": "other"})).await;
    assert_eq!(bad.expect_problem(422, "invalid-entity").places(), ["#/id"]);
    patch(&api, path, json!([])).await.expect_problem(400, "invalid-json");
    assert_eq!(api.get(path).await.text, read.text);
}

async fn patch_takes_merge_patches_only(api: Api) {
    let path = format!("/provider/{}", api.provider("n").await);
    for media_type in ["application/json", "application/json-patch+json", "text/plain"] {
        let request = api.request("PATCH", &path).header("content-type", media_type).body("{\"name\":\"m\"}");
        let answer = Answer::of(request).await;
        let answer = answer.expect_problem(415, "unsupported-media-type");
        assert_eq!(answer.header("accept-patch"), Some("application/merge-patch+json"));
    }
    let options = Answer::of(api.request("OPTIONS", &path)).await;
    assert_eq!(options.expect(204).header("accept-patch"), Some("application/merge-patch+json"));
    assert_eq!(options.header("allow"), Some("GET, HEAD, PUT, PATCH, DELETE, OPTIONS"));
    let all = Answer::of(api.request("PATCH", "/provider")).await;
    assert_eq!(all.expect_problem(405, "method-not-allowed").header("allow"), Some("GET, HEAD, POST, OPTIONS"));
    let with_charset =
        api.request("PATCH", &path).header("content-type", "application/merge-patch+json; charset=utf-8");
    Answer::of(with_charset.body("{}")).await.expect(200);
}

async fn a_patch_that_changes_nothing_makes_no_version(api: Api) {
    let path = format!("/provider/{}", api.provider("n").await);
    let before = api.get(&path).await;
    let answer = patch(&api, &path, json!({"name": "n", "description": null})).await;
    assert_eq!((&answer.expect(200).text, answer.header("etag")), (&before.text, before.header("etag")));
}

async fn what_is_returned_can_be_chosen(api: Api) {
    let post = api.request("POST", "/provider").header("prefer", "return=minimal, wait=9");
    let created = Answer::of(post.json(&json!({"name": "n", "published": 1}))).await;
    assert_eq!(created.expect(201).text, "");
    assert_eq!(created.header("preference-applied"), Some("wait=9, return=minimal"));
    assert_eq!((created.header("content-type"), created.header("content-location")), (None, None));
    let path = created.header("location").unwrap();
    assert_eq!(api.get(path).await.header("etag"), created.header("etag"));
    let put = api.request("PUT", path).header("prefer", "return=minimal").json(&json!({"name": "m"}));
    let changed = Answer::of(put).await;
    assert_eq!((changed.expect(204).text.as_str(), changed.header("location")), ("", None));
    let read = api.get(path).await;
    assert_eq!((read.header("etag"), &read.json["name"]), (changed.header("etag"), &json!("m")));
    let put = api.request("PUT", path).header("prefer", "return=representation").json(&json!({"name": "o"}));
    let changed = Answer::of(put).await;
    assert_eq!(changed.expect(200).json["name"], json!("o"));
    assert_eq!(changed.header("preference-applied"), Some("return=representation"));
    let bad = api.request("PUT", path).header("prefer", "return=minimal").json(&json!({"name": 7}));
    assert_eq!(Answer::of(bad).await.expect_problem(422, "invalid-entity").header("preference-applied"), None);
}

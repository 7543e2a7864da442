//! Conditions of writes and reads [RFC 9110 13]

use serde_json::json;

use crate::harness::{Answer, Api, eventually, matrix};

const LONG_AGO: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
const FAR_AWAY: &str = "Fri, 01 Jan 2100 00:00:00 GMT";

matrix! {
    writes_go_ahead_only_where_their_conditions_hold
    one_of_two_that_change_the_same_version_wins
    reads_are_held_against_conditions_in_order
    conditions_of_a_post_are_held_against_the_collection
}

async fn write(api: &Api, method: &str, path: &str, conditions: &[(&str, &str)], body: &str) -> Answer {
    let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let mut request = api.request(method, path).header("content-type", media_type).body(body.to_owned());
    for (name, value) in conditions {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

async fn writes_go_ahead_only_where_their_conditions_hold(api: Api) {
    let path = format!("/provider/{}", api.provider("n").await);
    let etag = api.get(&path).await.header("etag").unwrap().to_owned();
    let (weak, listed) = (format!("W/{etag}"), format!("\"x\", {etag}"));
    let fails: [&[(&str, &str)]; 9] = [
        &[("if-match", "\"1-0\"")],
        &[("if-match", &weak)],
        &[("if-match", "")],
        &[("if-none-match", &etag)],
        &[("if-none-match", &weak)],
        &[("if-unmodified-since", LONG_AGO)],
        &[("if-match", "\"x\""), ("if-unmodified-since", FAR_AWAY)],
        &[("if-match", &etag), ("if-none-match", "*")],
        &[("if-none-match", "\"x\""), ("if-none-match", &etag)],
    ];
    for conditions in fails {
        for method in ["PUT", "PATCH", "DELETE"] {
            let answer = write(&api, method, &path, conditions, r#"{"name":"m","published":1}"#).await;
            let answer = answer.expect_problem(412, "precondition-failed");
            assert_eq!(answer.json["retry"], json!("no"), "{method} {conditions:?}");
            assert_eq!(api.get(&path).await.header("etag"), Some(etag.as_str()));
        }
        // What is not there is not there, whatever the conditions are.
        write(&api, "PATCH", "/provider/none", conditions, "{}").await.expect_problem(404, "not-found");
    }
    let holds: [&[(&str, &str)]; 6] = [
        &[("if-match", &etag)],
        &[("if-match", &listed)],
        &[("if-match", "*")],
        &[("if-none-match", "\"x\", W/\"y\"")],
        &[("if-unmodified-since", FAR_AWAY)],
        &[("if-match", &etag), ("if-unmodified-since", LONG_AGO)],
    ];
    for conditions in holds {
        for method in ["PUT", "PATCH"] {
            write(&api, method, &path, conditions, "{}").await.expect(200);
        }
    }
    // The condition comes before the body is looked at in the data store, and after it is here.
    write(&api, "PUT", &path, &[("if-match", "\"x\"")], r#"{"nam":1}"#).await.expect_problem(422, "invalid-entity");
    write(&api, "DELETE", &path, &[("if-match", &etag)], "").await.expect(204);
    api.get(&path).await.expect_problem(410, "gone");
}

async fn one_of_two_that_change_the_same_version_wins(api: Api) {
    let path = format!("/provider/{}", api.provider("n").await);
    let etag = api.get(&path).await.header("etag").unwrap().to_owned();
    let condition = [("if-match", etag.as_str())];
    let writes = (0..8).map(|n| {
        let body = format!(r#"{{"name":"m{n}"}}"#);
        let (api, path, condition) = (&api, &path, &condition);
        async move { (n, write(api, "PATCH", path, condition, &body).await.status) }
    });
    let ended = futures_util::future::join_all(writes).await;
    let won: Vec<_> = ended.iter().filter(|(_, status)| *status == 200).map(|(n, _)| *n).collect();
    assert_eq!(won.len(), 1, "{ended:?}");
    assert!(ended.iter().all(|(_, status)| [200, 412].contains(status)), "{ended:?}");
    let read = api.get(&path).await;
    assert_eq!(read.json["name"], json!(format!("m{}", won[0])));
    assert!(read.header("etag").unwrap().starts_with("\"2-"));
}

async fn reads_are_held_against_conditions_in_order(api: Api) {
    let path = format!("/provider/{}", api.provider("n").await);
    let etag = api.get(&path).await.header("etag").unwrap().to_owned();
    let modified = eventually(async || api.get(&path).await.header("last-modified").map(str::to_owned)).await;
    let cases: [(u16, &[(&str, &str)]); 10] = [
        (200, &[("if-match", &etag)]),
        (200, &[("if-match", "*"), ("if-unmodified-since", LONG_AGO)]),
        (412, &[("if-match", "\"x\"")]),
        (412, &[("if-match", "\"x\""), ("if-none-match", &etag)]),
        (304, &[("if-match", &etag), ("if-none-match", &etag)]),
        (200, &[("if-unmodified-since", &modified)]),
        (412, &[("if-unmodified-since", LONG_AGO)]),
        (200, &[("if-unmodified-since", "no date")]),
        (304, &[("if-unmodified-since", &modified), ("if-modified-since", &modified)]),
        (200, &[("if-none-match", "\"x\""), ("if-modified-since", &modified)]),
    ];
    for (status, conditions) in cases {
        for method in ["GET", "HEAD"] {
            let mut request = api.request(method, &path);
            for (name, value) in conditions {
                request = request.header(*name, *value);
            }
            assert_eq!(Answer::of(request).await.status, status, "{method} {conditions:?}");
        }
    }
    let malformed = Answer::of(api.request("GET", &path).header("if-match", "x")).await;
    assert_eq!(malformed.expect_problem(400, "invalid-request").places(), ["if-match"]);
    let missing = Answer::of(api.request("GET", "/provider/none").header("if-match", "*")).await;
    missing.expect_problem(404, "not-found");
}

async fn conditions_of_a_post_are_held_against_the_collection(api: Api) {
    let body = r#"{"name":"n","published":1}"#;
    for conditions in [("if-none-match", "*"), ("if-match", "\"1-0\"")] {
        let answer = write(&api, "POST", "/provider", &[conditions], body).await;
        answer.expect_problem(412, "precondition-failed");
    }
    assert_eq!(api.get("/provider").await.header("x-total-count"), Some("0"));
    for conditions in [("if-match", "*"), ("if-none-match", "\"x\""), ("if-unmodified-since", LONG_AGO)] {
        write(&api, "POST", "/provider", &[conditions], body).await.expect(201);
    }
}

//! Topics are one database's: any other one is refused, whoever was there first.

use serde_json::json;

use super::fixture::{Part, Place, wait_for};
use super::refusals::used;

const REFUSAL: &str = "another database serves these topics";

/// Folders for the entities of two stores.
fn folders(place: &Place) -> [String; 2] {
    ["one", "other"].map(|name| format!("sqlite:{}", place.folder.path().join(name).display()))
}

fn store(place: &Place, database: &str) -> Part {
    place.start(&["store", "--database", database])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_empty_databases_one_gets_the_topics() {
    let place = Place::new();
    let gateway = place.start(&["gateway"]);
    gateway.ready().await;
    let mut stores: Vec<_> = folders(&place).iter().map(|database| Some(store(&place, database))).collect();
    for part in stores.iter().flatten() {
        part.says("partition taken").await;
    }
    // Writes for both partitions: of those that the refused one had the other takes over.
    let mut locations = Vec::new();
    for number in 0..16 {
        let path = format!("/provider/p{number}?");
        let sent = gateway.ask("PUT", &path, Some(json!({"name": "A", "published": 1}))).await;
        assert!([202, 404].contains(&sent.status), "{sent:?}");
        locations.extend(sent.header("location").filter(|_| sent.status == 202).map(str::to_owned));
    }
    let says = |number: &usize| stores[*number].as_ref().is_some_and(|part: &Part| part.said().contains(REFUSAL));
    let refused = async || (0..2).find(says);
    let number = wait_for("the refusal", refused, || gateway.said()).await;
    let said = stores[number].take().unwrap().fails().await;
    assert!(said.contains("claimed them with their first command") && said.contains("Another stream"), "{said}");
    for location in locations {
        let ended = async || {
            let answer = gateway.ask("GET", &location, None).await;
            (answer.json["status"] == "failed").then_some(())
        };
        wait_for("what waited for the other", ended, || gateway.said()).await;
    }
    for _ in 0..8 {
        gateway.provider("A").await;
    }
    stores[1 - number].take().unwrap().terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_without_a_view_are_whose_first_command_it_was() {
    let place = Place::new();
    let [one, other] = folders(&place);
    let gateway = place.start(&["gateway"]);
    gateway.ready().await;
    let first = store(&place, &one);
    first.ready().await;
    for number in 0..8 {
        gateway.ask("PUT", &format!("/provider/p{number}"), Some(json!({"name": "A"}))).await.expect(404);
    }
    first.terminate().await;
    let (is_well, said) = place.run(&["doctor", "--database", &other]);
    assert!(!is_well && said.contains("problem  tables: ") && said.contains(REFUSAL), "{said}");
    let said = store(&place, &other).fails().await;
    assert!(said.contains(REFUSAL), "{said}");
    // It was not told by views: there are none.
    assert!(!said.contains("has a view"), "{said}");
    let (is_well, said) = place.run(&["doctor", "--database", &one]);
    assert!(is_well && said.contains("they belong to this stream"), "{said}");
    let first = store(&place, &one);
    first.ready().await;
    gateway.provider("A").await;
}

/// One that was started by mistake, and had nothing to do, is in nobody's way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_a_command_has_claimed_nothing() {
    let place = Place::new();
    let [one, other] = folders(&place);
    let mistaken = store(&place, &one);
    mistaken.ready().await;
    mistaken.terminate().await;
    let (is_well, said) = place.run(&["doctor", "--database", &other]);
    assert!(is_well, "{said}");
    let (gateway, right) = (place.start(&["gateway"]), store(&place, &other));
    gateway.ready().await;
    right.ready().await;
    gateway.provider("A").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_says_what_the_store_will() {
    let mut place = Place::new();
    used(&place).await;
    let (is_well, said) = place.run(&["doctor"]);
    assert!(is_well && said.contains("all is well"), "{said}");
    let own = place.settings.clone();
    // Tables in another schema, which are not there; then there, and empty.
    place.settings = format!("database.schema = \"{}_other\"", place.name);
    place.schema = false;
    for round in 0..2 {
        let (is_well, said) = place.run(&["doctor"]);
        let problem = said.lines().find(|line| line.starts_with("problem  tables: "));
        assert!(!is_well && problem.is_some_and(|line| line.contains(REFUSAL)), "{round}: {said}");
        let refused = place.start(&["store"]).fails().await;
        assert!(refused.contains(REFUSAL), "{round}: {refused}");
    }
    let (is_well, said) = place.run(&["doctor", "--database", &folders(&place)[0]]);
    assert!(!is_well && said.contains(REFUSAL), "{said}");
    (place.settings, place.schema) = (own, true);
    let (gateway, _store) = place.ready().await;
    gateway.provider("A").await;
}

/// The claim lies among the views: a gateway that was there before it is not behind one that came later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_puts_no_gateway_behind() {
    let place = Place::new();
    let (early, _store) = place.ready().await;
    // Nothing of partition 0, where the claim lies.
    let elsewhere = |key: &String| contract::partition::of_key(key.as_bytes(), 2) == 1;
    let key = (0..).map(|number| format!("provider:p{number}")).find(elsewhere).unwrap();
    let path = format!("/{}", key.replace(':', "/"));
    early.ask("PUT", &path, Some(json!({"name": "A"}))).await.expect(404);
    let late = place.start(&["gateway"]);
    late.ready().await;
    let answer = late.ask("GET", "/provider?limit=1", None).await;
    answer.expect(200);
    let token = answer.header("consistency-token").unwrap();
    let read = early.ask_with("GET", "/provider?limit=1", &[("consistency-token", token)], None).await;
    read.expect(200);
}

//! Kafka with TLS, passwords and permissions: with the right ones all works, and each that is wrong or missing is named with
//! what to do, by the program and by `dos doctor`.
//!
//! The brokers know two users with the same password: `dos` may do everything, `guest` what a test gives it.

use std::collections::BTreeMap;

use contract::Topic;
use serde_json::json;
use xtask::servers::acls;

use super::fixture::{Place, server};

const PASSWORD: &str = "secret";

type Variables = BTreeMap<&'static str, String>;

/// How a user comes: over TLS, by this mechanism.
fn secured(user: &str, mechanism: &str) -> Variables {
    BTreeMap::from([
        ("DOS_KAFKA__BROKERS", server("DOS_TEST_KAFKA_TLS")),
        ("DOS_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SASL_SSL".to_owned()),
        ("DOS_KAFKA__PROPERTIES__SSL_CA_LOCATION", server("DOS_TEST_KAFKA_CA")),
        ("DOS_KAFKA__PROPERTIES__SASL_MECHANISM", mechanism.to_owned()),
        ("DOS_KAFKA__PROPERTIES__SASL_USERNAME", user.to_owned()),
        ("DOS_KAFKA__PROPERTIES__SASL_PASSWORD", PASSWORD.to_owned()),
    ])
}

fn borrowed(variables: &Variables) -> Vec<(&str, &str)> {
    variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Whether `dos doctor` is content, and all that it says.
fn doctor(place: &Place, variables: &Variables) -> (bool, String) {
    let output = place.command(&["doctor"]).envs(variables).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains(PASSWORD), "no secrets: {said}");
    (output.status.success(), said)
}

/// Gives the guest an operation on something.
fn allow(operations: &[&str], on: &[&str]) {
    let operations = operations.iter().flat_map(|operation| ["--operation", operation]);
    let words: Vec<_> = ["--add", "--allow-principal", "User:guest"].into_iter().chain(operations).collect();
    acls(&server("DOS_TEST_KAFKA"), &[&words[..], on].concat()).unwrap();
}

/// Takes it away.
fn forbid(operations: &[&str], on: &[&str]) {
    let operations = operations.iter().flat_map(|operation| ["--operation", operation]);
    let words = ["--remove", "--force", "--allow-principal", "User:guest"];
    let words: Vec<_> = words.into_iter().chain(operations).collect();
    acls(&server("DOS_TEST_KAFKA"), &[&words[..], on].concat()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateway_and_store_come_over_tls_with_each_mechanism() {
    let place = Place::new();
    let of = |mechanism| secured("dos", mechanism);
    let (scram, strong, plain) = (of("SCRAM-SHA-256"), of("SCRAM-SHA-512"), of("PLAIN"));
    let store = place.start_with(&["store"], &borrowed(&scram));
    store.ready().await;
    for variables in [&scram, &strong, &plain] {
        let gateway = place.start_with(&["gateway"], &borrowed(variables));
        gateway.ready().await;
        let id = gateway.provider("A").await;
        gateway.ask("GET", &format!("/provider/{id}"), None).await.expect(200);
        gateway.terminate().await;
        let (is_well, said) = doctor(&place, variables);
        assert!(is_well && said.contains("may be written, may be read"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_and_another_password_are_told() {
    let place = Place::new();
    let other = place.folder.path().join("other.pem");
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=another", "-keyout"]);
    let made = openssl.arg(place.folder.path().join("other.key")).arg("-out").arg(&other).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut stranger = secured("dos", "SCRAM-SHA-512");
    stranger.insert("DOS_KAFKA__PROPERTIES__SSL_CA_LOCATION", other.display().to_string());
    let store = place.start_with(&["store"], &borrowed(&stranger));
    store.says("certificate verify failed").await;
    store.waits_for("store").await;
    let (is_well, said) = doctor(&place, &stranger);
    assert!(!is_well && said.contains("check ssl.ca.location in [kafka.properties]"), "{said}");
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let mut wrong = secured("dos", mechanism);
        wrong.insert("DOS_KAFKA__PROPERTIES__SASL_PASSWORD", "hunter2".to_owned());
        let gateway = place.start_with(&["gateway"], &borrowed(&wrong));
        let said = gateway.says("uthentication").await;
        assert!(!said.contains("hunter2"), "{said}");
        let (is_well, said) = doctor(&place, &wrong);
        assert!(!is_well && said.contains("check sasl.mechanism") && !said.contains("hunter2"), "{said}");
    }
}

/// What the operations manual lists is enough, and each permission that is missing is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_permissions_are_named() {
    let place = Place::new();
    let guest = secured("guest", "SCRAM-SHA-256");
    let variables = borrowed(&guest);
    let prefix = format!("{}.", place.name);
    let topics = ["--topic", prefix.as_str(), "--resource-pattern-type", "prefixed"];
    let group = ["--group", prefix.as_str(), "--resource-pattern-type", "prefixed"];
    let (views, commands) = (place.topic(Topic::Views), place.topic(Topic::Commands));

    // Nothing at all.
    let said = place.start_with(&["store"], &variables).fails().await;
    assert!(said.contains("not allowed to see it; allow this user DESCRIBE"), "{said}");
    let (is_well, said) = doctor(&place, &guest);
    assert!(!is_well && said.contains(&format!("problem  topic {views}: ")) && said.contains("DESCRIBE"), "{said}");

    // They may be seen, and not be made.
    allow(&["Describe", "DescribeConfigs"], &topics);
    let said = place.start_with(&["store"], &variables).fails().await;
    assert!(said.contains("cannot be made: ") && said.contains("allow it (CREATE)"), "{said}");

    // They are made, and may not be read.
    allow(&["Create", "Write"], &topics);
    let store = place.start_with(&["store"], &variables);
    store.says("not allowed to read it; allow this user READ on it").await;
    let (is_well, said) = doctor(&place, &guest);
    assert!(!is_well && said.contains("it may not be read; allow this user READ"), "{said}");

    // They may be read, and the group is not there for this user.
    allow(&["Read"], &topics);
    let text = format!("group {prefix}dos.store: not allowed to read it; allow this user READ on it");
    store.says(&text).await;
    let (is_well, said) = doctor(&place, &guest);
    assert!(!is_well && said.contains("allow READ on the group to the stores"), "{said}");

    // All that is needed: the store that waited goes on by itself.
    allow(&["Read"], &group);
    store.ready().await;
    let (is_well, said) = doctor(&place, &guest);
    assert!(is_well, "{said}");
    let gateway = place.start_with(&["gateway"], &variables);
    gateway.ready().await;
    gateway.provider("A").await;

    // Commands may not be written any more: nothing was done, and it is said which permission it was.
    forbid(&["Write"], &topics);
    let answer = gateway.ask("POST", "/provider", Some(json!({"name": "B", "published": 1}))).await;
    answer.expect(503);
    assert_eq!(answer.json["retry"], "safe", "{}", answer.json);
    let (is_well, said) = doctor(&place, &guest);
    assert!(!is_well && said.contains(&format!("problem  topic {commands}: it may not be written")), "{said}");
}

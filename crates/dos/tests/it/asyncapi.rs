//! The AsyncAPI document: the committed one is what the program gives, and what a running system writes is what it says.

use std::collections::{BTreeMap, BTreeSet};

use contract::{CommandId, EntityId, Key, OperationId, Topic, TypeName};
use dos::settings::Views;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::events::{append, records};
use crate::harness::{Answer, Api, eventually, matrix, root};

/// The key of the one command that no store can read.
const BROKEN: &str = "broken";

matrix! {
    it_is_served_and_names_the_topics_as_they_are
    real_events_keep_to_it
}

#[tokio::test]
async fn the_committed_description_is_current() {
    let committed = std::fs::read_to_string(root().join("docs/api/events.asyncapi.yml")).unwrap();
    let registry = dos::settings::registry(None).unwrap();
    let document = gateway::asyncapi(&registry, "", gateway::API_VERSION);
    let advice = "it is stale; run: cargo run -- asyncapi > docs/api/events.asyncapi.yml";
    assert!(committed == gateway::to_yaml(&document), "{advice}");
}

async fn it_is_served_and_names_the_topics_as_they_are(api: Api) {
    let answer = api.get("/asyncapi.json").await;
    let document = &answer.expect(200).json;
    assert_eq!((&document["asyncapi"], answer.header("content-type")), (&json!("3.0.0"), Some("application/json")));
    let known = api.request("GET", "/asyncapi.json").header("if-none-match", answer.header("etag").unwrap());
    Answer::of(known).await.expect(304);
    let prefix = if api.shape.is_scaled() { api.settings.kafka.topic_prefix.as_str() } else { "" };
    for topic in Topic::ALL {
        let channel = &document["channels"][topic.name().strip_prefix("dos.").unwrap()];
        assert_eq!(channel["address"], format!("{prefix}{}", topic.name()));
        assert_eq!(channel["bindings"]["kafka"]["topic"], channel["address"]);
    }
}

async fn real_events_keep_to_it(mut api: Api) {
    let document = api.get("/asyncapi.json").await.expect(200).json.clone();
    let examples = api.get("/openapi.json").await.expect(200).json["components"]["examples"].clone();
    let types: Vec<String> = dos::settings::registry(None).unwrap().iter().map(|t| t.name().to_string()).collect();
    let mut operations = Vec::new();
    for name in &types {
        let component = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        let sample = |suffix: &str| examples[format!("{component}{suffix}")]["value"].clone();
        operations.push(cause_each_event(&api, name, sample("Create"), sample("Update")).await);
    }
    append(&api, Topic::Commands, BROKEN, &[("ce_type", "dos.provider.create")], b"\"no CloudEvent\"").await;
    eventually(async || (!records(&api, Topic::Quarantine).await.is_empty()).then_some(())).await;
    // Only from memory are outcomes known without being asked for.
    api.restart().await;
    for operation in operations {
        api.get(&operation).await.expect(200);
    }

    let mut document = Document { document, validators: BTreeMap::new() };
    let mut seen = BTreeSet::new();
    for topic in Topic::ALL {
        for stored in records(&api, topic).await {
            if topic == Topic::Quarantine || stored.record.key != BROKEN {
                seen.insert(document.check(topic, &stored.record));
            }
        }
    }
    // Gateways with all views in memory have no need to ask for lists.
    let is_asked_for_lists = api.settings.views == Views::OnDemand;
    let lacks: Vec<_> = document.messages().filter(|message| !seen.contains(message)).collect();
    let lists = |message: &String| message.ends_with(".list") || message.ends_with(".listed");
    assert!(lacks.iter().all(|message| lists(message) && !is_asked_for_lists), "never written: {lacks:?}");
    assert_eq!(lacks.is_empty(), is_asked_for_lists);
}

/// Has every event written that requests about one type can cause; gives an operation's path.
async fn cause_each_event(api: &Api, name: &str, create: Value, update: Value) -> String {
    let (all, one) = (format!("/{name}"), format!("/{name}/old-1"));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let put = api.request("PUT", &one).header("if-none-match", "*").header("traceparent", trace);
    Answer::of(put.json(&create)).await.expect(201);
    let mut kept = create.clone();
    kept["created"] = "2023-04-04T00:00:00Z".into();
    api.post(&format!("{all}?timestamps=keep"), kept).await.expect(201);
    for replayed in [None, Some("true")] {
        let request = api.request("POST", &all).header("idempotency-key", format!("key-of-a-new-{name}-1"));
        let answer = Answer::of(request.json(&create)).await;
        assert_eq!(answer.expect(201).header("idempotent-replayed"), replayed);
    }
    for (times, path) in [(2, one.as_str()), (1, &format!("/{name}/none"))] {
        for _ in 0..times {
            let status = if path == one { 200 } else { 404 };
            api.put(path, update.clone()).await.expect(status);
        }
        let read = Answer::of(api.request("GET", path).header("cache-control", "no-cache")).await;
        read.expect(if path == one { 200 } else { 404 });
    }
    let stale = api.request("PATCH", &one).header("if-match", "\"7-none\", W/\"x\"");
    let stale = stale.header("content-type", "application/merge-patch+json");
    Answer::of(stale.body(update.to_string())).await.expect_problem(412, "precondition-failed");
    for query in ["", "?limit=1", "?sort=-name&limit=1&modified_after=2020-01-01T00:00:00Z", "?ids=old-1,none"] {
        let page = api.get(&format!("{all}{query}")).await;
        if let Some(next) = page.expect(200).header("link") {
            let next = next.split(['<', '>']).nth(1).unwrap();
            api.get(next).await.expect(200);
        }
    }
    let deletion = api.request("DELETE", &one).header("prefer", "respond-async");
    let operation = Answer::of(deletion).await.expect(202).header("location").unwrap().to_owned();
    // Not known here, so it is asked for; and behind the deletion.
    let id = OperationId {
        command: CommandId(uuid::Uuid::from_u128(7)),
        key: Key::new(TypeName::parse(name).unwrap(), EntityId::parse("old-1").unwrap()),
    };
    api.get(&format!("/operation/{id}")).await.expect_problem(404, "not-found");
    operation
}

/// The document, and what it asks of each message.
struct Document {
    document: Value,
    validators: BTreeMap<String, (Validator, Option<Validator>, Validator)>,
}

impl Document {
    /// The messages of all channels.
    fn messages(&self) -> impl Iterator<Item = String> {
        let channels = self.document["channels"].as_object().unwrap().values();
        channels.flat_map(|channel| channel["messages"].as_object().unwrap().keys().cloned())
    }

    /// Holds a record against its message, and gives that message's name.
    fn check(&mut self, topic: Topic, record: &contract::Record) -> String {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let pairs = record.headers.iter().map(|(name, value)| (text(name), Value::String(text(value))));
        let headers: Map<String, Value> = pairs.collect();
        let name = match topic {
            Topic::Quarantine => "quarantined".to_owned(),
            _ => headers["ce_type"].as_str().unwrap().strip_prefix("dos.").unwrap().to_owned(),
        };
        let channel = &self.document["channels"][topic.name().strip_prefix("dos.").unwrap()];
        let reference =
            channel["messages"][&name]["$ref"].as_str().unwrap_or_else(|| panic!("{topic:?} has no {name}"));
        let message = self.document.pointer(&reference[1..]).unwrap();
        if topic != Topic::Quarantine {
            let undeclared: Vec<_> =
                headers.keys().filter(|name| message["headers"]["properties"].get(name).is_none()).collect();
            assert!(undeclared.is_empty(), "{name}: {undeclared:?}");
        }
        let validator = |schema: &Value| {
            let mut schema = schema.clone();
            schema["components"] = self.document["components"].clone();
            jsonschema::draft7::options().should_validate_formats(true).build(&schema).unwrap()
        };
        let (of_headers, of_payload, of_key) = self.validators.entry(name.clone()).or_insert_with(|| {
            let key = &message["bindings"]["kafka"]["key"];
            (validator(&message["headers"]), message.get("payload").map(&validator), validator(key))
        });
        expect(&name, of_headers, &headers.into());
        expect(&name, of_key, &text(&record.key).into());
        match of_payload {
            Some(of_payload) => expect(&name, of_payload, &serde_json::from_slice(&record.value).unwrap()),
            None => assert!(record.value.is_empty(), "{name} has data"),
        }
        name
    }
}

fn expect(name: &str, validator: &Validator, value: &Value) {
    let errors: Vec<_> =
        validator.iter_errors(value).map(|error| format!("{} {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{name}: {errors:?} in {value}");
}

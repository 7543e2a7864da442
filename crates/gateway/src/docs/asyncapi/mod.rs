//! The AsyncAPI 3.0 document of the topics, generated from the entity types: what lies on the event stream in the native format
//! (`contract::wire::cloudevents`), message by message.
//!
//! A message is called `<type>.<name>`, as its `ce_type` is `dos.<type>.<name>`; schemas of headers are called as the headers are.
//! Schemas that belong to an entity type are named as in the OpenAPI document. The examples are written by the encoder of the events.

mod example;
mod header;
mod message;
mod schema;
#[cfg(test)]
mod tests;

use contract::{Registry, Topic};
use serde_json::{Map, Value, json};

use super::openapi::Names;
use message::{KINDS, Kind, QUARANTINED};

/// Of the Kafka bindings that the document uses.
const BINDING: &str = "0.5.0";

/// The AsyncAPI document of a system with these types. `topic_prefix` begins the names of its topics, `version` is that of the API.
pub fn asyncapi(registry: &Registry, topic_prefix: &str, version: &str) -> Value {
    let (mut schemas, mut messages) = (schema::shared(), Map::new());
    schemas.extend(header::schemas());
    for entity_type in registry.iter() {
        let names = Names::of(entity_type);
        schema::entity(entity_type, &names, &mut schemas);
        for kind in &KINDS {
            messages.insert(kind.key(&names), message::of(kind, entity_type, &names, registry));
        }
    }
    messages.insert(QUARANTINED.to_owned(), message::quarantined(registry));
    let channels: Map<_, _> =
        Topic::ALL.into_iter().map(|topic| (name(topic).to_owned(), channel(topic, topic_prefix, registry))).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Directory of Services: events",
            "version": version,
            "description": DESCRIPTION,
            "contact": {"name": "The operator of this directory"},
            "license": {"name": "MIT", "url": "https://opensource.org/license/mit"},
            "tags": [reference("tags", GATEWAY), reference("tags", STORE)],
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations(),
        "components": {
            "messages": messages,
            "schemas": schemas,
            "correlationIds": {"command": {
                "description": "The command's id; every event that the command causes carries it.",
                "location": "$message.header#/ce_correlationid",
            }},
            "tags": {
                GATEWAY: {"name": GATEWAY, "description": "HTTP outside, events inside."},
                STORE: {"name": STORE, "description": "Carries commands out, and keeps the entities."},
            },
        },
    })
}

const GATEWAY: &str = "gateway";
const STORE: &str = "store";

/// What the document calls a topic.
const fn name(topic: Topic) -> &'static str {
    match topic {
        Topic::Commands => "commands",
        Topic::Views => "views",
        Topic::Replies => "replies",
        Topic::Quarantine => "quarantine",
    }
}

fn channel(topic: Topic, topic_prefix: &str, registry: &Registry) -> Value {
    let kinds: Vec<&Kind> = KINDS.iter().filter(|kind| kind.topic == topic).collect();
    let names = registry.iter().map(|entity_type| Names::of(entity_type));
    let keys = names.flat_map(|names| kinds.iter().map(|kind| kind.key(&names)).collect::<Vec<_>>());
    let set_aside = (topic == Topic::Quarantine).then(|| QUARANTINED.to_owned());
    let messages: Map<_, _> = keys.chain(set_aside).map(|key| (key.clone(), reference("messages", &key))).collect();
    let (title, description) = told(topic);
    let address = format!("{topic_prefix}{}", topic.name());
    let cleanup = if topic.is_compacted() { "compact" } else { "delete" };
    json!({
        "address": address,
        "title": title,
        "description": description,
        "messages": messages,
        "bindings": {"kafka": {
            "topic": address,
            "topicConfiguration": {"cleanup.policy": [cleanup]},
            "bindingVersion": BINDING,
        }},
    })
}

/// A topic's title, and what lies there.
const fn told(topic: Topic) -> (&'static str, &'static str) {
    match topic {
        Topic::Commands => (
            "Commands",
            "What gateways ask of the data store. The key is `type:id`, so that all that is asked of an entity is carried out in its \
             order; for a list it is `type:`.",
        ),
        Topic::Views => (
            "Views",
            "The current complete view of every entity, under the key `type:id`. Compacted: the last record of a key is its highest \
             version and stays, also of what was deleted; there are no null values. Read from the start, it is the whole directory.",
        ),
        Topic::Replies => ("Replies", "Answers that make no view, under the id of the command that they answer."),
        Topic::Quarantine => (
            "Quarantine",
            "Events that no data store could read, as they came, under the place where they lay: `topic:partition:offset`.",
        ),
    }
}

/// Who sends and who receives what.
fn operations() -> Value {
    let operation = |action: &str, topic: Topic, part: &str, title: &str, description: &str| {
        json!({
            "action": action,
            "channel": {"$ref": format!("#/channels/{}", name(topic))},
            "title": title,
            "summary": title,
            "description": description,
            "tags": [reference("tags", part)],
        })
    };
    let mut ask = operation(
        "send",
        Topic::Commands,
        GATEWAY,
        "Ask the data store",
        "Each request that needs the data store is one command. What it did comes as a view, what makes no view as a reply; both carry \
         the command's id as `ce_correlationid`.",
    );
    ask["reply"] = json!({"channel": {"$ref": "#/channels/replies"}});
    json!({
        "sendCommands": ask,
        "receiveViews": operation("receive", Topic::Views, GATEWAY, "Keep the views current",
            "Every gateway reads all partitions, without a consumer group, and takes a view that is newer than its own."),
        "receiveReplies": operation("receive", Topic::Replies, GATEWAY, "Answer who waits",
            "Every gateway reads all partitions, and answers the requests that it sent commands for."),
        "receiveCommands": operation("receive", Topic::Commands, STORE, "Carry commands out",
            "Data stores share the partitions; one carries out the commands of a partition in their order, each once, however often it comes."),
        "sendViews": operation("send", Topic::Views, STORE, "Publish what came to be",
            "A view for each version of an entity, and for its deletion."),
        "sendReplies": operation("send", Topic::Replies, STORE, "Answer what makes no view",
            "Refusals, reads, and answers that are given again."),
        "sendQuarantined": operation("send", Topic::Quarantine, STORE, "Set an event aside",
            "What cannot be read blocks nothing: it is kept here with the reason, and `dos quarantine` shows it and sends it again."),
    })
}

/// A reference to a component.
fn reference(kind: &str, name: &str) -> Value {
    super::openapi::reference(kind, name)
}

const DESCRIPTION: &str = "\
What gateways and data stores of a Directory of Services say to each other, and what every other service may listen to.\n\
\n\
- **Format**: CloudEvents 1.0 in the binary mode of their Kafka protocol binding. Attributes are headers (`ce_*`, and `content-type`), \
their values text in UTF-8; the record's value is the data, as JSON. Headers that are not described here may come: pass them over.\n\
- **Partition**: murmur2 of the key, as Kafka's own clients in Java compute it, for every producer. All events of an entity lie in one \
partition, in their order.\n\
- **Versions** of an entity are 1, 2, 3 .. for ever, also over a deletion. A view that comes again is the same event: it has the same `ce_id`.\n\
- **Schemas**: `ce_dataschema` names the schema that the data was written with, as the gateway serves it at `/schema/{type}`. Data on the \
topics may have been written with an older one than is described here.\n\
- **To follow the directory**, read `views` from the start, keep the last record of each key, and pass over a version that is not newer.\n\
- **Keys** that begin with `$` are about the stream itself, and no events.";

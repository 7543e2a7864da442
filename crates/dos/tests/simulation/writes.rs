//! What clients write: once, or under an idempotency key until they know what became of it.

use std::time::Duration;

use bytes::Bytes;
use contract::wire::cloudevents::encode_command;
use contract::{Action, Command, CommandId, Key, partition};
use http::Response;
use serde_json::{Value, json};

use super::clients::{IDS, Visitor, header, refusal};
use super::cluster::{GATEWAYS, PARTITIONS};
use super::history::{End, What, Write};
use super::world::sleep;

/// How often a write with an idempotency key is sent at most.
const ATTEMPTS: u64 = 4;

/// A write, which may be sent more than once.
struct Writing {
    method: &'static str,
    path: String,
    /// None where the gateway chooses it.
    id: Option<String>,
    condition: Option<(&'static str, &'static str)>,
    /// What it names the entity; of a deletion, no name.
    marker: String,
    idempotency: Option<String>,
}

impl Writing {
    fn body(&self) -> String {
        if self.method == "DELETE" {
            return String::new();
        }
        json!({"name": self.marker, "published": 1}).to_string()
    }
}

impl Visitor {
    fn writing(&mut self, method: &'static str, id: Option<&str>) -> Writing {
        self.markers += 1;
        let marker = format!("c{}-{}", self.number, self.markers);
        let path = id.map_or("/provider".to_owned(), |id| format!("/provider/{id}"));
        Writing { method, path, id: id.map(str::to_owned), condition: None, marker, idempotency: None }
    }

    /// Creates an entity; its id, where it was told.
    pub(crate) async fn post(&mut self, gateway: usize) -> Option<String> {
        let writing = self.writing("POST", None);
        let before = self.own.len();
        self.send(gateway, &writing, 0).await;
        self.own.get(before).cloned()
    }

    /// Changes an entity, or creates it where it must not be there. Writes with other conditions belong here, and the rule
    /// that they behave as if one at a time to `laws::writes`.
    pub(crate) async fn put(&mut self, gateway: usize, id: &str, create: bool) {
        let mut writing = self.writing("PUT", Some(id));
        writing.condition = create.then_some(("if-none-match", "*"));
        self.send(gateway, &writing, 0).await;
        if self.random.below(3) == 0 {
            // Whoever wrote looks.
            self.get(gateway, id, false).await;
        }
    }

    pub(crate) async fn delete(&mut self, gateway: usize, id: &str) {
        let writing = self.writing("DELETE", Some(id));
        self.send(gateway, &writing, 0).await;
        if self.random.below(2) == 0 {
            self.get(gateway, id, false).await;
        }
    }

    /// A write under an idempotency key: sent again, at other gateways, until its client knows what became of it, and
    /// sometimes once more; or twice at once.
    pub(crate) async fn until_known(&mut self, mut gateway: usize) {
        let id = self.id();
        let (method, id) = match self.random.below(6) {
            0 => ("POST", None),
            1..5 => ("PUT", Some(id)),
            _ => ("DELETE", Some(id)),
        };
        let mut writing = self.writing(method, id.as_deref());
        if method == "PUT" && self.random.below(2) == 0 {
            writing.condition = Some(("if-none-match", "*"));
        }
        writing.idempotency = Some(format!("the-key-of-write-{}", writing.marker));
        for attempt in 0..ATTEMPTS {
            let other = (gateway + 1 + self.random.below(GATEWAYS as u64 - 1) as usize) % GATEWAYS;
            let end = if attempt == 0 && self.random.below(3) == 0 {
                let mut twin = self.twin();
                let both = (self.send(gateway, &writing, attempt), twin.send(other, &writing, ATTEMPTS));
                futures_util::future::join(both.0, both.1).await.0
            } else {
                self.send(gateway, &writing, attempt).await
            };
            if matches!(end, End::Done(_) | End::Deleted | End::Rejected(_)) && self.random.below(2) == 0 {
                return;
            }
            gateway = other;
            sleep(Duration::from_millis(self.random.below(1500))).await;
        }
    }

    async fn send(&mut self, gateway: usize, writing: &Writing, attempt: u64) -> End {
        let Writing { method, path, marker, .. } = writing;
        let label = format!("{marker}.{attempt}");
        let mut headers = vec![("x-request-id", label.as_str())];
        headers.extend(writing.condition);
        headers.extend(writing.idempotency.as_deref().map(|key| ("idempotency-key", key)));
        match self.random.below(8) {
            _ if self.patient => {}
            0 => headers.push(("prefer", "respond-async")),
            1 => headers.push(("prefer", "wait=1")),
            _ => {}
        }
        let began = self.cluster.world.tick();
        let asked = self.ask(gateway, method, path, &headers, &writing.body()).await;
        let (mut id, mut replayed) = (writing.id.clone(), false);
        let end = match asked {
            Err(end) => end,
            Ok(told) => {
                replayed = header(&told.response, "idempotent-replayed").is_some();
                match told.response.status().as_u16() {
                    // As it was then, not as it is.
                    200 | 201 if replayed => End::Done(told.response.into_body()),
                    200 | 201 => {
                        id = self.object(&told, id, true);
                        End::Done(told.response.into_body())
                    }
                    204 => {
                        let what = What::Removed(label.clone());
                        id.iter().filter(|_| !replayed).for_each(|id| self.saw(&told, id, what.clone(), true));
                        End::Deleted
                    }
                    202 => End::Accepted(header(&told.response, "location").unwrap_or_default()),
                    503 => self.refused(&told.response),
                    status => match (refusal(&told.response), &id) {
                        (Some(what), Some(id)) => {
                            // Sent again, the command may itself have come twice, and is then answered from its own
                            // outcome: as it was.
                            if !replayed && attempt == 0 {
                                self.saw(&told, id, what, true);
                            }
                            End::Rejected(status)
                        }
                        _ => {
                            self.complain(format!("{method} {path}: {:?}", told.response));
                            End::Doubt(None)
                        }
                    },
                }
            }
        };
        if *method == "POST" && matches!(end, End::Done(_)) {
            self.own.extend(id.clone());
        }
        let (key, marker) = (id.map(|id| format!("provider:{id}")), marker.clone());
        let keyed = writing.idempotency.is_some();
        self.history().writes.push(Write { marker, label, keyed, replayed, key, began, end: end.clone() });
        end
    }

    /// A `503` tells whether anything was produced.
    fn refused(&self, response: &Response<Bytes>) -> End {
        let problem: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        match problem["retry"].as_str() {
            Some("safe") => End::Safe,
            Some("unknown") => {
                let operation = header(response, "location");
                if operation.is_none() {
                    self.complain(format!("a doubt without an operation: {problem}"));
                }
                End::Doubt(operation)
            }
            _ => {
                self.complain(format!("it does not tell whether to try again: {problem}"));
                End::Doubt(None)
            }
        }
    }

    /// A write that changes nothing.
    pub(crate) async fn touch(&mut self, gateway: usize) {
        let id = self.id();
        let path = format!("/provider/{id}");
        let Ok(told) = self.ask(gateway, "PUT", &path, &[], r#"{"published":1}"#).await else { return };
        match (told.response.status().as_u16(), refusal(&told.response)) {
            (200, _) => drop(self.object(&told, Some(id), true)),
            (_, Some(what)) => self.saw(&told, &id, what, true),
            (202 | 503, _) => {}
            _ => self.complain(format!("PUT {path}: {:?}", told.response)),
        }
    }

    /// A command of another producer, on a partition that is not its key's.
    pub(crate) fn stray(&mut self) -> String {
        let id = format!("p{}", self.random.below(IDS));
        let marker = self.writing("PUT", None).marker;
        let Value::Object(fields) = json!({"name": marker}) else { return id };
        let world = &self.cluster.world;
        let command = Command {
            id: CommandId(world.uuid()),
            key: Key::parse(&format!("provider:{id}")).unwrap(),
            action: Action::Update(fields),
            precondition: None,
            idempotency: None,
            time: world.now(),
            source: "/gateway/other".to_owned(),
            request_id: None,
            traceparent: None,
        };
        let record = encode_command(&command, &self.cluster.registry);
        let number = (partition::of_key(&record.key, PARTITIONS) + 1) % PARTITIONS;
        world.note(format_args!("client {} sends {marker} astray", self.number));
        let (key, began, end) = (Some(command.key.to_string()), world.tick(), End::Doubt(None));
        let (label, keyed, replayed) = (marker.clone(), false, false);
        self.history().writes.push(Write { marker, label, keyed, replayed, key, began, end });
        let late = Duration::from_millis(self.random.below(60));
        self.cluster.broker.later(number, record, late);
        id
    }
}

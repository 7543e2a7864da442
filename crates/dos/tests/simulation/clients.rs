//! Clients that write, read and list through the gateways, one request after the other, and note what they are told.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use contract::wire::cloudevents::encode_command;
use contract::{Action, Command, CommandId, Key, partition};
use http::Response;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::cluster::{Answer, Cluster, GATEWAYS, PARTITIONS, is_trouble, request};
use super::history::{End, Found, History, Listing, Seen, What, Write};
use super::world::Random;

/// Ids that clients create and change beside those that `POST` makes.
const IDS: u64 = 4;

pub(crate) struct Visitor {
    number: usize,
    cluster: Arc<Cluster>,
    history: Arc<Mutex<History>>,
    random: Random,
    /// The gateway that it mostly asks.
    home: usize,
    markers: u64,
    /// Made by its `POST`s.
    own: Vec<String>,
    /// It waits for every answer.
    patient: bool,
}

/// A request's answer with what the history must know of it.
struct Told {
    response: Response<Bytes>,
    incarnation: u64,
    began: u64,
    ended: u64,
}

impl Visitor {
    pub(crate) fn new(number: usize, seed: u64, cluster: &Arc<Cluster>, history: &Arc<Mutex<History>>) -> Self {
        let random = Random::new(seed ^ 0xc11e47 ^ ((number as u64) << 40));
        let (cluster, history, home) = (Arc::clone(cluster), Arc::clone(history), number % GATEWAYS);
        Self { number, cluster, history, random, home, markers: 0, own: Vec::new(), patient: false }
    }

    /// The same, and it hangs up on nobody and takes no answer but the final one.
    pub(crate) fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    /// A number of steps with pauses between them.
    pub(crate) async fn run(mut self, steps: u64) {
        for _ in 0..steps {
            self.step().await;
            super::world::sleep(Duration::from_millis(self.random.below(400))).await;
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    pub(crate) fn complain(&self, text: String) {
        self.history().complaints.push(format!("client {}: {text}", self.number));
    }

    fn gateway(&mut self) -> usize {
        if self.random.below(5) == 0 { self.random.below(GATEWAYS as u64) as usize } else { self.home }
    }

    fn id(&mut self) -> String {
        let own = self.own.len() as u64;
        match self.random.below(IDS + own.min(2)) {
            shared @ 0..IDS => format!("p{shared}"),
            _ => self.own[self.random.below(own) as usize].clone(),
        }
    }

    fn marker(&mut self) -> String {
        self.markers += 1;
        format!("c{}-{}", self.number, self.markers)
    }

    /// One thing that a client does.
    async fn step(&mut self) {
        let gateway = self.gateway();
        match self.random.below(100) {
            0..10 => drop(self.post(gateway).await),
            10..25 => {
                let id = self.id();
                self.put(gateway, &id, true).await;
            }
            25..55 => {
                let id = self.id();
                self.put(gateway, &id, false).await;
            }
            55..60 => self.touch(gateway).await,
            60..86 => {
                let (id, no_cache) = (self.id(), self.random.below(4) == 0);
                drop(self.get(gateway, &id, no_cache).await);
            }
            86..93 => drop(self.list(gateway).await),
            93..96 => self.look_up(gateway).await,
            _ => {
                // Another producer at the same moment.
                let id = format!("p{}", self.random.below(IDS));
                self.stray(&id);
                self.put(gateway, &id, false).await;
            }
        }
    }

    /// Sends a request; the answer, where there is one.
    async fn ask(
        &mut self,
        gateway: usize,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Told, End> {
        let hangs_up = !self.patient && self.random.below(15) == 0;
        let patience = hangs_up.then(|| Duration::from_millis(self.random.below(2000)));
        let began = self.cluster.world.tick();
        let answer = self.cluster.request(gateway, request(method, path, headers, body), patience).await;
        let ended = self.cluster.world.tick();
        let told = match &answer {
            Answer::Response { response, .. } => response.status().as_str().to_owned(),
            Answer::Refused => "refused".to_owned(),
            Answer::Lost => "lost".to_owned(),
            Answer::Hung => "hung".to_owned(),
        };
        let number = self.number;
        self.cluster.world.note(format_args!("client {number} at {gateway}: {method} {path} {body}: {told}"));
        match answer {
            Answer::Response { response, incarnation } => Ok(Told { response, incarnation, began, ended }),
            Answer::Refused => Err(End::Safe),
            Answer::Lost => Err(End::Doubt(None)),
            Answer::Hung => {
                self.complain(format!("{method} {path} has no answer"));
                Err(End::Doubt(None))
            }
        }
    }

    fn saw(&self, told: &Told, id: &str, what: What, decided: bool) {
        let Told { incarnation, began, ended, .. } = *told;
        let key = format!("provider:{id}");
        self.history().seen.push(Seen { client: self.number, incarnation, began, ended, key, what, decided });
    }

    /// Creates an entity; its id, where it was told.
    pub(crate) async fn post(&mut self, gateway: usize) -> Option<String> {
        let marker = self.marker();
        let body = json!({"name": marker, "published": 1}).to_string();
        let id = self.write(gateway, "POST", "/provider", None, &[], &body, marker).await;
        self.own.extend(id.clone());
        id
    }

    /// Changes an entity, or creates it where it must not be there. Writes with other conditions belong here, and the rule
    /// that they behave as if one at a time to `laws::writes`.
    async fn put(&mut self, gateway: usize, id: &str, create: bool) {
        let marker = self.marker();
        let body = json!({"name": marker, "published": 1}).to_string();
        let condition: &[_] = if create { &[("if-none-match", "*")] } else { &[] };
        self.write(gateway, "PUT", &format!("/provider/{id}"), Some(id), condition, &body, marker).await;
        if self.random.below(3) == 0 {
            // Whoever wrote looks.
            self.get(gateway, id, false).await;
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a request has so many parts")]
    async fn write(
        &mut self,
        gateway: usize,
        method: &str,
        path: &str,
        id: Option<&str>,
        headers: &[(&str, &str)],
        body: &str,
        marker: String,
    ) -> Option<String> {
        let mut headers = headers.to_vec();
        match self.random.below(8) {
            _ if self.patient => {}
            0 => headers.push(("prefer", "respond-async")),
            1 => headers.push(("prefer", "wait=1")),
            _ => {}
        }
        let began = self.cluster.world.tick();
        let asked = self.ask(gateway, method, path, &headers, body).await;
        let (mut id, mut created) = (id.map(str::to_owned), None);
        let end = match asked {
            Err(end) => end,
            Ok(told) => match told.response.status().as_u16() {
                200 | 201 => {
                    let bytes = told.response.body().clone();
                    id = self.object(&told, id, true);
                    created.clone_from(&id);
                    End::Done(bytes)
                }
                202 => End::Accepted(location(&told.response).unwrap_or_default()),
                status @ (404 | 412) => {
                    let what = if status == 404 { What::Absent } else { What::Exists };
                    id.iter().for_each(|id| self.saw(&told, id, what.clone(), true));
                    End::Rejected(status)
                }
                503 => self.refused(&told.response),
                _ => {
                    self.complain(format!("{method} {path}: {:?}", told.response));
                    End::Doubt(None)
                }
            },
        };
        let key = id.map(|id| format!("provider:{id}"));
        self.history().writes.push(Write { marker, key, began, end });
        created
    }

    /// A `503` tells whether anything was produced.
    fn refused(&self, response: &Response<Bytes>) -> End {
        let problem: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        match problem["retry"].as_str() {
            Some("safe") => End::Safe,
            Some("unknown") => {
                let operation = location(response);
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

    /// Notes the object of an answer; its id.
    fn object(&self, told: &Told, id: Option<String>, decided: bool) -> Option<String> {
        let bytes = told.response.body().clone();
        let object: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let etag = told.response.headers().get("etag").and_then(|etag| Some(etag.to_str().ok()?.to_owned()));
        let found = object["id"].as_str().map(str::to_owned);
        let Some(found) = found.filter(|found| id.as_ref().is_none_or(|id| id == found)) else {
            self.complain(format!("the answer is no object of {id:?}: {object}"));
            return id;
        };
        self.saw(told, &found, What::Object { bytes, etag }, decided);
        Some(found)
    }

    /// A write that changes nothing.
    async fn touch(&mut self, gateway: usize) {
        let id = self.id();
        let path = format!("/provider/{id}");
        let Ok(told) = self.ask(gateway, "PUT", &path, &[], r#"{"published":1}"#).await else { return };
        match told.response.status().as_u16() {
            200 => drop(self.object(&told, Some(id), true)),
            404 => self.saw(&told, &id, What::Absent, true),
            202 | 503 => {}
            _ => self.complain(format!("PUT {path}: {:?}", told.response)),
        }
    }

    /// Reads an entity; its object, where there is one.
    pub(crate) async fn get(&mut self, gateway: usize, id: &str, no_cache: bool) -> Option<Bytes> {
        let path = format!("/provider/{id}");
        let headers: &[_] = if no_cache { &[("cache-control", "no-cache")] } else { &[] };
        let told = self.ask(gateway, "GET", &path, headers, "").await.ok()?;
        match told.response.status() {
            status if status == 200 => {
                self.object(&told, Some(id.to_owned()), no_cache);
                return Some(told.response.into_body());
            }
            status if status == 404 => self.saw(&told, id, What::Absent, false),
            status if is_trouble(status) => {}
            _ => self.complain(format!("GET {path}: {:?}", told.response)),
        }
        None
    }

    /// Walks a list to its end; the objects, where it came so far.
    pub(crate) async fn list(&mut self, gateway: usize) -> Option<Vec<Bytes>> {
        let mut path = format!("/provider?limit={}", 1 + self.random.below(6));
        let (mut listing, mut objects): (Option<Listing>, Vec<Bytes>) = (None, Vec::new());
        loop {
            let told = self.ask(gateway, "GET", &path, &[], "").await.ok()?;
            if told.response.status() != 200 {
                if !is_trouble(told.response.status()) {
                    self.complain(format!("GET {path}: {:?}", told.response));
                }
                return None;
            }
            let Told { incarnation, began, .. } = told;
            let client = self.number;
            let so_far = listing.get_or_insert_with(|| Listing { client, incarnation, began, keys: Vec::new() });
            if so_far.incarnation != incarnation {
                return None;
            }
            let rows: Vec<&RawValue> = serde_json::from_slice(told.response.body()).unwrap_or_default();
            for row in rows {
                let bytes = Bytes::copy_from_slice(row.get().as_bytes());
                let object: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let id = object["id"].as_str().unwrap_or_default();
                so_far.keys.push(format!("provider:{id}"));
                self.saw(&told, id, What::Object { bytes: bytes.clone(), etag: None }, false);
                objects.push(bytes);
            }
            let Some(next) = next(&told.response) else { break };
            path = next;
        }
        self.history().listings.extend(listing);
        Some(objects)
    }

    async fn look_up(&mut self, gateway: usize) {
        let operations = self.history().operations();
        if operations.is_empty() {
            return;
        }
        let operation = operations[self.random.below(operations.len() as u64) as usize].clone();
        self.operation(gateway, &operation).await;
    }

    /// Asks what became of an operation.
    pub(crate) async fn operation(&mut self, gateway: usize, path: &str) -> Option<Found> {
        let told = self.ask(gateway, "GET", path, &[], "").await.ok()?;
        let body: Value = serde_json::from_slice(told.response.body()).unwrap_or_default();
        let found = match (told.response.status().as_u16(), body["status"].as_str()) {
            (200, Some("pending")) => Found::Pending,
            (200, Some("succeeded")) => Found::Succeeded,
            (200, Some("failed")) => Found::Failed,
            (404, _) => Found::Unknown,
            _ if is_trouble(told.response.status()) => return None,
            _ => {
                self.complain(format!("GET {path}: {:?}", told.response));
                return None;
            }
        };
        self.history().lookups.entry(path.to_owned()).or_default().push(found);
        Some(found)
    }

    /// A command of another producer, on a partition that is not its key's.
    fn stray(&mut self, id: &str) {
        let marker = self.marker();
        let Value::Object(fields) = json!({"name": marker}) else { return };
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
        self.history().writes.push(Write { marker, key, began, end });
        let late = Duration::from_millis(self.random.below(60));
        self.cluster.broker.later(number, record, late);
    }
}

fn location(response: &Response<Bytes>) -> Option<String> {
    Some(response.headers().get("location")?.to_str().ok()?.to_owned())
}

/// Where the next page is.
fn next(response: &Response<Bytes>) -> Option<String> {
    let link = response.headers().get("link")?.to_str().ok()?;
    Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned())
}

//! Clients that write, read and list through the gateways, one request after the other, and note what they are told.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use serde_json::Value;
use serde_json::value::RawValue;

use super::cluster::{Answer, Cluster, GATEWAYS, ON_DEMAND, is_trouble, request};
use super::history::{End, Found, History, Listing, Seen, What};
use super::world::Random;

/// Ids that clients create and change beside those that `POST` makes.
pub(crate) const IDS: u64 = 4;
const TOKEN: &str = "consistency-token";

pub(crate) struct Visitor {
    pub(crate) number: usize,
    pub(crate) cluster: Arc<Cluster>,
    history: Arc<Mutex<History>>,
    pub(crate) random: Random,
    /// The gateway that it mostly asks.
    home: usize,
    pub(crate) markers: u64,
    /// Made by its `POST`s.
    pub(crate) own: Vec<String>,
    /// It waits for every answer.
    pub(crate) patient: bool,
    /// It goes from gateway to gateway, and takes along the token that it was told last.
    carries: bool,
    token: Option<String>,
}

/// A request's answer with what the history must know of it.
pub(crate) struct Told {
    pub(crate) response: Response<Bytes>,
    gateway: usize,
    writes: bool,
    incarnation: u64,
    began: u64,
    ended: u64,
}

impl Visitor {
    pub(crate) fn new(number: usize, seed: u64, cluster: &Arc<Cluster>, history: &Arc<Mutex<History>>) -> Self {
        let random = Random::new(seed ^ 0xc11e47 ^ ((number as u64) << 40));
        let (cluster, history, home) = (Arc::clone(cluster), Arc::clone(history), number % GATEWAYS);
        let carries = number % 2 == 1;
        let (markers, own, patient, token) = (0, Vec::new(), false, None);
        Self { number, cluster, history, random, home, markers, own, patient, carries, token }
    }

    /// The same client on another connection at the same time; it carries no token, for it cannot know the latest.
    pub(crate) fn twin(&mut self) -> Self {
        let (cluster, history, own) = (Arc::clone(&self.cluster), Arc::clone(&self.history), Vec::new());
        let random = Random::new(self.random.next());
        Self { random, cluster, history, own, carries: false, token: None, ..*self }
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

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    pub(crate) fn complain(&self, text: String) {
        self.history().complaints.push(format!("client {}: {text}", self.number));
    }

    fn gateway(&mut self) -> usize {
        if self.carries || self.random.below(5) == 0 { self.random.below(GATEWAYS as u64) as usize } else { self.home }
    }

    pub(crate) fn id(&mut self) -> String {
        let own = self.own.len() as u64;
        match self.random.below(IDS + own.min(2)) {
            shared @ 0..IDS => format!("p{shared}"),
            _ => self.own[self.random.below(own) as usize].clone(),
        }
    }

    /// One thing that a client does.
    async fn step(&mut self) {
        let gateway = self.gateway();
        match self.random.below(100) {
            0..7 => drop(self.post(gateway).await),
            7..18 => {
                let id = self.id();
                self.put(gateway, &id, true).await;
            }
            18..41 => {
                let id = self.id();
                self.put(gateway, &id, false).await;
            }
            41..48 => {
                let id = self.id();
                self.delete(gateway, &id).await;
            }
            48..57 => self.until_known(gateway).await,
            57..61 => self.touch(gateway).await,
            61..86 => {
                let (id, no_cache) = (self.id(), self.random.below(4) == 0);
                drop(self.get(gateway, &id, no_cache).await);
            }
            86..93 => drop(self.list(gateway).await),
            93..96 => self.look_up(gateway).await,
            _ => {
                // Another producer at the same moment.
                let id = self.stray();
                self.put(gateway, &id, false).await;
            }
        }
    }

    /// Sends a request; the answer, where there is one.
    pub(crate) async fn ask(
        &mut self,
        gateway: usize,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Told, End> {
        let token = self.token.clone();
        let mut headers = headers.to_vec();
        headers.extend(token.as_deref().map(|token| (TOKEN, token)));
        let hangs_up = !self.patient && self.random.below(15) == 0;
        let patience = hangs_up.then(|| Duration::from_millis(self.random.below(2000)));
        let began = self.cluster.world.tick();
        let answer = self.cluster.request(gateway, request(method, path, &headers, body), patience).await;
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
            Answer::Response { response, incarnation } => {
                if self.carries {
                    self.token = header(&response, TOKEN).or(token);
                }
                let writes = method != Method::GET.as_str();
                Ok(Told { response, gateway, writes, incarnation, began, ended })
            }
            Answer::Refused => Err(End::Safe),
            Answer::Lost => Err(End::Doubt(None)),
            Answer::Hung => {
                self.complain(format!("{method} {path} has no answer"));
                Err(End::Doubt(None))
            }
        }
    }

    pub(crate) fn saw(&self, told: &Told, id: &str, what: What, decided: bool) {
        let Told { gateway, writes, incarnation, began, ended, .. } = *told;
        let (client, carried, key) = (self.number, self.carries, format!("provider:{id}"));
        // What the data store told a gateway that has no views may be ahead of its token: docs/adr/0016.
        let done = writes && told.response.status().is_success();
        let covered = carried && (done || (gateway != ON_DEMAND && (writes || !decided)));
        self.history().seen.push(Seen { client, incarnation, began, ended, key, what, decided, carried, covered });
    }

    /// Notes the object of an answer; its id.
    pub(crate) fn object(&self, told: &Told, id: Option<String>, decided: bool) -> Option<String> {
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

    /// Reads an entity; its object, where there is one, or the status that says why there is none.
    pub(crate) async fn get(&mut self, gateway: usize, id: &str, no_cache: bool) -> Option<Result<Bytes, u16>> {
        let path = format!("/provider/{id}");
        let headers: &[_] = if no_cache { &[("cache-control", "no-cache")] } else { &[] };
        let told = self.ask(gateway, "GET", &path, headers, "").await.ok()?;
        let status = told.response.status();
        if status == 200 {
            self.object(&told, Some(id.to_owned()), no_cache);
            return Some(Ok(told.response.into_body()));
        }
        match refusal(&told.response) {
            Some(what) => self.saw(&told, id, what, no_cache),
            None if is_trouble(status) => return None,
            None => self.complain(format!("GET {path}: {:?}", told.response)),
        }
        Some(Err(status.as_u16()))
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
            let (client, carried) = (self.number, self.carries);
            let so_far =
                listing.get_or_insert_with(|| Listing { client, incarnation, began, carried, rows: Vec::new() });
            if so_far.incarnation != incarnation {
                return None;
            }
            let rows: Vec<&RawValue> = serde_json::from_slice(told.response.body()).unwrap_or_default();
            for row in rows {
                let bytes = Bytes::copy_from_slice(row.get().as_bytes());
                let object: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let id = object["id"].as_str().unwrap_or_default();
                so_far.rows.push((format!("provider:{id}"), bytes.clone()));
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
}

pub(crate) fn header(response: &Response<Bytes>, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

/// Where the next page is.
fn next(response: &Response<Bytes>) -> Option<String> {
    Some(header(response, "link")?.strip_prefix('<')?.split_once('>')?.0.to_owned())
}

/// What an answer tells of an entity of which it has no object; the version stands in its text.
pub(crate) fn refusal(response: &Response<Bytes>) -> Option<What> {
    let problem: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let version = || {
        let (_, after) = problem["detail"].as_str()?.split_once("as version ")?;
        after.split(';').next()?.parse().ok()
    };
    match response.status().as_u16() {
        404 => Some(What::Absent),
        410 => Some(What::Gone(version()?)),
        412 => Some(What::Exists(version()?)),
        _ => None,
    }
}

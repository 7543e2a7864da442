//! Writers: each with a connection of its own, waiting for each answer before the next write.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use crate::shared::check::MARKER;
use crate::shared::history::{Outcome, Write, outcome};
use crate::shared::http::Connection;
use crate::shared::random::Random;

/// Entities of its own that a writer goes on changing.
const OWN_MAX: usize = 40;
/// Entities that all writers change.
pub(crate) const SHARED: usize = 4;
/// A text that takes a record over several pages now and then.
const LARGE_BYTES: usize = 40_000;
const RESPOND_ASYNC: (&str, &str) = ("prefer", "respond-async");
const FIELDS: [&str; 5] = ["url", "email", "position", "social_facebook", "phonenumber"];

/// What one writer has made and goes on with.
pub(crate) struct Writer {
    number: usize,
    seed: u64,
    own: Vec<String>,
    /// The ETag that it was last told of an entity: of an own one the current, unless an answer was lost.
    etags: HashMap<String, String>,
    /// `Prefer` of writes that do not choose another.
    prefer: Option<String>,
}

/// A write before it is sent.
struct Step {
    method: &'static str,
    path: String,
    entity: Option<String>,
    creates: bool,
    patch: Map<String, Value>,
    headers: Vec<(&'static str, &'static str)>,
    /// `If-Match`.
    based_on: Option<String>,
}

impl Writer {
    pub(crate) fn new(number: usize, seed: u64) -> Self {
        Self { number, seed, own: Vec::new(), etags: HashMap::new(), prefer: None }
    }

    /// Waits so long for each answer, and not as long as the gateway would have it.
    pub(crate) fn waiting(mut self, seconds: u64) -> Self {
        self.prefer = Some(format!("wait={seconds}"));
        self
    }

    /// Writes until the connection is lost, or `count` times.
    pub(crate) fn run(&mut self, address: SocketAddr, round: usize, count: usize) -> Vec<Write> {
        let mut random = Random::new(self.seed, (round * 1000 + self.number) as u64);
        let mut writes = Vec::new();
        let Ok(mut connection) = Connection::open(address) else { return writes };
        while writes.len() < count {
            let (write, lost) = self.write(&mut connection, (round, writes.len()), &mut random);
            writes.push(write);
            if lost {
                break;
            }
        }
        writes
    }

    /// One write, its number in the round given, and whether the connection is lost.
    pub(crate) fn write(
        &mut self,
        connection: &mut Connection,
        (round, number): (usize, usize),
        random: &mut Random,
    ) -> (Write, bool) {
        let marker = format!("{MARKER}{round}-{}-{number}", self.number);
        let step = self.step(&marker, round, number, random);
        let body = Value::Object(step.patch.clone()).to_string();
        let respond_async = step.headers.contains(&RESPOND_ASYNC);
        let mut headers: Vec<(&str, &str)> = step.headers.clone();
        headers.extend(step.based_on.as_deref().map(|etag| ("if-match", etag)));
        headers.extend(self.prefer.as_deref().filter(|_| !respond_async).map(|prefer| ("prefer", prefer)));
        let answer = connection.call(step.method, &step.path, &headers, &body);
        let outcome = outcome(&answer);
        if let Outcome::Acknowledged { id, etag, .. } = &outcome {
            self.etags.insert(id.clone(), etag.clone());
            if step.creates && !id.starts_with("shared") {
                self.own.push(id.clone());
            }
            if self.own.len() > OWN_MAX {
                self.etags.remove(&self.own.swap_remove(random.below(OWN_MAX)));
            }
        }
        let Step { entity, creates, patch, based_on, .. } = step;
        let write = Write { marker, writer: self.number, entity, creates, based_on, respond_async, patch, outcome };
        (write, answer.is_err())
    }

    fn step(&self, marker: &str, round: usize, number: usize, random: &mut Random) -> Step {
        let shared = |index: usize| format!("shared-{round}-{index}");
        if number < SHARED {
            // All at once: one makes it, the others are refused.
            return create_at(shared(number), marker);
        }
        let choice = random.below(100);
        match choice {
            0..30 => {
                Step { method: "POST", path: "/contact".to_owned(), ..create_at(String::new(), marker).anywhere() }
            }
            30..45 => create_at(format!("w{}-{round}-{number}", self.number), marker),
            45..51 => merge(shared(random.below(SHARED)), marker, random),
            51..57 => self.on_what_it_knows(merge(shared(random.below(SHARED)), marker, random)),
            57..59 => merge(format!("missing-{number}"), marker, random),
            _ if self.own.is_empty() => create_at(format!("w{}-{round}-{number}", self.number), marker),
            _ => {
                let id = self.own[random.below(self.own.len())].clone();
                match choice {
                    59..61 => create_at(id, marker),
                    61..63 => {
                        let mut step = merge(id, marker, random);
                        step.patch.insert("flagged".to_owned(), json!("perhaps"));
                        step
                    }
                    63..67 => {
                        let mut step = merge(id, marker, random);
                        step.headers.push(RESPOND_ASYNC);
                        step
                    }
                    67..80 => self.on_what_it_knows(merge(id, marker, random)),
                    _ => merge(id, marker, random),
                }
            }
        }
    }

    /// The same on condition that the entity is as this writer last heard.
    fn on_what_it_knows(&self, step: Step) -> Step {
        let based_on = step.entity.as_ref().and_then(|id| self.etags.get(id)).cloned();
        Step { based_on, ..step }
    }
}

impl Step {
    /// The same where the program chooses the id.
    fn anywhere(mut self) -> Self {
        self.entity = None;
        self.headers.clear();
        self
    }
}

fn create_at(id: String, marker: &str) -> Step {
    let patch = Map::from_iter([("name".to_owned(), json!(marker))]);
    let headers = vec![("if-none-match", "*")];
    let path = format!("/contact/{id}");
    Step { method: "PUT", path, entity: Some(id), creates: true, patch, headers, based_on: None }
}

fn merge(id: String, marker: &str, random: &mut Random) -> Step {
    let at = random.below(FIELDS.len());
    let mut patch = Map::from_iter([(FIELDS[at].to_owned(), json!(marker))]);
    let other = FIELDS[(at + 1 + random.below(FIELDS.len() - 1)) % FIELDS.len()].to_owned();
    match random.below(50) {
        0 => drop(patch.insert(other, json!("x".repeat(LARGE_BYTES)))),
        1..10 => drop(patch.insert(other, Value::Null)),
        10..20 => drop(patch.insert(other, json!(format!("\u{a0}\u{201c}£{}\n", random.next())))),
        _ => {}
    }
    let path = format!("/contact/{id}");
    Step { method: "PUT", path, entity: Some(id), creates: false, patch, headers: Vec::new(), based_on: None }
}

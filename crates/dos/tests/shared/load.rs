//! Writers: each with a connection of its own, waiting for each answer before the next write.

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
}

impl Writer {
    pub(crate) fn new(number: usize, seed: u64) -> Self {
        Self { number, seed, own: Vec::new(), prefer: None }
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
        headers.extend(self.prefer.as_deref().filter(|_| !respond_async).map(|prefer| ("prefer", prefer)));
        let answer = connection.call(step.method, &step.path, &headers, &body);
        let outcome = outcome(&answer);
        if let Outcome::Acknowledged { id, .. } = &outcome
            && step.creates
            && !id.starts_with("shared")
        {
            self.own.push(id.clone());
            if self.own.len() > OWN_MAX {
                self.own.swap_remove(random.below(OWN_MAX));
            }
        }
        let Step { entity, creates, patch, .. } = step;
        (Write { marker, writer: self.number, entity, creates, respond_async, patch, outcome }, answer.is_err())
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
            45..57 => merge(shared(random.below(SHARED)), marker, random),
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
                    _ => merge(id, marker, random),
                }
            }
        }
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
    Step { method: "PUT", path: format!("/contact/{id}"), entity: Some(id), creates: true, patch, headers }
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
    Step { method: "PUT", path: format!("/contact/{id}"), entity: Some(id), creates: false, patch, headers: Vec::new() }
}

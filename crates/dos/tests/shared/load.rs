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
/// How often a write is sent again under its key.
const AGAIN_MAX: usize = 4;
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
    /// It deletes, creates anew, and sends writes again under their key.
    thorough: bool,
    /// Of its own, those that it has deleted.
    deleted: Vec<String>,
    /// A write that is sent again, and how often it may be.
    again: Option<(Step, String, usize)>,
}

/// A write before it is sent.
#[derive(Clone, Default)]
struct Step {
    method: &'static str,
    path: String,
    entity: Option<String>,
    creates: bool,
    patch: Map<String, Value>,
    headers: Vec<(&'static str, &'static str)>,
    /// `If-Match`.
    based_on: Option<String>,
    deletes: bool,
    keyed: bool,
}

impl Writer {
    pub(crate) fn new(number: usize, seed: u64) -> Self {
        let (own, deleted, etags) = (Vec::new(), Vec::new(), HashMap::new());
        Self { number, seed, own, etags, prefer: None, thorough: false, deleted, again: None }
    }

    /// Deletes, creates anew, and sends some writes under an idempotency key, again and again until it knows what became of
    /// them, and some once more.
    pub(crate) fn thorough(mut self) -> Self {
        self.thorough = true;
        self
    }

    /// Whether it goes on with a write that it has sent before: at another gateway, so that there are two.
    pub(crate) fn repeats(&self) -> bool {
        self.again.is_some()
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
        let (step, marker, left) = self.again.take().unwrap_or_else(|| {
            let marker = format!("{MARKER}{round}-{}-{number}", self.number);
            let mut step = self.step(&marker, round, number, random);
            step.keyed = self.thorough && number >= SHARED && random.below(6) == 0;
            (step, marker, AGAIN_MAX)
        });
        let body = if step.deletes { String::new() } else { Value::Object(step.patch.clone()).to_string() };
        let respond_async = step.headers.contains(&RESPOND_ASYNC);
        let key = format!("the-key-of-{}-{marker}", self.seed);
        let mut headers: Vec<(&str, &str)> = step.headers.clone();
        headers.push(("x-request-id", &marker));
        headers.extend(step.keyed.then_some(("idempotency-key", key.as_str())));
        headers.extend(step.based_on.as_deref().map(|etag| ("if-match", etag)));
        headers.extend(self.prefer.as_deref().filter(|_| !respond_async).map(|prefer| ("prefer", prefer)));
        let answer = connection.call(step.method, &step.path, &headers, &body);
        let replayed = answer.as_ref().is_ok_and(|response| response.header("idempotent-replayed").is_some());
        let outcome = outcome(&answer);
        if !replayed {
            self.learn(&step, &outcome, random);
        }
        let is_known = matches!(outcome, Outcome::Acknowledged { .. } | Outcome::Deleted | Outcome::Refused(..500));
        if step.keyed && left > 0 && (!is_known || random.below(2) == 0) {
            self.again = Some((step.clone(), marker.clone(), left - 1));
        }
        let Step { entity, creates, patch, based_on, deletes, keyed, .. } = step;
        let writer = self.number;
        let write = Write {
            marker,
            writer,
            entity,
            creates,
            deletes,
            keyed,
            replayed,
            based_on,
            respond_async,
            patch,
            outcome,
        };
        (write, answer.is_err())
    }

    /// Goes on with what it was told.
    fn learn(&mut self, step: &Step, outcome: &Outcome, random: &mut Random) {
        match outcome {
            Outcome::Acknowledged { id, etag, .. } => {
                self.etags.insert(id.clone(), etag.clone());
                if step.creates && !id.starts_with("shared") {
                    self.deleted.retain(|deleted| deleted != id);
                    self.own.push(id.clone());
                }
                if self.own.len() > OWN_MAX {
                    self.etags.remove(&self.own.swap_remove(random.below(OWN_MAX)));
                }
            }
            Outcome::Deleted => {
                let own = step.entity.iter().filter(|id| !id.starts_with("shared"));
                self.deleted.extend(own.cloned());
            }
            _ => {}
        }
    }

    fn step(&self, marker: &str, round: usize, number: usize, random: &mut Random) -> Step {
        let shared = |index: usize| format!("shared-{round}-{index}");
        if number < SHARED {
            // All at once: one makes it, the others are refused.
            return create_at(shared(number), marker);
        }
        if self.thorough && random.below(12) == 0 {
            return self.end_or_begin(marker, shared(random.below(SHARED)), random);
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

    /// Deletes something, or creates what was deleted.
    fn end_or_begin(&self, marker: &str, shared: String, random: &mut Random) -> Step {
        match (random.below(10), &self.own[..], &self.deleted[..]) {
            (0, ..) => delete(shared),
            (1, ..) => create_at(shared, marker),
            (2..6, _, [.., last]) => create_at(last.clone(), marker),
            (_, [], _) => delete(format!("missing-{marker}")),
            (choice, own, _) => {
                let step = delete(own[random.below(own.len())].clone());
                if choice == 9 { self.on_what_it_knows(step) } else { step }
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
    Step { method: "PUT", path, entity: Some(id), creates: true, patch, headers, ..Step::default() }
}

fn delete(id: String) -> Step {
    let path = format!("/contact/{id}");
    Step { method: "DELETE", path, entity: Some(id), deletes: true, ..Step::default() }
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
    Step { method: "PUT", path, entity: Some(id), patch, ..Step::default() }
}

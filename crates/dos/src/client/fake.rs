//! A gateway for the tests of this module: entities in a map, and faults on order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use contract::env::BoxFuture;
use contract::{Env, Timestamp};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::progress::Progress;

/// What the next write gets instead of a plain answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// `503`, nothing done.
    Busy,
    /// Done, but the connection breaks before the answer.
    Lost,
    /// Done, answered with a `202` whose operation ends at the third look.
    Later,
    /// Accepted and never seen again.
    Forgotten,
    /// Accepted and always pending.
    Never,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) entities: BTreeMap<(String, String), (u64, Value)>,
    pub(crate) faults: VecDeque<Fault>,
    /// Method and path of every request.
    pub(crate) seen: Vec<String>,
    /// Raw bodies of lists, by path with query, before anything else: body and `Link`.
    pub(crate) pages: HashMap<String, (u16, String, Option<String>)>,
    pub(crate) in_flight_max: usize,
    /// Else it is a gateway of before there were batches.
    pub(crate) takes_batches: bool,
    in_flight: usize,
    operations: Vec<(u32, Value)>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) url: String,
}

type Answer = Response<Full<Bytes>>;

impl Fake {
    /// Listens on a free port until the test's runtime ends.
    #[allow(clippy::disallowed_methods, reason = "the server is outside of what is tested")]
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self { state: Arc::default(), url };
        let served = fake.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let fake = served.clone();
                let service = hyper::service::service_fn(move |request| {
                    let fake = fake.clone();
                    async move { fake.handle(request).await }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                tokio::spawn(connection);
            }
        });
        fake
    }

    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap())
    }

    /// An error breaks the connection.
    async fn handle(&self, request: Request<Incoming>) -> Result<Answer, std::io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        self.with(|state| {
            let batch = head.headers.get("content-type").is_some_and(|value| value == "application/x-ndjson");
            let method = if batch { "BATCH" } else { head.method.as_str() };
            state.seen.push(format!("{method} {}", head.uri));
            state.in_flight += 1;
            state.in_flight_max = state.in_flight_max.max(state.in_flight);
        });
        // Lets other requests arrive, as a real wait for the store would.
        tokio::task::yield_now().await;
        let create = head.headers.contains_key("if-none-match");
        let answer = self.with(|state| {
            state.in_flight -= 1;
            if head.headers.get("content-type").is_some_and(|value| value == "application/x-ndjson") {
                return state.batch(head.uri.path(), &body);
            }
            state.answer(&head.method, head.uri.path(), head.uri.query(), create, &body)
        });
        answer.ok_or_else(|| std::io::Error::other("lost"))
    }
}

impl State {
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        create: bool,
        body: &[u8],
    ) -> Option<Answer> {
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        if let Some((status, body, link)) = self.pages.get(&target) {
            let link = link.iter().map(|link| ("link", link.clone()));
            return Some(respond(*status, body.clone(), link.chain([("x-total-count", "3".to_owned())])));
        }
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            (&Method::GET, [""]) => Some(respond(200, json!([{"apiPath": "/provider"}, {"apiPath": "/event"}]), [])),
            (&Method::GET, ["operation", n]) => Some(self.operation(n.parse().unwrap())),
            (&Method::GET, [t, id]) => match self.entities.get(&((*t).to_owned(), (*id).to_owned())) {
                Some((version, value)) => Some(respond(200, value, [("etag", format!("\"{version}\""))])),
                None => Some(problem(404, "not found")),
            },
            (_, [t, rest @ ..]) => self.write(t, rest.first().copied(), create, body),
            _ => Some(problem(405, "not offered")),
        }
    }

    /// A fault is the next row's.
    fn batch(&mut self, path: &str, body: &[u8]) -> Option<Answer> {
        if !self.takes_batches {
            return Some(problem(415, "no such media type"));
        }
        let (mut lines, mut lost) = (String::new(), false);
        for (number, row) in (1..).zip(body.split(|byte| *byte == b'\n').filter(|row| !row.is_empty())) {
            let fault = self.faults.pop_front();
            let fields: Value = serde_json::from_slice(row).unwrap();
            let (t, id) = (path.trim_matches('/'), fields["id"].as_str());
            if matches!(fault, Some(Fault::Busy)) {
                lines += &format!(
                    "{}\n",
                    json!({"line": number, "status": 503, "problem": {"status": 503, "retry": "safe"}})
                );
                continue;
            }
            if matches!(fault, Some(Fault::Forgotten | Fault::Never)) {
                lines += &format!("{}\n", json!({"line": number, "status": 202, "location": "/operation/9"}));
                continue;
            }
            let key = (t.to_owned(), id.unwrap_or_default().to_owned());
            let before = self.entities.get(&key).map(|entity| entity.0);
            let (status, value, version) = self.apply(t, id, before.is_none() && id.is_some(), row);
            lost |= matches!(fault, Some(Fault::Lost));
            let line = match (fault, status) {
                (_, 400..) => json!({"line": number, "status": status, "problem": value}),
                (Some(Fault::Later), _) => json!({"line": number, "status": 202, "location": "/operation/0"}),
                _ => json!({"line": number, "status": status, "changed": before != Some(version)}),
            };
            lines += &format!("{line}\n");
        }
        (!lost).then(|| respond(200, lines, []))
    }

    fn write(&mut self, t: &str, id: Option<&str>, create: bool, body: &[u8]) -> Option<Answer> {
        let fault = self.faults.pop_front();
        match fault {
            Some(Fault::Busy) => {
                let body = json!({"status": 503, "detail": "busy", "retry": "safe"});
                return Some(respond(503, body, [("retry-after", "1".to_owned())]));
            }
            Some(Fault::Forgotten) => return Some(self.accept(0, Value::Null)),
            Some(Fault::Never) => return Some(self.accept(u32::MAX, Value::Null)),
            _ => {}
        }
        let (status, value, version) = self.apply(t, id, create, body);
        match fault {
            Some(Fault::Lost) => None,
            Some(Fault::Later) if status < 300 => Some(self.accept(2, json!({"status": "succeeded"}))),
            Some(Fault::Later) => Some(self.accept(2, json!({"status": "failed", "problem": value}))),
            _ => Some(respond(status, value, [("etag", format!("\"{version}\""))])),
        }
    }

    fn apply(&mut self, t: &str, id: Option<&str>, create: bool, body: &[u8]) -> (u16, Value, u64) {
        let fields: Value = serde_json::from_slice(body).unwrap();
        if fields["name"].is_null() && fields["id"] != "merge" {
            let errors = json!([{"pointer": "#/name", "detail": "is missing"}]);
            return (422, json!({"status": 422, "detail": "1 field is wrong", "errors": errors, "retry": "no"}), 0);
        }
        let key = (t.to_owned(), id.map_or_else(|| format!("new-{}", self.entities.len()), str::to_owned));
        match self.entities.get_mut(&key) {
            Some(_) if create => (412, json!({"status": 412, "detail": "it exists"}), 0),
            None if !create && id.is_some() => (404, json!({"status": 404, "detail": "not found"}), 0),
            Some((version, value)) => {
                let before = value.clone();
                for (name, field) in fields.as_object().unwrap() {
                    value[name] = field.clone();
                }
                *version += u64::from(before != *value);
                (200, value.clone(), *version)
            }
            None => {
                self.entities.insert(key, (1, fields.clone()));
                (201, fields, 1)
            }
        }
    }

    fn accept(&mut self, looks: u32, end: Value) -> Answer {
        self.operations.push((looks, end));
        let location = format!("/operation/{}", self.operations.len() - 1);
        respond(202, json!({"status": "pending"}), [("location", location)])
    }

    fn operation(&mut self, n: usize) -> Answer {
        let (looks, end) = &mut self.operations[n];
        match looks {
            0 if end.is_null() => problem(404, "unknown"),
            0 => respond(200, &*end, []),
            _ => {
                *looks -= 1;
                respond(200, json!({"status": "pending"}), [])
            }
        }
    }
}

fn problem(status: u16, detail: &str) -> Answer {
    respond(status, json!({"status": status, "detail": detail}), [])
}

fn respond(status: u16, body: impl ToString, headers: impl IntoIterator<Item = (&'static str, String)>) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Full::new(Bytes::from(body.to_string()))).unwrap()
}

/// A clock that goes on only where somebody sleeps, so that no test waits.
#[derive(Default)]
pub(crate) struct Clock(AtomicU64);

impl Env for Clock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn random(&self) -> [u8; 10] {
        [0; 10]
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.0.fetch_add(u64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
        Box::pin(tokio::task::yield_now())
    }

    fn spawn(&self, _task: BoxFuture<()>) {}
}

/// No interrupt.
pub(crate) fn never() -> super::import::Interrupt {
    tokio::sync::watch::channel(false).1
}

/// Remembers what was reported.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) complaints: Mutex<Vec<String>>,
    pub(crate) done: AtomicU64,
    pub(crate) total: AtomicU64,
}

impl Progress for Heard {
    fn total(&self, amount: u64) {
        self.total.store(amount, Ordering::SeqCst);
    }
    fn begin(&self, _name: &str) {}
    fn advance(&self, amount: u64) {
        self.done.fetch_add(amount, Ordering::SeqCst);
    }
    fn complain(&self, line: &str) {
        self.complaints.lock().unwrap().push(line.to_owned());
    }
    fn end(&self, _name: &str, _summary: &str) {}
    fn finish(&self) {}
}

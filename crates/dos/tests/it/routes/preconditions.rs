//! Any conditions on any request, against a model of RFC 9110 13.2.2 that shares no code with the program.

use std::time::{Duration, UNIX_EPOCH};

use contract::Env as _;
use dos::env::System;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, Shape, eventually, matrix};
use crate::random::Random;

matrix! {
    any_conditions_are_decided_in_the_order_of_the_standard
}

const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"];

/// What a request finds at its path.
#[derive(Clone, Debug, PartialEq)]
enum State {
    Existing { etag: String, stale: String, modified_s: u64, text: String },
    Deleted,
    Missing,
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Clone, Debug)]
enum Tags {
    Any,
    Listed(Vec<String>),
    Malformed,
}

/// The value of a date: seconds since the epoch, or none where it is malformed.
type Date = Option<u64>;

#[derive(Clone, Debug)]
struct Case {
    method: &'static str,
    path: String,
    state: State,
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
    if_modified_since: Option<Date>,
    if_unmodified_since: Option<Date>,
    no_cache: bool,
}

impl Tags {
    fn any(random: &mut Random, state: &State) -> Self {
        let (etag, stale) = match state {
            State::Existing { etag, stale, .. } => (etag.as_str(), stale.as_str()),
            _ => ("\"2-00ab\"", "\"1-00ab\""),
        };
        let listed = |random: &mut Random| match random.below(6) {
            0 | 1 => etag.to_owned(),
            2 => format!("W/{etag}"),
            3 => stale.to_owned(),
            4 => "\"a,b\"".to_owned(),
            _ => "W/\"\"".to_owned(),
        };
        match random.below(12) {
            0..3 => Self::Any,
            3 => Self::Malformed,
            _ => Self::Listed((0..random.below(4)).map(|_| listed(random)).collect()),
        }
    }

    /// The header fields; a list may be in several.
    fn fields(&self, random: &mut Random) -> Vec<String> {
        match self {
            Self::Any => vec!["*".to_owned()],
            Self::Malformed => vec!["2-00ab".to_owned()],
            Self::Listed(tags) if tags.len() > 1 && random.below(2) == 0 => {
                vec![tags[0].clone(), tags[1..].join(" ,\t,")]
            }
            Self::Listed(tags) => vec![tags.join(", ")],
        }
    }

    /// Whether one of them is this; without the strong comparison a weak one counts.
    fn has(&self, etag: &str, strong: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Malformed => false,
            Self::Listed(tags) => tags.iter().any(|tag| tag == etag || (!strong && *tag == format!("W/{etag}"))),
        }
    }

    fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed)
    }

    fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }
}

fn any_date(random: &mut Random, state: &State) -> Date {
    let modified = match state {
        State::Existing { modified_s, .. } => *modified_s,
        _ => 1_700_000_000,
    };
    [Some(0), Some(modified - 1), Some(modified), Some(modified + 1), Some(4_102_444_800), None][random.below(6)]
}

fn http_date(date: Date) -> String {
    date.map_or("Tue, 24 Nov 2026".to_owned(), |seconds| {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
    })
}

impl Case {
    fn any(random: &mut Random, method: &'static str, path: String, state: State) -> Self {
        // Half of them have a condition, so that all pairs come often.
        Self {
            method,
            if_match: (random.below(2) == 0).then(|| Tags::any(random, &state)),
            if_none_match: (random.below(2) == 0).then(|| Tags::any(random, &state)),
            // On a write it is refused whatever else there is.
            if_modified_since: (random.below(if is_read(method) { 2 } else { 12 }) == 0)
                .then(|| any_date(random, &state)),
            if_unmodified_since: (random.below(2) == 0).then(|| any_date(random, &state)),
            no_cache: is_read(method) && random.below(8) == 0,
            path,
            state,
        }
    }

    /// The status that the standard, and where that is silent the contract, wants.
    fn expected(&self) -> u16 {
        let read = is_read(self.method);
        if !read && self.is_refused() {
            return 400;
        }
        // What is not there is so before conditions are looked at [13.2.1], but for a PUT that may create it.
        let creates = self.method == "PUT" && self.if_none_match.as_ref().is_some_and(Tags::is_any);
        match self.state {
            State::Missing if !creates && self.method != "POST" => return 404,
            State::Deleted if !creates => return 410,
            _ => {}
        }
        if read && self.if_match.as_ref().is_some_and(Tags::is_malformed) {
            return 400;
        }
        let current = match &self.state {
            State::Existing { etag, modified_s, .. } => Some((etag.as_str(), *modified_s)),
            _ => None,
        };
        self.by_precedence(current).unwrap_or(match (self.method, creates) {
            ("DELETE", _) => 204,
            ("POST", _) | (_, true) => 201,
            _ => 200,
        })
    }

    /// The steps of RFC 9110 13.2.2; none where the request is to be carried out. A representation without a tag or a date
    /// is a collection's.
    fn by_precedence(&self, current: Option<(&str, u64)>) -> Option<u16> {
        let read = is_read(self.method);
        let (exists, etag) =
            if self.method == "POST" { (true, "") } else { (current.is_some(), current.map_or("", |c| c.0)) };
        // Step 1, and without it step 2.
        match (&self.if_match, self.if_unmodified_since, current) {
            (Some(tags), _, _) if !exists || !tags.has(etag, true) => return Some(412),
            (None, Some(Some(since)), Some((_, modified))) if modified > since => return Some(412),
            _ => {}
        }
        // Step 3, and without it step 4.
        match (&self.if_none_match, self.if_modified_since, current) {
            (Some(tags), _, _) if exists && tags.has(etag, false) => Some(if read { 304 } else { 412 }),
            (None, Some(Some(since)), Some((_, modified))) if read && modified <= since => Some(304),
            _ => None,
        }
    }

    /// A condition that cannot be read would, if it were passed over, allow what the client forbade.
    fn is_refused(&self) -> bool {
        let malformed = |tags: &Option<Tags>| tags.as_ref().is_some_and(Tags::is_malformed);
        self.if_modified_since.is_some()
            || malformed(&self.if_match)
            || malformed(&self.if_none_match)
            || self.if_unmodified_since == Some(None)
    }

    async fn send(&self, api: &Api, random: &mut Random) -> Answer {
        let mut request = api.request(self.method, &self.path);
        for (name, tags) in [("if-match", &self.if_match), ("if-none-match", &self.if_none_match)] {
            for field in tags.iter().flat_map(|tags| tags.fields(random)) {
                request = request.header(name, field);
            }
        }
        for (name, date) in
            [("if-modified-since", self.if_modified_since), ("if-unmodified-since", self.if_unmodified_since)]
        {
            request = date.into_iter().fold(request, |request, date| request.header(name, http_date(date)));
        }
        if self.no_cache {
            request = request.header("cache-control", "no-cache");
        }
        let body = json!({"name": "changed", "published": 0}).to_string();
        Answer::of(match self.method {
            "PUT" | "POST" => request.header("content-type", "application/json").body(body),
            "PATCH" => request.header("content-type", "application/merge-patch+json").body(body),
            _ => request,
        })
        .await
    }

    /// Sends it, and looks at what became of the entity.
    async fn check(self, api: &Api, seed: u64) {
        let answer = self.send(api, &mut Random::new(seed, 1)).await;
        let expected = self.expected();
        assert_eq!(answer.status, expected, "{self:?}: {answer:?}");
        match expected {
            412 if self.method != "HEAD" => {
                let retry = if is_read(self.method) { Value::Null } else { json!("no") };
                assert_eq!(answer.expect_problem(412, "precondition-failed").json["retry"], retry, "{self:?}");
            }
            304 => assert_eq!(answer.text, ""),
            _ => {}
        }
        let State::Existing { etag, text, .. } = &self.state else {
            let read = api.get(&self.path).await.status;
            let after = if self.state == State::Deleted { 410 } else { 404 };
            assert!(self.method == "POST" || read == if expected == 201 { 200 } else { after }, "{self:?}: {read}");
            assert!(expected != 201 || self.state == State::Missing || version(&answer) == 4, "{self:?}: {answer:?}");
            return;
        };
        if matches!(expected, 200 | 304) && is_read(self.method) {
            assert_eq!(answer.header("etag"), Some(etag.as_str()), "{self:?}");
        }
        let read = api.get(&self.path).await;
        match (self.method, expected) {
            ("PUT" | "PATCH", 200) => {
                assert_eq!((&read.json["name"], version(&read)), (&json!("changed"), 3), "{self:?}: {read:?}");
                assert_eq!(read.header("etag"), answer.header("etag"), "{self:?}");
            }
            ("DELETE", 204) => drop(read.expect_problem(410, "gone")),
            _ => assert_eq!((read.header("etag"), &read.text), (Some(etag.as_str()), text), "{self:?}"),
        }
    }
}

fn is_read(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

fn version(answer: &Answer) -> u64 {
    let etag = answer.header("etag").unwrap_or_else(|| panic!("no version: {answer:?}"));
    etag[1..].split('-').next().unwrap().parse().unwrap()
}

/// A line of the answer to a batch for each of these.
async fn batch(api: &Api, count: usize, name: &str) -> Vec<Value> {
    let row = |number| format!("{}\n", json!({"id": format!("p{number}"), "name": name, "published": 1}));
    let body: String = (0..count).map(row).collect();
    let answer = Answer::of(api.request("POST", "/provider").header("content-type", "application/x-ndjson").body(body));
    answer.await.expect(200).text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Entities of version 2, and when they were changed.
async fn existing(api: &Api, count: usize) -> Vec<State> {
    let stale = batch(api, count, "first").await;
    let current = batch(api, count, "second").await;
    let mut states = Vec::new();
    for (stale, current) in stale.iter().zip(&current) {
        let path = format!("/provider/{}", current["id"].as_str().unwrap());
        // It comes once its second is over.
        let (modified, text) = eventually(async || {
            let answer = api.get(&path).await;
            Some((answer.header("last-modified")?.to_owned(), answer.text))
        })
        .await;
        let modified = httpdate::parse_http_date(&modified).unwrap();
        states.push(State::Existing {
            etag: current["etag"].as_str().unwrap().to_owned(),
            stale: stale["etag"].as_str().unwrap().to_owned(),
            modified_s: modified.duration_since(UNIX_EPOCH).unwrap().as_secs(),
            text,
        });
    }
    states
}

async fn any_conditions_are_decided_in_the_order_of_the_standard(api: Api) {
    let count = if api.shape == Shape::Embedded { 480 } else { 120 };
    let seed = System::new().uuid().as_u64_pair().1;
    println!("seed {seed}");
    let mut random = Random::new(seed, 0);
    // Each case has an entity of its own, so that they may run beside each other.
    let mut states = existing(&api, count).await;
    let deleted = (0..count).step_by(7).map(|number| {
        let api = &api;
        async move {
            Answer::of(api.request("DELETE", &format!("/provider/p{number}"))).await.expect(204);
        }
    });
    futures_util::stream::iter(deleted).buffer_unordered(16).collect::<Vec<_>>().await;
    let mut cases = Vec::new();
    for (number, state) in states.drain(..).enumerate() {
        let method = METHODS[number % METHODS.len()];
        let (path, state) = match number % 7 {
            _ if method == "POST" => ("/provider".to_owned(), State::Missing),
            0 => (format!("/provider/p{number}"), State::Deleted),
            1 => (format!("/provider/none{number}"), State::Missing),
            _ => (format!("/provider/p{number}"), state),
        };
        cases.push(Case::any(&mut random, method, path, state));
    }
    let statuses: Vec<u16> = cases.iter().map(Case::expected).collect();
    let number = |status: u16| statuses.iter().filter(|expected| **expected == status).count();
    for status in [200, 201, 204, 304, 400, 404, 410, 412] {
        assert!(number(status) > 0, "no case gives {status}");
    }
    let total = count - count.div_ceil(7) + number(201) - number(204);
    let checked = cases.into_iter().enumerate().map(|(number, case)| case.check(&api, seed ^ number as u64));
    futures_util::stream::iter(checked).buffer_unordered(16).collect::<Vec<_>>().await;
    assert_eq!(api.get("/provider?limit=1").await.header("x-total-count"), Some(total.to_string().as_str()));
}

//! A list as a stream and then the feed from its `Consistency-Token`, while others write: the directory's true state.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use contract::Env as _;
use dos::env::System;
use dos::settings::Settings;
use futures_util::future::join_all;
use gateway::Position;
use serde_json::{Value, json};

use super::event_stream::{Event, Events, ask};
use crate::harness::{Answer, Api, Shape, bounded, matrix};
use crate::random::Random;

matrix! {
    shape => a_streamed_list_and_what_follows_its_token_are_the_true_state
}

const TOKEN: &str = "consistency-token";
/// More than two of the pages that a stream is made of.
const ROWS: usize = 260;
const WRITERS: usize = 3;
const WRITES: usize = 60;

/// Entities by their ids, as they are shown.
type State = BTreeMap<String, Value>;

/// How a client follows what changes.
#[derive(Clone, Copy, Debug)]
enum Way {
    OfType,
    OfAll,
    Pages,
}

/// A client that keeps a copy.
struct Follower {
    way: Way,
    state: State,
    at: String,
    random: Random,
    connections: usize,
    told: usize,
}

fn id_of(row: &Value) -> String {
    row["id"].as_str().unwrap().to_owned()
}

fn position(text: &str) -> Position {
    Position::decode(text).unwrap()
}

/// All rows and the position that they are of.
async fn list(api: &Api, random: &mut Random) -> (State, String) {
    let request = api.request("GET", "/costoption").header("accept", "application/x-ndjson");
    let mut response = bounded(request.send()).await.unwrap();
    let at = response.headers()[TOKEN].to_str().unwrap().to_owned();
    let mut text = Vec::new();
    // In its own time, so that rows change while it reads.
    while let Some(chunk) = bounded(response.chunk()).await.unwrap() {
        text.extend_from_slice(&chunk);
        System::new().sleep(Duration::from_millis(random.below(4) as u64)).await;
    }
    let text = String::from_utf8(text).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (rows.map(|row| (id_of(&row), row)).collect(), at)
}

impl Follower {
    async fn begin(api: &Api, way: Way, mut random: Random) -> Self {
        let (state, at) = list(api, &mut random).await;
        Self { way, state, at, random, connections: 0, told: 0 }
    }

    fn take(&mut self, deleted: bool, mut object: Value, id: String) {
        self.told += 1;
        object.as_object_mut().map(|object| object.remove("@type"));
        if deleted {
            self.state.remove(&id)
        } else {
            self.state.insert(id, object)
        };
    }

    /// Whether it knows all that was written.
    fn is_done(&self, end: &OnceLock<Position>) -> bool {
        let here = position(&self.at);
        end.get().is_some_and(|end| here.offsets.iter().zip(&end.offsets).all(|(here, end)| here >= end))
    }

    /// Goes on from where it is, a few changes at a time, each time on any of the gateways.
    async fn follow(mut self, gateways: &[&Api], end: &OnceLock<Position>) -> Self {
        while !self.is_done(end) {
            let api = gateways[self.random.below(gateways.len())];
            self.connections += 1;
            if self.random.below(5) == 0 {
                (self.state, self.at) = list(api, &mut self.random).await;
            }
            match self.way {
                Way::Pages => self.poll(api).await,
                Way::OfType => self.listen(api, "/costoption").await,
                Way::OfAll => self.listen(api, "/changes").await,
            }
        }
        self
    }

    async fn listen(&mut self, api: &Api, path: &str) {
        let since = self.random.below(2) == 0;
        let mut events = match since {
            true => Events::of(ask(api, &format!("{path}?since={}", self.at))).await,
            false => Events::resume(api, path, &self.at).await,
        };
        for _ in 0..1 + self.random.below(15) {
            match tokio::time::timeout(Duration::from_millis(150), events.try_next()).await {
                Ok(Some(Event { name, id: at, data, .. })) => {
                    assert!(matches!(name.as_str(), "view" | "deleted"), "{name}: {data}");
                    self.at = at;
                    if data.get("@type").is_none_or(|name| name == "costoption") {
                        let id = id_of(&data);
                        self.take(name == "deleted", data, id);
                    }
                }
                Ok(None) => return,
                // Nothing waits to be taken, so the last heartbeat's position is its own.
                Err(_) => {
                    self.at.clone_from(&events.last_id);
                    return;
                }
            }
        }
    }

    async fn poll(&mut self, api: &Api) {
        let limit = 1 + self.random.below(20);
        let page = api.get(&format!("/changes?type=costoption&limit={limit}&since={}", self.at)).await;
        let rows = page.expect(200).json.as_array().unwrap();
        for row in rows {
            self.take(row["deleted"] == true, row["object"].clone(), id_of(row));
        }
        let link = page.header("link").unwrap();
        self.at = link.split("since=").nth(1).unwrap().split(['&', '>']).next().unwrap().to_owned();
        if rows.is_empty() {
            System::new().sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn fill(api: &Api, text: &str) -> State {
    let row = |number| format!("{}\n", json!({"id": format!("c{number}"), "option": format!("0 {text}")}));
    let body: String = (0..ROWS).map(row).collect();
    let request = api.request("POST", "/costoption").header("content-type", "application/x-ndjson").body(body);
    let answer = Answer::of(request).await;
    let lines = answer.expect(200).text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (id_of(&line), line["object"].clone())).collect()
}

/// Changes, deletes and creates its own entities, each on any of the gateways; gives what became of them, by the answers, and the
/// position behind it all.
async fn write(gateways: &[&Api], writer: usize, mut state: State, text: &str) -> (State, Position) {
    let (mut random, mut end) = (Random::new(23, writer as u64), None::<Position>);
    for number in 1..=WRITES {
        let api = gateways[random.below(gateways.len())];
        // A row of the first, a middle or the last page.
        let id = format!("c{}", random.below(ROWS / WRITERS) * WRITERS + writer);
        let path = format!("/costoption/{id}");
        let mut request = match random.below(4) {
            0 if state.contains_key(&id) => api.request("DELETE", &path),
            _ => api.request("PUT", &path).json(&json!({"option": format!("{number} {text}")})),
        };
        if !state.contains_key(&id) {
            request = request.header("if-none-match", "*");
        }
        let answer = Answer::of(request).await;
        assert!((200..300).contains(&answer.status), "{answer:?}");
        let token = position(answer.header(TOKEN).unwrap());
        match &mut end {
            Some(end) => end.merge(&token),
            None => end = Some(token),
        }
        match answer.status {
            204 => state.remove(&id),
            _ => state.insert(id, answer.json),
        };
        // Other types have records in the same partitions.
        if number % 20 == 0 {
            api.provider("other").await;
        }
    }
    (state, end.unwrap())
}

async fn a_streamed_list_and_what_follows_its_token_are_the_true_state(shape: Shape) {
    let first = Api::start_with(shape, |settings: &mut Settings| settings.feed.heartbeat_ms = 50).await;
    let second = first.second().await;
    let (gateways, text) = ([&first, &second], "x".repeat(1000));
    let state = fill(&first, &text).await;
    let end = OnceLock::new();
    let writers = (0..WRITERS).map(|writer| {
        let number = |id: &str| id[1..].parse::<usize>().unwrap();
        let own = state.iter().filter(|(id, _)| number(id) % WRITERS == writer);
        write(&gateways, writer, own.map(|(id, row)| (id.clone(), row.clone())).collect(), &text)
    });
    let writing = async {
        let written = join_all(writers).await;
        let mut last = written[0].1.clone();
        written.iter().for_each(|(_, end)| last.merge(end));
        end.set(last).unwrap();
        written.into_iter().flat_map(|(state, _)| state).collect::<State>()
    };
    let followers =
        [Way::OfType, Way::OfAll, Way::Pages].into_iter().cycle().take(6).enumerate().map(|(number, way)| {
            let (gateways, end) = (&gateways, &end);
            async move {
                let mut random = Random::new(29, number as u64);
                System::new().sleep(Duration::from_millis(random.below(60) as u64)).await;
                let api = gateways[number % 2];
                bounded(Follower::begin(api, way, random).await.follow(gateways, end)).await
            }
        });
    let (truth, followers) = tokio::join!(writing, join_all(followers));
    for follower in followers {
        let differs: Vec<_> = truth.iter().filter(|(id, row)| follower.state.get(*id) != Some(row)).collect();
        let more: Vec<_> = follower.state.keys().filter(|id| !truth.contains_key(*id)).collect();
        assert!(differs.is_empty() && more.is_empty(), "{:?}: {differs:?} and {more:?}", follower.way);
        assert!(follower.connections > 2 && follower.told > 0, "{:?}: it was told too little", follower.way);
    }
}

//! A client of server-sent events, for the tests.

use std::collections::VecDeque;

use gateway::Position;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use crate::harness::{Api, bounded};

/// One event as it came.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) data: Value,
}

/// An open stream.
pub(crate) struct Events {
    response: Response,
    buffer: Vec<u8>,
    ready: VecDeque<Event>,
    /// Of the last event or heartbeat: where to go on.
    pub(crate) last_id: String,
    pub(crate) heartbeats: usize,
}

pub(crate) fn ask(api: &Api, path: &str) -> RequestBuilder {
    api.request("GET", path).header("accept", "text/event-stream")
}

impl Events {
    pub(crate) async fn open(api: &Api, path: &str) -> Self {
        Self::of(ask(api, path)).await
    }

    pub(crate) async fn resume(api: &Api, path: &str, last_id: &str) -> Self {
        Self::of(ask(api, path).header("last-event-id", last_id)).await
    }

    pub(crate) async fn of(request: RequestBuilder) -> Self {
        Self::read_from(request.send().await.unwrap()).await
    }

    pub(crate) async fn read_from(response: Response) -> Self {
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
        let (buffer, ready, last_id, heartbeats) = (Vec::new(), VecDeque::new(), String::new(), 0);
        let mut events = Self { response, buffer, ready, last_id, heartbeats };
        // The first block tells where it begins.
        while events.last_id.is_empty() {
            assert!(bounded(events.read()).await, "it ended before it began");
        }
        events
    }

    /// The next event; none where the stream has ended or was cut.
    pub(crate) async fn try_next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Event {
        bounded(self.try_next()).await.expect("the stream has ended")
    }

    /// Name of the event and of the entity, or its id.
    pub(crate) async fn shown(&mut self) -> String {
        let event = self.next().await;
        let entity = if event.data["name"].is_string() { &event.data["name"] } else { &event.data["id"] };
        format!("{} {}", event.name, entity.as_str().unwrap_or_default())
    }

    /// Takes what comes next; false where nothing more will.
    async fn read(&mut self) -> bool {
        let Ok(Some(chunk)) = self.response.chunk().await else { return false };
        self.buffer.extend_from_slice(&chunk);
        while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
            self.block(std::str::from_utf8(&block).unwrap());
        }
        true
    }

    fn block(&mut self, block: &str) {
        let (mut name, mut data) = (String::new(), Vec::new());
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("id", value)) => self.last_id = value.to_owned(),
                Some(("data", value)) => data.push(value),
                Some(("", _)) => self.heartbeats += 1,
                Some(("retry", _)) | None => {}
                Some(_) => panic!("{block}"),
            }
        }
        if data.is_empty() {
            return;
        }
        let (text, id) = (data.join("\n"), self.last_id.clone());
        assert!(Position::decode(&id).is_some(), "{block}");
        self.ready.push_back(Event { name, id, data: serde_json::from_str(&text).unwrap(), text });
    }
}

//! Many rows to the gateway at once and back (`POST /T` with `application/x-ndjson`).
//!
//! What a line does not settle (its outcome was not known in time, the connection was cut, the gateway was busy) is sent again
//! as a request of its own, which repeats nothing that must not be repeated. So is everything where a gateway takes no batches.

use std::sync::atomic::{AtomicU8, Ordering};

use bytes::{Bytes, BytesMut};
use contract::TypeName;
use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::http::{Answer, Failure, Request};
use super::problem::{Problem, Retry};
use super::rows::Row;
use super::sender::{Sender, Sent};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Whether the gateway takes batches.
#[derive(Debug)]
pub(crate) struct Takes(AtomicU8);

impl Takes {
    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;

    pub(crate) fn unknown() -> Self {
        Self(AtomicU8::new(Self::UNKNOWN))
    }

    pub(crate) fn no() -> Self {
        Self(AtomicU8::new(Self::NO))
    }

    /// None until it was tried.
    pub(crate) fn known(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            Self::UNKNOWN => None,
            takes => Some(takes == Self::YES),
        }
    }

    fn tell(&self, takes: bool) {
        self.0.store(if takes { Self::YES } else { Self::NO }, Ordering::Relaxed);
    }
}

/// A line of the answer, as far as it is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    line: u64,
    status: u16,
    changed: bool,
    location: Option<String>,
    problem: Value,
}

/// What a line says of its row.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Settled(Sent),
    /// Its outcome is not known yet; here is where to ask.
    Accepted(String),
    /// It is to be sent by itself. The flag: it may have been carried out.
    Again(bool),
}

impl Sender {
    /// Sends rows of different ids, `parallel` at a time where they must go one by one; gives what became of each. An error
    /// means that sending more rows is of no use.
    pub(crate) async fn send_all(
        &self,
        entity_type: &TypeName,
        rows: &[Row],
        parallel: usize,
    ) -> Vec<Result<Sent, String>> {
        let told = if self.takes.known() == Some(false) {
            rows.iter().map(|_| Told::Again(false)).collect()
        } else {
            match self.post_all(entity_type, rows).await {
                Ok(told) => told,
                Err(Failure::Away(reason)) => return rows.iter().map(|_| Err(reason.clone())).collect(),
                Err(Failure::Unknown(_)) => rows.iter().map(|_| Told::Again(true)).collect(),
            }
        };
        let settled = rows.iter().zip(told).map(|(row, told)| self.settle(entity_type, row, told));
        futures_util::stream::iter(settled).buffered(parallel.max(1)).collect().await
    }

    async fn settle(&self, entity_type: &TypeName, row: &Row, told: Told) -> Result<Sent, String> {
        match (told, &row.id) {
            (Told::Settled(sent), _) => Ok(sent),
            (Told::Accepted(location), None) => self.follow_new(entity_type, &location).await,
            (Told::Accepted(_), Some(_)) => self.send(entity_type, row, true).await,
            (Told::Again(true), None) => Ok(Sent::Unknown("the batch it was in has no answer".to_owned())),
            (Told::Again(doubted), _) => self.send(entity_type, row, doubted).await,
        }
    }

    async fn post_all(&self, entity_type: &TypeName, rows: &[Row]) -> Result<Vec<Told>, Failure> {
        let mut body = BytesMut::with_capacity(rows.iter().map(|row| row.json.len() + 1).sum());
        for row in rows {
            body.extend_from_slice(&row.json);
            body.extend_from_slice(b"\n");
        }
        let request = Request {
            method: Method::POST,
            url: self.url(&format!("/{entity_type}{}", self.query))?,
            headers: vec![(CONTENT_TYPE, "application/x-ndjson"), (PREFER, "return=minimal, wait=30")],
            body: body.freeze(),
            repeatable: false,
        };
        let answer = self.client.send(&request).await?;
        let takes = answer.status == StatusCode::OK;
        self.takes.tell(takes);
        if !takes {
            // Refused as a whole: nothing of it was carried out, but where the gateway itself broke down.
            let doubted = answer.status.is_server_error();
            return Ok(rows.iter().map(|_| Told::Again(doubted)).collect());
        }
        Ok(told(&answer.body, rows.len()))
    }

    async fn follow_new(&self, entity_type: &TypeName, location: &str) -> Result<Sent, String> {
        let headers = HeaderValue::from_str(location).map(|location| HeaderMap::from_iter([(LOCATION, location)]));
        let accepted = Answer {
            status: StatusCode::ACCEPTED,
            headers: headers.unwrap_or_default(),
            body: Bytes::new(),
            doubted: false,
        };
        self.posted(entity_type, accepted).await
    }
}

/// What the lines say, in the order of the rows; a row without a line may have been carried out.
fn told(body: &[u8], rows: usize) -> Vec<Told> {
    let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let row = |number: usize| {
        let line: Option<Line> = lines.next().and_then(|line| serde_json::from_slice(line).ok());
        line.filter(|line| line.line == number as u64).map_or(Told::Again(true), of_line)
    };
    (1..=rows).map(row).collect()
}

fn of_line(line: Line) -> Told {
    let problem = Problem::from_value(&line.problem);
    match line.status {
        201 => Told::Settled(Sent::Created),
        200 => Told::Settled(if line.changed { Sent::Updated } else { Sent::Unchanged }),
        202 => line.location.map_or(Told::Again(true), Told::Accepted),
        408 | 425 | 429 | 500.. => Told::Again(problem.retry() != Some(Retry::Safe)),
        status => Told::Settled(Sent::Rejected(problem.reason(&format!("HTTP {status}")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_became_of_rows() {
        let body = r##"{"line":1,"status":201,"id":"a","etag":"\"1-a\"","changed":true,"location":"/provider/a"}
{"line":2,"status":200,"changed":true}
{"line":3,"status":200,"changed":false}
{"line":4,"status":422,"problem":{"detail":"#/name: is required","errors":[{"pointer":"#/name","detail":"is required"}]}}
{"line":5,"status":202,"location":"/operation/x"}
{"line":6,"status":503,"problem":{"retry":"safe"}}
{"line":7,"status":503,"problem":{"retry":"unknown"}}
{"line":8,"stat"##;
        let expected = [
            Told::Settled(Sent::Created),
            Told::Settled(Sent::Updated),
            Told::Settled(Sent::Unchanged),
            Told::Settled(Sent::Rejected("#/name: is required".to_owned())),
            Told::Accepted("/operation/x".to_owned()),
            Told::Again(false),
            Told::Again(true),
            Told::Again(true),
            Told::Again(true),
        ];
        assert_eq!(told(body.as_bytes(), 9), expected);
        assert_eq!(told(b"", 1), [Told::Again(true)]);
    }
}

//! One row to the gateway and back: created, updated, unchanged, rejected, or nobody knows.
//!
//! A row with an id is put in two steps: create it (`If-None-Match: *`); where it exists already, merge it, and compare
//! the `ETag` from before with the one after. Both steps may be repeated. A row without an id is posted once: where the
//! outcome of that is unknown it stays unknown, because a second try could make a second entity.

use std::time::Duration;

use bytes::Bytes;
use contract::{EntityId, TypeName};
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, LOCATION};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use super::batch::Takes;
use super::http::{Answer, Client, Failure, Request};
use super::problem::Problem;
use super::rows::Row;
use super::text::printable;

/// How often a row is tried anew that is there when created and gone when merged.
const ROUNDS_MAX: u32 = 4;
/// How long an accepted write is waited for.
const OPERATION_WAIT_MAX: Duration = Duration::from_secs(60);
const POLL_FIRST: Duration = Duration::from_millis(100);
const POLL_MAX: Duration = Duration::from_secs(2);

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Created,
    Updated,
    Unchanged,
    /// It is there, and was not looked at.
    Kept,
    /// It was there, and has been deleted since.
    Gone,
    Rejected(String),
    Unknown(String),
}

/// Sends rows of any type.
pub(crate) struct Sender {
    pub(crate) client: Client,
    /// What follows every path.
    pub(crate) query: &'static str,
    pub(crate) takes: Takes,
    /// Leaves alone what is there, and what was there and has been deleted.
    create_only: bool,
}

/// The writes that a row can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// At its id, where nothing is.
    Create,
    /// Into what is there.
    Merge,
    /// Where the data store likes.
    Post,
}

/// How a write ended, whether it was answered at once or by way of an operation.
#[derive(Debug)]
enum Written {
    /// With the `ETag`, where the answer has one.
    Done(Option<String>),
    /// The row is there already, or is no longer there: the other of [`Step::Create`] and [`Step::Merge`] is due.
    Other,
    /// The gateway has never heard of the command.
    Forgotten,
    Rejected(String),
    Unknown(String),
}

impl Sender {
    pub(crate) fn new(client: Client, keep_timestamps: bool, create_only: bool) -> Self {
        // What is there is to be left alone: each row is looked for first.
        let takes = if create_only { Takes::no() } else { Takes::unknown() };
        Self { client, query: if keep_timestamps { "?timestamps=keep" } else { "" }, takes, create_only }
    }

    /// Sends one row, which an earlier request may have carried out already if that is `doubted`. The error means that
    /// sending more rows is of no use.
    pub(crate) async fn send(&self, entity_type: &TypeName, row: &Row, doubted: bool) -> Result<Sent, String> {
        let sent = match &row.id {
            Some(id) if self.create_only => self.create(entity_type, id, &row.json).await,
            Some(id) => self.put(entity_type, id, &row.json, doubted).await,
            None => self.post(entity_type, &row.json).await,
        };
        match sent {
            Ok(sent) => Ok(sent),
            Err(Failure::Unknown(reason)) => Ok(Sent::Unknown(reason)),
            Err(Failure::Away(reason)) => Err(reason),
        }
    }

    /// Creates the row where nothing is or was. It is asked for first: creating alone would bring back what was deleted.
    async fn create(&self, entity_type: &TypeName, id: &EntityId, json: &Bytes) -> Result<Sent, Failure> {
        let url = self.url(&format!("/{entity_type}/{id}{}", self.query))?;
        let read_url = self.url(&format!("/{entity_type}/{id}"))?;
        for _ in 0..ROUNDS_MAX {
            let found = self.client.send(&Request::get(read_url.clone())).await?;
            match found.status {
                StatusCode::OK => return Ok(Sent::Kept),
                StatusCode::GONE => return Ok(Sent::Gone),
                // What is wrong with any other answer is wrong with the write as well, which says so.
                _ => {}
            }
            let (written, doubted) = self.write(Method::PUT, &url, Step::Create, json).await?;
            return Ok(match written {
                Written::Done(_) => Sent::Created,
                // What is there now is most likely the one whose creation got no answer.
                Written::Other if doubted => Sent::Created,
                Written::Other => Sent::Kept,
                Written::Rejected(reason) => Sent::Rejected(reason),
                Written::Unknown(reason) => Sent::Unknown(reason),
                Written::Forgotten => continue,
            });
        }
        Ok(Sent::Unknown("the gateway forgets the command each time".to_owned()))
    }

    async fn put(
        &self,
        entity_type: &TypeName,
        id: &EntityId,
        json: &Bytes,
        mut doubted: bool,
    ) -> Result<Sent, Failure> {
        let url = self.url(&format!("/{entity_type}/{id}{}", self.query))?;
        let read_url = self.url(&format!("/{entity_type}/{id}"))?;
        for _ in 0..ROUNDS_MAX {
            let (written, create_doubted) = self.write(Method::PUT, &url, Step::Create, json).await?;
            doubted |= create_doubted;
            match written {
                Written::Done(_) => return Ok(Sent::Created),
                Written::Rejected(reason) => return Ok(Sent::Rejected(reason)),
                Written::Unknown(reason) => return Ok(Sent::Unknown(reason)),
                Written::Forgotten => continue,
                Written::Other => {}
            }
            match self.merge(&url, &read_url, json).await? {
                None => {}
                // The entity that is there, as this row has it, is the one whose creation got no answer.
                Some(Sent::Unchanged) if doubted => return Ok(Sent::Created),
                Some(sent) => return Ok(sent),
            }
        }
        Ok(Sent::Unknown(format!("{entity_type} {id} comes and goes: somebody else is writing it")))
    }

    /// Merges the row into what is there; `None` where nothing is there any more.
    async fn merge(&self, url: &Url, read_url: &Url, json: &Bytes) -> Result<Option<Sent>, Failure> {
        let before = match self.etag(read_url).await? {
            Written::Done(etag) => etag,
            other => return Ok(other.failed()),
        };
        let after = match self.write(Method::PUT, url, Step::Merge, json).await?.0 {
            // The answer came by way of an operation, which has no validator.
            Written::Done(None) => match self.etag(read_url).await? {
                Written::Done(etag) => etag,
                other => return Ok(other.failed()),
            },
            Written::Done(etag) => etag,
            other => return Ok(other.failed()),
        };
        let same = before.is_some() && before == after;
        Ok(Some(if same { Sent::Unchanged } else { Sent::Updated }))
    }

    async fn post(&self, entity_type: &TypeName, json: &Bytes) -> Result<Sent, Failure> {
        let url = self.url(&format!("/{entity_type}{}", self.query))?;
        let written = self.write(Method::POST, &url, Step::Post, json).await?.0;
        Ok(Self::created(written))
    }

    /// What became of a row without an id whose creation was accepted.
    pub(crate) async fn posted(&self, entity_type: &TypeName, accepted: Answer) -> Result<Sent, String> {
        let url = self.url(&format!("/{entity_type}")).map_err(|failure| failure.to_string())?;
        match self.follow(&url, &accepted, Step::Post).await {
            Ok(written) => Ok(Self::created(written)),
            Err(Failure::Unknown(reason)) => Ok(Sent::Unknown(reason)),
            Err(Failure::Away(reason)) => Err(reason),
        }
    }

    fn created(written: Written) -> Sent {
        match written {
            Written::Done(_) => Sent::Created,
            Written::Rejected(reason) => Sent::Rejected(reason),
            Written::Unknown(reason) => Sent::Unknown(reason),
            Written::Other | Written::Forgotten => Sent::Unknown("the gateway no longer knows the command".to_owned()),
        }
    }

    /// The validator of what is there now.
    async fn etag(&self, url: &Url) -> Result<Written, Failure> {
        let answer = self.client.send(&Request::get(url.clone())).await?;
        Ok(match answer.status {
            StatusCode::OK => Written::Done(etag_of(&answer)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Written::Other,
            _ => Written::Rejected(answer.reason()),
        })
    }

    /// One write, followed to its end. The flag says that an earlier try may have been executed as well.
    async fn write(&self, method: Method, url: &Url, step: Step, json: &Bytes) -> Result<(Written, bool), Failure> {
        let mut headers: Vec<(HeaderName, &'static str)> = vec![(CONTENT_TYPE, "application/json")];
        if step == Step::Create {
            headers.push((IF_NONE_MATCH, "*"));
        }
        let request = Request { method, url: url.clone(), headers, body: json.clone(), repeatable: step != Step::Post };
        let answer = self.client.send(&request).await?;
        let written = match answer.status {
            StatusCode::ACCEPTED => self.follow(url, &answer, step).await?,
            status if status.is_success() => Written::Done(etag_of(&answer)),
            status => step.failed(u64::from(status.as_u16()), answer.reason()),
        };
        let doubted = answer.doubted || matches!(written, Written::Forgotten);
        Ok((written, doubted))
    }

    /// Polls the operation that a `202` names until it has ended.
    async fn follow(&self, from: &Url, accepted: &Answer, step: Step) -> Result<Written, Failure> {
        if let Some(written) = ended(&accepted.body, step) {
            return Ok(written);
        }
        let Some(url) = self.operation(from, accepted) else {
            return Ok(Written::Unknown("accepted, but the answer names no operation to ask".to_owned()));
        };
        let (start, mut wait, mut asked) = (self.client.elapsed(), POLL_FIRST, accepted.retry_after());
        while self.client.elapsed().saturating_sub(start) < OPERATION_WAIT_MAX {
            self.client.sleep(wait.max(asked.unwrap_or_default()).min(POLL_MAX)).await;
            wait *= 2;
            let answer = self.client.send(&Request::get(url.clone())).await?;
            asked = answer.retry_after();
            if answer.status == StatusCode::NOT_FOUND {
                return Ok(Written::Forgotten);
            }
            if !answer.status.is_success() {
                return Ok(Written::Unknown(answer.reason()));
            }
            if let Some(written) = ended(&answer.body, step) {
                return Ok(written);
            }
        }
        let reason = format!("still pending after {} s; ask {}", OPERATION_WAIT_MAX.as_secs(), url.path());
        Ok(Written::Unknown(printable(&reason)))
    }

    /// The operation's address. A gateway behind another public address names that one; its last part is the same.
    fn operation(&self, from: &Url, accepted: &Answer) -> Option<Url> {
        let location = accepted.header(&LOCATION)?;
        self.client.same_origin(from, location).or_else(|| {
            let id = location.rsplit('/').next()?;
            self.client.url(&format!("/operation/{id}")).ok()
        })
    }

    pub(crate) fn url(&self, path: &str) -> Result<Url, Failure> {
        self.client.url(path).map_err(|error| Failure::Unknown(format!("{error:#}")))
    }
}

impl Step {
    /// What a refused write means to this step.
    fn failed(self, status: u64, reason: String) -> Written {
        match (self, status) {
            (Self::Create, 412) | (Self::Merge, 404 | 410) => Written::Other,
            // A gateway that broke down cannot say what it did.
            (_, 500..) => Written::Unknown(reason),
            _ => Written::Rejected(reason),
        }
    }
}

impl Written {
    /// What ends a merge; `None` where the row has to be created after all.
    fn failed(self) -> Option<Sent> {
        match self {
            Self::Rejected(reason) => Some(Sent::Rejected(reason)),
            Self::Unknown(reason) => Some(Sent::Unknown(reason)),
            Self::Done(_) | Self::Other | Self::Forgotten => None,
        }
    }
}

/// How an operation ended, if it has.
fn ended(body: &[u8], step: Step) -> Option<Written> {
    let operation: Value = serde_json::from_slice(body).ok()?;
    match operation["status"].as_str()? {
        "succeeded" => Some(Written::Done(None)),
        "failed" => {
            let problem = Problem::from_value(&operation["problem"]);
            Some(step.failed(problem.status().unwrap_or(0), problem.reason("failed, without a reason")))
        }
        _ => None,
    }
}

/// The validator; a proxy that compresses makes it weak, which is no difference here.
fn etag_of(answer: &Answer) -> Option<String> {
    let etag = answer.header(&ETAG)?;
    Some(etag.strip_prefix("W/").unwrap_or(etag).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_end_as_direct_answers_do() {
        let end = |body: &str, step| ended(body.as_bytes(), step);
        assert!(end(r#"{"status":"pending"}"#, Step::Create).is_none());
        assert!(end("<html>", Step::Create).is_none());
        assert!(matches!(end(r#"{"status":"succeeded"}"#, Step::Post), Some(Written::Done(None))));
        let exists = r#"{"status":"failed","problem":{"status":412,"detail":"exists"}}"#;
        assert!(matches!(end(exists, Step::Create), Some(Written::Other)));
        assert!(matches!(end(exists, Step::Merge), Some(Written::Rejected(reason)) if reason == "exists"));
        let broken = r#"{"status":"failed","problem":{"status":500,"detail":"lost"}}"#;
        assert!(matches!(end(broken, Step::Merge), Some(Written::Unknown(reason)) if reason == "lost"));
    }
}

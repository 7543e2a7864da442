//! When a request is sent again: a table, apart from the sending.
//!
//! What may have been executed is repeated only where executing it twice is the same as executing it once.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;

use super::http::Answer;
use super::problem::{Problem, Retry};
use super::text::printable;

/// How often one request is sent at most.
pub(crate) const TRIES_MAX: u32 = 8;
/// The first wait between tries; each is twice the one before.
pub(crate) const WAIT_FIRST: Duration = Duration::from_millis(250);
/// The longest wait that nobody asked for.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(5);
/// The longest wait that a `Retry-After` can ask for.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// A request without an answer.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// The request may have reached the gateway.
    pub(crate) sent: bool,
    pub(crate) reason: String,
}

impl From<&reqwest::Error> for Trouble {
    fn from(error: &reqwest::Error) -> Self {
        Self { sent: !(error.is_connect() || error.is_builder()), reason: root_cause(error) }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Act on the outcome.
    Final,
    /// Send it again. `doubt`: this try may have been executed. `away`: it says that everything will fare so.
    Again { after: Option<Duration>, doubt: bool, away: bool },
}

/// Decides whether a request is sent again. Pure, and the only place that decides it.
pub(crate) fn judge(outcome: &Result<Answer, Trouble>, repeatable: bool) -> Verdict {
    let answer = match outcome {
        Err(trouble) if trouble.sent && !repeatable => return Verdict::Final,
        Err(trouble) => return Verdict::Again { after: None, doubt: trouble.sent, away: true },
        Ok(answer) => answer,
    };
    let overloaded = matches!(answer.status.as_u16(), 429 | 503);
    let passing = overloaded || matches!(answer.status.as_u16(), 408 | 425 | 500 | 502 | 504);
    // Where an answer does not say, only an overload that promises a better time is taken as "nothing happened".
    let retry = Problem::parse(&answer.body).retry().unwrap_or(match answer.status.as_u16() {
        429 => Retry::Safe,
        503 if answer.headers.contains_key(RETRY_AFTER) => Retry::Safe,
        _ => Retry::Unknown,
    });
    match retry {
        _ if !passing => Verdict::Final,
        Retry::No => Verdict::Final,
        Retry::Safe => Verdict::Again { after: answer.retry_after(), doubt: false, away: overloaded },
        Retry::Unknown if repeatable => Verdict::Again { after: answer.retry_after(), doubt: true, away: overloaded },
        Retry::Unknown => Verdict::Final,
    }
}

/// The last cause of an error: the operating system's own words.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() { "no connection in 10 s" } else { "no answer in 60 s" }.to_owned();
    }
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    printable(&cause.map_or_else(|| error.to_string(), ToString::to_string))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;

    use super::*;

    fn answer(status: u16, retry_after: Option<&'static str>, body: &'static str) -> Result<Answer, Trouble> {
        let mut headers = HeaderMap::new();
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Ok(Answer { status, headers, body: Bytes::from_static(body.as_bytes()), doubted: false })
    }

    #[test]
    fn repeats_only_what_may_be_repeated() {
        let trouble = |sent| Err(Trouble { sent, reason: String::new() });
        let again =
            |after: Option<u64>, doubt, away| Verdict::Again { after: after.map(Duration::from_secs), doubt, away };
        let (safe, unknown, no) = (r#"{"retry":"safe"}"#, r#"{"retry":"unknown"}"#, r#"{"retry":"no"}"#);
        for (outcome, repeatable, expected) in [
            (trouble(false), false, again(None, false, true)),
            (trouble(true), true, again(None, true, true)),
            (trouble(true), false, Verdict::Final),
            (answer(503, Some("2"), safe), false, again(Some(2), false, true)),
            (answer(503, Some("2"), unknown), false, Verdict::Final),
            (answer(503, Some("2"), unknown), true, again(Some(2), true, true)),
            (answer(503, Some("1"), ""), false, again(Some(1), false, true)),
            (answer(503, None, ""), false, Verdict::Final),
            (answer(429, Some("soon"), ""), false, again(None, false, true)),
            (answer(500, None, unknown), true, again(None, true, false)),
            (answer(500, None, no), true, Verdict::Final),
            (answer(422, None, no), true, Verdict::Final),
            (answer(412, None, unknown), true, Verdict::Final),
            (answer(201, None, "{}"), true, Verdict::Final),
        ] {
            assert_eq!(judge(&outcome, repeatable), expected, "{outcome:?} {repeatable}");
        }
    }
}

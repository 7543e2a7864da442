//! `Consistency-Token`: what a client read or wrote on one instance, it never misses on another.

use contract::Slug;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::request::header_error;
use super::response::{Answered, Failure};
use crate::gateway::Gateway;
use crate::position::{self, Position};

pub(crate) const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("consistency-token");

/// Waits until everything that the request's token tells of has been applied here.
pub(crate) async fn wait(gateway: &Gateway, headers: &HeaderMap) -> Result<(), Failure> {
    let Some(token) = read(headers)? else { return Ok(()) };
    let progress = &gateway.progress;
    if !progress.knows(&token) {
        return Err(header_error(
            &CONSISTENCY_TOKEN,
            "belongs to another event stream than this gateway's; leave it out",
        ));
    }
    if progress.has_reached(&token) || gateway.feed.reach(&token, gateway.config.read_wait).await {
        return Ok(());
    }
    let seconds = gateway.config.read_wait.as_secs_f32();
    let detail = format!("this instance has not reached the token's position within {seconds} s; nothing was done");
    let failure = Failure::new(Slug::Behind, detail);
    let mut merged = progress.applied(position::hour(gateway.env.now())).unwrap_or_else(|| token.clone());
    merged.merge(&token);
    Err(failure.with(CONSISTENCY_TOKEN, &merged.encode()))
}

fn read(headers: &HeaderMap) -> Result<Option<Position>, Failure> {
    let mut values = headers.get_all(&CONSISTENCY_TOKEN).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let token = value.to_str().ok().and_then(Position::decode).filter(|_| values.next().is_none());
    token.map(Some).ok_or_else(|| {
        header_error(
            &CONSISTENCY_TOKEN,
            "is none of this gateway's; send that of an earlier answer as it is, once, or none",
        )
    })
}

/// The token of a stream of rows, taken before the first is looked at: whoever follows the changes from there misses none that
/// the rows do not show.
pub(crate) fn before(gateway: &Gateway) -> Option<HeaderValue> {
    let position = gateway.progress.applied(position::hour(gateway.env.now()))?;
    HeaderValue::try_from(position.encode()).ok()
}

/// The token of every other answer, taken once it is known: it covers what the answer shows, what a write led to, and what it was
/// refused for.
fn after(gateway: &Gateway) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(gateway.progress.seen_text(position::hour(gateway.env.now()))?).ok()
}

/// Adds a token to an answer or a failure that has none of its own. It is never behind the request's, which was waited for.
pub(crate) fn stamp(gateway: &Gateway, answered: &mut Result<Answered, Failure>) {
    if matches!(answered, Ok(response) if response.headers().contains_key(CONSISTENCY_TOKEN)) {
        return;
    }
    let Some(token) = after(gateway) else { return };
    match answered {
        Ok(response) => drop(response.headers_mut().insert(CONSISTENCY_TOKEN, token)),
        Err(failure) => failure.headers.push((CONSISTENCY_TOKEN, token)),
    }
}

//! Conditional requests [RFC 9110 13].

use contract::precondition::{BYTES_MAX, Tags, Validators};
use contract::{Precondition, Problem, Retry, Slug, Timestamp};
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName};
use std::time::{Duration, UNIX_EPOCH};

use super::request::header_error;
use super::response::Failure;
use crate::views::Held;

/// Whether the client's copy is still good, so that the answer is `304`.
pub(crate) fn not_modified(headers: &HeaderMap, held: &Held) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        return is_known(headers, &held.tag().to_string());
    }
    // `If-Modified-Since` counts only without `If-None-Match` [13.1.3]; one that is no date is passed over.
    let since = headers.get(IF_MODIFIED_SINCE).and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
    let modified =
        u64::try_from(held.time().as_seconds()).ok().map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    match (since, modified) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// Whether `If-None-Match` names this entity tag.
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    // Weak comparison [8.8.3.2]: a weak tag fits the strong one of the same text.
    values.flat_map(entity_tags).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The elements of a list of entity tags; a comma within a tag does not end it.
fn entity_tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return None;
        }
        let open = rest.find('"').filter(|open| *open <= 2);
        let end = match open.and_then(|open| Some(open + 2 + rest.get(open + 1..)?.find('"')?)) {
            Some(end) => end,
            None => rest.find(',').unwrap_or(rest.len()),
        };
        let (tag, tail) = rest.split_at(end);
        rest = tail;
        Some(tag.trim_end())
    })
}

/// Whether a read may go on: `If-Match` and, without it, `If-Unmodified-Since` hold [13.2.2].
pub(crate) fn holds(headers: &HeaderMap, held: &Held) -> Result<(), Failure> {
    let if_unmodified_since = if headers.contains_key(IF_UNMODIFIED_SINCE) {
        // One that is no date is passed over; nothing is written here.
        unmodified_since(headers).unwrap_or_default()
    } else {
        None
    };
    let precondition = Precondition { if_match: tags(headers, &IF_MATCH)?, if_none_match: None, if_unmodified_since };
    let current = Validators { etag: held.tag(), modified: held.time() };
    precondition.evaluate(Some(&current)).map_err(|unmet| {
        let detail = format!("{} does not hold: the entity is at {}", unmet.name(), held.tag());
        Failure::new(Slug::PreconditionFailed, detail)
    })
}

/// The tags of a field; several of one name are one list [5.3]. None without such a field.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Failure> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    Tags::parse(&values.join(", ")).map(Some).map_err(|wrong| header_error(name, wrong))
}

fn unmodified_since(headers: &HeaderMap) -> Result<Option<Timestamp>, Failure> {
    let mut values = headers.get_all(IF_UNMODIFIED_SINCE).iter();
    let (first, None) = (values.next(), values.next()) else {
        return Err(header_error(&IF_UNMODIFIED_SINCE, "must be there once only"));
    };
    let Some(value) = first else { return Ok(None) };
    let date = value.to_str().ok().and_then(|value| httpdate::parse_http_date(value).ok());
    let seconds = date.and_then(|date| i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok());
    let time = seconds.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000)));
    time.map(Some).ok_or_else(|| header_error(&IF_UNMODIFIED_SINCE, "must be an HTTP date; nothing was changed"))
}

/// The conditions of a write, for the data store to decide. One that cannot be read is refused: to pass over it would be to
/// write what the client forbade.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Option<Precondition>, Failure> {
    if headers.contains_key(IF_MODIFIED_SINCE) {
        return Err(header_error(&IF_MODIFIED_SINCE, "is not for writes; nothing was changed"));
    }
    let precondition = Precondition {
        if_match: tags(headers, &IF_MATCH)?,
        if_none_match: tags(headers, &IF_NONE_MATCH)?,
        if_unmodified_since: unmodified_since(headers)?,
    };
    if precondition.is_empty() {
        return Ok(None);
    }
    if precondition.to_string().len() > BYTES_MAX {
        let name = if precondition.if_match.is_some() { IF_MATCH } else { IF_NONE_MATCH };
        return Err(header_error(&name, format!("the conditions are longer than {BYTES_MAX} bytes")));
    }
    Ok(Some(precondition))
}

/// The conditions of a POST are held against the collection, which exists and has neither tag nor date.
pub(crate) fn check_collection(precondition: Option<&Precondition>) -> Result<(), Failure> {
    let detail = match precondition {
        Some(Precondition { if_match: Some(Tags::Listed(_)), .. }) => {
            "If-Match does not hold: a collection has no entity tag"
        }
        Some(Precondition { if_none_match: Some(Tags::Any), .. }) => {
            "If-None-Match: * on a collection never holds, for it exists; PUT to the id that is to be created"
        }
        _ => return Ok(()),
    };
    Err(Problem::new(Slug::PreconditionFailed, detail).retry(Retry::No).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tags_are_split_outside_the_quotes() {
        let tags = |list| entity_tags(list).collect::<Vec<_>>();
        assert_eq!(tags(r#""a", W/"b,c" ,"d""#), [r#""a""#, r#"W/"b,c""#, r#""d""#]);
        assert_eq!(tags("*"), ["*"]);
        assert_eq!(tags(" , "), [""; 0]);
        assert_eq!(tags("\"open"), ["\"open"]);
    }
}

//! Conditional requests [RFC 9110 13].

use contract::{Precondition, Problem, Retry, Slug};
use http::HeaderMap;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use std::time::{Duration, UNIX_EPOCH};

use super::request::header_error;
use super::response::Failure;
use crate::views::Held;

/// Whether the client's copy is still good, so that the answer is `304`.
pub(crate) fn not_modified(headers: &HeaderMap, held: &Held, etag: &str) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        return is_known(headers, etag);
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

/// The condition of a write. One that this gateway does not decide yet is refused: to pass over it would be to write what
/// the client forbade.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Option<Precondition>, Failure> {
    if headers.contains_key(IF_MODIFIED_SINCE) {
        return Err(header_error(&IF_MODIFIED_SINCE, "is not for writes; nothing was changed"));
    }
    let mut values = headers.get_all(IF_NONE_MATCH).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.as_bytes().trim_ascii() == b"*" => Ok(Some(Precondition::absent())),
        _ => Err(header_error(&IF_NONE_MATCH, "on a write only `*`, once, is offered; nothing was changed")),
    }
}

/// A condition where there is nothing to hold it against.
pub(crate) fn refuse(headers: &HeaderMap) -> Result<(), Failure> {
    match precondition(headers)? {
        None => Ok(()),
        Some(_) => {
            let detail =
                "If-None-Match: * on a collection never holds, for it exists; PUT to the id that is to be created";
            Err(Problem::new(Slug::PreconditionFailed, detail).retry(Retry::No).into())
        }
    }
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

//! Which representation the client wants [RFC 9110 12.5].

use contract::{FieldError, Problem, Slug};
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

use super::response::Failure;

pub(crate) const JSON: &str = "application/json";
/// A row a line; <https://github.com/ndjson/ndjson-spec>.
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// Server-sent events [HTML 9.2].
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// The media type of those offered that `Accept` wants most; of equal ones the first.
///
/// # Errors
/// `406`, with what is offered, where it wants none of them.
pub(crate) fn choose(headers: &HeaderMap, offered: &[&'static str]) -> Result<&'static str, Failure> {
    if let Some(first) = offered.first()
        && wants_anything(headers)
    {
        return Ok(first);
    }
    let mut best: Option<(&'static str, f32)> = None;
    for media_type in offered {
        let quality = quality_of(headers, media_type);
        if quality > best.map_or(0.0, |(_, quality)| quality) {
            best = Some((media_type, quality));
        }
    }
    best.map(|(media_type, _)| media_type).ok_or_else(|| {
        let detail =
            format!("wants none of what is offered here: {}; leave it out to get the first", offered.join(", "));
        Problem::with_errors(Slug::NotAcceptable, vec![FieldError::header(ACCEPT.as_str(), detail)]).into()
    })
}

/// Whether `Accept` is missing, empty, or takes all alike.
fn wants_anything(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(ACCEPT).iter();
    match (values.next().map(|value| value.as_bytes().trim_ascii()), values.next()) {
        (None, _) => true,
        (Some(value), None) => value.is_empty() || value == b"*/*",
        _ => false,
    }
}

/// The quality of the most specific range that fits, whatever the others say.
fn quality_of(headers: &HeaderMap, media_type: &str) -> f32 {
    let mut best: Option<(u8, f32)> = None;
    for (range, quality) in weighted(headers, &ACCEPT) {
        if let Some(specificity) = specificity(range, media_type)
            && best.is_none_or(|(most, _)| specificity >= most)
        {
            best = Some((specificity, quality));
        }
    }
    best.map_or(0.0, |(_, quality)| quality)
}

/// The elements of a list with weights; several fields of one name are one list. A weight that is no number counts as none.
fn weighted<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'a str, f32)> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|element| !element.is_empty()).map(|element| {
        let quality = element.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(0.0))
        });
        (element, quality.unwrap_or(1.0).clamp(0.0, 1.0))
    })
}

/// How exactly a range names a media type; `None` where it names another. Of a range's parameters only the character set
/// counts: everything here is UTF-8.
fn specificity(range: &str, media_type: &str) -> Option<u8> {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    let main_type = media_type.split('/').next().unwrap_or_default();
    if !utf8 {
        None
    } else if name.eq_ignore_ascii_case(media_type) {
        Some(2)
    } else if media_type == EVENT_STREAM {
        // What never ends is for those who ask for it by name.
        None
    } else if name.strip_suffix("/*").is_some_and(|main| main.eq_ignore_ascii_case(main_type)) {
        Some(1)
    } else {
        (name == "*/*").then_some(0)
    }
}

/// Whether `Accept-Encoding` wants gzip at least as much as the plain bytes.
pub(crate) fn wants_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for (element, quality) in weighted(headers, &ACCEPT_ENCODING) {
        match element.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(quality),
            "identity" => identity = Some(quality),
            "*" => any = Some(quality),
            _ => {}
        }
    }
    // What is not named is as good as `*`, and the plain bytes are always good, but no better than what was named.
    let gzip = gzip.or(any).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity.unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_type_of_the_highest_quality_is_chosen() {
        let offered = [JSON, NDJSON, EVENT_STREAM];
        for (values, expected) in [
            (&[][..], Some(0)),
            (&[""], Some(0)),
            (&["*/*"], Some(0)),
            (&["application/json"], Some(0)),
            (&["APPLICATION/JSON; charset=UTF-8"], Some(0)),
            (&["application/json;charset=latin1"], None),
            (&["application/json;indent=2"], Some(0)),
            (&["text/html, application/*;q=0.2"], Some(0)),
            (&["application/x-ndjson"], Some(1)),
            (&["application/json;q=0.5, application/x-ndjson"], Some(1)),
            (&["application/json;q=0.5", "text/event-stream;Q=0.7"], Some(2)),
            (&["application/json;q=0, */*"], Some(1)),
            (&["application/*;q=0.3, text/*;q=0.4"], Some(0)),
            (&["text/*"], None),
            (&["*/*;q=0.1, application/x-ndjson;q=0.1"], Some(0)),
            (&["text/html"], None),
            (&["*/*;q=0"], None),
            (&["application/json;q=x"], None),
            (&["application/json;q=7"], Some(0)),
        ] {
            let chosen = choose(&with(ACCEPT, values), &offered).ok();
            assert_eq!(chosen, expected.map(|i: usize| offered[i]), "{values:?}");
        }
        let refused = choose(&with(ACCEPT, &["text/html"]), &offered).unwrap_err();
        assert!(offered.iter().all(|offered| refused.problem.detail.contains(offered)), "{}", refused.problem.detail);
    }

    #[test]
    fn gzip_is_given_to_those_who_want_it() {
        for (values, expected) in [
            (&[][..], false),
            (&[""], false),
            (&["gzip"], true),
            (&["br, GZIP;q=0.2"], true),
            (&["x-gzip"], true),
            (&["*"], true),
            (&["deflate, br"], false),
            (&["gzip;q=0"], false),
            (&["gzip;q=0, *"], false),
            (&["identity, gzip;q=0.5"], false),
            (&["identity;q=0.5, gzip;q=0.5"], true),
            (&["br", "gzip"], true),
        ] {
            assert_eq!(wants_gzip(&with(ACCEPT_ENCODING, values)), expected, "{values:?}");
        }
    }
}

//! Reading what a request says in its query and headers.

use std::time::Duration;

use contract::{FieldError, Problem, Slug};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use super::negotiation::choose;
use super::response::Failure;

pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest that a client may let a write, or the look at an operation, wait.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Name-value pairs of a query, in order, decoded. A name that is not among `known` is an error that lists those.
pub(crate) fn query(query: Option<&str>, known: &[&str]) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut errors = Vec::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            errors.push(FieldError::parameter(&cut(name), "is not percent-encoded UTF-8"));
            continue;
        };
        if !known.contains(&name.as_str()) {
            let detail = match known {
                [] => "is not known; this path takes no parameters".to_owned(),
                known => format!("is not known; known here: {}", known.join(", ")),
            };
            errors.push(FieldError::parameter(&cut(&name), detail));
        } else if pairs.iter().any(|(before, _)| *before == name) {
            errors.push(FieldError::parameter(&name, "is given twice"));
        } else {
            pairs.push((name, value));
        }
    }
    if errors.is_empty() { Ok(pairs) } else { Err(Problem::with_errors(Slug::InvalidRequest, errors).into()) }
}

pub(super) fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}

/// None where a `%` has no two digits behind it [RFC 3986 2.1], or what they say is no UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let is_encoded =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !text.split('%').skip(1).all(is_encoded) {
        return None;
    }
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// A malformed header.
pub(crate) fn header_error(name: &HeaderName, detail: impl Into<String>) -> Failure {
    Problem::with_errors(Slug::InvalidRequest, vec![FieldError::header(name.as_str(), detail)]).into()
}

/// Whether the client wants an answer that was checked with the data store [RFC 9111 5.2.1.4].
pub(crate) fn wants_no_cache(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"))
}

/// Checks that `Accept` allows a media type [RFC 9110 12.5.1].
pub(crate) fn check_accept(headers: &HeaderMap, offered: &'static str) -> Result<(), Failure> {
    choose(headers, &[offered]).map(drop)
}

/// What a client prefers [RFC 7240].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preference {
    /// `respond-async`.
    pub(crate) asynchronous: bool,
    /// `wait=N`, cut to what is granted.
    pub(crate) wait: Option<Duration>,
    /// What of the object a write that was carried out is to give back.
    pub(crate) returned: Option<Returned>,
}

impl Preference {
    /// How long a write waits for its view; zero: answer once the stream has the command. Both together mean to wait that
    /// long, and then to answer asynchronously [RFC 7240 4.3], as every write does.
    pub(crate) fn write_wait(&self, default: Duration) -> Duration {
        self.wait.unwrap_or(if self.asynchronous { Duration::ZERO } else { default })
    }

    /// `Preference-Applied`, if any was heeded: of a response that is `accepted`, or one that shows (or was to show) an object.
    pub(crate) fn applied(&self, accepted: bool, shows_object: bool) -> Option<String> {
        let mut heeded = Vec::new();
        if self.asynchronous && accepted {
            heeded.push("respond-async".to_owned());
        }
        heeded.extend(self.wait.map(|wait| format!("wait={}", wait.as_secs())));
        heeded.extend(self.returned.filter(|_| shows_object).map(|returned| returned.name().to_owned()));
        (!heeded.is_empty()).then(|| heeded.join(", "))
    }
}

/// `return=` [RFC 7240 4.2].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returned {
    Minimal,
    Representation,
}

impl Returned {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Minimal => "return=minimal",
            Self::Representation => "return=representation",
        }
    }
}

/// Reads `Prefer: respond-async`, `wait=N` and `return=`; of one that comes twice the first counts; what is unknown or malformed is passed over, as the RFC says.
pub(crate) fn preference(headers: &HeaderMap) -> Preference {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut wait = None;
    let mut asynchronous = false;
    let mut returned = None;
    for item in values.flat_map(|value| value.split(',')) {
        // Parameters of a preference mean nothing for these.
        let item = item.split(';').next().unwrap_or_default();
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "respond-async" => asynchronous = true,
            "wait" if wait.is_none() => wait = value.trim().trim_matches('"').parse::<u64>().ok(),
            "return" if returned.is_none() => {
                returned = match value.trim().trim_matches('"') {
                    "minimal" => Some(Returned::Minimal),
                    "representation" => Some(Returned::Representation),
                    _ => None,
                };
            }
            _ => {}
        }
    }
    let wait = wait.map(|seconds| Duration::from_secs(seconds).min(WAIT_MAX));
    Preference { asynchronous, wait, returned }
}

/// A token that is fit to be echoed and logged: 1-128 visible ASCII characters, no separators that break a log.
pub(crate) fn sane_token(value: &http::HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    let sane = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(&b);
    ((1..=128).contains(&text.len()) && text.bytes().all(sane)).then_some(text)
}

/// A `traceparent` of the form that W3C Trace Context gives it.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let lengths = [2, 32, 16, 2];
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let fits = parts.len() == 4 && parts.iter().zip(lengths).all(|(part, length)| part.len() == length && hex(part));
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    (fits && parts[0] != "ff" && !zero(parts[1]) && !zero(parts[2])).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn preferences_are_bounded() {
        let of = |value| preference(&with("prefer", value));
        let default = Duration::from_secs(5);
        assert_eq!(of("respond-async").write_wait(default), Duration::ZERO);
        assert_eq!(of("respond-async, wait=2").write_wait(default), Duration::from_secs(2));
        for (value, accepted, shows_object, applied) in [
            ("respond-async", true, false, Some("respond-async")),
            ("respond-async", false, true, None),
            ("wait=7", false, true, Some("wait=7")),
            ("wait=700", true, false, Some("wait=30")),
            ("respond-async, wait=2", true, false, Some("respond-async, wait=2")),
            ("respond-async, wait=2", false, true, Some("wait=2")),
            ("return=minimal", true, false, None),
        ] {
            assert_eq!(of(value).applied(accepted, shows_object).as_deref(), applied, "{value}");
        }
        for ignored in ["wait=x", "return=all", "", "wait=-1"] {
            assert_eq!(of(ignored), Preference { asynchronous: false, wait: None, returned: None }, "{ignored}");
            assert_eq!(of(ignored).write_wait(default), default);
        }
        assert_eq!(of("wait=1, return=minimal, return=representation").returned, Some(Returned::Minimal));
        assert_eq!(of("return=\"representation\"").returned, Some(Returned::Representation));
    }

    #[test]
    fn queries_are_decoded_and_unknown_names_named() {
        let pairs = query(Some("limit=5&cursor=a%20b+c"), &["limit", "cursor"]).unwrap();
        assert_eq!(pairs[1], ("cursor".to_owned(), "a b c".to_owned()));
        for (bad, said) in [
            ("x=1", "known here: limit"),
            ("limit=1&limit=2", "twice"),
            ("limit=%ff", "UTF-8"),
            ("limit=%zz", "UTF-8"),
            ("limit=5%", "UTF-8"),
        ] {
            let failure = query(Some(bad), &["limit"]).unwrap_err();
            assert!(failure.problem.detail.contains(said), "{}", failure.problem.detail);
        }
    }

    #[test]
    fn traceparents_keep_to_the_form() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(&with("traceparent", good)).as_deref(), Some(good));
        for bad in ["", "00-x-y-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] {
            assert_eq!(traceparent(&with("traceparent", bad)), None);
        }
    }
}

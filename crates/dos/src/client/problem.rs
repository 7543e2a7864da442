//! What an error answer says, for people and for the decision to try again.

use serde::Deserialize;
use serde_json::Value;

use super::text::{cut, printable};

/// The longest reason that is shown; a proxy's error page is longer.
const REASON_CHARS_MAX: usize = 2000;

/// Whether trying again may execute the request twice (contract section 2, "Errors").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Nothing was produced.
    Safe,
    /// It may have happened.
    Unknown,
    /// Trying again gives the same answer.
    No,
}

/// A problem document [RFC 9457], as far as a client needs it. Everything may be missing: proxies answer as well.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    title: Value,
    detail: Value,
    retry: Value,
    status: Value,
    errors: Value,
}

impl Problem {
    /// Reads a body; one that is no problem document gives an empty problem.
    pub(crate) fn parse(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// Reads a problem that stands inside another document.
    pub(crate) fn from_value(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_default()
    }

    /// What the document says about trying again, if it does.
    pub(crate) fn retry(&self) -> Option<Retry> {
        match self.retry.as_str()? {
            "safe" => Some(Retry::Safe),
            "unknown" => Some(Retry::Unknown),
            "no" => Some(Retry::No),
            _ => None,
        }
    }

    /// The status that the document itself names.
    pub(crate) fn status(&self) -> Option<u64> {
        self.status.as_u64()
    }

    /// Detail and every bad field in one line; `fallback` where the document says nothing.
    pub(crate) fn reason(&self, fallback: &str) -> String {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let summary = text(&self.detail).or_else(|| text(&self.title)).unwrap_or_else(|| fallback.to_owned());
        let mut parts: Vec<String> = Vec::new();
        for error in self.errors.as_array().map_or(&[][..], Vec::as_slice) {
            let place = ["pointer", "parameter", "header"].iter().find_map(|name| text(&error[*name]));
            let detail = text(&error["detail"]).unwrap_or_default();
            let part = place.map_or_else(|| detail.clone(), |place| format!("{place}: {detail}"));
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        // A detail that begins with the first bad field says no more than the list does.
        if parts.first().is_none_or(|first| first.is_empty() || !summary.starts_with(first.as_str())) {
            parts.insert(0, summary);
        }
        printable(&cut(&parts.join("; "), REASON_CHARS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_is_named() {
        let body = r##"{"type":"/problem/invalid","title":"Invalid","status":422,"detail":"2 fields are wrong","retry":"no",
            "errors":[{"pointer":"#/name","detail":"is missing"},{"parameter":"limit","detail":"is no number"},{"detail":"x"}]}"##;
        let problem = Problem::parse(body.as_bytes());
        assert_eq!(problem.reason("-"), "2 fields are wrong; #/name: is missing; limit: is no number; x");
        assert_eq!(problem.retry(), Some(Retry::No));
        assert_eq!(problem.status(), Some(422));
    }

    #[test]
    fn nothing_is_said_twice() {
        let reason = |detail: &str| {
            let errors = r##"[{"pointer":"#/a","detail":"is required"},{"pointer":"#/b","detail":"is required"},
                {"pointer":"#/a","detail":"is required"}]"##;
            Problem::parse(format!(r#"{{"detail":"{detail}","errors":{errors}}}"#).as_bytes()).reason("-")
        };
        let both = "#/a: is required; #/b: is required";
        assert_eq!(reason("#/a: is required (and 1 more, see errors)"), both);
        assert_eq!(reason("#/a: is required"), both);
        assert_eq!(reason("no good"), format!("no good; {both}"));
    }

    #[test]
    fn anything_else_gives_the_fallback() {
        for body in ["", "<html>", "[]", "7", "{}", r#"{"detail":7,"errors":"no","retry":[]}"#] {
            let problem = Problem::parse(body.as_bytes());
            assert_eq!(problem.reason("HTTP 502 Bad Gateway"), "HTTP 502 Bad Gateway", "{body}");
            assert_eq!(problem.retry(), None);
        }
    }
}

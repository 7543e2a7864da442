//! Conditions of writes [RFC 9110 13], as the gateway reads them from a request and the data store decides them.
//!
//! As an attribute of a command: the conditions by the names of their header fields, each at most once, joined by `; `, such
//! as `if-match: "3-00f1", W/"x"; if-unmodified-since: 2026-11-24T09:30:00Z`.

use std::fmt;

use crate::etag::ETag;
use crate::time::Timestamp;

/// The most entity tags of one field.
pub const TAGS_MAX: usize = 64;

/// The longest attribute, in bytes.
pub const BYTES_MAX: usize = 8192;

const IF_MATCH: &str = "if-match";
const IF_NONE_MATCH: &str = "if-none-match";
const IF_UNMODIFIED_SINCE: &str = "if-unmodified-since";

/// What must hold of an entity for a write to be carried out; at least one condition is there.
///
/// `If-Modified-Since` is not among them: it is for reads [13.1.3].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// `If-Match`: the entity has one of these tags.
    pub if_match: Option<Tags>,
    /// `If-None-Match`: the entity has none of these tags.
    pub if_none_match: Option<Tags>,
    /// `If-Unmodified-Since`: it was not changed after this second. Passed over where `If-Match` is there [13.1.4].
    pub if_unmodified_since: Option<Timestamp>,
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`: any current state.
    Any,
    /// These; an empty list names none.
    Listed(Vec<Tag>),
}

/// An entity tag as a client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Whether it began with `W/`.
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: String,
}

/// What conditions are held against: the state of an entity that exists.
#[derive(Clone, Copy, Debug)]
pub struct Validators {
    /// Its entity tag.
    pub etag: ETag,
    /// The time of its version's event; counts to the second, as `Last-Modified` does.
    pub modified: Timestamp,
}

/// A condition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// `If-Match`.
    IfMatch,
    /// `If-None-Match`.
    IfNoneMatch,
    /// `If-Unmodified-Since`.
    IfUnmodifiedSince,
}

impl Unmet {
    /// The header field.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IfMatch => "If-Match",
            Self::IfNoneMatch => "If-None-Match",
            Self::IfUnmodifiedSince => "If-Unmodified-Since",
        }
    }
}

impl Precondition {
    /// `If-None-Match: *`: it must not exist.
    pub fn absent() -> Self {
        Self { if_none_match: Some(Tags::Any), ..Self::default() }
    }

    /// Whether it says that the entity must not exist.
    pub fn is_absent(&self) -> bool {
        self.if_none_match == Some(Tags::Any)
    }

    /// Whether there is no condition at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Decides the conditions of a write in the order of RFC 9110 13.2.2; none stands for an entity that does not exist.
    pub fn evaluate(&self, current: Option<&Validators>) -> Result<(), Unmet> {
        match (&self.if_match, self.if_unmodified_since, current) {
            (Some(tags), _, current) if !current.is_some_and(|current| tags.match_strongly(current.etag)) => {
                return Err(Unmet::IfMatch);
            }
            // Nothing there has a date of modification, so there is nothing to compare [13.1.4].
            (None, Some(since), Some(current)) if current.modified.as_seconds() > since.as_seconds() => {
                return Err(Unmet::IfUnmodifiedSince);
            }
            _ => {}
        }
        match (&self.if_none_match, current) {
            (Some(tags), Some(current)) if tags.match_weakly(current.etag) => Err(Unmet::IfNoneMatch),
            _ => Ok(()),
        }
    }

    /// Reads what [`fmt::Display`] wrote; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > BYTES_MAX {
            return Err("is too long");
        }
        let mut found = Self::default();
        let mut rest = text;
        loop {
            let (name, value) = rest.split_once(": ").ok_or("has no condition where one is expected")?;
            let (twice, tail) = match name {
                IF_MATCH => read_tags(value).map(|(tags, tail)| (found.if_match.replace(tags).is_some(), tail))?,
                IF_NONE_MATCH => {
                    read_tags(value).map(|(tags, tail)| (found.if_none_match.replace(tags).is_some(), tail))?
                }
                IF_UNMODIFIED_SINCE => {
                    let (time, tail) = value.split_at(value.find(';').unwrap_or(value.len()));
                    let time = Timestamp::parse(time).ok_or("has no time in RFC 3339")?;
                    (found.if_unmodified_since.replace(time).is_some(), tail)
                }
                _ => return Err("has a condition that is not known"),
            };
            if twice {
                return Err("has a condition twice");
            }
            rest = match tail.strip_prefix("; ") {
                Some(rest) => rest,
                None if tail.is_empty() => return Ok(found),
                None => return Err("has something else behind a condition"),
            };
        }
    }
}

impl fmt::Display for Precondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, tags) in [(IF_MATCH, &self.if_match), (IF_NONE_MATCH, &self.if_none_match)] {
            if let Some(tags) = tags {
                write!(f, "{separator}{name}: {tags}")?;
                separator = "; ";
            }
        }
        match self.if_unmodified_since {
            Some(time) => write!(f, "{separator}{IF_UNMODIFIED_SINCE}: {time}"),
            None => Ok(()),
        }
    }
}

impl Tags {
    /// Reads the value of a field, several of one name joined by commas [RFC 9110 5.3]; the error says what is wrong.
    pub fn parse(field: &str) -> Result<Self, &'static str> {
        match read_tags(field.trim_matches([' ', '\t']))? {
            (tags, "") => Ok(tags),
            _ => Err("has a tag that is not closed off by a comma"),
        }
    }

    /// By the strong comparison [8.8.3.2]: a weak tag never matches.
    pub fn match_strongly(&self, etag: ETag) -> bool {
        self.any_is(etag, |tag| !tag.weak)
    }

    /// By the weak comparison [8.8.3.2]: a weak tag matches the strong one of the same text.
    pub fn match_weakly(&self, etag: ETag) -> bool {
        self.any_is(etag, |_| true)
    }

    fn any_is(&self, etag: ETag, counts: impl Fn(&Tag) -> bool) -> bool {
        let Self::Listed(tags) = self else { return true };
        let quoted = etag.to_string();
        let opaque = quoted.trim_matches('"');
        tags.iter().any(|tag| counts(tag) && tag.opaque == opaque)
    }
}

impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Listed(tags) = self else { return f.write_str("*") };
        for (number, Tag { weak, opaque }) in tags.iter().enumerate() {
            let (separator, prefix) = (if number > 0 { ", " } else { "" }, if *weak { "W/" } else { "" });
            write!(f, "{separator}{prefix}\"{opaque}\"")?;
        }
        Ok(())
    }
}

/// The tags that a text begins with, and what follows them: the end, or what no list goes on with.
fn read_tags(text: &str) -> Result<(Tags, &str), &'static str> {
    if let Some(rest) = text.strip_prefix('*') {
        return Ok((Tags::Any, rest));
    }
    let (mut tags, mut rest) = (Vec::new(), text);
    loop {
        // Empty elements are passed over [RFC 9110 5.6.1.2].
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() || rest.starts_with(';') {
            return Ok((Tags::Listed(tags), rest));
        }
        let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |rest| (true, rest));
        let inner = quoted.strip_prefix('"').ok_or("has something that is no entity tag, such as \"3-00f1\"")?;
        let (opaque, behind) = inner.split_once('"').ok_or("has an entity tag without its last quote")?;
        if opaque.chars().any(|c| c <= ' ' || c == '\u{7f}') {
            return Err("has a space or a control character within an entity tag");
        }
        if tags.len() == TAGS_MAX {
            return Err("has more than 64 entity tags");
        }
        tags.push(Tag { weak, opaque: opaque.to_owned() });
        rest = behind.trim_start_matches([' ', '\t']);
        if !(rest.is_empty() || rest.starts_with([',', ';'])) {
            return Err("has entity tags without a comma between them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_the_grammar() {
        let shown = |field: &str| Tags::parse(field).map(|tags| tags.to_string());
        for (field, expected) in [
            ("*", "*"),
            (" * ", "*"),
            (r#""a""#, r#""a""#),
            (r#" "a" ,, W/"b,;c",	"" "#, r#""a", W/"b,;c", """#),
            ("", ""),
            (" , ", ""),
            ("\"\u{fffd}\"", "\"\u{fffd}\""),
        ] {
            assert_eq!(shown(field).as_deref(), Ok(expected), "{field}");
        }
        for field in ["a", "\"a", "\"a\" \"b\"", "w/\"a\"", "*, \"a\"", "\"a\";", "\"a b\"", "\"a\"; if-match: *"] {
            assert!(shown(field).is_err(), "{field}");
        }
        let many = |count: usize| vec!["\"a\""; count].join(",");
        assert!(Tags::parse(&many(TAGS_MAX)).is_ok() && Tags::parse(&many(TAGS_MAX + 1)).is_err());
    }

    #[test]
    fn attributes_are_read_strictly() {
        for text in [
            "if-none-match: *",
            "if-match: \"a;: b\"",
            "if-match: \"1-2\", W/\"3\"; if-none-match: *; if-unmodified-since: 2026-11-24T09:30:00Z",
            "if-match: ; if-none-match: \"x\"",
        ] {
            let read = Precondition::parse(text);
            let good = !text.contains("b\"");
            assert_eq!(read.map(|read| read.to_string()).ok(), good.then(|| text.to_owned()), "{text}");
        }
        for text in [
            "",
            "*",
            "if-match",
            "if-match:*",
            "if-match: *; if-match: *",
            "if-match: *;",
            "if-match: *, \"a\"",
            "if-range: \"a\"",
            "if-unmodified-since: yesterday",
            "IF-MATCH: *",
        ] {
            assert!(Precondition::parse(text).is_err(), "{text}");
        }
        assert!(Precondition::parse(&format!("if-match: \"{}\"", "a".repeat(BYTES_MAX))).is_err());
    }
}

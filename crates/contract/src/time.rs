//! Times as the contract writes them: RFC 3339, UTC, `Z`, milliseconds omitted when zero.

use std::fmt;

use jiff::tz::Offset;

/// An instant to the millisecond, between the years 0 and 9999 when it came from [`Timestamp::parse`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant moved by a number of milliseconds.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Reads an RFC 3339 time with any offset; finer than a millisecond is cut off.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        // `jiff` also reads other ISO 8601 forms; RFC 3339 wants a full date, a `T` and a time.
        if bytes.len() < 20 || !matches!(bytes[10], b'T' | b't') || bytes[13] != b':' || !bytes[0].is_ascii_digit() {
            return None;
        }
        let instant: jiff::Timestamp = text.parse().ok()?;
        let millis = instant.as_millisecond().min(instant.as_nanosecond().div_euclid(1_000_000).try_into().ok()?);
        let year = Offset::UTC.to_datetime(instant).year();
        (0..=9999).contains(&year).then_some(Self(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(instant) = jiff::Timestamp::from_millisecond(self.0) else {
            return f.write_str("9999-12-30T22:00:00Z");
        };
        let t = Offset::UTC.to_datetime(instant);
        let (year, month, day) = (t.year(), t.month(), t.day());
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", t.hour(), t.minute(), t.second())?;
        match self.0.rem_euclid(1000) {
            0 => f.write_str("Z"),
            millis => write!(f, ".{millis:03}Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn reads_offsets_and_writes_utc() {
        for (text, expected) in [
            ("2023-04-04T00:00:00Z", "2023-04-04T00:00:00Z"),
            ("2023-04-04T01:00:00.5+01:00", "2023-04-04T00:00:00.500Z"),
            ("1965-04-29T00:00:00.0019Z", "1965-04-29T00:00:00.001Z"),
            ("1965-04-29t00:00:00z", "1965-04-29T00:00:00Z"),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_rfc_3339_time() {
        for text in [
            "",
            "2023-04-04",
            "2023-04-04T00:00:00",
            "2023-04-04 00:00:00Z",
            "2023-13-04T00:00:00Z",
            "-00001-01-01T00:00:00Z",
            "now",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn survives_every_number() {
        for millis in [i64::MIN, -1, 0, i64::MAX] {
            assert!(!Timestamp::from_millis(millis).to_string().is_empty());
        }
        assert_eq!(Timestamp::from_millis(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }
}

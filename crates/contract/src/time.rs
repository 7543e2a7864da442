//! Times as the contract writes them: RFC 3339, UTC, `Z`, milliseconds omitted when zero.

use std::fmt;

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// 0000-01-01T00:00:00Z, the first instant that RFC 3339 can write.
const MILLIS_MIN: i64 = -62_167_219_200_000;

/// 9999-12-31T23:59:59.999Z, the last one.
const MILLIS_MAX: i64 = 253_402_300_799_999;

/// An instant to the millisecond, between the years 0 and 9999, so that every one can be written and read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970-01-01T00:00:00Z; beyond the years 0 to 9999, the nearest instant within them.
    pub const fn from_millis(millis: i64) -> Self {
        if millis < MILLIS_MIN {
            Self(MILLIS_MIN)
        } else if millis > MILLIS_MAX {
            Self(MILLIS_MAX)
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant moved by a number of milliseconds, within the years 0 to 9999.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// Reads an RFC 3339 time with any offset; finer than a millisecond is cut off, a leap second is the second before.
    pub fn parse(text: &str) -> Option<Self> {
        let (local, rest) = text.as_bytes().split_first_chunk::<19>()?;
        let separators = [local[4], local[7], local[10].to_ascii_uppercase(), local[13], local[16]];
        if separators != *b"--T::" {
            return None;
        }
        let two = |at: usize| i8::try_from(number(&local[at..at + 2])?).ok();
        let year = i16::try_from(number(&local[..4])?).ok()?;
        let second = two(17).filter(|second| *second <= 60)?.min(59);
        let local = DateTime::new(year, two(5)?, two(8)?, two(11)?, two(14)?, second, 0).ok()?;
        let (millis, rest) = fraction(rest)?;
        let millis = local.duration_since(EPOCH).as_secs() * 1000 + millis - offset_minutes(rest)? * 60_000;
        (MILLIS_MIN..=MILLIS_MAX).contains(&millis).then_some(Self(millis))
    }
}

/// Digits only.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// The milliseconds of `.123..`, zero where there is no fraction, and what follows.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).filter(|end| *end > 0)?;
    let (digits, rest) = rest.split_at(end);
    let digit = |at: usize| digits.get(at).map_or(0, |byte| i64::from(byte - b'0'));
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), rest))
}

/// Minutes east of UTC.
fn offset_minutes(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match text {
        b"Z" | b"z" => return Some(0),
        [b'+', h1, h2, b':', m1, m2] => (1, number(&[*h1, *h2])?, number(&[*m1, *m2])?),
        [b'-', h1, h2, b':', m1, m2] => (-1, number(&[*h1, *h2])?, number(&[*m1, *m2])?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = EPOCH.saturating_add(SignedDuration::from_secs(self.as_seconds()));
        let millis = self.0.rem_euclid(1000);
        // By hand: each write formats five, and the numbers' own formatting took more time than all else here.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut write = |at: usize, number: i64, digits: usize| {
            let mut rest = number;
            for place in text[at..at + digits].iter_mut().rev() {
                *place = b'0' + rest.rem_euclid(10) as u8;
                rest = rest.div_euclid(10);
            }
        };
        write(0, t.year().into(), 4);
        write(5, t.month().into(), 2);
        write(8, t.day().into(), 2);
        write(11, t.hour().into(), 2);
        write(14, t.minute().into(), 2);
        write(17, t.second().into(), 2);
        write(20, millis, 3);
        let text: &[u8] = if millis == 0 {
            text[19] = b'Z';
            &text[..20]
        } else {
            &text
        };
        f.write_str(str::from_utf8(text).unwrap_or_default())
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
        assert_eq!(Timestamp::from_millis(i64::MIN).to_string(), "0000-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}

//! Small pieces of text that a person reads on a terminal.

use std::fmt::Write as _;

/// `2126` as `2,126`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2,126 rows`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

/// The text with control characters written as escapes, so that foreign data cannot steer the terminal.
///
/// Besides C0 and C1 this covers the characters that reorder or hide text (bidirectional controls, line separators).
pub(crate) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if c.is_control() || is_steering(c) => {
                // Writing to a `String` cannot fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

fn is_steering(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// At most `chars_max` characters of the text, with an ellipsis where some are missing.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_separators() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (2126, "2,126"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), expected);
        }
        assert_eq!(count(1, "row"), "1 row");
        assert_eq!(count(0, "row"), "0 rows");
    }

    #[test]
    fn control_characters_are_escaped_and_real_text_is_not() {
        assert_eq!(printable("a\u{1b}[31m\n\u{9b}\u{202e}\0"), "a\\u{1b}[31m\\n\\u{9b}\\u{202e}\\u{0}");
        let real = "£2.50 – “Food\u{a0}club” café 👪";
        assert_eq!(printable(real), real);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(cut("", 0), "");
    }
}

//! Records as text, so that snapshots and seeds are readable and a fuzzer can change any part alone.
//!
//! Layout: the key on the first line, one `name: value` per header, an empty line, then the value to the end.

use contract::{Headers, Record};

/// Reads the text; what does not fit is left out, so that every input is some record.
pub(crate) fn to_record(text: &[u8]) -> Record {
    let (key, mut rest) = line(text);
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (header, tail) = line(rest);
        rest = tail;
        if header.is_empty() {
            break;
        }
        let colon = header.windows(2).position(|pair| pair == b": ").unwrap_or(header.len());
        let value = header.get(colon + 2..).unwrap_or_default();
        if let Ok(name) = std::str::from_utf8(&header[..colon]) {
            pairs.push((name, value));
        }
    }
    Record { key: key.to_vec().into(), headers: Headers::from_pairs(pairs), value: rest.to_vec().into() }
}

/// Writes the text of a record whose parts are text.
pub(crate) fn of_record(record: &Record) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers: String =
        record.headers.iter().map(|(name, value)| format!("{}: {}\n", text(name), text(value))).collect();
    format!("{}\n{headers}\n{}", text(&record.key), text(&record.value))
}

fn line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

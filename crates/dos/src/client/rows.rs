//! JSON Lines [jsonlines.org]: a file read row by row with bounded memory.

use std::io::{self, BufRead};

use bytes::Bytes;
use contract::EntityId;
use serde::Deserialize;
use serde_json::Value;

use super::text::{cut, printable};

/// The longest row; the gateway takes no larger body.
const ROW_BYTES_MAX: usize = 1 << 20;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A row that can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The identity; without one the data store gives one.
    pub(crate) id: Option<EntityId>,
    /// The object as it stands in the file.
    pub(crate) json: Bytes,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u64,
    /// Bytes in the file, its end of line and blank lines before it included.
    pub(crate) size_bytes: u64,
    /// The row, or why it is none; nothing for blank lines at the end of the file.
    pub(crate) content: Option<Result<Row, String>>,
}

/// Reads lines. Blank ones are skipped; a byte order mark and carriage returns at line ends are no part of a row.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, number: 0 }
    }

    /// The next line that is not blank; `None` at the end of the file.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut size_bytes = 0;
        loop {
            let mut text = Vec::new();
            let (read, complete) = read_line(&mut self.reader, &mut text)?;
            if read == 0 {
                let blank = Line { number: self.number, size_bytes, content: None };
                return Ok((size_bytes > 0).then_some(blank));
            }
            size_bytes += read;
            self.number += 1;
            let bom = if self.number == 1 && text.starts_with(BOM) { BOM.len() } else { 0 };
            let text = text[bom..].trim_ascii();
            if complete && text.is_empty() {
                continue;
            }
            let content = if complete { row(text) } else { Err(format!("longer than {} MiB", ROW_BYTES_MAX >> 20)) };
            return Ok(Some(Line { number: self.number, size_bytes, content: Some(content) }));
        }
    }
}

/// Reads one line into `text` and returns its bytes in the file and whether `text` has all of it. Of a line over the
/// limit the rest is read but not kept.
fn read_line(reader: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<(u64, bool)> {
    let (mut read, mut complete) = (0, true);
    loop {
        let buffer = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        // Room for a byte order mark and a carriage return, which are no part of the row.
        complete &= text.len() + part.len() <= ROW_BYTES_MAX + BOM.len() + 1;
        if complete {
            text.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        read += used as u64;
        if end.is_some() || used == 0 {
            return Ok((read, complete));
        }
    }
}

/// Checks as much of a row as sending it takes: an object with an id to address it by. The rest is the gateway's.
fn row(text: &[u8]) -> Result<Row, String> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default, deserialize_with = "present")]
        id: Option<Value>,
    }
    fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
        Value::deserialize(value).map(Some)
    }

    if text.len() > ROW_BYTES_MAX {
        return Err(format!("longer than {} MiB", ROW_BYTES_MAX >> 20));
    }
    let utf8 = std::str::from_utf8(text).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to() + 1))?;
    // A derived `Deserialize` also takes arrays.
    if !utf8.starts_with('{') {
        return Err(format!("not a JSON object: {}", cut(&printable(utf8), 40)));
    }
    let head: Head = serde_json::from_str(utf8).map_err(|error| bad_json(&error))?;
    let id = match head.id {
        None => None,
        Some(Value::String(id)) => Some(addressable(&id)?),
        Some(other) => return Err(format!("id must be a string, not {}", cut(&other.to_string(), 40))),
    };
    Ok(Row { id, json: Bytes::copy_from_slice(text) })
}

fn addressable(text: &str) -> Result<EntityId, String> {
    // In a URL these two are not names but directions (RFC 3986, section 5.2.4), percent-encoded or not.
    if matches!(text, "." | "..") {
        return Err(format!("id {text:?} cannot stand in a URL"));
    }
    let shown = || cut(&printable(text), 80);
    EntityId::parse(text).ok_or_else(|| format!("id \"{}\" is not 1 to 64 of A-Z a-z 0-9 . _ -", shown()))
}

/// The parser's words, with the column only: it sees a single line.
fn bad_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let words = text.split(" at line ").next().unwrap_or(&text);
    format!("bad JSON at column {}: {}", error.column(), printable(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &[u8]) -> Vec<(u64, Result<Row, String>)> {
        let mut lines = Lines::new(io::BufReader::with_capacity(7, file));
        let (mut rows, mut size) = (Vec::new(), 0);
        while let Some(line) = lines.next().unwrap() {
            size += line.size_bytes;
            rows.extend(line.content.map(|content| (line.number, content)));
        }
        assert_eq!(size, file.len() as u64);
        rows
    }

    #[test]
    fn marks_line_ends_and_blank_lines_are_no_rows() {
        let rows = read(b"\xef\xbb\xbf{\"id\":\"a\"}\r\n\r\n  \n{\"id\":\"b\", \"x\": 1.50}\n{}\n\n");
        let json: Vec<_> = rows.iter().map(|(n, row)| (*n, row.as_ref().unwrap().json.as_ref())).collect();
        assert_eq!(json, [(1, &b"{\"id\":\"a\"}"[..]), (4, b"{\"id\":\"b\", \"x\": 1.50}"), (5, b"{}")]);
        assert_eq!(rows[1].1.as_ref().unwrap().id, EntityId::parse("b"));
        assert_eq!(rows[2].1.as_ref().unwrap().id, None);
        assert!(read(b"").is_empty());
        assert!(read(b"\xef\xbb\xbf\n").is_empty());
        assert_eq!(read(b"{}").len(), 1);
    }

    #[test]
    fn bad_rows_say_why() {
        for (text, reason) in [
            (&b"{\"id\":\"a\""[..], "bad JSON at column 9: EOF while parsing an object"),
            (b"[\"a\"]", "not a JSON object: [\"a\"]"),
            (b"{\"id\":\"\xff\"}", "not UTF-8 at byte 8"),
            (b"{\"id\":null}", "id must be a string, not null"),
            (b"{\"id\":7}", "id must be a string, not 7"),
            (b"{\"id\":\"a/b\"}", "id \"a/b\" is not 1 to 64 of A-Z a-z 0-9 . _ -"),
            (b"{\"id\":\"..\"}", "id \"..\" cannot stand in a URL"),
            (b"{\"id\":\"a\",\"id\":\"b\"}", "bad JSON at column 14: duplicate field `id`"),
        ] {
            assert_eq!(read(text)[0].1.as_ref().unwrap_err(), reason);
        }
    }

    #[test]
    fn a_row_over_the_limit_is_rejected_and_the_next_is_read() {
        let mut file = vec![b'x'; 3 * ROW_BYTES_MAX];
        file.extend_from_slice(b"\n{\"id\":\"a\"}\n");
        let rows = read(&file);
        assert_eq!(rows[0], (1, Err("longer than 1 MiB".to_owned())));
        assert_eq!(rows[1].1.as_ref().unwrap().id, EntityId::parse("a"));

        let longest = format!("{{\"a\":\"{}\"}}", "x".repeat(ROW_BYTES_MAX - 8));
        assert_eq!(longest.len(), ROW_BYTES_MAX);
        assert!(read(format!("{longest}\r\n").as_bytes())[0].1.is_ok());
        assert!(read(format!("{longest} x\n").as_bytes())[0].1.is_err());
    }
}

//! Rows of a body as they arrive, with bounded memory.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use contract::{Env, Problem, Slug};
use http_body_util::BodyExt as _;

use super::super::super::body::{BODY_BYTES_MAX, Incoming};

/// The longest row: as much as a body of its own may have.
const ROW_BYTES_MAX: usize = BODY_BYTES_MAX;

/// What comes next in a body.
#[derive(Debug)]
pub(super) enum Next {
    /// A row that is not blank and its line, from 1; or why it cannot be read.
    Row(u64, Result<Bytes, Problem>),
    /// All of them have come.
    End,
    /// The body breaks off in this line, which is no row, and why.
    Broken(u64, Problem),
}

/// Reads lines.
pub(super) struct Rows {
    body: Incoming,
    buffer: BytesMut,
    /// So many bytes of the buffer have no line's end.
    scanned: usize,
    lines: u64,
    /// The line that is read now is too long, and passed over.
    skips: bool,
    ended: bool,
}

impl Rows {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new(), scanned: 0, lines: 0, skips: false, ended: false }
    }

    /// The next row; each piece of the body must come within `timeout`. Dropping the future loses nothing.
    pub(super) async fn next(&mut self, env: &dyn Env, timeout: Duration) -> Next {
        loop {
            if let Some(row) = self.buffered() {
                return row;
            }
            if self.ended {
                return Next::End;
            }
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                () = env.sleep(timeout) => {
                    let detail = format!("the next row did not arrive within {} s; what came before was answered", timeout.as_secs());
                    return Next::Broken(self.lines + 1, Problem::new(Slug::RequestTimeout, detail));
                }
            };
            match frame {
                None => self.ended = true,
                Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Some(Err(_)) => {
                    let detail =
                        "the body broke off in this line, which was not carried out; what came before was answered";
                    return Next::Broken(self.lines + 1, Problem::new(Slug::InvalidRequest, detail));
                }
            }
        }
    }

    /// The next row of what has come.
    fn buffered(&mut self) -> Option<Next> {
        loop {
            let rest = self.buffer.get(self.scanned..).unwrap_or_default();
            let end = rest.iter().position(|byte| *byte == b'\n').map(|at| self.scanned + at);
            let line = match end {
                Some(end) => self.buffer.split_to(end + 1),
                None if self.ended && (self.skips || !self.buffer.is_empty()) => self.buffer.split(),
                None => {
                    if self.buffer.len() > ROW_BYTES_MAX + 1 {
                        self.skips = true;
                    }
                    if self.skips {
                        self.buffer.clear();
                    }
                    self.scanned = self.buffer.len();
                    return None;
                }
            };
            (self.scanned, self.lines) = (0, self.lines + 1);
            let row = line.trim_ascii_end();
            if std::mem::take(&mut self.skips) || row.len() > ROW_BYTES_MAX {
                let detail = format!("the row is larger than the {ROW_BYTES_MAX} bytes allowed");
                return Some(Next::Row(self.lines, Err(Problem::new(Slug::BodyTooLarge, detail))));
            }
            if !row.is_empty() {
                let length = row.len();
                return Some(Next::Row(self.lines, Ok(line.freeze().slice(..length))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;
    use crate::test_env::env;

    async fn read(body: impl Into<Bytes>) -> Vec<(u64, Result<usize, Slug>)> {
        let mut rows = Rows::new(Incoming::Whole(Full::new(body.into())));
        let mut read = Vec::new();
        while let Next::Row(line, row) = rows.next(&*env(), Duration::from_secs(1)).await {
            read.push((line, row.map(|row| row.len()).map_err(|problem| problem.slug)));
        }
        read
    }

    #[tokio::test]
    async fn lines_are_counted_and_blank_ones_are_no_rows() {
        assert_eq!(read("{}\r\n\n  \n{\"a\":1}").await, [(1, Ok(2)), (4, Ok(7))]);
        assert_eq!(read("{}\n").await, [(1, Ok(2))]);
        assert_eq!(read("").await, []);
        assert_eq!(read("\n\n").await, []);
    }

    #[tokio::test]
    async fn a_row_that_is_too_long_is_its_own_problem() {
        let long = "x".repeat(ROW_BYTES_MAX);
        let all = format!("{long}\n{long}x\n{long}{long}{long}\n{{}}\n{long}{long}");
        let too_long = Err(Slug::BodyTooLarge);
        assert_eq!(read(all).await, [(1, Ok(ROW_BYTES_MAX)), (2, too_long), (3, too_long), (4, Ok(2)), (5, too_long)]);
    }
}

//! The write-ahead log's frames and the HTTP answers, put together again from system calls.

use std::collections::HashMap;

use crate::trace::Call;

/// SQLite's file format, section 4.1: a header of 32 bytes, then frames of a header and a page.
const LOG_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const PAGE_BYTES: usize = 4096;
const FRAME_BYTES: usize = FRAME_HEADER_BYTES + PAGE_BYTES;

/// A frame of the log, at the moment when it was whole.
pub(crate) struct Frame {
    pub(crate) page: Vec<u8>,
    /// Whether it is the last of a transaction.
    pub(crate) commits: bool,
    /// The line on which its last write ended.
    pub(crate) written: usize,
}

/// The frames in the order in which they became whole, however the writes were split.
pub(crate) fn frames<'a>(writes: impl Iterator<Item = &'a Call>) -> Result<Vec<Frame>, String> {
    let mut log = Vec::new();
    let mut frames = Vec::new();
    for write in writes {
        let at = write.offset.ok_or_else(|| format!("{} writes to the log at no known place", write.name))?;
        let end = at + write.data.len();
        if write.result != i64::try_from(write.data.len()).ok() {
            return Err(format!("a write to the log on line {} was not whole", write.begun + 1));
        }
        log.resize(log.len().max(end), 0);
        log[at..end].copy_from_slice(&write.data);
        if at == 0 && log[8..12] != (PAGE_BYTES as u32).to_be_bytes() {
            return Err(format!("the log's pages have not {PAGE_BYTES} bytes"));
        }
        let first = at.saturating_sub(LOG_HEADER_BYTES) / FRAME_BYTES;
        for begin in (first..).map(|number| LOG_HEADER_BYTES + number * FRAME_BYTES) {
            if begin + FRAME_BYTES > end {
                break;
            }
            let frame = &log[begin..begin + FRAME_BYTES];
            let commits = frame[4..8] != [0; 4];
            frames.push(Frame { page: frame[FRAME_HEADER_BYTES..].to_vec(), commits, written: write.ended });
        }
    }
    Ok(frames)
}

/// A final answer on a socket.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// The line on which its first byte began to leave.
    pub(crate) begun: usize,
}

/// The answers that left on all sockets.
pub(crate) fn answers<'a>(sends: impl Iterator<Item = &'a Call>) -> Result<Vec<Answer>, String> {
    let mut sockets: HashMap<(u32, &str), (usize, Vec<u8>)> = HashMap::new();
    let mut answers = Vec::new();
    for send in sends {
        // What was asked to leave where the trace ended, what did leave otherwise.
        let sent = send.result.map_or(send.data.len(), |result| usize::try_from(result).unwrap_or(0));
        let socket = sockets.entry((send.descriptor, &send.target)).or_default();
        if socket.1.is_empty() {
            socket.0 = send.begun;
        }
        socket.1.extend(&send.data[..sent.min(send.data.len())]);
        // Only HTTP begins so; a runtime's own sockets carry single bytes.
        if !socket.1.starts_with(b"HTTP/1.1 ") {
            socket.1.clear();
        }
        while let Some((status, body, length)) = answer(&socket.1)? {
            if status >= 200 {
                answers.push(Answer { status, body, begun: socket.0 });
            }
            socket.1.drain(..length);
            socket.0 = send.begun;
        }
    }
    Ok(answers)
}

/// The first answer of what was sent, if it is whole: status, body, length.
fn answer(sent: &[u8]) -> Result<Option<(u16, Vec<u8>, usize)>, String> {
    let Some(head_bytes) = sent.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&sent[..head_bytes]).to_ascii_lowercase();
    let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| format!("no status: {head}"))?;
    let body_bytes = match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => length.parse().map_err(|_| format!("content-length {length}"))?,
        None if status < 200 || status == 204 => 0,
        None => return Err(format!("an answer without content-length: {head}")),
    };
    let length = head_bytes + body_bytes;
    Ok(sent.get(head_bytes..length).map(|body| (status, body.to_vec(), length)))
}

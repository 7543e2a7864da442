//! The check itself: traces made by hand, good and bad.

use super::{Proof, check};
use crate::trace::parse;

const OBJECT: &str = r#"{"id":"a1","name":"m-1"}"#;
const ACCEPTED: &str = r#"{"id":"op","status":"pending","type":"contact","entity_id":"a1"}"#;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

fn log() -> String {
    hex(b"/data/dos.sqlite-wal")
}

/// The two writes of frame `number`, as SQLite makes them.
fn frame(number: usize, holds: &str, commits: bool) -> [String; 2] {
    let mut header = [0; 24];
    header[7] = u8::from(commits);
    let mut page = vec![0; 4096];
    page[100..100 + holds.len()].copy_from_slice(holds.as_bytes());
    let at = 32 + number * 4120;
    let write =
        |data: &[u8], at| format!("1 pwrite64(7<{}>, \"{}\", {}, {at}) = {}", log(), hex(data), data.len(), data.len());
    [write(&header, at), write(&page, at + 24)]
}

fn sync() -> String {
    format!("1 fdatasync(7<{}>) = 0", log())
}

fn send(bytes: &[u8]) -> String {
    let (data, length) = (hex(bytes), bytes.len());
    format!("2 sendto(9<{}>, \"{data}\", {length}, MSG_NOSIGNAL, NULL, 0) = {length}", hex(b"socket:[5]"))
}

fn answer_text(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn answer(status: &str, body: &str) -> String {
    send(answer_text(status, body).as_bytes())
}

fn verdict(lines: &[String]) -> Result<Proof, String> {
    check(&parse(&lines.join("\n")).unwrap())
}

/// A transaction of two frames: the first holds the object, the second commits.
fn transaction(holds: &str) -> Vec<String> {
    [frame(0, holds, false), frame(1, "", true)].concat()
}

#[test]
fn a_good_trace() {
    let lines = [transaction(OBJECT), vec![sync(), answer("201 Created", OBJECT)]].concat();
    assert_eq!(verdict(&lines), Ok(Proof { answered: 1, accepted: 0, frames: 2, syncs: 1 }));
    let lines = [transaction("contact:a1"), vec![sync(), answer("202 Accepted", ACCEPTED)]].concat();
    assert_eq!(verdict(&lines), Ok(Proof { answered: 0, accepted: 1, frames: 2, syncs: 1 }));
    // What is no success needs no fsync.
    assert_eq!(verdict(&[answer("412 Precondition Failed", "{}")]), Ok(Proof::default()));
}

#[test]
fn no_fsync() {
    let lines = [transaction(OBJECT), vec![answer("201 Created", OBJECT)]].concat();
    assert!(verdict(&lines).unwrap_err().contains("before an fsync"));
    let failed = sync().replace("= 0", "= -1 EIO (Input/output error)");
    let lines = [transaction(OBJECT), vec![failed, answer("201 Created", OBJECT)]].concat();
    assert!(verdict(&lines).unwrap_err().contains("before an fsync"));
    let elsewhere = sync().replace(&log(), &hex(b"/data/dos.sqlite"));
    let lines = [transaction(OBJECT), vec![elsewhere, answer("201 Created", OBJECT)]].concat();
    assert!(verdict(&lines).unwrap_err().contains("before an fsync"));
    let lines = [transaction("contact:a1"), vec![answer("202 Accepted", ACCEPTED)]].concat();
    assert!(verdict(&lines).unwrap_err().contains("before an fsync"));
}

#[test]
fn an_fsync_that_began_too_early() {
    // Between the object's frame and the commit frame.
    let mut lines = transaction(OBJECT);
    lines.insert(2, sync());
    lines.push(answer("201 Created", OBJECT));
    assert!(verdict(&lines).unwrap_err().contains("before an fsync"));
    // It ended after the last write, but began before it.
    let mut lines = transaction(OBJECT);
    lines.insert(2, format!("3 fdatasync(7<{}> <unfinished ...>", log()));
    lines.extend(["3 <... fdatasync resumed>) = 0".to_owned(), answer("201 Created", OBJECT)]);
    assert!(verdict(&lines).unwrap_err().contains("before an fsync"));
}

#[test]
fn an_fsync_that_ended_too_late() {
    let begun = format!("1 fdatasync(7<{}> <unfinished ...>", log());
    let ended = "1 <... fdatasync resumed>) = 0".to_owned();
    let early = vec![begun.clone(), answer("201 Created", OBJECT), ended.clone()];
    assert!(verdict(&[transaction(OBJECT), early].concat()).unwrap_err().contains("before an fsync"));
    let good = vec![begun, ended, answer("201 Created", OBJECT)];
    assert!(verdict(&[transaction(OBJECT), good].concat()).is_ok());
}

#[test]
fn an_answer_that_began_to_leave_too_early() {
    let text = answer("201 Created", OBJECT);
    let (head, tail) = text.split_once(", MSG").unwrap();
    let lines = vec![format!("{head} <unfinished ...>"), sync(), format!("2 <... sendto resumed>, MSG{tail}")];
    assert!(verdict(&[transaction(OBJECT), lines].concat()).unwrap_err().contains("before an fsync"));
}

#[test]
fn an_answer_that_is_not_in_the_log_or_comes_before_it() {
    let command = transaction(r#"{"name":"m-1"}"#);
    let lines = [command, vec![sync(), answer("201 Created", OBJECT)]].concat();
    assert!(verdict(&lines).unwrap_err().contains("in no frame"));
    let lines = [vec![answer("201 Created", OBJECT)], transaction(OBJECT), vec![sync()]].concat();
    assert!(verdict(&lines).unwrap_err().contains("before its frames"));
    let lines = [frame(0, OBJECT, false).to_vec(), vec![sync(), answer("201 Created", OBJECT)]].concat();
    assert!(verdict(&lines).unwrap_err().contains("never committed"));
}

#[test]
fn frames_and_answers_that_are_split_otherwise() {
    let [header, page] = frame(0, OBJECT, true);
    let bytes = |line: &str| line.split('"').nth(1).unwrap().to_owned();
    let whole = bytes(&header) + &bytes(&page);
    let (first, second) = whole.split_at(4 * 120);
    let write =
        |hex: &str, at| format!("1 pwrite64(7<{}>, \"{hex}\", {}, {at}) = {}", log(), hex.len() / 4, hex.len() / 4);
    let text = answer_text("201 Created", OBJECT);
    let (head, tail) = text.as_bytes().split_at(30);
    let lines = [write(first, 32), write(second, 32 + 120), sync(), send(head), send(tail)];
    assert_eq!(verdict(&lines), Ok(Proof { answered: 1, accepted: 0, frames: 1, syncs: 1 }));
    let early = [write(first, 32), write(second, 32 + 120), send(head), sync(), send(tail)];
    assert!(verdict(&early).unwrap_err().contains("before an fsync"));
}

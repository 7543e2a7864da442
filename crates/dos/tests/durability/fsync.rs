//! No `2xx` of a write leaves before an fsync that began after the write's frames were in the log.
//!
//! A kill does not test this, as the kernel keeps what was written. The system calls do.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::frames::{Answer, Frame, answers, frames};
use crate::shared::http::Connection;
use crate::shared::process::{EFFECT_MAX, Server, serve, wait_for};
use crate::trace::{Call, parse};

mod tests;

const WRITERS: usize = 4;
const WRITES: usize = 40;
const LOG: &str = "dos.sqlite-wal";

/// What was proven.
#[derive(Debug, Default, PartialEq, Eq)]
struct Proof {
    /// Answers with the view, each after an fsync of its frames.
    answered: usize,
    /// `202`s, each after an fsync of its command's frames.
    accepted: usize,
    frames: usize,
    syncs: usize,
}

/// A successful fsync or fdatasync of the log.
struct Sync {
    begun: usize,
    ended: usize,
}

fn is_sync(call: &Call) -> bool {
    matches!(&*call.name, "fsync" | "fdatasync")
}

/// Checks every `2xx` of a trace in which all requests were writes of small entities.
fn check(calls: &[Call]) -> Result<Proof, String> {
    let (log, others): (Vec<&Call>, Vec<&Call>) = calls.iter().partition(|call| call.target.ends_with(LOG));
    let syncs: Vec<Sync> = log
        .iter()
        .filter(|call| is_sync(call) && call.result == Some(0))
        .map(|call| Sync { begun: call.begun, ended: call.ended })
        .collect();
    let frames = frames(log.iter().filter(|call| !is_sync(call)).copied())?;
    let sends = others.iter().filter(|call| call.target.starts_with("socket:") || call.target.starts_with("TCP"));
    let index = index(&frames);
    let mut proof = Proof { frames: frames.len(), syncs: syncs.len(), ..Proof::default() };
    for answer in answers(sends.copied())?.iter().filter(|answer| (200..300).contains(&answer.status)) {
        let place = |what: &str| {
            format!("the answer on line {} {what}: {}", answer.begun + 1, String::from_utf8_lossy(&answer.body))
        };
        let first = index.get(&needle(answer)?).ok_or_else(|| place("is in no frame of the log"))?;
        let commit = frames[*first..].iter().position(|frame| frame.commits);
        let commit = first + commit.ok_or_else(|| place("was never committed"))?;
        let written = frames[*first..=commit].iter().map(|frame| frame.written).max().unwrap_or(usize::MAX);
        if written >= answer.begun {
            return Err(place(&format!("left before its frames were written, which was on line {}", written + 1)));
        }
        if !syncs.iter().any(|sync| sync.begun > written && sync.ended < answer.begun) {
            return Err(place(&format!("left before an fsync of its frames, written up to line {}", written + 1)));
        }
        proof.answered += usize::from(answer.status != 202);
        proof.accepted += usize::from(answer.status == 202);
    }
    Ok(proof)
}

/// What the log must hold for an answer: the view's object, which is the body, or the key of the command.
fn needle(answer: &Answer) -> Result<Vec<u8>, String> {
    if answer.status != 202 {
        return Ok(answer.body.clone());
    }
    let body: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let id = body["entity_id"].as_str().ok_or("a 202 without entity_id")?;
    Ok(format!("contact:{id}").into_bytes())
}

/// The first frame that holds each object and each key. (Pages are written again and again with what they held before.)
fn index(frames: &[Frame]) -> HashMap<Vec<u8>, usize> {
    let mut index = HashMap::new();
    for (number, frame) in frames.iter().enumerate() {
        for at in 0..frame.page.len() {
            let rest = &frame.page[at..];
            if rest.starts_with(b"{\"id\":\"") {
                let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<serde::de::IgnoredAny>();
                if let Some(Ok(_)) = values.next() {
                    index.entry(rest[..values.byte_offset()].to_vec()).or_insert(number);
                }
            } else if let Some(id) = rest.strip_prefix(b"contact:") {
                let length = id.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte)).count();
                index.entry(rest[.."contact:".len() + length].to_vec()).or_insert(number);
            }
        }
    }
    index
}

#[test]
fn no_answer_leaves_before_its_fsync() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut server = Server::start(traced(&trace, &folder.path().join("data")), folder.path());
    let address = server.address;
    let (answered, accepted) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|number| scope.spawn(move || write(address, number))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    });
    server.process.terminate();
    assert!(server.process.wait(EFFECT_MAX).success());
    let process = server.process.id().to_string();
    let text = wait_for(EFFECT_MAX, "the end of the trace", || {
        // The process's number is padded.
        let is_last = |text: &String| text.lines().next_back().and_then(exited) == Some(&process);
        std::fs::read_to_string(&trace).ok().filter(is_last)
    });
    let mut calls = parse(&text).unwrap();
    let proof = check(&calls).unwrap();
    println!("fsync: {proof:?}");
    assert_eq!((proof.answered, proof.accepted), (answered, accepted), "every answer is in the trace");
    assert!(answered >= WRITERS * WRITES / 2 && accepted > 0, "{proof:?}");
    // The same trace proves nothing once its fsyncs are gone.
    calls.retain(|call| !is_sync(call));
    assert!(check(&calls).unwrap_err().contains("before an fsync"));
}

/// Which process or thread ended, says a line.
fn exited(line: &str) -> Option<&str> {
    line.strip_suffix("+++ exited with 0 +++").map(str::trim)
}

/// The program under strace, which traces it from a process of its own: a signal then reaches the program.
fn traced(trace: &Path, data: &Path) -> Command {
    let version = Command::new("strace").arg("-V").output();
    assert!(version.is_ok(), "this test needs strace; install it with: apt-get install strace");
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-y", "-xx", "-s", "8192"]);
    command
        .args(["-e", "trace=pwrite64,pwritev,pwritev2,write,writev,sendto,sendmsg,fdatasync,fsync", "-o"])
        .arg(trace);
    command.arg(env!("CARGO_BIN_EXE_dos")).args(serve(data));
    command
}

/// Creates, merges and creates without waiting; counts the `2xx` that were answered and accepted.
fn write(address: SocketAddr, writer: usize) -> (usize, usize) {
    let mut connection = Connection::open(address).unwrap();
    let (mut answered, mut accepted) = (0, 0);
    let mut last = String::new();
    for number in 0..WRITES {
        let body = format!("{{\"name\":\"m-{writer}-{number}\"}}");
        let create: &[(&str, &str)] = &[("if-none-match", "*"), ("prefer", "respond-async")];
        let answer = match number % 4 {
            0 => connection.call("POST", "/contact", &[], &body),
            1 => connection.call("PUT", &format!("/contact/w{writer}-{number}"), create, &body),
            2 => connection.call("PUT", &format!("/contact/w{writer}-{number}"), &create[..1], &body),
            _ => connection.call("PUT", &format!("/contact/{last}"), &[], &body),
        };
        let answer = answer.unwrap();
        match answer.status {
            200 | 201 => answered += 1,
            202 => accepted += 1,
            status => panic!("{status}: {}", answer.json()),
        }
        if let Some(id) = answer.json()["id"].as_str().filter(|_| answer.status == 201) {
            id.clone_into(&mut last);
        }
    }
    (answered, accepted)
}

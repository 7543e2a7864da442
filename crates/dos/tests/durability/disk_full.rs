//! A disk that is full: writes are refused as safe to repeat, reads go on, nothing acknowledged is lost.

use std::path::Path;

use serde_json::{Map, json};
use tempfile::TempDir;

use crate::kill::{get_all, pass_the_backlog, resolve};
use crate::namespace::Namespace;
use crate::shared::check::{Checker, MARKER};
use crate::shared::history::{Outcome, Write, answered};
use crate::shared::http::{Connection, Response};
use crate::shared::process::{EFFECT_MAX, Server, dos, serve, wait_for};
use crate::views::Reader;

const TEXT_BYTES: usize = 60_000;
/// More writes than fit in any of these.
const WRITES_MAX: usize = 1000;

/// Writes one entity of some size.
fn write(connection: &mut Connection, number: usize) -> (Write, Response) {
    let (id, marker) = (format!("full-{number}"), format!("{MARKER}{number}"));
    let patch =
        Map::from_iter([("name".to_owned(), json!(marker)), ("position".to_owned(), json!("x".repeat(TEXT_BYTES)))]);
    let headers = [("if-none-match", "*"), ("prefer", "wait=1")];
    let body = serde_json::Value::Object(patch.clone()).to_string();
    let response = connection.call("PUT", &format!("/contact/{id}"), &headers, &body).unwrap();
    let outcome = answered(&response);
    (Write { marker, entity: Some(id), creates: true, patch, outcome, ..Write::default() }, response)
}

/// Writes until there is no room; every answer on the way must be one of the contract's.
fn fill(server: &mut Server) -> Vec<Write> {
    let mut connection = Connection::open(server.address).unwrap();
    let mut writes = Vec::new();
    while writes.len() < WRITES_MAX {
        let (write, response) = write(&mut connection, writes.len());
        let refused = write.outcome == Outcome::Refused(503);
        writes.push(write);
        if refused {
            let problem = response.json();
            assert_eq!(problem["type"], "/problem/storage-full", "{problem}");
            assert_eq!(problem["retry"], "safe", "{problem}");
            assert!(response.header("retry-after").is_some());
            assert!(server.process.ended().is_none());
            return writes;
        }
        assert!(matches!(response.status, 201 | 202), "{} {}", response.status, response.json());
    }
    panic!("{WRITES_MAX} writes, and still there is room");
}

/// While there is no room: what was acknowledged can be read, byte for byte, and listed.
fn check_reads(server: &Server, writes: &[Write]) {
    let mut acknowledged = 0;
    let mut connection = Connection::open(server.address).unwrap();
    for write in writes {
        if let Outcome::Acknowledged { id, etag, body, .. } = &write.outcome {
            let found = connection.call("GET", &format!("/contact/{id}"), &[], "").unwrap();
            assert_eq!((found.status, found.header("etag")), (200, Some(&**etag)));
            assert!(found.body == *body, "{id} has other bytes than were acknowledged");
            acknowledged += 1;
        }
    }
    assert!(acknowledged > 5, "only {acknowledged} writes found room");
    let list = connection.call("GET", "/contact?limit=2", &[], "").unwrap();
    assert_eq!((list.status, list.json().as_array().map(Vec::len)), (200, Some(2)));
    assert_eq!(connection.call("GET", "/health/alive", &[], "").unwrap().status, 200);
}

/// Once there is room: writes are taken again.
fn write_again(server: &Server, writes: &mut Vec<Write>) {
    let mut connection = Connection::open(server.address).unwrap();
    wait_for(EFFECT_MAX, "writes work again", || {
        let (write, response) = write(&mut connection, writes.len());
        assert!(matches!(response.status, 201..=202 | 503), "{} {}", response.status, response.json());
        writes.push(write);
        (response.status == 201).then_some(())
    });
    pass_the_backlog(&mut connection);
    resolve(&mut connection, writes);
}

/// All that was promised on the way is in the file, and nothing that was refused.
fn check_all(server: &Server, writes: &[Write], topic: &Path) {
    let versions = Reader::default().read(topic).unwrap();
    let ids: Vec<&str> = versions.iter().map(|version| version.id.as_str()).collect();
    let violations = Checker::default().round(writes, &versions, &get_all(server, &ids));
    assert!(violations.is_empty(), "{violations:#?}");
    let count = |is: fn(&Outcome) -> bool| writes.iter().filter(|write| is(&write.outcome)).count();
    println!(
        "disk full: {} acknowledged, {} accepted, {} refused",
        count(|outcome| matches!(outcome, Outcome::Acknowledged { .. })),
        count(|outcome| matches!(outcome, Outcome::Accepted { .. })),
        count(|outcome| matches!(outcome, Outcome::Refused(_))),
    );
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let shown = data.display();
    let script = format!("mount -t tmpfs -o size=12m none {shown}\nhead -c 5m /dev/zero > {shown}/ballast");
    let namespace = Namespace::new(&script, folder.path());
    let start = || {
        let mut command = namespace.dos();
        command.args(serve(&data));
        Server::start(command, folder.path())
    };
    let mut server = start();
    let mut writes = fill(&mut server);
    check_reads(&server, &writes);
    std::fs::remove_file(namespace.path(&data.join("ballast"))).unwrap();
    write_again(&server, &mut writes);
    server.process.kill();
    let mut server = start();
    let copy = copy_of(&namespace.path(&data), &mut server);
    check_all(&start(), &writes, copy.path());
}

/// The data file of a server that is stopped for it.
fn copy_of(data: &Path, server: &mut Server) -> TempDir {
    server.process.terminate();
    assert!(server.process.wait(EFFECT_MAX).success());
    let copy = tempfile::tempdir().unwrap();
    // The log is left where the disk has no room to copy it into the database.
    for name in ["dos.sqlite", "dos.sqlite-wal"] {
        if data.join(name).exists() {
            std::fs::copy(data.join(name), copy.path().join(name)).unwrap();
        }
    }
    copy
}

#[test]
fn a_file_at_its_limit_refuses_writes_until_the_limit_is_raised() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut command = dos();
    command.args(serve(&data)).env("DOS_STREAM__FILE_BYTES_MAX", "3000000");
    let mut server = Server::start(command, folder.path());
    let mut writes = fill(&mut server);
    check_reads(&server, &writes);
    server.process.kill();
    assert!(std::fs::metadata(data.join("dos.sqlite")).unwrap().len() <= 3_000_000);
    let server = Server::on(folder.path(), &data);
    write_again(&server, &mut writes);
    check_all(&server, &writes, &data);
}

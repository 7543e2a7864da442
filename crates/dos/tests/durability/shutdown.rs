//! SIGTERM: requests under way are answered, new ones are not taken, everything is there at the next start.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::shared::history::{Outcome, answered, outcome};
use crate::shared::http::{Connection, Lost, request};
use crate::shared::process::{EFFECT_MAX, Server, wait_for};

const REQUESTS: usize = 16;
/// `http.drain_timeout_ms`, and what stopping takes after it.
const DEADLINE: Duration = Duration::from_secs(12);

/// Each acknowledged answer must be what `GET` gives.
fn check(server: &Server, outcomes: &[Outcome]) {
    let mut connection = Connection::open(server.address).unwrap();
    for outcome in outcomes {
        let Outcome::Acknowledged { id, etag, body, .. } = outcome else { continue };
        let found = connection.call("GET", &format!("/contact/{id}"), &[], "").unwrap();
        assert_eq!((found.status, found.header("etag")), (200, Some(&**etag)));
        assert!(found.body == *body, "{id} has other bytes than were acknowledged");
    }
}

fn is_refused(server: &Server) -> bool {
    Connection::open(server.address).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn requests_under_way_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::on(folder.path(), &data);
    let mut idle = Connection::open(server.address).unwrap();
    assert_eq!(idle.call("GET", "/contact", &[], "").unwrap().status, 200);
    // An interim answer [RFC 9110 10.1.1] says that the handler waits for the body: the request is under way.
    let text = |number| format!(r#"{{"name":"{number}"}}"#);
    let mut connections: Vec<Connection> = (0..REQUESTS)
        .map(|number| {
            let mut connection = Connection::open(server.address).unwrap();
            let request = request("POST", "/contact", &[("expect", "100-continue")], &text(number));
            connection.send(&request[..request.len() - text(number).len()]).unwrap();
            assert_eq!(connection.receive().unwrap().status, 100);
            connection
        })
        .collect();
    let begun = Instant::now();
    server.process.terminate();
    wait_for(EFFECT_MAX, "new connections are refused", || is_refused(&server).then_some(()));
    assert!(server.process.ended().is_none(), "it waits for what is under way");
    assert!(idle.is_at_end(), "an idle connection is closed");
    let outcomes: Vec<Outcome> = (0..REQUESTS)
        .zip(&mut connections)
        .map(|(number, connection)| {
            connection.send(text(number).as_bytes()).unwrap();
            let answer = connection.receive().unwrap();
            assert_eq!(answer.status, 201, "{}", answer.json());
            assert_eq!(answer.header("connection"), Some("close"));
            assert!(connection.is_at_end());
            answered(&answer)
        })
        .collect();
    assert_eq!(server.process.wait(DEADLINE).code(), Some(0));
    assert!(begun.elapsed() < DEADLINE);
    check(&Server::on(folder.path(), &data), &outcomes);
}

#[test]
fn under_load_no_answer_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::on(folder.path(), &data);
    let address = server.address;
    let (progress, written) = mpsc::channel();
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let write = |number: usize| {
            let mut connection = Connection::open(address).unwrap();
            let mut outcomes = Vec::new();
            loop {
                let body = format!(r#"{{"name":"{number}-{}"}}"#, outcomes.len());
                let answer = connection.call("POST", "/contact", &[], &body);
                assert!(!matches!(answer, Err(Lost::Amid(_))), "an answer was cut: {answer:?}");
                let refused = answer.as_ref().is_ok_and(|answer| answer.status == 503);
                assert!(refused || answer.as_ref().map_or(true, |answer| answer.status == 201), "{answer:?}");
                outcomes.push(outcome(&answer));
                let closed = answer.is_ok_and(|answer| answer.header("connection") == Some("close"));
                if closed || matches!(outcomes.last(), Some(Outcome::Unknown { .. })) {
                    return outcomes;
                }
                progress.send(()).unwrap();
            }
        };
        let writers: Vec<_> = (0..REQUESTS).map(|number| scope.spawn(move || write(number))).collect();
        for _ in 0..REQUESTS * 20 {
            written.recv_timeout(EFFECT_MAX).unwrap();
        }
        server.process.terminate();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(server.process.wait(DEADLINE).code(), Some(0));
    let acknowledged = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Acknowledged { .. })).count();
    let unknown = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Unknown { .. })).count();
    println!("shutdown under load: {acknowledged} acknowledged, {unknown} closed before an answer");
    let server = Server::on(folder.path(), &data);
    check(&server, &outcomes);
    let list = Connection::open(server.address).unwrap().call("GET", "/contact?limit=1", &[], "").unwrap();
    let total: usize = list.header("x-total-count").unwrap().parse().unwrap();
    assert!((acknowledged..=acknowledged + unknown).contains(&total), "{total} of {acknowledged} + {unknown}");
}

//! Writers and readers against both gateways, and what they were told and shown.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::reads::{Read, Seen, digest};
use crate::shared::history::{Outcome, Write, deleted_as, version};
use crate::shared::http::{Connection, Response};
use crate::shared::load::{SHARED, Writer};
use crate::shared::random::Random;

pub(crate) const WRITERS: usize = 32;
const READERS: usize = 32;
/// Between a client's requests: two cores also run three brokers.
const WRITER_THINKS_MS: usize = 500;
const READER_THINKS_MS: usize = 400;
const RECONNECT_AFTER: Duration = Duration::from_millis(50);
/// A gateway closes a connection that nothing was asked on for 10 s, perhaps just when something is.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// Entities that readers look at, besides those that all writers change.
const KNOWN_MAX: usize = 300;

const TOKEN: &str = "consistency-token";

/// One write, and when.
pub(crate) struct Sent {
    pub(crate) write: Write,
    pub(crate) gateway: usize,
    /// Since the run began.
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
}

/// What clients have of a round.
#[derive(Default)]
pub(crate) struct Records {
    pub(crate) sent: Vec<Sent>,
    pub(crate) reads: Vec<Read>,
}

/// The clients of a round.
pub(crate) struct Load<'a> {
    pub(crate) seed: u64,
    pub(crate) round: usize,
    pub(crate) clock: Instant,
    pub(crate) gateways: &'a [SocketAddr],
    known: Mutex<VecDeque<String>>,
    over: AtomicBool,
}

/// A connection, and since when there is one.
struct Kept {
    connection: Connection,
    since: Duration,
}

/// Ends the round, also where what happens in it panics.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<'a> Load<'a> {
    pub(crate) fn new(seed: u64, round: usize, clock: Instant, gateways: &'a [SocketAddr]) -> Self {
        Self { seed, round, clock, gateways, known: Mutex::default(), over: AtomicBool::new(false) }
    }

    /// Runs all clients for as long as something goes on.
    pub(crate) fn during<T>(&self, writers: &mut [Writer], something: impl FnOnce() -> T) -> (T, Records) {
        thread::scope(|scope| {
            let end = End(&self.over);
            let mut clients = Vec::new();
            for (number, writer) in writers.iter_mut().enumerate() {
                clients.push(scope.spawn(move || self.write(number, writer)));
            }
            for number in WRITERS..WRITERS + READERS {
                clients.push(scope.spawn(move || self.read(number)));
            }
            let result = something();
            drop(end);
            let mut records = Records::default();
            for client in clients {
                let Records { sent, reads } = client.join().unwrap();
                records.sent.extend(sent);
                records.reads.extend(reads);
            }
            (result, records)
        })
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn think(random: &mut Random, millis: usize) {
        thread::sleep(Duration::from_millis(random.below(millis) as u64));
    }

    fn write(&self, number: usize, writer: &mut Writer) -> Records {
        let mut random = Random::new(self.seed, (self.round * 1000 + number) as u64);
        let (mut records, mut connected) = (Records::default(), None);
        while !self.is_over() {
            Self::think(&mut random, WRITER_THINKS_MS);
            let Some((gateway, kept)) = &mut connected else {
                let gateway = random.below(self.gateways.len());
                connected = self.connect(gateway).ok().map(|kept| (gateway, kept));
                thread::sleep(if connected.is_some() { Duration::ZERO } else { RECONNECT_AFTER });
                continue;
            };
            let (gateway, begun) = (*gateway, self.clock.elapsed());
            let (write, lost) = writer.write(&mut kept.connection, (self.round, records.sent.len()), &mut random);
            let ended = self.clock.elapsed();
            // What is told again is as it was then.
            if let (Outcome::Acknowledged { id, version, body, .. }, false) = (&write.outcome, write.replayed) {
                let seen = Seen::Version(*version, digest(body));
                let (client, connected) = (number, kept.since);
                let id = Some(id.clone());
                self.remember(id.iter());
                records.reads.push(Read {
                    client,
                    gateway,
                    id: id.clone(),
                    connected,
                    begun,
                    ended,
                    seen,
                    carried: false,
                });
                if random.below(4) == 0 {
                    records.reads.push(self.get(number, gateway, kept, id, &mut None).0);
                }
            }
            if write.outcome == Outcome::Deleted {
                self.remember(write.entity.iter());
            }
            if lost || writer.repeats() || random.below(20) == 0 {
                connected = None;
            }
            records.sent.push(Sent { write, gateway, begun, ended });
        }
        records
    }

    fn read(&self, number: usize) -> Records {
        let mut random = Random::new(self.seed, (self.round * 1000 + number) as u64);
        let mut connections: Vec<Option<Kept>> = self.gateways.iter().map(|_| None).collect();
        let mut used = vec![Duration::ZERO; connections.len()];
        let mut records = Records::default();
        // Every other one takes along the token of the last answer, to whichever gateway it goes.
        let mut token = (number % 2 == 1).then(String::new);
        while !self.is_over() {
            Self::think(&mut random, READER_THINKS_MS);
            let gateway = random.below(self.gateways.len());
            let id = self.choose(&mut random);
            let begun = self.clock.elapsed();
            if begun - used[gateway] > IDLE_MAX {
                connections[gateway] = None;
            }
            let (read, lost) = match &mut connections[gateway] {
                Some(kept) => self.get(number, gateway, kept, id, &mut token),
                none => match self.connect(gateway) {
                    Ok(kept) => self.get(number, gateway, none.insert(kept), id, &mut token),
                    Err(error) => {
                        let (seen, ended) = (Seen::Failed(error.to_string()), self.clock.elapsed());
                        let read =
                            Read { client: number, gateway, id, connected: begun, begun, ended, seen, carried: false };
                        (read, true)
                    }
                },
            };
            used[gateway] = self.clock.elapsed();
            if lost {
                connections[gateway] = None;
                thread::sleep(RECONNECT_AFTER);
            }
            records.reads.push(read);
        }
        records
    }

    fn connect(&self, gateway: usize) -> std::io::Result<Kept> {
        let since = self.clock.elapsed();
        Ok(Kept { connection: Connection::open(self.gateways[gateway])?, since })
    }

    fn remember<'b>(&self, ids: impl Iterator<Item = &'b String>) {
        let mut known = self.known.lock().unwrap();
        known.extend(ids.cloned());
        if known.len() > KNOWN_MAX {
            known.pop_front();
        }
    }

    /// What a reader looks at: often what all change, sometimes a list.
    fn choose(&self, random: &mut Random) -> Option<String> {
        match random.below(20) {
            0 => None,
            1..10 => Some(format!("shared-{}-{}", self.round, random.below(SHARED))),
            _ => {
                let known = self.known.lock().unwrap();
                let id = (!known.is_empty()).then(|| known[random.below(known.len())].clone());
                id.or_else(|| Some(format!("shared-{}-0", self.round)))
            }
        }
    }

    /// One read, and whether the connection is lost. A token, where the client has one, is sent, and the answer's taken.
    fn get(
        &self,
        client: usize,
        gateway: usize,
        kept: &mut Kept,
        id: Option<String>,
        token: &mut Option<String>,
    ) -> (Read, bool) {
        let path = id.as_ref().map_or("/contact?limit=5".to_owned(), |id| format!("/contact/{id}"));
        let begun = self.clock.elapsed();
        let sent: Vec<_> =
            token.iter().filter(|token| !token.is_empty()).map(|token| (TOKEN, token.as_str())).collect();
        let answer = kept.connection.call("GET", &path, &sent, "");
        let ended = self.clock.elapsed();
        let seen = match &answer {
            Ok(response) => seen(response, id.is_none()),
            Err(lost) => Seen::Failed(format!("{lost:?}")),
        };
        let told = answer.as_ref().ok().and_then(|response| response.header(TOKEN));
        let carried = token.is_some();
        if let (Some(token), Some(told)) = (token, told) {
            told.clone_into(token);
        }
        (Read { client, gateway, id, connected: kept.since, begun, ended, seen, carried }, answer.is_err())
    }
}

fn seen(response: &Response, is_list: bool) -> Seen {
    if let (410, false, Some(version)) = (response.status, is_list, deleted_as(response)) {
        return Seen::Version(version, digest(&[]));
    }
    if response.status == 503 && response.json()["type"] == "/problem/behind" {
        return Seen::Behind;
    }
    match (response.status, is_list, version(response)) {
        (200, true, _) => Seen::List,
        (200, false, Some(version)) => Seen::Version(version, digest(&response.body)),
        (404, false, _) => Seen::Nothing,
        (status, ..) => Seen::Failed(format!("{status} {}", String::from_utf8_lossy(&response.body))),
    }
}

//! The program is killed with SIGKILL under load, again and again on the same data, and must have lost nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection as Sqlite, OpenFlags};
use tempfile::TempDir;

use crate::shared::check::{Checker, Kind, Violation};
use crate::shared::history::{Found, Outcome, Write};
use crate::shared::http::Connection;
use crate::shared::load::Writer;
use crate::shared::process::{EFFECT_MAX, Process, Server, dos, serve, wait_for};
use crate::shared::random::Random;
use crate::views::Reader;

const WRITERS: usize = 32;
const READERS: usize = 4;
const VIOLATIONS_SHOWN: usize = 20;

/// What the environment asks for: `DOS_TEST_KILL_ROUNDS`, `_ROUND_MS`, `_SEED`.
struct Plan {
    rounds: usize,
    round: Duration,
    seed: u64,
}

impl Plan {
    fn from_environment() -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}: {text:?} is no number")))
        };
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Self {
            rounds: usize::try_from(number("DOS_TEST_KILL_ROUNDS").unwrap_or(3)).unwrap(),
            round: Duration::from_millis(number("DOS_TEST_KILL_ROUND_MS").unwrap_or(1500)),
            seed: number("DOS_TEST_KILL_SEED").unwrap_or_else(clock),
        }
    }
}

/// Counts for the summary.
#[derive(Default)]
struct Tally {
    kills: usize,
    writes: usize,
    acknowledged: usize,
    accepted: usize,
    refused: usize,
    unknown: usize,
    unknown_applied: usize,
    versions: usize,
}

/// One data folder, killed and started over many rounds.
struct Harness {
    seed: u64,
    folder: TempDir,
    data: PathBuf,
    writers: Vec<Writer>,
    reader: Reader,
    checker: Checker,
    tally: Tally,
}

#[test]
fn acknowledged_writes_survive_kill() {
    let plan = Plan::from_environment();
    println!("kill: {} rounds of {:?}, DOS_TEST_KILL_SEED={}", plan.rounds, plan.round, plan.seed);
    let mut harness = Harness::new(plan.seed);
    let mut server = harness.start(0);
    for round in 1..=plan.rounds {
        let mut random = Random::new(plan.seed, round as u64);
        let moment = plan.round.mul_f64(0.3 + random.below(700) as f64 / 1000.0);
        let mut writes = harness.load_and_kill(server, round, moment);
        check_integrity(&harness.data);
        if random.below(2) == 0 {
            harness.kill_while_starting(round, Duration::from_millis(random.below(150) as u64));
        }
        server = harness.start(round);
        let violations = harness.check(&server, &mut writes);
        let (millis, count) = (moment.as_millis(), writes.len());
        println!("round {round:>2}: killed after {millis:>4} ms, {count:>5} writes, {} violations", violations.len());
        let shown = &violations[..violations.len().min(VIOLATIONS_SHOWN)];
        assert!(violations.is_empty(), "seed {}, round {round}: {shown:#?}", plan.seed);
    }
    harness.summary();
    assert!(harness.tally.acknowledged > plan.rounds * WRITERS, "there was hardly any load");
}

/// What a disk that does not keep its word would do. The checks above are worth something only if this fails them.
#[test]
fn a_log_that_lost_its_end_is_noticed() {
    let mut harness = Harness::new(7);
    let server = harness.start(0);
    let mut writes = harness.load_and_kill(server, 1, Duration::from_millis(500));
    let log = std::fs::OpenOptions::new().write(true).open(harness.data.join("dos.sqlite-wal")).unwrap();
    log.set_len(log.metadata().unwrap().len() / 2).unwrap();
    check_integrity(&harness.data);
    let server = harness.start(1);
    let violations = harness.check(&server, &mut writes);
    // Where the command was not cut off but its view was, the write is done again: at another time, with other bytes.
    let count = |kind| violations.iter().filter(|violation| violation.kind == kind).count();
    let (lost, changed) = (count(Kind::Lost), count(Kind::Changed));
    println!("half of the log cut off: of {} acknowledged {lost} lost, {changed} changed", harness.tally.acknowledged);
    assert!(lost > 0, "{violations:#?}");
}

impl Harness {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let writers = (0..WRITERS).map(|number| Writer::new(number, seed)).collect();
        let (reader, checker, tally) = (Reader::default(), Checker::default(), Tally::default());
        Self { seed, folder, data, writers, reader, checker, tally }
    }

    /// Starts the program; in every other round its reads come from the data store.
    fn start(&self, round: usize) -> Server {
        Server::start(self.command(round), self.folder.path())
    }

    fn command(&self, round: usize) -> std::process::Command {
        let mut command = dos();
        let views = if round.is_multiple_of(2) { "materialised" } else { "on-demand" };
        command.args(serve(&self.data)).args(["--views", views]);
        command
    }

    fn load_and_kill(&mut self, mut server: Server, round: usize, moment: Duration) -> Vec<Write> {
        let address = server.address;
        let begun = Instant::now();
        let writes = std::thread::scope(|scope| {
            let writers = self.writers.iter_mut();
            let running: Vec<_> =
                writers.map(|writer| scope.spawn(move || writer.run(address, round, usize::MAX))).collect();
            // Not a wait for an effect: the moment is what is being tested.
            std::thread::sleep(moment.saturating_sub(begun.elapsed()));
            assert!(server.process.ended().is_none(), "dos ended by itself:\n{}", server.process.stderr());
            server.process.kill();
            running.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        self.tally.kills += 1;
        writes
    }

    /// A start that is cut short: recovery must be repeatable.
    fn kill_while_starting(&mut self, round: usize, after: Duration) {
        let mut process = Process::start(self.command(round), self.folder.path());
        std::thread::sleep(after);
        process.kill();
        self.tally.kills += 1;
    }

    fn check(&mut self, server: &Server, writes: &mut [Write]) -> Vec<Violation> {
        let mut connection = Connection::open(server.address).unwrap();
        pass_the_backlog(&mut connection);
        resolve(&mut connection, writes);
        let versions = self.reader.read(&self.data).unwrap_or_else(|reason| panic!("seed {}: {reason}", self.seed));
        let mut ids: Vec<&str> = versions.iter().map(|version| version.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = get_all(server, &ids);
        let violations = self.checker.round(writes, &versions, &found);
        let list = connection.call("GET", "/contact?limit=1", &[], "").unwrap();
        let total = list.header("x-total-count").and_then(|total| total.parse().ok());
        assert_eq!(total, Some(self.checker.entities()), "seed {}: entities in the list", self.seed);
        self.tally.versions += versions.len();
        self.count(writes);
        violations
    }

    fn count(&mut self, writes: &[Write]) {
        let tally = &mut self.tally;
        tally.writes += writes.len();
        for write in writes {
            match write.outcome {
                Outcome::Acknowledged { .. } | Outcome::Deleted => tally.acknowledged += 1,
                Outcome::Accepted { .. } => tally.accepted += 1,
                Outcome::Refused(_) | Outcome::Never => tally.refused += 1,
                Outcome::Unknown { .. } | Outcome::Strange(_) | Outcome::None => {
                    tally.unknown += 1;
                    tally.unknown_applied += usize::from(self.checker.is_applied(&write.marker));
                }
            }
        }
    }

    fn summary(&self) {
        let Tally { kills, writes, acknowledged, accepted, refused, unknown, unknown_applied, versions } = &self.tally;
        println!(
            "kill: seed {}: {kills} kills, {writes} writes: {acknowledged} acknowledged, {accepted} accepted (202), \
             {refused} refused, {unknown} unknown ({unknown_applied} of them done); {versions} versions of {} entities; \
             nothing lost, nothing twice",
            self.seed,
            self.checker.entities(),
        );
    }
}

/// What SQLite itself makes of the file as the kill left it. A connection that only reads changes nothing in it.
fn check_integrity(data: &Path) {
    let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = Sqlite::open_with_flags(data.join("dos.sqlite"), access).unwrap();
    let verdict: String = sqlite.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

/// Waits until the store has carried out what was in the stream: a retrieve on each partition is behind all of it.
pub(crate) fn pass_the_backlog(connection: &mut Connection) {
    const PARTITIONS: u32 = 4;
    for partition in 0..PARTITIONS {
        let on_it = |number: &u32| {
            contract::partition::of_key(format!("contact:barrier-{number}").as_bytes(), PARTITIONS) == partition
        };
        let path = format!("/contact/barrier-{}", (0..).find(on_it).unwrap());
        wait_for(EFFECT_MAX, "the store has carried out the backlog", || {
            let answer = connection.call("GET", &path, &[("cache-control", "no-cache")], "").unwrap();
            (answer.status == 404).then_some(())
        });
    }
}

/// Asks what became of the writes that were accepted only.
pub(crate) fn resolve(connection: &mut Connection, writes: &mut [Write]) {
    for write in writes {
        if let Outcome::Accepted { operation, succeeded } = &mut write.outcome {
            let answer = connection.call("GET", operation, &[], "").unwrap();
            *succeeded = match answer.json()["status"].as_str() {
                Some("succeeded") => Some(true),
                Some("failed") => Some(false),
                _ => None,
            };
        }
    }
}

/// What `GET` gives of each entity that is there.
pub(crate) fn get_all(server: &Server, ids: &[&str]) -> HashMap<String, Found> {
    let get = |ids: &[&str]| {
        let mut connection = Connection::open(server.address).unwrap();
        let mut found = Vec::new();
        for id in ids {
            let answer = connection.call("GET", &format!("/contact/{id}"), &[], "").unwrap();
            if answer.status == 200 {
                let etag = answer.header("etag").unwrap_or_default().to_owned();
                found.push(((*id).to_owned(), Found { etag, body: answer.body }));
            }
        }
        found
    };
    std::thread::scope(|scope| {
        let chunks = ids.chunks(ids.len().div_ceil(READERS).max(1));
        let readers: Vec<_> = chunks.map(|ids| scope.spawn(move || get(ids))).collect();
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    })
}

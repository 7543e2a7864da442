//! The run: round after round one fault under load, then the check of what clients were told and shown.

use std::collections::{BTreeMap, HashMap};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cluster::{Cluster, GATEWAYS, ON_DEMAND};
use crate::fault::{Done, Kind as Fault, inject};
use crate::load::{Load, Records, Sent, WRITERS};
use crate::reads::{Outage, Shown};
use crate::report::{Report, Row};
use crate::shared::check::again::as_one;
use crate::shared::check::{Checker, Kind, Violation};
use crate::shared::history::{Found, Outcome, Write};
use crate::shared::http::Connection;
use crate::shared::load::Writer;
use crate::shared::random::Random;
use crate::topic::History;

/// How long a client waits for the outcome of a write: as long as the gateway would if it did not say.
const WRITE_WAIT: Duration = Duration::from_secs(5);
/// What an answer may come later than that, on a machine that is busy.
const LATE_MAX: Duration = Duration::from_millis(2500);
/// After a store was killed its partitions' writes may be answered with 202 for so long.
const PENDING_MAX: Duration = Duration::from_secs(10);
/// How long operations may be pending once everything is in order.
const OPERATION_MAX: Duration = Duration::from_secs(30);
/// How long the topic of views must be quiet to be complete, and how long that may take.
const QUIET: Duration = Duration::from_secs(1);
const QUIET_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// Load after everything is in order again.
const AFTER: Duration = Duration::from_secs(1);
const VIOLATIONS_SHOWN: usize = 20;
/// After so many rounds with violations there is no use in more.
const BROKEN_MAX: usize = 5;
const GETS_AT_ONCE: usize = 8;

/// What the environment asks for: `DOS_TEST_FAULTS_ROUNDS`, `_SEED`, `_REPORT`, a file to write the figures into, and
/// `_PATIENCE`: on a machine that does other things as well, clients wait so many times as long, and so may everything.
struct Plan {
    /// Of each kind.
    rounds: usize,
    seed: u64,
    report: Option<String>,
    patience: u32,
}

impl Plan {
    fn from_environment() -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}: {text:?} is no number")))
        };
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Self {
            rounds: usize::try_from(number("DOS_TEST_FAULTS_ROUNDS").unwrap_or(1)).unwrap(),
            seed: number("DOS_TEST_FAULTS_SEED").unwrap_or_else(clock),
            report: std::env::var("DOS_TEST_FAULTS_REPORT").ok(),
            patience: u32::try_from(number("DOS_TEST_FAULTS_PATIENCE").unwrap_or(1)).unwrap(),
        }
    }

    /// Every kind so many times, in an order that the seed decides; with its turn among those of its kind.
    fn schedule(&self) -> Vec<(Fault, usize)> {
        let mut random = Random::new(self.seed, u64::MAX);
        let mut kinds: Vec<Fault> = Fault::ALL.into_iter().flat_map(|kind| vec![kind; self.rounds]).collect();
        for end in (1..kinds.len()).rev() {
            kinds.swap(end, random.below(end + 1));
        }
        // A bounded run has other variants with another seed.
        let first = usize::try_from(self.seed % 10).unwrap();
        let mut turns: BTreeMap<Fault, usize> = BTreeMap::new();
        let turn = |kind: &Fault| {
            let turn = turns.entry(*kind).or_insert(first);
            *turn += 1;
            *turn
        };
        let turns: Vec<usize> = kinds.iter().map(turn).collect();
        kinds.into_iter().zip(turns).collect()
    }
}

/// What goes through the rounds.
struct Run {
    plan: Plan,
    cluster: Cluster,
    writers: Vec<Writer>,
    history: History,
    checker: Checker,
    shown: Shown,
    report: Report,
    /// Rounds with violations.
    broken: usize,
}

#[test]
fn nothing_is_lost_whatever_dies() {
    let plan = Plan::from_environment();
    let schedule = plan.schedule();
    println!("faults: {} rounds, DOS_TEST_FAULTS_SEED={}", schedule.len(), plan.seed);
    let (begun, cluster) = (Instant::now(), Cluster::start());
    println!("everything is up after {:.1} s", begun.elapsed().as_secs_f64());
    let wait = (WRITE_WAIT * plan.patience).as_secs();
    let writers = (0..WRITERS).map(|number| Writer::new(number, plan.seed).waiting(wait).thorough()).collect();
    let (checker, shown, history) = (Checker::default(), Shown::default(), History::default());
    let report = Report::new(plan.seed, plan.patience);
    let mut run = Run { plan, cluster, writers, history, checker, shown, report, broken: 0 };
    for (number, (fault, turn)) in (1..).zip(schedule) {
        run.round(number, fault, turn);
    }
    assert!(run.broken == 0, "{}", run.verdict());
    run.report.finish(run.cluster.now(), run.history.repeats(), run.checker.entities());
    println!("{}", run.report);
    if let Some(file) = &run.plan.report {
        run.report.write_into(file);
    }
    assert!(run.report.acknowledged() > 100 * Fault::ALL.len(), "there was hardly any load");
    run.cluster.forget_logs();
}

impl Run {
    fn round(&mut self, number: usize, fault: Fault, turn: usize) {
        let mut random = Random::new(self.plan.seed, (number * 1000 + 999) as u64);
        let addresses = self.cluster.addresses.clone();
        let load = Load::new(self.plan.seed, number, self.cluster.clock, &addresses);
        let cluster = &mut self.cluster;
        let (done, records) = load.during(&mut self.writers, || {
            // The moment is what is being tested.
            thread::sleep(Duration::from_millis(700 + random.below(1500) as u64));
            let done = inject(fault, turn, cluster, &mut random);
            thread::sleep(AFTER);
            done
        });
        let mut row = Row::new(&records, &done);
        let violations = self.check(fault, &done, records, &mut row);
        println!("round {number:>3}: {}: {row}; {} violations", done.what, violations.len());
        self.report.add(fault, row);
        violations.iter().take(VIOLATIONS_SHOWN).for_each(|violation| println!("    {violation:?}"));
        self.broken += usize::from(!violations.is_empty());
        assert!(self.broken < BROKEN_MAX, "{}", self.verdict());
    }

    fn verdict(&self) -> String {
        let Self { plan, broken, cluster, .. } = self;
        format!("seed {}: {broken} rounds with violations, logs in {}", plan.seed, cluster.logs())
    }

    fn check(&mut self, fault: Fault, done: &Done, records: Records, row: &mut Row) -> Vec<Violation> {
        let patience = self.plan.patience;
        let mut violations = in_time(&records.sent, patience);
        violations.extend(by_fault(fault, done, &records.sent, patience));
        let mut writes: Vec<Write> = records.sent.into_iter().map(|sent| sent.write).collect();
        settle(&self.cluster, &mut writes);
        let (writes, broken) = as_one(writes);
        violations.extend(broken);
        self.read_topic();
        let (versions, broken) = self.history.round();
        violations.extend(broken);
        violations.extend(self.shown.round(&records.reads, &versions, &excused(done)));
        let mut ids: Vec<&str> = versions.iter().map(|version| version.id.as_str()).collect();
        ids.dedup();
        violations.extend(self.checker.round(&writes, &versions, &get_all(&self.cluster, 0, &ids)));
        for gateway in 1..GATEWAYS {
            violations.extend(self.checker.elsewhere(&versions, &get_all(&self.cluster, gateway, &ids)));
        }
        violations.extend(self.count_entities());
        row.checked(&versions, |marker| self.checker.is_applied(marker));
        violations
    }

    /// Reads all that is there, and what is put right.
    fn read_topic(&mut self) {
        let begun = Instant::now();
        let mut quiet = Instant::now();
        while quiet.elapsed() < QUIET || !self.history.behind().is_empty() {
            if begun.elapsed() > QUIET_MAX {
                return;
            }
            let views = self.cluster.watch.views();
            if !views.is_empty() {
                quiet = Instant::now();
            }
            self.history.add(views);
            thread::sleep(POLL);
        }
    }

    /// Whether the lists have as many entities as there are.
    fn count_entities(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for address in &self.cluster.addresses {
            let list = Connection::open(*address).unwrap().call("GET", "/contact?limit=1", &[], "").unwrap();
            let total = list.header("x-total-count").and_then(|total| total.parse().ok());
            if total != Some(self.checker.entities()) {
                let detail = format!("{} entities, and the list has {total:?}", self.checker.entities());
                violations.push(Violation { kind: Kind::Stale, detail });
            }
        }
        violations
    }
}

/// Where reads may fail.
fn excused(done: &Done) -> Vec<Outage> {
    let always = Outage { gateway: ON_DEMAND, begun: Duration::ZERO, ended: Duration::MAX };
    let on_demand = done.hurts_reads_on_demand.then_some(always);
    done.outages.iter().copied().chain(on_demand).collect()
}

/// Writes that were answered, and later than they may.
fn in_time(sent: &[Sent], patience: u32) -> Vec<Violation> {
    let is_late = |sent: &&Sent| {
        let lost = matches!(sent.write.outcome, Outcome::Unknown { operation: None });
        !lost && sent.ended - sent.begun > (WRITE_WAIT + LATE_MAX) * patience
    };
    sent.iter().filter(is_late).map(|sent| told(Kind::Late, sent)).collect()
}

fn told(kind: Kind, sent: &Sent) -> Violation {
    let Sent { write, gateway, begun, ended } = sent;
    let (begun, ended) = (begun.as_secs_f64(), ended.as_secs_f64());
    let outcome = match &write.outcome {
        Outcome::Acknowledged { id, version, .. } => format!("{id} version {version}"),
        other => format!("{other:?}"),
    };
    let detail = format!("{} at gateway {gateway}, {begun:.3} s to {ended:.3} s: {outcome}", write.marker);
    Violation { kind, detail }
}

/// What is promised of some faults beyond what is promised always.
fn by_fault(fault: Fault, done: &Done, sent: &[Sent], patience: u32) -> Vec<Violation> {
    let is_pending = |sent: &Sent| matches!(sent.write.outcome, Outcome::Accepted { .. }) && !sent.write.respond_async;
    let is_wrong = |sent: &&Sent| match fault {
        Fault::StoreKilled | Fault::StorePaused => is_pending(sent) && sent.ended > done.begun + PENDING_MAX * patience,
        // Nothing dies: every reply comes, and in time.
        Fault::StoresScaled => {
            is_pending(sent) || matches!(sent.write.outcome, Outcome::Unknown { .. } | Outcome::Refused(500..))
        }
        _ => false,
    };
    sent.iter().filter(is_wrong).map(|sent| told(Kind::Late, sent)).collect()
}

/// Asks what became of the writes whose clients were told an operation. Everything is in order, so none may stay pending.
fn settle(cluster: &Cluster, writes: &mut [Write]) {
    let begun = Instant::now();
    let mut connections: Vec<_> = cluster.addresses.iter().map(|address| Connection::open(*address).unwrap()).collect();
    for (number, write) in writes.iter_mut().enumerate() {
        let (operation, was_accepted) = match &write.outcome {
            Outcome::Accepted { operation, .. } => (operation.clone(), true),
            Outcome::Unknown { operation: Some(operation) } => (operation.clone(), false),
            _ => continue,
        };
        let connection = &mut connections[number % GATEWAYS];
        write.outcome = loop {
            let answer = connection.call("GET", &operation, &[], "").unwrap();
            let status = answer.json()["status"].as_str().map(str::to_owned);
            let succeeded = match (answer.status, status.as_deref()) {
                (200, Some("succeeded")) => Some(true),
                (200, Some("failed")) => Some(false),
                // The last word: the command never came to the store.
                (404, _) if !was_accepted => break Outcome::Never,
                (404, _) => None,
                _ if begun.elapsed() > OPERATION_MAX => None,
                _ => {
                    thread::sleep(POLL);
                    continue;
                }
            };
            break Outcome::Accepted { operation, succeeded };
        };
    }
}

/// What `GET` gives of each entity.
fn get_all(cluster: &Cluster, gateway: usize, ids: &[&str]) -> HashMap<String, Found> {
    let get = |ids: &[&str]| {
        let mut connection = Connection::open(cluster.addresses[gateway]).unwrap();
        let mut found = Vec::new();
        for id in ids {
            let answer = connection.call("GET", &format!("/contact/{id}"), &[], "").unwrap();
            found.extend(Found::of(answer).map(|found| ((*id).to_owned(), found)));
        }
        found
    };
    thread::scope(|scope| {
        let chunks = ids.chunks(ids.len().div_ceil(GETS_AT_ONCE).max(1));
        let readers: Vec<_> = chunks.map(|ids| scope.spawn(move || get(ids))).collect();
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(begun: u64, ended: u64, outcome: Outcome) -> Sent {
        let write = Write { marker: "m-1".to_owned(), creates: true, outcome, ..Write::default() };
        Sent { write, gateway: 0, begun: Duration::from_secs(begun), ended: Duration::from_secs(ended) }
    }

    fn accepted() -> Outcome {
        Outcome::Accepted { operation: "/operation/x".to_owned(), succeeded: None }
    }

    fn done(hurts_reads_on_demand: bool) -> Done {
        let (what, begun, recovery) = (String::new(), Duration::from_secs(100), Duration::ZERO);
        Done { what, begun, outages: Vec::new(), hurts_reads_on_demand, recovery }
    }

    fn wrong(fault: Fault, sent: Sent) -> usize {
        let done = done(true);
        by_fault(fault, &done, &[sent], 1).len()
    }

    #[test]
    fn every_kind_has_its_rounds_and_one_seed_one_schedule() {
        let plan = Plan { rounds: 3, seed: 5, report: None, patience: 1 };
        let schedule = plan.schedule();
        assert_eq!(schedule, plan.schedule());
        for kind in Fault::ALL {
            let turns: Vec<usize> = schedule.iter().filter(|(one, _)| *one == kind).map(|(_, turn)| *turn).collect();
            assert_eq!(turns, [6, 7, 8]);
        }
    }

    #[test]
    fn answers_that_come_late() {
        let lost = Outcome::Unknown { operation: None };
        assert!(in_time(&[sent(1, 6, accepted()), sent(1, 20, lost)], 1).is_empty());
        assert_eq!(in_time(&[sent(1, 9, accepted())], 1).len(), 1);
    }

    #[test]
    fn writes_that_are_pending_long_after_a_store_was_killed() {
        assert_eq!(wrong(Fault::StoreKilled, sent(105, 110, accepted())), 0);
        assert_eq!(wrong(Fault::StoreKilled, sent(106, 111, accepted())), 1);
        assert_eq!(wrong(Fault::BrokerStopped, sent(106, 111, accepted())), 0);
    }

    #[test]
    fn reads_on_demand_may_fail_but_not_because_redis_is_away() {
        let gateways = |hurt| excused(&done(hurt)).iter().map(|outage| outage.gateway).collect::<Vec<_>>();
        assert_eq!(gateways(true), [ON_DEMAND]);
        assert!(gateways(false).is_empty());
    }

    #[test]
    fn replies_that_are_lost_while_stores_are_scaled() {
        let unknown = Outcome::Unknown { operation: Some("/operation/x".to_owned()) };
        for outcome in [accepted(), unknown, Outcome::Refused(503)] {
            assert_eq!(wrong(Fault::StoresScaled, sent(101, 102, outcome)), 1);
        }
        assert_eq!(wrong(Fault::StoresScaled, sent(101, 102, Outcome::Refused(412))), 0);
        let mut asked = sent(101, 102, accepted());
        asked.write.respond_async = true;
        assert_eq!(wrong(Fault::StoresScaled, asked), 0);
    }
}

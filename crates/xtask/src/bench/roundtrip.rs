//! `POST /service` through Kafka, a store on PostgreSQL and Kafka again, against a bare loop through the same servers.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::report::{Bound, Report, median_ratio};
use super::writes::{create, service};
use super::wrk::{self, Load, describe, rates};
use super::{Arguments, release, scratch};
use crate::running::Server;
use crate::servers::{self, Kind};

const START_LIMIT: Duration = Duration::from_secs(60);
const CLIENTS: [u32; 3] = [1, 64, 256];

/// The best on one broker and two processors: each partition costs requests and transactions of its own.
const PARTITIONS: u32 = 1;

/// The rounds of one number of clients.
#[derive(Default)]
struct Rounds {
    best: Vec<Load>,
    default: Vec<Load>,
    limit: Vec<Load>,
}

/// A store and a gateway that stand on topics and a schema of their own.
struct Ours {
    address: SocketAddr,
    _store: Server,
    _gateway: Server,
}

pub(super) fn run(arguments: &Arguments) -> Result<Report> {
    let folder = scratch("roundtrip")?;
    let (body, response) = (folder.join("body"), folder.join("response"));
    fs::write(&body, service())?;
    let running = servers::start(&[Kind::Kafka, Kind::Postgres], 1)?;
    let address = |kind: Kind| running.variables.get(kind.variable()).cloned().unwrap_or_default();
    let (kafka, database) = (address(Kind::Kafka), address(Kind::Postgres));
    let best = start_ours(&folder, "best", &kafka, &database, &format!("partitions = {PARTITIONS}"))?;
    let default = start_ours(&folder, "default", &kafka, &database, "")?;
    fs::write(&response, create(best.address)?)?;
    let mut limit = start_limit(&folder, &kafka, &database, &response)?;
    let bare = limit.ready(START_LIMIT)?;

    let mut rounds: [Rounds; CLIENTS.len()] = Default::default();
    for round in 0..=arguments.rounds {
        for (clients, rounds) in CLIENTS.into_iter().zip(&mut rounds) {
            let first = format!("{round}{clients:03}00000");
            let load =
                |side: SocketAddr| wrk::run("writes.lua", side, clients, arguments.seconds, &[&body, first.as_ref()]);
            let (best, default, limit) = (load(best.address)?, load(default.address)?, load(bare)?);
            // The first round warms up: Kafka's code is compiled while it runs.
            if round > 0 {
                rounds.best.push(best);
                rounds.default.push(default);
                rounds.limit.push(limit);
            }
        }
    }
    Ok(report(arguments, &rounds))
}

/// One store and one gateway, with default settings but for these of `[kafka]`; the gateway's views are materialised, so that
/// nobody asks for lists.
fn start_ours(folder: &Path, name: &str, kafka: &str, database: &str, more: &str) -> Result<Ours> {
    let (settings, own) = (folder.join(format!("{name}.toml")), format!("{}_{name}", run_name()));
    let text = format!(
        "[kafka]\nbrokers = \"{kafka}\"\ntopic_prefix = \"{own}.\"\n{more}\n\
         [database]\nurl = \"{database}\"\nschema = \"{own}\"\n\
         [store]\nlists = false\n"
    );
    fs::write(&settings, text)?;
    let start = |role: &str, listen: &str| {
        let arguments =
            [role.as_ref(), "--config".as_ref(), settings.as_path(), listen.as_ref(), "127.0.0.1:0".as_ref()];
        Server::start(&release("dos"), arguments, &folder.join(format!("{name}-{role}.log")))
    };
    let mut store = start("store", "--admin-listen")?;
    store.ready(START_LIMIT)?;
    let mut gateway = start("gateway", "--listen")?;
    let address = gateway.ready(START_LIMIT)?;
    Ok(Ours { address, _store: store, _gateway: gateway })
}

fn start_limit(folder: &Path, kafka: &str, database: &str, response: &Path) -> Result<Server> {
    let name = run_name() + "_limit";
    let arguments = ["round-trip", "--kafka", kafka, "--database", database, "--name", &name, "--response"];
    let arguments = arguments.map(AsRef::as_ref).into_iter().chain([response]);
    Server::start(&release("bench"), arguments, &folder.join("limit.log"))
}

/// No other run beside this one uses it.
fn run_name() -> String {
    format!("bench_{}", std::process::id())
}

fn report(arguments: &Arguments, rounds: &[Rounds]) -> Report {
    let mut report = Report::default();
    report.row("load", format!("wrk -t1, a new service of {} B each time", service().len() + 6));
    report.row("ours", format!("dos gateway and dos store with {PARTITIONS} partition, and as they are by default"));
    for (clients, Rounds { best, default, limit }) in CLIENTS.into_iter().zip(rounds) {
        report.row(format!("{clients} clients, ours"), describe(best, arguments));
        report.row(format!("{clients} clients, ours by default"), describe(default, arguments));
        report.row(format!("{clients} clients, the bare loop"), describe(limit, arguments));
        let of = |figure: fn(&Load) -> f64, loads: &[Load]| loads.iter().map(figure).collect::<Vec<_>>();
        let ratio = |figure, ours| median_ratio(&of(figure, ours), &of(figure, limit));
        let throughput = |ours| median_ratio(&rates(ours), &rates(limit));
        let p50 = |load: &Load| load.p50_ms;
        report.goal(format!("{clients} clients, writes / limit"), throughput(best), Bound::AtLeast(0.5));
        report.goal(format!("{clients} clients, p50 / limit"), ratio(p50, best), Bound::AtMost(2.0));
        report.goal(format!("{clients} clients, p99 / limit"), ratio(|load| load.p99_ms, best), Bound::None);
        report.goal(format!("{clients} clients, writes / limit, by default"), throughput(default), Bound::None);
        report.goal(format!("{clients} clients, p50 / limit, by default"), ratio(p50, default), Bound::None);
    }
    report
}

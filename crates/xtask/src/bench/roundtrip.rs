//! `POST /service` through Kafka, a store on PostgreSQL and Kafka again, against a bare loop through the same servers.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::report::{Bound, Report, median_ratio};
use super::server::Server;
use super::writes::{create, service};
use super::wrk::{self, Load, describe, rates};
use super::{Arguments, release, scratch};
use crate::servers::{self, Kind};

const START_LIMIT: Duration = Duration::from_secs(60);
const CLIENTS: [u32; 3] = [1, 64, 256];

/// The rounds of one number of clients.
#[derive(Default)]
struct Rounds {
    ours: Vec<Load>,
    limit: Vec<Load>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Report> {
    let folder = scratch("roundtrip")?;
    let (body, response) = (folder.join("body"), folder.join("response"));
    fs::write(&body, service())?;
    let running = servers::start(&[Kind::Kafka, Kind::Postgres], 1)?;
    let address = |kind: Kind| running.variables.get(kind.variable()).cloned().unwrap_or_default();
    let (kafka, database) = (address(Kind::Kafka), address(Kind::Postgres));
    let (_store, mut gateway) = start_ours(&folder, &kafka, &database)?;
    let ours = gateway.ready(START_LIMIT)?;
    fs::write(&response, create(ours)?)?;
    let mut limit = start_limit(&folder, &kafka, &database, &response)?;
    let bare = limit.ready(START_LIMIT)?;

    let mut rounds: [Rounds; CLIENTS.len()] = Default::default();
    for round in 0..=arguments.rounds {
        for (clients, rounds) in CLIENTS.into_iter().zip(&mut rounds) {
            let first = format!("{round}{clients:03}00000");
            let load =
                |side: SocketAddr| wrk::run("writes.lua", side, clients, arguments.seconds, &[&body, first.as_ref()]);
            let (ours, limit) = (load(ours)?, load(bare)?);
            // The first round warms up: Kafka's code is compiled while it runs.
            if round > 0 {
                rounds.ours.push(ours);
                rounds.limit.push(limit);
            }
        }
    }
    Ok(report(arguments, &rounds))
}

/// One store and one gateway, with default settings, in topics and a schema of their own.
fn start_ours(folder: &Path, kafka: &str, database: &str) -> Result<(Server, Server)> {
    let (settings, name) = (folder.join("dos.toml"), name());
    fs::write(
        &settings,
        format!(
            "[kafka]\nbrokers = \"{kafka}\"\ntopic_prefix = \"{name}_ours.\"\n\
             [database]\nurl = \"{database}\"\nschema = \"{name}_ours\"\n"
        ),
    )?;
    let start = |role: &str, listen: &str| {
        let arguments =
            [role.as_ref(), "--config".as_ref(), settings.as_path(), listen.as_ref(), "127.0.0.1:0".as_ref()];
        Server::start(&release("dos"), arguments, &folder.join(format!("{role}.log")))
    };
    let mut store = start("store", "--admin-listen")?;
    store.ready(START_LIMIT)?;
    Ok((store, start("gateway", "--listen")?))
}

fn start_limit(folder: &Path, kafka: &str, database: &str, response: &Path) -> Result<Server> {
    let name = name() + "_limit";
    let arguments = ["round-trip", "--kafka", kafka, "--database", database, "--name", &name, "--response"];
    let arguments = arguments.map(AsRef::as_ref).into_iter().chain([response]);
    Server::start(&release("bench"), arguments, &folder.join("limit.log"))
}

/// No other run beside this one uses it.
fn name() -> String {
    format!("bench_{}", std::process::id())
}

fn report(arguments: &Arguments, rounds: &[Rounds]) -> Report {
    let mut report = Report::default();
    report.row("load", format!("wrk -t1, a new service of {} B each time", service().len() + 6));
    for (clients, Rounds { ours, limit }) in CLIENTS.into_iter().zip(rounds) {
        report.row(format!("{clients} clients, dos gateway and dos store"), describe(ours, arguments));
        report.row(format!("{clients} clients, the bare loop"), describe(limit, arguments));
        let of = |figure: fn(&Load) -> f64, loads: &[Load]| loads.iter().map(figure).collect::<Vec<_>>();
        let ratio = |figure| median_ratio(&of(figure, ours), &of(figure, limit));
        let throughput = median_ratio(&rates(ours), &rates(limit));
        report.goal(format!("{clients} clients, writes / limit"), throughput, Bound::AtLeast(0.5));
        report.goal(format!("{clients} clients, p50 / limit"), ratio(|load| load.p50_ms), Bound::AtMost(2.0));
        report.goal(format!("{clients} clients, p99 / limit"), ratio(|load| load.p99_ms), Bound::None);
    }
    report
}

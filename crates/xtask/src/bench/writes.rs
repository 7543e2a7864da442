//! `POST /service` from 64 clients, against a canned server in front of a bare append and fdatasync.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::report::{Bound, Report, median_ratio};
use super::wrk::{self, CONNECTIONS, describe, rates};
use super::{Arguments, release, scratch};
use crate::running::{Server, exchange};

const START_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(arguments: &Arguments) -> Result<Report> {
    let folder = scratch("writes")?;
    let (body, response) = (folder.join("body"), folder.join("response"));
    fs::write(&body, service())?;
    let (mut ours, mut limits) = (Vec::new(), Vec::new());
    for round in 0..=arguments.rounds {
        // The first round warms up.
        let seconds = if round == 0 { 1 } else { arguments.seconds };
        // Each round begins with an empty file.
        let data = folder.join("data");
        let first = round.to_string() + "00000000";
        let load = {
            let mut dos = start_dos(&data, &folder)?;
            let address = dos.ready(START_LIMIT)?;
            fs::write(&response, create(address)?)?;
            wrk::run("writes.lua", address, CONNECTIONS, seconds, &[&body, first.as_ref()])?
        };
        let file = folder.join("limit.log");
        let limit = {
            let mut limit = start_limit(&file, &response, &folder)?;
            let address = limit.ready(START_LIMIT)?;
            wrk::run("writes.lua", address, CONNECTIONS, seconds, &[&body, first.as_ref()])?
        };
        fs::remove_dir_all(&data)?;
        fs::remove_file(&file)?;
        if round > 0 {
            ours.push(load);
            limits.push(limit);
        }
    }
    let mut report = Report::default();
    report.row("load", format!("wrk -t1 -c64, a new service of {} B each time", service().len() + 6));
    report.row("dos serve", describe(&ours, arguments));
    report.row("append + fdatasync behind hyper", describe(&limits, arguments));
    report.goal("writes / limit", median_ratio(&rates(&ours), &rates(&limits)), Bound::AtLeast(0.4));
    Ok(report)
}

fn start_dos(data: &Path, folder: &Path) -> Result<Server> {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"];
    let serve = serve.map(AsRef::<Path>::as_ref).into_iter().chain([data]);
    Server::start(&release("dos"), serve, &folder.join("dos.log"))
}

fn start_limit(file: &Path, response: &Path, folder: &Path) -> Result<Server> {
    let limit = ["limit".as_ref(), "--file".as_ref(), file, "--response".as_ref(), response];
    Server::start(&release("bench"), limit, &folder.join("limit-errors.log"))
}

/// The body; NUMBER becomes a number of twelve digits.
pub(super) fn service() -> String {
    let description = "Cheshire Wildlife Trust is working towards its vision of \\\"A Cheshire Region richer in \
        Wildlife\\\": to stand up for wildlife and the environment; create and enhance wildlife havens; inspire people \
        about the natural world; foster sustainable living. Open Monday to Friday, 9am \u{2013} 5pm.";
    format!(
        "{{\"name\":\"The Wildlife Trust NUMBER\",\"description\":\"{description}\",\"published\":1,\
         \"provider_id\":\"4eb6503e-0815-5bae-9527-21d3757136b7\",\"contact_id\":\"e18f1369-b113-5c86-b9b7-0856d9cf56ce\",\
         \"flagged\":false,\"taxonomy_ids\":[\"12ac4361-e3b3-5637-940c-64a1ccc9785c\"]}}"
    )
}

/// One create; the whole response.
pub(super) fn create(address: SocketAddr) -> Result<Vec<u8>> {
    let body = service().replace("NUMBER", "000000000000");
    let length = body.len();
    let response = exchange(
        address,
        &format!(
            "POST /service HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ),
    )?;
    if !response.starts_with(b"HTTP/1.1 201 ") {
        bail!("POST /service: {}", String::from_utf8_lossy(&response));
    }
    Ok(response)
}

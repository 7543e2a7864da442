//! `GET /service/{id}` with everything switched on, against nginx with static files of the same bytes.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::report::{Bound, Report, median_ratio};
use super::wrk::{self, CONNECTIONS, describe, rates};
use super::{Arguments, machine, release, scratch};
use crate::packages::ensure_package;
use crate::running::{Server, exchange, free_address};
use crate::shell::workspace_root;

const IMPORT_LIMIT: Duration = Duration::from_secs(120);
const START_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(arguments: &Arguments) -> Result<Report> {
    let nginx = ensure_package("nginx", "nginx-light")?;
    let folder = scratch("reads")?;
    let data = folder.join("data");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--import", "data/trafford"];
    let serve = serve.map(AsRef::<Path>::as_ref).into_iter().chain(["--data-dir".as_ref(), data.as_path()]);
    let mut dos = Server::start(&release("dos"), serve, &folder.join("dos.log"))?;
    let ours = dos.ready(IMPORT_LIMIT)?;
    let (files, bytes) = copy_services(ours, &folder)?;

    let (plain, cached) = (free_address()?, free_address()?);
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, nginx_configuration(&folder, plain, cached))?;
    let peer = ["-c".as_ref(), configuration.as_path(), "-p".as_ref(), folder.as_path()];
    let peer = Server::start(&nginx, peer, &folder.join("nginx.log"))?;
    peer.listens(plain, START_LIMIT)?;

    let list = folder.join("paths");
    let sides = [ours, plain, cached];
    let mut loads = [const { Vec::new() }; 3];
    for round in 0..=arguments.rounds {
        for (address, loads) in sides.iter().zip(&mut loads) {
            // The first round warms up.
            let seconds = if round == 0 { 1 } else { arguments.seconds };
            let load = wrk::run("reads.lua", *address, CONNECTIONS, seconds, &[&list])?;
            if round > 0 {
                loads.push(load);
            }
        }
    }
    let [ours, plain, cached] = loads;
    let mut report = Report::default();
    let nginx = machine::version(&nginx.to_string_lossy(), "-v");
    report.row("load", format!("wrk -t1 -c64, a random one of {files} services each time, {:.0} B on average", bytes));
    report.row("dos serve", describe(&ours, arguments));
    report.row(format!("{nginx}, 1 worker"), describe(&plain, arguments));
    report.row("the same with open_file_cache", describe(&cached, arguments));
    report.goal("reads / nginx", median_ratio(&rates(&ours), &rates(&plain)), Bound::AtLeast(1.2));
    let against_cached = median_ratio(&rates(&ours), &rates(&cached));
    report.goal("reads / nginx with open_file_cache", against_cached, Bound::None);
    Ok(report)
}

/// Writes every service, as the system gives it, to a file of the same path, and a list of the paths. Answers how many
/// there are and their mean size.
fn copy_services(address: SocketAddr, folder: &Path) -> Result<(usize, f64)> {
    let rows = fs::read_to_string(workspace_root().join("data/trafford/service.jsonl"))?;
    let root = folder.join("www");
    fs::create_dir_all(root.join("service"))?;
    let (mut paths, mut files, mut bytes) = (String::new(), 0, 0);
    for row in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(row)?;
        let id = row["id"].as_str().context("a row without an id")?;
        let request = format!("GET /service/{id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let response = exchange(address, &request)?;
        let head = response.windows(4).position(|window| window == b"\r\n\r\n").context("a response without an end")?;
        if !response.starts_with(b"HTTP/1.1 200 ") {
            bail!("GET /service/{id}: {}", String::from_utf8_lossy(&response[..head]));
        }
        let body = &response[head + 4..];
        fs::write(root.join("service").join(id), body)?;
        writeln!(paths, "/service/{id}")?;
        (files, bytes) = (files + 1, bytes + body.len());
    }
    fs::write(folder.join("paths"), paths)?;
    Ok((files, bytes as f64 / f64::from(u32::try_from(files)?)))
}

/// Debian's settings for static files, without the access log; connections are kept for the whole run.
fn nginx_configuration(folder: &Path, plain: SocketAddr, cached: SocketAddr) -> String {
    let folder = folder.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/json;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/temp; proxy_temp_path {folder}/temp; fastcgi_temp_path {folder}/temp;
    uwsgi_temp_path {folder}/temp; scgi_temp_path {folder}/temp;
    root {folder}/www;
    server {{ listen {plain}; }}
    server {{ listen {cached}; open_file_cache max=10000 inactive=1h; open_file_cache_valid 1h; }}
}}
"
    )
}

//! `dos import` against one request a row.
//!
//! One request a row is `PUT /service/{id}` with `If-None-Match: *` for a new row, and `PUT` for one that is there, over a connection
//! that is kept: the next is sent once the one before is answered. For information also over sixteen connections at once, which is what
//! `dos import` did before there were batches. Each side has a server of its own that begins with nothing.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

use super::report::{Bound, Report, median, median_ratio};
use super::{Arguments, release, scratch};
use crate::clock::Stopwatch;
use crate::running::Server;
use crate::shell::{Program, workspace_root};

const START_LIMIT: Duration = Duration::from_secs(60);

/// Rows of an import, and of the requests, which take longer each.
const IMPORTED: usize = 10_000;
const REQUESTED: usize = 2_000;
const CONNECTIONS: usize = 16;

/// Rows per second, of new ones and then of the same ones again.
type Rates = [Vec<f64>; 2];

pub(super) fn run(arguments: &Arguments) -> Result<Report> {
    let folder = scratch("import")?;
    let rows = rows()?;
    let bytes = rows.iter().map(|(_, row)| row.len()).sum::<usize>() / rows.len();
    let file = folder.join("service.jsonl");
    fs::write(&file, rows.iter().map(|(_, row)| format!("{row}\n")).collect::<String>())?;
    let (mut batches, mut one, mut many) = (Rates::default(), Rates::default(), Rates::default());
    for round in 0..=arguments.rounds {
        // The first round warms up.
        let keep = |rates: &mut Rates, [new, same]: [f64; 2]| {
            if round > 0 {
                rates[0].push(new);
                rates[1].push(same);
            }
        };
        keep(&mut batches, measure(&folder, |address, _| import(address, &file))?);
        keep(&mut one, measure(&folder, |address, new| requests(address, &rows[..REQUESTED], 1, new))?);
        keep(&mut many, measure(&folder, |address, new| requests(address, &rows, CONNECTIONS, new))?);
    }
    fs::remove_dir_all(&folder)?;
    let mut report = Report::default();
    report.row(
        "rows",
        format!("services of data/trafford with new ids, {bytes} B each; {IMPORTED}, and {REQUESTED} one by one"),
    );
    for (name, rates) in [("dos import", &batches), ("one request a row", &one), ("16 requests at a time", &many)] {
        let [new, same] = rates.each_ref().map(|rates| median(rates.iter().copied()));
        report.row(name, format!("{new:.0} new rows per s, {same:.0} of the same again"));
    }
    for (kind, what) in ["new rows", "the same rows again"].into_iter().enumerate() {
        report.goal(
            format!("{what}: dos import / one request a row"),
            median_ratio(&batches[kind], &one[kind]),
            Bound::AtLeast(5.0),
        );
        report.goal(
            format!("{what}: dos import / 16 requests at a time"),
            median_ratio(&batches[kind], &many[kind]),
            Bound::None,
        );
    }
    Ok(report)
}

/// The sample's services under ids of their own.
fn rows() -> Result<Vec<(String, String)>> {
    let text = fs::read_to_string(workspace_root().join("data/trafford/service.jsonl"))?;
    let sample: Vec<Map<String, Value>> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let row = |(number, row): (usize, &Map<String, Value>)| {
        let (id, mut row) = (format!("import-{number:06}"), row.clone());
        row.insert("id".to_owned(), id.as_str().into());
        Ok((id, serde_json::to_string(&row)?))
    };
    sample.iter().cycle().take(IMPORTED).enumerate().map(row).collect()
}

/// Twice the same on a new server: rows per second of each.
fn measure(folder: &Path, side: impl Fn(SocketAddr, bool) -> Result<(usize, f64)>) -> Result<[f64; 2]> {
    let data = folder.join("data");
    let serve =
        ["serve", "--listen", "127.0.0.1:0", "--data-dir"].map(AsRef::as_ref).into_iter().chain([data.as_os_str()]);
    let mut server = Server::start(&release("dos"), serve, &folder.join("dos.log"))?;
    let address = server.ready(START_LIMIT)?;
    let mut rates = [0.0; 2];
    for (rate, new) in rates.iter_mut().zip([true, false]) {
        let (rows, seconds) = side(address, new)?;
        *rate = rows as f64 / seconds;
    }
    drop(server);
    fs::remove_dir_all(&data)?;
    Ok(rates)
}

fn import(address: SocketAddr, file: &Path) -> Result<(usize, f64)> {
    let stopwatch = Stopwatch::start();
    let import = Program::new(release("dos")).args(["import", "--url", &format!("http://{address}")]).args([file]);
    // It fails where a row is rejected.
    import.output()?;
    Ok((IMPORTED, stopwatch.elapsed().as_secs_f64()))
}

fn requests(address: SocketAddr, rows: &[(String, String)], connections: usize, new: bool) -> Result<(usize, f64)> {
    let stopwatch = Stopwatch::start();
    thread::scope(|scope| {
        let each = rows.chunks(rows.len().div_ceil(connections));
        let threads: Vec<_> = each.map(|rows| scope.spawn(move || connection(address, rows, new))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a client failed")))
    })?;
    Ok((rows.len(), stopwatch.elapsed().as_secs_f64()))
}

/// Sends rows one after the other.
fn connection(address: SocketAddr, rows: &[(String, String)], new: bool) -> Result<()> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let mut answers = BufReader::new(socket.try_clone()?);
    let (status, condition) = if new { ("201", "if-none-match: *\r\n") } else { ("200", "") };
    let (mut line, mut body) = (String::new(), Vec::new());
    for (id, row) in rows {
        let length = row.len();
        let request = format!(
            "PUT /service/{id}?timestamps=keep HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{condition}content-length: {length}\r\n\r\n{row}"
        );
        socket.write_all(request.as_bytes())?;
        let mut length = 0;
        for number in 0.. {
            line.clear();
            if answers.read_line(&mut line)? == 0 {
                bail!("PUT {id}: the connection was closed");
            }
            if number == 0 && line.split(' ').nth(1) != Some(status) {
                bail!("PUT {id}: {line}");
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().context("its length is no number")?;
            }
            if line == "\r\n" {
                break;
            }
        }
        body.resize(length, 0);
        answers.read_exact(&mut body)?;
    }
    Ok(())
}

//! `dos import`: rows of JSON Lines files into a gateway, each at its own id, so that a second run changes nothing.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use contract::{EntityId, Env, TypeName};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::http::Client;
use super::progress::Progress;
pub use super::report::{Counts, Report};
use super::rows::{Line, Lines, Row};
use super::sender::{Sender, Sent};
use super::text::count;

/// Put JSON Lines files into a running directory.
///
/// A file is named after the type of its rows: the rows of provider.jsonl are providers. A row with an id is created
/// with that id, or merged into what is there (--create-only: or left out): running the same import again changes
/// nothing. Rejected rows are reported with file, line and reason, and the others go in.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Files, or folders whose *.jsonl files are meant.
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Address of the gateway.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Read and check every row, send nothing, and say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Leave alone what is there already, and what has been deleted, instead of merging rows into it.
    #[arg(long)]
    pub create_only: bool,
    /// Requests under way at a time where rows go one by one: with --create-only, and where a gateway takes no batches.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallel: u16,
    /// Let the data store set created and updated, instead of keeping those of the rows.
    #[arg(long)]
    pub no_timestamps: bool,
}

/// Says that the import is to end; it may stay silent for ever.
pub type Interrupt = watch::Receiver<bool>;

/// How long an import that is interrupted waits for the rows under way.
const GRACE: Duration = Duration::from_secs(5);
/// Rows of one batch, and their bytes; one large row more may be among them.
const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 512 << 10;
/// Batches under way at a time: while one is answered the next is read.
const BATCHES: usize = 2;
/// After so many lines everybody else has a turn.
const LINES_PER_TURN: u64 = 256;

/// A file and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    path: PathBuf,
    entity_type: TypeName,
    size_bytes: u64,
}

/// Imports, and reports per type what became of the rows.
///
/// Files are read by blocking calls of 256 KiB on the caller's task; everything else is asynchronous.
///
/// # Errors
/// Where nothing was sent: a path that is no file, a type that the gateway lacks, a gateway that is away. What goes
/// wrong later is in the report, with what was done until then; an interrupt as well.
pub async fn run(
    args: &Args,
    env: Arc<dyn Env>,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> anyhow::Result<Report> {
    let sources = sources(&args.paths)?;
    let client = Client::new(&args.url, Arc::clone(&env))?;
    if !args.dry_run {
        tokio::select! {
            biased;
            checked = known_types(&client, &sources) => checked?,
            () = interrupted(interrupt.clone()) => bail!("interrupted before a row was sent"),
        }
    }
    let start = env.monotonic();
    progress.total(sources.iter().map(|source| source.size_bytes).sum());
    let sender = Sender::new(client, !args.no_timestamps, args.create_only);
    let mut report = Report { dry_run: args.dry_run, create_only: args.create_only, ..Report::default() };
    for source in &sources {
        let mut job = Job::new(source, progress, interrupt, &*env);
        progress.begin(&source.path.display().to_string());
        let done = if args.dry_run { job.check().await } else { job.send(&sender, usize::from(args.parallel)).await };
        if let Err(error) = done {
            job.stopped = Some(format!("{}: {error:#}", source.path.display()));
        }
        progress.end(&source.path.display().to_string(), &report.words(&job.counts));
        match report.types.iter_mut().find(|(name, _)| *name == source.entity_type) {
            Some((_, counts)) => *counts = counts.plus(job.counts),
            None => report.types.push((source.entity_type.clone(), job.counts)),
        }
        report.stopped = job.stopped;
        if report.stopped.is_some() {
            break;
        }
    }
    progress.finish();
    report.elapsed = env.monotonic().saturating_sub(start);
    Ok(report)
}

/// Checks what can be checked of the paths without a gateway.
///
/// # Errors
/// The path and what is wrong with it.
pub fn check_paths(paths: &[PathBuf]) -> anyhow::Result<()> {
    sources(paths).map(drop)
}

/// Completes once the import is to end.
async fn interrupted(mut interrupt: Interrupt) {
    if interrupt.wait_for(|interrupted| *interrupted).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// One file on its way.
struct Job<'a> {
    source: &'a Source,
    progress: &'a dyn Progress,
    interrupt: &'a Interrupt,
    env: &'a dyn Env,
    counts: Counts,
    stopped: Option<String>,
}

/// Where a row stands in its file, and how much of the file it is.
#[derive(Clone, Copy)]
struct Place {
    number: u64,
    size_bytes: u64,
}

impl<'a> Job<'a> {
    fn new(source: &'a Source, progress: &'a dyn Progress, interrupt: &'a Interrupt, env: &'a dyn Env) -> Self {
        Self { source, progress, interrupt, env, counts: Counts::default(), stopped: None }
    }

    /// Sends the file's rows, many at a time where the gateway takes batches, else at most `parallel`; never two of one id.
    async fn send(&mut self, sender: &Sender, parallel: usize) -> anyhow::Result<()> {
        let (source, interrupt, env) = (self.source, self.interrupt, self.env);
        let mut lines = open(source)?;
        let mut under_way = FuturesUnordered::new();
        let mut waiting = Waiting::default();
        let mut ids: HashSet<EntityId> = HashSet::new();
        let mut lost = 0;
        while self.stopped.is_none() {
            let row = match self.next(&mut lines).await {
                Some(line) => match self.accept(line) {
                    Some(row) => Some(row),
                    None => continue,
                },
                None => None,
            };
            // A row waits for an earlier one of its id, so that the later one wins.
            let collides = |ids: &HashSet<_>| {
                row.as_ref().is_some_and(|(_, row)| row.id.as_ref().is_some_and(|id| ids.contains(id)))
            };
            while !self.is_interrupted() {
                let (rows_max, flights_max) = match sender.takes.known() {
                    Some(true) => (BATCH_ROWS, BATCHES),
                    Some(false) => (1, parallel),
                    // The first ones tell.
                    None => (parallel, 1),
                };
                let full = row.is_none() || waiting.rows.len() >= rows_max || waiting.size_bytes >= BATCH_BYTES;
                if (full || collides(&ids)) && !waiting.rows.is_empty() && under_way.len() < flights_max {
                    let rows = std::mem::take(&mut waiting).rows;
                    rows.iter().for_each(|(_, row)| self.count(row));
                    lost += rows.len() as u64;
                    under_way.push(send_rows(sender, &source.entity_type, rows, parallel));
                } else if (full && !waiting.rows.is_empty()) || collides(&ids) {
                    tokio::select! {
                        biased;
                        settled = under_way.next() => {
                            for (place, id, sent) in settled.into_iter().flatten() {
                                id.iter().for_each(|id| { ids.remove(id); });
                                lost -= 1;
                                self.settle(place, sent);
                            }
                        }
                        () = interrupted(interrupt.clone()) => {}
                    }
                } else {
                    break;
                }
            }
            let Some((place, row)) = row.filter(|_| !self.is_interrupted()) else { break };
            ids.extend(row.id.clone());
            waiting.size_bytes += row.json.len();
            waiting.rows.push((place, row));
        }
        // What is under way has an outcome too, whatever stopped the rest.
        let too_long = async {
            interrupted(interrupt.clone()).await;
            env.sleep(GRACE).await;
        };
        let mut too_long = std::pin::pin!(too_long);
        while !under_way.is_empty() {
            tokio::select! {
                biased;
                settled = under_way.next() => for (place, _, sent) in settled.into_iter().flatten() {
                    lost -= 1;
                    self.settle(place, sent);
                },
                () = &mut too_long => break,
            }
        }
        if lost > 0 {
            self.counts.unknown += lost;
            let rows = count(lost, "row");
            self.progress.complain(&format!("{}: {rows} without an answer yet", source.path.display()));
        }
        // It may have come after the last line.
        self.is_interrupted();
        Ok(())
    }

    /// Whether the import is to end; remembers it as the reason.
    fn is_interrupted(&mut self) -> bool {
        let interrupted = *self.interrupt.borrow();
        if interrupted {
            self.stopped.get_or_insert_with(|| "interrupted".to_owned());
        }
        interrupted
    }

    /// Checks the file's rows. Remembers every id, so that a repeated one can be named.
    async fn check(&mut self) -> anyhow::Result<()> {
        let mut lines = open(self.source)?;
        let mut seen: HashMap<EntityId, u64> = HashMap::new();
        while let Some(line) = self.next(&mut lines).await {
            let Some((place, row)) = self.accept(line) else { continue };
            self.count(&row);
            if let Some(id) = row.id
                && let Some(earlier) = seen.insert(id.clone(), place.number)
            {
                self.counts.repeated += 1;
                self.complain(place, &format!("id {id} stands in line {earlier} already: the later row wins"));
            }
            self.progress.advance(place.size_bytes);
        }
        Ok(())
    }

    /// The next line; a file that cannot be read any further stops the import, and an interrupt.
    async fn next(&mut self, lines: &mut Lines<BufReader<File>>) -> Option<Line> {
        let line = lines.next().unwrap_or_else(|error| {
            self.stopped = Some(format!("cannot read {}: {error}", self.source.path.display()));
            None
        })?;
        // Signals are seen only where somebody waits.
        if line.number.is_multiple_of(LINES_PER_TURN) {
            tokio::task::yield_now().await;
        }
        (!self.is_interrupted()).then_some(line)
    }

    /// Gives the row if the line is one; counts it if it is a bad one.
    fn accept(&mut self, line: Line) -> Option<(Place, Row)> {
        let place = Place { number: line.number, size_bytes: line.size_bytes };
        let Some(content) = line.content else {
            self.progress.advance(place.size_bytes);
            return None;
        };
        match content {
            Ok(row) => Some((place, row)),
            Err(reason) => {
                self.counts.rows += 1;
                self.settle(place, Ok(Sent::Rejected(reason)));
                None
            }
        }
    }

    /// Counts a row that is sent or checked.
    fn count(&mut self, row: &Row) {
        self.counts.rows += 1;
        self.counts.without_id += u64::from(row.id.is_none());
    }

    /// Counts what became of a row.
    fn settle(&mut self, place: Place, sent: Result<Sent, String>) {
        self.progress.advance(place.size_bytes);
        match sent {
            Ok(Sent::Created) => self.counts.created += 1,
            Ok(Sent::Updated) => self.counts.updated += 1,
            Ok(Sent::Unchanged) => self.counts.unchanged += 1,
            Ok(Sent::Kept) => self.counts.kept += 1,
            Ok(Sent::Gone) => self.counts.gone += 1,
            Ok(Sent::Rejected(reason)) => {
                self.counts.rejected += 1;
                self.complain(place, &reason);
            }
            Ok(Sent::Unknown(reason)) => {
                self.counts.unknown += 1;
                self.complain(place, &format!("may or may not have gone in: {reason}"));
            }
            Err(reason) => {
                self.counts.unknown += 1;
                self.complain(place, &format!("may or may not have gone in: {reason}"));
                self.stopped.get_or_insert(reason);
            }
        }
    }

    fn complain(&self, place: Place, reason: &str) {
        self.progress.complain(&format!("{}:{}: {reason}", self.source.path.display(), place.number));
    }
}

/// Rows that are sent together.
#[derive(Default)]
struct Waiting {
    rows: Vec<(Place, Row)>,
    size_bytes: usize,
}

/// What became of each row, with its place and its id.
async fn send_rows(
    sender: &Sender,
    entity_type: &TypeName,
    rows: Vec<(Place, Row)>,
    parallel: usize,
) -> Vec<(Place, Option<EntityId>, Result<Sent, String>)> {
    let (places, rows): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let sent = sender.send_all(entity_type, &rows, parallel).await;
    places.into_iter().zip(rows).zip(sent).map(|((place, row), sent)| (place, row.id, sent)).collect()
}

fn open(source: &Source) -> anyhow::Result<Lines<BufReader<File>>> {
    let file = File::open(&source.path).with_context(|| format!("cannot open {}", source.path.display()))?;
    Ok(Lines::new(BufReader::with_capacity(256 << 10, file)))
}

/// The files that the paths mean, those of a folder in the order of their names.
fn sources(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        let meta = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        if !meta.is_dir() {
            sources.push(source(path, meta.len())?);
            continue;
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
            let file = entry.with_context(|| format!("cannot list {}", path.display()))?.path();
            let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if file.extension().is_none_or(|ext| ext != "jsonl") || hidden {
                continue;
            }
            // Fails for a link that leads nowhere as well.
            let meta = std::fs::metadata(&file).with_context(|| match file.read_link() {
                Ok(target) => format!("cannot follow {} to {}", file.display(), target.display()),
                Err(_) => format!("cannot read {}", file.display()),
            })?;
            if meta.is_file() {
                files.push((file, meta.len()));
            }
        }
        if files.is_empty() {
            bail!("{} has no *.jsonl file; a file is named after its type, like provider.jsonl", path.display());
        }
        files.sort();
        for (file, size_bytes) in files {
            sources.push(source(&file, size_bytes)?);
        }
    }
    Ok(sources)
}

fn source(path: &Path, size_bytes: u64) -> anyhow::Result<Source> {
    let stem = path.file_stem().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
    let Some(entity_type) = TypeName::parse(stem) else {
        bail!("{}: {stem:?} is no entity type; a file is named after its type, like provider.jsonl", path.display());
    };
    Ok(Source { path: path.to_owned(), entity_type, size_bytes })
}

/// Refuses types that the gateway lacks, and what is no gateway.
async fn known_types(client: &Client, sources: &[Source]) -> anyhow::Result<()> {
    client.reach().await?;
    let types = client.entity_types().await?;
    for source in sources {
        if !types.contains(&source.entity_type) {
            let names: Vec<_> = types.iter().map(TypeName::as_str).collect();
            bail!(
                "{}: {} has no type {:?}, only {}; a file is named after its type",
                source.path.display(),
                client.shown(),
                source.entity_type.as_str(),
                names.join(", ")
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! `dos export`: every entity of a running directory into JSON Lines files, one per type.
//!
//! The files appear together, when all of them are complete; what was exported imports to an equal directory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use contract::{Env, TypeName};
use reqwest::header::HeaderName;
use reqwest::{StatusCode, Url};
use serde_json::value::RawValue;

use super::http::{Answer, Client, Request};
use super::progress::{Progress, seconds};
use super::text::count;

const PAGE: &str = "limit=200";
const TOTAL: HeaderName = HeaderName::from_static("x-total-count");

/// Write everything in a running directory to JSON Lines files.
///
/// Each type becomes a file named after it, with one object per line as the gateway gave it.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder to write to; made if it is missing.
    #[arg(value_name = "DIR", default_value = "dos-export")]
    pub dir: PathBuf,
    /// Address of the gateway.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Replace files that are there already.
    #[arg(long)]
    pub force: bool,
}

/// What an export wrote.
#[derive(Debug)]
pub struct Report {
    /// Type, rows and file.
    pub files: Vec<(TypeName, u64, PathBuf)>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report {
    /// Writes the summary that people and scripts read.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for (name, rows, path) in &self.files {
            writeln!(out, "{name}: {} in {}", count(*rows, "row"), path.display())?;
        }
        let rows = self.files.iter().map(|(_, rows, _)| rows).sum();
        let files = count(self.files.len() as u64, "file");
        writeln!(out, "total: {} in {files} in {}", count(rows, "row"), seconds(self.elapsed))
    }
}

/// Exports every type that the gateway lists.
///
/// # Errors
/// Where anything could not be read or written; no file has its final name then, unless renaming itself failed.
pub async fn run(args: &Args, env: Arc<dyn Env>, progress: &dyn Progress) -> anyhow::Result<Report> {
    let client = Client::new(&args.url, Arc::clone(&env))?;
    client.reach().await?;
    let start = env.monotonic();
    let types = client.entity_types().await?;
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
    let mut parts = Vec::new();
    for name in types {
        parts.push((Part::new(&args.dir, &name, args.force)?, name));
    }
    let mut total = 0;
    for (part, name) in &mut parts {
        progress.begin(name.as_str());
        let written = pages(&client, name, part, &mut total, progress).await;
        if written.is_err() {
            progress.finish();
        }
        written.with_context(|| format!("{name} was not exported, and no file was written"))?;
        progress.end(name.as_str(), &count(part.rows, "row"));
    }
    progress.finish();
    let mut files = Vec::new();
    for (part, name) in parts {
        let rows = part.rows;
        files.push((name, rows, part.publish()?));
    }
    Ok(Report { files, elapsed: env.monotonic().saturating_sub(start) })
}

/// Reads one type page by page.
async fn pages(
    client: &Client,
    name: &TypeName,
    part: &mut Part,
    total: &mut u64,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let first = client.url(&format!("/{name}?{PAGE}"))?;
    let mut url = first.clone();
    loop {
        let answer = client.send(&Request::get(url.clone())).await?;
        if answer.status != StatusCode::OK {
            bail!("GET {} was answered with: {}", url.path(), answer.reason());
        }
        if url == first
            && let Some(rows) = answer.header(&TOTAL).and_then(|rows| rows.parse::<u64>().ok())
        {
            *total += rows;
            progress.total(*total);
        }
        let objects: Vec<&RawValue> = serde_json::from_slice(&answer.body)
            .with_context(|| format!("GET {} gave something else than an array", url.path()))?;
        for object in &objects {
            part.write(object.get())?;
        }
        progress.advance(objects.len() as u64);
        match next_page(client, &first, &url, &answer)? {
            Some(next) => url = next,
            None => return part.complete(),
        }
    }
}

/// The next page's address, always at the gateway that was asked first.
fn next_page(client: &Client, first: &Url, current: &Url, answer: &Answer) -> anyhow::Result<Option<Url>> {
    let Some(link) = answer.next_link() else { return Ok(None) };
    let next = client.same_origin(current, link).or_else(|| {
        // A gateway with a public address links to that; its cursors hold here as well.
        let query = link.split_once('?')?.1;
        let mut url = first.clone();
        url.set_query(Some(query.split('#').next().unwrap_or(query)));
        Some(url)
    });
    match next {
        Some(next) if next != *current => Ok(Some(next)),
        _ => bail!("the page after {} has the link {link:?}, which leads nowhere", current.path()),
    }
}

/// A file under way. Dropped before it is published, it leaves nothing behind.
struct Part {
    temporary: PathBuf,
    final_path: PathBuf,
    writer: BufWriter<File>,
    rows: u64,
}

impl Part {
    fn new(dir: &Path, name: &TypeName, force: bool) -> anyhow::Result<Self> {
        let final_path = dir.join(format!("{name}.jsonl"));
        if !force && final_path.try_exists().with_context(|| format!("cannot look for {}", final_path.display()))? {
            bail!("{} is there already: name another folder, or replace it with --force", final_path.display());
        }
        // In the same folder, so that renaming stays within a file system; hidden, so that no import takes it.
        let temporary = dir.join(format!(".{name}.jsonl.{}.part", std::process::id()));
        let file = File::create(&temporary).with_context(|| format!("cannot write {}", temporary.display()))?;
        Ok(Self { temporary, final_path, writer: BufWriter::with_capacity(256 << 10, file), rows: 0 })
    }

    /// Appends an object byte for byte. Line breaks in JSON can only be blanks between tokens: they become spaces.
    fn write(&mut self, json: &str) -> anyhow::Result<()> {
        let io = if json.contains(['\n', '\r']) {
            self.writer.write_all(json.replace(['\n', '\r'], " ").as_bytes())
        } else {
            self.writer.write_all(json.as_bytes())
        };
        io.and_then(|()| self.writer.write_all(b"\n")).with_context(|| self.failed())?;
        self.rows += 1;
        Ok(())
    }

    fn complete(&mut self) -> anyhow::Result<()> {
        self.writer.flush().and_then(|()| self.writer.get_ref().sync_all()).with_context(|| self.failed())
    }

    fn publish(self) -> anyhow::Result<PathBuf> {
        std::fs::rename(&self.temporary, &self.final_path)
            .with_context(|| format!("cannot rename to {}", self.final_path.display()))?;
        Ok(self.final_path.clone())
    }

    fn failed(&self) -> String {
        format!("cannot write {}", self.temporary.display())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After publishing there is nothing of that name.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests;

//! `cargo xtask convert SRC DST`: the published data set, as entities of the contract.
//!
//! The source keeps three relations in files of their own. Each becomes a field of the entity it belongs to:
//! `taxonomy_ref` is a service's `taxonomy_ids` (in the order of the file), `taxonomy_parent` a taxonomy's `parent_id`,
//! `venue_geo` a venue's `latitude` and `longitude`. The new fields are appended to the row's text, which is otherwise
//! copied character for character: no row is ever parsed and written again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The entity types, in the order in which a reader would explain them.
const TYPES: [&str; 8] = ["provider", "service", "taxonomy", "event", "venue", "contact", "costoption", "eligibility"];

/// Arguments of `convert`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The directory with the published files.
    source: PathBuf,
    /// The directory to write to; made if missing, files of the same names are replaced.
    destination: PathBuf,
}

/// Converts the directory and prints the number of rows of each type.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for (entity_type, count) in convert(&arguments.source, &arguments.destination)? {
        println!("{entity_type:<12}{count:>6} rows");
    }
    Ok(())
}

/// Per entity id, the JSON members to append to its row, without braces.
type Additions = HashMap<String, String>;

fn convert(source: &Path, destination: &Path) -> Result<Vec<(&'static str, usize)>> {
    fs::create_dir_all(destination).with_context(|| format!("cannot make {}", destination.display()))?;
    TYPES
        .into_iter()
        .map(|entity_type| {
            let mut additions = match entity_type {
                "service" => taxonomies_by_service(source)?,
                "taxonomy" => parent_by_taxonomy(source)?,
                "venue" => position_by_venue(source)?,
                _ => Additions::new(),
            };
            let file = format!("{entity_type}.jsonl");
            let count = write_rows(&source.join(&file), &destination.join(&file), &mut additions)?;
            if let Some(id) = additions.keys().min() {
                bail!("{} rows refer to a {entity_type} that is not there, {id} first", additions.len());
            }
            Ok((entity_type, count))
        })
        .collect()
}

fn write_rows(source: &Path, destination: &Path, additions: &mut Additions) -> Result<usize> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
    }
    let mut ids = HashSet::new();
    let file = fs::File::create(destination).with_context(|| format!("cannot write {}", destination.display()))?;
    let mut output = BufWriter::new(file);
    for_each_row(source, |text, row: Row| {
        match additions.remove(&row.id) {
            Some(members) => writeln!(output, "{}", append(text, &members)?)?,
            None => writeln!(output, "{text}")?,
        }
        ensure!(ids.insert(row.id), "an id that an earlier row has");
        Ok(())
    })?;
    output.flush()?;
    Ok(ids.len())
}

/// The text of a JSON object with members appended before its closing brace.
fn append(object: &str, members: &str) -> Result<String> {
    let open = object.trim_end().strip_suffix('}').context("the row is not an object")?;
    Ok(format!("{open},{members}}}"))
}

fn taxonomies_by_service(source: &Path) -> Result<Additions> {
    #[derive(Deserialize)]
    struct Row {
        service_id: String,
        taxonomy_id: String,
    }
    let mut lists: HashMap<String, Vec<String>> = HashMap::new();
    for_each_row(&source.join("taxonomy_ref.jsonl"), |_, row: Row| {
        let list = lists.entry(row.service_id).or_default();
        ensure!(!list.contains(&row.taxonomy_id), "the service has this taxonomy already");
        list.push(row.taxonomy_id);
        Ok(())
    })?;
    lists
        .into_iter()
        .map(|(id, list)| Ok((id, format!(r#""taxonomy_ids":{}"#, serde_json::to_string(&list)?))))
        .collect()
}

fn parent_by_taxonomy(source: &Path) -> Result<Additions> {
    #[derive(Deserialize)]
    struct Row {
        taxonomy_id: String,
        parent_id: String,
    }
    let mut parents = Additions::new();
    for_each_row(&source.join("taxonomy_parent.jsonl"), |_, row: Row| {
        let member = format!(r#""parent_id":{}"#, serde_json::to_string(&row.parent_id)?);
        ensure!(parents.insert(row.taxonomy_id, member).is_none(), "a second parent of this taxonomy");
        Ok(())
    })?;
    Ok(parents)
}

fn position_by_venue(source: &Path) -> Result<Additions> {
    /// The numbers stay text, so that they are written exactly as they were read.
    #[derive(Deserialize)]
    struct Row {
        venue_id: String,
        latitude: Box<RawValue>,
        longitude: Box<RawValue>,
    }
    let mut positions = Additions::new();
    for_each_row(&source.join("venue_geo.jsonl"), |_, row: Row| {
        let members = format!(r#""latitude":{},"longitude":{}"#, row.latitude, row.longitude);
        ensure!(positions.insert(row.venue_id, members).is_none(), "a second position of this venue");
        Ok(())
    })?;
    Ok(positions)
}

/// Reads a JSON Lines file; an error names file and line.
fn for_each_row<R: DeserializeOwned>(path: &Path, mut row: impl FnMut(&str, R) -> Result<()>) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    for (index, line) in text.split_terminator('\n').enumerate() {
        serde_json::from_str(line)
            .map_err(anyhow::Error::from)
            .and_then(|parsed| row(line, parsed))
            .with_context(|| format!("{}:{}", path.display(), index + 1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

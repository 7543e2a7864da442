//! The limit of a restart: the rows that a start reads, read by a bare loop over the table.

use std::path::PathBuf;

use anyhow::{Context, Result};
use contract::Env as _;
use dos::env::System;
use rusqlite::{Connection, OpenFlags};

/// Arguments of `scan`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A data folder
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// How often; the first time warms the page cache
    #[arg(long, default_value_t = 4)]
    times: u32,
    /// Map the file into memory, as `dos` does, instead of SQLite's default
    #[arg(long)]
    mmap: bool,
}

/// Prints a line per scan: `scan: rows N object_bytes N checksum N seconds S`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let clock = System::new();
    for _ in 0..arguments.times {
        let connection =
            Connection::open_with_flags(arguments.data_dir.join("dos.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        if arguments.mmap {
            connection.query_row("PRAGMA mmap_size = 2147418112", (), |_| Ok(()))?;
        }
        let begun = clock.monotonic();
        let (mut rows, mut object_bytes, mut checksum) = (0_u64, 0, 0);
        let mut statement = connection.prepare("SELECT key, headers, value FROM stream_views ORDER BY id")?;
        let mut found = statement.query(())?;
        while let Some(row) = found.next()? {
            let mut blob = |column: usize| {
                let bytes = row.get_ref(column)?.as_blob()?;
                checksum = touch(checksum, bytes);
                Ok::<_, anyhow::Error>(bytes.len() as u64)
            };
            blob(0)?;
            blob(1)?;
            object_bytes += blob(2).context("a view without an object")?;
            rows += 1;
        }
        let seconds = (clock.monotonic() - begun).as_secs_f64();
        println!("scan: rows {rows} object_bytes {object_bytes} checksum {checksum} seconds {seconds:.4}");
    }
    Ok(())
}

/// Looks at every byte, eight at a time, so that no page of a row can be passed over.
fn touch(checksum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().fold(checksum, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word)));
    rest.iter().fold(words, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

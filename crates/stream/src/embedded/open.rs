//! Opening the file: what is checked, in which order, and what is wrong with it otherwise.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::{Env, Offset, Topic};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use thiserror::Error;
use tokio::sync::watch;

use super::ahead::Ahead;
use super::checkpoint::{self, BUSY_WAIT, Signal, Wal};
use super::pool::Pool;
use super::queue::Queue;
use super::ring::Ring;
use super::transaction::Log;
use super::writer::Writer;
use super::{Embedded, Handle, Options, Shared, cleaner, format};

/// The database's name in its folder.
const FILE: &str = "dos.sqlite";
const NEW_FILE: &str = "dos.sqlite.new";
const LOCK_FILE: &str = "dos.lock";
/// How long to wait before the lock is tried again: [`Embedded::is_open`] takes it for an instant.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Reads that may wait: a caller has one under way, a tail one.
const READS_MAX: usize = 1024;
const TAIL_READS_MAX: usize = 4096;
/// All rings together have at most so many times the bytes of one.
const RINGS_FULL_MAX: usize = 16;

/// Why the file was not opened. Nothing in it was changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process; stop that one, or use another data folder", .0.display())]
    Locked(PathBuf),
    /// The folder cannot be made or written.
    #[error("the data folder {} cannot be written ({reason}); let this user own it, or set another data folder", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The folder is no folder.
    #[error("{} is a file, and the data needs a folder; set another data folder", .0.display())]
    NotFolder(PathBuf),
    /// The file cannot be written.
    #[error("{} is read-only; give this user the right to write it, or restore a copy that can be written", .0.display())]
    ReadOnly(PathBuf),
    /// The file is no database.
    #[error("{} is not an SQLite database; move it away, then restore a backup or start with an empty folder", .0.display())]
    NotSqlite(PathBuf),
    /// The file is not whole.
    #[error("{} is damaged ({reason}); keep a copy of it and of its -wal file, then restore a backup", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file is another program's.
    #[error("{} belongs to another application (id {id:#010x}); set another data folder", file.display())]
    OtherApplication {
        /// The file.
        file: PathBuf,
        /// Its `application_id`.
        id: i32,
    },
    /// The file was written by a newer version of this program.
    #[error("{} has format {found}, this program knows {known}; run the newer program, or restore a backup made before it", file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: i32,
        /// This program's.
        known: i32,
    },
    /// The file was written by an older version of this program, whose format is not read any more.
    #[error("{} has format {found}, this program reads {known} only; export with the program that wrote it, and import into a new folder", file.display())]
    Older {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: i32,
        /// This program's.
        known: i32,
    },
    /// SQLite did not take a setting on which durability rests.
    #[error(
        "{setting} is {found} and not {expected}; the data folder must be on a local disk that can lock and share memory"
    )]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What was asked for.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The file has another number of partitions than was asked for.
    #[error(
        "{} was made with {found} partitions, not {asked}, and their number is fixed; ask for {found} or for none, or export \
         everything and import it into a new data folder", file.display()
    )]
    Partitions {
        /// The file.
        file: PathBuf,
        /// Its number.
        found: u32,
        /// The one asked for.
        asked: u32,
    },
    /// An option is out of its range.
    #[error("{0}")]
    Option(&'static str),
    /// Anything else, such as too many open files.
    #[error("{} cannot be opened: {reason}", file.display())]
    Other {
        /// The file.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// See [`Embedded::open`].
pub(super) fn open(folder: &Path, options: Options, env: Arc<dyn Env>) -> Result<Embedded, OpenError> {
    if !(1..=format::PARTITIONS_MAX).contains(&options.partitions) {
        return Err(OpenError::Option("the number of partitions must be 1 to 1024"));
    }
    let file = folder.join(FILE);
    let lock = Arc::new(lock_folder(folder)?);
    if exists(&file)? {
        check_header(&file)?;
    } else {
        create(folder, &options, &*env)?;
    }
    let sql = |error| sql_error(&file, &error);
    let connection = connect(&file, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sql)?;
    // Before any setting, as these write to the file.
    let (cluster, partitions) = check_content(&connection, &file)?;
    if options.partitions_strict && partitions != options.partitions {
        return Err(OpenError::Partitions { file, found: partitions, asked: options.partitions });
    }
    set_up_writer(&connection, &file, &options)?;
    let ends = ends(&connection, partitions).map_err(sql)?;

    let log = Log::new(partitions, options.message_bytes_max, ends.iter().map(|ends| ends.next));
    let ring_bytes_max =
        options.ring_bytes_max.min(options.ring_bytes_max.saturating_mul(RINGS_FULL_MAX) / ends.len().max(1));
    let ring = |ends: &Ends| Ring::new(ends.start, ends.next, ends.keep_from, options.ring_records_max, ring_bytes_max);
    let other = |error: std::io::Error| OpenError::Other { file: file.clone(), reason: error.to_string() };
    let pool = |name, threads: usize, queries_max, alive: &_| {
        let connections =
            (0..threads.max(1)).map(|_| connect_reader(&file)).collect::<Result<Vec<_>, _>>().map_err(sql)?;
        Pool::start(name, connections, queries_max, alive).map_err(other)
    };
    let (readers, alive) = watch::channel(());
    let shared = Arc::new(Shared {
        cluster,
        partitions,
        queue: Queue::new(
            options.queue_max,
            options.queue_bytes_max,
            Ahead::new(log.ends(Topic::Commands), options.ring_records_max, ring_bytes_max),
        ),
        rings: ends.iter().map(ring).collect(),
        reads: pool("dos-read", options.readers, READS_MAX, &alive)?,
        tails: pool("dos-tail", options.tail_readers, TAIL_READS_MAX, &alive)?,
        checkpoints: Arc::new(Signal::default()),
        failed: watch::Sender::new(None),
        closed: watch::Sender::new(false),
        cleaning: tokio::sync::Mutex::new(()),
        groups: Mutex::default(),
        options,
        env,
    });
    let wal = Wal::new(&connection, Arc::clone(&shared.checkpoints)).map_err(sql)?;
    let writer = Writer::new(connection, log, Arc::clone(&shared), wal, Arc::clone(&lock));
    let (writer_ended, writer_alive) = watch::channel(());
    // From here on a failure ends the threads that were started.
    let handle = Handle { shared: Arc::clone(&shared), readers, writer: writer_ended, lock: Mutex::new(Some(lock)) };
    let checkpointer = connect_checkpointer(&file).map_err(sql)?;
    start(writer, writer_alive, checkpointer, &shared, alive).map_err(other)?;
    cleaner::start(&shared);
    tracing::info!(file = %file.display(), cluster = %shared.cluster, partitions, "opened the stream");
    Ok(Embedded { handle: Arc::new(handle), reads_ahead: false })
}

fn start(
    writer: Writer,
    writer_alive: watch::Receiver<()>,
    checkpointer: Connection,
    shared: &Arc<Shared>,
    alive: watch::Receiver<()>,
) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("dos-checkpoint".to_owned()).spawn(move || {
        checkpoint::run(&checkpointer, &shared);
        drop((checkpointer, alive));
    })?;
    std::thread::Builder::new().name("dos-writer".to_owned()).spawn(move || {
        writer.run();
        drop(writer_alive);
    })?;
    Ok(())
}

fn lock_folder(folder: &Path) -> Result<File, OpenError> {
    let failed = |reason| OpenError::Folder { folder: folder.to_owned(), reason };
    std::fs::create_dir_all(folder).map_err(|error| match folder.metadata() {
        Ok(metadata) if !metadata.is_dir() => OpenError::NotFolder(folder.to_owned()),
        _ => failed(error),
    })?;
    let path = folder.join(LOCK_FILE);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    for pause in [LOCK_PAUSE, LOCK_PAUSE, Duration::ZERO] {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(OpenError::Locked(folder.join(FILE)))
}

impl Embedded {
    /// Whether a process has the file of this folder open; no where that cannot be told.
    pub fn is_open(folder: &Path) -> bool {
        let Ok(lock) = File::open(folder.join(LOCK_FILE)) else { return false };
        // Held for an instant if nobody has it: `lock_folder` waits for longer than that.
        matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

/// A log without its database would be replayed into a new one: that is no folder to start in.
fn exists(file: &Path) -> Result<bool, OpenError> {
    let there = |path: &Path| path.try_exists().map_err(|error| io_error(file, &error));
    if there(file)? {
        return Ok(true);
    }
    if there(&wal_of(file))? {
        return Err(OpenError::Damaged {
            file: file.to_owned(),
            reason: "it is missing, its -wal file is there".to_owned(),
        });
    }
    Ok(false)
}

fn wal_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// What can be told without SQLite, which would write to a file of another program as soon as it opens it.
fn check_header(file: &Path) -> Result<(), OpenError> {
    let mut header = Vec::with_capacity(100);
    let opened = OpenOptions::new().read(true).write(true).open(file).map_err(|error| io_error(file, &error))?;
    if opened.metadata().map_err(|error| io_error(file, &error))?.permissions().readonly() {
        return Err(OpenError::ReadOnly(file.to_owned()));
    }
    opened.take(100).read_to_end(&mut header).map_err(|error| io_error(file, &error))?;
    if !header.starts_with(MAGIC) {
        return Err(OpenError::NotSqlite(file.to_owned()));
    }
    // Both are written before the file gets its name, and never again: the log holds no other.
    let number = |at: usize| header[at..].first_chunk::<4>().copied().map(i32::from_be_bytes);
    if header.len() < 100 {
        return Err(OpenError::Damaged { file: file.to_owned(), reason: "its header is cut off".to_owned() });
    }
    let (id, version) = (number(68).unwrap_or(0), number(60).unwrap_or(0));
    check_identity(file, id, version)
}

fn check_identity(file: &Path, id: i32, version: i32) -> Result<(), OpenError> {
    let file = file.to_owned();
    if id != format::APPLICATION_ID {
        return Err(OpenError::OtherApplication { file, id });
    }
    if version > format::VERSION {
        return Err(OpenError::Newer { file, found: version, known: format::VERSION });
    }
    if version < 1 {
        return Err(OpenError::Damaged { file, reason: format!("its format is {version}") });
    }
    if version < format::VERSION {
        return Err(OpenError::Older { file, found: version, known: format::VERSION });
    }
    Ok(())
}

/// Makes a whole file under another name, then gives it its own.
fn create(folder: &Path, options: &Options, env: &dyn Env) -> Result<(), OpenError> {
    let (new, file) = (folder.join(NEW_FILE), folder.join(FILE));
    let failed = |reason| OpenError::Folder { folder: folder.to_owned(), reason };
    for left_over in [new.clone(), folder.join("dos.sqlite.new-journal")] {
        match std::fs::remove_file(left_over) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    fill(&new, options, env).map_err(|error| sql_error(&new, &error))?;
    std::fs::rename(&new, &file).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    // The folder may be new as well. Whoever may not read its parent did not make it.
    if let Ok(parent) = folder.canonicalize().and_then(|path| File::open(path.parent().unwrap_or(&path))) {
        parent.sync_all().map_err(failed)?;
    }
    Ok(())
}

fn fill(new: &Path, options: &Options, env: &dyn Env) -> rusqlite::Result<()> {
    let mut connection = Connection::open(new)?;
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    let transaction = connection.transaction()?;
    transaction.pragma_update(None, "application_id", format::APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", format::VERSION)?;
    transaction.execute_batch(format::SCHEMA)?;
    let insert = "INSERT INTO stream_meta (name, value) VALUES (?1, ?2)";
    transaction.execute(insert, ("cluster", env.uuid().to_string()))?;
    transaction.execute(insert, ("partitions", options.partitions))?;
    transaction.commit()
}

fn connect(file: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    // A connection stays with one thread at a time, so SQLite's own mutexes are of no use.
    let connection = Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_WAIT)?;
    // Closing must not write, neither after a failure nor where the file is refused: a damaged one and its log stay as
    // they are. The writer checkpoints by itself.
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

fn set_up_writer(connection: &Connection, file: &Path, options: &Options) -> Result<(), OpenError> {
    let sql = |error| sql_error(file, &error);
    let set = |setting, value, expected: &'static str| {
        connection.pragma_update(None, setting, value).map_err(sql)?;
        let found =
            connection.query_row(&format!("PRAGMA {setting}"), (), |row| row.get_ref(0).map(text)).map_err(sql)?;
        if found == expected { Ok(()) } else { Err(OpenError::Setting { setting, expected, found }) }
    };
    set("journal_mode", "WAL", "wal")?;
    set("synchronous", "FULL", "2")?;
    // Only macOS heeds it: there a plain fsync leaves data in the drive's cache.
    set("fullfsync", "ON", "1")?;
    // The checkpointer does this; see `checkpoint`.
    set("wal_autocheckpoint", "0", "0")?;
    // A statement's journal must not fail for want of room elsewhere.
    set("temp_store", "MEMORY", "2")?;
    set("cache_size", "-65536", "-65536")?;
    connection.set_prepared_statement_cache_capacity(128);
    if let Some(size_bytes_max) = options.file_bytes_max {
        let page_bytes: u64 = connection.query_row("PRAGMA page_size", (), |row| row.get(0)).map_err(sql)?;
        let pages = (size_bytes_max / page_bytes.max(1)).clamp(1, u64::from(u32::MAX - 1));
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), (), |_| Ok(())).map_err(sql)?;
    }
    Ok(())
}

fn text(value: rusqlite::types::ValueRef<'_>) -> String {
    match value {
        rusqlite::types::ValueRef::Integer(number) => number.to_string(),
        other => other.as_str().unwrap_or_default().to_ascii_lowercase(),
    }
}

/// A connection that only reads. It does not map the file into memory: measured, that makes neither a start nor writes
/// faster, its pages count as the process's memory, and a disk error would be a signal.
pub(super) fn connect_reader(file: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -8192)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn connect_checkpointer(file: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.query_row("PRAGMA wal_autocheckpoint = 0", (), |_| Ok(()))?;
    Ok(connection)
}

/// Checks that the file is whole as far as can be told quickly; answers cluster and number of partitions.
fn check_content(connection: &Connection, file: &Path) -> Result<(String, u32), OpenError> {
    let sql = |error| sql_error(file, &error);
    let damaged = |reason: String| OpenError::Damaged { file: file.to_owned(), reason };
    let size_bytes = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    // While there is a log, the database may rightly be shorter than its header says.
    if size_bytes(&wal_of(file)) == 0 {
        let pages = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let expected: u64 = connection.query_row(pages, (), |row| row.get(0)).map_err(sql)?;
        let found = size_bytes(file);
        if found < expected {
            return Err(damaged(format!("it has {found} bytes of {expected}")));
        }
    }
    let meta = |name: &'static str| {
        let query = "SELECT value FROM stream_meta WHERE name = ?1";
        let value = connection.query_row(query, [name], |row| row.get::<_, rusqlite::types::Value>(0)).optional();
        value.map_err(sql)?.ok_or_else(|| damaged(format!("it does not tell its {name}")))
    };
    let cluster = match meta("cluster")? {
        rusqlite::types::Value::Text(cluster) if !cluster.is_empty() => cluster,
        _ => return Err(damaged("its cluster is no text".to_owned())),
    };
    match meta("partitions")? {
        rusqlite::types::Value::Integer(count) => u32::try_from(count).ok(),
        _ => None,
    }
    .filter(|count| (1..=format::PARTITIONS_MAX).contains(count))
    .map(|partitions| (cluster, partitions))
    .ok_or_else(|| damaged("its number of partitions is out of range".to_owned()))
}

/// Where a partition stands.
pub(super) struct Ends {
    pub(super) start: Offset,
    pub(super) next: Offset,
    keep_from: Option<Offset>,
}

/// The ends of all partitions, topic by topic.
fn ends(connection: &Connection, partitions: u32) -> rusqlite::Result<Vec<Ends>> {
    let all = Topic::ALL.into_iter().flat_map(|topic| (0..partitions).map(move |partition| (topic, partition)));
    all.map(|(topic, partition)| ends_of(connection, topic, partition)).collect()
}

/// The ends of one partition, as the file has them.
pub(super) fn ends_of(connection: &Connection, topic: Topic, partition: u32) -> rusqlite::Result<Ends> {
    let marks = "SELECT floor, keep_from FROM stream_marks WHERE topic = ?1 AND partition = ?2";
    let row = connection
        .prepare_cached(marks)?
        .query_row((format::index(topic), partition), |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Option<u64>>(1)?)))
        .optional()?;
    let (floor, keep_from) = row.unwrap_or((0, None));
    let (first, last): (Option<i64>, Option<i64>) = connection
        .prepare_cached(format::sql(topic).ends)?
        .query_row(format::range(partition), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let next = last.map_or(floor, |id| floor.max(format::offset(id) + 1));
    Ok(Ends { start: first.map_or(next, format::offset), next, keep_from })
}

fn io_error(file: &Path, error: &std::io::Error) -> OpenError {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly(file.to_owned()),
        ErrorKind::IsADirectory => OpenError::NotSqlite(file.to_owned()),
        _ => OpenError::Other { file: file.to_owned(), reason: error.to_string() },
    }
}

/// What an error of SQLite says about the file.
pub(super) fn sql_error(file: &Path, error: &rusqlite::Error) -> OpenError {
    let file = file.to_owned();
    let reason = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotSqlite(file),
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { file, reason },
        Some(ErrorCode::ReadOnly) => OpenError::ReadOnly(file),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked(file),
        // "No such table" and the like: the schema is not what the header promises.
        Some(ErrorCode::Unknown) => OpenError::Damaged { file, reason },
        _ => OpenError::Other { file, reason },
    }
}

/// The file in a folder, for a reader that takes no lock.
pub(super) fn follow(folder: &Path) -> Result<(Connection, u32), OpenError> {
    let file = folder.join(FILE);
    check_header_read_only(&file)?;
    let connection = connect_reader(&file).map_err(|error| sql_error(&file, &error))?;
    let (_, partitions) = check_content(&connection, &file)?;
    Ok((connection, partitions))
}

fn check_header_read_only(file: &Path) -> Result<(), OpenError> {
    let mut magic = [0; 16];
    let read =
        File::open(file).and_then(|mut opened| opened.read(&mut magic)).map_err(|error| io_error(file, &error))?;
    if read == 16 && magic == *MAGIC { Ok(()) } else { Err(OpenError::NotSqlite(file.to_owned())) }
}

//! A local snapshot of the materialised view, so that a restart reads only what came since.
//!
//! On a compacted topic, whoever has the state as of an offset and reads from there has the latest state of every key: what
//! was removed was superseded by a record behind it. So a snapshot is the view and, per partition, an offset before which
//! it lacks nothing; deletes are views like any other, never null values. It may hold later views too, which are read
//! again and passed over, so that it can be written while the view changes.
//!
//! It is of use only where all of it is right: of this stream (a topic made anew is another), of this program's version and
//! these schemas, its offsets within the topic, and undamaged. Else it is dropped, with a line that says why, and the
//! topic is read from its start. Losing it costs a slow start and nothing else.

mod format;
mod load;
mod write;

#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::metrics::counter;
use contract::{Env, Offset, Partition, Registry};
use stream::{Bounds, Topology};
use tokio::sync::{Mutex, oneshot};
use tracing::{error, info, warn};

use super::Views;
use crate::metrics::{SNAPSHOT_LOADS, SNAPSHOT_WRITES};
use format::{FORMAT, Header, Type};
use load::Loaded;

const FILE: &str = "views.snapshot";
const PARTIAL: &str = "views.snapshot.partial";
const LOCK: &str = "views.lock";

/// A gateway's snapshots, in a folder that no other process uses.
pub(crate) struct Snapshots {
    folder: PathBuf,
    _lock: File,
    every: Duration,
    views: Arc<Views>,
    registry: Registry,
    env: Arc<dyn Env>,
    progress: OnceLock<Progress>,
    /// The positions of the last snapshot; held while one is written.
    last: Mutex<Option<Vec<Offset>>>,
}

struct Progress {
    cluster: String,
    /// Everything before it has been applied, per partition.
    passed: Vec<AtomicU64>,
    complete: OnceLock<()>,
}

impl Snapshots {
    /// Takes the folder; none where on-demand views have no use for it. An error says why it cannot be used: who set it wants quick
    /// starts, and would learn at the next one that there are none.
    pub(crate) fn open(
        folder: &Path,
        every: Duration,
        views: &Arc<Views>,
        registry: &Registry,
        env: &Arc<dyn Env>,
    ) -> Result<Option<Arc<Self>>, String> {
        if let Views::OnDemand(_) = &**views {
            warn!("a folder for snapshots is set, and on-demand views have no use for it");
            return Ok(None);
        }
        let lock =
            take(folder).map_err(|reason| format!("the folder {} cannot be used: {reason}", folder.display()))?;
        Ok(Some(Arc::new(Self {
            folder: folder.to_owned(),
            _lock: lock,
            every,
            views: Arc::clone(views),
            registry: registry.clone(),
            env: Arc::clone(env),
            progress: OnceLock::new(),
            last: Mutex::new(None),
        })))
    }

    /// Loads the snapshot into the view; answers where each partition is to be read from.
    pub(crate) async fn load(self: &Arc<Self>, topology: &Topology, bounds: &[Bounds]) -> Vec<Offset> {
        let (begun, this, cluster) = (self.env.monotonic(), Arc::clone(self), topology.cluster.clone());
        let (starts, log) = (bounds.iter().map(|bounds| bounds.start).collect(), bounds.to_vec());
        let loaded = in_thread(move || match &*this.views {
            Views::Materialised(views) => load::load(&this.folder, &cluster, &log, views, &this.registry),
            Views::OnDemand(_) => Ok(None),
        });
        let (positions, outcome) = match loaded.await {
            Ok(Some(Loaded { positions, records })) => {
                let seconds = (self.env.monotonic() - begun).as_secs_f64();
                info!(records, seconds, "the view begins with a snapshot");
                *self.last.lock().await = Some(positions.clone());
                (positions, "loaded")
            }
            Ok(None) => (starts, "none"),
            Err(reason) => {
                warn!(reason, "the snapshot of the view is dropped; the topic is read from its start");
                drop(fs::remove_file(self.folder.join(FILE)));
                (starts, "dropped")
            }
        };
        counter!(SNAPSHOT_LOADS, "outcome" => outcome).increment(1);
        let passed = positions.iter().map(|position| AtomicU64::new(*position)).collect();
        // Set once: the tails begin once.
        let _ = self.progress.set(Progress { cluster: topology.cluster.clone(), passed, complete: OnceLock::new() });
        positions
    }

    /// Everything before an offset has been applied.
    pub(crate) fn passed(&self, partition: Partition, next: Offset) {
        let passed = self.progress.get().and_then(|progress| progress.passed.get(usize::try_from(partition).ok()?));
        if let Some(passed) = passed {
            passed.store(next, Ordering::Release);
        }
    }

    /// The view is complete: from now on it is written again and again.
    pub(crate) fn complete(self: &Arc<Self>) {
        let Some(progress) = self.progress.get() else { return };
        if progress.complete.set(()).is_err() {
            return;
        }
        let (this, env) = (Arc::downgrade(self), Arc::clone(&self.env));
        let every = self.every;
        self.env.spawn(Box::pin(async move {
            // The first one soon: a start from nothing has just shown that there is none that is of use.
            let mut wait = every.min(Duration::from_secs(60));
            loop {
                env.sleep(wait).await;
                let Some(this) = this.upgrade() else { return };
                this.save().await;
                wait = every;
            }
        }));
    }

    /// Writes the view as it is now, unless nothing has come since the last time.
    pub(crate) async fn save(self: &Arc<Self>) {
        let Some(progress) = self.progress.get().filter(|progress| progress.complete.get().is_some()) else { return };
        let mut last = self.last.lock().await;
        let positions: Vec<Offset> = progress.passed.iter().map(|passed| passed.load(Ordering::Acquire)).collect();
        if last.as_ref() == Some(&positions) {
            return;
        }
        let (begun, this, taken) = (self.env.monotonic(), Arc::clone(self), positions.clone());
        let written = in_thread(move || {
            let Views::Materialised(views) = &*this.views else { return Err("there is no view".to_owned()) };
            let cluster = this.progress.get().map_or("", |progress| progress.cluster.as_str());
            let header = header(cluster, taken, &this.registry, |name| views.count(name));
            write::write(&this.folder, &header, views, &this.registry).map_err(|error| error.to_string())
        });
        let outcome = match written.await {
            Ok(records) => {
                *last = Some(positions);
                info!(records, seconds = (self.env.monotonic() - begun).as_secs_f64(), "wrote a snapshot of the view");
                "written"
            }
            Err(reason) => {
                error!(reason, "no snapshot of the view could be written; the last one stays");
                "failed"
            }
        };
        counter!(SNAPSHOT_WRITES, "outcome" => outcome).increment(1);
    }
}

/// What a snapshot of this program says of itself.
fn header(
    cluster: &str,
    positions: Vec<Offset>,
    registry: &Registry,
    count: impl Fn(&contract::TypeName) -> u64,
) -> Header {
    let types = registry.iter().map(|entity_type| Type {
        name: entity_type.name().to_string(),
        data_schema: entity_type.data_schema().to_owned(),
        count: count(entity_type.name()),
    });
    Header {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        endian: if cfg!(target_endian = "little") { "little" } else { "big" }.to_owned(),
        cluster: cluster.to_owned(),
        positions,
        types: types.collect(),
    }
}

/// Makes the folder where it is missing, and keeps other processes out for as long as the file is open.
fn take(folder: &Path) -> Result<File, String> {
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join(LOCK));
    let lock = lock.map_err(|error| error.to_string())?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err("another process uses the folder".to_owned()),
        Err(TryLockError::Error(error)) => Err(error.to_string()),
    }
}

/// Runs what waits for the disk in a thread of its own.
async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let (send, done) = oneshot::channel();
    let thread = std::thread::Builder::new().name("views-snapshot".to_owned()).spawn(move || drop(send.send(work())));
    thread.map_err(|error| error.to_string())?;
    done.await.unwrap_or_else(|_| Err("the thread has failed".to_owned()))
}

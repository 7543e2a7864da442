//! Streams in temporary folders.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::{Env, Record, Topic};
use stream::Stream;
use stream::conformance::{record, soon};
use stream::embedded::{Embedded, OpenError, Options, TransactError, Transaction};
use tempfile::TempDir;

use crate::env::TestEnv;

/// A stream, its folder and its clock.
pub(crate) struct Fixture {
    pub(crate) env: Arc<TestEnv>,
    pub(crate) options: Options,
    pub(crate) folder: TempDir,
    pub(crate) stream: Embedded,
}

/// Few partitions, small rings, and a cleaner that works at once.
pub(crate) fn options() -> Options {
    Options {
        partitions: 2,
        message_bytes_max: 100_000,
        compaction_records_min: 1,
        compaction_percent_min: 0,
        ring_records_max: 16,
        ..Options::default()
    }
}

impl Fixture {
    pub(crate) async fn new(options: Options) -> Self {
        let (folder, env) = (tempfile::tempdir().unwrap(), Arc::new(TestEnv::new()));
        let stream = open(folder.path(), &options, &env).await.unwrap();
        Self { env, options, folder, stream }
    }

    /// Drops the stream without closing it and opens the file again.
    pub(crate) async fn reopen(self) -> Self {
        let Self { env, options, folder, stream } = self;
        drop(stream);
        let stream = open(folder.path(), &options, &env).await.unwrap();
        Self { env, options, folder, stream }
    }

    /// Opens a copy of the files as they lie on the disk, which is what a crash would leave.
    pub(crate) async fn crash(self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["dos.sqlite", "dos.sqlite-wal"] {
            std::fs::copy(self.folder.path().join(name), folder.path().join(name)).unwrap();
        }
        let Self { env, options, stream, .. } = self;
        drop(stream);
        let stream = open(folder.path(), &options, &env).await.unwrap();
        Self { env, options, folder, stream }
    }

    pub(crate) async fn append(&self, topic: Topic, key: &str, value: &str) -> u64 {
        soon(self.stream.append(topic, record(key, value))).await.unwrap().1
    }

    /// All values of partition 0 that are in the file.
    pub(crate) async fn values(&self, topic: Topic) -> Vec<String> {
        let sql = format!("SELECT value FROM stream_{} WHERE id < 1 << 48 ORDER BY id", &topic.name()[4..]);
        let read = move |connection: &rusqlite::Connection| {
            let mut statement = connection.prepare(&sql)?;
            statement.query_map((), |row| row.get::<_, Vec<u8>>(0))?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let values = soon(self.stream.read(read)).await.unwrap();
        values.into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
    }
}

/// Opens, and waits for the threads of a dropped stream to let the file go.
pub(crate) async fn open(folder: &Path, options: &Options, env: &Arc<TestEnv>) -> Result<Embedded, OpenError> {
    soon(async {
        loop {
            match Embedded::open(folder, options.clone(), Arc::clone(env) as Arc<dyn Env>) {
                Err(OpenError::Locked(_)) => tokio::task::yield_now().await,
                outcome => return outcome,
            }
        }
    })
    .await
}

/// A key of partition 0 of two.
pub(crate) fn key(number: usize) -> String {
    let keys = (0..).map(|n| format!("key-{n}")).filter(|key| contract::partition::of_key(key.as_bytes(), 2) == 0);
    keys.into_iter().nth(number).unwrap()
}

/// Holds the writer up until the sender is dropped, so that what comes then makes one group.
pub(crate) async fn hold(stream: &Embedded) -> std::sync::mpsc::Sender<()> {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (arrived, there) = tokio::sync::oneshot::channel();
    let (held, arrived) = (Mutex::new(held), Mutex::new(Some(arrived)));
    let job = move |_: &mut Transaction<'_>| {
        arrived.lock().unwrap().take().unwrap().send(()).unwrap();
        let _ = held.lock().unwrap().recv_timeout(Duration::from_secs(30));
        Ok::<(), TransactError>(())
    };
    let mut held_job = Box::pin({
        let stream = stream.clone();
        async move { stream.transact(job).await }
    });
    poll_once(&mut held_job).await;
    soon(there).await.unwrap();
    release
}

/// Starts a future: an append is queued when it is polled first.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

/// A record of so many bytes.
pub(crate) fn large(key: &str, size_bytes: usize) -> Record {
    Record { value: vec![b'x'; size_bytes].into(), ..record(key, "") }
}

/// For the conformance suite.
pub(crate) struct Factory {
    env: Arc<TestEnv>,
    folder: Mutex<TempDir>,
}

impl Factory {
    pub(crate) fn new() -> Self {
        Self { env: Arc::new(TestEnv::new()), folder: Mutex::new(tempfile::tempdir().unwrap()) }
    }
}

#[async_trait::async_trait]
impl stream::conformance::Factory for Factory {
    type Stream = Embedded;

    async fn open(&self) -> Arc<Embedded> {
        let folder = self.folder.lock().unwrap().path().to_owned();
        Arc::new(open(&folder, &options(), &self.env).await.unwrap())
    }

    async fn crash(&self, stream: Arc<Embedded>) -> Arc<Embedded> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["dos.sqlite", "dos.sqlite-wal"] {
            std::fs::copy(self.folder.lock().unwrap().path().join(name), folder.path().join(name)).unwrap();
        }
        drop(stream);
        *self.folder.lock().unwrap() = folder;
        self.open().await
    }

    async fn close(&self, stream: &Embedded) {
        soon(stream.close()).await;
    }

    fn env(&self) -> Arc<dyn Env> {
        Arc::clone(&self.env) as Arc<dyn Env>
    }
}

//! The connection to Redis, and the pause that reads make when it is slow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::metrics::gauge;
use contract::Env;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::Semaphore;

use crate::metrics::SHARED_UP;

/// How long a read waits for Redis.
const READ_WAIT: Duration = Duration::from_millis(100);
/// How long reads pass it by after one has waited in vain.
const REST: Duration = Duration::from_secs(1);
/// How long writing may take.
const WRITE_WAIT: Duration = Duration::from_secs(1);
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Reads at once; one more passes Redis by.
const READS_MAX: usize = 512;

pub(super) struct Link {
    client: Client,
    env: Arc<dyn Env>,
    connection: Mutex<Option<MultiplexedConnection>>,
    reads: Semaphore,
    /// Monotonic milliseconds until which reads pass Redis by.
    rests_until: AtomicU64,
}

/// Why a read was not answered by Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Away {
    /// There is no connection, too much is under way, or it was slow a moment ago.
    PassedBy,
    /// It was asked and did not answer well.
    Failed,
}

impl Link {
    pub(super) fn new(client: Client, env: Arc<dyn Env>) -> Self {
        gauge!(SHARED_UP).set(0.0);
        let reads = Semaphore::new(READS_MAX);
        Self { client, env, connection: Mutex::new(None), reads, rests_until: AtomicU64::new(0) }
    }

    /// Connects; one caller only.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WAIT))
            .set_response_timeout(Some(WRITE_WAIT));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        self.set(Some(connection.clone()));
        self.rests_until.store(0, Ordering::Relaxed);
        Ok(connection)
    }

    /// The connection is of no use any more.
    pub(super) fn disconnect(&self) {
        self.set(None);
    }

    fn set(&self, connection: Option<MultiplexedConnection>) {
        gauge!(SHARED_UP).set(if connection.is_some() { 1.0 } else { 0.0 });
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    /// Asks Redis for a read, within a bounded time.
    pub(super) async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Away> {
        let now = u64::try_from(self.env.monotonic().as_millis()).unwrap_or(u64::MAX);
        if now < self.rests_until.load(Ordering::Relaxed) {
            return Err(Away::PassedBy);
        }
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (Some(mut connection), Ok(_place)) = (connection, self.reads.try_acquire()) else {
            return Err(Away::PassedBy);
        };
        let answer = tokio::select! {
            biased;
            answer = question(&mut connection) => answer.ok(),
            () = self.env.sleep(READ_WAIT) => None,
        };
        answer.ok_or_else(|| {
            let rest = u64::try_from(REST.as_millis()).unwrap_or(0);
            self.rests_until.store(now + rest, Ordering::Relaxed);
            Away::Failed
        })
    }
}

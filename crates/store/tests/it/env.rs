//! The world of the tests: tokio, with real time.

#![allow(clippy::disallowed_methods, reason = "this is the Env that others take their time from")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use contract::env::BoxFuture;
use contract::{Env, Timestamp};

pub(crate) struct TestEnv {
    start: Instant,
}

impl TestEnv {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Env for TestEnv {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn random(&self) -> [u8; 10] {
        let id = *uuid::Uuid::now_v7().as_bytes();
        std::array::from_fn(|i| id[15 - i])
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        drop(tokio::spawn(task));
    }
}

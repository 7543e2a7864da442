//! The world of the tests: tokio, with real time.

#![allow(clippy::disallowed_methods, reason = "this is the Env that others take their time from")]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use contract::env::BoxFuture;
use contract::{Env, Timestamp};

struct TestEnv {
    start: Instant,
}

pub(crate) fn env() -> Arc<dyn Env> {
    Arc::new(TestEnv { start: Instant::now() })
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
        let number = || RandomState::new().build_hasher().finish().to_be_bytes();
        let mut random = [0; 10];
        random[..8].copy_from_slice(&number());
        random[8..].copy_from_slice(&number()[..2]);
        random
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        drop(tokio::spawn(task));
    }
}

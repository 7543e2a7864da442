//! A world whose clock is set by hand.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use contract::env::BoxFuture;
use contract::{Env, Timestamp};
use tokio::sync::watch;

pub(crate) struct TestEnv {
    millis: watch::Sender<i64>,
}

impl TestEnv {
    pub(crate) fn new() -> Self {
        Self { millis: watch::Sender::new(1_700_000_000_000) }
    }

    /// Lets time pass; sleepers whose time has come wake.
    pub(crate) fn advance(&self, duration: Duration) {
        self.millis.send_modify(|millis| *millis += duration.as_millis() as i64);
    }
}

impl Env for TestEnv {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(*self.millis.borrow())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(*self.millis.borrow() as u64)
    }

    fn random(&self) -> [u8; 10] {
        let number = || RandomState::new().build_hasher().finish().to_be_bytes();
        let mut random = [0; 10];
        random[..8].copy_from_slice(&number());
        random[8..].copy_from_slice(&number()[..2]);
        random
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        let mut millis = self.millis.subscribe();
        let until = *millis.borrow() + duration.as_millis() as i64;
        Box::pin(async move {
            if millis.wait_for(|now| *now >= until).await.is_err() {
                std::future::pending().await
            }
        })
    }

    #[allow(clippy::disallowed_methods, reason = "this is where tests spawn")]
    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(task);
    }
}

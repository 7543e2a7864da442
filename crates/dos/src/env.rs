//! The real world: the system's clock and randomness, Tokio's timers and tasks.

use std::cell::RefCell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use contract::env::BoxFuture;
use contract::{Env, Timestamp};

/// So many are asked for at once: a write needs three, and each question is a system call.
const POOL_IDS: usize = 64;

thread_local! {
    /// Random bytes that nobody was given yet.
    static POOL: RefCell<Vec<[u8; 10]>> = const { RefCell::new(Vec::new()) };
}

/// The [`Env`] of the running program.
#[derive(Debug)]
pub struct System {
    start: Instant,
}

impl System {
    /// Starts the monotonic clock.
    #[expect(clippy::disallowed_methods, reason = "this is where the clock comes from")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where clock, timers and tasks come from")]
impl Env for System {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn random(&self) -> [u8; 10] {
        POOL.with_borrow_mut(|pool| {
            if pool.is_empty() {
                let mut bytes = [[0; 10]; POOL_IDS];
                if let Err(error) = getrandom::fill(bytes.as_flattened_mut()) {
                    // Ids that can be guessed or repeat would be worse than none.
                    tracing::error!(%error, "the system has no randomness; ending");
                    std::process::abort();
                }
                pool.extend(bytes);
            }
            pool.pop().unwrap_or_default()
        })
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(task);
    }
}

//! Clock, randomness, timers and spawning as an argument, so that a simulation can replay the system from a seed.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use uuid::Uuid;

use crate::time::Timestamp;

/// A boxed future, as `Env` takes and gives it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// The world outside the program's own state. One instance is handed to every part.
pub trait Env: Send + Sync + 'static {
    /// The wall clock, to the millisecond.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start; never goes back.
    fn monotonic(&self) -> Duration;

    /// Ten random bytes of cryptographic quality.
    fn random(&self) -> [u8; 10];

    /// Completes once `duration` has passed.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;

    /// Runs `task` to its end, independently of the caller.
    fn spawn(&self, task: BoxFuture<()>);

    /// A new UUIDv7 [RFC 9562 5.7].
    fn uuid(&self) -> Uuid {
        let millis = u64::try_from(self.now().as_millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &self.random()).into_uuid()
    }
}

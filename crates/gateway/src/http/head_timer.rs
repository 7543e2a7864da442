//! The time that a connection has for the head of a request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;

/// A connection's own timer. hyper asks for a new one with each request and lets go of it as soon as the head is there; to
/// enter and remove each would cost as much as looking up an entity. So one stays entered, and is entered anew only when it
/// rings.
#[derive(Clone, Default)]
pub(super) struct HeadTimer {
    tokio: TokioTimer,
    entered: Arc<Mutex<Option<Entered>>>,
}

/// Rings no later than what waits for it: deadlines only grow.
struct Entered {
    deadline: Instant,
    sleep: Pin<Box<dyn Sleep>>,
}

struct Until {
    timer: HeadTimer,
    deadline: Instant,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until { timer: self.clone(), deadline })
    }

    fn now(&self) -> Instant {
        self.tokio.now()
    }
}

impl Sleep for Until {}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let HeadTimer { tokio, entered } = &self.timer;
        let mut entered = entered.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let first = entered
                .get_or_insert_with(|| Entered { deadline: self.deadline, sleep: tokio.sleep_until(self.deadline) });
            ready!(first.sleep.as_mut().poll(context));
            let is_over = first.deadline >= self.deadline;
            *entered = None;
            if is_over {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_rings_at_its_own_deadline() {
        let timer = HeadTimer::default();
        let begun = tokio::time::Instant::now();
        let seconds = Duration::from_secs;
        // Dropped before it is due, as that of a head that came in time.
        let in_time = tokio::time::timeout(seconds(4), timer.sleep(seconds(10))).await;
        assert!(in_time.is_err());
        timer.sleep(seconds(10)).await;
        assert_eq!(begun.elapsed().as_secs(), 14, "the second is not cut short by the first");
        timer.sleep(seconds(10)).await;
        assert_eq!(begun.elapsed().as_secs(), 24);
    }
}

//! Virtual time, one source of randomness per seed, and processes that pause and die.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::env::BoxFuture;
use contract::{Env, Timestamp};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

pub(crate) struct World {
    start: Instant,
    random: Mutex<Random>,
    healed: Mutex<bool>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let random = Mutex::new(Random::new(seed));
        Arc::new(Self { start: Instant::now(), random, healed: Mutex::new(false) })
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap().below(bound)
    }

    /// Whether something goes wrong, as often as one in so many.
    pub(crate) fn fails(&self, one_in: u64) -> bool {
        self.below(one_in) == 0 && !*self.healed.lock().unwrap()
    }

    /// Nothing fails any more; what is under way arrives.
    pub(crate) fn heal(&self) {
        *self.healed.lock().unwrap() = true;
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + i64::try_from(self.start.elapsed().as_millis()).unwrap())
    }

    pub(crate) fn uuid(&self) -> uuid::Uuid {
        let mut random = self.random.lock().unwrap();
        uuid::Uuid::from_u64_pair(random.next(), random.next())
    }
}

/// Waits on virtual time.
pub(crate) async fn sleep(duration: Duration) {
    drop(tokio::time::timeout(duration, std::future::pending::<()>()).await);
}

/// The tasks of one store. Whatever it waits for, it goes on only when it is not paused.
pub(crate) struct Process {
    pub(crate) world: Arc<World>,
    tasks: Mutex<Vec<AbortHandle>>,
    asleep_until: Mutex<Instant>,
    dead: Mutex<bool>,
}

impl Process {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        let (tasks, asleep_until) = (Mutex::default(), Mutex::new(Instant::now()));
        Arc::new(Self { world: Arc::clone(world), tasks, asleep_until, dead: Mutex::new(false) })
    }

    pub(crate) fn pause(&self, duration: Duration) {
        *self.asleep_until.lock().unwrap() = Instant::now() + duration;
    }

    pub(crate) fn asleep_for(&self) -> Duration {
        self.asleep_until.lock().unwrap().duration_since(Instant::now())
    }

    /// Completes when it is awake.
    pub(crate) async fn awake(&self) {
        loop {
            let asleep = self.asleep_for();
            if asleep.is_zero() {
                return;
            }
            sleep(asleep).await;
        }
    }

    pub(crate) fn kill(&self) {
        *self.dead.lock().unwrap() = true;
        self.tasks.lock().unwrap().drain(..).for_each(|task| task.abort());
    }

    pub(crate) fn is_dead(&self) -> bool {
        *self.dead.lock().unwrap()
    }
}

impl Env for Process {
    fn now(&self) -> Timestamp {
        self.world.now()
    }

    fn monotonic(&self) -> Duration {
        self.world.start.elapsed()
    }

    fn random(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes.iter_mut().for_each(|byte| *byte = self.world.below(256) as u8);
        bytes
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(sleep(duration))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the Env that others spawn through")]
    fn spawn(&self, task: BoxFuture<()>) {
        self.tasks.lock().unwrap().push(tokio::spawn(task).abort_handle());
    }
}

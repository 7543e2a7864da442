//! Virtual time, one source of randomness per seed, the trace, and processes that pause and die.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::env::BoxFuture;
use contract::{Env, Timestamp};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use super::parts::Part;

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
    without: Option<Part>,
    trace: Mutex<DefaultHasher>,
    shown: bool,
    ticks: AtomicU64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Self::without(seed, None, false)
    }

    /// One in which a part of the system is taken out, and of which the trace may be shown.
    pub(crate) fn without(seed: u64, without: Option<Part>, shown: bool) -> Arc<Self> {
        let random = Mutex::new(Random::new(seed));
        let (healed, trace, ticks) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { start: Instant::now(), random, healed, without, trace, shown, ticks })
    }

    pub(crate) fn lacks(&self, part: Part) -> bool {
        self.without == Some(part)
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap().below(bound)
    }

    /// Up to so many milliseconds.
    pub(crate) fn millis(&self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
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

    /// Numbers what happens: of two, which came first.
    pub(crate) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// Something happened: it goes into the trace.
    pub(crate) fn note(&self, what: std::fmt::Arguments<'_>) {
        let since = self.start.elapsed().as_millis();
        let line = format!("{since:>7} {what}");
        line.hash(&mut *self.trace.lock().unwrap());
        if self.shown {
            eprintln!("{line}");
        }
    }

    /// The hash over all that happened.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.lock().unwrap().finish()
    }
}

/// Waits on virtual time.
pub(crate) async fn sleep(duration: Duration) {
    drop(tokio::time::timeout(duration, std::future::pending::<()>()).await);
}

/// The tasks of one store or gateway. Whatever it waits for, it goes on only when it is not paused.
pub(crate) struct Process {
    pub(crate) world: Arc<World>,
    tasks: Mutex<Vec<AbortHandle>>,
    asleep_until: Arc<Mutex<Instant>>,
    dead: Mutex<bool>,
    clock_millis: AtomicI64,
}

impl Process {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        let (tasks, asleep_until, dead) = (Mutex::default(), Arc::new(Mutex::new(Instant::now())), Mutex::new(false));
        Arc::new(Self { world: Arc::clone(world), tasks, asleep_until, dead, clock_millis: AtomicI64::new(0) })
    }

    pub(crate) fn pause(&self, duration: Duration) {
        *self.asleep_until.lock().unwrap() = Instant::now() + duration;
    }

    pub(crate) fn asleep_for(&self) -> Duration {
        self.asleep_until.lock().unwrap().duration_since(Instant::now())
    }

    /// Its wall clock is set to another time.
    pub(crate) fn jump(&self, millis: i64) {
        self.clock_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Completes when it is awake.
    pub(crate) async fn awake(&self) {
        awake(&self.asleep_until).await;
    }

    /// A task of this process, which ends with it.
    #[allow(clippy::disallowed_methods, reason = "this is the Env that others spawn through")]
    pub(crate) fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let handle = tokio::spawn(task);
        let mut tasks = self.tasks.lock().unwrap();
        if tasks.len() > 256 {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(handle.abort_handle());
        handle
    }

    pub(crate) fn kill(&self) {
        *self.dead.lock().unwrap() = true;
        self.tasks.lock().unwrap().drain(..).for_each(|task| task.abort());
    }

    pub(crate) fn is_dead(&self) -> bool {
        *self.dead.lock().unwrap()
    }
}

async fn awake(asleep_until: &Mutex<Instant>) {
    loop {
        let asleep = asleep_until.lock().unwrap().duration_since(Instant::now());
        if asleep.is_zero() {
            return;
        }
        sleep(asleep).await;
    }
}

impl Env for Process {
    fn now(&self) -> Timestamp {
        self.world.now().plus_millis(self.clock_millis.load(Ordering::SeqCst))
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
        let asleep_until = Arc::clone(&self.asleep_until);
        Box::pin(async move {
            sleep(duration).await;
            awake(&asleep_until).await;
        })
    }

    fn spawn(&self, task: BoxFuture<()>) {
        if !self.is_dead() {
            drop(self.run(task));
        }
    }
}

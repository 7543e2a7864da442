//! A gateway's tails on a real stream, from a snapshot and without one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::wire::cloudevents::encode_view;
use contract::{CommandId, Env, Key, Registry, Timestamp, Topic, View};
use proptest::collection::vec;
use proptest::prelude::*;
use stream::Stream;
use stream::embedded::{Embedded, Options};
use tokio::runtime::Builder;

use super::super::load::Loaded;
use super::super::{FILE, Snapshots};
use super::{content, held};
use crate::config::ViewMode;
use crate::dispatch::{Answers, Retrieves};
use crate::feed::{Feed, FeedConfig};
use crate::ready::Ready;
use crate::test_env::env;
use crate::views::{Follow, Look, Materialised, Progress, Views};

const PATIENCE: Duration = Duration::from_secs(20);
const KEYS: usize = 12;

struct System {
    stream: Arc<Embedded>,
    registry: Registry,
    env: Arc<dyn Env>,
}

/// The view of a gateway that has read all there is.
struct Follower {
    views: Arc<Views>,
    snapshots: Option<Arc<Snapshots>>,
    ready: Arc<Ready>,
}

impl System {
    fn open(folder: &Path) -> Self {
        let env = env();
        let options = Options {
            partitions: 2,
            compaction_lag: Duration::ZERO,
            compaction_records_min: 1,
            compaction_percent_min: 0,
            ..Options::default()
        };
        let stream = Arc::new(Embedded::open(folder, options, Arc::clone(&env)).unwrap());
        Self { stream, registry: Registry::built_in().unwrap(), env }
    }

    async fn publish(&self, key: &Key, version: u64, created: i64) {
        let held = held(&self.registry, key.entity_type.as_str(), key.id.as_ref().unwrap().as_str(), version, created);
        let entity_type = self.registry.get(key.entity_type.as_str()).unwrap();
        let view = View {
            key: key.clone(),
            version,
            time: Timestamp::from_millis(created),
            correlation: CommandId(self.env.uuid()),
            object: Some(held.object().to_vec().into()),
            data_schema: entity_type.data_schema().to_owned(),
        };
        self.stream.append(Topic::Views, encode_view(&view, "/store/test")).await.unwrap();
    }

    /// A record of the key that cannot be read.
    async fn break_view(&self, key: &Key) {
        let record = contract::Record {
            key: key.to_string().into(),
            headers: contract::Headers::default(),
            value: b"rubbish".to_vec().into(),
        };
        self.stream.append(Topic::Views, record).await.unwrap();
    }

    async fn follow(&self, folder: Option<&Path>) -> Follower {
        let views = Arc::new(Views::Materialised(Materialised::new(&self.registry)));
        let every = Duration::from_secs(3600);
        let snapshots =
            folder.and_then(|folder| Snapshots::open(folder, every, &views, &self.registry, &self.env).unwrap());
        let (ready, progress) = (Arc::new(Ready::new()), Arc::new(Progress::new()));
        let stream = Arc::clone(&self.stream) as Arc<dyn Stream>;
        let feed = FeedConfig::default();
        let feed = Feed::new(
            feed,
            stream,
            self.registry.clone(),
            Arc::clone(&views),
            Arc::clone(&progress),
            Arc::clone(&self.env),
        );
        let follow = Follow {
            stream: Arc::clone(&self.stream) as Arc<dyn Stream>,
            registry: self.registry.clone(),
            mode: ViewMode::Materialised,
            views: Arc::clone(&views),
            answers: Arc::new(Answers::new(10, Arc::clone(&views))),
            retrieves: Arc::new(Retrieves::new(Arc::clone(&views), self.registry.clone())),
            ready: Arc::clone(&ready),
            progress,
            feed: Arc::new(feed),
            snapshots: snapshots.clone(),
            env: Arc::clone(&self.env),
        };
        Arc::new(follow).start();
        let opened = async {
            while !ready.is_open() {
                self.env.sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, opened).await.expect("the view is never complete");
        Follower { views, snapshots, ready }
    }

    async fn close(self) {
        self.stream.close().await;
    }
}

impl Follower {
    fn views(&self) -> &Materialised {
        let Views::Materialised(views) = &*self.views else { panic!("materialised") };
        views
    }

    async fn save(&self) {
        self.snapshots.as_ref().unwrap().save().await;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, bool),
    Break(usize),
    Compact,
    Save,
    /// The process ends without a word, and the next one begins with the snapshot.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..KEYS, any::<bool>()).prop_map(|(key, moves)| Step::Write(key, moves)),
        1 => (0..KEYS).prop_map(Step::Break),
        2 => Just(Step::Compact),
        3 => Just(Step::Save),
        2 => Just(Step::Restart),
    ]
}

/// Whatever happened before: with and without the snapshot a start gives the same view.
async fn run(steps: &[Step]) {
    let (data, mut folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let system = System::open(data.path());
    let mut follower = system.follow(Some(folder.path())).await;
    let mut versions = [0; KEYS];
    for (number, step) in (1..).zip(steps) {
        let key = |n: usize| Key::parse(&format!("{}:{n}", ["venue", "event"][n % 2])).unwrap();
        match *step {
            Step::Write(n, moves) => {
                versions[n] += 1;
                system.publish(&key(n), versions[n], if moves { 1000 + number } else { n as i64 }).await;
            }
            Step::Break(n) => {
                versions[n] += 1;
                system.break_view(&key(n)).await;
            }
            Step::Compact => system.stream.clean().await.unwrap(),
            Step::Save => follower.save().await,
            Step::Restart => {
                // What the disk has of it, in a folder that the dead process does not hold.
                let next = tempfile::tempdir().unwrap();
                if std::fs::exists(folder.path().join(FILE)).unwrap() {
                    std::fs::copy(folder.path().join(FILE), next.path().join(FILE)).unwrap();
                }
                folder = next;
                follower = system.follow(Some(folder.path())).await;
            }
        }
    }
    let plain = system.follow(None).await;
    let expected = content(&system.registry, plain.views());
    // What the tails of the other have not read yet.
    let all = async {
        while content(&system.registry, follower.views()) != expected {
            system.env.sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("another view");
    assert!(follower.ready.is_open() && plain.ready.is_open());
    system.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_start_from_a_snapshot_gives_the_same_view(steps in vec(step(), 5..60)) {
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(run(&steps));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_reads_only_what_came_since() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let system = System::open(data.path());
    let key = |n: u64| Key::parse(&format!("venue:{n}")).unwrap();
    for n in 0..100 {
        system.publish(&key(n), 1, n as i64).await;
    }
    let first = system.follow(Some(folder.path())).await;
    first.save().await;
    let cluster = system.stream.topology().await.unwrap();
    let bounds = system.stream.bounds(Topic::Views).await.unwrap();
    system.publish(&key(7), 2, 7).await;
    let again = Materialised::new(&system.registry);
    let loaded = super::load::load(folder.path(), &cluster.cluster, &bounds, &again, &system.registry);
    let ends: Vec<_> = bounds.iter().map(|bounds| bounds.end).collect();
    assert_eq!(loaded, Ok(Some(Loaded { positions: ends, records: 100 })));
    assert!(matches!(again.look(&key(7)), Look::Found(held) if held.version() == 1));
    // A topic that was made anew is another.
    let other = super::load::load(folder.path(), "another", &bounds, &again, &system.registry);
    assert!(other.is_err());
    system.close().await;
}

//! Many who follow the changes of one directory, on two gateways, over compactions of the stream.
//!
//! The size is bounded so that it takes seconds; `DOS_TEST_FEED=1000x10000` runs it with as many subscribers and changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::{Env, Registry, Topic};
use dos::env::System;
use dos::settings::{Settings, Views};
use gateway::{Access, Gateway};
use serde_json::json;
use store::{Sqlite, Store};
use stream::Stream as _;
use stream::embedded::{Embedded, Options};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::harness::client;
use crate::random::Random;

const TYPES: [&str; 4] = ["costoption", "eligibility", "event", "taxonomy"];
/// The field that carries what each write wrote.
const FIELDS: [&str; 4] = ["option", "eligibility", "details", "term"];
const WRITERS: usize = 8;
/// Entities of each writer, of every type.
const IDS: usize = 8;
/// However busy the machine is.
const PATIENCE: Duration = Duration::from_secs(300);

/// Entities as `type:id`, and what was written last; what is deleted is not there.
type State = BTreeMap<String, u64>;

/// One system with two gateways: a complete view, and one on demand.
struct Pair {
    gateways: Vec<Arc<Gateway>>,
    addresses: Vec<String>,
    stop: watch::Sender<bool>,
    served: mpsc::Receiver<()>,
    store: Store,
    stream: Embedded,
    env: Arc<dyn Env>,
    _folder: TempDir,
}

impl Pair {
    async fn start() -> Self {
        let (folder, env): (_, Arc<dyn Env>) = (tempfile::tempdir().unwrap(), Arc::new(System::new()));
        let options = Options {
            compaction_lag: Duration::from_millis(300),
            compaction_records_min: 100,
            housekeeping_interval: Duration::from_millis(300),
            // So that who reads the topic reads the file, which is what is compacted.
            ring_records_max: 32,
            ..Options::default()
        };
        let stream = Embedded::open(folder.path(), options, Arc::clone(&env)).unwrap();
        let database = Arc::new(Sqlite::open(stream.clone()).await.unwrap());
        let mut settings = Settings { views: Views::OnDemand, ..Settings::default() };
        // Small, so that who comes back late is served from the topic.
        settings.feed.buffer_bytes = 128 << 10;
        settings.http.drain_timeout_ms = 500;
        let registry = Registry::built_in().unwrap();
        let reads_ahead = Arc::new(stream.reading_ahead());
        let store = Store::start(settings.store("s"), registry.clone(), reads_ahead, database, Arc::clone(&env));
        let store = store.await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let (ended, served) = mpsc::channel(1);
        let (mut gateways, mut addresses) = (Vec::new(), Vec::new());
        for views in [Views::Materialised, Views::OnDemand] {
            settings.views = views;
            let config = settings.gateway("g").unwrap();
            let gateway = Gateway::start(config, registry.clone(), Arc::new(stream.clone()), Arc::clone(&env)).unwrap();
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            addresses.push(listener.local_addr().unwrap().to_string());
            while !gateway.is_ready() {
                env.sleep(Duration::from_millis(5)).await;
            }
            let serving = gateway::serve(Arc::clone(&gateway), listener, Access::Write, stopped.clone());
            let ended = ended.clone();
            env.spawn(Box::pin(async move {
                serving.await;
                drop(ended);
            }));
            gateways.push(gateway);
        }
        Self { gateways, addresses, stop, served, store, stream, env, _folder: folder }
    }

    /// Here and now.
    async fn position(&self) -> String {
        let list = client().get(format!("http://{}/event", self.addresses[0])).send().await.unwrap();
        list.headers()["consistency-token"].to_str().unwrap().to_owned()
    }

    /// Records that the topic of views still has.
    async fn records(&self) -> u64 {
        let mut records = 0;
        for (partition, bounds) in (0..).zip(self.stream.bounds(Topic::Views).await.unwrap()) {
            let mut tail = self.stream.tail(Topic::Views, partition, 0).await.unwrap();
            let mut next = 0;
            while next < bounds.end {
                let batch = tail.next(1000).await.unwrap();
                next = batch.last().map_or(bounds.end, |last| last.offset + 1);
                records += batch.len() as u64;
            }
        }
        records
    }

    async fn stop(mut self) {
        self.stop.send_replace(true);
        assert!(self.served.recv().await.is_none());
        drop(self.gateways);
        self.store.stop().await;
        self.stream.close().await;
    }
}

/// Creates, changes and deletes its own entities, each write on either gateway.
async fn write(addresses: Vec<String>, writer: usize, changes: usize, numbers: Arc<AtomicU64>) -> State {
    let (mut random, mut state, client) = (Random::new(7, writer as u64), State::new(), client());
    for _ in 0..changes {
        let kind = random.below(TYPES.len());
        let id = format!("{writer}.{}", random.below(IDS));
        let (name, key) = (TYPES[kind], format!("{}:{id}", TYPES[kind]));
        let url = format!("http://{}/{name}/{id}", addresses[random.below(2)]);
        let number = numbers.fetch_add(1, Ordering::SeqCst);
        let is_there = state.contains_key(&key);
        if is_there && random.below(6) == 0 {
            let response = client.delete(url).send().await.unwrap();
            assert_eq!(response.status(), 204);
            state.remove(&key);
            continue;
        }
        let mut request = client.put(url).json(&json!({FIELDS[kind]: number.to_string()}));
        if !is_there {
            request = request.header("if-none-match", "*");
        }
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{}: {}", response.status(), response.text().await.unwrap());
        state.insert(key, number);
    }
    state
}

/// What a subscriber follows.
#[derive(Clone)]
enum Scope {
    All,
    Type(usize),
    Entity(usize, String),
}

impl Scope {
    fn path(&self) -> String {
        match self {
            Self::All => "/changes".to_owned(),
            Self::Type(kind) => format!("/{}", TYPES[*kind]),
            Self::Entity(kind, id) => format!("/{}/{id}", TYPES[*kind]),
        }
    }

    fn of(&self, whole: &State) -> State {
        let of = |key: &str| match self {
            Self::All => true,
            Self::Type(kind) => key.split(':').next() == Some(TYPES[*kind]),
            Self::Entity(kind, id) => key == format!("{}:{id}", TYPES[*kind]),
        };
        whole.iter().filter(|(key, _)| of(key)).map(|(key, number)| (key.clone(), *number)).collect()
    }
}

/// A client as it should be: keeps what it was told, and the position behind it.
struct Subscriber {
    scope: Scope,
    state: State,
    /// The latest number of each entity, deleted or not: none may come before it again.
    newest: State,
    last_id: String,
    connections: usize,
    events: usize,
}

impl Subscriber {
    fn new(number: usize, begin: String, random: &mut Random) -> Self {
        let kind = random.below(TYPES.len());
        let scope = match number % 10 {
            0 => Scope::All,
            1..5 => Scope::Type(kind),
            _ => Scope::Entity(kind, format!("{}.{}", random.below(WRITERS), random.below(IDS))),
        };
        Self { scope, state: State::new(), newest: State::new(), last_id: begin, connections: 0, events: 0 }
    }

    /// Follows on a gateway until so many events came, the connection is lost, or its state is that of the end.
    async fn follow(&mut self, address: &str, events_max: usize, end: &watch::Receiver<Option<Arc<State>>>) {
        self.connections += 1;
        let mut socket = TcpStream::connect(address).await.unwrap();
        let (path, last_id) = (self.scope.path(), &self.last_id);
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nlast-event-id: {last_id}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let (mut buffer, mut end) = (Vec::new(), end.clone());
        let mut line = String::new();
        let mut block = (String::new(), String::new(), String::new());
        let until = self.events + events_max;
        loop {
            if self.is_done(&end) {
                return;
            }
            let read = tokio::select! {
                read = socket.read_buf(&mut buffer) => read,
                _ = end.changed() => continue,
            };
            if !matches!(read, Ok(1..)) {
                return;
            }
            for byte in buffer.drain(..) {
                if byte != b'\n' {
                    line.push(char::from(byte));
                    continue;
                }
                // Lines of chunked coding and of the head have no meaning here, but the status.
                assert!(!line.starts_with("HTTP/1.1") || line.starts_with("HTTP/1.1 200"), "{line}");
                match line.split_once(": ") {
                    Some(("event", name)) => block.0 = name.to_owned(),
                    Some(("id", id)) => block.1 = id.to_owned(),
                    Some(("data", data)) => block.2 = data.to_owned(),
                    _ if line.is_empty() && !block.1.is_empty() => {
                        let (name, id, data) = std::mem::take(&mut block);
                        if !name.is_empty() {
                            self.take(&name, &data);
                        }
                        self.last_id = id;
                    }
                    _ => {}
                }
                line.clear();
                if self.events >= until {
                    return;
                }
            }
        }
    }

    fn is_done(&self, end: &watch::Receiver<Option<Arc<State>>>) -> bool {
        end.borrow().as_ref().is_some_and(|whole| self.scope.of(whole) == self.state)
    }

    fn take(&mut self, name: &str, data: &str) {
        self.events += 1;
        let field = |name: &str| {
            let (_, rest) = data.split_once(&format!("\"{name}\":\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        let kind = match &self.scope {
            Scope::All => TYPES.iter().position(|name| field("@type").as_deref() == Some(name)).unwrap(),
            Scope::Type(kind) | Scope::Entity(kind, _) => *kind,
        };
        let key = format!("{}:{}", TYPES[kind], field("id").unwrap());
        match name {
            "view" => {
                let number = field(FIELDS[kind]).unwrap().parse().unwrap();
                let before = self.newest.insert(key.clone(), number);
                assert!(before.is_none_or(|before| before < number), "{key}: {number} came after {before:?}");
                self.state.insert(key, number);
            }
            "deleted" => drop(self.state.remove(&key)),
            other => panic!("{other}: {data}"),
        }
    }
}

fn size() -> (usize, usize) {
    let text = std::env::var("DOS_TEST_FEED").unwrap_or("150x1600".to_owned());
    let (subscribers, changes) = text.split_once('x').expect("SUBSCRIBERSxCHANGES");
    (subscribers.parse().unwrap(), changes.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subscriber_ends_with_the_state_of_the_directory() {
    let (subscribers, changes) = size();
    let pair = Pair::start().await;
    let begin = pair.position().await;
    let (done, mut finished) = mpsc::channel(subscribers);
    let (tell, end) = watch::channel(None);
    for number in 0..subscribers {
        let (addresses, env, done, end) = (pair.addresses.clone(), Arc::clone(&pair.env), done.clone(), end.clone());
        let begin = begin.clone();
        pair.env.spawn(Box::pin(async move {
            let mut random = Random::new(11, number as u64);
            let mut subscriber = Subscriber::new(number, begin, &mut random);
            while !subscriber.is_done(&end) {
                let events_max = 1 + random.below(200);
                subscriber.follow(&addresses[random.below(2)], events_max, &end).await;
                env.sleep(Duration::from_millis(random.below(400) as u64)).await;
            }
            done.send(subscriber).await.unwrap();
        }));
    }
    drop(done);
    let numbers = Arc::new(AtomicU64::new(1));
    let writer = |writer| write(pair.addresses.clone(), writer, changes / WRITERS, Arc::clone(&numbers));
    let written = futures_util::future::join_all((0..WRITERS).map(writer)).await;
    tell.send_replace(Some(Arc::new(written.into_iter().flatten().collect())));
    let (mut ended, mut connections, mut events) = (0, 0, 0);
    while let Ok(Some(subscriber)) = tokio::time::timeout(PATIENCE, finished.recv()).await {
        ended += 1;
        connections += subscriber.connections;
        events += subscriber.events;
    }
    assert_eq!(ended, subscribers, "all end with the state of the directory");
    assert!(connections > subscribers, "{connections}");
    let records = pair.records().await;
    assert!(records < changes as u64, "{records} of {changes} views are left: nothing was compacted");
    println!("{connections} connections, {events} events, {records} records are left");
    pair.stop().await;
}

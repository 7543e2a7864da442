//! A stream in a folder of its own, a store on it, and somebody who asks and listens.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::wire::cloudevents::{decode_reply, decode_view, encode_command};
use contract::{
    Action, Command, CommandId, Env, Key, ListPosition, ListQuery, Offset, OutcomeStatus, Precondition, Record,
    Registry, Reply, ReplyBody, Slug, Stored, Topic, View,
};
use serde_json::{Map, Value};
use store::{Config, Database, Sqlite, Store};
use stream::Stream;
use stream::embedded::{Embedded, Options};
use tokio::sync::mpsc;

use crate::env::TestEnv;

/// The longest that anything here may take.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

pub(crate) async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// What came back for a command.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    View(View),
    Reply(Reply),
}

impl Answer {
    pub(crate) fn view(self) -> View {
        match self {
            Self::View(view) => view,
            Self::Reply(reply) => panic!("a reply, no view: {reply:?}"),
        }
    }

    pub(crate) fn body(self) -> ReplyBody {
        match self {
            Self::Reply(reply) => reply.body,
            Self::View(view) => panic!("a view, no reply: {view:?}"),
        }
    }

    pub(crate) fn rejected(self) -> Slug {
        match self.body() {
            ReplyBody::Rejected(problem) => problem.slug,
            other => panic!("no rejection: {other:?}"),
        }
    }

    pub(crate) fn outcome(self) -> (OutcomeStatus, Option<u64>) {
        match self.body() {
            ReplyBody::Outcome(outcome) => (outcome.status, outcome.version),
            other => panic!("no outcome: {other:?}"),
        }
    }
}

pub(crate) struct System {
    pub(crate) embedded: Embedded,
    pub(crate) database: Sqlite,
    pub(crate) registry: Registry,
    pub(crate) env: Arc<dyn Env>,
    store: Option<Store>,
    arrivals: mpsc::UnboundedReceiver<(CommandId, Answer)>,
    answers: HashMap<CommandId, Vec<Answer>>,
}

impl System {
    /// Opens the folder and listens; no store is started yet.
    pub(crate) async fn open(dir: &Path) -> Self {
        let env: Arc<dyn Env> = Arc::new(TestEnv::new());
        let options = Options { partitions: 2, ..Options::default() };
        let embedded = Embedded::open(dir, options, Arc::clone(&env)).unwrap();
        let database = Sqlite::open(embedded.clone()).await.unwrap();
        let (sender, arrivals) = mpsc::unbounded_channel();
        for topic in [Topic::Views, Topic::Replies] {
            for (partition, bounds) in (0..).zip(embedded.bounds(topic).await.unwrap()) {
                let (mut tail, sender) = (embedded.tail(topic, partition, bounds.end).await.unwrap(), sender.clone());
                env.spawn(Box::pin(async move {
                    while let Ok(records) = tail.next(100).await {
                        records.iter().for_each(|stored| drop(sender.send(read(topic, stored))));
                    }
                }));
            }
        }
        let registry = Registry::built_in().unwrap();
        Self { embedded, database, registry, env, store: None, arrivals, answers: HashMap::new() }
    }

    /// The same, with a store at work.
    pub(crate) async fn start(dir: &Path) -> Self {
        let mut system = Self::open(dir).await;
        system.start_store().await;
        system
    }

    pub(crate) async fn start_store(&mut self) {
        self.start_store_on(Arc::new(self.database.clone())).await;
    }

    pub(crate) async fn start_store_on(&mut self, database: Arc<dyn Database>) {
        self.store = Some(self.another_store(Arc::new(self.embedded.clone()), database).await);
    }

    /// A store that the caller stops.
    pub(crate) async fn another_store(&self, stream: Arc<dyn Stream>, database: Arc<dyn Database>) -> Store {
        let started = Store::start(Config::default(), self.registry.clone(), stream, database, Arc::clone(&self.env));
        started.await.unwrap()
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub(crate) async fn stop_store(&mut self) {
        bounded("the store's end", self.store.take().unwrap().stop()).await;
    }

    pub(crate) async fn close(mut self) {
        if self.store.is_some() {
            self.stop_store().await;
        }
        bounded("the stream's end", self.embedded.close()).await;
    }

    pub(crate) fn command(&self, key: &str, action: Action) -> Command {
        Command {
            id: CommandId(self.env.uuid()),
            key: Key::parse(key).unwrap(),
            action,
            precondition: None,
            idempotency: None,
            time: self.env.now(),
            source: "/gateway/test".to_owned(),
            request_id: None,
            traceparent: None,
        }
    }

    pub(crate) fn create(&self, key: &str, data: Value) -> Command {
        self.command(key, Action::Create(map(data)))
    }

    pub(crate) fn update(&self, key: &str, data: Value) -> Command {
        self.command(key, Action::Update(map(data)))
    }

    pub(crate) async fn send(&self, command: &Command) -> CommandId {
        self.append(encode_command(command, &self.registry)).await;
        command.id
    }

    pub(crate) async fn append(&self, record: Record) -> Offset {
        bounded("an append", self.embedded.append(Topic::Commands, record)).await.unwrap().1
    }

    /// The next answer to a command.
    pub(crate) async fn answer(&mut self, id: CommandId) -> Answer {
        bounded("an answer", async {
            loop {
                if let Some(answers) = self.answers.get_mut(&id).filter(|answers| !answers.is_empty()) {
                    return answers.remove(0);
                }
                let (arrived, answer) = self.arrivals.recv().await.unwrap();
                self.answers.entry(arrived).or_default().push(answer);
            }
        })
        .await
    }

    /// Answers that arrived and nobody asked for.
    pub(crate) fn left_over(&self) -> usize {
        self.answers.values().map(Vec::len).sum::<usize>() + self.arrivals.len()
    }

    pub(crate) async fn ask(&mut self, command: Command) -> Answer {
        let id = self.send(&command).await;
        self.answer(id).await
    }

    pub(crate) async fn retrieve(&mut self, key: &str) -> Answer {
        self.ask(self.command(key, Action::Retrieve { operation: None })).await
    }

    pub(crate) async fn operation(&mut self, key: &str, operation: CommandId) -> (OutcomeStatus, Option<u64>) {
        let command = self.command(key, Action::Retrieve { operation: Some(operation) });
        self.ask(command).await.outcome()
    }

    /// One page: ids, total, and where the next one begins.
    pub(crate) async fn list(
        &mut self,
        name: &str,
        limit: usize,
        after: Option<ListPosition>,
    ) -> (Vec<String>, u64, Option<ListPosition>) {
        let command =
            self.command(&format!("{name}:"), Action::List(ListQuery { limit, after, ..ListQuery::default() }));
        let ReplyBody::Listed(page) = self.ask(command).await.body() else { panic!("a page") };
        let ids = page.items.iter().map(|item| {
            let item: Value = serde_json::from_str(item.get()).unwrap();
            item["id"].as_str().unwrap().to_owned()
        });
        (ids.collect(), page.total, page.next)
    }

    /// Everything a topic holds.
    pub(crate) async fn records(&self, topic: Topic) -> Vec<Stored> {
        let mut all = Vec::new();
        for (partition, bounds) in (0..).zip(self.embedded.bounds(topic).await.unwrap()) {
            let mut tail = self.embedded.tail(topic, partition, bounds.start).await.unwrap();
            let mut next = bounds.start;
            while next < bounds.end {
                let records = bounded("records", tail.next(1000)).await.unwrap();
                next = records.last().unwrap().offset + 1;
                all.extend(records);
            }
        }
        all
    }
}

pub(crate) fn absent(command: Command) -> Command {
    Command { precondition: Some(Precondition::absent()), ..command }
}

/// The object of a view.
pub(crate) fn shown(view: &View) -> Value {
    object(view.object.as_ref().expect("a view of an entity that exists"))
}

pub(crate) fn object(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("an object") };
    map
}

fn read(topic: Topic, stored: &Stored) -> (CommandId, Answer) {
    match topic {
        Topic::Views => {
            let view = decode_view(&stored.record).unwrap();
            (view.correlation, Answer::View(view))
        }
        _ => {
            let reply = decode_reply(&stored.record).unwrap();
            (reply.correlation, Answer::Reply(reply))
        }
    }
}

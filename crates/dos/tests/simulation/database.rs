//! The simulated database: the port's contract in its plainest form, and calls that fail, hang, or lose their answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use contract::reply::{FirstAnswer, Page};
use contract::{CommandId, Digest, EntityType, Key, ListQuery, Outcome, Partition, Timestamp};
use serde_json::value::RawValue;
use store::database::{
    Batch, Change, Committed, Database, Error, LOAD_BYTES_MAX, Loaded, Log, Marks, Outgoing, PAGE_BYTES_MAX, Standing,
    UNPUBLISHED_BYTES_MAX,
};
use store::decide::{Keyed, Revision};
use tokio::time::Instant;

use super::parts::Part;
use super::world::{Process, World, sleep};

#[derive(Default)]
struct Row {
    owner: u64,
    position: Option<u64>,
    sequence: u64,
    marks: Marks,
    outbox: BTreeMap<u64, Outgoing>,
    /// Taken, and what was left is not read yet.
    begun: bool,
}

#[derive(Default)]
struct Tables {
    newer: bool,
    name: Option<String>,
    log: Option<Log>,
    entities: BTreeMap<Key, Revision>,
    indexed: bool,
    keyed: HashMap<Digest, (Timestamp, Keyed)>,
    outcomes: HashMap<CommandId, (Timestamp, Outcome)>,
    rows: BTreeMap<Partition, Row>,
}

pub(crate) struct Model {
    world: Arc<World>,
    exclusive: bool,
    tables: Arc<Mutex<Tables>>,
    outage_until: Mutex<Instant>,
}

/// The database as one process reaches it.
pub(crate) struct Connection {
    world: Arc<World>,
    tables: Arc<Mutex<Tables>>,
    model: Arc<Model>,
    process: Arc<Process>,
}

impl Model {
    pub(crate) fn new(world: Arc<World>) -> Self {
        Self { world, exclusive: false, tables: Arc::default(), outage_until: Mutex::new(Instant::now()) }
    }

    /// One that serves one store only.
    pub(crate) fn exclusive(world: Arc<World>) -> Self {
        Self { exclusive: true, ..Self::new(world) }
    }

    pub(crate) fn of(self: &Arc<Self>, process: &Arc<Process>) -> Connection {
        let (world, tables) = (Arc::clone(&self.world), Arc::clone(&self.tables));
        Connection { world, tables, model: Arc::clone(self), process: Arc::clone(process) }
    }

    pub(crate) fn open(&self) -> Result<(), Error> {
        let newer = self.tables.lock().unwrap().newer;
        if newer { Err(Error::Broken("its version is newer".to_owned())) } else { Ok(()) }
    }

    pub(crate) fn make_newer(&self) {
        self.tables.lock().unwrap().newer = true;
    }

    pub(crate) fn outage(&self, duration: Duration) {
        *self.outage_until.lock().unwrap() = Instant::now() + duration;
    }

    /// Position, whether all is published, and how far the views were looked at.
    pub(crate) fn progress(&self, partition: Partition) -> (u64, bool, Option<u64>) {
        let tables = self.tables.lock().unwrap();
        tables.rows.get(&partition).map_or((0, true, None), |row| {
            (row.position.unwrap_or(0), row.marks.published == row.sequence, row.marks.views)
        })
    }

    /// Version and object of every entity; of one that was deleted there is no object.
    pub(crate) fn entities(&self) -> BTreeMap<Key, (u64, Option<Bytes>)> {
        let tables = self.tables.lock().unwrap();
        let entity = |revision: &Revision| (revision.version(), revision.live().map(|entity| entity.object.clone()));
        tables.entities.iter().map(|(key, revision)| (key.clone(), entity(revision))).collect()
    }
}

impl Connection {
    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tables) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.process.awake().await;
        let transient = |reason: &str| Err(Error::Transient(reason.to_owned()));
        if *self.model.outage_until.lock().unwrap() > Instant::now() || self.world.fails(30) {
            return transient("not reached");
        }
        let (tables, before) = (Arc::clone(&self.tables), Duration::from_millis(self.world.below(20)));
        // What was sent runs to its end, whoever has stopped waiting.
        #[allow(clippy::disallowed_methods, reason = "the server is no process of the simulation")]
        let done = tokio::spawn(async move {
            sleep(before).await;
            job(&mut tables.lock().unwrap())
        });
        if self.world.fails(30) {
            return transient("the connection was cut");
        }
        let result = done.await.unwrap();
        sleep(Duration::from_millis(self.world.below(5))).await;
        self.process.awake().await;
        if self.world.fails(30) { transient("the answer was lost") } else { result }
    }
}

fn marked(row: &mut Row, marks: Marks) {
    row.marks.published = row.marks.published.max(marks.published);
    row.marks.views = row.marks.views.max(marks.views);
    let published = marks.published;
    row.outbox.retain(|sequence, _| *sequence > published);
}

fn standing(row: &Row, world: &World) -> Standing {
    let views = row.marks.views.filter(|_| !world.lacks(Part::Mark));
    Standing { owner: row.owner, position: row.position, outbox: Some(Marks { views, ..row.marks }) }
}

#[async_trait::async_trait]
impl Database for Connection {
    async fn bind(&self, log: Log) -> Result<(), Error> {
        self.call(move |tables| {
            let bound = tables.log.get_or_insert_with(|| log.clone());
            if *bound == log { Ok(()) } else { Err(Error::Broken("another stream's: docs/operations.md".to_owned())) }
        })
        .await
    }

    async fn name(&self, proposed: String) -> Result<String, Error> {
        self.call(move |tables| Ok(tables.name.get_or_insert(proposed).clone())).await
    }

    fn is_exclusive(&self) -> bool {
        self.model.exclusive
    }

    async fn take(&self, partition: Partition) -> Result<Standing, Error> {
        let world = Arc::clone(&self.world);
        self.call(move |tables| {
            let row = tables.rows.entry(partition).or_default();
            row.owner += 1;
            row.begun = true;
            world.note(format_args!("take {partition} {}", row.owner));
            Ok(standing(row, &world))
        })
        .await
    }

    async fn standing(&self, partition: Partition) -> Result<Standing, Error> {
        let world = Arc::clone(&self.world);
        self.call(move |tables| Ok(standing(tables.rows.entry(partition).or_default(), &world))).await
    }

    async fn keeps_index(&self, wanted: Option<bool>) -> Result<bool, Error> {
        Ok(wanted.unwrap_or(true))
    }

    async fn index(&self, types: Option<Vec<Arc<EntityType>>>) -> Result<(), Error> {
        self.call(move |tables| {
            tables.indexed = types.is_some();
            Ok(())
        })
        .await
    }

    async fn load(&self, keys: Vec<Key>, commands: Vec<CommandId>, idempotency: Vec<Digest>) -> Result<Loaded, Error> {
        let world = Arc::clone(&self.world);
        self.call(move |tables| {
            let mut loaded = Loaded::default();
            for key in keys {
                if let Some(entity) = tables.entities.get(&key) {
                    loaded.entities.insert(key, entity.clone());
                }
            }
            for key in idempotency {
                if let Some((_, keyed)) = tables.keyed.get(&key).filter(|_| !world.lacks(Part::KeyRemembered)) {
                    let mut keyed = keyed.clone();
                    if world.lacks(Part::FirstAnswer) {
                        make_current(&mut keyed, tables);
                    }
                    loaded.keyed.insert(key, keyed);
                }
            }
            let objects = loaded.entities.values().filter_map(Revision::live).map(|entity| entity.object.len());
            let firsts = loaded.keyed.values().map(|keyed| serde_json::to_vec(&keyed.first).unwrap().len());
            if objects.chain(firsts).sum::<usize>() > LOAD_BYTES_MAX && loaded.entities.len() + loaded.keyed.len() > 1 {
                return Err(Error::TooMuch);
            }
            for command in commands {
                if let Some((_, outcome)) = tables.outcomes.get(&command) {
                    loaded.outcomes.insert(command, outcome.clone());
                }
            }
            Ok(loaded)
        })
        .await
    }

    async fn list(&self, entity_type: Arc<EntityType>, query: ListQuery) -> Result<Page, Error> {
        self.call(move |tables| {
            if !tables.indexed && !query.is_plain() && query.ids.is_none() {
                return Err(Error::Data("the index is not kept".to_owned()));
            }
            let mut rows = Vec::new();
            for (key, revision) in tables.entities.iter().filter(|(key, _)| key.entity_type == *entity_type.name()) {
                let (Some(entity), Some(id)) = (revision.live(), &key.id) else { continue };
                let place = query.ids.as_ref().map(|ids| ids.iter().position(|asked| asked == id));
                // Objects of the conformance suite are not always such that fields can be read from them.
                let fields = entity_type.fields_of(&entity.object).unwrap_or_default();
                if place != Some(None) && query.matches(&entity_type, &fields, entity.updated) {
                    let times = (entity.created, entity.updated);
                    let position = query.position(&entity_type, &fields, times, id.clone());
                    rows.push((place, position, entity.object.clone()));
                }
            }
            rows.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| query.sort.compare(a.1.as_ref(), b.1.as_ref())));
            let mut page = Page { items: Vec::new(), total: rows.len() as u64, next: None };
            let (mut last, mut size_bytes) = (None, 0);
            let done = |after: &contract::ListPosition, row: &contract::ListPosition| match &query.ids {
                Some(ids) => ids.iter().position(|id| *id == row.id) <= ids.iter().position(|id| *id == after.id),
                None => query.sort.compare(row.as_ref(), after.as_ref()).is_le(),
            };
            for (_, position, object) in rows {
                if query.after.as_ref().is_some_and(|after| done(after, &position)) {
                    continue;
                }
                size_bytes += object.len() + 1;
                let full = size_bytes > PAGE_BYTES_MAX && !page.items.is_empty();
                if page.items.len() == query.limit || full {
                    page.next = last;
                    break;
                }
                page.items.push(RawValue::from_string(String::from_utf8(object.to_vec()).unwrap()).unwrap());
                last = Some(position);
            }
            Ok(page)
        })
        .await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        let world = Arc::clone(&self.world);
        self.call(move |tables| commit(tables, batch, &world)).await
    }

    async fn unpublished(&self, partition: Partition, after: u64, limit: usize) -> Result<Vec<Outgoing>, Error> {
        let skips = self.world.lacks(Part::Leftovers);
        self.call(move |tables| {
            let row = tables.rows.entry(partition).or_default();
            if std::mem::take(&mut row.begun) && skips {
                return Ok(Vec::new());
            }
            let (mut found, mut size_bytes) = (Vec::new(), 0);
            for (_, event) in row.outbox.range(after + 1..).take(limit) {
                size_bytes += event.record.size_bytes();
                if size_bytes > UNPUBLISHED_BYTES_MAX && !found.is_empty() {
                    break;
                }
                found.push(event.clone());
            }
            Ok(found)
        })
        .await
    }

    async fn mark(&self, partition: Partition, owner: u64, marks: Marks) -> Result<(), Error> {
        let anyone = self.world.lacks(Part::Owner);
        self.call(move |tables| {
            let row = tables.rows.entry(partition).or_default();
            if row.owner != owner && !anyone {
                return Err(Error::Conflict);
            }
            marked(row, marks);
            Ok(())
        })
        .await
    }
}

/// Makes a first answer tell of the entity as it is now.
fn make_current(keyed: &mut Keyed, tables: &Tables) {
    let now = tables.entities.get(&keyed.first.key).and_then(Revision::live);
    if let (FirstAnswer::Object(first), Some(now)) = (&mut keyed.first.answer, now) {
        first.object.clone_from(&now.object);
        keyed.first.version = Some(now.version);
    }
}

fn commit(tables: &mut Tables, batch: Batch, world: &World) -> Result<Committed, Error> {
    let row = tables.rows.entry(batch.partition).or_default();
    let another_owner = row.owner != batch.owner && !world.lacks(Part::Owner);
    let anything = world.lacks(Part::AnyCompared);
    let any_position = anything || world.lacks(Part::PositionCompared);
    let moved = row.position != batch.expected && !any_position;
    let changed = |change: &Change| tables.entities.get(&change.key).map(Revision::version) != change.expected;
    let newer = batch.changes.iter().any(changed) && !(anything || world.lacks(Part::VersionCompared));
    let known_key = |keyed: &Keyed| tables.keyed.contains_key(&keyed.idempotency.key);
    let remembered = |outcome: &Outcome| tables.outcomes.contains_key(&outcome.command);
    let any_key = world.lacks(Part::KeyUnique) || world.lacks(Part::KeyRemembered);
    let repeated = batch.outcomes.iter().any(remembered) || (batch.keyed.iter().any(known_key) && !any_key);
    let repeated = repeated && !anything;
    let (partition, owner, next) = (batch.partition, batch.owner, batch.next);
    if another_owner || moved || newer || repeated {
        world.note(format_args!("commit {partition} {owner} until {next}: conflict"));
        return Err(Error::Conflict);
    }
    world.note(format_args!("commit {partition} {owner} until {next}"));
    row.position = Some(batch.next);
    marked(row, batch.marks);
    let first = row.sequence + 1;
    for (topic, record) in batch.outgoing {
        row.sequence += 1;
        row.outbox.insert(row.sequence, Outgoing { sequence: row.sequence, topic, record });
    }
    let unpublished = (row.sequence >= first).then_some(first);
    for change in batch.changes {
        if world.lacks(Part::Tombstone) && change.next.live().is_none() {
            tables.entities.remove(&change.key);
            continue;
        }
        tables.entities.insert(change.key, change.next);
    }
    for outcome in batch.outcomes {
        tables.outcomes.insert(outcome.command, (batch.time, outcome));
    }
    for keyed in batch.keyed {
        tables.keyed.insert(keyed.idempotency.key, (batch.time, keyed));
    }
    tables.keyed.retain(|_, (time, _)| *time >= batch.forget_before);
    tables.outcomes.retain(|_, (time, _)| *time >= batch.forget_before);
    Ok(Committed { unpublished })
}

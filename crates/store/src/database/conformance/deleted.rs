//! Deletions: a row stays with its version, and nothing lists or counts it.

use contract::{CommandId, EntityId, ListQuery};

use super::*;
use crate::decide::Tombstone;

pub(super) async fn entities(database: &dyn Database) {
    let owner = database.take(120).await.unwrap().owner;
    let entity_type = Arc::clone(Registry::built_in().unwrap().get("taxonomy").unwrap());
    let (a, b) = (key("taxonomy", "deleted-a"), key("taxonomy", "deleted-b"));
    let before = total(database, "taxonomy").await;
    let listed = async || {
        let ids = [&a, &b].map(|key| key.id.clone().unwrap());
        let query = ListQuery { ids: Some(ids.to_vec()), limit: 10, ..ListQuery::default() };
        let by_ids = database.list(Arc::clone(&entity_type), query).await.unwrap();
        let after = Some(ListPosition::at(at(-1), EntityId::parse("-").unwrap()));
        let plain = ListQuery { limit: 200, after, ..ListQuery::default() };
        let plain = database.list(Arc::clone(&entity_type), plain).await.unwrap();
        let ours = plain.items.iter().filter(|item| item.get().contains("\"deleted-"));
        (by_ids.items.len(), by_ids.total, ours.count())
    };
    let changes = vec![change(&a, None, 1), change(&b, None, 1)];
    database.commit(Batch { changes, ..batch(120, owner, None, 1) }).await.unwrap();
    assert_eq!((total(database, "taxonomy").await, listed().await), (before + 2, (2, 2, 2)));

    let deletion = |version: u64| {
        let tombstone = Tombstone { version, time: at(7), command: CommandId(Uuid::from_u128(77)) };
        let next = Revision::Deleted(tombstone);
        Change { moved: true, next, ..change(&a, Some(version - 1), version) }
    };
    let stale = Batch { changes: vec![deletion(3)], ..batch(120, owner, Some(1), 2) };
    assert_eq!(database.commit(stale).await, Err(Error::Conflict));
    database.commit(Batch { changes: vec![deletion(2)], ..batch(120, owner, Some(1), 2) }).await.unwrap();
    let loaded = database.load(vec![a.clone()], Vec::new(), Vec::new()).await.unwrap();
    assert_eq!(loaded.entities[&a], deletion(2).next);
    assert_eq!((total(database, "taxonomy").await, listed().await), (before + 1, (1, 1, 1)));
    let twice = Batch { changes: vec![change(&a, None, 1)], ..batch(120, owner, Some(2), 3) };
    assert_eq!(database.commit(twice).await, Err(Error::Conflict), "its version goes on");

    let again = Change { was_live: false, moved: true, ..change(&a, Some(2), 3) };
    let expected = again.next.clone();
    database.commit(Batch { changes: vec![again], ..batch(120, owner, Some(2), 3) }).await.unwrap();
    let loaded = database.load(vec![a.clone()], Vec::new(), Vec::new()).await.unwrap();
    assert_eq!(loaded.entities[&a], expected);
    assert_eq!((total(database, "taxonomy").await, listed().await), (before + 2, (2, 2, 2)));
    // Created and deleted within one batch.
    let gone = key("taxonomy", "deleted-c");
    let deletion = Change { was_live: false, key: gone.clone(), expected: None, ..deletion(2) };
    database.commit(Batch { changes: vec![deletion], ..batch(120, owner, Some(3), 4) }).await.unwrap();
    let loaded = database.load(vec![gone.clone()], Vec::new(), Vec::new()).await.unwrap();
    assert_eq!(loaded.entities[&gone].version(), 2);
    assert_eq!(total(database, "taxonomy").await, before + 2);
}

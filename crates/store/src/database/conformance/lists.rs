//! Lists: by `created`, then id by bytes, each once, with the number of all.

use super::*;

pub(super) async fn pages(database: &dyn Database) {
    let owner = database.take(100).await.unwrap().owner;
    let entity_type = Arc::clone(Registry::built_in().unwrap().get("costoption").unwrap());
    // Many were created at once, and bytes sort capitals and signs otherwise than any language does.
    let ids = ["b", "B", "a.b", "a-b", "a_b", "aB", "A", "10", "9", "a", "ab", "Z", "z"];
    let mut expected: Vec<(i64, &str)> = Vec::new();
    let mut changes = Vec::new();
    for (number, id) in ids.into_iter().enumerate() {
        let mut change = change(&key("costoption", id), None, 1);
        let created = [0, 0, 0, -1][number % 4];
        live(&mut change).created = at(created);
        expected.push((created, id));
        changes.push(change);
    }
    changes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    expected.sort_unstable();
    database.commit(Batch { changes, ..batch(100, owner, None, 1) }).await.unwrap();
    for limit in [1, 2, 5, 13, 200] {
        let (mut found, mut after) = (Vec::new(), None::<ListPosition>);
        loop {
            let page = database
                .list(Arc::clone(&entity_type), ListQuery { limit, after, ..ListQuery::default() })
                .await
                .unwrap();
            assert_eq!(page.total, ids.len() as u64);
            assert!(page.items.len() <= limit);
            found.extend(page.items.iter().map(|item| {
                let item: serde_json::Value = serde_json::from_str(item.get()).unwrap();
                item["id"].as_str().unwrap().to_owned()
            }));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected.iter().map(|(_, id)| *id).collect::<Vec<_>>(), "limit {limit}");
    }
    // One that moves is found where it went.
    let mut moved = change(&key("costoption", "A"), Some(1), 2);
    (moved.moved, live(&mut moved).created) = (true, at(5));
    database.commit(Batch { changes: vec![moved], ..batch(100, owner, Some(1), 2) }).await.unwrap();
    let after = Some(ListPosition::at(at(4), contract::EntityId::parse("zzz").unwrap()));
    let page = database.list(entity_type, ListQuery { limit: 10, after, ..ListQuery::default() }).await.unwrap();
    assert_eq!((page.items.len(), page.total, page.next), (1, ids.len() as u64, None));
}

pub(super) async fn byte_limit(database: &dyn Database) {
    let owner = database.take(101).await.unwrap().owner;
    let entity_type = Arc::clone(Registry::built_in().unwrap().get("eligibility").unwrap());
    let mut changes: Vec<_> =
        (0..5).map(|number| change(&key("eligibility", &format!("e{number}")), None, 1)).collect();
    for change in &mut changes {
        live(change).object = format!("{{\"x\":\"{}\"}}", "x".repeat(PAGE_BYTES_MAX / 2 - 100)).into();
    }
    live(&mut changes[4]).object = format!("{{\"x\":\"{}\"}}", "x".repeat(PAGE_BYTES_MAX)).into();
    database.commit(Batch { changes, ..batch(101, owner, None, 1) }).await.unwrap();
    let (mut sizes, mut after) = (Vec::new(), None);
    loop {
        let page = database
            .list(Arc::clone(&entity_type), ListQuery { limit: 200, after, ..ListQuery::default() })
            .await
            .unwrap();
        sizes.push(page.items.len());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [2, 2, 1]);
}

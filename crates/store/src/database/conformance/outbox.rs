//! The outbox: what was committed and not marked as published, in order.

use super::*;

pub(super) async fn order_and_marks(database: &dyn Database) {
    let owner = database.take(110).await.unwrap().owner;
    assert_eq!(database.standing(110).await.unwrap().outbox, Some(Marks::default()));
    let events = |names: &[&str]| names.iter().map(|name| (Topic::Replies, record(name, 3))).collect::<Vec<_>>();
    let first = Batch { outgoing: events(&["z", "a", "m"]), ..batch(110, owner, None, 1) };
    assert_eq!(database.commit(first).await, Ok(Committed { unpublished: Some(1) }));
    assert_eq!(database.commit(batch(110, owner, Some(1), 2)).await, Ok(Committed { unpublished: None }));
    // A batch that was refused leaves nothing, and takes no numbers.
    let refused = Batch { outgoing: events(&["never"]), ..batch(110, owner, Some(1), 3) };
    assert_eq!(database.commit(refused).await, Err(Error::Conflict));
    let mut second = events(&["b"]);
    second.push((Topic::Views, Record { headers: Headers::default(), value: Default::default(), ..record("v:1", 0) }));
    let marks = Marks { published: 2, views: Some(40) };
    let second = Batch { outgoing: second, marks, ..batch(110, owner, Some(2), 3) };
    assert_eq!(database.commit(second).await, Ok(Committed { unpublished: Some(4) }));
    let names = async |after| {
        let found = database.unpublished(110, after, 100).await.unwrap();
        found.iter().map(|event| (event.sequence, String::from_utf8(event.record.key.to_vec()).unwrap())).collect()
    };
    let expected = |from: usize| {
        let all = [(3, "m"), (4, "b"), (5, "v:1")];
        all[from..].iter().map(|(sequence, name)| (*sequence, (*name).to_owned())).collect::<Vec<_>>()
    };
    let found: Vec<(u64, String)> = names(0).await;
    assert_eq!(found, expected(0), "what was marked as published is gone");
    let found: Vec<(u64, String)> = names(3).await;
    assert_eq!(found, expected(1));
    let last = database.unpublished(110, 4, 100).await.unwrap();
    let record = Record { headers: Headers::default(), value: Default::default(), ..record("v:1", 0) };
    assert_eq!(last, [Outgoing { sequence: 5, topic: Topic::Views, record }]);
    // Marks never go back, and only the owner moves them.
    database.mark(110, owner, Marks { published: 1, views: Some(39) }).await.unwrap();
    database.mark(110, owner, Marks { published: 1, views: None }).await.unwrap();
    assert_eq!(database.standing(110).await.unwrap().outbox, Some(marks));
    let next = database.take(110).await.unwrap();
    assert_eq!(next, Standing { owner: owner + 1, position: Some(3), outbox: Some(marks) });
    let all = Marks { published: 5, views: Some(50) };
    assert_eq!(database.mark(110, owner, all).await, Err(Error::Conflict));
    assert_eq!(database.unpublished(110, 0, 100).await.unwrap().len(), 3);
    database.mark(110, owner + 1, all).await.unwrap();
    assert!(database.unpublished(110, 0, 100).await.unwrap().is_empty());
    let third = Batch { outgoing: events(&["c"]), marks: all, ..batch(110, owner + 1, Some(3), 4) };
    assert_eq!(database.commit(third).await, Ok(Committed { unpublished: Some(6) }));
    assert!(database.unpublished(109, 0, 100).await.unwrap().is_empty(), "another partition's are its own");
}

pub(super) async fn limits(database: &dyn Database) {
    let owner = database.take(112).await.unwrap().owner;
    let outgoing = (0..6).map(|number| (Topic::Replies, record(&format!("{number}"), UNPUBLISHED_BYTES_MAX / 3)));
    let batch = Batch { outgoing: outgoing.collect(), ..batch(112, owner, None, 1) };
    database.commit(batch).await.unwrap();
    assert_eq!(database.unpublished(112, 0, 1).await.unwrap().len(), 1);
    let (mut after, mut sequences) = (0, Vec::new());
    loop {
        let events = database.unpublished(112, after, 100).await.unwrap();
        let Some(last) = events.last() else { break };
        assert!(events.len() <= 2, "within the bound of bytes");
        after = last.sequence;
        sequences.extend(events.into_iter().map(|event| event.sequence));
    }
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
}

/// Where the events leave with the commit.
pub(super) async fn nothing_is_left(database: &dyn Database) {
    let owner = database.take(110).await.unwrap().owner;
    let outgoing = vec![(Topic::Replies, record("x", 3))];
    let committed = database.commit(Batch { outgoing, ..batch(110, owner, None, 1) }).await;
    assert_eq!(committed, Ok(Committed::default()));
    assert!(database.unpublished(110, 0, 100).await.unwrap().is_empty());
}

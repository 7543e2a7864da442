//! What the scripts do to what lies in Redis.

use super::world::{World, beside, key, partition_of, until};

#[tokio::test]
async fn what_one_gateway_retrieves_another_reads_and_a_view_that_passes_replaces_it() {
    let world = World::new().await;
    let (mut a, mut b) = (world.gateway(&[0, 0]).await, world.gateway(&[0, 0]).await);
    let (one, other) = (key("one"), key("other"));
    a.keeps(&one, 1).await;
    b.settled().await;
    assert_eq!(b.read(&one).await, Some(1));
    assert_eq!(b.read(&other).await, None);
    a.pass(&one, 2);
    until("the newer view", async || b.read(&one).await == Some(2)).await;
    // A repeat and a late one change nothing.
    a.pass(&one, 2);
    b.pass(&one, 2);
    a.settled().await;
    a.pass(&one, 1);
    a.settled().await;
    assert_eq!(a.read(&one).await, Some(2));
    // A view that comes alone is not kept: it may be a late one.
    a.pass(&other, 7);
    a.settled().await;
    assert_eq!(a.read(&other).await, None);
}

#[tokio::test]
async fn a_not_found_is_shared_and_cleared_by_a_create() {
    let mut world = World::new().await;
    let mut a = world.gateway(&[0, 0]).await;
    let one = key("one");
    a.keeps(&one, 0).await;
    let ttl: i64 = world.command(&["PTTL", &world.entry(&one)]).await;
    assert!((1..=60_000).contains(&ttl), "{ttl}");
    a.pass(&one, 1);
    until("the create", async || a.read(&one).await == Some(1)).await;
    let ttl: i64 = world.command(&["PTTL", &world.entry(&one)]).await;
    assert!((60_001..=3_600_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn an_older_retrieve_is_refused() {
    let world = World::new().await;
    let (mut a, b) = (world.gateway(&[0, 0]).await, world.gateway(&[0, 0]).await);
    let [one, other] = beside();
    a.keeps(&one, 2).await;
    b.settled().await;
    // Redis has a newer one.
    b.remember(&one, 1);
    b.written().await;
    assert_eq!(a.read(&one).await, Some(2));
    // The partition is further than b: what b retrieved may be older than a view that passed and was evicted.
    a.pass(&other, 1);
    a.settled().await;
    b.remember(&one, 9);
    b.remember(&other, 1);
    b.written().await;
    assert_eq!((a.read(&one).await, a.read(&other).await), (Some(2), None));
}

#[tokio::test]
async fn an_unreadable_view_takes_the_entry_away() {
    let world = World::new().await;
    let mut a = world.gateway(&[0, 0]).await;
    let (one, partition) = (key("one"), partition_of(&key("one")));
    a.keeps(&one, 1).await;
    a.views.mark_unreadable(&one, partition, 0);
    a.at[partition as usize] = 1;
    assert_eq!(a.read(&one).await, None, "before Redis knows");
    a.shared().flush();
    a.settled().await;
    assert_eq!(a.read(&one).await, None, "and after");
    a.keeps(&one, 2).await;
}

#[tokio::test]
async fn a_version_that_was_told_is_a_floor() {
    let world = World::new().await;
    let (a, b) = (world.gateway(&[0, 0]).await, world.gateway(&[0, 0]).await);
    let one = key("one");
    a.keeps(&one, 1).await;
    b.settled().await;
    assert_eq!(b.read(&one).await, Some(1));
    b.views.forget_before(&one, 2);
    assert_eq!(b.read(&one).await, None, "a rejection spoke of version 2, whose view has not passed");
    assert_eq!(a.read(&one).await, Some(1));
}

#[tokio::test]
async fn rubbish_is_no_entry_and_no_state() {
    let mut world = World::new().await;
    let mut a = world.gateway(&[0, 0]).await;
    let one = key("one");
    a.keeps(&one, 3).await;
    let (entry, state) = (world.entry(&one), world.state(partition_of(&one)));
    let good: Vec<u8> = world.command(&["GET", &entry]).await;
    let text = String::from_utf8(good.clone()).unwrap();
    let damaged =
        [text.replace("£3", "£4"), text.replace(" 3\n", " 4\n"), text.replace("dos1", "dos2"), "rubbish".into()];
    for value in damaged.iter().map(String::as_str).chain([&text[..text.len() - 1], &text[..20], "", "\n\n"]) {
        let _: () = world.command(&["SET", &entry, value]).await;
        assert_eq!(a.read(&one).await, None, "{value:?}");
    }
    let large = "x".repeat(3 << 20);
    for command in [&["SADD", &entry, "a"][..], &["HSET", &entry, "a", "b"], &["SET", &entry, &large]] {
        let _: () = world.command(&["DEL", &entry]).await;
        let _: redis::Value = world.command(command).await;
        assert_eq!(a.read(&one).await, None, "{}", command[0]);
        a.keeps(&one, 3).await;
    }
    for command in [&["SADD", &state, "a"][..], &["SET", &state, "rubbish"], &["SET", &state, "abc -1"]] {
        let _: () = world.command(&["DEL", &state]).await;
        let _: redis::Value = world.command(command).await;
        assert_eq!(a.read(&one).await, None, "{command:?}");
        a.pass(&one, 3);
        a.keeps(&one, 3).await;
    }
}

#[tokio::test]
async fn another_key_s_value_is_not_taken() {
    let mut world = World::new().await;
    let a = world.gateway(&[0, 0]).await;
    let [one, other] = beside();
    a.keeps(&one, 1).await;
    let _: i64 = world.command(&["COPY", &world.entry(&one), &world.entry(&other)]).await;
    assert_eq!(a.read(&other).await, None);
}

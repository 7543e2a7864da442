//! Redis is slow, away, emptied, or comes back as it was.

use std::time::Duration;

use super::super::Change;
use super::super::window::{State, Trust, Window};
use super::proxy::Mode;
use super::world::{World, beside, held, key, partition_of, until};
use crate::test_env::env;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_redis_is_waited_for_once() {
    let world = World::new().await;
    let a = world.gateway(&[0, 0]).await;
    let one = key("one");
    a.keeps(&one, 1).await;
    a.proxy.set(Mode::Stalled);
    let (env, mut longest) = (env(), Duration::ZERO);
    let begun = env.monotonic();
    for _ in 0..500 {
        let before = env.monotonic();
        assert_eq!(a.read(&one).await, None);
        longest = longest.max(env.monotonic() - before);
    }
    let all = env.monotonic() - begun;
    assert!(longest < Duration::from_millis(400) && all < Duration::from_millis(600), "{longest:?} of {all:?}");
    a.proxy.set(Mode::Open);
    until("its return", async || a.read(&one).await == Some(1)).await;
}

#[tokio::test]
async fn what_passed_while_redis_was_away_is_written_on_its_return() {
    let world = World::new().await;
    let (mut a, b) = (world.gateway(&[0, 0]).await, world.gateway(&[0, 0]).await);
    let one = key("one");
    a.keeps(&one, 1).await;
    a.proxy.set(Mode::Cut);
    a.pass(&one, 2);
    assert_eq!(a.read(&one).await, None);
    assert_eq!(b.read(&one).await, Some(1), "b has not passed it");
    a.proxy.set(Mode::Open);
    until("its return", async || match a.read(&one).await {
        None => false,
        version => {
            assert_eq!(version, Some(2));
            true
        }
    })
    .await;
}

#[tokio::test]
async fn what_no_gateway_could_write_is_not_read_again() {
    let mut world = World::new().await;
    let (mut a, mut b) = (world.gateway(&[0, 0]).await, world.gateway(&[0, 0]).await);
    let [one, other] = beside();
    a.keeps(&one, 1).await;
    a.keeps(&other, 1).await;
    let before = world.dump().await;
    for gateway in [&mut a, &mut b] {
        gateway.pass(&one, 2);
        gateway.settled().await;
    }
    assert_eq!((a.read(&one).await, b.read(&one).await), (Some(2), Some(2)));
    // It restarts from an old dump: both know more than it does.
    world.restore(&before).await;
    assert_eq!((a.read(&one).await, b.read(&one).await), (None, None));
    assert_eq!((a.read(&other).await, b.read(&other).await), (None, None), "nobody can tell that it is current");
    // The reads have asked for a fresh generation.
    a.settled().await;
    b.settled().await;
    a.keeps(&other, 1).await;
    assert_eq!((b.read(&one).await, b.read(&other).await), (None, Some(1)));
    // Emptied.
    world.clear().await;
    assert_eq!(a.read(&other).await, None);
    a.settled().await;
    a.keeps(&other, 1).await;
}

#[tokio::test]
async fn too_much_to_keep_makes_a_fresh_generation() {
    let world = World::new().await;
    let (mut a, b) = (world.gateway(&[0, 0]).await, world.gateway(&[0, 0]).await);
    let [one, other] = beside();
    a.keeps(&one, 1).await;
    a.proxy.set(Mode::Cut);
    until("the cut", async || a.read(&one).await.is_none()).await;
    a.pass(&one, 2);
    for version in 1..5000 {
        a.pass(&other, version);
    }
    a.proxy.set(Mode::Open);
    a.settled().await;
    assert_eq!(a.read(&one).await, None, "that it changed is forgotten, and so is what Redis had");
    assert_eq!(b.read(&one).await, None);
    a.keeps(&one, 2).await;
    assert_eq!(b.read(&one).await, Some(2));
}

/// The state is evicted, and a script that was sent long ago arrives after others have begun anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_script_brings_nothing_back() {
    let mut world = World::new().await;
    let (mut a, mut b) = (world.gateway(&[0, 0]).await, world.gateway(&[0, 0]).await);
    let [one, other] = beside();
    a.keeps(&one, 1).await;
    b.settled().await;
    a.proxy.set(Mode::Stalled);
    a.pass(&one, 2);
    // The sender gives up and dies.
    env().sleep(Duration::from_millis(20)).await;
    a.replace(&[0, 0]);
    b.pass(&one, 2);
    b.pass(&one, 3);
    b.settled().await;
    assert_eq!(b.read(&one).await, Some(3));
    let state = world.state(partition_of(&one));
    let _: i64 = world.command(&["DEL", &state]).await;
    b.proxy.set(Mode::Cut);
    a.proxy.set(Mode::Open);
    // The late script has begun a generation at its own position; b is further.
    until("the late script", async || {
        let mut redis = world.redis.clone();
        let state: Option<String> = redis::cmd("GET").arg(&state).query_async(&mut redis).await.unwrap();
        state.is_some()
    })
    .await;
    b.proxy.set(Mode::Open);
    until("b's connection", async || b.read(&other).await.is_none()).await;
    b.settled().await;
    assert_eq!(b.read(&one).await, None);
    b.keeps(&one, 3).await;
}

#[tokio::test]
async fn the_password_is_not_shown() {
    let cache = super::super::SharedCache::new("rediss://user:secret@redis.example:6380/3", "dos:v1", None).unwrap();
    assert_eq!(format!("{cache:?}"), "redis.example:6380 dos:v1");
    for url in ["http://localhost", "redis://:secret@host:port/", "redis://:secret@host/database", ""] {
        let error = super::super::SharedCache::new(url, "dos:v1", None).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
    super::super::SharedCache::new("unix:///run/redis.sock?db=2&pass=secret", "dos:v1", None).unwrap();
    super::super::SharedCache::new("redis+unix:///run/redis.sock", "dos:v1", None).unwrap();
}

/// Others may have moved the position on, over what compaction took from them and this gateway has seen.
#[test]
fn what_was_given_up_owes_a_generation() {
    let (mut window, one) = (Window::new(0), key("one"));
    let state = State { generation: "a".to_owned(), position: 1_000_000 };
    let first = window.batch().unwrap();
    window.written(&first);
    assert_eq!(window.trusts(Some(&state), &one, 1), Trust::Yes { ahead: true });
    let before = window.batch();
    assert!(before.is_none());
    window.pass(1, Some((one.clone(), Change::View(held(&one, 1)))));
    let under_way = window.batch().unwrap();
    for offset in 2..5000 {
        window.pass(offset, Some((one.clone(), Change::View(held(&one, offset)))));
    }
    assert_eq!(window.trusts(Some(&state), &one, 9000), Trust::No);
    window.written(&under_way);
    assert_eq!(window.trusts(Some(&state), &one, 9000), Trust::No, "that batch was made before");
    let owed = window.batch().unwrap();
    assert!(owed.renew);
    window.written(&owed);
    assert_eq!(window.trusts(Some(&state), &one, 9000), Trust::Yes { ahead: true });
}

#[test]
fn a_window_is_bounded() {
    let (mut window, one) = (Window::new(10), key("one"));
    for offset in 11..100_000 {
        window.pass(offset, Some((one.clone(), Change::Unreadable)));
        assert!(window.waiting() <= 4097);
    }
}

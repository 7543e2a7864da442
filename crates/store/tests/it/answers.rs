//! What each command is answered with, in order, once, and after a restart.

use contract::partition::of_key;
use contract::{Action, ListQuery, OutcomeStatus, ReplyBody, Slug};
use serde_json::json;
use tempfile::tempdir;

use crate::harness::{System, absent, object, shown};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_come_back_as_views_and_replies() {
    let dir = tempdir().unwrap();
    let mut system = System::start(dir.path()).await;
    let created = system.ask(system.create("provider:a", json!({"name":"A","published":1}))).await.view();
    assert_eq!((created.version, shown(&created)["name"].as_str()), (1, Some("A")));
    let updated = system.ask(system.update("provider:a", json!({"name":"B"}))).await.view();
    assert_eq!(updated.version, 2);
    assert!(shown(&updated)["updated"].as_str() > shown(&created)["updated"].as_str());
    assert_eq!(shown(&updated)["created"], shown(&created)["created"]);

    let ReplyBody::Unchanged(same) = system.ask(system.update("provider:a", json!({"name":"B"}))).await.body() else {
        panic!("unchanged")
    };
    assert_eq!((&same.object, same.view_time), (updated.object.as_ref().unwrap(), updated.time));
    let ReplyBody::Retrieved(current) = system.retrieve("provider:a").await.body() else { panic!("the object") };
    assert_eq!((&current.object, current.view_time), (updated.object.as_ref().unwrap(), updated.time));

    assert_eq!(system.retrieve("provider:none").await.rejected(), Slug::NotFound);
    let again = system.create("provider:a", json!({"name":"A","published":1}));
    assert_eq!(system.ask(absent(again)).await.rejected(), Slug::PreconditionFailed);
    let missing = system.update("provider:none", json!({"name":"B"}));
    assert_eq!(system.ask(missing).await.rejected(), Slug::NotFound);
    let bad = system.create("provider:b", json!({"name":7,"published":1}));
    let bad_id = bad.id;
    assert_eq!(system.ask(bad).await.rejected(), Slug::InvalidEntity);

    assert_eq!(system.operation("provider:a", created.correlation).await, (OutcomeStatus::Succeeded, Some(1)));
    assert_eq!(system.operation("provider:b", bad_id).await, (OutcomeStatus::Failed, None));
    let never = system.create("provider:a", json!({})).id;
    assert_eq!(system.operation("provider:a", never).await, (OutcomeStatus::Unknown, None));
    assert_eq!(system.left_over(), 0);
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_comes_again_is_not_carried_out_again() {
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    let create = system.create("provider:a", json!({"name":"A","published":1}));
    // All of these lie in one batch: the store is not there yet.
    for _ in 0..2 {
        system.send(&create).await;
    }
    let update = system.update("provider:a", json!({"name":"B"}));
    system.send(&update).await;
    system.start_store().await;
    let first = [system.answer(create.id).await, system.answer(create.id).await];
    assert_eq!(system.answer(update.id).await.view().version, 2);
    // A view and a reply come by different topics.
    let (views, replies): (Vec<_>, Vec<_>) =
        first.into_iter().partition(|answer| matches!(answer, crate::harness::Answer::View(_)));
    assert_eq!((views.len(), replies.len()), (1, 1));
    assert_eq!(replies[0].clone().outcome(), (OutcomeStatus::Succeeded, Some(1)));
    assert_eq!(system.ask(create).await.outcome(), (OutcomeStatus::Succeeded, Some(1)));
    assert_eq!(system.ask(update).await.outcome(), (OutcomeStatus::Succeeded, Some(2)));
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_decided_in_order_and_lists_see_what_came_before() {
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    let create = system.create("provider:a", json!({"name":"A","published":1}));
    let updates: Vec<_> = (0..50).map(|n| system.update("provider:a", json!({"name":format!("name {n}")}))).collect();
    system.send(&create).await;
    for update in &updates {
        system.send(update).await;
    }
    let retrieve = system.command("provider:a", Action::Retrieve { operation: None });
    system.send(&retrieve).await;
    // A list between two creates, all on one partition.
    let beside_lists = |id: &String| of_key(format!("venue:{id}").as_bytes(), 2) == of_key(b"venue:", 2);
    let ids: Vec<_> = (0..).map(|n| format!("v{n}")).filter(beside_lists).take(2).collect();
    let creates = [0, 1].map(|n| system.create(&format!("venue:{}", ids[n]), json!({"name":"V","address":"A"})));
    let list = system.command("venue:", Action::List(ListQuery { limit: 10, ..ListQuery::default() }));
    for command in [&creates[0], &list, &creates[1]] {
        system.send(command).await;
    }
    system.start_store().await;
    let ReplyBody::Listed(page) = system.answer(list.id).await.body() else { panic!("a page") };
    assert_eq!((page.items.len(), page.total), (1, 1));
    assert_eq!(object(page.items[0].get().as_bytes())["id"], ids[0]);
    assert_eq!(system.answer(create.id).await.view().version, 1);
    for (version, update) in (2..).zip(&updates) {
        assert_eq!(system.answer(update.id).await.view().version, version);
    }
    let ReplyBody::Retrieved(current) = system.answer(retrieve.id).await.body() else { panic!("the object") };
    assert_eq!(object(&current.object)["name"], "name 49");
    assert_eq!(system.list("provider", 10, None).await, (vec!["a".to_owned()], 1, None));
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_paged_oldest_first_and_cut_by_size() {
    let dir = tempdir().unwrap();
    let mut system = System::start(dir.path()).await;
    for (n, id) in ["e", "d", "c", "b", "a"].iter().enumerate() {
        // Two of each second: then the id decides.
        let created = format!("2020-01-01T00:00:0{}Z", n / 2);
        let data = json!({"name":id,"published":1,"created":created});
        system.ask(system.create(&format!("provider:{id}"), data)).await.view();
    }
    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let (ids, total, next) = system.list("provider", 2, after).await;
        assert_eq!(total, 5);
        seen.extend(ids);
        pages += 1;
        let Some(next) = next else { break };
        after = Some(next);
    }
    assert_eq!((seen.concat().as_str(), pages), ("debca", 3));
    assert_eq!(system.list("venue", 2, None).await, (Vec::new(), 0, None));

    // `created` can be set anew: the row moves.
    system.ask(system.update("provider:e", json!({"created":"2021-01-01T00:00:00Z"}))).await.view();
    assert_eq!(system.list("provider", 200, None).await.0.concat(), "dbcae");

    let long = "x".repeat(65_000);
    for n in 0..13 {
        let data = json!({"name":"A","published":1,"description":long});
        system.ask(system.create(&format!("service:s{n:02}"), data)).await.view();
    }
    let (first, total, next) = system.list("service", 200, None).await;
    assert!(total == 13 && first.len() < 13 && !first.is_empty(), "{}", first.len());
    let (second, _, end) = system.list("service", 200, next).await;
    assert_eq!((first.len() + second.len(), end), (13, None));
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_it_was() {
    let dir = tempdir().unwrap();
    let mut system = System::start(dir.path()).await;
    let create = system.create("provider:a", json!({"name":"A","published":1}));
    let first = system.ask(create.clone()).await.view();
    system.stop_store().await;
    let waiting = system.update("provider:a", json!({"name":"B"}));
    system.send(&waiting).await;
    system.start_store().await;
    assert_eq!(system.answer(waiting.id).await.view().version, 2);
    system.close().await;

    let mut system = System::start(dir.path()).await;
    assert_eq!(system.ask(create).await.outcome(), (OutcomeStatus::Succeeded, Some(1)));
    let third = system.ask(system.update("provider:a", json!({"name":"C"}))).await.view();
    assert_eq!(third.version, 3);
    assert_eq!(shown(&third)["created"], shown(&first)["created"]);
    assert_eq!(system.list("provider", 10, None).await.1, 1);
    assert_eq!(system.left_over(), 0);
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_times_come_back_as_they_were_sent() {
    let dir = tempdir().unwrap();
    let mut system = System::start(dir.path()).await;
    let data = json!({"name":"A","published":1,"created":"2020-01-01T00:00:00Z","updated":"2021-01-01T00:00:00.5Z"});
    let view = system.ask(system.create("provider:a", data.clone())).await.view();
    let shown = shown(&view);
    assert_eq!(
        (&shown["created"], &shown["updated"]),
        (&json!("2020-01-01T00:00:00Z"), &json!("2021-01-01T00:00:00.500Z"))
    );
    assert!(matches!(system.ask(system.update("provider:a", data)).await.body(), ReplyBody::Unchanged(_)));
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_grows_to_512_kib_and_no_further() {
    let dir = tempdir().unwrap();
    let mut system = System::start(dir.path()).await;
    let long = "\u{20ac}".repeat(65_535);
    let create = system.create("contact:a", json!({"name":"A","url":long,"email":long}));
    assert_eq!(system.ask(create).await.view().version, 1);
    let update = system.update("contact:a", json!({"position":long}));
    assert_eq!(system.ask(update).await.rejected(), Slug::EntityTooLarge);
    let update = system.update("contact:a", json!({"position":"short"}));
    assert_eq!(system.ask(update).await.view().version, 2);
    system.close().await;
}

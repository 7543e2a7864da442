//! Deletions and idempotency keys, through the stream.

use contract::partition::of_key;
use contract::reply::FirstAnswer;
use contract::{Action, Command, Digest, Idempotency, Repeat, ReplyBody, Slug};
use serde_json::json;
use tempfile::tempdir;

use crate::harness::{Answer, System, absent};

fn with_key(number: u8, command: Command) -> Command {
    let idempotency = Some(Idempotency { key: Digest([number; 32]), fingerprint: Digest([number + 100; 32]) });
    Command { idempotency, ..command }
}

fn repeat(answer: Answer) -> Repeat {
    let ReplyBody::Repeated(repeat) = answer.body() else { panic!("a repeat") };
    repeat
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_is_gone_until_it_is_created_anew() {
    let dir = tempdir().unwrap();
    let mut system = System::start(dir.path()).await;
    let data = json!({"name":"A","published":1});
    system.ask(system.create("provider:a", data.clone())).await.view();
    let deleted = system.ask(system.command("provider:a", Action::Delete)).await.view();
    assert_eq!((deleted.version, deleted.object), (2, None));
    assert_eq!(system.retrieve("provider:a").await.rejected(), Slug::Gone);
    assert_eq!(system.ask(system.update("provider:a", json!({"name":"B"}))).await.rejected(), Slug::Gone);
    assert_eq!(system.ask(system.command("provider:a", Action::Delete)).await.rejected(), Slug::Gone);
    assert_eq!(system.ask(system.command("provider:b", Action::Delete)).await.rejected(), Slug::NotFound);
    assert_eq!(system.list("provider", 10, None).await, (Vec::new(), 0, None));
    system.close().await;

    let mut system = System::start(dir.path()).await;
    assert_eq!(system.retrieve("provider:a").await.rejected(), Slug::Gone);
    let anew = system.ask(absent(system.create("provider:a", data))).await.view();
    assert_eq!(anew.version, 3);
    assert_eq!(system.list("provider", 10, None).await, (vec!["a".to_owned()], 1, None));
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_at_once_with_one_key_one_is_carried_out_and_both_get_its_answer() {
    const ROUNDS: u8 = 30;
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    let mut pairs = Vec::new();
    for round in 0..ROUNDS {
        // One for each partition.
        let on = |partition| {
            (0..).map(|n| format!("provider:k{round}-{n}")).find(|key| of_key(key.as_bytes(), 2) == partition)
        };
        let pair = [0, 1].map(|partition| {
            with_key(
                round,
                system.create(&on(partition).unwrap(), json!({"name":format!("name {round}"),"published":1})),
            )
        });
        for command in &pair {
            system.send(command).await;
        }
        pairs.push(pair);
    }
    system.start_store().await;
    for pair in &pairs {
        let answers = [system.answer(pair[0].id).await, system.answer(pair[1].id).await];
        let (views, repeats): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| matches!(answer, Answer::View(_)));
        let (view, repeat) = (views[0].clone().view(), repeat(repeats[0].clone()));
        assert_eq!((views.len(), repeats.len()), (1, 1), "exactly one of two is carried out");
        assert_eq!((repeat.command, &repeat.key, repeat.version), (view.correlation, &view.key, Some(1)));
        let FirstAnswer::Object(current) = repeat.answer else { panic!("the object") };
        assert_eq!((Some(current.object), current.view_time), (view.object, view.time));
    }
    assert_eq!(system.list("provider", 200, None).await.1, u64::from(ROUNDS));
    // After a restart, and though the entity has changed since.
    system.stop_store().await;
    system.start_store().await;
    let first = &pairs[0][0];
    let again = repeat(system.ask(Command { id: system.create("provider:x", json!({})).id, ..first.clone() }).await);
    let changed = system.update(&again.key.to_string(), json!({"name":"later"}));
    assert_eq!(system.ask(changed).await.view().version, 2);
    let later = repeat(system.ask(Command { id: system.create("provider:x", json!({})).id, ..first.clone() }).await);
    assert_eq!(again, later);
    let mut other = system.create("provider:y", json!({"name":"other","published":1}));
    other.idempotency = Some(Idempotency { fingerprint: Digest([9; 32]), ..first.idempotency.unwrap() });
    assert_eq!(system.ask(other).await.rejected(), Slug::IdempotencyKeyReused);
    system.close().await;
}

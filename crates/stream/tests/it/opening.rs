//! What opening refuses, and that it changes nothing then.

use std::path::Path;
use std::sync::Arc;

use contract::{Env, Topic};
use stream::Stream;
use stream::conformance::{texts, topology};
use stream::embedded::{Embedded, Follower, OpenError, Options};

use crate::env::TestEnv;
use crate::fixture::{Fixture, key, options};

fn refusal(folder: &Path) -> OpenError {
    Embedded::open(folder, options(), Arc::new(TestEnv::new()) as Arc<dyn Env>).expect_err("it must not open")
}

/// A folder with a file that was closed in good order, changed by `change`.
async fn changed(change: impl FnOnce(&Path)) -> OpenError {
    let fixture = Fixture::new(options()).await;
    for number in 0..50 {
        fixture.append(Topic::Commands, &key(number), &"x".repeat(1000)).await;
    }
    fixture.stream.close().await;
    let file = fixture.folder.path().join("dos.sqlite");
    change(&file);
    let before = std::fs::read(&file).unwrap();
    let error = refusal(fixture.folder.path());
    assert!(std::fs::read(&file).unwrap() == before, "a refused file is not changed");
    assert!(error.to_string().contains(&*file.to_string_lossy()), "{error} names the file");
    error
}

#[tokio::test]
async fn another_process_has_it() {
    let fixture = Fixture::new(options()).await;
    assert!(matches!(refusal(fixture.folder.path()), OpenError::Locked(_)));
    fixture.stream.close().await;
    fixture.reopen().await;
}

#[tokio::test]
async fn no_database() {
    for bytes in [&b""[..], b"SQLite?", &[7; 5000]] {
        let error = changed(|file| std::fs::write(file, bytes).unwrap()).await;
        assert!(matches!(error, OpenError::NotSqlite(_)), "{error}");
    }
}

#[tokio::test]
async fn cut_off() {
    for length in [60, 4096, 20_000] {
        let cut = |file: &Path| std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
        let error = changed(cut).await;
        assert!(matches!(error, OpenError::Damaged { .. }), "{length}: {error}");
    }
}

#[tokio::test]
async fn garbage_behind_the_header() {
    let error = changed(|file| {
        let mut bytes = std::fs::read(file).unwrap();
        bytes[100..4096].fill(0xa5);
        std::fs::write(file, bytes).unwrap();
    });
    assert!(matches!(error.await, OpenError::Damaged { .. }));
}

#[tokio::test]
async fn the_log_without_its_database() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dos.sqlite-wal"), b"x").unwrap();
    assert!(matches!(refusal(folder.path()), OpenError::Damaged { .. }));
}

fn set(file: &Path, setting: &str) {
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.execute_batch(&format!("PRAGMA journal_mode = DELETE; PRAGMA {setting}")).unwrap();
}

#[tokio::test]
async fn another_applications() {
    let error = changed(|file| set(file, "application_id = 7")).await;
    assert!(matches!(error, OpenError::OtherApplication { id: 7, .. }), "{error}");
}

#[tokio::test]
async fn of_a_newer_version() {
    let error = changed(|file| set(file, "user_version = 3")).await;
    assert!(matches!(error, OpenError::Newer { found: 3, known: 2, .. }), "{error}");
}

#[tokio::test]
async fn of_an_older_version() {
    let error = changed(|file| set(file, "user_version = 1")).await;
    assert!(matches!(error, OpenError::Older { found: 1, known: 2, .. }), "{error}");
}

#[tokio::test]
async fn without_its_tables() {
    let error = changed(|file| set(file, "user_version = 2; DROP TABLE stream_meta")).await;
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn read_only() {
    let error = changed(|file| {
        let mut permissions = file.metadata().unwrap().permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(file, permissions).unwrap();
    });
    assert!(matches!(error.await, OpenError::ReadOnly(_)));
}

#[tokio::test]
async fn folder_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let not_a_folder = folder.path().join("file");
    std::fs::write(&not_a_folder, b"").unwrap();
    assert!(matches!(refusal(&not_a_folder.join("data")), OpenError::Folder { .. }));
    assert!(matches!(refusal(Path::new("/proc/self")), OpenError::Folder { .. }));
    let error = refusal(&not_a_folder);
    assert!(matches!(error, OpenError::NotFolder(_)), "{error}");
    assert!(std::error::Error::source(&error).is_none(), "the message has the cause already");
}

#[tokio::test]
async fn who_has_it_can_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!Embedded::is_open(folder.path()));
    let fixture = Fixture::new(options()).await;
    assert!(Embedded::is_open(fixture.folder.path()));
    fixture.stream.close().await;
    assert!(!Embedded::is_open(fixture.folder.path()));
    // Asking is no obstacle to opening.
    fixture.reopen().await;
}

#[tokio::test]
async fn options_out_of_range() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { partitions: 0, ..options() };
    let error = Embedded::open(folder.path(), options, Arc::new(TestEnv::new()) as Arc<dyn Env>).unwrap_err();
    assert!(matches!(error, OpenError::Option(_)));
}

#[tokio::test]
async fn partitions_and_cluster_are_the_files() {
    let mut fixture = Fixture::new(options()).await;
    let before = topology(&fixture.stream).await;
    fixture.options.partitions = 9;
    let fixture = fixture.reopen().await;
    assert_eq!(topology(&fixture.stream).await, before);
    assert_ne!(topology(&Fixture::new(options()).await.stream).await.cluster, before.cluster);
}

#[tokio::test]
async fn another_number_of_partitions() {
    let fixture = Fixture::new(options()).await;
    fixture.stream.close().await;
    let (folder, env) = (fixture.folder.path(), Arc::new(TestEnv::new()));
    let asked = |partitions| Options { partitions, partitions_strict: true, ..options() };
    let error = crate::fixture::open(folder, &asked(9), &env).await.unwrap_err();
    assert!(matches!(error, OpenError::Partitions { found: 2, asked: 9, .. }), "{error}");
    assert!(error.to_string().contains("ask for 2 or for none"), "{error}");
    crate::fixture::open(folder, &asked(2), &env).await.unwrap();
}

#[tokio::test]
async fn half_made_files_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dos.sqlite.new"), b"half").unwrap();
    Embedded::open(folder.path(), options(), Arc::new(TestEnv::new()) as Arc<dyn Env>).unwrap();
}

#[tokio::test]
async fn follower_reads_beside_the_writer() {
    let fixture = Fixture::new(options()).await;
    fixture.append(Topic::Views, &key(0), "one").await;
    let follower = Follower::open(fixture.folder.path()).unwrap();
    assert_eq!(texts(&follower.read(Topic::Views, 0, 0, 10).unwrap()), ["one"]);
    fixture.append(Topic::Views, &key(0), "two").await;
    assert_eq!(texts(&follower.read(Topic::Views, 0, 1, 10).unwrap()), ["two"]);
    assert_eq!(follower.bounds(Topic::Views).unwrap(), fixture.stream.bounds(Topic::Views).await.unwrap());
    assert!(follower.read(Topic::Views, 0, 2, 10).unwrap().is_empty());
    assert!(Follower::open(Path::new("/nowhere")).is_err());
}

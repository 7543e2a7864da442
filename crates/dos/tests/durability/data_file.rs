//! Data files that cannot be served: the program says so before it binds its port, and leaves them as they are.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::shared::http::Connection;
use crate::shared::process::{EFFECT_MAX, Process, START_MAX, Server, dos};

/// Starts `dos serve`, which must fail without having tried its port: that one is taken, and would be the error.
fn refused(mut command: Command, logs: &Path, data: &Path) -> String {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    command.args(["serve", "--listen", &address, "--data-dir"]).arg(data);
    let mut process = Process::start(command, logs);
    let status = process.wait(START_MAX);
    let (out, err) = (process.stdout(), process.stderr());
    assert_eq!((status.code(), &*out), (Some(1), ""), "{err}");
    let error = err.lines().last().unwrap_or_default().to_owned();
    assert!(error.starts_with("error: ") && !error.contains("cannot listen"), "{err}");
    assert!(error.contains(&*data.to_string_lossy()), "{error} names the file");
    error
}

/// The database and its log. (A log that is empty says no more than one that is not there.)
fn contents(data: &Path) -> [Vec<u8>; 2] {
    ["dos.sqlite", "dos.sqlite-wal"].map(|name| std::fs::read(data.join(name)).unwrap_or_default())
}

/// A name, and what is done to the file.
type Damage = (&'static str, &'static dyn Fn(&File));

/// A data folder with entities in it.
struct Folder {
    folder: TempDir,
    data: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Self { folder, data }
    }

    fn file(&self) -> PathBuf {
        self.data.join("dos.sqlite")
    }

    fn open(&self) -> File {
        OpenOptions::new().write(true).open(self.file()).unwrap()
    }

    /// Starts the program and writes something.
    fn serve(&self) -> Server {
        let server = Server::on(self.folder.path(), &self.data);
        let mut connection = Connection::open(server.address).unwrap();
        for number in 0..50 {
            let body = format!(r#"{{"name":"{number}","position":"{}"}}"#, "x".repeat(2000));
            assert_eq!(connection.call("POST", "/contact", &[], &body).unwrap().status, 201);
        }
        server
    }

    /// One that was served and stopped.
    fn stopped() -> Self {
        let folder = Self::new();
        let mut server = folder.serve();
        server.process.terminate();
        assert!(server.process.wait(EFFECT_MAX).success());
        folder
    }

    /// One that was served and killed: most of it is in the log.
    fn killed() -> Self {
        let folder = Self::new();
        folder.serve().process.kill();
        assert!(contents(&folder.data)[1].len() > 100_000);
        folder
    }

    /// It must be refused with this hint, and nothing in it change.
    fn is_refused(&self, hint: &str) {
        self.is_refused_to(dos(), hint);
    }

    fn is_refused_to(&self, command: Command, hint: &str) {
        let before = contents(&self.data);
        let error = refused(command, self.folder.path(), &self.data);
        assert!(error.contains(hint), "{error} says {hint:?}");
        let after = contents(&self.data);
        assert!(after[0] == before[0], "a refused file is not changed: {error}");
        assert!(after[1] == before[1], "its log is not changed, {} -> {}: {error}", before[1].len(), after[1].len());
    }
}

#[test]
fn no_sqlite_file() {
    for bytes in [&b""[..], b"id,name\n1,one\n", &[7; 5000]] {
        let folder = Folder::new();
        std::fs::create_dir(&folder.data).unwrap();
        std::fs::write(folder.file(), bytes).unwrap();
        folder.is_refused("is not an SQLite database; move it away");
    }
}

#[test]
fn another_programs_database() {
    let folder = Folder::new();
    std::fs::create_dir(&folder.data).unwrap();
    let sqlite = rusqlite::Connection::open(folder.file()).unwrap();
    sqlite.execute_batch("CREATE TABLE other (id INTEGER)").unwrap();
    drop(sqlite);
    folder.is_refused("belongs to another application");
}

#[test]
fn a_damaged_file() {
    let damages: [Damage; 4] = [
        ("cut in its header", &|file| file.set_len(60).unwrap()),
        ("cut after a page", &|file| file.set_len(4096).unwrap()),
        ("cut in the middle", &|file| file.set_len(60_000).unwrap()),
        ("its schema overwritten", &|file| file.write_all_at(&[0xa5; 3000], 100).unwrap()),
    ];
    for (what, damage) in damages {
        let folder = Folder::stopped();
        damage(&folder.open());
        println!("{what}");
        folder.is_refused("is damaged");
    }
}

/// What the log has is all that is left of the last writes: it must outlive the refusal as well.
#[test]
fn a_damaged_file_with_a_log() {
    let damages: [Damage; 4] = [
        ("cut in its header", &|file| file.set_len(60).unwrap()),
        ("no longer SQLite", &|file| file.write_all_at(&[0xa5; 100], 0).unwrap()),
        ("cut after a page", &|file| file.set_len(4096).unwrap()),
        ("its pages overwritten", &|file| file.write_all_at(&[0xa5; 16_000], 4096).unwrap()),
    ];
    for (what, damage) in damages {
        let folder = Folder::killed();
        damage(&folder.open());
        println!("{what}");
        folder.is_refused("dos.sqlite is");
    }
}

#[test]
fn a_newer_or_foreign_file_with_a_log() {
    for (at, hint) in [(60, "run the newer program"), (68, "belongs to another application")] {
        let folder = Folder::killed();
        folder.open().write_all_at(&[0, 0, 1, 1], at).unwrap();
        folder.is_refused(hint);
    }
}

#[test]
fn a_log_without_its_database() {
    let folder = Folder::killed();
    std::fs::remove_file(folder.file()).unwrap();
    folder.is_refused("its -wal file is there");
}

#[test]
fn a_read_only_file() {
    let folder = Folder::stopped();
    std::fs::set_permissions(folder.file(), std::fs::Permissions::from_mode(0o444)).unwrap();
    folder.is_refused("is read-only; give this user the right to write it");
}

/// Root may write whatever its permissions say, but not on a file system that is mounted read-only.
#[test]
fn a_read_only_folder() {
    let folder = Folder::stopped();
    let data = folder.data.display();
    let script = format!("mount --bind {data} {data}\nmount -o remount,bind,ro {data}");
    let namespace = Namespace::new(&script, folder.folder.path());
    folder.is_refused_to(namespace.dos(), "cannot be written");
}

/// The folder can be written, the file in it cannot.
#[test]
fn a_file_on_a_read_only_mount() {
    let folder = Folder::stopped();
    let file = folder.file();
    let file = file.display();
    let script = format!("mount --bind {file} {file}\nmount -o remount,bind,ro {file}");
    let namespace = Namespace::new(&script, folder.folder.path());
    folder.is_refused_to(namespace.dos(), "is read-only");
}

#[test]
fn a_folder_that_is_a_file() {
    let folder = Folder::new();
    std::fs::write(&folder.data, "text").unwrap();
    refused(dos(), folder.folder.path(), &folder.data);
    assert_eq!(std::fs::read(&folder.data).unwrap(), b"text");
}

#[test]
fn a_file_in_use_by_another_process() {
    let folder = Folder::new();
    let server = folder.serve();
    folder.is_refused("is in use by another process; stop that one");
    let mut connection = Connection::open(server.address).unwrap();
    let answer = connection.call("POST", "/contact", &[], r#"{"name":"still served"}"#).unwrap();
    assert_eq!(answer.status, 201);
}

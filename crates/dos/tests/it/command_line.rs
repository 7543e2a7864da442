//! The program as it is called.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

/// A `dos` that runs, killed when the test ends.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    url: String,
}

/// What a `dos` that ended had to say.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn dos() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dos"));
    command.env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command
}

impl Process {
    pub(crate) fn serve(data_dir: &Path, flags: &[&str]) -> Self {
        let mut command = dos();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir).args(flags);
        Self::of(command)
    }

    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        Self { child, lines, url: String::new() }
    }

    /// Waits for the line that says where it is reached; gives what was said until then.
    pub(crate) fn until_ready(&mut self) -> String {
        let mut said = String::new();
        loop {
            let line =
                self.lines.recv_timeout(Duration::from_secs(120)).unwrap_or_else(|_| panic!("not ready; said: {said}"));
            said += &format!("{line}\n");
            if line.starts_with("ready: ") {
                // The API's comes first; a store has its admin address alone.
                self.url = line.split(' ').find(|word| word.starts_with("http")).unwrap_or_default().to_owned();
                return said;
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it in order; it must say that all is well.
    pub(crate) fn terminate(mut self) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
        assert!(self.child.wait().unwrap().success());
    }

    /// Runs to the end.
    pub(crate) fn run(arguments: &[&str]) -> Ended {
        let output = dos().args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn succeeds(&self) -> &str {
        assert!(self.success, "{self:?}");
        &self.stdout
    }

    #[track_caller]
    fn fails_with(&self, reason: &str) {
        assert!(!self.success && self.stderr.contains(reason), "{reason}: {self:?}");
        assert!(self.stderr.starts_with("error: ") && self.stderr.lines().count() < 8, "{self:?}");
    }
}

fn lines(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::Builder::new()
        .spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        })
        .unwrap();
    receive
}

#[test]
fn help_names_every_command_and_flag() {
    let help = Process::run(&["--help"]);
    for command in [
        "serve",
        "gateway",
        "store",
        "quarantine",
        "doctor",
        "import",
        "export",
        "tail",
        "openapi",
        "asyncapi",
        "config",
    ] {
        assert!(help.succeeds().contains(command), "{command}");
    }
    let help = Process::run(&["serve", "--help"]);
    for flag in ["--listen", "--data-dir", "--config", "--entities", "--views", "--import", "--anonymous"] {
        assert!(help.succeeds().contains(flag), "{flag}");
    }
    for (command, text) in [
        ("import", "A file is named after the type of its rows"),
        ("export", "with one object per line as the gateway gave it"),
        ("tail", "A line per event: time, topic/partition@offset"),
    ] {
        assert!(Process::run(&[command, "--help"]).succeeds().contains(text), "{command}");
    }
}

#[test]
fn the_printed_settings_are_the_defaults() {
    let printed = Process::run(&["config"]).succeeds().to_owned();
    // With every setting's comment mark removed, the file must load, and be what holds without one; some have no default.
    let set = |line: &str| {
        let named = line.strip_prefix('#').filter(|rest| rest.contains(" = ") && !rest.starts_with(' '));
        let without_default = [
            "admin_listen",
            "entities",
            "public_url",
            "anonymous",
            "partitions",
            "instance",
            "brokers",
            "replication",
            "lists",
            "min_insync_replicas",
            "\"",
            "url",
            "schema",
            "ca_file",
            "dir",
        ];
        named.filter(|rest| !without_default.iter().any(|name| rest.starts_with(name))).unwrap_or(line).to_owned()
    };
    let text = printed.lines().map(set).collect::<Vec<_>>().join("\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, &text).unwrap();
    let no_flags = Value::Object(serde_json::Map::new());
    let loaded = dos::settings::Settings::load(Some(&file), &no_flags).unwrap();
    assert_eq!(loaded, dos::settings::Settings::default());
    let names = serde_json::to_value(loaded).unwrap();
    for (name, value) in names.as_object().unwrap() {
        let is_there =
            if value.is_object() { text.contains(&format!("[{name}]")) } else { text.contains(&format!("{name} = ")) };
        assert!(is_there, "{name} is not in `dos config`");
        for inner in value.as_object().into_iter().flat_map(|section| section.keys()) {
            let is_there = text.contains(&format!("\n[{name}.{inner}]"))
                || ["\n", "\n#"].iter().any(|start| text.contains(&format!("{start}{inner} = ")));
            assert!(is_there, "{name}.{inner} is not in `dos config`");
        }
    }
}

const KAFKA_AND_BAD_PROPERTY: &str =
    "kafka.brokers = \"127.0.0.1:1\"\nkafka.properties.acks = 1\ndatabase.url = \"postgres://127.0.0.1:1/x\"";

#[test]
fn bad_settings_stop_the_start_and_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let with_file = |text: &str| {
        let file = folder.path().join("settings.toml");
        std::fs::write(&file, text).unwrap();
        dos().args(["serve", "--data-dir"]).arg(&data).arg("--config").arg(file).output().unwrap()
    };
    let ended = |output: std::process::Output| Ended {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    for (text, reason) in [
        ("colour = 1", "colour"),
        ("listen = \"nowhere\"", "listen"),
        ("[http]\nwrite_wait_ms = \"long\"", "http.write_wait_ms"),
        ("[http]\nin_flight_max = 0", "http.in_flight_max"),
        ("[store]\noutcome_retention_hours = 1", "store.outcome_retention_hours"),
        ("views = \"some\"", "views"),
        ("listen = \"0.0.0.0:0\"", "--anonymous read"),
        ("public_url = \"dos.example.org\"", "public_url"),
        ("instance = \"a b\"", "instance"),
        ("entities = \"/nowhere\"", "entities: the folder /nowhere"),
        ("listen = ", "line 1"),
        ("[log]\nfilter = \"[[\"", "log.filter"),
        ("listen = \"localhost:8080\"", "such as 127.0.0.1:8080"),
        ("views = \"some\"", "expected `materialised` or `on-demand` (from /"),
        ("instance = 1", "settings.toml)"),
        ("[stream]\npartitions = 0", "stream.partitions: 0 is below 1"),
        ("[database]\nurl = \"sqlite:x\"", "database.url: without Kafka"),
        ("[kafka]\nbrokers = \"127.0.0.1:1\"", "database.url: with Kafka"),
        (KAFKA_AND_BAD_PROPERTY, "kafka.properties.acks: cannot be set here"),
    ] {
        let ended = ended(with_file(text));
        ended.fails_with(reason);
        assert!(ended.stderr.matches('`').count() % 2 == 0 && !ended.stderr.contains("``"), "{ended:?}");
    }
    for address in ["localhost:8080", "8099"] {
        Process::run(&["serve", "--listen", address]).fails_with("such as 127.0.0.1:8080");
    }
    let import = ["serve", "--data-dir", data.to_str().unwrap(), "--import", "/nowhere"];
    Process::run(&import).fails_with("import: cannot read /nowhere");
    let output = dos().args(["serve", "--data-dir"]).arg(&data).env("DOS_HTTP__READ_WAIT_MS", "x").output().unwrap();
    ended(output).fails_with("http.read_wait_ms");
    Process::run(&["serve", "--config", "/nowhere.toml"]).fails_with("/nowhere.toml");
    assert!(!data.exists(), "nothing was made before the settings were checked");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let refused = Process::run(&["serve", "--listen", &address, "--data-dir", data.to_str().unwrap()]);
    assert!(
        !refused.success && refused.stderr.contains(&format!("error: listen: cannot listen on {address}")),
        "{refused:?}"
    );
    assert!(!data.exists(), "nothing was made where the port was taken");
    let file = folder.path().join("settings.toml");
    let refused = Process::run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", file.to_str().unwrap()]);
    let message = format!("error: data_dir: {} is a file, and the data needs a folder", file.display());
    assert!(refused.stderr.starts_with(&message) && !refused.stderr.contains("os error"), "{refused:?}");
}

#[test]
fn text_in_variables_may_look_like_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = dos();
    command.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(folder.path());
    command.env("DOS_INSTANCE", "007").env("DOS_DATA_DIR", "7").env("DOS_HTTP__WRITE_WAIT_MS", "2000");
    let mut process = Process::of(command);
    assert!(process.until_ready().contains("data 7/dos.sqlite"));
    let file = folder.path().join("costoption.jsonl");
    std::fs::write(&file, "{\"option\":\"A\"}").unwrap();
    Process::run(&["import", file.to_str().unwrap(), "--url", &process.url()]).succeeds();
    process.terminate();
    let bytes = ["dos.sqlite", "dos.sqlite-wal"].map(|name| std::fs::read(folder.path().join("7").join(name)));
    let source = b"/gateway/007";
    let is_there = |bytes: Vec<u8>| bytes.windows(source.len()).any(|window| window == source);
    assert!(bytes.into_iter().flatten().any(is_there), "the instance is the text of the variable");
}

#[test]
fn the_number_of_partitions_is_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let command = |partitions: Option<&str>| {
        let mut command = dos();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
        command.envs(partitions.map(|number| ("DOS_STREAM__PARTITIONS", number)));
        command
    };
    for partitions in [Some("3"), None, Some("3")] {
        let mut process = Process::of(command(partitions));
        process.until_ready();
        process.terminate();
    }
    let output = command(Some("4")).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for part in ["error: stream.partitions: ", "was made with 3 partitions, not 4", "ask for 3 or for none, or export"]
    {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}

#[test]
fn flags_come_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, "listen = \"0.0.0.0:1\"\nviews = \"nonsense\"\nanonymous = \"read\"").unwrap();
    let mut command = dos();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path().join("data"))
        .arg("--config")
        .arg(&file);
    command.env("DOS_LISTEN", "0.0.0.0:2").env("DOS_VIEWS", "on-demand").env("DOS_TEST_ANYTHING", "x");
    let mut process = Process::of(command);
    process.until_ready();
    assert!(process.url().starts_with("http://127.0.0.1:"));
    process.terminate();
}

#[test]
fn metrics_are_served_on_their_own_address() {
    let folder = tempfile::tempdir().unwrap();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut server = Process::serve(&folder.path().join("data"), &["--admin-listen", &admin]);
    server.until_ready();
    let get = |url: &str| String::from_utf8(Command::new("curl").args(["-s", url]).output().unwrap().stdout).unwrap();
    get(&format!("{}/provider/none", server.url()));
    let metrics = get(&format!("http://{admin}/metrics"));
    assert!(
        metrics.contains("dos_http_requests_total{route=\"/{type}/{id}\",kind=\"read\",status=\"4xx\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("# HELP dos_http_requests_total"), "{metrics}");
    server.terminate();
}

#[test]
fn tail_shows_events_and_filters_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Process::serve(&data, &[]);
    server.until_ready();
    let file = folder.path().join("costoption.jsonl");
    std::fs::write(&file, "{\"id\":\"a\",\"option\":\"A\"}\n{\"id\":\"b\",\"option\":\"B\"}\n").unwrap();
    Process::run(&["import", file.to_str().unwrap(), "--url", &server.url()]).succeeds();
    let mut tail = dos();
    tail.args(["tail", "--from-start", "--id", "b", "--topic", "views", "--json", "--data-dir"]).arg(&data);
    let mut child = tail.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(line.contains("dos.costoption.view") && line.contains("\"B\""), "{line}");
    serde_json::from_str::<Value>(&line).unwrap();
    server.terminate();
    Process::run(&["tail", "--data-dir", "/nowhere"]).fails_with("/nowhere");
}

#[test]
fn tail_says_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let said = |until: &str| {
        let mut tail = dos();
        tail.args(["tail", "--type", "nosuch", "--type", "venue", "--data-dir"]).arg(&data);
        let mut child = tail.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        while !said.contains(until) {
            assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
        }
        // It goes on until it is told to end, and says by what.
        assert_eq!(child.try_wait().unwrap(), None);
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(143));
        said
    };
    let mut server = Process::serve(&data, &[]);
    server.until_ready();
    let running = said("nosuch is no built-in type");
    let first = format!("following dos.commands, dos.views, dos.replies, dos.quarantine in {}", data.display());
    assert!(running.starts_with(&first) && !running.contains("no `dos serve`"), "{running}");
    assert!(!running.contains("venue is no"), "{running}");
    server.terminate();
    let stopped = said("nosuch is no built-in type");
    assert!(stopped.contains("no `dos serve` is running there"), "{stopped}");
}

#[test]
fn doctor_says_what_is_wrong_with_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let doctor = |data: &Path| Process::run(&["doctor", "--data-dir", data.to_str().unwrap()]);
    let fresh = doctor(&data);
    assert!(fresh.succeeds().contains("is not there yet; made at the first start") && !data.exists(), "{fresh:?}");
    assert!(fresh.stdout.ends_with("all is well\n") && !fresh.stdout.contains('\u{1b}'), "{fresh:?}");
    let mut server = Process::serve(&data, &[]);
    server.until_ready();
    assert!(doctor(&data).succeeds().contains("a running process has it"));
    server.terminate();
    assert!(doctor(&data).succeeds().contains("2 partitions; no process has it"));
    std::fs::write(data.join("dos.sqlite"), "no database, however long it is").unwrap();
    let broken = doctor(&data);
    assert!(!broken.success && broken.stdout.contains("problem  data folder: "), "{broken:?}");
    assert!(
        broken.stdout.contains("is not an SQLite database") && broken.stdout.ends_with("problems: 1, warnings: 0\n")
    );
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let wrong = doctor(&file);
    assert!(!wrong.success && wrong.stdout.contains("is a file, and the data needs a folder"), "{wrong:?}");
}

#[test]
fn tail_says_that_it_cannot_follow_kafka() {
    let folder = tempfile::tempdir().unwrap();
    Process::run(&["tail", "--data-dir", folder.path().to_str().unwrap()]).fails_with("it cannot follow Kafka");
    let help = Process::run(&["tail", "--help"]);
    assert!(help.stdout.contains("cannot follow Kafka"), "{help:?}");
}

#[test]
fn doctor_looks_at_redis() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let redis =
        std::env::var("DOS_TEST_REDIS").expect("DOS_TEST_REDIS is not set: start it with `cargo xtask servers redis`");
    let well = Process::run(&["doctor", "--data-dir", data, "--redis", &redis, "--views", "on-demand"]);
    well.succeeds();
    assert!(well.stdout.contains("redis: version ") && well.stdout.contains("all is well"), "{well:?}");
    let away = Process::run(&["doctor", "--data-dir", data, "--redis", "redis://127.0.0.1:1/", "--views", "on-demand"]);
    assert!(away.stdout.contains("problem  redis: "), "{away:?}");
}

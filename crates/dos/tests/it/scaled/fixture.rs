//! `dos` processes on real servers, with topics, a schema and a folder of their own.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use contract::{Env, Topic};
use dos::env::System;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::command_line::dos;
use crate::harness::Answer;

/// How long an effect may take: a start on a busy machine with new topics among them.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A place for one test.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) folder: TempDir,
    /// Lines for the settings file.
    pub(crate) settings: String,
    /// Two make a start cheap and have more than one of everything.
    pub(crate) partitions: Option<u32>,
    /// Whether the tables are in the schema of this place.
    pub(crate) schema: bool,
    client: reqwest::Client,
}

/// A process: gateway, store, or both.
pub(crate) struct Part {
    child: Child,
    log: std::path::PathBuf,
    api: SocketAddr,
    admin: SocketAddr,
    client: reqwest::Client,
}

pub(crate) fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: start servers with `cargo xtask servers` and set what it prints")
    })
}

fn free() -> SocketAddr {
    StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

impl Place {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("dos_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self {
            name,
            folder: tempfile::tempdir().unwrap(),
            settings: String::new(),
            partitions: Some(2),
            schema: true,
            client,
        }
    }

    /// `dos` with this place's settings; `words` begin with the command.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        // Each has a file of its own: one that was just started may not have read it yet.
        let file = self.folder.path().join(format!("settings-{}.toml", System::new().uuid()));
        let mut text = std::fs::File::create(&file).unwrap();
        let partitions = self.partitions.map(|count| format!("kafka.partitions = {count}\n")).unwrap_or_default();
        let kafka = format!("kafka.topic_prefix = \"{}.\"\n{partitions}", self.name);
        let schema = if self.schema { format!("database.schema = \"{}\"\n", self.name) } else { String::new() };
        write!(text, "{kafka}{schema}{}", self.settings).unwrap();
        let mut command = dos();
        command.args(words).arg("--config").arg(file).env("DOS_KAFKA__BROKERS", server("DOS_TEST_KAFKA"));
        // Only a store reads it.
        command.env("DOS_DATABASE__URL", server("DOS_TEST_POSTGRES"));
        command
    }

    pub(crate) fn start(&self, words: &[&str]) -> Part {
        self.start_with(words, &[])
    }

    pub(crate) fn start_with(&self, words: &[&str], variables: &[(&str, &str)]) -> Part {
        let (api, admin) = (free(), free());
        let log = self.folder.path().join(format!("{}.log", admin.port()));
        let out = std::fs::File::create(&log).unwrap();
        let mut command = self.command(words);
        command.env("DOS_LISTEN", api.to_string()).env("DOS_ADMIN_LISTEN", admin.to_string());
        command.envs(variables.iter().copied()).stdout(out.try_clone().unwrap()).stderr(out).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        Part { child, log, api, admin, client: self.client.clone() }
    }

    /// Runs to the end: whether it succeeded, and all that it said.
    pub(crate) fn run(&self, words: &[&str]) -> (bool, String) {
        let output = self.command(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.success(), text)
    }

    pub(crate) fn topic(&self, topic: Topic) -> String {
        format!("{}.{}", self.name, topic.name())
    }

    /// A gateway and a store that are ready, once.
    pub(crate) async fn ready(&self) -> (Part, Part) {
        let (gateway, store) = (self.start(&["gateway"]), self.start(&["store"]));
        gateway.ready().await;
        store.ready().await;
        (gateway, store)
    }

    pub(crate) async fn sql(&self, sql: &str) {
        let (client, connection) =
            tokio_postgres::connect(&server("DOS_TEST_POSTGRES"), tokio_postgres::NoTls).await.unwrap();
        System::new().spawn(Box::pin(async move { drop(connection.await) }));
        client.batch_execute(sql).await.unwrap();
    }
}

impl Part {
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) async fn says(&self, text: &str) -> String {
        wait_for(text, async || Some(self.said()).filter(|said| said.contains(text)), || self.said()).await
    }

    /// Waits until it says that it is ready, and all its parts are.
    pub(crate) async fn ready(&self) {
        self.says("ready: ").await;
        let is_ready = async || (self.health("ready").await? == (200, json!({"status": "ok"}))).then_some(());
        wait_for("all parts", is_ready, || self.said()).await;
    }

    /// What the admin address says; none where nobody answers yet.
    pub(crate) async fn health(&self, what: &str) -> Option<(u16, Value)> {
        let url = format!("http://{}/health/{what}", self.admin);
        let response = self.client.get(url).send().await.ok()?;
        Some((response.status().as_u16(), response.json().await.unwrap()))
    }

    /// A metric's value, by its name and labels; none where it has none yet.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.client.get(format!("http://{}/metrics", self.admin)).send().await.ok()?.text().await.ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Alive, and not ready for this part.
    pub(crate) async fn waits_for(&self, part: &str) {
        let not_ready = async || {
            let (status, body) = self.health("ready").await?;
            (status == 503 && body["errors"][part].is_string()).then_some(())
        };
        wait_for(part, not_ready, || self.said()).await;
        assert_eq!(self.health("alive").await, Some((200, json!({"status": "ok"}))));
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(method, path, &[], body).await
    }

    pub(crate) async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("http://{}{path}", self.api));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Answer::of(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    pub(crate) async fn provider(&self, name: &str) -> String {
        let answer = self.ask("POST", "/provider", Some(json!({"name": name, "published": 1}))).await;
        answer.expect(201).json["id"].as_str().unwrap().to_owned()
    }

    /// Waits until it has failed; gives what it said.
    pub(crate) async fn fails(mut self) -> String {
        let log = self.log.clone();
        let said = || std::fs::read_to_string(&log).unwrap();
        let status = wait_for("its end", async || self.child.try_wait().unwrap(), said).await;
        assert!(!status.success(), "{}", self.said());
        self.said()
    }

    /// Ends it in order: it must say that all is well.
    pub(crate) async fn terminate(mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        let log = self.log.clone();
        let said = || std::fs::read_to_string(&log).unwrap();
        let status = wait_for("its end", async || self.child.try_wait().unwrap(), said).await;
        assert!(status.success(), "{}", self.said());
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn wait_for<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>, said: impl Fn() -> String) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            System::new().sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("waited too long for {what}: {}", said()))
}

pub(crate) fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", server("DOS_TEST_KAFKA")).create().unwrap()
}

/// A port where nobody listens until the relay is opened, which passes connections on to `target`.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    target: String,
}

impl Relay {
    pub(crate) fn to(target: &str) -> Self {
        Self { address: free(), target: target.to_owned() }
    }

    pub(crate) async fn open(self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let env: Arc<dyn Env> = Arc::new(System::new());
        let world = Arc::clone(&env);
        env.spawn(Box::pin(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let target = self.target.clone();
                world.spawn(Box::pin(async move {
                    let mut target = TcpStream::connect(target).await.unwrap();
                    // Ends with either side.
                    let _ = copy_bidirectional(&mut socket, &mut target).await;
                }));
            }
        }));
    }
}

/// Properties for the listener that wants a password.
pub(crate) fn sasl(password: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("DOS_KAFKA__BROKERS", server("DOS_TEST_KAFKA_SASL")),
        ("DOS_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "SASL_PLAINTEXT".to_owned()),
        ("DOS_KAFKA__PROPERTIES__SASL_MECHANISM", "PLAIN".to_owned()),
        ("DOS_KAFKA__PROPERTIES__SASL_USERNAME", "dos".to_owned()),
        ("DOS_KAFKA__PROPERTIES__SASL_PASSWORD", password.to_owned()),
    ])
}

//! Apache Kafka from Maven Central, in KRaft mode.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::process::{Process, Recipe, run_as};
use super::{data_folder, folder, free_ports, loopback};
use crate::packages::ensure_package;
use crate::shell::Program;

const VERSION: &str = "4.1.1";
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(10 * 60);
const START_LIMIT: Duration = Duration::from_secs(120);
/// The user with every permission, and the one that has none but what a test gives it, with their password; for SASL PLAIN and
/// SCRAM.
const USERS: [&str; 2] = ["dos", "guest"];
const PASSWORD: &str = "secret";
/// `ApiVersions`, version 0, from a client without a name.
const GREETING: &[u8] = &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];

/// A cluster.
pub struct Kafka {
    brokers: Vec<Broker>,
    /// Where the first one wants a user and a password, without and with TLS.
    sasl: SocketAddr,
    tls: SocketAddr,
    detour_ends: Vec<Vec<SocketAddr>>,
    data: PathBuf,
}

struct Broker {
    recipe: Recipe,
    process: Option<Process>,
}

impl Kafka {
    /// Starts a cluster of so many brokers with empty logs. `detours` are ways to them: each has an address for every
    /// broker, which clients that came that way are told to use; who leads from there to [`Kafka::detour_ends`] can cut it.
    pub(super) fn start(brokers: u16, detours: &[Vec<SocketAddr>]) -> Result<Self> {
        let java = ensure_package("java", "default-jre-headless")?;
        let libraries = libraries()?;
        let data = data_folder("kafka")?;
        let ports = free_ports(usize::from(brokers) * (4 + detours.len()))?;
        let mut ports = ports.chunks(usize::from(brokers)).map(<[u16]>::to_vec);
        let mut next = || ports.next().unwrap_or_default();
        let (client, controller, sasl, tls) = (next(), next(), next(), next());
        let ends: Vec<_> = detours.iter().map(|_| next()).collect();
        let class_path = format!("{}/*", libraries.display());
        let cluster = cluster_id()?;
        let addresses = |ports: &Vec<u16>| ports.iter().map(|port| loopback(*port)).collect();
        let detour_ends = ends.iter().map(addresses).collect();
        let (sasl_address, tls_address) = (loopback(sasl[0]), loopback(tls[0]));
        let mut kafka = Self { brokers: Vec::new(), sasl: sasl_address, tls: tls_address, detour_ends, data };
        let keys = super::certificates::make(&kafka.data)?;
        for (index, port) in client.iter().enumerate() {
            let folder = kafka.data.join(format!("broker-{}", index + 1));
            fs::create_dir_all(&folder)?;
            let properties = folder.join("server.properties");
            fs::write(
                &properties,
                settings(
                    index,
                    [&client, &controller, &sasl, &tls],
                    &detour_listeners(index, detours, &ends),
                    &folder,
                    &keys,
                ),
            )?;
            let properties = properties.display().to_string();
            let tool = ["-Xmx128m", "-cp", &class_path, "kafka.tools.StorageTool", "format", "-t", &cluster, "-c"];
            let users = scram_users();
            let users: Vec<&str> = users.iter().flat_map(|user| ["--add-scram", user]).collect();
            run_as(None, &java, &[&tool[..], &[&properties], &users].concat())
                .context("the logs cannot be formatted")?;
            let arguments =
                ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-cp", &class_path, "kafka.Kafka", &properties];
            let recipe = Recipe {
                name: format!("Kafka broker {}", index + 1),
                program: java.clone(),
                arguments: arguments.map(str::to_owned).to_vec(),
                signal: Signal::TERM,
                user: None,
                log: folder.join("output.log"),
                address: loopback(*port),
                greeting: GREETING.to_vec(),
            };
            kafka.brokers.push(Broker { recipe, process: None });
        }
        // Together: with one of three there is no majority.
        for broker in &mut kafka.brokers {
            broker.process = Some(broker.recipe.spawn()?);
        }
        for Broker { recipe, process } in &mut kafka.brokers {
            process.as_mut().map_or(Ok(()), |process| recipe.wait(process, START_LIMIT))?;
        }
        Ok(kafka)
    }

    /// Where clients with a password find it.
    pub fn sasl_address(&self) -> String {
        self.sasl.to_string()
    }

    /// Where clients with a password find it over TLS.
    pub fn tls_address(&self) -> String {
        self.tls.to_string()
    }

    /// What clients that come over TLS know its certificate by.
    pub fn authority(&self) -> PathBuf {
        self.data.join(super::certificates::AUTHORITY)
    }

    /// Where each detour ends, for every broker.
    pub fn detour_ends(&self) -> &[Vec<SocketAddr>] {
        &self.detour_ends
    }

    /// Ends a broker, from 0, in good order.
    ///
    /// # Errors
    /// Where its process cannot be ended, or does not answer.
    pub fn stop_broker(&mut self, index: usize) -> Result<()> {
        let process = self.brokers.get_mut(index).and_then(|broker| broker.process.take());
        process.map_or(Ok(()), |mut process| process.stop())
    }

    /// Ends a broker, from 0, as a power cut would.
    ///
    /// # Errors
    /// Where its process cannot be ended, or does not answer.
    pub fn kill_broker(&mut self, index: usize) -> Result<()> {
        let process = self.brokers.get_mut(index).and_then(|broker| broker.process.take());
        process.map_or(Ok(()), |mut process| process.kill())
    }

    /// Starts a broker again that was ended, at its address and with its log.
    ///
    /// # Errors
    /// Where its process cannot be ended, or does not answer.
    pub fn start_broker(&mut self, index: usize) -> Result<()> {
        let broker = self.brokers.get_mut(index).context("no such broker")?;
        broker.process = Some(broker.recipe.start(START_LIMIT)?);
        Ok(())
    }

    /// Where clients find it.
    pub fn address(&self) -> String {
        self.brokers.iter().map(|broker| broker.recipe.address.to_string()).collect::<Vec<_>>().join(",")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // Together: the last one alone waits for a majority.
        std::thread::scope(|scope| {
            for broker in &mut self.brokers {
                scope.spawn(|| drop(broker.process.take()));
            }
        });
        drop(fs::remove_dir_all(&self.data));
    }
}

/// The folder with Kafka and all it needs.
fn libraries() -> Result<PathBuf> {
    let home = folder("kafka");
    let libraries = home.join(format!("libs-{VERSION}"));
    if libraries.is_dir() {
        return Ok(libraries);
    }
    let maven = ensure_package("mvn", "maven")?;
    fs::create_dir_all(&home)?;
    let artifact = |group: &str, name: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
        )
    };
    let artifacts = [
        artifact("org.apache.kafka", "kafka_2.13", VERSION),
        artifact("org.apache.kafka", "kafka-tools", VERSION),
        artifact("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.1"),
    ];
    let project = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>dos</groupId>\
         <artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>{}</dependencies></project>\n",
        artifacts.concat()
    );
    fs::write(home.join("pom.xml"), project)?;
    let partial = home.join("libs-partial");
    Program::new(maven)
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .args([format!("-DoutputDirectory={}", partial.display())])
        .current_dir(&home)
        .run(DOWNLOAD_LIMIT)?;
    fs::rename(&partial, &libraries)?;
    Ok(libraries)
}

/// Gives or takes permissions on the cluster at an address, as `kafka-acls.sh` does.
///
/// # Errors
/// What the tool says.
pub fn acls(address: &str, arguments: &[&str]) -> Result<()> {
    let java = ensure_package("java", "default-jre-headless")?;
    let class_path = format!("{}/*", libraries()?.display());
    let tool = ["-Xmx128m", "-cp", &class_path, "org.apache.kafka.tools.AclCommand", "--bootstrap-server", address];
    run_as(None, &java, &[&tool[..], arguments].concat()).context("the permissions cannot be changed")
}

fn scram_users() -> Vec<String> {
    let user = |user| {
        ["SCRAM-SHA-256", "SCRAM-SHA-512"].map(|mechanism| format!("{mechanism}=[name={user},password={PASSWORD}]"))
    };
    USERS.into_iter().flat_map(user).collect()
}

/// 22 characters that are 16 bytes in URL-safe Base64.
fn cluster_id() -> Result<String> {
    let random = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let digits: String = random.chars().filter(char::is_ascii_hexdigit).take(21).collect();
    Ok(digits + "A")
}

/// A broker's listeners for detours, what it tells their clients, and what they speak.
fn detour_listeners(index: usize, detours: &[Vec<SocketAddr>], ends: &[Vec<u16>]) -> [String; 3] {
    let mut lines: [String; 3] = Default::default();
    for (number, (told, ends)) in detours.iter().zip(ends).enumerate() {
        lines[0] += &format!(",DETOUR{number}://127.0.0.1:{}", ends[index]);
        lines[1] += &format!(",DETOUR{number}://{}", told[index]);
        lines[2] += &format!(",DETOUR{number}:PLAINTEXT");
    }
    lines
}

/// What a listener that wants a password takes.
fn mechanisms(listener: &str) -> String {
    let users: String = USERS.iter().map(|user| format!(" user_{user}=\"{PASSWORD}\"")).collect();
    let prefix = format!("listener.name.{listener}");
    let security = "org.apache.kafka.common.security";
    format!(
        "{prefix}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
{prefix}.plain.sasl.jaas.config={security}.plain.PlainLoginModule required{users};
{prefix}.scram-sha-256.sasl.jaas.config={security}.scram.ScramLoginModule required;
{prefix}.scram-sha-512.sasl.jaas.config={security}.scram.ScramLoginModule required;
"
    )
}

fn settings(index: usize, ports: [&[u16]; 4], detours: &[String; 3], folder: &Path, keys: &Path) -> String {
    let [client, controller, sasl, tls] = ports;
    let [listeners, told, protocols] = detours;
    let node = index + 1;
    let voters = controller.iter().enumerate().map(|(index, port)| format!("{}@127.0.0.1:{port}", index + 1));
    let voters = voters.collect::<Vec<_>>().join(",");
    let replicas = client.len().min(3);
    let (client, controller, sasl, tls) = (client[index], controller[index], sasl[index], tls[index]);
    let passwords = mechanisms("sasl") + &mechanisms("tls");
    let in_sync = if replicas > 2 { 2 } else { 1 };
    format!(
        "process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller},SASL://127.0.0.1:{sasl},TLS://127.0.0.1:{tls}{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{client},SASL://127.0.0.1:{sasl},TLS://127.0.0.1:{tls}{told}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SASL_SSL{protocols}
{passwords}listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location={}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:dos
log.dirs={}
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
controlled.shutdown.enable=true
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.backoff.ms=1000
log.cleaner.dedupe.buffer.size=4194304
",
        keys.display(),
        folder.join("log").display(),
    )
}

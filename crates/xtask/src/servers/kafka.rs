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
const START_LIMIT: Duration = Duration::from_secs(60);
/// `ApiVersions`, version 0, from a client without a name.
const GREETING: &[u8] = &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];

/// A cluster.
pub(crate) struct Kafka {
    brokers: Vec<Broker>,
    /// Where the first one wants the user `dos` with the password `secret` (SASL PLAIN, no TLS).
    sasl: SocketAddr,
    data: PathBuf,
}

struct Broker {
    recipe: Recipe,
    process: Option<Process>,
}

impl Kafka {
    /// Starts a cluster of so many brokers with empty logs.
    pub(super) fn start(brokers: u16) -> Result<Self> {
        let java = ensure_package("java", "default-jre-headless")?;
        let libraries = libraries()?;
        let data = data_folder("kafka")?;
        let ports = free_ports(usize::from(brokers) * 3)?;
        let (client, rest) = ports.split_at(usize::from(brokers));
        let (controller, sasl) = rest.split_at(usize::from(brokers));
        let class_path = format!("{}/*", libraries.display());
        let cluster = cluster_id()?;
        let mut kafka = Self { brokers: Vec::new(), sasl: loopback(sasl[0]), data };
        for (index, port) in client.iter().enumerate() {
            let folder = kafka.data.join(format!("broker-{}", index + 1));
            fs::create_dir_all(&folder)?;
            let properties = folder.join("server.properties");
            fs::write(&properties, settings(index, client, controller, sasl, &folder))?;
            let properties = properties.display().to_string();
            let tool = ["-Xmx128m", "-cp", &class_path, "kafka.tools.StorageTool", "format", "-t", &cluster, "-c"];
            run_as(None, &java, &[&tool[..], &[&properties]].concat()).context("the logs cannot be formatted")?;
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
    pub(crate) fn sasl_address(&self) -> String {
        self.sasl.to_string()
    }

    /// Ends a broker, from 0, in good order.
    #[expect(dead_code, reason = "the fault tests are to use it")]
    pub(crate) fn stop_broker(&mut self, index: usize) -> Result<()> {
        let process = self.brokers.get_mut(index).and_then(|broker| broker.process.take());
        process.map_or(Ok(()), |mut process| process.stop())
    }

    /// Ends a broker, from 0, as a power cut would.
    #[expect(dead_code, reason = "the fault tests are to use it")]
    pub(crate) fn kill_broker(&mut self, index: usize) -> Result<()> {
        let process = self.brokers.get_mut(index).and_then(|broker| broker.process.take());
        process.map_or(Ok(()), |mut process| process.kill())
    }

    /// Starts a broker again that was ended, at its address and with its log.
    #[expect(dead_code, reason = "the fault tests are to use it")]
    pub(crate) fn start_broker(&mut self, index: usize) -> Result<()> {
        let broker = self.brokers.get_mut(index).context("no such broker")?;
        broker.process = Some(broker.recipe.start(START_LIMIT)?);
        Ok(())
    }

    /// Where clients find it.
    pub(crate) fn address(&self) -> String {
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

/// 22 characters that are 16 bytes in URL-safe Base64.
fn cluster_id() -> Result<String> {
    let random = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let digits: String = random.chars().filter(char::is_ascii_hexdigit).take(21).collect();
    Ok(digits + "A")
}

fn settings(index: usize, client: &[u16], controller: &[u16], sasl: &[u16], folder: &Path) -> String {
    let node = index + 1;
    let voters = controller.iter().enumerate().map(|(index, port)| format!("{}@127.0.0.1:{port}", index + 1));
    let voters = voters.collect::<Vec<_>>().join(",");
    let replicas = client.len().min(3);
    let (client, controller, sasl) = (client[index], controller[index], sasl[index]);
    let in_sync = if replicas > 2 { 2 } else { 1 };
    format!(
        "process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller},SASL://127.0.0.1:{sasl}
advertised.listeners=PLAINTEXT://127.0.0.1:{client},SASL://127.0.0.1:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT
listener.name.sasl.sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_dos=\"secret\";
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
        folder.join("log").display(),
    )
}

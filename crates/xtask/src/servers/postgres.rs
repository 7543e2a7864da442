//! PostgreSQL from the Debian package.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::process::{Process, Recipe, run_as};
use super::{data_folder, free_ports, loopback};
use crate::packages::ensure_package;
use crate::shell::Program;

const START_LIMIT: Duration = Duration::from_secs(30);
/// PostgreSQL's programs refuse to run as root.
const USER: Option<&str> = Some("postgres");
const PACKAGED: &str = "/usr/lib/postgresql";
/// "Will you talk TLS?", which is answered by one byte.
const GREETING: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];

/// A server with one empty cluster.
pub struct Postgres {
    recipe: Recipe,
    process: Option<Process>,
    data: PathBuf,
}

impl Postgres {
    /// Makes a cluster and starts its server.
    pub(super) fn start() -> Result<Self> {
        let programs = programs()?;
        let data = data_folder("postgres")?;
        if rustix::process::geteuid().is_root() {
            own(&data)?;
        }
        let cluster = data.join("cluster").display().to_string();
        let init = ["-D", &cluster, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-N"];
        run_as(USER, &programs.join("initdb"), &init).context("the cluster cannot be made")?;
        let port = *free_ports(1)?.first().context("no port")?;
        let number = port.to_string();
        let arguments =
            ["-D", &cluster, "-p", &number, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="];
        let recipe = Recipe {
            name: "PostgreSQL".to_owned(),
            program: programs.join("postgres"),
            arguments: arguments.iter().copied().chain(["-c", "max_connections=200"]).map(str::to_owned).collect(),
            // A fast shutdown; TERM would wait for the clients.
            signal: Signal::INT,
            user: USER,
            log: data.join("output.log"),
            address: loopback(port),
            greeting: GREETING.to_vec(),
        };
        let process = Some(recipe.start(START_LIMIT)?);
        Ok(Self { recipe, process, data })
    }

    /// Where it listens.
    pub fn socket(&self) -> SocketAddr {
        self.recipe.address
    }

    /// Ends it: its clients are cut off, and it stores what it has; or at once, so that it must recover.
    ///
    /// # Errors
    /// Where its process cannot be ended.
    pub fn stop(&mut self, at_once: bool) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        // QUIT reaches all its processes; KILL would leave them with the shared memory.
        if at_once { process.end(Signal::QUIT) } else { process.stop() }
    }

    /// Starts it again at its address, with its data.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = Some(self.recipe.start(START_LIMIT)?);
        Ok(())
    }

    /// The URL of a database that a test may make schemas in.
    pub fn address(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.recipe.address)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.process.take());
        drop(fs::remove_dir_all(&self.data));
    }
}

/// The folder of `initdb` and `postgres`: of the newest version there is.
fn programs() -> Result<PathBuf> {
    if let Some(found) = packaged() {
        return Ok(found);
    }
    ensure_package("pg_ctlcluster", "postgresql")?;
    packaged().with_context(|| format!("the package postgresql was installed and brought no server to {PACKAGED}"))
}

fn packaged() -> Option<PathBuf> {
    let versions = fs::read_dir(PACKAGED).ok()?.flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let found = versions.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").exists());
    Some(found.max_by_key(|path| version(path))?.join("bin"))
}

/// Gives a folder to PostgreSQL's user.
fn own(folder: &Path) -> Result<()> {
    let id = |option: &str| -> Result<u32> {
        let output = Program::new("id").args([option, "postgres"]).output()?;
        Ok(String::from_utf8_lossy(&output).trim().parse()?)
    };
    chown(folder, Some(id("-u")?), Some(id("-g")?)).context("the folder cannot be given to postgres")
}

//! Redis from the Debian package, without persistence.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::process::{Process, Recipe};
use super::{data_folder, free_ports, loopback};
use crate::packages::ensure_package;

const START_LIMIT: Duration = Duration::from_secs(10);

/// A server.
pub struct Redis {
    recipe: Recipe,
    process: Option<Process>,
    data: PathBuf,
}

impl Redis {
    /// Starts it empty.
    pub(super) fn start() -> Result<Self> {
        let program = ensure_package("redis-server", "redis-server")?;
        let data = data_folder("redis")?;
        let port = *free_ports(1)?.first().context("no port")?;
        let number = port.to_string();
        let arguments = ["--port", &number, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let recipe = Recipe {
            name: "Redis".to_owned(),
            program,
            arguments: arguments.map(str::to_owned).to_vec(),
            signal: Signal::TERM,
            user: None,
            log: data.join("output.log"),
            address: loopback(port),
            greeting: b"PING\r\n".to_vec(),
        };
        let process = Some(recipe.start(START_LIMIT)?);
        Ok(Self { recipe, process, data })
    }

    /// Ends it, with all it held.
    ///
    /// # Errors
    /// Where its process cannot be ended.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.stop())
    }

    /// Starts it again, empty, at its address.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = Some(self.recipe.start(START_LIMIT)?);
        Ok(())
    }

    /// Where it listens.
    pub fn socket(&self) -> SocketAddr {
        self.recipe.address
    }

    /// Its URL.
    pub fn address(&self) -> String {
        format!("redis://{}/", self.recipe.address)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.process.take());
        drop(fs::remove_dir_all(&self.data));
    }
}

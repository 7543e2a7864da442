//! `dos quarantine` and `dos doctor`: their flags. They read the same settings as the processes that they are for.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::run::{brokers, url};
use crate::quarantine::Job;
use crate::settings::{Secret, Settings, Views};

/// Where the stream is.
#[derive(Debug, Args, Serialize)]
struct StreamArgs {
    /// Kafka's brokers
    #[arg(long, value_name = "HOST:PORT,..")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "brokers")]
    kafka: Option<String>,
    /// Folder of the data, without Kafka [default: dos-data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Settings file (TOML), that of the gateways and stores
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// Flags of `quarantine`.
#[derive(Debug, Args)]
pub(super) struct QuarantineArgs {
    #[command(subcommand)]
    job: JobArgs,
}

#[derive(Debug, Subcommand)]
enum JobArgs {
    /// A line per event: where it lay, when, what, how large, and why it was set aside
    List {
        #[command(flatten)]
        stream: StreamArgs,
    },
    /// Events whole, as JSON
    Show {
        /// Where it lay: TOPIC:PARTITION:OFFSET, as `list` says
        #[arg(required = true, value_name = "PLACE")]
        places: Vec<String>,
        #[command(flatten)]
        stream: StreamArgs,
    },
    /// Append events, as they came, to the topic they came by. They stay listed until their retention has passed
    Resend {
        /// Where it lay: TOPIC:PARTITION:OFFSET, as `list` says
        #[arg(required = true, value_name = "PLACE")]
        places: Vec<String>,
        /// Give each a new id: stores remember of a command that was set aside that it failed, and do not carry it out under
        /// its old one
        #[arg(long)]
        new_id: bool,
        #[command(flatten)]
        stream: StreamArgs,
    },
}

impl QuarantineArgs {
    /// What to do, and the settings.
    pub(super) fn read(self) -> anyhow::Result<(Job, Settings)> {
        let (job, stream) = match self.job {
            JobArgs::List { stream } => (Job::List, stream),
            JobArgs::Show { places, stream } => (Job::Show(places), stream),
            JobArgs::Resend { places, new_id, stream } => (Job::Resend { places, new_id }, stream),
        };
        let settings = Settings::load(stream.config.as_deref(), &stream)?;
        settings.check_kafka()?;
        Ok((job, settings))
    }
}

/// Flags of `doctor`.
#[derive(Debug, Args, Serialize)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    #[serde(flatten)]
    stream: StreamArgs,
    /// The store's database, with Kafka: postgres://USER@HOST/NAME or sqlite:DIR
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "url")]
    database: Option<Secret>,
    /// The cache that gateways share: redis://HOST/, rediss:// or unix://
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "url")]
    redis: Option<Secret>,
    /// Where the gateways' reads come from [default: materialised]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    views: Option<Views>,
}

impl DoctorArgs {
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        Settings::load(self.stream.config.as_deref(), self)
    }
}

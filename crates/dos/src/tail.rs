//! `dos tail`: events as they pass.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use contract::{Env, Offset, Partition, Registry, Topic};
use stream::embedded::{Embedded, Follower};

use crate::client::tail::Args;

/// How long to wait before the file is looked at again.
const POLL: Duration = Duration::from_millis(100);

/// Events read at a time.
const BATCH: usize = 256;

/// Says what is followed, on standard error: standard output has the events alone.
fn explain(args: &Args) {
    let mut lines = Vec::new();
    let names: Vec<_> = args.topics().iter().map(|topic| topic.name()).collect();
    let from = if args.from_start { "the oldest event on" } else { "the next event on" };
    lines.push(format!("following {} in {}, from {from}", names.join(", "), args.data_dir.display()));
    if !Embedded::is_open(&args.data_dir) {
        lines.push("no `dos serve` is running there: nothing new comes until one is started".to_owned());
    }
    if let Ok(registry) = Registry::built_in() {
        let known: Vec<_> = registry.iter().map(|known| known.name().as_str()).collect();
        for name in args.types.iter().filter(|name| !known.contains(&name.as_str())) {
            lines.push(format!(
                "{name} is no built-in type, those are {}; waiting for one of that name",
                known.join(", ")
            ));
        }
    }
    for line in lines {
        // Nobody may be listening there.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// Shows events of a running system until the reader of the output goes away or the program is stopped.
pub(crate) async fn run(args: &Args, env: &dyn Env) -> anyhow::Result<()> {
    let follower = Follower::open(&args.data_dir).context(
        "`dos tail` shows the events of a data folder (--data-dir); it cannot follow Kafka, where \
         kafka-console-consumer.sh shows the topics",
    )?;
    let mut places: Vec<(Topic, Partition, Offset)> = Vec::new();
    for topic in args.topics() {
        for (partition, bounds) in (0..).zip(follower.bounds(topic)?) {
            places.push((topic, partition, if args.from_start { bounds.start } else { bounds.end }));
        }
    }
    explain(args);
    let color = std::io::stdout().is_terminal();
    let mut out = std::io::stdout().lock();
    loop {
        let mut seen = false;
        for (topic, partition, next) in &mut places {
            for stored in follower.read(*topic, *partition, *next, BATCH)? {
                *next = stored.offset + 1;
                seen = true;
                if args.wants(*topic, &stored) {
                    writeln!(out, "{}", args.show(*topic, &stored, color))?;
                }
            }
        }
        out.flush()?;
        if seen {
            // A signal must get its turn, however much there is to show.
            tokio::task::yield_now().await;
        } else {
            env.sleep(POLL).await;
        }
    }
}

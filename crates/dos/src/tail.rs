//! `dos tail`: events as they pass.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use contract::{Env, Offset, Partition, Topic};
use stream::embedded::Follower;

use crate::client::tail::Args;

/// How long to wait before the file is looked at again.
const POLL: Duration = Duration::from_millis(100);

/// Events read at a time.
const BATCH: usize = 256;

/// Shows events of a running system until the reader of the output goes away or the program is stopped.
pub(crate) async fn run(args: &Args, env: &dyn Env) -> anyhow::Result<()> {
    let follower = Follower::open(&args.data_dir)?;
    let mut places: Vec<(Topic, Partition, Offset)> = Vec::new();
    for topic in args.topics() {
        for (partition, bounds) in (0..).zip(follower.bounds(topic)?) {
            places.push((topic, partition, if args.from_start { bounds.start } else { bounds.end }));
        }
    }
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
        if !seen {
            env.sleep(POLL).await;
        }
    }
}

//! The scripts, each one step as Redis sees it.

use std::time::Duration;

use contract::Offset;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Script};

use super::value;

/// What [`Scripts::look`] finds: the partition's state and the entry, as bytes.
pub(super) type Found = (Option<Vec<u8>>, Option<Vec<u8>>);

/// How long a partition's state is kept without being written: a cluster that is gone leaves nothing for ever.
const STATE_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) struct Scripts {
    look: Script,
    insert: Script,
    pass: Script,
}

/// One entry of [`Scripts::pass`]: its key, its version (none: it must go), and its body.
pub(super) struct Passed {
    pub(super) key: String,
    pub(super) version: Option<u64>,
    pub(super) body: Vec<u8>,
}

/// What [`Scripts::pass`] did.
pub(super) enum Outcome {
    /// The position was moved, if need be in a new generation.
    Done { renewed: bool },
    /// These entries are older; nothing was done, as their bodies were not given.
    Older(Vec<usize>),
}

impl Scripts {
    pub(super) fn new() -> Self {
        let common = include_str!("common.lua");
        Self {
            look: Script::new(include_str!("look.lua")),
            insert: Script::new(&format!("{common}{}", include_str!("insert.lua"))),
            pass: Script::new(&format!("{common}{}", include_str!("pass.lua"))),
        }
    }

    pub(super) async fn look(
        &self,
        connection: &mut MultiplexedConnection,
        state: &str,
        entry: &str,
    ) -> Result<Found, RedisError> {
        self.look.key(state).key(entry).arg(value::BYTES_MAX).invoke_async(connection).await
    }

    /// Keeps what reflects everything before a position; answers what became of it, in a word.
    pub(super) async fn insert(
        &self,
        connection: &mut MultiplexedConnection,
        (state, entry): (&str, &str),
        as_of: Offset,
        (version, body): (u64, &[u8]),
        ttl: Duration,
    ) -> Result<String, RedisError> {
        let mut call = self.insert.key(state);
        call.key(entry).arg(as_of).arg(version).arg(body).arg(millis(ttl)).invoke_async(connection).await
    }

    /// Takes a batch; where entries are older and `bodies` is false, it is asked for them.
    pub(super) async fn pass(
        &self,
        connection: &mut MultiplexedConnection,
        state: &str,
        (from, to): (Offset, Offset),
        fresh: (&str, bool),
        entries: &[Passed],
        (bodies, ttl): (bool, Duration),
    ) -> Result<Outcome, RedisError> {
        let mut call = self.pass.key(state);
        call.arg(from).arg(to).arg(fresh.0).arg(u8::from(fresh.1));
        call.arg(millis(ttl)).arg(millis(STATE_TTL)).arg(u8::from(bodies));
        for entry in entries {
            let version = entry.version.map(|version| version.to_string()).unwrap_or_default();
            call.key(entry.key.as_str()).arg(version).arg(if bodies { entry.body.as_slice() } else { &[] });
        }
        let answer: Vec<i64> = call.invoke_async(connection).await?;
        if bodies || answer.is_empty() || answer == [-1] {
            return Ok(Outcome::Done { renewed: answer == [-1] });
        }
        Ok(Outcome::Older(answer.into_iter().filter_map(|index| usize::try_from(index).ok()).collect()))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

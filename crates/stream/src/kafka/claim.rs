//! The claim on a topic set: which database carries out its commands.
//!
//! Nothing on Kafka says whose topics they are before their first view, and two databases that both believe to be it would give
//! the same versions to different entities. So a store that is about to carry out a topic set's first command writes a record
//! to partition 0 of `dos.views`, beside the set's mark: an event of type `dos.database` with `{"database": <name>}`. As with
//! marks the first one in the partition counts, and a key of its own, `$database:<uuid>`, keeps each from compaction: were it
//! the database's, a second claim of the same database would take the place of its first, behind another's. Unlike a mark
//! it comes while others read, so tails give it: were it passed over, who read on from before would seem to be behind who came
//! later (`contract::Record::is_about_stream`).

use contract::{Env, Headers, Record, Topic};

use super::link::Context;
use super::mark;
use super::{Shared, refused, unavailable};
use crate::{AppendError, StreamError};

const PREFIX: &[u8] = b"$database:";
const VALUE: [&str; 2] = [r#"{"database":""#, r#""}"#];

fn record(database: &str, env: &dyn Env) -> Record {
    let id = env.uuid().to_string();
    let time = env.now().to_string();
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", id.as_str()),
        ("ce_source", "/stream/kafka"),
        ("ce_type", "dos.database"),
        ("ce_time", &time),
        ("content-type", "application/json"),
    ];
    Record {
        key: [PREFIX, id.as_bytes()].concat().into(),
        headers: Headers::from_pairs(headers.map(|(name, value)| (name, value.as_bytes()))),
        value: VALUE.join(database).into(),
    }
}

fn read(key: &[u8], value: &[u8]) -> Option<String> {
    key.strip_prefix(PREFIX)?;
    // Written by `record` and by nothing else.
    let name = std::str::from_utf8(value).ok()?.strip_prefix(VALUE[0])?.strip_suffix(VALUE[1])?;
    Some(name.to_owned())
}

/// The name of the database that claimed the set first: this one, unless there was one before.
pub(super) async fn claim(shared: &Shared, database: &str) -> Result<String, StreamError> {
    if let Some(first) = find(shared).await? {
        return Ok(first);
    }
    match shared.producer.append(Topic::Views, 0, &record(database, &*shared.env)).await {
        Ok(_) => find(shared).await?.ok_or_else(|| unavailable("the claim on the topics is not there yet")),
        Err(AppendError::Unavailable(reason) | AppendError::Unknown(reason)) => {
            Err(unavailable(format!("the topics are not claimed yet: {reason}")))
        }
        Err(error) => Err(unavailable(error)),
    }
}

/// Reads the partition up to its first claim; where there is none, all of it.
pub(super) async fn find(shared: &Shared) -> Result<Option<String>, StreamError> {
    let options = shared.options.clone();
    let context = Context { link: shared.link.clone(), is_producer: false };
    let views = format!("topic {}", options.topic(Topic::Views));
    shared.ask(move |_| mark::first(&options, context, read).map_err(|error| refused(&error, &views))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_read_as_it_was_written() {
        let key = [PREFIX, b"0198"].concat();
        assert_eq!(read(&key, VALUE.join("0199-a").as_bytes()), Some("0199-a".to_owned()));
        assert_eq!(read(b"provider:1", VALUE.join("0199-a").as_bytes()), None);
        assert_eq!(read(&key, br#"{"database":7}"#), None);
    }
}

//! `dos quarantine`: events that no store could read are listed, shown and sent again.
//!
//! On Kafka this works beside everything else. The embedded file has one writer: it is read at any time, and written
//! only while no `dos serve` has it.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use contract::wire::cloudevents::{Quarantined, decode_quarantined};
use contract::{Env, Headers, Partition, Record, Stored, Topic};
use stream::embedded::{Embedded, Follower};
use stream::{AppendError, Stream, StreamError};

use crate::client::tail;
use crate::client::text::{cut, printable, thousands};
use crate::serve::Events;
use crate::settings::Settings;

/// How long a stream that is away is waited for, and how long it may give nothing.
const PATIENCE: Duration = Duration::from_secs(15);
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// Events read at a time.
const BATCH: usize = 256;
const REASON_CHARS_MAX: usize = 200;

/// What to do.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// A line each.
    List,
    /// These, whole.
    Show(Vec<String>),
    /// These again, to where they came by; with an id of their own, if so wanted.
    Resend { places: Vec<String>, new_id: bool },
}

/// Where events are read.
struct Source {
    /// Stands before the names of topics, and so before the places where events lay.
    prefix: String,
    events: Kept,
}

enum Kept {
    /// The file of an embedded stream, whoever has it.
    File(Follower),
    Stream(Arc<dyn Stream>),
}

/// Does the job; all that was asked for must be there.
pub(crate) async fn run(job: &Job, settings: &Settings, env: &Arc<dyn Env>) -> anyhow::Result<()> {
    if settings.kafka.brokers.is_none() {
        let source = Source { prefix: String::new(), events: Kept::File(Follower::open(&settings.data_dir)?) };
        let Job::Resend { places, new_id } = job else { return read(job, &source, env).await };
        if Embedded::is_open(&settings.data_dir) {
            bail!(
                "`dos serve` has the file in {} and is its only writer: stop it, send the events again, and start it",
                settings.data_dir.display()
            );
        }
        let events = Events::open(settings, "quarantine", env)?;
        let sent = resend(places, *new_id, &source, &*events.port(), env).await;
        events.close().await;
        return sent;
    }
    let mut settings = settings.clone();
    settings.kafka.create_topics = false;
    let events = Events::open(&settings, "quarantine", env)?;
    let source = Source { prefix: settings.kafka.topic_prefix.clone(), events: Kept::Stream(events.port()) };
    let done = match job {
        Job::Resend { places, new_id } => resend(places, *new_id, &source, &*events.port(), env).await,
        job => read(job, &source, env).await,
    };
    events.close().await;
    done
}

async fn read(job: &Job, source: &Source, env: &Arc<dyn Env>) -> anyhow::Result<()> {
    if let Job::Show(places) = job {
        for place in places {
            writeln!(std::io::stdout(), "{}", show(&source.prefix, &find(source, place, env).await?))?;
        }
        return Ok(());
    }
    let mut count = 0_u64;
    for partition in 0..source.partitions(env).await? {
        source
            .scan(partition, env, |stored| {
                count += 1;
                writeln!(std::io::stdout(), "{}", line(&source.prefix, stored))
            })
            .await?;
    }
    if count == 0 {
        // Standard output has the events alone.
        writeln!(std::io::stderr(), "no event is set aside")?;
    }
    Ok(())
}

/// One event on a line: place, time, type and entity, size, reason.
fn line(prefix: &str, stored: &Stored) -> String {
    let Some(set_aside) = decode_quarantined(&stored.record) else {
        return format!("- {}", tail::line(Topic::Quarantine, stored, tail::Look::default()));
    };
    let header = |name: &str| {
        let value = stored.record.headers.get(name).map(String::from_utf8_lossy).unwrap_or_default();
        if value.is_empty() { "-".to_owned() } else { printable(&cut(&value, 100)) }
    };
    let Quarantined { place, reason, record, .. } = set_aside;
    let size = match record {
        Some(record) => format!("{} B", thousands(record.value.len() as u64)),
        None => "not kept whole".to_owned(),
    };
    let (time, kind, subject) = (header("ce_time"), header("ce_type"), header("ce_subject"));
    format!("{prefix}{place}  {time}  {kind} {subject}  {size}  {}", printable(&cut(&reason, REASON_CHARS_MAX)))
}

fn show(prefix: &str, found: &Quarantined) -> String {
    let event = found.record.clone().map(|record| {
        let stored = Stored { partition: 0, offset: 0, record };
        serde_json::from_str::<serde_json::Value>(&tail::json(found.topic, &stored)).unwrap_or_default()
    });
    let mut event = event.unwrap_or_default();
    if let Some(event) = event.as_object_mut() {
        // Where it lay stands in `place`.
        event.remove("partition");
        event.remove("offset");
    }
    format!(
        "{:#}",
        serde_json::json!({"place": format!("{prefix}{}", found.place), "reason": found.reason, "event": event})
    )
}

/// The event that lay at a place, with the topics' prefix or without; of several copies any, for they are the same.
async fn find(source: &Source, place: &str, env: &Arc<dyn Env>) -> anyhow::Result<Quarantined> {
    let place = place.strip_prefix(&source.prefix).unwrap_or(place);
    let partition = contract::partition::of_key(place.as_bytes(), source.partitions(env).await?);
    let mut found = None;
    source
        .scan(partition, env, |stored| {
            if stored.record.key == place.as_bytes() && found.is_none() {
                found = decode_quarantined(&stored.record);
            }
            Ok(())
        })
        .await?;
    found.with_context(|| format!("{} is not in quarantine; `dos quarantine list` says what is", printable(place)))
}

async fn resend(
    places: &[String],
    new_id: bool,
    source: &Source,
    stream: &dyn Stream,
    env: &Arc<dyn Env>,
) -> anyhow::Result<()> {
    // All are looked for before the first is sent.
    let mut found = Vec::new();
    for place in places {
        let Quarantined { topic, place, record, .. } = find(source, place, env).await?;
        let record =
            record.with_context(|| format!("{place}: the event was too large to be kept whole; ask its sender"))?;
        found.push((place, topic, record));
    }
    for (place, topic, record) in found {
        let id = record.headers.get("ce_correlationid").map(|id| String::from_utf8_lossy(id).into_owned());
        let (record, fresh) = if new_id { renamed(&record, &**env) } else { (record, None) };
        let (partition, offset) = append(stream, topic, record, env).await.with_context(|| place.clone())?;
        let prefix = &source.prefix;
        let mut said = format!("{prefix}{place}: sent again as {prefix}{}:{partition}:{offset}", topic.name());
        match (fresh, id) {
            (Some(fresh), _) => said += &format!(" with the new id {fresh}"),
            (None, Some(_)) => {
                said += "; the store remembers for a while (store.outcome_retention_hours) that this command failed, and \
                         then only answers so: --new-id has it carried out";
            }
            (None, None) => {}
        }
        writeln!(std::io::stdout(), "{said}")?;
    }
    Ok(())
}

/// The event under an id that nothing is remembered of; nothing is changed in one that has none.
fn renamed(record: &Record, env: &dyn Env) -> (Record, Option<String>) {
    let is_id = |name: &[u8]| name == b"ce_id" || name == b"ce_correlationid";
    if !record.headers.iter().any(|(name, _)| is_id(name)) {
        return (record.clone(), None);
    }
    let id = env.uuid().to_string();
    let pairs = record.headers.iter().filter_map(|(name, value)| {
        Some((std::str::from_utf8(name).ok()?, if is_id(name) { id.as_bytes() } else { value }))
    });
    (Record { headers: Headers::from_pairs(pairs), ..record.clone() }, Some(id))
}

async fn append(
    stream: &dyn Stream,
    topic: Topic,
    record: Record,
    env: &Arc<dyn Env>,
) -> anyhow::Result<(Partition, u64)> {
    let begun = env.monotonic();
    loop {
        match stream.append(topic, record.clone()).await {
            Ok(place) => return Ok(place),
            // Nothing was stored.
            Err(AppendError::Unavailable(_)) if env.monotonic() < begun + PATIENCE => env.sleep(RETRY_AFTER).await,
            Err(error) => return Err(error.into()),
        }
    }
}

impl Source {
    /// Partitions of each topic.
    async fn partitions(&self, env: &Arc<dyn Env>) -> anyhow::Result<u32> {
        let stream = match &self.events {
            Kept::File(follower) => return Ok(follower.partitions()),
            Kept::Stream(stream) => stream,
        };
        let begun = env.monotonic();
        loop {
            match stream.topology().await {
                Ok(topology) => return Ok(topology.partitions),
                Err(StreamError::Unavailable(_)) if env.monotonic() < begun + PATIENCE => {
                    env.sleep(RETRY_AFTER).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// All that is set aside in a partition, from the oldest on.
    async fn scan(
        &self,
        partition: Partition,
        env: &Arc<dyn Env>,
        mut each: impl FnMut(&Stored) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        match &self.events {
            Kept::File(follower) => {
                let bounds = follower.bounds(Topic::Quarantine)?;
                let mut next = bounds.get(partition as usize).map_or(0, |bounds| bounds.start);
                loop {
                    let records = follower.read(Topic::Quarantine, partition, next, BATCH)?;
                    let Some(last) = records.last() else { return Ok(()) };
                    next = last.offset + 1;
                    records.iter().try_for_each(&mut each)?;
                }
            }
            Kept::Stream(stream) => {
                let bounds = stream.bounds(Topic::Quarantine).await?;
                let Some(bounds) = bounds.get(partition as usize).filter(|bounds| bounds.start < bounds.end) else {
                    return Ok(());
                };
                let mut tail = stream.tail(Topic::Quarantine, partition, bounds.start).await?;
                loop {
                    let records = tokio::select! {
                        biased;
                        records = tail.next(BATCH) => records?,
                        () = env.sleep(PATIENCE) => bail!("the stream gave nothing for {} s", PATIENCE.as_secs()),
                    };
                    records.iter().filter(|stored| stored.offset < bounds.end).try_for_each(&mut each)?;
                    // An empty batch is the end.
                    if records.last().is_none_or(|last| last.offset + 1 >= bounds.end) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::wire::cloudevents::encode_quarantined;

    use super::*;
    use crate::env::System;

    #[test]
    fn a_new_id_replaces_the_old_one_and_nothing_else() {
        let headers = [("ce_id", "1"), ("ce_type", "dos.x.y"), ("ce_correlationid", "1")];
        let headers = Headers::from_pairs(headers.map(|(name, value)| (name, value.as_bytes())));
        let record = Record { key: "x:1".into(), headers, value: "{}".into() };
        let (renamed, id) = renamed(&record, &System::new());
        let id = id.unwrap();
        let values: Vec<_> = renamed.headers.iter().map(|(_, value)| value).collect();
        assert_eq!(values, [id.as_bytes(), b"dos.x.y", id.as_bytes()]);
        assert_eq!((renamed.key, renamed.value), (record.key, record.value));
    }

    #[test]
    fn a_line_has_no_control_characters() {
        let record = Record { key: "k".into(), headers: Headers::default(), value: "v".into() };
        let stored = Stored { partition: 3, offset: 41, record };
        let kept = encode_quarantined(Topic::Commands, &stored, "bad \u{1b}[2J", 2 << 20);
        let text = line("x.", &Stored { partition: 0, offset: 0, record: kept });
        assert_eq!(text, "x.dos.commands:3:41  -  - -  1 B  bad \\u{1b}[2J");
    }
}

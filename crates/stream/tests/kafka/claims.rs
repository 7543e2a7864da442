//! Whose topics they are.

use contract::Topic;
use contract::wire::cloudevents::version_of;
use stream::conformance::{record, soon, take};
use stream::{Bounds, Stream};

use crate::fixture::{options, ready};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_claim_counts_for_ever() {
    let options = options();
    let (one, other) = (ready(&options).await, ready(&options).await);
    let (first, second) = tokio::join!(soon(one.claim("one")), soon(other.claim("other")));
    let first = first.unwrap();
    assert!(first == "one" || first == "other", "{first}");
    assert_eq!(second.unwrap(), first, "two that claim at once agree");
    for name in ["one", "other", "third"] {
        assert_eq!(soon(ready(&options).await.claim(name)).await.unwrap(), first);
    }
}

/// It lies among the views, is none, and whoever reads them passes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_no_view() {
    let options = options();
    let kafka = ready(&options).await;
    let before = kafka.bounds(Topic::Views).await.unwrap()[0];
    assert_eq!(soon(kafka.claim("one")).await.unwrap(), "one");
    let Bounds { start, end } = kafka.bounds(Topic::Views).await.unwrap()[0];
    assert!(start == before.start && end > before.end, "it was written");
    let mut tail = kafka.tail(Topic::Views, 0, start).await.unwrap();
    let claim = take(&mut *tail, 1).await.remove(0);
    assert!(claim.record.is_about_stream() && claim.offset + 1 == end, "{claim:?}");
    assert_eq!(version_of(&claim.record), None, "no store looks after it");
    let key = (0..).map(|n| format!("k{n}")).find(|key| contract::partition::of_key(key.as_bytes(), 3) == 0).unwrap();
    let (_, offset) = kafka.append(Topic::Views, record(&key, "1")).await.unwrap();
    assert_eq!(take(&mut *tail, 1).await[0].offset, offset);
    // Nor does it make the set another one.
    assert_eq!(soon(kafka.topology()).await, soon(ready(&options).await.topology()).await);
}

//! The adapter on a real Kafka: the conformance suite, and what only it promises.

// Only functions marked `#[test]` count as tests for clippy, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod away;
mod claims;
mod fixture;
mod groups;
mod tails;
mod topics;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_conforms() {
    stream::conformance::all(&fixture::Factory::new()).await;
}

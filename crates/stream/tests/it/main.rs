//! The embedded adapter: the conformance suite and what only it promises.

// Only functions marked `#[test]` count as tests for clippy, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ahead;
mod cleaning;
mod env;
mod fixture;
mod opening;
mod tailing;
mod writing;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_conforms() {
    stream::conformance::all(&fixture::Factory::new()).await;
}

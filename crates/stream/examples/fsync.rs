//! ad hoc
#![allow(clippy::all, clippy::unwrap_used, clippy::disallowed_methods)]
use std::sync::Arc;
use std::time::{Duration, Instant};
use contract::*;
use contract::env::BoxFuture;
use stream::Stream;
use stream::embedded::*;
struct E(Instant);
impl Env for E {
    fn now(&self) -> Timestamp { Timestamp::from_millis(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64) }
    fn monotonic(&self) -> Duration { self.0.elapsed() }
    fn random(&self) -> [u8; 10] { [1; 10] }
    fn sleep(&self, d: Duration) -> BoxFuture<()> { Box::pin(tokio::time::sleep(d)) }
    fn spawn(&self, t: BoxFuture<()>) { tokio::spawn(t); }
}
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let mode = std::env::args().nth(2).unwrap();
    let s = Embedded::open(&dir, Options { compaction_lag: Duration::ZERO, compaction_records_min: 1, compaction_percent_min: 0, ..Options::default() }, Arc::new(E(Instant::now()))).unwrap();
    let r = |i: u32| Record { key: format!("article:0190e7a4-0000-7000-8000-{i:012}").into(), headers: Headers::default(), value: vec![b'x'; 900].into() };
    if mode == "fsync" {
        for i in 0..3 { println!("{:?}", s.append(Topic::Commands, r(i)).await); }
        std::fs::write("/tmp/fail-fsync", b"").unwrap();
        let (a, b) = tokio::join!(s.append(Topic::Commands, r(4)), s.append(Topic::Commands, r(5)));
        std::fs::remove_file("/tmp/fail-fsync").unwrap();
        println!("{a:?} {b:?}");
        println!("{:?}", s.append(Topic::Commands, r(6)).await);
        println!("failed: {:?}", tokio::time::timeout(Duration::from_millis(100), s.failed()).await);
        println!("close: {:?}", tokio::time::timeout(Duration::from_millis(1000), s.close()).await);
        return;
    }
    for round in 0..3 {
        let begun = Instant::now();
        for chunk in 0..1000 {
            s.transact(move |tx| { for i in 0..300 { let record = Record { key: format!("article:0190e7a4-0000-7000-8000-{:012}", chunk * 300 + i).into(), headers: Headers::default(), value: vec![b'x'; 900].into() }; tx.append(Topic::Views, record)?; } Ok(()) }).await.unwrap();
        }
        println!("round {round}: 300000 in {:?}", begun.elapsed());
        let begun = Instant::now();
        let c = s.clone();
        let worst = tokio::spawn(async move {
            let (mut worst, mut n) = (Duration::ZERO, 0);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(4) { let t = Instant::now(); c.append(Topic::Commands, Record { key: "k".into(), headers: Headers::default(), value: "x".into() }).await.unwrap(); worst = worst.max(t.elapsed()); n += 1; }
            (worst, n)
        });
        s.clean().await.unwrap();
        println!("clean {:?}", begun.elapsed());
        println!("appends meanwhile {:?}", worst.await.unwrap());
        let n = s.read(|c| c.query_row("SELECT count(*) FROM stream_views", (), |r| r.get::<_, i64>(0))).await.unwrap();
        println!("left {n}, db {} MiB, wal {} MiB", std::fs::metadata(dir.join("dos.sqlite")).unwrap().len() >> 20, std::fs::metadata(dir.join("dos.sqlite-wal")).unwrap().len() >> 20);
    }
    s.close().await;
}

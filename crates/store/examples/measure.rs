#![allow(warnings, clippy::all)]
#[path = "../tests/it/env.rs"]
mod env;
use std::sync::Arc;
use std::time::{Duration, Instant};
use contract::*;
use contract::wire::cloudevents::*;
use store::*;
use stream::Stream;
use stream::embedded::{Embedded, Options};
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn threads() -> String {
    let mut out = vec![];
    for t in std::fs::read_dir("/proc/self/task").unwrap() {
        let p = t.unwrap().path();
        let s = std::fs::read_to_string(p.join("stat")).unwrap();
        let name = s.split('(').nth(1).unwrap().rsplit(')').nth(1).unwrap().to_string();
        let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
        out.push(format!("{name}={:.2}+{:.2}", f[11].parse::<f64>().unwrap()/100.0, f[12].parse::<f64>().unwrap() / 100.0));
    }
    out.join(" ")
}
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let dir = tempfile::tempdir_in(".").unwrap();
    let env: Arc<dyn Env> = Arc::new(env::TestEnv::new());
    let embedded = Embedded::open(dir.path(), Options { partitions: 8, ..Options::default() }, env.clone()).unwrap();
    let db = Sqlite::open(embedded.clone()).await.unwrap();
    let registry = Registry::built_in().unwrap();
    let st = Store::start(Config::default(), registry.clone(), Arc::new(embedded.clone()), Arc::new(db.clone()), env.clone()).await.unwrap();
    st.stop().await;
    let ids: Vec<_> = (0..n).map(|_| env.uuid()).collect();
    for round in ["create", "update"] {
        let mut records = vec![];
        for i in 0..n {
            let id = if round == "create" { ids[i] } else { ids[(i * 7919) % n] };
            let desc = "Advice and support for people who live in Trafford. ".repeat(6);
            let data = serde_json::json!({"name": format!("{round} {i}"), "published":1, "description": desc, "provider_id":"fb24bfe9-3e8f-5ff8-b9d6-5d381eef84c1","contact_id":"fb24bfe9-3e8f-5ff8-b9d6-5d381eef84c1","taxonomy_ids":["70cb9770-1cdf-56fb-8d0a-cebb55cd56ba"]});
            let serde_json::Value::Object(data) = data else { panic!() };
            let action = if round == "create" { Action::Create(data) } else { Action::Update(data) };
            let c = Command { id: CommandId(env.uuid()), key: Key::parse(&format!("service:{id}")).unwrap(), action, precondition: None, time: env.now(), source: "/gateway/1".into(), request_id: Some("abcdefgh".into()), traceparent: None };
            records.push(encode_command(&c, &registry));
        }
        for chunk in records.chunks(1000) {
            let chunk = chunk.to_vec();
            embedded.transact(move |t| { for r in chunk { t.append(Topic::Commands, r)?; } Ok(()) }).await.unwrap();
        }
        let ends: Vec<_> = embedded.bounds(Topic::Commands).await.unwrap().iter().map(|b| b.end).collect();
        let (t, c) = (Instant::now(), cpu());
        println!("before: {}", threads());
        let st = Store::start(Config::default(), registry.clone(), Arc::new(embedded.clone()), Arc::new(db.clone()), env.clone()).await.unwrap();
        for (p, end) in ends.iter().enumerate() {
            while db.position(p as u32).await.unwrap().unwrap_or(0) < *end { tokio::time::sleep(Duration::from_millis(5)).await; }
        }
        let (t, c) = (t.elapsed().as_secs_f64(), cpu() - c);
        println!("{round}: {:.0}/s, {:.1} us wall, {:.1} us cpu per command", n as f64 / t, t * 1e6 / n as f64, c * 1e6 / n as f64);
        println!("after: {}", threads());
        st.stop().await;
    }
}

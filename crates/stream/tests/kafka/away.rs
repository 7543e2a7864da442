//! Brokers that are not there.

use std::net::{Ipv4Addr, SocketAddr};

use contract::Topic;
use stream::conformance::{record, soon, take, topology};
use stream::kafka::{Kafka, Options};
use stream::{AppendError, Stream, StreamError};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{brokers, env, open, options, wait_for};

/// Passes connections on to the first broker.
async fn relay(listener: TcpListener) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let env = env();
        env.spawn(Box::pin(async move {
            let broker = brokers().split(',').next().unwrap().to_owned();
            let mut broker = TcpStream::connect(broker).await.unwrap();
            // Ends with either side.
            let _ = copy_bidirectional(&mut socket, &mut broker).await;
        }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_come_later_are_found() {
    let address: SocketAddr = {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap()
    };
    let options = Options { brokers: address.to_string(), ..options() };
    let kafka = open(&options);
    let away = soon(kafka.topology()).await;
    assert!(matches!(&away, Err(StreamError::Unavailable(reason)) if reason.contains(&options.brokers)), "{away:?}");
    let refused = soon(kafka.append(Topic::Commands, record("a", "1"))).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    assert!(matches!(soon(kafka.bounds(Topic::Views)).await, Err(StreamError::Unavailable(_))));
    let away = kafka.away_for().unwrap();
    wait_for("the time away", async || (kafka.away_for().unwrap() > away).then_some(())).await;
    // A store joins before there is anybody.
    let mut member = kafka.join("store", Topic::Commands).await.unwrap();
    assert!(matches!(soon(member.next()).await, Err(StreamError::Unavailable(_))));

    let listener = TcpListener::bind(address).await.unwrap();
    env().spawn(Box::pin(relay(listener)));
    wait_for("the brokers", async || kafka.topology().await.ok()).await;
    wait_for("all of it", async || kafka.away_for().is_none().then_some(())).await;
    let place = wait_for("an append", async || kafka.append(Topic::Commands, record("a", "1")).await.ok()).await;
    let change = soon(member.next()).await;
    assert!(matches!(&change, Ok(stream::Change::Assigned(partitions)) if partitions.len() == 3), "{change:?}");
    let mut tail = member.read(place.0, place.1).await.unwrap();
    assert_eq!(take(&mut *tail, 1).await[0].offset, place.1);
    kafka.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_nobody_has_is_told() {
    let options = Options { brokers: "no-such-host.invalid:9092".to_owned(), ..options() };
    let kafka = open(&options);
    let reason = wait_for("the reason", async || match kafka.topology().await {
        Err(StreamError::Unavailable(reason)) => reason.contains("resolve").then_some(reason),
        other => panic!("{other:?}"),
    });
    assert!(reason.await.contains("no-such-host.invalid"));
    kafka.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_are_checked_before_anything_is_connected() {
    let mut options = options();
    options.properties.insert("acks".to_owned(), "1".to_owned());
    let error = Kafka::open(options, env()).err().unwrap();
    assert!(error.to_string().starts_with("properties.acks: "), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_start_at_once_agree() {
    let options = options();
    let (one, other) = (open(&options), open(&options));
    let known = async |kafka: &Kafka| wait_for("the topology", async || kafka.topology().await.ok()).await;
    let (first, second) = tokio::join!(known(&one), known(&other));
    assert_eq!(first, second);
    assert_eq!(topology(&*crate::fixture::ready(&options).await).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_used_and_a_wrong_one_is_told() {
    let sasl = std::env::var("DOS_TEST_KAFKA_SASL")
        .expect("DOS_TEST_KAFKA_SASL is not set: start Kafka with `cargo xtask servers kafka` and set what it prints");
    let with = |password: &str| {
        let mut options = Options { brokers: sasl.clone(), ..options() };
        for (name, value) in [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "dos"),
            ("sasl.password", password),
        ] {
            options.properties.insert(name.to_owned(), value.to_owned());
        }
        options
    };
    let kafka = crate::fixture::ready(&with("secret")).await;
    kafka.append(Topic::Commands, record("a", "1")).await.unwrap();
    let kafka = open(&with("wrong"));
    let reason = wait_for("the refusal", async || match kafka.topology().await {
        Err(StreamError::Unavailable(reason)) => reason.contains("uthentication").then_some(reason),
        other => panic!("{other:?}"),
    })
    .await;
    assert!(!reason.contains("wrong"), "no secrets: {reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_scram_are_built_in() {
    let mut options = options();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "dos"),
            ("sasl.password", "secret"),
        ] {
            options.properties.insert(name.to_owned(), value.to_owned());
        }
        assert!(Kafka::open(options.clone(), env()).is_ok(), "{mechanism}");
    }
}

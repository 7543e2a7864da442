//! The commands and variables of `deploy/` start a system that works: two gateways and two stores, on servers of ours.

use std::collections::BTreeMap;
use std::path::Path;

use contract::Env as _;
use dos::env::System;
use serde_json::{Value, json};

use crate::command_line::{Process, dos};
use crate::harness::{Answer, client, eventually, root};
use crate::shapes::server;

type Variables = BTreeMap<String, String>;

/// A container as a deployment describes it.
struct Container {
    arguments: Vec<String>,
    variables: Variables,
}

fn yaml(path: &str) -> Value {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let mut value: serde_norway::Value = serde_norway::from_str(&text).unwrap();
    value.apply_merge().unwrap();
    serde_json::to_value(value).unwrap()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn map(object: &Value) -> Variables {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned();
    object.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// `${NAME:-default}` is the default, `${NAME:?message}` a password; here strangers may write.
fn interpolated(text: &str, views: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (variable, after) = rest.split_once('}').unwrap();
    let value = match variable.split_once(":-") {
        Some(("DOS_ANONYMOUS", _)) => "write",
        Some(("DOS_VIEWS", _)) => views,
        Some((_, default)) => default,
        None => "secret",
    };
    format!("{before}{value}{}", interpolated(after, views))
}

fn compose(views: &str) -> Vec<Container> {
    let services = yaml("deploy/compose/compose.yaml")["services"].clone();
    let ours = ["store-1", "store-2", "gateway-1", "gateway-2"].map(|name| &services[name]);
    let container = |service: &Value| Container {
        arguments: strings(&service["command"]).iter().map(|text| interpolated(text, views)).collect(),
        variables: map(&service["environment"]).into_iter().map(|(n, v)| (n, interpolated(&v, views))).collect(),
    };
    ours.map(container).into()
}

fn kubernetes() -> Vec<Container> {
    let sources = [
        ("configMap", map(&yaml("deploy/kubernetes/configmap.yaml")["data"])),
        ("secret", map(&yaml("deploy/kubernetes/secret.example.yaml")["stringData"])),
    ];
    let variable = |entry: &Value, pod: &str| {
        let from = &entry["valueFrom"];
        let key = sources.iter().find_map(|(kind, values)| {
            let key = from[format!("{kind}KeyRef")]["key"].as_str()?;
            Some(values.get(key).unwrap_or_else(|| panic!("{key} is in no {kind}")).clone())
        });
        let is_name = from["fieldRef"]["fieldPath"] == "metadata.name";
        let given = entry["value"].as_str().or(is_name.then_some(pod)).map(str::to_owned);
        let value = key.or(given).unwrap_or_else(|| panic!("{entry}"));
        (entry["name"].as_str().unwrap().to_owned(), value)
    };
    let pods = ["store-1", "store-2", "gateway-1", "gateway-2"];
    let container = |pod: &str| {
        let part = pod.split('-').next().unwrap();
        let manifest = yaml(&format!("deploy/kubernetes/{part}-deployment.yaml"));
        let container = &manifest["spec"]["template"]["spec"]["containers"][0];
        let mut variables: Variables =
            if container["envFrom"].is_null() { Variables::new() } else { sources[0].1.clone() };
        variables.extend(container["env"].as_array().unwrap().iter().map(|entry| variable(entry, pod)));
        Container { arguments: strings(&container["args"]), variables }
    };
    pods.map(container).into()
}

/// An argument or value with one of our servers, a free port of this machine or this folder in the place of theirs.
fn here(text: &str, folder: &Path) -> String {
    let flag = text.strip_prefix("--").and_then(|flag| flag.split_once('='));
    let (before, value) = flag.map_or((String::new(), text), |(name, value)| (format!("--{name}="), value));
    let value = match value.split([':', '-']).next() {
        Some("kafka") => server("DOS_TEST_KAFKA", "kafka"),
        Some("postgres") => server("DOS_TEST_POSTGRES", "postgres"),
        Some("redis" | "rediss") => server("DOS_TEST_REDIS", "redis"),
        Some("0.0.0.0") => "127.0.0.1:0".to_owned(),
        _ => value.replace("/var/lib/dos", folder.to_str().unwrap()),
    };
    format!("{before}{value}")
}

fn start(container: &Container, system: &str, folder: &Path) -> Process {
    let mut command = dos();
    command.args(container.arguments.iter().map(|argument| here(argument, folder))).current_dir(folder);
    command.envs(container.variables.iter().map(|(name, value)| (name, here(value, folder))));
    // What the image sets, and a place of its own on servers that all tests share.
    command.env("DOS_DATA_DIR", folder.join("data")).env("DOS_LOG__FORMAT", "json").env("DOS_ANONYMOUS", "write");
    command.env("DOS_KAFKA__TOPIC_PREFIX", format!("it-{system}.")).env("DOS_KAFKA__PARTITIONS", "2");
    if container.variables.contains_key("DOS_DATABASE__URL") {
        command.env("DOS_DATABASE__SCHEMA", format!("it_{system}"));
    }
    Process::of(command)
}

async fn works(containers: Vec<Container>) {
    let system = System::new().uuid().simple().to_string();
    let folders: Vec<_> = containers.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let started = containers.iter().zip(&folders).map(|(container, folder)| start(container, &system, folder.path()));
    let mut processes: Vec<_> = started.collect();
    for process in &mut processes {
        process.until_ready();
    }
    let urls: Vec<_> = processes.iter().map(Process::url).collect();
    let client = client();
    // All say so, stores on their admin address; the last two are the gateways.
    for url in &urls {
        Answer::of(client.get(format!("{url}/health/ready"))).await.expect(200);
    }
    let created = client.post(format!("{}/provider", urls[2])).json(&json!({"name": "n", "published": 1}));
    let created = Answer::of(created).await;
    let location = created.expect(201).header("location").unwrap();
    let path = &location[location.find("/provider/").unwrap()..];
    eventually(async || {
        (Answer::of(client.get(format!("{}{path}", urls[3]))).await.text == created.text).then_some(())
    })
    .await;
    for process in processes {
        process.terminate();
    }
}

#[tokio::test]
async fn the_compose_file_starts_a_system() {
    works(compose("materialised")).await;
    works(compose("on-demand")).await;
}

#[tokio::test]
async fn the_manifests_start_a_system() {
    works(kubernetes()).await;
}

//! The sample directory: in, out, through a kill, and into another gateway, without the loss of a character.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Map, Value};

use crate::command_line::{Process, dos};
use crate::harness::root;

const TYPES: [&str; 8] = ["provider", "service", "taxonomy", "event", "venue", "contact", "costoption", "eligibility"];

type Rows = BTreeMap<String, Map<String, Value>>;

fn rows(folder: &Path, entity_type: &str) -> Rows {
    let text = std::fs::read_to_string(folder.join(format!("{entity_type}.jsonl"))).unwrap();
    let row = |line: &str| {
        let row: Map<String, Value> = serde_json::from_str(line).unwrap();
        (row["id"].as_str().unwrap().to_owned(), row)
    };
    text.lines().map(row).collect()
}

/// Every field of every row is there with the same value; a field that a row lacks is null or the data store's.
fn assert_holds(exported: &Path, imported: &Path) {
    let mut count = 0;
    for entity_type in TYPES {
        let (exported, imported) = (rows(exported, entity_type), rows(imported, entity_type));
        assert_eq!(exported.len(), imported.len(), "{entity_type}");
        for (id, row) in &imported {
            count += 1;
            for (field, value) in row {
                // As text, so that 1 and 1.0 would differ.
                assert_eq!(exported[id][field].to_string(), value.to_string(), "{entity_type} {id} {field}");
            }
        }
    }
    assert!(count > 10_000, "{count} rows");
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = TYPES.map(|name| (name.to_owned(), std::fs::read(folder.join(format!("{name}.jsonl"))).unwrap()));
    files.into_iter().collect()
}

#[test]
fn the_whole_directory_survives_import_kill_export_and_another_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let (data, sample) = (folder.path().join("data"), root().join("data/trafford"));
    let mut first = Process::serve(&data, &["--import", sample.to_str().unwrap()]);
    let said = first.until_ready();
    assert!(said.contains("total: 10,861 rows: 10,861 created, 0 updated, 0 unchanged, 0 rejected"), "{said}");
    first.kill();

    let mut again = Process::serve(&data, &[]);
    again.until_ready();
    let one = folder.path().join("one");
    Process::run(&["export", "--url", &again.url(), one.to_str().unwrap()]).succeeds();
    assert_holds(&one, &sample);
    let second = Process::run(&["import", sample.to_str().unwrap(), "--url", &again.url()]);
    assert!(second.succeeds().contains("nothing changed: all 10,861 rows were there already"), "{second:?}");

    let mut other = Process::serve(&folder.path().join("other"), &["--views", "on-demand"]);
    other.until_ready();
    Process::run(&["import", one.to_str().unwrap(), "--url", &other.url()]).succeeds();
    let two = folder.path().join("two");
    Process::run(&["export", "--url", &other.url(), two.to_str().unwrap()]).succeeds();
    assert!(files(&one) == files(&two), "what was exported must import to an equal directory");
    again.terminate();
    other.terminate();
}

#[test]
fn rejected_rows_are_named_and_the_others_go_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::serve(&folder.path().join("data"), &[]);
    server.until_ready();
    let file = folder.path().join("provider.jsonl");
    let lines = [
        r#"{"id":"a","name":"A","published":1}"#,
        r#"{"id":"b","name":"B","published":7}"#,
        r#"{"id":"c","name":"#,
        "",
        r#"{"id":"d","name":"D","published":1}"#,
    ];
    std::fs::write(&file, lines.join("\r\n")).unwrap();
    let dry = Process::run(&["import", "--dry-run", file.to_str().unwrap()]);
    assert!(!dry.success && dry.stderr.contains("provider.jsonl:3:"), "{dry:?}");
    let run = Process::run(&["import", file.to_str().unwrap(), "--url", &server.url()]);
    assert!(!run.success, "{run:?}");
    assert!(run.stderr.contains("provider.jsonl:2:") && run.stderr.contains("#/published"), "{run:?}");
    assert!(run.stderr.contains("provider.jsonl:3:"), "{run:?}");
    assert!(run.stdout.contains("provider: 4 rows: 2 created, 0 updated, 0 unchanged, 2 rejected"), "{run:?}");
    server.terminate();
}

fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl").args(["-s", "-w", " %{http_code}"]).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_start_with_import_changes_nothing_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (data, sample) = (folder.path().join("data"), folder.path().join("sample"));
    std::fs::create_dir(&sample).unwrap();
    let rows =
        |ids: &[&str]| ids.iter().map(|id| format!("{{\"id\":\"{id}\",\"option\":\"{id}\"}}\n")).collect::<String>();
    let file = sample.join("costoption.jsonl");
    std::fs::write(&file, rows(&["a", "b", "c"])).unwrap();
    let flags = ["--import", sample.to_str().unwrap(), "--anonymous"];

    let mut server = Process::serve(&data, &[&flags[..], &["write"]].concat());
    assert!(server.until_ready().contains("total: 3 rows: 3 created"));
    assert!(
        curl(&["-X", "PUT", &format!("{}/costoption/a", server.url()), "--json", r#"{"option":"edited"}"#])
            .ends_with(" 200")
    );
    server.terminate();

    // Strangers may only read: the import has a way in of its own, which is closed again.
    std::fs::write(&file, rows(&["a", "b", "c", "d"])).unwrap();
    let mut server = Process::serve(&data, &[&flags[..], &["read"]].concat());
    let said = server.until_ready();
    let total = "total: 4 rows: 1 created, 0 updated, 0 unchanged, 0 rejected, 3 there already";
    assert!(said.contains(total) && said.contains("\n3 rows were there already and were left as they are\n"), "{said}");
    assert!(curl(&[&format!("{}/costoption/a", server.url())]).contains("\"option\":\"edited\""));
    assert!(curl(&[&format!("{}/costoption", server.url()), "--json", r#"{"option":"x"}"#]).ends_with(" 403"));
    assert!(curl(&[&format!("{}/health/ready", server.url())]).ends_with(" 200"));
    server.terminate();

    let mut server = Process::serve(&data, &[&flags[..], &["write"]].concat());
    assert!(
        server.until_ready().contains("\nnothing changed: all 4 rows were there already and were left as they are\n")
    );
    let import = ["import", sample.to_str().unwrap(), "--url", &server.url()];
    let kept = Process::run(&[&import[..], &["--create-only"]].concat());
    assert!(
        kept.succeeds().contains("nothing changed: all 4 rows were there already and were left as they are"),
        "{kept:?}"
    );
    let merged = Process::run(&import);
    assert!(merged.succeeds().contains("4 rows: 0 created, 1 updated, 3 unchanged, 0 rejected in"), "{merged:?}");
    server.terminate();
}

/// Sends SIGTERM as soon as the import's first file is begun.
fn cut_off(mut command: Command) -> (Output, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while !said.contains("costoption.jsonl ...") {
        assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "{said}");
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    stderr.read_to_string(&mut said).unwrap();
    (child.wait_with_output().unwrap(), said)
}

#[test]
fn an_import_that_is_cut_off_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("costoption.jsonl");
    let rows: String = (0..50_000).map(|n| format!("{{\"id\":\"c{n}\",\"option\":\"{n}\"}}\n")).collect();
    std::fs::write(&file, rows).unwrap();

    let mut server = Process::serve(&folder.path().join("data"), &[]);
    server.until_ready();
    let mut import = dos();
    import.arg("import").arg(&file).args(["--url", &server.url()]);
    let (output, said) = cut_off(import);
    let report = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(143), "{said}");
    assert!(report.contains("stopped early: interrupted\nrun the same import again: "), "{report}");
    assert!(report.contains("total: ") && !report.contains("50,000 rows"), "{report}");
    server.terminate();

    let mut serve = dos();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.path().join("other"));
    serve.arg("--import").arg(&file);
    let (output, said) = cut_off(serve);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(said.contains("the import was cut off: not every row is in"), "{said}");
}

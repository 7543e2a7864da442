use std::fs;
use std::path::Path;

use super::{TYPES, convert};
use crate::shell::workspace_root;

/// A source directory with one row per type, and what a test adds to it.
fn source(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for entity_type in TYPES {
        fs::write(directory.path().join(format!("{entity_type}.jsonl")), "{\"id\":\"1\"}\n").unwrap();
    }
    for relation in ["taxonomy_ref", "taxonomy_parent", "venue_geo"] {
        fs::write(directory.path().join(format!("{relation}.jsonl")), "").unwrap();
    }
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

#[test]
fn relations_become_fields_and_the_rest_stays_as_written() {
    // A non-breaking space, an escaped one, a number with a needless zero, blanks between members.
    let rows = "{\"id\":\"s1\",\"name\":\"Caf\u{e9}\u{a0}\\u00a0\u{a3}2\\n\",\"flagged\": false}\n{\"id\":\"s2\",\"name\":\"\"}\n";
    let source = source(&[
        ("service.jsonl", rows),
        ("taxonomy.jsonl", "{\"id\":\"t1\",\"term\":\"Learning\"}\n{\"id\":\"t2\",\"term\":\"Working\"}\n"),
        ("venue.jsonl", "{\"id\":\"v1\",\"details\":\"\"}\n{\"id\":\"v2\",\"details\":null}\n"),
        (
            "taxonomy_ref.jsonl",
            "{\"service_id\":\"s1\",\"taxonomy_id\":\"t2\"}\n{\"service_id\":\"s1\",\"taxonomy_id\":\"t1\"}\n",
        ),
        ("taxonomy_parent.jsonl", "{\"taxonomy_id\":\"t2\",\"parent_id\":\"t1\"}\n"),
        ("venue_geo.jsonl", "{\"venue_id\":\"v2\",\"latitude\":53.50,\"longitude\":-2.340016}\n"),
    ]);
    let destination = tempfile::tempdir().unwrap();
    let counts = convert(source.path(), destination.path()).unwrap();

    let expected = [1, 2, 2, 1, 2, 1, 1, 1];
    assert_eq!(counts, TYPES.into_iter().zip(expected).collect::<Vec<_>>());
    assert_eq!(
        read(destination.path(), "service.jsonl"),
        "{\"id\":\"s1\",\"name\":\"Caf\u{e9}\u{a0}\\u00a0\u{a3}2\\n\",\"flagged\": false,\"taxonomy_ids\":[\"t2\",\"t1\"]}\n\
         {\"id\":\"s2\",\"name\":\"\"}\n"
    );
    assert_eq!(
        read(destination.path(), "taxonomy.jsonl"),
        "{\"id\":\"t1\",\"term\":\"Learning\"}\n{\"id\":\"t2\",\"term\":\"Working\",\"parent_id\":\"t1\"}\n"
    );
    assert_eq!(
        read(destination.path(), "venue.jsonl"),
        "{\"id\":\"v1\",\"details\":\"\"}\n{\"id\":\"v2\",\"details\":null,\"latitude\":53.50,\"longitude\":-2.340016}\n"
    );
    assert_eq!(read(destination.path(), "contact.jsonl"), "{\"id\":\"1\"}\n");
}

#[test]
fn a_source_that_cannot_be_right_is_refused_with_its_line() {
    let parents = "{\"taxonomy_id\":\"1\",\"parent_id\":\"2\"}\n{\"taxonomy_id\":\"1\",\"parent_id\":\"3\"}\n";
    let repeated = "{\"service_id\":\"1\",\"taxonomy_id\":\"1\"}\n{\"service_id\":\"1\",\"taxonomy_id\":\"1\"}\n";
    let dangling = "{\"venue_id\":\"9\",\"latitude\":53,\"longitude\":-2}\n";
    for (name, text, reason) in [
        ("taxonomy_parent.jsonl", parents, "taxonomy_parent.jsonl:2: a second parent"),
        ("taxonomy_ref.jsonl", repeated, "taxonomy_ref.jsonl:2: the service has this taxonomy"),
        ("venue_geo.jsonl", dangling, "refer to a venue that is not there, 9 first"),
        ("event.jsonl", "{\"id\":\"1\"}\n{\"id\":\"1\"}\n", "event.jsonl:2: an id that an earlier row has"),
        ("event.jsonl", "{\"id\":\"1\"}\n{\"id\":\n", "event.jsonl:2: EOF while parsing"),
    ] {
        let destination = tempfile::tempdir().unwrap();
        let error = convert(source(&[(name, text)]).path(), destination.path()).unwrap_err();
        assert!(format!("{error:#}").contains(reason), "{error:#}");
    }
}

#[test]
fn the_committed_files_have_the_rows_their_readme_counts() {
    let directory = workspace_root().join("data/trafford");
    let readme = read(&directory, "README.md");
    for entity_type in TYPES {
        let row = format!("| `{entity_type}.jsonl` | ");
        let counted = readme.split_once(&row).and_then(|(_, rest)| rest.split(' ').next()).unwrap();
        let rows = read(&directory, &format!("{entity_type}.jsonl")).lines().count();
        assert_eq!(rows.to_string(), counted, "{entity_type}");
    }
}

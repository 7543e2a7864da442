//! The README's examples hold to the letter.

use std::process::Command;

use crate::command_line::Process;
use crate::harness::root;

/// The commands of the README's `console` blocks, each with the output that follows it.
fn examples(readme: &str) -> Vec<(String, String)> {
    let mut examples: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match (line.strip_prefix("$ "), examples.last_mut()) {
                (Some(command), _) => examples.push((command.to_owned(), String::new())),
                (None, Some((_, output))) => *output += &format!("{line}\n"),
                (None, None) => panic!("output without a command: {line}"),
            },
            (false, _) => {}
        }
    }
    examples
}

#[test]
fn every_example_gives_what_it_shows() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let examples = examples(&readme);
    assert!(examples.len() >= 8, "{examples:?}");
    let folder = tempfile::tempdir().unwrap();
    let sample = root().join("data/trafford");
    let mut server = Process::serve(&folder.path().join("data"), &["--import", sample.to_str().unwrap()]);
    server.until_ready();
    for (command, expected) in examples {
        assert!(command.contains("http://127.0.0.1:8080"), "{command}");
        let here = command.replace("http://127.0.0.1:8080", &server.url());
        let output = Command::new("sh").arg("-c").arg(&here).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(shown.trim_end(), expected.trim_end(), "{command}");
    }
    server.terminate();
}

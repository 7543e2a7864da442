//! Licences and banned crates of everything in `Cargo.lock`, on every platform and for tests too.
//!
//! It does what `cargo deny check licenses bans` would; that tool takes longer to compile than the workspace, and its
//! advisory database is out of reach where this runs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::shell::Program;

/// Licences that ask for no more than attribution.
const ALLOWED_LICENCES: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that may not be in the graph at all.
const BANNED: [(&str, &str); 7] = [
    ("async-std", "discontinued, and there is one runtime: tokio"),
    ("aws-lc-sys", "TLS is rustls with ring; a second crypto library needs CMake and minutes of build"),
    ("native-tls", "TLS is rustls with ring, the same on every machine"),
    ("openssl-src", "TLS is rustls with ring; OpenSSL takes minutes to build"),
    ("proc-macro-error", "unmaintained, RUSTSEC-2024-0370"),
    ("serde_yaml", "unmaintained; YAML is written with serde_norway"),
    ("structopt", "unmaintained; the command line is clap's derive"),
];

/// Crates that the workspace's own crates may not name. Dependencies may bring them along.
const BANNED_DIRECTLY: [(&str, &str); 8] = [
    ("chrono", "times are jiff's"),
    ("env_logger", "logs are written with tracing"),
    ("lazy_static", "std::sync::LazyLock is in the standard library, and there are no mutable globals"),
    ("log", "logs are written with tracing"),
    ("once_cell", "std::sync::OnceLock and LazyLock are in the standard library"),
    ("openssl", "TLS is rustls with ring"),
    ("openssl-sys", "TLS is rustls with ring; only librdkafka, which knows nothing else, brings it along"),
    ("time", "times are jiff's"),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
}

/// Prints the crates that are there in several major versions, and fails naming every crate that may not be there.
pub(super) fn check() -> Result<()> {
    println!("$ cargo metadata --format-version 1 --locked");
    let output = Program::cargo().args(["metadata", "--format-version", "1", "--locked"]).output()?;
    let metadata: Metadata = serde_json::from_slice(&output).context("cargo metadata")?;
    for duplicate in duplicates(&metadata) {
        println!("several versions: {duplicate}");
    }
    let objections = objections(&metadata)?;
    for objection in &objections {
        println!("not allowed: {objection}");
    }
    if !objections.is_empty() {
        bail!("{} not allowed among {} crates", objections.len(), metadata.packages.len());
    }
    println!("{} crates: every licence is allowed, no crate is banned", metadata.packages.len());
    Ok(())
}

fn objections(metadata: &Metadata) -> Result<Vec<String>> {
    let mut objections = Vec::new();
    for package in &metadata.packages {
        let Package { name, version, .. } = package;
        if !is_licence_allowed(package)? {
            let licence = package.license.as_deref().unwrap_or("none named");
            objections.push(format!("{name} {version}: licence {licence}"));
        }
        if let Some(reason) = find(&BANNED, name) {
            objections.push(format!("{name} {version}: {reason}"));
        }
        if metadata.workspace_members.contains(&package.id) {
            let named = package.dependencies.iter().filter_map(|dependency| {
                let reason = find(&BANNED_DIRECTLY, &dependency.name)?;
                Some(format!("{} in {name}: {reason}", dependency.name))
            });
            objections.extend(named);
        }
    }
    Ok(objections)
}

fn find(list: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    list.iter().find(|(banned, _)| *banned == name).map(|(_, reason)| *reason)
}

/// Whether the licence expression is met by allowed licences alone. Exceptions (`WITH`) only give more rights.
fn is_licence_allowed(package: &Package) -> Result<bool> {
    let Some(licence) = &package.license else { return Ok(false) };
    // Older manifests write a slash for OR.
    let expression =
        Expression::parse_mode(licence, ParseMode { allow_slash_as_or_operator: true, ..ParseMode::STRICT })
            .with_context(|| format!("{} {}: licence {licence}", package.name, package.version))?;
    Ok(expression
        .evaluate(|requirement| requirement.license.id().is_some_and(|id| ALLOWED_LICENCES.contains(&id.name))))
}

/// Crates of which there are several versions that cargo holds for incompatible.
fn duplicates(metadata: &Metadata) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &metadata.packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    let several = versions.into_iter().filter(|(_, versions)| versions.len() > 1);
    several.map(|(name, versions)| format!("{name} {}", versions.into_iter().collect::<Vec<_>>().join(", "))).collect()
}

#[cfg(test)]
mod tests {
    use super::{Metadata, duplicates, objections};

    fn metadata(packages: &[(&str, &str, &str, &[&str])]) -> Metadata {
        let packages = packages.iter().map(|(name, version, license, dependencies)| {
            let dependencies: Vec<_> = dependencies.iter().map(|name| serde_json::json!({ "name": name })).collect();
            serde_json::json!({
                "id": format!("{name}@{version}"), "name": name, "version": version, "dependencies": dependencies,
                "license": (!license.is_empty()).then_some(license),
            })
        });
        let packages: Vec<_> = packages.collect();
        serde_json::from_value(serde_json::json!({ "packages": packages, "workspace_members": ["ours@1.0.0"] }))
            .unwrap()
    }

    #[test]
    fn permissive_licences_pass_and_others_are_named() {
        let found = objections(&metadata(&[
            ("a", "1.0.0", "MIT/Apache-2.0", &[]),
            ("b", "1.0.0", "(MIT OR GPL-3.0-only) AND Unicode-3.0", &[]),
            ("c", "1.0.0", "Apache-2.0 WITH LLVM-exception", &[]),
            ("d", "1.0.0", "MIT AND GPL-3.0-only", &[]),
            ("e", "1.0.0", "", &[]),
        ]));
        let expected = ["d 1.0.0: licence MIT AND GPL-3.0-only", "e 1.0.0: licence none named"];
        assert_eq!(found.unwrap(), expected);
        assert!(objections(&metadata(&[("f", "1.0.0", "not a licence", &[])])).is_err());
    }

    #[test]
    fn banned_crates_are_named_with_the_reason() {
        let found = objections(&metadata(&[
            ("ours", "1.0.0", "MIT", &["chrono", "anyhow"]),
            ("theirs", "1.0.0", "MIT", &["once_cell"]),
            ("native-tls", "0.2.0", "MIT", &[]),
        ]));
        let expected = [
            "chrono in ours: times are jiff's",
            "native-tls 0.2.0: TLS is rustls with ring, the same on every machine",
        ];
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn several_versions_are_listed_once() {
        let packages: &[_] = &[("a", "1.0.0", "MIT", &[][..]), ("b", "1.0.0", "MIT", &[]), ("a", "2.1.0", "MIT", &[])];
        assert_eq!(duplicates(&metadata(packages)), ["a 1.0.0, 2.1.0"]);
    }
}

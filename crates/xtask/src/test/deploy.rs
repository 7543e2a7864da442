//! The files in `deploy/`, by linters, schemas and, where Debian has it, the program that reads them: there is no
//! container engine here. And what `docs/operations.md` says of metrics, by the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::packages::{ensure_package, install_python_tools};
use crate::shell::{Program, build_dos, workspace_root};

const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// The release whose schemas the manifests are held against; those of the linter's own version.
const KUBERNETES: &str = "1.34";
const MANIFESTS: &str = "deploy/kubernetes";
/// Libraries that the image's base has, or that the Containerfile puts there.
const IMAGE_LIBRARIES: [&str; 8] =
    ["ld-linux-aarch64", "ld-linux-x86-64", "libc", "libcrypto", "libgcc_s", "libm", "libssl", "libz"];

/// Installs what is missing and runs every check; the first that fails ends it.
pub(super) fn run() -> Result<()> {
    let tools = install_python_tools("tests/deploy/requirements.txt", "target/deploy-tools")?;
    let tool = |name: &str| Program::new(tools.join("bin").join(name));
    tool("yamllint").args(["--strict", "--config-file", "tests/deploy/yamllint.yaml", "deploy"]).run(CHECK_LIMIT)?;
    tool("hadolint").args(["deploy/Containerfile"]).run(CHECK_LIMIT)?;
    let compose = ["--builtin-schema", "vendor.compose-spec", "deploy/compose/compose.yaml"];
    tool("check-jsonschema").args(compose).run(CHECK_LIMIT)?;
    let haproxy = ensure_package("haproxy", "haproxy")?;
    Program::new(haproxy).args(["-c", "-f", "deploy/compose/haproxy.cfg"]).run(CHECK_LIMIT)?;

    let manifests = manifests(&workspace_root().join(MANIFESTS))?;
    let paths: Vec<String> = manifests.iter().map(|name| format!("{MANIFESTS}/{name}")).collect();
    let strict = ["--strict", "--kubernetes-version", KUBERNETES];
    tool("kubernetes-validate").args(strict).args(&paths).run(CHECK_LIMIT)?;
    let deployments = paths.iter().filter(|path| path.ends_with("-deployment.yaml"));
    let restricted = ["--schemafile", "tests/deploy/restricted.schema.json"];
    tool("check-jsonschema").args(restricted).args(deployments).run(CHECK_LIMIT)?;
    let kustomization = format!("{MANIFESTS}/kustomization.yaml");
    let schema = ["--schemafile", "tests/deploy/kustomization.schema.json", &kustomization];
    tool("check-jsonschema").args(schema).run(CHECK_LIMIT)?;
    check_listed(&fs::read_to_string(workspace_root().join(kustomization))?, &manifests)?;

    check_libraries()?;
    check_metrics()
}

/// The names of the manifests, without the list of them.
fn manifests(directory: &Path) -> Result<BTreeSet<String>> {
    let context = || format!("cannot list {}", directory.display());
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory).with_context(context)? {
        let name = entry.with_context(context)?.file_name().to_string_lossy().into_owned();
        if name != "kustomization.yaml" {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Every manifest but the examples is applied, and no other.
fn check_listed(kustomization: &str, manifests: &BTreeSet<String>) -> Result<()> {
    #[derive(Deserialize)]
    struct Kustomization {
        resources: BTreeSet<String>,
    }
    let listed: Kustomization = serde_norway::from_str(kustomization).context("kustomization.yaml")?;
    let wanted = manifests.iter().filter(|name| !name.ends_with(".example.yaml")).cloned().collect();
    let odd: Vec<_> = listed.resources.symmetric_difference(&wanted).collect();
    ensure!(odd.is_empty(), "kustomization.yaml and the files beside it differ in {odd:?}");
    Ok(())
}

/// The image has no library but those that the program is known to need.
fn check_libraries() -> Result<()> {
    let dos = build_dos()?;
    println!("$ ldd target/debug/dos");
    let output = Program::new("ldd").args([dos]).output()?;
    let output = String::from_utf8_lossy(&output);
    let missing = missing_libraries(&output);
    ensure!(missing.is_empty(), "the Containerfile's last stage lacks {missing:?}");
    Ok(())
}

/// Libraries of `ldd`'s output that the image lacks.
fn missing_libraries(ldd: &str) -> Vec<&str> {
    let names = ldd.lines().filter_map(|line| line.split_whitespace().next()?.rsplit('/').next());
    // The kernel's, no file.
    let files = names.filter(|name| !name.starts_with("linux-vdso.") && !name.starts_with("linux-gate."));
    files.filter(|name| !IMAGE_LIBRARIES.contains(&name.split_once(".so").map_or(*name, |(stem, _)| stem))).collect()
}

/// `docs/operations.md` names every metric of the code and no other.
fn check_metrics() -> Result<()> {
    let mut code = BTreeSet::new();
    for krate in ["dos", "gateway", "store", "stream"] {
        collect_metrics(&workspace_root().join("crates").join(krate).join("src"), &mut code)?;
    }
    ensure!(!code.is_empty(), "no metric was found in the code");
    let document = fs::read_to_string(workspace_root().join("docs/operations.md"))?;
    let documented: BTreeSet<String> = metrics_of_document(&document);
    for name in code.difference(&documented) {
        println!("docs/operations.md does not explain {name}");
    }
    for name in documented.difference(&code) {
        println!("docs/operations.md explains {name}, which the code has not");
    }
    if code != documented {
        bail!("docs/operations.md and the code differ in their metrics");
    }
    println!("{} metrics: all explained in docs/operations.md", code.len());
    Ok(())
}

fn collect_metrics(directory: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_metrics(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(metrics_of_code(&fs::read_to_string(path)?).map(str::to_owned));
        }
    }
    Ok(())
}

/// Names of metrics are constants that begin with `dos_`; so does the name of one header.
fn metrics_of_code(source: &str) -> impl Iterator<Item = &str> {
    let constants = source.lines().filter_map(|line| line.split_once(": &str = \"")?.1.strip_suffix("\";"));
    constants.filter(|value| value.starts_with("dos_") && *value != "dos_reason")
}

/// Words in backticks that begin with `dos_`.
fn metrics_of_document(text: &str) -> BTreeSet<String> {
    let is_name = |word: &&str| word.starts_with("dos_") && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    text.split('`').skip(1).step_by(2).filter(is_name).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{check_listed, metrics_of_code, metrics_of_document, missing_libraries};

    #[test]
    fn a_file_that_is_not_listed_or_not_there_is_named() {
        let files = ["a.yaml", "b.yaml", "secret.example.yaml"].map(str::to_owned).into();
        check_listed("resources: [a.yaml, b.yaml]", &files).unwrap();
        let error = |list: &str| check_listed(list, &files).unwrap_err().to_string();
        assert!(error("resources: [a.yaml]").contains("b.yaml"));
        assert!(error("resources: [a.yaml, b.yaml, c.yaml]").contains("c.yaml"));
        assert!(error("resources: [a.yaml, b.yaml, secret.example.yaml]").contains("secret.example.yaml"));
    }

    #[test]
    fn libraries_that_the_image_lacks_are_named() {
        let ldd = "\tlinux-vdso.so.1 (0x1)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x1)\n\
                   \tlibsasl2.so.2 => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x1)\n";
        assert_eq!(missing_libraries(ldd), ["libsasl2.so.2"]);
    }

    #[test]
    fn metrics_are_found_in_code_and_document() {
        let code = "const A: &str = \"dos_a_total\";\npub(crate) const B: &str = \"dos_b\";\nconst C: &str = \"c\";\n\
                    const R: &str = \"dos_reason\";\nlet d = \"dos_d\";\n";
        assert_eq!(metrics_of_code(code).collect::<Vec<_>>(), ["dos_a_total", "dos_b"]);
        let named = metrics_of_document("`dos_b` and `dos.views`, `dos_a_total`\n`dos_c{x=\"y\"}` dos_e");
        assert_eq!(named.into_iter().collect::<Vec<_>>(), ["dos_a_total", "dos_b"]);
    }
}

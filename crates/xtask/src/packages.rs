//! Programs that are no Rust crates: Debian packages, installed where missing.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell::{Program, workspace_root};

const INSTALL_LIMIT: Duration = Duration::from_secs(10 * 60);
const PYTHON_LIMIT: Duration = Duration::from_secs(5 * 60);
/// Where a server's programs lie that are not in every user's `PATH`.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The path of a program, after installing the Debian package that holds it if it is missing. Where xtask may not
/// install, the error is the one command that does.
pub(crate) fn ensure_package(program: &str, package: &str) -> Result<PathBuf> {
    ensure(program, package, || find(program))
}

/// A Python environment in `directory` with what the file `wanted` asks for, made again when that changed.
pub(crate) fn install_python_tools(wanted: &str, directory: &str) -> Result<PathBuf> {
    let (wanted, tools) = (workspace_root().join(wanted), workspace_root().join(directory));
    let installed = tools.join("requirements.txt");
    let read = |path: &Path| fs::read(path).ok();
    if read(&installed).is_some() && read(&installed) == read(&wanted) {
        return Ok(tools);
    }
    let python = ensure_package("python3", "python3-venv")?;
    Program::new(python).args(["-m", "venv", "--clear"]).args([&tools]).run(PYTHON_LIMIT)?;
    let arguments = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"];
    Program::new(tools.join("bin/pip")).args(arguments).args(["--requirement"]).args([&wanted]).run(PYTHON_LIMIT)?;
    // Last: an installation that broke off is made again.
    fs::copy(wanted, installed)?;
    Ok(tools)
}

/// As [`ensure_package`], for what librdkafka is built against: the headers of OpenSSL.
pub(crate) fn ensure_openssl_headers() -> Result<()> {
    let header = || Some(PathBuf::from("/usr/include/openssl/ssl.h")).filter(|path| path.is_file());
    ensure("openssl/ssl.h", "libssl-dev", header).map(drop)
}

fn ensure(wanted: &str, package: &str, find_it: impl Fn() -> Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = find_it() {
        return Ok(path);
    }
    let may_install = rustix::process::geteuid().is_root() && find("apt-get").is_some();
    if !may_install {
        bail!("{wanted} is missing; to install it: {}", command_to_install(package));
    }
    println!("{wanted} is missing, installing the package {package}");
    install(package).with_context(|| format!("{wanted} is missing and could not be installed"))?;
    find_it().with_context(|| format!("the package {package} was installed and brought no {wanted}"))
}

/// What a user types who is not root.
fn command_to_install(package: &str) -> String {
    format!("sudo apt-get update && sudo apt-get install -y {package}")
}

fn install(package: &str) -> Result<()> {
    if !has_package_lists(Path::new("/var/lib/apt/lists")) {
        apt_get(&["update"])?;
    } else if apt_get(&["install", "-y", "--no-install-recommends", package]).is_ok() {
        return Ok(());
    } else {
        println!("the package lists may be old, fetching them and trying once more");
        apt_get(&["update"])?;
    }
    apt_get(&["install", "-y", "--no-install-recommends", package])
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    Program::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").run(INSTALL_LIMIT)
}

fn has_package_lists(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{ensure_package, find, has_package_lists};

    #[test]
    fn a_program_that_is_there_needs_no_package() {
        let path = ensure_package("sh", "no-such-package").unwrap();
        assert!(path.is_absolute() && path.ends_with("sh"));
        assert_eq!(find("no-such-program"), None);
    }

    #[test]
    fn package_lists_are_the_files_apt_fetches() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("lock"), "").unwrap();
        assert!(!has_package_lists(directory.path()));
        fs::write(directory.path().join("deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages.lz4"), "")
            .unwrap();
        assert!(has_package_lists(directory.path()));
        assert!(!has_package_lists(Path::new("/no/such/directory")));
    }
}

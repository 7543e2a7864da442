//! An authority of our own, and a certificate of it for 127.0.0.1.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::process::run_as;
use crate::packages::ensure_package;

/// The authority's certificate, in the folder of the servers that it is for.
pub(super) const AUTHORITY: &str = "authority.pem";

/// Makes both in a folder; the file with the server's key and certificates, as Kafka reads them.
pub(super) fn make(folder: &Path) -> Result<PathBuf> {
    let openssl = ensure_package("openssl", "openssl")?;
    let file = |name: &str| folder.join(name).display().to_string();
    let (authority, authority_key) = (file(AUTHORITY), file("authority.key"));
    let (key, request, certificate) = (file("server.key"), file("server.csr"), file("server.crt"));
    fs::write(folder.join("server.ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n")?;
    let extensions = file("server.ext");
    let new_key = ["-newkey", "rsa:2048", "-nodes", "-keyout"];
    let own = ["req", "-x509", "-days", "30", "-subj", "/CN=dos test authority"];
    let ask = ["req", "-subj", "/CN=127.0.0.1"];
    let sign = ["x509", "-req", "-days", "30", "-in", &request, "-CA", &authority, "-CAkey", &authority_key];
    for arguments in [
        [&own[..], &new_key, &[&authority_key, "-out", &authority]].concat(),
        [&ask[..], &new_key, &[&key, "-out", &request]].concat(),
        [&sign[..], &["-CAcreateserial", "-extfile", &extensions, "-out", &certificate]].concat(),
    ] {
        run_as(None, &openssl, &arguments).context("a certificate cannot be made")?;
    }
    let all = folder.join("server.pem");
    fs::write(&all, [fs::read(key)?, fs::read(certificate)?, fs::read(&authority)?].concat())?;
    Ok(all)
}

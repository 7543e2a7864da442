//! Connections, and what their errors mean.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, PoolError, RecyclingMethod, Runtime};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{CALL_MAX, Options};
use crate::database::Error;

const CONNECT_MAX: Duration = Duration::from_secs(5);

/// For the session. A store that vanished must not hold a partition's row, and nobody waits for one for ever. Every statement
/// here is a look-up by an index, whatever the statistics of a table that is new, or grows fast, make the planner believe.
const SETTINGS: &str = "-c lock_timeout=10s -c idle_in_transaction_session_timeout=10s \
    -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 \
    -c jit=off -c plan_cache_mode=force_generic_plan \
    -c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off";

#[derive(Clone)]
pub(super) struct Pool {
    inner: deadpool_postgres::Pool,
}

impl Pool {
    /// Connects to nothing yet.
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let mut config: Config = options.url.parse().map_err(|error: tokio_postgres::Error| {
            // The text says what is wrong with the string, not what is in it.
            Error::Data(format!("the connection string of the database cannot be read: {}", source(&error)))
        })?;
        if let Some(schema) = &options.schema
            && !is_name(schema)
        {
            return Err(Error::Data(format!("the schema {schema:?} is not 1 to 63 of a-z 0-9 _")));
        }
        let mut settings = config.get_options().unwrap_or_default().to_owned();
        for more in [Some(SETTINGS.to_owned()), options.schema.as_ref().map(|name| format!("-c search_path={name}"))] {
            settings.extend([" ", more.as_deref().unwrap_or_default()]);
        }
        config.options(settings.trim());
        if config.get_application_name().is_none() {
            config.application_name("dos-store");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_MAX);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(CALL_MAX);
        }
        config.keepalives_idle(Duration::from_secs(10));
        let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = if config.get_ssl_mode() == SslMode::Require {
            Manager::from_config(config, MakeRustlsConnect::new(tls(options)?), fast)
        } else {
            config.ssl_mode(SslMode::Disable);
            Manager::from_config(config, NoTls, fast)
        };
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(options.connections_max.max(2))
            .wait_timeout(Some(CALL_MAX))
            .create_timeout(Some(CONNECT_MAX))
            .runtime(Runtime::Tokio1);
        let inner = pool.build().map_err(|error| Error::Data(error.to_string()))?;
        Ok(Self { inner })
    }

    pub(super) async fn get(&self) -> Result<Object, Error> {
        self.inner.get().await.map_err(|error| match error {
            PoolError::Backend(error) => failure(&error),
            PoolError::Closed => Error::Closed("the database's connections were closed".to_owned()),
            other => Error::Transient(format!("no connection to the database: {other}")),
        })
    }

    /// Connects for the first time. Who is not let in now was given wrong settings; later it may be the server's matter.
    pub(super) async fn first(&self) -> Result<(), Error> {
        match self.inner.get().await {
            Err(PoolError::Backend(error)) => Err(unknown(&error).unwrap_or_else(|| failure(&error))),
            // What else there is to say, the next call says.
            _ => Ok(()),
        }
    }

    pub(super) fn close(&self) {
        self.inner.close();
    }
}

/// A connection on which a transaction is open. Unless it is given back, it is closed, and the server rolls back.
pub(super) struct Lease {
    object: Option<Object>,
}

impl Lease {
    pub(super) fn new(object: Object) -> Self {
        Self { object: Some(object) }
    }

    /// The transaction has ended.
    pub(super) fn give_back(mut self) {
        self.object.take();
    }

    pub(super) fn client(&self) -> Result<&Object, Error> {
        self.object.as_ref().ok_or_else(|| Error::Transient("the connection was given back".to_owned()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Taken from the pool, and closed.
        drop(self.object.take().map(Object::take));
    }
}

/// Bounds a call. What is dropped with it closes its connection.
pub(super) async fn bounded<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(CALL_MAX, call).await {
        Ok(result) => result,
        Err(_) => Err(Error::Transient(format!("the database did not answer in {} s", CALL_MAX.as_secs()))),
    }
}

/// What the server's, or the connection's, refusal means to the store.
pub(super) fn failure(error: &tokio_postgres::Error) -> Error {
    let reason = format!("the database: {}", source(error));
    let Some(code) = error.code() else { return Error::Transient(reason) };
    if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::UNIQUE_VIOLATION].contains(code)
    {
        return Error::Conflict;
    }
    match code.code().get(..2) {
        // Data exceptions, constraints, program limits.
        Some("22" | "23" | "54") => Error::Data(reason),
        // Missing tables, missing rights, damage.
        Some("42" | "3F" | "XX") => Error::Broken(reason),
        _ => Error::Transient(reason),
    }
}

/// The refusal of a server that does not know who comes, or where to.
fn unknown(error: &tokio_postgres::Error) -> Option<Error> {
    let code = error.code()?;
    let reason = source(error);
    let mend = match code.code().get(..2) {
        Some("28") => "user and password in database.url (DOS_DATABASE__URL), and what pg_hba.conf allows",
        Some("3D") => "the name of the database in database.url (DOS_DATABASE__URL), or make it",
        _ => return None,
    };
    Some(Error::Broken(format!("the server does not let this store in: {reason}; check {mend}")))
}

/// The innermost reason, which is the one that says something.
fn source(error: &tokio_postgres::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn is_name(schema: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=63).contains(&schema.len()) && schema.bytes().all(allowed) && !schema.as_bytes()[0].is_ascii_digit()
}

fn tls(options: &Options) -> Result<rustls::ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    match &options.ca_file {
        Some(file) => {
            let wrong = |reason: String| Error::Data(format!("{}: {reason}", file.display()));
            let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Error::Data(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_are_named_and_passwords_are_not() {
        for (url, schema) in
            [("postgres://u:hunter2@h/db?sslmodus=1", None), ("postgres://u:hunter2@h/db", Some("a;b"))]
        {
            let options = Options { schema: schema.map(str::to_owned), ..Options::new(url) };
            let Err(Error::Data(reason)) = Pool::new(&options).map(|_| ()) else { panic!("it must be refused") };
            assert!(!reason.contains("hunter2") && (reason.contains("sslmodus") || reason.contains("a;b")), "{reason}");
            assert!(!format!("{options:?}").contains("hunter2"));
        }
    }

    #[test]
    fn certificates_are_read_where_they_are_asked_for() {
        let options = Options {
            ca_file: Some("/nonexistent/ca.pem".into()),
            ..Options::new("postgres://u@h/db?sslmode=require")
        };
        assert!(matches!(Pool::new(&options).map(|_| ()), Err(Error::Data(reason)) if reason.contains("ca.pem")));
        assert!(Pool::new(&Options::new("postgres://u@h/db?sslmode=require")).is_ok());
    }
}

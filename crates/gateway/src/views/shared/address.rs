//! Where the shared cache is, and whether it is of use.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use contract::Env;
use redis::{Client, ConnectionAddr, IntoConnectionInfo as _, RedisError, TlsCertificates};

use super::scripts::Scripts;

/// How long [`SharedCache::examine`] may take.
const EXAMINE_WAIT: Duration = Duration::from_secs(5);

/// With TLS, without, and by a socket of this machine.
const SCHEMES: [&str; 4] = ["redis://", "rediss://", "unix://", "redis+unix://"];

/// Where a shared cache is.
#[derive(Clone)]
pub struct SharedCache {
    pub(super) client: Client,
    pub(super) prefix: String,
}

impl SharedCache {
    /// Takes `redis://`, `rediss://` (TLS) or `unix://` with user, password and database number, what all keys begin with,
    /// and the certificates (PEM) to trust instead of the system's.
    ///
    /// # Errors
    /// What is wrong with them. It does not repeat the URL, which may hold a password.
    pub fn new(url: &str, prefix: &str, ca_file: Option<Vec<u8>>) -> Result<Self, String> {
        if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
            return Err(format!(
                "it begins with one of {} (the text is not shown, for it may hold a password)",
                SCHEMES.join(", ")
            ));
        }
        let wrong = |error: RedisError| error.to_string();
        let info = url.into_connection_info().map_err(wrong)?;
        let client = match (info.addr(), ca_file) {
            (ConnectionAddr::TcpTls { .. }, Some(pem)) => {
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(pem) })
            }
            _ => Client::open(info),
        };
        Ok(Self { client: client.map_err(wrong)?, prefix: prefix.to_owned() })
    }

    /// Asks the server, and changes nothing; what it is.
    ///
    /// # Errors
    /// Why it is of no use.
    pub async fn examine(&self, env: &Arc<dyn Env>) -> Result<String, String> {
        tokio::select! {
            examined = self.ask() => examined.map_err(|error| format!("it cannot be used: {error}"))?,
            () = env.sleep(EXAMINE_WAIT) => Err("it does not answer".to_owned()),
        }
    }

    async fn ask(&self) -> Result<Result<String, String>, RedisError> {
        let mut connection = self.client.get_multiplexed_async_connection().await?;
        let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
        let value = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or("unknown").trim().to_owned()
        };
        if value("redis_mode") == "cluster" {
            let reason =
                "it is a Redis Cluster, which spreads the keys of one script over servers; one server is needed";
            return Ok(Err(reason.to_owned()));
        }
        let (state, entry) = (format!("{}:@doctor:0", self.prefix), format!("{}:doctor:0", self.prefix));
        Scripts::new().look(&mut connection, &state, &entry).await?;
        let memory = match value("maxmemory").as_str() {
            "0" => "no limit of memory".to_owned(),
            limit => format!("at most {limit} bytes, then {}", value("maxmemory_policy")),
        };
        Ok(Ok(format!("version {}, {memory}, runs scripts", value("redis_version"))))
    }
}

/// Without the password.
impl fmt::Debug for SharedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.client.get_connection_info().addr(), self.prefix)
    }
}

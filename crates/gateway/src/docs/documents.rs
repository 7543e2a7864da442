//! The documents of one gateway, put together once.

use bytes::Bytes;
use contract::Registry;
use serde::Serialize;
use twox_hash::XxHash3_64;

use super::{asyncapi, openapi, to_yaml};
use crate::http::Precompressed;

/// The version of the API: a superset of the published 1.0.x.
pub const API_VERSION: &str = "1.1.0";

/// A version of the API, as `/versions` lists it.
#[derive(Serialize)]
pub(crate) struct Version {
    version: &'static str,
    id: &'static str,
    updated: &'static str,
    current: bool,
    deprecated: bool,
}

/// All versions that are answered, the current one first.
pub(crate) const VERSIONS: [Version; 2] = [
    Version { version: API_VERSION, id: "v1.1", updated: "2026-11-24T00:00:00Z", current: true, deprecated: false },
    // Its plural paths; what they answer is the current version.
    Version { version: "1.0.0", id: "v1.0", updated: "2026-11-24T00:00:00Z", current: false, deprecated: true },
];

/// What `/openapi.json`, `/openapi.yaml` and `/asyncapi.json` serve.
pub(crate) struct Documents {
    pub(crate) openapi_json: Document,
    pub(crate) openapi_yaml: Document,
    pub(crate) asyncapi_json: Document,
}

/// A document and its strong validator, in quotes.
pub(crate) struct Document {
    pub(crate) bytes: Bytes,
    pub(crate) etag: String,
    pub(crate) gzip: Precompressed,
}

impl Documents {
    pub(crate) fn new(registry: &Registry, public_url: &str, topic_prefix: &str) -> Self {
        let document = openapi(registry, public_url, API_VERSION);
        Self {
            openapi_json: Document::new(document.to_string()),
            openapi_yaml: Document::new(to_yaml(&document)),
            asyncapi_json: Document::new(asyncapi(registry, topic_prefix, API_VERSION).to_string()),
        }
    }
}

impl Document {
    pub(crate) fn new(text: String) -> Self {
        let etag = format!("\"{:016x}\"", XxHash3_64::oneshot(text.as_bytes()));
        Self { bytes: text.into(), etag, gzip: Precompressed::default() }
    }
}

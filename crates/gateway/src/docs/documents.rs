//! The documents of one gateway, put together once.

use bytes::Bytes;
use contract::Registry;
use serde::Serialize;

use super::{openapi, to_yaml};

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

/// What `/openapi.json` and `/openapi.yaml` serve.
pub(crate) struct Documents {
    pub(crate) openapi_json: Bytes,
    pub(crate) openapi_yaml: Bytes,
}

impl Documents {
    pub(crate) fn new(registry: &Registry, public_url: &str) -> Self {
        let document = openapi(registry, public_url, API_VERSION);
        Self { openapi_json: document.to_string().into(), openapi_yaml: to_yaml(&document).into() }
    }
}

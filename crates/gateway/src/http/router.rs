//! All routes in one place. Entity types are data, so the paths are matched here and not registered one by one.

use std::sync::Arc;

use contract::{EntityType, Registry};
use http::Method;

use crate::metrics::RouteLabel;

/// What a path names.
#[derive(Clone, Debug)]
pub(crate) enum Route<'a> {
    Root,
    Versions,
    Alive,
    Ready,
    OpenApiJson,
    OpenApiYaml,
    AsyncApi,
    /// An asset of the API reference; the path as it came.
    Docs(&'a str),
    Problem(&'a str),
    /// An entity type's schema.
    Schema(&'a Arc<EntityType>),
    Operation(&'a str),
    Changes,
    Collection(Resource<'a>),
    /// The id as it came, still percent-encoded.
    Entity(Resource<'a>, &'a str),
}

/// An entity type as it was addressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resource<'a> {
    pub(crate) entity_type: &'a Arc<EntityType>,
    /// Whether by the plural path of the 1.0.x specification.
    pub(crate) deprecated: bool,
}

/// Finds what a path names; `None` where it names nothing.
pub(crate) fn route<'a>(path: &'a str, registry: &'a Registry) -> Option<Route<'a>> {
    let path_below_root = path.strip_prefix('/')?;
    let (first, rest) = match path_below_root.split_once('/') {
        None => (path_below_root, None),
        Some((first, rest)) => (first, Some(rest)),
    };
    let resource = match registry.get(first) {
        Some(entity_type) => Some(Resource { entity_type, deprecated: false }),
        None => registry.by_plural(first).map(|entity_type| Resource { entity_type, deprecated: true }),
    };
    match (resource, rest) {
        (Some(resource), None) => return Some(Route::Collection(resource)),
        (Some(resource), Some(id)) => return (!id.contains('/')).then_some(Route::Entity(resource, id)),
        (None, _) => {}
    }
    match (first, rest) {
        ("", None) => Some(Route::Root),
        ("versions", None) => Some(Route::Versions),
        ("health", Some("alive")) => Some(Route::Alive),
        ("health", Some("ready")) => Some(Route::Ready),
        ("openapi.json", None) => Some(Route::OpenApiJson),
        ("openapi.yaml", None) => Some(Route::OpenApiYaml),
        ("asyncapi.json", None) => Some(Route::AsyncApi),
        ("docs", _) => Some(Route::Docs(path)),
        ("schema", Some(name)) => registry.get(name).map(Route::Schema),
        ("problem", Some(slug)) => Some(Route::Problem(slug)),
        ("operation", Some(id)) => Some(Route::Operation(id)),
        ("changes", None) => Some(Route::Changes),
        _ => None,
    }
}

impl Route<'_> {
    /// The methods it offers, as `Allow` lists them [RFC 9110 10.2.1].
    pub(crate) fn allow(&self) -> &'static str {
        match self {
            Self::Collection(_) => "GET, HEAD, POST, OPTIONS",
            Self::Entity(..) => "GET, HEAD, PUT, PATCH, DELETE, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// Whether it offers the method, apart from OPTIONS, which everything does.
    pub(crate) fn offers(&self, method: &Method) -> bool {
        self.allow().split(", ").any(|offered| offered == method.as_str())
    }

    /// Whether it is about entities, so that views and the stream are needed.
    pub(crate) fn needs_views(&self) -> bool {
        matches!(self, Self::Collection(_) | Self::Entity(..) | Self::Operation(_) | Self::Changes)
    }

    /// Whether reads of it may be compressed: a single entity is not worth it.
    pub(crate) fn compresses(&self) -> bool {
        match self {
            Self::Entity(..) | Self::Operation(_) | Self::Alive | Self::Ready => false,
            Self::Collection(_) | Self::Changes | Self::Root | Self::Versions | Self::Docs(_) | Self::Problem(_) => {
                true
            }
            Self::OpenApiJson | Self::OpenApiYaml | Self::AsyncApi | Self::Schema(_) => true,
        }
    }

    pub(crate) fn label(&self) -> RouteLabel {
        match self {
            Self::Entity(..) => RouteLabel::Entity,
            Self::Collection(_) => RouteLabel::Collection,
            Self::Operation(_) => RouteLabel::Operation,
            Self::Changes => RouteLabel::Changes,
            _ => RouteLabel::System,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_the_contract_says() {
        let registry = Registry::built_in().unwrap();
        let shown = |path| format!("{:?}", route(path, &registry).map(|r| (r.label(), r.allow())));
        assert!(shown("/provider").contains("Collection"));
        assert!(shown("/providers").contains("Collection"));
        assert!(shown("/provider/1").contains("Entity"));
        assert!(shown("/operation/x").contains("Operation"));
        assert!(shown("/changes").contains("Changes"));
        assert!(shown("/health/alive").contains("System"));
        assert!(matches!(route("/providers", &registry), Some(Route::Collection(r)) if r.deprecated));
        assert!(matches!(route("/docs/init.js", &registry), Some(Route::Docs("/docs/init.js"))));
        for unknown in [
            "",
            "/nothing",
            "/provider/1/2",
            "/taxonomies",
            "/schema/rocket",
            "/health",
            "/versions/1",
            "//",
            "/Provider",
        ] {
            assert!(route(unknown, &registry).is_none(), "{unknown}");
        }
    }
}

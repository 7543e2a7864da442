//! The interactive reference: files embedded in the program, found by their path.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::LazyLock;

use bytes::Bytes;

use crate::http::Precompressed;

/// What the reference may load: the gateway's own scripts, styles and data, and nothing else. Swagger UI sets styles from script, and
/// has its icons as `data:` URLs.
pub(crate) const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the reference.
#[derive(Clone, Debug)]
pub(crate) struct Asset {
    /// Where it is served.
    pub(crate) path: &'static str,
    /// Its media type.
    pub(crate) content_type: &'static str,
    /// What it holds.
    pub(crate) bytes: Bytes,
    /// Its strong validator, in quotes.
    pub(crate) etag: String,
    pub(crate) gzip: Precompressed,
}

const INDEX: &str = include_str!("../../assets/docs/index.html");

/// Path, media type, content.
const FILES: [(&str, &str, &[u8]); 6] = [
    ("/docs", "text/html; charset=utf-8", INDEX.as_bytes()),
    ("/docs/init.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/docs/init.js")),
    ("/docs/style.css", "text/css; charset=utf-8", include_bytes!("../../assets/docs/style.css")),
    ("/docs/icon.svg", "image/svg+xml", include_bytes!("../../assets/docs/icon.svg")),
    (
        "/docs/swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../assets/docs/swagger-ui-bundle.js"),
    ),
    ("/docs/swagger-ui.css", "text/css; charset=utf-8", include_bytes!("../../assets/docs/swagger-ui.css")),
];

/// All of them, their validators computed once.
static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let file = |(path, content_type, bytes)| asset_of(path, content_type, Bytes::from_static(bytes));
    // With a slash behind it, links relative to the page would lose their way.
    let index = asset_of("/docs/", FILES[0].1, Bytes::from(INDEX.replace("\"docs/", "\"")));
    FILES.into_iter().map(file).chain([index]).collect()
});

/// The file served at this path. The page's links are relative to it, so that it works under any prefix that a proxy adds.
pub(crate) fn asset(path: &str) -> Option<Asset> {
    ASSETS.iter().find(|asset| asset.path == path).cloned()
}

fn asset_of(path: &'static str, content_type: &'static str, bytes: Bytes) -> Asset {
    let etag = etag(&bytes);
    Asset { path, content_type, bytes, etag, gzip: Precompressed::default() }
}

fn etag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_all_it_links_to_are_there() {
        for (page, base) in [("/docs", "/"), ("/docs/", "/docs/")] {
            let page = asset(page).unwrap();
            let html = std::str::from_utf8(&page.bytes).unwrap();
            let links = html
                .split('"')
                .filter(|part| part.ends_with(".js") || part.ends_with(".css") || part.ends_with(".svg"));
            let links: Vec<_> = links.map(|link| format!("{base}{link}")).collect();
            assert_eq!(links.len(), FILES.len() - 1, "{links:?}");
            for link in links {
                let file = asset(&link).unwrap_or_else(|| panic!("{link} is not there"));
                assert_eq!(file.path, link);
            }
            assert!(!html.contains("http") && !html.contains("style=") && !html.contains("onload"), "{html}");
        }
        assert!(asset("/docs/none").is_none());
        assert_ne!(asset("/docs").unwrap().etag, asset("/docs/").unwrap().etag);
    }
}

//! The page behind a problem's `type`.

use contract::Slug;

/// What a problem's page may load: its own style and nothing else.
pub(crate) const PROBLEM_CSP: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page of a problem type, as HTML; none where the list does not have it.
pub(crate) fn problem_page(slug: &str) -> Option<String> {
    let slug = *Slug::ALL.iter().find(|known| known.as_str() == slug)?;
    let mut others: Vec<_> = Slug::ALL.iter().copied().filter(|other| *other != slug).collect();
    others.sort_by_key(|other| other.status());
    let rows: String = others.into_iter().map(row).collect();
    let page = include_str!("../../assets/problem.html");
    let explanation = rich(slug.explanation().trim());
    Some(
        page.replace("{title}", &escape(slug.title()))
            .replace("{status}", &slug.status().to_string())
            .replace("{slug}", slug.as_str())
            .replace("{explanation}", &explanation)
            .replace("{others}", &rows),
    )
}

fn row(slug: Slug) -> String {
    let (status, name, title) = (slug.status(), slug.as_str(), escape(slug.title()));
    format!("<li><span>{status}</span> <a href=\"{name}\">{title}</a></li>\n")
}

/// The text as HTML, what stands between backquotes as code.
fn rich(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + 64);
    for (i, part) in text.split('`').enumerate() {
        let part = escape(part);
        if i % 2 == 0 {
            html.push_str(&part);
        } else {
            html.push_str(&format!("<code>{part}</code>"));
        }
    }
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_a_page_and_no_other() {
        for slug in Slug::ALL {
            let page = problem_page(slug.as_str()).unwrap();
            assert!(page.contains(&format!("<h1>{}</h1>", escape(slug.title()))), "{page}");
            assert!(!page.contains(['{', '`']) || page.contains("color-scheme"), "{page}");
            assert!(!page.contains("{explanation}") && !page.contains("<script"), "{page}");
        }
        assert_eq!(problem_page("no-such"), None);
    }
}

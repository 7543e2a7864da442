//! The `Link` header field [RFC 8288], as far as paging needs it.

/// The target of the first link whose relation types include `next`.
pub(crate) fn next<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    values.into_iter().find_map(next_in_value)
}

fn next_in_value(mut rest: &str) -> Option<&str> {
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (target, tail) = rest.strip_prefix('<')?.split_once('>')?;
        let (is_next, tail) = parameters(tail);
        if is_next {
            return Some(target.trim());
        }
        rest = tail;
    }
}

/// Reads the parameters of one link: whether its `rel` has `next`, and what follows the link.
fn parameters(mut rest: &str) -> (bool, &str) {
    let mut rel = None;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let Some(tail) = rest.strip_prefix(';') else { break };
        let tail = tail.trim_start_matches([' ', '\t']);
        let end = tail.find(['=', ';', ',']).unwrap_or(tail.len());
        let name = tail[..end].trim();
        rest = &tail[end..];
        if let Some(tail) = rest.strip_prefix('=') {
            let (value, tail) = parameter_value(tail.trim_start_matches([' ', '\t']));
            // Only the first `rel` of a link counts (RFC 8288, section 3.3).
            if name.eq_ignore_ascii_case("rel") && rel.is_none() {
                rel = Some(value);
            }
            rest = tail;
        }
    }
    let is_next = rel.is_some_and(|rel| rel.split_ascii_whitespace().any(|r| r.eq_ignore_ascii_case("next")));
    (is_next, rest)
}

/// A token or quoted string and what follows it. Escapes stay in: no relation type has any.
fn parameter_value(rest: &str) -> (&str, &str) {
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([';', ',']).unwrap_or(rest.len());
        return (rest[..end].trim(), &rest[end..]);
    };
    let mut escaped = false;
    for (i, c) in quoted.char_indices() {
        match c {
            '"' if !escaped => return (&quoted[..i], &quoted[i + 1..]),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    (quoted, "")
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn finds_the_next_page() {
        for (value, expected) in [
            (r#"</provider?cursor=a>; rel="next""#, Some("/provider?cursor=a")),
            (r#"<http://h/p?a=1,2;3>; rel=next"#, Some("http://h/p?a=1,2;3")),
            (r#"</a>; rel="successor-version", </b>; title="x, <y>; rel=\"next\""; REL="prev NEXT""#, Some("/b")),
            (r#"</a>; rel=first; rel=next"#, None),
            (r#"</a>;rel="nextish""#, None),
            (r#"</a>"#, None),
            ("", None),
            ("</a", None),
            (r#"</a>; rel="next"#, Some("/a")),
            ("</a>; rel", None),
        ] {
            assert_eq!(next([value]), expected, "{value}");
        }
        assert_eq!(next(["</a>; rel=first", "</b>; rel=next"]), Some("/b"));
    }
}

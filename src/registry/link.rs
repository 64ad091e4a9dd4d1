//! `Link` headers (RFC 8288): which one leads to the next page.

/// The target of the first link in `header` whose relation is `next`.
///
/// A header may hold several links, and a link several relations, quoted or not; a comma or semicolon in
/// quotes or between `<` and `>` parts nothing.
pub(super) fn next_target(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let (parameters, others) = split_unquoted(after, ',');
        if is_next(parameters) {
            return Some(target.trim());
        }
        rest = others?;
    }
}

/// Whether the first `rel` of these parameters has `next` among its relations.
fn is_next(parameters: &str) -> bool {
    let mut rest = Some(parameters);
    while let Some(text) = rest {
        let (parameter, others) = split_unquoted(text, ';');
        rest = others;
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        if name.trim().eq_ignore_ascii_case("rel") {
            let relations = value.trim().trim_matches('"');
            return relations
                .split_ascii_whitespace()
                .any(|relation| relation.eq_ignore_ascii_case("next"));
        }
    }
    false
}

/// `text` up to the first `separator` outside of quotes, and what follows it.
fn split_unquoted(text: &str, separator: char) -> (&str, Option<&str>) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if c == separator && !is_quoted => {
                let (before, after) = text.split_at(at);
                return (before, after.strip_prefix(separator));
            }
            _ => {}
        }
    }
    (text, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_every_style() {
        for (header, target) in [
            (
                r#"</v2/a/tags/list?last=1&n=2>; rel="next""#,
                "/v2/a/tags/list?last=1&n=2",
            ),
            ("</a>; rel=next", "/a"),
            ("</a>;rel=NEXT", "/a"),
            (r#"</a>; REL = "prev next" "#, "/a"),
            (
                "<https://h.example/v2/a?next_page=gAAAA%3D%3D>; rel=\"next\"",
                "https://h.example/v2/a?next_page=gAAAA%3D%3D",
            ),
            (r#"</1>; rel="prev", </2>; rel="next""#, "/2"),
            (r#"</2>; rel="next", </1>; rel="prev""#, "/2"),
            (
                r#"</1>; title="a, <b>; rel=next"; rel=prev, </2>; rel=next"#,
                "/2",
            ),
            (
                r#"</1>; title="\",</x>; rel=next"; rel="first",</2>; rel=next"#,
                "/2",
            ),
            (r#"</a,b;c>; type="x/y"; rel="next"; title="t""#, "/a,b;c"),
            ("<>; rel=next", ""),
            (r#"</a>; rel="next"#, "/a"),
        ] {
            assert_eq!(next_target(header), Some(target), "{header}");
        }
    }

    #[test]
    fn nothing_else_is_a_next_page() {
        for header in [
            "",
            "</a>",
            "/a; rel=next",
            "</a; rel=next",
            "</a>; rel=prev",
            "</a>; rel=nextish",
            r#"</a>; rel="prev"; rel="next""#,
            r#"</a>; title="next""#,
            r#"</a>; title="x; rel=next"; rel=last"#,
            "</a>, ; rel=next",
            "<é>; rel=é",
        ] {
            assert_eq!(next_target(header), None, "{header}");
        }
    }
}

//! Annotations as they are typed: `KEY=VALUE[,KEY=VALUE]`, parted as cosign parts them.

use std::str::FromStr;

use crate::limits::input::ANNOTATION_NAME_BYTES_MAX;
use crate::template::Template;

/// What one flag says: names and values, which are templates.
///
/// cosign reads such a text as one record of comma-separated values (RFC 4180; tried with cosign 2.5 and 3.1): a
/// comma parts annotations, and one that stands in quotes as a whole, its name too, may have commas. A value may be
/// empty, as that of a variable that is not set in a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Annotations(pub(in crate::cli) Vec<(String, Template)>);

impl FromStr for Annotations {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        fields(text)?
            .iter()
            .map(|field| annotation(field))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The fields of a record, without the quotes around them.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(inner) => quoted(inner)?,
            None => bare(rest)?,
        };
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// A field without quotes, and what follows the comma behind it.
fn bare(text: &str) -> Result<(String, Option<&str>), String> {
    let (field, after) = match text.split_once(',') {
        Some((field, after)) => (field, Some(after)),
        None => (text, None),
    };
    if field.contains('"') {
        return Err(format!(
            "`{field}` has a quote inside: quotes stand around all of it, as in {}",
            example(field)
        ));
    }
    Ok((field.to_owned(), after))
}

/// A field whose opening quote is taken off, and what follows the comma behind it.
fn quoted(text: &str) -> Result<(String, Option<&str>), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return Err("a quote has no other half".to_owned());
        };
        field.push_str(before);
        if let Some(more) = after.strip_prefix('"') {
            field.push('"');
            rest = more;
        } else if after.is_empty() {
            return Ok((field, None));
        } else if let Some(next) = after.strip_prefix(',') {
            return Ok((field, Some(next)));
        } else {
            return Err("after its closing quote something else than a comma follows".to_owned());
        }
    }
}

/// How a text is typed as one annotation.
fn example(text: &str) -> String {
    format!("`'\"{}\"'`", text.replace('"', "\"\""))
}

/// One annotation.
fn annotation(text: &str) -> Result<(String, Template), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!(
            "`{text}` is no KEY=VALUE; a comma parts annotations, as cosign's does: one that has commas stands in \
             quotes, `'\"KEY=one, two\"'`"
        ));
    };
    if name.is_empty()
        || name.len() > ANNOTATION_NAME_BYTES_MAX
        || name.chars().any(char::is_control)
    {
        return Err(format!(
            "its name is empty, longer than {ANNOTATION_NAME_BYTES_MAX} bytes, or not printable"
        ));
    }
    if matches!(name, "creator" | "timestamp") {
        return Err(format!(
            "`{name}` is taken: readers of signatures expect the signing program's there"
        ));
    }
    if value.is_empty() {
        return Ok((name.to_owned(), Template::default()));
    }
    let value = value
        .parse()
        .map_err(|why| format!("the value of `{name}`: {why}"))?;
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, expected: &[(&str, &str)]) {
        let Annotations(read) = text.parse().unwrap();
        let read: Vec<(String, String)> = read
            .into_iter()
            .map(|(name, value)| (name, value.to_string()))
            .collect();
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(read, expected, "{text}");
    }

    #[test]
    fn commas_part_annotations_and_quotes_keep_them() {
        reads("b=x,c=y z", &[("b", "x"), ("c", "y z")]);
        reads("\"u=Ann, Bob\"", &[("u", "Ann, Bob")]);
        reads(
            "a=1,\"u=Ann, Bob\",b=2",
            &[("a", "1"), ("u", "Ann, Bob"), ("b", "2")],
        );
        reads("\"q=say \"\"hi\"\"\"", &[("q", "say \"hi\"")]);
    }

    #[test]
    fn values_may_be_empty_and_have_what_parts_names() {
        reads("k=", &[("k", "")]);
        reads("k=,l=", &[("k", ""), ("l", "")]);
        reads(
            "u=https://x.example/?a=b",
            &[("u", "https://x.example/?a=b")],
        );
        reads(" a= 1 ", &[(" a", " 1 ")]);
    }

    #[test]
    fn what_would_mean_something_else_is_refused() {
        for (text, said) in [
            ("u=Ann, Bob", "`'\"KEY=one, two\"'`"),
            ("u=\"Ann, Bob\"", "quotes stand around all of it"),
            ("u=\"a\"", "`'\"u=\"\"a\"\"\"'`"),
            ("\"u=a", "no other half"),
            ("\"u=a\"b", "closing quote"),
            ("a=1,", "is no KEY=VALUE"),
            ("", "is no KEY=VALUE"),
            ("=v", "its name is empty"),
            ("timestamp=1", "is taken"),
            ("u={", "the value of `u`"),
        ] {
            let why = text.parse::<Annotations>().unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}

//! `copy SRC DST`: a run of one image.

use std::sync::Arc;

use crate::list::{Entry, Line, Names, Settings, Written};
use crate::oci::{Reference, Tag};
use crate::plan::{self, Rewrite};

use super::args::{CopyArgs, General};
use super::error::Error;
use super::mirror::Copy;
use super::{Environment, access};

/// `consign copy`.
pub(super) async fn copy(
    args: CopyArgs,
    general: &General,
    environment: &Environment,
) -> Result<u8, Error> {
    let CopyArgs {
        from,
        mut to,
        output,
        copying,
        access,
        sides,
        bounds,
    } = args;
    let registries = access::registries()?;
    let mut from = from.source(&registries);
    let text = format!("{from} {to}");
    name(&mut from, &mut to)?;
    let entry = Entry {
        line: Line {
            file: Arc::from("command line"),
            number: 1,
            text: Arc::from(text),
            service: None,
        },
        names: Names::Mirror {
            source: from,
            source_registry: Written::Yes,
            destination: to,
            destination_registry: Written::Yes,
        },
        settings: Settings::default(),
    };
    let plan = plan::plan(vec![entry], &Rewrite::default()).map_err(|errors| {
        let wrong = errors.iter().map(|error| error.reason.to_string());
        Error::several("this cannot be copied", wrong)
    })?;
    let run = Copy {
        command: "copy",
        plan: Arc::new(plan),
        skipped: Vec::new(),
        lists: Vec::new(),
        failed: None,
        output,
        copying,
        access,
        sides,
        registries,
        bounds,
    };
    run.run(general, environment).await
}

/// Fills in what is left out: a source without tag and digest means `latest`; a destination without
/// a tag has that of the source, or, where that is a digest alone, the digest.
fn name(from: &mut Reference, to: &mut Reference) -> Result<(), Error> {
    if from.tag.is_none() && from.digest.is_none() {
        from.tag = Some(Tag::latest());
    }
    match (&to.tag, &to.digest) {
        (_, Some(digest)) if Some(digest) != from.digest.as_ref() => {
            return Err(Error::refused(&format!(
                "a destination has the digest of its source; `{to}` cannot be chosen"
            )));
        }
        (Some(_), _) => to.digest = None,
        (None, _) => {
            to.tag.clone_from(&from.tag);
            to.digest = if from.tag.is_some() {
                None
            } else {
                from.digest
            };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    fn named(from: &str, to: &str) -> Option<(String, String)> {
        let (mut from, mut to) = (from.parse().unwrap(), to.parse().unwrap());
        name(&mut from, &mut to).ok()?;
        Some((from.to_string(), to.to_string()))
    }

    #[test]
    fn a_destination_has_the_name_of_its_source_where_it_says_nothing() {
        let digest = Digest::sha256(b"x");
        let other = Digest::sha256(b"y");
        let pair = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));
        assert_eq!(
            named("a.io/x", "b.io/y"),
            pair("a.io/x:latest", "b.io/y:latest")
        );
        assert_eq!(named("a.io/x:1", "b.io/y"), pair("a.io/x:1", "b.io/y:1"));
        assert_eq!(named("a.io/x:1", "b.io/y:2"), pair("a.io/x:1", "b.io/y:2"));
        let by_digest = format!("a.io/x@{digest}");
        assert_eq!(
            named(&by_digest, "b.io/y"),
            pair(&by_digest, &format!("b.io/y@{digest}"))
        );
        assert_eq!(named(&by_digest, "b.io/y:2"), pair(&by_digest, "b.io/y:2"));
        assert_eq!(named(&by_digest, &format!("b.io/y@{other}")), None);
        assert_eq!(named("a.io/x:1", &format!("b.io/y@{digest}")), None);
    }
}

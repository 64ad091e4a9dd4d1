//! Image lists from files and standard input to a plan, or all that is wrong at once.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use crate::list::{self, Entry, Parsed};
use crate::plan::{self, Plan, Rewrite};
use crate::report::Skipped;

use super::error::Error;

/// How many bad lines a message shows; the count says how many there are.
const BAD_SHOWN_MAX: usize = 1000;

/// Whether bad lines end everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadLines {
    /// They do, before anything is contacted.
    Refuse,
    /// They are left out, and listed as failed.
    Skip,
}

/// Reads all lists and makes their plan.
///
/// # Errors
///
/// When a list is unreadable, or, unless they are to be skipped, any line of any list is bad; all of
/// them are named.
pub(super) fn plan(
    files: &[PathBuf],
    rewrite: &Rewrite,
    bad_lines: BadLines,
) -> Result<(Plan, Vec<Skipped>), Error> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut bad = Vec::new();
    for file in files {
        let parsed = read(file)?;
        entries.extend(parsed.entries);
        for error in parsed.bad {
            bad.push((Skipped::unread(&error), error.hint()));
        }
    }
    let (plan, errors) = plan::plan_good(entries, rewrite);
    for error in errors {
        bad.push((Skipped::unplanned(&error), error.hint()));
    }
    if bad.is_empty() || bad_lines == BadLines::Skip {
        let skipped = bad.into_iter().map(|(skipped, _)| skipped).collect();
        return Ok((plan, skipped));
    }
    Err(refusal(&bad))
}

fn refusal(bad: &[(Skipped, Option<&'static str>)]) -> Error {
    let lines = bad
        .iter()
        .take(BAD_SHOWN_MAX)
        .map(|(skipped, _)| skipped.to_string());
    let rest = bad.len().saturating_sub(BAD_SHOWN_MAX);
    let more = (rest > 0).then(|| format!("… and {rest} more"));
    let what = match bad.len() {
        1 => "1 line cannot be used; nothing was contacted".to_owned(),
        count => format!("{count} lines cannot be used; nothing was contacted"),
    };
    let mut error = Error::several(&what, lines.chain(more));
    let mut hints: Vec<&'static str> = Vec::new();
    for hint in bad.iter().filter_map(|(_, hint)| *hint) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    hints.push("`--skip-bad-lines` goes on without them");
    for hint in hints {
        error = error.with_hint(hint);
    }
    error
}

fn read(path: &Path) -> Result<Parsed, Error> {
    let parsed = if path == Path::new("-") {
        list::parse("-", io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|error| {
            Error::usage(
                &format!("cannot read the list `{}`", path.display()),
                &error,
            )
        })?;
        list::parse(&path.to_string_lossy(), BufReader::new(file))
    };
    parsed
        .map_err(|error| Error::usage(&format!("cannot use the list `{}`", path.display()), &error))
}

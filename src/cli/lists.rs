//! Image lists from files and standard input to a plan, or all that is wrong at once.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use crate::list::{self, Entry, Parsed};
use crate::plan::{self, Plan, Rewrite};
use crate::report::{self, Skipped};

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
    let mut carried = Vec::new();
    for file in files {
        let parsed = read(file)?;
        carried.extend(carry(file)?);
        entries.extend(parsed.entries);
        for error in parsed.bad {
            bad.push((Skipped::unread(&error), error.hint()));
        }
    }
    if entries.is_empty() && bad.is_empty() && carried.is_empty() {
        let what = "the lists name no image; nothing was tried, and nothing is changed";
        return Err(Error::refused(what));
    }
    let (plan, errors) = plan::plan_good(entries, rewrite);
    for error in errors {
        bad.push((Skipped::unplanned(&error), error.hint()));
    }
    if bad.is_empty() || bad_lines == BadLines::Skip {
        let skipped = bad.into_iter().map(|(skipped, _)| skipped).chain(carried);
        return Ok((plan, skipped.collect()));
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

/// The bad lines that a failed list carries. Standard input cannot be read twice and carries none.
fn carry(path: &Path) -> Result<Vec<Skipped>, Error> {
    if path == Path::new("-") {
        return Ok(Vec::new());
    }
    let read = File::open(path).and_then(|file| {
        // A pipe has been read, and a device would not end.
        if file.metadata()?.is_file() {
            report::carried(BufReader::new(file))
        } else {
            Ok(Vec::new())
        }
    });
    read.map_err(|error| {
        Error::usage(
            &format!("cannot read the list `{}`", path.display()),
            &error,
        )
    })
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

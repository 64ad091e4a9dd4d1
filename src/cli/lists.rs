//! Image lists from files and standard input to a plan, or all that is wrong at once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::list::{self, Entry, LIST_BYTES_MAX, Line, Sign};
use crate::plan::{self, Job, Plan};
use crate::report::{self, Skipped};

use super::args::Access;
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

impl BadLines {
    /// What `--skip-bad-lines` says.
    pub(super) const fn of(skip: bool) -> Self {
        if skip { Self::Skip } else { Self::Refuse }
    }
}

/// What lists say.
#[derive(Debug, Default)]
pub(super) struct Lists {
    entries: Vec<Entry>,
    bad: Vec<(Skipped, Option<&'static str>)>,
    carried: Vec<Skipped>,
    /// The lines that a failed list marks as rejected: of which file, and their numbers.
    rejected: Rejected,
}

impl Lists {
    /// Reads all of `files`; `access` says what else is read.
    ///
    /// # Errors
    ///
    /// When one is unreadable or no list, or they name no image, or credentials too are on standard input.
    pub(super) fn read(files: &[PathBuf], access: &Access) -> Result<Self, Error> {
        let is_stdin = |path: &Path| path == Path::new("-");
        let has_creds = access.creds_file.as_deref().is_some_and(is_stdin);
        if has_creds && files.iter().any(|file| is_stdin(file)) {
            // Whatever is there: the password of a credential is no list line to be shown as a bad one.
            let what = "`-f -` and `--creds-file -` cannot both be standard input";
            return Err(Error::refused(what).with_hint("give one of the two as a file"));
        }
        let mut lists = Self::default();
        for file in files {
            lists.add(file)?;
        }
        if lists.entries.is_empty() && lists.bad.is_empty() && lists.carried.is_empty() {
            let what = "the lists name no image; nothing was tried, and nothing is changed";
            return Err(Error::refused(what));
        }
        Ok(lists)
    }

    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let bytes = bytes(path).map_err(|error| {
            Error::usage(
                &format!("cannot read the list `{}`", path.display()),
                &error,
            )
        })?;
        let unusable = |error: &(dyn std::error::Error + 'static)| {
            Error::usage(&format!("cannot use the list `{}`", path.display()), error)
        };
        let parsed = list::parse(&path.to_string_lossy(), bytes.as_slice())
            .map_err(|error| unusable(&error))?;
        let carried = report::carried(bytes.as_slice()).map_err(|error| unusable(&error))?;
        self.carried.extend(carried);
        let rejected = report::rejected(bytes.as_slice()).map_err(|error| unusable(&error))?;
        if let Some(entry) = parsed.entries.first() {
            self.rejected.push((Arc::clone(&entry.line.file), rejected));
        }
        self.entries.extend(parsed.entries);
        for error in parsed.bad {
            self.bad.push((Skipped::unread(&error), error.hint()));
        }
        Ok(())
    }

    /// Makes the plan by `plan`, with what was skipped and what is marked as rejected.
    ///
    /// # Errors
    ///
    /// Unless bad lines are to be skipped, when any line of any list is bad; all of them are named.
    pub(super) fn plan(
        self,
        bad_lines: BadLines,
        plan: impl FnOnce(Vec<Entry>) -> (Plan, Vec<plan::Error>),
    ) -> Result<(Plan, Vec<Skipped>, Rejected), Error> {
        let Self {
            entries,
            mut bad,
            carried,
            rejected,
        } = self;
        let (plan, errors) = plan(entries);
        for error in errors {
            bad.push((Skipped::unplanned(&error), error.hint()));
        }
        if bad.is_empty() || bad_lines == BadLines::Skip {
            let skipped = bad.into_iter().map(|(skipped, _)| skipped).chain(carried);
            return Ok((plan, skipped.collect(), rejected));
        }
        Err(refusal(&bad))
    }
}

/// The lines that failed lists mark as rejected: of which file, and their numbers.
pub(super) type Rejected = Vec<(Arc<str>, BTreeSet<usize>)>;

/// Whether a failed list marks `line` as rejected by a validation.
pub(super) fn rejects(rejected: &Rejected, line: &Line) -> bool {
    rejected
        .iter()
        .any(|(file, numbers)| *file == line.file && numbers.contains(&line.number))
}

/// Refuses lines that bring their own signer, which runs do not honour yet.
///
/// # Errors
///
/// When a job of `plan` has such settings; all are named.
pub(super) fn refuse_own_signatures(plan: &Plan) -> Result<(), Error> {
    let own = |job: &&Job| matches!(&job.settings.sign, Some(Sign::Key(_) | Sign::Keyless));
    let lines: Vec<String> = plan
        .jobs()
        .iter()
        .filter(own)
        .map(|job| format!("{}: {}", job.line, job.line.text))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    let what = "lines with `sign` of their own are not there yet; nothing was contacted";
    Err(Error::several(what, lines.into_iter().take(BAD_SHOWN_MAX)))
}

/// The whole of a list, up to what makes it too long: it is looked at more than once, and a pipe can
/// be read only once.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(LIST_BYTES_MAX + 1).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
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

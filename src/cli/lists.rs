//! Image lists from files and standard input to a plan, or all that is wrong at once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::compose::{self, Keys};
use crate::limits::input::{LIST_BYTES_MAX, LIST_LINES_MAX, LIST_TEXT_BYTES_MAX};
use crate::list::{self, Entry, Line};
use crate::plan::{self, Plan};
use crate::report::{self, Skipped};
use crate::text;

use super::args::{Access, General, ListFormat, LogFormat, Reading};
use super::compose::{Disk, options};
use super::error::Error;

/// How many bad lines a message shows; the count says how many there are.
const BAD_SHOWN_MAX: usize = 1000;

/// How much of a reason is shown, in characters.
const REASON_CHARS_MAX: usize = 500;

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
    /// Whether what is bad is never skipped: a line or a service that is half understood asks, or might ask,
    /// for verification.
    is_strict: bool,
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
    pub(super) fn read(
        files: &[PathBuf],
        access: &Access,
        (reading, keys): (&Reading, Keys),
        general: &General,
    ) -> Result<Self, Error> {
        Self::read_with((&[], files), access, (reading, keys), general)
    }

    /// The same with images in front, each of which could be a line of a list.
    ///
    /// # Errors
    ///
    /// As [`Lists::read`].
    pub(super) fn read_with(
        (images, files): (&[String], &[PathBuf]),
        access: &Access,
        (reading, keys): (&Reading, Keys),
        general: &General,
    ) -> Result<Self, Error> {
        let is_stdin = |path: &Path| path == Path::new("-");
        let has_creds = access.creds_file.as_deref().is_some_and(is_stdin);
        if has_creds && files.iter().any(|file| is_stdin(file)) {
            // Whatever is there: the password of a credential is no list line to be shown as a bad one.
            let what = "`-f -` and `--creds-file -` cannot both be standard input";
            return Err(Error::refused(what).with_hint("give one of the two as a file"));
        }
        let mut lists = Self::default();
        let typed = images.join("\n");
        let typed = list::parse("command line", typed.as_bytes());
        let typed = typed.map_err(|error| Error::usage("cannot use these images", &error))?;
        lists.take(typed, None);
        for file in files {
            lists.add(file, (reading, keys), general)?;
            lists.check()?;
        }
        if lists.entries.is_empty() && lists.bad.is_empty() && lists.carried.is_empty() {
            let what = "the lists name no image; nothing was tried, and nothing is changed";
            return Err(Error::refused(what));
        }
        Ok(lists)
    }

    fn add(
        &mut self,
        path: &Path,
        (reading, keys): (&Reading, Keys),
        general: &General,
    ) -> Result<(), Error> {
        let bytes = bytes(path).map_err(|error| {
            Error::usage(
                &format!("cannot read the list `{}`", path.display()),
                &error,
            )
        })?;
        let is_compose = match reading.list_format {
            ListFormat::Auto => compose::is_compose(&bytes),
            ListFormat::Plain => false,
            ListFormat::Compose => true,
        };
        if is_compose {
            let parsed = compose::parse(path, &bytes, &options(reading, keys), &Disk);
            self.add_compose(parsed, general);
            return Ok(());
        }
        let unusable = |error: &(dyn std::error::Error + 'static)| {
            Error::usage(&format!("cannot use the list `{}`", path.display()), error)
        };
        let parsed = list::parse(&path.to_string_lossy(), bytes.as_slice());
        let parsed = parsed.map_err(|error| match error.hint() {
            Some(hint) => unusable(&error).with_hint(hint),
            None => unusable(&error),
        })?;
        let carried = report::carried(bytes.as_slice()).map_err(|error| unusable(&error))?;
        self.carried.extend(carried);
        let rejected = report::rejected(bytes.as_slice()).map_err(|error| unusable(&error))?;
        if let Some(entry) = parsed.entries.first() {
            self.rejected.push((Arc::clone(&entry.line.file), rejected));
        }
        let is_guessed = reading.list_format == ListFormat::Auto;
        self.take(parsed, (is_guessed && is_yaml(path)).then_some(NO_COMPOSE));
        Ok(())
    }

    /// Whether all lists together are within what one of them may have.
    fn check(&self) -> Result<(), Error> {
        let lines = self.entries.len() + self.bad.len();
        let length = self.entries.iter().map(|entry| entry.line.text.len());
        let beyond = if lines > LIST_LINES_MAX {
            format!("more than {LIST_LINES_MAX} lines with images")
        } else if length.sum::<usize>() > LIST_TEXT_BYTES_MAX {
            format!("more than {LIST_TEXT_BYTES_MAX} bytes of lines with images")
        } else {
            return Ok(());
        };
        let what = format!("all lists together have {beyond}; nothing was tried");
        Err(Error::refused(&what).with_hint("run them one after the other"))
    }

    /// Takes the lines of a plain list; `hint` goes before what is said of each bad one.
    fn take(&mut self, parsed: list::Parsed, hint: Option<&'static str>) {
        self.entries.extend(parsed.entries);
        for error in parsed.bad {
            // Another line may name the same image, and would go on without what this one asks for.
            self.is_strict |= error.may_ask;
            self.bad
                .push((Skipped::unread(&error), hint.or_else(|| error.hint())));
        }
    }

    fn add_compose(&mut self, parsed: compose::Parsed, general: &General) {
        for text in &parsed.warnings {
            tracing::warn!("{text}");
        }
        if general.log_format == LogFormat::Text {
            for text in &parsed.notes {
                // Nobody reads it, then.
                drop(writeln!(io::stderr(), "note: {text}"));
            }
        }
        self.is_strict |= !parsed.errors.is_empty();
        for error in parsed.errors {
            self.bad.push((skipped(&error), error.hint()));
        }
        self.entries.extend(parsed.entries);
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
            mut is_strict,
            carried,
            rejected,
        } = self;
        let has_own = entries
            .iter()
            .any(|entry| entry.settings.verify.is_some() || entry.settings.sign.is_some());
        let (plan, errors) = plan(entries);
        for error in errors {
            // Without the line that asks for verification, the other one would go on unverified.
            is_strict |= has_own && matches!(error.reason, plan::Reason::Unlike { .. });
            bad.push((Skipped::unplanned(&error), error.hint()));
        }
        if bad.is_empty() || (bad_lines == BadLines::Skip && !is_strict) {
            let skipped = bad.into_iter().map(|(skipped, _)| skipped).chain(carried);
            return Ok((plan, skipped.collect(), rejected));
        }
        Err(refusal(&bad, is_strict))
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

/// What is said of bad lines in a file with the ending of a compose file.
const NO_COMPOSE: &str = "this was read as a plain list, for `services:` or `include:` begins no line of it; \
    `--list-format compose` reads it as a compose file";

/// Whether the name of a file ends as those of compose files do.
fn is_yaml(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ["yaml", "yml"].contains(&ending))
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

/// What is wrong with a compose file, as a line that cannot be used.
fn skipped(error: &compose::Error) -> Skipped {
    let service = error.service.as_deref();
    let reason = match service {
        Some(name) => format!("service `{name}`: {}", error.reason),
        None => error.reason.to_string(),
    };
    Skipped {
        file: Arc::clone(&error.file),
        line: error.line,
        column: Some(error.column),
        text: service.unwrap_or_default().to_owned(),
        reason: text::cleaned(&reason, REASON_CHARS_MAX),
    }
}

fn refusal(bad: &[(Skipped, Option<&'static str>)], is_strict: bool) -> Error {
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
    if !is_strict {
        hints.push("`--skip-bad-lines` goes on without them");
    }
    for hint in hints {
        error = error.with_hint(hint);
    }
    error
}

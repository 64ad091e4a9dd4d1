//! The failed list: what is left to do, itself an image list.
//!
//! It is there from the start, with every line as "not tried", and is replaced while the run goes
//! on, at most once a second. So it holds at least what is left to do whenever the run is killed, and
//! exactly that after any end. A run that leaves nothing to do removes it.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::{Read as _, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::output::{Output, Sync};
use super::{Error, Reason, Reporter, Skipped};
use crate::event::{Event, Failure, Kind, Outcome};
use crate::plan::{Course, Job, JobId, Plan};
use crate::text;

/// What the first line of a failed list begins with. Only such a file is ever replaced or removed.
pub const HEADER: &str = "# consign failed list";
/// The version of the format, which stands behind the header.
const FORMAT: u32 = 1;
/// What stands before a bad line's place and reason, and before its text.
const BAD_LINE: &str = "# bad-line ";
const BAD_TEXT: &str = "#   ";
/// The longest reason in a comment, in characters. With all else a comment stays shorter than the
/// longest line of a list.
const REASON_CHARS_MAX: usize = 500;
/// The same in bytes: 15,000 lines with it, and with a name of a file, are within what a list may have.
const REASON_BYTES_MAX: usize = 600;
/// How often the file is replaced at most.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many times longer than it takes to write the file must pass before it is written again, so
/// that a slow disk does not become what the run waits for.
const REST_FACTOR: u32 = 20;

/// Writes the failed list.
#[derive(Debug)]
pub struct Failures {
    output: Output,
    plan: Arc<Plan>,
    skipped: Vec<Skipped>,
    command: String,
    states: Vec<State>,
    stale: bool,
    warnings: Vec<String>,
    interval: Duration,
    due: Instant,
}

/// What the list says of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// It has not ended.
    Open,
    /// It ended well, or another stands for it.
    Well,
    /// It did not end well: in one word, and why, which other reports share.
    Unwell(&'static str, Box<Failure>),
}

impl Failures {
    /// Writes the list of `plan` at `path`, with every line as not tried.
    ///
    /// `skipped` are bad lines, which will stand in the list as comments. `command` is the name of the
    /// command that runs, which the header says; it must not hold secrets. A list that is to be run
    /// again must have been read before.
    ///
    /// # Errors
    ///
    /// When there is something at `path` that does not begin with [`HEADER`], or is no regular file,
    /// or cannot be read, and when it cannot be written. Nothing is changed then.
    pub fn create(
        path: &Path,
        plan: &Arc<Plan>,
        skipped: &[Skipped],
        command: &str,
    ) -> Result<Self, Error> {
        const WHAT: &str = "failed list";
        check_ours(path).map_err(|reason| Error {
            what: WHAT,
            path: super::output::shown(path),
            reason,
        })?;
        let mut list = Self {
            output: Output::open(WHAT, path)?,
            plan: Arc::clone(plan),
            skipped: skipped.to_vec(),
            command: text::cleaned(command, REASON_CHARS_MAX),
            states: untold(plan),
            stale: false,
            warnings: Vec::new(),
            interval: INTERVAL,
            due: Instant::now(),
        };
        list.write(Sync::Now)?;
        Ok(list)
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        self.output.path()
    }

    fn write(&mut self, sync: Sync) -> Result<(), Error> {
        let began = Instant::now();
        check_ours(self.output.path()).map_err(|reason| self.output.error(reason))?;
        let content = Content {
            plan: &self.plan,
            states: &self.states,
            skipped: &self.skipped,
            command: &self.command,
            warnings: &self.warnings,
        };
        let written = self.output.write(sync, |out| content.write(out));
        // A disk that is full is asked again no sooner than one that is not.
        let rest = began.elapsed().saturating_mul(REST_FACTOR);
        self.due = Instant::now() + self.interval.max(rest);
        self.stale = written.is_err();
        written
    }

    fn write_when_due(&mut self) -> Result<(), Error> {
        if self.stale && Instant::now() >= self.due {
            self.write(Sync::Later)
        } else {
            Ok(())
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        let nothing_left = self.states.iter().all(|state| *state == State::Well);
        if nothing_left && self.skipped.is_empty() {
            check_ours(self.output.path()).map_err(|reason| self.output.error(reason))?;
            self.output.remove()
        } else {
            self.write(Sync::Now)
        }
    }

    fn note(&mut self, id: JobId, outcome: &Outcome) {
        let state = match outcome.failure() {
            Some(failure) => State::Unwell(outcome.as_str(), Box::new(failure.clone())),
            None => State::Well,
        };
        if let Some(slot) = self.states.get_mut(id.position())
            && *slot == State::Open
        {
            *slot = state;
            self.stale = true;
        }
    }
}

impl Reporter for Failures {
    fn event(&mut self, event: &Event) -> Result<(), Error> {
        match event {
            Event::Finished {
                job,
                outcome,
                elapsed: _,
            } => {
                self.note(*job, outcome);
                self.write_when_due()
            }
            Event::Ended { .. } => self.finish(),
            Event::Began { jobs: _, warnings } => {
                self.warnings.clone_from(warnings);
                Ok(())
            }
            Event::Started { .. } | Event::Noted { .. } | Event::Paused(_) => Ok(()),
        }
    }

    fn tick(&mut self) -> Result<(), Error> {
        self.write_when_due()
    }
}

/// What is known of the jobs of a plan before any of them began.
fn untold(plan: &Plan) -> Vec<State> {
    let jobs = plan.jobs().iter();
    jobs.map(|job| match job.course {
        Course::Run | Course::Contested { .. } => State::Open,
        Course::Duplicate { .. } => State::Well,
    })
    .collect()
}

/// The comment above the line of a job that did not end well, without `# `.
fn comment(job: &Job, word: &str, failure: &Failure) -> String {
    let side = failure
        .side
        .map_or(String::new(), |side| format!(" side={side}"));
    let mut reason = text::cleaned(&failure.causes.join(": "), REASON_CHARS_MAX);
    // Registries may say it in any script, and the list of a large run is to be read again.
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    format!(
        "{word} stage={}{side} kind={} {}: {reason}",
        failure.stage, failure.kind, job.line
    )
}

struct Content<'a> {
    plan: &'a Plan,
    states: &'a [State],
    skipped: &'a [Skipped],
    command: &'a str,
    warnings: &'a [String],
}

impl Content<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{HEADER}, format {FORMAT}")?;
        writeln!(
            out,
            "# What `consign {}` has left to do. Run the same command again with this file as its list.",
            self.command
        )?;
        for warning in self.warnings {
            writeln!(out, "# warning: {warning}")?;
        }
        for (job, state) in self.plan.jobs().iter().zip(self.states) {
            match state {
                State::Well => continue,
                State::Open => writeln!(out, "# not-tried {}", job.line)?,
                State::Unwell(word, failure) => {
                    writeln!(out, "# {}", comment(job, word, failure))?;
                }
            }
            writeln!(out, "{}", job.line.text)?;
        }
        for skipped in self.skipped {
            writeln!(out, "{BAD_LINE}{skipped}")?;
            writeln!(out, "{BAD_TEXT}{}", skipped.text)?;
        }
        Ok(())
    }
}

/// The failed list of a run of `plan` in which nothing was tried.
#[cfg(any(test, fuzzing))]
pub(crate) fn untried(plan: &Plan, skipped: &[Skipped]) -> io::Result<Vec<u8>> {
    let content = Content {
        plan,
        states: &untold(plan),
        skipped,
        command: "mirror",
        warnings: &[],
    };
    let mut list = Vec::new();
    content.write(&mut list)?;
    Ok(list)
}

/// The bad lines that a failed list carries as comments, so that a run of the list keeps them. None
/// for a list of anybody else's.
///
/// The list has been read as a list before, so that its size and its lines are within bounds.
///
/// # Errors
///
/// When it cannot be read.
pub fn carried(list: impl io::BufRead) -> io::Result<Vec<Skipped>> {
    let mut bad = Vec::new();
    let mut place = None;
    for (number, line) in list.lines().enumerate() {
        let line = line?;
        if number == 0 && !line.trim_start_matches('\u{feff}').starts_with(HEADER) {
            break;
        }
        if let Some(rest) = line.strip_prefix(BAD_LINE) {
            place = Some(rest.to_owned());
        } else if let (Some(place), Some(text)) = (place.take(), line.strip_prefix(BAD_TEXT)) {
            bad.extend(Skipped::carried(&place, text));
        }
    }
    Ok(bad)
}

/// The numbers of the lines that a failed list marks as rejected by a validation, from 1. None for a
/// list of anybody else's.
///
/// # Errors
///
/// When it cannot be read.
pub fn rejected(list: impl io::BufRead) -> io::Result<BTreeSet<usize>> {
    let mut marked = BTreeSet::new();
    let (mut is_ours, mut is_marked) = (false, false);
    for (number, line) in list.lines().enumerate() {
        let line = line?;
        // Lists may have been put together; what follows the header of ours is marked by us.
        is_ours |= line.trim_start_matches('\u{feff}').starts_with(HEADER);
        if !is_ours {
            continue;
        }
        match line.strip_prefix("# ") {
            // Outcome, stage, side, kind: what follows them is the reason, in others' words.
            Some(comment) => {
                is_marked = comment
                    .split(' ')
                    .take(4)
                    .any(|word| word.strip_prefix("kind=") == Some(Kind::Rejected.as_str()));
            }
            None if line.trim().is_empty() || line.starts_with('#') => {}
            None => {
                if std::mem::take(&mut is_marked) {
                    marked.insert(number + 1);
                }
            }
        }
    }
    Ok(marked)
}

/// Whether `path` is free, or holds a list of ours.
fn check_ours(path: &Path) -> Result<(), Reason> {
    const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
    // Looks at a link, not through it: replacing what it points to could reach anywhere.
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(metadata) if !metadata.is_file() => return Err(Reason::NotAFile),
        Ok(_) => {}
    }
    let mut head = Vec::new();
    File::open(path)?
        .take(u64::try_from(UTF8_MARK.len() + HEADER.len()).unwrap_or(u64::MAX))
        .read_to_end(&mut head)?;
    let head = head.strip_prefix(UTF8_MARK).unwrap_or(&head);
    if head.starts_with(HEADER.as_bytes()) {
        Ok(())
    } else {
        Err(Reason::NotOurs)
    }
}

#[cfg(test)]
#[path = "failures_tests.rs"]
mod tests;

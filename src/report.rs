//! Reports: who is told of a run, and how.
//!
//! Each report is a [`Reporter`]: it consumes the events of a run, in their order, and writes one
//! thing. [`Terminal`] tells a person, [`Lines`] a machine while the run goes on, [`Document`] a
//! machine after it; [`Failures`] is the list of what is left to do, and [`Digests`] that of what was
//! done. Files are replaced as a whole, so that a reader finds the old one or the new one.
//!
//! Whatever was written by others (lists, servers) is [cleaned](crate::text::cleaned) before it is
//! written here.

mod cosign;
mod digests;
mod document;
mod failures;
mod hint;
mod json;
mod lines;
mod message;
mod output;
mod plan;
mod results;
mod signatures;
mod terminal;

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

pub use cosign::Cosign;
pub use digests::Digests;
pub use document::{Document, SCHEMA};
#[cfg(any(test, fuzzing))]
pub(crate) use failures::untried;
pub use failures::{Failures, HEADER, carried, rejected};
pub use hint::{hint, hint_at};
pub use lines::Lines;
pub use plan::{Sources, write_plan_json, write_plan_text};
pub use results::Results;
pub use terminal::{Colour, Terminal};

use crate::event::Event;
use crate::list;
use crate::plan::Error as PlanError;
use crate::text;

/// Where the time comes from that reports write: the clock, or that of a test.
pub type Clock = fn() -> SystemTime;

/// One consumer of a run's events.
pub trait Reporter {
    /// Takes in the next event.
    ///
    /// Blocks for as long as it takes to write; the run waits for it.
    ///
    /// # Errors
    ///
    /// When something cannot be written. The reporter stays usable: the next event may find room again.
    fn event(&mut self, event: &Event) -> Result<(), Error>;

    /// Takes note that time has passed. Called a few times a second between
    /// [`Event::Began`] and [`Event::Ended`].
    ///
    /// # Errors
    ///
    /// As for [`event`](Self::event).
    fn tick(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Several reporters as one.
///
/// Each is told everything, in their order, also when one before it cannot write. The first error is
/// returned.
#[derive(Default)]
pub struct Reporters(Vec<Box<dyn Reporter + Send>>);

impl Reporters {
    /// Adds one.
    pub fn add(&mut self, reporter: impl Reporter + Send + 'static) {
        self.0.push(Box::new(reporter));
    }

    fn each(
        &mut self,
        mut tell: impl FnMut(&mut (dyn Reporter + Send)) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        for reporter in &mut self.0 {
            result = result.and(tell(reporter.as_mut()));
        }
        result
    }
}

impl std::fmt::Debug for Reporters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reporters").field(&self.0.len()).finish()
    }
}

impl Reporter for Reporters {
    fn event(&mut self, event: &Event) -> Result<(), Error> {
        self.each(|reporter| reporter.event(event))
    }

    fn tick(&mut self) -> Result<(), Error> {
        self.each(|reporter| reporter.tick())
    }
}

/// A bad line that was skipped, as asked. Fit for printing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file it stands in.
    pub file: Arc<str>,
    /// Its number, from 1.
    pub line: usize,
    /// Where in the line, in characters from 1, where that is known.
    pub column: Option<usize>,
    /// The line, cut.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The longest text and reason of a [`Skipped`] line, in characters.
const SKIPPED_CHARS_MAX: usize = 400;

impl Skipped {
    /// A line that could not be read.
    pub fn unread(error: &list::Error) -> Self {
        Self {
            file: Arc::clone(&error.file),
            line: error.line,
            column: Some(error.column),
            text: text::cleaned(&error.text, SKIPPED_CHARS_MAX),
            reason: text::cleaned(&error.reason.to_string(), SKIPPED_CHARS_MAX),
        }
    }

    /// A line that could not be planned.
    pub fn unplanned(error: &PlanError) -> Self {
        Self {
            file: Arc::clone(&error.line.file),
            line: error.line.number,
            column: None,
            text: text::cleaned(&error.line.text, SKIPPED_CHARS_MAX),
            reason: text::cleaned(&error.reason.to_string(), SKIPPED_CHARS_MAX),
        }
    }
}

impl Skipped {
    /// The bad line that a failed list carries: `place`, as [`Display`](std::fmt::Display) writes it,
    /// and the line's `text`. `None` for what no failed list of ours says.
    pub fn carried(place: &str, text: &str) -> Option<Self> {
        let (place, reason) = place.split_once(": ")?;
        let (before, last) = place.rsplit_once(':')?;
        let last = last.parse().ok()?;
        let in_line = before
            .rsplit_once(':')
            .and_then(|(file, line)| Some((file, line.parse().ok()?)));
        let (file, line, column) = match in_line {
            Some((file, line)) => (file, line, Some(last)),
            None => (before, last, None),
        };
        Some(Self {
            file: Arc::from(text::cleaned(file, SKIPPED_CHARS_MAX)),
            line,
            column,
            text: text::cleaned(text, SKIPPED_CHARS_MAX),
            reason: text::cleaned(reason, SKIPPED_CHARS_MAX),
        })
    }
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// An output that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the {what} `{path}`")]
pub struct Error {
    /// Which output: "failed list", "report".
    pub what: &'static str,
    /// Its path, fit for printing.
    pub path: String,
    /// Why not.
    #[source]
    pub reason: Reason,
}

/// Why an output cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is a file that another program or a person wrote.
    #[error(
        "it is there already and does not begin with `{HEADER}`, so it is not ours to replace; \
         name another file, or move it away"
    )]
    NotOurs,
    /// It is something else than a file.
    #[error("it is not a regular file")]
    NotAFile,
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;

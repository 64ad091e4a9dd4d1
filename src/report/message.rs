//! Messages for a person about one job, and the words in them.

use std::fmt;
use std::time::Duration;

use indicatif::BinaryBytes;

use super::hint::hint;
use crate::event::{Changed, Failure, Note, Outcome, Side, Stage, Tally};
use crate::plan::{Job, Plan};

/// How a message is dressed; without colour all of it is empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dress {
    pub(super) bad: &'static str,
    pub(super) hint: &'static str,
    pub(super) off: &'static str,
}

impl Dress {
    pub(super) const PLAIN: Self = Self {
        bad: "",
        hint: "",
        off: "",
    };
    pub(super) const COLOURED: Self = Self {
        bad: "\u{1b}[31m",
        hint: "\u{1b}[36m",
        off: "\u{1b}[0m",
    };
}

/// A duration to whole seconds, or to milliseconds below ten seconds.
pub(super) fn duration(duration: Duration) -> impl fmt::Display {
    let whole = if duration < Duration::from_secs(10) {
        Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    } else {
        Duration::from_secs(duration.as_secs())
    };
    humantime::format_duration(whole)
}

/// `1 image`, `2 images`.
pub(super) fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

/// The message about a job that did not end well: headline, causes, hint; several lines.
pub(super) fn failed(job: &Job, outcome: &Outcome, failure: &Failure, dress: Dress) -> String {
    let Dress { bad, hint: h, off } = dress;
    let head = headline(job, outcome, failure);
    let mut message = format!("{}: {bad}{head}{off}\n", job.line);
    // The first cause often is the headline.
    for cause in failure.causes.iter().filter(|cause| **cause != head) {
        message.push_str("  caused by: ");
        message.push_str(cause);
        message.push('\n');
    }
    if let Some(hint) = hint(job, failure) {
        for part in ["  ", h, "hint:", off, " ", &hint, "\n"] {
            message.push_str(part);
        }
    }
    message
}

fn headline(job: &Job, outcome: &Outcome, failure: &Failure) -> String {
    if matches!(outcome, Outcome::NotTried(_)) {
        let because = match failure.side {
            Some(Side::Source) => format!(": its source `{}`", job.source.repository.registry()),
            Some(Side::Destination) => {
                format!(
                    ": its destination `{}`",
                    job.destination.repository.registry()
                )
            }
            None => String::new(),
        };
        return format!("did not try `{}`{because}", job.source);
    }
    match (failure.stage, failure.side) {
        (Stage::Preflight, Some(Side::Destination)) => format!("cannot use `{}`", job.destination),
        (Stage::Preflight, Some(Side::Source) | None) => format!("cannot use `{}`", job.source),
        (Stage::Plan, _) => format!("cannot decide on `{}`", job.destination),
        (Stage::Resolve, Some(Side::Destination)) => {
            format!("cannot resolve `{}`", job.destination)
        }
        (Stage::Resolve, Some(Side::Source) | None) => format!("cannot resolve `{}`", job.source),
        (Stage::Transfer, _) => format!("cannot transfer `{}`", job.source),
        (Stage::Sign, _) => format!("cannot sign `{}`", job.destination),
        (Stage::Verify, Some(Side::Destination)) => format!("cannot accept `{}`", job.destination),
        (Stage::Verify, Some(Side::Source) | None) => format!("cannot accept `{}`", job.source),
        (Stage::Run, _) => format!("did not finish `{}`", job.source),
    }
}

/// The line about a job that ended well.
pub(super) fn well(plan: &Plan, job: &Job, outcome: &Outcome, elapsed: Duration) -> String {
    let mut message = format!("{}: ", job.line);
    let (word, detail) = match outcome {
        Outcome::Copied(copied) => (
            "copied",
            format!(
                " ({}{}, {})",
                moved(&copied.tally),
                copied.changed.map_or("", changed),
                duration(elapsed)
            ),
        ),
        Outcome::UpToDate(copied) => (
            "up to date",
            copied.changed.map_or(String::new(), |why| {
                format!(" ({})", changed(why).trim_start_matches(", "))
            }),
        ),
        Outcome::Kept(copied) => (
            "kept",
            format!(
                " (has `{}`, the source `{}`)",
                copied.image.digest, copied.source
            ),
        ),
        Outcome::Duplicate { of } => (
            "a duplicate:",
            plan.job(*of)
                .map_or(String::new(), |first| format!(" (see {})", first.line)),
        ),
        Outcome::Failed(_) | Outcome::NotTried(_) => ("failed", String::new()),
    };
    for part in [
        word,
        " `",
        &job.source.to_string(),
        "` to `",
        &job.destination.to_string(),
        "`",
        &detail,
    ] {
        message.push_str(part);
    }
    message
}

fn changed(changed: Changed) -> &'static str {
    match changed {
        Changed::Selected => ", new digest: an index of the selected platforms",
        Changed::Merged => ", new digest: an index joined with the destination's",
    }
}

/// What moved, in words.
pub(super) fn moved(tally: &Tally) -> String {
    let mut text = format!(
        "{} of {}",
        BinaryBytes(tally.bytes),
        counted(tally.blobs_copied, "blob")
    );
    for (count, word) in [
        (tally.blobs_mounted, "mounted"),
        (tally.blobs_present, "there already"),
    ] {
        if count > 0 {
            for part in [", ", &count.to_string(), " ", word] {
                text.push_str(part);
            }
        }
    }
    text
}

/// A note as a sentence, where it is one for a person.
pub(super) fn note(note: &Note) -> Option<String> {
    match note {
        Note::Entered(_) | Note::Resolved(_) => None,
        Note::SignaturesDropped { count } => Some(format!(
            "{} of the index not brought, for the index was made anew",
            counted(*count, "signature")
        )),
        Note::SignaturesLeft { count } => Some(format!(
            "{} left behind, as asked",
            counted(*count, "signature")
        )),
        Note::SignaturesPresent { count } => Some(format!(
            "the destination has {}; `--prune-signatures` removes such",
            counted(*count, "signature")
        )),
        Note::Remark(text) => Some(text.clone()),
    }
}

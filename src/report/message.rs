//! Messages for a person about one job, and the words in them.

use std::fmt;
use std::time::Duration;

use indicatif::BinaryBytes;

use super::hint::hint;
use crate::event::{
    Changed, Checked, Failure, Note, Outcome, Pause, Role, Side, Signing, Stage, Tally, Validation,
    Verdict,
};
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

/// Why nothing comes of a registry for a while.
pub(super) fn paused(pause: &Pause) -> String {
    format!(
        "`{}` asks for patience: no requests for {} for {}",
        pause.registry,
        pause.requests,
        duration(Duration::from_secs(pause.wait.as_secs().max(1)))
    )
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
    // What a validation found is said of each manifest below, with all of its reasons.
    let shown = if outcome.validation().is_some() {
        1
    } else {
        failure.causes.len()
    };
    // The first cause often is the headline.
    let causes = failure.causes.iter().take(shown);
    for cause in causes.filter(|cause| **cause != head) {
        message.push_str("  caused by: ");
        message.push_str(cause);
        message.push('\n');
    }
    if let Some(validation) = outcome.validation() {
        message.push_str(&judged(validation, dress));
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
            Some(Side::Source) => {
                let own = job.source.repository.registry();
                format!(": its source `{}`", failure.at.as_ref().unwrap_or(own))
            }
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
        Outcome::Signed(signing) => ("signed", signed(signing)),
        Outcome::AlreadySigned(signing) => ("already signed:", signed(signing)),
        Outcome::Accepted(validation) => ("accepted", accepted(validation)),
        Outcome::NotVerified => (
            "not verified:",
            " (neither its line nor the command line says who must have signed it)".to_owned(),
        ),
        Outcome::NotSigned => (
            "not signed:",
            " (neither its line nor the command line says who signs it)".to_owned(),
        ),
        Outcome::Rejected(..) | Outcome::Undetermined(..) => (outcome.as_str(), String::new()),
        Outcome::Failed(_) | Outcome::NotTried(_) => ("failed", String::new()),
    };
    for part in [word, " `", &job.source.to_string(), "`"] {
        message.push_str(part);
    }
    if !job.is_in_place() {
        for part in [" to `", &job.destination.to_string(), "`"] {
            message.push_str(part);
        }
    }
    message.push_str(&detail);
    if let Some(copied) = outcome.copied() {
        if let Some(validation) = &copied.validation {
            message.push_str(", source accepted");
            message.push_str(&accepted(validation));
        }
        if let Some(signing) = &copied.signing {
            message.push_str(", signed");
            message.push_str(&signed(signing));
        }
    }
    message
}

/// How many signatures were made and were there.
fn signed(signing: &Signing) -> String {
    let added = signing.signatures.iter().filter(|one| one.added).count();
    let there = signing.signatures.len() - added;
    match (added, there) {
        (_, 0) => format!(" ({} added)", counted(added, "signature")),
        (0, _) => format!(" ({} there)", counted(there, "signature")),
        _ => format!(" ({} added, {there} there)", counted(added, "signature")),
    }
}

/// What was checked, and what was not.
fn accepted(validation: &Validation) -> String {
    let mut text = format!(" ({}", counted(validation.checked.len(), "manifest"));
    for (word, names) in [
        ("not checked", listed(&validation.unchecked)),
        ("absent", listed(&validation.absent)),
    ] {
        if !names.is_empty() {
            for part in ["; ", word, ": ", &names] {
                text.push_str(part);
            }
        }
    }
    text.push(')');
    text
}

/// How many names of platforms a message holds.
const NAMES_MAX: usize = 8;

fn listed(names: &[impl fmt::Display]) -> String {
    let mut words: Vec<String> = names
        .iter()
        .take(NAMES_MAX)
        .map(ToString::to_string)
        .collect();
    if names.len() > NAMES_MAX {
        words.push(format!("{} more", names.len() - NAMES_MAX));
    }
    crate::text::cleaned(&words.join(", "), 400)
}

/// What is to be said of each manifest of a validation that did not end well.
pub(super) fn judged(validation: &Validation, dress: Dress) -> String {
    let Dress {
        bad: _,
        hint: h,
        off,
    } = dress;
    let mut message = String::new();
    let unwell = |one: &&Checked| one.verdict != Verdict::Accepted;
    for checked in validation.checked.iter().filter(unwell) {
        let what = match &checked.role {
            Role::Index => "the index".to_owned(),
            Role::Platform(Some(platform)) => platform.to_string(),
            Role::Platform(None) => "the image".to_owned(),
            Role::Other => "a manifest of the index".to_owned(),
        };
        let digest = checked.digest.to_string();
        for part in [
            "  ",
            checked.verdict.as_str(),
            ": ",
            &what,
            ", `",
            &digest,
            "`\n",
        ] {
            message.push_str(part);
        }
        for reason in &checked.reasons {
            for part in ["    ", reason, "\n"] {
                message.push_str(part);
            }
        }
        if let Some(hint) = &checked.hint {
            for part in ["    ", h, "hint:", off, " ", hint, "\n"] {
                message.push_str(part);
            }
        }
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

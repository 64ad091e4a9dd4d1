//! What machines read of jobs, outcomes and counts: one shape for all reports.
//!
//! The field names are an interface (`docs/REPORT.md`). Fields that say nothing are left out.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, SystemTime};

use humantime::Rfc3339Timestamp;
use serde::{Serialize, Serializer};

use super::Skipped;
use super::hint::hint;
use super::signatures::{SigningView, ValidationView};
use crate::event::{Changed, Copied, End, Failure, Kind, Note, Outcome, Side, Summary, Tally};
use crate::oci::{Digest, Registry};
use crate::plan::{Job, JobId, Plan};

/// Something that is written as the text it displays as.
pub(super) struct Shown<T>(pub(super) T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A time, in RFC 3339 with milliseconds, in UTC.
pub(super) fn time(time: SystemTime) -> Shown<Rfc3339Timestamp> {
    Shown(humantime::format_rfc3339_millis(time))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Where a line stands.
#[derive(Serialize)]
pub(super) struct Place<'a> {
    job: usize,
    file: &'a str,
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
}

impl<'a> Place<'a> {
    pub(super) fn of(job: &'a Job) -> Self {
        Self {
            job: job.id.position(),
            file: &job.line.file,
            line: job.line.number,
            service: job.line.service.as_deref(),
        }
    }

    /// The place of a job of `plan`, if it has it.
    pub(super) fn find(plan: &'a Plan, id: JobId) -> Option<Self> {
        plan.job(id).map(Self::of)
    }
}

/// A job: where its line stands, what it says and what it means.
#[derive(Serialize)]
pub(super) struct JobView<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    text: &'a str,
    #[serde(flatten)]
    names: NamesView,
}

/// What a line means: two images where one is copied, one where it stays.
#[derive(Serialize)]
#[serde(untagged)]
enum NamesView {
    Copied { source: String, destination: String },
    InPlace { image: String },
}

impl<'a> JobView<'a> {
    pub(super) fn of(job: &'a Job) -> Self {
        Self {
            place: Place::of(job),
            text: &job.line.text,
            names: if job.is_in_place() {
                NamesView::InPlace {
                    image: job.destination.to_string(),
                }
            } else {
                NamesView::Copied {
                    source: job.source.to_string(),
                    destination: job.destination.to_string(),
                }
            },
        }
    }
}

/// How a job ended.
#[derive(Serialize)]
pub(super) struct OutcomeView<'a> {
    outcome: &'static str,
    elapsed_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_digest: Option<&'a Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tally: Option<TallyView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation: Option<ValidationView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing: Option<SigningView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl<'a> OutcomeView<'a> {
    pub(super) fn of(plan: &'a Plan, job: &Job, outcome: &'a Outcome, elapsed: Duration) -> Self {
        let copied = outcome.copied();
        let failure = outcome.failure();
        Self {
            outcome: outcome.as_str(),
            elapsed_ms: milliseconds(elapsed),
            source_digest: copied.map(|Copied { source, .. }| source),
            digest: image(outcome),
            changed: copied.and_then(|copied| copied.changed.map(Changed::as_str)),
            tally: copied.map(|copied| TallyView::of(&copied.tally)),
            validation: outcome.validation().map(ValidationView::of),
            signing: outcome.signing().map(SigningView::of),
            duplicate_of: match outcome {
                Outcome::Duplicate { of } => Place::find(plan, *of),
                Outcome::Copied(_)
                | Outcome::UpToDate(_)
                | Outcome::Kept(_)
                | Outcome::Signed(_)
                | Outcome::AlreadySigned(_)
                | Outcome::Accepted(_)
                | Outcome::NotVerified
                | Outcome::NotSigned
                | Outcome::Rejected(..)
                | Outcome::Undetermined(..)
                | Outcome::Failed(_)
                | Outcome::NotTried(_) => None,
            },
            failure: failure.map(|failure| FailureView::of(job, failure)),
            hint: failure.and_then(|failure| hint(job, failure)),
        }
    }
}

/// What stands there, by its digest, where that is known.
fn image(outcome: &Outcome) -> Option<&Digest> {
    let copied = outcome.copied().map(|copied| &copied.image);
    let checked = outcome.validation().map(|validation| &validation.image);
    let signed = outcome.signing().map(|signing| &signing.image);
    Some(&copied.or(checked).or(signed)?.digest)
}

#[derive(Serialize)]
struct FailureView<'a> {
    stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<&'static str>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<Shown<Rfc3339Timestamp>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registry: Option<Shown<&'a Registry>>,
    causes: &'a [String],
}

impl<'a> FailureView<'a> {
    fn of(job: &Job, failure: &'a Failure) -> Self {
        let named = match failure.side {
            Some(Side::Destination) => &job.destination,
            Some(Side::Source) | None => &job.source,
        };
        let is_other = |at: &&Registry| *at != named.repository.registry();
        Self {
            registry: failure.at.as_ref().filter(is_other).map(Shown),
            stage: failure.stage.as_str(),
            side: failure.side.map(Side::as_str),
            kind: failure.kind.as_str(),
            detail: failure.detail.as_str(),
            again: failure.again.map(time),
            causes: &failure.causes,
        }
    }
}

#[derive(Serialize)]
struct TallyView {
    blobs_copied: u64,
    blobs_mounted: u64,
    blobs_present: u64,
    manifests_pushed: u64,
    bytes: u64,
}

impl TallyView {
    fn of(tally: &Tally) -> Self {
        Self {
            blobs_copied: tally.blobs_copied,
            blobs_mounted: tally.blobs_mounted,
            blobs_present: tally.blobs_present,
            manifests_pushed: tally.manifests_pushed,
            bytes: tally.bytes,
        }
    }
}

/// The counts of a run.
#[derive(Serialize)]
pub(super) struct SummaryView {
    copied: usize,
    up_to_date: usize,
    kept: usize,
    signed: usize,
    already_signed: usize,
    accepted: usize,
    not_verified: usize,
    not_signed: usize,
    rejected: usize,
    undetermined: usize,
    duplicates: usize,
    failed: usize,
    not_tried: usize,
    skipped: usize,
    kinds: BTreeMap<&'static str, usize>,
    tally: TallyView,
}

impl SummaryView {
    pub(super) fn of(summary: &Summary) -> Self {
        Self {
            copied: summary.copied,
            up_to_date: summary.up_to_date,
            kept: summary.kept,
            signed: summary.signed,
            already_signed: summary.already_signed,
            accepted: summary.accepted,
            not_verified: summary.not_verified,
            not_signed: summary.not_signed,
            rejected: summary.rejected,
            undetermined: summary.undetermined,
            duplicates: summary.duplicates,
            failed: summary.failed,
            not_tried: summary.not_tried,
            skipped: summary.skipped,
            kinds: summary
                .kinds()
                .map(|(kind, count): (Kind, usize)| (kind.as_str(), count))
                .collect(),
            tally: TallyView::of(&summary.tally),
        }
    }
}

/// How a run ended.
#[derive(Serialize)]
pub(super) struct EndView {
    end: &'static str,
    exit_code: u8,
    summary: SummaryView,
}

impl EndView {
    pub(super) fn of(summary: &Summary, end: End) -> Self {
        Self {
            end: end.as_str(),
            exit_code: summary.exit_code(end),
            summary: SummaryView::of(summary),
        }
    }
}

/// Something worth telling about a job.
#[derive(Serialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
pub(super) enum NoteView<'a> {
    Entered { stage: &'static str },
    Resolved { digest: &'a Digest },
    SignaturesDropped { count: u64 },
    SignaturesLeft { count: u64 },
    SignaturesPresent { count: u64 },
    Remark { remark: &'a str },
}

impl<'a> NoteView<'a> {
    pub(super) fn of(note: &'a Note) -> Self {
        match note {
            Note::Entered(stage) => Self::Entered {
                stage: stage.as_str(),
            },
            Note::Resolved(digest) => Self::Resolved { digest },
            Note::SignaturesDropped { count } => Self::SignaturesDropped { count: *count },
            Note::SignaturesLeft { count } => Self::SignaturesLeft { count: *count },
            Note::SignaturesPresent { count } => Self::SignaturesPresent { count: *count },
            Note::Remark(remark) => Self::Remark { remark },
        }
    }
}

/// A bad line that was skipped.
#[derive(Serialize)]
pub(super) struct SkippedView<'a> {
    file: &'a str,
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    text: &'a str,
    reason: &'a str,
}

impl<'a> SkippedView<'a> {
    pub(super) fn of(skipped: &'a Skipped) -> Self {
        Self {
            file: &skipped.file,
            line: skipped.line,
            column: skipped.column,
            text: &skipped.text,
            reason: &skipped.reason,
        }
    }
}

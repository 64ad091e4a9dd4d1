//! What happened in a run, as data: events, outcomes, failures, counts, and the exit code they mean.
//!
//! The runner says it, the reports consume it, and neither knows the other. The events of a run come
//! in one order: [`Event::Began`], then those of the jobs, then [`Event::Ended`]. Each job that is
//! part of the plan is [finished](Event::Finished) exactly once, duplicates and those that were never
//! tried too, and nothing of a job follows its end; a [`Ledger`] checks it. How many bytes have
//! moved is never an event: a [`Meter`] counts, and who shows it looks.

mod failure;
mod ledger;
mod meter;
mod signature;
mod summary;

use std::time::Duration;

pub use failure::{CAUSE_CHARS_MAX, CAUSES_MAX, Detail, Failure, Kind, Side, Stage};
pub use ledger::{Error, Ledger, Reason};
pub use meter::{InFlight, Meter, Reading};
pub use signature::{
    Author, Certificate, Checked, Evidence, Format, Maker, Role, SignedManifest, Signing,
    Validation, Verdict,
};
pub use summary::{End, Summary};

use crate::oci::{Digest, Pinned, Registry};
use crate::plan::JobId;
use crate::text;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The run began.
    Began {
        /// The number of jobs of the plan, duplicates too.
        jobs: usize,
        /// What every report says at its beginning: what is not demanded, say, because somebody said so.
        warnings: Vec<String>,
    },
    /// A job was started. One that is a duplicate, or was never tried, is finished without.
    Started {
        /// The job.
        job: JobId,
    },
    /// Something worth telling happened to a job that goes on.
    Noted {
        /// The job.
        job: JobId,
        /// What.
        note: Note,
    },
    /// A job ended; no event of it follows.
    Finished {
        /// The job.
        job: JobId,
        /// How it ended.
        outcome: Outcome,
        /// How long it ran; zero for a job that was never started.
        elapsed: Duration,
    },
    /// A registry asked for patience, and requests to it wait. Jobs go on by themselves.
    Paused(Pause),
    /// The run ended; every job is finished, and no event follows.
    Ended {
        /// The counts.
        summary: Summary,
        /// Why it ended.
        end: End,
    },
}

/// How long a registry is not asked, since it asked for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// The registry.
    pub registry: Registry,
    /// What is not asked for: `manifests`, `blobs` or `lists`.
    pub requests: &'static str,
    /// How long, from now on.
    pub wait: Duration,
}

/// Something worth telling about a job that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It reached a stage.
    Entered(Stage),
    /// Its source means this digest.
    Resolved(Digest),
    /// Signatures of an index were not brought, since the index was rewritten.
    SignaturesDropped {
        /// How many.
        count: u64,
    },
    /// Signatures were left behind at the source, as asked.
    SignaturesLeft {
        /// How many.
        count: u64,
    },
    /// The destination has signatures that were to be removed, and removing was not asked.
    SignaturesPresent {
        /// How many.
        count: u64,
    },
    /// Something else that a person should know, fit for printing.
    Remark(String),
}

/// The longest [`Note::Remark`], in characters.
pub const REMARK_CHARS_MAX: usize = 400;

impl Note {
    /// A remark, cut and cleaned for printing.
    pub fn remark(text: &str) -> Self {
        Self::Remark(text::cleaned(text, REMARK_CHARS_MAX))
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The image was copied: something was written at the destination.
    Copied(Copied),
    /// All of it was there already: nothing was written.
    UpToDate(Copied),
    /// The tag exists with another digest and was left as it is, as asked; [`Copied::image`] is what
    /// stands there.
    Kept(Copied),
    /// Signatures were added; all that were asked for stand there now.
    Signed(Box<Signing>),
    /// Every signature that was asked for was there already: nothing was written.
    AlreadySigned(Box<Signing>),
    /// Every manifest that was to be checked has an accepted signature.
    Accepted(Box<Validation>),
    /// Nobody asks that its signatures be verified: its entry does not, nor does the command line.
    NotVerified,
    /// Nobody asks that it be signed: its entry does not, nor does the command line.
    NotSigned,
    /// At least one manifest was rejected. The failure sums up, the validation has it all; without one
    /// where a policy rejects the image as a whole.
    Rejected(Failure, Option<Box<Validation>>),
    /// None was rejected, and at least one could not be judged; without a validation when not even the
    /// image could be asked for.
    Undetermined(Failure, Option<Box<Validation>>),
    /// Another job does the same.
    Duplicate {
        /// That job.
        of: JobId,
    },
    /// It was tried and failed.
    Failed(Failure),
    /// It was not tried, and why.
    NotTried(Failure),
}

impl Outcome {
    /// The word for machines.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Copied(_) => "copied",
            Self::UpToDate(_) => "up-to-date",
            Self::Kept(_) => "kept",
            Self::Signed(_) => "signed",
            Self::AlreadySigned(_) => "already-signed",
            Self::Accepted(_) => "accepted",
            Self::NotVerified => "not-verified",
            Self::NotSigned => "not-signed",
            Self::Rejected(..) => "rejected",
            Self::Undetermined(..) => "undetermined",
            Self::Duplicate { .. } => "duplicate",
            Self::Failed(_) => "failed",
            Self::NotTried(_) => "not-tried",
        }
    }

    /// What stands at the destination, where that is known.
    pub const fn copied(&self) -> Option<&Copied> {
        match self {
            Self::Copied(copied) | Self::UpToDate(copied) | Self::Kept(copied) => Some(copied),
            Self::Signed(_)
            | Self::AlreadySigned(_)
            | Self::Accepted(_)
            | Self::NotVerified
            | Self::NotSigned
            | Self::Rejected(..)
            | Self::Undetermined(..)
            | Self::Duplicate { .. }
            | Self::Failed(_)
            | Self::NotTried(_) => None,
        }
    }

    /// What was signed, where something was to be.
    pub fn signing(&self) -> Option<&Signing> {
        match self {
            Self::Signed(signing) | Self::AlreadySigned(signing) => Some(signing),
            Self::Copied(copied) | Self::UpToDate(copied) => copied.signing.as_deref(),
            Self::Kept(_)
            | Self::Accepted(_)
            | Self::NotVerified
            | Self::NotSigned
            | Self::Rejected(..)
            | Self::Undetermined(..)
            | Self::Duplicate { .. }
            | Self::Failed(_)
            | Self::NotTried(_) => None,
        }
    }

    /// What was validated, where something was to be.
    pub fn validation(&self) -> Option<&Validation> {
        match self {
            Self::Accepted(validation) => Some(validation),
            Self::Rejected(_, validation) | Self::Undetermined(_, validation) => {
                validation.as_deref()
            }
            Self::Copied(copied) | Self::UpToDate(copied) => copied.validation.as_deref(),
            Self::Kept(_)
            | Self::Signed(_)
            | Self::AlreadySigned(_)
            | Self::NotVerified
            | Self::NotSigned
            | Self::Duplicate { .. }
            | Self::Failed(_)
            | Self::NotTried(_) => None,
        }
    }

    /// Why it did not end well; `None` when it did.
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure)
            | Self::NotTried(failure)
            | Self::Rejected(failure, _)
            | Self::Undetermined(failure, _) => Some(failure),
            Self::Copied(_)
            | Self::UpToDate(_)
            | Self::Kept(_)
            | Self::Signed(_)
            | Self::AlreadySigned(_)
            | Self::Accepted(_)
            | Self::NotVerified
            | Self::NotSigned
            | Self::Duplicate { .. } => None,
        }
    }
}

/// An image that stands at its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The image at the destination.
    pub image: Pinned,
    /// The digest of the source.
    pub source: Digest,
    /// Why the two digests differ; `None` where they are equal, or where the tag was kept.
    pub changed: Option<Changed>,
    /// What moved for it.
    pub tally: Tally,
    /// How its source was validated before, where that was asked.
    pub validation: Option<Box<Validation>>,
    /// The signatures that were made for it, where that was asked.
    pub signing: Option<Box<Signing>>,
}

/// Why the digest at the destination differs from that of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// A new index of the selected platforms was made.
    Selected,
    /// The index was joined with what the destination had.
    Merged,
}

impl Changed {
    /// The word for machines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Selected => "selected",
            Self::Merged => "merged",
        }
    }
}

/// What moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Blobs that were read at the source and written at the destination.
    pub blobs_copied: u64,
    /// Blobs that another repository of the destination had, and gave.
    pub blobs_mounted: u64,
    /// Blobs that were there already.
    pub blobs_present: u64,
    /// Manifests that were written, those of signatures and referrers too.
    pub manifests_pushed: u64,
    /// Bytes of the blobs that were copied.
    pub bytes: u64,
}

impl Tally {
    /// Adds `other`; a count that would not fit stays at its greatest value.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.blobs_copied, other.blobs_copied),
            (&mut self.blobs_mounted, other.blobs_mounted),
            (&mut self.blobs_present, other.blobs_present),
            (&mut self.manifests_pushed, other.manifests_pushed),
            (&mut self.bytes, other.bytes),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;

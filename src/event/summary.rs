//! The counts of a run, and the exit code they mean.

use super::{Failure, Kind, Outcome, Stage, Tally};

/// How many jobs ended how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Images that were copied.
    pub copied: usize,
    /// Images that were there already.
    pub up_to_date: usize,
    /// Tags that were left as they are, as asked.
    pub kept: usize,
    /// Images of which signatures were added.
    pub signed: usize,
    /// Images that had every signature that was asked for.
    pub already_signed: usize,
    /// Images whose signatures were accepted.
    pub accepted: usize,
    /// Images whose signatures nobody asks to be verified.
    pub not_verified: usize,
    /// Images that nobody asks to be signed.
    pub not_signed: usize,
    /// Images that were rejected.
    pub rejected: usize,
    /// Images that could not be judged.
    pub undetermined: usize,
    /// Jobs that repeat another.
    pub duplicates: usize,
    /// Jobs that failed.
    pub failed: usize,
    /// Jobs that were not tried.
    pub not_tried: usize,
    /// Bad lines that were skipped, as asked; they are no jobs.
    pub skipped: usize,
    /// What moved.
    pub tally: Tally,
    kinds: [usize; Kind::ALL.len()],
    worst: Option<Class>,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every job came to its own end.
    Completed,
    /// By SIGINT.
    Interrupted,
    /// By SIGTERM.
    Terminated,
}

impl End {
    /// The word for machines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }
}

/// What a failure means for the exit code; the greatest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// It could not be determined.
    Undetermined,
    /// It failed.
    Failed,
    /// A bug.
    Bug,
    /// A validation said no.
    Rejected,
}

impl Class {
    const fn of(failure: &Failure) -> Self {
        match failure.kind {
            Kind::Rejected => Self::Rejected,
            Kind::Internal => Self::Bug,
            Kind::RateLimited | Kind::Network | Kind::Timeout => Self::Undetermined,
            // Who may not look has not seen that a signature is missing.
            Kind::Unauthorized | Kind::Refused if matches!(failure.stage, Stage::Verify) => {
                Self::Undetermined
            }
            Kind::Unauthorized
            | Kind::Refused
            | Kind::NotFound
            | Kind::Integrity
            | Kind::Conflict
            | Kind::Unsupported
            | Kind::Cancelled => Self::Failed,
        }
    }

    const fn exit_code(self) -> u8 {
        match self {
            Self::Undetermined => 4,
            Self::Failed => 1,
            Self::Bug => 70,
            Self::Rejected => 3,
        }
    }
}

impl Summary {
    /// The counts before any job has ended, with `skipped` bad lines.
    pub fn new(skipped: usize) -> Self {
        Self {
            skipped,
            worst: (skipped > 0).then_some(Class::Failed),
            ..Self::default()
        }
    }

    /// Counts one end. A [`Ledger`](super::Ledger) takes care that each job is counted once.
    pub(super) fn count(&mut self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Copied(_) => &mut self.copied,
            Outcome::UpToDate(_) => &mut self.up_to_date,
            Outcome::Kept(_) => &mut self.kept,
            Outcome::Signed(_) => &mut self.signed,
            Outcome::AlreadySigned(_) => &mut self.already_signed,
            Outcome::Accepted(_) => &mut self.accepted,
            Outcome::NotVerified => &mut self.not_verified,
            Outcome::NotSigned => &mut self.not_signed,
            Outcome::Rejected(..) => &mut self.rejected,
            Outcome::Undetermined(..) => &mut self.undetermined,
            Outcome::Duplicate { .. } => &mut self.duplicates,
            Outcome::Failed(_) => &mut self.failed,
            Outcome::NotTried(_) => &mut self.not_tried,
        };
        *counter += 1;
        if let Some(copied) = outcome.copied() {
            self.tally.add(&copied.tally);
        }
        if let Some(failure) = outcome.failure() {
            let class = if matches!(outcome, Outcome::Undetermined(..)) {
                Class::Undetermined
            } else {
                Class::of(failure)
            };
            self.worst = self.worst.max(Some(class));
            for (kind, counter) in Kind::ALL.iter().zip(&mut self.kinds) {
                *counter += usize::from(*kind == failure.kind);
            }
        }
    }

    /// How many jobs did not end well, by kind, in the order of [`Kind::ALL`]; only those there are.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, usize)> {
        Kind::ALL
            .into_iter()
            .zip(self.kinds)
            .filter(|(_, count)| *count > 0)
    }

    /// How many jobs have ended.
    pub const fn jobs(&self) -> usize {
        self.well() + self.duplicates + self.unwell() - self.skipped
    }

    /// How many jobs ended well, duplicates not counted.
    pub const fn well(&self) -> usize {
        self.copied
            + self.up_to_date
            + self.kept
            + self.signed
            + self.already_signed
            + self.accepted
            + self.not_verified
            + self.not_signed
    }

    /// How many lines did not end well: failed, rejected, undetermined, not tried, skipped.
    pub const fn unwell(&self) -> usize {
        self.failed + self.rejected + self.undetermined + self.not_tried + self.skipped
    }

    /// The exit code of a run that ended so: 0, 1, 3, 4, 70, 130 or 143.
    ///
    /// The worst failure decides, in the order 130 and 143, 3, 70, 1, 4. The code 2 comes from
    /// nothing that is counted here: nothing was tried then.
    pub fn exit_code(&self, end: End) -> u8 {
        match end {
            End::Interrupted => 130,
            End::Terminated => 143,
            End::Completed => self.worst.map_or(0, Class::exit_code),
        }
    }
}

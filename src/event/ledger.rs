//! Every line ends once: who has ended, and the counts.

use super::{Outcome, Summary};
use crate::plan::JobId;

/// Keeps which jobs of a plan have ended, and counts how.
///
/// One job cannot end twice in it, and none that the plan does not have.
#[derive(Debug, Clone)]
pub struct Ledger {
    ended: Vec<bool>,
    summary: Summary,
}

impl Ledger {
    /// A ledger of a plan of `jobs` jobs, none of them ended, beside which `skipped` bad lines were
    /// skipped.
    pub fn new(jobs: usize, skipped: usize) -> Self {
        Self {
            ended: vec![false; jobs],
            summary: Summary::new(skipped),
        }
    }

    /// Writes down that `job` ended with `outcome`.
    ///
    /// # Errors
    ///
    /// When the plan has no such job, or the job has ended before. Nothing is counted then.
    pub fn finish(&mut self, job: JobId, outcome: &Outcome) -> Result<(), Error> {
        match self.ended.get_mut(job.position()) {
            None => Err(Error {
                job,
                reason: Reason::Unknown,
            }),
            Some(true) => Err(Error {
                job,
                reason: Reason::Twice,
            }),
            Some(ended) => {
                *ended = true;
                self.summary.count(outcome);
                Ok(())
            }
        }
    }

    /// Whether `job` has ended.
    pub fn has_ended(&self, job: JobId) -> bool {
        self.ended.get(job.position()).copied().unwrap_or_default()
    }

    /// The jobs that have not ended, in list order.
    pub fn open(&self) -> impl Iterator<Item = JobId> {
        self.ended
            .iter()
            .enumerate()
            .filter(|(_, ended)| !**ended)
            .map(|(position, _)| JobId::new(position))
    }

    /// The counts so far; final when no job is [open](Self::open).
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }
}

/// An end that cannot be written down. It is a bug of whoever says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("job {} {reason}", job.position())]
pub struct Error {
    /// The job.
    pub job: JobId,
    /// What is wrong.
    pub reason: Reason,
}

/// Why an end cannot be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// There is no such job.
    #[error("is not in the plan")]
    Unknown,
    /// It has ended before.
    #[error("ended twice")]
    Twice,
}

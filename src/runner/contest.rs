//! Several lines with different sources for one destination: their digests decide.

use std::iter;
use std::num::NonZeroUsize;

use futures::stream::{self, StreamExt as _};

use crate::event::{CAUSES_MAX, Failure, Kind, Outcome, Side, Stage};
use crate::oci::Digest;
use crate::plan::{Job, JobId, Plan};

use super::breaker::Breaker;
use super::unless_panicked;
use super::work::Work;

/// What was decided about contested jobs.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// The outcomes of those that do not run.
    pub(super) ended: Vec<(JobId, Outcome)>,
    /// Groups of which only the first runs, unless it does not end well.
    pub(super) groups: Vec<Vec<JobId>>,
}

/// Decides which contested jobs run.
///
/// Where all sources mean one digest, the first job runs and the others wait for it. Where two differ,
/// or one could not be asked, all fail by name; one that is not there fails alone. What a registry of
/// `breaker` would refuse is not asked.
pub(super) async fn settle<W: Work>(
    work: &W,
    plan: &Plan,
    breaker: &Breaker,
    at_once: NonZeroUsize,
) -> Settled {
    stream::iter(plan.contests())
        .map(async |group| {
            let jobs: Vec<&Job> = group.iter().filter_map(|id| plan.job(*id)).collect();
            let mut asked = Vec::with_capacity(jobs.len());
            for job in jobs {
                let barred = breaker.barred(&work.sources(job));
                let refusal = || breaker.refusal(job, &barred).map(Outcome::NotTried);
                let answer = match work.settled(job).or_else(refusal) {
                    Some(outcome) => Err(outcome),
                    None => unless_panicked(work.digest(job, &barred))
                        .await
                        .map_err(Outcome::Failed),
                };
                asked.push((job, answer));
            }
            judge(asked)
        })
        .buffer_unordered(at_once.get())
        .fold(Settled::default(), async |mut all, one| {
            all.ended.extend(one.ended);
            all.groups.extend(one.groups);
            all
        })
        .await
}

fn judge(asked: Vec<(&Job, Result<Digest, Outcome>)>) -> Settled {
    let mut settled = Settled::default();
    let mut there: Vec<(&Job, Digest)> = Vec::new();
    let mut unknown = None;
    for (job, answer) in asked {
        let outcome = match answer {
            Ok(digest) => {
                there.push((job, digest));
                continue;
            }
            Err(outcome) => outcome,
        };
        let is_missing =
            matches!(&outcome, Outcome::Failed(failure) if failure.kind == Kind::NotFound);
        if !is_missing && unknown.is_none() {
            unknown = outcome.failure().map(|why| (job, why.clone()));
        }
        settled.ended.push((job.id, outcome));
    }
    let Some((_, digest)) = there.first().copied() else {
        return settled;
    };
    let agree = there.iter().all(|(_, other)| *other == digest);
    if agree && unknown.is_none() {
        settled
            .groups
            .push(there.iter().map(|(job, _)| job.id).collect());
        return settled;
    }
    for (job, _) in &there {
        let failure = match &unknown {
            Some((other, why)) if agree => incomparable(other, why),
            _ => conflict(job, &there),
        };
        settled.ended.push((job.id, Outcome::Failed(failure)));
    }
    settled
}

/// The failure of `job`, which wants one of several images at its destination.
fn conflict(job: &Job, there: &[(&Job, Digest)]) -> Failure {
    /// How many lines are named; the causes hold what is wrong and how many lines there are more too.
    const NAMED_MAX: usize = CAUSES_MAX - 2;
    let head = format!("different images are wanted at `{}`", job.destination);
    // The line itself comes first, so that it is named whatever does not fit.
    let own = there.iter().filter(|(other, _)| other.id == job.id);
    let others = there.iter().filter(|(other, _)| other.id != job.id);
    let named = own
        .chain(others)
        .take(NAMED_MAX)
        .map(|(other, digest)| format!("{} brings `{}` ({digest})", other.line, other.source));
    let rest = there.len().saturating_sub(NAMED_MAX);
    let more = (rest > 0).then(|| format!("lines like these: {rest} more"));
    let causes = iter::once(head).chain(named).chain(more);
    Failure::chain(Stage::Plan, Some(Side::Destination), Kind::Conflict, causes)
}

/// The failure of a job that cannot be compared with `other`, and why.
fn incomparable(other: &Job, why: &Failure) -> Failure {
    let head = format!(
        "{} wants `{}` at `{}` too, and could not be compared",
        other.line, other.source, other.destination
    );
    let causes = iter::once(head).chain(why.causes.iter().cloned());
    // Of no side: it is the other line's source that gave no answer.
    Failure::chain(Stage::Plan, None, why.kind, causes)
}

//! Several lines with different sources for one destination: their digests decide.

use std::num::NonZeroUsize;

use futures::stream::{self, StreamExt as _};

use crate::event::{Failure, Kind, Outcome, Side, Stage};
use crate::oci::Digest;
use crate::plan::{Job, JobId, Plan};

use super::Work;

/// The outcomes of contested jobs that do not run.
///
/// Where all sources mean one digest, the first job runs and the others repeat it. Where two differ,
/// or one could not be asked, all fail by name; one that is not there fails alone.
pub(super) async fn settle<W: Work>(
    work: &W,
    plan: &Plan,
    at_once: NonZeroUsize,
) -> Vec<(JobId, Outcome)> {
    stream::iter(plan.contests())
        .map(async |group| {
            let jobs: Vec<&Job> = group.iter().filter_map(|id| plan.job(*id)).collect();
            let mut asked = Vec::with_capacity(jobs.len());
            for job in jobs {
                asked.push((job, work.digest(job).await));
            }
            judge(&asked)
        })
        .buffer_unordered(at_once.get())
        .concat()
        .await
}

fn judge(asked: &[(&Job, Result<Digest, Failure>)]) -> Vec<(JobId, Outcome)> {
    let mut outcomes = Vec::new();
    let mut there: Vec<(&Job, Option<Digest>)> = Vec::new();
    for (job, answer) in asked {
        match answer {
            Err(failure) if failure.kind == Kind::NotFound => {
                outcomes.push((job.id, Outcome::Failed(failure.clone())));
            }
            Err(_) => there.push((job, None)),
            Ok(digest) => there.push((job, Some(*digest))),
        }
    }
    let Some((first, digest)) = there.first().copied() else {
        return outcomes;
    };
    let agree = there
        .iter()
        .all(|(_, other)| other.is_some() && *other == digest);
    if there.len() == 1 {
        return outcomes;
    }
    for (job, _) in &there {
        if agree && job.id == first.id {
            continue;
        }
        let outcome = if agree {
            Outcome::Duplicate { of: first.id }
        } else {
            Outcome::Failed(conflict(job, &there))
        };
        outcomes.push((job.id, outcome));
    }
    outcomes
}

fn conflict(job: &Job, there: &[(&Job, Option<Digest>)]) -> Failure {
    let others: Vec<String> = there
        .iter()
        .map(|(other, digest)| {
            let digest = digest.map_or_else(
                || "a digest that could not be asked".to_owned(),
                |digest| digest.to_string(),
            );
            let line = &other.line;
            format!(
                "{}:{} brings `{}` ({digest})",
                line.file, line.number, other.source
            )
        })
        .collect();
    let cause = format!(
        "different images are wanted at `{}`: {}",
        job.destination,
        others.join("; ")
    );
    Failure::because(Stage::Plan, Some(Side::Destination), Kind::Conflict, &cause)
}

//! Registries that refuse everything: found before the first job, or on the way.

use std::collections::{BTreeSet, HashMap};
use std::iter;
use std::num::NonZeroUsize;

use futures::stream::{self, StreamExt as _};

use crate::event::{Failure, Kind, Outcome, Side, Stage};
use crate::oci::Registry;
use crate::plan::{Job, Plan};

use super::{Work, unless_panicked};

/// Failures in a row, without any success, after which a registry counts as gone; never fewer, so
/// that a few bad images at the head of a list do not end it.
const FAILURES_MIN: usize = 8;

/// Knows which registries are not worth another try.
#[derive(Debug)]
pub(super) struct Breaker {
    limit: usize,
    refused: HashMap<Registry, Failure>,
    failures: HashMap<Registry, usize>,
}

impl Breaker {
    /// A breaker for a run of `jobs` at once: all of them may fail together by one short outage.
    pub(super) fn new(jobs: usize) -> Self {
        Self {
            limit: FAILURES_MIN.max(2 * jobs),
            refused: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    /// These registries refuse everything.
    pub(super) fn refuse(&mut self, refused: HashMap<Registry, Failure>) {
        self.refused.extend(refused);
    }

    /// Why `job` is not worth a try.
    pub(super) fn refusal(&self, job: &Job) -> Option<Failure> {
        [
            (Side::Source, &job.source),
            (Side::Destination, &job.destination),
        ]
        .into_iter()
        .find_map(|(side, name)| {
            let failure = self.refused.get(name.repository.registry())?;
            let mut failure = failure.clone();
            failure.side = Some(side);
            Some(failure)
        })
    }

    /// Takes in how `job` ended: only a registry that cannot be reached counts as gone, for one that
    /// answers may answer otherwise for another repository.
    pub(super) fn heed(&mut self, job: &Job, outcome: &Outcome) {
        let Some(failure) = outcome.failure() else {
            self.failures.remove(job.source.repository.registry());
            self.failures.remove(job.destination.repository.registry());
            return;
        };
        let name = match failure.side {
            Some(Side::Source) => &job.source,
            Some(Side::Destination) => &job.destination,
            None => return,
        };
        let registry = name.repository.registry();
        if !matches!(failure.kind, Kind::Network | Kind::Timeout) {
            self.failures.remove(registry);
            return;
        }
        let count = self.failures.entry(registry.clone()).or_default();
        *count += 1;
        if *count >= self.limit && !self.refused.contains_key(registry) {
            let cause = format!("{count} images in a row could not reach `{registry}`");
            let causes = iter::once(cause).chain(failure.causes.iter().cloned());
            let gone = Failure::chain(Stage::Run, failure.side, failure.kind, causes);
            self.refused.insert(registry.clone(), gone);
        }
    }
}

/// Tries every registry of the plan before any byte moves.
pub(super) async fn preflight<W: Work>(
    work: &W,
    plan: &Plan,
    at_once: NonZeroUsize,
) -> HashMap<Registry, Failure> {
    let mut registries: BTreeSet<&Registry> = plan.source_registries().into_keys().collect();
    registries.extend(plan.destination_registries().into_keys());
    stream::iter(registries)
        .map(async |registry| {
            let tried = unless_panicked(work.preflight(registry)).await;
            (registry, tried)
        })
        .buffer_unordered(at_once.get())
        .filter_map(async |(registry, tried)| Some((registry.clone(), tried.err()?)))
        .collect()
        .await
}

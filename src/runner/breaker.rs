//! Registries that refuse everything: found before the first job, or on the way.

use std::collections::HashMap;
use std::iter;

use crate::event::{Detail, Failure, Kind, Outcome, Side, Stage};
use crate::oci::{Namespace, Registry, Repository};
use crate::plan::Job;

/// Failures in a row, without any success, after which a registry counts as gone; never fewer, so
/// that a few bad images at the head of a list do not end it.
const FAILURES_MIN: usize = 8;
/// Refusals in a row after which the credential is tried again by itself.
const REFUSALS_BEFORE_DOUBT: usize = 3;
/// Images in a row for which a project had no room. Each was sent in full before it was refused.
const FULL_MAX: usize = 3;

/// What fails in a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Row {
    /// The registry cannot be reached.
    Unreachable(Registry),
    /// It does not allow what is asked on this side.
    Unauthorized(Side, Registry),
    /// A project of it has no room.
    Full(Namespace),
}

/// What is not worth another try.
#[derive(Debug)]
struct Refusal {
    /// On which side; `None` for both.
    side: Option<Side>,
    namespace: Namespace,
    failure: Failure,
}

/// A registry whose credentials may have come to their end on one side: they are to be tried by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) side: Side,
    pub(super) registry: Registry,
}

/// Knows what is not worth another try.
#[derive(Debug)]
pub(super) struct Breaker {
    limit: usize,
    refused: Vec<Refusal>,
    rows: HashMap<Row, usize>,
}

impl Breaker {
    /// A breaker for a run of `jobs` at once: all of them may fail together by one short outage.
    pub(super) fn new(jobs: usize) -> Self {
        Self {
            limit: FAILURES_MIN.max(2 * jobs),
            refused: Vec::new(),
            rows: HashMap::new(),
        }
    }

    /// What is in `namespace` is refused, on `side` or on both.
    pub(super) fn refuse(&mut self, side: Option<Side>, namespace: Namespace, failure: Failure) {
        self.refused.push(Refusal {
            side,
            namespace,
            failure,
        });
    }

    /// Why `repository` is not worth a try on `side`.
    fn refusal_of(&self, side: Side, repository: &Repository) -> Option<Failure> {
        let refusal = self.refused.iter().find(|refusal| {
            refusal.side.is_none_or(|own| own == side) && refusal.namespace.covers(repository)
        })?;
        let mut failure = refusal.failure.clone();
        failure.side = Some(side);
        Some(failure)
    }

    /// Why `job`, whose source is looked for in `places`, is not worth a try: none of them is, or its
    /// destination is not.
    pub(super) fn refusal(&self, job: &Job, places: &[&Repository]) -> Option<Failure> {
        let refused = places
            .iter()
            .map(|place| self.refusal_of(Side::Source, place));
        // The last place is what the line names; it says most.
        let source = refused.collect::<Option<Vec<Failure>>>();
        let source = source.and_then(|mut failures| failures.pop());
        let refusal =
            source.or_else(|| self.refusal_of(Side::Destination, &job.destination.repository));
        refusal.map(|mut failure| {
            // Where an image stays there are no two sides.
            failure.side = failure.side.filter(|_| !job.is_in_place());
            failure
        })
    }

    /// Takes in how `job` ended, whose source was looked for last in `source`. Gives the registry whose
    /// credentials are to be tried by themselves: one registry answers for one repository otherwise than for another, so that
    /// refusals alone end nothing.
    pub(super) fn heed(
        &mut self,
        job: &Job,
        source: &Repository,
        outcome: &Outcome,
    ) -> Option<Doubt> {
        let destination = &job.destination.repository;
        let Some(failure) = outcome.failure() else {
            for (side, repository) in [(Side::Source, source), (Side::Destination, destination)] {
                self.went_well(side, repository);
            }
            return None;
        };
        let (side, repository) = match failure.side {
            Some(Side::Source) => (Side::Source, source),
            Some(Side::Destination) => (Side::Destination, destination),
            None if job.is_in_place() => (Side::Destination, destination),
            None => return None,
        };
        let registry = repository.registry().clone();
        let unreachable = Row::Unreachable(registry.clone());
        if !matches!(failure.kind, Kind::Network | Kind::Timeout) {
            self.rows.remove(&unreachable);
        }
        match failure.kind {
            Kind::Network | Kind::Timeout => {
                if let Some(count) = self.count(unreachable, self.limit) {
                    let cause = format!("{count} images in a row could not reach `{registry}`");
                    self.give_up(None, registry.into(), failure, cause);
                }
                None
            }
            Kind::RateLimited => {
                // One that only throttles may be better soon; this one says itself that it will not.
                if let Some(again) = failure.again {
                    let again = humantime::format_rfc3339_seconds(again);
                    let cause = format!("`{registry}` throttles until {again}");
                    self.give_up(None, registry.into(), failure, cause);
                }
                None
            }
            Kind::Refused if failure.detail == Detail::Quota => {
                let project = Namespace::project(repository);
                if let Some(count) = self.count(Row::Full(project.clone()), FULL_MAX) {
                    let cause = format!("{count} images in a row had no room in `{project}`");
                    self.give_up(Some(side), project, failure, cause);
                }
                None
            }
            Kind::Unauthorized => {
                let row = Row::Unauthorized(side, registry.clone());
                self.count(row.clone(), REFUSALS_BEFORE_DOUBT)?;
                self.rows.remove(&row);
                Some(Doubt { side, registry })
            }
            Kind::NotFound
            | Kind::Integrity
            | Kind::Conflict
            | Kind::Unsupported
            | Kind::Refused
            | Kind::Rejected
            | Kind::Cancelled
            | Kind::Internal => None,
        }
    }

    fn went_well(&mut self, side: Side, repository: &Repository) {
        let registry = repository.registry();
        for row in [
            Row::Unreachable(registry.clone()),
            Row::Unauthorized(side, registry.clone()),
            Row::Full(Namespace::project(repository)),
        ] {
            self.rows.remove(&row);
        }
    }

    /// Counts one more in `row`: the count, once it has come to `limit`.
    fn count(&mut self, row: Row, limit: usize) -> Option<usize> {
        let count = self.rows.entry(row).or_default();
        *count += 1;
        (*count >= limit).then_some(*count)
    }

    fn give_up(
        &mut self,
        side: Option<Side>,
        namespace: Namespace,
        failure: &Failure,
        cause: String,
    ) {
        let is_known = |own: &Refusal| own.side == side && own.namespace == namespace;
        if self.refused.iter().any(is_known) {
            return;
        }
        let causes = iter::once(cause).chain(failure.causes.iter().cloned());
        // What a validation could not ask is undetermined, before an image as in the middle of it.
        let stage = match failure.stage {
            Stage::Verify => Stage::Verify,
            Stage::Preflight
            | Stage::Plan
            | Stage::Resolve
            | Stage::Transfer
            | Stage::Sign
            | Stage::Run => Stage::Run,
        };
        let gone = Failure {
            detail: failure.detail,
            again: failure.again,
            ..Failure::chain(stage, failure.side, failure.kind, causes)
        };
        self.refuse(side, namespace, gone);
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;

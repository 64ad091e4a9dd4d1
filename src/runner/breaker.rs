//! Registries that refuse everything: found before the first job, or on the way.

use std::collections::HashMap;
use std::iter;

use crate::event::{Detail, Failure, Kind, Outcome, Side, Stage};
use crate::oci::{Namespace, Namespaced, Registry, Repository};
use crate::plan::Job;

use super::work::{Barred, Done};

/// Failures in a row, without any success, after which a registry is tried by itself; never fewer, so
/// that a few bad images at the head of a list do not end it.
const FAILURES_MIN: usize = 8;
/// How many times as many end it though it answers when it is tried: a registry may be in trouble with
/// everything that it has, or with one project that a list happens to begin with.
const FAILURES_OF_ONE_THAT_ANSWERS: usize = 8;
/// Refusals in a row after which the credential is tried again by itself.
const REFUSALS_BEFORE_DOUBT: usize = 3;
/// The same after trials that found it good: twice as many each time, up to this. Whoever may not write to
/// 2,000 repositories is asked some 40 times, and not 600.
const REFUSALS_BEFORE_DOUBT_MAX: usize = 48;
/// Images in a row for which a project had no room. Each was sent in full before it was refused.
const FULL_MAX: usize = 3;

/// What fails in a row. By side, for each has credentials, trust and limits of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Row {
    /// The registry cannot be reached.
    Unreachable(Side, Registry),
    /// It throttles, for all the patience of a request.
    Throttled(Side, Registry),
    /// It, or a project of it, does not allow what is asked.
    Unauthorized(Side, Namespace),
    /// A project of it has no room.
    Full(Side, Namespace),
}

/// A registry that may be gone, or does not take its credentials any more, on one side: it is to be tried by
/// itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Doubt {
    pub(super) side: Side,
    pub(super) registry: Registry,
}

/// Knows what is not worth another try.
#[derive(Debug)]
pub(super) struct Breaker {
    limit: usize,
    /// Why what is in a namespace is not worth another try, on each side.
    source: Namespaced<Failure>,
    destination: Namespaced<Failure>,
    rows: HashMap<Row, usize>,
    /// How many refusals raise a doubt, where that is not [`REFUSALS_BEFORE_DOUBT`] any more.
    patience: HashMap<Doubt, usize>,
}

impl Breaker {
    /// A breaker for a run of `jobs` at once: all of them may fail together by one short outage.
    pub(super) fn new(jobs: usize) -> Self {
        Self {
            limit: FAILURES_MIN.max(2 * jobs),
            source: Namespaced::default(),
            destination: Namespaced::default(),
            rows: HashMap::new(),
            patience: HashMap::new(),
        }
    }

    /// What is in `namespace` is refused, on `side` or on both. The first reason stays.
    pub(super) fn refuse(&mut self, side: Option<Side>, namespace: &Namespace, failure: &Failure) {
        for (own, refused) in [
            (Side::Source, &mut self.source),
            (Side::Destination, &mut self.destination),
        ] {
            if side.is_none_or(|side| side == own) && refused.at(namespace).is_none() {
                refused.insert(namespace.clone(), failure.clone());
            }
        }
    }

    /// Why `repository` is not worth a try on `side`.
    fn refusal_of(&self, side: Side, repository: &Repository) -> Option<Failure> {
        let refused = match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        };
        let mut failure = refused.get(repository)?.clone();
        failure.side = Some(side);
        failure.at = Some(repository.registry().clone());
        Some(failure)
    }

    /// Which of the `places` of a source are not worth a try, and why.
    pub(super) fn barred(&self, places: &[&Repository]) -> Barred {
        let refused = places
            .iter()
            .map(|place| self.refusal_of(Side::Source, place));
        Barred::new(refused.collect())
    }

    /// Why `job` is not worth a try, whose source is `barred` at some of its places: at all of them, or its
    /// destination is refused.
    pub(super) fn refusal(&self, job: &Job, barred: &Barred) -> Option<Failure> {
        let everywhere = barred.everywhere().cloned();
        let destination = &job.destination.repository;
        let refusal = everywhere.or_else(|| self.refusal_of(Side::Destination, destination));
        refusal.map(|mut failure| {
            // Where an image stays there are no two sides.
            failure.side = failure.side.filter(|_| !job.is_in_place());
            failure
        })
    }

    /// Takes in how `job` ended. Gives registries that are to be tried by themselves: one answers for one
    /// repository otherwise than for another, so that failures of images alone end little.
    pub(super) fn heed(&mut self, job: &Job, done: &Done) -> Vec<Doubt> {
        let destination = &job.destination.repository;
        let mut doubts = Vec::new();
        for (place, failure) in &done.passed {
            doubts.extend(self.failed(Side::Source, place, failure));
        }
        let source = done.source.as_ref().unwrap_or(&job.source.repository);
        match &done.outcome {
            // Nobody was asked.
            Outcome::NotTried(_)
            | Outcome::Duplicate { .. }
            | Outcome::NotVerified
            | Outcome::NotSigned => {}
            Outcome::Failed(failure)
            | Outcome::Rejected(failure, _)
            | Outcome::Undetermined(failure, _) => match failure.side {
                // Its own end, and no answer: out of time, interrupted, or told by this breaker before.
                _ if matches!(failure.stage, Stage::Run | Stage::Preflight) => {}
                // No registry said it.
                _ if matches!(
                    failure.detail,
                    Detail::SigningService | Detail::IdentityToken
                ) => {}
                Some(Side::Source) => doubts.extend(self.failed(Side::Source, source, failure)),
                None if !job.is_in_place() => {}
                Some(Side::Destination) | None => {
                    doubts.extend(self.failed(Side::Destination, destination, failure));
                }
            },
            Outcome::Copied(_)
            | Outcome::UpToDate(_)
            | Outcome::Kept(_)
            | Outcome::Signed(_)
            | Outcome::AlreadySigned(_)
            | Outcome::Accepted(_) => {
                self.went_well(Side::Source, source);
                self.went_well(Side::Destination, destination);
                // What was there already needed no room.
                if matches!(done.outcome, Outcome::Copied(_) | Outcome::Signed(_)) {
                    let project = Namespace::project(destination);
                    self.rows.remove(&Row::Full(Side::Destination, project));
                }
            }
        }
        doubts
    }

    /// Takes in a failure at `repository`.
    fn failed(&mut self, side: Side, repository: &Repository, failure: &Failure) -> Option<Doubt> {
        let registry = repository.registry().clone();
        let unreachable = Row::Unreachable(side, registry.clone());
        let throttled = Row::Throttled(side, registry.clone());
        let is_silence = matches!(failure.kind, Kind::Network | Kind::Timeout);
        if !is_silence {
            self.rows.remove(&unreachable);
            if failure.kind != Kind::RateLimited {
                self.rows.remove(&throttled);
            }
        }
        match failure.kind {
            Kind::Network | Kind::Timeout => {
                let count = self.count(unreachable, self.limit)?;
                if count >= FAILURES_OF_ONE_THAT_ANSWERS * self.limit {
                    let cause =
                        format!("{count} images in a row got no usable answer from `{registry}`");
                    self.give_up(side, &registry.into(), failure, cause);
                    return None;
                }
                let is_due =
                    count.is_multiple_of(self.limit) && (count / self.limit).is_power_of_two();
                is_due.then_some(Doubt { side, registry })
            }
            Kind::RateLimited => {
                if let Some(again) = failure.again {
                    // It says itself that it will not be better soon.
                    let again = humantime::format_rfc3339_seconds(again);
                    let cause = format!("`{registry}` throttles until {again}");
                    self.give_up(side, &registry.into(), failure, cause);
                } else if let Some(count) = self.count(throttled, self.limit) {
                    // Each has waited for as long as it was asked to, several times.
                    let cause = format!("{count} images in a row were throttled by `{registry}`");
                    self.give_up(side, &registry.into(), failure, cause);
                }
                None
            }
            Kind::Refused if failure.detail == Detail::Quota => {
                let project = Namespace::project(repository);
                if let Some(count) = self.count(Row::Full(side, project.clone()), FULL_MAX) {
                    let cause = format!("{count} images in a row had no room in `{project}`");
                    self.give_up(side, &project, failure, cause);
                }
                None
            }
            Kind::Unauthorized => self.denied(side, repository),
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

    /// Takes in that `repository` may not be used. Counts by project too: where projects have credentials of
    /// their own, what goes well in one says nothing of another.
    fn denied(&mut self, side: Side, repository: &Repository) -> Option<Doubt> {
        let registry = repository.registry().clone();
        let doubt = Doubt { side, registry };
        let patience = self.patience.get(&doubt).copied();
        let patience = patience.unwrap_or(REFUSALS_BEFORE_DOUBT);
        let rows = rows_of_rights(side, repository);
        // Both are counted, whatever comes of the first.
        let counts = rows.clone().map(|row| self.count(row, patience));
        if counts == [None, None] {
            return None;
        }
        for row in &rows {
            self.rows.remove(row);
        }
        let more = (2 * patience).min(REFUSALS_BEFORE_DOUBT_MAX);
        self.patience.insert(doubt.clone(), more);
        Some(doubt)
    }

    fn went_well(&mut self, side: Side, repository: &Repository) {
        let registry = repository.registry();
        for row in [
            Row::Unreachable(side, registry.clone()),
            Row::Throttled(side, registry.clone()),
        ]
        .iter()
        .chain(&rows_of_rights(side, repository))
        {
            self.rows.remove(row);
        }
    }

    /// Counts one more in `row`: the count, once it has come to `limit`.
    fn count(&mut self, row: Row, limit: usize) -> Option<usize> {
        let count = self.rows.entry(row).or_default();
        *count += 1;
        (*count >= limit).then_some(*count)
    }

    fn give_up(&mut self, side: Side, namespace: &Namespace, failure: &Failure, cause: String) {
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
        self.refuse(Some(side), namespace, &gone);
    }
}

/// Where it is counted that `repository` may not be used.
fn rows_of_rights(side: Side, repository: &Repository) -> [Row; 2] {
    [
        Row::Unauthorized(side, repository.registry().clone().into()),
        Row::Unauthorized(side, Namespace::project(repository)),
    ]
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;

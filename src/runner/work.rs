//! What a run does for each job, and what both tell each other.

use std::collections::HashSet;

use tokio::time::Instant;

use crate::event::{Failure, Note, Outcome, Side};
use crate::oci::{Digest, Namespace, Registry, Repository};
use crate::pace::Pace;
use crate::plan::Job;

/// What is refused, by namespace.
pub type Refused = Vec<(Namespace, Failure)>;

/// The refusals of single repositories, of all that are `wanted`, by namespace. One that would take along what
/// stands below it and is not refused (`group/project` and `group/project/image`) is left out: its own lines
/// are tried, and fail by themselves.
pub(super) fn of_repositories(
    refused: Vec<(&Repository, Failure)>,
    wanted: &[&Repository],
) -> Refused {
    let names: HashSet<&Repository> = refused.iter().map(|(name, _)| *name).collect();
    let namespaces = refused
        .into_iter()
        .map(|(name, failure)| (Namespace::from(name), failure));
    let takes_others = |(namespace, _): &(Namespace, Failure)| {
        let mut others = wanted.iter().filter(|other| !names.contains(*other));
        others.any(|other| namespace.covers(other))
    };
    namespaces.filter(|one| !takes_others(one)).collect()
}

/// What is done for one job of a plan.
pub trait Work: Send + Sync + 'static {
    /// Tries one registry before any job runs: `repositories` are all that the plan wants of it on `side`.
    /// Gives what is refused; nothing where all may go on.
    fn preflight(
        &self,
        side: Side,
        repositories: &[&Repository],
    ) -> impl Future<Output = Refused> + Send;

    /// Tries the same in the middle of a run, and no more than whether it answers and takes its credentials.
    fn reach(
        &self,
        side: Side,
        repositories: &[&Repository],
    ) -> impl Future<Output = Refused> + Send {
        self.preflight(side, repositories)
    }

    /// How `job` ends whatever registries say: none is asked for its sake.
    fn settled(&self, _job: &Job) -> Option<Outcome> {
        None
    }

    /// The repositories in which the source of `job` is looked for, in their order; the last is what the line
    /// means.
    fn sources<'a>(&'a self, job: &'a Job) -> Vec<&'a Repository> {
        vec![&job.source.repository]
    }

    /// The digest that the source of `job` means now, for jobs that want one destination. What is `barred` of
    /// its [sources](Self::sources) is not asked.
    fn digest(
        &self,
        job: &Job,
        barred: &Barred,
    ) -> impl Future<Output = Result<Digest, Failure>> + Send;

    /// What is not asked for now because a registry asked for patience: which registry, what in a word, and
    /// until when.
    fn pauses(&self) -> Vec<(Registry, &'static str, Instant)> {
        Vec::new()
    }

    /// The outcome of a job that took longer than it may.
    fn out_of_time(&self, failure: Failure) -> Outcome {
        Outcome::Failed(failure)
    }

    /// Does `job`. What is `barred` of its [sources](Self::sources) is not asked. Must be safe to drop at any
    /// point.
    fn run(
        &self,
        job: &Job,
        barred: &Barred,
        pace: &Pace,
        note: &(dyn Fn(Note) + Send + Sync),
    ) -> impl Future<Output = Done> + Send;
}

/// Which of the places of a source are not worth a try, and why. By their positions.
#[derive(Debug, Clone, Default)]
pub struct Barred(Vec<Option<Failure>>);

impl Barred {
    pub(super) const fn new(places: Vec<Option<Failure>>) -> Self {
        Self(places)
    }

    /// Why the place at `position` is not worth a try.
    pub fn at(&self, position: usize) -> Option<&Failure> {
        self.0.get(position)?.as_ref()
    }

    /// Why none of them is: what is said of the last, which is what the line names.
    pub fn everywhere(&self) -> Option<&Failure> {
        let is_barred = self.0.iter().all(Option::is_some);
        self.0.last()?.as_ref().filter(|_| is_barred)
    }
}

/// How a job ended, and who had a part in it.
#[derive(Debug, Clone)]
pub struct Done {
    /// How it ended.
    pub outcome: Outcome,
    /// The repository that was its source at the end, where that is not the one of its line.
    pub source: Option<Repository>,
    /// Repositories that were asked before that one, and what each failed with.
    pub passed: Vec<(Repository, Failure)>,
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            source: None,
            passed: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Kind, Stage};

    #[test]
    fn what_stands_below_a_refused_repository_is_not_taken_along() {
        let of = |path: &str| Repository::new("h.example".parse().unwrap(), path).unwrap();
        let [project, image, other] = ["group/project", "group/project/image", "other"].map(of);
        let wanted = [&project, &image, &other];
        let why = Failure::because(Stage::Preflight, None, Kind::Unauthorized, "no");
        let refused = |names: &[&Repository]| {
            let names: Vec<Repository> = names.iter().map(|name| (*name).clone()).collect();
            let pairs = names.iter().map(|name| (name, why.clone())).collect();
            of_repositories(pairs, &wanted).len()
        };
        assert_eq!(refused(&[&project]), 0);
        assert_eq!(refused(&[&image]), 1);
        assert_eq!(refused(&[&project, &image]), 2);
        assert_eq!(refused(&[&project, &other]), 1);
    }
}

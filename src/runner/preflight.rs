//! Before any job: registries, credentials and projects are tried.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use futures::stream::{self, StreamExt as _};

use crate::event::Side;
use crate::oci::{Registry, Repository};
use crate::plan::Plan;

use super::breaker::{Breaker, Doubt};
use super::unless_panicked;
use super::work::{Refused, Work};

/// What a plan wants of one registry on one side.
#[derive(Debug, Default)]
struct Wanted<'a> {
    repositories: BTreeSet<&'a Repository>,
    /// Its images stay where they are: there is no other side.
    is_in_place: bool,
}

/// Tries one registry of `plan` again, and its credentials, as far as it is wanted on the side of `doubt`.
pub(super) async fn again<W: Work>(work: &W, plan: &Plan, doubt: &Doubt) -> Refused {
    let mut doors = doors(work, plan);
    let Some(wanted) = doors.remove(&(doubt.side, &doubt.registry)) else {
        return Refused::new();
    };
    let repositories: Vec<&Repository> = wanted.repositories.into_iter().collect();
    work.reach(doubt.side, &repositories).await
}

/// Tries every registry of `plan` before any byte moves, on each side that it is wanted on, and gives
/// what is refused; without a side where both are one.
pub(super) async fn preflight<W: Work>(
    work: &W,
    plan: &Plan,
    at_once: NonZeroUsize,
) -> Vec<(Option<Side>, Refused)> {
    stream::iter(doors(work, plan))
        .map(async |((side, registry), wanted)| {
            let repositories: Vec<&Repository> = wanted.repositories.into_iter().collect();
            let trying = async { Ok(work.preflight(side, &repositories).await) };
            let refused = match unless_panicked(trying).await {
                Ok(refused) => refused,
                Err(bug) => vec![(registry.clone().into(), bug)],
            };
            ((!wanted.is_in_place).then_some(side), refused)
        })
        .buffer_unordered(at_once.get())
        .collect()
        .await
}

/// The registries of `plan`, by side, as far as they are asked for anything.
fn doors<'a, W: Work>(work: &'a W, plan: &'a Plan) -> BTreeMap<(Side, &'a Registry), Wanted<'a>> {
    let mut doors: BTreeMap<(Side, &Registry), Wanted<'_>> = BTreeMap::new();
    for job in plan.distinct() {
        if work.settled(job).is_some() {
            continue;
        }
        let is_in_place = job.is_in_place();
        let sources = if is_in_place {
            Vec::new()
        } else {
            work.sources(job)
        };
        let sources = sources.into_iter().map(|place| (Side::Source, place));
        let destination = (Side::Destination, &job.destination.repository);
        for (side, repository) in sources.chain([destination]) {
            let door = doors.entry((side, repository.registry())).or_default();
            door.repositories.insert(repository);
            door.is_in_place |= is_in_place;
        }
    }
    doors
}

impl Breaker {
    /// Takes in what [`preflight`] found.
    pub(super) fn refuse_all(&mut self, found: &[(Option<Side>, Refused)]) {
        for (side, refused) in found {
            for (namespace, failure) in refused {
                self.refuse(*side, namespace, failure);
            }
        }
    }
}

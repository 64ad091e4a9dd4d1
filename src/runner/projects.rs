//! Whether destinations may be pushed to, before any byte: projects and rights.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt as _};

use crate::event::{Detail, Failure, Kind, Side, Stage};
use crate::oci::{Namespace, Repository};
use crate::registry::{Client, ErrorKind, Made, Project, project_of};
use crate::transfer::blamed;

use super::work::{Refused, of_repositories};

/// How many projects are asked for at once. The lanes of the registry bound the requests.
const AT_ONCE: usize = 8;

/// What becomes of projects that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Projects {
    /// They are named, and their lines not tried.
    #[default]
    Named,
    /// They are made, where the registry is a Harbor.
    Made,
}

/// Repositories of one project.
type Group<'a> = Vec<&'a Repository>;

/// Whether `repositories`, all destinations at one registry that answers, may be pushed to: gives those that
/// may not. What cannot be told is left to the run.
///
/// Costs a token for one repository of each project, which the run uses too; where that one is refused, one
/// for each other. At a Harbor two requests more for the registry and one for each project.
pub(super) async fn check(
    client: &Client,
    repositories: &[&Repository],
    projects: Projects,
) -> Refused {
    let Some(first) = repositories.first() else {
        return Refused::new();
    };
    if projects == Projects::Made {
        client.greet(first).await;
    }
    let is_harbor = match client.is_harbor(first).await {
        Ok(is_harbor) => is_harbor,
        Err(error) => {
            tracing::debug!(%error, "whether it is a Harbor is not known");
            false
        }
    };
    if projects == Projects::Made && !is_harbor {
        let registry = first.registry();
        tracing::warn!(%registry, "it is no Harbor: `--create-projects` makes nothing there");
    }
    let mut groups: BTreeMap<Namespace, Group<'_>> = BTreeMap::new();
    for repository in repositories {
        let project = Namespace::project(repository);
        groups.entry(project).or_default().push(repository);
    }
    let harbor = is_harbor.then_some(projects);
    // A list, for what a stream makes of borrowed closures cannot be sent to another thread.
    let asking: Vec<_> = groups
        .into_iter()
        .map(|(project, group)| check_project(client, project, group, harbor))
        .collect();
    stream::iter(asking)
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<Refused>>()
        .await
        .concat()
}

/// The same for the repositories of one project.
async fn check_project(
    client: &Client,
    project: Namespace,
    group: Group<'_>,
    harbor: Option<Projects>,
) -> Refused {
    if let Some(projects) = harbor
        && let Some(refused) = missing(client, &project, &group, projects).await
    {
        return refused;
    }
    rights(client, &group).await
}

/// What is refused of `group` because its project is not there, or cannot be; `None` where it may be.
async fn missing(
    client: &Client,
    project: &Namespace,
    group: &Group<'_>,
    projects: Projects,
) -> Option<Refused> {
    // A name of one part is in no project; beside others it is left to the run, which it fails.
    let Some(first) = group.iter().copied().find(|one| project_of(one).is_some()) else {
        let cause = format!("a Harbor has projects, and `{project}` is in none");
        return Some(vec![(project.clone(), no_project(&cause))]);
    };
    match client.project(first).await {
        Ok(Project::There | Project::Unknown) => return None,
        Ok(Project::Missing) => {}
        Err(error) => {
            tracing::debug!(%project, %error, "whether the project is there is not known");
            return None;
        }
    }
    if projects == Projects::Named {
        let cause = format!("the project `{project}` is not there");
        return Some(vec![(project.clone(), no_project(&cause))]);
    }
    match client.make_project(first).await {
        Ok(Made::New) => {
            tracing::info!(%project, "made the project, a private one");
            None
        }
        Ok(Made::WasThere) => None,
        Err(error) => {
            let failure = blamed(Stage::Preflight, Some(Side::Destination), &error);
            let head = format!("the project `{project}` is not there, and cannot be made");
            let causes = std::iter::once(head).chain(failure.causes.iter().cloned());
            let failure = Failure::chain(failure.stage, failure.side, failure.kind, causes)
                .with_detail(Detail::Project);
            Some(vec![(project.clone(), failure)])
        }
    }
}

fn no_project(cause: &str) -> Failure {
    Failure::because(
        Stage::Preflight,
        Some(Side::Destination),
        Kind::NotFound,
        cause,
    )
    .with_detail(Detail::Project)
}

/// What of `group` may not be pushed to, as far as tokens tell. Registries give rights by project or by
/// repository: where one may be pushed to, the others are left to the run.
async fn rights(client: &Client, group: &Group<'_>) -> Refused {
    let Some(first) = group.first() else {
        return Refused::new();
    };
    let Some(refused) = right(client, first).await else {
        return Refused::new();
    };
    let asking: Vec<_> = group
        .iter()
        .skip(1)
        .map(|repository| right(client, repository))
        .collect();
    let others = stream::iter(asking)
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let refused = std::iter::once(refused).chain(others.into_iter().flatten());
    of_repositories(refused.collect(), group)
}

async fn right<'a>(
    client: &Client,
    repository: &'a Repository,
) -> Option<(&'a Repository, Failure)> {
    let error = client.may_push(repository).await.err()?;
    if !matches!(
        error.kind,
        ErrorKind::Unauthorized(_) | ErrorKind::CredentialRefused(_)
    ) {
        tracing::debug!(%repository, %error, "what may be pushed is not known");
        return None;
    }
    let failure = blamed(Stage::Preflight, Some(Side::Destination), &error);
    Some((repository, failure))
}

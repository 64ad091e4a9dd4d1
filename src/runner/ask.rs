//! What every kind of work asks registries before it begins.

use std::collections::HashMap;

use crate::event::{Detail, Failure, Kind, Side, Stage};
use crate::oci::{Digest, Manifest, Namespace, Reference, Repository};
use crate::registry::{self, Access, Client, Tls};
use crate::transfer::{blamed, kind_of};

use super::work::{Refused, of_repositories};

/// When a registry is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    /// Before any job: what it thinks of the path of its API is no matter.
    Before,
    /// After it has refused again and again: only a plain yes is one, for some say 403 of a password that has
    /// ended (ECR).
    Again,
}

/// Tries a registry: whether it answers, and takes each of the credentials that `repositories`, all of them
/// at that registry, are asked for with.
pub(super) async fn reach(
    client: &Client,
    access: Access,
    repositories: &[&Repository],
    trial: Trial,
) -> Refused {
    // By trust too, for it may be another one for a part of a registry.
    let mut groups: HashMap<(Option<&Namespace>, Tls), Vec<&Repository>> = HashMap::new();
    for repository in repositories {
        let credential = client.credential(repository, access);
        let way = (credential, client.tls(repository, access));
        groups.entry(way).or_default().push(repository);
    }
    let mut refused = Refused::new();
    let mut single = Vec::new();
    for group in groups.into_values() {
        let Some(first) = group.first() else { continue };
        let failure = match attempt(client, access, first, trial).await {
            Err(error) => blamed(Stage::Preflight, None, &error),
            Ok(()) if access == Access::PullPush && client.lacks_credential(first) => {
                let registry = first.registry();
                let cause =
                    format!("`{registry}` asks for a user and a password, and none is known here");
                Failure::because(Stage::Preflight, None, Kind::Unauthorized, &cause)
            }
            Ok(()) => continue,
        };
        let is_of_group = failure.kind == Kind::Unauthorized
            || matches!(
                failure.detail,
                Detail::Certificate | Detail::CertificateTime | Detail::CertificateName
            );
        if is_of_group {
            single.extend(group.iter().map(|one| (*one, failure.clone())));
        } else {
            // Whoever asks: it cannot be reached.
            refused.push((first.registry().clone().into(), failure));
            break;
        }
    }
    refused.extend(of_repositories(single, repositories));
    refused
}

async fn attempt(
    client: &Client,
    access: Access,
    repository: &Repository,
    trial: Trial,
) -> Result<(), registry::Error> {
    client.reach(repository, access).await?;
    let is_known = client.credential(repository, access).is_some();
    if trial == Trial::Before || !is_known {
        return Ok(());
    }
    match client.prove(repository, access).await {
        Err(error) if kind_of(&error.kind) == Kind::Unauthorized => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The digest that `image` means now, as a source.
pub(super) async fn digest(client: &Client, image: &Reference) -> Result<Digest, Failure> {
    if let Some(digest) = image.digest {
        return Ok(digest);
    }
    let asked = client
        .resolve(&image.repository, &image.identifier(), Access::Pull)
        .await;
    let side = Some(Side::Source);
    match asked {
        Ok(Some(found)) => Ok(found.digest),
        Ok(None) => {
            let cause = format!("nothing is there under `{image}`");
            Err(Failure::because(
                Stage::Resolve,
                side,
                Kind::NotFound,
                &cause,
            ))
        }
        Err(error) => Err(blamed(Stage::Resolve, side, &error)),
    }
}

/// The manifest of `image`, as a source.
pub(super) async fn pull(
    client: &Client,
    image: &Reference,
    access: Access,
) -> Result<Manifest, Failure> {
    client
        .pull_manifest(&image.repository, &image.identifier(), access)
        .await
        .map_err(|error| blamed(Stage::Resolve, Some(Side::Source), &error))
}

//! What every kind of work asks registries before it begins.

use std::collections::HashMap;

use crate::event::{Detail, Failure, Kind, Side, Stage};
use crate::oci::{Digest, Manifest, Namespace, Reference, Repository};
use crate::registry::{Access, Client, Tls};
use crate::transfer::blamed;

use super::work::Refused;

/// Tries a registry: whether it answers, and takes each of the credentials that `repositories`, all of them
/// at that registry, are asked for with.
pub(super) async fn reach(
    client: &Client,
    access: Access,
    repositories: &[&Repository],
) -> Refused {
    // By trust too, for it may be another one for a part of a registry.
    let mut groups: HashMap<(Option<&Namespace>, Tls), Vec<&Repository>> = HashMap::new();
    for repository in repositories {
        let credential = client.credential(repository, access);
        let way = (credential, client.tls(repository, access));
        groups.entry(way).or_default().push(repository);
    }
    let mut refused = Refused::new();
    for group in groups.into_values() {
        let Some(first) = group.first() else { continue };
        let Err(error) = client.reach(first, access).await else {
            continue;
        };
        let failure = blamed(Stage::Preflight, None, &error);
        if failure.kind == Kind::Unauthorized || failure.detail == Detail::Certificate {
            let of_group =
                |repository: &&Repository| (Namespace::from(*repository), failure.clone());
            refused.extend(group.iter().map(of_group));
        } else {
            // Whoever asks: it cannot be reached.
            refused.push((first.registry().clone().into(), failure));
            break;
        }
    }
    refused
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

//! What every kind of work asks registries before it begins.

use crate::event::{Failure, Kind, Side, Stage};
use crate::oci::{Digest, Manifest, Reference, Registry};
use crate::registry::{Access, Client};
use crate::transfer::kind_of;

/// Tries `registry` before any job.
pub(super) async fn reach(client: &Client, registry: &Registry) -> Result<(), Failure> {
    client
        .reach(registry)
        .await
        .map_err(|error| Failure::new(Stage::Preflight, None, kind_of(&error.kind), &error))
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
        Err(error) => {
            let kind = kind_of(&error.kind);
            Err(Failure::new(Stage::Resolve, side, kind, &error))
        }
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
        .map_err(|error| {
            let kind = kind_of(&error.kind);
            Failure::new(Stage::Resolve, Some(Side::Source), kind, &error)
        })
}

//! `inspect` and `list-tags`: looking, without touching.

use serde_json::json;

use crate::event::{Kind, Side, Stage};
use crate::oci::{Manifest, Reference, View};
use crate::registry::{self, Access, Client, ErrorKind};

use crate::report::hint_at;
use crate::transfer::{blamed, kind_of};

use super::access::Sources;
use super::args::{InspectArgs, ListTagsArgs};
use super::error::Error;
use super::{Environment, access, print, print_bytes};

/// `consign inspect`.
pub(super) async fn inspect(args: InspectArgs, environment: &Environment) -> Result<u8, Error> {
    let registries = access::registries()?;
    let image = args.image.source(&registries);
    let sources = Sources::of_one(&image, &registries)?;
    let client = access::client_of_source(&args.access, &args.side, environment, &sources).await?;
    let manifest = pull(&client, &image, &sources).await?;
    if args.raw {
        print_bytes(manifest.raw())?;
        return Ok(0);
    }
    let platforms: Vec<String> = match manifest.view() {
        View::Index(index) => index
            .manifests
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            .map(ToString::to_string)
            .collect(),
        View::Image(_) => Vec::new(),
    };
    let shown = json!({
        "name": image.repository.to_string(),
        "digest": manifest.digest().to_string(),
        "mediaType": manifest.media_type().as_str(),
        "size": manifest.size(),
        "platforms": platforms,
    });
    print(&format!("{shown:#}\n"))?;
    Ok(0)
}

/// The manifest of `image`, from the first of its places that has it.
async fn pull(client: &Client, image: &Reference, sources: &Sources) -> Result<Manifest, Error> {
    let mut places = sources.references().peekable();
    loop {
        let place = places.next().unwrap_or(image);
        let pulled = client
            .pull_manifest(&place.repository, &place.identifier(), Access::Pull)
            .await;
        match pulled {
            Ok(manifest) => return Ok(manifest),
            Err(error) if places.peek().is_some() => {
                tracing::warn!(%place, %error, "a mirror did not do");
            }
            Err(error) => return Err(refused(place, &error)),
        }
    }
}

/// `consign list-tags`.
pub(super) async fn list_tags(args: ListTagsArgs, environment: &Environment) -> Result<u8, Error> {
    let registries = access::registries()?;
    let name = &args.repository.source(&registries);
    if name.tag.is_some() || name.digest.is_some() {
        return Err(Error::refused(&format!(
            "`{name}` is an image; a repository is wanted"
        )));
    }
    let sources = Sources::of_one(name, &registries)?;
    // A mirror may have a part of them.
    let Some(place) = sources.meant().next() else {
        let what =
            format!("`{name}` is read from mirrors alone, which may have a part of its tags");
        return Err(Error::refused(&what).with_code(1));
    };
    let client = access::client_of_source(&args.access, &args.side, environment, &sources).await?;
    let tags = client.tags(place).await;
    let mut tags = tags.map_err(|error| refused(name, &error))?;
    tags.sort_unstable();
    let tags: Vec<&str> = tags.iter().map(crate::oci::Tag::as_str).collect();
    print(&format!("{:#}\n", json!(tags)))?;
    Ok(0)
}

/// The exit code for what a registry said: that of a line that failed, or that could not be determined.
pub(super) fn code_of(error: &registry::Error) -> u8 {
    let kind = kind_of(&error.kind);
    let is_unknown = matches!(kind, Kind::Network | Kind::RateLimited | Kind::Timeout);
    if is_unknown { 4 } else { 1 }
}

fn refused(name: &Reference, error: &registry::Error) -> Error {
    let new = Error::usage(&format!("cannot read `{name}`"), error).with_code(code_of(error));
    let failure = blamed(Stage::Resolve, Some(Side::Source), error);
    if let Some(hint) = hint_at(&name.repository, &failure) {
        return new.with_hint(&hint);
    }
    if matches!(error.kind, ErrorKind::Unauthorized(_)) {
        let registry = name.repository.registry();
        return new.with_hint(&format!("log in to `{registry}` with rights to read it"));
    }
    new
}

//! `inspect` and `list-tags`: looking, without touching.

use serde_json::json;

use crate::event::Kind;
use crate::oci::{Reference, View};
use crate::registry::{self, Access, ErrorKind};

use crate::transfer::kind_of;

use super::args::{InspectArgs, ListTagsArgs};
use super::error::Error;
use super::{Environment, access, print, print_bytes};

/// `consign inspect`.
pub(super) async fn inspect(args: InspectArgs, environment: &Environment) -> Result<u8, Error> {
    let image = &args.image;
    let client = access::client(&args.access, environment, [image.repository.registry()])?;
    let manifest = client
        .pull_manifest(&image.repository, &image.identifier(), Access::Pull)
        .await
        .map_err(|error| refused(image, &error))?;
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

/// `consign list-tags`.
pub(super) async fn list_tags(args: ListTagsArgs, environment: &Environment) -> Result<u8, Error> {
    let name = &args.repository;
    if name.tag.is_some() || name.digest.is_some() {
        return Err(Error::refused(&format!(
            "`{name}` is an image; a repository is wanted"
        )));
    }
    let client = access::client(&args.access, environment, [name.repository.registry()])?;
    let tags = client.tags(&name.repository).await;
    let mut tags = tags.map_err(|error| refused(name, &error))?;
    tags.sort_unstable();
    let tags: Vec<&str> = tags.iter().map(crate::oci::Tag::as_str).collect();
    print(&format!("{:#}\n", json!(tags)))?;
    Ok(0)
}

/// The exit code is that of a line that failed, or that could not be determined.
fn refused(name: &Reference, error: &registry::Error) -> Error {
    let kind = kind_of(&error.kind);
    let is_unknown = matches!(kind, Kind::Network | Kind::RateLimited | Kind::Timeout);
    let code = if is_unknown { 4 } else { 1 };
    let new = Error::usage(&format!("cannot read `{name}`"), error).with_code(code);
    if matches!(error.kind, ErrorKind::Unauthorized(_)) {
        let registry = name.repository.registry();
        return new.with_hint(&format!("log in to `{registry}` with rights to read it"));
    }
    new
}

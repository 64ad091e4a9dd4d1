//! Which manifests of an image are meant.

use std::collections::BTreeSet;

use crate::attached::Attached;
use crate::event::{Failure, Kind, Role};
use crate::limits::image::{CONFIG_BYTES_MAX, INDEX_ENTRIES_MAX};
use crate::oci::{
    Annotations, Descriptor, Digest, Image, Index, Manifest, Pinned, Platform, PlatformSelection,
    View,
};
use crate::transfer::kind_of;

use super::bounds::{because, failed};

/// How many platforms a message names.
const PLATFORMS_SHOWN: usize = 20;

/// Which manifests of an image are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subjects {
    /// The index alone, or the single image; platforms are no matter then.
    Index,
    /// Each image that the selection selects; not the index, not attestation manifests.
    #[default]
    Platforms,
    /// The index and all that it names and the selection selects, attestation manifests too.
    All,
    /// The same without the index itself: what podman and skopeo check by a `policy.json`.
    Instances,
}

/// The manifests of an image that are meant, and what is not.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// What is meant, the index first, then in its order, each digest once.
    pub manifests: Vec<(Descriptor, Role)>,
    /// Platforms that are there and are not meant.
    pub unchecked: Vec<Platform>,
    /// Platforms that were asked for and are not there; nothing where no manifest states one.
    pub absent: Vec<String>,
}

/// What an entry of an index is to somebody who wants to run the image.
enum Standing<'a> {
    /// The image of a platform.
    Platform(&'a Platform),
    /// Says nothing of a platform, so that a client may run it on any.
    Silent,
    /// Says `unknown/unknown`, as `BuildKit` writes it: nobody runs it.
    NotRun,
}

/// Which manifests of `image` are meant, whose manifest is `root`; reads the config of a single image
/// where `selection` needs it, and nothing else.
///
/// An entry that states a platform is the image of that platform, and one that states none may be run
/// on any, whatever its annotations say: else an annotation would hide an image from who validates
/// and not from who runs it. Hence only entries that call themselves `unknown/unknown` are passed
/// over, which attestation manifests do. An index within an index is not descended into: it is a
/// manifest of its own, whose signature covers all that it names.
///
/// # Errors
///
/// [`Kind::NotFound`], naming what there is, when nothing that is there is meant: nothing is ever
/// right for want of anything to be wrong. [`Kind::Unsupported`] for more than [`INDEX_ENTRIES_MAX`]
/// manifests, and what kept it from reading the config.
pub async fn choose(
    attached: &Attached,
    image: &Pinned,
    root: &Manifest,
    subjects: Subjects,
    selection: &PlatformSelection,
) -> Result<Chosen, Failure> {
    match (root.view(), subjects) {
        (View::Index(_), Subjects::Index) => Ok(alone(root, Role::Index)),
        (View::Image(_), Subjects::Index) => Ok(alone(root, Role::Platform(None))),
        (View::Image(_), _) if selection.is_all() => Ok(alone(root, Role::Platform(None))),
        (View::Image(single), _) => {
            let Some(platform) = platform(attached, image, single).await? else {
                return Ok(alone(root, Role::Platform(None)));
            };
            if !selection.includes(&platform) {
                return Err(none_found(image, selection, &[platform]));
            }
            let absent = selection.absent(std::slice::from_ref(&platform));
            Ok(Chosen {
                absent,
                ..alone(root, Role::Platform(Some(platform)))
            })
        }
        (View::Index(index), Subjects::Platforms) => of_index(image, index, None, selection),
        (View::Index(index), Subjects::All) => of_index(image, index, Some(root), selection),
        (View::Index(index), Subjects::Instances) => {
            let mut chosen = of_index(image, index, Some(root), selection)?;
            chosen.manifests.retain(|(_, role)| *role != Role::Index);
            if chosen.manifests.is_empty() {
                return Err(none_found(image, selection, &[]));
            }
            Ok(chosen)
        }
    }
}

fn alone(root: &Manifest, role: Role) -> Chosen {
    Chosen {
        manifests: vec![(described(root), role)],
        ..Chosen::default()
    }
}

fn described(root: &Manifest) -> Descriptor {
    Descriptor {
        media_type: root.media_type().clone(),
        digest: root.digest(),
        size: root.size(),
        urls: Vec::new(),
        annotations: Annotations::default(),
        platform: None,
        artifact_type: None,
    }
}

/// The platform that the config of a single image states, if it has a config that can.
async fn platform(
    attached: &Attached,
    image: &Pinned,
    single: &Image,
) -> Result<Option<Platform>, Failure> {
    let config = single.config.as_ref();
    let Some(config) = config.filter(|config| config.media_type.is_image_config()) else {
        return Ok(None);
    };
    let what = || format!("cannot read the platform of `{image}`");
    let read = attached
        .client()
        .pull_small_blob(&image.repository, config, CONFIG_BYTES_MAX)
        .await;
    let bytes = read.map_err(|error| failed(what(), kind_of(&error.kind), &error))?;
    let platform: Platform = serde_json::from_slice(&bytes)
        .map_err(|error| failed(what(), Kind::Unsupported, &error))?;
    Ok(Some(platform).filter(|platform| !platform.is_unknown()))
}

/// Those of `index` that are meant; everything it names, and `root` itself, where that is given.
fn of_index(
    image: &Pinned,
    index: &Index,
    root: Option<&Manifest>,
    selection: &PlatformSelection,
) -> Result<Chosen, Failure> {
    let entries = &index.manifests;
    if entries.len() > INDEX_ENTRIES_MAX {
        let what = format!("cannot read `{image}`");
        let cause = format!("it has more than {INDEX_ENTRIES_MAX} manifests, which no image needs");
        return Err(because(what, Kind::Unsupported, cause));
    }
    let mut meant: Vec<Option<Role>> = Vec::with_capacity(entries.len());
    let mut stated: Vec<Platform> = Vec::new();
    let mut is_found = false;
    for entry in entries {
        meant.push(match standing(entry) {
            Standing::Platform(platform) => {
                stated.push(platform.clone());
                let is_meant = selection.includes(platform);
                is_found |= is_meant;
                is_meant.then(|| role(entry, Some(platform.clone())))
            }
            Standing::Silent => Some(role(entry, None)),
            Standing::NotRun => (root.is_some() && selection.is_all()).then_some(Role::Other),
        });
    }
    let is_whole = root.is_some() && selection.is_all();
    let is_missed = !selection.is_all() && !is_found && !stated.is_empty();
    if is_missed || (!is_whole && meant.iter().all(Option::is_none)) {
        return Err(none_found(image, selection, &stated));
    }
    if root.is_some() {
        add_attestations(entries, &mut meant);
    }
    let chosen: BTreeSet<Digest> = entries
        .iter()
        .zip(&meant)
        .filter_map(|(entry, role)| role.as_ref().map(|_| entry.digest))
        .collect();
    let mut unchecked: Vec<Platform> = Vec::new();
    for entry in entries
        .iter()
        .filter(|entry| !chosen.contains(&entry.digest))
    {
        if let Standing::Platform(platform) = standing(entry)
            && !unchecked.contains(platform)
        {
            unchecked.push(platform.clone());
        }
    }
    let mut seen = BTreeSet::new();
    let mut manifests: Vec<(Descriptor, Role)> = Vec::new();
    manifests.extend(root.map(|root| (described(root), Role::Index)));
    manifests.extend(
        entries
            .iter()
            .zip(meant)
            .filter_map(|(entry, role)| Some((entry.clone(), role?)))
            .filter(|(entry, _)| seen.insert(entry.digest)),
    );
    let absent = if stated.is_empty() {
        Vec::new()
    } else {
        selection.absent(&stated)
    };
    Ok(Chosen {
        manifests,
        unchecked,
        absent,
    })
}

/// Attestation manifests go with the manifest that they attest.
fn add_attestations(entries: &[Descriptor], meant: &mut [Option<Role>]) {
    let chosen: BTreeSet<Digest> = entries
        .iter()
        .zip(&*meant)
        .filter_map(|(entry, role)| role.as_ref().map(|_| entry.digest))
        .collect();
    for (entry, role) in entries.iter().zip(meant) {
        let is_attested = entry
            .attests()
            .is_some_and(|subject| chosen.contains(&subject));
        if role.is_none() && is_attested && matches!(standing(entry), Standing::NotRun) {
            *role = Some(Role::Other);
        }
    }
}

fn standing(entry: &Descriptor) -> Standing<'_> {
    match &entry.platform {
        None => Standing::Silent,
        Some(platform) if platform.os.is_empty() && platform.architecture.is_empty() => {
            Standing::Silent
        }
        Some(platform) if platform.is_unknown() => Standing::NotRun,
        Some(platform) => Standing::Platform(platform),
    }
}

fn role(entry: &Descriptor, platform: Option<Platform>) -> Role {
    if entry.media_type.is_index() {
        Role::Other
    } else {
        Role::Platform(platform)
    }
}

fn none_found(image: &Pinned, selection: &PlatformSelection, has: &[Platform]) -> Failure {
    let mut words: Vec<String> = has
        .iter()
        .take(PLATFORMS_SHOWN)
        .map(ToString::to_string)
        .collect();
    if words.is_empty() {
        words.push("none".to_owned());
    }
    let cause = format!(
        "it has none of the wanted platforms ({selection}); it has {}",
        words.join(", ")
    );
    because(
        format!("cannot choose from `{image}`"),
        Kind::NotFound,
        cause,
    )
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;

//! Which manifests and blobs belong to which repository.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use serde::Deserialize;

use crate::layout::{Entry, RepositoryPath, SmallBlobs};
use crate::limits::image::MANIFEST_BYTES_MAX;
use crate::limits::serve::{SERVED_DEPTH_MAX, SERVED_MANIFESTS_MAX};
use crate::oci::{Descriptor, Digest, Manifest, MediaType, Tag, View};

/// All repositories with what they hold.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    repositories: BTreeMap<RepositoryPath, Members>,
    manifests: usize,
}

/// What one repository holds.
#[derive(Debug, Default)]
struct Members {
    manifests: HashMap<Digest, Stored>,
    /// Named by a manifest, pushed or mounted. Whether the bytes are there, the layout knows.
    blobs: HashSet<Digest>,
    /// By subject: the descriptors of those that refer to it, in the order of their digests.
    referrers: HashMap<Digest, BTreeMap<Digest, serde_json::Value>>,
}

/// A manifest without its bytes: all that a HEAD tells.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) media_type: MediaType,
    pub(super) digest: Digest,
    pub(super) size: u64,
    subject: Option<Digest>,
}

/// What a manifest says of others.
#[derive(Debug)]
pub(super) struct Facts {
    stored: Stored,
    /// Its own descriptor as a referrer, where it has a subject.
    referrer: Option<serde_json::Value>,
    pub(super) children: Vec<Descriptor>,
    pub(super) blobs: Vec<Descriptor>,
}

impl Facts {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let (children, blobs, subject, artifact_type) = match manifest.view() {
            View::Index(index) => (
                index.manifests.clone(),
                Vec::new(),
                &index.subject,
                index.artifact_type.clone(),
            ),
            View::Image(image) => (
                Vec::new(),
                image.blobs().cloned().collect(),
                &image.subject,
                // Distribution specification 1.1, "Listing Referrers": the type of the config
                // stands in for an absent one.
                image.artifact_type.clone().or_else(|| {
                    let config = image.config.as_ref()?;
                    Some(config.media_type.to_string())
                }),
            ),
        };
        let mut facts = Self::opaque(manifest.media_type(), &manifest.digest(), manifest.raw());
        facts.children = children;
        facts.blobs = blobs;
        if let Some(subject) = subject {
            facts.stored.subject = Some(subject.digest);
            facts.referrer = Some(referrer(&facts.stored, artifact_type, manifest.raw()));
        }
        facts
    }

    /// A document that is kept as it is and not understood: Docker schema 1, say.
    pub(super) fn opaque(media_type: &MediaType, digest: &Digest, raw: &Bytes) -> Self {
        Self {
            stored: Stored {
                media_type: media_type.clone(),
                digest: *digest,
                size: u64::try_from(raw.len()).unwrap_or(u64::MAX),
                subject: None,
            },
            referrer: None,
            children: Vec::new(),
            blobs: Vec::new(),
        }
    }

    /// Reads a manifest that was stored as `media_type`.
    pub(super) fn read(media_type: &MediaType, digest: &Digest, raw: &Bytes) -> Self {
        match Manifest::parse(raw.clone(), media_type) {
            Ok(manifest) => match manifest.named(*digest) {
                Some(manifest) => Self::of(&manifest),
                None => Self::opaque(media_type, digest, raw),
            },
            Err(_) => Self::opaque(media_type, digest, raw),
        }
    }

    pub(super) const fn subject(&self) -> Option<Digest> {
        self.stored.subject
    }

    /// The root index's entry of this manifest.
    pub(super) fn entry(&self, repository: &RepositoryPath, tag: Option<Tag>) -> Entry {
        Entry {
            repository: repository.clone(),
            tag,
            media_type: self.stored.media_type.clone(),
            digest: self.stored.digest,
            size: self.stored.size,
        }
    }
}

/// The descriptor of a manifest in the list of its subject's referrers: with its annotations.
fn referrer(stored: &Stored, artifact_type: Option<String>, raw: &Bytes) -> serde_json::Value {
    #[derive(Deserialize)]
    struct Annotated {
        annotations: Option<serde_json::Map<String, serde_json::Value>>,
    }
    let mut descriptor = serde_json::json!({
        "mediaType": stored.media_type,
        "digest": stored.digest,
        "size": stored.size,
    });
    let annotations = serde_json::from_slice::<Annotated>(raw)
        .ok()
        .and_then(|document| document.annotations);
    if let Some(fields) = descriptor.as_object_mut() {
        if let Some(artifact_type) = artifact_type {
            fields.insert("artifactType".to_owned(), artifact_type.into());
        }
        if let Some(annotations) = annotations {
            fields.insert("annotations".to_owned(), annotations.into());
        }
    }
    descriptor
}

impl Catalog {
    /// Finds all that is reachable from the entries of a root index. What is absent or damaged is
    /// passed over: sparse indexes are meant to have gaps.
    pub(super) fn walk(entries: &[Entry], blobs: &SmallBlobs<'_>) -> Self {
        let mut catalog = Self::default();
        let mut stack: Vec<(&RepositoryPath, MediaType, Digest, usize)> = entries
            .iter()
            .map(|entry| (&entry.repository, entry.media_type.clone(), entry.digest, 0))
            .collect();
        while let Some((repository, media_type, digest, depth)) = stack.pop() {
            if catalog.manifest(repository, &digest).is_some() {
                continue;
            }
            if catalog.manifests >= SERVED_MANIFESTS_MAX {
                tracing::warn!(
                    limit = SERVED_MANIFESTS_MAX,
                    "more manifests than are served"
                );
                break;
            }
            let raw = match blobs.bytes(&digest, MANIFEST_BYTES_MAX) {
                Ok(Some(raw)) => raw,
                Ok(None) => continue,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(%repository, %digest, error, "a manifest is not served");
                    continue;
                }
            };
            let facts = Facts::read(&media_type, &digest, &raw);
            if depth < SERVED_DEPTH_MAX {
                for child in facts.children.iter().filter(|child| may_be_manifest(child)) {
                    stack.push((
                        repository,
                        child.media_type.clone(),
                        child.digest,
                        depth + 1,
                    ));
                }
            }
            catalog.insert(repository, facts);
        }
        catalog
    }

    pub(super) fn insert(&mut self, repository: &RepositoryPath, facts: Facts) {
        let members = self.members(repository);
        let digest = facts.stored.digest;
        members
            .blobs
            .extend(facts.blobs.iter().map(|blob| blob.digest));
        // An index may name blobs; they are served as what they are said to be.
        members.blobs.extend(
            facts
                .children
                .iter()
                .filter(|child| !may_be_manifest(child))
                .map(|child| child.digest),
        );
        if let (Some(subject), Some(referrer)) = (facts.stored.subject, facts.referrer) {
            members
                .referrers
                .entry(subject)
                .or_default()
                .insert(digest, referrer);
        }
        if members.manifests.insert(digest, facts.stored).is_none() {
            self.manifests += 1;
        }
    }

    fn members(&mut self, repository: &RepositoryPath) -> &mut Members {
        self.repositories.entry(repository.clone()).or_default()
    }

    pub(super) fn has_repository(&self, repository: &RepositoryPath) -> bool {
        self.repositories.contains_key(repository)
    }

    pub(super) fn repositories(&self) -> impl Iterator<Item = &RepositoryPath> {
        self.repositories.keys()
    }

    pub(super) fn manifest(&self, repository: &RepositoryPath, digest: &Digest) -> Option<&Stored> {
        self.repositories.get(repository)?.manifests.get(digest)
    }

    /// All manifests of a repository, in the order of their digests.
    pub(super) fn manifests(&self, repository: &RepositoryPath) -> Vec<Stored> {
        let mut all: Vec<Stored> = self
            .repositories
            .get(repository)
            .map(|members| members.manifests.values().cloned().collect())
            .unwrap_or_default();
        all.sort_by_key(|stored| stored.digest);
        all
    }

    /// All blobs of a repository, in the order of their digests; the bytes of some may be absent.
    pub(super) fn blobs(&self, repository: &RepositoryPath) -> Vec<Digest> {
        let mut all: Vec<Digest> = self
            .repositories
            .get(repository)
            .map(|members| members.blobs.iter().copied().collect())
            .unwrap_or_default();
        all.sort_unstable();
        all
    }

    pub(super) fn has_blob(&self, repository: &RepositoryPath, digest: &Digest) -> bool {
        self.repositories
            .get(repository)
            .is_some_and(|members| members.blobs.contains(digest))
    }

    pub(super) fn has_blob_anywhere(&self, digest: &Digest) -> bool {
        self.repositories
            .values()
            .any(|members| members.blobs.contains(digest))
    }

    /// Whether any repository holds it, as whatever.
    pub(super) fn is_held(&self, digest: &Digest) -> bool {
        self.repositories
            .values()
            .any(|members| members.blobs.contains(digest) || members.manifests.contains_key(digest))
    }

    pub(super) fn link(&mut self, repository: &RepositoryPath, digest: &Digest) {
        self.members(repository).blobs.insert(*digest);
    }

    pub(super) fn unlink(&mut self, repository: &RepositoryPath, digest: &Digest) -> bool {
        self.repositories
            .get_mut(repository)
            .is_some_and(|members| members.blobs.remove(digest))
    }

    pub(super) fn remove_manifest(&mut self, repository: &RepositoryPath, digest: &Digest) -> bool {
        let Some(members) = self.repositories.get_mut(repository) else {
            return false;
        };
        let Some(stored) = members.manifests.remove(digest) else {
            return false;
        };
        self.manifests -= 1;
        if let Some(subject) = stored.subject
            && let Some(referrers) = members.referrers.get_mut(&subject)
        {
            referrers.remove(digest);
            if referrers.is_empty() {
                members.referrers.remove(&subject);
            }
        }
        true
    }

    /// The descriptors of what refers to `subject`, of one type where one is asked for.
    pub(super) fn referrers(
        &self,
        repository: &RepositoryPath,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Vec<serde_json::Value> {
        let all = self
            .repositories
            .get(repository)
            .and_then(|members| members.referrers.get(subject));
        all.into_iter()
            .flat_map(BTreeMap::values)
            .filter(|referrer| {
                let own = || referrer.get("artifactType").and_then(|own| own.as_str());
                artifact_type.is_none_or(|wanted| own() == Some(wanted))
            })
            .cloned()
            .collect()
    }
}

/// Whether an entry of an index is a manifest rather than a blob, as far as its type tells: types
/// of manifests are unknown in number, but all are JSON.
pub(super) fn may_be_manifest(child: &Descriptor) -> bool {
    let known = child.media_type.is_index() || child.media_type.is_image();
    let fits = u64::try_from(MANIFEST_BYTES_MAX).is_ok_and(|limit| child.size <= limit);
    known || child.media_type.as_str().contains("json") && fits
}

//! What a registry holds, all of it in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json};

/// Repositories, and the blobs that they share.
#[derive(Debug, Clone)]
pub(super) struct Store {
    /// Each once, whoever has it.
    blobs: HashMap<Arc<str>, Blob>,
    repositories: HashMap<String, Repository>,
    /// Whether manifests are read for their subjects.
    lists_referrers: bool,
}

/// A blob, or what is left of it.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) size: u64,
    pub(super) kept: Kept,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    /// Nowhere: only the size was kept.
    Nowhere,
    /// In memory.
    Held(Bytes),
    /// In a file: what would need much memory.
    OnDisk(PathBuf),
}

/// A manifest, with its headers as they are sent.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) bytes: Bytes,
    pub(super) media_type: HeaderValue,
    pub(super) digest: HeaderValue,
}

#[derive(Debug, Clone, Default)]
struct Repository {
    blobs: HashSet<Arc<str>>,
    manifests: HashMap<Arc<str>, Manifest>,
    tags: BTreeMap<String, Arc<str>>,
    /// Descriptors by the digest of their subject and their own.
    referrers: HashMap<String, BTreeMap<Arc<str>, Value>>,
}

impl Manifest {
    /// Nothing, where the digest cannot be sent.
    pub(super) fn new(bytes: Bytes, media_type: Option<HeaderValue>, digest: &str) -> Option<Self> {
        const UNSAID: HeaderValue =
            HeaderValue::from_static("application/vnd.oci.image.manifest.v1+json");
        Some(Self {
            bytes,
            media_type: media_type.unwrap_or(UNSAID),
            digest: HeaderValue::from_str(digest).ok()?,
        })
    }
}

impl Repository {
    fn digest<'a>(&'a self, reference: &'a str) -> Option<&'a str> {
        if reference.contains(':') {
            Some(reference)
        } else {
            self.tags.get(reference).map(AsRef::as_ref)
        }
    }
}

impl Store {
    pub(super) fn new(lists_referrers: bool) -> Self {
        Self {
            blobs: HashMap::new(),
            repositories: HashMap::new(),
            lists_referrers,
        }
    }

    /// A manifest by its tag or digest.
    pub(super) fn manifest(&self, name: &str, reference: &str) -> Option<&Manifest> {
        let repository = self.repositories.get(name)?;
        repository.manifests.get(repository.digest(reference)?)
    }

    /// Whether a repository has a manifest of this digest.
    pub(super) fn has_manifest(&self, name: &str, digest: &str) -> bool {
        self.manifest(name, digest).is_some()
    }

    /// Puts a manifest, and a tag to it. Returns the digest of its subject, where referrers are listed and
    /// it has one.
    pub(super) fn put_manifest(
        &mut self,
        name: &str,
        digest: &str,
        tag: Option<&str>,
        manifest: Manifest,
    ) -> Option<String> {
        let refers = self.lists_referrers.then(|| refers(&manifest, digest));
        let repository = self.repository(name);
        let digest: Arc<str> = digest.into();
        repository.manifests.insert(Arc::clone(&digest), manifest);
        if let Some(tag) = tag {
            repository.tags.insert(tag.to_owned(), Arc::clone(&digest));
        }
        let (subject, descriptor) = refers.flatten()?;
        let list = repository.referrers.entry(subject.clone()).or_default();
        list.insert(digest, descriptor);
        Some(subject)
    }

    /// Removes a tag, or a manifest with all its tags; whether it was there.
    pub(super) fn delete_manifest(&mut self, name: &str, reference: &str) -> bool {
        let Some(repository) = self.repositories.get_mut(name) else {
            return false;
        };
        if !reference.contains(':') {
            return repository.tags.remove(reference).is_some();
        }
        repository.tags.retain(|_, digest| &**digest != reference);
        for list in repository.referrers.values_mut() {
            list.remove(reference);
        }
        repository.manifests.remove(reference).is_some()
    }

    /// A blob of a repository.
    pub(super) fn blob(&self, name: &str, digest: &str) -> Option<&Blob> {
        let repository = self.repositories.get(name)?;
        let digest = repository.blobs.get(digest)?;
        self.blobs.get(digest)
    }

    /// All blobs that are in memory, once for each repository that has them.
    pub(super) fn blobs(&self) -> impl Iterator<Item = (&str, &str, Bytes)> {
        self.repositories.iter().flat_map(|(name, repository)| {
            repository.blobs.iter().filter_map(|digest| {
                let Kept::Held(bytes) = &self.blobs.get(digest)?.kept else {
                    return None;
                };
                Some((name.as_str(), &**digest, bytes.clone()))
            })
        })
    }

    /// Puts a blob. One that is there keeps its bytes, if it has them.
    pub(super) fn put_blob(&mut self, name: &str, digest: &str, blob: Blob) {
        let digest: Arc<str> = digest.into();
        let stored = self.blobs.entry(Arc::clone(&digest));
        let stored = stored.or_insert_with(|| blob.clone());
        if matches!(stored.kept, Kept::Nowhere) {
            *stored = blob;
        }
        self.repository(name).blobs.insert(digest);
    }

    /// Puts a blob into a repository that another one has, or any where none is named; whether it could be.
    pub(super) fn mount(&mut self, name: &str, digest: &str, from: Option<&str>) -> bool {
        let known = match from {
            Some(from) => self
                .repositories
                .get(from)
                .and_then(|r| r.blobs.get(digest)),
            None => self.blobs.get_key_value(digest).map(|(digest, _)| digest),
        };
        let Some(digest) = known.map(Arc::clone) else {
            return false;
        };
        self.repository(name).blobs.insert(digest);
        true
    }

    /// Takes a blob from a repository; whether it was there.
    pub(super) fn delete_blob(&mut self, name: &str, digest: &str) -> bool {
        let repository = self.repositories.get_mut(name);
        repository.is_some_and(|repository| repository.blobs.remove(digest))
    }

    /// At most `n` tags after `last`, in their order, and whether these are the last ones.
    pub(super) fn tags(&self, name: &str, last: &str, n: usize) -> Option<(Vec<String>, bool)> {
        let tags = &self.repositories.get(name)?.tags;
        let after = (Bound::Excluded(last), Bound::Unbounded);
        let mut rest = tags.range::<str, _>(after).map(|(tag, _)| tag.clone());
        let page: Vec<String> = rest.by_ref().take(n).collect();
        let is_end = rest.next().is_none();
        Some((page, is_end))
    }

    /// The descriptors of what refers to a manifest, where that is listed.
    pub(super) fn referrers(&self, name: &str, digest: &str) -> Option<Vec<Value>> {
        if !self.lists_referrers {
            return None;
        }
        let repository = self.repositories.get(name);
        let list = repository.and_then(|repository| repository.referrers.get(digest));
        Some(list.map_or_else(Vec::new, |list| list.values().cloned().collect()))
    }

    fn repository(&mut self, name: &str) -> &mut Repository {
        // Nearly always it is there: no name is copied then.
        if !self.repositories.contains_key(name) {
            self.repositories
                .insert(name.to_owned(), Repository::default());
        }
        self.repositories.entry(name.to_owned()).or_default()
    }
}

/// What a manifest says of itself, where it has a subject.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Described>,
    subject: Option<Described>,
    annotations: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    digest: String,
    media_type: Option<String>,
}

/// The digest of a manifest's subject, and the descriptor that stands in its list of referrers.
fn refers(manifest: &Manifest, digest: &str) -> Option<(String, Value)> {
    let read: Referrer = serde_json::from_slice(&manifest.bytes).ok()?;
    let artifact_type = read
        .artifact_type
        .or_else(|| read.config.and_then(|config| config.media_type));
    let mut descriptor = json!({
        "mediaType": read.media_type.or_else(|| manifest.media_type.to_str().ok().map(str::to_owned)),
        "digest": digest,
        "size": manifest.bytes.len(),
        "artifactType": artifact_type,
    });
    if let (Some(fields), Some(annotations)) = (descriptor.as_object_mut(), read.annotations) {
        fields.insert("annotations".to_owned(), annotations);
    }
    Some((read.subject?.digest, descriptor))
}

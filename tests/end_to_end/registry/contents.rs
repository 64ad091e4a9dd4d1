//! All of a repository, to look at and to compare.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use consign::oci::{Digest, MediaType};

use super::{TestRegistry, path};

/// What a repository holds, with all bytes. Two are equal when all of that is.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Contents {
    /// What each tag names.
    pub(crate) tags: BTreeMap<String, Digest>,
    /// The manifests.
    pub(crate) manifests: BTreeMap<Digest, (MediaType, Bytes)>,
    /// The blobs whose bytes are there.
    pub(crate) blobs: BTreeMap<Digest, Bytes>,
}

impl Contents {
    /// All of `repository`; nothing where there is no such one.
    pub(crate) async fn of(registry: &TestRegistry, repository: &str) -> Self {
        let path = path(repository);
        let registry = registry.inner();
        let layout = registry.layout();
        let mut contents = Self::default();
        for tag in layout.tags(&path).unwrap_or_default() {
            let entry = layout.find(&path, &tag).expect("a listed tag is there");
            contents.tags.insert(tag.to_string(), entry.digest);
        }
        for (digest, media_type) in registry.manifests(&path) {
            let bytes = layout.bytes(&digest, usize::MAX).await;
            let bytes = bytes.expect("it reads").expect("a listed one is there");
            contents.manifests.insert(digest, (media_type, bytes));
        }
        for digest in registry.blobs(&path) {
            if let Some(bytes) = layout.bytes(&digest, usize::MAX).await.expect("it reads") {
                contents.blobs.insert(digest, bytes);
            }
        }
        contents
    }

    /// The digests of the manifests, in their order.
    pub(crate) fn manifest_digests(&self) -> Vec<Digest> {
        self.manifests.keys().copied().collect()
    }

    /// The digests of the blobs, in their order.
    pub(crate) fn blob_digests(&self) -> Vec<Digest> {
        self.blobs.keys().copied().collect()
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tags: {:#?}", self.tags)?;
        for (digest, (media_type, bytes)) in &self.manifests {
            writeln!(f, "manifest {digest} {media_type}, {} bytes", bytes.len())?;
        }
        for (digest, bytes) in &self.blobs {
            writeln!(f, "blob {digest}, {} bytes", bytes.len())?;
        }
        Ok(())
    }
}

//! The images of an OCI layout, into memory.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;

use crate::Failure;

use super::store::{Blob, Kept, Manifest, Store};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What is read of an index or a manifest.
#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: std::collections::HashMap<String, String>,
}

/// A blob of a layout, and a repository that has it.
#[derive(Debug)]
pub(crate) struct LayoutBlob {
    pub(crate) repository: String,
    pub(crate) digest: String,
    pub(crate) bytes: Bytes,
}

/// All blobs of a layout that are no manifests, each once, in the order of their digests, and in memory.
pub(crate) fn blobs(folder: &Path) -> Result<Vec<LayoutBlob>, Failure> {
    let mut store = Store::new(false);
    let layout = Layout {
        folder,
        held_max: u64::MAX,
    };
    layout.load(&mut store)?;
    let mut blobs: Vec<LayoutBlob> = store
        .blobs()
        .map(|(repository, digest, bytes)| LayoutBlob {
            repository: repository.to_owned(),
            digest: digest.to_owned(),
            bytes,
        })
        .collect();
    blobs.sort_by(|one, other| {
        (&one.digest, &one.repository).cmp(&(&other.digest, &other.repository))
    });
    blobs.dedup_by(|one, other| one.digest == other.digest);
    Ok(blobs)
}

/// A layout to be loaded.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub(super) folder: &'a Path,
    /// Larger blobs stay on disk, in bytes.
    pub(super) held_max: u64,
}

impl Layout<'_> {
    /// Adds all images whose names are REPOSITORY:TAG.
    pub(super) fn load(&self, store: &mut Store) -> Result<(), Failure> {
        let index = fs::read(self.folder.join("index.json"))?;
        let index: Document = serde_json::from_slice(&index)?;
        for entry in &index.manifests {
            let Some(name) = entry.annotations.get(REF_NAME) else {
                continue;
            };
            let (name, tag) = name
                .rsplit_once(':')
                .ok_or_else(|| format!("`{name}` is not REPOSITORY:TAG"))?;
            self.load_manifest(store, name, entry)?;
            let manifest = store.manifest(name, &entry.digest).cloned();
            if let Some(manifest) = manifest {
                store.put_manifest(name, &entry.digest, Some(tag), manifest);
            }
        }
        Ok(())
    }

    /// Adds a manifest with all that it names, children before parents.
    fn load_manifest(
        &self,
        store: &mut Store,
        name: &str,
        descriptor: &Descriptor,
    ) -> Result<(), Failure> {
        if store.has_manifest(name, &descriptor.digest) {
            return Ok(());
        }
        let bytes = self.read(&descriptor.digest)?;
        let document: Document = serde_json::from_slice(&bytes)?;
        for child in &document.manifests {
            self.load_manifest(store, name, child)?;
        }
        for blob in document.config.iter().chain(&document.layers) {
            if !store.mount(name, &blob.digest, None) {
                store.put_blob(name, &blob.digest, self.blob(&blob.digest)?);
            }
        }
        let media_type = HeaderValue::from_str(&descriptor.media_type)?;
        let manifest = Manifest::new(bytes, Some(media_type), &descriptor.digest)
            .ok_or_else(|| format!("{} is no digest", descriptor.digest))?;
        store.put_manifest(name, &descriptor.digest, None, manifest);
        Ok(())
    }

    fn blob(&self, digest: &str) -> Result<Blob, Failure> {
        let path = self.path(digest)?;
        let facts = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let size = facts.len();
        let kept = if size > self.held_max {
            Kept::OnDisk(path)
        } else {
            Kept::Held(self.read(digest)?)
        };
        Ok(Blob { size, kept })
    }

    fn read(&self, digest: &str) -> Result<Bytes, Failure> {
        let path = self.path(digest)?;
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(bytes.into())
    }

    fn path(&self, digest: &str) -> Result<PathBuf, Failure> {
        let (algorithm, hex) = digest.split_once(':').ok_or("a digest without a colon")?;
        Ok(self.folder.join("blobs").join(algorithm).join(hex))
    }
}

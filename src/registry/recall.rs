//! What registries served before, taken from the cache where they say that it is still there.
//!
//! Bytes by their digest are the same wherever they are from; that they are there, and may be read, is asked of the
//! registry every time, with the credentials that a GET would have: by HEAD, where the cache has what the
//! answer will name. A HEAD costs a registry less, and Docker Hub does not count it as a pull. The blobs that a manifest names
//! which was asked for are not asked for again.
//!
//! Only who says so reads in this way ([`Client::recalling`]): whoever copies, changes or reads back has to see what the
//! registry serves.

use bytes::Bytes;
use http::Method;

use crate::cache::{Cache, Entry};
use crate::oci::{Descriptor, Digest, Identifier, Manifest, MediaType, Repository, Tag};

use super::auth::Access;
use super::client::{Client, MANIFEST};
use super::documents::{Room, UNASKED_BYTES};
use super::error::{Error, ErrorKind, is_head_refusal};
use super::host::Heads;

/// What came of asking for a manifest that the cache may have.
#[derive(Debug)]
enum Recalled {
    /// The registry says that it is this one.
    Manifest(Manifest),
    /// It is to be asked by GET.
    Nothing,
    /// The same, and where that serves one, HEAD says 404 of what is there.
    Denied,
}

impl Client {
    /// The same client with a cache, for those who use it.
    #[must_use]
    pub fn with_cache(mut self, cache: Option<Cache>) -> Self {
        self.cache = cache;
        self
    }

    /// The same client for somebody who needs not see what a registry serves, if that is the same as
    /// before: manifests and small blobs that are only read are kept in the cache, if there is one, and
    /// taken from it. What becomes of the image is judged anew all the same.
    #[must_use]
    pub fn recalling(&self) -> Self {
        let mut client = self.clone();
        client.recalls = client.cache.is_some();
        client
    }

    /// The cache, for what is read with `access`.
    pub(super) fn memory(&self, access: Access) -> Option<&Cache> {
        let reads = self.recalls && access == Access::Pull;
        self.cache.as_ref().filter(|_| reads)
    }

    /// Pulls a manifest. By digest, its bytes have that digest; by tag, the digest is computed.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; [`ErrorKind::Integrity`] when the bytes have another digest than was asked
    /// for, [`ErrorKind::Document`] when they are no manifest that can be copied unchanged.
    pub async fn pull_manifest(
        &self,
        repository: &Repository,
        identifier: &Identifier,
        access: Access,
    ) -> Result<Manifest, Error> {
        match self.recall(repository, identifier, access).await? {
            Recalled::Manifest(manifest) => Ok(manifest),
            Recalled::Nothing => self.pull_anew(repository, identifier, access).await,
            Recalled::Denied => {
                let manifest = self.pull_anew(repository, identifier, access).await?;
                let host = self.transport.host(repository.registry());
                host.learn_heads(Heads::Useless);
                Ok(manifest)
            }
        }
    }

    /// The manifest under `identifier`, where the registry says by HEAD that it is one which the cache has. It is to
    /// be asked by GET where it has another one, or none, or does not say so clearly.
    ///
    /// # Errors
    ///
    /// As for every request. What a registry does not let be read by HEAD is asked for by GET.
    async fn recall(
        &self,
        repository: &Repository,
        identifier: &Identifier,
        access: Access,
    ) -> Result<Recalled, Error> {
        let Some(cache) = self.memory(access) else {
            return Ok(Recalled::Nothing);
        };
        let expected = match identifier {
            Identifier::Digest(digest) => Some(*digest),
            Identifier::Tag(tag) => cache.last(&name(repository, tag)),
        };
        let host = self.transport.host(repository.registry());
        let is_there = expected.is_some_and(|digest| cache.find(&digest).is_some());
        if !is_there || host.heads() == Heads::Useless {
            return Ok(Recalled::Nothing);
        }
        let call = self.manifest_call(Method::HEAD, repository, identifier, access);
        let answer = match self.transport.send(call).await {
            Ok(answer) => answer,
            // A GET says better that nothing is there, and why.
            Err(error) if matches!(error.kind, ErrorKind::NotFound(_)) => {
                return Ok(match host.heads() {
                    Heads::Unknown => Recalled::Denied,
                    Heads::Believed | Heads::Useless => Recalled::Nothing,
                });
            }
            Err(error) if is_head_refusal(&error) => return Ok(Recalled::Nothing),
            Err(error) => return Err(error),
        };
        let named = answer.header("docker-content-digest");
        let named = named.and_then(|text| text.parse::<Digest>().ok());
        let media_type = MediaType::parse(answer.header("content-type").unwrap_or_default());
        // Its place in the lane is given back: what follows may wait for room.
        drop(answer);
        let is_meant = |digest: &Digest| match identifier {
            Identifier::Digest(asked) => asked == digest,
            Identifier::Tag(_) => true,
        };
        let Some(digest) = named.filter(is_meant) else {
            return Ok(Recalled::Nothing);
        };
        host.learn_heads(Heads::Believed);
        let Some(manifest) = self.recalled(cache, &digest, &media_type).await? else {
            return Ok(Recalled::Nothing);
        };
        if let Identifier::Tag(tag) = identifier {
            cache.note(&name(repository, tag), Some(digest));
        }
        Ok(Recalled::Manifest(manifest))
    }

    /// The manifest with `digest` from the cache, as if it were served as `media_type`.
    async fn recalled(
        &self,
        cache: &Cache,
        digest: &Digest,
        media_type: &MediaType,
    ) -> Result<Option<Manifest>, Error> {
        let Some(entry) = cache.find(digest) else {
            return Ok(None);
        };
        let documents = &self.transport.documents;
        let refused = |kind| refused(digest, kind);
        let mut room = Room::default();
        if entry.size() > UNASKED_BYTES {
            room = documents.room(2 * entry.size()).await.map_err(refused)?;
        }
        let Some(bytes) = entry.read() else {
            return Ok(None);
        };
        documents
            .fit(&mut room, &bytes, MANIFEST)
            .await
            .map_err(refused)?;
        // What cannot be read so is asked for: the registry may serve it as something else.
        let manifest = Manifest::parse(room.with(bytes), media_type).ok();
        Ok(manifest.and_then(|manifest| manifest.named(*digest)))
    }

    /// A small blob from the cache, if it is there with its size.
    ///
    /// # Errors
    ///
    /// Where there is no room for it.
    pub(super) async fn recall_blob(
        &self,
        descriptor: &Descriptor,
    ) -> Result<Option<Bytes>, Error> {
        let Some(cache) = self.memory(Access::Pull) else {
            return Ok(None);
        };
        let fits = |entry: &Entry| u64::try_from(entry.size()) == Ok(descriptor.size);
        let Some(entry) = cache.find(&descriptor.digest).filter(fits) else {
            return Ok(None);
        };
        let room = self.transport.documents.blob_room(entry.size()).await;
        let room = room.map_err(|kind| refused(&descriptor.digest, kind))?;
        Ok(entry.read().map(|bytes| room.with(bytes)))
    }

    /// Keeps what was pulled under `identifier`, and what its tag names: where the registry `named` it, for
    /// else a HEAD would not.
    pub(super) fn keep_manifest(
        &self,
        (repository, identifier, access): (&Repository, &Identifier, Access),
        manifest: &Manifest,
        named: Option<&str>,
    ) {
        let Some(cache) = self.memory(access) else {
            return;
        };
        let digest = manifest.digest();
        cache.keep(&digest, manifest.raw());
        if let Identifier::Tag(tag) = identifier {
            let is_named = named.is_some_and(|named| named == digest.to_string());
            cache.note(&name(repository, tag), is_named.then_some(digest));
        }
    }

    /// Forgets what a tag named that is not there.
    pub(super) fn forget_tag(
        &self,
        repository: &Repository,
        identifier: &Identifier,
        access: Access,
    ) {
        if let (Some(cache), Identifier::Tag(tag)) = (self.memory(access), identifier) {
            cache.note(&name(repository, tag), None);
        }
    }
}

/// By what name the cache knows a tag.
fn name(repository: &Repository, tag: &Tag) -> String {
    format!("{repository}:{tag}")
}

fn refused(digest: &Digest, kind: ErrorKind) -> Error {
    Error {
        method: Method::GET,
        wait: None,
        url: digest.to_string(),
        attempts: 0,
        kind,
    }
}

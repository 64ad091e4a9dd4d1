//! The formats that are referrers: one manifest for each signature, which names its subject.

use bytes::Bytes;

use crate::attached::Attached;
use crate::event::Format;
use crate::oci::{Descriptor, Digest, Identifier, Manifest, Pinned, View};
use crate::registry::{Access, ErrorKind};
use crate::sigstore::Bundle;

use super::Job;
use super::document::{EMPTY_BYTES, Signed, bundle_for};
use super::error::Cause;
use super::reading::Again;

/// Whether a referrer of `subject` is a bundle: whether cosign 3 would take it for one.
///
/// It is told by the media type of its layer, as cosign does: what lists call artifact type may be the
/// media type of the config. A list that claims a bundle is believed; then one is written too many.
pub(super) async fn has_bundle(attached: &Attached, subject: &Pinned) -> Result<bool, Cause> {
    // Without a list of tags: one that was read before this run mirrored a bundle would hide it.
    let referrers = attached.referrers(subject, None, Access::PullPush).await?;
    let claims = |descriptor: &Descriptor| {
        let artifact_type = descriptor.artifact_type.as_deref();
        artifact_type.is_some_and(Bundle::is_media_type)
    };
    if referrers
        .iter()
        .any(|referrer| claims(&referrer.descriptor))
    {
        return Ok(true);
    }
    let repository = &subject.repository;
    for referrer in referrers {
        if referrer.descriptor.media_type.is_index() {
            continue;
        }
        let identifier = Identifier::Digest(referrer.descriptor.digest);
        let pulled = attached
            .client()
            .pull_manifest(repository, &identifier, Access::PullPush)
            .await;
        match pulled {
            Ok(manifest) if is_bundle(&manifest) => return Ok(true),
            Ok(_) => {}
            // Listed and not there, or nothing that anybody can read: an answer too.
            Err(error) if matches!(error.kind, ErrorKind::NotFound(_) | ErrorKind::Document(_)) => {
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

fn is_bundle(manifest: &Manifest) -> bool {
    match manifest.view() {
        View::Image(image) => image
            .layers
            .iter()
            .any(|layer| Bundle::is_media_type(layer.media_type.as_str())),
        View::Index(_) => false,
    }
}

impl Job<'_> {
    /// Adds a signature as a referrer with the layer of the tag format. The subject's lock is held.
    pub(super) async fn add_referrer(&self) -> Result<bool, Cause> {
        let annotations = self.own.sign_payload(&self.payload).await?;
        let signed = Signed {
            payload: &self.payload,
            annotations: &annotations,
        };
        let (manifest, config) = signed.referring_to(self.descriptor)?;
        self.attach(&manifest, [self.payload.clone(), config])
            .await?;
        let layer = self.read_back(&manifest, Format::Referrer).await?;
        self.read_back_payload(&layer, Format::Referrer).await?;
        Ok(true)
    }

    /// Adds a signature as a bundle. The subject's lock is held.
    pub(super) async fn add_bundle(&self) -> Result<bool, Cause> {
        let statement = self.statement();
        let signed = self.own.sign_bundle(&statement);
        let bundle = Bytes::from(signed.await?);
        let manifest = bundle_for(self.descriptor, &bundle)?;
        let blobs = [bundle, Bytes::from_static(EMPTY_BYTES)];
        self.attach(&manifest, blobs).await?;
        let layer = self.read_back(&manifest, Format::Bundle).await?;
        self.read_back_bundle(&layer, &statement).await?;
        Ok(true)
    }

    /// Pushes a referrer after its blobs, and has it listed.
    async fn attach(&self, manifest: &Manifest, blobs: [Bytes; 2]) -> Result<(), Cause> {
        for bytes in blobs {
            let repository = &self.subject.repository;
            self.attached.push_blob(repository, bytes).await?;
        }
        self.attached
            .add_referrer(&self.subject, manifest, None)
            .await?;
        Ok(())
    }

    /// Reads `manifest` by way of the list of referrers, as a verifier finds it; gives its layer.
    async fn read_back(&self, manifest: &Manifest, format: Format) -> Result<Descriptor, Cause> {
        let mut again = Again::new(self.attached.client());
        while !self.is_listed(&manifest.digest()).await? {
            again.or(|| Cause::lost(format)).await?;
        }
        let identifier = Identifier::Digest(manifest.digest());
        let repository = &self.subject.repository;
        let mut again = Again::new(self.attached.client());
        let there = loop {
            let client = self.attached.client();
            let pulled = client
                .pull_manifest(repository, &identifier, Access::PullPush)
                .await;
            match pulled {
                Ok(there) => break there,
                Err(error) if matches!(error.kind, ErrorKind::NotFound(_)) => {
                    again.or(|| Cause::lost(format)).await?;
                }
                Err(error) => return Err(error.into()),
            }
        };
        // By its digest it is what was pushed, and that has one layer.
        match there.view() {
            View::Image(image) => image.layers.first().cloned(),
            View::Index(_) => None,
        }
        .ok_or(Cause::lost(format))
    }

    async fn is_listed(&self, digest: &Digest) -> Result<bool, Cause> {
        let referrers = self
            .attached
            .referrers(&self.subject, None, Access::PullPush)
            .await?;
        Ok(referrers
            .iter()
            .any(|referrer| referrer.descriptor.digest == *digest))
    }
}

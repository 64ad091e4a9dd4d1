//! The tag format: one manifest for all signatures of a subject, under a tag that is named after it.

use std::sync::{Mutex, PoisonError};

use crate::attached::{Edit, TagKind, Updated};
use crate::event::Format;
use crate::oci::{self, Descriptor, Digest, Manifest, Tag, View};
use crate::registry::Access;
use crate::sigstore::{SIGNATURE_ANNOTATION, SIMPLE_SIGNING};

use super::Job;
use super::document::Signed;
use super::error::Cause;

impl Job<'_> {
    fn tag(&self) -> Tag {
        TagKind::Signature.of(&self.subject.digest)
    }

    /// Whether the same signature stands under the tag.
    ///
    /// One with the same payload is known by its annotation alone. Others of the same key may say the same
    /// in other bytes (skopeo adds the time), so where there are any, their payloads are read.
    pub(super) async fn stands_under_tag(&self) -> Result<bool, Cause> {
        let kind = TagKind::Signature;
        let there = self
            .attached
            .tagged(&self.subject, kind, Access::PullPush)
            .await?;
        let Some(there) = there else {
            return Ok(false);
        };
        self.check_shape(&there)?;
        if self.own_layer(&there).is_some() {
            return Ok(true);
        }
        if signatures(&there).next().is_none() {
            return Ok(false);
        }
        self.is_found_in(Format::Tag).await
    }

    /// Adds a signature; gives whether it did, or another process with the same key was first.
    pub(super) async fn add_to_tag(&self) -> Result<bool, Cause> {
        let annotations = self.own.sign_payload(&self.payload).await?;
        let signed = Signed {
            payload: &self.payload,
            annotations: &annotations,
        };
        // The manifest that `edit` was content with is the one that stands there: what was read last.
        let found = Mutex::new(None);
        let edit = |there: Option<&Manifest>| -> Result<Option<Edit>, oci::Error> {
            let own = there.and_then(|there| self.own_layer(there)).cloned();
            let is_there = own.is_some();
            *found.lock().unwrap_or_else(PoisonError::into_inner) = own;
            if is_there {
                return Ok(None);
            }
            let (manifest, config) = signed.added_to(there)?;
            let payload = (Digest::sha256(&self.payload), self.payload.clone());
            Ok(Some(Edit {
                blobs: vec![payload, (Digest::sha256(&config), config)],
                manifest: Some(manifest),
            }))
        };
        let repository = &self.subject.repository;
        let updated = self.attached.update(repository, &self.tag(), &edit).await?;
        let layer = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let layer = layer.ok_or(Cause::lost(Format::Tag))?;
        self.read_back_payload(&layer, Format::Tag).await?;
        let own = annotations.get(SIGNATURE_ANNOTATION).map(String::as_str);
        let is_own = layer.annotations.get(SIGNATURE_ANNOTATION) == own;
        Ok(updated == Updated::Written && is_own)
    }

    /// Whether a signature can be added to what stands under the tag.
    fn check_shape(&self, there: &Manifest) -> Result<(), Cause> {
        let what = match there.view() {
            View::Index(_) => "an index",
            View::Image(_) if !there.media_type().is_image() => {
                "an artifact that is no image manifest"
            }
            View::Image(_) => return Ok(()),
        };
        Err(Cause::Occupied {
            tag: self.tag(),
            what,
        })
    }

    /// The layer that has our payload with a good signature of ours.
    fn own_layer<'a>(&self, manifest: &'a Manifest) -> Option<&'a Descriptor> {
        signatures(manifest).find(|layer| {
            layer.digest == layer.digest.of_same_kind(&self.payload)
                && usize::try_from(layer.size) == Ok(self.payload.len())
                && self.own.payload(&self.payload, layer).is_ok()
        })
    }
}

/// The layers of a manifest that are signatures.
fn signatures(manifest: &Manifest) -> impl Iterator<Item = &Descriptor> {
    let layers = match manifest.view() {
        View::Image(image) => image.layers.as_slice(),
        View::Index(_) => &[],
    };
    layers
        .iter()
        .filter(|layer| layer.media_type.as_str() == SIMPLE_SIGNING)
}

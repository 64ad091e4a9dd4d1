//! The places where signatures of a manifest may stand, read one by one.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::attached::{Attached, Referrer, TagKind};
use crate::event::{Failure, Format, Kind};
use crate::limits::signature::{BUNDLE_BYTES_MAX, PAYLOAD_BYTES_MAX, SIGNATURES_MAX};
use crate::oci::{Descriptor, Digest, Identifier, Image, Pinned, View};
use crate::registry::{Access, ErrorKind};
use crate::sigstore::{
    Bundle, COSIGN_SIGN_PREDICATE, PREDICATE_ANNOTATION, SIGNATURE_ANNOTATION, SIGNATURE_CONFIG,
    SIMPLE_SIGNING,
};
use crate::transfer::{kind_of, kind_of_attached};

use super::Search;
use super::bounds::{because, failed};

/// How many payloads are kept: signatures of one payload by several keys, or by one key again and
/// again, are the usual case.
const PAYLOADS_KEPT: usize = 32;
/// The largest that is kept, in bytes: real ones have 250 and their annotations.
const PAYLOAD_KEPT_BYTES: usize = 8 * 1024;

/// Where something was found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// Under the `.sig` tag.
    Tag,
    /// In this referrer.
    Referrer(Digest),
}

/// What came of a place that did not give what was looked for.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It could not be asked, or it has more than is looked at.
    Asking(Failure),
    /// It is larger than any signature that is read.
    Size(Failure),
}

/// Hears of everything that is found; says when it has heard enough.
pub(super) trait Hearer: Send {
    /// A signature in the tag format: the layer that names it, its signature, the signed bytes.
    fn simple(
        &mut self,
        place: Place,
        layer: &Descriptor,
        signature: &str,
        payload: &[u8],
    ) -> ControlFlow<()>;
    /// A bundle.
    fn bundle(&mut self, place: Place, bytes: &[u8]) -> ControlFlow<()>;
    /// A signature that cannot be one, as the registry answered.
    fn unfit(&mut self, place: Place, reason: &str);
    /// Something that stands in the place of signatures and is none; with what there is to say of it.
    fn other(&mut self, place: Place, reason: Option<&str>);
    /// What could not be asked.
    fn trouble(&mut self, place: Place, trouble: Trouble);
}

/// Searches for signatures of `subject`, until `hearer` has heard enough; tells whether it has.
pub(super) async fn gather(
    attached: &Attached,
    subject: &Pinned,
    search: Search,
    hearer: &mut impl Hearer,
) -> bool {
    let mut walk = Walk {
        attached,
        subject,
        search,
        hearer,
        seen: 0,
        payloads: VecDeque::new(),
    };
    if walk.wants(Format::Tag) && walk.tag().await.is_break() {
        return true;
    }
    (walk.wants(Format::Referrer) || walk.wants(Format::Bundle))
        && walk.referrers().await.is_break()
}

struct Walk<'a, H> {
    attached: &'a Attached,
    subject: &'a Pinned,
    search: Search,
    hearer: &'a mut H,
    /// How many signatures were seen.
    seen: usize,
    /// By digest and size: what is declared with another size is not what was read.
    payloads: VecDeque<((Digest, u64), Bytes)>,
}

impl<H: Hearer> Walk<'_, H> {
    fn wants(&self, format: Format) -> bool {
        match self.search {
            Search::Everywhere => true,
            Search::Only(only) => only == format,
        }
    }

    async fn tag(&mut self) -> ControlFlow<()> {
        let found = self
            .attached
            .tagged(self.subject, TagKind::Signature, Access::Pull)
            .await;
        let manifest = match found {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return ControlFlow::Continue(()),
            Err(error) => {
                let tag = TagKind::Signature.of(&self.subject.digest);
                let what = format!("cannot read `{}:{tag}`", self.subject.repository);
                let failure = failed(what, kind_of_attached(&error), &error);
                self.hearer.trouble(Place::Tag, Trouble::Asking(failure));
                return ControlFlow::Continue(());
            }
        };
        match manifest.view() {
            View::Image(image) => self.layers(Place::Tag, image).await,
            View::Index(_) => {
                let reason = "an index stands under the tag of its signatures";
                self.hearer.other(Place::Tag, Some(reason));
                ControlFlow::Continue(())
            }
        }
    }

    async fn referrers(&mut self) -> ControlFlow<()> {
        let found = self
            .attached
            .referrers(self.subject, None, Access::Pull)
            .await;
        let place = Place::Referrer(self.subject.digest);
        let mut referrers = match found {
            Ok(referrers) => referrers,
            Err(error) => {
                let what = format!("cannot list the referrers of `{}`", self.subject);
                let failure = failed(what, kind_of_attached(&error), &error);
                self.hearer.trouble(place, Trouble::Asking(failure));
                return ControlFlow::Continue(());
            }
        };
        if referrers.len() >= SIGNATURES_MAX {
            let failure = self.too_many("referrers");
            self.hearer.trouble(place, Trouble::Asking(failure));
            return ControlFlow::Continue(());
        }
        // Only the order is taken from what the list says of them.
        referrers.sort_by_key(promise);
        for referrer in &referrers {
            self.referrer(&referrer.descriptor).await?;
        }
        ControlFlow::Continue(())
    }

    async fn referrer(&mut self, entry: &Descriptor) -> ControlFlow<()> {
        let place = Place::Referrer(entry.digest);
        let identifier = Identifier::Digest(entry.digest);
        let repository = &self.subject.repository;
        let client = self.attached.client();
        // Also where the registry lists it itself: a list may be older than what it lists.
        let pulled = client.pull_manifest(repository, &identifier, Access::Pull);
        let manifest = match pulled.await {
            Ok(manifest) => manifest,
            Err(error) => {
                if matches!(error.kind, ErrorKind::NotFound(_)) {
                    self.hearer
                        .other(place, Some("it is listed, and is not there"));
                } else {
                    let what = format!("cannot read the referrer `{repository}@{}`", entry.digest);
                    let failure = failed(what, kind_of(&error.kind), &error);
                    self.hearer.trouble(place, Trouble::Asking(failure));
                }
                return ControlFlow::Continue(());
            }
        };
        let View::Image(image) = manifest.view() else {
            self.hearer.other(place, None);
            return ControlFlow::Continue(());
        };
        if !image
            .layers
            .iter()
            .any(|layer| self.format(place, layer).is_some())
        {
            self.hearer.other(place, None);
            return ControlFlow::Continue(());
        }
        match &image.subject {
            Some(subject) if subject.digest == self.subject.digest => {
                self.layers(place, image).await
            }
            Some(subject) => {
                let reason = format!(
                    "it is listed for this manifest, and its subject is `{}`",
                    subject.digest
                );
                self.hearer.other(place, Some(&reason));
                ControlFlow::Continue(())
            }
            None => {
                let reason = "it is listed for this manifest, and has no subject";
                self.hearer.other(place, Some(reason));
                ControlFlow::Continue(())
            }
        }
    }

    /// In which format a layer in this place is a signature.
    fn format(&self, place: Place, layer: &Descriptor) -> Option<Format> {
        let kind = layer.media_type.as_str();
        let format = match place {
            Place::Tag if kind == SIMPLE_SIGNING => Format::Tag,
            Place::Referrer(_) if kind == SIMPLE_SIGNING => Format::Referrer,
            Place::Referrer(_) if Bundle::is_media_type(kind) => Format::Bundle,
            Place::Tag | Place::Referrer(_) => return None,
        };
        self.wants(format).then_some(format)
    }

    async fn layers(&mut self, place: Place, image: &Image) -> ControlFlow<()> {
        let signatures = image
            .layers
            .iter()
            .filter(|layer| self.format(place, layer).is_some())
            .count();
        self.seen = self.seen.saturating_add(signatures);
        if self.seen >= SIGNATURES_MAX {
            let failure = self.too_many("signatures");
            self.hearer.trouble(place, Trouble::Asking(failure));
            return ControlFlow::Continue(());
        }
        for layer in &image.layers {
            match self.format(place, layer) {
                Some(Format::Tag | Format::Referrer) => self.simple(place, layer).await?,
                Some(Format::Bundle) => self.bundle(place, layer, image).await?,
                None => self.hearer.other(place, None),
            }
        }
        ControlFlow::Continue(())
    }

    async fn simple(&mut self, place: Place, layer: &Descriptor) -> ControlFlow<()> {
        let Some(signature) = layer.annotations.get(SIGNATURE_ANNOTATION) else {
            self.hearer
                .unfit(place, &format!("missing {SIGNATURE_ANNOTATION} annotation"));
            return ControlFlow::Continue(());
        };
        let known = self
            .payloads
            .iter()
            .find(|(known, _)| *known == (layer.digest, layer.size))
            .map(|(_, payload)| payload.clone());
        let payload = if let Some(payload) = known {
            // Thousands of signatures of one payload must not hold up others.
            tokio::task::yield_now().await;
            payload
        } else {
            let read = self
                .blob(place, layer, ("payload", PAYLOAD_BYTES_MAX))
                .await;
            let Some(payload) = read else {
                return ControlFlow::Continue(());
            };
            if self.payloads.len() == PAYLOADS_KEPT {
                self.payloads.pop_front();
            }
            if payload.len() <= PAYLOAD_KEPT_BYTES {
                let named = (layer.digest, layer.size);
                self.payloads.push_back((named, payload.clone()));
            }
            payload
        };
        self.hearer.simple(place, layer, signature, &payload)
    }

    async fn bundle(&mut self, place: Place, layer: &Descriptor, image: &Image) -> ControlFlow<()> {
        // Large attestations are common, and must not make a verdict uncertain.
        if layer.size > BUNDLE_BYTES_MAX
            && let Some(predicate) = image.annotations.get(PREDICATE_ANNOTATION)
            && predicate != COSIGN_SIGN_PREDICATE
        {
            self.hearer.other(place, Some(&other_predicate(predicate)));
            return ControlFlow::Continue(());
        }
        match self.blob(place, layer, ("bundle", BUNDLE_BYTES_MAX)).await {
            Some(bytes) => self.hearer.bundle(place, &bytes),
            None => ControlFlow::Continue(()),
        }
    }

    /// A small blob that a manifest names; without it, what came of it was told.
    async fn blob(
        &mut self,
        place: Place,
        layer: &Descriptor,
        (what, limit): (&str, u64),
    ) -> Option<Bytes> {
        let repository = &self.subject.repository;
        let sentence = || format!("cannot read the {what} `{repository}@{}`", layer.digest);
        if layer.size > limit {
            let cause = format!(
                "it is declared with {} bytes, and more than {limit} are not read",
                layer.size
            );
            let failure = because(sentence(), Kind::Unsupported, cause);
            self.hearer.trouble(place, Trouble::Size(failure));
            return None;
        }
        let client = self.attached.client();
        match client.pull_small_blob(repository, layer, limit).await {
            Ok(bytes) => Some(bytes),
            Err(error) if matches!(error.kind, ErrorKind::NotFound(_)) => {
                let reason = format!("its {what} `{}` is not there", layer.digest);
                self.hearer.unfit(place, &reason);
                None
            }
            Err(error) => {
                let failure = failed(sentence(), kind_of(&error.kind), &error);
                self.hearer.trouble(place, Trouble::Asking(failure));
                None
            }
        }
    }

    fn too_many(&self, what: &str) -> Failure {
        let sentence = format!("cannot read the signatures of `{}`", self.subject);
        let cause = format!("it has {SIGNATURES_MAX} {what} or more, which are not searched");
        because(sentence, Kind::Unsupported, cause)
    }
}

/// What is said of a bundle that is no signature.
pub(super) fn other_predicate(predicate: &str) -> String {
    format!("it is a bundle of predicate `{predicate}`, which is no signature")
}

/// How much an entry of a list promises to be a signature; least first. It may lie.
fn promise(referrer: &Referrer) -> u8 {
    let entry = &referrer.descriptor;
    let predicate = entry.annotations.get(PREDICATE_ANNOTATION);
    let kind = entry.artifact_type.as_deref().unwrap_or_default();
    match predicate {
        Some(COSIGN_SIGN_PREDICATE) => 0,
        Some(_) => 3,
        None if kind == SIGNATURE_CONFIG || Bundle::is_media_type(kind) => 0,
        // go-containerregistry gives the config's media type.
        None if kind.is_empty() || kind == "application/vnd.oci.empty.v1+json" => 1,
        None => 2,
    }
}

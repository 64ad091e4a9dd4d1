//! Signatures that the destination has and was not to get: counted, or removed.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::attached::{Edit, TagKind, Updated, layers, relayered};
use crate::event::{Note, Side};
use crate::oci::{self, Descriptor, Digest, Manifest};
use crate::sigstore::PublicKey;

use super::class::{Class, is_layer_by, is_referrer_by, payloads};
use super::{CHILDREN_AT_ONCE, Found, Ordering, Pass, Prune, Walk};
use crate::transfer::error::Error;

impl Walk<'_> {
    /// Looks for the signatures of all that was met, and removes them where that was asked.
    pub(super) async fn prune(&self) -> Result<(), Error> {
        let subjects: Vec<Digest> = self.seen().iter().map(|(digest, _)| *digest).collect();
        stream::iter(subjects)
            .map(Ok)
            .try_for_each_concurrent(CHILDREN_AT_ONCE, |subject| self.prune_one(subject))
            .await
    }

    async fn prune_one(&self, subject: Digest) -> Result<(), Error> {
        let work = async || {
            let tagged = self.prune_tag(subject).await?;
            Ok(Found {
                signatures: tagged + self.prune_referrers(subject).await?,
                ..Found::default()
            })
        };
        let found = self.once(subject, Pass::Prune, work).await?;
        self.present.fetch_add(found.signatures, Ordering::Relaxed);
        Ok(())
    }

    fn removes(&self) -> bool {
        matches!(self.options.prune, Prune::Yes { .. })
    }

    fn kept(&self) -> Option<&PublicKey> {
        match &self.options.prune {
            Prune::Yes { keep } => keep.as_ref(),
            Prune::No => None,
        }
    }

    fn may_have_there(&self, kind: TagKind, subject: &Digest) -> bool {
        let tags = self.there.as_ref();
        tags.is_some_and(|tags| tags.may_have(kind, subject))
    }

    async fn prune_tag(&self, subject: Digest) -> Result<u64, Error> {
        let kind = TagKind::Signature;
        if !self.may_have_there(kind, &subject) {
            return Ok(0);
        }
        if !self.removes() {
            return self.count_tag(Side::Destination, subject).await;
        }
        let Some(there) = self.tagged(Side::Destination, subject, kind).await? else {
            return Ok(0);
        };
        // Whatever else stands there goes by its digest, with all its tags: an image, for all one knows.
        if payloads(&there).next().is_none() {
            self.note(Note::remark(&format!(
                "`{}:{}` holds no signatures, and is not removed",
                self.image.destination,
                kind.of(&subject)
            )));
            return Ok(0);
        }
        let own = self.own_layers(&there, subject).await?;
        // Only what was looked at goes; what somebody adds meanwhile stays.
        let mut doomed: Vec<Descriptor> = payloads(&there).cloned().collect();
        doomed.retain(|layer| !own.contains(layer));
        if doomed.is_empty() {
            return Ok(0);
        }
        let edit = |now: Option<&Manifest>| without(now, |layer| doomed.contains(layer));
        let _work = self.image.watch.pace.work();
        let updated = self
            .attached()
            .update(self.image.destination, &kind.of(&subject), &edit)
            .await;
        match updated.map_err(|error| self.error(Side::Destination, subject, error))? {
            Updated::Written => self.image.removed(),
            Updated::AsItWas => {}
        }
        Ok(u64::try_from(doomed.len()).unwrap_or(u64::MAX))
    }

    /// The layers of `manifest` that the key made which is kept.
    async fn own_layers(
        &self,
        manifest: &Manifest,
        subject: Digest,
    ) -> Result<Vec<Descriptor>, Error> {
        let _work = self.image.watch.pace.work();
        let mut own = Vec::new();
        let Some(key) = self.kept() else {
            return Ok(own);
        };
        let client = self.image.engine.client_on(Side::Destination);
        let place = (&client, self.image.destination);
        for layer in payloads(manifest) {
            let is_own = is_layer_by(key, place, layer, &subject).await;
            if is_own.map_err(|error| self.error(Side::Destination, subject, error))? {
                own.push(layer.clone());
            }
        }
        Ok(own)
    }

    async fn prune_referrers(&self, subject: Digest) -> Result<u64, Error> {
        let destination = self.image.destination;
        if !self.may_have_there(TagKind::Referrers, &subject)
            && !self.attached().may_have_api(destination)
        {
            return Ok(0);
        }
        let (mut count, mut doomed) = (0, Vec::new());
        for referrer in self.list(Side::Destination, subject).await? {
            let opened = self.open(Side::Destination, subject, &referrer).await?;
            let Some((manifest, _leaf)) = opened else {
                continue;
            };
            match self.class(Side::Destination, subject, &manifest).await? {
                Class::Other | Class::Unknown => {}
                Class::Signature(signatures) => {
                    if !self.is_own(&manifest, subject).await? {
                        count += signatures;
                        doomed.push(manifest.digest());
                    }
                }
            }
        }
        if self.removes() && !doomed.is_empty() {
            let _work = self.image.watch.pace.work();
            let subject_there = self.at(Side::Destination, subject);
            let removed = self
                .attached()
                .remove_referrers(&subject_there, &doomed)
                .await;
            removed.map_err(|error| self.error(Side::Destination, subject, error))?;
            self.image.removed();
        }
        Ok(count)
    }

    async fn is_own(&self, manifest: &Manifest, subject: Digest) -> Result<bool, Error> {
        let _work = self.image.watch.pace.work();
        let Some(key) = self.kept() else {
            return Ok(false);
        };
        let client = self.image.engine.client_on(Side::Destination);
        let place = (&client, self.image.destination);
        let is_own = is_referrer_by(key, place, manifest, &subject).await;
        is_own.map_err(|error| self.error(Side::Destination, subject, error))
    }
}

/// What stands under the tag now, without the layers that are `doomed`; the tag goes with the last one.
fn without(
    now: Option<&Manifest>,
    doomed: impl Fn(&Descriptor) -> bool,
) -> Result<Option<Edit>, oci::Error> {
    let Some(now) = now else { return Ok(None) };
    let gone = Edit {
        blobs: Vec::new(),
        manifest: None,
    };
    if !now.media_type().is_image() {
        return Ok(None);
    }
    let all = layers(now)?;
    let kept = all.iter().filter(|layer| !doomed(&layer.descriptor));
    let kept = kept.count();
    if kept == all.len() {
        return Ok(None);
    }
    if kept == 0 {
        return Ok(Some(gone));
    }
    let (manifest, config) = relayered(now, &|layer| !doomed(layer), &[])?;
    Ok(Some(Edit {
        blobs: vec![(Digest::sha256(&config), config)],
        manifest: Some(manifest),
    }))
}

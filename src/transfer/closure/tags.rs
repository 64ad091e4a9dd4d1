//! cosign's tags: joined with what the destination has, so that nobody's signature is lost.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::attached::{Edit, Layer, TagKind, Updated, layers, relayered};
use crate::event::{Note, Side};
use crate::oci::{self, Digest, Identifier, Manifest, Reason, Tag, entries_of, with_referrers};
use crate::registry::{Access, ErrorKind, Resolved};

use super::{Asks, Found, Next, TAGS, Walk, layers_of};
use crate::transfer::OnExisting;
use crate::transfer::error::{Cause, Error};

/// What the source has under a tag, beside what the destination has.
#[derive(Debug)]
enum Compared {
    /// The destination has all of it.
    Enough,
    /// The source has all that the destination has, and more; or the destination has nothing.
    More,
    /// Each has layers that the other one has not; all of them, and their config.
    Both(Manifest, Bytes),
    /// They are two different things, of which one may take the place of the other.
    Apart,
    /// They are two different things, and what the destination has may be signatures that nobody else has.
    Unjoinable,
}

impl Compared {
    fn of(kind: TagKind, here: &Manifest, there: Option<&Manifest>) -> Result<Self, oci::Error> {
        let Some(there) = there else {
            return Ok(Self::More);
        };
        if here.digest() == there.digest() {
            return Ok(Self::Enough);
        }
        let joins = match kind {
            TagKind::Signature | TagKind::Attestation => true,
            TagKind::Sbom | TagKind::Referrers => false,
        };
        // Docker's media type and OCI's have the same layers (COSIGN_DOCKER_MEDIA_TYPES).
        match (here.media_type().is_image(), there.media_type().is_image()) {
            (true, true) if joins => {}
            (false, true) if joins => return Ok(Self::Unjoinable),
            (true | false, true | false) => return Ok(Self::Apart),
        }
        let (own, old) = (layers(here)?, layers(there)?);
        let missing = own.iter().filter(|layer| !has(&old, layer));
        let missing: Vec<String> = missing.map(|layer| layer.raw.get().to_owned()).collect();
        if missing.is_empty() {
            return Ok(Self::Enough);
        }
        if old.iter().all(|layer| has(&own, layer)) {
            return Ok(Self::More);
        }
        let (joined, config) = relayered(there, &|_| true, &missing)?;
        Ok(Self::Both(joined, config))
    }

    /// What has to be written.
    ///
    /// # Errors
    ///
    /// When signatures would have to be overwritten.
    fn edit(self, here: &Manifest, on_existing: OnExisting) -> Result<Option<Edit>, oci::Error> {
        let whole = || Edit {
            blobs: Vec::new(),
            manifest: Some(here.clone()),
        };
        Ok(match self {
            Self::Enough => None,
            Self::More => Some(whole()),
            Self::Both(joined, config) => Some(Edit {
                blobs: vec![(Digest::sha256(&config), config)],
                manifest: Some(joined),
            }),
            Self::Apart => (on_existing == OnExisting::Replace).then(whole),
            Self::Unjoinable => match on_existing {
                OnExisting::Keep => None,
                OnExisting::Replace | OnExisting::Fail => return Err(unjoinable(here)),
            },
        })
    }
}

/// Signatures, or attestations, are never overwritten, whatever `--on-existing` says of images.
fn unjoinable(here: &Manifest) -> oci::Error {
    let reason = "the destination has something else under its tag, which it cannot be joined with, \
                  and which is not overwritten";
    let digest = here.digest().to_string();
    oci::Error::new("addition", &digest, Reason::Grammar(reason))
}

/// The change of what stands under `tag`, which a line names itself, that brings `here` and loses nothing;
/// `None` in place of the whole where `tag` is a tag like any other.
///
/// # Errors
///
/// Where `here` cannot be joined with what stands there.
pub(in crate::transfer) fn joining<'a>(
    tag: &Tag,
    here: &'a Manifest,
) -> Option<impl Fn(Option<&Manifest>) -> Result<Option<Edit>, oci::Error> + Send + Sync + 'a> {
    let kind = TagKind::of_name(tag.as_str())?;
    let is_joined = match kind {
        TagKind::Signature | TagKind::Attestation => true,
        TagKind::Sbom => false,
        // An image may have a tag of its own digest, which is no list.
        TagKind::Referrers => here.as_index().is_some() && kind.of(&here.digest()) != *tag,
    };
    let edit = move |there: Option<&Manifest>| match (kind, there) {
        (TagKind::Referrers, Some(there)) => {
            let entries = entries_of(here)?;
            let entries: Vec<&RawValue> = entries.iter().map(|(_, entry)| &**entry).collect();
            let list = with_referrers(Some(there), &entries)?;
            Ok((list.raw() != there.raw()).then(|| Edit {
                blobs: Vec::new(),
                manifest: Some(list),
            }))
        }
        (TagKind::Signature | TagKind::Attestation | TagKind::Sbom | TagKind::Referrers, there) => {
            Compared::of(kind, here, there)?.edit(here, OnExisting::Replace)
        }
    };
    is_joined.then_some(edit)
}

/// Whether `layers` have `layer`: the same bytes, and the same said of them, as the signature is.
fn has(layers: &[Layer<'_>], layer: &Layer<'_>) -> bool {
    layers.iter().any(|other| {
        other.descriptor.digest == layer.descriptor.digest
            && other.descriptor.annotations == layer.descriptor.annotations
    })
}

impl Walk<'_> {
    /// Brings what stands under the tag of `kind` for `subject`, or leaves it.
    pub(super) async fn tag(
        &self,
        subject: Digest,
        kind: TagKind,
        found: &mut Found,
    ) -> Result<(), Error> {
        if self.strips() && kind == TagKind::Signature {
            found.signatures += self.count_tag(Side::Source, subject).await?;
            return Ok(());
        }
        let Some(here) = self.resolve(Side::Source, subject, kind).await? else {
            if self.tags.has(kind, &subject) {
                self.note(Note::remark(&format!(
                    "the tag `{}:{}` is listed and is not there",
                    self.image.source,
                    kind.of(&subject)
                )));
            }
            return Ok(());
        };
        let next = Next {
            digest: here.digest,
            media_type: here.media_type,
            asks: Asks::Tags,
        };
        let there = self.resolve(Side::Destination, subject, kind).await?;
        if there
            .as_ref()
            .is_none_or(|there| there.digest != next.digest)
        {
            self.join(subject, kind, next.digest, there.as_ref())
                .await?;
        }
        // Most have nothing, and cost nothing then.
        let is_named = |kind: &TagKind| self.tags.may_have(*kind, &next.digest);
        if TAGS.iter().chain(&[TagKind::Referrers]).any(is_named) {
            found.next.push(next);
        }
        Ok(())
    }

    /// What stands under the tag of `kind` for `subject`, without its bytes.
    pub(super) async fn resolve(
        &self,
        side: Side,
        subject: Digest,
        kind: TagKind,
    ) -> Result<Option<Resolved>, Error> {
        let _work = self.image.watch.pace.work();
        let access = match side {
            Side::Source => Access::Pull,
            Side::Destination => Access::PullPush,
        };
        let identifier = Identifier::Tag(kind.of(&subject));
        let found = self
            .client()
            .resolve(self.repository(side), &identifier, access)
            .await;
        found.map_err(|error| self.error(side, subject, error))
    }

    /// How many signatures stand under the tag for `subject`.
    pub(super) async fn count_tag(&self, side: Side, subject: Digest) -> Result<u64, Error> {
        let found = self.tagged(side, subject, TagKind::Signature).await;
        match found {
            Ok(found) => Ok(found.as_ref().map_or(0, layers_of)),
            // Something is there, whatever it is.
            Err(error) if is_document(&error) => Ok(1),
            Err(error) => Err(error),
        }
    }

    /// What stands under the tag of `kind` for `subject`.
    pub(super) async fn tagged(
        &self,
        side: Side,
        subject: Digest,
        kind: TagKind,
    ) -> Result<Option<Manifest>, Error> {
        let _work = self.image.watch.pace.work();
        let access = match side {
            Side::Source => Access::Pull,
            Side::Destination => Access::PullPush,
        };
        let subject = self.at(side, subject);
        let found = self.attached().tagged(&subject, kind, access).await;
        found.map_err(|error| self.error(side, subject.digest, error))
    }

    /// Brings the manifest `here` for the tag, beside what stands there.
    async fn join(
        &self,
        subject: Digest,
        kind: TagKind,
        here: Digest,
        there: Option<&Resolved>,
    ) -> Result<(), Error> {
        let leaf = self.leaf(Side::Source).await;
        let (here, old) = {
            let _work = self.image.watch.pace.work();
            let identifier = Identifier::Digest(here);
            let pulled = self
                .client()
                .pull_manifest(self.image.source, &identifier, Access::Pull)
                .await;
            let here = pulled.map_err(|error| self.error(Side::Source, subject, error))?;
            let old = match there {
                Some(_) => self.tagged(Side::Destination, subject, kind).await?,
                None => None,
            };
            (here, old)
        };
        let compare = |there: Option<&Manifest>| Compared::of(kind, &here, there);
        let document = |error| self.error(Side::Source, subject, Cause::Document(error));
        let on_existing = self.options.on_existing;
        match compare(old.as_ref()).map_err(document)? {
            Compared::Enough => return Ok(()),
            Compared::More | Compared::Both(..) => {}
            Compared::Unjoinable => match on_existing {
                OnExisting::Keep => return Ok(()),
                OnExisting::Replace | OnExisting::Fail => {
                    let cause = Cause::Document(unjoinable(&here));
                    return Err(self.error(Side::Destination, subject, cause));
                }
            },
            Compared::Apart => match (on_existing, &old) {
                (OnExisting::Replace, _) | (_, None) => {}
                (OnExisting::Keep, Some(_)) => return Ok(()),
                (OnExisting::Fail, Some(old)) => {
                    let there = old.digest();
                    return Err(self.error(Side::Destination, subject, Cause::Exists { there }));
                }
            },
        }
        drop(old);
        // An index waits for leaves, so it must not be one. All blobs are brought, for what stands there
        // may have changed until the tag is written.
        let leaf = leaf.filter(|_| here.as_index().is_none());
        self.image.bring_below(&here, None, 1).await?;
        self.image.push_root().await?;
        let _work = self.image.watch.pace.work();
        let edit = |there: Option<&Manifest>| compare(there)?.edit(&here, on_existing);
        let updated = self
            .attached()
            .update(self.image.destination, &kind.of(&subject), &edit)
            .await;
        match updated.map_err(|error| self.error(Side::Destination, subject, error))? {
            Updated::Written => self.image.pushed(1),
            Updated::AsItWas => {}
        }
        drop(leaf);
        Ok(())
    }
}

/// Whether something was served that is no manifest.
fn is_document(error: &Error) -> bool {
    match &error.cause {
        Cause::Registry(error) => matches!(error.kind, ErrorKind::Document(_)),
        Cause::Document(_) => true,
        Cause::Absent
        | Cause::Moved { .. }
        | Cause::Platform { .. }
        | Cause::Exists { .. }
        | Cause::Loss { .. }
        | Cause::Limit(_)
        | Cause::Disagrees { .. }
        | Cause::Attached(_)
        | Cause::Finish(_) => false,
    }
}

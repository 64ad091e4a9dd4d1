//! Referrers: bytes as they are, listed at the destination as it lists them.

use std::collections::HashSet;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::value::RawValue;

use crate::attached::Referrer;
use crate::event::{Note, Side};
use crate::limits::image::MANIFEST_BYTES_MAX;
use crate::oci::{Digest, Identifier, Manifest, View};
use crate::registry::{Access, ErrorKind};

use super::class::{Class, class};
use super::{Asks, Found, Next, Walk};
use crate::transfer::error::{Cause, Error};

/// Referrers of one subject under way at once; subjects are under way beside each other too.
const AT_ONCE: usize = 4;
/// Referrers that are listed with one update of a fallback tag.
const BATCH: usize = 16;
/// The largest manifest that waits for others to be listed with it, in bytes; real ones have less
/// than 2 KiB. A larger one is listed by itself, under the bound of what is held at once.
const SMALL_BYTES_MAX: u64 = 16 * 1024;

/// What became of one referrer.
enum Met {
    /// It does not travel; holds so many signatures that stay.
    Left(u64),
    /// It is at the destination and listed there.
    There(Next),
    /// Its blobs are there; it is to be pushed and listed.
    New(Next, Manifest, Option<Box<RawValue>>),
}

impl Walk<'_> {
    /// Brings the referrers of `subject`.
    pub(super) async fn referrers(&self, subject: Digest, found: &mut Found) -> Result<(), Error> {
        let listed = self.list(Side::Source, subject).await?;
        if listed.is_empty() {
            return Ok(());
        }
        let there = self.list(Side::Destination, subject).await?;
        let there: HashSet<Digest> = there.iter().map(|one| one.descriptor.digest).collect();
        for batch in listed.chunks(BATCH) {
            let met: Vec<Met> = stream::iter(batch.to_vec())
                .map(|referrer| {
                    let is_there = there.contains(&referrer.descriptor.digest);
                    self.referrer(subject, referrer, is_there)
                })
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            let mut new = Vec::new();
            for one in met {
                match one {
                    Met::Left(signatures) => found.signatures += signatures,
                    Met::There(next) => found.next.push(next),
                    Met::New(next, manifest, entry) => {
                        found.next.push(next);
                        new.push((manifest, entry));
                    }
                }
            }
            self.add(subject, &new).await?;
        }
        Ok(())
    }

    /// All referrers of `subject`, each once. The first to ask of a repository asks alone: where there is no
    /// API, the others need not ask.
    pub(super) async fn list(&self, side: Side, subject: Digest) -> Result<Vec<Referrer>, Error> {
        let mut first = None;
        let repository = self.repository(side);
        let waiting = |begins| self.image.watch.pace.waiting(begins);
        let ask = async || {
            first = Some(self.list_now(side, subject).await?);
            Ok(())
        };
        self.image
            .engine
            .asked
            .run(repository, waiting, ask)
            .await?;
        let mut listed = match first {
            Some(listed) => listed,
            None => self.list_now(side, subject).await?,
        };
        let mut seen = HashSet::new();
        listed.retain(|one| seen.insert(one.descriptor.digest));
        Ok(listed)
    }

    async fn list_now(&self, side: Side, subject: Digest) -> Result<Vec<Referrer>, Error> {
        let _work = self.image.watch.pace.work();
        let (tags, access) = match side {
            Side::Source => (Some(&self.tags), Access::Pull),
            Side::Destination => (self.there.as_ref(), Access::PullPush),
        };
        let pinned = self.at(side, subject);
        let listed = self.attached().referrers(&pinned, tags, access).await;
        listed.map_err(|error| self.error(side, subject, error))
    }

    /// Deals with one referrer up to its manifest.
    async fn referrer(
        &self,
        subject: Digest,
        referrer: Referrer,
        is_there: bool,
    ) -> Result<Met, Error> {
        let next = Next {
            digest: referrer.descriptor.digest,
            media_type: referrer.descriptor.media_type.clone(),
            asks: Asks::All,
        };
        // Whether something is a signature only its own bytes tell.
        if is_there && !self.strips() {
            return Ok(Met::There(next));
        }
        let opened = self.open(Side::Source, subject, &referrer).await?;
        let Some((manifest, leaf)) = opened else {
            return Ok(Met::Left(0));
        };
        if self.strips() {
            match self.class(Side::Source, subject, &manifest).await? {
                Class::Signature(count) => return Ok(Met::Left(count)),
                Class::Unknown => {
                    self.note(Note::remark(&format!(
                        "`{}` holds a bundle that cannot be read, so it may be a signature and is \
                         left behind",
                        self.at(Side::Source, next.digest)
                    )));
                    return Ok(Met::Left(0));
                }
                Class::Other => {}
            }
        }
        let next = Next {
            media_type: manifest.media_type().clone(),
            ..next
        };
        if is_there {
            return Ok(Met::There(next));
        }
        // An index waits for leaves, so it must not be one.
        let leaf = leaf.filter(|_| manifest.as_index().is_none());
        self.image.bring_below(&manifest, None, 1).await?;
        // An entry that says something else than the manifest is made anew from it.
        let descriptor = &referrer.descriptor;
        let is_true =
            descriptor.size == manifest.size() && descriptor.media_type == *manifest.media_type();
        let entry = is_true.then_some(referrer.raw);
        if manifest.size() > SMALL_BYTES_MAX {
            self.add(subject, &[(manifest, entry)]).await?;
            drop(leaf);
            return Ok(Met::There(next));
        }
        Ok(Met::New(next, manifest, entry))
    }

    /// The manifest of a referrer of `subject`, and its place among those that are held at once; `None`
    /// for one that is gone, or that speaks of something else.
    pub(super) async fn open(
        &self,
        side: Side,
        subject: Digest,
        referrer: &Referrer,
    ) -> Result<Option<(Manifest, Leaf)>, Error> {
        let _work = self.image.watch.pace.work();
        let entry = &referrer.descriptor;
        let error = |cause: Cause| self.error(side, subject, cause);
        let limit = u64::try_from(MANIFEST_BYTES_MAX).unwrap_or(u64::MAX);
        if entry.size > limit {
            return Err(error(Cause::Limit("4 MiB in one manifest")));
        }
        let leaf = self.leaf(side).await;
        let repository = self.repository(side);
        let identifier = Identifier::Digest(entry.digest);
        let pulled = self
            .client()
            .pull_manifest(repository, &identifier, Access::Pull)
            .await;
        let manifest = match pulled {
            Ok(manifest) => manifest,
            Err(cause) if matches!(cause.kind, ErrorKind::NotFound(_)) => {
                self.note(Note::remark(&format!(
                    "`{}` is listed as a referrer of `{subject}` and is not there",
                    self.at(side, entry.digest)
                )));
                return Ok(None);
            }
            Err(cause) => return Err(error(cause.into())),
        };
        let named = match manifest.view() {
            View::Image(image) => image.subject.as_ref(),
            View::Index(index) => index.subject.as_ref(),
        };
        if named.is_none_or(|named| named.digest != subject) {
            self.note(Note::remark(&format!(
                "`{}` is listed as a referrer of `{subject}` and speaks of something else",
                self.at(side, entry.digest)
            )));
            return Ok(None);
        }
        Ok(Some((manifest, leaf)))
    }

    /// What the referrer `manifest` of `subject` is.
    pub(super) async fn class(
        &self,
        side: Side,
        subject: Digest,
        manifest: &Manifest,
    ) -> Result<Class, Error> {
        let _work = self.image.watch.pace.work();
        let client = self.image.engine.client_on(side);
        let class = class(&client, self.repository(side), manifest).await;
        class.map_err(|cause| self.error(side, subject, cause))
    }

    /// Pushes referrers of `subject`, whose blobs are there, and lists them.
    async fn add(
        &self,
        subject: Digest,
        new: &[(Manifest, Option<Box<RawValue>>)],
    ) -> Result<(), Error> {
        if new.is_empty() {
            return Ok(());
        }
        self.image.push_root().await?;
        let _work = self.image.watch.pace.work();
        let there = self.at(Side::Destination, subject);
        let new: Vec<(&Manifest, Option<&RawValue>)> = new
            .iter()
            .map(|(manifest, entry)| (manifest, entry.as_deref()))
            .collect();
        let added = self.attached().add_referrers(&there, &new).await;
        added.map_err(|error| self.error(Side::Destination, subject, error))?;
        self.image.pushed(new.len());
        Ok(())
    }
}

/// A place among the manifests that are held at once.
type Leaf = Option<tokio::sync::OwnedSemaphorePermit>;

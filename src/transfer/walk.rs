//! One walk of an image's graph: blobs, children, then the manifest that names them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

use crate::attached::Editor;
use crate::event::{Note, Side, Stage, Tally};
use crate::limits::image::{IMAGE_MANIFESTS_MAX, INDEX_DEPTH_MAX, MANIFEST_BYTES_MAX};
use crate::oci::{Descriptor, Digest, Identifier, Manifest, Pinned, Repository, Tag, View};
use crate::registry::Access;

use super::closure::tags::joining;
use super::error::{Cause, Error, Subject};
use super::{Before, Engine, Thing, Wanted, Watch};

/// Children, and blobs of one manifest, under way at once; requests are bounded per registry.
pub(super) const CHILDREN_AT_ONCE: usize = 16;

/// The walk of one job.
pub(super) struct Walk<'a> {
    pub(super) engine: &'a Engine,
    pub(super) source: &'a Repository,
    pub(super) destination: &'a Repository,
    pub(super) before: Before,
    pub(super) watch: Watch<'a>,
    /// A small blob that was read already.
    pub(super) known: Option<(Digest, Bytes)>,
    /// What shall stand at the destination; `None` where it does.
    pub(super) root: Option<&'a Wanted>,
    /// Whether the root was pushed by its digest.
    rooted: OnceCell<()>,
    seen: AtomicU64,
    pub(super) counts: Counts,
    /// Whether the closure changed something.
    wrote: AtomicBool,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) copied: AtomicU64,
    pub(super) mounted: AtomicU64,
    pub(super) present: AtomicU64,
    pushed: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// How much of what a manifest names was brought before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    All,
    Some,
}

impl Wanted {
    fn parts(&self) -> Parts {
        // An index of which a part was selected, and that was not made anew.
        if self.only.is_some() && self.changed.is_none() {
            Parts::Some
        } else {
            Parts::All
        }
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        source: &'a Repository,
        destination: &'a Repository,
        before: Before,
        watch: Watch<'a>,
    ) -> Self {
        Self {
            engine,
            source,
            destination,
            before,
            watch,
            known: None,
            root: None,
            rooted: OnceCell::new(),
            seen: AtomicU64::new(0),
            counts: Counts::default(),
            wrote: AtomicBool::new(false),
        }
    }

    /// What moved so far.
    pub(super) fn tally(&self) -> Tally {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally {
            blobs_copied: read(&self.counts.copied),
            blobs_mounted: read(&self.counts.mounted),
            blobs_present: read(&self.counts.present),
            manifests_pushed: read(&self.counts.pushed),
            bytes: read(&self.counts.bytes),
        }
    }

    /// Whether something that is attached was written or removed.
    pub(super) fn has_written(&self) -> bool {
        self.wrote.load(Ordering::Relaxed)
    }

    /// Something that is attached was removed.
    pub(super) fn removed(&self) {
        self.wrote.store(true, Ordering::Relaxed);
    }

    /// So many manifests that are attached were written.
    pub(super) fn pushed(&self, manifests: usize) {
        let manifests = u64::try_from(manifests).unwrap_or(u64::MAX);
        self.counts.pushed.fetch_add(manifests, Ordering::Relaxed);
        self.wrote.store(true, Ordering::Relaxed);
    }

    /// Brings all that the root names and that is wanted.
    pub(super) async fn bring_parts(&self) -> Result<(), Error> {
        // In one and the same repository everything below the tag is where it shall be.
        match self.root.filter(|_| self.source != self.destination) {
            Some(root) => {
                self.bring_below(&root.manifest, root.only.as_deref(), 0)
                    .await
            }
            None => Ok(()),
        }
    }

    /// Pushes the root by its digest, unless it stands there: before anything that speaks of it.
    pub(super) async fn push_root(&self) -> Result<(), Error> {
        let Some(root) = self.root else { return Ok(()) };
        let identifier = Identifier::Digest(root.manifest.digest());
        self.rooted
            .get_or_try_init(|| self.push(&identifier, &root.manifest, root.parts()))
            .await
            .copied()
    }

    /// Sets the root under `identifier`: the last that is written.
    pub(super) async fn set_root(&self, identifier: &Identifier) -> Result<(), Error> {
        let Some(root) = self.root else { return Ok(()) };
        let joining = match identifier {
            Identifier::Tag(tag) => joining(tag, &root.manifest).map(|edit| (tag, edit)),
            Identifier::Digest(_) => None,
        };
        if let Some((tag, edit)) = joining {
            self.push_root().await?;
            self.join_root(root, tag, &edit).await?;
        } else if matches!(identifier, Identifier::Tag(_)) || !self.rooted.initialized() {
            self.push(identifier, &root.manifest, root.parts()).await?;
        }
        // One manifest, even where it was written under its digest before.
        self.counts.pushed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Sets the root under a tag that is named after another manifest, and that others write too: beside
    /// what stands there.
    async fn join_root(&self, root: &Wanted, tag: &Tag, edit: &Editor<'_>) -> Result<(), Error> {
        let _work = self.watch.pace.work();
        let is_joined = AtomicBool::new(false);
        let edit = |there: Option<&Manifest>| {
            let is_other = there.is_some_and(|there| there.digest() != root.manifest.digest());
            is_joined.store(is_other, Ordering::Relaxed);
            edit(there)
        };
        let updated = self.engine.attached.update(self.destination, tag, &edit);
        updated.await.map_err(|error| Error {
            side: Side::Destination,
            stage: Stage::Transfer,
            subject: Subject::Manifest(Box::new(Pinned {
                repository: self.destination.clone(),
                digest: root.manifest.digest(),
            })),
            cause: error.into(),
        })?;
        if is_joined.into_inner() {
            (self.watch.note)(Note::remark(&format!(
                "joined with what `{}:{tag}` has, which is more",
                self.destination
            )));
        }
        Ok(())
    }

    /// Brings everything that `manifest` names, or of an index the entries in `only`.
    pub(super) async fn bring_below(
        &self,
        manifest: &Manifest,
        only: Option<&[Digest]>,
        depth: usize,
    ) -> Result<(), Error> {
        match manifest.view() {
            View::Index(index) => {
                let wanted =
                    |entry: &&Descriptor| only.is_none_or(|only| only.contains(&entry.digest));
                let count = index.manifests.iter().filter(wanted).count();
                self.count(manifest, u64::try_from(count).unwrap_or(u64::MAX))?;
                // Indexes in indexes go one by one, or each level would multiply what is held.
                let at_once = if depth == 0 { CHILDREN_AT_ONCE } else { 1 };
                stream::iter(index.manifests.iter().filter(wanted))
                    .map(Ok)
                    .try_for_each_concurrent(at_once, |entry| self.child(entry, depth + 1))
                    .await
            }
            View::Image(image) => {
                let mut blobs: Vec<&Descriptor> = image.blobs().collect();
                // The largest first, so that it does not end the image alone.
                blobs.sort_by_key(|blob| (std::cmp::Reverse(blob.size), blob.digest));
                blobs.dedup_by_key(|blob| blob.digest);
                stream::iter(blobs)
                    .map(Ok)
                    .try_for_each_concurrent(CHILDREN_AT_ONCE, |blob| self.blob(blob))
                    .await
            }
        }
    }

    /// Counts the entries of `index` that are wanted, before any of them is asked for.
    fn count(&self, index: &Manifest, entries: u64) -> Result<(), Error> {
        let before = self.seen.fetch_add(entries, Ordering::Relaxed);
        if before.saturating_add(entries) <= IMAGE_MANIFESTS_MAX {
            return Ok(());
        }
        Err(Error {
            side: Side::Source,
            stage: Stage::Transfer,
            subject: Subject::Manifest(Box::new(Pinned {
                repository: self.source.clone(),
                digest: index.digest(),
            })),
            cause: Cause::Limit("10,000 manifests"),
        })
    }

    /// Brings a manifest that an index names, with all below it, once per run and repository.
    fn child<'b>(
        &'b self,
        entry: &'b Descriptor,
        depth: usize,
    ) -> BoxFuture<'b, Result<(), Error>> {
        async move {
            let at_source = |cause| self.manifest_error(Side::Source, entry, cause);
            if depth > INDEX_DEPTH_MAX {
                return Err(at_source(Cause::Limit("4 levels of indexes")));
            }
            let known = &self.engine.known;
            let key = known.thing(self.destination, Thing::Manifest, entry.digest);
            let waiting = |begins| self.watch.pace.waiting(begins);
            known
                .present
                .run(&key, waiting, async || self.bring_child(entry, depth).await)
                .await
                .map(drop)
        }
        .boxed()
    }

    async fn bring_child(&self, entry: &Descriptor, depth: usize) -> Result<(), Error> {
        let at = |side| move |cause| self.manifest_error(side, entry, cause);
        let identifier = Identifier::Digest(entry.digest);
        let limit = u64::try_from(MANIFEST_BYTES_MAX).unwrap_or(u64::MAX);
        if entry.size > limit {
            return Err(at(Side::Source)(Cause::Limit("4 MiB in one manifest")));
        }
        let (manifest, leaf) = {
            let _work = self.watch.pace.work();
            if self.before == Before::Something {
                // A registry that has a manifest has all below it.
                let found = self
                    .engine
                    .client
                    .resolve(self.destination, &identifier, Access::PullPush)
                    .await;
                if found
                    .map_err(|error| at(Side::Destination)(error.into()))?
                    .is_some()
                {
                    return Ok(());
                }
            }
            // Held while the blobs come; the semaphore is never closed.
            let leaf = self
                .engine
                .leaves(self.source.registry())
                .acquire_owned()
                .await
                .ok();
            let pulled = self
                .engine
                .client
                .pull_manifest(self.source, &identifier, Access::Pull)
                .await;
            let manifest = pulled.map_err(|error| at(Side::Source)(error.into()))?;
            // An index waits for leaves, so it must not be one.
            let leaf = leaf.filter(|_| manifest.as_index().is_none());
            (manifest, leaf)
        };
        if manifest.size() != entry.size || *manifest.media_type() != entry.media_type {
            return Err(at(Side::Source)(Cause::Disagrees {
                said: format!("{} of {} bytes", entry.media_type, entry.size),
                is: format!("{} of {} bytes", manifest.media_type(), manifest.size()),
            }));
        }
        self.bring_below(&manifest, None, depth).await?;
        drop(leaf);
        self.push(&identifier, &manifest, Parts::All).await?;
        self.counts.pushed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Pushes a manifest; again where it misses what was brought. Registries with replicas may lag,
    /// and distribution 2.8 takes a blob for missing while somebody else pushes the same one.
    async fn push(
        &self,
        identifier: &Identifier,
        manifest: &Manifest,
        parts: Parts,
    ) -> Result<(), Error> {
        let _work = self.watch.pace.work();
        let client = &self.engine.client;
        let retry = client.retry();
        let mut attempt = 1;
        loop {
            let pushed = client.push_manifest(self.destination, identifier, manifest);
            let Err(mut error) = pushed.await else { break };
            let again = parts == Parts::All && error.kind.is_missing_parts();
            if !again || attempt >= retry.attempts {
                error.attempts = error.attempts.max(attempt);
                return Err(Error {
                    side: Side::Destination,
                    stage: Stage::Transfer,
                    subject: Subject::Manifest(Box::new(Pinned {
                        repository: self.destination.clone(),
                        digest: manifest.digest(),
                    })),
                    cause: error.into(),
                });
            }
            tracing::debug!(digest = %manifest.digest(), attempt, %error, "pushing a manifest again");
            tokio::time::sleep(retry.pause_after(attempt)).await;
            attempt += 1;
        }
        Ok(())
    }

    fn manifest_error(&self, side: Side, entry: &Descriptor, cause: Cause) -> Error {
        Error {
            side,
            stage: Stage::Transfer,
            subject: Subject::Manifest(Box::new(self.pinned(side, entry))),
            cause,
        }
    }

    pub(super) fn pinned(&self, side: Side, descriptor: &Descriptor) -> Pinned {
        let repository = match side {
            Side::Source => self.source,
            Side::Destination => self.destination,
        };
        Pinned {
            repository: repository.clone(),
            digest: descriptor.digest,
        }
    }
}

//! What is attached to the manifests of an image, on its way with them.
//!
//! A worklist, level by level: the root and what is attached to it, its manifests and what is attached
//! to them, then what is attached to that. Each manifest is dealt with once per run, source and
//! destination. Nothing is asked that cannot be there, and nothing is written before the root stands
//! at the destination under its digest; the tag of the image comes after all of it.

mod class;
mod prune;
mod referrers;
pub(super) mod tags;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::OwnedSemaphorePermit;

use crate::attached::{Attached, TagKind, Tags};
use crate::event::{Note, Side, Signing, Stage};
use crate::limits::image::{IMAGE_MANIFESTS_MAX, INDEX_DEPTH_MAX};
use crate::oci::{Descriptor, Digest, Identifier, Manifest, MediaType, Pinned, Repository, View};
use crate::registry::{Access, Client};

use super::error::{Cause, Error, Subject};
use super::walk::{self, CHILDREN_AT_ONCE};
use super::{Closure, Options, Pass, Prune, There, registry_side};

use class::Class;

/// The tags that are named after a manifest and say something of it.
const TAGS: [TagKind; 3] = [TagKind::Signature, TagKind::Attestation, TagKind::Sbom];

/// The closure of one image, for one job.
pub(super) struct Walk<'a> {
    image: &'a walk::Walk<'a>,
    options: &'a Options,
    root: &'a There,
    /// The tags of the source repository.
    tags: Tags,
    /// Those of the destination repository, where signatures are left behind.
    there: Option<Tags>,
    /// What was met.
    seen: Mutex<HashSet<(Digest, Asks)>>,
    /// Signatures that were left behind.
    left: AtomicU64,
    /// Signatures that the destination has, or had.
    present: AtomicU64,
}

/// What was found attached to one manifest, and is to be looked at in its turn.
#[derive(Debug, Default)]
pub(super) struct Found {
    next: Vec<Next>,
    /// Signatures that were left behind, or that the destination has.
    signatures: u64,
}

/// What is asked about a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Asks {
    /// Its tags, and its referrers.
    All,
    /// Its tags alone, the fallback tag too: these cost nothing where they are not there.
    Tags,
}

/// A manifest that may have something attached.
#[derive(Debug, Clone)]
struct Next {
    digest: Digest,
    media_type: MediaType,
    asks: Asks,
}

/// The same and how deep it lies.
#[derive(Debug)]
struct Node {
    next: Next,
    /// Below so many indexes.
    indexes: usize,
    /// Attached to something that is attached, so many times.
    attached: usize,
}

impl Node {
    fn child(&self, entry: &Descriptor) -> Self {
        Self {
            next: Next {
                digest: entry.digest,
                media_type: entry.media_type.clone(),
                asks: Asks::All,
            },
            indexes: self.indexes + 1,
            attached: self.attached,
        }
    }
}

impl<'a> Walk<'a> {
    /// The closure of an image whose parts were brought by `image`, and whose root is `root`; `None`
    /// where nothing of it travels.
    pub(super) async fn of(
        image: &'a walk::Walk<'a>,
        options: &'a Options,
        root: &'a There,
    ) -> Result<Option<Self>, Error> {
        // In one and the same repository everything is attached where it shall be.
        if options.closure == Closure::None {
            return Ok(None);
        }
        if image.source == image.destination {
            if options.closure == Closure::WithoutSignatures {
                (image.watch.note)(Note::remark(
                    "source and destination are one repository, so its signatures stay",
                ));
            }
            return Ok(None);
        }
        let _work = image.watch.pace.work();
        let tags = async |side, digest, repository: &Repository| {
            let attached = image.engine.attached.on(registry_side(side));
            let listed = attached.tags(repository).await;
            listed.map_err(|error| attached_error(side, repository, digest, error.into()))
        };
        let there = match options.closure {
            Closure::WithoutSignatures => {
                Some(tags(Side::Destination, root.digest, image.destination).await?)
            }
            Closure::All | Closure::None => None,
        };
        Ok(Some(Self {
            tags: tags(Side::Source, root.source, image.source).await?,
            there,
            image,
            options,
            root,
            seen: Mutex::default(),
            left: AtomicU64::new(0),
            present: AtomicU64::new(0),
        }))
    }

    fn strips(&self) -> bool {
        self.options.closure == Closure::WithoutSignatures
    }

    fn attached(&self) -> &Attached {
        &self.image.engine.attached
    }

    fn client(&self) -> &Client {
        &self.image.engine.client
    }

    fn note(&self, note: Note) {
        (self.image.watch.note)(note);
    }

    fn repository(&self, side: Side) -> &'a Repository {
        match side {
            Side::Source => self.image.source,
            Side::Destination => self.image.destination,
        }
    }

    fn at(&self, side: Side, digest: Digest) -> Pinned {
        Pinned {
            repository: self.repository(side).clone(),
            digest,
        }
    }

    /// An error about what is attached to `digest`.
    fn error(&self, side: Side, digest: Digest, cause: impl Into<Cause>) -> Error {
        attached_error(side, self.repository(side), digest, cause.into())
    }

    /// Brings all that travels, and says what does not. Looks at what the destination has, where that
    /// is to be counted.
    pub(super) async fn bring(&self) -> Result<(), Error> {
        let mut level = self.fresh(self.first().await?)?;
        while !level.is_empty() {
            let below: Vec<Vec<Node>> = stream::iter(level)
                .map(|node| self.node(node))
                .buffer_unordered(CHILDREN_AT_ONCE)
                .try_collect()
                .await?;
            level = self.fresh(below.into_iter().flatten())?;
        }
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            self.note(Note::SignaturesLeft { count: left });
        }
        if self.strips() && matches!(self.options.prune, Prune::No) {
            self.prune().await?;
        }
        Ok(())
    }

    /// Removes what the destination shall not have, or says that it has it; after `signing`, so that an
    /// image that stands there is at no time without a signature.
    pub(super) async fn end(&self, signing: Option<&Signing>) -> Result<(), Error> {
        if !self.strips() {
            return Ok(());
        }
        match self.options.prune {
            Prune::No => {
                // Those that were ours before this run are as they shall be.
                let signatures = signing.map_or(&[][..], |signing| &signing.signatures);
                let ours = signatures.iter().filter(|one| !one.added).count();
                let ours = u64::try_from(ours).unwrap_or(u64::MAX);
                let count = self.present.load(Ordering::Relaxed).saturating_sub(ours);
                if count > 0 {
                    self.note(Note::SignaturesPresent { count });
                }
            }
            Prune::Yes { .. } => {
                self.prune().await?;
                let count = self.present.load(Ordering::Relaxed);
                if count > 0 {
                    self.note(Note::remark(&format!(
                        "signatures that were removed at the destination: {count}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// What lies below the root, which is dealt with itself.
    async fn first(&self) -> Result<Vec<Node>, Error> {
        let root = Node {
            next: Next {
                digest: self.root.digest,
                media_type: self.root.media_type.clone(),
                asks: Asks::All,
            },
            indexes: 0,
            attached: 0,
        };
        self.seen().insert((root.next.digest, Asks::All));
        let mut below = if self.root.changed.is_some() {
            self.dropped().await?;
            Vec::new()
        } else {
            self.attachments(&root).await?
        };
        let only = self.root.only.as_deref();
        let manifest = self.root.manifest.as_ref();
        below.extend(self.children(&root, manifest, only).await?);
        Ok(below)
    }

    async fn node(&self, node: Node) -> Result<Vec<Node>, Error> {
        let mut below = self.attachments(&node).await?;
        below.extend(self.children(&node, None, None).await?);
        Ok(below)
    }

    /// Those of `nodes` that were not met yet; counts them before any of them is asked for.
    fn fresh(&self, nodes: impl IntoIterator<Item = Node>) -> Result<Vec<Node>, Error> {
        let mut seen = self.seen();
        let fresh: Vec<Node> = nodes
            .into_iter()
            .filter(|node| seen.insert((node.next.digest, node.next.asks)))
            .collect();
        // The root is not counted, as it is not among the manifests that an index names.
        let count = u64::try_from(seen.len()).unwrap_or(u64::MAX);
        drop(seen);
        if count.saturating_sub(1) > IMAGE_MANIFESTS_MAX {
            let cause = Cause::Limit("10,000 manifests");
            return Err(self.error(Side::Source, self.root.source, cause));
        }
        Ok(fresh)
    }

    // Every change is one insert.
    fn seen(&self) -> std::sync::MutexGuard<'_, HashSet<(Digest, Asks)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything at all may be attached to a manifest of this image.
    fn may_be_any(&self) -> bool {
        let at = |side, tags: &Tags| {
            tags.may_have_any() || self.attached().may_have_api(self.repository(side))
        };
        let there = self.there.as_ref();
        at(Side::Source, &self.tags) || there.is_some_and(|tags| at(Side::Destination, tags))
    }

    /// The manifests that `node` names, where it is an index; of the root those in `only`.
    async fn children(
        &self,
        node: &Node,
        manifest: Option<&Manifest>,
        only: Option<&[Digest]>,
    ) -> Result<Vec<Node>, Error> {
        if node.next.media_type.is_image() || !self.may_be_any() {
            return Ok(Vec::new());
        }
        let of = |manifest: &Manifest| {
            let index = manifest.as_index();
            let entries = index.map(|index| index.manifests.iter());
            entries
                .into_iter()
                .flatten()
                .filter(|entry| only.is_none_or(|only| only.contains(&entry.digest)))
                .map(|entry| node.child(entry))
                .collect::<Vec<_>>()
        };
        let children = if let Some(manifest) = manifest {
            of(manifest)
        } else {
            let _work = self.image.watch.pace.work();
            let _leaf = self.leaf(Side::Source).await;
            let identifier = Identifier::Digest(node.next.digest);
            let pulled = self
                .client()
                .pull_manifest(self.image.source, &identifier, Access::Pull)
                .await;
            of(&pulled.map_err(|error| self.error(Side::Source, node.next.digest, error))?)
        };
        if !children.is_empty() && node.indexes >= INDEX_DEPTH_MAX {
            let cause = Cause::Limit("4 levels of indexes");
            return Err(self.error(Side::Source, node.next.digest, cause));
        }
        Ok(children)
    }

    /// A place among the manifests that are held at once; the semaphore is never closed.
    async fn leaf(&self, side: Side) -> Option<OwnedSemaphorePermit> {
        let registry = self.repository(side).registry();
        let leaves = self.image.engine.leaves(registry);
        leaves.acquire_owned().await.ok()
    }

    /// Brings what is attached to `node`, once per run; gives what may have more attached.
    async fn attachments(&self, node: &Node) -> Result<Vec<Node>, Error> {
        let pass = match node.next.asks {
            Asks::All => Pass::Bring,
            Asks::Tags => Pass::BringTags,
        };
        let work = async || self.subject(&node.next).await;
        let found = self.once(node.next.digest, pass, work).await?;
        self.left.fetch_add(found.signatures, Ordering::Relaxed);
        if !found.next.is_empty() && node.attached >= INDEX_DEPTH_MAX {
            let cause = Cause::Limit("4 levels of things attached to one another");
            return Err(self.error(Side::Source, node.next.digest, cause));
        }
        let below = found.next.iter().map(|next| Node {
            next: next.clone(),
            indexes: node.indexes,
            attached: node.attached + 1,
        });
        Ok(below.collect())
    }

    /// What `work` finds about `digest`, found once per run, source and destination.
    async fn once(
        &self,
        digest: Digest,
        pass: Pass,
        work: impl AsyncFnOnce() -> Result<Found, Error>,
    ) -> Result<Arc<Found>, Error> {
        let known = &self.image.engine.known;
        let key = known.closure((self.image.source, self.image.destination), digest, pass);
        let waiting = |begins| self.image.watch.pace.waiting(begins);
        let work = async || work().await.map(Arc::new);
        let found = known.closures.run(&key, waiting, work).await?;
        Ok(found.0)
    }

    async fn subject(&self, subject: &Next) -> Result<Found, Error> {
        let mut found = Found::default();
        let digest = subject.digest;
        for kind in TAGS {
            if self.tags.may_have(kind, &digest) {
                self.tag(digest, kind, &mut found).await?;
            }
        }
        if self.may_have_referrers(&digest, subject.asks) {
            self.referrers(digest, &mut found).await?;
        }
        Ok(found)
    }

    /// Whether the source may have referrers of `subject`.
    fn may_have_referrers(&self, subject: &Digest, asks: Asks) -> bool {
        self.tags.may_have(TagKind::Referrers, subject)
            || asks == Asks::All && self.attached().may_have_api(self.image.source)
    }

    /// Says what is attached to an index that was made anew, and so is not brought.
    async fn dropped(&self) -> Result<(), Error> {
        let subject = self.root.source;
        let (mut signatures, mut others) = (0_u64, 0_u64);
        for kind in TAGS {
            if !self.tags.may_have(kind, &subject) {
                continue;
            }
            match kind {
                TagKind::Signature => {
                    signatures += self.count_tag(Side::Source, subject).await?;
                }
                TagKind::Attestation | TagKind::Sbom | TagKind::Referrers => {
                    others += u64::from(self.resolve(Side::Source, subject, kind).await?.is_some());
                }
            }
        }
        if self.may_have_referrers(&subject, Asks::All) {
            for referrer in self.list(Side::Source, subject).await? {
                let opened = self.open(Side::Source, subject, &referrer).await?;
                let Some((manifest, _leaf)) = opened else {
                    continue;
                };
                match self.class(Side::Source, subject, &manifest).await? {
                    Class::Signature(count) => signatures += count,
                    Class::Other | Class::Unknown => others += 1,
                }
            }
        }
        if self.strips() {
            self.left.fetch_add(signatures, Ordering::Relaxed);
        } else if signatures > 0 {
            self.note(Note::SignaturesDropped { count: signatures });
        }
        if others > 0 {
            self.note(Note::remark(&format!(
                "attestations and other things that speak of the whole index, which is made anew, \
                 and so are not brought: {others}"
            )));
        }
        Ok(())
    }
}

/// How many signatures a manifest of them holds: one in each layer.
fn layers_of(manifest: &Manifest) -> u64 {
    match manifest.view() {
        View::Image(image) => u64::try_from(image.layers.len()).unwrap_or(u64::MAX),
        View::Index(_) => 1,
    }
}

fn attached_error(side: Side, repository: &Repository, digest: Digest, cause: Cause) -> Error {
    Error {
        side,
        stage: Stage::Transfer,
        subject: Subject::Attached(Box::new(Pinned {
            repository: repository.clone(),
            digest,
        })),
        cause,
    }
}

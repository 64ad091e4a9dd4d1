//! Copying one image: what the destination shall have, and the walk that brings it there.
//!
//! Bytes are kept: manifests and blobs arrive under the digest they had, and only an index of which
//! the run wants a part is made anew. Children go before parents and the tag goes last, so that no
//! tag ever points at something incomplete. Across all jobs of a run each blob is read once and
//! written once per destination registry, and mounted from there into every further repository.
//!
//! What is attached to a manifest travels with it: see [`closure`](Closure).

mod blob;
mod closure;
mod decide;
mod error;
mod known;
mod walk;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::{BoxFuture, Either, select};
use tokio::sync::Semaphore;

pub use error::{Cause, Error, Subject, blamed, kind_of, kind_of_attached, with_blame};

use crate::attached::Attached;
use crate::event::{Changed, Copied, Failure, Meter, Note, Outcome, Side, Signing, Stage};
use crate::flight::Flight;
use crate::oci::{
    Digest, Identifier, Manifest, MediaType, Pinned, PlatformSelection, Reference, Registry,
    Repository, View,
};
use crate::pace::Pace;
use crate::registry::{self, Access, Client};
use crate::sigstore::PublicKey;

/// What stands under the tag when the selection leaves something out of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IndexMode {
    /// A new index of the selected entries.
    #[default]
    Rewrite,
    /// The index unchanged, with only the selected children present.
    Sparse,
    /// The selected entries joined with what the destination has.
    Merge,
}

/// What to do with a tag that exists with another digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExisting {
    /// Set it anew.
    #[default]
    Replace,
    /// Leave it, and say so.
    Keep,
    /// Fail the line.
    Fail,
}

/// Whether a rewritten index may take away platforms that the destination has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// It may not.
    #[default]
    Refused,
    /// It may.
    Allowed,
}

/// How much of what is attached to an image travels with it.
///
/// Attached to a manifest are cosign's tags `sha256-<hex>.sig`, `.att` and `.sbom`, and its OCI 1.1
/// referrers, listed by the API or in the fallback tag. They are looked for at the root, unless that
/// is an index that was made anew, at each of its manifests that are copied, and at each referrer,
/// four levels deep; at what stands under a tag by tags alone. At the destination the layers of
/// `.sig` and `.att` are joined, so that a signature which a site added is never lost; referrers are
/// listed beside those it has; and any other tag is treated as the tag of the image is. A line that names such
/// a tag itself is treated so too: what it brings is joined with what stands there.
///
/// # Cost
///
/// Of an image that is there with all that is attached to it, by a whole closure, in requests. `M` is the
/// number of manifests that are looked at, referrers too; `R` that of those among them that have
/// referrers; `T` that of their `.sig`, `.att` and `.sbom` tags.
///
/// At the source:
///
/// - what the image costs: one HEAD, or nothing for a digest;
/// - once for a repository: the list of its tags, 1 for each 1,000. Where the list cannot be had, 4 for
///   each of `M` instead;
/// - with the referrers API: `M`, and 1 for each fallback tag that is there nevertheless; without: 1 for a
///   repository, and 1 for each fallback tag;
/// - 1 for an index, and for each index in it, where the registry has the API or the repository any tag
///   that is named after a manifest;
/// - `T`, by HEAD.
///
/// At the destination:
///
/// - what the image costs: one HEAD;
/// - `T`, by HEAD;
/// - `R` for the lists of its own; with the API 2 times `R`, for a fallback tag may be there too; without
///   1 more for a repository.
///
/// A `.sig` or `.att` of which the destination has more costs a GET at each side. An index that was made
/// anew is asked like one of `M`, and costs 1 more for its `.sig` and for each of its referrers, to count
/// them. Without signatures a `.sig` costs a GET at the source instead of the two HEADs, each referrer a GET
/// more (and a bundle that does not say what it is, another), and the destination the same again: the list
/// of its tags, and what it has attached to each of `M`.
///
/// Manifests that several images of a run share between the same repositories are looked at once. The list of
/// the source's tags is read when its first image begins to be copied: what is attached later travels with the
/// next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closure {
    /// All of it.
    #[default]
    All,
    /// All but signatures: `.sig` tags, cosign's referrer mode, bundles of the predicate of `cosign
    /// sign`, Notation's. What is attached to a signature stays behind with it. A referrer is known by
    /// its own bytes, never by what a list says of it; one that cannot be told from a signature stays
    /// behind, and is named in a remark.
    WithoutSignatures,
    /// Nothing: the image alone.
    None,
}

/// What becomes of signatures that the destination has already, where signatures are left behind.
#[derive(Debug, Clone, Default)]
pub enum Prune {
    /// They stay, and are counted.
    #[default]
    No,
    /// They are deleted, once everything else is there; attestations and SBOMs never are.
    Yes {
        /// But not those that this key made, so that signing anew and pruning can be repeated.
        keep: Option<PublicKey>,
    },
}

/// How images are copied.
///
/// `closure`, `prune` and `on_existing` must be the same for all transfers of one [`Engine`]: what is
/// attached to a manifest is brought once.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which platforms are wanted.
    pub selection: PlatformSelection,
    /// What stands under the tag when that is not all.
    pub index: IndexMode,
    /// What to do with a tag that exists with another digest.
    pub on_existing: OnExisting,
    /// Whether platforms may be taken away.
    pub overwrite: Overwrite,
    /// What travels of that which is attached.
    pub closure: Closure,
    /// What becomes of the destination's signatures with [`Closure::WithoutSignatures`].
    pub prune: Prune,
}

/// An image that is at the destination with all that travels with it. Its tag may not be set yet.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The image there.
    pub image: Pinned,
    /// The manifest of that digest.
    pub root: Manifest,
    /// Which entries of an index were brought, by digest; `None` for all of them. An index of which a
    /// part was selected and which kept its digest names others too, that may not be there. One that
    /// was joined with what the destination had is there as a whole.
    pub only: Option<Vec<Digest>>,
}

/// What is done with an image before its tag is set: signing it.
pub type Finish<'a> =
    &'a (dyn Fn(Ready) -> BoxFuture<'a, Result<Signing, Failure>> + Send + Sync + 'a);

/// What one job hears and tells while it runs.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Its clock.
    pub pace: &'a Pace,
    /// Takes its notes.
    pub note: &'a (dyn Fn(Note) + Send + Sync),
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Manifests with blobs that are held at once: with at most 4 MiB each, and their views, hostile ones
/// take some hundred MiB, real ones next to nothing.
const LEAVES_MAX: usize = 64;

/// The same in the words of the client, which knows no jobs.
const fn registry_side(side: Side) -> registry::Side {
    match side {
        Side::Source => registry::Side::Source,
        Side::Destination => registry::Side::Destination,
    }
}

/// What a digest names in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Thing {
    Blob,
    Manifest,
}

/// What is looked at once for each manifest, source and destination of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Pass {
    /// What the source has attached is brought.
    Bring,
    /// The same of what is known by tags alone.
    BringTags,
    /// Which signatures the destination has is counted, or they are deleted.
    Prune,
}

/// Copies the images of a run. Shared by all its jobs.
#[derive(Debug)]
pub struct Engine {
    client: Client,
    meter: Arc<Meter>,
    attached: Attached,
    known: known::Known,
    /// Repositories that were asked for referrers, so that one without the API is asked once.
    asked: Flight<Repository, ()>,
    /// Bounds how many manifests with blobs are held at once, by all jobs together; for each source
    /// registry alone, so that one that is throttled holds up no other.
    leaves: Mutex<HashMap<Registry, Arc<Semaphore>>>,
}

impl Engine {
    /// An engine that asks `client`, counts bytes in `meter` and finds what is attached by `attached`,
    /// which asks the same client.
    pub fn new(client: Client, meter: Arc<Meter>, attached: Attached) -> Self {
        Self {
            client,
            meter,
            attached,
            known: known::Known::default(),
            asked: Flight::default(),
            leaves: Mutex::default(),
        }
    }

    fn leaves(&self, registry: &Registry) -> Arc<Semaphore> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        let leaves = leaves
            .entry(registry.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(LEAVES_MAX)));
        Arc::clone(leaves)
    }

    /// The client it asks.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The client for what is read on `side`.
    fn client_on(&self, side: Side) -> Client {
        self.client.on(registry_side(side))
    }

    /// What it finds attached things by.
    pub const fn attached(&self) -> &Attached {
        &self.attached
    }

    /// Copies `source` to `destination`, which has a tag, or no tag and the digest of the source.
    ///
    /// A whole image that is already there costs one HEAD at each side, or one at the destination
    /// alone where the source is a digest; what its closure costs stands at [`Closure`]. An index that
    /// is there under the same digest is believed to be whole: registries refuse one whose children
    /// are missing, unless they take sparse ones.
    ///
    /// Where `source` has a tag and a digest, that digest is copied, whatever its tag names.
    ///
    /// # Errors
    ///
    /// With the side, the subject and the cause. What was written before stays; the tag is not set.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves blobs and manifests without a tag, which a later run finds and uses.
    pub async fn transfer(
        &self,
        source: &Reference,
        destination: &Reference,
        options: &Options,
        watch: Watch<'_>,
    ) -> Result<Outcome, Error> {
        self.transfer_and((source, destination), options, watch, None)
            .await
    }

    /// The same, and calls `finish` once everything is there and before the tag is set; also for an
    /// image that was there already, whose root then costs one GET more. Not for one whose tag was
    /// kept. With it the root always stands under its digest before.
    ///
    /// The image counts as copied where the signing added something.
    ///
    /// # Errors
    ///
    /// As [`Engine::transfer`]; and what `finish` says, with [`Cause::Finish`].
    ///
    /// # Cancel safety
    ///
    /// That of [`Engine::transfer`], and of what `finish` does.
    pub async fn transfer_and(
        &self,
        (source, destination): (&Reference, &Reference),
        options: &Options,
        watch: Watch<'_>,
        finish: Option<Finish<'_>>,
    ) -> Result<Outcome, Error> {
        let job = decide::Decision {
            engine: self,
            source,
            destination,
            options,
            watch,
        };
        let (wanted, there, before) = match job.decide().await? {
            decide::Decided::Ended(outcome) => return Ok(*outcome),
            decide::Decided::There(there) => (None, *there, Before::Something),
            decide::Decided::Copy(wanted, before) => {
                let there = There::of(&wanted);
                (Some(*wanted), there, before)
            }
        };
        let (from, to) = (&source.repository, &destination.repository);
        let mut walk = walk::Walk::new(self, from, to, before, watch);
        if let Some(wanted) = &wanted {
            (watch.note)(Note::Entered(Stage::Transfer));
            walk.known = wanted.config_blob();
            walk.root = Some(wanted);
        }
        let closure = Self::parts_and_closure(&walk, options, &there).await?;
        if let Some(closure) = &closure {
            closure.bring().await?;
        }
        let signing = match finish {
            Some(finish) => {
                // What is joined with was there before: all that the index names is.
                let merges = options.index == IndexMode::Merge;
                let only = there.only.clone().filter(|_| !merges);
                Some(self.finish(&walk, (&there, only), finish).await?)
            }
            None => None,
        };
        if let Some(closure) = &closure {
            closure.end(signing.as_ref()).await?;
        }
        walk.set_root(&destination.identifier()).await?;
        let signed = |signing: &Signing| signing.signatures.iter().any(|one| one.added);
        let wrote = wanted.is_some() || walk.has_written() || signing.as_ref().is_some_and(signed);
        let copied = Copied {
            image: Pinned {
                repository: to.clone(),
                digest: there.digest,
            },
            source: there.source,
            changed: there.changed,
            tally: walk.tally(),
            validation: None,
            signing: signing.map(Box::new),
        };
        Ok(if wrote {
            Outcome::Copied(copied)
        } else {
            Outcome::UpToDate(copied)
        })
    }

    /// Brings all that the root names, and asks meanwhile for the tags that tell what is attached to it: the
    /// image does not wait for that question once it is there.
    async fn parts_and_closure<'a>(
        walk: &'a walk::Walk<'a>,
        options: &'a Options,
        there: &'a There,
    ) -> Result<Option<closure::Walk<'a>>, Error> {
        let asks = pin!(closure::Walk::of(walk, options, there));
        let brings = pin!(walk.bring_parts());
        // An image that cannot be brought ends at once; one that can wants the answer, whatever it is.
        match select(brings, asks).await {
            Either::Left((brought, asks)) => {
                brought?;
                asks.await
            }
            Either::Right((closure, brings)) => {
                brings.await?;
                closure
            }
        }
    }

    async fn finish(
        &self,
        walk: &walk::Walk<'_>,
        (there, only): (&There, Option<Vec<Digest>>),
        finish: Finish<'_>,
    ) -> Result<Signing, Error> {
        walk.push_root().await?;
        let image = Pinned {
            repository: walk.destination.clone(),
            digest: there.digest,
        };
        let error = |stage, cause| Error {
            side: Side::Destination,
            stage,
            subject: Subject::Manifest(Box::new(image.clone())),
            cause,
        };
        let root = match &there.manifest {
            Some(manifest) => manifest.clone(),
            None => self
                .client
                .pull_manifest(
                    walk.destination,
                    &Identifier::Digest(there.digest),
                    Access::PullPush,
                )
                .await
                .map_err(|cause| error(Stage::Resolve, cause.into()))?,
        };
        let ready = Ready {
            image: image.clone(),
            root,
            only,
        };
        let signed = finish(ready).await;
        signed.map_err(|failure| error(Stage::Sign, Cause::Finish(failure)))
    }
}

/// What stands at the destination, or shall.
#[derive(Debug)]
struct There {
    digest: Digest,
    media_type: MediaType,
    /// Its manifest, where that had to be read.
    manifest: Option<Manifest>,
    /// Which of its entries are brought, by digest; `None` for all of them.
    only: Option<Vec<Digest>>,
    /// The digest of the source.
    source: Digest,
    changed: Option<Changed>,
}

impl There {
    fn of(wanted: &Wanted) -> Self {
        Self {
            digest: wanted.manifest.digest(),
            media_type: wanted.manifest.media_type().clone(),
            manifest: Some(wanted.manifest.clone()),
            only: wanted.only.clone(),
            source: wanted.source,
            changed: wanted.changed,
        }
    }
}

/// What the destination shall have.
#[derive(Debug)]
struct Wanted {
    /// What stands under the tag.
    manifest: Manifest,
    /// Its config, where that had to be read before.
    config: Option<Bytes>,
    /// Which of its entries are brought, by digest; `None` for all of them.
    only: Option<Vec<Digest>>,
    /// The digest of the source.
    source: Digest,
    changed: Option<Changed>,
}

impl Wanted {
    /// The config as a blob that need not be read again.
    fn config_blob(&self) -> Option<(Digest, Bytes)> {
        let View::Image(image) = self.manifest.view() else {
            return None;
        };
        Some((image.config.as_ref()?.digest, self.config.clone()?))
    }
}

/// Whether something stood at the destination before: then much of the image may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Something,
}

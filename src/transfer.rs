//! Copying one image: what the destination shall have, and the walk that brings it there.
//!
//! Bytes are kept: manifests and blobs arrive under the digest they had, and only an index of which
//! the run wants a part is made anew. Children go before parents and the tag goes last, so that no
//! tag ever points at something incomplete. Across all jobs of a run each blob is read once and
//! written once per destination registry, and mounted from there into every further repository.
//!
//! Signatures and other referrers are not brought yet.

mod decide;
mod error;
mod walk;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Semaphore;

pub use error::{Cause, Error, Subject, kind_of};

use crate::event::{Changed, Copied, Meter, Note, Outcome, Stage};
use crate::flight::Flight;
use crate::oci::{
    Digest, Manifest, Pinned, PlatformSelection, Reference, Registry, Repository, View,
};
use crate::pace::Pace;
use crate::registry::Client;

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

/// How images are copied.
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
}

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

/// What a digest names in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Thing {
    Blob,
    Manifest,
}

/// Copies the images of a run. Shared by all its jobs.
#[derive(Debug)]
pub struct Engine {
    client: Client,
    meter: Arc<Meter>,
    /// Which repository of a destination registry a blob was brought to first.
    homes: Flight<(Registry, Digest), Repository>,
    /// What a destination repository is known to have: blobs, and manifests with all below them. The
    /// same bytes may be both, in two places of a registry.
    present: Flight<(Repository, Thing, Digest), ()>,
    /// Bounds how many manifests with blobs are held at once, by all jobs together; for each source
    /// registry alone, so that one that is throttled holds up no other.
    leaves: Mutex<HashMap<Registry, Arc<Semaphore>>>,
}

impl Engine {
    /// An engine that asks `client` and counts bytes in `meter`.
    pub fn new(client: Client, meter: Arc<Meter>) -> Self {
        Self {
            client,
            meter,
            homes: Flight::default(),
            present: Flight::default(),
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

    /// Copies `source` to `destination`, which has a tag, or no tag and the digest of the source.
    ///
    /// A whole image that is already there costs one HEAD at each side, or one at the destination
    /// alone where the source is a digest. An index that is there under the same digest is believed to
    /// be whole: registries refuse one whose children are missing, unless they take sparse ones.
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
        let job = decide::Decision {
            engine: self,
            source,
            destination,
            options,
            watch,
        };
        let (wanted, before) = match job.decide().await? {
            decide::Decided::Ended(outcome) => return Ok(*outcome),
            decide::Decided::Copy(wanted, before) => (wanted, before),
        };
        (watch.note)(Note::Entered(Stage::Transfer));
        let mut walk = walk::Walk::new(
            self,
            &source.repository,
            &destination.repository,
            before,
            watch,
        );
        walk.known = wanted.config_blob();
        walk.bring_root(&wanted, &destination.identifier()).await?;
        Ok(Outcome::Copied(Copied {
            image: Pinned {
                repository: destination.repository.clone(),
                digest: wanted.manifest.digest(),
            },
            source: wanted.source,
            changed: wanted.changed,
            tally: walk.tally(),
        }))
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

//! What is attached to a manifest in its repository: cosign's tags, and OCI 1.1 referrers by API or
//! fallback tag; found, added to without loss, and removed.
//!
//! # Finding
//!
//! A repository's tags are listed once per run, and only the names that are made of a digest are kept, so
//! that a subject without attachments costs no request for its tags. Where the list cannot be had
//! ("unlisted"), every tag may be there and is asked for by itself. Referrers come from the API and from
//! the fallback tag, joined, for a registry that got its API later has some in each. A registry that
//! clearly says that it has no API is not asked again in a run. Nothing here is filtered by artifact type:
//! go-containerregistry writes the config's media type into the fallback tag's entries.
//!
//! # Writing
//!
//! Registries cannot compare and swap, so a change of a tag is a loop: read, edit, write, read again, until
//! the edit has nothing to do. Writers of this process wait for each other, and with a lock folder those of
//! all processes of this host that use it.
//!
//! Between hosts a window remains: a writer that reads before another one writes, and writes after that one
//! has read again, takes away what was added, unseen. It is one round trip wide: nothing is sent between the
//! last reading of the tag and its writing (after blobs were pushed the tag is looked at once more). So of two
//! hosts that keep to this the one must be slower by a round trip than the other for anything to be lost, and
//! whoever runs again repairs it.
//!
//! Reads may lag behind writes where a registry has replicas. What stood under a tag before this process
//! wrote to it is therefore not believed at once when it is read again: it is read a few times more, with
//! the client's pauses, before it is taken for the work of somebody else.

mod layers;
mod lock;
mod referrers;
mod tags;
mod update;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::flight::Flight;
use crate::oci::{self, Descriptor, Digest, Identifier, Manifest, Pinned, Repository, Tag};
use crate::registry::{self, Access, Client, ErrorKind, Side};

pub use layers::{Layer, config_of, layers, relayered};
pub use lock::Held;
use lock::Locks;
use tags::Names;
pub use tags::{TagKind, Tags};
use update::History;

/// One entry of a list of referrers: the view, and the bytes it was read from.
#[derive(Debug, Clone)]
pub struct Referrer {
    /// The view. Its artifact type may lie: go-containerregistry writes the config's media type.
    pub descriptor: Descriptor,
    /// The entry as it was served.
    pub raw: Box<RawValue>,
    /// The list that it stood in: whoever holds an entry holds the room that all of it takes.
    pub list: Bytes,
}

/// A change of what stands under a tag.
#[derive(Debug)]
pub struct Edit {
    /// Blobs that the manifest needs, pushed before it.
    pub blobs: Vec<(Digest, Bytes)>,
    /// What shall stand there; `None` to remove the tag, see [`Attached::update`].
    pub manifest: Option<Manifest>,
}

/// Gives the change that is wanted of what stands under a tag, `None` for nothing, and `None` where it is as
/// it should be. Asked more than once, and again after the change.
pub type Editor<'a> =
    dyn Fn(Option<&Manifest>) -> Result<Option<Edit>, oci::Error> + Send + Sync + 'a;

/// Whether an update wrote something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// It did.
    Written,
    /// Everything was there already.
    AsItWas,
}

/// Why something attached could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// A document.
    #[error(transparent)]
    Document(#[from] oci::Error),
    /// More than a limit; names it.
    #[error("it has more than {0}")]
    Limit(&'static str),
    /// Others overwrite what was written, again and again.
    #[error("`{0}` is being overwritten by somebody else")]
    Contended(String),
    /// The registry says that it is not there when it is to be deleted, and serves it.
    #[error("`{0}` is not deleted: the registry says that it is not there, and serves it")]
    Undeleted(String),
    /// The lock between processes cannot be had; says why.
    #[error("{0}")]
    Lock(String),
}

/// What is attached to manifests, by one client, for a whole run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Attached {
    client: Client,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    locks: Locks,
    /// Whether the tags of a repository could be listed.
    listed: Flight<Repository, bool>,
    names: Mutex<HashMap<Repository, Arc<Names>>>,
    /// How many names are known of all repositories.
    known: AtomicUsize,
    /// Whether a repository's registry has a referrers API, once it is known.
    apis: Mutex<HashMap<Repository, bool>>,
    history: Mutex<HashMap<(Repository, Tag), History>>,
    pushed: Flight<(Repository, Digest), Descriptor>,
}

impl Attached {
    /// Asks `client`; takes locks between processes in the folder `locks`, or none without it.
    ///
    /// The folder is made when the first lock is taken, readable by its owner alone; one that belongs to
    /// somebody else, that others may write into, or that is a link is refused then.
    pub fn new(client: Client, locks: Option<PathBuf>) -> Self {
        Self {
            client,
            inner: Arc::new(Inner {
                locks: Locks::new(locks),
                listed: Flight::default(),
                names: Mutex::default(),
                known: AtomicUsize::new(0),
                apis: Mutex::default(),
                history: Mutex::default(),
                pushed: Flight::default(),
            }),
        }
    }

    /// The same for what is read on `side`: see [`Client::on`].
    #[must_use]
    pub fn on(&self, side: Side) -> Self {
        Self {
            client: self.client.on(side),
            inner: Arc::clone(&self.inner),
        }
    }

    /// The same for somebody who need not see what a registry serves, if that is the same as before: see
    /// [`Client::recalling`].
    #[must_use]
    pub fn recalling(&self) -> Self {
        Self {
            client: self.client.recalling(),
            inner: Arc::clone(&self.inner),
        }
    }

    /// Waits until nobody else adds signatures to `subject`, in this process and, with a lock folder, on
    /// this host; nobody does until the result is dropped. Taken before the lock of any tag, never after.
    ///
    /// # Errors
    ///
    /// [`Error::Lock`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it, before or after, gives everything back.
    pub async fn lock(&self, subject: &Pinned) -> Result<Held, Error> {
        // No tag that anybody writes looks so; the beginning of a digest tells subjects well enough apart.
        let name: String = subject.digest.hex().chars().take(64).collect();
        let tag: Tag = format!("signing-{name}").parse()?;
        self.inner.locks.hold(&subject.repository, &tag).await
    }

    /// The client it asks.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the registry of `repository` may have a referrers API: false once it was seen to have none
    /// there. Another repository is asked anew: behind one name there may be several registries, and a
    /// signature that nobody asked for is not one that is missing.
    pub fn may_have_api(&self, repository: &Repository) -> bool {
        held(&self.inner.apis)
            .get(repository)
            .copied()
            .unwrap_or(true)
    }

    /// Notes whether it has the API. Having it once outweighs all else; a question too many is no harm.
    fn note_api(&self, repository: &Repository, is_there: bool) {
        let mut apis = held(&self.inner.apis);
        let known = apis.entry(repository.clone()).or_insert(is_there);
        *known |= is_there;
    }

    /// What stands under the tag of `kind` for `subject`; `None` only where the registry says that nothing
    /// does.
    ///
    /// # Errors
    ///
    /// As [`Error::Registry`]: what could not be asked is an error.
    pub async fn tagged(
        &self,
        subject: &Pinned,
        kind: TagKind,
        access: Access,
    ) -> Result<Option<Manifest>, Error> {
        let tag = kind.of(&subject.digest);
        self.standing(&subject.repository, &tag, access).await
    }

    /// What stands under `tag`.
    async fn standing(
        &self,
        repository: &Repository,
        tag: &Tag,
        access: Access,
    ) -> Result<Option<Manifest>, Error> {
        let identifier = Identifier::Tag(tag.clone());
        let client = self.client();
        match client.pull_manifest(repository, &identifier, access).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) if matches!(error.kind, ErrorKind::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Pushes a small blob unless it is there; once per run, however many ask for the same one.
    ///
    /// The descriptor has a media type that says nothing.
    ///
    /// # Errors
    ///
    /// As [`Error::Registry`].
    pub async fn push_blob(
        &self,
        repository: &Repository,
        bytes: Bytes,
    ) -> Result<Descriptor, Error> {
        let digest = Digest::sha256(&bytes);
        self.push_named(repository, digest, bytes).await
    }

    async fn push_named(
        &self,
        repository: &Repository,
        digest: Digest,
        bytes: Bytes,
    ) -> Result<Descriptor, Error> {
        let key = (repository.clone(), digest);
        let push = async || self.client().push_bytes(repository, &digest, bytes).await;
        let (descriptor, _) = self.inner.pushed.run(&key, |_| (), push).await?;
        Ok(descriptor)
    }
}

// A panic while one of these is locked leaves it whole: every change is one call.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

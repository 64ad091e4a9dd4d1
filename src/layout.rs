//! OCI image layouts (OCI image specification 1.1, image-layout.md): a directory, or memory.
//!
//! A layout holds blobs by digest and a root index that names manifests. Here one layout holds many
//! repositories: the annotation `org.opencontainers.image.ref.name` of an entry is
//! `REPOSITORY:TAG`, or `REPOSITORY@DIGEST` for a manifest without a tag. In layouts of other
//! programs that annotation is a bare tag or missing; those manifests belong to the repository that
//! is named after the directory.
//!
//! What it promises:
//!
//! - A blob is visible under a digest only when its bytes have that digest.
//! - A change of the root index is acknowledged when a file that contains it is in place. Changes
//!   that come together are written together, so that many writers wait for one or two writes.
//! - Fields and entries that nobody here knows survive.
//! - A layout opened for reading is never written, and one opened for writing is open once.
//!
//! A crash of the process leaves files in `.uploads`, which the next one clears. A crash of the
//! machine may lose what the system had not written yet; nothing is forced to the disk.
//!
//! Which blob belongs to which repository, and what a manifest needs, is left to `serve`.

mod entry;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod root;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync;

use crate::limits::image::{LAYOUT_MARKER_BYTES_MAX, LAYOUT_ROOT_BYTES_MAX};
use crate::oci::{Digest, Tag};

pub use entry::{Entry, RepositoryPath};
pub use error::{Error, Kind, Mismatch};
pub use store::{Blob, BlobStream};
pub use writer::BlobWriter;

use root::Root;
use store::{Directory, Store, blocking};

/// The annotation that names an entry (OCI image specification 1.1, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The one version of the format (OCI image specification 1.1, image-layout.md, "oci-layout file").
const VERSION: &str = "1.0.0";

/// How much of [`LAYOUT_ROOT_BYTES_MAX`] is kept free, in bytes, so that entries can always be removed.
const ROOT_SPARE_BYTES: usize = 1024 * 1024;

/// An image layout. Clones are the same layout.
#[derive(Debug, Clone)]
pub struct Layout {
    store: Store,
    root: Arc<Mutex<Root>>,
    /// The version of the root index that is on disk; held while it is written.
    written: Arc<sync::Mutex<u64>>,
}

impl Layout {
    /// An empty layout in memory.
    pub fn in_memory() -> Self {
        Self::new(Store::Memory(Arc::default()), Root::empty())
    }

    /// Opens the layout in `directory` for reading; nothing in it is ever written.
    ///
    /// # Errors
    ///
    /// When the directory is no layout of a known version, or cannot be read.
    pub async fn open(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        let directory = directory.into();
        blocking(move || {
            check_marker(&directory)?;
            let root = read_root(&directory)?;
            let store = Store::Directory(Arc::new(Directory::for_reading(directory)));
            Ok(Self::new(store, root))
        })
        .await
    }

    /// Opens the layout in `directory` for reading and writing, and creates it where there is
    /// nothing or an empty directory.
    ///
    /// # Errors
    ///
    /// When the directory holds something else, is open for writing elsewhere, or cannot be
    /// written.
    pub async fn create(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        let directory = directory.into();
        blocking(move || {
            let is_new = match check_marker(&directory) {
                Ok(()) => false,
                Err(error) if matches!(error.kind, Kind::NotALayout) => true,
                Err(error) => return Err(error),
            };
            if is_new {
                check_empty(&directory)?;
            }
            let blobs = directory.join("blobs").join("sha256");
            fs::create_dir_all(&blobs).map_err(Error::io(&blobs, "create it"))?;
            let files = Arc::new(Directory::for_writing(directory)?);
            if is_new {
                let marker = serde_json::json!({ "imageLayoutVersion": VERSION }).to_string();
                replace(&files, "index.json", &Root::empty().render())?;
                // The marker is last: without it, this is not yet a layout.
                replace(&files, "oci-layout", marker.as_bytes())?;
            }
            // Read under the lock: a process that just ended may have written it.
            let root = read_root(files.root())?;
            Ok(Self::new(Store::Directory(files), root))
        })
        .await
    }

    fn new(store: Store, root: Root) -> Self {
        Self {
            store,
            written: Arc::new(sync::Mutex::new(root.version())),
            root: Arc::new(Mutex::new(root)),
        }
    }

    /// The directory, where there is one.
    pub fn directory(&self) -> Option<&Path> {
        match &self.store {
            Store::Memory(_) => None,
            Store::Directory(directory) => Some(directory.root()),
        }
    }

    /// Whether anything can be written.
    pub fn is_writable(&self) -> bool {
        match &self.store {
            Store::Memory(_) => true,
            Store::Directory(directory) => directory.is_writable(),
        }
    }

    fn root(&self) -> MutexGuard<'_, Root> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- blobs

    /// The size of a blob, or `None` where there is none.
    ///
    /// # Errors
    ///
    /// When the disk does not say.
    pub async fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let digest = *digest;
        self.work(move |store| store.size(&digest)).await
    }

    /// Those of `digests` that are not there, in their order.
    ///
    /// # Errors
    ///
    /// When the disk does not say.
    pub async fn missing(&self, digests: Vec<Digest>) -> Result<Vec<Digest>, Error> {
        self.work(move |store| {
            let mut missing = Vec::new();
            for digest in digests {
                if store.size(&digest)?.is_none() {
                    missing.push(digest);
                }
            }
            Ok(missing)
        })
        .await
    }

    /// Opens a blob for reading, or finds none.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be opened.
    pub async fn blob(&self, digest: &Digest) -> Result<Option<Blob>, Error> {
        let digest = *digest;
        self.work(move |store| store.open(&digest)).await
    }

    /// The bytes of a small blob, checked against their digest.
    ///
    /// # Errors
    ///
    /// When it is larger than `limit` bytes, damaged, or cannot be read.
    pub async fn bytes(&self, digest: &Digest, limit: usize) -> Result<Option<Bytes>, Error> {
        let digest = *digest;
        self.work(move |store| read_whole(store, &digest, limit))
            .await
    }

    /// Starts writing a blob.
    ///
    /// # Errors
    ///
    /// When the layout is open for reading only.
    pub fn writer(&self) -> Result<BlobWriter, Error> {
        BlobWriter::new(&self.store)
    }

    /// Stores a small blob under `digest`, which must be its own.
    ///
    /// # Errors
    ///
    /// When the digest is not that of the bytes, or the disk refuses.
    pub async fn put_blob(&self, digest: &Digest, bytes: Bytes) -> Result<(), Error> {
        let mut writer = self.writer()?;
        writer.write(bytes).await?;
        writer.commit(digest).await?;
        Ok(())
    }

    /// Removes a blob; one that is not there is fine.
    ///
    /// It does not wait for anything, so that a caller can decide and act under one lock.
    ///
    /// # Errors
    ///
    /// When the layout is open for reading only, or the disk refuses.
    pub fn remove_blob(&self, digest: &Digest) -> Result<(), Error> {
        self.store.remove(digest)
    }

    /// Runs `work` on the blobs: at once in memory, where it may block on a disk.
    async fn work<T, W>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    {
        match &self.store {
            Store::Memory(_) => work(&self.store),
            Store::Directory(_) => {
                let store = self.store.clone();
                blocking(move || work(&store)).await
            }
        }
    }

    /// Runs `work` with a reader of small blobs where it may block, for walks over many of them.
    ///
    /// # Errors
    ///
    /// When `work` does not come to its end.
    pub(crate) async fn walk<T, W>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: FnOnce(&SmallBlobs<'_>) -> T + Send + 'static,
    {
        self.work(move |store| Ok(work(&SmallBlobs(store)))).await
    }

    // ---- the root index

    /// All entries, in the order of the document.
    pub fn entries(&self) -> Vec<Entry> {
        self.root().entries().cloned().collect()
    }

    /// All repositories that have an entry, in their order.
    pub fn repositories(&self) -> Vec<RepositoryPath> {
        self.root().repositories().cloned().collect()
    }

    /// The tags of a repository, in their order; `None` where it has no entry.
    pub fn tags(&self, repository: &RepositoryPath) -> Option<Vec<Tag>> {
        self.root()
            .tags(repository)
            .map(|tags| tags.cloned().collect())
    }

    /// What a tag names.
    pub fn find(&self, repository: &RepositoryPath, tag: &Tag) -> Option<Entry> {
        self.root().find(repository, tag).cloned()
    }

    /// Names a manifest. What the tag named before stays in the repository by its digest.
    ///
    /// # Errors
    ///
    /// When the root index cannot be written, or would be larger than [`LAYOUT_ROOT_BYTES_MAX`].
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, the change was made and will be written with the next one.
    pub async fn put(&self, entry: Entry) -> Result<(), Error> {
        // What can still be written afterwards is a removal, which may leave one entry by digest.
        if self.root().rendered_bytes() > LAYOUT_ROOT_BYTES_MAX - ROOT_SPARE_BYTES {
            let limit = u64::try_from(LAYOUT_ROOT_BYTES_MAX).unwrap_or(u64::MAX);
            let path = self.directory().unwrap_or(Path::new("memory"));
            return Err(Error::new(path.join("index.json"), Kind::TooLarge(limit)));
        }
        self.change(|root| root.put(entry)).await
    }

    /// Removes a tag; its manifest stays by digest. Says whether it was there.
    ///
    /// # Errors
    ///
    /// As [`Layout::put`], and cancel safe as it is.
    pub async fn remove_tag(&self, repository: &RepositoryPath, tag: &Tag) -> Result<bool, Error> {
        self.change(|root| root.remove_tag(repository, tag)).await
    }

    /// Removes a manifest with all its tags. Says whether it was there.
    ///
    /// # Errors
    ///
    /// As [`Layout::put`], and cancel safe as it is.
    pub async fn remove_digest(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
    ) -> Result<bool, Error> {
        self.change(|root| root.remove_digest(repository, digest))
            .await
    }

    async fn change<T>(&self, change: impl FnOnce(&mut Root) -> T) -> Result<T, Error> {
        let directory = match &self.store {
            Store::Directory(directory) if !directory.is_writable() => {
                return Err(Error::new(directory.root(), Kind::ReadOnly));
            }
            Store::Directory(directory) => Some(Arc::clone(directory)),
            Store::Memory(_) => None,
        };
        let (result, version) = {
            let mut root = self.root();
            (change(&mut root), root.version())
        };
        if let Some(directory) = directory {
            self.write(directory, version).await?;
        }
        Ok(result)
    }

    /// Waits until a root index of at least `version` is on disk.
    ///
    /// Whoever gets the lock first writes for all who came meanwhile. The lock goes with the write:
    /// a caller that is dropped must not let a later write overtake its own.
    async fn write(&self, directory: Arc<Directory>, version: u64) -> Result<(), Error> {
        let mut written = Arc::clone(&self.written).lock_owned().await;
        if *written >= version {
            return Ok(());
        }
        let root = Arc::clone(&self.root);
        blocking(move || {
            let (text, version) = {
                let root = root.lock().unwrap_or_else(PoisonError::into_inner);
                (root.render(), root.version())
            };
            replace(&directory, "index.json", &text)?;
            *written = version;
            Ok(())
        })
        .await
    }
}

/// Reads small blobs, where it may block.
#[derive(Debug)]
pub(crate) struct SmallBlobs<'a>(&'a Store);

impl SmallBlobs<'_> {
    /// The bytes of a blob, checked against their digest; see [`Layout::bytes`].
    pub(crate) fn bytes(&self, digest: &Digest, limit: usize) -> Result<Option<Bytes>, Error> {
        read_whole(self.0, digest, limit)
    }
}

fn read_whole(store: &Store, digest: &Digest, limit: usize) -> Result<Option<Bytes>, Error> {
    let Some(blob) = store.open(digest)? else {
        return Ok(None);
    };
    let bytes = blob.read(u64::try_from(limit).unwrap_or(u64::MAX))?;
    let actual = digest.of_same_kind(&bytes);
    if actual != *digest {
        let path = match store {
            Store::Memory(_) => PathBuf::from("memory"),
            Store::Directory(directory) => directory.blob(digest),
        };
        return Err(Error::mismatch(path, *digest, actual));
    }
    Ok(Some(bytes))
}

/// Whether `directory` is a layout of a known version.
fn check_marker(directory: &Path) -> Result<(), Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    let path = directory.join("oci-layout");
    let Some(json) = read_file(&path, LAYOUT_MARKER_BYTES_MAX)? else {
        return Err(Error::new(directory, Kind::NotALayout));
    };
    let marker: Marker =
        serde_json::from_slice(&json).map_err(|error| Error::new(&path, Kind::Document(error)))?;
    if marker.image_layout_version != VERSION {
        return Err(Error::new(path, Kind::Version(marker.image_layout_version)));
    }
    Ok(())
}

/// Whether a layout may be created in `directory`: it is absent, empty, or what a creation that was
/// killed left.
fn check_empty(directory: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(directory, "list it")(error)),
    };
    for entry in entries {
        let name = entry.map_err(Error::io(directory, "list it"))?.file_name();
        let is_ours = ["blobs", ".uploads", "index.json"]
            .iter()
            .any(|ours| name == *ours);
        if !is_ours {
            return Err(Error::new(directory, Kind::NotEmpty));
        }
    }
    Ok(())
}

fn read_root(directory: &Path) -> Result<Root, Error> {
    let path = directory.join("index.json");
    let limit = u64::try_from(LAYOUT_ROOT_BYTES_MAX).unwrap_or(u64::MAX);
    let Some(json) = read_file(&path, limit)? else {
        return Err(Error::io(&path, "open it")(io::ErrorKind::NotFound.into()));
    };
    // The name of `.` is known only to the system.
    let named = fs::canonicalize(directory).map_err(Error::io(directory, "find it"))?;
    Root::parse(&json, &RepositoryPath::of_directory(&named))
        .map_err(|error| Error::new(&path, Kind::Document(error)))
}

fn read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    use std::io::Read as _;

    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path, "open it")(error)),
    };
    let mut bytes = Vec::new();
    let count = file
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io(path, "read it"))?;
    if u64::try_from(count).is_ok_and(|count| count > limit) {
        return Err(Error::new(path, Kind::TooLarge(limit)));
    }
    Ok(Some(bytes))
}

/// Puts `text` in the place of a file of the layout, at once for whoever reads it.
fn replace(directory: &Directory, name: &str, text: &[u8]) -> Result<(), Error> {
    let temporary = directory.temporary();
    let path = temporary.path();
    fs::write(path, text).map_err(Error::io(path, "write it"))?;
    let target = directory.root().join(name);
    fs::rename(path, &target).map_err(Error::io(&target, "replace it"))
}

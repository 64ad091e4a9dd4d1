//! Bytes that registries served, kept on disk by their digests: so that what has not changed is not read again.
//!
//! Bytes alone, and never what was thought of them: a verdict is made anew every time. An entry is hashed whenever it
//! is read, and one that does not fit its name, torn by a crash say, is removed and not there. What a digest names is
//! the same wherever it came from, so that registries share entries; whether a registry still has it, and lets it be
//! read, is for the caller to ask. Beside the bytes stands what each tag named last, by a hash of its name: a
//! hint by what question to begin, and nothing to believe.
//!
//! Any number of processes may use one folder at once, and be killed at any moment (see `shelf`). Nothing waits for a
//! disk to have it. It holds nothing secret, is for its owner alone all the same, and may be deleted at any time.
//!
//! Where it cannot be written, reading goes on and writing ends, and that is said once; nobody fails for it.

mod shelf;
mod tags;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::folder;
use crate::limits::cache::CACHE_ENTRY_BYTES_MAX;
use crate::oci::Digest;

use shelf::{Found, Key, SHELVES, Shelf};
use tags::Tags;

/// The cache of one folder. Cloning is cheap and shares everything.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    shelves: Vec<Shelf>,
    tags: Tags,
    /// Whether writing is over.
    is_read_only: AtomicBool,
}

/// Something that is there under a digest, as far as its name says.
pub struct Entry {
    cache: Cache,
    digest: Digest,
    found: Found,
}

impl Cache {
    /// The cache in `folder`, which is made if it is not there, readable by its owner alone.
    ///
    /// # Errors
    ///
    /// When it cannot be made or written into, is a link, belongs to somebody else, or others may write into it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        folder::prepare(folder)?;
        shelf::sweep(folder);
        Ok(Self(Arc::new(Inner {
            folder: folder.to_owned(),
            shelves: (0..SHELVES).map(|at| Shelf::new(folder, at)).collect(),
            tags: Tags::new(folder),
            is_read_only: AtomicBool::new(false),
        })))
    }

    /// What is there under `digest`.
    pub fn find(&self, digest: &Digest) -> Option<Entry> {
        let (file, key) = self.place(digest)?;
        let found = match file.find(&key) {
            Ok(found) => found?,
            Err(error) => {
                self.noted(Err(error));
                return None;
            }
        };
        Some(Entry {
            cache: self.clone(),
            digest: *digest,
            found,
        })
    }

    /// Keeps `bytes`, of which the caller knows that they have `digest`. What is larger than an entry may be
    /// is passed over, and so is what is there.
    pub fn keep(&self, digest: &Digest, bytes: &[u8]) {
        if bytes.len() > CACHE_ENTRY_BYTES_MAX || self.is_read_only() {
            return;
        }
        let is_there = |entry: Entry| entry.size() == bytes.len();
        if self.find(digest).is_some_and(is_there) {
            return;
        }
        if let Some((file, key)) = self.place(digest) {
            self.noted(file.add(&key, bytes));
        }
    }

    /// What the tag `name` named when it was last asked for: by whatever process, and true or not.
    pub fn last(&self, name: &str) -> Option<Digest> {
        self.0.tags.last(name)
    }

    /// Notes that the tag `name` names `digest` now; `None` that there is no such tag.
    pub fn note(&self, name: &str, digest: Option<Digest>) {
        if !self.is_read_only() && self.0.tags.note(name, digest) == tags::Saved::Due {
            self.settle();
        }
    }

    /// Writes down what was noted of tags, and what was used. To be called at the end of a run; what a killed one had
    /// not written is asked for as it was the first time.
    pub fn settle(&self) {
        if !self.is_read_only() {
            self.noted(self.0.tags.save());
            for shelf in &self.0.shelves {
                self.noted(shelf.settle());
            }
        }
    }

    fn is_read_only(&self) -> bool {
        self.0.is_read_only.load(Ordering::Relaxed)
    }

    /// Ends writing for good where it did not work.
    fn noted(&self, written: io::Result<()>) {
        if let Err(error) = written
            && !self.0.is_read_only.swap(true, Ordering::Relaxed)
        {
            let folder = self.0.folder.display();
            tracing::warn!("nothing more is kept in the cache `{folder}`: {error}");
        }
    }

    /// Where the bytes of `digest` are.
    fn place(&self, digest: &Digest) -> Option<(&Shelf, Key)> {
        let key: &Key = digest.value().first_chunk()?;
        let (first, _) = key.split_first()?;
        let file = self.0.shelves.get(usize::from(*first) % SHELVES)?;
        Some((file, *key))
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cache").field(&self.0.folder).finish()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&self.digest).finish()
    }
}

impl Entry {
    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.found.size()
    }

    /// Its bytes, which have its digest; what has not is forgotten. To have been read is its last use.
    ///
    /// Blocks for as long as it takes to read at most 1 MiB of a file.
    pub fn read(self) -> Option<Bytes> {
        let (file, key) = self.cache.place(&self.digest)?;
        let read = self.found.bytes();
        let fits = |bytes: &Vec<u8>| self.digest.of_same_kind(bytes) == self.digest;
        let Some(bytes) = read.ok().filter(fits) else {
            tracing::debug!(digest = %self.digest, "an entry of the cache is something else");
            file.forget(&key);
            return None;
        };
        file.used(&key);
        Some(Bytes::from(bytes))
    }
}

/// What has to hold whatever stands in the files of a cache.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    shelf::fuzz(bytes);
    tags::fuzz(bytes);
}

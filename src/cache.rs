//! Bytes that registries served, kept on disk by their digests: so that what has not changed is not read again.
//!
//! Bytes alone, and never what was thought of them: a verdict is made anew every time. An entry is hashed whenever it
//! is read, and one that does not fit its name, torn by a crash say, is removed and not there. What a digest names is
//! the same wherever it came from, so that registries share entries; whether a registry still has it, and lets it be
//! read, is for the caller to ask. Beside the bytes stands what each tag named last, by a hash of its name: a
//! hint by what question to begin, and nothing to believe.
//!
//! Any number of processes may use one folder at once: what is written is written under another name and then
//! renamed, and what is removed was not needed. Nothing waits for a disk to have it. It holds nothing secret, is
//! for its owner alone all the same, and may be deleted at any time.
//!
//! Where it cannot be written, reading goes on and writing ends, and that is said once; nobody fails for it.

mod shelf;
mod tags;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::folder;
use crate::limits::cache::CACHE_ENTRY_BYTES_MAX;
use crate::oci::Digest;

use shelf::Shelves;
use tags::Tags;

/// How old the time of an entry's last use may be before it is noted again: what is used nightly is told from
/// what is not, and most reads write nothing.
const USE_NOTED: Duration = Duration::from_hours(1);

/// The cache of one folder. Cloning is cheap and shares everything.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    shelves: Shelves,
    tags: Tags,
    /// Whether writing is over.
    is_read_only: AtomicBool,
}

/// Something that is there under a digest, as far as its name says.
pub struct Entry {
    digest: Digest,
    path: PathBuf,
    size: usize,
    used: SystemTime,
}

impl Cache {
    /// The cache in `folder`, which is made if it is not there, readable by its owner alone.
    ///
    /// # Errors
    ///
    /// When it cannot be made or written into, is a link, belongs to somebody else, or others may write into it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        folder::prepare(folder)?;
        shelf::sweep_temporary(folder);
        Ok(Self(Arc::new(Inner {
            folder: folder.to_owned(),
            shelves: Shelves::default(),
            tags: Tags::new(folder),
            is_read_only: AtomicBool::new(false),
        })))
    }

    /// What is there under `digest`.
    pub fn find(&self, digest: &Digest) -> Option<Entry> {
        let path = self.path(digest);
        // Looked at first: to open a pipe that somebody put there would wait for a writer.
        let there = fs::symlink_metadata(&path).ok()?;
        let size = usize::try_from(there.len()).ok()?;
        let is_entry = there.is_file() && size <= CACHE_ENTRY_BYTES_MAX;
        is_entry.then(|| Entry {
            digest: *digest,
            path,
            size,
            used: there.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    /// Keeps `bytes`, of which the caller knows that they have `digest`. What is larger than an entry may be
    /// is passed over.
    pub fn keep(&self, digest: &Digest, bytes: &[u8]) {
        if bytes.len() > CACHE_ENTRY_BYTES_MAX || self.is_read_only() {
            return;
        }
        if self
            .find(digest)
            .is_some_and(|entry| entry.size == bytes.len())
        {
            return;
        }
        let path = self.path(digest);
        if let Some(shelf) = path.parent() {
            self.0.shelves.make_room(shelf, bytes.len());
        }
        self.noted(shelf::write(&path, bytes));
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

    /// Writes down what was noted of tags. To be called at the end of a run; what a killed one had not written
    /// is asked for as it was the first time.
    pub fn settle(&self) {
        if !self.is_read_only() {
            self.noted(self.0.tags.save());
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

    /// Where the bytes of `digest` are: on one of as many shelves as two digits make.
    fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let digits = hex.get(..2).unwrap_or_default();
        let name = format!("{}-{hex}", digest.algorithm().name());
        self.0.folder.join(digits).join(name)
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
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Its bytes, which have its digest; what has not is removed. To have been read is its last use.
    ///
    /// Blocks for as long as a file of at most 1 MiB takes.
    pub fn read(self) -> Option<Bytes> {
        let Ok(file) = File::open(&self.path) else {
            return None;
        };
        let mut bytes = Vec::with_capacity(self.size + 1);
        let most = u64::try_from(CACHE_ENTRY_BYTES_MAX).unwrap_or(u64::MAX);
        let read = (&file).take(most).read_to_end(&mut bytes);
        if read.is_err() || self.digest.of_same_kind(&bytes) != self.digest {
            tracing::debug!(digest = %self.digest, "an entry of the cache is something else, and is removed");
            // Another one may stand there meanwhile: it is missed once.
            drop(fs::remove_file(&self.path));
            return None;
        }
        let now = SystemTime::now();
        let is_noted = now
            .duration_since(self.used)
            .is_ok_and(|age| age < USE_NOTED);
        if !is_noted && let Err(error) = file.set_modified(now) {
            tracing::debug!(digest = %self.digest, %error, "the use of an entry is not noted");
        }
        Some(Bytes::from(bytes))
    }
}

//! Where the blobs are: files of a directory, or memory.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};

use crate::oci::{Algorithm, Digest};

use super::error::{Error, Kind};

/// How many bytes of a blob are read at a time: large enough that a file costs few turns of the
/// blocking pool, small enough that hundreds of readers stay cheap.
const CHUNK_BYTES: u64 = 256 * 1024;

/// The place of uploads that are not finished, beside `blobs` so that a rename moves them.
const UPLOADS: &str = ".uploads";

/// The bytes of a blob as they are read.
pub type BlobStream = BoxStream<'static, Result<Bytes, Error>>;

/// A blob that is there.
#[derive(Debug)]
pub struct Blob {
    size: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    File(File, PathBuf),
}

impl Blob {
    /// Its size in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of `range`, cut to the size, in pieces of at most 256 KiB.
    ///
    /// A file that turns out shorter than it was ends the stream with an error.
    pub fn stream(self, range: Range<u64>) -> BlobStream {
        let end = range.end.min(self.size);
        let start = range.start.min(end);
        match self.source {
            Source::Memory(bytes) => {
                let part = slice(&bytes, start, end);
                stream::iter(pieces(part)).map(Ok).boxed()
            }
            Source::File(file, path) => {
                let reader = FileReader {
                    file,
                    path,
                    at: start,
                    end,
                };
                stream::try_unfold(Some(reader), FileReader::next).boxed()
            }
        }
    }

    /// The whole blob, for documents that are read at once.
    ///
    /// # Errors
    ///
    /// When it is larger than `limit` bytes or cannot be read.
    pub(super) fn read(self, limit: u64) -> Result<Bytes, Error> {
        match self.source {
            Source::Memory(bytes) if self.size <= limit => Ok(bytes),
            Source::Memory(_) => Err(Error::new("memory", Kind::TooLarge(limit))),
            Source::File(_, path) if self.size > limit => {
                Err(Error::new(path, Kind::TooLarge(limit)))
            }
            Source::File(file, path) => {
                let mut bytes = Vec::new();
                file.take(limit)
                    .read_to_end(&mut bytes)
                    .map_err(Error::io(&path, "read it"))?;
                Ok(Bytes::from(bytes))
            }
        }
    }
}

struct FileReader {
    file: File,
    path: PathBuf,
    at: u64,
    end: u64,
}

impl FileReader {
    async fn next(this: Option<Self>) -> Result<Option<(Bytes, Option<Self>)>, Error> {
        let Some(mut this) = this.filter(|this| this.at < this.end) else {
            return Ok(None);
        };
        blocking(move || {
            let wanted = CHUNK_BYTES.min(this.end - this.at);
            let bytes = this
                .chunk(wanted)
                .map_err(Error::io(&this.path, "read it"))?;
            this.at += wanted;
            Ok(Some((bytes, Some(this))))
        })
        .await
    }

    fn chunk(&mut self, wanted: u64) -> io::Result<Bytes> {
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
        let got = (&self.file).take(wanted).read_to_end(&mut bytes)?;
        if u64::try_from(got).ok() != Some(wanted) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Bytes::from(bytes))
    }
}

fn slice(bytes: &Bytes, start: u64, end: u64) -> Bytes {
    let place = |at: u64| usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
    bytes.slice(place(start)..place(end))
}

fn pieces(mut rest: Bytes) -> impl Iterator<Item = Bytes> {
    let step = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX);
    std::iter::from_fn(move || {
        let piece = rest.split_to(step.min(rest.len()));
        (!piece.is_empty()).then_some(piece)
    })
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T, W>(work: W) -> Result<T, Error>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T, Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(gone) => Err(Error::io(Path::new("layout"), "finish the work on it")(
            io::Error::other(gone),
        )),
    }
}

/// Where the blobs are.
#[derive(Debug, Clone)]
pub(super) enum Store {
    Memory(Arc<Memory>),
    Directory(Arc<Directory>),
}

/// Blobs in memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    blobs: Mutex<HashMap<Digest, Bytes>>,
}

impl Memory {
    pub(super) fn blobs(&self) -> MutexGuard<'_, HashMap<Digest, Bytes>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blobs in the files of a directory.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    /// Held while the directory is open for writing; `None` when it is open for reading.
    lock: Option<File>,
    /// Numbers the temporary files: the lock makes this process their only owner.
    next: AtomicU64,
}

/// Refuses what stands at `path` unless it is of this kind; nothing there is fine.
fn refuse_unless(path: &Path, is_right: impl Fn(&fs::Metadata) -> bool) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !is_right(&metadata) => {
            let error = io::Error::other("it is a link, or not what a layout has there");
            Err(Error::io(path, "use it")(error))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(path, "look at it")(error))
        }
        _ => Ok(()),
    }
}

impl Directory {
    pub(super) const fn for_reading(root: PathBuf) -> Self {
        Self {
            root,
            lock: None,
            next: AtomicU64::new(0),
        }
    }

    /// Takes the directory for this process and clears what an earlier one left unfinished.
    pub(super) fn for_writing(root: PathBuf) -> Result<Self, Error> {
        let uploads = root.join(UPLOADS);
        fs::create_dir_all(&uploads).map_err(Error::io(&uploads, "create it"))?;
        // A layout may come from elsewhere: nothing is written or removed through a link in it.
        let blobs = root.join("blobs");
        let kinds = [Algorithm::Sha256, Algorithm::Sha512].map(|kind| blobs.join(kind.name()));
        for folder in kinds.iter().chain([&blobs, &uploads]) {
            refuse_unless(folder, fs::Metadata::is_dir)?;
        }
        let path = uploads.join("lock");
        refuse_unless(&path, fs::Metadata::is_file)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io(&path, "create it"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(Error::new(root, Kind::InUse)),
            Err(fs::TryLockError::Error(error)) => return Err(Error::io(&path, "lock it")(error)),
        }
        for entry in fs::read_dir(&uploads).map_err(Error::io(&uploads, "list it"))? {
            let path = entry.map_err(Error::io(&uploads, "list it"))?.path();
            // Only what `temporary` names is ours to remove.
            let name = path.file_name().map(|name| name.to_string_lossy());
            if name.is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit())) {
                fs::remove_file(&path).map_err(Error::io(&path, "remove it"))?;
            }
        }
        Ok(Self {
            lock: Some(lock),
            ..Self::for_reading(root)
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) const fn is_writable(&self) -> bool {
        self.lock.is_some()
    }

    /// A new name for a temporary file.
    pub(super) fn temporary(&self) -> Temporary {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Temporary {
            path: self.root.join(UPLOADS).join(number.to_string()),
        }
    }

    /// The file of a blob. Only a [`Digest`] gives one, so that nothing else gets into the path.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root
            .join("blobs")
            .join(digest.algorithm().name())
            .join(digest.hex())
    }

    fn open(&self, digest: &Digest) -> Result<Option<Blob>, Error> {
        let path = self.blob(digest);
        let Some(size) = file_size(&path)? else {
            return Ok(None);
        };
        match File::open(&path) {
            Ok(file) => Ok(Some(Blob {
                size,
                source: Source::File(file, path),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path, "open it")(error)),
        }
    }
}

/// The size of a plain file. A symbolic link is none: in a layout from elsewhere it could lead to
/// any file of this machine.
fn file_size(path: &Path) -> Result<Option<u64>, Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
        Ok(_) => Ok(None),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::io(path, "look at it")(error)),
    }
}

impl Store {
    /// The size of a blob, or `None` where there is none.
    pub(super) fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match self {
            Self::Memory(memory) => Ok(memory.blobs().get(digest).map(length)),
            Self::Directory(directory) => file_size(&directory.blob(digest)),
        }
    }

    /// Opens a blob, or finds none.
    pub(super) fn open(&self, digest: &Digest) -> Result<Option<Blob>, Error> {
        match self {
            Self::Memory(memory) => Ok(memory.blobs().get(digest).map(|bytes| Blob {
                size: length(bytes),
                source: Source::Memory(bytes.clone()),
            })),
            Self::Directory(directory) => directory.open(digest),
        }
    }

    /// Removes a blob; one that is not there is fine.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), Error> {
        match self {
            Self::Memory(memory) => {
                memory.blobs().remove(digest);
                Ok(())
            }
            Self::Directory(directory) if !directory.is_writable() => {
                Err(Error::new(directory.root(), Kind::ReadOnly))
            }
            Self::Directory(directory) => {
                let path = directory.blob(digest);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        Err(Error::io(&path, "remove it")(error))
                    }
                    Ok(()) | Err(_) => Ok(()),
                }
            }
        }
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A temporary file, removed when dropped; once it was renamed, nothing is left to remove.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
}

impl Temporary {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nobody is there to hear of a failure, and the next start clears what stayed.
        drop(fs::remove_file(&self.path));
    }
}

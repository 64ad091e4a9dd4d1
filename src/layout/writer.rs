//! Writing one blob: hashed as it passes, visible only when its digest fits.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use crate::oci::{Algorithm, Digest, Digester};

use super::error::{Error, Kind};
use super::store::{Directory, Memory, Store, Temporary, blocking};

/// How many bytes are gathered before they are hashed and written in one turn of the blocking
/// pool. Twice as many can be in memory: one piece is written while the next one comes in.
const PIECE_BYTES: usize = 256 * 1024;

/// Writes one blob of a layout.
///
/// Nothing can be seen of it before [`BlobWriter::commit`]; dropped before that, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    written: u64,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Memory {
        memory: Arc<Memory>,
        bytes: BytesMut,
    },
    File(Box<FileSink>),
}

impl BlobWriter {
    pub(super) fn new(store: &Store) -> Result<Self, Error> {
        let sink = match store {
            Store::Memory(memory) => Sink::Memory {
                memory: Arc::clone(memory),
                bytes: BytesMut::new(),
            },
            Store::Directory(directory) if !directory.is_writable() => {
                return Err(Error::new(directory.root(), Kind::ReadOnly));
            }
            Store::Directory(directory) => Sink::File(Box::new(FileSink {
                directory: Arc::clone(directory),
                pending: Vec::new(),
                pending_bytes: 0,
                state: State::Idle(Box::new(Work {
                    temporary: directory.temporary(),
                    file: None,
                    digester: Digester::new(Algorithm::Sha256),
                })),
            })),
        };
        Ok(Self { written: 0, sink })
    }

    /// How many bytes were taken in so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    ///
    /// When the disk refuses these or earlier bytes; the writer is of no use then.
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, the bytes were taken in.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.written += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match &mut self.sink {
            Sink::Memory { bytes: all, .. } => {
                all.extend_from_slice(&bytes);
                Ok(())
            }
            Sink::File(sink) => {
                sink.pending_bytes += bytes.len();
                sink.pending.push(bytes);
                if sink.pending_bytes < PIECE_BYTES {
                    return Ok(());
                }
                sink.start().await
            }
        }
    }

    /// Makes the blob visible under `digest` and gives its size.
    ///
    /// # Errors
    ///
    /// When the bytes have another digest, or the disk refuses. Nothing is left then.
    ///
    /// # Cancel safety
    ///
    /// Dropped while waiting, the blob is either there or not.
    pub async fn commit(self, digest: &Digest) -> Result<u64, Error> {
        match self.sink {
            Sink::Memory { memory, bytes } => {
                let bytes = bytes.freeze();
                let actual = digest.of_same_kind(&bytes);
                if actual != *digest {
                    return Err(Error::mismatch("memory", *digest, actual));
                }
                memory.blobs().insert(*digest, bytes);
            }
            Sink::File(sink) => sink.commit(*digest).await?,
        }
        Ok(self.written)
    }
}

#[derive(Debug)]
struct FileSink {
    directory: Arc<Directory>,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle(Box<Work>),
    Running(JoinHandle<Result<Box<Work>, Error>>),
    Broken,
}

/// What the blocking pool works on; it travels there and back, so that one piece follows another.
#[derive(Debug)]
struct Work {
    temporary: Temporary,
    /// Opened with the first byte: an upload that only began costs no file.
    file: Option<File>,
    digester: Digester,
}

impl FileSink {
    /// Waits for the piece before this one, then starts writing what is pending.
    async fn start(&mut self) -> Result<(), Error> {
        let mut work = self.settle().await?;
        let pieces = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        self.state = State::Running(tokio::task::spawn_blocking(move || {
            work.append(&pieces)?;
            Ok(work)
        }));
        Ok(())
    }

    async fn settle(&mut self) -> Result<Box<Work>, Error> {
        if let State::Running(handle) = &mut self.state {
            // Only once it is over may the state change: a dropped caller loses no work.
            let over = handle.await;
            self.state = match over {
                Ok(Ok(work)) => State::Idle(work),
                Ok(Err(error)) => {
                    self.state = State::Broken;
                    return Err(error);
                }
                Err(_) => State::Broken,
            };
        }
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Idle(work) => Ok(work),
            State::Running(_) | State::Broken => {
                Err(Error::new(self.directory.root(), Kind::Broken))
            }
        }
    }

    async fn commit(mut self, digest: Digest) -> Result<(), Error> {
        let mut work = self.settle().await?;
        let pieces = std::mem::take(&mut self.pending);
        let directory = Arc::clone(&self.directory);
        blocking(move || {
            work.append(&pieces)?;
            work.finish(&directory, digest)
        })
        .await
    }
}

impl Work {
    fn append(&mut self, pieces: &[Bytes]) -> Result<(), Error> {
        for piece in pieces {
            self.digester.update(piece);
            let path = self.temporary.path();
            let mut file = match self.file.take() {
                Some(file) => file,
                None => File::create_new(path).map_err(Error::io(path, "create it"))?,
            };
            file.write_all(piece)
                .map_err(Error::io(path, "write to it"))?;
            self.file = Some(file);
        }
        Ok(())
    }

    fn finish(mut self, directory: &Directory, digest: Digest) -> Result<(), Error> {
        // An empty blob has no piece that would have made its file.
        self.append(&[Bytes::new()])?;
        drop(self.file.take());
        let path = self.temporary.path();
        let actual = match digest.algorithm() {
            Algorithm::Sha256 => self.digester.finish(),
            other @ Algorithm::Sha512 => hash(path, other).map_err(Error::io(path, "read it"))?,
        };
        if actual != digest {
            return Err(Error::mismatch(path, digest, actual));
        }
        let target = directory.blob(&digest);
        let renamed = fs::rename(path, &target).or_else(|error| {
            let parent = target.parent().filter(|parent| !parent.exists());
            fs::create_dir_all(parent.ok_or(error)?)?;
            fs::rename(path, &target)
        });
        renamed.map_err(Error::io(&target, "create it"))
    }
}

/// Hashes a file again, for a digest of another algorithm than the usual one: which one it is may
/// be known only at the end.
fn hash(path: &std::path::Path, algorithm: Algorithm) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut digester = Digester::new(algorithm);
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(digester.finish());
        }
        digester.update(buffer.get(..count).unwrap_or_default());
    }
}

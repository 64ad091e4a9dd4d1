//! What can be wrong with a layout, or with the disk under it.

use std::io;
use std::path::{Path, PathBuf};

use crate::oci::Digest;

/// Why a layout could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("image layout `{}`", path.display())]
pub struct Error {
    /// The file or directory concerned; `memory` for a layout without one.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub kind: Kind,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Kind {
    /// There is no `oci-layout` file, so the directory is something else.
    #[error("it is not an OCI image layout: there is no `oci-layout` file")]
    NotALayout,
    /// The directory is not empty and is no layout, so nothing is created in it.
    #[error("it has files but is not an OCI image layout; name an empty or new directory")]
    NotEmpty,
    /// A version of the format that is not known here.
    #[error("its version is `{0}`, and only 1.0.0 is known")]
    Version(String),
    /// A document is not what the specification says.
    #[error("it does not follow the image specification")]
    Document(#[source] serde_json::Error),
    /// A document is larger than is read.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// The bytes have another digest than they were said to have.
    #[error(transparent)]
    Digest(Box<Mismatch>),
    /// The layout was opened for reading.
    #[error("it was opened for reading only")]
    ReadOnly,
    /// Another process has it open for writing.
    #[error("another process has it open for writing")]
    InUse,
    /// A writer that failed before was used again.
    #[error("an earlier write to this blob failed")]
    Broken,
    /// The disk, or the way to it.
    #[error("cannot {action}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Two digests that should be one.
#[derive(Debug, thiserror::Error)]
#[error("the bytes have digest `{actual}`, not `{expected}`")]
pub struct Mismatch {
    /// What was announced.
    pub expected: Digest,
    /// What was computed.
    pub actual: Digest,
}

impl Error {
    pub(super) fn new(path: impl Into<PathBuf>, kind: Kind) -> Self {
        Self {
            path: path.into(),
            kind,
        }
    }

    pub(super) fn mismatch(path: impl Into<PathBuf>, expected: Digest, actual: Digest) -> Self {
        Self::new(path, Kind::Digest(Box::new(Mismatch { expected, actual })))
    }

    /// For `map_err`: the system refused `action` on `path`.
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::new(path, Kind::Io { action, source })
    }

    /// Whether the bytes and their digest disagree, which is the writer's fault and not the disk's.
    pub const fn is_digest_mismatch(&self) -> bool {
        matches!(self.kind, Kind::Digest(_))
    }
}

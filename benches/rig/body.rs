//! What answers consist of: bytes that are there already, or a part of a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// How much is read of a file at a time, in bytes: four records of TLS.
const PIECE: usize = 64 * 1024;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Content {
    /// Sent as they are, without a copy.
    Bytes(Bytes),
    /// So many bytes of a file from an offset on. They are read where they are sent: the files are in
    /// memory, of one kind or another, so that there is nothing to wait for.
    File { file: File, offset: u64, left: u64 },
}

impl Content {
    /// A part of bytes, from the first to before the second; what is beyond their end is not there.
    pub(crate) fn part_of(bytes: &Bytes, first: u64, end: u64) -> Self {
        let within = |at| usize::try_from(at).map_or(bytes.len(), |at: usize| at.min(bytes.len()));
        let end = within(end);
        Self::Bytes(bytes.slice(within(first).min(end)..end))
    }

    /// A part of a file, from the first byte to before the second.
    pub(crate) fn part_of_file(file: File, first: u64, end: u64) -> Self {
        Self::File {
            file,
            offset: first,
            left: end.saturating_sub(first),
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match &mut *self {
            Self::Bytes(bytes) => Ok(std::mem::take(bytes)),
            Self::File { file, offset, left } => read(file, offset, left),
        };
        Poll::Ready(match piece {
            Ok(piece) if piece.is_empty() => None,
            piece => Some(piece.map(Frame::data)),
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::File { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::File { left, .. } => *left,
        })
    }
}

/// The next piece of a file; nothing at the end.
fn read(file: &File, offset: &mut u64, left: &mut u64) -> io::Result<Bytes> {
    let length = usize::try_from(*left).map_or(PIECE, |left| left.min(PIECE));
    let mut piece = vec![0; length];
    file.read_exact_at(&mut piece, *offset)?;
    let length = u64::try_from(length).map_err(io::Error::other)?;
    *offset += length;
    *left = left.saturating_sub(length);
    Ok(piece.into())
}

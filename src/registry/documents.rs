//! Room for documents: how much of what registries serve is held in memory at once, by all jobs of a run.
//!
//! A small document costs nothing, so that no image has to wait for others that are made to be large. What
//! is larger waits for room, which is given back with the last copy of its bytes: whoever holds a manifest
//! holds its room. One may hold some and wait for more (an index, and its manifests), so that several may
//! wait for each other for ever; they wait for a while, and then the document is refused. What needs little
//! does not wait behind what needs much: that may wait for a registry that takes its time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use tokio::sync::Notify;

use crate::limits::answer::DOCUMENTS_BYTES_MAX;
use crate::oci::{Descriptor, Measure, Repository};

use super::auth::Access;
use super::call::{Call, Fetched, Lane, Read, read_document};
use super::client::Client;
use super::error::{Error, ErrorKind, Mismatch};
use super::transport::Transport;

/// What is small enough to cost nothing, in bytes as [`Measure::weight`] counts: an image of 60 layers.
pub(super) const FREE_BYTES: usize = 64 * 1024;
/// How much of an answer is read before there is room for it, in bytes: a page of 1000 tags fits.
pub(super) const UNASKED_BYTES: usize = 80 * 1024;
/// How many times its bytes a blob takes that is read whole: a bundle is decoded into parts, and those again.
const BLOB_FACTOR: usize = 4;
/// How long room is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is said of a document that waited in vain.
pub(super) const NO_ROOM: &str =
    "there was no room for it: documents of a run take at most 16 MiB of memory at once";

/// The room for documents of one run.
#[derive(Debug, Default)]
pub(super) struct Documents(Arc<Space>);

/// Room that something takes; given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Room(Option<Taken>);

#[derive(Debug)]
struct Space {
    /// In bytes.
    free: Mutex<usize>,
    /// Told of all that is given back.
    freed: Notify,
}

/// A part of a space.
#[derive(Debug)]
struct Taken {
    space: Arc<Space>,
    bytes: usize,
}

/// How much of an answer is read, and how much room it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// In bytes.
    pub(super) bytes: usize,
    /// How much memory it takes, in bytes, with what is made of it.
    pub(super) weigh: fn(&[u8]) -> usize,
    /// How much of that costs nothing, in bytes: of one of many parts everything counts.
    pub(super) free: usize,
}

/// The weight of a document that is parsed as a whole. One with more values than any may have is not.
pub(super) fn as_document(json: &[u8]) -> usize {
    let measure = Measure::of(json).check();
    measure.map_or_else(|_| as_it_is(json), Measure::weight)
}

/// The weight of what is only passed through.
pub(super) const fn as_it_is(bytes: &[u8]) -> usize {
    2 * bytes.len()
}

impl Default for Space {
    fn default() -> Self {
        Self {
            free: Mutex::new(DOCUMENTS_BYTES_MAX),
            freed: Notify::new(),
        }
    }
}

impl Space {
    fn free(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, bytes: usize) -> Option<Taken> {
        let mut free = self.free();
        *free = free.checked_sub(bytes)?;
        Some(Taken {
            space: Arc::clone(self),
            bytes,
        })
    }

    async fn wait(self: &Arc<Self>, bytes: usize) -> Taken {
        loop {
            // Made before it is looked at, so that nothing that is given back in between is missed.
            let freed = self.freed.notified();
            if let Some(taken) = self.take(bytes) {
                return taken;
            }
            freed.await;
        }
    }
}

impl Taken {
    fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        *self.space.free() += bytes;
        self.space.freed.notify_waiters();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

impl Documents {
    /// Room for so many bytes, or for as many as there are at all; waits for others to give some back.
    pub(super) async fn room(&self, bytes: usize) -> Result<Room, ErrorKind> {
        let taken = self.0.wait(bytes.min(DOCUMENTS_BYTES_MAX));
        match tokio::time::timeout(PATIENCE, taken).await {
            Ok(taken) => Ok(Room(Some(taken))),
            Err(_) => Err(ErrorKind::Protocol(NO_ROOM)),
        }
    }

    /// The same, if there is room now.
    pub(super) fn try_room(&self, bytes: usize) -> Option<Room> {
        let taken = self.0.take(bytes.min(DOCUMENTS_BYTES_MAX))?;
        Some(Room(Some(taken)))
    }

    /// Room for a blob of so many bytes that is read whole, and for what is made of it.
    pub(super) async fn blob_room(&self, bytes: usize) -> Result<Room, ErrorKind> {
        let wanted = bytes.saturating_mul(BLOB_FACTOR);
        if wanted <= FREE_BYTES {
            return Ok(Room::default());
        }
        self.room(wanted).await
    }

    /// Makes `room` as large as `json` needs it.
    pub(super) async fn fit(
        &self,
        room: &mut Room,
        json: &[u8],
        bound: Bound,
    ) -> Result<(), ErrorKind> {
        let wanted = (bound.weigh)(json).min(DOCUMENTS_BYTES_MAX);
        let had = room.bytes();
        if wanted <= bound.free {
            *room = Room::default();
        } else if wanted > had {
            room.join(self.room(wanted - had).await?);
        } else {
            room.shrink(wanted);
        }
        Ok(())
    }
}

impl Room {
    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |taken| taken.bytes)
    }

    fn join(&mut self, mut more: Self) {
        match (&mut self.0, &mut more.0) {
            (Some(taken), Some(more)) => taken.bytes += std::mem::take(&mut more.bytes),
            (None, _) => *self = more,
            (Some(_), None) => {}
        }
    }

    fn shrink(&mut self, bytes: usize) {
        if let Some(taken) = &mut self.0 {
            taken.give_back(taken.bytes.saturating_sub(bytes));
        }
    }

    /// The same bytes, which hold the room until the last copy of them is dropped.
    pub(super) fn with(self, bytes: Bytes) -> Bytes {
        struct Held {
            bytes: Bytes,
            // Kept for its Drop.
            _room: Room,
        }
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.bytes
            }
        }
        if self.0.is_none() {
            return bytes;
        }
        Bytes::from_owner(Held { bytes, _room: self })
    }
}

impl Transport {
    /// Sends what `call` makes and reads the whole answer, of at most `limit` bytes; one that is cut
    /// off is asked for again, and so is a large one for which there is no room now.
    ///
    /// # Errors
    ///
    /// As [`Self::send`], and when the answer does not come to its end.
    pub(super) async fn fetch<'a>(
        &self,
        call: impl Fn() -> Call<'a>,
        limit: usize,
    ) -> Result<Fetched, Error> {
        let retry = self.settings.retry;
        let mut attempt = 1;
        let mut room = None;
        loop {
            let mut answer = self.send(call()).await?;
            let attempts = answer.attempts.max(attempt);
            let stall = self.settings.stall_timeout;
            let room_in = (&self.documents, room.take());
            let read = read_document(&mut answer.response, limit, stall, room_in).await;
            let kind = match read {
                Ok(Read::All(body, room)) => {
                    return Ok(Fetched::new(answer, (body, room), attempts));
                }
                Ok(Read::Crowded(bytes)) => {
                    // It is asked for anew: nobody keeps an answer waiting, and what has come of it.
                    let refused = answer.error(ErrorKind::Protocol(NO_ROOM));
                    drop(answer);
                    room = self.documents.room(bytes).await.ok();
                    if room.is_none() {
                        return Err(refused);
                    }
                    continue;
                }
                Err(kind) => kind,
            };
            let mut error = answer.error(kind);
            error.attempts = attempts;
            if attempt >= retry.attempts || !matches!(error.kind, ErrorKind::Network(_)) {
                return Err(error);
            }
            // Its place in the lane is given back before the next request needs one.
            drop(answer);
            tracing::debug!(attempt, %error, "reading again");
            tokio::time::sleep(retry.pause_after(attempt)).await;
            attempt += 1;
        }
    }
}

impl Client {
    /// Sends what `call` makes and reads the whole answer, which holds room for what is made of it.
    ///
    /// # Errors
    ///
    /// As [`Transport::fetch`]; [`NO_ROOM`].
    pub(super) async fn document<'a>(
        &self,
        call: impl Fn() -> Call<'a>,
        bound: Bound,
    ) -> Result<Fetched, Error> {
        let mut fetched = self.transport.fetch(call, bound.bytes).await?;
        let mut room = fetched.room.take().unwrap_or_default();
        let documents = &self.transport.documents;
        let fitted = documents.fit(&mut room, &fetched.body, bound).await;
        fitted.map_err(|kind| fetched.error(kind))?;
        fetched.body = room.with(fetched.body);
        Ok(fetched)
    }

    /// The whole of a small blob, verified.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; [`ErrorKind::Integrity`] when the descriptor says more than `limit` bytes or
    /// the bytes do not fit it.
    pub async fn pull_small_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Bytes, Error> {
        let unasked = |kind| Error {
            method: Method::GET,
            wait: None,
            url: format!("{repository}@{}", descriptor.digest),
            attempts: 0,
            kind,
        };
        if descriptor.size > limit {
            return Err(unasked(ErrorKind::Integrity(Box::new(Mismatch::Size {
                digest: descriptor.digest,
                expected: limit,
                served: descriptor.size,
            }))));
        }
        if let Some(bytes) = self.recall_blob(descriptor).await? {
            return Ok(bytes);
        }
        let size = usize::try_from(descriptor.size).unwrap_or(usize::MAX);
        let mut reader = self.blob(repository, descriptor, Lane::Small);
        let room = self.transport.documents.blob_room(size).await;
        let room = room.map_err(unasked)?;
        let mut bytes = BytesMut::with_capacity(size);
        while let Some(chunk) = reader.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        if let Some(cache) = self.memory(Access::Pull) {
            cache.keep(&descriptor.digest, &bytes);
        }
        Ok(room.with(bytes.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;
    const ALL: usize = DOCUMENTS_BYTES_MAX;

    #[tokio::test(start_paused = true)]
    async fn what_needs_little_does_not_wait_behind_what_needs_much() {
        let documents = Documents::default();
        let most = documents.room(DOCUMENTS_BYTES_MAX - MIB).await.unwrap();
        let mut large = Box::pin(documents.room(2 * MIB));
        assert!(futures::poll!(&mut large).is_pending());
        let mut small = Box::pin(documents.room(100 * 1024));
        assert!(futures::poll!(&mut small).is_ready());
        drop(small);
        drop(most);
        assert_eq!(large.await.unwrap().bytes(), 2 * MIB);
        assert_eq!(*documents.0.free(), DOCUMENTS_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_given_back_and_waited_for_a_while() {
        let documents = Documents::default();
        let mut room = documents.room(usize::MAX).await.unwrap();
        assert!(documents.room(1).await.is_err());
        room.shrink(2 * MIB);
        room.join(documents.room(MIB).await.unwrap());
        assert_eq!(room.bytes(), 3 * MIB);
        let bytes = room.with(Bytes::from_static(b"x"));
        let copy = bytes.clone();
        drop(bytes);
        assert_eq!(*documents.0.free(), DOCUMENTS_BYTES_MAX - 3 * MIB);
        drop(copy);
        assert_eq!(*documents.0.free(), DOCUMENTS_BYTES_MAX);
    }

    #[tokio::test]
    async fn room_is_held_by_the_last_copy_of_the_bytes() {
        let documents = Documents::default();
        let room = documents.room(ALL).await.unwrap();
        let bytes = room.with(Bytes::from_static(b"document"));
        let part = bytes.slice(2..4);
        drop(bytes);
        assert!(documents.try_room(1).is_none());
        assert_eq!(part, b"cu"[..]);
        drop(part);
        assert!(documents.try_room(ALL).is_some());
    }

    #[tokio::test]
    async fn what_is_small_takes_none() {
        let documents = Documents::default();
        let all = documents.try_room(ALL);
        assert!(all.is_some());
        let bound = Bound {
            bytes: 4096,
            weigh: as_document,
            free: FREE_BYTES,
        };
        let mut room = Room::default();
        documents.fit(&mut room, b"{}", bound).await.unwrap();
        assert_eq!(room.bytes(), 0);
        assert!(documents.blob_room(100).await.is_ok());
        drop(all);
        // Where everything counts it takes what it weighs.
        let bound = Bound { free: 0, ..bound };
        documents.fit(&mut room, b"{}", bound).await.unwrap();
        assert_eq!(room.bytes(), as_document(b"{}"));
    }

    #[tokio::test]
    async fn room_fits_what_is_made_of_a_document() {
        let documents = Documents::default();
        let bound = Bound {
            bytes: ALL,
            weigh: as_document,
            free: FREE_BYTES,
        };
        let list = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        for count in [1_000, 100_000, 10_000] {
            let json = list(count);
            let mut room = documents.room(1024 * 1024).await.unwrap();
            documents
                .fit(&mut room, json.as_bytes(), bound)
                .await
                .unwrap();
            let weight = Measure::of(json.as_bytes()).weight();
            assert_eq!(room.bytes(), weight, "{count}");
        }
        // One that is more than all there is takes all; what no reader takes is not counted as read.
        let mut room = documents.room(1).await.unwrap();
        let large = Bound {
            weigh: as_it_is,
            ..bound
        };
        documents
            .fit(&mut room, &vec![0; ALL], large)
            .await
            .unwrap();
        assert_eq!(room.bytes(), ALL);
        drop(room);
        let mut room = Room::default();
        let json = list(1_000_000);
        documents
            .fit(&mut room, json.as_bytes(), bound)
            .await
            .unwrap();
        assert!(room.bytes() <= 2 * json.len());
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_not_waited_for_for_ever() {
        let documents = Documents::default();
        let all = documents.room(ALL).await.unwrap();
        let began = tokio::time::Instant::now();
        let refused = documents.room(1).await.unwrap_err();
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(refused.to_string().contains("16 MiB"), "{refused}");
        assert_eq!(ALL, 16 * 1024 * 1024);
        drop(all);
        assert!(documents.room(ALL).await.is_ok());
    }
}

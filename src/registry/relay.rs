//! Relaying a blob: one GET feeds one PUT.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderValue, Method};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::oci::{Descriptor, Digest, Repository};

use super::auth::{Access, Scope, Side};
use super::blob::BlobReader;
use super::call::{Answer, Call, Lane, Payload, UNCONFIRMED};
use super::client::Client;
use super::error::{Error, ErrorKind};
use super::host::SelfMount;
use super::limit::Kind;
use super::resume::is_resume_refusal;
use super::trail::Halt;
use super::upload::{Begun, HUGE_BYTES, Upload};

/// After this many uploads without an answer that tells, one mount more is asked to learn it; below
/// it, learning would cost more than it saves.
const UPLOADS_BEFORE_LEARNING: u64 = 32;
/// A destination may take this many times the stall timeout to commit a blob that it has in full:
/// object stores copy large ones before they answer.
const COMMIT_PATIENCE: u32 = 5;

/// Who is told of the bytes that pass.
type Moved = Arc<dyn Fn(u64) + Send + Sync>;

/// Which side a relay failed on.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Reading failed.
    #[error(transparent)]
    Source(Error),
    /// Writing failed.
    #[error(transparent)]
    Destination(Error),
}

impl Client {
    /// Relays a blob from `from` into `upload`: one GET, one PUT, no disk, no more than a few pieces
    /// in memory. `moved` is told of every piece, in bytes, as it passes.
    ///
    /// A PUT that breaks is gone on with by another one for the rest, where the destination still has what it
    /// got: as long as each brings more, and as often as it takes.
    ///
    /// The caller holds [`Lanes`](super::Lanes) for both sides.
    ///
    /// # Errors
    ///
    /// With the side that failed. The session is given up; the blob is not there.
    ///
    /// # Cancel safety
    ///
    /// Dropping it cuts both connections before the last bytes were sent, so that nothing completes.
    pub async fn relay(
        &self,
        mut upload: Upload,
        from: &Repository,
        descriptor: &Descriptor,
        moved: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), RelayError> {
        let moved: Moved = Arc::new(moved);
        let host = self.transport.host(upload.repository.registry());
        let mut reader = match upload.source.take() {
            Some(reader) => *reader,
            None => self.blob(from, descriptor, Lane::Held),
        };
        // What the session broke with that is gone on with.
        let mut broke = None;
        loop {
            let trail = Arc::clone(reader.trail());
            let sent = self.send(&upload, reader, descriptor, Arc::clone(&moved));
            let mut error = match (sent.await, broke.take()) {
                (Ok(()), was_broken) => {
                    if was_broken.is_some() {
                        host.learn_resume(true);
                    }
                    self.learn(&upload.repository, descriptor).await;
                    return Ok(());
                }
                // What the destination has is not what the source gives now: from the beginning, once more.
                (Err(RelayError::Source(_)), Some(broke))
                    if trail.halt() == Some(Halt::Changed) =>
                {
                    return Err(RelayError::Destination(broke));
                }
                (Err(RelayError::Destination(error)), Some(broke))
                    if is_resume_refusal(&error.kind) =>
                {
                    tracing::debug!(%error, "an upload is not gone on with");
                    host.learn_resume(false);
                    self.give_up(&upload).await;
                    return Err(RelayError::Destination(broke));
                }
                (Err(RelayError::Source(error)), _) => return Err(RelayError::Source(error)),
                (Err(RelayError::Destination(error)), _) => error,
            };
            let resumed = self.resume(&upload, descriptor.size, &trail, &mut error);
            let Some((there, trail)) = resumed.await else {
                return Err(RelayError::Destination(error));
            };
            upload = there;
            reader = self.blob(from, descriptor, Lane::Held).along(trail);
            broke = Some(error);
        }
    }

    /// Sends what `reader` yields as the last part of `upload`, or as all of it.
    async fn send(
        &self,
        upload: &Upload,
        mut reader: BlobReader,
        descriptor: &Descriptor,
        moved: Moved,
    ) -> Result<(), RelayError> {
        let stop = CancellationToken::new();
        // However this ends, whoever still holds the body gets no more of it.
        let _stops = stop.clone().drop_guard();
        // The source first: while it makes us wait, or says no, no request stands open at the
        // destination.
        if let Err(error) = reader.begin().await {
            self.give_up(upload).await;
            return Err(RelayError::Source(error));
        }
        let pulse = Arc::new(Pulse::new(moved));
        let part = reader.trail().begun_with()..descriptor.size;
        if part.is_empty() {
            // An empty body is never asked for its bytes, so its digest is compared here.
            let read = reader.next().await;
            if let Err(error) = read {
                self.give_up(upload).await;
                return Err(RelayError::Source(error));
            }
            pulse.complete();
        }
        let body = reqwest::Body::wrap_stream(feed(reader, Arc::clone(&pulse), stop));
        let limit = self.transport.settings.stall_timeout;
        let payload = Payload::Stream(body, part.end.saturating_sub(part.start));
        let mut call = put(upload, &descriptor.digest, payload);
        if let Some(range) = content_range(&part) {
            call = call.header(CONTENT_RANGE, range);
        }
        let stalled = call.error(&upload.location, 1, ErrorKind::Stalled(limit));
        let sent = tokio::select! {
            sent = self.transport.send(call) => sent,
            () = pulse.stalls(limit) => Err(stalled),
        };
        if let Some(error) = pulse.take_error() {
            self.give_up(upload).await;
            return Err(RelayError::Source(error));
        }
        let answer = sent.map_err(RelayError::Destination)?;
        if !pulse.is_complete() {
            let what = "it accepted a blob before it had all of it";
            let error = answer.error(ErrorKind::Protocol(what));
            return Err(RelayError::Destination(error));
        }
        let confirmed = self.confirm(answer, &upload.repository, descriptor).await;
        confirmed.map_err(RelayError::Destination)
    }

    /// Makes sure that a blob is there, if the answer to its upload does not say so: 200, 202 or 204 without
    /// a word is what some say who have it, and what a login page says.
    async fn confirm(
        &self,
        answer: Answer,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<(), Error> {
        if answer.is_receipt() {
            return Ok(());
        }
        let unheard = answer.error(ErrorKind::Protocol(UNCONFIRMED));
        // The caller holds the lanes, so this is no request more at a time.
        drop(answer);
        let by_head = (Method::HEAD, Access::PullPush);
        let asked = self.asks_blob(repository, descriptor, by_head, Lane::Held);
        if asked.await? { Ok(()) } else { Err(unheard) }
    }

    /// Sends a small blob that is already here, and verified, into `upload`.
    ///
    /// The caller holds [`Lanes`](super::Lanes).
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`].
    pub async fn send_bytes(
        &self,
        upload: Upload,
        descriptor: &Descriptor,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let call = put(&upload, &descriptor.digest, Payload::Bytes(bytes));
        let answer = self.transport.send(call).await?;
        self.confirm(answer, &upload.repository, descriptor).await
    }

    /// Learns, once per registry, whether it mounts from the repository itself: the blob just brought
    /// must then be there. After a huge blob, or many others, so that it costs less than it saves.
    async fn learn(&self, repository: &Repository, descriptor: &Descriptor) {
        let host = self.transport.host(repository.registry());
        let uploads = host.count_upload();
        let is_worth_it = descriptor.size >= HUGE_BYTES || uploads >= UPLOADS_BEFORE_LEARNING;
        if host.self_mount() != SelfMount::Unknown || !is_worth_it || !host.begins_to_learn() {
            return;
        }
        let mount = Some((&descriptor.digest, repository));
        match self.open_upload(repository, mount, Lane::Held).await {
            Ok(Begun::There) => host.learn_self_mount(SelfMount::Honoured),
            Ok(Begun::Upload(upload)) => {
                host.learn_self_mount(SelfMount::Ignored);
                self.give_up(&upload).await;
            }
            Err(error) => {
                host.learn_self_mount(SelfMount::Ignored);
                tracing::debug!(%error, "no mount from the repository itself");
            }
        }
    }

    /// Tells the registry that nothing more comes; if that fails, the session expires by itself. Nothing is
    /// deleted at another origin: it need not be a session that the registry has named there.
    pub(super) async fn give_up(&self, upload: &Upload) {
        let base = self.transport.base(&upload.repository, Side::Destination);
        let is_own = |base: Url| base.origin() == upload.location.origin();
        if !base.await.is_ok_and(is_own) {
            return;
        }
        let mut call = call(upload, Method::DELETE, upload.location.clone());
        call.lane = Lane::Held;
        let asked = tokio::time::timeout(Duration::from_secs(2), self.transport.send(call)).await;
        tracing::debug!(
            done = asked.is_ok_and(|answer| answer.is_ok()),
            "gave up an upload"
        );
    }
}

/// Where the last part of a blob belongs, as the specification writes it: without a unit. `None` for a blob
/// that comes in one part, which no registry need know more of, and for the end of one that is there.
fn content_range(part: &Range<u64>) -> Option<HeaderValue> {
    let last = part.end.checked_sub(1).filter(|last| *last >= part.start)?;
    let range = format!("{}-{last}", part.start);
    HeaderValue::from_str(&range)
        .ok()
        .filter(|_| part.start > 0)
}

/// A request to where `upload` is.
pub(super) fn call(upload: &Upload, method: Method, location: Url) -> Call<'_> {
    let scope = Scope::pull_push(&upload.repository);
    let at = (&upload.repository, Side::Destination);
    Call {
        kind: Kind::Blobs,
        ..Call::new(at, method, String::new(), scope).to(location)
    }
}

/// The request that finishes `upload` with `payload`.
fn put<'a>(upload: &'a Upload, digest: &Digest, payload: Payload) -> Call<'a> {
    let mut location = upload.location.clone();
    location
        .query_pairs_mut()
        .append_pair("digest", &digest.to_string());
    let mut call = call(upload, Method::PUT, location).header(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    call.payload = payload;
    call.lane = Lane::Held;
    call
}

/// The reader as the body of a request. Its error, and the end of the relay, end the body early, so
/// that the connection is cut.
fn feed(
    reader: BlobReader,
    pulse: Arc<Pulse>,
    stop: CancellationToken,
) -> impl futures::Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    let start = (reader, pulse, stop);
    futures::stream::try_unfold(start, async |(mut reader, pulse, stop)| {
        pulse.reads(true);
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(io::Error::other("the relay has ended")),
            read = reader.next() => read,
        };
        pulse.reads(false);
        match read {
            Ok(Some(piece)) => {
                pulse.beat(piece.len());
                // HTTP/1.1 does not ask again once Content-Length is met.
                if reader.is_verified() {
                    pulse.complete();
                }
                Ok(Some((piece, (reader, pulse, stop))))
            }
            Ok(None) => {
                pulse.complete();
                Ok(None)
            }
            Err(error) => {
                pulse.fail(error);
                Err(io::Error::other("the source failed"))
            }
        }
    })
}

/// What the two ends of a relay know of each other.
struct Pulse {
    began: Instant,
    // Milliseconds since `began` of the last sign of life.
    beat_at: AtomicU64,
    // The destination waits for the source, which has a patience of its own.
    reading: AtomicBool,
    complete: AtomicBool,
    error: Mutex<Option<Error>>,
    moved: Moved,
}

impl Pulse {
    fn new(moved: Moved) -> Self {
        Self {
            began: Instant::now(),
            beat_at: AtomicU64::new(0),
            reading: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            error: Mutex::new(None),
            moved,
        }
    }

    fn beat(&self, bytes: usize) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_at.store(now, Ordering::Relaxed);
        (self.moved)(u64::try_from(bytes).unwrap_or_default());
    }

    fn reads(&self, reads: bool) {
        self.beat(0);
        self.reading.store(reads, Ordering::Release);
    }

    fn complete(&self) {
        self.beat(0);
        self.complete.store(true, Ordering::Release);
    }

    fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    fn fail(&self, error: Error) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn take_error(&self) -> Option<Error> {
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Returns once the destination took no byte for `limit` although it could have one, or, when it
    /// has all, gave no answer for much longer.
    async fn stalls(&self, limit: Duration) {
        loop {
            let patience = if self.is_complete() {
                limit.saturating_mul(COMMIT_PATIENCE)
            } else {
                limit
            };
            let beat = Duration::from_millis(self.beat_at.load(Ordering::Relaxed));
            let left = (beat + patience).saturating_sub(self.began.elapsed());
            if !left.is_zero() {
                tokio::time::sleep(left).await;
            } else if self.reading.load(Ordering::Acquire) {
                tokio::time::sleep(patience).await;
            } else {
                return;
            }
        }
    }
}

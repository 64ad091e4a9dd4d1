//! Bringing a blob to a registry: mount it, or relay it from where it is.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::oci::{Descriptor, Digest, Registry, Repository};

use super::auth::{Access, Scope};
use super::blob::BlobReader;
use super::call::{Call, Lane, Payload, Redirects, Target};
use super::client::Client;
use super::error::{Error, ErrorKind};
use super::host::SelfMount;
use super::limit::Permit;
use super::place::{check_place, shown};

/// Blobs of this size and more count as large transfers, in bytes: bandwidth, not latency, bounds them.
const LARGE_BYTES: u64 = 1024 * 1024;
/// While it is not known whether a registry answers a mount from the very same repository, blobs of
/// this size and more are asked for by HEAD, in bytes: sending one for nothing costs more.
const HUGE_BYTES: u64 = 16 * 1024 * 1024;
/// After this many uploads without an answer that tells, one mount more is asked to learn it; below
/// it, learning would cost more than it saves.
const UPLOADS_BEFORE_LEARNING: u64 = 32;
/// A destination may take this many times the stall timeout to commit a blob that it has in full:
/// object stores copy large ones before they answer.
const COMMIT_PATIENCE: u32 = 5;

/// What a destination answers to the wish for a blob.
#[derive(Debug)]
pub enum Begun {
    /// The repository has it now; `true` when it was mounted or found by a mount.
    There,
    /// It must be brought, to here.
    Upload(Upload),
}

/// An upload session. It is invisible until it is finished, and expires by itself if it never is.
pub struct Upload {
    repository: Repository,
    location: Url,
}

// By hand: the query of the location may hold what authorizes it.
impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("repository", &self.repository)
            .field("location", &shown(&self.location))
            .finish()
    }
}

/// Places in the lanes of the two registries of a relay.
///
/// Those of a large transfer are taken before its upload is begun, so that no session stands open
/// while it waits for its turn; a small one takes them after, so that questions do not wait for bytes.
#[derive(Debug)]
pub struct Lanes {
    // Kept for their Drop.
    _permits: Vec<Permit>,
}

/// Which lanes a blob belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Latency bounds it.
    Small,
    /// Bandwidth bounds it.
    Large,
}

impl Weight {
    /// The weight of a blob of `size` bytes.
    pub const fn of(size: u64) -> Self {
        if size >= LARGE_BYTES {
            Self::Large
        } else {
            Self::Small
        }
    }

    /// Who counts the questions before its relay: for a large one the places it has already.
    const fn lane(self) -> Lane {
        match self {
            Self::Small => Lane::Small,
            Self::Large => Lane::Held,
        }
    }
}

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
    /// Places for one relay between two registries.
    ///
    /// They are taken in one order everywhere, and one only where both sides are one registry: two
    /// relays in opposite directions can never wait for each other.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives everything back.
    pub async fn lanes(&self, one: &Registry, other: &Registry, weight: Weight) -> Lanes {
        let mut registries = vec![one, other];
        registries.sort_unstable();
        registries.dedup();
        let mut permits = Vec::with_capacity(2);
        for registry in registries {
            let host = self.transport.host(registry);
            permits.push(match weight {
                Weight::Large => host.large_permit().await,
                Weight::Small => host.small_permit().await,
            });
        }
        Lanes { _permits: permits }
    }

    /// Whether `repository` has the blob, by HEAD.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; "not there" is an answer.
    pub async fn has_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        access: Access,
    ) -> Result<bool, Error> {
        self.asks_blob(repository, digest, access, Lane::Small)
            .await
    }

    async fn asks_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        access: Access,
        lane: Lane,
    ) -> Result<bool, Error> {
        let path = format!("{}/blobs/{digest}", repository.path());
        let scope = access.scope(repository);
        let mut call = Call::new(repository.registry(), Method::HEAD, path, scope);
        // A signed URL made for GET would refuse this HEAD; that there is one says enough.
        call.redirects = Redirects::Answer;
        call.lane = lane;
        match self.transport.send(call).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind, ErrorKind::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks `repository` for a blob that it may have, and for an upload session if it has not.
    ///
    /// One POST does both where the registry mounts a blob from the very repository it is in: 201
    /// says that it is there, 202 opens the session. Whether a registry does so is learned by use;
    /// until it is known, a huge blob is asked for by HEAD first, and where it does not, every blob.
    ///
    /// For a blob of [`Weight::Large`] the caller holds [`Lanes`] already.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`].
    pub async fn begin_upload(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<Begun, Error> {
        let host = self.transport.host(repository.registry());
        let by_mount = match host.self_mount() {
            SelfMount::Honoured => true,
            SelfMount::Unknown => descriptor.size < HUGE_BYTES,
            SelfMount::Ignored => false,
        };
        if by_mount {
            match self.ask_mount(repository, descriptor, repository).await {
                Ok(Begun::There) => {
                    host.learn_self_mount(SelfMount::Honoured);
                    return Ok(Begun::There);
                }
                Ok(upload) => return Ok(upload),
                Err(error) if is_mount_refusal(&error) => {
                    host.learn_self_mount(SelfMount::Ignored);
                }
                Err(error) => return Err(error),
            }
        }
        let lane = Weight::of(descriptor.size).lane();
        if self
            .asks_blob(repository, &descriptor.digest, Access::PullPush, lane)
            .await?
        {
            return Ok(Begun::There);
        }
        self.open_upload(repository, None, lane).await
    }

    /// Mounts a blob from `from`, which has it; opens an upload session where that is refused.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`], but a refused mount is none (Harbor answers 400, others 403 or 405).
    pub async fn mount(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        from: &Repository,
    ) -> Result<Begun, Error> {
        match self.ask_mount(repository, descriptor, from).await {
            Err(error) if is_mount_refusal(&error) => {
                let lane = Weight::of(descriptor.size).lane();
                self.open_upload(repository, None, lane).await
            }
            answered => answered,
        }
    }

    async fn ask_mount(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        from: &Repository,
    ) -> Result<Begun, Error> {
        let lane = Weight::of(blob.size).lane();
        self.open_upload(repository, Some((&blob.digest, from)), lane)
            .await
    }

    async fn open_upload(
        &self,
        repository: &Repository,
        mount: Option<(&Digest, &Repository)>,
        lane: Lane,
    ) -> Result<Begun, Error> {
        let registry = repository.registry();
        let mut path = format!("{}/blobs/uploads/", repository.path());
        let mut scopes = vec![Scope::pull_push(repository)];
        if let Some((digest, from)) = mount {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("mount", &digest.to_string())
                .append_pair("from", from.path())
                .finish();
            path.push('?');
            path.push_str(&query);
            if from != repository {
                scopes.push(Scope::pull(from));
            }
        }
        let mut call = Call::new(registry, Method::POST, path, Scope::pull_push(repository));
        call.scopes = scopes;
        call.lane = lane;
        let answer = self.transport.send(call).await?;
        match answer.response.status() {
            StatusCode::CREATED if mount.is_some() => Ok(Begun::There),
            StatusCode::ACCEPTED => {
                let base = self.transport.base(answer.registry()).await?;
                let here = answer.response.url().clone();
                let location = answer
                    .header(LOCATION.as_str())
                    .and_then(|text| here.join(text).ok())
                    .ok_or_else(|| {
                        answer.error(ErrorKind::Protocol("it opens an upload nowhere"))
                    })?;
                check_place(&location, &base, &base)
                    .map_err(|()| answer.error(ErrorKind::Untrusted(shown(&location))))?;
                Ok(Begun::Upload(Upload {
                    repository: repository.clone(),
                    location,
                }))
            }
            _ => Err(answer.error(ErrorKind::Protocol(
                "it neither opens an upload nor refuses it",
            ))),
        }
    }

    /// Relays a blob from `from` into `upload`: one GET, one PUT, no disk, no more than a few pieces
    /// in memory. `moved` is told of every piece, in bytes, as it passes.
    ///
    /// The caller holds [`Lanes`] for both sides.
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
        upload: Upload,
        from: &Repository,
        descriptor: &Descriptor,
        moved: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), RelayError> {
        let pulse = Arc::new(Pulse::new(Box::new(moved)));
        let stop = CancellationToken::new();
        // However this ends, whoever still holds the body gets no more of it.
        let _stops = stop.clone().drop_guard();
        let mut reader = self.blob(from, descriptor, Lane::Held);
        if descriptor.size == 0 {
            // An empty body is never asked for its bytes, so its digest is compared here.
            reader.next().await.map_err(RelayError::Source)?;
            pulse.complete();
        }
        let body = reqwest::Body::wrap_stream(feed(reader, Arc::clone(&pulse), stop));
        let mut location = upload.location.clone();
        location
            .query_pairs_mut()
            .append_pair("digest", &descriptor.digest.to_string());
        let repository = &upload.repository;
        let scope = Scope::pull_push(repository);
        let mut call = Call::new(repository.registry(), Method::PUT, String::new(), scope).header(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        let limit = self.transport.settings.stall_timeout;
        let stalled = call.error(&location, 1, ErrorKind::Stalled(limit));
        call.target = Target::Url(location);
        call.payload = Payload::Stream(body, descriptor.size);
        call.lane = Lane::Held;
        let sent = tokio::select! {
            sent = self.transport.send(call) => sent,
            () = pulse.stalls(limit) => Err(stalled),
        };
        if let Some(error) = pulse.take_error() {
            self.give_up(&upload).await;
            return Err(RelayError::Source(error));
        }
        let answer = sent.map_err(RelayError::Destination)?;
        let unheard = if !pulse.is_complete() {
            Some("it accepted a blob before it had all of it")
        } else if !answer.is_receipt() {
            Some("it takes what it does not confirm")
        } else {
            None
        };
        if let Some(what) = unheard {
            return Err(RelayError::Destination(
                answer.error(ErrorKind::Protocol(what)),
            ));
        }
        drop(answer);
        self.learn(repository, descriptor).await;
        Ok(())
    }

    /// Learns, once per registry, whether it mounts from the repository itself: the blob just brought
    /// must then be there. After a huge blob, or many others, so that it costs less than it saves.
    async fn learn(&self, repository: &Repository, descriptor: &Descriptor) {
        let host = self.transport.host(repository.registry());
        let uploads = host.count_upload();
        let is_worth_it = descriptor.size >= HUGE_BYTES || uploads >= UPLOADS_BEFORE_LEARNING;
        if host.self_mount() != SelfMount::Unknown || !is_worth_it {
            return;
        }
        // Set first, so that relays that end together do not all ask.
        host.learn_self_mount(SelfMount::Ignored);
        let mount = Some((&descriptor.digest, repository));
        match self.open_upload(repository, mount, Lane::Held).await {
            Ok(Begun::There) => host.learn_self_mount(SelfMount::Honoured),
            Ok(Begun::Upload(upload)) => self.give_up(&upload).await,
            Err(error) => tracing::debug!(%error, "no mount from the repository itself"),
        }
    }

    /// Tells the registry that nothing more comes; if that fails, the session expires by itself.
    async fn give_up(&self, upload: &Upload) {
        let scope = Scope::pull_push(&upload.repository);
        let registry = upload.repository.registry();
        let mut call = Call::new(registry, Method::DELETE, String::new(), scope);
        call.target = Target::Url(upload.location.clone());
        call.lane = Lane::Held;
        let asked = tokio::time::timeout(Duration::from_secs(2), self.transport.send(call)).await;
        tracing::debug!(
            done = asked.is_ok_and(|answer| answer.is_ok()),
            "gave up an upload"
        );
    }
}

/// Whether a registry refused to mount, rather than the whole request for other reasons.
fn is_mount_refusal(error: &Error) -> bool {
    match error.kind {
        ErrorKind::NotFound(_) | ErrorKind::Unauthorized(_) | ErrorKind::Refused(_) => true,
        ErrorKind::Conflict(_)
        | ErrorKind::RateLimited(_)
        | ErrorKind::Server(_)
        | ErrorKind::Network(_)
        | ErrorKind::Stalled(_)
        | ErrorKind::Integrity(_)
        | ErrorKind::Document(_)
        | ErrorKind::Protocol(_)
        | ErrorKind::Untrusted(_) => false,
    }
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
    moved: Box<dyn Fn(u64) + Send + Sync>,
}

impl Pulse {
    fn new(moved: Box<dyn Fn(u64) + Send + Sync>) -> Self {
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

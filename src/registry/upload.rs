//! Bringing a blob to a registry: mount it, or relay it from where it is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use crate::oci::{Descriptor, Digest, Registry, Repository};

use super::auth::Scope;
use super::blob::BlobReader;
use super::call::{Call, Lane, Payload, Target};
use super::client::Client;
use super::error::{Error, ErrorKind};
use super::host::SelfMount;
use super::limit::Permit;
use super::place::{check_place, shown};

/// Blobs of this size and more count as large transfers, in bytes: bandwidth, not latency, bounds them.
const LARGE_BYTES: u64 = 1024 * 1024;
/// A destination may take this many times the stall timeout to commit a blob that it has in full:
/// object stores copy large ones before they answer.
const COMMIT_PATIENCE: u32 = 5;

/// What a token has to allow, so that one token serves all requests to one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading: a source.
    Pull,
    /// Reading and writing: a destination.
    PullPush,
}

/// What a destination answers to the wish for a blob.
#[derive(Debug)]
pub enum Begun {
    /// The repository has it now; `true` when it was mounted or found by a mount.
    There,
    /// It must be brought, to here.
    Upload(Upload),
}

/// An upload session. It is invisible until it is finished, and expires by itself if it never is.
#[derive(Debug)]
pub struct Upload {
    repository: Repository,
    location: Url,
}

/// Places in the lanes of the two registries of a relay.
#[derive(Debug)]
pub struct Lanes {
    // Kept for their Drop.
    _permits: Vec<Permit>,
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
    /// Places for one relay of `size` bytes between two registries.
    ///
    /// They are taken in one order everywhere, and one only where both sides are one registry: two
    /// relays in opposite directions can never wait for each other.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives everything back.
    pub async fn lanes(&self, one: &Registry, other: &Registry, size: u64) -> Lanes {
        let mut registries = vec![one, other];
        registries.sort_unstable();
        registries.dedup();
        let mut permits = Vec::with_capacity(2);
        for registry in registries {
            let host = self.transport.host(registry);
            permits.push(if size >= LARGE_BYTES {
                host.large_permit().await
            } else {
                host.small_permit().await
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
        let path = format!("{}/blobs/{digest}", repository.path());
        let scope = match access {
            Access::Pull => Scope::pull(repository),
            Access::PullPush => Scope::pull_push(repository),
        };
        let call = Call::new(repository.registry(), Method::HEAD, path, scope);
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
    /// until it is known, a large blob is asked for by HEAD first, and where it does not, every blob.
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
        let known = host.self_mount();
        let by_mount = match known {
            SelfMount::Honoured => true,
            SelfMount::Unknown => descriptor.size < LARGE_BYTES,
            SelfMount::Ignored => false,
        };
        if by_mount {
            match self
                .ask_mount(repository, &descriptor.digest, repository)
                .await
            {
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
        if self
            .has_blob(repository, &descriptor.digest, Access::PullPush)
            .await?
        {
            return Ok(Begun::There);
        }
        self.open_upload(repository, None).await
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
        match self.ask_mount(repository, &descriptor.digest, from).await {
            Err(error) if is_mount_refusal(&error) => self.open_upload(repository, None).await,
            answered => answered,
        }
    }

    async fn ask_mount(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: &Repository,
    ) -> Result<Begun, Error> {
        self.open_upload(repository, Some((digest, from))).await
    }

    async fn open_upload(
        &self,
        repository: &Repository,
        mount: Option<(&Digest, &Repository)>,
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
        let mut reader = self.blob(from, descriptor, Lane::Held);
        if descriptor.size == 0 {
            // An empty body is never asked for its bytes, so its digest is compared here.
            reader.next().await.map_err(RelayError::Source)?;
            pulse.complete();
        }
        let body = reqwest::Body::wrap_stream(feed(reader, Arc::clone(&pulse)));
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
        call.target = Target::Url(location.clone());
        call.payload = Payload::Stream(body, descriptor.size);
        call.lane = Lane::Held;
        let stalled = call.error(
            &location,
            1,
            ErrorKind::Stalled(self.transport.settings.stall_timeout),
        );
        let sent = tokio::select! {
            sent = self.transport.send(call) => sent,
            () = pulse.stalls(self.transport.settings.stall_timeout) => Err(stalled),
        };
        if let Some(error) = pulse.take_error() {
            self.give_up(&upload).await;
            return Err(RelayError::Source(error));
        }
        let answer = sent.map_err(RelayError::Destination)?;
        if !pulse.is_complete() {
            let kind = ErrorKind::Protocol("it accepted a blob before it had all of it");
            return Err(RelayError::Destination(answer.error(kind)));
        }
        drop(answer);
        self.learn(repository, descriptor).await;
        Ok(())
    }

    /// Learns, once per registry and only after a large blob, whether it mounts from the repository
    /// itself: the blob just brought must then be there.
    async fn learn(&self, repository: &Repository, descriptor: &Descriptor) {
        let host = self.transport.host(repository.registry());
        if host.self_mount() != SelfMount::Unknown || descriptor.size < LARGE_BYTES {
            return;
        }
        // Set first, so that relays that end together do not all ask.
        host.learn_self_mount(SelfMount::Ignored);
        if let Ok(Begun::There) = self
            .ask_mount(repository, &descriptor.digest, repository)
            .await
        {
            host.learn_self_mount(SelfMount::Honoured);
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

/// The reader as the body of a request. Its error ends the body early, so that the connection is cut.
fn feed(
    reader: BlobReader,
    pulse: Arc<Pulse>,
) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    futures::stream::try_unfold((reader, pulse), async |(mut reader, pulse)| {
        match reader.next().await {
            Ok(Some(piece)) => {
                pulse.beat(piece.len());
                // HTTP/1.1 does not ask again once Content-Length is met.
                if reader.is_verified() {
                    pulse.complete();
                }
                Ok(Some((piece, (reader, pulse))))
            }
            Ok(None) => {
                pulse.complete();
                Ok(None)
            }
            Err(error) => {
                pulse.fail(error);
                Err(std::io::Error::other("the source failed"))
            }
        }
    })
}

/// What the two ends of a relay know of each other.
struct Pulse {
    began: Instant,
    // Milliseconds since `began` of the last sign of life.
    beat_at: AtomicU64,
    complete: AtomicBool,
    error: Mutex<Option<Error>>,
    moved: Box<dyn Fn(u64) + Send + Sync>,
}

impl Pulse {
    fn new(moved: Box<dyn Fn(u64) + Send + Sync>) -> Self {
        Self {
            began: Instant::now(),
            beat_at: AtomicU64::new(0),
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

    /// Returns once no byte has passed for `limit`, or, when all have, no answer came for much longer.
    async fn stalls(&self, limit: Duration) {
        loop {
            let patience = if self.is_complete() {
                limit * COMMIT_PATIENCE
            } else {
                limit
            };
            let beat = Duration::from_millis(self.beat_at.load(Ordering::Relaxed));
            let until = self.began + beat + patience;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

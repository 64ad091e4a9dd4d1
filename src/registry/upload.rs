//! Asking a registry for a blob: it has it, mounts it, or opens an upload session for it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::LOCATION;
use http::{Method, StatusCode};
use url::Url;

use crate::oci::{Annotations, Descriptor, Digest, MediaType, Registry, Repository};

use super::auth::{Access, Scope, Side};
use super::blob::BlobReader;
use super::call::{Answer, Lane, Redirects};
use super::client::Client;
use super::error::{Error, ErrorKind, Mismatch, is_head_refusal};
use super::host::SelfMount;
use super::limit::{Gate, Kind, Permit};
use super::place::{check_place, shown};

/// Blobs of this size and more count as large transfers, in bytes: bandwidth, not latency, bounds them.
const LARGE_BYTES: u64 = 1024 * 1024;
/// While it is not known whether a registry answers a mount from the very same repository, blobs of
/// this size and more are asked for by HEAD, in bytes: sending one for nothing costs more.
pub(super) const HUGE_BYTES: u64 = 16 * 1024 * 1024;

/// Whether a blob is probably at its destination already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is probably not: nothing stood under the tag.
    Absent,
    /// It may well be: the tag is moved from another image.
    Present,
}

/// What a destination answers to the wish for a blob.
#[derive(Debug)]
pub enum Begun {
    /// The repository has it now: it was there, or was mounted.
    There,
    /// It must be brought, to here.
    Upload(Upload),
}

/// An upload session. It is invisible until it is finished, and expires by itself if it never is.
pub struct Upload {
    pub(super) repository: Repository,
    pub(super) location: Url,
    /// The source's answer, where it was asked at the same time.
    pub(super) source: Option<Box<BlobReader>>,
}

// By hand: the query of the location may hold what authorizes it.
impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("repository", &self.repository)
            .field("location", &shown(&self.location))
            .finish_non_exhaustive()
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

    const fn kind(self) -> Kind {
        match self {
            Self::Small => Kind::Blobs,
            Self::Large => Kind::Large,
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

/// Waits for a place behind both gates, without holding one while it waits for the other.
async fn both(mut one: &Arc<Gate>, mut other: &Arc<Gate>, kind: Kind) -> Vec<Permit> {
    loop {
        let first = one.permit(kind).await;
        if let Some(second) = other.try_permit(kind) {
            return vec![first, second];
        }
        drop(first);
        std::mem::swap(&mut one, &mut other);
    }
}

impl Client {
    /// Places for one relay between two registries.
    ///
    /// Both are taken or none, and one only where both sides are one registry: no relay holds a place
    /// of one registry while it waits for the other, which may be closed for a minute.
    ///
    /// # Cancel safety
    ///
    /// Dropping it gives everything back.
    pub async fn lanes(&self, one: &Registry, other: &Registry, weight: Weight) -> Lanes {
        let kind = weight.kind();
        let is_one = one == other;
        let [one, other] = [one, other].map(|registry| self.transport.host(registry));
        // The turns of its GET and its PUT, before it takes a place that others wait for.
        one.turn().await;
        other.turn().await;
        let permits = if is_one {
            vec![one.permit(kind).await]
        } else {
            both(&one.gate, &other.gate, kind).await
        };
        Lanes { _permits: permits }
    }

    /// Whether `repository` serves the blob: by HEAD, and by GET where that says no or is not done, for
    /// the caller does without the bytes then.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; "not there" is an answer.
    pub async fn has_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        access: Access,
    ) -> Result<bool, Error> {
        if self
            .asks_blob(repository, blob, (Method::HEAD, access), Lane::Small)
            .await?
        {
            return Ok(true);
        }
        // The body is left where it is: the connection ends with the answer.
        self.asks_blob(repository, blob, (Method::GET, access), Lane::Small)
            .await
    }

    /// Whether `repository` has the blob, as far as it says. For who is to write the blob: a HEAD that is
    /// not done, or that tells of another length, is as good as "no", and to write it again does no harm.
    /// What GET serves is there, whatever it is worth.
    pub(super) async fn asks_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        (method, access): (Method, Access),
        lane: Lane,
    ) -> Result<bool, Error> {
        let path = format!("{}/blobs/{}", repository.path(), blob.digest);
        let is_read = method == Method::GET;
        let mut call = self.call(repository, access, method, path);
        // A signed URL made for GET would refuse this HEAD; that there is one says enough.
        call.redirects = Redirects::Answer;
        call.lane = lane;
        match self.transport.send(call).await {
            Ok(answer) => Ok(is_read || answer.may_have(blob.size)),
            Err(error) if matches!(error.kind, ErrorKind::NotFound(_)) => Ok(false),
            Err(error) if is_head_refusal(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks `repository` for a blob that it may have, and for an upload session if it has not.
    ///
    /// A blob that is probably there is asked for by HEAD: a mount would write its link anew, and while
    /// distribution 2.8 does so, others do not find the blob.
    ///
    /// For one that is probably not, one POST asks and opens where the registry mounts a blob from the
    /// very repository it is in: 201 says that it is there, 202 opens the session. Whether a registry
    /// does so is learned by use; until it is known, a huge blob is asked for by HEAD first, and where
    /// it does not, every blob.
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
        expected: Expected,
    ) -> Result<Begun, Error> {
        let lane = Weight::of(descriptor.size).lane();
        self.begin_upload_in(repository, descriptor, expected, lane)
            .await
    }

    /// The same, with its requests counted by `lane`.
    pub(super) async fn begin_upload_in(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        expected: Expected,
        lane: Lane,
    ) -> Result<Begun, Error> {
        let host = self.transport.host(repository.registry());
        let begun = self.ask_upload(repository, descriptor, expected, lane);
        let begun = begun.await?;
        host.note_blob(matches!(begun, Begun::There));
        Ok(begun)
    }

    async fn ask_upload(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        expected: Expected,
        lane: Lane,
    ) -> Result<Begun, Error> {
        let host = self.transport.host(repository.registry());
        let by_mount = match (expected, host.self_mount()) {
            (Expected::Present, _) | (Expected::Absent, SelfMount::Ignored) => false,
            (Expected::Absent, SelfMount::Honoured) => true,
            (Expected::Absent, SelfMount::Unknown) => descriptor.size < HUGE_BYTES,
        };
        if by_mount {
            let mount = Some((&descriptor.digest, repository));
            match self.open_upload(repository, mount, lane).await {
                Ok(Begun::There) => {
                    host.learn_self_mount(SelfMount::Honoured);
                    return Ok(Begun::There);
                }
                Ok(upload) => return Ok(upload),
                // Asked for again without the mount, it would say the same.
                Err(error) if error.kind.is_missing_project() => return Err(error),
                Err(error) if is_mount_refusal(&error) => {
                    host.learn_self_mount(SelfMount::Ignored);
                }
                Err(error) => return Err(error),
            }
        }
        let by_head = (Method::HEAD, Access::PullPush);
        if self
            .asks_blob(repository, descriptor, by_head, lane)
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
    /// As [`ErrorKind`], but a refused mount is none (Harbor answers 400, others 403 or 405), nor is one
    /// that is answered by nonsense.
    pub async fn mount(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        from: &Repository,
    ) -> Result<Begun, Error> {
        let lane = Weight::of(descriptor.size).lane();
        let mount = Some((&descriptor.digest, from));
        let opened = match self.open_upload(repository, mount, lane).await {
            Err(error) if is_mount_refusal(&error) => None,
            Ok(Begun::Upload(upload)) => Some(upload),
            answered => return answered,
        };
        // Where nothing is mounted it may be there all the same, from a run before.
        let by_head = (Method::HEAD, Access::PullPush);
        let is_there = self
            .asks_blob(repository, descriptor, by_head, lane)
            .await?;
        match opened {
            Some(upload) if is_there => {
                self.give_up(&upload).await;
                Ok(Begun::There)
            }
            None if is_there => Ok(Begun::There),
            Some(upload) => Ok(Begun::Upload(upload)),
            None => self.open_upload(repository, None, lane).await,
        }
    }

    /// Pushes a small blob with `digest`, unless the repository has it; the descriptor has a media type
    /// that says nothing.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; [`ErrorKind::Integrity`] when the bytes have another digest.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves the blob there or not; an upload session that stays behind expires by itself.
    pub async fn push_bytes(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<Descriptor, Error> {
        let computed = digest.of_same_kind(&bytes);
        if computed != *digest {
            let asked = *digest;
            return Err(Error {
                method: Method::PUT,
                wait: None,
                url: format!("{repository}@{digest}"),
                attempts: 0,
                kind: ErrorKind::Integrity(Box::new(Mismatch::Digest { asked, computed })),
            });
        }
        let descriptor = Descriptor {
            media_type: MediaType::parse("application/octet-stream"),
            digest: *digest,
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            urls: Vec::new(),
            annotations: Annotations::default(),
            platform: None,
            artifact_type: None,
        };
        let registry = repository.registry();
        let weight = Weight::of(descriptor.size);
        let mut lanes = match weight {
            Weight::Small => None,
            Weight::Large => Some(self.lanes(registry, registry, weight).await),
        };
        let begun = self
            .begin_upload(repository, &descriptor, Expected::Absent)
            .await?;
        if let Begun::Upload(upload) = begun {
            if lanes.is_none() {
                lanes = Some(self.lanes(registry, registry, weight).await);
            }
            self.send_bytes(upload, &descriptor, bytes).await?;
        }
        drop(lanes);
        Ok(descriptor)
    }

    pub(super) async fn open_upload(
        &self,
        repository: &Repository,
        mount: Option<(&Digest, &Repository)>,
        lane: Lane,
    ) -> Result<Begun, Error> {
        let mut path = format!("{}/blobs/uploads/", repository.path());
        let mut scopes = Vec::new();
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
        let mut call = self.call(repository, Access::PullPush, Method::POST, path);
        call.scopes.append(&mut scopes);
        call.lane = lane;
        let answer = self.transport.send(call).await?;
        match answer.response.status() {
            StatusCode::CREATED if mount.is_some() => Ok(Begun::There),
            // 202 by the specification. Of the other two nobody knows what they say of a mount.
            status if opens_upload(status, mount.is_some()) => {
                let base = self.transport.base(repository, Side::Destination).await?;
                let location = answer.location(&base)?.ok_or_else(|| {
                    answer.error(ErrorKind::Protocol("it opens an upload nowhere"))
                })?;
                Ok(Begun::Upload(Upload {
                    repository: repository.clone(),
                    location,
                    source: None,
                }))
            }
            _ => Err(answer.error(ErrorKind::Protocol(
                "it neither opens an upload nor refuses it",
            ))),
        }
    }
}

impl Answer {
    /// Where the answer says that the upload is now, if it names a place, and one to go to from a registry
    /// whose API is at `base`.
    pub(super) fn location(&self, base: &Url) -> Result<Option<Url>, Error> {
        let here = self.response.url();
        let location = self.header(LOCATION.as_str());
        let Some(location) = location.and_then(|text| here.join(text).ok()) else {
            return Ok(None);
        };
        check_place(&location, base, base)
            .map_err(|()| self.error(ErrorKind::Untrusted(shown(&location))))?;
        Ok(Some(location))
    }
}

/// Whether an answer with `status` may have opened an upload, if it says where.
fn opens_upload(status: StatusCode, is_mount: bool) -> bool {
    match status {
        StatusCode::ACCEPTED => true,
        StatusCode::OK | StatusCode::NO_CONTENT => !is_mount,
        _ => false,
    }
}

/// Whether a registry refused to mount, rather than the whole request for other reasons.
fn is_mount_refusal(error: &Error) -> bool {
    // Nonsense of its own, not of a token service.
    let is_nonsense = matches!(error.kind, ErrorKind::Protocol(_)) && error.method == Method::POST;
    let is_refused = matches!(
        error.kind,
        ErrorKind::NotFound(_)
            | ErrorKind::Unauthorized(_)
            | ErrorKind::CredentialRefused(_)
            | ErrorKind::Refused(_)
    );
    (is_refused || is_nonsense || error.kind.is_unsupported()) && !error.kind.is_quota()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::registry::Settings;

    #[tokio::test(start_paused = true)]
    async fn a_throttled_source_does_not_hold_up_others() {
        let client = Client::new(Settings::default());
        let of = |text: &str| text.parse::<Registry>().unwrap();
        let (to, slow, good) = (of("a.example"), of("docker.io"), of("quay.io"));
        let minute = Duration::from_mins(1);
        client.transport.host(&slow).complain(Kind::Large, minute);
        let mut waiting: Vec<_> = (0..8)
            .map(|_| Box::pin(client.lanes(&slow, &to, Weight::Large)))
            .collect();
        for one in &mut waiting {
            assert!(futures::poll!(one).is_pending());
        }
        let good = client.lanes(&good, &to, Weight::Large);
        assert!(tokio::time::timeout(minute / 2, good).await.is_ok());
    }
}

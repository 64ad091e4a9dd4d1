//! Uploads of blobs: sessions, in one piece or many, and mounts.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use http_body_util::BodyExt as _;
use hyper::body;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::layout;
use crate::layout::{BlobWriter, RepositoryPath};
use crate::limits::serve::UPLOADS_MAX;
use crate::oci::Digest;

use super::Registry;
use super::answer::{Answer, BodyError, Code, Refusal};
use super::route::Query;

/// How long an upload may be left alone before it is dropped.
const IDLE_MAX: Duration = Duration::from_hours(1);

/// How long a request for an upload waits for one before it that still writes: a client that was cut off may
/// be back before the server has read what was under way.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// How long a request for an upload may bring no byte: one whose client is gone without a word would hold the
/// upload, and its connection, for ever. Five times what a client of ours lets pass.
const SILENCE_MAX: Duration = Duration::from_mins(5);

/// How long an upload must have been left alone before it may make room for a new one.
const IDLE_MIN: Duration = Duration::from_mins(1);

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// The uploads that are open.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    slots: Mutex<HashMap<String, Slot>>,
    /// Told of each request that has done with its upload.
    freed: Notify,
}

#[derive(Debug)]
struct Slot {
    repository: RepositoryPath,
    /// Absent while a request is writing.
    writer: Option<BlobWriter>,
    used: Instant,
}

/// An upload that one request holds; dropped, it is there for the next one, with all the bytes it
/// got, so that a client that was cut off can go on.
struct Session<'a> {
    uploads: &'a Uploads,
    id: String,
    writer: Option<BlobWriter>,
}

impl Uploads {
    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens an upload and gives its id.
    fn open(&self, repository: &RepositoryPath, writer: BlobWriter) -> Result<String, Refusal> {
        let mut slots = self.slots();
        let now = Instant::now();
        let is_idle =
            |slot: &Slot, since: Duration| slot.writer.is_some() && now - slot.used >= since;
        slots.retain(|_, slot| !is_idle(slot, IDLE_MAX));
        if slots.len() >= UPLOADS_MAX {
            // Clients that were killed leave uploads behind; those who come back shall find room.
            let oldest = slots
                .iter()
                .filter(|(_, slot)| is_idle(slot, IDLE_MIN))
                .min_by_key(|(_, slot)| slot.used)
                .map(|(id, _)| id.clone());
            let Some(oldest) = oldest else {
                let refusal = Refusal::new(Code::TooManyRequests, "too many uploads are open");
                return Err(refusal.header(header::RETRY_AFTER, IDLE_MIN.as_secs()));
            };
            slots.remove(&oldest);
        }
        let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let slot = Slot {
            repository: repository.clone(),
            writer: Some(writer),
            used: now,
        };
        slots.insert(id.clone(), slot);
        Ok(id)
    }

    /// Takes an upload for one request, and waits a little for one that has it.
    async fn take(&self, repository: &RepositoryPath, id: &str) -> Result<Session<'_>, Refusal> {
        let waiting = async {
            loop {
                let freed = self.freed.notified();
                if let Some(session) = self.try_take(repository, id)? {
                    return Ok(session);
                }
                freed.await;
            }
        };
        tokio::time::timeout(BUSY_PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| {
                let why = "another request writes to this upload";
                Err(Refusal::new(Code::BlobUploadInvalid, why).status(StatusCode::CONFLICT))
            })
    }

    /// Takes an upload, if no other request has it.
    fn try_take(
        &self,
        repository: &RepositoryPath,
        id: &str,
    ) -> Result<Option<Session<'_>>, Refusal> {
        let mut slots = self.slots();
        let slot = slots
            .get_mut(id)
            .filter(|slot| slot.repository == *repository)
            .ok_or_else(unknown)?;
        Ok(slot.writer.take().map(|writer| Session {
            uploads: self,
            id: id.to_owned(),
            writer: Some(writer),
        }))
    }
}

fn unknown() -> Refusal {
    Refusal::new(Code::BlobUploadUnknown, "there is no such upload")
}

impl Session<'_> {
    fn written(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::written)
    }

    async fn append<B>(&mut self, content: B) -> Result<(), Refusal>
    where
        B: body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        let Some(writer) = &mut self.writer else {
            return Err(unknown());
        };
        let result = append(writer, content).await;
        if let Err(Failure::Layout(_)) = &result {
            // What the disk refused once is no base for more.
            self.end();
        }
        result.map_err(Refusal::from)
    }

    async fn commit(mut self, digest: &Digest) -> Result<(), Refusal> {
        let Some(writer) = self.end() else {
            return Err(unknown());
        };
        commit(writer, digest).await
    }

    /// Closes the upload, whatever becomes of its bytes.
    fn end(&mut self) -> Option<BlobWriter> {
        self.uploads.slots().remove(&self.id);
        self.writer.take()
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take()
            && let Some(slot) = self.uploads.slots().get_mut(&self.id)
        {
            slot.writer = Some(writer);
            slot.used = Instant::now();
        }
        self.uploads.freed.notify_waiters();
    }
}

enum Failure {
    /// The client stopped sending.
    Body,
    Layout(layout::Error),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Body => Self::new(Code::BlobUploadInvalid, "the body ended before its end"),
            Failure::Layout(error) => error.into(),
        }
    }
}

async fn append<B>(writer: &mut BlobWriter, content: B) -> Result<(), Failure>
where
    B: body::Body<Data = Bytes> + Send,
    B::Error: Into<BodyError>,
{
    let mut content = pin!(content);
    loop {
        let frame = tokio::time::timeout(SILENCE_MAX, content.frame()).await;
        let Some(frame) = frame.map_err(|_| Failure::Body)? else {
            return Ok(());
        };
        let frame = frame.map_err(|_| Failure::Body)?;
        if let Ok(data) = frame.into_data() {
            writer.write(data).await.map_err(Failure::Layout)?;
        }
    }
}

async fn commit(writer: BlobWriter, digest: &Digest) -> Result<(), Refusal> {
    match writer.commit(digest).await {
        Ok(_) => Ok(()),
        Err(layout::Error {
            kind: layout::Kind::Digest(mismatch),
            ..
        }) => Err(Refusal::new(Code::DigestInvalid, mismatch)),
        Err(error) => Err(error.into()),
    }
}

impl Registry {
    /// `POST`: a mount, a blob in one request, or a session.
    pub(super) async fn start_upload<B>(
        &self,
        repository: &RepositoryPath,
        query: &Query,
        content: B,
    ) -> Result<Answer, Refusal>
    where
        B: body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        if let Some(digest) = query.digest("mount")?
            && self.mount(repository, query.get("from"), &digest).await?
        {
            return Ok(created(repository, &digest));
        }
        if let Some(digest) = query.digest("digest")? {
            let mut writer = self.layout.writer()?;
            append(&mut writer, content).await?;
            commit(writer, &digest).await?;
            return self.uploaded(repository, &digest).await;
        }
        let id = self.uploads.open(repository, self.layout.writer()?)?;
        Ok(status(StatusCode::ACCEPTED, repository, &id, 0))
    }

    /// Makes a blob of another repository one of this one too. A `from` that is no name has no
    /// blobs; without `from`, any repository will do.
    async fn mount(
        &self,
        repository: &RepositoryPath,
        from: Option<&str>,
        digest: &Digest,
    ) -> Result<bool, Refusal> {
        let is_known = match from.map(str::parse::<RepositoryPath>) {
            Some(Ok(from)) => self.catalog().has_blob(&from, digest),
            Some(Err(_)) => false,
            None => self.catalog().has_blob_anywhere(digest),
        };
        if !is_known || self.layout.size(digest).await?.is_none() {
            return Ok(false);
        }
        self.catalog().link(repository, digest);
        self.check_kept(digest).await?;
        Ok(true)
    }

    async fn uploaded(
        &self,
        repository: &RepositoryPath,
        digest: &Digest,
    ) -> Result<Answer, Refusal> {
        self.catalog().link(repository, digest);
        self.check_kept(digest).await?;
        Ok(created(repository, digest))
    }

    /// `PATCH`: the next piece.
    pub(super) async fn continue_upload<B>(
        &self,
        headers: &HeaderMap,
        repository: &RepositoryPath,
        id: &str,
        content: B,
    ) -> Result<Answer, Refusal>
    where
        B: body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        let mut session = self.uploads.take(repository, id).await?;
        check_range(headers, repository, &session)?;
        session.append(content).await?;
        let written = session.written();
        drop(session);
        Ok(status(StatusCode::ACCEPTED, repository, id, written))
    }

    /// `PUT`: the last piece, which may be empty.
    pub(super) async fn finish_upload<B>(
        &self,
        headers: &HeaderMap,
        repository: &RepositoryPath,
        (id, query): (&str, &Query),
        content: B,
    ) -> Result<Answer, Refusal>
    where
        B: body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        let mut session = self.uploads.take(repository, id).await?;
        let digest = query.digest("digest")?.ok_or_else(|| {
            Refusal::new(Code::DigestInvalid, "there is no `digest` in the query")
        })?;
        check_range(headers, repository, &session)?;
        session.append(content).await?;
        session.commit(&digest).await?;
        self.uploaded(repository, &digest).await
    }

    /// `GET`: how far it came.
    ///
    /// As every request it has the upload for itself, so that what it says is not behind before it is read.
    pub(super) async fn upload_status(
        &self,
        repository: &RepositoryPath,
        id: &str,
    ) -> Result<Answer, Refusal> {
        let written = self.uploads.take(repository, id).await?.written();
        Ok(status(StatusCode::NO_CONTENT, repository, id, written))
    }

    /// `DELETE`: never mind.
    pub(super) async fn cancel_upload(
        &self,
        repository: &RepositoryPath,
        id: &str,
    ) -> Result<Answer, Refusal> {
        drop(self.uploads.take(repository, id).await?.end());
        Ok(Answer::new(StatusCode::NO_CONTENT))
    }
}

fn created(repository: &RepositoryPath, digest: &Digest) -> Answer {
    Answer::new(StatusCode::CREATED)
        .header(
            header::LOCATION,
            format_args!("/v2/{repository}/blobs/{digest}"),
        )
        .digest(digest)
}

fn status(status: StatusCode, repository: &RepositoryPath, id: &str, written: u64) -> Answer {
    Answer::new(status)
        .header(header::LOCATION, location(repository, id))
        .header(header::RANGE, held(written))
        .header(UPLOAD_ID, id)
}

fn location(repository: &RepositoryPath, id: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

/// The bytes that are there, as a range. Nothing at all looks like one byte: so distribution says
/// it, and clients expect it.
fn held(written: u64) -> String {
    format!("0-{}", written.saturating_sub(1))
}

/// Whether a piece that says where it belongs belongs where the upload is (OCI distribution
/// specification 1.1, "Pushing a blob in chunks").
fn check_range(
    headers: &HeaderMap,
    repository: &RepositoryPath,
    session: &Session<'_>,
) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else {
        return Ok(());
    };
    // The specification has no unit in front; some clients write it as HTTP does.
    let range = value.to_str().ok().and_then(|text| {
        let text = text.strip_prefix("bytes").unwrap_or(text).trim();
        let (first, last) = text.split('/').next()?.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?))
    });
    let Some((first, last)) = range else {
        return Err(Refusal::new(
            Code::BlobUploadInvalid,
            "the `Content-Range` is not `FIRST-LAST`",
        ));
    };
    if first != session.written() {
        let held = held(session.written());
        let refusal = Refusal::new(
            Code::RangeInvalid,
            format_args!("the upload holds the bytes {held}"),
        );
        return Err(refusal
            .header(header::RANGE, held)
            .header(header::LOCATION, location(repository, &session.id)));
    }
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // An empty last piece says `N-(N-1)` or `N-N`: nobody agrees on how to say nothing.
    let fits = match length {
        Some(length) => length == 0 || last.checked_sub(first) == length.checked_sub(1),
        None => true,
    };
    if !fits {
        return Err(Refusal::new(
            Code::SizeInvalid,
            "`Content-Range` and `Content-Length` differ",
        ));
    }
    Ok(())
}

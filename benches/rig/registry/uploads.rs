//! Upload sessions: bodies are counted, and dropped where they are large.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderName};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::web::{self, Answer};

use super::{refusal, set};

const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// The sessions that are open.
#[derive(Debug)]
pub(super) struct Uploads {
    open: std::sync::Mutex<HashMap<u64, Shared>>,
    next: AtomicU64,
    keep_below: u64,
}

/// A session; locked while a body comes in, so that who asks what has arrived is told the end of it.
type Shared = Arc<tokio::sync::Mutex<Session>>;

#[derive(Debug, Default)]
struct Session {
    received: u64,
    /// All of it, as long as it is small.
    kept: Vec<u8>,
}

/// The body of a request, whose bytes are counted.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    body: Incoming,
    counter: &'a AtomicU64,
}

impl<'a> Counted<'a> {
    pub(super) fn new(body: Incoming, counter: &'a AtomicU64) -> Self {
        Self { body, counter }
    }

    async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            let frame = match self.body.frame().await? {
                Ok(frame) => frame,
                Err(error) => return Some(Err(error)),
            };
            // Trailers say nothing here.
            if let Ok(data) = frame.into_data() {
                let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                self.counter.fetch_add(length, Ordering::Relaxed);
                return Some(Ok(data));
            }
        }
    }

    /// Reads it to its end, for nothing.
    pub(super) async fn drain(mut self) -> Result<(), hyper::Error> {
        while let Some(data) = self.next().await {
            drop(data?);
        }
        Ok(())
    }
}

impl Uploads {
    /// Sessions that keep blobs which are smaller than so many bytes.
    pub(super) fn new(keep_below: u64) -> Self {
        Self {
            open: std::sync::Mutex::default(),
            next: AtomicU64::new(1),
            keep_below,
        }
    }

    pub(super) fn clear(&self) {
        self.open().clear();
    }

    /// Opens a session.
    pub(super) fn begin(&self, name: &str) -> Answer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open().insert(id, Shared::default());
        about(name, id, (StatusCode::ACCEPTED, 0))
    }

    /// What a session has.
    pub(super) async fn status(&self, name: &str, id: u64) -> Answer {
        let Some(session) = self.find(id) else {
            return unknown();
        };
        let received = session.lock().await.received;
        about(name, id, (StatusCode::NO_CONTENT, received))
    }

    /// Takes one more body into a session.
    pub(super) async fn receive(
        &self,
        name: &str,
        id: u64,
        body: Counted<'_>,
    ) -> Result<Answer, hyper::Error> {
        let Some(session) = self.find(id) else {
            return Ok(unknown());
        };
        let mut session = session.lock().await;
        session.take(body, self.keep_below).await?;
        Ok(about(name, id, (StatusCode::ACCEPTED, session.received)))
    }

    /// Takes the last body and ends the session: the size of the blob, and the blob where it is small. A
    /// session whose last body breaks stays open.
    pub(super) async fn finish(
        &self,
        id: u64,
        body: Counted<'_>,
    ) -> Result<Option<(u64, Option<Bytes>)>, hyper::Error> {
        let Some(session) = self.find(id) else {
            return Ok(None);
        };
        let mut session = session.lock().await;
        session.take(body, self.keep_below).await?;
        self.open().remove(&id);
        let kept = std::mem::take(&mut session.kept);
        let is_kept = session.received < self.keep_below;
        Ok(Some((session.received, is_kept.then(|| kept.into()))))
    }

    /// Ends a session; whether there was one.
    pub(super) fn cancel(&self, id: u64) -> bool {
        self.open().remove(&id).is_some()
    }

    fn find(&self, id: u64) -> Option<Shared> {
        self.open().get(&id).map(Arc::clone)
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Shared>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    async fn take(&mut self, mut body: Counted<'_>, keep_below: u64) -> Result<(), hyper::Error> {
        while let Some(data) = body.next().await {
            let data = data?;
            self.received += u64::try_from(data.len()).unwrap_or(u64::MAX);
            if self.received < keep_below {
                self.kept.extend_from_slice(&data);
            } else {
                self.kept = Vec::new();
            }
        }
        Ok(())
    }
}

/// The answer about a session that has so many bytes.
fn about(name: &str, id: u64, (status, received): (StatusCode, u64)) -> Answer {
    let mut answer = web::empty(status);
    let location = format!("/v2/{name}/blobs/uploads/{id}");
    set(&mut answer, header::LOCATION, &location);
    // Distribution says 0-0 for nothing too.
    let range = format!("0-{}", received.saturating_sub(1));
    set(&mut answer, header::RANGE, &range);
    set(&mut answer, UPLOAD, &id.to_string());
    answer
}

fn unknown() -> Answer {
    refusal(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN")
}

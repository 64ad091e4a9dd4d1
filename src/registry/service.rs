//! Services that are no registries: the authority, the log and the clock that signing asks.
//!
//! They are spoken to as registries are: with the authorities, the proxies and the retries of the run. Their
//! certificates are always checked, for what they are sent may be a token; plain HTTP is spoken where the URL
//! says so. No redirect is followed, so that nothing that is sent goes to another host than the one that was
//! named. Every answer is bounded, and so is the time of every attempt.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{Method, StatusCode};
use secrecy::SecretString;
use tokio::time;
use url::Url;

use crate::limits::answer::ANSWER_BYTES_MAX;

use super::call::{RETRY_AFTER_MAX, read_all, read_up_to, retry_after};
use super::connect::Connections;
use super::error::{Error, ErrorKind, NetworkError, Words, is_passing_status};
use super::place::shown;
use super::settings::{Retry, Settings};

/// How often a request is tried that ran out of its time: a service that hangs once may have been restarted,
/// and one that hangs twice keeps a whole list waiting.
const STALLS_MAX: u32 = 2;

/// What is sent: its media type and its bytes.
#[derive(Clone)]
pub struct Body {
    /// The media type.
    pub media_type: &'static str,
    /// The bytes.
    pub bytes: Bytes,
}

// By hand: it may hold a token.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({}, {} bytes)", self.media_type, self.bytes.len())
    }
}

/// What is asked of a service.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// Where.
    pub url: &'a Url,
    /// What is wanted in return, a media type.
    pub accept: &'static str,
    /// What is sent, by POST; without it GET.
    pub body: Option<Body>,
    /// What must not be repeated, should the service send it back.
    pub secrets: &'a [SecretString],
    /// The longest answer that is read, in bytes.
    pub answer_bytes_max: usize,
    /// Whether 409 is an answer: what was to be made is there, and its place is told.
    pub takes_conflict: bool,
}

/// The answer of a service: 2xx, or 409 where that is one.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Where it says that something is; only on the same origin.
    pub location: Option<Url>,
    /// Its body.
    pub body: Bytes,
}

/// The services of a run.
#[derive(Debug)]
pub struct Services {
    connections: Connections,
    retry: Retry,
    /// How long one attempt may take, its answer included.
    patience: Duration,
}

impl Services {
    /// Services that are spoken to by `settings`: certificates, proxies, retry; the stall timeout is the time
    /// of a whole attempt, since nothing that they send is large.
    pub fn new(settings: &Settings) -> Self {
        Self {
            connections: Connections::new(settings.certificates.clone(), settings.proxies.clone()),
            retry: settings.retry,
            patience: settings.stall_timeout,
        }
    }

    /// Asks, again and again where that may help: after 429, 408 and what servers in trouble say, and where
    /// there was no answer.
    ///
    /// # Errors
    ///
    /// For every status that is no answer, by its meaning; redirects too. When there is no answer, or a longer
    /// one than is read.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the request; what the service has done by then stays done.
    pub async fn ask(&self, question: &Question<'_>) -> Result<Reply, Error> {
        let mut attempt = 1;
        let mut stalls = 0;
        loop {
            let tried = time::timeout(self.patience, self.try_once(question)).await;
            let (kind, wait) = match tried {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(trouble)) => trouble,
                Err(_) => {
                    stalls += 1;
                    (ErrorKind::Stalled(self.patience), None)
                }
            };
            let error = Error {
                method: question.method(),
                url: shown(question.url),
                attempts: attempt,
                kind,
                wait,
            };
            let is_last = attempt >= self.retry.attempts || stalls >= STALLS_MAX;
            let is_long = wait.is_some_and(|wait| wait > RETRY_AFTER_MAX);
            if is_last || is_long || !error.is_passing() {
                return Err(error);
            }
            time::sleep(self.retry.pause(attempt, wait)).await;
            attempt += 1;
        }
    }

    async fn try_once(
        &self,
        question: &Question<'_>,
    ) -> Result<Reply, (ErrorKind, Option<Duration>)> {
        let url = question.url;
        let unusable = |error| (ErrorKind::Network(Box::new(error)), None);
        let client = self.connections.service(url).map_err(unusable)?;
        let mut request = client
            .request(question.method(), url.clone())
            .header(ACCEPT, question.accept);
        if let Some(body) = &question.body {
            request = request
                .header(CONTENT_TYPE, body.media_type)
                .body(body.bytes.clone());
        }
        let mut response = request.send().await.map_err(|error| {
            let proxy = self.connections.proxy(url);
            let error = NetworkError::http(error).through(proxy, url);
            (ErrorKind::Network(Box::new(error)), None)
        })?;
        let status = response.status();
        let is_answer =
            status.is_success() || question.takes_conflict && status == StatusCode::CONFLICT;
        if !is_answer {
            let wait = is_passing_status(status)
                .then(|| retry_after(response.headers()))
                .flatten();
            let body = read_up_to(response, ANSWER_BYTES_MAX).await;
            let words = Words::read(status, &body, question.secrets);
            return Err((ErrorKind::of_status(words), wait));
        }
        let location = response.headers().get(LOCATION);
        let location = location
            .and_then(|value| value.to_str().ok())
            .and_then(|text| url.join(text).ok())
            .filter(|place| place.origin() == url.origin());
        let body = read_all(&mut response, question.answer_bytes_max, self.patience)
            .await
            .map_err(|kind| (kind, None))?;
        Ok(Reply {
            status,
            location,
            body,
        })
    }
}

impl Question<'_> {
    fn method(&self) -> Method {
        match self.body {
            Some(_) => Method::POST,
            None => Method::GET,
        }
    }
}

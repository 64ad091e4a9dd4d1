//! One request to be made, and the answer to it.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

use crate::oci::Registry;

use super::auth::Scope;
use super::error::{Error, ErrorKind, NetworkError};
use super::limit::Permit;
use super::place::shown;

/// How much of an error body or a token answer is read, in bytes (a real one has under 8 KiB).
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long an error body is read; the status says most.
const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(5);
/// The longest `Retry-After` that is honoured; more is said as an error after the attempts.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// What is said of an answer that is longer than its caller reads.
pub(super) const BEYOND_LIMITS: &str = "its answer is beyond all limits";

/// Where a request goes.
#[derive(Clone)]
pub(super) enum Target {
    /// A path of the registry's API, with its query.
    Path(String),
    /// A URL that the registry gave for an upload.
    Url(Url),
}

// By hand: the query of an upload's location may hold what authorizes it.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Url(url) => f.debug_tuple("Url").field(&shown(url)).finish(),
        }
    }
}

/// Whether a redirect is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirects {
    /// It is.
    Followed,
    /// It is an answer: what was asked for is there, only elsewhere.
    Answer,
}

/// What a request carries.
#[derive(Debug)]
pub(super) enum Payload {
    None,
    Bytes(Bytes),
    /// Sent once, with exactly this many bytes.
    Stream(reqwest::Body, u64),
}

/// Who counts the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// The transport: a small request.
    Small,
    /// The caller, who holds permits for a relay.
    Held,
}

/// One request to be made.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) registry: &'a Registry,
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) scopes: Vec<Scope>,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
    pub(super) lane: Lane,
    pub(super) redirects: Redirects,
}

impl<'a> Call<'a> {
    pub(super) fn new(registry: &'a Registry, method: Method, path: String, scope: Scope) -> Self {
        Self {
            registry,
            method,
            target: Target::Path(path),
            scopes: vec![scope],
            headers: HeaderMap::new(),
            payload: Payload::None,
            lane: Lane::Small,
            redirects: Redirects::Followed,
        }
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// A successful answer (2xx). Its place in the lane is kept until it is dropped.
pub(super) struct Answer<'a> {
    pub(super) response: reqwest::Response,
    pub(super) attempts: u32,
    pub(super) method: Method,
    // Kept for its Drop: the request counts until its body was read.
    pub(super) _permit: Option<Permit>,
    pub(super) host: &'a Registry,
}

impl Call<'_> {
    pub(super) fn error(&self, url: &Url, attempts: u32, kind: ErrorKind) -> Error {
        Error {
            method: self.method.clone(),
            url: shown(url),
            attempts,
            kind,
            wait: None,
        }
    }
}

impl Answer<'_> {
    /// The error that this answer turns out to be.
    pub(super) fn error(&self, kind: ErrorKind) -> Error {
        Error {
            method: self.method.clone(),
            url: shown(self.response.url()),
            attempts: self.attempts,
            kind,
            wait: None,
        }
    }

    /// The registry that answered.
    pub(super) const fn registry(&self) -> &Registry {
        self.host
    }

    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Whether the registry confirms that it stored something: 201, or another success that names
    /// what is stored (Quay answered 202 for manifests). A login page with 200 confirms nothing.
    pub(super) fn is_receipt(&self) -> bool {
        self.response.status() == StatusCode::CREATED
            || self.header("docker-content-digest").is_some()
            || self.header("location").is_some()
    }
}

/// A successful answer with all of its body.
pub(super) struct Fetched {
    pub(super) url: Url,
    pub(super) body: Bytes,
    pub(super) attempts: u32,
    headers: HeaderMap,
}

impl Fetched {
    pub(super) fn new(answer: &Answer<'_>, body: Bytes, attempts: u32) -> Self {
        Self {
            url: answer.response.url().clone(),
            body,
            attempts,
            headers: answer.response.headers().clone(),
        }
    }

    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The error that this answer turns out to be.
    pub(super) fn error(&self, kind: ErrorKind) -> Error {
        Error {
            method: Method::GET,
            url: shown(&self.url),
            attempts: self.attempts,
            kind,
            wait: None,
        }
    }
}

/// The whole body of `response`, if it has at most `limit` bytes.
pub(super) async fn read_all(
    response: &mut reqwest::Response,
    limit: usize,
    stall: Duration,
) -> Result<Bytes, ErrorKind> {
    let mut body = BytesMut::new();
    loop {
        let chunk = tokio::time::timeout(stall, response.chunk())
            .await
            .map_err(|_| ErrorKind::Stalled(stall))?
            .map_err(|error| ErrorKind::Network(NetworkError::Http(error.without_url())))?;
        match chunk {
            None => return Ok(body.freeze()),
            Some(chunk) if body.len() + chunk.len() > limit => {
                return Err(ErrorKind::Protocol(BEYOND_LIMITS));
            }
            Some(chunk) => body.extend_from_slice(&chunk),
        }
    }
}

/// Reads at most `limit` bytes of an error body; whatever goes wrong, what was read is enough.
pub(super) async fn read_up_to(mut response: reqwest::Response, limit: usize) -> Bytes {
    let mut body = BytesMut::new();
    let reading = async {
        while body.len() < limit
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(chunk.get(..limit - body.len()).unwrap_or(&chunk));
        }
    };
    // Late or not, what there is by then will do.
    drop(tokio::time::timeout(ERROR_BODY_PATIENCE, reading).await);
    body.freeze()
}

/// `Retry-After` as seconds or as a date (RFC 9110, section 10.2.3), clamped.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        retry_after(&headers)
    }

    #[test]
    fn retry_after_is_read_and_clamped() {
        assert_eq!(after("3"), Some(Duration::from_secs(3)));
        assert_eq!(after("99999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(
            after("Fri, 31 Dec 9999 23:59:59 GMT"),
            Some(RETRY_AFTER_MAX)
        );
        for bad in ["", "-1", "soon", "18446744073709551616"] {
            assert_eq!(after(bad), None, "{bad}");
        }
    }
}

//! One request to be made, and the answer to it.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use crate::oci::{Registry, Repository};

use super::auth::{Scope, Side};
use super::documents::{Documents, Room, UNASKED_BYTES};
use super::error::{Error, ErrorKind, NetworkError};
use super::limit::{Kind, Permit};
use super::place::shown;

/// How long an error body is read; the status says most.
const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(5);
/// The longest `Retry-After` that is waited for; of more people are told.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);
/// The longest `Retry-After` that is believed. Limits are counted by 6 hours or by the day at most; what
/// wants more is a wrong number.
const RETRY_AFTER_BELIEVED: Duration = Duration::from_hours(24);

/// What must come in a stall timeout, on the whole, of an answer that is read to its end, in bytes: at the usual
/// minute it is a line of 9600 baud.
const PIECE_BYTES_MIN: usize = 64 * 1024;

/// What is said of a success that confirms nothing.
pub(super) const UNCONFIRMED: &str = "it takes what it does not confirm";

/// What is said of a page in place of an answer: of a login, or of a proxy that wants one.
pub(super) const PAGE: &str = "it is a page for people (HTML)";

/// Whether an answer calls itself HTML. Registries have no such answers; what they store may well be HTML,
/// so that this explains what is wrong already, and makes nothing wrong.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| {
        essence.eq_ignore_ascii_case("text/html")
            || essence.eq_ignore_ascii_case("application/xhtml+xml")
    })
}

/// Where a request goes.
#[derive(Clone)]
pub(super) enum Target {
    /// A path of the registry's API, with its query.
    Path(String),
    /// A URL that the registry gave for an upload or a next page, or one of another API of its.
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
    /// The same, who rather gives them back than keeps them while the registry wants to be left alone: the
    /// request is made once.
    HeldOnce,
}

/// Whom a request may prove itself to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// As the registry asks for it.
    AsAsked,
    /// By user and password, whatever the registry asks for elsewhere: an API of its own beside `/v2/`.
    Basic,
    /// Nobody.
    None,
}

/// One request to be made.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The repository that is spoken of: its registry is asked, with its credential.
    pub(super) repository: &'a Repository,
    /// Which side of the run it is on.
    pub(super) side: Side,
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) scopes: Vec<Scope>,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
    pub(super) lane: Lane,
    /// What the registry may count it under.
    pub(super) kind: Kind,
    pub(super) redirects: Redirects,
    pub(super) proof: Proof,
}

impl<'a> Call<'a> {
    /// A request for `path` below `/v2/`, with the rights of `scope`.
    pub(super) fn new(
        (repository, side): (&'a Repository, Side),
        method: Method,
        path: String,
        scope: Scope,
    ) -> Self {
        Self {
            repository,
            side,
            method,
            kind: Kind::of(&path),
            target: Target::Path(path),
            scopes: vec![scope],
            headers: HeaderMap::new(),
            payload: Payload::None,
            lane: Lane::Small,
            redirects: Redirects::Followed,
            proof: Proof::AsAsked,
        }
    }

    pub(super) fn to(mut self, url: Url) -> Self {
        self.target = Target::Url(url);
        self
    }

    pub(super) fn registry(&self) -> &'a Registry {
        self.repository.registry()
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// A successful answer (2xx). Its place in the lane is kept until it is dropped.
pub(super) struct Answer {
    pub(super) response: reqwest::Response,
    pub(super) attempts: u32,
    pub(super) method: Method,
    // Kept for its Drop: the request counts until its body was read.
    pub(super) _permit: Option<Permit>,
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

impl Answer {
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

    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Whether what was asked for may have `size` bytes, as far as this answer says: a page of a login has
    /// others. One that leads elsewhere says nothing of it.
    pub(super) fn may_have(&self, size: u64) -> bool {
        let announced = self.header("content-length");
        let announced = announced.and_then(|text| text.parse::<u64>().ok());
        self.response.status().is_redirection() || announced.is_none_or(|length| length == size)
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
    /// What it takes among the documents of a run, where it is large.
    pub(super) room: Option<Room>,
    headers: HeaderMap,
}

impl Fetched {
    pub(super) fn new(
        mut answer: Answer,
        (body, room): (Bytes, Option<Room>),
        attempts: u32,
    ) -> Self {
        Self {
            room,
            url: answer.response.url().clone(),
            body,
            attempts,
            headers: std::mem::take(answer.response.headers_mut()),
        }
    }

    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All headers of this name, as text.
    pub(super) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        let all = self.headers.get_all(name).into_iter();
        all.filter_map(|value| value.to_str().ok())
    }

    /// What is to be said of an answer that is not what it should be: that it is a page, or `what`.
    pub(super) fn page_or(&self, what: &'static str) -> &'static str {
        if is_page(&self.headers) { PAGE } else { what }
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
///
/// Nothing may be silent for `stall`, and an answer that drips is no progress either: it has twice `stall`, and as
/// much again for every [`PIECE_BYTES_MIN`] of it. A token of 64 KiB could otherwise hold up a run for a month.
pub(super) async fn read_all(
    response: &mut reqwest::Response,
    limit: usize,
    stall: Duration,
) -> Result<Bytes, ErrorKind> {
    let room = Some(Room::default());
    match read_document(response, limit, stall, (&Documents::default(), room)).await? {
        Read::All(body, _) => Ok(body),
        // Not where there is room already, and there is.
        Read::Crowded(_) => Err(ErrorKind::TooLong(limit)),
    }
}

/// What came of reading a document.
pub(super) enum Read {
    /// All of it, with its room where it is large.
    All(Bytes, Option<Room>),
    /// Not all of it: there is no room for so many bytes now.
    Crowded(usize),
}

/// The same of a document that takes room among others where it is large, or has some already. Where there is
/// none now, not one byte more is read: the connection would be held, and its buffers.
pub(super) async fn read_document(
    response: &mut reqwest::Response,
    limit: usize,
    stall: Duration,
    (documents, mut room): (&Documents, Option<Room>),
) -> Result<Read, ErrorKind> {
    let announced = response.content_length();
    let announced = announced.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > limit) {
        return Err(ErrorKind::TooLong(limit));
    }
    let mut body = BytesMut::new();
    let mut wanted = announced.unwrap_or_default();
    let began = Instant::now();
    loop {
        if wanted > UNASKED_BYTES && room.is_none() {
            let bytes = 2 * announced.unwrap_or(limit);
            room = documents.try_room(bytes);
            if room.is_none() {
                return Ok(Read::Crowded(bytes));
            }
        }
        // All at once, for what grows leaves holes.
        body.reserve(wanted.saturating_sub(body.len()));
        let pieces = u32::try_from(body.len() / PIECE_BYTES_MIN).unwrap_or(u32::MAX);
        let whole = stall.saturating_mul(pieces.saturating_add(2));
        let left = whole.saturating_sub(began.elapsed()).min(stall);
        let chunk = tokio::time::timeout(left, response.chunk())
            .await
            .map_err(|_| ErrorKind::Stalled(stall))?
            .map_err(|error| ErrorKind::Network(Box::new(NetworkError::http(error))))?;
        let Some(chunk) = chunk else {
            return Ok(Read::All(body.freeze(), room));
        };
        wanted = wanted.max(body.len() + chunk.len());
        if wanted > limit {
            return Err(ErrorKind::TooLong(limit));
        }
        body.extend_from_slice(&chunk);
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

/// `Retry-After` as seconds or as a date (RFC 9110, section 10.2.3): as it is where it can be believed, else
/// the longest that is waited for. A date is one of the clock of who says it, which `Date` shows: it may be
/// hours from ours.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let own = headers.get(DATE).and_then(|text| text.to_str().ok());
        let now = own.and_then(date).unwrap_or_else(SystemTime::now);
        date(text)?.duration_since(now).unwrap_or_default()
    };
    Some(if wait > RETRY_AFTER_BELIEVED {
        RETRY_AFTER_MAX
    } else {
        wait
    })
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
    fn retry_after_is_read_where_it_can_be_believed() {
        assert_eq!(after("3"), Some(Duration::from_secs(3)));
        assert_eq!(after("21600"), Some(Duration::from_hours(6)));
        assert_eq!(after("99999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(
            after("Fri, 31 Dec 9999 23:59:59 GMT"),
            Some(RETRY_AFTER_MAX)
        );
        // By the clock of who says it.
        let mut skewed = HeaderMap::new();
        let dates = [
            (DATE, "Thu, 01 Jan 2099 00:00:00 GMT"),
            (RETRY_AFTER, "Thu, 01 Jan 2099 00:00:07 GMT"),
        ];
        skewed.extend(dates.map(|(name, date)| (name, date.parse().unwrap())));
        assert_eq!(retry_after(&skewed), Some(Duration::from_secs(7)));
        for bad in ["", "-1", "soon", "18446744073709551616"] {
            assert_eq!(after(bad), None, "{bad}");
        }
    }
}

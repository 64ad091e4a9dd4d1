//! One request: scheme, authorization, limits, retry, redirects, redaction.
//!
//! Nothing else in the crate sends a request. What may be sent again is sent again here and nowhere
//! else; a body that streams cannot be, and its caller begins a new upload.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use crate::flight::Flight;
use crate::oci::Registry;

use super::auth::{Challenge, ChallengeError, Scope, Token};
use super::authorize::Authorization;
use super::credential::Credentials;
use super::error::{Error, ErrorKind, NetworkError, Words, is_passing_status};
use super::host::{Host, is_forbidden, scheme_after};
use super::limit::Permit;

/// How much of an error body or a token answer is read, in bytes (a real one has under 8 KiB).
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How many redirects are followed (as browsers' and curl's defaults, less what nobody needs).
const REDIRECTS_MAX: usize = 5;
/// How often one request may authenticate anew: once to learn the challenge, once for a stale token.
const CHALLENGES_MAX: u32 = 2;
/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections are closed before common servers close them (nginx: 75 s, distribution: 60 s).
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that is honoured; more is said as an error after the attempts.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// Whether certificates are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Certificates are checked against the system's roots.
    Verified,
    /// Any certificate is taken, and plain HTTP where TLS is not spoken.
    Unverified,
}

/// When a request is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// How often at most, the first time included.
    pub attempts: u32,
    /// The pause after the first failure; doubles each time, with jitter.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Default for Retry {
    /// Five times within some 8 s, as regclient and oras do it.
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_millis(250),
            pause_max: Duration::from_secs(10),
        }
    }
}

impl Retry {
    /// The pause after attempt `attempt` (1 is the first): between half and all of its step.
    pub fn pause_after(&self, attempt: u32) -> Duration {
        let doubled = self
            .pause
            .saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        doubled
            .min(self.pause_max)
            .mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

/// What a [`Client`](super::Client) is made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who gets which credential.
    pub credentials: Credentials,
    /// Whether source registries' certificates are checked.
    pub tls: Tls,
    /// How long nothing may happen before a request or transfer has failed.
    pub stall_timeout: Duration,
    /// When to try again.
    pub retry: Retry,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            credentials: Credentials::none(),
            tls: Tls::Verified,
            stall_timeout: Duration::from_mins(1),
            retry: Retry::default(),
        }
    }
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A path of the registry's API, with its query.
    Path(String),
    /// A URL that the registry gave for an upload.
    Url(Url),
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
        }
    }

    pub(super) fn header(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// A successful answer (2xx, or 304). Its place in the lane is kept until it is dropped.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) response: reqwest::Response,
    pub(super) attempts: u32,
    pub(super) method: Method,
    // Kept for its Drop: the request counts until its body was read.
    _permit: Option<Permit>,
    host: &'a Registry,
}

/// Sends requests.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) outside: reqwest::Client,
    // Without proxies: a proxy has no way to this machine's loopback.
    pub(super) loopback: reqwest::Client,
    pub(super) settings: Settings,
    hosts: Mutex<HashMap<Registry, Arc<Host>>>,
    schemes: Flight<Registry, &'static str>,
    pub(super) tokens: Flight<(Registry, Vec<Scope>), Token>,
}

impl Transport {
    pub(super) fn new(settings: Settings) -> Result<Self, reqwest::Error> {
        let build = || {
            reqwest::Client::builder()
                .user_agent(concat!("consign/", env!("CARGO_PKG_VERSION")))
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(64)
                .tls_danger_accept_invalid_certs(settings.tls == Tls::Unverified)
        };
        Ok(Self {
            outside: build().build()?,
            loopback: build().no_proxy().build()?,
            settings,
            hosts: Mutex::default(),
            schemes: Flight::default(),
            tokens: Flight::default(),
        })
    }

    /// What is known of `registry`.
    pub(super) fn host(&self, registry: &Registry) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hosts.entry(registry.clone()).or_default())
    }

    fn client(&self, registry: &Registry) -> &reqwest::Client {
        if registry.is_loopback() {
            &self.loopback
        } else {
            &self.outside
        }
    }

    /// The root of `registry`'s API: always HTTPS, but plain HTTP on loopback, or where certificates
    /// are not checked, if TLS is not spoken there.
    pub(super) async fn base(&self, registry: &Registry) -> Result<Url, Error> {
        let https = format!("https://{}/v2/", registry.authority());
        let may_be_plain = registry.is_loopback() || self.settings.tls == Tls::Unverified;
        let scheme = if may_be_plain {
            let work = async || {
                let probe = self.client(registry).get(&https).send();
                let answer = tokio::time::timeout(self.settings.stall_timeout, probe).await;
                match answer {
                    Ok(Err(error)) => scheme_after(&error).ok_or_else(|| Error {
                        method: Method::GET,
                        url: https.clone(),
                        attempts: 1,
                        kind: ErrorKind::Network(NetworkError::Http(error.without_url())),
                    }),
                    Ok(Ok(_)) => Ok("https"),
                    Err(_) => Err(Error {
                        method: Method::GET,
                        url: https.clone(),
                        attempts: 1,
                        kind: ErrorKind::Stalled(self.settings.stall_timeout),
                    }),
                }
            };
            self.schemes.run(registry, |_| (), work).await?.0
        } else {
            "https"
        };
        let text = format!("{scheme}://{}/v2/", registry.authority());
        text.parse().map_err(|_| Error {
            method: Method::GET,
            url: text,
            attempts: 0,
            kind: ErrorKind::Protocol("the registry's name makes no URL"),
        })
    }

    /// Sends `call`, again and again where that may help, and follows redirects of GET and HEAD.
    ///
    /// # Errors
    ///
    /// For every status that is no success, by its meaning; and when there is no answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the request; what the registry has done by then stays done.
    pub(super) async fn send<'a>(&self, mut call: Call<'a>) -> Result<Answer<'a>, Error> {
        let host = self.host(call.registry);
        let attempts_max = match call.payload {
            Payload::Stream(..) => 1,
            Payload::None | Payload::Bytes(_) => self.settings.retry.attempts.max(1),
        };
        let mut challenges = 0;
        let mut attempt = 1;
        loop {
            let tried = self.attempt(&mut call, &host, attempt).await;
            let failed = match tried {
                Ok(Tried::Done(answer)) => return Ok(answer),
                Ok(Tried::Challenged(error)) => {
                    challenges += 1;
                    let is_stream = matches!(call.payload, Payload::Stream(..));
                    if is_stream || challenges > CHALLENGES_MAX {
                        return Err(error);
                    }
                    continue;
                }
                Ok(Tried::Failed(error, wait)) => (error, wait),
                Err(error) => (error, None),
            };
            let (error, wait) = failed;
            if attempt >= attempts_max || !error.kind.is_passing() {
                return Err(error);
            }
            let pause = wait.unwrap_or_else(|| self.settings.retry.pause_after(attempt));
            tracing::debug!(attempt, ?pause, error = %error, "trying again");
            if matches!(error.kind, ErrorKind::RateLimited(_)) || wait.is_some() {
                host.complain(pause);
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// Sends `call` once, with whatever redirects follow.
    async fn attempt<'a>(
        &self,
        call: &mut Call<'a>,
        host: &Arc<Host>,
        attempt: u32,
    ) -> Result<Tried<'a>, Error> {
        let base = self
            .base(call.registry)
            .await
            .map_err(|e| e.after(attempt))?;
        let mut url = match &call.target {
            Target::Path(path) => base.join(path).map_err(|_| Error {
                method: call.method.clone(),
                url: base.to_string(),
                attempts: attempt,
                kind: ErrorKind::Protocol("the path makes no URL"),
            })?,
            Target::Url(url) => url.clone(),
        };
        let permit = match call.lane {
            Lane::Small => Some(host.small_permit().await),
            Lane::Held => None,
        };
        let _first = host.introduction().await;
        // Credentials go to the registry's own origin and never come back after leaving it.
        let mut at_home = url.origin() == base.origin();
        let mut authorization = None;
        for _ in 0..=REDIRECTS_MAX {
            if at_home {
                authorization = self.authorization(call, host, &base).await?;
            }
            let response = self
                .execute(call, &url, authorization.as_ref(), attempt)
                .await?;
            host.met();
            let status = response.status();
            tracing::debug!(method = %call.method, url = %shown(&url), status = status.as_u16(), attempt, "answered");
            if status.is_success() || status == StatusCode::NOT_MODIFIED {
                host.praise();
                return Ok(Tried::Done(Answer {
                    response,
                    attempts: attempt,
                    method: call.method.clone(),
                    _permit: permit,
                    host: call.registry,
                }));
            }
            let replayable = matches!(call.method, Method::GET | Method::HEAD);
            if status.is_redirection() && replayable {
                url = Self::redirect(call, &url, &response, &base)?;
                at_home &= url.origin() == base.origin();
                if !at_home {
                    authorization = None;
                }
                continue;
            }
            let trial = Trial {
                attempt,
                at_home,
                authorization: authorization.as_ref(),
            };
            return self.complaint(call, host, response, trial).await;
        }
        Err(call.error(&url, attempt, ErrorKind::Protocol("it redirects too often")))
    }

    /// Sends the bytes of one request and waits for the head of its answer.
    async fn execute(
        &self,
        call: &mut Call<'_>,
        url: &Url,
        authorization: Option<&Authorization>,
        attempt: u32,
    ) -> Result<reqwest::Response, Error> {
        let client = if is_loopback(url) {
            &self.loopback
        } else {
            self.client(call.registry)
        };
        let mut request = client
            .request(call.method.clone(), url.clone())
            .headers(call.headers.clone());
        if let Some(value) = authorization {
            let mut header = HeaderValue::from_str(value.header()).map_err(|_| {
                call.error(
                    url,
                    attempt,
                    ErrorKind::Protocol("the token makes no header"),
                )
            })?;
            header.set_sensitive(true);
            request = request.header(AUTHORIZATION, header);
        }
        let limit = match std::mem::replace(&mut call.payload, Payload::None) {
            Payload::None => {
                if call.method == Method::POST || call.method == Method::PUT {
                    request = request.header(CONTENT_LENGTH, 0);
                }
                Some(self.settings.stall_timeout)
            }
            Payload::Bytes(bytes) => {
                call.payload = Payload::Bytes(bytes.clone());
                request = request.body(bytes);
                Some(self.settings.stall_timeout)
            }
            // Its caller watches over the progress of the bytes.
            Payload::Stream(body, size) => {
                request = request.header(CONTENT_LENGTH, size).body(body);
                None
            }
        };
        let sent = request.send();
        let answer = match limit {
            Some(limit) => tokio::time::timeout(limit, sent)
                .await
                .map_err(|_| call.error(url, attempt, ErrorKind::Stalled(limit)))?,
            None => sent.await,
        };
        answer.map_err(|error| {
            let network = NetworkError::Http(error.without_url());
            call.error(url, attempt, ErrorKind::Network(network))
        })
    }

    /// Where a redirect leads, if it is a place to go.
    fn redirect(
        call: &Call<'_>,
        from: &Url,
        response: &reqwest::Response,
        base: &Url,
    ) -> Result<Url, Error> {
        let untrusted = |place: &str| call.error(from, 1, ErrorKind::Untrusted(place.to_owned()));
        let location = response.headers().get(LOCATION);
        let to = location
            .and_then(|value| value.to_str().ok())
            .and_then(|text| from.join(text).ok())
            .ok_or_else(|| call.error(from, 1, ErrorKind::Protocol("it redirects to nowhere")))?;
        check_place(&to, from, base).map_err(|()| untrusted(&shown(&to)))?;
        Ok(to)
    }

    /// What an answer that is no success means for the request.
    async fn complaint<'a>(
        &self,
        call: &Call<'a>,
        host: &Arc<Host>,
        response: reqwest::Response,
        trial: Trial<'_>,
    ) -> Result<Tried<'a>, Error> {
        let attempt = trial.attempt;
        let status = response.status();
        let headers = response.headers().clone();
        let url = response.url().clone();
        let words = Words::read(status, &read_up_to(response, ANSWER_BYTES_MAX).await);
        let error = call.error(&url, attempt, ErrorKind::of_status(words));
        if status == StatusCode::UNAUTHORIZED && trial.at_home {
            return match Challenge::read(&headers, &url) {
                Ok(challenge) if self.challenged(call, host, &challenge, trial.authorization) => {
                    Ok(Tried::Challenged(error))
                }
                Ok(_) | Err(ChallengeError::Unknown) => Err(error),
                Err(ChallengeError::Realm(realm)) => {
                    Err(call.error(&url, attempt, ErrorKind::Untrusted(realm)))
                }
            };
        }
        let wait = is_passing_status(status)
            .then(|| retry_after(&headers))
            .flatten();
        Ok(Tried::Failed(error, wait))
    }
}

/// How one request was sent.
#[derive(Clone, Copy)]
struct Trial<'a> {
    attempt: u32,
    /// Whether it went to the registry's own origin.
    at_home: bool,
    authorization: Option<&'a Authorization>,
}

/// How one attempt ended.
enum Tried<'a> {
    Done(Answer<'a>),
    /// Refused for its credentials; other ones may do.
    Challenged(Error),
    /// Failed; the registry may have said how long to wait.
    Failed(Error, Option<Duration>),
}

impl Call<'_> {
    pub(super) fn error(&self, url: &Url, attempts: u32, kind: ErrorKind) -> Error {
        Error {
            method: self.method.clone(),
            url: shown(url),
            attempts,
            kind,
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

    /// The whole body, if it has at most `limit` bytes.
    pub(super) async fn read(mut self, limit: usize, stall: Duration) -> Result<Bytes, Error> {
        let mut body = bytes::BytesMut::new();
        loop {
            let chunk = match tokio::time::timeout(stall, self.response.chunk()).await {
                Err(_) => return Err(self.error(ErrorKind::Stalled(stall))),
                Ok(Err(error)) => {
                    let network = NetworkError::Http(error.without_url());
                    return Err(self.error(ErrorKind::Network(network)));
                }
                Ok(Ok(chunk)) => chunk,
            };
            match chunk {
                None => return Ok(body.freeze()),
                Some(chunk) if body.len() + chunk.len() > limit => {
                    return Err(self.error(ErrorKind::Protocol("its answer is beyond all limits")));
                }
                Some(chunk) => body.extend_from_slice(&chunk),
            }
        }
    }
}

impl Error {
    fn after(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }
}

/// Whether a place that a registry names, by redirect or upload location, may be gone to: never from
/// TLS to plain HTTP, never to addresses that only this machine or its cloud can mean.
pub(super) fn check_place(to: &Url, from: &Url, base: &Url) -> Result<(), ()> {
    let scheme_is_good = to.scheme() == "https" || to.scheme() == "http" && from.scheme() == "http";
    if scheme_is_good && to.has_host() && !is_forbidden(to, base) {
        Ok(())
    } else {
        Err(())
    }
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A URL for people: without user, query and fragment, where secrets stand.
pub(super) fn shown(url: &Url) -> String {
    let mut text = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        text.push(':');
        text.push_str(&port.to_string());
    }
    text.push_str(url.path());
    text
}

/// Reads at most `limit` bytes of an error body; whatever goes wrong, what was read is enough.
pub(super) async fn read_up_to(mut response: reqwest::Response, limit: usize) -> Bytes {
    let mut body = bytes::BytesMut::new();
    while body.len() < limit
        && let Ok(Ok(Some(chunk))) = tokio::time::timeout(CONNECT_TIMEOUT, response.chunk()).await
    {
        body.extend_from_slice(chunk.get(..limit - body.len()).unwrap_or(&chunk));
    }
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

    #[test]
    fn pauses_grow_within_bounds() {
        let retry = Retry::default();
        for attempt in 1..100 {
            let pause = retry.pause_after(attempt);
            assert!(
                pause <= retry.pause_max && pause >= retry.pause / 2,
                "{attempt}: {pause:?}"
            );
        }
    }

    #[test]
    fn shown_urls_have_no_secrets() {
        let url: Url = "https://user:pw@h.example:8443/v2/x?sig=secret#frag"
            .parse()
            .unwrap();
        assert_eq!(shown(&url), "https://h.example:8443/v2/x");
    }

    #[test]
    fn places_are_checked() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let base = url("https://r.example/v2/");
        for (to, good) in [
            ("https://cdn.example/x", true),
            ("https://10.0.0.5/x", true),
            ("http://r.example/x", false),
            ("https://169.254.169.254/x", false),
            ("https://127.0.0.1/x", false),
            ("ftp://cdn.example/x", false),
        ] {
            assert_eq!(check_place(&url(to), &base, &base).is_ok(), good, "{to}");
        }
        let plain = url("http://127.0.0.1:5000/v2/");
        assert!(check_place(&url("http://127.0.0.1:6000/x"), &plain, &plain).is_ok());
        assert!(check_place(&url("http://169.254.169.254/x"), &plain, &plain).is_err());
    }
}

//! One request: scheme, authorization, limits, retry, redirects, redaction.
//!
//! Nothing else in the crate sends a request. What may be sent again is sent again here and nowhere
//! else; a body that streams cannot be, and its caller begins a new upload.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use crate::flight::Flight;
use crate::limits::answer::{ANSWER_BYTES_MAX, CHALLENGES_MAX, REDIRECTS_MAX};
use crate::oci::{Registry, Repository};

use super::ahead::PARTS_MAX;
use super::auth::{Challenge, ChallengeError, Side};
use super::authorize::{Authorization, Tokens};
use super::call::{Answer, Call, Lane, Payload, Redirects, Target, read_up_to, retry_after};
use super::connect::{Connections, Errand};
use super::documents::Documents;
use super::error::{Error, ErrorKind, NetworkError, Words, is_passing_status};
use super::host::{Host, Way, scheme_after};
use super::place::{check_place, shown};
use super::rate::Bandwidth;
use super::settings::Settings;
use super::tls::Tls;

/// Sends requests.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) settings: Settings,
    connections: Connections,
    pub(super) bandwidth: Option<Bandwidth>,
    hosts: Mutex<HashMap<Registry, Arc<Host>>>,
    schemes: Flight<(Registry, Tls), &'static str>,
    pub(super) tokens: Tokens,
    /// The room for what is read whole.
    pub(super) documents: Documents,
    /// The room for parts of blobs that are read ahead.
    pub(super) parts: Arc<Semaphore>,
}

impl Transport {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            connections: Connections::new(settings.certificates.clone(), settings.proxies.clone()),
            bandwidth: settings.bandwidth.map(Bandwidth::new),
            settings,
            hosts: Mutex::default(),
            schemes: Flight::default(),
            tokens: Flight::default(),
            documents: Documents::default(),
            parts: Arc::new(Semaphore::new(PARTS_MAX)),
        }
    }

    /// What is known of `registry`.
    pub(super) fn host(&self, registry: &Registry) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        // The usual case by itself: a name is copied only to be kept.
        if let Some(host) = hosts.get(registry) {
            return Arc::clone(host);
        }
        let make = || Arc::new(Host::new(self.settings.rates.get(registry).copied()));
        Arc::clone(hosts.entry(registry.clone()).or_insert_with(make))
    }

    /// What waits now because a registry asked for it: which registry, what in a word, and until when.
    pub(super) fn pauses(&self) -> Vec<(Registry, &'static str, Instant)> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let pauses = |(registry, host): (&Registry, &Arc<Host>)| {
            let named = |(what, until)| (registry.clone(), what, until);
            host.pauses().map(named).collect::<Vec<_>>()
        };
        hosts.iter().flat_map(pauses).collect()
    }

    /// The HTTP client for a request to `url`, on behalf of `repository`.
    pub(super) fn client(
        &self,
        (repository, side): (&Repository, Side),
        errand: Errand,
        url: &Url,
    ) -> Result<reqwest::Client, ErrorKind> {
        let tls = self.settings.party(side).tls_of(repository);
        self.connections
            .client(repository.registry(), tls, (errand, url))
            .map_err(|error| ErrorKind::Network(Box::new(error)))
    }

    /// What an error of the HTTP client means for a request to `url`.
    pub(super) fn network(&self, error: reqwest::Error, url: &Url) -> ErrorKind {
        let proxy = self.connections.proxy(url);
        ErrorKind::Network(Box::new(NetworkError::http(error).through(proxy, url)))
    }

    /// What an answer to plain HTTP means that a proxy has made itself, and no registry.
    fn proxys(&self, url: &Url, words: &Words) -> Option<NetworkError> {
        let status = words.status;
        let is_of_proxies = status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            || matches!(status.as_u16(), 502..=504) && words.code.is_empty();
        if !is_of_proxies || url.scheme() != "http" {
            return None;
        }
        let proxy = self.connections.proxy(url)?;
        Some(NetworkError::Refused { proxy, status })
    }

    /// The root of the API of the registry of `repository`: always HTTPS, but plain HTTP on loopback, or
    /// where certificates are not checked, if TLS is not spoken there.
    pub(super) async fn base(&self, repository: &Repository, side: Side) -> Result<Url, Error> {
        let host = self.host(repository.registry());
        let way = self.way(&host, repository, side).await?;
        Ok(way.base.clone())
    }

    /// How `host`, the registry of `repository`, is reached.
    async fn way(
        &self,
        host: &Host,
        repository: &Repository,
        side: Side,
    ) -> Result<Arc<Way>, Error> {
        let registry = repository.registry();
        let tls = self.settings.party(side).tls_of(repository);
        let known = host.way(tls);
        if let Some(way) = known.get() {
            return Ok(Arc::clone(way));
        }
        let https = format!("https://{}/v2/", registry.authority());
        let scheme = if registry.is_loopback() || tls == Tls::Unverified {
            let work = async || self.probe(repository, side, &https).await;
            let key = (registry.clone(), tls);
            self.schemes.run(&key, |_| (), work).await?.0
        } else {
            "https"
        };
        let base = url_of(&format!("{scheme}://{}/v2/", registry.authority()))?;
        Ok(Arc::clone(known.get_or_init(|| Arc::new(Way::new(base)))))
    }

    /// Which scheme a registry speaks that need not speak TLS.
    async fn probe(
        &self,
        repository: &Repository,
        side: Side,
        https: &str,
    ) -> Result<&'static str, Error> {
        let registry = repository.registry();
        let limit = self.settings.stall_timeout;
        let url = url_of(https)?;
        let client = self
            .client((repository, side), Errand::Api, &url)
            .map_err(|kind| probe_error(https, 0, kind))?;
        let mut attempt = 1;
        let host = self.host(registry);
        loop {
            host.turn().await;
            let asked = client.get(url.clone()).send();
            let Ok(answer) = tokio::time::timeout(limit, asked).await else {
                return Err(probe_error(https, attempt, ErrorKind::Stalled(limit)));
            };
            let Err(error) = answer else {
                return Ok("https");
            };
            if let Some(scheme) = scheme_after(&error, registry.is_loopback()) {
                return Ok(scheme);
            }
            let kind = self.network(error, &url);
            if attempt >= self.settings.retry.attempts || !kind.is_passing() {
                return Err(probe_error(https, attempt, kind));
            }
            tokio::time::sleep(self.settings.retry.pause_after(attempt)).await;
            attempt += 1;
        }
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
    pub(super) async fn send(&self, mut call: Call<'_>) -> Result<Answer, Error> {
        let host = self.host(call.registry());
        // Looked at before it is sent: afterwards the stream is gone.
        let is_stream = matches!(call.payload, Payload::Stream(..));
        let attempts_max = if is_stream || call.lane == Lane::HeldOnce {
            1
        } else {
            self.settings.retry.attempts.max(1)
        };
        let stall_timeout = self.settings.stall_timeout;
        let began = Instant::now();
        let mut challenges = 0;
        let mut attempt = 1;
        loop {
            let tried = self.attempt(&mut call, &host, attempt).await;
            let (error, is_passing) = match tried {
                Ok(Tried::Done(answer)) => return Ok(answer),
                Ok(Tried::Challenged(error)) => {
                    challenges += 1;
                    if is_stream || challenges > CHALLENGES_MAX {
                        return Err(error);
                    }
                    continue;
                }
                Ok(Tried::Ended(error)) => (error, true),
                Ok(Tried::Failed(error)) => {
                    let is_passing = error.is_passing();
                    (error, is_passing)
                }
                // What comes before the request, a token for instance, has had its own tries.
                Err(error) => return Err(error),
            };
            let pause = self.settings.retry.pause(attempt, error.wait);
            // One that says itself for how long goes on without us; nobody waits for it.
            if error.kind.is_throttling() && error.again().is_none() {
                host.complain(call.kind, pause);
            }
            // Silence is tried again only while there is time for it.
            let is_silence = matches!(error.kind, ErrorKind::Stalled(_));
            let is_too_late = is_silence && began.elapsed() >= stall_timeout;
            if attempt >= attempts_max || is_too_late || !is_passing {
                return Err(error);
            }
            tracing::debug!(attempt, ?pause, error = %error, "trying again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// Sends `call` once, with whatever redirects follow.
    async fn attempt(
        &self,
        call: &mut Call<'_>,
        host: &Arc<Host>,
        attempt: u32,
    ) -> Result<Tried, Error> {
        let way = self.way(host, call.repository, call.side).await?;
        let base = &way.base;
        let mut url = match &call.target {
            Target::Path(path) => base.join(path).map_err(|_| {
                call.error(base, attempt, ErrorKind::Protocol("the path makes no URL"))
            })?,
            Target::Url(url) => url.clone(),
        };
        let permit = match call.lane {
            Lane::Small => Some(host.permit(call.kind).await),
            Lane::Held | Lane::HeldOnce => None,
        };
        let _first = host.introduction().await;
        // Credentials go to the registry's own origin and never come back after leaving it.
        let mut at_home = way.is_home(&url);
        let mut authorization = None;
        // Who relays has waited for its turn before it took its lanes.
        let relays = matches!(call.method, Method::GET | Method::PUT);
        let mut is_prepaid = call.lane == Lane::Held && relays && attempt == 1;
        for _ in 0..=REDIRECTS_MAX {
            if at_home {
                authorization = self.authorization(call, host).await?;
                if !is_prepaid {
                    host.turn_of(call.kind).await;
                }
                is_prepaid = false;
            }
            let trial = Trial {
                attempt,
                at_home,
                authorization: authorization.as_ref(),
            };
            let response = match self.execute(call, (&way, &url), trial).await {
                Ok(response) => response,
                Err(error) => return Ok(Tried::Failed(error)),
            };
            host.met();
            let status = response.status();
            tracing::debug!(method = %call.method, url = %shown(&url), status = status.as_u16(), attempt, "answered");
            let is_answer = status.is_redirection() && call.redirects == Redirects::Answer;
            if status.is_success() || is_answer {
                host.praise(call.kind);
                return Ok(Tried::Done(Answer {
                    response,
                    attempts: attempt,
                    method: call.method.clone(),
                    _permit: permit,
                }));
            }
            let replayable = matches!(call.method, Method::GET | Method::HEAD);
            if status.is_redirection() && replayable {
                url = Self::redirect(call, &url, &response, base)?;
                at_home &= way.is_home(&url);
                if !at_home {
                    authorization = None;
                }
                continue;
            }
            return self.complaint(call, host, response, trial).await;
        }
        Err(call.error(
            &url,
            attempt,
            ErrorKind::Protocol("it redirects more than 5 times"),
        ))
    }

    /// Sends the bytes of one request and waits for the head of its answer.
    async fn execute(
        &self,
        call: &mut Call<'_>,
        (way, url): (&Way, &Url),
        trial: Trial<'_>,
    ) -> Result<reqwest::Response, Error> {
        let attempt = trial.attempt;
        let client = || self.client((call.repository, call.side), Errand::Api, url);
        let client = if trial.at_home {
            way.client(client)
        } else {
            client()
        };
        let client = client.map_err(|kind| call.error(url, attempt, kind))?;
        let mut request = client
            .request(call.method.clone(), url.clone())
            .headers(call.headers.clone());
        if let Some(value) = trial.authorization {
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
        // A dead connection is left while there is still time for a new one; a registry that works
        // on what it was given is not interrupted.
        let patience = match call.method {
            Method::GET | Method::HEAD => self.settings.stall_timeout / 2,
            _ => self.settings.stall_timeout,
        };
        let limit = match std::mem::replace(&mut call.payload, Payload::None) {
            Payload::None => {
                if call.method == Method::POST || call.method == Method::PUT {
                    request = request.header(CONTENT_LENGTH, 0);
                }
                Some(patience)
            }
            Payload::Bytes(bytes) => {
                call.payload = Payload::Bytes(bytes.clone());
                request = request.body(bytes);
                Some(patience)
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
        answer.map_err(|error| call.error(url, attempt, self.network(error, url)))
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
    async fn complaint(
        &self,
        call: &Call<'_>,
        host: &Arc<Host>,
        response: reqwest::Response,
        trial: Trial<'_>,
    ) -> Result<Tried, Error> {
        let attempt = trial.attempt;
        let status = response.status();
        let headers = response.headers().clone();
        let url = response.url().clone();
        let body = read_up_to(response, ANSWER_BYTES_MAX).await;
        let words = Words::read(status, &body, &self.secrets(call, trial.authorization));
        let kind = self.proxys(&url, &words).map_or_else(
            || ErrorKind::of_status(words),
            |network| ErrorKind::Network(Box::new(network)),
        );
        let error = call.error(&url, attempt, kind);
        if status == StatusCode::UNAUTHORIZED && trial.at_home {
            return match Challenge::read(&headers, &url) {
                Ok(challenge) => {
                    let sent = trial.authorization;
                    if self.challenged(call, host, &challenge, sent).await {
                        return Ok(Tried::Challenged(error));
                    }
                    Err(match (sent, error.kind) {
                        (Some(_), ErrorKind::Unauthorized(words)) => {
                            call.error(&url, attempt, ErrorKind::CredentialRefused(words))
                        }
                        (_, kind) => call.error(&url, attempt, kind),
                    })
                }
                Err(ChallengeError::Unknown) => Err(error),
                Err(ChallengeError::Realm(realm)) => {
                    Err(call.error(&url, attempt, ErrorKind::Untrusted(realm)))
                }
            };
        }
        // ECR says 403 of a password that has ended.
        if status == StatusCode::FORBIDDEN
            && trial.at_home
            && let Some(Authorization::Basic(used)) = trial.authorization
            && self.is_renewed(call, used).await
        {
            return Ok(Tried::Challenged(error));
        }
        let mut error = error;
        error.wait = is_passing_status(status)
            .then(|| retry_after(&headers))
            .flatten();
        let replayable = matches!(call.method, Method::GET | Method::HEAD);
        let has_ended = !trial.at_home && replayable && may_have_ended(status);
        Ok(if has_ended {
            Tried::Ended(error)
        } else {
            Tried::Failed(error)
        })
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
enum Tried {
    Done(Answer),
    /// Refused for its credentials; other ones may do.
    Challenged(Error),
    /// Failed; trying again may help.
    Failed(Error),
    /// A place that the registry led to lets nobody in: its URL may have ended, and the registry gives a new one.
    Ended(Error),
}

/// Whether an object store may say so of a signed URL that has ended: S3 and Azure say 403, Google's 400. Not 401:
/// that asks for a credential, which never follows a redirect.
fn may_have_ended(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 403 | 410)
}

fn url_of(text: &str) -> Result<Url, Error> {
    text.parse().map_err(|_| {
        let why = "the registry's name makes no URL";
        probe_error(text, 0, ErrorKind::Protocol(why))
    })
}

fn probe_error(url: &str, attempts: u32, kind: ErrorKind) -> Error {
    Error {
        method: Method::GET,
        url: url.to_owned(),
        attempts,
        kind,
        wait: None,
    }
}

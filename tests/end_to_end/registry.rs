//! The test registry: our own `serve`, in memory on loopback, with a log and scripted faults.
//!
//! ```ignore
//! let registry = TestRegistry::start().await;                     // nobody asks who you are
//! let image = Image::new(&["layer"]).push(&registry, "app", Some("1")).await;
//! let broken = registry.rule(when("GET", "*/blobs/*").nth(1).cut_body_after(10));
//! // … a client pulls `registry.host()` + "/app:1" …
//! assert_eq!(broken.hits(), 1);
//! assert_eq!(registry.count("GET", "*/blobs/*"), 2);
//! ```
//!
//! - [`TestRegistry::with`] takes [`Settings`]: authentication ([`Auth`]), TLS, mounts, referrers.
//! - [`when`] begins a rule; its methods say how often and what goes wrong. All rules that fit a
//!   request work on it, in the order in which they were added; the first that answers ends it.
//! - [`TestRegistry::script`] takes whole tables of such rules, and [`TestRegistry::asked`] compares the log
//!   with one.
//! - [`TestRegistry::log`] has every request with its order, status and bytes; those to `/token` too.
//! - [`Image`], [`index`], [`attestation`], [`artifact`], [`schema1`] make images and put them straight
//!   into the registry, without a request.
//! - [`Contents`] is all of a repository, to compare byte for byte.
//!
//! Nothing here waits for time to pass: [`Active::hit`] and [`TestRegistry::wait`] are for tests that
//! need to know how far something is. Dropped, a registry ends with all its connections.

mod annex;
mod auth;
mod bodies;
mod chaos;
mod contents;
mod images;
mod log;
mod rules;
mod script;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use consign::layout::{Layout, RepositoryPath};
use consign::serve;
use consign::serve::{Access, Body, BodyError, Children, Handler, Registry};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use annex::{Annex, Asked};
pub(crate) use auth::{AfterRefusal, Auth, Bearer, TokenRequest, basic};
pub(crate) use chaos::Chaos;
pub(crate) use contents::Contents;
pub(crate) use images::{Image, Pushed, artifact, attestation, index, manifest_list, schema1};
pub(crate) use log::Logged;
pub(crate) use rules::{Active, Rule, When, when};

use crate::certificates::Certified;
use crate::program::patiently;

use auth::Door;
use bodies::spoil_request;
use chaos::Dice;
use log::{Line, Log};
use rules::{After, Before, Fault, Reads, Rules, spoil};

/// How a registry treats mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mounts {
    /// It mounts what it has.
    #[default]
    Done,
    /// It opens an upload instead.
    Upload,
    /// It mounts from other repositories, but opens an upload for a mount from the same one.
    NotFromItself,
    /// It answers with this status, 400 or 405 say.
    Refused(u16),
}

/// Whether a registry has the referrers API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Referrers {
    /// It has.
    #[default]
    Listed,
    /// It answers 404, and takes no notice of subjects.
    Unknown,
}

/// Whether a registry speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Transport {
    /// Plain HTTP.
    #[default]
    Plain,
    /// TLS with a certificate for `localhost`, 127.0.0.1 and `registry.test` that nobody else signed.
    Tls,
    /// TLS with this certificate.
    TlsAs(Certified),
    /// The same, with those alone who show a certificate of this authority.
    TlsAmong(Certified, CertificateDer<'static>),
}

/// How a test registry behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Who may come in.
    pub(crate) auth: Auth,
    /// What becomes of mounts.
    pub(crate) mounts: Mounts,
    /// What becomes of referrers.
    pub(crate) referrers: Referrers,
    /// What is spoken.
    pub(crate) transport: Transport,
    /// Whether indexes may be sparse.
    pub(crate) sparse: Sparse,
    /// The product around it.
    pub(crate) annex: Option<Arc<dyn Annex>>,
}

/// Whether indexes may be pushed without their children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sparse {
    /// They are refused.
    #[default]
    Refused,
    /// They are taken.
    Taken,
}

/// A registry on loopback.
#[derive(Debug)]
pub(crate) struct TestRegistry {
    front: Arc<Front>,
    address: SocketAddr,
    certified: Option<Certified>,
    end: CancellationToken,
    server: JoinSet<io::Result<()>>,
}

impl TestRegistry {
    /// A registry that anybody may use, over plain HTTP.
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// A registry with these settings.
    pub(crate) async fn with(settings: Settings) -> Self {
        let registry = Registry::new(Layout::in_memory(), Access::Writable).await;
        Self::over(registry.expect("memory is writable"), settings).await
    }

    /// A registry over another one: over a directory, say.
    pub(crate) async fn over(registry: Registry, settings: Settings) -> Self {
        let children = match settings.sparse {
            Sparse::Refused => Children::Required,
            Sparse::Taken => Children::Optional,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let certified = match &settings.transport {
            Transport::Plain => None,
            Transport::Tls => Some(Certified::alone(&[
                "localhost",
                "127.0.0.1",
                "registry.test",
            ])),
            Transport::TlsAs(certified) | Transport::TlsAmong(certified, _) => {
                Some(certified.clone())
            }
        };
        let clients = match &settings.transport {
            Transport::TlsAmong(_, authority) => Some(authority.clone()),
            Transport::Plain | Transport::Tls | Transport::TlsAs(_) => None,
        };
        let scheme = certified.as_ref().map_or("http", |_| "https");
        let front = Arc::new(Front {
            door: Door::new(settings.auth.clone(), &format!("{scheme}://{address}")),
            registry: registry.accept_sparse(children),
            mounts: settings.mounts,
            referrers: settings.referrers,
            annex: settings.annex,
            log: Log::new(),
            rules: Rules::default(),
            dice: Dice::default(),
        });
        let end = CancellationToken::new();
        let ended = end.clone().cancelled_owned();
        let mut server = JoinSet::new();
        let handler = Arc::clone(&front);
        match &certified {
            None => server.spawn(serve::listen(listener, handler, ended)),
            Some(certified) => {
                let acceptor = certified.acceptor(clients);
                let wrap = move |stream: TcpStream| acceptor.accept(stream);
                server
                    .spawn(async move { serve::listen_with(listener, wrap, handler, ended).await })
            }
        };
        Self {
            front,
            address,
            certified,
            end,
            server,
        }
    }

    /// Ends it in order: requests under way are answered, and what is under it can be opened again.
    pub(crate) async fn stop(mut self) {
        self.end.cancel();
        while let Some(ended) = self.server.join_next().await {
            ended.expect("it did not panic").expect("it served");
        }
    }

    /// Address and port, as they stand in front of an image's name.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// The URL without a slash at its end.
    pub(crate) fn url(&self) -> String {
        let scheme = self.certified.as_ref().map_or("http", |_| "https");
        format!("{scheme}://{}", self.address)
    }

    /// The certificate in PEM, to be trusted; only with TLS.
    pub(crate) fn certificate(&self) -> &str {
        &self.certified.as_ref().expect("only with TLS").certificate
    }

    /// The registry behind the faults.
    pub(crate) fn inner(&self) -> &Registry {
        &self.front.registry
    }

    /// Whether it lists referrers.
    pub(crate) fn referrers(&self) -> Referrers {
        self.front.referrers
    }

    /// Adds a fault.
    pub(crate) fn rule(&self, rule: Rule) -> Active {
        self.front.rules.add(rule)
    }

    /// From now on so much goes wrong by chance, by dice of this seed; without them all goes well again.
    pub(crate) fn chaos(&self, chaos: Option<(Chaos, u64)>) {
        self.front.dice.set(chaos);
    }

    /// Removes all faults and lets go what they stalled.
    pub(crate) fn clear_rules(&self) {
        self.front.rules.clear();
    }

    /// All requests since the start or the last [`TestRegistry::clear_log`], in order.
    pub(crate) fn log(&self) -> Vec<Logged> {
        self.front.log.requests()
    }

    /// Forgets the requests so far; their numbers are not used again.
    pub(crate) fn clear_log(&self) {
        self.front.log.clear();
    }

    /// The requests that fit, in order; see [`when`] for the patterns.
    pub(crate) fn requests(&self, method: &str, path: &str) -> Vec<Logged> {
        let mut requests = self.log();
        requests.retain(|request| request.is(method, path));
        requests
    }

    /// How many requests fit.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        self.requests(method, path).len()
    }

    /// The requests that would change something, whatever was answered.
    pub(crate) fn writes(&self) -> Vec<Logged> {
        let token = self.front.door.token_path();
        let mut requests = self.log();
        requests.retain(|request| {
            !matches!(request.method, Method::GET | Method::HEAD) && request.path != token
        });
        requests
    }

    /// The log as lines, for the message of an assertion.
    pub(crate) fn log_text(&self) -> String {
        let lines: Vec<String> = self.log().iter().map(Logged::to_string).collect();
        lines.join("\n")
    }

    /// Waits until the log fulfils a condition; looks after every request and every answer.
    pub(crate) async fn wait(&self, enough: impl FnMut(&[Logged]) -> bool) {
        patiently("a request", self.front.log.wait(enough)).await;
    }

    /// All requests for tokens, in order.
    pub(crate) fn token_requests(&self) -> Vec<TokenRequest> {
        self.front.door.requests()
    }

    /// Makes all tokens that were given invalid.
    pub(crate) fn revoke_tokens(&self) {
        self.front.door.revoke();
    }

    /// From now on only this password is good. Tokens that were given stay.
    pub(crate) fn change_password(&self, password: &str) {
        self.front.door.change_password(password);
    }

    /// What a tag names.
    pub(crate) fn tag(&self, repository: &str, tag: &str) -> Option<consign::oci::Digest> {
        let tag = tag.parse().expect("a tag");
        let entry = self.inner().layout().find(&path(repository), &tag);
        entry.map(|entry| entry.digest)
    }
}

fn path(repository: &str) -> RepositoryPath {
    repository.parse().expect("a repository")
}

/// What stands in front of the registry.
#[derive(Debug)]
struct Front {
    registry: Registry,
    door: Door,
    mounts: Mounts,
    referrers: Referrers,
    annex: Option<Arc<dyn Annex>>,
    log: Log,
    rules: Rules,
    dice: Dice,
}

impl Handler for Front {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, BodyError> {
        let line = self.log.begin(&request);
        let result = self.answer(request, &line).await;
        if let Ok(response) = &result {
            line.answered(response.status().as_u16());
        }
        result
    }
}

/// A body of which the log has what comes.
fn logged(content: Incoming, line: Line) -> Body {
    content
        .map_frame(move |frame| {
            if let Some(bytes) = frame.data_ref() {
                line.received(bytes);
            }
            frame
        })
        .map_err(Into::into)
        .boxed_unsync()
}

impl Front {
    async fn answer(
        &self,
        request: Request<Incoming>,
        line: &Line,
    ) -> Result<Response<Body>, BodyError> {
        let (mut parts, content) = request.into_parts();
        let mut content = logged(content, line.clone());
        let uri = parts.uri.clone();
        let seen = (&parts.method, uri.path(), uri.query().unwrap_or_default());
        let mut faults = Vec::new();
        let mut is_cut = false;
        let by_chance = self.dice.fault(seen.0, seen.1);
        for (fault, active) in self.rules.faults(seen).into_iter().chain(by_chance) {
            let before = match fault {
                Fault::Before(before) => before,
                Fault::After(after) => {
                    faults.push((after, active));
                    continue;
                }
            };
            content = spoil_request(content, &before, &active);
            match before {
                Before::Respond(answer) => {
                    if answer.reads == Reads::All {
                        content.collect().await?;
                    }
                    return Ok(answer.response());
                }
                Before::Delay(time) => tokio::time::sleep(time).await,
                Before::Stall => active.released().await,
                Before::HangUp => return Err("hung up by a rule".into()),
                Before::IgnoreHeader(name) => drop(parts.headers.remove(name)),
                Before::CutRequest(_) => is_cut = true,
                Before::StallRequest(_) => {}
            }
        }
        if uri.path() == self.door.token_path() {
            let form = content.collect().await?.to_bytes();
            let token = self
                .door
                .token(&parts.method, seen.2, &parts.headers, &form);
            return spoiled(token, faults);
        }
        let asked = |body| Asked {
            method: &parts.method,
            path: uri.path(),
            query: seen.2,
            headers: &parts.headers,
            body,
        };
        let annex = self.annex.as_ref();
        if let Some(annex) = annex.filter(|_| !uri.path().starts_with("/v2/")) {
            let body = content.collect().await?.to_bytes();
            let not_found = || auth::answer(StatusCode::NOT_FOUND, &serde_json::json!({}));
            let answer = annex.answer(&asked(&body)).unwrap_or_else(not_found);
            return spoiled(answer, faults);
        }
        let refused = self
            .door
            .check(seen, &parts.headers)
            .or_else(|| annex?.refuse(&asked(&[])))
            .or_else(|| self.refused(&uri));
        if let Some(refused) = refused {
            content.collect().await?;
            return spoiled(refused, faults);
        }
        parts.uri = self.without_mount(uri)?;
        let response = self
            .registry
            .handle(Request::from_parts(parts, content))
            .await;
        if is_cut {
            return Err("cut by a rule".into());
        }
        spoiled(self.forgetful(response), faults)
    }

    /// What this registry cannot do.
    fn refused(&self, uri: &Uri) -> Option<Response<Body>> {
        let status = if self.referrers == Referrers::Unknown && uri.path().contains("/referrers/") {
            404
        } else if let (Mounts::Refused(status), true) = (self.mounts, is_mount(uri)) {
            status
        } else {
            return None;
        };
        let status = StatusCode::from_u16(status).expect("a status");
        let errors = serde_json::json!({
            "errors": [{ "code": "UNSUPPORTED", "message": "not by this registry" }],
        });
        Some(auth::answer(status, &errors))
    }

    /// The same request without the mount that this registry does not do.
    fn without_mount(&self, uri: Uri) -> Result<Uri, BodyError> {
        let is_own = || {
            let from = query(&uri, "from");
            from.is_some_and(|from| uri.path() == format!("/v2/{from}/blobs/uploads/"))
        };
        let drops = match self.mounts {
            Mounts::Done | Mounts::Refused(_) => false,
            Mounts::Upload => is_mount(&uri),
            Mounts::NotFromItself => is_mount(&uri) && is_own(),
        };
        if drops {
            return Ok(uri.path().parse()?);
        }
        Ok(uri)
    }

    /// A registry that knows no referrers does not say that it noted a subject.
    fn forgetful(&self, mut response: Response<Body>) -> Response<Body> {
        if self.referrers == Referrers::Unknown {
            response.headers_mut().remove("oci-subject");
        }
        response
    }
}

fn is_mount(uri: &Uri) -> bool {
    query(uri, "mount").is_some()
}

fn query(uri: &Uri, name: &str) -> Option<String> {
    let query = uri.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn spoiled(
    mut response: Response<Body>,
    faults: Vec<(After, Active)>,
) -> Result<Response<Body>, BodyError> {
    for (fault, active) in faults {
        spoil(&mut response, fault, active)?;
    }
    Ok(response)
}

//! Manifests: resolve, pull, push, delete.

use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use crate::cache::Cache;
use crate::limits::image::MANIFEST_BYTES_MAX;
use crate::oci::{Digest, Identifier, Manifest, MediaType, Namespace, Registry, Repository};

use super::auth::{Access, Challenge, Scope, Side};
use super::call::{Call, PAGE, Payload, UNCONFIRMED, is_page};
use super::documents::{Bound, FREE_BYTES, as_document};
use super::error::{Error, ErrorKind, Mismatch, is_head_refusal, told};
use super::host::Heads;
use super::place::shown;
use super::settings::{Retry, Settings};
use super::tls::Tls;
use super::transport::Transport;

/// How large a manifest may be.
pub(super) const MANIFEST: Bound = Bound {
    bytes: MANIFEST_BYTES_MAX,
    weigh: as_document,
    free: FREE_BYTES,
};

/// A client of all registries of a run. Cloning is cheap and shares everything.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) transport: Arc<Transport>,
    /// The side of what is only read.
    reads: Side,
    pub(super) cache: Option<Cache>,
    /// Whether the cache is read and written.
    pub(super) recalls: bool,
}

/// What a registry says stands under a tag or digest, without the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The digest, as the registry names it: good for comparing, not for trusting bytes by.
    pub digest: Digest,
    /// The media type.
    pub media_type: MediaType,
}

/// What a registry says when it took a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The subject among whose referrers it lists the manifest from now on (`OCI-Subject`). A registry
    /// without a referrers API names none, and the list is then its client's business (OCI distribution
    /// specification 1.1, "Pushing Manifests with Subject").
    pub subject: Option<Digest>,
}

/// What became of a manifest that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, with all tags that named it.
    Gone,
    /// It was not there.
    WasNotThere,
}

impl Client {
    /// A client with `settings`.
    pub fn new(settings: Settings) -> Self {
        Self {
            transport: Arc::new(Transport::new(settings)),
            reads: Side::Source,
            cache: None,
            recalls: false,
        }
    }

    /// The same client for what is read on `side`: it takes its credentials and its trust. What asks for
    /// more than reading is always a destination.
    #[must_use]
    pub fn on(&self, side: Side) -> Self {
        Self {
            reads: side,
            ..self.clone()
        }
    }

    /// The side that a request with `access` is on.
    pub(super) const fn side(&self, access: Access) -> Side {
        match access {
            Access::Pull => self.reads,
            Access::PullPush => Side::Destination,
        }
    }

    /// A request to the registry of `repository`, for `path` below `/v2/`.
    pub(super) fn call<'a>(
        &self,
        repository: &'a Repository,
        access: Access,
        method: Method,
        path: String,
    ) -> Call<'a> {
        let scope = access.scope(repository);
        Call::new((repository, self.side(access)), method, path, scope)
    }

    /// When this client tries again; a caller that must begin anew keeps to the same.
    pub fn retry(&self) -> Retry {
        self.transport.settings.retry
    }

    /// What is not asked for now because a registry asked for patience: which registry, what (`manifests`,
    /// `blobs`, `lists`), and until when.
    pub fn pauses(&self) -> Vec<(Registry, &'static str, Instant)> {
        self.transport.pauses()
    }

    /// The namespace whose credential `repository` is asked for with; nothing where it is asked for by nobody.
    pub fn credential(&self, repository: &Repository, access: Access) -> Option<&Namespace> {
        let party = self.transport.settings.party(self.side(access));
        party.credentials.namespace(repository)
    }

    /// Whether the registry of `repository` has to prove who it is.
    pub fn tls(&self, repository: &Repository, access: Access) -> Tls {
        self.transport
            .settings
            .party(self.side(access))
            .tls_of(repository)
    }

    /// Whether the registry of `repository`, a destination, is known to want a user and a password, and there
    /// are none for it. What it lets be read without, it lets nobody write without.
    pub fn lacks_credential(&self, repository: &Repository) -> bool {
        let tls = self.tls(repository, Access::PullPush);
        let host = self.transport.host(repository.registry());
        host.challenge(tls) == Some(Challenge::Basic)
            && self.credential(repository, Access::PullPush).is_none()
    }

    /// Whether the registry of `repository` answers, and takes the credential that the repository is asked
    /// for with, where there is one: also where it took it before.
    ///
    /// On loopback without a credential a connection is enough, so that a run makes no request more
    /// than it needs; elsewhere one `GET /v2/`, which also brings the challenge for all that follow.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Network`] and its like when there is no answer; [`ErrorKind::Unauthorized`] when
    /// the credential is refused ([`ErrorKind::CredentialRefused`]). A registry that wants a credential and has none here is no error:
    /// much can be read without.
    pub async fn reach(&self, repository: &Repository, access: Access) -> Result<(), Error> {
        let call = self.root_call(repository, access);
        let has_credential = self.transport.holder(&call).is_some();
        if repository.registry().is_loopback() && !has_credential {
            return self.transport.base(repository, call.side).await.map(drop);
        }
        self.transport.forget_token(&call);
        match self.transport.send(call).await {
            Ok(_) => Ok(()),
            Err(error) => match &error.kind {
                // Only a credential that it does not know refuses everything; it is there, and what
                // it thinks of this path, or of nobody, is no matter.
                ErrorKind::Unauthorized(words)
                    if has_credential && words.status == StatusCode::UNAUTHORIZED =>
                {
                    Err(error)
                }
                ErrorKind::Unauthorized(_)
                | ErrorKind::NotFound(_)
                | ErrorKind::Refused(_)
                | ErrorKind::Conflict(_)
                | ErrorKind::Protocol(_)
                | ErrorKind::TooLong(_) => Ok(()),
                ErrorKind::CredentialRefused(_)
                | ErrorKind::RateLimited(_)
                | ErrorKind::Server(_)
                | ErrorKind::Network(_)
                | ErrorKind::Stalled(_)
                | ErrorKind::Integrity(_)
                | ErrorKind::Document(_)
                | ErrorKind::Untrusted(_) => Err(error),
            },
        }
    }

    /// Whether the registry of `repository` takes the credential that the repository is asked for with, which
    /// is to be kept then: as [`Self::reach`], but what it does not answer with a plain yes, as Docker and
    /// skopeo want it, is an error. ECR says 403 of a password that has ended.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; [`ErrorKind::Protocol`] for a page in place of an answer.
    pub async fn prove(&self, repository: &Repository, access: Access) -> Result<(), Error> {
        let call = self.root_call(repository, access);
        self.transport.forget_token(&call);
        let answer = self.transport.send(call).await?;
        if is_page(answer.response.headers()) {
            return Err(answer.error(ErrorKind::Protocol(PAGE)));
        }
        Ok(())
    }

    /// A request to the root of the API, which wants no right but to be known.
    pub(super) fn root_call<'a>(&self, repository: &'a Repository, access: Access) -> Call<'a> {
        let mut call = self.call(repository, access, Method::GET, String::new());
        call.scopes = Vec::new();
        call
    }

    /// What stands under `identifier`, by HEAD; `None` when nothing does.
    ///
    /// A registry that answers HEAD without a digest, or refuses it, is asked by GET; so is one that is
    /// read from and says 404, until it has answered one HEAD: some say so of what they serve.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; "not there" is an answer and no error.
    pub async fn resolve(
        &self,
        repository: &Repository,
        identifier: &Identifier,
        access: Access,
    ) -> Result<Option<Resolved>, Error> {
        let host = self.transport.host(repository.registry());
        let by_get = || self.resolve_by_get(repository, identifier, access);
        if host.heads() == Heads::Useless {
            return by_get().await;
        }
        let call = self.manifest_call(Method::HEAD, repository, identifier, access);
        let answer = match self.transport.send(call).await {
            Ok(answer) => answer,
            Err(error) if matches!(error.kind, ErrorKind::NotFound(_)) => {
                // At a destination this is the usual answer, and what is pushed again does no harm; who
                // must know asks `resolve_surely`.
                return match access {
                    Access::PullPush => Ok(None),
                    Access::Pull => self.resolve_surely(repository, identifier, access).await,
                };
            }
            Err(error) if is_head_refusal(&error) => return by_get().await,
            Err(error) => return Err(error),
        };
        let digest = answer
            .header("docker-content-digest")
            .and_then(|text| text.parse().ok());
        let is_comparable = |digest: &Digest| match identifier {
            Identifier::Digest(asked) => asked.algorithm() == digest.algorithm(),
            Identifier::Tag(_) => true,
        };
        let Some(digest) = digest.filter(is_comparable) else {
            // Its place in the lane is given back first: the next request needs one too.
            drop(answer);
            return by_get().await;
        };
        host.learn_heads(Heads::Believed);
        let media_type = MediaType::parse(answer.header("content-type").unwrap_or_default());
        if let Identifier::Digest(asked) = identifier
            && *asked != digest
        {
            let asked = *asked;
            let computed = digest;
            return Err(
                answer.error(ErrorKind::Integrity(Box::new(Mismatch::Digest {
                    asked,
                    computed,
                }))),
            );
        }
        Ok(Some(Resolved { digest, media_type }))
    }

    /// The same by GET, after a HEAD that said 404: a registry that serves the manifest all the same is not
    /// asked by HEAD again.
    ///
    /// # Errors
    ///
    /// As [`Self::resolve`].
    pub async fn resolve_surely(
        &self,
        repository: &Repository,
        identifier: &Identifier,
        access: Access,
    ) -> Result<Option<Resolved>, Error> {
        let host = self.transport.host(repository.registry());
        if host.heads() == Heads::Believed {
            return Ok(None);
        }
        let found = self.resolve_by_get(repository, identifier, access).await?;
        if found.is_some() {
            host.learn_heads(Heads::Useless);
        }
        Ok(found)
    }

    async fn resolve_by_get(
        &self,
        repository: &Repository,
        identifier: &Identifier,
        access: Access,
    ) -> Result<Option<Resolved>, Error> {
        match self.pull_manifest(repository, identifier, access).await {
            Ok(manifest) => Ok(Some(Resolved {
                digest: manifest.digest(),
                media_type: manifest.media_type().clone(),
            })),
            Err(error) if matches!(error.kind, ErrorKind::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Pulls a manifest by GET.
    ///
    /// # Errors
    ///
    /// As [`Self::pull_manifest`].
    pub(super) async fn pull_anew(
        &self,
        repository: &Repository,
        identifier: &Identifier,
        access: Access,
    ) -> Result<Manifest, Error> {
        let call = || self.manifest_call(Method::GET, repository, identifier, access);
        let answered = self.document(call, MANIFEST).await;
        let answer = answered.inspect_err(|error| {
            if matches!(error.kind, ErrorKind::NotFound(_)) {
                self.forget_tag(repository, identifier, access);
            }
        })?;
        let content_type = MediaType::parse(answer.header("content-type").unwrap_or_default());
        let named = answer.header("docker-content-digest");
        let bytes = answer.body.clone();
        let page_or = |kind| match answer.page_or("") {
            "" => kind,
            page => ErrorKind::Protocol(page),
        };
        let fail = |kind| answer.error(page_or(kind));
        if let Identifier::Digest(asked) = identifier {
            let computed = asked.of_same_kind(&bytes);
            if computed != *asked {
                let asked = *asked;
                return Err(fail(ErrorKind::Integrity(Box::new(Mismatch::Digest {
                    asked,
                    computed,
                }))));
            }
        }
        let manifest = Manifest::parse(bytes, &content_type)
            .map_err(|error| fail(ErrorKind::Document(Box::new(error))))?;
        let manifest = match identifier {
            Identifier::Digest(asked) => {
                let computed = manifest.digest();
                let asked = *asked;
                manifest.named(asked).ok_or_else(|| {
                    fail(ErrorKind::Integrity(Box::new(Mismatch::Digest {
                        asked,
                        computed,
                    })))
                })?
            }
            Identifier::Tag(_) => manifest,
        };
        if let Some(named) = named
            && named != manifest.digest().to_string()
        {
            // Trust is in the bytes; the header is only worth a word (OCI distribution 1.1, "Pulling").
            let named = told(named.parse::<Digest>());
            tracing::warn!(url = %shown(&answer.url), %named, computed = %manifest.digest(), "the registry names another digest");
        }
        self.keep_manifest((repository, identifier, access), &manifest, named);
        Ok(manifest)
    }

    /// Pushes a manifest, as the bytes it was read from, under `identifier`.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; [`ErrorKind::Integrity`] when the registry says that it stored another digest.
    pub async fn push_manifest(
        &self,
        repository: &Repository,
        identifier: &Identifier,
        manifest: &Manifest,
    ) -> Result<Pushed, Error> {
        let content_type = HeaderValue::from_str(manifest.media_type().as_str());
        let mut call = self.manifest_call(Method::PUT, repository, identifier, Access::PullPush);
        call.payload = Payload::Bytes(manifest.raw().clone());
        call.headers.remove(ACCEPT);
        match content_type {
            Ok(value) => call = call.header(CONTENT_TYPE, value),
            Err(_) => {
                return Err(Error {
                    method: Method::PUT,
                    wait: None,
                    url: repository.to_string(),
                    attempts: 0,
                    kind: ErrorKind::Protocol("its media type makes no header"),
                });
            }
        }
        let answer = self.transport.send(call).await?;
        let subject = answer.header("oci-subject");
        let pushed = Pushed {
            subject: subject.and_then(|text| text.parse().ok()),
        };
        if !answer.is_receipt() {
            let unheard = answer.error(ErrorKind::Protocol(UNCONFIRMED));
            drop(answer);
            let found = self.resolve(repository, identifier, Access::PullPush);
            let found = found.await?.map(|found| found.digest);
            let is_there = found.is_some_and(|found| found == found.of_same_kind(manifest.raw()));
            return if is_there { Ok(pushed) } else { Err(unheard) };
        }
        let stored = answer.header("docker-content-digest");
        match stored.map(str::parse::<Digest>) {
            Some(Ok(stored)) if stored == manifest.digest() => Ok(pushed),
            // A registry may name the same bytes by another algorithm.
            Some(Ok(stored)) if stored == stored.of_same_kind(manifest.raw()) => Ok(pushed),
            Some(stored) => Err(
                answer.error(ErrorKind::Integrity(Box::new(Mismatch::Stored {
                    sent: manifest.digest(),
                    stored: told(stored),
                }))),
            ),
            None => Ok(pushed),
        }
    }

    /// Deletes the manifest with `digest`, and with it every tag that names it: distribution 2.8 knows no
    /// other way to remove a tag (OCI distribution specification 1.1, "Deleting Manifests").
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; where deletion is switched off, [`ErrorKind::Refused`] of which [`ErrorKind::is_unsupported`] holds and
    /// whose words say so. "Not there" is an answer.
    pub async fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Deleted, Error> {
        let path = format!("{}/manifests/{digest}", repository.path());
        let mut call = self.call(repository, Access::PullPush, Method::DELETE, path);
        call.scopes = vec![Scope::pull_push_delete(repository)];
        let answer = match self.transport.send(call).await {
            Ok(answer) => answer,
            Err(error)
                if matches!(error.kind, ErrorKind::NotFound(_)) && !error.kind.is_unsupported() =>
            {
                return Ok(Deleted::WasNotThere);
            }
            Err(mut error) => {
                if error.kind.is_unsupported()
                    && let ErrorKind::Refused(words)
                    | ErrorKind::Server(words)
                    | ErrorKind::NotFound(words) = &mut error.kind
                {
                    let mut words = words.clone();
                    words.message = "deletion is switched off at this registry".into();
                    error.kind = ErrorKind::Refused(words);
                }
                return Err(error);
            }
        };
        match answer.response.status() {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => Ok(Deleted::Gone),
            _ => Err(answer.error(ErrorKind::Protocol("it does not say that it deleted"))),
        }
    }
}

impl Client {
    pub(super) fn manifest_call<'a>(
        &self,
        method: Method,
        repository: &'a Repository,
        identifier: &Identifier,
        access: Access,
    ) -> Call<'a> {
        let path = format!("{}/manifests/{identifier}", repository.path());
        self.call(repository, access, method, path)
            .header(ACCEPT, HeaderValue::from_static(MediaType::ACCEPT))
    }
}

//! Manifests: resolve, pull, push, delete.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};

use crate::oci::{
    Descriptor, Digest, Identifier, MANIFEST_BYTES_MAX, Manifest, MediaType, Registry, Repository,
};

use super::auth::{Access, Scope};
use super::call::{Call, Lane, Payload, Redirects, Target};
use super::error::{Error, ErrorKind, Mismatch, NetworkError};
use super::place::shown;
use super::settings::{Retry, Settings};
use super::transport::Transport;

/// A client of all registries of a run. Cloning is cheap and shares everything.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) transport: Arc<Transport>,
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
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up, for instance without any root certificates.
    pub fn new(settings: Settings) -> Result<Self, NetworkError> {
        Ok(Self {
            transport: Arc::new(Transport::new(settings)?),
        })
    }

    /// When this client tries again; a caller that must begin anew keeps to the same.
    pub fn retry(&self) -> Retry {
        self.transport.settings.retry
    }

    /// Whether `registry` answers, and takes its credential where there is one.
    ///
    /// On loopback without a credential a connection is enough, so that a run makes no request more
    /// than it needs; elsewhere one `GET /v2/`, which also brings the challenge for all that follow.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Network`] and its like when there is no answer; [`ErrorKind::Unauthorized`] when
    /// the credential is refused. A registry that wants a credential and has none here is no error:
    /// much can be read without.
    pub async fn reach(&self, registry: &Registry) -> Result<(), Error> {
        let has_credential = self.transport.settings.credentials.get(registry).is_some();
        if registry.is_loopback() && !has_credential {
            return self.transport.base(registry).await.map(drop);
        }
        let call = Call {
            registry,
            method: Method::GET,
            target: Target::Path(String::new()),
            scopes: Vec::new(),
            headers: http::HeaderMap::new(),
            payload: Payload::None,
            lane: Lane::Small,
            redirects: Redirects::Followed,
        };
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
                | ErrorKind::Protocol(_) => Ok(()),
                ErrorKind::RateLimited(_)
                | ErrorKind::Server(_)
                | ErrorKind::Network(_)
                | ErrorKind::Stalled(_)
                | ErrorKind::Integrity(_)
                | ErrorKind::Document(_)
                | ErrorKind::Untrusted(_) => Err(error),
            },
        }
    }

    /// What stands under `identifier`, by HEAD; `None` when nothing does.
    ///
    /// A registry that answers HEAD without a digest, or not at all, is asked by GET.
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
        let call = manifest_call(
            Method::HEAD,
            repository,
            identifier,
            access.scope(repository),
        );
        let answer = match self.transport.send(call).await {
            Ok(answer) => answer,
            Err(error) if matches!(error.kind, ErrorKind::NotFound(_)) => return Ok(None),
            Err(error) if matches!(error.kind, ErrorKind::Refused(_)) => {
                return self.resolve_by_get(repository, identifier, access).await;
            }
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
            return self.resolve_by_get(repository, identifier, access).await;
        };
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

    /// Pulls a manifest. By digest, its bytes have that digest; by tag, the digest is computed.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; [`ErrorKind::Integrity`] when the bytes have another digest than was asked
    /// for, [`ErrorKind::Document`] when they are no manifest that can be copied unchanged.
    pub async fn pull_manifest(
        &self,
        repository: &Repository,
        identifier: &Identifier,
        access: Access,
    ) -> Result<Manifest, Error> {
        let call = || {
            let scope = access.scope(repository);
            manifest_call(Method::GET, repository, identifier, scope)
        };
        let answer = self.transport.fetch(call, MANIFEST_BYTES_MAX).await?;
        let content_type = MediaType::parse(answer.header("content-type").unwrap_or_default());
        let named = answer.header("docker-content-digest");
        let bytes = answer.body.clone();
        let fail = |kind| answer.error(kind);
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
            tracing::warn!(url = %shown(&answer.url), %named, computed = %manifest.digest(), "the registry names another digest");
        }
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
        let scope = Scope::pull_push(repository);
        let content_type = HeaderValue::from_str(manifest.media_type().as_str());
        let mut call = manifest_call(Method::PUT, repository, identifier, scope);
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
        if !answer.is_receipt() {
            return Err(answer.error(ErrorKind::Protocol("it takes what it does not confirm")));
        }
        let subject = answer.header("oci-subject");
        let pushed = Pushed {
            subject: subject.and_then(|text| text.parse().ok()),
        };
        let stored = answer.header("docker-content-digest").map(str::to_owned);
        match stored.map(|text| (text.parse::<Digest>(), text)) {
            Some((Ok(stored), _)) if stored == manifest.digest() => Ok(pushed),
            // A registry may name the same bytes by another algorithm.
            Some((Ok(stored), _)) if stored == stored.of_same_kind(manifest.raw()) => Ok(pushed),
            Some((_, stored)) => Err(answer.error(ErrorKind::Integrity(Box::new(
                Mismatch::Stored {
                    sent: manifest.digest(),
                    stored: stored
                        .chars()
                        .filter(|c| !c.is_control())
                        .take(200)
                        .collect(),
                },
            )))),
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
        let scope = Scope::pull_push_delete(repository);
        let call = Call::new(repository.registry(), Method::DELETE, path, scope);
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

    /// The whole of a small blob, verified.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; [`ErrorKind::Integrity`] when the descriptor says more than `limit` bytes or
    /// the bytes do not fit it.
    pub async fn pull_small_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Bytes, Error> {
        if descriptor.size > limit {
            return Err(Error {
                method: Method::GET,
                wait: None,
                url: format!("{repository}@{}", descriptor.digest),
                attempts: 0,
                kind: ErrorKind::Integrity(Box::new(Mismatch::Size {
                    digest: descriptor.digest,
                    expected: limit,
                    served: descriptor.size,
                })),
            });
        }
        let mut reader = self.blob(repository, descriptor, Lane::Small);
        let mut bytes = bytes::BytesMut::new();
        while let Some(chunk) = reader.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}

fn manifest_call<'a>(
    method: Method,
    repository: &'a Repository,
    identifier: &Identifier,
    scope: Scope,
) -> Call<'a> {
    let path = format!("{}/manifests/{identifier}", repository.path());
    Call::new(repository.registry(), method, path, scope)
        .header(ACCEPT, HeaderValue::from_static(MediaType::ACCEPT))
}

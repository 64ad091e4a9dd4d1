//! Manifests and tags: resolve, pull, push, list.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::oci::{
    Descriptor, Digest, Identifier, MANIFEST_BYTES_MAX, Manifest, MediaType, Registry, Repository,
    Tag,
};

use super::auth::{Access, Scope};
use super::call::{Call, Fetched, Lane, Payload, Redirects, Target};
use super::error::{Error, ErrorKind, Mismatch, NetworkError};
use super::place::shown;
use super::settings::{Retry, Settings};
use super::transport::Transport;

/// Tags asked for per page; ECR refuses more (go-containerregistry #1091).
const TAGS_PER_PAGE: usize = 1000;
/// Pages read at most: a registry that never ends its list must not hold up a run.
const TAG_PAGES_MAX: usize = 1000;
/// The largest page of tags that is read, in bytes.
const TAG_PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

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
    ) -> Result<(), Error> {
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
        let stored = answer.header("docker-content-digest").map(str::to_owned);
        match stored.map(|text| (text.parse::<Digest>(), text)) {
            Some((Ok(stored), _)) if stored == manifest.digest() => Ok(()),
            // A registry may name the same bytes by another algorithm.
            Some((Ok(stored), _)) if stored == stored.of_same_kind(manifest.raw()) => Ok(()),
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
            None => Ok(()),
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

    /// All tags of a repository, in the registry's order.
    ///
    /// # Errors
    ///
    /// As [`ErrorKind`]; a list without an end is an error, never a part of it.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, Error> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let registry = repository.registry();
        let base = self.transport.base(registry).await?;
        let mut target = Target::Path(format!("{}/tags/list?n={TAGS_PER_PAGE}", repository.path()));
        let mut tags = Vec::new();
        for _ in 0..TAG_PAGES_MAX {
            let call = || Call {
                target: target.clone(),
                ..Call::new(
                    registry,
                    Method::GET,
                    String::new(),
                    Scope::pull(repository),
                )
            };
            let answer = self.transport.fetch(call, TAG_PAGE_BYTES_MAX).await?;
            let fail = |kind| answer.error(ErrorKind::Protocol(kind));
            let next =
                next_page(&answer, &base).map_err(|()| fail("its next page is elsewhere"))?;
            let page: Page =
                serde_json::from_slice(&answer.body).map_err(|_| fail("it is no list of tags"))?;
            for text in page.tags.unwrap_or_default() {
                tags.push(text.parse().map_err(|_| fail("it lists what is no tag"))?);
            }
            match next {
                Some(url) => target = Target::Url(url),
                None => return Ok(tags),
            }
        }
        Err(Error {
            method: Method::GET,
            wait: None,
            url: repository.to_string(),
            attempts: 1,
            kind: ErrorKind::Protocol("its list of tags has no end"),
        })
    }
}

/// The next page by `Link` (RFC 8288), which must be at the registry's own origin.
fn next_page(answer: &Fetched, base: &Url) -> Result<Option<Url>, ()> {
    let Some(link) = answer.header("link") else {
        return Ok(None);
    };
    let Some((_, rest)) = link.split_once('<') else {
        return Ok(None);
    };
    let Some((target, parameters)) = rest.split_once('>') else {
        return Ok(None);
    };
    if !parameters.contains("next") {
        return Ok(None);
    }
    let url = answer.url.join(target).map_err(drop)?;
    if url.origin() == base.origin() {
        Ok(Some(url))
    } else {
        Err(())
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

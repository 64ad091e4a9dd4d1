//! A layout as a registry: the far side of the gap, the demo, and the tests.
//!
//! [`Registry`] speaks the OCI distribution specification 1.1, with referrers, mounts, resumable
//! uploads and deletion, over one [`Layout`]. [`listen()`] puts it on a socket; anything else that is
//! a [`Handler`] can stand there too, and a test wraps its faults around this same implementation.
//!
//! What it promises:
//!
//! - Nothing is served under a digest that was not computed when it came in; manifests are checked
//!   again when they go out.
//! - A push is acknowledged when a restart would still find it. Blobs that no manifest names are
//!   forgotten by a restart, as are uploads.
//! - Blobs are never held whole in memory, unless the layout is memory.
//! - No path, query or header of a client reaches the disk but as a [`crate::oci::Digest`].
//!
//! There is no authentication and no TLS: it is meant for loopback, or for a place behind something
//! that has both. Deleting a manifest leaves its blobs to be deleted on their own.

mod answer;
mod blobs;
mod catalog;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod listen;
mod listing;
mod manifests;
mod route;
#[cfg(test)]
mod tests;
mod uploads;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, Request, Response, StatusCode, request};

use crate::layout;
use crate::layout::{Layout, RepositoryPath};
use crate::oci::{Digest, MediaType, Tag};

pub use answer::{Body, BodyError, body};
pub use listen::{Handler, listen, listen_with};

use answer::{Answer, Code, Refusal};
use catalog::{Catalog, Facts};
use route::{Query, Route, is_write};
use uploads::Uploads;

/// What clients may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Pull; everything else is answered with 405.
    ReadOnly,
    /// Push and delete too.
    Writable,
}

/// Whether an index may be pushed before the manifests it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// All of them must be in the repository, as most registries want it.
    Required,
    /// Some may be absent for ever: sparse indexes.
    Optional,
}

/// A registry over one layout.
#[derive(Debug)]
pub struct Registry {
    layout: Layout,
    access: Access,
    children: Children,
    catalog: Mutex<Catalog>,
    uploads: Uploads,
}

impl Registry {
    /// A registry that serves what `layout` holds.
    ///
    /// # Errors
    ///
    /// When it shall be writable and the layout is open for reading only.
    pub async fn new(layout: Layout, access: Access) -> Result<Self, layout::Error> {
        if access == Access::Writable {
            drop(layout.writer()?);
        }
        let entries = layout.entries();
        let catalog = layout
            .walk(move |blobs| Catalog::walk(&entries, blobs))
            .await?;
        Ok(Self {
            layout,
            access,
            children: Children::Required,
            catalog: Mutex::new(catalog),
            uploads: Uploads::default(),
        })
    }

    /// A registry that serves the layout in `directory`. With [`Access::Writable`] it is created
    /// where there is nothing; with [`Access::ReadOnly`] nothing is written at all.
    ///
    /// # Errors
    ///
    /// When the directory is no layout, is in use, or cannot be read or written.
    pub async fn open(
        directory: impl Into<PathBuf>,
        access: Access,
    ) -> Result<Self, layout::Error> {
        let layout = match access {
            Access::ReadOnly => Layout::open(directory).await?,
            Access::Writable => Layout::create(directory).await?,
        };
        Self::new(layout, access).await
    }

    /// Sets whether indexes may be sparse.
    #[must_use]
    pub const fn accept_sparse(mut self, children: Children) -> Self {
        self.children = children;
        self
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        let (parts, content) = request.into_parts();
        let mut response = match self.answer(&parts, content).await {
            Ok(answer) => answer.done(),
            Err(refusal) => refusal.answer(),
        };
        if parts.method == Method::HEAD {
            *response.body_mut() = body(Bytes::new());
        }
        tracing::debug!(
            method = %parts.method,
            path = parts.uri.path(),
            status = response.status().as_u16(),
            "answered"
        );
        response
    }

    async fn answer<B>(&self, parts: &request::Parts, content: B) -> Result<Answer, Refusal>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        let route = Route::read(&parts.uri)?;
        let (method, headers) = (&parts.method, &parts.headers);
        if is_write(method) && self.access == Access::ReadOnly {
            let refusal = Refusal::new(Code::Unsupported, "this registry is read-only");
            return Err(refusal.header(header::ALLOW, "GET, HEAD"));
        }
        let query = Query::read(&parts.uri);
        match (route, method.as_str()) {
            (Route::Base, "GET" | "HEAD") => {
                Ok(Answer::json(StatusCode::OK, &serde_json::json!({})))
            }
            (Route::Catalog, "GET" | "HEAD") => self.list_repositories(&query),
            (Route::Tags(name), "GET" | "HEAD") => self.list_tags(&name, &query),
            (Route::Referrers(name, digest), "GET" | "HEAD") => {
                Ok(self.list_referrers(&name, &digest, &query))
            }
            (Route::Manifest(name, identifier), "GET" | "HEAD") => {
                self.get_manifest(method, headers, &name, &identifier).await
            }
            (Route::Manifest(name, identifier), "PUT") => {
                self.put_manifest(headers, &name, &identifier, content)
                    .await
            }
            (Route::Manifest(name, identifier), "DELETE") => {
                self.delete_manifest(&name, &identifier).await
            }
            (Route::Blob(name, digest), "GET" | "HEAD") => {
                self.get_blob(method, headers, &name, &digest).await
            }
            (Route::Blob(name, digest), "DELETE") => self.delete_blob(&name, &digest),
            (Route::Uploads(name), "POST") => self.start_upload(&name, &query, content).await,
            (Route::Upload(name, id), "PATCH") => {
                self.continue_upload(headers, &name, &id, content).await
            }
            (Route::Upload(name, id), "PUT") => {
                self.finish_upload(headers, &name, (&id, &query), content)
                    .await
            }
            (Route::Upload(name, id), "GET" | "HEAD") => self.upload_status(&name, &id).await,
            (Route::Upload(name, id), "DELETE") => self.cancel_upload(&name, &id).await,
            _ => Err(Refusal::new(
                Code::Unsupported,
                format_args!("`{method}` is not done here"),
            )),
        }
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- for those who have the registry at hand

    /// The layout under it.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All repositories, in their order.
    pub fn repositories(&self) -> Vec<RepositoryPath> {
        self.catalog().repositories().cloned().collect()
    }

    /// The manifests of a repository with their media types, in the order of their digests.
    pub fn manifests(&self, repository: &RepositoryPath) -> Vec<(Digest, MediaType)> {
        self.catalog()
            .manifests(repository)
            .into_iter()
            .map(|stored| (stored.digest, stored.media_type))
            .collect()
    }

    /// The blobs of a repository, in the order of their digests. Those that a manifest names and
    /// nobody pushed are among them.
    pub fn blobs(&self, repository: &RepositoryPath) -> Vec<Digest> {
        self.catalog().blobs(repository)
    }

    /// Puts a blob into a repository.
    ///
    /// # Errors
    ///
    /// When the layout cannot be written.
    pub async fn add_blob(
        &self,
        repository: &RepositoryPath,
        bytes: Bytes,
    ) -> Result<Digest, layout::Error> {
        let digest = Digest::sha256(&bytes);
        self.layout.put_blob(&digest, bytes).await?;
        self.catalog().link(repository, &digest);
        Ok(digest)
    }

    /// Puts a manifest into a repository as it is, whatever it names and whether or not it can be
    /// understood.
    ///
    /// # Errors
    ///
    /// When the layout cannot be written.
    pub async fn add_manifest(
        &self,
        repository: &RepositoryPath,
        tag: Option<&Tag>,
        media_type: &MediaType,
        bytes: Bytes,
    ) -> Result<Digest, layout::Error> {
        let digest = Digest::sha256(&bytes);
        self.layout.put_blob(&digest, bytes.clone()).await?;
        let facts = Facts::read(media_type, &digest, &bytes);
        let entry = facts.entry(repository, tag.cloned());
        self.catalog().insert(repository, facts);
        self.layout.put(entry).await?;
        Ok(digest)
    }
}

/// Whether the client says that it has these bytes (`If-None-Match`).
fn is_known(headers: &HeaderMap, digest: &Digest) -> bool {
    let own = format!("\"{digest}\"");
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| {
            let tag = tag.trim();
            tag == own || tag.strip_prefix("W/") == Some(own.as_str())
        })
}

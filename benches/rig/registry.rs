//! `rig registry`: a registry that costs next to nothing, so that its clients are what is measured.
//!
//! It serves the images of OCI layouts out of memory, and takes whatever is pushed. Nothing is checked: no
//! digest but that of a manifest pushed under a tag is computed, no manifest is read (but for its subject,
//! where referrers are listed). Of large blobs that are pushed only the size is kept.
//!
//! It answers as distribution does where that steers what clients do: a mount needs a repository that has
//! the blob, else it opens an upload; an upload with its first request is not done; there are no referrers.

mod load;
mod route;
mod stats;
mod store;
mod uploads;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consign::oci::Digest;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use serde_json::json;

use crate::Failure;
use crate::body::Content;
use crate::web::{self, Answer, Handler, Place};

pub(crate) use load::{LayoutBlob, blobs};

use load::Layout;
use route::{Query, Route};
use stats::Stats;
use store::{Blob, Kept, Manifest, Store};
use uploads::Uploads;

/// The largest manifest that is taken, in bytes: four times what registries take.
const MANIFEST_MAX: usize = 16 * 1024 * 1024;
/// The largest blob of a layout that is held in memory, in bytes; of a larger one each piece is copied once more.
const HELD_MAX: u64 = 256 * 1024 * 1024;
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What `rig registry` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Serve the images of an OCI layout; entries of its index are named REPOSITORY:TAG. Can be repeated.
    #[arg(long, value_name = "DIR")]
    layout: Vec<PathBuf>,
    /// Keep blobs that are pushed when they are smaller; of all others only the size is kept.
    #[arg(long, value_name = "BYTES", default_value_t = 64 * 1024)]
    keep_below: u64,
    /// Ask for a bearer token, any, and send clients without one to this token service.
    #[arg(long, value_name = "URL", requires = "service")]
    realm: Option<String>,
    /// The name that the token service knows this registry by.
    #[arg(long, value_name = "NAME", requires = "realm")]
    service: Option<String>,
    /// List referrers, instead of answering 404 for them.
    #[arg(long)]
    referrers: bool,
    /// Mount a blob when any repository has it, whatever the request names.
    #[arg(long)]
    mount_anywhere: bool,
    #[command(flatten)]
    place: Place,
}

/// Loads the layouts and serves until a signal comes.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let mut base = Store::new(options.referrers);
    for folder in &options.layout {
        let held_max = HELD_MAX;
        let layout = Layout { folder, held_max };
        layout
            .load(&mut base)
            .map_err(|error| format!("the layout {}: {error}", folder.display()))?;
    }
    let challenge = options.realm.as_deref().zip(options.service.as_deref());
    let registry = Registry {
        store: Mutex::new(base.clone()),
        base,
        uploads: Uploads::new(options.keep_below),
        stats: Stats::default(),
        challenge: challenge.map(|(realm, service)| (realm.to_owned(), service.to_owned())),
        mounts_anywhere: options.mount_anywhere,
    };
    web::run(&options.place, Arc::new(registry)).await
}

#[derive(Debug)]
struct Registry {
    /// What is there at the start and after a reset.
    base: Store,
    store: Mutex<Store>,
    uploads: Uploads,
    stats: Stats,
    /// Realm and service.
    challenge: Option<(String, String)>,
    mounts_anywhere: bool,
}

impl Handler for Registry {
    async fn handle(&self, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
        let (parts, body) = request.into_parts();
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let route = Route::read(path);
        if route == Route::Stats {
            return Ok(web::json(StatusCode::OK, &self.stats.json()));
        }
        if route == Route::Reset {
            self.reset();
            return Ok(web::empty(StatusCode::NO_CONTENT));
        }
        let answer = match self.refuse(&parts, route) {
            Some(refusal) => refusal,
            None => self.answer(&parts, route, body).await?,
        };
        let out = if parts.method == Method::HEAD {
            0
        } else {
            answer.body().size_hint().lower()
        };
        let kind = route.kind(&parts.method, query);
        self.stats
            .answered(&parts.method, kind, answer.status(), out);
        Ok(answer)
    }

    fn connections(&self) -> Option<&AtomicU64> {
        Some(&self.stats.connections)
    }
}

impl Registry {
    fn reset(&self) {
        self.store().clone_from(&self.base);
        self.uploads.clear();
        self.stats.clear();
    }

    /// Sends who has no token to the token service.
    fn refuse(&self, parts: &request::Parts, route: Route<'_>) -> Option<Answer> {
        let (realm, service) = self.challenge.as_ref()?;
        let given = parts.headers.get(header::AUTHORIZATION);
        if given.is_some_and(|value| value.as_bytes().starts_with(b"Bearer ")) {
            return None;
        }
        let scope = route.repository().map(|name| {
            let actions = match parts.method {
                Method::GET | Method::HEAD => "pull",
                Method::DELETE => "delete",
                _ => "pull,push",
            };
            format!(",scope=\"repository:{name}:{actions}\"")
        });
        let scope = scope.unwrap_or_default();
        let challenge = format!("Bearer realm=\"{realm}\",service=\"{service}\"{scope}");
        let mut answer = refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        set(&mut answer, header::WWW_AUTHENTICATE, &challenge);
        Some(answer)
    }

    async fn answer(
        &self,
        parts: &request::Parts,
        route: Route<'_>,
        body: Incoming,
    ) -> Result<Answer, hyper::Error> {
        let query = Query(parts.uri.query().unwrap_or_default());
        match (route, parts.method.as_str()) {
            (Route::Base, "GET" | "HEAD") => Ok(web::json(StatusCode::OK, &json!({}))),
            (Route::Manifest(name, reference), "GET" | "HEAD") => {
                Ok(self.manifest(name, reference))
            }
            (Route::Manifest(name, reference), "PUT") => {
                self.put_manifest(parts, (name, reference), body).await
            }
            (Route::Manifest(name, reference), "DELETE") => {
                Ok(deleted(self.store().delete_manifest(name, reference)))
            }
            (Route::Blob(name, digest), "GET") => Ok(self.blob(parts, name, digest)),
            (Route::Blob(name, digest), "HEAD") => Ok(self.blob_size(name, digest)),
            (Route::Blob(name, digest), "DELETE") => {
                Ok(deleted(self.store().delete_blob(name, digest)))
            }
            (Route::Tags(name), "GET" | "HEAD") => Ok(self.tags(name, &query)),
            (Route::Referrers(name, digest), "GET" | "HEAD") => Ok(self.referrers(name, digest)),
            (Route::Uploads(name), "POST") => self.begin(name, &query, body).await,
            (Route::Upload(name, id), "PATCH") => {
                self.uploads.receive(name, id, self.count(body)).await
            }
            (Route::Upload(name, id), "PUT") => self.finish((name, id), &query, body).await,
            (Route::Upload(name, id), "GET" | "HEAD") => Ok(self.uploads.status(name, id).await),
            (Route::Upload(_, id), "DELETE") => Ok(deleted(self.uploads.cancel(id))),
            _ => Ok(refusal(StatusCode::NOT_FOUND, "UNSUPPORTED")),
        }
    }

    fn count(&self, body: Incoming) -> uploads::Counted<'_> {
        uploads::Counted::new(body, &self.stats.bytes_in)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn manifest(&self, name: &str, reference: &str) -> Answer {
        let found = self.store().manifest(name, reference).cloned();
        let Some(manifest) = found else {
            return refusal(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN");
        };
        let mut answer = web::with_body(StatusCode::OK, manifest.bytes);
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, manifest.media_type);
        headers.insert(CONTENT_DIGEST, manifest.digest);
        answer
    }

    async fn put_manifest(
        &self,
        parts: &request::Parts,
        (name, reference): (&str, &str),
        body: Incoming,
    ) -> Result<Answer, hyper::Error> {
        let Ok(bytes) = Limited::new(body, MANIFEST_MAX).collect().await else {
            return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID"));
        };
        let bytes = bytes.to_bytes();
        self.stats.received(bytes.len());
        let (digest, tag) = if reference.contains(':') {
            (reference.to_owned(), None)
        } else {
            (Digest::sha256(&bytes).to_string(), Some(reference))
        };
        let media_type = parts.headers.get(header::CONTENT_TYPE).cloned();
        let Some(manifest) = Manifest::new(bytes, media_type, &digest) else {
            return Ok(refusal(StatusCode::BAD_REQUEST, "MANIFEST_INVALID"));
        };
        let location = format!("/v2/{name}/manifests/{digest}");
        let mut answer = web::empty(StatusCode::CREATED);
        answer
            .headers_mut()
            .insert(CONTENT_DIGEST, manifest.digest.clone());
        set(&mut answer, header::LOCATION, &location);
        let subject = self.store().put_manifest(name, &digest, tag, manifest);
        if let Some(subject) = subject {
            set(&mut answer, SUBJECT, &subject);
        }
        Ok(answer)
    }

    fn blob(&self, parts: &request::Parts, name: &str, digest: &str) -> Answer {
        let found = self.store().blob(name, digest).cloned();
        let range = parts.headers.get(header::RANGE);
        let mut answer = match found.map(|blob| (blob.kept, blob.size)) {
            Some((Kept::Held(bytes), size)) => {
                let part = |first, end| Content::part_of(&bytes, first, end);
                web::content(range, size, part)
            }
            Some((Kept::OnDisk(path), size)) => match File::open(path) {
                Ok(file) => web::content(range, size, |first, end| {
                    Content::part_of_file(file, first, end)
                }),
                Err(_) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
            },
            // What was dropped is as unknown as what never was there.
            Some((Kept::Nowhere, _)) | None => {
                return refusal(StatusCode::NOT_FOUND, "BLOB_UNKNOWN");
            }
        };
        set(&mut answer, CONTENT_DIGEST, digest);
        answer
    }

    fn blob_size(&self, name: &str, digest: &str) -> Answer {
        let Some(size) = self.store().blob(name, digest).map(|blob| blob.size) else {
            return refusal(StatusCode::NOT_FOUND, "BLOB_UNKNOWN");
        };
        let mut answer = web::empty(StatusCode::OK);
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        set(&mut answer, CONTENT_DIGEST, digest);
        answer
    }

    fn tags(&self, name: &str, query: &Query<'_>) -> Answer {
        let n = query.get("n").and_then(|n| n.parse().ok());
        let last = query.get("last").unwrap_or_default();
        let found = self.store().tags(name, &last, n.unwrap_or(usize::MAX));
        let Some((tags, is_end)) = found else {
            return refusal(StatusCode::NOT_FOUND, "NAME_UNKNOWN");
        };
        let mut answer = web::json(StatusCode::OK, &json!({ "name": name, "tags": tags }));
        if let (false, Some(n), Some(last)) = (is_end, n, tags.last()) {
            let link = format!("</v2/{name}/tags/list?n={n}&last={last}>; rel=\"next\"");
            set(&mut answer, header::LINK, &link);
        }
        answer
    }

    fn referrers(&self, name: &str, digest: &str) -> Answer {
        let Some(manifests) = self.store().referrers(name, digest) else {
            return refusal(StatusCode::NOT_FOUND, "UNSUPPORTED");
        };
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let mut answer = web::json(StatusCode::OK, &index);
        set(&mut answer, header::CONTENT_TYPE, INDEX);
        answer
    }

    async fn begin(
        &self,
        name: &str,
        query: &Query<'_>,
        body: Incoming,
    ) -> Result<Answer, hyper::Error> {
        if let Some(digest) = query.get("mount") {
            let from = query.get("from").filter(|_| !self.mounts_anywhere);
            let is_possible = self.mounts_anywhere || from.is_some();
            if is_possible && self.store().mount(name, &digest, from.as_deref()) {
                return Ok(stored(name, &digest));
            }
        }
        // Distribution takes no blob with the request that begins its upload, nor do we.
        self.count(body).drain().await?;
        Ok(self.uploads.begin(name))
    }

    async fn finish(
        &self,
        (name, id): (&str, u64),
        query: &Query<'_>,
        body: Incoming,
    ) -> Result<Answer, hyper::Error> {
        let Some(digest) = query.get("digest") else {
            return Ok(refusal(StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
        };
        let received = self.uploads.finish(id, self.count(body)).await?;
        let Some((size, bytes)) = received else {
            return Ok(refusal(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"));
        };
        let kept = bytes.map_or(Kept::Nowhere, Kept::Held);
        self.store().put_blob(name, &digest, Blob { size, kept });
        Ok(stored(name, &digest))
    }
}

/// The answer for a blob that is there now.
fn stored(name: &str, digest: &str) -> Answer {
    let mut answer = web::empty(StatusCode::CREATED);
    set(
        &mut answer,
        header::LOCATION,
        &format!("/v2/{name}/blobs/{digest}"),
    );
    set(&mut answer, CONTENT_DIGEST, digest);
    answer
}

fn deleted(was_there: bool) -> Answer {
    if was_there {
        web::empty(StatusCode::ACCEPTED)
    } else {
        refusal(StatusCode::NOT_FOUND, "UNKNOWN")
    }
}

/// A refusal in the form of the distribution specification.
fn refusal(status: StatusCode, code: &str) -> Answer {
    web::json(
        status,
        &json!({ "errors": [{ "code": code, "message": code }] }),
    )
}

/// Sets a header, unless it cannot be one: a client named something that nobody else can have.
fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

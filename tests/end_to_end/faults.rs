//! What goes wrong at registries and between them, and what becomes of it.
//!
//! Library level: a [`Road`] is an engine between two scripted registries, whose logs say what was
//! asked, in which order, and how often. Pauses are a few milliseconds; where a trial is about time,
//! it sets its own patience.

mod ahead;
mod auth;
mod blobs;
mod flight;
mod leaks;
mod limits;
mod manifests;
mod overlap;
mod pace;
mod platforms;
mod promises;
mod quirks;
mod quirks_auth;
mod quirks_lists;
mod quirks_pages;
mod quirks_push;
mod resume;
mod retry;
mod tls;
mod uploads;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use consign::attached::Attached;
use consign::event::{Copied, Failure, Meter, Note, Outcome};
use consign::oci::{Digest, MediaType, Reference};
use consign::pace::Pace;
use consign::registry as client;
use consign::transfer::{Engine, Error, Options, Watch};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::registry::{Auth, Bearer, Settings, TestRegistry};

pub(crate) fn trials() -> Vec<Trial> {
    [
        promises::trials(),
        auth::trials(),
        retry::trials(),
        pace::trials(),
        blobs::trials(),
        uploads::trials(),
        overlap::trials(),
        ahead::trials(),
        resume::trials(),
        manifests::trials(),
        quirks::trials(),
        quirks_push::trials(),
        quirks_lists::trials(),
        quirks_auth::trials(),
        quirks_pages::trials(),
        platforms::trials(),
        flight::trials(),
        tls::trials(),
        leaks::trials(),
        limits::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How often a request is tried in these trials.
const ATTEMPTS: u32 = 4;

/// Settings that try again at once, but are patient with a busy machine.
pub(crate) fn quick() -> client::Settings {
    client::Settings {
        stall_timeout: Duration::from_secs(20),
        retry: client::Retry {
            attempts: ATTEMPTS,
            pause: Duration::from_millis(2),
            pause_max: Duration::from_millis(10),
        },
        ..client::Settings::default()
    }
}

/// The same with little patience.
fn impatient(stall_timeout: Duration) -> client::Settings {
    client::Settings {
        stall_timeout,
        ..quick()
    }
}

/// The same with `user` and `password` for these registries.
pub(crate) fn known_to(registries: &[&TestRegistry]) -> client::Settings {
    let mut settings = quick();
    for registry in registries {
        let host = registry.host().parse().expect("a registry");
        settings.insert(&host, &password("user", "password"));
    }
    settings
}

pub(crate) fn password(user: &str, password: &str) -> client::Credential {
    client::Credential::Password {
        user: user.to_owned(),
        password: password.into(),
    }
}

fn basic() -> Settings {
    Settings {
        auth: Auth::Basic("user", "password"),
        ..Settings::default()
    }
}

pub(crate) fn bearer(bearer: Bearer) -> Settings {
    Settings {
        auth: Auth::Bearer(bearer),
        ..Settings::default()
    }
}

/// An engine between two registries.
pub(crate) struct Road {
    pub(crate) source: TestRegistry,
    pub(crate) destination: TestRegistry,
    pub(crate) settings: client::Settings,
    pub(crate) engine: Engine,
    pub(crate) notes: Mutex<Vec<Note>>,
}

impl Road {
    /// Between two registries that ask nobody who he is.
    pub(crate) async fn plain() -> Self {
        Self::between(Settings::default(), Settings::default()).await
    }

    /// Between two registries that know `user` by `password`, if they ask.
    pub(crate) async fn between(source: Settings, destination: Settings) -> Self {
        let source = TestRegistry::with(source).await;
        let destination = TestRegistry::with(destination).await;
        let settings = known_to(&[&source, &destination]);
        Self::of(source, destination, settings)
    }

    /// Between two plain registries, with other settings of the client.
    pub(crate) async fn with(settings: client::Settings) -> Self {
        let (source, destination) = (TestRegistry::start().await, TestRegistry::start().await);
        Self::of(source, destination, settings)
    }

    pub(crate) fn of(
        source: TestRegistry,
        destination: TestRegistry,
        settings: client::Settings,
    ) -> Self {
        let engine = engine(settings.clone());
        Self {
            source,
            destination,
            settings,
            engine,
            notes: Mutex::default(),
        }
    }

    /// A new engine, as another run has it; the logs begin anew.
    pub(crate) fn next_run(&mut self) {
        self.engine = engine(self.settings.clone());
        self.source.clear_log();
        self.destination.clear_log();
    }

    /// Copies an image to the same name at the destination.
    pub(crate) async fn copy(&self, name: &str) -> Result<Outcome, Error> {
        self.copy_to(name, name).await
    }

    pub(crate) async fn copy_to(&self, from: &str, to: &str) -> Result<Outcome, Error> {
        self.copy_with(from, to, &Options::default()).await
    }

    pub(crate) async fn copy_with(
        &self,
        from: &str,
        to: &str,
        options: &Options,
    ) -> Result<Outcome, Error> {
        let source = reference(&self.source, from);
        let destination = reference(&self.destination, to);
        self.transfer(&source, &destination, options).await
    }

    pub(crate) async fn transfer(
        &self,
        source: &Reference,
        destination: &Reference,
        options: &Options,
    ) -> Result<Outcome, Error> {
        let pace = Pace::default();
        let note = |note| self.notes.lock().expect("no panic").push(note);
        let watch = Watch {
            pace: &pace,
            note: &note,
        };
        Box::pin(self.engine.transfer(source, destination, options, watch)).await
    }

    /// The notes so far, which are forgotten.
    pub(crate) fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut *self.notes.lock().expect("no panic"))
    }

    /// Copies an image, which must go well.
    pub(crate) async fn copied(&self, name: &str) -> Copied {
        self.is_copied(self.copy(name).await)
    }

    /// What was copied, if that went well.
    pub(crate) fn is_copied(&self, result: Result<Outcome, Error>) -> Copied {
        match result {
            Ok(Outcome::Copied(copied)) => copied,
            Ok(other) => panic!("{other:?}\n{}", self.logs()),
            Err(error) => panic!("{:?}\n{}", error.failure(), self.logs()),
        }
    }

    /// Copies an image, which must fail.
    pub(crate) async fn failed(&self, name: &str) -> Failure {
        self.is_failed(self.copy(name).await)
    }

    /// Why it failed, if it did.
    pub(crate) fn is_failed(&self, result: Result<Outcome, Error>) -> Failure {
        match result {
            Ok(outcome) => panic!("{outcome:?}\n{}", self.logs()),
            Err(error) => error.failure(),
        }
    }

    pub(crate) fn logs(&self) -> String {
        format!(
            "source:\n{}\ndestination:\n{}",
            self.source.log_text(),
            self.destination.log_text()
        )
    }
}

fn engine(settings: client::Settings) -> Engine {
    let client = new_client(settings);
    let attached = Attached::new(client.clone(), None);
    Engine::new(client, Arc::new(Meter::new()), attached)
}

fn new_client(settings: client::Settings) -> client::Client {
    client::Client::new(settings)
}

/// `name` (`app:1`, `app@sha256:…`) at a registry.
pub(crate) fn reference(registry: &TestRegistry, name: &str) -> Reference {
    let text = format!("{}/{name}", registry.host());
    text.parse().expect("a reference")
}

/// All that a failure says.
pub(crate) fn said(failure: &Failure) -> String {
    failure.causes.join(": ")
}

/// Bytes of which no piece is like another one, the same for the same seed.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut noise = vec![0; size];
    fastrand::Rng::with_seed(seed).fill(&mut noise);
    noise
}

/// The path of a blob in `app`.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("/v2/app/blobs/{digest}")
}

/// The path of a manifest in `app`.
pub(crate) fn manifest_path(identifier: impl std::fmt::Display) -> String {
    format!("/v2/app/manifests/{identifier}")
}

/// The requests that bring the bytes of a blob to `app`.
fn put_path(digest: &Digest) -> String {
    let digest = digest.to_string().replace(':', "%3A");
    format!("/v2/app/blobs/uploads/*?*digest={digest}")
}

/// Puts a document into `app`, whatever it says.
pub(crate) async fn put_manifest(
    registry: &TestRegistry,
    tag: Option<&str>,
    media_type: &str,
    document: impl Into<Bytes>,
) -> Digest {
    let path = "app".parse().expect("a repository");
    let tag = tag.map(|tag| tag.parse().expect("a tag"));
    let media_type = MediaType::parse(media_type);
    let put = registry
        .inner()
        .add_manifest(&path, tag.as_ref(), &media_type, document.into());
    put.await.expect("memory takes it")
}

/// Puts a blob into a repository.
pub(crate) async fn put_blob(
    registry: &TestRegistry,
    repository: &str,
    bytes: impl Into<Bytes> + Send,
) -> Digest {
    let path = repository.parse().expect("a repository");
    let put = registry.inner().add_blob(&path, bytes.into());
    put.await.expect("memory takes it")
}

/// A descriptor of these bytes.
pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len() })
}

//! Signing: what is written, what is kept, and what nobody loses.

mod promise;
mod real;
mod refused;
mod scripted;
mod writers;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use consign::attached::{Attached, TagKind};
use consign::event::{Failure, Format, Role, SignedManifest};
use consign::oci::{Descriptor, Digest, Pinned, Registry, Repository};
use consign::registry::{Client, Retry, Settings};
use consign::sign::{Claim, Formats, Hand};
use consign::sigstore::PrivateKey;
use libtest_mimic::Trial;

use crate::registry::Pushed;

pub(crate) fn trials() -> Vec<Trial> {
    [
        promise::trials(),
        scripted::trials(),
        refused::trials(),
        writers::trials(),
        real::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All formats there are.
const ALL: [Format; 3] = [Format::Tag, Format::Referrer, Format::Bundle];

/// One process that signs: a client and a memory of its own, and a folder of locks where it shares one.
fn process(locks: Option<&Path>) -> Attached {
    let settings = Settings {
        retry: Retry {
            attempts: 3,
            pause: Duration::from_millis(1),
            pause_max: Duration::from_millis(5),
        },
        ..Settings::default()
    };
    let client = Client::new(settings);
    Attached::new(client, locks.map(Path::to_owned))
}

/// One manifest that is to be signed.
#[derive(Debug, Clone)]
struct Subject {
    repository: Repository,
    descriptor: Descriptor,
}

impl Subject {
    fn new(host: &str, path: &str, pushed: &Pushed) -> Self {
        let host: Registry = host.parse().expect("a registry");
        Self {
            repository: Repository::new(host, path).expect("a repository"),
            descriptor: serde_json::from_value(pushed.descriptor()).expect("a descriptor"),
        }
    }

    fn digest(&self) -> Digest {
        self.descriptor.digest
    }

    fn pinned(&self) -> Pinned {
        Pinned {
            repository: self.repository.clone(),
            digest: self.digest(),
        }
    }

    /// The tag of its signatures.
    fn tag(&self) -> String {
        TagKind::Signature.of(&self.digest()).to_string()
    }

    /// `REPOSITORY:1`, with the annotation `by=consign`.
    fn claim(&self) -> Claim {
        Claim {
            identity: format!("{}:1", self.repository),
            annotations: BTreeMap::from([("by".to_owned(), "consign".to_owned())]),
        }
    }

    async fn sign_with(
        &self,
        process: &Attached,
        key: &PrivateKey,
        formats: &Formats,
    ) -> Result<Vec<SignedManifest>, Failure> {
        self.sign_as(process, key, (&self.claim(), formats)).await
    }

    async fn sign_as(
        &self,
        process: &Attached,
        key: &PrivateKey,
        (claim, formats): (&Claim, &Formats),
    ) -> Result<Vec<SignedManifest>, Failure> {
        let what = (&self.descriptor, &Role::Platform(None));
        let key = Hand::Key(key);
        consign::sign::sign(process, &self.repository, what, claim, (key, formats)).await
    }
}

/// Which of the signatures were added, in their order.
#[track_caller]
fn added(signed: Result<Vec<SignedManifest>, Failure>) -> Vec<(Format, bool)> {
    let signed = signed.unwrap_or_else(|failure| panic!("{failure:#?}"));
    signed
        .iter()
        .map(|signed| (signed.format, signed.added))
        .collect()
}

fn key() -> PrivateKey {
    PrivateKey::generate().expect("a key")
}

fn only(format: Format) -> Formats {
    Formats::These(vec![format])
}

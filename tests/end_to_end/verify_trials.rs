//! Signatures judged: what is accepted, what is rejected and why, and what cannot be known.
//!
//! Library level: a [`Court`] is a scripted registry with keys made for the test, whose log says what
//! was asked. Signatures are put straight into the registry.

mod choice;
mod identity;
mod negative;
mod nights;
mod places;
mod runs;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consign::attached::Attached;
use consign::event::{Checked, Failure, Format, Validation, Verdict};
use consign::oci::{Digest, MediaType, PlatformSelection};
use consign::pace::Pace;
use consign::policy::SignedIdentity;
use consign::registry as client;
use consign::sigstore::{Bundle, Payload, PrivateKey, StatementSubject};
use consign::verify::{self, Compared, Demand, Question, Search, Subjects};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::registry::{Pushed, Settings, TestRegistry};

pub(crate) fn trials() -> Vec<Trial> {
    [
        choice::trials(),
        identity::trials(),
        negative::trials(),
        nights::trials(),
        places::trials(),
        runs::trials(),
        trouble::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub(crate) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

const FORMATS: [Format; 3] = [Format::Tag, Format::Referrer, Format::Bundle];

/// A registry, and who asks it.
struct Court {
    registry: TestRegistry,
    attached: Attached,
    /// Test keys, made for each trial.
    key: PrivateKey,
    other: PrivateKey,
}

/// What is demanded, unless a trial says otherwise.
struct Ask {
    image: String,
    identity: SignedIdentity,
    annotations: BTreeMap<String, String>,
    search: Search,
    subjects: Subjects,
    selection: PlatformSelection,
    compared: Compared,
}

/// One layer of a manifest of signatures, or one bundle.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// What its descriptor calls it.
    pub(crate) media_type: &'static str,
    /// Its bytes.
    pub(crate) bytes: Bytes,
    /// What its descriptor carries.
    pub(crate) annotations: BTreeMap<String, String>,
    /// What its descriptor says, where that is not the truth.
    pub(crate) size: Option<u64>,
    /// Whether the blob is there.
    pub(crate) is_there: bool,
}

impl Court {
    async fn open() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        Self {
            registry: TestRegistry::with(settings).await,
            attached: asking(Duration::from_secs(20)),
            key: PrivateKey::generate().unwrap(),
            other: PrivateKey::generate().unwrap(),
        }
    }

    /// A name in the registry.
    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.registry.host())
    }

    /// The usual question about an image of the registry.
    fn ask(&self, rest: &str) -> Ask {
        Ask {
            image: self.name(rest),
            identity: SignedIdentity::MatchRepoDigestOrExact,
            annotations: BTreeMap::new(),
            search: Search::Everywhere,
            subjects: Subjects::Platforms,
            selection: PlatformSelection::all(),
            compared: Compared::ByWhatItIs,
        }
    }

    async fn validate(&self, ask: &Ask) -> Result<Validation, Failure> {
        let demand = Demand {
            signers: Arc::new(consign::sigstore::Signers::Keys(vec![
                self.key.public().clone(),
            ])),
            identity: ask.identity.clone(),
            annotations: ask.annotations.clone(),
            search: ask.search,
        };
        let image = ask.image.parse().unwrap();
        let question = Question {
            image: &image,
            place: None,
            subjects: ask.subjects,
            selection: &ask.selection,
            compared: ask.compared,
            demand: &demand,
        };
        verify::validate(&self.attached, &question, &Pace::default()).await
    }

    /// The judgement of the single manifest that an image has.
    async fn judge(&self, ask: &Ask) -> Checked {
        let mut validation = self.validate(ask).await.unwrap();
        assert_eq!(validation.checked.len(), 1, "{validation:?}");
        validation.checked.remove(0)
    }

    /// A signature by the usual key.
    fn sign(&self, format: Format, reference: &str, digest: Digest) -> Layer {
        sign(&self.key, format, reference, digest, &[])
    }

    /// Puts signatures of `subject` where its format has them.
    async fn attach(&self, format: Format, subject: &Pushed, layers: &[Layer]) -> Digest {
        attach(&self.registry, "app", format, subject, layers).await
    }

    /// What was asked for since the log was cleared, as a test says it.
    fn requests(&self) -> usize {
        self.registry.log().len()
    }
}

/// Somebody who asks, and tries again at once.
fn asking(stall_timeout: Duration) -> Attached {
    let settings = client::Settings {
        stall_timeout,
        retry: client::Retry {
            attempts: 2,
            pause: Duration::from_millis(1),
            pause_max: Duration::from_millis(2),
        },
        ..client::Settings::default()
    };
    Attached::new(client::Client::new(settings), None)
}

fn sign(
    key: &PrivateKey,
    format: Format,
    reference: &str,
    digest: Digest,
    annotations: &[(&str, &str)],
) -> Layer {
    let annotations = map(annotations);
    match format {
        Format::Tag | Format::Referrer => {
            simple(key, Payload::write(reference, &digest, &annotations))
        }
        Format::Bundle => {
            let subject = StatementSubject {
                name: Some(reference.to_owned()),
                digest: Some(digest),
                annotations,
            };
            bundle(Bundle::sign(key, &subject).unwrap())
        }
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A layer whose payload is signed as it is.
fn simple(key: &PrivateKey, payload: impl Into<Bytes>) -> Layer {
    let bytes: Bytes = payload.into();
    let signature = base64(&key.sign(&bytes).unwrap());
    Layer {
        media_type: SIMPLE_SIGNING,
        annotations: map(&[(SIGNATURE, &signature)]),
        bytes,
        size: None,
        is_there: true,
    }
}

/// A layer with a bundle.
fn bundle(bytes: impl Into<Bytes>) -> Layer {
    Layer {
        media_type: BUNDLE,
        annotations: BTreeMap::new(),
        bytes: bytes.into(),
        size: None,
        is_there: true,
    }
}

/// A bundle whose statement is signed as it is.
fn statement(key: &PrivateKey, statement: &str) -> Layer {
    let kind = "application/vnd.in-toto+json";
    let signed = format!(
        "DSSEv1 {} {kind} {} {statement}",
        kind.len(),
        statement.len()
    );
    let document = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": key.public().id() } },
        "dsseEnvelope": {
            "payload": base64(statement.as_bytes()),
            "payloadType": kind,
            "signatures": [{ "sig": base64(&key.sign(signed.as_bytes()).unwrap()) }],
        },
    });
    bundle(document.to_string())
}

/// What cosign 3 signs: no name, and this predicate.
fn nameless(digest: Digest, predicate: &str) -> String {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { "sha256": digest.hex() } }],
        "predicateType": predicate,
        "predicate": {},
    })
    .to_string()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = DIGITS[usize::try_from(bits >> (18 - 6 * at) & 63).unwrap()];
            text.push(if at <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

impl Layer {
    fn descriptor(&self) -> Value {
        let size = u64::try_from(self.bytes.len()).unwrap();
        json!({
            "mediaType": self.media_type,
            "digest": Digest::sha256(&self.bytes),
            "size": self.size.unwrap_or(size),
            "annotations": self.annotations,
        })
    }

    fn annotated(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With other bytes, and the old signature.
    fn tampered(self, from: &str, to: &str) -> Self {
        let text = String::from_utf8(self.bytes.to_vec()).unwrap();
        assert!(text.contains(from), "{text}");
        Self {
            bytes: text.replacen(from, to, 1).into(),
            ..self
        }
    }

    fn digest(&self) -> Digest {
        Digest::sha256(&self.bytes)
    }
}

/// The path of a blob in the repository of most trials.
fn blob_path(digest: Digest) -> String {
    format!("/v2/app/blobs/{digest}")
}

/// The path of a manifest in the repository of most trials.
fn manifest_path(reference: &dyn std::fmt::Display) -> String {
    format!("/v2/app/manifests/{reference}")
}

fn signature_tag(subject: Digest) -> String {
    format!("sha256-{}.sig", subject.hex())
}

async fn put_blob(registry: &TestRegistry, repository: &str, bytes: Bytes) -> Digest {
    let path = repository.parse().unwrap();
    registry.inner().add_blob(&path, bytes).await.unwrap()
}

async fn put_manifest(
    registry: &TestRegistry,
    repository: &str,
    tag: Option<&str>,
    document: &Value,
) -> Digest {
    let path = repository.parse().unwrap();
    let tag = tag.map(|tag| tag.parse().unwrap());
    let media_type = MediaType::parse(document["mediaType"].as_str().unwrap());
    let bytes = Bytes::from(document.to_string());
    let inner = registry.inner();
    inner
        .add_manifest(&path, tag.as_ref(), &media_type, bytes)
        .await
        .unwrap()
}

/// Puts signatures of `subject` into a repository, where their format has them.
pub(crate) async fn attach(
    registry: &TestRegistry,
    repository: &str,
    format: Format,
    subject: &Pushed,
    layers: &[Layer],
) -> Digest {
    for layer in layers.iter().filter(|layer| layer.is_there) {
        put_blob(registry, repository, layer.bytes.clone()).await;
    }
    let config = put_blob(registry, repository, Bytes::from_static(b"{}")).await;
    let config_type = match format {
        Format::Tag => "application/vnd.oci.image.config.v1+json",
        Format::Referrer => "application/vnd.dev.cosign.artifact.sig.v1+json",
        Format::Bundle => "application/vnd.oci.empty.v1+json",
    };
    let descriptors: Vec<Value> = layers.iter().map(Layer::descriptor).collect();
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest,
        "config": { "mediaType": config_type, "digest": config, "size": 2 },
        "layers": descriptors,
    });
    let tag = signature_tag(subject.digest);
    let tag = match format {
        Format::Tag => Some(tag.as_str()),
        Format::Referrer | Format::Bundle => {
            document["subject"] = subject.descriptor();
            None
        }
    };
    if format == Format::Bundle {
        document["artifactType"] = json!(layers.first().map_or(BUNDLE, |layer| layer.media_type));
    }
    put_manifest(registry, repository, tag, &document).await
}

#[track_caller]
fn accepted(checked: &Checked) {
    assert_eq!(checked.verdict, Verdict::Accepted, "{checked:#?}");
    assert!(checked.evidence.is_some(), "{checked:#?}");
    assert!(
        checked.trouble.is_none() && checked.hint.is_none(),
        "{checked:#?}"
    );
}

/// Rejected, with a reason that has `reason` in it.
#[track_caller]
fn rejected(checked: &Checked, reason: &str) {
    assert_eq!(checked.verdict, Verdict::Rejected, "{checked:#?}");
    assert!(
        checked.evidence.is_none() && checked.trouble.is_none(),
        "{checked:#?}"
    );
    let has_reason = checked.reasons.iter().any(|own| own.contains(reason));
    assert!(has_reason, "{reason}: {checked:#?}");
}

/// Undetermined, with a reason that has `reason` in it, and the trouble too.
#[track_caller]
fn undetermined(checked: &Checked, kind: consign::event::Kind, reason: &str) {
    assert_eq!(checked.verdict, Verdict::Undetermined, "{checked:#?}");
    assert!(checked.evidence.is_none(), "{checked:#?}");
    let trouble = checked.trouble.as_ref().expect("what kept it");
    assert_eq!(trouble.kind, kind, "{checked:#?}");
    assert_eq!(trouble.stage, consign::event::Stage::Verify);
    let has_reason = checked.reasons.iter().any(|own| own.contains(reason));
    assert!(has_reason, "{reason}: {checked:#?}");
    assert!(trouble.causes.join(": ").contains(reason), "{checked:#?}");
}

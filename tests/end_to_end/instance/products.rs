//! Signatures as images carry them: a layer with annotations under a tag or in a referrer, and bundles.

use std::collections::BTreeMap;

use consign::event::Format;
use consign::oci::Digest;
use serde_json::{Value, json};

use super::authority::certificate_pem;
use super::keys::{base64, sha256};
use super::log::{Body, Entry};
use crate::registry::{Pushed, TestRegistry};
use crate::verify_trials::{Layer, SIGNATURE, SIMPLE_SIGNING, attach};

/// What a statement in an envelope is.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// What cosign states of an image that it signs.
pub(crate) const PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The form of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A layer with annotations.
    Simple,
    /// A bundle of version 0.1, without a proof.
    Bundle01,
    /// A bundle of version 0.2.
    Bundle02,
    /// A bundle of version 0.3.
    Bundle03,
}

/// All forms.
pub(crate) const FORMS: [Form; 4] = [Form::Simple, Form::Bundle01, Form::Bundle02, Form::Bundle03];

impl Form {
    /// Whether there is a proof in it that the entry is in the log.
    pub(crate) const fn has_proof(self) -> bool {
        matches!(self, Self::Bundle02 | Self::Bundle03)
    }

    /// What a layer of it is.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Simple => SIMPLE_SIGNING,
            Self::Bundle01 => "application/vnd.dev.sigstore.bundle+json;version=0.1",
            Self::Bundle02 => "application/vnd.dev.sigstore.bundle+json;version=0.2",
            Self::Bundle03 => "application/vnd.dev.sigstore.bundle.v0.3+json",
        }
    }

    /// What is signed of an image.
    pub(crate) fn content(
        self,
        reference: &str,
        digest: Digest,
        notes: &[(&str, &str)],
    ) -> Content {
        match self {
            Self::Simple => Content::payload(reference, digest, notes),
            Self::Bundle01 | Self::Bundle02 | Self::Bundle03 => {
                Content::statement(digest, PREDICATE, notes)
            }
        }
    }
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Bytes as they are.
    Payload(String),
    /// A statement in an envelope.
    Statement(String),
}

impl Content {
    /// A payload as cosign writes it.
    pub(crate) fn payload(reference: &str, digest: Digest, notes: &[(&str, &str)]) -> Self {
        let notes: BTreeMap<_, _> = notes.iter().copied().collect();
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": reference },
                "image": { "docker-manifest-digest": digest },
                "type": "cosign container image signature",
            },
            "optional": notes,
        });
        Self::Payload(payload.to_string())
    }

    /// A statement as cosign writes it, with this predicate.
    pub(crate) fn statement(digest: Digest, predicate: &str, notes: &[(&str, &str)]) -> Self {
        let mut subject = json!({ "digest": { "sha256": digest.hex() } });
        if !notes.is_empty() {
            let notes: BTreeMap<_, _> = notes.iter().copied().collect();
            subject["annotations"] = json!(notes);
        }
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [subject],
            "predicateType": predicate,
            "predicate": {},
        });
        Self::Statement(statement.to_string())
    }

    /// Something else of the same kind.
    pub(super) fn other(&self) -> Self {
        match self {
            Self::Payload(text) => Self::Payload(format!("{text} ")),
            Self::Statement(text) => Self::Statement(format!("{text} ")),
        }
    }

    /// The bytes that are signed: those of an envelope have its type before them (DSSE's PAE).
    pub(super) fn signed(&self) -> Vec<u8> {
        match self {
            Self::Payload(text) => text.clone().into_bytes(),
            Self::Statement(text) => {
                let (kind, size) = (STATEMENT.len(), text.len());
                format!("DSSEv1 {kind} {STATEMENT} {size} {text}").into_bytes()
            }
        }
    }

    /// The entry that a log has of it.
    pub(super) fn body(&self, signature: &[u8]) -> Body {
        match self {
            Self::Payload(text) => Body::Hashed(sha256(text.as_bytes())),
            Self::Statement(text) => {
                let envelope = envelope(text, signature).to_string();
                Body::Dsse(sha256(envelope.as_bytes()), sha256(text.as_bytes()))
            }
        }
    }
}

fn envelope(text: &str, signature: &[u8]) -> Value {
    json!({
        "payload": base64(text),
        "payloadType": STATEMENT,
        "signatures": [{ "sig": base64(signature) }],
    })
}

/// A signature with all that belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    /// What was signed.
    pub(super) content: Content,
    /// The signature.
    pub(super) signature: Vec<u8>,
    /// By what the key is known.
    pub(super) hint: String,
    /// The certificate, where there is one.
    pub(super) certificate: Option<Vec<u8>>,
    /// Those above it.
    pub(super) chain: Vec<Vec<u8>>,
    /// What the log has of it.
    pub(super) entries: Vec<Entry>,
    /// How many timestamps stand beside it; they say nothing.
    pub(super) timestamps: usize,
}

impl Signed {
    /// It as a layer of this form, which its content must fit.
    pub(crate) fn layer(&self, form: Form) -> Layer {
        let (bytes, annotations) = match (form, &self.content) {
            (Form::Simple, Content::Payload(text)) => (text.clone(), self.annotations()),
            (_, Content::Statement(text)) => {
                let bundle = self.bundle(form, &envelope(text, &self.signature));
                (bundle.to_string(), BTreeMap::new())
            }
            (_, Content::Payload(_)) => panic!("{form:?} has statements alone"),
        };
        Layer {
            media_type: form.media_type(),
            bytes: bytes.into(),
            annotations,
            size: None,
            is_there: true,
        }
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = BTreeMap::new();
        annotations.insert(SIGNATURE.to_owned(), base64(&self.signature));
        let mut add = |name: &str, text: String| {
            annotations.insert(format!("dev.sigstore.cosign/{name}"), text);
        };
        if let Some(certificate) = &self.certificate {
            let chain = self.chain.iter().map(|der| certificate_pem(der));
            add("certificate", certificate_pem(certificate));
            add("chain", chain.collect());
        }
        if let Some(entry) = self.entries.first() {
            add("bundle", entry.in_annotation());
        }
        if self.timestamps > 0 {
            let stamp = json!({ "SignedRFC3161Timestamp": base64(b"stamp") });
            add("rfc3161timestamp", stamp.to_string());
        }
        annotations
    }

    fn bundle(&self, form: Form, envelope: &Value) -> Value {
        let raw = |der: &Vec<u8>| json!({ "rawBytes": base64(der) });
        let entries = self.entries.iter();
        let entries: Vec<Value> = entries.map(|own| own.in_bundle(form.has_proof())).collect();
        let mut material = json!({ "tlogEntries": entries });
        match (&self.certificate, form) {
            (None, _) => material["publicKey"] = json!({ "hint": self.hint }),
            (Some(der), Form::Bundle03) => material["certificate"] = raw(der),
            (Some(der), _) => {
                let certificates = json!({ "certificates": [raw(der), raw(&self.chain[0])] });
                material["x509CertificateChain"] = certificates;
            }
        }
        if self.timestamps > 0 {
            let timestamp = json!({ "signedTimestamp": base64([0x30; 2000]) });
            let timestamps = vec![timestamp; self.timestamps];
            material["timestampVerificationData"] = json!({ "rfc3161Timestamps": timestamps });
        }
        json!({
            "mediaType": form.media_type(),
            "verificationMaterial": material,
            "dsseEnvelope": envelope,
        })
    }
}

/// Puts signatures of an image into its repository: in this form, and where this format has them.
pub(crate) async fn put(
    registry: &TestRegistry,
    repository: &str,
    (format, form): (Format, Form),
    image: &Pushed,
    signatures: &[Signed],
) -> Digest {
    let layers: Vec<Layer> = signatures.iter().map(|own| own.layer(form)).collect();
    attach(registry, repository, format, image, &layers).await
}

//! What machines read of signatures: those that were judged, and those that were made.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::{
    Author, Certificate, Checked, Evidence, Maker, Role, SignedManifest, Signing, Validation,
};
use crate::oci::Digest;

/// The validation of one image.
#[derive(Serialize)]
pub(super) struct ValidationView<'a> {
    image: String,
    manifests: Vec<CheckedView<'a>>,
    /// Platforms that are there and were not checked.
    unchecked: Vec<String>,
    /// Platforms that were wanted and are not there.
    absent: &'a [String],
}

impl<'a> ValidationView<'a> {
    pub(super) fn of(validation: &'a Validation) -> Self {
        Self {
            image: validation.image.to_string(),
            manifests: validation.checked.iter().map(CheckedView::of).collect(),
            unchecked: validation
                .unchecked
                .iter()
                .map(ToString::to_string)
                .collect(),
            absent: &validation.absent,
        }
    }
}

#[derive(Serialize)]
struct CheckedView<'a> {
    digest: &'a Digest,
    #[serde(flatten)]
    role: RoleView,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<EvidenceView<'a>>,
    reasons: &'a [String],
    /// The kind of trouble that kept it from being judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl<'a> CheckedView<'a> {
    fn of(checked: &'a Checked) -> Self {
        Self {
            digest: &checked.digest,
            role: RoleView::of(&checked.role),
            verdict: checked.verdict.as_str(),
            signature: checked.evidence.as_ref().map(EvidenceView::of),
            reasons: &checked.reasons,
            kind: checked
                .trouble
                .as_ref()
                .map(|trouble| trouble.kind.as_str()),
            hint: checked.hint.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct RoleView {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
}

impl RoleView {
    fn of(role: &Role) -> Self {
        let (role, platform) = match role {
            Role::Index => ("index", None),
            Role::Platform(platform) => ("platform", platform.as_ref().map(ToString::to_string)),
            Role::Other => ("other", None),
        };
        Self { role, platform }
    }
}

#[derive(Serialize)]
struct EvidenceView<'a> {
    #[serde(flatten)]
    by: MakerView<'a>,
    format: &'static str,
    identity: Option<&'a str>,
    identity_proven: bool,
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> EvidenceView<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        Self {
            by: MakerView::of(&evidence.by),
            format: evidence.format.as_str(),
            identity: evidence.identity.as_deref(),
            identity_proven: evidence.identity_proven,
            annotations: &evidence.annotations,
        }
    }
}

/// Who made a signature: a key, or whom a certificate names.
#[derive(Serialize, Default)]
struct MakerView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateView<'a>>,
    /// When it was there, where that was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<&'a str>,
}

impl<'a> MakerView<'a> {
    fn of(maker: &'a Maker) -> Self {
        match maker {
            Maker::Key { id, time } => Self {
                key: Some(id),
                time: time.as_deref(),
                ..Self::default()
            },
            Maker::Certificate(certificate) => Self {
                certificate: Some(CertificateView::of(certificate)),
                time: certificate.time.as_deref(),
                ..Self::default()
            },
        }
    }
}

#[derive(Serialize)]
struct CertificateView<'a> {
    identity: &'a str,
    issuer: &'a str,
    /// Whether a transparency log vouched for the signature.
    logged: bool,
    /// Whether a certificate log vouched for the certificate.
    sct: bool,
    claims: &'a BTreeMap<String, String>,
}

impl<'a> CertificateView<'a> {
    fn of(certificate: &'a Certificate) -> Self {
        Self {
            identity: &certificate.identity,
            issuer: &certificate.issuer,
            logged: certificate.logged,
            sct: certificate.transparent,
            claims: &certificate.claims,
        }
    }
}

/// By whom an image was signed.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum AuthorView<'a> {
    Key(&'a str),
    Certificate { identity: &'a str, issuer: &'a str },
}

impl<'a> AuthorView<'a> {
    fn of(author: &'a Author) -> Self {
        match author {
            Author::Key(id) => Self::Key(id),
            Author::Certificate { identity, issuer } => Self::Certificate { identity, issuer },
        }
    }
}

/// The signing of one image.
#[derive(Serialize)]
pub(super) struct SigningView<'a> {
    image: String,
    #[serde(flatten)]
    author: AuthorView<'a>,
    signatures: Vec<SignatureView<'a>>,
}

impl<'a> SigningView<'a> {
    pub(super) fn of(signing: &'a Signing) -> Self {
        Self {
            image: signing.image.to_string(),
            author: AuthorView::of(&signing.author),
            signatures: signing.signatures.iter().map(SignatureView::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct SignatureView<'a> {
    digest: &'a Digest,
    #[serde(flatten)]
    role: RoleView,
    format: &'static str,
    identity: &'a str,
    added: bool,
}

impl<'a> SignatureView<'a> {
    fn of(signed: &'a SignedManifest) -> Self {
        Self {
            digest: &signed.digest,
            role: RoleView::of(&signed.role),
            format: signed.format.as_str(),
            identity: &signed.identity,
            added: signed.added,
        }
    }
}

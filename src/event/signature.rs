//! What became of signatures: of one manifest, and of one image.

use std::collections::BTreeMap;

use super::Failure;
use crate::oci::{Digest, Pinned, Platform};

/// Where and how a signature is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Under the tag `sha256-<hex>.sig`.
    Tag,
    /// A referrer with the layers of the tag format (cosign's OCI 1.1 mode).
    Referrer,
    /// A referrer with a Sigstore bundle.
    Bundle,
}

impl Format {
    /// The word for machines, and of `--signature-format`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Referrer => "referrer",
            Self::Bundle => "bundle",
        }
    }
}

/// What was found of one manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// A signature passed everything.
    Accepted,
    /// Every place answered, and no signature passed.
    Rejected,
    /// Some place could not be asked, and no signature passed.
    Undetermined,
}

impl Verdict {
    /// The word for machines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Undetermined => "undetermined",
        }
    }
}

/// What a manifest is in its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The index.
    Index,
    /// The image of a platform; of a single image without a known one, `None`.
    Platform(Option<Platform>),
    /// Anything else that an index names: attestation manifests, nested indexes.
    Other,
}

/// Who made a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    /// The holder of a key.
    Key {
        /// The key's id.
        id: String,
        /// When a transparency log took it in, RFC 3339; `None` where no log was asked.
        time: Option<String>,
    },
    /// Whom a certificate names.
    Certificate(Box<Certificate>),
}

impl Maker {
    /// The id of the key; `None` where it was a certificate.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Key { id, time: _ } => Some(id),
            Self::Certificate(_) => None,
        }
    }
}

/// What a certificate that passed everything says of who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// An email address or a URI.
    pub identity: String,
    /// Who vouched for that; empty where it does not say.
    pub issuer: String,
    /// When the signature was there, RFC 3339, by the first proof of it; `None` where the present time
    /// counted.
    pub time: Option<String>,
    /// Whether a transparency log vouched for the signature.
    pub logged: bool,
    /// Whether a certificate log vouched for the certificate.
    pub transparent: bool,
    /// What it says of the build, by OID.
    pub claims: BTreeMap<String, String>,
}

/// The signature that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Who made it.
    pub by: Maker,
    /// Where it was found.
    pub format: Format,
    /// The identity it names; `None` where it names none.
    pub identity: Option<String>,
    /// Whether that identity was compared with the image's name.
    pub identity_proven: bool,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// The judgement of one manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its digest.
    pub digest: Digest,
    /// What it is.
    pub role: Role,
    /// The verdict.
    pub verdict: Verdict,
    /// The signature that was accepted; there where the verdict is `Accepted`.
    pub evidence: Option<Evidence>,
    /// Why others were not, or could not be asked, each fit for printing; bounded.
    pub reasons: Vec<String>,
    /// What kept it from being asked; there where the verdict is `Undetermined`.
    pub trouble: Option<Failure>,
    /// What would have been accepted, where something would.
    pub hint: Option<String>,
}

/// The validation of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    /// The image.
    pub image: Pinned,
    /// Manifests that were checked, in the order of the index.
    pub checked: Vec<Checked>,
    /// Platforms that are there and were not asked for.
    pub unchecked: Vec<Platform>,
    /// Platforms that were asked for and are not there, as asked.
    pub absent: Vec<String>,
}

/// One signature that stands at the registry now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedManifest {
    /// The manifest that it speaks of.
    pub digest: Digest,
    /// What that is.
    pub role: Role,
    /// How it is stored.
    pub format: Format,
    /// The identity it names.
    pub identity: String,
    /// Whether this run added it; else it was there.
    pub added: bool,
}

/// Who makes signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// The key of this id.
    Key(String),
    /// Whom a certificate names.
    Certificate {
        /// The address or URI (subject alternative name).
        identity: String,
        /// Who vouched for it.
        issuer: String,
    },
}

/// The signing of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// The image.
    pub image: Pinned,
    /// By whom.
    pub author: Author,
    /// The signatures, in the order of the index.
    pub signatures: Vec<SignedManifest>,
}

//! The trusted root: authorities, logs and timestamp authorities, and when each may be believed.

use std::fmt;

use serde_json::{Value, json};
use sigstore_trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_verify::Verifier;

use crate::limits::signature::TRUSTED_ROOT_BYTES_MAX;
use crate::text::cleaned;

use super::super::key::PublicKey;
use super::super::to_base64;
use super::chain::Authority;
use super::material::Material;

/// The day on which the public instance's root that is built in was fetched: that of the release of the
/// `sigstore-trust-root` crate that carries it.
pub const BUILT_IN_ROOT_DATE: &str = "2026-10-23";

/// What a trusted root is called (`sigstore_trustroot.proto`).
const MEDIA_TYPES: [&str; 2] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// How much of an error is shown, in characters.
const SHOWN_CHARS_MAX: usize = 300;

/// Everything that is trusted, parsed and checked once.
pub struct TrustRoot {
    pub(super) verifier: Verifier,
    pub(super) authorities: Vec<Authority>,
    /// Whether certificates between signers and authorities may come with signatures. A trusted root names
    /// all that are trusted: one that it names no more is not.
    pub(super) takes_intermediates: bool,
    /// Whether what a clock says counts: not where somebody names pieces and no clock among them.
    pub(super) has_clocks: bool,
    name: String,
}

/// Why a trusted root cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RootError(String);

/// A trusted root in pieces, as the older flags and variables of cosign have it.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    /// Certificates of authorities, PEM; those that are self-signed are roots, the others intermediates.
    pub authorities: Vec<Vec<u8>>,
    /// Certificates of authorities, PEM, each of which is trusted by itself, whoever issued it.
    pub anchors: Vec<Vec<u8>>,
    /// Public keys of transparency logs.
    pub logs: Vec<PublicKey>,
    /// Public keys of certificate transparency logs.
    pub certificate_logs: Vec<PublicKey>,
    /// The chain of a timestamp authority, PEM, leaf first; each is one authority.
    pub timestamps: Vec<Vec<u8>>,
}

impl TrustRoot {
    /// The public instance's, as it was on [`BUILT_IN_ROOT_DATE`].
    ///
    /// # Errors
    ///
    /// Never, unless the built-in root is broken; a test reads it.
    pub fn built_in() -> Result<Self, RootError> {
        Self::parse(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes()).map(|root| Self {
            name: format!("the public instance's, of {BUILT_IN_ROOT_DATE}"),
            ..root
        })
    }

    /// Reads a `trusted_root.json`.
    ///
    /// # Errors
    ///
    /// When it is larger than [`TRUSTED_ROOT_BYTES_MAX`], is none, or holds a key or certificate that cannot be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, RootError> {
        if u64::try_from(bytes.len()).is_ok_and(|length| length > TRUSTED_ROOT_BYTES_MAX) {
            return Err(error("it has more than 1 MiB, which no trusted root has"));
        }
        let text = std::str::from_utf8(bytes).map_err(|why| error(&why.to_string()))?;
        let root = TrustedRoot::from_json(text).map_err(|why| error(&why.to_string()))?;
        if !MEDIA_TYPES.contains(&root.media_type.as_str()) {
            let media_type = cleaned(&root.media_type, SHOWN_CHARS_MAX);
            return Err(error(&format!("`{media_type}` is no trusted root")));
        }
        Self::new(&root)
    }

    /// Puts a trusted root together. Nothing in it ends: what is given is trusted whenever it was used.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be read, or certificates are there and none of them is a root.
    pub fn assemble(pieces: &Pieces) -> Result<Self, RootError> {
        let always = json!({ "start": "1970-01-01T00:00:00Z" });
        let log = |key: &PublicKey| {
            json!({
                "baseUrl": "",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": to_base64(key.der()),
                    "keyDetails": "UNSPECIFIED",
                    "validFor": always,
                },
                "logId": { "keyId": key.id() },
            })
        };
        let authority = |chain: &[Vec<u8>]| {
            let certificates: Vec<Value> = chain
                .iter()
                .map(|der| json!({ "rawBytes": to_base64(der) }))
                .collect();
            json!({
                "uri": "",
                "certChain": { "certificates": certificates },
                "validFor": always,
            })
        };
        let mut chains = Vec::new();
        for pem in &pieces.authorities {
            chains.extend(Authority::chains(pem).map_err(|why| error(&why))?);
        }
        for pem in &pieces.anchors {
            let all = super::chain::certificates(pem).map_err(|why| error(&why))?;
            chains.extend(all.into_iter().map(|one| vec![one]));
        }
        let mut timestamps = Vec::new();
        for pem in &pieces.timestamps {
            timestamps.push(super::chain::certificates(pem).map_err(|why| error(&why))?);
        }
        let document = json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": pieces.logs.iter().map(log).collect::<Vec<_>>(),
            "ctlogs": pieces.certificate_logs.iter().map(log).collect::<Vec<_>>(),
            "certificateAuthorities": chains.iter().map(|chain| authority(chain)).collect::<Vec<_>>(),
            "timestampAuthorities": timestamps.iter().map(|chain| authority(chain)).collect::<Vec<_>>(),
        });
        let root = Self::parse(document.to_string().as_bytes())?;
        Ok(Self {
            takes_intermediates: true,
            has_clocks: !pieces.timestamps.is_empty(),
            ..root
        })
    }

    fn new(root: &TrustedRoot) -> Result<Self, RootError> {
        let verifier = Verifier::new(root).map_err(|why| error(&why.to_string()))?;
        let authorities = root
            .certificate_authorities
            .iter()
            .map(|authority| {
                let chain = authority.cert_chain.certificates.iter();
                let chain = chain.map(|one| one.raw_bytes.as_bytes().to_vec()).collect();
                Authority::new(chain, authority.valid_for).map_err(|why| error(&why))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            verifier,
            authorities,
            takes_intermediates: false,
            has_clocks: true,
            name: String::new(),
        })
    }

    /// The same, named in reports as `name`.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// What of `material` it can judge.
    pub(super) fn read<'a>(&self, material: &Material<'a>) -> Material<'a> {
        if self.has_clocks {
            *material
        } else {
            material.without_clock()
        }
    }

    /// What reports call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has an authority for certificates.
    pub const fn has_authorities(&self) -> bool {
        !self.authorities.is_empty()
    }
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustRoot")
            .field("name", &self.name)
            .field("authorities", &self.authorities.len())
            .finish_non_exhaustive()
    }
}

fn error(what: &str) -> RootError {
    RootError(cleaned(what, SHOWN_CHARS_MAX))
}

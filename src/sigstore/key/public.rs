//! Public keys: `SubjectPublicKeyInfo` in DER (RFC 5280), and what they verify.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use ed25519_dalek::{Sha512, Signature, VerifyingKey};

use super::super::{Refusal, to_base64};
use super::KeyError;
use super::pem::{self, form};

/// A public key, known to be well-formed, on its curve, and large enough. Cheap to clone.
#[derive(Clone)]
pub struct PublicKey {
    /// In the one encoding that DER has for it.
    spki: Arc<[u8]>,
    kind: Kind,
    /// For each of the algorithms of its kind: thousands of signatures are verified with one key.
    parsed: Arc<[ParsedPublicKey]>,
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        // The rest follows from it.
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

/// The kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    P256,
    P384,
    P521,
    Rsa,
    Ed25519,
}

/// Every kind, the usual ones first.
pub(super) const KINDS: [Kind; 5] = [Kind::P256, Kind::Rsa, Kind::Ed25519, Kind::P384, Kind::P521];

/// What is said of a key of another kind.
pub(super) const KINDS_KNOWN: &str =
    "P-256, P-384, P-521, RSA of 2048 to 8192 bits and Ed25519 are";

impl Kind {
    /// How signatures of this kind are verified, what everybody accepts first.
    fn algorithms(self) -> &'static [&'static dyn VerificationAlgorithm] {
        match self {
            Self::P256 => &[&signature::ECDSA_P256_SHA256_ASN1],
            Self::P384 => &[
                &signature::ECDSA_P384_SHA256_ASN1,
                &signature::ECDSA_P384_SHA384_ASN1,
            ],
            Self::P521 => &[
                &signature::ECDSA_P521_SHA256_ASN1,
                &signature::ECDSA_P521_SHA512_ASN1,
            ],
            Self::Rsa => &[&signature::RSA_PKCS1_2048_8192_SHA256],
            Self::Ed25519 => &[&signature::ED25519],
        }
    }

    /// `spki` as a key of this kind for each algorithm, where it is one in its one encoding: raw points,
    /// compressed ones and trailing bytes are not.
    fn parse(self, spki: &[u8]) -> Option<Arc<[ParsedPublicKey]>> {
        let parse = |algorithm: &&'static dyn VerificationAlgorithm| {
            let key = ParsedPublicKey::new(*algorithm, spki).ok()?;
            let canonical = key.as_der().ok()?;
            (canonical.as_ref() == spki).then_some(key)
        };
        self.algorithms().iter().map(parse).collect()
    }
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`.
    pub(in crate::sigstore) fn from_der(spki: &[u8]) -> Result<Self, KeyError> {
        let mut kinds = KINDS.into_iter();
        let found = kinds.find_map(|kind| Some((kind, kind.parse(spki)?)));
        let unknown = || form(&format!("it is no public key that is known; {KINDS_KNOWN}"));
        let (kind, parsed) = found.ok_or_else(unknown)?;
        if kind == Kind::Rsa {
            let size = PublicEncryptingKey::from_der(spki).map(|key| key.key_size_bits());
            if !size.is_ok_and(|bits| (2048..=8192).contains(&bits)) {
                return Err(unknown());
            }
        }
        Ok(Self {
            spki: spki.into(),
            kind,
            parsed,
        })
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// The `SubjectPublicKeyInfo`, DER.
    pub(in crate::sigstore) fn der(&self) -> &[u8] {
        &self.spki
    }

    /// PEM (SPKI), LF.
    pub fn to_pem(&self) -> String {
        pem::write(pem::PUBLIC, &self.spki)
    }

    /// base64(sha256(SPKI DER)): what cosign writes as a bundle's hint.
    pub fn id(&self) -> String {
        to_base64(digest::digest(&digest::SHA256, &self.spki).as_ref())
    }

    /// Checks a raw signature (DER for ECDSA) over `message`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Signature`] when this key did not make it.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
        let mut keys = self.parsed.iter();
        let is_made = keys.any(|key| key.verify_sig(message, signature).is_ok());
        if is_made || (self.kind == Kind::Ed25519 && self.made_prehashed(message, signature)) {
            Ok(())
        } else {
            Err(Refusal::Signature)
        }
    }

    /// Whether it is a signature of Ed25519ph (RFC 8032) without a context.
    fn made_prehashed(&self, message: &[u8], signature: &[u8]) -> bool {
        use ed25519_dalek::Digest as _;

        // The last 32 bytes of the one encoding of such a key are the point.
        let point = self.spki.last_chunk::<32>();
        let key = point.and_then(|point| VerifyingKey::from_bytes(point).ok());
        let (Some(key), Ok(signature)) = (key, Signature::from_slice(signature)) else {
            return false;
        };
        let hash = Sha512::new().chain_update(message);
        key.verify_prehashed_strict(hash, None, &signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.kind, self.id())
    }
}

//! Private keys: PKCS#8 in memory, and what they sign.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use secrecy::{ExposeSecret as _, SecretSlice};

use super::pem::form;
use super::public::{KINDS, KINDS_KNOWN, Kind};
use super::{KeyError, Passphrase, PublicKey, sealed};

/// A private key that was tried: it signs, and its public half verifies. Never printed; erased when
/// dropped.
pub struct PrivateKey {
    signer: Signer,
    public: PublicKey,
    pkcs8: SecretSlice<u8>,
}

enum Signer {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// What a key signs to prove itself; it has no form of a payload, a statement or an envelope.
const TRIAL: &[u8] = b"consign tries a key";

impl PrivateKey {
    /// A new key of P-256.
    ///
    /// # Errors
    ///
    /// When there is no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let failed = |_| form("no key can be generated");
        let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING);
        let pkcs8 = pair.and_then(|pair| pair.to_pkcs8v1()).map_err(failed)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Reads a key of any kind and tries it.
    pub(super) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let found = KINDS.into_iter().find_map(|kind| Signer::new(kind, pkcs8));
        let (signer, spki) = found.ok_or_else(|| {
            form(&format!(
                "the private key in it is of a kind that is not known; {KINDS_KNOWN}"
            ))
        })?;
        let public = PublicKey::from_der(spki.as_ref())?;
        let key = Self {
            signer,
            public,
            pkcs8: pkcs8.to_vec().into(),
        };
        let signature = key.sign(TRIAL)?;
        key.public
            .verify(TRIAL, &signature)
            .map_err(|_| form("the key in it does not verify what it signs"))?;
        Ok(key)
    }

    /// The text of cosign's key file, sealed with `passphrase`. Takes as long as [`super::SealedKey::open`].
    ///
    /// # Errors
    ///
    /// When there is no randomness.
    pub fn seal(&self, passphrase: &Passphrase) -> Result<String, KeyError> {
        sealed::seal(self.pkcs8.expose_secret(), passphrase)
    }

    /// Its public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature over `message`, in the way that everybody verifies.
    ///
    /// # Errors
    ///
    /// When the key does not sign, which it did when it was read.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let signed = match &self.signer {
            Signer::Ecdsa(pair) if self.public.kind() == Kind::P384 => {
                padded(message).and_then(|hash| Ok(pair.sign_digest(&hash)?.as_ref().to_vec()))
            }
            Signer::Ecdsa(pair) => pair.sign(&random, message).map(|s| s.as_ref().to_vec()),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map(|()| signature)
            }
            Signer::Ed25519(pair) => pair.try_sign(message).map(|s| s.as_ref().to_vec()),
        };
        signed.map_err(|_| form("the key does not sign"))
    }
}

/// SHA-256 of `message` in the width of SHA-384.
///
/// ECDSA takes a hash as a number; leading zeros do not change it (FIPS 186-5, 6.4.1), so this signs
/// P-384 with SHA-256, for which `aws-lc-rs` has a verifier but no signer.
fn padded(message: &[u8]) -> Result<digest::Digest, aws_lc_rs::error::Unspecified> {
    let mut wide = vec![0; digest::SHA384_OUTPUT_LEN - digest::SHA256_OUTPUT_LEN];
    wide.extend_from_slice(digest::digest(&digest::SHA256, message).as_ref());
    digest::Digest::import_less_safe(&wide, &digest::SHA384)
}

impl Signer {
    /// The key in `pkcs8` with its public half, if it is of this kind.
    fn new(kind: Kind, pkcs8: &[u8]) -> Option<(Self, PublicKeyX509Der<'static>)> {
        let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).ok()?;
            let public = pair.public_key().as_der().ok()?;
            Some((Self::Ecdsa(pair), public))
        };
        match kind {
            Kind::P256 => ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            Kind::P384 => ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            Kind::P521 => ecdsa(&signature::ECDSA_P521_SHA256_ASN1_SIGNING),
            Kind::Rsa => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).ok()?;
                let public = pair.public_key().as_der().ok()?;
                Some((Self::Rsa(pair), public))
            }
            Kind::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
                let public = pair.public_key().as_der().ok()?;
                Some((Self::Ed25519(pair), public))
            }
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(*** of {:?})", self.public)
    }
}

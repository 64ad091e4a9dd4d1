//! Keys of the instance and of those who sign with it: P-256, as Sigstore's own are.

use aws_lc_rs::digest::{Digest as Prehash, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey as _};
use sha2::{Digest as _, Sha256};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, DecodePem as _, Encode as _};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// `id-ecPublicKey`, RFC 5480 section 2.1.1.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// A private key.
#[derive(Debug)]
pub(crate) struct Key {
    pair: KeyPair,
}

impl Key {
    /// A new one.
    pub(crate) fn generate() -> Self {
        let pair = KeyPair::generate().expect("a key");
        Self { pair }
    }

    /// What signs certificates.
    pub(super) const fn pair(&self) -> &KeyPair {
        &self.pair
    }

    /// ECDSA over SHA-256, in ASN.1; another one each time.
    pub(super) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(bytes).expect("a signature")
    }

    /// The public key in PEM.
    pub(crate) fn public_pem(&self) -> String {
        self.public().pem()
    }

    /// The public key.
    pub(super) fn public(&self) -> Public {
        Public::read(&self.pair.subject_public_key_info()).expect("it is one")
    }
}

/// A public key on P-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Public {
    /// Its `SubjectPublicKeyInfo`.
    pub(super) der: Vec<u8>,
    point: Vec<u8>,
}

impl Public {
    /// Reads a key, in DER or PEM, or that of a certificate in PEM; nothing for another curve.
    pub(super) fn read(key: &[u8]) -> Option<Self> {
        let info = SubjectPublicKeyInfoOwned::from_der(key);
        if let Ok(info) = info.or_else(|_| SubjectPublicKeyInfoOwned::from_pem(key)) {
            return Self::from_info(&info);
        }
        let certificate = x509_cert::Certificate::from_pem(key).ok()?;
        Self::from_info(&certificate.tbs_certificate.subject_public_key_info)
    }

    fn from_info(info: &SubjectPublicKeyInfoOwned) -> Option<Self> {
        let point = info.subject_public_key.as_bytes()?.to_vec();
        // An uncompressed point of this curve has 65 bytes, SEC 1 section 2.3.3.
        let is_ours = info.algorithm.oid == EC && point.len() == 65;
        let der = info.to_der().ok()?;
        is_ours.then_some(Self { der, point })
    }

    /// It in PEM.
    pub(super) fn pem(&self) -> String {
        pem("PUBLIC KEY", &self.der)
    }

    /// By what logs are known: SHA-256 of the key.
    pub(super) fn id(&self) -> [u8; 32] {
        sha256(&self.der)
    }

    /// Whether it made this signature of what has this digest.
    pub(super) fn has_signed(&self, digest: &[u8], signature: &[u8]) -> bool {
        let Ok(digest) = Prehash::import_less_safe(digest, &SHA256) else {
            return false;
        };
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point);
        key.verify_digest(&digest, signature).is_ok()
    }
}

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Bytes in lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// Bytes in base64.
pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// Bytes from base64, where it is some.
pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// A SHA-256 from hexadecimal, where it is one.
pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    bytes?.try_into().ok()
}

/// Bytes in PEM, RFC 7468.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = base64(der);
    let mut lines = vec![format!("-----BEGIN {label}-----")];
    let line = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    lines.extend(text.as_bytes().chunks(64).map(line));
    lines.push(format!("-----END {label}-----\n"));
    lines.join("\n")
}

//! Keys: cosign's encrypted key files, public keys in PEM, and what they sign and verify.
//!
//! | Key | Signs with | Verifies |
//! | --- | --- | --- |
//! | P-256 | SHA-256 | SHA-256 |
//! | P-384, P-521 | SHA-256 | SHA-256, else SHA-384, SHA-512: cosign 3 writes those and cosign 2 the first |
//! | RSA, 2048 to 8192 bits | PKCS#1 v1.5, SHA-256 | the same; nobody writes PSS |
//! | Ed25519 | pure | pure, else Ed25519ph, which cosign 3 writes |
//!
//! Signatures of ECDSA are in DER. What is signed with verifies by cosign 2 and 3 and by skopeo (each
//! pair was tried).

mod pem;
mod private;
mod public;
mod sealed;

pub use private::PrivateKey;
pub use public::PublicKey;
pub use sealed::SealedKey;

use std::fmt;

use secrecy::{ExposeSecret as _, SecretSlice};

use pem::Block;

/// What opens a private key. It may be empty. Never printed; erased when dropped.
#[derive(Clone)]
pub struct Passphrase(SecretSlice<u8>);

/// What is in a key file.
#[derive(Debug)]
pub enum KeyFile {
    /// A public key.
    Public(PublicKey),
    /// A private key that a passphrase opens.
    Sealed(SealedKey),
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The passphrase does not open it. (It cannot be told from a changed ciphertext: the one seal is
    /// over both.)
    #[error("the passphrase is wrong")]
    Passphrase,
    /// A private key that is not encrypted in cosign's way; its PEM label.
    #[error("it is a `{0}` without cosign's encryption")]
    NotEncrypted(&'static str),
    /// Anything else; says what.
    #[error("{0}")]
    Form(String),
}

impl KeyError {
    /// What a person could do about it.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotEncrypted(_) => Some(
                "`cosign import-key-pair --key FILE` encrypts a private key that is not, \
                 `consign generate-key` makes a new one",
            ),
            Self::Passphrase | Self::Form(_) => None,
        }
    }
}

impl Passphrase {
    /// From text, as it is: whoever reads it from a file cuts off the line end.
    pub fn new(text: String) -> Self {
        Self::from_bytes(text.into_bytes())
    }

    /// From bytes, which need not be text.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.expose().len()
    }

    fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(***)")
    }
}

/// For the passphrase that is asked for twice; how long it takes may tell where two differ.
impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Passphrase {}

impl KeyFile {
    /// Reads a key file: one PEM block, with LF or CRLF line ends. A private key stays sealed.
    ///
    /// # Errors
    ///
    /// When it is larger than [`KEY_FILE_BYTES_MAX`](crate::limits::signature::KEY_FILE_BYTES_MAX), no PEM, a private key that is not encrypted, a
    /// certificate, or a key of a kind or size that nobody should use.
    pub fn parse(pem: &[u8]) -> Result<Self, KeyError> {
        let block = Block::parse(pem)?;
        match block.label {
            pem::PUBLIC => PublicKey::from_der(&block.bytes).map(Self::Public),
            pem::SEALED | pem::SEALED_OLD => SealedKey::from_json(&block.bytes).map(Self::Sealed),
            other => Err(pem::refusal(other)),
        }
    }
}

impl PublicKey {
    /// Reads a public key: one PEM block of a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    ///
    /// When it is anything else; a private key is refused by name.
    pub fn parse(pem: &[u8]) -> Result<Self, KeyError> {
        match KeyFile::parse(pem)? {
            KeyFile::Public(key) => Ok(key),
            KeyFile::Sealed(_) => Err(KeyError::Form(
                "it is a private key where a public one is wanted".to_owned(),
            )),
        }
    }
}

//! Keys, payloads and signatures of Sigstore: bytes in, bytes out; no network, no files.
//!
//! | What | Where | Written as | Read from |
//! | --- | --- | --- | --- |
//! | key files | [`KeyFile`], [`SealedKey`], [`PublicKey`] | cosign 3's | cosign 1 to 3, skopeo |
//! | simple-signing payloads (tag format, referrer mode) | [`Payload`] | cosign's field order | cosign, skopeo; the rules of containers/image |
//! | bundles | [`Bundle`] | cosign 3's | v0.1 to v0.3 with a DSSE envelope and a key |
//!
//! Everything that is read is bounded before it is parsed, and nothing of a payload or statement is
//! handed out before the signature over exactly those bytes was verified. [`Signers`] says who may have
//! made one: keys, keys with a log's word, or certificates; all of it is judged offline.

mod bundle;
mod certificate;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod json;
mod key;
mod payload;
mod signers;

#[cfg(test)]
mod tests;

pub use bundle::{Bundle, COSIGN_SIGN_PREDICATE, IN_TOTO, Statement, StatementSubject};
pub use certificate::{
    BUILT_IN_ROOT_DATE, CERTIFICATE_ANNOTATION, CHAIN_ANNOTATION, Certificates, Certified,
    ENTRY_ANNOTATION, LoggedKeys, Material, Pieces, Pki, Relaxed, RootError, Subject,
    TIMESTAMP_ANNOTATION, TrustRoot, Whom, Words, WordsError,
};
pub use key::{KeyError, KeyFile, Passphrase, PrivateKey, PublicKey, SealedKey};
pub use payload::Payload;
pub use signers::{Maker, Signers};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits::signature::SIGNATURE_BYTES_MAX;

/// The media type of a simple-signing payload, as a layer (cosign's signature specification).
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of such a layer that has the signature over its blob, in base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// The config of a signature in cosign's OCI 1.1 mode, which some registries give as the artifact type.
pub const SIGNATURE_CONFIG: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// The annotation of a bundle's manifest that names the predicate of the statement in it; unverified.
pub const PREDICATE_ANNOTATION: &str = "dev.sigstore.bundle.predicateType";

/// Why a signature is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No key made it.
    #[error("cryptographic signature verification failed")]
    Signature,
    /// Not base64, JSON or shape; says what.
    #[error("{0}")]
    Form(String),
}

/// Decodes base64 as RFC 4648 section 4 has it, padding included; anything else is `None`.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// A signature as annotations have it: base64, and no longer than any that is made.
fn signature_of(text: &str) -> Result<Vec<u8>, Refusal> {
    // Four characters of base64 for three bytes.
    if text.len() > SIGNATURE_BYTES_MAX / 3 * 4 {
        let what = format!("the signature has more than {SIGNATURE_BYTES_MAX} bytes");
        return Err(Refusal::Form(what));
    }
    from_base64(text).ok_or_else(|| Refusal::Form("the signature is not base64".to_owned()))
}

fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The position of the first of `keys` that made `signature` over `message`.
fn maker(keys: &[PublicKey], message: &[u8], signature: &[u8]) -> Result<usize, Refusal> {
    keys.iter()
        .position(|key| key.verify(message, signature).is_ok())
        .ok_or(Refusal::Signature)
}

//! Bundles: a DSSE envelope with an in-toto statement, as cosign 3 stores signatures.
//!
//! The shape is that of `sigstore_bundle.proto` in its JSON form, v0.1 to v0.3; the envelope that of
//! DSSE v1 with exactly one signature, which bundles demand; the statement in-toto's, v0.1 or v1. Only
//! the payload and its type are signed: the rest is read as far as it decides how to verify.
//! Documents nest as deep as `serde_json` lets them, 128 levels.

mod statement;

pub use statement::{Statement, StatementSubject};

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::limits::signature::{BUNDLE_BYTES_MAX, SIGNATURE_BYTES_MAX};
use crate::text::cleaned;

use super::{KeyError, PrivateKey, PublicKey, Refusal};
use super::{from_base64, json, maker, to_base64};

/// Predicate of cosign's image signatures.
pub const COSIGN_SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The media type that is written.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// All that are read.
const MEDIA_TYPES: [&str; 4] = [
    MEDIA_TYPE,
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
];

/// The old spelling without its parameter, which a [`crate::oci::MediaType`] does not keep.
const UNVERSIONED: &str = "application/vnd.dev.sigstore.bundle+json";

/// The type of the one payload that is understood.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A parsed bundle; nothing in it is trusted before `verify`.
#[derive(Clone)]
pub struct Bundle {
    has_certificate: bool,
    content: Content,
    /// As it was read, for the verifier of certificates and logs.
    text: Vec<u8>,
}

#[derive(Clone)]
enum Content {
    Envelope {
        payload: Vec<u8>,
        payload_type: String,
        signature: Vec<u8>,
        claimed: Option<String>,
    },
    /// A signature over the artifact itself; cosign makes them of blobs.
    Message,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("has_certificate", &self.has_certificate)
            .field("claimed_predicate", &self.claimed_predicate())
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    media_type: String,
    #[serde(borrow)]
    verification_material: Material<'a>,
    #[serde(borrow)]
    dsse_envelope: Option<Envelope<'a>>,
    #[serde(borrow)]
    message_signature: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material<'a> {
    #[serde(borrow)]
    certificate: Option<&'a RawValue>,
    #[serde(borrow)]
    x509_certificate_chain: Option<&'a RawValue>,
    #[serde(borrow)]
    public_key: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    payload: String,
    payload_type: String,
    #[serde(borrow)]
    signatures: Vec<Signature<'a>>,
}

#[derive(Deserialize)]
struct Signature<'a> {
    sig: std::borrow::Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    media_type: &'static str,
    verification_material: WrittenMaterial,
    dsse_envelope: WrittenEnvelope,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMaterial {
    public_key: Hint,
}

#[derive(Serialize)]
struct Hint {
    hint: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEnvelope {
    payload: String,
    payload_type: &'static str,
    signatures: [WrittenSignature; 1],
}

#[derive(Serialize)]
struct WrittenSignature {
    sig: String,
}

impl Bundle {
    /// Whether a media type is a bundle's (v0.1 to v0.3, both spellings); that of a layer has lost its
    /// version, and [`Bundle::parse`] sees which it is.
    pub fn is_media_type(media_type: &str) -> bool {
        media_type == UNVERSIONED || MEDIA_TYPES.contains(&media_type)
    }

    /// Reads a bundle; it may turn out to be of a kind that [`Bundle::verify`] refuses by name.
    ///
    /// # Errors
    ///
    /// When it is larger than [`BUNDLE_BYTES_MAX`], no bundle, or has not exactly one signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let refused = |what: &str| Err(Refusal::Form(what.to_owned()));
        if u64::try_from(bytes.len()).is_ok_and(|length| length > BUNDLE_BYTES_MAX) {
            return refused("the bundle has more than 4 MiB");
        }
        let document: Document<'_> =
            serde_json::from_slice(bytes).map_err(|error| json::form(&error))?;
        if !MEDIA_TYPES.contains(&document.media_type.as_str()) {
            let media_type = cleaned(&document.media_type, 100);
            return refused(&format!("`{media_type}` is no bundle that is known"));
        }
        let material = &document.verification_material;
        let has_certificate =
            material.certificate.is_some() || material.x509_certificate_chain.is_some();
        if has_certificate == material.public_key.is_some() {
            return refused("the bundle has not exactly one of a public key and a certificate");
        }
        let content = match (document.dsse_envelope, document.message_signature) {
            (Some(envelope), None) => read(&envelope)?,
            (None, Some(_)) => Content::Message,
            (Some(_), Some(_)) | (None, None) => {
                return refused("the bundle has not exactly one of an envelope and a signature");
            }
        };
        Ok(Self {
            has_certificate,
            content,
            text: bytes.to_vec(),
        })
    }

    /// The predicate type as the envelope claims it, unverified: to tell signatures from attestations.
    pub fn claimed_predicate(&self) -> Option<&str> {
        match &self.content {
            Content::Envelope { claimed, .. } => claimed.as_deref(),
            Content::Message => None,
        }
    }

    /// Whether it is verified by a certificate instead of a key.
    pub const fn has_certificate(&self) -> bool {
        self.has_certificate
    }

    /// Checks the envelope's signature by one of `keys`, and gives what it says with the position of
    /// the key that made it. The predicate type and the subjects are for the caller to compare. No log
    /// is asked.
    ///
    /// # Errors
    ///
    /// [`Refusal::Signature`] when none of `keys` made it, else a form: it carries a certificate, is
    /// no envelope, or its payload is no in-toto statement.
    pub fn verify(&self, keys: &[PublicKey]) -> Result<(Statement, usize), Refusal> {
        if self.has_certificate {
            let what = "the bundle carries a certificate, and a key's signature is wanted";
            return Err(Refusal::Form(what.to_owned()));
        }
        let position = self.maker(keys)?;
        Ok((self.claimed()?, position))
    }

    /// The position of the first of `keys` that made the envelope's signature.
    pub(super) fn maker(&self, keys: &[PublicKey]) -> Result<usize, Refusal> {
        let (message, signature) = self.signed()?;
        maker(keys, &message, signature)
    }

    /// The bytes that are signed, and the signature over them.
    pub(super) fn signed(&self) -> Result<(Vec<u8>, &[u8]), Refusal> {
        let (payload, payload_type, signature) = self.envelope()?;
        Ok((encoded(payload_type, payload), signature))
    }

    /// What the statement says, whoever signed it.
    pub(super) fn claimed(&self) -> Result<Statement, Refusal> {
        let (payload, _, _) = self.envelope()?;
        Statement::parse(payload)
    }

    /// Its text, where it carries a certificate.
    pub(super) fn with_certificate(&self) -> Option<&[u8]> {
        self.has_certificate.then_some(&*self.text)
    }

    /// Its text, where it names a key.
    pub(super) fn with_key(&self) -> Option<&[u8]> {
        (!self.has_certificate).then_some(&*self.text)
    }

    fn envelope(&self) -> Result<(&[u8], &str, &[u8]), Refusal> {
        let Content::Envelope {
            payload,
            payload_type,
            signature,
            ..
        } = &self.content
        else {
            let what = "the bundle holds a message signature: it signs a file by itself, and says nothing of an image";
            return Err(Refusal::Form(what.to_owned()));
        };
        if payload_type != IN_TOTO {
            let payload_type = cleaned(payload_type, 100);
            return Err(Refusal::Form(format!(
                "the bundle's payload is `{payload_type}`, not `{IN_TOTO}`"
            )));
        }
        Ok((payload, payload_type, signature))
    }

    /// The statement of predicate [`COSIGN_SIGN_PREDICATE`] about `subject`, as it is signed.
    ///
    /// # Errors
    ///
    /// When the subject has no digest of SHA-256.
    pub fn statement(subject: &StatementSubject) -> Result<Vec<u8>, KeyError> {
        statement::write(subject)
    }

    /// Signs a statement of predicate [`COSIGN_SIGN_PREDICATE`]; gives the bundle's bytes, which are
    /// those of cosign 3 for a managed key without a log. Deterministic as far as the signature is.
    ///
    /// # Errors
    ///
    /// When the subject has no digest of SHA-256, or signing fails.
    pub fn sign(key: &PrivateKey, subject: &StatementSubject) -> Result<Vec<u8>, KeyError> {
        let form = |error: serde_json::Error| KeyError::Form(error.to_string());
        let payload = statement::write(subject)?;
        let signature = key.sign(&encoded(IN_TOTO, &payload))?;
        let written = Written {
            media_type: MEDIA_TYPE,
            verification_material: WrittenMaterial {
                public_key: Hint {
                    hint: key.public().id(),
                },
            },
            dsse_envelope: WrittenEnvelope {
                payload: to_base64(&payload),
                payload_type: IN_TOTO,
                signatures: [WrittenSignature {
                    sig: to_base64(&signature),
                }],
            },
        };
        serde_json::to_vec(&written).map_err(form)
    }
}

fn read(envelope: &Envelope<'_>) -> Result<Content, Refusal> {
    let refused = |what: &str| Refusal::Form(what.to_owned());
    let [signature] = envelope.signatures.as_slice() else {
        let count = envelope.signatures.len();
        return Err(refused(&format!(
            "the envelope has {count} signatures, not one"
        )));
    };
    let payload = from_base64(&envelope.payload)
        .ok_or_else(|| refused("the payload of the envelope is not base64"))?;
    let signature = from_base64(&signature.sig)
        .filter(|signature| signature.len() <= SIGNATURE_BYTES_MAX)
        .ok_or_else(|| refused("the signature of the envelope is not base64, or too long"))?;
    let claimed = (envelope.payload_type == IN_TOTO)
        .then(|| statement::claimed_predicate(&payload))
        .flatten();
    Ok(Content::Envelope {
        payload,
        payload_type: envelope.payload_type.clone(),
        signature,
        claimed,
    })
}

/// The bytes that are signed (DSSE v1, "pre-authentication encoding").
fn encoded(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        // The example of the DSSE specification, protocol.md.
        let encoded = encoded("http://example.com/HelloWorld", b"hello world");
        assert_eq!(
            encoded,
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}

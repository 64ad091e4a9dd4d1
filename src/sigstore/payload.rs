//! The simple-signing payload: what is signed in cosign's tag format.
//!
//! It is written as cosign writes it, and read by the rules of containers/image, which are the
//! strictest of those who read it (`image/signature/internal/sigstore_payload.go` of
//! containers/image 5.39, and every row tried with skopeo 1.22): exactly the known fields, each once.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::limits::signature::PAYLOAD_BYTES_MAX;
use crate::oci::Digest;
use crate::text::cleaned;

use super::json::{self, Members};
use super::{PublicKey, Refusal, maker, signature_of};

/// `critical.type` of every payload.
const TYPE: &str = "cosign container image signature";

/// A verified payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// `critical.identity.docker-reference`, as written; empty where `null` stands.
    pub reference: String,
    /// `critical.image.docker-manifest-digest`. It may be of SHA-512, and is then nobody's: whoever
    /// reads it compares it with the image's.
    pub digest: Digest,
    /// `optional`: string values as they are, others as JSON text.
    pub optional: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Written<'a> {
    critical: Critical<'a>,
    optional: Option<&'a BTreeMap<String, String>>,
}

#[derive(Serialize)]
struct Critical<'a> {
    identity: Identity<'a>,
    image: Image<'a>,
    r#type: &'a str,
}

#[derive(Serialize)]
struct Identity<'a> {
    #[serde(rename = "docker-reference")]
    reference: &'a str,
}

#[derive(Serialize)]
struct Image<'a> {
    #[serde(rename = "docker-manifest-digest")]
    digest: &'a Digest,
}

impl Payload {
    /// The bytes to be signed; deterministic, annotations in order of their keys. `optional` is `null`
    /// without annotations.
    ///
    /// An annotation `timestamp` makes a payload that containers/image and [`Payload::verify`] refuse,
    /// for it would be a string and they want an integer: whoever takes annotations refuses it.
    pub fn write(
        reference: &str,
        digest: &Digest,
        annotations: &BTreeMap<String, String>,
    ) -> Vec<u8> {
        let written = Written {
            critical: Critical {
                identity: Identity { reference },
                image: Image { digest },
                r#type: TYPE,
            },
            optional: (!annotations.is_empty()).then_some(annotations),
        };
        // Strings and maps of strings always serialise; should that ever change, nobody accepts nothing.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// base64, then signature by one of `keys`, then strict JSON; gives the position of the key that
    /// made it. The digest and the reference are for the caller to compare.
    ///
    /// # Errors
    ///
    /// [`Refusal::Signature`] when none of `keys` made it, else a form with the words of
    /// containers/image.
    pub fn verify(
        bytes: &[u8],
        signature_base64: &str,
        keys: &[PublicKey],
    ) -> Result<(Self, usize), Refusal> {
        Self::check_size(bytes)?;
        let signature = signature_of(signature_base64)?;
        let position = maker(keys, bytes, &signature)?;
        Ok((Self::read(bytes)?, position))
    }

    /// Refuses what is longer than any payload that is read.
    pub(super) fn check_size(bytes: &[u8]) -> Result<(), Refusal> {
        if u64::try_from(bytes.len()).is_ok_and(|length| length > PAYLOAD_BYTES_MAX) {
            let what = format!("the payload has more than {PAYLOAD_BYTES_MAX} bytes");
            return Err(Refusal::Form(what));
        }
        Ok(())
    }

    /// Reads a payload whose signature was verified, in the order of containers/image, so that the first
    /// reason is theirs too.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let [critical, optional] = Members::read(bytes)?.exactly(["critical", "optional"])?;
        let optional = read_optional(optional)?;
        let [kind, image, identity] = members(critical)?.exactly(["type", "image", "identity"])?;
        let kind = json::string(kind)?;
        if kind != TYPE {
            let what = format!("Unrecognized signature type {}", cleaned(&kind, 80));
            return Err(Refusal::Form(what));
        }
        let [digest] = members(image)?.exactly(["docker-manifest-digest"])?;
        let digest = json::string(digest)?
            .parse()
            .map_err(|error| Refusal::Form(format!("invalid docker-manifest-digest: {error}")))?;
        let [reference] = members(identity)?.exactly(["docker-reference"])?;
        Ok(Self {
            reference: json::string(reference)?,
            digest,
            optional,
        })
    }
}

fn members(value: &RawValue) -> Result<Members<'_>, Refusal> {
    Members::read(value.get().as_bytes())
}

/// `null`, or an object whose `creator` is a string and whose `timestamp` is an integer; either may
/// be `null`, which says nothing.
fn read_optional(value: &RawValue) -> Result<BTreeMap<String, String>, Refusal> {
    if value.get() == "null" {
        return Ok(BTreeMap::new());
    }
    let members = members(value)?;
    if let Some(creator) = members.get("creator") {
        json::string(creator)
            .map_err(|_| Refusal::Form("Field optional.creator is not a string".to_owned()))?;
    }
    if let Some(timestamp) = members.get("timestamp") {
        let wrong = || Refusal::Form("Field optional.timestamp is not an integer".to_owned());
        let number: Option<f64> = json::decode(timestamp).map_err(|_| wrong())?;
        // 2^63: beyond it no 64-bit integer is.
        if number.is_some_and(|number| number.fract() != 0.0 || number.abs() >= 2_f64.powi(63)) {
            return Err(wrong());
        }
    }
    Ok(members
        .iter()
        .map(|(key, value)| (key.to_owned(), json::shown(value)))
        .collect())
}

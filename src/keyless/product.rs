//! What is made of a signature, its certificate, its entry in the log and its timestamps, in cosign's shape.

use std::collections::BTreeMap;

use serde::Serialize;
use sigstore_types::bundle::{CertificateContent, TimestampVerificationData};
use sigstore_types::{
    Bundle, CanonicalizedBody, DsseEnvelope, LogIndex, MediaType, Rfc3161Timestamp, Sha256Hash,
    SignatureBytes, SignatureContent, SignedTimestamp, TimestampToken, TransparencyLogEntry,
    VerificationMaterial, VerificationMaterialContent,
};

use crate::sigstore::{
    CERTIFICATE_ANNOTATION, CHAIN_ANNOTATION, ENTRY_ANNOTATION, SIGNATURE_ANNOTATION,
    TIMESTAMP_ANNOTATION,
};

use super::certificate::Certified;
use super::error::Error;

/// An entry of the log as an annotation has it, its fields in cosign's order.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LogAnnotation<'a> {
    signed_entry_timestamp: &'a SignedTimestamp,
    payload: LogPayload<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogPayload<'a> {
    body: &'a CanonicalizedBody,
    integrated_time: i64,
    log_index: u64,
    /// In hex.
    #[serde(rename = "logID")]
    log_id: String,
}

/// A timestamp as an annotation has it.
#[derive(Serialize)]
struct TimestampAnnotation<'a> {
    #[serde(rename = "SignedRFC3161Timestamp")]
    token: &'a TimestampToken,
}

impl<'a> LogAnnotation<'a> {
    /// What of an entry goes into an annotation; nothing where it has no promise or no time.
    fn of(entry: &'a TransparencyLogEntry) -> Option<Self> {
        let promise = entry.inclusion_promise.as_ref()?;
        let id = Sha256Hash::try_from(entry.log_id.key_id.as_bytes()).ok()?;
        Some(Self {
            signed_entry_timestamp: &promise.signed_entry_timestamp,
            payload: LogPayload {
                body: &entry.canonicalized_body,
                integrated_time: entry.integrated_time?.as_second(),
                log_index: LogIndex::get(entry.log_index),
                log_id: id.to_hex(),
            },
        })
    }
}

/// What stands beside a payload.
pub(super) fn annotations(
    certified: &Certified,
    signature: &SignatureBytes,
    entry: &TransparencyLogEntry,
    stamp: Option<&Rfc3161Timestamp>,
) -> Result<BTreeMap<String, String>, Error> {
    let unwritten = |error: serde_json::Error| Error::Unproven(error.to_string());
    let log = LogAnnotation::of(entry).ok_or_else(|| {
        Error::Unproven("the log gave no promise (SET), or no time, with its entry".to_owned())
    })?;
    let log = serde_json::to_string(&log).map_err(unwritten)?;
    let mut annotations = BTreeMap::from([
        (SIGNATURE_ANNOTATION.to_owned(), signature.to_base64()),
        (
            CERTIFICATE_ANNOTATION.to_owned(),
            certified.leaf_pem.clone(),
        ),
        (ENTRY_ANNOTATION.to_owned(), log),
    ]);
    if !certified.chain_pem.is_empty() {
        annotations.insert(CHAIN_ANNOTATION.to_owned(), certified.chain_pem.clone());
    }
    if let Some(stamp) = stamp {
        let token = &stamp.signed_timestamp;
        let text = serde_json::to_string(&TimestampAnnotation { token }).map_err(unwritten)?;
        annotations.insert(TIMESTAMP_ANNOTATION.to_owned(), text);
    }
    Ok(annotations)
}

/// A bundle v0.3, in JSON.
pub(super) fn bundle(
    certified: &Certified,
    envelope: DsseEnvelope,
    entry: TransparencyLogEntry,
    stamps: Vec<Rfc3161Timestamp>,
) -> Result<Vec<u8>, Error> {
    let certificate = CertificateContent::new(certified.leaf.clone());
    let content = VerificationMaterialContent::Certificate(certificate);
    let material = VerificationMaterial::new(content)
        .with_tlog_entries(vec![entry])
        .with_timestamp_verification_data(TimestampVerificationData::new(stamps));
    let content = SignatureContent::DsseEnvelope(envelope);
    let bundle = Bundle::new(MediaType::Bundle0_3, material, content);
    let text = bundle.to_json();
    text.map(String::into_bytes)
        .map_err(|error| Error::Unproven(error.to_string()))
}

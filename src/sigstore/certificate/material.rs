//! What stands beside a signature: its certificate, the log's entry, timestamps; nothing of it is trusted.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sigstore_types::Bundle;
use sigstore_types::bundle::VerificationMaterialContent as Content;

use crate::limits::signature::{
    ANNOTATION_BYTES_MAX, CERTIFICATES_MAX, CHECKPOINT_SIGNATURES_MAX, PROOFS_MAX,
};
use crate::oci::Descriptor;
use crate::text::cleaned;

use super::super::{Refusal, from_base64, json as strict, to_base64};
use super::chain::certificates;
use super::claims::refused;
use super::shape;

/// The annotation of a signature's layer with the certificate of its key, PEM.
pub const CERTIFICATE_ANNOTATION: &str = "dev.sigstore.cosign/certificate";
/// The annotation with the certificates between that and the root, PEM.
pub const CHAIN_ANNOTATION: &str = "dev.sigstore.cosign/chain";
/// The annotation with what a Rekor log answered.
pub const ENTRY_ANNOTATION: &str = "dev.sigstore.cosign/bundle";
/// The annotation with what a timestamp authority answered.
pub const TIMESTAMP_ANNOTATION: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// How much of an error is shown, in characters.
const SHOWN_CHARS_MAX: usize = 300;

/// What a signature in the tag format or in cosign's referrer mode brings beside its payload.
#[derive(Debug, Clone, Copy, Default)]
pub struct Material<'a> {
    certificate: Option<&'a str>,
    chain: Option<&'a str>,
    entry: Option<&'a str>,
    timestamp: Option<&'a str>,
}

/// Who made a signature, as a bundle says it.
pub(super) enum By<'a> {
    Certificates(&'a [Vec<u8>]),
    Key,
}

/// Whether the digest of what is signed is named, so that the hash is SHA-256 whatever the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    OfTheKey,
}

/// What Rekor answered, as cosign keeps it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    signed_entry_timestamp: Option<String>,
    payload: EntryPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryPayload {
    body: String,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// What kind of entry a body is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    api_version: String,
    kind: String,
}

#[derive(Deserialize)]
struct Stamp {
    #[serde(rename = "SignedRFC3161Timestamp")]
    stamp: String,
}

impl<'a> Material<'a> {
    /// What the annotations of a layer bring.
    pub fn of(annotations: &'a BTreeMap<String, String>) -> Self {
        Self::by(|name| annotations.get(name).map(String::as_str))
    }

    /// The same of a layer as it was read.
    pub fn of_layer(layer: &'a Descriptor) -> Self {
        Self::by(|name| layer.annotations.get(name))
    }

    fn by(get: impl Fn(&str) -> Option<&'a str>) -> Self {
        // Written where there is none, by some.
        let some = |text: &&str| !text.is_empty() && *text != "null";
        Self {
            certificate: get(CERTIFICATE_ANNOTATION).filter(some),
            chain: get(CHAIN_ANNOTATION).filter(some),
            entry: get(ENTRY_ANNOTATION).filter(some),
            timestamp: get(TIMESTAMP_ANNOTATION).filter(some),
        }
    }

    /// Whether a certificate is there.
    pub const fn has_certificate(&self) -> bool {
        self.certificate.is_some()
    }

    /// Whether anything says when the signature was there.
    pub(super) const fn has_time(&self) -> bool {
        self.entry.is_some() || self.timestamp.is_some()
    }

    /// Whether a log's entry is there.
    pub(super) const fn has_entry(&self) -> bool {
        self.entry.is_some()
    }

    /// The same without what a clock says, beside a log's entry that says more: who names no clock cannot
    /// judge it, and podman does not look at it.
    pub(super) fn without_clock(self) -> Self {
        Self {
            timestamp: self.timestamp.filter(|_| self.entry.is_none()),
            ..self
        }
    }

    /// The certificate and those above it, DER; not empty.
    pub(in crate::sigstore) fn certificates(&self) -> Result<Vec<Vec<u8>>, Refusal> {
        let Some(certificate) = self.certificate else {
            return Err(refused("it carries no certificate"));
        };
        let read = |what: &str, text: &str| {
            within(what, text)?;
            certificates(text.as_bytes()).map_err(|why| refused(&format!("its {what}: {why}")))
        };
        let mut all = read("certificate", certificate)?;
        if all.len() != 1 {
            return Err(refused("its certificate is more than one"));
        }
        if let Some(chain) = self.chain {
            all.extend(read("chain of certificates", chain)?);
        }
        if all.len() > CERTIFICATES_MAX {
            return Err(refused(&format!(
                "its chain has more than {CERTIFICATES_MAX} certificates"
            )));
        }
        Ok(all)
    }

    /// The same as a bundle: what the verifier reads.
    pub(super) fn bundle(
        &self,
        by: &By<'_>,
        (payload, signature): (&[u8], &[u8]),
        hash: Hash,
    ) -> Result<Bundle, Refusal> {
        let (who, what) = match by {
            By::Certificates(all) => {
                let all: Vec<Value> = all
                    .iter()
                    .map(|der| json!({ "rawBytes": to_base64(der) }))
                    .collect();
                ("x509CertificateChain", json!({ "certificates": all }))
            }
            By::Key => ("publicKey", json!({ "hint": "" })),
        };
        let entries: Vec<Value> = self.entry.map(entry).transpose()?.into_iter().collect();
        let material = json!({
            who: what,
            "tlogEntries": entries,
            "timestampVerificationData": self.timestamp.map(stamps).transpose()?,
        });
        let digest = (hash == Hash::Sha256).then(|| {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, payload);
            json!({ "algorithm": "SHA2_256", "digest": to_base64(digest.as_ref()) })
        });
        let signed = json!({ "signature": to_base64(signature), "messageDigest": digest });
        // With the promise of a log it is what version 0.1 of bundles was; without, only 0.2 may be.
        let version = if self.entry.is_some() { "0.1" } else { "0.2" };
        let document = json!({
            "mediaType": format!("application/vnd.dev.sigstore.bundle+json;version={version}"),
            "verificationMaterial": material,
            "messageSignature": signed,
        });
        let bundle: Bundle = serde_json::from_value(document)
            .map_err(|why| broken("log entry or timestamp", &why))?;
        bounded(&bundle)?;
        Ok(bundle)
    }
}

fn entry(text: &str) -> Result<Value, Refusal> {
    within("log entry", text)?;
    let unread = |why: &dyn std::fmt::Display| broken("log entry", why);
    let entry: Entry = serde_json::from_str(text).map_err(|why| unread(&why))?;
    let Some(promise) = entry.signed_entry_timestamp else {
        return Err(unread(
            &"the log's promise (`SignedEntryTimestamp`) is missing",
        ));
    };
    let payload = entry.payload;
    let body = from_base64(&payload.body).ok_or_else(|| unread(&"its body is not base64"))?;
    let kind: Kind = serde_json::from_slice(&body).map_err(|why| unread(&why))?;
    let log = hex(&payload.log_id).ok_or_else(|| unread(&"its log's id is not hexadecimal"))?;
    Ok(json!({
        "logIndex": payload.log_index.to_string(),
        "logId": { "keyId": to_base64(&log) },
        "kindVersion": { "kind": kind.kind, "version": kind.api_version },
        "integratedTime": payload.integrated_time.to_string(),
        "inclusionPromise": { "signedEntryTimestamp": promise },
        "canonicalizedBody": payload.body,
    }))
}

fn stamps(text: &str) -> Result<Value, Refusal> {
    within("timestamp", text)?;
    let stamp: Stamp = serde_json::from_str(text).map_err(|why| broken("timestamp", &why))?;
    Ok(json!({ "rfc3161Timestamps": [{ "signedTimestamp": stamp.stamp }] }))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let pairs = bytes.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.len() == 2)?;
        let is_hex = pair.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u8::from_str_radix(pair, 16).ok())?
    });
    pairs.collect()
}

fn within(what: &str, text: &str) -> Result<(), Refusal> {
    if text.len() > ANNOTATION_BYTES_MAX {
        let what = format!("its {what} has more than {ANNOTATION_BYTES_MAX} bytes");
        return Err(refused(&what));
    }
    Ok(())
}

pub(super) fn broken(what: &str, why: &dyn std::fmt::Display) -> Refusal {
    let text = format!("its {what} cannot be read: {why}");
    refused(&cleaned(&text, SHOWN_CHARS_MAX))
}

/// How much a bundle brings.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted<'a> {
    #[serde(borrow)]
    verification_material: CountedMaterial<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountedMaterial<'a> {
    #[serde(borrow, default)]
    tlog_entries: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    timestamp_verification_data: Option<CountedStamps<'a>>,
    #[serde(borrow, default)]
    x509_certificate_chain: Option<CountedChain<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountedStamps<'a> {
    #[serde(borrow, default)]
    rfc3161_timestamps: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct CountedChain<'a> {
    #[serde(borrow)]
    certificates: Vec<&'a RawValue>,
}

/// Refuses a bundle that brings more than is looked at; counts, and verifies nothing.
pub(super) fn fits(bundle: &[u8]) -> Result<(), Refusal> {
    let counted: Counted<'_> = serde_json::from_slice(bundle).map_err(|why| strict::form(&why))?;
    let material = counted.verification_material;
    let count = |list: Option<Vec<&RawValue>>| list.map_or(0, |list| list.len());
    let stamps = material.timestamp_verification_data;
    let found = [
        ("log entries", count(material.tlog_entries), PROOFS_MAX),
        (
            "timestamps",
            count(stamps.and_then(|stamps| stamps.rfc3161_timestamps)),
            PROOFS_MAX,
        ),
        (
            "certificates",
            count(
                material
                    .x509_certificate_chain
                    .map(|chain| chain.certificates),
            ),
            CERTIFICATES_MAX,
        ),
    ];
    match found.into_iter().find(|(_, count, most)| count > most) {
        Some((what, count, most)) => Err(refused(&format!(
            "it brings {count} {what}, and more than {most} are not read"
        ))),
        None => Ok(()),
    }
}

/// Refuses a bundle whose checkpoints bring more signatures than are looked at, or whose certificates or timestamps are
/// larger than any; counts, and verifies nothing.
pub(super) fn bounded(bundle: &Bundle) -> Result<(), Refusal> {
    let material = &bundle.verification_material;
    match &material.content {
        Content::Certificate(one) => shape::check("certificate", one.raw_bytes.as_bytes())?,
        Content::X509CertificateChain { certificates } => {
            for one in certificates {
                shape::check("certificate", one.raw_bytes.as_bytes())?;
            }
        }
        Content::PublicKey(_) | _ => {}
    }
    for stamp in &material.timestamp_verification_data.rfc3161_timestamps {
        shape::check("timestamp", stamp.signed_timestamp.as_bytes())?;
    }
    let entries = material.tlog_entries.iter();
    let proofs = entries.filter_map(|entry| entry.inclusion_proof.as_ref());
    let checkpoints = proofs.filter_map(|proof| proof.checkpoint.checkpoint());
    let mut counts = checkpoints.map(|checkpoint| checkpoint.signatures().len());
    match counts.find(|count| *count > CHECKPOINT_SIGNATURES_MAX) {
        Some(count) => Err(refused(&format!(
            "its checkpoint has {count} signatures, and more than {CHECKPOINT_SIGNATURES_MAX} are not read"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_strictly() {
        assert_eq!(hex("00fF"), Some(vec![0, 255]));
        assert_eq!(hex(""), Some(Vec::new()));
        for wrong in ["0", "0g", "+1", " 1", "é"] {
            assert_eq!(hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_brings_too_much_is_refused_before_it_is_verified() {
        let bundle = |stamps: usize, entries: usize| {
            json!({
                "verificationMaterial": {
                    "tlogEntries": vec![json!({}); entries],
                    "timestampVerificationData": { "rfc3161Timestamps": vec![json!({}); stamps] },
                },
            })
            .to_string()
        };
        assert!(fits(bundle(32, 32).as_bytes()).is_ok());
        let said = fits(bundle(1000, 1).as_bytes()).unwrap_err().to_string();
        assert_eq!(
            said,
            "it brings 1000 timestamps, and more than 32 are not read"
        );
        let said = fits(bundle(1, 33).as_bytes()).unwrap_err().to_string();
        assert!(said.contains("33 log entries"), "{said}");
    }
}

//! The transparency log: entries of both APIs of Rekor.
//!
//! By the first API an entry is `hashedrekord` 0.0.1 for a signed payload and `dsse` 0.0.1 for an envelope, and
//! comes back with a promise that is signed (SET) and a time. By the second, of logs of tiles, it is
//! `hashedrekord` 0.0.2 for both, and comes back with a proof and no time. What comes back is not believed
//! here: it is verified with the signature that it is for.

use std::collections::HashMap;

use serde_json::{Value, json};
use sigstore_crypto::sha256;
use sigstore_rekor::LogEntry;
use sigstore_types::{
    DerCertificate, DsseEnvelope, KindVersion, SignatureBytes, TransparencyLogEntry,
};
use url::Url;

use crate::limits::answer::SERVICE_ANSWER_BYTES_MAX;
use crate::limits::signature::LOG_ENTRY_NAME_BYTES_MAX;
use crate::registry::{Body, Question, Reply, Services};
use crate::text::cleaned;

use super::certificate::Certified;
use super::error::{Error, Service};
use super::places::below;
use super::{JSON, to_base64};

/// How much of what a log wrote is shown, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// What is to be logged.
#[derive(Debug, Clone, Copy)]
pub(super) enum Logged<'a> {
    /// A signature over bytes.
    Bytes(&'a [u8], &'a SignatureBytes),
    /// An envelope with its signature.
    Envelope(&'a DsseEnvelope),
}

impl Logged<'_> {
    const fn kind(self) -> KindVersion {
        match self {
            Self::Bytes(..) => KindVersion::HashedRekordV001,
            Self::Envelope(_) => KindVersion::DsseV001,
        }
    }

    /// The request of the first API (`rekor/pkg/types`, the schemas of `hashedrekord` and `dsse` 0.0.1).
    fn request(self, pem: &str) -> Result<Value, serde_json::Error> {
        let certificate = to_base64(pem.as_bytes());
        let spec = match self {
            Self::Bytes(bytes, signature) => json!({
                "data": { "hash": { "algorithm": "sha256", "value": sha256(bytes).to_hex() } },
                "signature": {
                    "content": signature.to_base64(),
                    "publicKey": { "content": certificate },
                },
            }),
            Self::Envelope(envelope) => json!({
                "proposedContent": {
                    "envelope": serde_json::to_string(envelope)?,
                    "verifiers": [certificate],
                },
            }),
        };
        let kind = self.kind();
        Ok(json!({ "apiVersion": kind.version(), "kind": kind.kind(), "spec": spec }))
    }

    /// The request of the second API (`rekor-tiles`, `hashedrekord.proto`).
    fn request_of_tiles(self, leaf: &DerCertificate) -> Value {
        let (digest, signature) = match self {
            Self::Bytes(bytes, signature) => (sha256(bytes), signature),
            Self::Envelope(envelope) => (sha256(&envelope.pae()), &envelope.signature.sig),
        };
        json!({ "hashedRekordRequestV002": {
            "digest": digest.to_base64(),
            "signature": {
                "content": signature.to_base64(),
                "verifier": {
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "x509Certificate": { "rawBytes": leaf.to_base64() },
                },
            },
        }})
    }
}

/// Logs by the first API of the log at `rekor`.
///
/// # Errors
///
/// When the log does not take it, or answers with what is no entry.
pub(super) async fn entry(
    services: &Services,
    rekor: &Url,
    logged: Logged<'_>,
    certified: &Certified,
) -> Result<TransparencyLogEntry, Error> {
    let url = below(rekor, "/api/v1/log/entries");
    let request = logged.request(&certified.leaf_pem);
    let request = request.map_err(|error| unusable(&url, &error.to_string()))?;
    let reply = post(services, &url, &request).await?;
    let body = if reply.status.is_success() {
        reply.body
    } else {
        // It has exactly this signature already: an attempt before got lost on its way back.
        let place = place_of(&reply, &url)?;
        let question = Question {
            url: &place,
            accept: JSON,
            body: None,
            secrets: &[],
            answer_bytes_max: SERVICE_ANSWER_BYTES_MAX,
            takes_conflict: false,
        };
        let there = services.ask(&question).await;
        there
            .map_err(|error| Error::asked(Service::Rekor, error))?
            .body
    };
    read(&body, logged.kind()).map_err(|why| unusable(&url, &why))
}

/// Logs by the second API of the log at `tiles`.
///
/// # Errors
///
/// As [`entry`].
pub(super) async fn entry_of_tiles(
    services: &Services,
    tiles: &Url,
    logged: Logged<'_>,
    certified: &Certified,
) -> Result<TransparencyLogEntry, Error> {
    let url = below(tiles, "/api/v2/log/entries");
    let reply = post(services, &url, &logged.request_of_tiles(&certified.leaf)).await?;
    if !reply.status.is_success() {
        return Err(unusable(
            &url,
            "it has the entry already, and gives it to nobody",
        ));
    }
    let entry: TransparencyLogEntry =
        serde_json::from_slice(&reply.body).map_err(|error| unusable(&url, &error.to_string()))?;
    if entry.kind_version != KindVersion::HashedRekordV002 {
        return Err(unusable(&url, "it is no hashedrekord 0.0.2"));
    }
    Ok(entry)
}

async fn post(services: &Services, url: &Url, request: &Value) -> Result<Reply, Error> {
    let question = Question {
        url,
        accept: JSON,
        body: Some(Body {
            media_type: JSON,
            bytes: request.to_string().into(),
        }),
        secrets: &[],
        answer_bytes_max: SERVICE_ANSWER_BYTES_MAX,
        takes_conflict: true,
    };
    let reply = services.ask(&question).await;
    reply.map_err(|error| Error::asked(Service::Rekor, error))
}

/// Where an entry stands that the log has already.
fn place_of(reply: &Reply, url: &Url) -> Result<Url, Error> {
    let name = reply
        .location
        .as_ref()
        .and_then(Url::path_segments)
        .and_then(|mut parts| parts.next_back());
    let is_name = |name: &&str| {
        !name.is_empty()
            && name.len() <= LOG_ENTRY_NAME_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match name.filter(is_name) {
        Some(name) => Ok(below(url, &format!("/{name}"))),
        None => Err(unusable(
            url,
            "it has the entry already, and does not say where",
        )),
    }
}

/// The one entry of an answer.
pub(super) fn read(body: &[u8], kind: KindVersion) -> Result<TransparencyLogEntry, String> {
    let entries: HashMap<String, LogEntry> =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut entries = entries.into_values();
    let (Some(entry), None) = (entries.next(), entries.next()) else {
        return Err("it has not one entry".to_owned());
    };
    entry
        .to_bundle_entry(kind)
        .map_err(|error| error.to_string())
}

fn unusable(url: &Url, why: &str) -> Error {
    Error::Answer {
        service: Service::Rekor,
        url: url.to_string(),
        why: cleaned(why, SHOWN_CHARS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use sigstore_rekor::{DsseEntry, HashedRekord, HashedRekordV2, RekorV2KeyDetails};
    use sigstore_types::{DsseSignature, KeyId, PayloadBytes};

    use super::*;

    #[test]
    fn requests_are_those_of_the_sigstore_project() {
        let made = rcgen::generate_simple_self_signed(["x.example".to_owned()]).unwrap();
        let leaf = DerCertificate::from_bytes(made.cert.der());
        let signature = SignatureBytes::from_bytes(b"signature");
        let bytes = Logged::Bytes(b"payload", &signature);
        let digest = sha256(b"payload");
        // Its lines end as they do elsewhere.
        let pem = leaf.to_pem();
        let theirs = serde_json::to_value(HashedRekord::new(&digest, &signature, &leaf)).unwrap();
        assert_eq!(bytes.request(&pem).unwrap(), theirs);
        let tiles = |digest, signature| {
            let details = RekorV2KeyDetails::PkixEcdsaP256Sha256;
            let request = HashedRekordV2::new_with_certificate(digest, signature, &leaf, details);
            serde_json::to_value(request).unwrap()
        };
        assert_eq!(bytes.request_of_tiles(&leaf), tiles(&digest, &signature));
        let payload = PayloadBytes::from_bytes(b"{}");
        let signed = DsseSignature::new(signature.clone(), KeyId::default());
        let envelope = DsseEnvelope::new("application/vnd.in-toto+json", payload, signed);
        let logged = Logged::Envelope(&envelope);
        let theirs = serde_json::to_value(DsseEntry::new(&envelope, &leaf).unwrap()).unwrap();
        assert_eq!(logged.request(&pem).unwrap(), theirs);
        let digest = sha256(&envelope.pae());
        assert_eq!(logged.request_of_tiles(&leaf), tiles(&digest, &signature));
    }

    #[test]
    fn an_answer_has_one_entry() {
        let entry = r#"{"body":"e30=","integratedTime":1700000000,"logIndex":3,
            "logID":"c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d",
            "verification":{"signedEntryTimestamp":"AA=="}}"#;
        let read = |text: &str| read(text.as_bytes(), KindVersion::HashedRekordV001);
        let good = read(&format!(r#"{{"a":{entry}}}"#)).unwrap();
        assert_eq!(good.log_index.get(), 3);
        assert!(good.inclusion_promise.is_some() && good.inclusion_proof.is_none());
        for bad in [
            "{}".to_owned(),
            "[]".to_owned(),
            "<html>".to_owned(),
            format!(r#"{{"a":{entry},"b":{entry}}}"#),
            format!(r#"{{"a":{entry}}}"#).replace("\"logIndex\":3", "\"logIndex\":-1"),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}

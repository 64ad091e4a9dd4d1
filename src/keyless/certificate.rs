//! Certificates: one key each, asked for with a token, checked at once.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sigstore_crypto::{KeyPair, parse_certificate_info};
use sigstore_types::DerCertificate;
use tokio::time::Instant;
use url::Url;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::pem::{LineEnding, encode_string};

use crate::limits::answer::SERVICE_ANSWER_BYTES_MAX;
use crate::limits::signature::{ISSUED_CERTIFICATE_BYTES_MAX, ISSUED_CHAIN_MAX};
use crate::registry::{Body, Question, Services};
use crate::text::cleaned;

use super::JSON;
use super::error::{Error, Service};
use super::places::below;
use super::token::IdentityToken;

/// A certificate is not used any more when it has less than this left, or a fifth of its life where that is
/// shorter: the log has to have the signature while it lasts (a log answers within seconds).
const MARGIN_MAX: Duration = Duration::from_mins(1);
/// How far this machine's clock may be behind that of an authority whose certificates begin just now.
const SKEW_MAX: Duration = Duration::from_mins(1);
/// The list of promises of certificate transparency logs in a certificate (RFC 6962, section 3.3).
const SCT_LIST: &str = "1.3.6.1.4.1.11129.2.4.2";
/// How much of what an authority wrote is shown, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// In whose name signatures are made: what stands in the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatory {
    /// The address or URI (subject alternative name).
    pub identity: String,
    /// The issuer of the token.
    pub issuer: String,
}

/// A key with its certificate.
#[derive(Debug)]
pub(super) struct Certified {
    pub(super) key: KeyPair,
    pub(super) leaf: DerCertificate,
    /// The same in PEM.
    pub(super) leaf_pem: String,
    /// Those above it, in PEM, one after the other.
    pub(super) chain_pem: String,
    pub(super) signatory: Signatory,
    /// When it ends, by its own words.
    pub(super) ends: Timestamp,
    /// Until when it is used, by a clock that is not set.
    fresh_until: Instant,
}

impl Certified {
    /// Whether there is time left for a signature and its entry in the log.
    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    credentials: Credentials<'a>,
    public_key_request: KeyRequest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Credentials<'a> {
    oidc_identity_token: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyRequest {
    public_key: Key,
    proof_of_possession: String,
}

#[derive(Serialize)]
struct Key {
    algorithm: &'static str,
    content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    signed_certificate_embedded_sct: Option<Issued>,
    signed_certificate_detached_sct: Option<Issued>,
}

#[derive(Deserialize)]
struct Issued {
    chain: Chain,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<String>,
}

/// Asks the authority at `fulcio` for a certificate for a new key, by its API v2 (`fulcio.proto`,
/// `CreateSigningCertificate`). The token goes there and nowhere else.
///
/// # Errors
///
/// When it gives none; or one that is not for the key, not of now, without the promise of a log, or names
/// nobody.
pub(super) async fn certified(
    services: &Services,
    fulcio: &Url,
    token: &IdentityToken,
) -> Result<Certified, Error> {
    let url = below(fulcio, "/api/v2/signingCert");
    let key = KeyPair::generate_ecdsa_p256().map_err(|error| Error::Key(error.to_string()))?;
    let question = Question {
        url: &url,
        accept: JSON,
        body: Some(request(&key, token)?),
        secrets: token.secrets(),
        answer_bytes_max: SERVICE_ANSWER_BYTES_MAX,
        takes_conflict: false,
    };
    let reply = services.ask(&question).await;
    let reply = reply.map_err(|error| Error::asked(Service::Fulcio, error))?;
    read(&reply.body, key, Timestamp::now()).map_err(|why| Error::Answer {
        service: Service::Fulcio,
        url: url.to_string(),
        // Whatever the authority wrote may have the token in it.
        why: cleaned(&without(token, why), SHOWN_CHARS_MAX),
    })
}

/// `text` without what is secret of `token`.
fn without(token: &IdentityToken, text: String) -> String {
    let secrets = token.secrets().iter().map(ExposeSecret::expose_secret);
    secrets.fold(text, |text, secret| text.replace(secret, "***"))
}

fn request(key: &KeyPair, token: &IdentityToken) -> Result<Body, Error> {
    let failed = |error: sigstore_crypto::Error| Error::Key(error.to_string());
    let request = Request {
        credentials: Credentials {
            oidc_identity_token: token.secret().expose_secret(),
        },
        public_key_request: KeyRequest {
            public_key: Key {
                algorithm: "ECDSA",
                content: pem(
                    "PUBLIC KEY",
                    key.public_key_der().map_err(failed)?.as_bytes(),
                )
                .map_err(Error::Key)?,
            },
            proof_of_possession: key
                .sign(token.subject().as_bytes())
                .map_err(failed)?
                .to_base64(),
        },
    };
    let bytes = serde_json::to_vec(&request).map_err(|error| Error::Key(error.to_string()))?;
    Ok(Body {
        media_type: JSON,
        bytes: bytes.into(),
    })
}

/// The certificate in an answer, if it is one for `key` at `now`.
pub(super) fn read(body: &[u8], key: KeyPair, now: Timestamp) -> Result<Certified, String> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| "it is no answer that is known".to_owned())?;
    let given = match (
        answer.signed_certificate_embedded_sct,
        answer.signed_certificate_detached_sct,
    ) {
        (Some(given), None) => given,
        (None, Some(_)) => {
            return Err(
                "its promise of a certificate log is beside the certificate (detached SCT), where no signature \
                 can carry it"
                    .to_owned(),
            );
        }
        (Some(_), Some(_)) | (None, None) => return Err("it has not one certificate".to_owned()),
    };
    let certificates = given.chain.certificates;
    if certificates.len() > ISSUED_CHAIN_MAX {
        return Err(format!(
            "its chain has more than {ISSUED_CHAIN_MAX} certificates"
        ));
    }
    let mut chain = Vec::with_capacity(certificates.len());
    for pem in &certificates {
        chain.push(DerCertificate::from_pem(pem).map_err(|error| error.to_string())?);
    }
    let mut chain = chain.into_iter();
    let leaf = chain.next().ok_or("its chain is empty")?;
    if leaf.as_bytes().len() > ISSUED_CERTIFICATE_BYTES_MAX {
        return Err(format!(
            "its certificate has more than {ISSUED_CERTIFICATE_BYTES_MAX} bytes"
        ));
    }
    let info = parse_certificate_info(&leaf).map_err(|error| error.to_string())?;
    let own = key.public_key_der().map_err(|error| error.to_string())?;
    if info.public_key != own {
        return Err("the certificate is for another key".to_owned());
    }
    if !has_sct(&leaf)? {
        return Err("the certificate has no promise of a certificate log (SCT)".to_owned());
    }
    let (Some(identity), Some(issuer)) = (info.identity, info.issuer) else {
        return Err("the certificate names no identity, or no issuer".to_owned());
    };
    let signatory = Signatory {
        identity: identity.as_str().to_owned(),
        issuer,
    };
    let fresh_until = fresh_until(info.not_before, info.not_after, now)?;
    let above = chain.map(|der| pem("CERTIFICATE", der.as_bytes()));
    Ok(Certified {
        key,
        leaf_pem: pem("CERTIFICATE", leaf.as_bytes())?,
        leaf,
        chain_pem: above.collect::<Result<String, String>>()?,
        signatory,
        ends: info.not_after,
        fresh_until,
    })
}

/// PEM as cosign writes it: lines of 64 characters, each with a line feed alone.
fn pem(label: &str, der: &[u8]) -> Result<String, String> {
    encode_string(label, LineEnding::LF, der).map_err(|error| error.to_string())
}

fn has_sct(leaf: &DerCertificate) -> Result<bool, String> {
    let parsed = Certificate::from_der(leaf.as_bytes()).map_err(|error| error.to_string())?;
    let extensions = parsed.tbs_certificate.extensions.unwrap_or_default();
    Ok(extensions
        .iter()
        .any(|extension| extension.extn_id.to_string() == SCT_LIST))
}

/// Until when a certificate for `from` to `until` is used that came at `now`.
fn fresh_until(from: Timestamp, until: Timestamp, now: Timestamp) -> Result<Instant, String> {
    let times = format!("it is for {from} to {until}, and here it is {now}");
    let ahead = Duration::try_from(from.duration_since(now)).unwrap_or_default();
    if ahead > SKEW_MAX {
        return Err(format!("the certificate has not begun: {times}"));
    }
    let life = Duration::try_from(until.duration_since(from)).unwrap_or_default();
    // By a clock that is behind it lasts its whole life from now on, and no longer.
    let left = Duration::try_from(until.duration_since(now))
        .unwrap_or_default()
        .min(life);
    if left.is_zero() {
        return Err(format!("the certificate has ended: {times}"));
    }
    let usable = left.saturating_sub(MARGIN_MAX.min(life / 5));
    Instant::now()
        .checked_add(usable)
        .ok_or_else(|| format!("the certificate does not end: {times}"))
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;

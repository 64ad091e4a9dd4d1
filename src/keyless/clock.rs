//! Timestamps (RFC 3161): a clock's word that a signature was there.

use sigstore_crypto::sha256;
use sigstore_types::{SignatureBytes, TimestampToken};
use url::Url;

use crate::limits::answer::TIMESTAMP_ANSWER_BYTES_MAX;
use crate::registry::{Body, Question, Services};

use super::error::{Error, Service};

/// A request up to the digest, in DER (RFC 3161, section 2.4.1): version 1, and SHA-256 without parameters.
const HEAD: [u8; 22] = [
    0x30, 0x37, // the request
    0x02, 0x01, 0x01, // version
    0x30, 0x2f, // message imprint
    0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, // SHA-256
    0x04, 0x20, // the digest
];
/// The end of a request: the certificate of the authority is wanted with the answer. There is no nonce: what is
/// stamped is a signature that was just made, so an older answer is for another one.
const TAIL: [u8; 3] = [0x01, 0x01, 0xff];

fn request(signature: &SignatureBytes) -> Vec<u8> {
    let digest = sha256(signature.as_bytes());
    let mut bytes = HEAD.to_vec();
    bytes.extend_from_slice(digest.as_slice());
    bytes.extend_from_slice(&TAIL);
    bytes
}

/// Asks the authority at `url` to stamp a signature. What it answers is verified with the signature.
///
/// # Errors
///
/// When it does not answer, or with something else.
pub(super) async fn stamp(
    services: &Services,
    url: &Url,
    signature: &SignatureBytes,
) -> Result<TimestampToken, Error> {
    let question = Question {
        url,
        accept: "application/timestamp-reply",
        body: Some(Body {
            media_type: "application/timestamp-query",
            bytes: request(signature).into(),
        }),
        secrets: &[],
        answer_bytes_max: TIMESTAMP_ANSWER_BYTES_MAX,
        takes_conflict: false,
    };
    let reply = services.ask(&question).await;
    let reply = reply.map_err(|error| Error::asked(Service::Clock, error))?;
    if !is_granted(&reply.body) {
        return Err(Error::Answer {
            service: Service::Clock,
            url: url.to_string(),
            why: "it is no timestamp that was granted".to_owned(),
        });
    }
    Ok(TimestampToken::from_bytes(&reply.body))
}

/// Whether an answer begins as one that grants a timestamp: a sequence, in it the status, a sequence that begins
/// with the number 0 or 1 (RFC 3161, section 2.4.2).
fn is_granted(answer: &[u8]) -> bool {
    let Some(outer) = contents(answer) else {
        return false;
    };
    contents(outer).is_some_and(|status| matches!(status, [0x02, 0x01, 0 | 1, ..]))
}

/// What is behind the tag and length of a sequence.
fn contents(der: &[u8]) -> Option<&[u8]> {
    match der {
        [0x30, length, rest @ ..] if *length < 0x80 => Some(rest),
        [0x30, 0x81, _, rest @ ..] | [0x30, 0x82, _, _, rest @ ..] => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_well_formed() {
        let bytes = request(&SignatureBytes::from_bytes(b"signature"));
        assert_eq!(usize::from(bytes[1]) + 2, bytes.len());
        assert_eq!(usize::from(bytes[6]) + 7, bytes.len() - TAIL.len());
    }

    #[test]
    fn only_what_is_granted_is_a_timestamp() {
        assert!(is_granted(&[0x30, 5, 0x30, 3, 2, 1, 0]));
        assert!(is_granted(&[0x30, 0x82, 1, 0, 0x30, 3, 2, 1, 1, 0x30]));
        for bad in [
            &b"<html>"[..],
            b"",
            &[0x30],
            &[0x30, 0x82],
            &[0x30, 5, 0x30, 3, 2, 1, 2],
        ] {
            assert!(!is_granted(bad), "{bad:?}");
        }
    }
}

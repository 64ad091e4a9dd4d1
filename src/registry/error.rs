//! What a registry, or the road to it, can say.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::oci;

use super::call::RETRY_AFTER_MAX;
pub use super::network::{Distrust, NetworkError};

/// How much of a registry's own words is kept, in characters.
const WORDS_CHARS_MAX: usize = 300;
/// The shortest secret that is looked for in what a registry says, in bytes: shorter ones are part of any word.
const SECRET_BYTES_MIN: usize = 4;

/// A request that did not get the answer it needed.
///
/// The URL is shown without its query, which may carry a signature or a token.
#[derive(Debug)]
pub struct Error {
    /// The method of the request.
    pub method: Method,
    /// The URL without user, query and fragment.
    pub url: String,
    /// How often it was tried.
    pub attempts: u32,
    /// What came of it.
    pub kind: ErrorKind,
    /// How long the registry asked to wait.
    pub wait: Option<Duration>,
}

impl Error {
    /// When to try again, where the registry says that it takes longer than is waited for.
    pub fn again(&self) -> Option<SystemTime> {
        let wait = self.wait.filter(|wait| *wait > RETRY_AFTER_MAX)?;
        SystemTime::now().checked_add(wait)
    }

    /// Whether the same request may get another answer within the time of a run. A registry that throttles
    /// for hours says itself that it will not.
    pub fn is_passing(&self) -> bool {
        let is_for_hours = matches!(self.kind, ErrorKind::RateLimited(_))
            && self.wait.is_some_and(|wait| wait > RETRY_AFTER_MAX);
        self.kind.is_passing() && !is_for_hours
    }
}

// By hand: the kind is part of the sentence, so the chain goes on with what is behind the kind.
impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.kind.source()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.method, self.url, self.kind)?;
        if self.attempts > 1 {
            write!(f, " (after {} attempts)", self.attempts)?;
        }
        if let Some(hint) = self.hint() {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// What came of a request.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The registry says that it is not there.
    #[error("found nothing: {0}")]
    NotFound(Words),
    /// Credentials are missing, wrong or not enough.
    #[error("was not allowed: {0}")]
    Unauthorized(Words),
    /// The credential that was shown is not, or no longer, the right one, for whatever is asked.
    #[error("did not take the credential: {0}")]
    CredentialRefused(Words),
    /// The registry asked for patience, longer than there was.
    #[error("was throttled: {0}")]
    RateLimited(Words),
    /// The registry is in trouble of its own (5xx), also after all attempts.
    #[error("failed at the registry: {0}")]
    Server(Words),
    /// The destination has something else there that may not be replaced.
    #[error("met a conflict: {0}")]
    Conflict(Words),
    /// The registry does not take or know what was asked (other 4xx).
    #[error("was refused: {0}")]
    Refused(Words),
    /// No answer: name, connection, TLS or a cut in the middle.
    #[error("got no answer")]
    Network(#[source] Box<NetworkError>),
    /// Nothing happened for the given time.
    #[error("made no progress for {}", humantime::format_duration(*.0))]
    Stalled(Duration),
    /// Bytes are not what they are called.
    #[error("brought wrong bytes: {0}")]
    Integrity(Box<Mismatch>),
    /// A document could not be read as what it should be.
    #[error("brought an unusable document")]
    Document(#[source] Box<oci::Error>),
    /// The answer breaks the protocol in a way that must not be guessed around.
    #[error("got an answer that no registry gives: {0}")]
    Protocol(&'static str),
    /// The answer is longer than so many bytes, which is all that is read.
    #[error("got an answer of more than {0} bytes, which are not read")]
    TooLong(usize),
    /// The answer points somewhere that this program does not go.
    #[error("was sent to a place that is not trusted: {0}")]
    Untrusted(String),
}

/// Bytes that are not what they are called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Another digest.
    #[error("`{asked}` was asked for, the bytes have `{computed}`")]
    Digest {
        /// What was asked for.
        asked: oci::Digest,
        /// What was computed over the bytes.
        computed: oci::Digest,
    },
    /// Another size.
    #[error("`{digest}` should have {expected} bytes, the registry has {served}")]
    Size {
        /// Of what.
        digest: oci::Digest,
        /// What the descriptor says, in bytes.
        expected: u64,
        /// What was served or announced, in bytes; "more" counts as one more.
        served: u64,
    },
    /// The registry stored something else than it was sent.
    #[error("`{sent}` was sent, the registry calls it `{stored}`")]
    Stored {
        /// What was sent.
        sent: oci::Digest,
        /// What the registry names.
        stored: String,
    },
}

/// What a registry said, in its own words, cut and cleaned for printing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The status of the answer.
    pub status: StatusCode,
    /// The first error code of the answer (`MANIFEST_UNKNOWN`), or empty.
    pub code: Box<str>,
    /// Its message, or empty.
    pub message: Box<str>,
}

impl Words {
    /// Reads an error body as the distribution specification 1.1 writes it ("Error Codes"), or as Harbor
    /// wrote it elsewhere: code and message without a list (goharbor/harbor #8427). Any other body is not
    /// repeated, for it may be a whole page of HTML.
    ///
    /// None of `secrets` is repeated either: who gets one may send it back.
    pub(super) fn read(status: StatusCode, body: &[u8], secrets: &[SecretString]) -> Self {
        #[derive(Default, Deserialize)]
        struct One {
            // A number in some places, which says no more than the status.
            code: Option<serde_json::Value>,
            message: Option<String>,
        }
        #[derive(Deserialize)]
        struct Body {
            errors: Option<Vec<One>>,
            #[serde(flatten)]
            alone: One,
        }
        let body = serde_json::from_slice::<Body>(body).ok();
        let one = body.map_or_else(One::default, |body| {
            let first = body.errors.unwrap_or_default().into_iter().next();
            first.unwrap_or(body.alone)
        });
        let code = one.code.as_ref().and_then(serde_json::Value::as_str);
        Self {
            status,
            code: clean(code.unwrap_or_default(), secrets),
            message: clean(one.message.as_deref().unwrap_or_default(), secrets),
        }
    }
}

/// What a registry calls a digest, for people: nothing else is repeated, for it may be a secret that came with
/// the question.
pub(super) fn told<E>(digest: Result<oci::Digest, E>) -> String {
    digest.map_or_else(
        |_| "what is no digest".to_owned(),
        |digest| digest.to_string(),
    )
}

fn clean(text: &str, secrets: &[SecretString]) -> Box<str> {
    let mut text = Cow::Borrowed(text);
    for secret in secrets.iter().map(ExposeSecret::expose_secret) {
        if secret.len() >= SECRET_BYTES_MIN && text.contains(secret) {
            text = Cow::Owned(text.replace(secret, "***"));
        }
    }
    text.chars()
        .take(WORDS_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status.as_u16())?;
        if let Some(reason) = self.status.canonical_reason() {
            write!(f, " {reason}")?;
        }
        if !self.code.is_empty() {
            write!(f, ", {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl ErrorKind {
    /// What a status that is no success means (OCI distribution specification 1.1, "Error Codes").
    pub(super) fn of_status(words: Words) -> Self {
        match words.status.as_u16() {
            // Harbor has had it under half a dozen statuses; none of them is what it means.
            _ if words.is_quota() => Self::Refused(words),
            400 | 403 if words.is_immutable() => Self::Conflict(words),
            404 => Self::NotFound(words),
            401 | 403 => Self::Unauthorized(words),
            429 => Self::RateLimited(words),
            // 412: Harbor for an immutable tag; 409: the same elsewhere.
            409 | 412 => Self::Conflict(words),
            408 | 500.. => Self::Server(words),
            _ => Self::Refused(words),
        }
    }

    /// What the registry said, where it said anything.
    pub const fn words(&self) -> Option<&Words> {
        match self {
            Self::NotFound(words)
            | Self::Unauthorized(words)
            | Self::CredentialRefused(words)
            | Self::RateLimited(words)
            | Self::Server(words)
            | Self::Conflict(words)
            | Self::Refused(words) => Some(words),
            Self::Network(_)
            | Self::Stalled(_)
            | Self::Integrity(_)
            | Self::Document(_)
            | Self::Protocol(_)
            | Self::TooLong(_)
            | Self::Untrusted(_) => None,
        }
    }

    /// Whether a quota is used up; see [`Words::is_quota`].
    pub fn is_quota(&self) -> bool {
        self.words().is_some_and(Words::is_quota)
    }

    /// Whether the project or repository is not known; see [`Words::is_missing_project`].
    pub fn is_missing_project(&self) -> bool {
        self.words().is_some_and(Words::is_missing_project)
    }

    /// Whether a tag may not be moved; see [`Words::is_immutable`].
    pub fn is_immutable(&self) -> bool {
        self.words().is_some_and(Words::is_immutable)
    }

    /// Whether the registry asks for fewer requests.
    pub fn is_throttling(&self) -> bool {
        let is_unavailable = |words: &Words| words.status == StatusCode::SERVICE_UNAVAILABLE;
        matches!(self, Self::RateLimited(_))
            || matches!(self, Self::Server(words) if is_unavailable(words))
    }

    /// Whether the registry says that it does not do such a thing at all.
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::NotFound(words) | Self::Refused(words) | Self::Server(words) => {
                &*words.code == "UNSUPPORTED" || matches!(words.status.as_u16(), 405 | 501)
            }
            // Whatever is asked of whom: these may get another answer some other time.
            Self::Unauthorized(_)
            | Self::CredentialRefused(_)
            | Self::Conflict(_)
            | Self::RateLimited(_)
            | Self::Network(_)
            | Self::Stalled(_)
            | Self::Integrity(_)
            | Self::Document(_)
            | Self::Protocol(_)
            | Self::TooLong(_)
            | Self::Untrusted(_) => false,
        }
    }

    /// Whether a manifest was not taken for want of what it names.
    ///
    /// Distribution names the digest first when it cannot read a link to a blob.
    pub fn is_missing_parts(&self) -> bool {
        let is_missing = |words: &Words| {
            matches!(
                &*words.code,
                "MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN" | "DIGEST_INVALID"
            )
        };
        matches!(self, Self::Refused(words) | Self::NotFound(words) if is_missing(words))
    }

    /// Whether the same request may get another answer later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Network(error) => !error.is_distrust(),
            Self::RateLimited(_) | Self::Stalled(_) => true,
            Self::Server(words) => is_passing_status(words.status) && !words.is_final(),
            Self::NotFound(_)
            | Self::Unauthorized(_)
            | Self::CredentialRefused(_)
            | Self::Conflict(_)
            | Self::Refused(_)
            | Self::Integrity(_)
            | Self::Document(_)
            | Self::Protocol(_)
            | Self::TooLong(_)
            | Self::Untrusted(_) => false,
        }
    }
}

/// The statuses after which a request is tried again. 502, 503 and 504 are temporary by the
/// specification; registries also pass with 408, 429, 500 and, behind proxies, 499 and 522.
pub(super) fn is_passing_status(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        408 | 429 | 499 | 500 | 502 | 503 | 504 | 522
    )
}

/// Whether a registry does not do the HEAD that was asked for, which says nothing of what is there.
///
/// By the method, for a token service that refuses is asked by other ones. Some answer 403 for HEAD alone;
/// 401 is about the credential, and the same for every method.
pub(super) fn is_head_refusal(error: &Error) -> bool {
    let kind = &error.kind;
    let is_refused = matches!(kind, ErrorKind::Refused(words) if !words.is_quota());
    let is_forbidden =
        matches!(kind, ErrorKind::Unauthorized(words) if words.status == StatusCode::FORBIDDEN);
    error.method == Method::HEAD && (is_refused || is_forbidden || kind.is_unsupported())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_are_kept_short_and_clean() {
        let long = "x".repeat(5000);
        let body = format!(r#"{{"errors":[{{"code":"DENIED","message":"a\u001b[31m\n{long}"}}]}}"#);
        let words = Words::read(StatusCode::FORBIDDEN, body.as_bytes(), &[]);
        let shown = words.to_string();
        assert!(
            shown.starts_with("403 Forbidden, DENIED: a [31m "),
            "{shown}"
        );
        assert!(shown.len() < 400);
        let html = Words::read(StatusCode::OK, b"<html>login</html>", &[]);
        assert_eq!(html.to_string(), "200 OK");
    }

    #[test]
    fn a_secret_that_comes_back_is_not_repeated() {
        let padding = "x".repeat(WORDS_CHARS_MAX - 12);
        let body = format!(
            r#"{{"errors":[{{"code":"BAD_hunter2","message":"{padding} no hunter2 for you"}}]}}"#
        );
        let secrets = ["hunter2".into(), "x".into()];
        let shown = Words::read(StatusCode::UNAUTHORIZED, body.as_bytes(), &secrets).to_string();
        assert!(!shown.contains("hunt"), "{shown}");
        assert!(
            shown.contains("BAD_***") && shown.contains("xxx"),
            "{shown}"
        );
    }

    fn kind(status: u16, code: &str) -> ErrorKind {
        ErrorKind::of_status(Words {
            status: StatusCode::from_u16(status).unwrap(),
            code: code.into(),
            message: "".into(),
        })
    }

    #[test]
    fn what_is_not_supported_is_told_from_what_is_not_there() {
        for (status, code) in [
            (405, ""),
            (501, ""),
            (404, "UNSUPPORTED"),
            (400, "UNSUPPORTED"),
        ] {
            assert!(kind(status, code).is_unsupported(), "{status} {code}");
        }
        for (status, code) in [
            (404, ""),
            (400, ""),
            (403, "UNSUPPORTED"),
            (429, "UNSUPPORTED"),
            (503, ""),
        ] {
            assert!(!kind(status, code).is_unsupported(), "{status} {code}");
        }
    }

    #[test]
    fn statuses_mean_what_they_mean() {
        assert!(matches!(kind(404, ""), ErrorKind::NotFound(_)));
        assert!(matches!(kind(401, ""), ErrorKind::Unauthorized(_)));
        assert!(matches!(kind(403, ""), ErrorKind::Unauthorized(_)));
        assert!(matches!(kind(429, ""), ErrorKind::RateLimited(_)));
        assert!(matches!(kind(412, ""), ErrorKind::Conflict(_)));
        assert!(matches!(kind(400, "TAG_INVALID"), ErrorKind::Conflict(_)));
        assert!(matches!(kind(400, "NAME_INVALID"), ErrorKind::Refused(_)));
        assert!(kind(503, "").is_passing());
        assert!(!kind(501, "").is_passing());
    }
}

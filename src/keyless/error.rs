//! What kept a signature from being made without a key of one's own.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::registry::{self, ErrorKind};

use super::token::TokenError;

/// A service that takes part in a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The certificate authority.
    Fulcio,
    /// The log.
    Rekor,
    /// A timestamp authority.
    Clock,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fulcio => "the certificate authority (Fulcio)",
            Self::Rekor => "the transparency log (Rekor)",
            Self::Clock => "the timestamp authority",
        })
    }
}

/// Why there is no signature. Cheap to clone: jobs that waited for one request share its end. Has nothing of a
/// token in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is no token that could be used.
    #[error("the identity token cannot be used")]
    Token(#[source] TokenError),
    /// The token has ended.
    #[error(
        "the identity token ended at {at}, and signing takes a certificate for it; a new run with a new token \
         signs what is left"
    )]
    Ended {
        /// When.
        at: Timestamp,
    },
    /// A service did not do what it was asked for.
    #[error("{service} does not help: {}", Asked(.error))]
    Asked {
        /// Which.
        service: Service,
        /// What it said.
        error: Arc<registry::Error>,
    },
    /// What a service answered is no use.
    #[error("what {service} answers at {url} is no use: {why}")]
    Answer {
        /// Which.
        service: Service,
        /// Where, without secrets.
        url: String,
        /// Why.
        why: String,
    },
    /// What came back does not verify.
    #[error("what the signing services made does not verify, and is not pushed: {0}")]
    Unproven(String),
    /// Again and again the certificate had ended when the log took the signature.
    #[error("the certificates of {service} end before the log has the signature, {tries} times in a row", service = Service::Fulcio)]
    Late {
        /// How often.
        tries: u32,
    },
    /// No service can make a signature of this format.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The key of a certificate could not be made, or does not sign.
    #[error("the key for a certificate: {0}")]
    Key(String),
}

/// What a service said, in a sentence that speaks of no registry.
struct Asked<'a>(&'a registry::Error);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.0;
        write!(f, "{} {}", error.method, error.url)?;
        match (&error.kind, error.kind.words()) {
            (_, Some(words)) => write!(f, " was answered {words}")?,
            (ErrorKind::Stalled(limit), None) => write!(
                f,
                " had no whole answer within {}",
                humantime::format_duration(*limit)
            )?,
            (ErrorKind::Network(error), None) => write!(f, " got no answer: {error}")?,
            (ErrorKind::TooLong(limit), None) => {
                write!(f, " was answered with more than {limit} bytes")?;
            }
            (kind, None) => write!(f, " {kind}")?,
        }
        if error.attempts > 1 {
            write!(f, " (after {} attempts)", error.attempts)?;
        }
        Ok(())
    }
}

impl Error {
    pub(super) fn asked(service: Service, error: registry::Error) -> Self {
        Self::Asked {
            service,
            error: Arc::new(error),
        }
    }

    /// Whether a log or a clock gave no answer, or none but that it cannot now.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Asked { service, error } => *service != Service::Fulcio && error.is_passing(),
            Self::Token(_)
            | Self::Ended { .. }
            | Self::Answer { .. }
            | Self::Unproven(_)
            | Self::Late { .. }
            | Self::Unsupported(_)
            | Self::Key(_) => false,
        }
    }

    /// Whether the same token would meet the same again, whenever it is tried.
    pub fn is_of_token(&self) -> bool {
        match self {
            Self::Token(_) | Self::Ended { .. } => true,
            Self::Asked {
                service: Service::Fulcio,
                error,
            } => {
                // 400 is Fulcio's answer to a token or a proof that it cannot read.
                let status = error.kind.words().map(|words| words.status.as_u16());
                matches!(status, Some(400 | 401 | 403))
            }
            Self::Asked { .. }
            | Self::Answer { .. }
            | Self::Unproven(_)
            | Self::Late { .. }
            | Self::Unsupported(_)
            | Self::Key(_) => false,
        }
    }
}

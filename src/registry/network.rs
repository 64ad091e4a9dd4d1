//! Why there was no answer: names, connections, certificates, proxies.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use url::Url;

use super::connect::authority_of;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The HTTP client says so.
    #[error("{}", RootCause(.0))]
    Http(reqwest::Error),
    /// The two ends do not trust each other.
    #[error("{distrust} at `{host}`")]
    Distrust {
        /// Who was asked.
        host: String,
        /// What is wrong.
        distrust: Distrust,
    },
    /// What answers is no TLS; plain HTTP as a rule.
    #[error("{who} does not speak TLS")]
    NoTls {
        /// Who was asked, and the proxy on the way: it may be asked in TLS too.
        who: String,
    },
    /// The way leads through a proxy, and ends there.
    #[error("the way through the proxy `{proxy}` failed: {}", RootCause(.error))]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// What the HTTP client says.
        error: reqwest::Error,
    },
    /// The proxy answers for itself, as far as can be told: it wants another user or password, or finds no way.
    #[error("the proxy `{proxy}` answered {status}")]
    Refused {
        /// Host and port of the proxy.
        proxy: String,
        /// What it answered.
        status: StatusCode,
    },
    /// The answer is beyond a limit of the HTTP client; names it.
    #[error("{0}")]
    Beyond(&'static str),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(Box<rustls::Error>),
    /// What was given for TLS cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why one end of a connection does not trust the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distrust {
    /// The certificate has ended; when, where that is known.
    Expired(Option<SystemTime>),
    /// The certificate has not begun yet, by this machine's clock.
    NotYet(Option<SystemTime>),
    /// Nobody who is trusted here vouches for the certificate.
    UnknownAuthority,
    /// The certificate is for other names; these, where they are known.
    OtherName(Vec<String>),
    /// Something else is wrong with the certificate.
    Unfit(String),
    /// The registry asks for a client certificate, and none was shown.
    ClientWanted,
    /// The registry refuses the client certificate, or that there is none.
    ClientRefused(String),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = |time: &SystemTime| humantime::format_rfc3339_seconds(*time).to_string();
        match self {
            Self::Expired(Some(at)) => write!(f, "the certificate expired at {}", date(at)),
            Self::Expired(None) => f.write_str("the certificate has expired"),
            Self::NotYet(Some(at)) => {
                write!(f, "the certificate is not valid before {}", date(at))
            }
            Self::NotYet(None) => f.write_str("the certificate is not valid yet"),
            Self::UnknownAuthority => {
                f.write_str("the certificate is of an authority that is not trusted here")
            }
            Self::OtherName(names) if names.is_empty() => {
                f.write_str("the certificate is for other names")
            }
            Self::OtherName(names) => write!(
                f,
                "the certificate is for other names ({})",
                names.join(", ")
            ),
            Self::Unfit(why) => write!(f, "the certificate is not fit: {why}"),
            Self::ClientWanted => f.write_str("a client certificate is asked for"),
            Self::ClientRefused(alert) => {
                write!(
                    f,
                    "the client certificate, or the lack of one, is refused ({alert})"
                )
            }
        }
    }
}

/// How many of the names in a certificate are told.
const NAMES_SHOWN: usize = 5;

/// The name in what rustls writes for people who debug it: `DnsName("host")`.
fn spoken(name: &str) -> &str {
    let inner = name.split_once("(\"").map(|(_, rest)| rest);
    inner
        .and_then(|rest| rest.split_once('"'))
        .map_or(name, |(inner, _)| inner)
}

impl Distrust {
    fn of(error: &rustls::Error) -> Option<Self> {
        if let rustls::Error::AlertReceived(alert) = error {
            return Self::of_alert(*alert);
        }
        let rustls::Error::InvalidCertificate(error) = error else {
            return None;
        };
        Some(Self::of_certificate(error))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "of what is told apart here each has words of its own; all the rest has those of rustls"
    )]
    fn of_certificate(error: &CertificateError) -> Self {
        let time = |time: &UnixTime| {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()))
        };
        match error {
            CertificateError::Expired => Self::Expired(None),
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired(time(not_after)),
            CertificateError::NotValidYet => Self::NotYet(None),
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotYet(time(not_before))
            }
            CertificateError::UnknownIssuer => Self::UnknownAuthority,
            CertificateError::NotValidForName => Self::OtherName(Vec::new()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                let names = presented.iter().take(NAMES_SHOWN);
                Self::OtherName(names.map(|name| spoken(name).to_owned()).collect())
            }
            other => Self::Unfit(other.to_string()),
        }
    }

    /// What a server says of the client's certificate (RFC 8446, section 6.2).
    fn of_alert(alert: AlertDescription) -> Option<Self> {
        if alert == AlertDescription::CertificateRequired {
            return Some(Self::ClientWanted);
        }
        let is_refusal = matches!(
            alert,
            AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
        );
        is_refusal.then(|| Self::ClientRefused(format!("{alert:?}")))
    }
}

impl NetworkError {
    /// What an error of the HTTP client is, without the query and the user of its URL.
    pub(super) fn http(error: reqwest::Error) -> Self {
        if let Some(beyond) = beyond(&error) {
            return Self::Beyond(beyond);
        }
        let distrust = tls_error(&error).and_then(Distrust::of);
        match (distrust, error.url()) {
            (Some(distrust), Some(url)) => Self::Distrust {
                host: authority_of(url),
                distrust,
            },
            _ => Self::Http(error.without_url()),
        }
    }

    /// The same, of a request to `url` whose way leads through `proxy`: what failed before there was an answer
    /// failed there.
    pub(super) fn through(self, proxy: Option<String>, url: &Url) -> Self {
        match (self, proxy) {
            (Self::Http(error), proxy) if is_no_tls(&error) => {
                let host = authority_of(url);
                let who = match proxy {
                    None => format!("`{host}`"),
                    Some(proxy) => format!("`{host}`, or the proxy `{proxy}` on the way,"),
                };
                Self::NoTls { who }
            }
            (Self::Http(error), Some(proxy)) if is_unknown_to_proxy(&error) => Self::Refused {
                proxy,
                status: StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            },
            (Self::Http(error), Some(proxy)) if error.is_connect() => Self::Proxy { proxy, error },
            (other, _) => other,
        }
    }

    /// Whether the two ends, or the proxy between them, do not trust each other, or cannot: trying again would
    /// not change that, and might lock a user out.
    pub fn is_distrust(&self) -> bool {
        match self {
            Self::Distrust { .. } | Self::NoTls { .. } | Self::Tls(_) | Self::Unusable(_) => true,
            Self::Refused { status, .. } => *status == StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Self::Http(_) | Self::Proxy { .. } | Self::Beyond(_) | Self::Io(_) => false,
        }
    }
}

/// Whether a proxy answered 407 to CONNECT. hyper-util says so in words alone.
fn is_unknown_to_proxy(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.to_string().contains("proxy authorization required"))
}

/// Whether what answered to the handshake is something else than TLS: the first byte of its answer is of no
/// record (RFC 8446, section 5.1), as that of a server that speaks HTTP.
fn is_no_tls(error: &reqwest::Error) -> bool {
    let no_record = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
    tls_error(error) == Some(&no_record)
}

/// What TLS says, where it is the cause.
pub(super) fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The error and all that is behind it.
pub(super) fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |&cause| {
        // What an I/O error wraps is not its source, but the source of that is.
        let wrapped = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match wrapped {
            Some(inner) => Some(inner),
            None => cause.source(),
        }
    })
}

/// Which limit of the HTTP client an answer was beyond. It has no kinds for them that could be asked for here.
fn beyond(error: &reqwest::Error) -> Option<&'static str> {
    let text = RootCause(error).to_string();
    Some(match text.as_str() {
        "message head is too large" => HEAD_BEYOND,
        "chunk trailers bytes over limit" | "chunk trailers count overflow" => {
            "the trailers of its answer have more than 16 KiB"
        }
        "chunk extensions over limit" => {
            "the chunks of its answer have extensions of more than 16 KiB"
        }
        _ => return None,
    })
}

/// What is said of too many headers, or too long ones: hyper does not tell which.
const HEAD_BEYOND: &str = "the head of its answer has more than 100 headers, or more than 408 KiB, which no registry sends";

/// reqwest's own text is "error sending request"; what people need is the last cause.
struct RootCause<'a>(&'a reqwest::Error);

impl fmt::Display for RootCause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cause: &dyn StdError = self.0;
        while let Some(next) = cause.source() {
            cause = next;
        }
        if self.0.is_timeout() {
            return f.write_str("it timed out");
        }
        fmt::Display::fmt(cause, f)
    }
}

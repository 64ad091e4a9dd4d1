//! Why a job did not end well.

use std::error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::oci::Registry;
use crate::text;

/// How many causes a [`Failure`] keeps.
pub const CAUSES_MAX: usize = 8;
/// How much of each cause a [`Failure`] keeps, in characters.
pub const CAUSE_CHARS_MAX: usize = 400;

/// What a job leaves that did not end well. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    /// Where on its path.
    pub stage: Stage,
    /// On which side, where it was one.
    pub side: Option<Side>,
    /// What it was, in one word.
    pub kind: Kind,
    /// What more is known of it, for hints and for what else it means.
    pub detail: Detail,
    /// When to try again, where the registry says that it takes longer than a run waits.
    pub again: Option<SystemTime>,
    /// The registry that was asked, where that may be another one than the line names: a mirror of its source.
    pub at: Option<Registry>,
    /// The chain of causes, outermost first, each fit for printing; not empty.
    ///
    /// At most [`CAUSES_MAX`] of [`CAUSE_CHARS_MAX`] characters. What is cut is cut in the middle:
    /// the innermost cause says most.
    pub causes: Arc<[String]>,
}

impl Failure {
    /// The failure that `error` is, with the chain of its sources.
    ///
    /// A cause that only repeats what stands before it is left out.
    pub fn new(
        stage: Stage,
        side: Option<Side>,
        kind: Kind,
        error: &(dyn error::Error + 'static),
    ) -> Self {
        // A chain longer than this is a circle.
        const LINKS_MAX: usize = 64;
        let links = std::iter::successors(Some(error), |error| error.source());
        let causes = links.take(LINKS_MAX).map(ToString::to_string);
        Self::chain(stage, side, kind, causes)
    }

    /// A failure with these `causes`, outermost first; there must be one.
    ///
    /// A cause that only repeats what stands before it is left out.
    pub fn chain(
        stage: Stage,
        side: Option<Side>,
        kind: Kind,
        causes: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut kept: Vec<String> = Vec::new();
        for cause in causes {
            let cause = text::cleaned(&cause, CAUSE_CHARS_MAX);
            if kept.last() != Some(&cause) {
                kept.push(cause);
            }
        }
        if kept.len() > CAUSES_MAX {
            kept.drain(CAUSES_MAX - 1..kept.len() - 1);
        }
        Self {
            stage,
            side,
            kind,
            detail: Detail::None,
            again: None,
            at: None,
            causes: kept.into(),
        }
    }

    /// A failure of which one sentence says all, such as "the run was interrupted".
    pub fn because(stage: Stage, side: Option<Side>, kind: Kind, cause: &str) -> Self {
        Self {
            stage,
            side,
            kind,
            detail: Detail::None,
            again: None,
            at: None,
            causes: Arc::from([text::cleaned(cause, CAUSE_CHARS_MAX)]),
        }
    }

    /// The same, with `detail`.
    #[must_use]
    pub const fn with_detail(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }
}

/// What more is known of a failure than its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Detail {
    /// Nothing.
    #[default]
    None,
    /// The credential itself is not taken, whatever it is used for.
    Credential,
    /// The registry's certificate is not trusted here.
    Certificate,
    /// The registry's certificate has ended, or has not begun, by this machine's clock.
    CertificateTime,
    /// The registry's certificate is for other names.
    CertificateName,
    /// The registry wants a client certificate, or another one.
    ClientCertificate,
    /// The certificates or keys that this machine has for it cannot be used; it was not asked.
    OwnCertificates,
    /// What answers is no TLS.
    NoTls,
    /// The way leads through a proxy, and ends there.
    Proxy,
    /// The project or repository must be made first.
    Project,
    /// A quota is used up.
    Quota,
    /// The tag may not be moved.
    Immutable,
    /// The host's `registries.conf` blocks it.
    Blocked,
    /// The identity token has ended, or is not taken by the certificate authority.
    IdentityToken,
    /// A service of keyless signing failed, and no registry: the certificate authority, the log, a clock.
    SigningService,
}

impl Detail {
    /// The word for machines; nothing where nothing is known.
    pub const fn as_str(self) -> Option<&'static str> {
        Some(match self {
            Self::None => return None,
            Self::Credential => "credential",
            Self::Certificate => "certificate",
            Self::CertificateTime => "certificate-time",
            Self::CertificateName => "certificate-name",
            Self::ClientCertificate => "client-certificate",
            Self::OwnCertificates => "own-certificates",
            Self::NoTls => "no-tls",
            Self::Proxy => "proxy",
            Self::Project => "project",
            Self::Quota => "quota",
            Self::Immutable => "immutable",
            Self::Blocked => "blocked",
            Self::IdentityToken => "identity-token",
            Self::SigningService => "signing-service",
        })
    }
}

/// Where on the path of an image something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Before any job: registries, credentials and projects are tried.
    Preflight,
    /// Several jobs wanted one destination, and their sources differ.
    Plan,
    /// A tag is turned into a digest.
    Resolve,
    /// The image and what belongs to it is copied.
    Transfer,
    /// It is signed.
    Sign,
    /// Signatures are judged. Whatever a *validation* asks a registry for is of this stage.
    Verify,
    /// The run itself: interrupted, out of time, a bug.
    Run,
}

impl Stage {
    /// The word for machines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Plan => "plan",
            Self::Resolve => "resolve",
            Self::Transfer => "transfer",
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::Run => "run",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One side of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

impl Side {
    /// The word for machines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a failure was. Small and stable: reports give these words to machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The image, platform, repository or project is not there.
    NotFound,
    /// Who asks may not.
    Unauthorized,
    /// The registry throttles.
    RateLimited,
    /// No usable answer: unreachable, broken connection, TLS, server error.
    Network,
    /// Too long without progress, or altogether.
    Timeout,
    /// Bytes do not match their digest or size.
    Integrity,
    /// Something else stands or is wanted in the same place.
    Conflict,
    /// It cannot be done unchanged, or not by this program.
    Unsupported,
    /// The registry understood and will not, whoever asks: quota, immutable tag, invalid to it.
    Refused,
    /// A verdict: signatures are not what was required. Comes from nothing else.
    Rejected,
    /// The run was ended first.
    Cancelled,
    /// A bug of this program.
    Internal,
}

impl Kind {
    /// All kinds, in their order.
    pub const ALL: [Self; 12] = [
        Self::NotFound,
        Self::Unauthorized,
        Self::RateLimited,
        Self::Network,
        Self::Timeout,
        Self::Integrity,
        Self::Conflict,
        Self::Unsupported,
        Self::Refused,
        Self::Rejected,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The word for machines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate-limited",
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::Integrity => "integrity",
            Self::Conflict => "conflict",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

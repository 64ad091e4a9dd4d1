//! Why an image could not be copied: side, subject, cause.

use std::fmt;

use crate::attached;
use crate::event::{Detail, Failure, Kind, Side, Stage};
use crate::oci::{self, Digest, Pinned, Reference};
use crate::registry::{self, Distrust, ErrorKind, NetworkError};

/// Why an image could not be copied.
#[derive(Debug, thiserror::Error)]
#[error("cannot {} {subject}", verb(*.side, *.stage))]
pub struct Error {
    /// On which side.
    pub side: Side,
    /// Where on the path.
    pub stage: Stage,
    /// What was being read or written.
    pub subject: Subject,
    /// Why.
    #[source]
    pub cause: Cause,
}

/// What was being read or written. Boxed where it is large, as errors travel by value.
#[derive(Debug, Clone)]
pub enum Subject {
    /// An image, as it was named.
    Image(Box<Reference>),
    /// A manifest of an image.
    Manifest(Box<Pinned>),
    /// What is attached to a manifest.
    Attached(Box<Pinned>),
    /// A blob.
    Blob(Box<Pinned>),
}

/// Why it could not.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The registry, or the road to it.
    #[error(transparent)]
    Registry(Box<registry::Error>),
    /// A document of the image.
    #[error(transparent)]
    Document(#[from] oci::Error),
    /// Nothing stands under the name.
    #[error("nothing is there")]
    Absent,
    /// The tag was looked up, and what it named is gone since.
    #[error(
        "its tag named `{planned}` when it was looked up, which is gone, and names `{now}` by now; the next run \
         copies that"
    )]
    Moved {
        /// What the tag named.
        planned: Box<Digest>,
        /// What it names.
        now: Box<Digest>,
    },
    /// The image has none of the wanted platforms.
    #[error("it has none of the wanted platforms ({wanted}); it has {has}")]
    Platform {
        /// What was wanted.
        wanted: String,
        /// What there is.
        has: String,
    },
    /// The tag exists with another digest, and that was to be an error.
    #[error("the tag is there with `{there}`, and an existing tag is not to be replaced")]
    Exists {
        /// What stands there.
        there: Digest,
    },
    /// The new index would take away platforms.
    #[error("the tag has {lost} too, and would lose it; widen the selection, merge, or overwrite")]
    Loss {
        /// The platforms.
        lost: String,
    },
    /// The image has more manifests, or more levels, than anything real.
    #[error("it has more than {0}, which no image needs")]
    Limit(&'static str),
    /// A child is not what its parent says.
    #[error("its parent says {said}, and it is {is}")]
    Disagrees {
        /// What the parent says.
        said: String,
        /// What it is.
        is: String,
    },
    /// Something attached could not be changed, for a reason that is not the registry's.
    #[error("{0}")]
    Attached(Box<attached::Error>),
    /// What was to be done before the tag is set failed.
    #[error("{}", .0.causes.join(": "))]
    Finish(Failure),
}

const fn verb(side: Side, stage: Stage) -> &'static str {
    match (stage, side) {
        (Stage::Resolve, _) => "resolve",
        (_, Side::Source) => "read",
        (_, Side::Destination) => "write",
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => write!(f, "`{image}`"),
            Self::Manifest(pinned) => write!(f, "manifest `{pinned}`"),
            Self::Attached(pinned) => write!(f, "what is attached to `{pinned}`"),
            Self::Blob(pinned) => write!(f, "blob `{pinned}`"),
        }
    }
}

impl From<registry::Error> for Cause {
    fn from(error: registry::Error) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<attached::Error> for Cause {
    fn from(error: attached::Error) -> Self {
        match error {
            attached::Error::Registry(error) => error.into(),
            attached::Error::Document(error) => error.into(),
            attached::Error::Limit(what) => Self::Limit(what),
            attached::Error::Contended(_)
            | attached::Error::Undeleted(_)
            | attached::Error::Lock(_) => Self::Attached(Box::new(error)),
        }
    }
}

impl Error {
    /// The failure that this error is for its line.
    pub fn failure(&self) -> Failure {
        if let Cause::Finish(failure) = &self.cause {
            return failure.clone();
        }
        let failure = Failure::new(self.stage, Some(self.side), self.kind(), self);
        match &self.cause {
            Cause::Registry(error) => with_blame(failure, error),
            Cause::Attached(_)
            | Cause::Document(_)
            | Cause::Absent
            | Cause::Moved { .. }
            | Cause::Platform { .. }
            | Cause::Exists { .. }
            | Cause::Loss { .. }
            | Cause::Limit(_)
            | Cause::Disagrees { .. }
            | Cause::Finish(_) => failure,
        }
    }

    /// Whether a registry says that it is not there.
    pub(super) fn is_absence(&self) -> bool {
        let Cause::Registry(error) = &self.cause else {
            return false;
        };
        matches!(error.kind, ErrorKind::NotFound(_))
    }

    /// Whether a registry brought a Docker schema 1 manifest.
    pub(super) fn is_schema_1(&self) -> bool {
        let Cause::Registry(error) = &self.cause else {
            return false;
        };
        matches!(&error.kind, ErrorKind::Document(document) if document.reason == oci::Reason::Schema1)
    }

    /// Its kind, for the reports.
    pub fn kind(&self) -> Kind {
        match &self.cause {
            Cause::Registry(error) => kind_of(&error.kind),
            Cause::Document(error) => kind_of_document(error),
            Cause::Absent | Cause::Moved { .. } | Cause::Platform { .. } => Kind::NotFound,
            Cause::Exists { .. } | Cause::Loss { .. } => Kind::Conflict,
            Cause::Limit(_) => Kind::Unsupported,
            Cause::Disagrees { .. } => Kind::Integrity,
            Cause::Attached(error) => kind_of_attached(error),
            Cause::Finish(failure) => failure.kind,
        }
    }
}

/// The failure that an error of a registry is, with all that is known of it.
pub fn blamed(stage: Stage, side: Option<Side>, error: &registry::Error) -> Failure {
    let failure = Failure::new(stage, side, kind_of(&error.kind), error);
    with_blame(failure, error)
}

/// The same failure, with what is known of the registry's error behind it.
pub fn with_blame(mut failure: Failure, error: &registry::Error) -> Failure {
    failure.detail = detail_of(error);
    failure.again = error.again();
    failure
}

/// What more is known of what a registry, or the road to it, said.
fn detail_of(error: &registry::Error) -> Detail {
    if error.kind.is_quota() {
        return Detail::Quota;
    }
    if error.is_missing_project() {
        return Detail::Project;
    }
    if error.kind.is_immutable() {
        return Detail::Immutable;
    }
    match &error.kind {
        ErrorKind::CredentialRefused(_) => Detail::Credential,
        ErrorKind::Network(network) => match &**network {
            NetworkError::Distrust { distrust, .. } => match distrust {
                Distrust::ClientWanted | Distrust::ClientRefused(_) => Detail::ClientCertificate,
                Distrust::Expired(_) | Distrust::NotYet(_) => Detail::CertificateTime,
                Distrust::OtherName(_) => Detail::CertificateName,
                Distrust::UnknownAuthority | Distrust::Unfit(_) => Detail::Certificate,
            },
            NetworkError::NoTls { .. } => Detail::NoTls,
            NetworkError::Proxy { .. } | NetworkError::Refused { .. } => Detail::Proxy,
            NetworkError::Unusable(_) => Detail::OwnCertificates,
            NetworkError::Http(_)
            | NetworkError::Beyond(_)
            | NetworkError::Tls(_)
            | NetworkError::Io(_) => Detail::None,
        },
        ErrorKind::NotFound(_)
        | ErrorKind::Unauthorized(_)
        | ErrorKind::RateLimited(_)
        | ErrorKind::Server(_)
        | ErrorKind::Conflict(_)
        | ErrorKind::Refused(_)
        | ErrorKind::Stalled(_)
        | ErrorKind::Integrity(_)
        | ErrorKind::Document(_)
        | ErrorKind::Protocol(_)
        | ErrorKind::TooLong(_)
        | ErrorKind::Untrusted(_) => Detail::None,
    }
}

/// The kind of what befell something attached.
pub fn kind_of_attached(error: &attached::Error) -> Kind {
    match error {
        attached::Error::Registry(error) => kind_of(&error.kind),
        attached::Error::Document(error) => kind_of_document(error),
        attached::Error::Limit(_) => Kind::Unsupported,
        attached::Error::Undeleted(_) => Kind::Refused,
        attached::Error::Contended(_) | attached::Error::Lock(_) => Kind::Conflict,
    }
}

/// The kind of what a registry said.
pub const fn kind_of(error: &ErrorKind) -> Kind {
    match error {
        ErrorKind::NotFound(_) => Kind::NotFound,
        ErrorKind::Unauthorized(_) | ErrorKind::CredentialRefused(_) => Kind::Unauthorized,
        ErrorKind::RateLimited(_) => Kind::RateLimited,
        ErrorKind::Server(_) | ErrorKind::Network(_) => Kind::Network,
        ErrorKind::Conflict(_) => Kind::Conflict,
        // An answer that no registry gives will not be another one later.
        ErrorKind::Refused(_)
        | ErrorKind::Protocol(_)
        | ErrorKind::TooLong(_)
        | ErrorKind::Untrusted(_) => Kind::Refused,
        ErrorKind::Stalled(_) => Kind::Timeout,
        ErrorKind::Integrity(_) => Kind::Integrity,
        ErrorKind::Document(error) => kind_of_document(error),
    }
}

const fn kind_of_document(error: &oci::Error) -> Kind {
    match error.reason {
        oci::Reason::MediaTypes { .. } => Kind::Integrity,
        oci::Reason::Empty
        | oci::Reason::TooLong(_)
        | oci::Reason::TooMany(_)
        | oci::Reason::TooDeep(_)
        | oci::Reason::Grammar(_)
        | oci::Reason::Json(_)
        | oci::Reason::Schema1 => Kind::Unsupported,
    }
}

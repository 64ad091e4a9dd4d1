//! Why a manifest could not be signed.

use crate::attached;
use crate::event::{Detail, Failure, Format, Kind, Side, Stage};
use crate::keyless;
use crate::oci::{self, Pinned, Tag};
use crate::registry;
use crate::sigstore::{KeyError, Refusal};
use crate::transfer::{kind_of, kind_of_attached, with_blame};

use super::ClaimError;

/// Why a manifest could not be signed. No variant has anything secret in it: the private key takes part in
/// [`Cause::Key`] alone, and that one says what it is, never what is in it.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign `{subject}`")]
pub(super) struct Error {
    subject: Box<Pinned>,
    #[source]
    cause: Cause,
}

/// What kept it from being signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    /// What is attached could not be read or written.
    #[error(transparent)]
    Attached(Box<attached::Error>),
    /// The registry, or the road to it.
    #[error(transparent)]
    Registry(Box<registry::Error>),
    /// A document that would have to be written.
    #[error(transparent)]
    Document(#[from] oci::Error),
    /// The claim itself.
    #[error(transparent)]
    Claim(Box<ClaimError>),
    /// The key.
    #[error("the key does not sign")]
    Key(#[from] KeyError),
    /// A service that gives certificates or keeps the log, or what it gave.
    #[error(transparent)]
    Keyless(Box<keyless::Error>),
    /// What is there could not be found out; says why itself.
    #[error("what is signed already cannot be found out")]
    Asking(Box<Failure>),
    /// The subject is named by another digest than others can check signatures by.
    #[error(
        "signatures speak of sha256 digests alone; name the image by its sha256 digest or a tag"
    )]
    Algorithm,
    /// No format is asked for.
    #[error("no format is asked for")]
    NoFormat,
    /// Something stands under the signature tag that no signature can be added to.
    #[error("the tag `{tag}` has {what}, to which no signature can be added; it was left as it is")]
    Occupied {
        /// The tag.
        tag: Tag,
        /// What stands there.
        what: &'static str,
    },
    /// What was written is not there.
    #[error(
        "the signature was written ({format}), and is not there when the registry is asked for it"
    )]
    Lost {
        /// In which format.
        format: &'static str,
    },
    /// What was written is there, and is something else.
    #[error(
        "the signature was written ({format}), and what the registry has instead does not verify"
    )]
    Spoiled {
        /// In which format.
        format: &'static str,
        /// Why.
        #[source]
        refusal: Refusal,
    },
}

impl Cause {
    pub(super) const fn lost(format: Format) -> Self {
        Self::Lost {
            format: format.as_str(),
        }
    }

    pub(super) const fn spoiled(format: Format, refusal: Refusal) -> Self {
        Self::Spoiled {
            format: format.as_str(),
            refusal,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Attached(error) => kind_of_attached(error),
            Self::Registry(error) => kind_of(&error.kind),
            Self::Document(_)
            | Self::Algorithm
            | Self::Claim(_)
            | Self::Key(_)
            | Self::Occupied { .. } => Kind::Unsupported,
            Self::Keyless(error) => kind_of_keyless(error),
            Self::Asking(failure) => failure.kind,
            Self::NoFormat => Kind::Internal,
            Self::Lost { .. } => Kind::Conflict,
            Self::Spoiled { .. } => Kind::Integrity,
        }
    }
}

impl From<attached::Error> for Cause {
    fn from(error: attached::Error) -> Self {
        match error {
            attached::Error::Registry(error) => error.into(),
            attached::Error::Document(_)
            | attached::Error::Limit(_)
            | attached::Error::Contended(_)
            | attached::Error::Undeleted(_)
            | attached::Error::Lock(_) => Self::Attached(Box::new(error)),
        }
    }
}

/// That nothing more is signed for want of a token.
pub(super) fn ended(error: &keyless::Error) -> Failure {
    let failure = Failure::new(Stage::Sign, None, kind_of_keyless(error), error);
    failure.with_detail(detail_of_keyless(error))
}

fn kind_of_keyless(error: &keyless::Error) -> Kind {
    match error {
        keyless::Error::Token(_) | keyless::Error::Ended { .. } => Kind::Unauthorized,
        keyless::Error::Asked { error, .. } => kind_of(&error.kind),
        keyless::Error::Answer { .. } | keyless::Error::Late { .. } => Kind::Network,
        keyless::Error::Unproven(_) => Kind::Integrity,
        keyless::Error::Unsupported(_) => Kind::Unsupported,
        keyless::Error::Key(_) => Kind::Internal,
    }
}

/// No registry is to blame, whichever it was.
fn detail_of_keyless(error: &keyless::Error) -> Detail {
    if error.is_of_token() {
        return Detail::IdentityToken;
    }
    match error {
        keyless::Error::Unsupported(_) | keyless::Error::Key(_) => Detail::None,
        keyless::Error::Token(_)
        | keyless::Error::Ended { .. }
        | keyless::Error::Asked { .. }
        | keyless::Error::Answer { .. }
        | keyless::Error::Late { .. }
        | keyless::Error::Unproven(_) => Detail::SigningService,
    }
}

impl From<keyless::Error> for Cause {
    fn from(error: keyless::Error) -> Self {
        Self::Keyless(Box::new(error))
    }
}

impl From<registry::Error> for Cause {
    fn from(error: registry::Error) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<ClaimError> for Cause {
    fn from(error: ClaimError) -> Self {
        Self::Claim(Box::new(error))
    }
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Self {
        Self::Asking(Box::new(failure))
    }
}

impl Error {
    /// The failure of signing `subject` that `cause` is.
    pub(super) fn failure(subject: &Pinned, cause: Cause) -> Failure {
        let kind = cause.kind();
        let error = Self {
            subject: Box::new(subject.clone()),
            cause,
        };
        let (stage, side) = (Stage::Sign, Some(Side::Destination));
        match &error.cause {
            Cause::Asking(failure) => {
                let own = [error.to_string(), error.cause.to_string()];
                Failure::chain(
                    stage,
                    side,
                    kind,
                    own.into_iter().chain(failure.causes.iter().cloned()),
                )
            }
            Cause::Registry(registry) => {
                with_blame(Failure::new(stage, side, kind, &error), registry)
            }
            Cause::Keyless(keyless) => {
                let mut failure = Failure::new(stage, None, kind, &error);
                failure.detail = detail_of_keyless(keyless);
                failure
            }
            Cause::Attached(_)
            | Cause::Document(_)
            | Cause::Claim(_)
            | Cause::Key(_)
            | Cause::Algorithm
            | Cause::NoFormat
            | Cause::Occupied { .. }
            | Cause::Lost { .. }
            | Cause::Spoiled { .. } => Failure::new(stage, side, kind, &error),
        }
    }
}

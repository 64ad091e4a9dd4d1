//! Which identity a signature must name (containers-policy.json(5), "signedIdentity").

use std::fmt;
use std::str::FromStr;

use super::name::{Name, NameError};
use crate::oci::Reference;
use crate::text::cleaned;

/// How much of a bad text an [`IdentityError`] shows, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// A rule about the identity that a signature names.
///
/// What is asked of is compared as `REPOSITORY@DIGEST` where it is named by a digest, with or without a
/// tag, else as `REPOSITORY:TAG`, `latest` where no tag is written. What a signature names is read by
/// Docker's rules; where it cannot be read, or names nothing, no rule but [`Self::DigestOnly`] accepts it.
///
/// Of a text in it that is no name, which the constructors refuse, a rule accepts nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedIdentity {
    /// Same repository and same tag or digest.
    MatchExact,
    /// Same tag where the image has one, else the same repository with any tag or digest.
    MatchRepoDigestOrExact,
    /// Same repository.
    MatchRepository,
    /// This reference, whatever the image is called.
    ExactReference(String),
    /// This repository, whatever the image is called; a tag or digest in it counts for nothing.
    ExactRepository(String),
    /// The image's name with `prefix` replaced, then as `MatchRepoDigestOrExact`; names that do not begin
    /// with `prefix` stay as they are.
    RemapIdentity {
        /// A registry, namespace or repository.
        prefix: String,
        /// What stands for it in signatures.
        signed_prefix: String,
    },
    /// Whatever it names, or nothing: the digest alone. Ours; not part of policy.json.
    DigestOnly,
}

/// Why a text is no [`SignedIdentity`]; of names, in the words of containers/image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The reference is none.
    #[error("Invalid format of dockerReference \"{0}\": {1}")]
    Reference(String, NameError),
    /// The reference names a repository alone.
    #[error("dockerReference \"{0}\" contains neither a tag nor digest")]
    NameOnly(String),
    /// The repository is none.
    #[error("Invalid format of dockerRepository \"{0}\": {1}")]
    Repository(String, NameError),
    /// What is to be replaced, or to replace it, is neither a registry nor a repository.
    #[error("prefix \"{0}\" is not valid")]
    Prefix(String),
    /// There is no such rule.
    #[error(
        "`{0}` is no signed identity: there are matchExact, matchRepoDigestOrExact, matchRepository, exactReference:REFERENCE, exactRepository:REPOSITORY, remapIdentity:PREFIX=SIGNED_PREFIX and digestOnly"
    )]
    Unknown(String),
    /// The rule takes nothing after a colon.
    #[error("`{0}` stands alone, without a `:`")]
    Alone(&'static str),
    /// The rule needs something after a colon.
    #[error("it is written `{0}`")]
    Argument(&'static str),
}

impl SignedIdentity {
    /// The rule `exactReference`.
    ///
    /// # Errors
    ///
    /// When `text` is no name, or has neither a tag nor a digest.
    pub fn exact_reference(text: &str) -> Result<Self, IdentityError> {
        let name = Name::parse(text).map_err(|why| IdentityError::Reference(shown(text), why))?;
        if name.is_bare() {
            return Err(IdentityError::NameOnly(shown(text)));
        }
        Ok(Self::ExactReference(text.to_owned()))
    }

    /// The rule `exactRepository`.
    ///
    /// # Errors
    ///
    /// When `text` is no name. One with a tag or a digest is taken, as by containers/image.
    pub fn exact_repository(text: &str) -> Result<Self, IdentityError> {
        Name::parse(text).map_err(|why| IdentityError::Repository(shown(text), why))?;
        Ok(Self::ExactRepository(text.to_owned()))
    }

    /// The rule `remapIdentity`.
    ///
    /// # Errors
    ///
    /// When one of them is neither a registry nor a repository with its registry. A short name
    /// (`library`) is taken, as by containers/image, but fits nothing: names are compared in full.
    pub fn remap_identity(prefix: &str, signed_prefix: &str) -> Result<Self, IdentityError> {
        for text in [prefix, signed_prefix] {
            if !Name::is_prefix(text) {
                return Err(IdentityError::Prefix(shown(text)));
            }
        }
        Ok(Self::RemapIdentity {
            prefix: prefix.to_owned(),
            signed_prefix: signed_prefix.to_owned(),
        })
    }

    /// Whether a signature that names `signed` may stand for `image`, which has a tag, a digest, or
    /// neither (`latest`). That it speaks of the image's content is for others to see to.
    pub fn accepts(&self, image: &Reference, signed: &str) -> bool {
        let image = Name::of(image);
        let named = Name::parse(signed).ok();
        let is = |rule: &dyn Fn(&Name) -> bool| named.as_ref().is_some_and(rule);
        match self {
            Self::DigestOnly => true,
            Self::MatchExact => is(&|named| *named == image),
            Self::MatchRepoDigestOrExact => is(&|named| stands_for(named, &image)),
            Self::MatchRepository => is(&|named| named.repository == image.repository),
            Self::ExactReference(text) => is(&|named| {
                Name::parse(text).is_ok_and(|wanted| !wanted.is_bare() && *named == wanted)
            }),
            Self::ExactRepository(text) => is(&|named| {
                Name::parse(text).is_ok_and(|wanted| named.repository == wanted.repository)
            }),
            Self::RemapIdentity {
                prefix,
                signed_prefix,
            } => is(&|named| {
                image
                    .remapped(prefix, signed_prefix)
                    .is_some_and(|image| stands_for(named, &image))
            }),
        }
    }

    /// What a person could ask for instead so that `signed` would be accepted for `image`: flags of
    /// `validate`, the one that asks most of all images of a list first. Empty where it is accepted.
    ///
    /// `digestOnly` is among them only where nothing else can accept, because no name is signed.
    pub fn alternatives(&self, image: &Reference, signed: &str) -> Vec<String> {
        if self.accepts(image, signed) {
            return Vec::new();
        }
        let Ok(named) = Name::parse(signed) else {
            return vec![Self::DigestOnly.as_flag()];
        };
        let own = Name::of(image);
        let mut rules = vec![Self::MatchRepoDigestOrExact, Self::MatchRepository];
        if own.repository != named.repository {
            rules.push(Self::ExactRepository(named.repository.clone()));
            rules.extend(remap(&own.repository, &named.repository));
        }
        if !named.is_bare() {
            rules.push(Self::ExactReference(named.to_string()));
        }
        rules
            .iter()
            .filter(|rule| rule.accepts(image, signed))
            .map(Self::as_flag)
            .collect()
    }

    /// The flag of `validate` that asks for it.
    fn as_flag(&self) -> String {
        if let Self::ExactRepository(repository) = self {
            format!("--exact-repository {repository}")
        } else {
            format!("--signed-identity {self}")
        }
    }
}

/// `matchRepoDigestOrExact`: a name with a tag stands for the same name; one by digest, whose content was
/// compared already, is stood for by the repository with any tag or digest.
fn stands_for(named: &Name, image: &Name) -> bool {
    if image.is_tagged() {
        named == image
    } else {
        !named.is_bare() && named.repository == image.repository
    }
}

/// The shortest replacement that makes `signed` of `own`, keeping the end that both share.
fn remap(own: &str, signed: &str) -> Option<SignedIdentity> {
    let (mut own, mut signed) = (own, signed);
    let mut shares = false;
    while let (Some((own_rest, own_part)), Some((signed_rest, signed_part))) =
        (own.rsplit_once('/'), signed.rsplit_once('/'))
    {
        if own_part != signed_part {
            break;
        }
        (own, signed, shares) = (own_rest, signed_rest, true);
    }
    shares
        .then(|| SignedIdentity::remap_identity(own, signed).ok())
        .flatten()
}

fn shown(text: &str) -> String {
    cleaned(text, TEXT_CHARS_MAX)
}

impl fmt::Display for SignedIdentity {
    /// As it is written after `--signed-identity`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MatchExact => f.write_str("matchExact"),
            Self::MatchRepoDigestOrExact => f.write_str("matchRepoDigestOrExact"),
            Self::MatchRepository => f.write_str("matchRepository"),
            Self::ExactReference(text) => write!(f, "exactReference:{text}"),
            Self::ExactRepository(text) => write!(f, "exactRepository:{text}"),
            Self::RemapIdentity {
                prefix,
                signed_prefix,
            } => write!(f, "remapIdentity:{prefix}={signed_prefix}"),
            Self::DigestOnly => f.write_str("digestOnly"),
        }
    }
}

impl FromStr for SignedIdentity {
    type Err = IdentityError;

    /// `matchExact|matchRepoDigestOrExact|matchRepository|exactReference:R|exactRepository:R|remapIdentity:PREFIX=SIGNED_PREFIX|digestOnly`.
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        for (name, rule) in [
            ("matchExact", Self::MatchExact),
            ("matchRepoDigestOrExact", Self::MatchRepoDigestOrExact),
            ("matchRepository", Self::MatchRepository),
            ("digestOnly", Self::DigestOnly),
        ] {
            match text.strip_prefix(name) {
                Some("") => return Ok(rule),
                Some(rest) if rest.starts_with(':') => return Err(IdentityError::Alone(name)),
                Some(_) | None => {}
            }
        }
        let (name, argument) = text
            .split_once(':')
            .map_or((text, None), |(name, argument)| (name, Some(argument)));
        match name {
            "exactReference" => Self::exact_reference(
                argument.ok_or(IdentityError::Argument("exactReference:REFERENCE"))?,
            ),
            "exactRepository" => Self::exact_repository(
                argument.ok_or(IdentityError::Argument("exactRepository:REPOSITORY"))?,
            ),
            "remapIdentity" => {
                let (prefix, signed_prefix) = argument
                    .and_then(|argument| argument.split_once('='))
                    .ok_or(IdentityError::Argument(
                        "remapIdentity:PREFIX=SIGNED_PREFIX",
                    ))?;
                Self::remap_identity(prefix, signed_prefix)
            }
            _ => Err(IdentityError::Unknown(shown(text))),
        }
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;

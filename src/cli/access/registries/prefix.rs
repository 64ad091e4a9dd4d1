//! Prefixes of names, and names that are made by locations.

use std::fmt;

use crate::oci::{self, Reference, Tag};

/// `host[:port]`, a namespace, a repository, or one image of it by tag or digest; or `*.` and a domain, for
/// all hosts below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix(String);

impl Prefix {
    /// Takes a prefix as it is written, with its host in lower case, as names have it.
    pub(super) fn new(text: &str) -> Self {
        let host = text.split('/').next().unwrap_or_default();
        let rest = text.get(host.len()..).unwrap_or_default();
        Self(format!("{}{rest}", host.to_ascii_lowercase()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for many hosts.
    pub(super) fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// What follows the prefix in `name`, where it fits: on host and port exactly, and on whole parts of
    /// the path. (containers/image lets `host` fit `host:port` too, and calls that unintended.) A wildcard
    /// fits a host with any port, which then follows.
    pub(super) fn rest<'n>(&self, name: &'n str) -> Option<&'n str> {
        if self.is_wildcard() {
            let domain = self.0.strip_prefix('*')?;
            let authority = name.split('/').next()?;
            let host = match authority.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
                _ => authority,
            };
            let is_below = host.len() > domain.len() && host.ends_with(domain);
            return if is_below {
                name.get(host.len()..)
            } else {
                None
            };
        }
        let rest = name.strip_prefix(&*self.0)?;
        let fits = if self.0.contains('/') {
            rest.is_empty() || rest.starts_with(['/', ':', '@'])
        } else {
            rest.starts_with('/')
        };
        fits.then_some(rest)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why what a location makes of a name is not asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum Unfit {
    /// It is no name.
    #[error(transparent)]
    Name(#[from] oci::Error),
    /// Nothing is filled in here.
    #[error("no registry stands in front")]
    NoRegistry,
    /// Nothing is filled in here.
    #[error("`library/` is to be written in a location at Docker Hub")]
    NoLibrary,
    /// It would be something else.
    #[error("it has another digest")]
    OtherDigest,
    /// A tag was lost, or has come from nowhere.
    #[error("one of the two has a tag and the other has not")]
    OtherTag,
}

/// The reference that `made` is, in place of `image`: with its digest, and with a tag where it has one.
pub(super) fn reference(made: &str, image: &Reference) -> Result<Reference, Unfit> {
    if !Reference::names_registry(made) {
        return Err(Unfit::NoRegistry);
    }
    let mut reference: Reference = made.parse()?;
    let path = made.split_once('/').map_or("", |(_, path)| path);
    if !path.starts_with(reference.repository.path()) {
        return Err(Unfit::NoLibrary);
    }
    if reference.digest != image.digest {
        return Err(Unfit::OtherDigest);
    }
    // What asks for `latest` without saying it goes on so.
    if image.tag.is_none() && reference.digest.is_none() && reference.tag == Some(Tag::latest()) {
        reference.tag = None;
    }
    if reference.tag.is_some() != image.tag.is_some() {
        return Err(Unfit::OtherTag);
    }
    Ok(reference)
}

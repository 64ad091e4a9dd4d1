//! Names of registries, repositories and images, read as Docker reads them.
//!
//! Grammar: OCI distribution specification 1.1, "Pulling manifests" (`<name>`, `<reference>`), and
//! the short forms that Docker allows in front of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::image::{HOST_BYTES_MAX, REPOSITORY_BYTES_MAX, TAG_BYTES_MAX};

use super::{Digest, Error, Reason};

/// The registry that a name without one means.
const DOCKER_HUB: &str = "docker.io";

/// A registry: host and optional port, lower case, as it stands in front of a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Registry(Arc<str>);

impl Registry {
    /// Docker Hub, `docker.io`.
    pub fn docker_hub() -> Self {
        Self(Arc::from(DOCKER_HUB))
    }

    /// Host and port, as written in names; an IPv6 address stands in brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without the port; an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        match self.0.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or(rest, |(host, _)| host),
            None => self.0.split_once(':').map_or(&*self.0, |(host, _)| host),
        }
    }

    /// The port, where one is written.
    pub fn port(&self) -> Option<u16> {
        let after = match self.0.rsplit_once(']') {
            Some((_, after)) => after,
            None => &*self.0,
        };
        after.rsplit_once(':')?.1.parse().ok()
    }

    /// Whether it is this machine: `localhost`, 127.0.0.0/8 or `::1`. Such a registry may speak
    /// plain HTTP without being told, as with Docker.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// Where its API is: Docker Hub's stands on another host than its name says.
    pub fn authority(&self) -> &str {
        if &*self.0 == DOCKER_HUB {
            "registry-1.docker.io"
        } else {
            &self.0
        }
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Registry {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fail = |reason| Err(Error::new("registry", text, reason));
        if text.is_empty() {
            return fail(Reason::Empty);
        }
        // What stands in front of an `@` may be a password, and is not repeated.
        if let Some((_, host)) = text.rsplit_once('@') {
            let reason = Reason::Grammar("a registry has no user and no password in front of it");
            return Err(Error::new("registry", &format!("***@{host}"), reason));
        }
        if text.len() > HOST_BYTES_MAX {
            return fail(Reason::TooLong(HOST_BYTES_MAX));
        }
        let (host_is_good, port) = match text.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((host, after)) => (
                    host.parse::<std::net::Ipv6Addr>().is_ok()
                        && (after.is_empty() || after.starts_with(':')),
                    after.strip_prefix(':'),
                ),
                None => (false, None),
            },
            None => match text.split_once(':') {
                Some((host, port)) => (is_host(host), Some(port)),
                None => (is_host(text), None),
            },
        };
        if !host_is_good {
            return fail(Reason::Grammar(
                "a registry is a host name or an address, with an optional port",
            ));
        }
        let port_is_good = |port: &str| {
            port.bytes().all(|b| b.is_ascii_digit())
                && port.parse::<u16>().is_ok_and(|number| number > 0)
        };
        if !port.is_none_or(port_is_good) {
            return fail(Reason::Grammar("its port is not a number from 1 to 65535"));
        }
        let lower = text.to_ascii_lowercase();
        Ok(match lower.as_str() {
            "index.docker.io" | "registry-1.docker.io" => Self::docker_hub(),
            other => Self(Arc::from(other)),
        })
    }
}

fn is_host(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    })
}

/// A repository: registry and path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: Registry,
    path: Arc<str>,
}

impl Repository {
    /// The repository `path` of `registry`.
    ///
    /// # Errors
    ///
    /// When `path` does not follow the grammar of `<name>`.
    pub fn new(registry: Registry, path: &str) -> Result<Self, Error> {
        check_path(path)?;
        Ok(Self {
            registry,
            path: Arc::from(path),
        })
    }

    /// The registry.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The path, without the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same path at another registry.
    #[must_use]
    pub fn at(&self, registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            path: Arc::clone(&self.path),
        }
    }

    /// The repository with the first part of its path replaced by `project`; a path of one part
    /// gets the project in front.
    ///
    /// # Errors
    ///
    /// When the path that results does not follow the grammar.
    pub fn in_project(&self, project: &str) -> Result<Self, Error> {
        let rest = self
            .path
            .split_once('/')
            .map_or(&*self.path, |(_, rest)| rest);
        Self::new(self.registry.clone(), &format!("{project}/{rest}"))
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

fn check_path(path: &str) -> Result<(), Error> {
    let fail = |reason| Err(Error::new("repository", path, reason));
    if path.is_empty() {
        return fail(Reason::Empty);
    }
    if path.len() > REPOSITORY_BYTES_MAX {
        return fail(Reason::TooLong(REPOSITORY_BYTES_MAX));
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return fail(Reason::Grammar("a repository is written in lower case"));
    }
    if !path.split('/').all(is_component) {
        return fail(Reason::Grammar(
            "its parts are lower-case letters and digits, joined by one `.`, one or two `_`, or any number of `-`",
        ));
    }
    Ok(())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(part: &str) -> bool {
    let mut separator = String::new();
    let mut began = false;
    for c in part.chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            let good = separator.is_empty()
                || began
                    && (matches!(separator.as_str(), "." | "_" | "__")
                        || separator.chars().all(|s| s == '-'));
            if !good {
                return false;
            }
            began = true;
            separator.clear();
        } else {
            separator.push(c);
        }
    }
    began && separator.is_empty()
}

/// A tag: a mutable pointer in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The tag that a name without one means.
    pub fn latest() -> Self {
        Self(Arc::from("latest"))
    }

    /// The tag as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = Error;

    /// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
    fn from_str(text: &str) -> Result<Self, Error> {
        let fail = |reason| Err(Error::new("tag", text, reason));
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        match text.bytes().next() {
            None => return fail(Reason::Empty),
            Some(first) if !word(first) => {
                return fail(Reason::Grammar("it begins with a letter, a digit or `_`"));
            }
            Some(_) => {}
        }
        if text.len() > TAG_BYTES_MAX {
            return fail(Reason::TooLong(TAG_BYTES_MAX));
        }
        if !text.bytes().all(|b| word(b) || b == b'.' || b == b'-') {
            return fail(Reason::Grammar(
                "it has letters, digits, `_`, `.` and `-` only",
            ));
        }
        Ok(Self(Arc::from(text)))
    }
}

/// What one request asks for: the `<reference>` of the API's paths.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identifier {
    /// A tag.
    Tag(Tag),
    /// A digest.
    Digest(Digest),
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// An image as it was written: a repository with an optional tag and an optional digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// The repository.
    pub repository: Repository,
    /// The tag, if one is written.
    pub tag: Option<Tag>,
    /// The digest, if one is written.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Whether the first part of `text` names a registry, by Docker's rule: it has a `.` or a `:`
    /// or is `localhost`, and something follows it.
    pub fn names_registry(text: &str) -> bool {
        text.split_once('/').is_some_and(|(first, _)| {
            first.contains('.') || first.contains(':') || first == "localhost"
        })
    }

    /// What is asked of a registry: the digest where there is one, else the tag, else `latest`.
    pub fn identifier(&self) -> Identifier {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Identifier::Digest(*digest),
            (None, Some(tag)) => Identifier::Tag(tag.clone()),
            (None, None) => Identifier::Tag(Tag::latest()),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Reads `[docker://][REGISTRY/]REPOSITORY[:TAG][@DIGEST]`. Without a registry, `docker.io`;
    /// there, and only there, `library/` is filled in.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        if text.is_empty() {
            return Err(Error::new("image reference", text, Reason::Empty));
        }
        if text.contains("://") {
            let reason = Reason::Grammar("a name has no scheme (`https://`) in front");
            return Err(Error::new("image reference", text, reason));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        let (registry, rest) = match name.split_once('/') {
            Some((first, rest)) if Self::names_registry(name) => (first.parse()?, rest),
            _ => (Registry::docker_hub(), name),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag.parse()?)),
            None => (rest, None),
        };
        let repository = if registry == Registry::docker_hub() && !path.contains('/') {
            check_path(path)?;
            Repository::new(registry, &format!("library/{path}"))?
        } else {
            Repository::new(registry, path)?
        };
        Ok(Self {
            repository,
            tag,
            digest,
        })
    }
}

/// A repository with a digest: certain, whatever tags do meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pinned {
    /// The repository.
    pub repository: Repository,
    /// The digest.
    pub digest: Digest,
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;

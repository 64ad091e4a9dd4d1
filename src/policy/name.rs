//! Names as signatures and policies write them, read by Docker's rules and by no others.
//!
//! [`crate::oci::Reference`] is kind to people: it takes `docker://` away, lowers the host and knows Docker
//! Hub under each of its hosts. What a signature names is not a person's word but evidence, and is read as
//! podman and skopeo read it (distribution/reference, `ParseNormalizedNamed`, in the version that
//! containers/image 5.39 carries; each rule was tried on skopeo 1.22). One thing is taken that they refuse:
//! an IPv6 address in brackets as host, since such registries can be mirrored to and signed in.

use std::fmt;

use crate::limits::input::POLICY_NAME_BYTES_MAX;
use crate::oci::{Reference, Registry, Repository, Tag};

/// A name, normalised: equal names are equal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// Host, `/` and path.
    pub(super) repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is no name; in the words of containers/image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// Its path has capitals.
    #[error("invalid reference format: repository name must be lowercase")]
    Case,
    /// It is too long.
    #[error("repository name must not be more than {POLICY_NAME_BYTES_MAX} characters")]
    TooLong,
    /// It looks like the identifier of an image.
    #[error("invalid repository name, cannot specify 64-byte hexadecimal strings")]
    Hexadecimal,
    /// Its digest is none.
    #[error("invalid checksum digest format")]
    Digest,
}

impl Name {
    /// Reads `[HOST/]PATH[:TAG][@DIGEST]`; without a host Docker Hub's, and there `library/` before a path
    /// of one part.
    pub(super) fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() == 64 && text.bytes().all(is_digit) {
            return Err(NameError::Hexadecimal);
        }
        let (host, rest) = match text.split_once('/') {
            Some((host, rest)) if Reference::names_registry(text) => (host, rest),
            _ => ("docker.io", text),
        };
        let host = if host == "index.docker.io" {
            "docker.io"
        } else {
            host
        };
        let before_tag = rest.split_once(':').map_or(rest, |(path, _)| path);
        if before_tag.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(NameError::Case);
        }
        let (rest, digest) = split(rest, '@');
        let (path, tag) = split(rest, ':');
        // A host may also be a part of a path: Docker reads the two together again.
        if !(is_host(host) || is_path(host)) {
            return Err(NameError::Format);
        }
        let repository = if host == "docker.io" && !path.contains('/') {
            format!("{host}/library/{path}")
        } else {
            format!("{host}/{path}")
        };
        if repository.len() > POLICY_NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if !is_path(path) || tag.is_some_and(|tag| tag.parse::<Tag>().is_err()) {
            return Err(NameError::Format);
        }
        if !digest.is_none_or(is_digest) {
            return Err(NameError::Digest);
        }
        Ok(Self {
            repository,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// What `image` is compared as: by its digest alone where it has one, else by its tag, `latest` where
    /// none is written.
    pub(super) fn of(image: &Reference) -> Self {
        let tag = match (&image.digest, &image.tag) {
            (Some(_), _) => None,
            (None, Some(tag)) => Some(tag.to_string()),
            (None, None) => Some(Tag::latest().to_string()),
        };
        Self {
            repository: image.repository.to_string(),
            tag,
            digest: image.digest.map(|digest| digest.to_string()),
        }
    }

    /// Whether it has neither a tag nor a digest.
    pub(super) const fn is_bare(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// Whether it has a tag.
    pub(super) const fn is_tagged(&self) -> bool {
        self.tag.is_some()
    }

    /// The name with `prefix` of its repository, whole or up to a `/`, replaced by `other`; unchanged
    /// where it does not begin with it.
    ///
    /// None where what results is no name, or a name in another form than the normalised one:
    /// containers/image then accepts nothing, and does not fall back to the name as it was.
    pub(super) fn remapped(&self, prefix: &str, other: &str) -> Option<Self> {
        let fits = self
            .repository
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !fits {
            return Some(self.clone());
        }
        let whole = self.to_string();
        let text = format!("{other}{}", whole.strip_prefix(prefix)?);
        Self::parse(&text)
            .ok()
            .filter(|name| name.to_string() == text)
    }

    /// Whether `text` may be replaced, or stand for what is replaced: a host, or a repository with one.
    pub(super) fn is_prefix(text: &str) -> bool {
        match text.split_once('/') {
            None => is_host(text),
            Some((host, path)) => is_host(host) && path.split('/').all(is_path),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at)
        .map_or((text, None), |(before, after)| (before, Some(after)))
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_path(text: &str) -> bool {
    Repository::new(Registry::docker_hub(), text).is_ok()
}

/// A host name or an IPv6 address in brackets, with an optional port of any size.
fn is_host(text: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, after)| {
            address.parse::<std::net::Ipv6Addr>().is_ok()
                && (after.is_empty() || after.strip_prefix(':').is_some_and(is_port))
        });
    }
    let (name, port) = split(text, ':');
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').all(is_label) && port.is_none_or(is_port)
}

/// The algorithms that Docker knows; SHA-384 is among them, which [`crate::oci::Digest`] is without.
fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        let digits = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return false,
        };
        hex.len() == digits && hex.bytes().all(is_digit)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn signed_names_are_normalised_as_docker_does() {
        for (written, repository) in [
            ("app", "docker.io/library/app"),
            ("library/app", "docker.io/library/app"),
            ("docker.io/app", "docker.io/library/app"),
            ("index.docker.io/app", "docker.io/library/app"),
            ("index.docker.io/library/app:v", "docker.io/library/app"),
            ("docker.io/library/app", "docker.io/library/app"),
            ("team/app", "docker.io/team/app"),
            ("a.io", "docker.io/library/a.io"),
            ("localhost", "docker.io/library/localhost"),
            ("x:5000", "docker.io/library/x"),
            ("x:5000/a", "x:5000/a"),
            ("localhost/x", "localhost/x"),
            ("a.io/a__b", "a.io/a__b"),
            ("a.io/a--b", "a.io/a--b"),
            ("a_b.io/x", "a_b.io/x"),
            ("a__b.io/x", "a__b.io/x"),
            ("a.io:0/x", "a.io:0/x"),
            ("a.io:99999999/x", "a.io:99999999/x"),
            ("[::1]:5000/x:v", "[::1]:5000/x"),
            // Other names than the ones they look like:
            (
                "registry-1.docker.io/library/app",
                "registry-1.docker.io/library/app",
            ),
            ("Docker.io/app", "Docker.io/app"),
            ("REG.example/app:V", "REG.example/app"),
        ] {
            assert_eq!(
                Name::parse(written).unwrap().repository,
                repository,
                "{written}"
            );
        }
        let longest = format!("a.io/{}", "a".repeat(250));
        assert!(Name::parse(&longest).is_ok());
        assert!(Name::parse(&"a".repeat(237)).is_ok());
        for (algorithm, digits) in [("sha256", 64), ("sha384", 96), ("sha512", 128)] {
            let text = format!("a.io/x:v@{algorithm}:{}", "a".repeat(digits));
            assert_eq!(Name::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_docker_cannot_read_is_no_signed_name() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let long = "a".repeat(251);
        for (bad, why) in [
            ("", NameError::Format),
            ("/", NameError::Format),
            ("Library/app", NameError::Case),
            ("lib/App", NameError::Case),
            ("LOCALHOST/x", NameError::Case),
            ("-a.io/x", NameError::Format),
            ("a-.io/x", NameError::Format),
            ("a_b.io:5/x", NameError::Format),
            ("a-_b.io/x", NameError::Format),
            ("a.b_/x", NameError::Format),
            ("a.io:/x", NameError::Format),
            ("[zz]/x.y", NameError::Format),
            ("::1/x", NameError::Format),
            ("a..b/x", NameError::Format),
            ("a.io./x", NameError::Format),
            ("a.io/a___b", NameError::Format),
            ("a.io/a.-b", NameError::Format),
            ("a.io/_a", NameError::Format),
            ("a.io/a//b", NameError::Format),
            ("a.io/", NameError::Format),
            ("docker://a.io/x", NameError::Format),
            ("a.io/x:", NameError::Format),
            ("a.io/x:-t", NameError::Format),
            ("a.io/x:v1\n", NameError::Format),
            (" a.io/x", NameError::Format),
            ("a.io/x ", NameError::Format),
            ("a:b:c", NameError::Format),
            ("x:5000/a:b/c", NameError::Format),
            ("é/x", NameError::Format),
            ("a.io/x@", NameError::Digest),
            ("a.io/x@sha256:abc", NameError::Digest),
            (&format!("a.io/x@md5:{}", "a".repeat(32)), NameError::Digest),
            (
                &format!("a.io/x@sha256:{}", "A".repeat(64)),
                NameError::Digest,
            ),
            (&format!("a.io/x@{digest}@{digest}"), NameError::Digest),
            (&format!("@{digest}"), NameError::Format),
            (&"a".repeat(64), NameError::Hexadecimal),
            (&format!("a.io/{long}"), NameError::TooLong),
            (&"a".repeat(238), NameError::TooLong),
            (&format!("a.io/x:{}", "t".repeat(129)), NameError::Format),
        ] {
            assert_eq!(Name::parse(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_is_a_host_or_a_repository() {
        for good in [
            "a.io",
            "a",
            "ns/short",
            "A/b",
            "A.IO",
            "a.io:5",
            "a.io:5/x/y",
            "localhost",
        ] {
            assert!(Name::is_prefix(good), "{good}");
        }
        for bad in [
            "", "/x", "a_b", "a_b/c", "a.io/", "a.io/x:t", "a.io/A", "a:b", "a.io//x", "*.io",
        ] {
            assert!(!Name::is_prefix(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_normalised_name_is_read_as_itself(text in "[a-zA-Z0-9.:/@_-]{0,40}|(a\\.io|b:5|docker\\.io|index\\.docker\\.io)(/[a-z]{1,3}){0,3}(:[a-z]{1,3})?") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(Name::parse(&name.to_string()), Ok(name));
            }
        }

        #[test]
        fn any_text_is_a_name_or_refused(text in any::<String>()) {
            if let Ok(name) = Name::parse(&text) {
                prop_assert!(name.repository.contains('/'));
            }
            prop_assert!(!Name::is_prefix(&text) || !text.contains('@'));
        }
    }
}

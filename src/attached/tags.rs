//! Tags that are named after a manifest, and which of them a repository has.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::limits::answer::{KNOWN_TAG_PAGES_MAX, KNOWN_TAGS_MAX};
use crate::oci::{Digest, Repository, Tag};
use crate::registry::{self, ErrorKind};

use super::{Attached, Error, held};

/// How many digits of a digest stand in a tag: all of SHA-256, and as many of SHA-512, for more do not fit
/// (OCI distribution specification 1.1, "Referrers Tag Schema").
const DIGITS: usize = 64;

/// Which of the tags that are named after a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TagKind {
    /// `sha256-<hex>.sig`.
    Signature,
    /// `sha256-<hex>.att`.
    Attestation,
    /// `sha256-<hex>.sbom`.
    Sbom,
    /// `sha256-<hex>`: the list of referrers where there is no API for it.
    Referrers,
}

impl TagKind {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Signature => ".sig",
            Self::Attestation => ".att",
            Self::Sbom => ".sbom",
            Self::Referrers => "",
        }
    }

    /// The tag of this kind for `subject`.
    pub fn of(self, subject: &Digest) -> Tag {
        let name = subject.algorithm().name();
        let hex = subject.hex();
        let digits = hex.get(..DIGITS).unwrap_or(&hex);
        let text = format!("{name}-{digits}{}", self.suffix());
        // At most 76 letters, digits, `-` and `.`: always a tag.
        text.parse().unwrap_or_else(|_| Tag::latest())
    }

    /// Whether a tag of this name is of any kind.
    fn is_any(text: &str) -> bool {
        Self::of_name(text).is_some()
    }

    /// The kind that a tag of this name is of.
    pub fn of_name(text: &str) -> Option<Self> {
        let (algorithm, rest) = text.split_once('-')?;
        let (digits, suffix) = rest.split_at_checked(DIGITS)?;
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !matches!(algorithm, "sha256" | "sha512") || !digits.bytes().all(is_digit) {
            return None;
        }
        let kinds = [
            Self::Signature,
            Self::Attestation,
            Self::Sbom,
            Self::Referrers,
        ];
        kinds.into_iter().find(|kind| kind.suffix() == suffix)
    }
}

/// The names that one repository has, and those that this run gave it: hashes of them, with keys that nobody
/// outside knows, for there may be hundreds of thousands. Two of one hash cost a question.
#[derive(Debug, Default)]
pub(super) struct Names {
    hashes: Mutex<HashSet<u64>>,
    keys: RandomState,
}

impl Names {
    fn insert(&self, name: &str) -> bool {
        let hash = self.keys.hash_one(name);
        held(&self.hashes).insert(hash)
    }

    fn has(&self, tag: &Tag) -> bool {
        held(&self.hashes).contains(&self.keys.hash_one(tag.as_str()))
    }
}

/// Which tags that are named after manifests a repository has. What this run writes is added as it goes.
#[derive(Debug, Clone)]
pub struct Tags {
    names: Arc<Names>,
    is_listed: bool,
}

impl Tags {
    /// Whether the tag may be there: true also where the list could not be had.
    pub fn may_have(&self, kind: TagKind, subject: &Digest) -> bool {
        !self.is_listed || self.names.has(&kind.of(subject))
    }

    /// Whether the list of tags names the tag: false also where the list could not be had.
    pub fn has(&self, kind: TagKind, subject: &Digest) -> bool {
        self.is_listed && self.may_have(kind, subject)
    }

    /// Whether the repository may have any such tag at all.
    pub fn may_have_any(&self) -> bool {
        !self.is_listed || !held(&self.names.hashes).is_empty()
    }
}

impl Attached {
    /// The tags of `repository` that are named after manifests; listed once per run.
    ///
    /// Where the registry does not list them (404, 401, 403, a refusal, something that is no list, or more
    /// than 50 pages) every tag may be there.
    ///
    /// # Errors
    ///
    /// Throttling, trouble of the registry and of the network; they are not remembered.
    ///
    /// # Cancel safety
    ///
    /// Dropping it hands the listing over to whoever else waits for it.
    pub async fn tags(&self, repository: &Repository) -> Result<Tags, Error> {
        let names = self.names(repository);
        let list = async || self.list_tags(repository, &names).await;
        let (is_listed, _) = self.inner.listed.run(repository, |_| (), list).await?;
        Ok(Tags { names, is_listed })
    }

    fn names(&self, repository: &Repository) -> Arc<Names> {
        let mut all = held(&self.inner.names);
        Arc::clone(all.entry(repository.clone()).or_default())
    }

    /// Notes a tag that this run wrote, whether or not the list is read already.
    pub(super) fn note_tag(&self, repository: &Repository, tag: &Tag) {
        self.names(repository).insert(tag.as_str());
    }

    async fn list_tags(
        &self,
        repository: &Repository,
        names: &Names,
    ) -> Result<bool, registry::Error> {
        // They are kept as they come, and none is in what is given back.
        let is_full = AtomicBool::new(false);
        let keep = |text: &str| {
            if !TagKind::is_any(text) {
                return false;
            }
            let count = || self.inner.known.fetch_add(1, Ordering::Relaxed);
            if self.inner.known.load(Ordering::Relaxed) >= KNOWN_TAGS_MAX {
                is_full.store(true, Ordering::Relaxed);
            } else if names.insert(text) {
                count();
            }
            false
        };
        let client = self.client();
        let listed = client.tags_where(repository, KNOWN_TAG_PAGES_MAX, &keep);
        match listed.await {
            Ok(Some(_)) if !is_full.into_inner() => Ok(true),
            Ok(_) => {
                tracing::debug!(%repository, "too many tags to list");
                Ok(false)
            }
            Err(error) if says_nothing(&error.kind) => {
                tracing::debug!(%repository, %error, "its tags are not listed");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a list was refused in a way that will be the same next time.
fn says_nothing(kind: &ErrorKind) -> bool {
    kind.is_unsupported()
        || matches!(
            kind,
            ErrorKind::NotFound(_)
                | ErrorKind::Unauthorized(_)
                | ErrorKind::CredentialRefused(_)
                | ErrorKind::Refused(_)
                | ErrorKind::Protocol(_)
                | ErrorKind::TooLong(_)
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_made_of_the_digest() {
        let digest = Digest::sha256(b"a");
        let hex = digest.hex();
        for (kind, suffix) in [
            (TagKind::Signature, ".sig"),
            (TagKind::Attestation, ".att"),
            (TagKind::Sbom, ".sbom"),
            (TagKind::Referrers, ""),
        ] {
            let tag = kind.of(&digest);
            assert_eq!(tag.as_str(), format!("sha256-{hex}{suffix}"));
            assert!(TagKind::is_any(tag.as_str()));
        }
    }

    #[test]
    fn a_long_digest_is_cut_where_the_specification_cuts_it() {
        let long: Digest = format!("sha512:{}", "0123456789abcdef".repeat(8))
            .parse()
            .unwrap();
        let tag = TagKind::Referrers.of(&long);
        assert_eq!(
            tag.as_str(),
            format!("sha512-{}", "0123456789abcdef".repeat(4))
        );
        assert!(TagKind::is_any(TagKind::Signature.of(&long).as_str()));
    }

    #[test]
    fn other_tags_are_not_kept() {
        let hex = "a".repeat(64);
        for bad in [
            "latest",
            "sha256-",
            "sha256-abc.sig",
            "",
            "é",
            &format!("sha1-{hex}"),
            &format!("sha256:{hex}"),
            &format!("sha256-{hex}.sign"),
            &format!("sha256-{hex}a"),
            &format!("sha256-{}.sig", hex.to_uppercase()),
            &format!("sha256-{}é", "a".repeat(63)),
        ] {
            assert!(!TagKind::is_any(bad), "{bad}");
        }
    }
}

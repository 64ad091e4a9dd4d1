//! Referrers (OCI distribution specification 1.1): listed, added, removed, with the API and without.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::value::RawValue;

use crate::limits::answer::REFERRERS_MAX;
use crate::oci::{
    self, Digest, Identifier, Index, Manifest, Pinned, Reason, Repository, Tag, entries_of,
    referrer_entry, with_referrers, without_referrers,
};
use crate::registry::{Access, Deleted, Listed, Listing};

use super::{Attached, Edit, Error, Referrer, TagKind, Tags, Updated};

impl Attached {
    /// The referrers of `subject`: of the API where there is one, joined with the fallback tag, which
    /// is read unless `tags` says that it is not there. Never filtered.
    ///
    /// Each manifest once, those of the API first. A fallback tag that names something that is no index, or
    /// the subject itself, is somebody else's tag and has no referrers.
    ///
    /// # Errors
    ///
    /// [`Error::Registry`] where one of the two could not be asked, throttling included, and
    /// [`Error::Limit`] beyond 10,000 referrers.
    pub async fn referrers(
        &self,
        subject: &Pinned,
        tags: Option<&Tags>,
        access: Access,
    ) -> Result<Vec<Referrer>, Error> {
        let mut entries = self.listed(subject, access).await?.unwrap_or_default();
        if tags.is_none_or(|tags| tags.may_have(TagKind::Referrers, &subject.digest)) {
            entries.extend(self.fallback(subject, access).await?);
        }
        let mut seen = HashSet::new();
        entries.retain(|entry| seen.insert(entry.descriptor.digest));
        if entries.len() > REFERRERS_MAX {
            return Err(Error::Limit("10,000 referrers"));
        }
        Ok(entries)
    }

    /// What the API lists; `None` where there is none, or it does not know the subject.
    async fn listed(
        &self,
        subject: &Pinned,
        access: Access,
    ) -> Result<Option<Vec<Referrer>>, Error> {
        let Pinned { repository, digest } = subject;
        if !self.may_have_api(repository) {
            return Ok(None);
        }
        match self.client().referrers(repository, digest, access).await? {
            Listing::Listed(entries) => {
                self.note_api(repository, true);
                let entries = entries.into_iter();
                let referrer = |entry: Listed| Referrer {
                    descriptor: entry.descriptor,
                    raw: entry.raw,
                    list: entry.page,
                };
                Ok(Some(entries.map(referrer).collect()))
            }
            Listing::Unsupported => {
                self.note_api(repository, false);
                Ok(None)
            }
            Listing::Unanswered => Ok(None),
        }
    }

    /// What the fallback tag lists.
    async fn fallback(&self, subject: &Pinned, access: Access) -> Result<Vec<Referrer>, Error> {
        let found = self.tagged(subject, TagKind::Referrers, access).await?;
        let Some(manifest) = found else {
            return Ok(Vec::new());
        };
        let Some(index) = list_in(&manifest, &subject.digest) else {
            let tag = TagKind::Referrers.of(&subject.digest);
            tracing::warn!(repository = %subject.repository, %tag, "it is no list of referrers");
            return Ok(Vec::new());
        };
        if index.manifests.len() > REFERRERS_MAX {
            return Err(Error::Limit("10,000 referrers"));
        }
        let entries = entries_of(&manifest)?.into_iter();
        let referrer = |(descriptor, raw)| Referrer {
            descriptor,
            raw,
            list: manifest.raw().clone(),
        };
        Ok(entries.map(referrer).collect())
    }

    /// Pushes `manifest` (whose blobs are there), which has `subject`, and lists it: see
    /// [`Attached::add_referrers`].
    ///
    /// # Errors
    ///
    /// As [`Attached::add_referrers`].
    ///
    /// # Cancel safety
    ///
    /// As [`Attached::add_referrers`].
    pub async fn add_referrer(
        &self,
        subject: &Pinned,
        manifest: &Manifest,
        entry: Option<&RawValue>,
    ) -> Result<(), Error> {
        self.add_referrers(subject, &[(manifest, entry)]).await
    }

    /// Pushes manifests (whose blobs are there), which all have `subject`, and lists them: by the API, or
    /// in the fallback tag, all in one update, each with the bytes of its entry (made from the manifest
    /// where there is none).
    ///
    /// The registry's word that it lists one (`OCI-Subject`) is enough. Where it says nothing, it is asked
    /// for its list, and the fallback tag is written where there is none or a manifest is not in it (OCI
    /// distribution specification 1.1, "Pushing Manifests with Subject").
    ///
    /// # Errors
    ///
    /// As [`Attached::update`]; [`Error::Document`] naming the tag where something that is no list stands
    /// under it.
    ///
    /// # Cancel safety
    ///
    /// Dropping it may leave manifests there, unlisted; doing it again repairs that.
    pub async fn add_referrers(
        &self,
        subject: &Pinned,
        new: &[(&Manifest, Option<&RawValue>)],
    ) -> Result<(), Error> {
        let repository = &subject.repository;
        let mut unlisted = Vec::new();
        for (manifest, entry) in new {
            let identifier = Identifier::Digest(manifest.digest());
            let pushed = self.push(repository, &identifier, manifest).await?;
            if pushed.subject == Some(subject.digest) {
                self.note_api(repository, true);
            } else {
                unlisted.push((*manifest, *entry));
            }
        }
        if unlisted.is_empty() {
            return Ok(());
        }
        let listed = self.listed(subject, Access::PullPush).await?;
        let listed = listed.unwrap_or_default();
        let mut entries: Vec<Cow<'_, RawValue>> = Vec::new();
        for (manifest, entry) in unlisted {
            if !has(&listed, &manifest.digest()) {
                entries.push(match entry {
                    Some(entry) => Cow::Borrowed(entry),
                    None => Cow::Owned(referrer_entry(manifest)?),
                });
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
        let entries: Vec<&RawValue> = entries.iter().map(|entry| &**entry).collect();
        let tag = TagKind::Referrers.of(&subject.digest);
        let edit = |standing: Option<&Manifest>| {
            check_list(standing, &tag, &subject.digest)?;
            let list = with_referrers(standing, &entries)?;
            Ok(changed(standing, list))
        };
        self.update(repository, &tag, &edit).await?;
        Ok(())
    }

    /// Deletes referrers of `subject`: the manifests, and their entries in the fallback tag.
    ///
    /// The entries go first, so that nothing is listed that is not there. A list that has none left is
    /// removed; where the registry does not delete, an empty one takes its place, and the error of the
    /// manifests follows: nobody who asks for referrers finds them, but they are there.
    ///
    /// # Errors
    ///
    /// As [`Attached::update`], and where the registry does not delete. Manifests that are not there any
    /// more are none.
    pub async fn remove_referrers(
        &self,
        subject: &Pinned,
        digests: &[Digest],
    ) -> Result<(), Error> {
        let repository = &subject.repository;
        let tag = TagKind::Referrers.of(&subject.digest);
        let remove = |standing: Option<&Manifest>| unlist(standing, digests, None);
        let removed = self.update(repository, &tag, &remove).await;
        match removed {
            Ok(Updated::Written | Updated::AsItWas) => {}
            Err(Error::Registry(error)) if error.kind.is_unsupported() => {
                let empty = with_referrers(None, &[])?;
                let clear = |standing: Option<&Manifest>| unlist(standing, digests, Some(&empty));
                self.update(repository, &tag, &clear).await?;
            }
            Err(error) => return Err(error),
        }
        for digest in digests {
            self.delete(repository, digest).await?;
        }
        Ok(())
    }
}

impl Attached {
    /// Deletes a manifest. A registry that does not know how may say that it is not there: then it is
    /// asked.
    pub(super) async fn delete(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(), Error> {
        let client = self.client();
        match client.delete_manifest(repository, digest).await? {
            Deleted::Gone => Ok(()),
            Deleted::WasNotThere => {
                let identifier = Identifier::Digest(*digest);
                let access = Access::PullPush;
                match client.resolve(repository, &identifier, access).await? {
                    None => Ok(()),
                    Some(_) => Err(Error::Undeleted(format!("{repository}@{digest}"))),
                }
            }
        }
    }
}

fn has(listed: &[Referrer], digest: &Digest) -> bool {
    listed.iter().any(|one| one.descriptor.digest == *digest)
}

/// The edit that puts `list` where `standing` is; none where it is the same.
fn changed(standing: Option<&Manifest>, list: Manifest) -> Option<Edit> {
    let is_there = standing.is_some_and(|standing| standing.raw() == list.raw());
    (!is_there).then(|| Edit {
        blobs: Vec::new(),
        manifest: Some(list),
    })
}

/// The edit that takes `digests` out of the list `standing`. What has none left is replaced by `empty`, or
/// removed without it. What is no list lists none of them.
fn unlist(
    standing: Option<&Manifest>,
    digests: &[Digest],
    empty: Option<&Manifest>,
) -> Result<Option<Edit>, oci::Error> {
    let Some(standing) = standing else {
        return Ok(None);
    };
    let lists_any = standing.as_index().is_some_and(|index| {
        let mut entries = index.manifests.iter();
        entries.any(|entry| digests.contains(&entry.digest))
    });
    if !lists_any {
        return Ok(None);
    }
    let left = without_referrers(standing, digests)?;
    Ok(Some(Edit {
        blobs: Vec::new(),
        manifest: left.or_else(|| empty.cloned()),
    }))
}

/// The list of the referrers of `subject` that `manifest` is. Some give an image a tag of its own digest: an
/// index under such a tag names its platforms, and no referrers.
fn list_in<'a>(manifest: &'a Manifest, subject: &Digest) -> Option<&'a Index> {
    let is_subject = subject.of_same_kind(manifest.raw()) == *subject;
    manifest.as_index().filter(|_| !is_subject)
}

/// Refuses to replace what is no list of referrers of `subject`.
fn check_list(standing: Option<&Manifest>, tag: &Tag, subject: &Digest) -> Result<(), oci::Error> {
    if standing.is_none_or(|standing| list_in(standing, subject).is_some()) {
        return Ok(());
    }
    Err(oci::Error::new(
        "list of referrers",
        tag.as_str(),
        Reason::Grammar("an image stands under the tag, which is not replaced"),
    ))
}

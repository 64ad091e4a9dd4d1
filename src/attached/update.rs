//! Changing what stands under a tag where a registry cannot compare and swap.

use bytes::Bytes;

use crate::oci::{Digest, Identifier, Manifest, Repository, Tag};
use crate::registry::{Access, Pushed};

use super::{Attached, Edit, Editor, Error, Updated, held};

/// How often a tag is written, or found changed just before, until it is left to those who do so.
const ROUNDS_MAX: u32 = 5;
/// How often an old state is read again before it is believed: replicas lag for a second or so.
const LAG_READS: u32 = 3;
/// How many old states of one tag are known again.
const OLD_STATES_MAX: usize = 8;
/// How many tags it is remembered for what stood there. Forgetting costs only the protection from lag, for
/// tags that were written long ago.
const TAGS_REMEMBERED_MAX: usize = 4096;

/// What stood under a tag before this process wrote to it, `None` for nothing; the newest last.
#[derive(Debug, Default)]
pub(super) struct History(Vec<Option<Digest>>);

/// The digest of what stands under a tag.
fn digest_of(standing: Option<&Manifest>) -> Option<Digest> {
    standing.map(Manifest::digest)
}

impl Attached {
    /// Changes what stands under `tag` by `edit`, which gets what stands there and gives `None` when
    /// nothing has to change. One writer at a time in this process and, with a lock folder, on this
    /// host; reads again after the write, and repairs, until `edit` has nothing to change.
    ///
    /// An edit without a manifest removes the tag, by deleting what stands there by its digest: other tags
    /// that name the same manifest go with it, for distribution 2.8 removes no tag by itself. One that was
    /// moved between reading and deleting stays.
    ///
    /// # Errors
    ///
    /// Those of `edit`, [`Error::Registry`], [`Error::Undeleted`], [`Error::Lock`], and [`Error::Contended`] where others
    /// came between five times.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves the tag as it was or as it should be, and gives the lock back.
    pub async fn update(
        &self,
        repository: &Repository,
        tag: &Tag,
        edit: &Editor<'_>,
    ) -> Result<Updated, Error> {
        let _lock = self.inner.locks.hold(repository, tag).await?;
        let mut updated = Updated::AsItWas;
        let mut rounds = 0;
        loop {
            let (mut standing, mut wish) = self.wish(repository, tag, edit).await?;
            if rounds > 0 && wish.is_some() {
                tracing::debug!(%repository, %tag, rounds, "somebody else wrote it meanwhile");
                if rounds == ROUNDS_MAX {
                    return Err(Error::Contended(format!("{repository}:{tag}")));
                }
                // Two hosts that repair at the same pace would go on for ever.
                tokio::time::sleep(self.client().retry().pause_after(rounds)).await;
                (standing, wish) = self.wish(repository, tag, edit).await?;
            }
            let Some(edit) = wish else {
                return Ok(updated);
            };
            rounds += 1;
            let is_written = match (&edit.manifest, &standing) {
                (None, None) => return Ok(updated),
                (None, Some(old)) => {
                    self.delete(repository, &old.digest()).await?;
                    true
                }
                (Some(new), old) => {
                    let place = (repository, tag);
                    self.replace(place, old.as_ref(), new, edit.blobs).await?
                }
            };
            if is_written {
                self.superseded(repository, tag, standing.as_ref(), edit.manifest.as_ref());
                updated = Updated::Written;
            }
        }
    }

    /// Writes `new` where `old` was read, after its blobs; `false`, and nothing written, where something
    /// else stands there by then.
    async fn replace(
        &self,
        (repository, tag): (&Repository, &Tag),
        old: Option<&Manifest>,
        new: &Manifest,
        blobs: Vec<(Digest, Bytes)>,
    ) -> Result<bool, Error> {
        let identifier = Identifier::Tag(tag.clone());
        let has_blobs = !blobs.is_empty();
        for (digest, bytes) in blobs {
            self.push_named(repository, digest, bytes).await?;
        }
        if has_blobs {
            let resolve = self
                .client()
                .resolve(repository, &identifier, Access::PullPush);
            let now = resolve.await?.map(|resolved| resolved.digest);
            let is_same = match (&now, old) {
                (None, None) => true,
                // A registry may name the same bytes by another algorithm.
                (Some(now), Some(old)) => now.of_same_kind(old.raw()) == *now,
                (None, Some(_)) | (Some(_), None) => false,
            };
            // A state that was replaced here is only late.
            if !is_same && !self.is_superseded(repository, tag, now) {
                return Ok(false);
            }
        }
        self.push(repository, &identifier, new).await?;
        self.note_tag(repository, tag);
        Ok(true)
    }

    /// What stands under `tag`, and what `edit` would change in it. A state that this process replaced is
    /// read again a few times, for it may only be late.
    async fn wish(
        &self,
        repository: &Repository,
        tag: &Tag,
        edit: &Editor<'_>,
    ) -> Result<(Option<Manifest>, Option<Edit>), Error> {
        let mut read = 1;
        loop {
            let standing = self.standing(repository, tag, Access::PullPush).await?;
            let is_old = self.is_superseded(repository, tag, digest_of(standing.as_ref()));
            if !is_old || read > LAG_READS {
                let wish = edit(standing.as_ref())?;
                return Ok((standing, wish));
            }
            tracing::debug!(%repository, %tag, read, "what was replaced is still there");
            tokio::time::sleep(self.client().retry().pause_after(read)).await;
            read += 1;
        }
    }

    /// Remembers that `new` takes the place of `old`.
    fn superseded(
        &self,
        repository: &Repository,
        tag: &Tag,
        old: Option<&Manifest>,
        new: Option<&Manifest>,
    ) {
        let key = (repository.clone(), tag.clone());
        let mut all = held(&self.inner.history);
        if all.len() >= TAGS_REMEMBERED_MAX && !all.contains_key(&key) {
            all.clear();
        }
        let History(states) = all.entry(key).or_default();
        let (old, new) = (digest_of(old), digest_of(new));
        states.retain(|state| *state != old && *state != new);
        if old != new {
            states.push(old);
        }
        let excess = states.len().saturating_sub(OLD_STATES_MAX);
        states.drain(..excess);
    }

    fn is_superseded(&self, repository: &Repository, tag: &Tag, seen: Option<Digest>) -> bool {
        let all = held(&self.inner.history);
        let history = all.get(&(repository.clone(), tag.clone()));
        history.is_some_and(|History(states)| states.contains(&seen))
    }

    /// Pushes a manifest; again where the registry misses what was brought. Registries with replicas may
    /// lag, and distribution 2.8 takes a blob for missing while somebody else pushes the same one.
    pub(super) async fn push(
        &self,
        repository: &Repository,
        identifier: &Identifier,
        manifest: &Manifest,
    ) -> Result<Pushed, Error> {
        let retry = self.client().retry();
        let mut attempt = 1;
        loop {
            let pushed = self
                .client()
                .push_manifest(repository, identifier, manifest);
            let mut error = match pushed.await {
                Ok(pushed) => return Ok(pushed),
                Err(error) => error,
            };
            if !error.kind.is_missing_parts() || attempt >= retry.attempts {
                error.attempts = error.attempts.max(attempt);
                return Err(error.into());
            }
            tracing::debug!(%repository, %identifier, attempt, %error, "pushing a manifest again");
            tokio::time::sleep(retry.pause_after(attempt)).await;
            attempt += 1;
        }
    }
}

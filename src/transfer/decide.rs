//! What the destination shall have, and whether it has it already.

use std::collections::HashSet;

use bytes::Bytes;

use crate::event::{Changed, Copied, Note, Outcome, Side, Stage, Tally};
use crate::limits::image::CONFIG_BYTES_MAX;
use crate::oci::{
    Digest, Identifier, Manifest, MeantPlatform, Pinned, Platform, Reference, Repository, View,
    merged, selected,
};
use crate::registry::{Access, Resolved};

use super::error::{Cause, Error, Subject};
use super::{Before, Engine, IndexMode, OnExisting, Options, Overwrite, There, Wanted, Watch};

/// The questions that precede a copy.
pub(super) struct Decision<'a> {
    pub(super) engine: &'a Engine,
    pub(super) source: &'a Reference,
    pub(super) destination: &'a Reference,
    pub(super) options: &'a Options,
    pub(super) watch: Watch<'a>,
}

/// What came of them.
pub(super) enum Decided {
    /// Nothing has to be done.
    Ended(Box<Outcome>),
    /// The image is there.
    There(Box<There>),
    /// This has to be.
    Copy(Box<Wanted>, Before),
}

impl Decision<'_> {
    pub(super) async fn decide(&self) -> Result<Decided, Error> {
        let _work = self.watch.pace.work();
        let there = self.there().await?;
        let has_tag = self.destination.tag.is_some();
        let merges = has_tag && self.options.index == IndexMode::Merge;
        let is_whole = !has_tag || self.options.selection.is_all();
        // Without a destination a HEAD at the source would tell nothing that the GET does not.
        let known = match (&self.source.digest, &there) {
            (Some(digest), _) => Some(*digest),
            (None, Some(_)) if is_whole => {
                let found = self.resolve(Side::Source).await?;
                let absent = || self.error(Side::Source, Stage::Resolve, Cause::Absent);
                Some(found.ok_or_else(absent)?.digest)
            }
            (None, _) => None,
        };
        if is_whole && let (Some(digest), Some(there)) = (known, &there) {
            if there.digest == digest {
                return Ok(Decided::There(Box::new(There {
                    digest,
                    media_type: there.media_type.clone(),
                    manifest: None,
                    only: None,
                    source: digest,
                    changed: None,
                })));
            }
            // Of two algorithms nobody can tell without the bytes.
            if !merges
                && there.digest.algorithm() == digest.algorithm()
                && let Some(outcome) = self.existing(there, digest)?
            {
                return Ok(Decided::Ended(Box::new(outcome)));
            }
        }
        let identifier = match known {
            Some(digest) => Identifier::Digest(digest),
            None => self.source.identifier(),
        };
        let root = self
            .pull(Side::Source, &self.source.repository, &identifier)
            .await;
        let root = match (root, known) {
            (Err(error), Some(planned)) if error.is_absence() => {
                return Err(self.moved(planned, error).await);
            }
            (root, _) => root?,
        };
        (self.watch.note)(Note::Resolved(root.digest()));
        let wanted = if is_whole && !merges {
            if !has_tag && !self.options.selection.is_all() {
                (self.watch.note)(Note::remark(
                    "a line without a tag keeps its digest, so all platforms are copied",
                ));
            }
            whole(root)
        } else {
            self.select(root, there.as_ref()).await?
        };
        self.compare(wanted, there.as_ref()).await
    }

    /// Whether what is wanted stands there already, or something else that is to stay.
    async fn compare(&self, wanted: Wanted, there: Option<&Resolved>) -> Result<Decided, Error> {
        let Some(there) = there else {
            return Ok(Decided::Copy(Box::new(wanted), Before::Nothing));
        };
        // A registry may name the same bytes by another algorithm.
        if there.digest == there.digest.of_same_kind(wanted.manifest.raw()) {
            let is_there = match &wanted.only {
                None => true,
                Some(only) => self.has_all(only).await?,
            };
            if is_there {
                return Ok(Decided::There(Box::new(There::of(&wanted))));
            }
        } else if let Some(outcome) = self.existing(there, wanted.source)? {
            return Ok(Decided::Ended(Box::new(outcome)));
        }
        Ok(Decided::Copy(Box::new(wanted), Before::Something))
    }

    /// The part of `root` that is wanted, and what shall stand for it.
    async fn select(&self, root: Manifest, there: Option<&Resolved>) -> Result<Wanted, Error> {
        let selection = &self.options.selection;
        let merges = self.options.index == IndexMode::Merge;
        let Some(index) = root.as_index() else {
            let (platforms, config) = self
                .platforms(Side::Source, &self.source.repository, &root)
                .await?;
            if platforms
                .iter()
                .any(|platform| !selection.includes(platform))
            {
                return Err(self.no_platform(&platforms));
            }
            if merges {
                self.guard(there, &platforms, &platforms, root.digest())
                    .await?;
            }
            return Ok(Wanted {
                config,
                ..whole(root)
            });
        };
        let Some(positions) = selection.choose(&index.manifests) else {
            return Err(self.no_platform(&known_platforms(&root)));
        };
        if !merges && positions.len() == index.manifests.len() {
            return Ok(whole(root));
        }
        let source = root.digest();
        let document = |error| self.error(Side::Source, Stage::Transfer, Cause::Document(error));
        let only = positions
            .iter()
            .filter_map(|position| index.manifests.get(*position))
            .map(|entry| entry.digest)
            .collect();
        let (manifest, changed) = match self.options.index {
            IndexMode::Sparse => (root, None),
            IndexMode::Rewrite => {
                let part = selected(&root, &positions).map_err(document)?;
                self.guard_index(there, &root, &part).await?;
                (part, Some(Changed::Selected))
            }
            IndexMode::Merge => match self.pull_there(there).await? {
                Some(old) if old.as_index().is_some() => {
                    let joined = merged(&old, &root, &positions).map_err(document)?;
                    (joined, Some(Changed::Merged))
                }
                _ => {
                    let part = selected(&root, &positions).map_err(document)?;
                    self.guard_index(there, &root, &part).await?;
                    (part, Some(Changed::Selected))
                }
            },
        };
        let changed = changed.filter(|_| manifest.digest() != source);
        Ok(Wanted {
            manifest,
            config: None,
            only: Some(only),
            source,
            changed,
        })
    }

    /// Refuses a new index that would take away a platform that the destination has and the source
    /// still has; or any, where what the destination has was to be joined.
    async fn guard_index(
        &self,
        there: Option<&Resolved>,
        root: &Manifest,
        part: &Manifest,
    ) -> Result<(), Error> {
        let (all, kept) = (known_platforms(root), known_platforms(part));
        self.guard(there, &all, &kept, part.digest()).await
    }

    async fn guard(
        &self,
        there: Option<&Resolved>,
        all: &[Platform],
        kept: &[Platform],
        new: Digest,
    ) -> Result<(), Error> {
        if self.options.overwrite == Overwrite::Allowed
            || self.options.on_existing != OnExisting::Replace
            || there.is_none_or(|there| there.digest == new)
        {
            return Ok(());
        }
        let Some(old) = self.pull_there(there).await? else {
            return Ok(());
        };
        let repository = &self.destination.repository;
        let (old, _) = self.platforms(Side::Destination, repository, &old).await?;
        let meant = |list: &[Platform]| list.iter().map(Platform::meant).collect();
        let (all, kept): (HashSet<MeantPlatform>, HashSet<MeantPlatform>) =
            (meant(all), meant(kept));
        let joins = self.options.index == IndexMode::Merge;
        let lost: Vec<Platform> = old
            .into_iter()
            .filter(|platform| {
                let platform = platform.meant();
                (joins || all.contains(&platform)) && !kept.contains(&platform)
            })
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        let lost = listed(&lost);
        Err(self.error(Side::Destination, Stage::Transfer, Cause::Loss { lost }))
    }

    /// What the destination has; `None` also for schema 1, which no index can be joined with or take a
    /// platform from. Anything else that cannot be read is an error: what it has cannot be told.
    async fn pull_there(&self, there: Option<&Resolved>) -> Result<Option<Manifest>, Error> {
        let Some(there) = there else { return Ok(None) };
        let identifier = Identifier::Digest(there.digest);
        let repository = &self.destination.repository;
        match self.pull(Side::Destination, repository, &identifier).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) if error.is_schema_1() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the destination has all these manifests.
    async fn has_all(&self, digests: &[Digest]) -> Result<bool, Error> {
        let repository = &self.destination.repository;
        for digest in digests {
            let identifier = Identifier::Digest(*digest);
            let found = self
                .engine
                .client
                .resolve(repository, &identifier, Access::PullPush)
                .await;
            let found = found
                .map_err(|error| self.error(Side::Destination, Stage::Resolve, error.into()))?;
            if found.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The platforms of `manifest`: an index states them, an image has its own in its config, which is
    /// given too, so that it need not be read again.
    async fn platforms(
        &self,
        side: Side,
        repository: &Repository,
        manifest: &Manifest,
    ) -> Result<(Vec<Platform>, Option<Bytes>), Error> {
        let View::Image(image) = manifest.view() else {
            return Ok((known_platforms(manifest), None));
        };
        let Some(config) = image
            .config
            .as_ref()
            .filter(|c| c.media_type.is_image_config())
        else {
            return Ok((Vec::new(), None));
        };
        let read = self
            .engine
            .client_on(side)
            .pull_small_blob(repository, config, CONFIG_BYTES_MAX)
            .await;
        let error = |cause| Error {
            side,
            stage: Stage::Resolve,
            subject: Subject::Blob(Box::new(Pinned {
                repository: repository.clone(),
                digest: config.digest,
            })),
            cause,
        };
        let bytes = read.map_err(|cause| error(cause.into()))?;
        let platform: Platform = serde_json::from_slice(&bytes).map_err(|json| {
            let reason = crate::oci::Reason::Json(json.to_string());
            let digest = config.digest.to_string();
            error(Cause::Document(crate::oci::Error::new(
                "image config",
                &digest,
                reason,
            )))
        })?;
        let platforms = if platform.is_unknown() {
            Vec::new()
        } else {
            vec![platform]
        };
        Ok((platforms, Some(bytes)))
    }

    /// What stands at the destination.
    ///
    /// Where it decides more than how much has to be done, a HEAD that says 404 is not enough: a registry
    /// whose HEAD is no good would lose a tag that is to be kept, or its platforms.
    async fn there(&self) -> Result<Option<Resolved>, Error> {
        let found = self.resolve(Side::Destination).await?;
        let is_plain = self.options.on_existing == OnExisting::Replace
            && self.options.index != IndexMode::Merge
            && self.options.selection.is_all();
        if found.is_some() || is_plain || self.destination.tag.is_none() {
            return Ok(found);
        }
        let (repository, identifier) =
            (&self.destination.repository, self.destination.identifier());
        let client = &self.engine.client;
        let found = client
            .resolve_surely(repository, &identifier, Access::PullPush)
            .await;
        found.map_err(|error| self.error(Side::Destination, Stage::Resolve, error.into()))
    }

    async fn resolve(&self, side: Side) -> Result<Option<Resolved>, Error> {
        let (repository, identifier) = match side {
            Side::Source => (&self.source.repository, self.source.identifier()),
            Side::Destination => (&self.destination.repository, self.destination.identifier()),
        };
        let found = self
            .engine
            .client
            .resolve(repository, &identifier, access(side))
            .await;
        found.map_err(|error| self.error(side, Stage::Resolve, error.into()))
    }

    async fn pull(
        &self,
        side: Side,
        repository: &Repository,
        identifier: &Identifier,
    ) -> Result<Manifest, Error> {
        let pulled = self
            .engine
            .client
            .pull_manifest(repository, identifier, access(side))
            .await;
        pulled.map_err(|error| self.error(side, Stage::Resolve, error.into()))
    }

    /// What it means that `planned`, which the source's tag named, is not there: the tag may have moved on. Only
    /// what was looked up is copied, so that nothing else comes in place of it.
    async fn moved(&self, planned: Digest, error: Error) -> Error {
        if self.source.digest.is_some() {
            return error;
        }
        match self.resolve(Side::Source).await {
            Ok(Some(now)) if now.digest != planned => {
                let (planned, now) = (Box::new(planned), Box::new(now.digest));
                self.error(Side::Source, Stage::Resolve, Cause::Moved { planned, now })
            }
            Ok(_) | Err(_) => error,
        }
    }

    /// What `--on-existing` says of a tag with another digest: an outcome, or nothing.
    fn existing(&self, there: &Resolved, source: Digest) -> Result<Option<Outcome>, Error> {
        match self.options.on_existing {
            OnExisting::Replace => Ok(None),
            OnExisting::Keep => Ok(Some(Outcome::Kept(Copied {
                image: self.pinned(there),
                source,
                changed: None,
                tally: Tally::default(),
                validation: None,
                signing: None,
            }))),
            OnExisting::Fail => {
                let there = there.digest;
                Err(self.error(Side::Destination, Stage::Transfer, Cause::Exists { there }))
            }
        }
    }

    fn pinned(&self, there: &Resolved) -> Pinned {
        Pinned {
            repository: self.destination.repository.clone(),
            digest: there.digest,
        }
    }

    fn no_platform(&self, has: &[Platform]) -> Error {
        let cause = Cause::Platform {
            wanted: self.options.selection.to_string(),
            has: listed(has),
        };
        self.error(Side::Source, Stage::Resolve, cause)
    }

    fn error(&self, side: Side, stage: Stage, cause: Cause) -> Error {
        let image = match side {
            Side::Source => self.source,
            Side::Destination => self.destination,
        };
        Error {
            side,
            stage,
            subject: Subject::Image(Box::new(image.clone())),
            cause,
        }
    }
}

/// A destination is asked with the token that writing will need too.
const fn access(side: Side) -> Access {
    match side {
        Side::Source => Access::Pull,
        Side::Destination => Access::PullPush,
    }
}

fn whole(root: Manifest) -> Wanted {
    Wanted {
        config: None,
        only: None,
        source: root.digest(),
        changed: None,
        manifest: root,
    }
}

/// The platforms that an index states, without those that say nothing.
fn known_platforms(index: &Manifest) -> Vec<Platform> {
    let entries = index.as_index().map(|index| index.manifests.as_slice());
    entries
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| entry.platform.clone())
        .filter(|platform| !platform.is_unknown())
        .collect()
}

fn listed(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "none".to_owned();
    }
    let words: Vec<String> = platforms.iter().take(20).map(ToString::to_string).collect();
    words.join(", ")
}

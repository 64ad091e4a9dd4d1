//! Signing one image: which of its manifests, and what each signature says.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::attached::Attached;
use crate::event::{Failure, Kind, Role, Side, SignedManifest, Signing, Stage};
use crate::oci::{Descriptor, Digest, Manifest, Pinned, PlatformSelection, Reference};
use crate::plan::Job;
use crate::sign::{self, Claim, Formats};
use crate::sigstore::PrivateKey;
use crate::template::{Missing, Template};
use crate::verify::{self, Subjects};

use super::trust::values;

/// Manifests of one image that are signed at once; requests are bounded per registry.
const AT_ONCE: usize = 8;

/// What is signed of an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct What<'a> {
    /// Its manifest.
    pub(super) root: &'a Manifest,
    /// Which entries of an index are there; `None` for all of them.
    pub(super) only: Option<&'a [Digest]>,
}

/// Signs the images of a run with one key.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The key.
    pub key: Arc<PrivateKey>,
    /// The identity that signatures name; without it `REPOSITORY:TAG`, or `REPOSITORY@DIGEST` where
    /// there is no tag.
    pub identity: Option<Template>,
    /// The annotations that signatures have.
    pub annotations: BTreeMap<String, Template>,
    /// Which manifests of an image are signed.
    pub subjects: Subjects,
    /// Of which platforms.
    pub selection: PlatformSelection,
    /// In which formats.
    pub formats: Formats,
}

impl Signer {
    /// Signs `what` stands in the repository of `image`, and is named by it.
    ///
    /// # Errors
    ///
    /// With the first manifest that could not be signed; signatures of others may stand already.
    pub(super) async fn sign(
        &self,
        attached: &Attached,
        job: &Job,
        image: &Reference,
        what: What<'_>,
    ) -> Result<Signing, Failure> {
        let root = what.root;
        let pinned = Pinned {
            repository: image.repository.clone(),
            digest: root.digest(),
        };
        let selection = job.settings.platforms.as_ref().unwrap_or(&self.selection);
        let chosen = verify::choose(attached, &pinned, root, self.subjects, selection).await?;
        let mut signing = Vec::new();
        for (manifest, role) in &chosen.manifests {
            let is_there = what.only.is_none_or(|only| only.contains(&manifest.digest));
            if is_there || *role == Role::Index {
                signing.push(self.manifest(attached, job, image, (manifest, role)));
            }
        }
        let signed: Vec<Vec<SignedManifest>> = stream::iter(signing)
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Signing {
            image: pinned,
            key: self.key.public().id(),
            signatures: signed.into_iter().flatten().collect(),
        })
    }

    async fn manifest(
        &self,
        attached: &Attached,
        job: &Job,
        image: &Reference,
        (subject, role): (&Descriptor, &Role),
    ) -> Result<Vec<SignedManifest>, Failure> {
        let claim = self.claim(job, image, subject).map_err(|missing| {
            let cause = format!("`{image}`: {missing}");
            Failure::because(
                Stage::Sign,
                Some(Side::Destination),
                Kind::Unsupported,
                &cause,
            )
        })?;
        let repository = &image.repository;
        sign::sign(
            attached,
            repository,
            (subject, role),
            &claim,
            (&self.key, &self.formats),
        )
        .await
    }

    fn claim(&self, job: &Job, image: &Reference, subject: &Descriptor) -> Result<Claim, Missing> {
        let values = values(job, image, Some(&subject.digest));
        let identity = match &self.identity {
            Some(template) => template.render(&values)?,
            None => match &image.tag {
                Some(tag) => format!("{}:{tag}", image.repository),
                None => format!("{}@{}", image.repository, subject.digest),
            },
        };
        let annotations = self
            .annotations
            .iter()
            .map(|(name, template)| Ok((name.clone(), template.render(&values)?)))
            .collect::<Result<_, Missing>>()?;
        Ok(Claim {
            identity,
            annotations,
        })
    }
}

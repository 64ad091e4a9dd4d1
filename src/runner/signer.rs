//! Signing one image: which of its manifests, and what each signature says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::attached::Attached;
use crate::event::{Failure, Kind, Role, Side, SignedManifest, Signing, Stage};
use crate::keyless::Session;
use crate::list;
use crate::oci::{Descriptor, Digest, Manifest, Pinned, PlatformSelection, Reference};
use crate::plan::Job;
use crate::sign::{self, Claim, Formats, Hand};
use crate::sigstore::PrivateKey;
use crate::template::{Missing, Template};
use crate::verify::{self, Subjects};

use super::trust::values;

/// How long after the last write it is looked whether it stands, on average.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked again, at most; more than once only where something was gone.
const LOOKS_MAX: u32 = 5;
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

/// Of which image, and by what.
#[derive(Debug, Clone, Copy)]
struct Of<'a> {
    attached: &'a Attached,
    job: &'a Job,
    image: &'a Reference,
    means: &'a Means,
}

/// What signatures are made with. Cloning is cheap.
#[derive(Debug, Clone)]
pub enum Means {
    /// A key.
    Key(Arc<PrivateKey>),
    /// Certificates for an identity token.
    Keyless(Arc<Session>),
}

impl Means {
    /// Why the next image is not worth a try, where nothing more can be signed.
    pub(super) async fn ended(&self) -> Option<Failure> {
        sign::ended(self.hand()).await
    }

    fn hand(&self) -> Hand<'_> {
        match self {
            Self::Key(key) => Hand::Key(key),
            Self::Keyless(session) => Hand::Keyless(session),
        }
    }
}

/// Signs the images of a run.
#[derive(Debug, Clone)]
pub struct Signer {
    /// What makes the signatures, where the line does not say it; `None`: nothing then.
    pub means: Option<Means>,
    /// What makes them, where the line says it.
    pub own: HashMap<list::Sign, Means>,
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
    /// What signs the image of `job`; `None` where nobody asks that it be signed.
    ///
    /// # Errors
    ///
    /// When its line says how, and that was not read: then it is not left unsigned without a word.
    pub(super) fn means(&self, job: &Job) -> Result<Option<&Means>, Failure> {
        match &job.settings.sign {
            None | Some(list::Sign::None) => Ok(self.means.as_ref()),
            Some(sign @ (list::Sign::Key(_) | list::Sign::Keyless)) => {
                let means = self.own.get(sign);
                means.map(Some).ok_or_else(|| {
                    let cause = format!("`{}`: what signs it was not read", job.destination);
                    Failure::because(Stage::Plan, None, Kind::Internal, &cause)
                })
            }
        }
    }

    /// Signs `what` stands in the repository of `image`, and is named by it.
    ///
    /// # Errors
    ///
    /// With the first manifest that could not be signed; signatures of others may stand already.
    pub(super) async fn sign(
        &self,
        attached: &Attached,
        (job, image): (&Job, &Reference),
        means: &Means,
        what: What<'_>,
    ) -> Result<Signing, Failure> {
        let root = what.root;
        let pinned = Pinned {
            repository: image.repository.clone(),
            digest: root.digest(),
        };
        let selection = job.settings.platforms.as_ref().unwrap_or(&self.selection);
        let chosen = verify::choose(attached, &pinned, root, self.subjects, selection).await?;
        let is_there = |(manifest, role): &&(Descriptor, Role)| {
            let only = what.only;
            *role == Role::Index || only.is_none_or(|only| only.contains(&manifest.digest))
        };
        let subjects: Vec<&(Descriptor, Role)> = chosen.manifests.iter().filter(is_there).collect();
        let of = Of {
            attached,
            job,
            image,
            means,
        };
        let mut signatures = self.each(of, &subjects).await?;
        self.look_again(of, &subjects, &signatures).await?;
        signatures.sort_by_key(|one| subjects.iter().position(|(m, _)| m.digest == one.digest));
        Ok(Signing {
            author: sign::author(means.hand(), &pinned).await?,
            image: pinned,
            signatures,
        })
    }

    /// Signs each of `manifests`, several at once.
    async fn each(
        &self,
        of: Of<'_>,
        manifests: &[&(Descriptor, Role)],
    ) -> Result<Vec<SignedManifest>, Failure> {
        let mut signing = Vec::with_capacity(manifests.len());
        for (manifest, role) in manifests {
            signing.push(self.manifest(of, (manifest, role)));
        }
        let signed: Vec<Vec<SignedManifest>> = stream::iter(signing)
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(signed.into_iter().flatten().collect())
    }

    /// Looks again, a little later, for the signatures that were added, and adds those anew that somebody
    /// else's write took away meanwhile: registries have no compare-and-swap, and who read a shared tag
    /// before our write, on another host, may write it after our last look. Whoever is overwritten so
    /// finds out here, unless the other takes longer between its two steps than the pause is.
    async fn look_again(
        &self,
        of: Of<'_>,
        meant: &[&(Descriptor, Role)],
        signed: &[SignedManifest],
    ) -> Result<(), Failure> {
        let mut added: BTreeSet<Digest> = added(signed);
        for _ in 0..LOOKS_MAX {
            if added.is_empty() {
                return Ok(());
            }
            // Not all at the same time, or two would overwrite each other again and again.
            tokio::time::sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
            let doubtful = |one: &&&(Descriptor, Role)| added.contains(&one.0.digest);
            let again: Vec<&(Descriptor, Role)> = meant.iter().filter(doubtful).copied().collect();
            added = self::added(&self.each(of, &again).await?);
        }
        if added.is_empty() {
            return Ok(());
        }
        let cause = format!(
            "signatures of `{}` are overwritten by somebody else, again and again",
            of.image
        );
        let side = Some(Side::Destination);
        Err(Failure::because(Stage::Sign, side, Kind::Conflict, &cause))
    }

    async fn manifest(
        &self,
        of: Of<'_>,
        (subject, role): (&Descriptor, &Role),
    ) -> Result<Vec<SignedManifest>, Failure> {
        let Of {
            attached,
            job,
            image,
            means,
        } = of;
        let claim = self.claim(job, image, subject).map_err(|missing| {
            let cause = format!("`{image}`: {missing}");
            Failure::because(
                Stage::Plan,
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
            (means.hand(), &self.formats),
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

/// The manifests of which a signature was added.
fn added(signed: &[SignedManifest]) -> BTreeSet<Digest> {
    let added = signed.iter().filter(|one| one.added);
    added.map(|one| one.digest).collect()
}

//! The work of `sign`: sign one image where it is.

use std::collections::HashSet;

use tokio::time::Instant;

use crate::attached::Attached;
use crate::event::{Failure, Kind, Note, Outcome, Side, Stage};
use crate::oci::{Digest, Registry, Repository};
use crate::pace::Pace;
use crate::plan::{Job, JobId};
use crate::registry::Access;

use super::ask::{self, Trial};
use super::signer::{Means, Signer, What};
use super::work::{Barred, Done, Refused, Work};

/// Signs the images of a plan.
#[derive(Debug)]
pub struct Sign {
    attached: Attached,
    signer: Signer,
    rejected: HashSet<JobId>,
}

impl Sign {
    /// Signs by `signer`, at the registries that `attached` asks. The jobs in `rejected` are not tried:
    /// a failed list says that a validation rejected them.
    pub const fn new(attached: Attached, signer: Signer, rejected: HashSet<JobId>) -> Self {
        Self {
            attached,
            signer,
            rejected,
        }
    }

    async fn sign(&self, job: &Job, means: &Means, pace: &Pace) -> Result<Outcome, Failure> {
        let image = &job.destination;
        let _work = pace.work();
        let root = ask::pull(self.attached.client(), image, Access::PullPush)
            .await
            .map_err(|failure| Failure {
                side: Some(Side::Destination),
                ..failure
            })?;
        let what = What {
            root: &root,
            only: None,
        };
        let signer = &self.signer;
        let signing = signer.sign(&self.attached, (job, image), means, what);
        let signing = Box::new(signing.await?);
        Ok(if signing.signatures.iter().any(|one| one.added) {
            Outcome::Signed(signing)
        } else {
            Outcome::AlreadySigned(signing)
        })
    }
}

impl Work for Sign {
    fn pauses(&self) -> Vec<(Registry, &'static str, Instant)> {
        self.attached.client().pauses()
    }

    async fn preflight(&self, _: Side, repositories: &[&Repository]) -> Refused {
        ask::reach(
            self.attached.client(),
            Access::PullPush,
            repositories,
            Trial::Before,
        )
        .await
    }

    fn settled(&self, job: &Job) -> Option<Outcome> {
        if self.rejected.contains(&job.id) {
            let cause =
                "a validation rejected it, says the failed list; `--sign-rejected` signs such";
            // Rejected again: whoever feeds the list of this run back meets the same guard.
            let failure = Failure::because(Stage::Sign, None, Kind::Rejected, cause);
            return Some(Outcome::NotTried(failure));
        }
        match self.signer.means(job) {
            Ok(Some(_)) => None,
            Ok(None) => Some(Outcome::NotSigned),
            Err(failure) => Some(Outcome::NotTried(failure)),
        }
    }

    async fn digest(&self, job: &Job, _: &Barred) -> Result<Digest, Failure> {
        ask::digest(self.attached.client(), &job.source).await
    }

    async fn run(
        &self,
        job: &Job,
        _: &Barred,
        pace: &Pace,
        note: &(dyn Fn(Note) + Send + Sync),
    ) -> Done {
        let means = match self.signer.means(job) {
            Ok(Some(means)) => means,
            Ok(None) => return Outcome::NotSigned.into(),
            Err(failure) => return Outcome::NotTried(failure).into(),
        };
        if let Some(failure) = means.ended().await {
            return Outcome::NotTried(failure).into();
        }
        note(Note::Entered(Stage::Sign));
        match self.sign(job, means, pace).await {
            Ok(outcome) => outcome.into(),
            Err(failure) => Outcome::Failed(signing(failure)).into(),
        }
    }
}

/// A failure met while something was to be signed: what could not be told of it is no verdict here.
pub(super) fn signing(mut failure: Failure) -> Failure {
    if failure.stage == Stage::Verify {
        failure.stage = Stage::Sign;
    }
    failure
}

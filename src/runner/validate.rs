//! The work of `validate`: judge the signatures of one image where it is.

use tokio::time::Instant;

use crate::attached::Attached;
use crate::event::{Failure, Kind, Note, Outcome, Side, Stage};
use crate::oci::{Digest, Registry, Repository};
use crate::pace::Pace;
use crate::plan::Job;
use crate::registry::Access;
use crate::verify::{self, Compared, Question};

use super::ask::{self, Trial};
use super::trust::{Judge, Trust, refusal};
use super::work::{Barred, Done, Refused, Work};

/// Validates the images of a plan.
#[derive(Debug)]
pub struct Validate {
    attached: Attached,
    trust: Trust,
}

impl Validate {
    /// Judges what `attached` finds by `trust`.
    pub const fn new(attached: Attached, trust: Trust) -> Self {
        Self { attached, trust }
    }

    async fn judge(&self, job: &Job, pace: &Pace) -> Result<Outcome, Failure> {
        let Some(asked) = self.trust.asked(job)? else {
            return Ok(Outcome::NotVerified);
        };
        let platforms = job.settings.platforms.as_ref();
        let question = Question {
            image: &job.source,
            place: None,
            subjects: asked.subjects,
            selection: platforms.unwrap_or(&self.trust.selection),
            compared: Compared::ByWhatItIs,
            demand: &asked.demand,
        };
        let validation = verify::validate(&self.attached, &question, pace).await?;
        Ok(match refusal(&validation, None, Judge::Caller) {
            Some(refused) => refused,
            None => Outcome::Accepted(Box::new(validation)),
        })
    }
}

impl Work for Validate {
    fn pauses(&self) -> Vec<(Registry, &'static str, Instant)> {
        self.attached.client().pauses()
    }

    async fn preflight(&self, _: Side, repositories: &[&Repository]) -> Refused {
        let mut refused = ask::reach(
            self.attached.client(),
            Access::Pull,
            repositories,
            Trial::Before,
        )
        .await;
        for (_, failure) in &mut refused {
            // What a registry does not let be asked is not known, before the first image as after it.
            failure.stage = Stage::Verify;
        }
        refused
    }

    fn settled(&self, job: &Job) -> Option<Outcome> {
        (!self.trust.asks(job)).then_some(Outcome::NotVerified)
    }

    async fn digest(&self, job: &Job, _: &Barred) -> Result<Digest, Failure> {
        ask::digest(self.attached.client(), &job.source).await
    }

    fn out_of_time(&self, failure: Failure) -> Outcome {
        // Nobody has seen what it would have found.
        Outcome::Undetermined(failure, None)
    }

    async fn run(
        &self,
        job: &Job,
        _: &Barred,
        pace: &Pace,
        note: &(dyn Fn(Note) + Send + Sync),
    ) -> Done {
        note(Note::Entered(Stage::Verify));
        match self.judge(job, pace).await {
            Ok(outcome) => outcome.into(),
            Err(failure) => unasked(failure).into(),
        }
    }
}

/// The outcome of an image that could not even be looked at: what is missing failed; what could not be
/// asked is undetermined, for nobody has seen that it is unsigned.
pub(super) fn unasked(failure: Failure) -> Outcome {
    let is_undetermined = matches!(
        failure.kind,
        Kind::RateLimited | Kind::Network | Kind::Timeout | Kind::Unauthorized | Kind::Refused
    );
    if is_undetermined {
        Outcome::Undetermined(failure, None)
    } else {
        Outcome::Failed(failure)
    }
}

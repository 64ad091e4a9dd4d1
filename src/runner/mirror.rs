//! The work of `mirror` and `copy`: judge one source, transfer it, sign it.

use std::sync::Arc;

use futures::FutureExt as _;

use crate::event::{Failure, Note, Outcome, Side, Stage, Validation};
use crate::oci::{Digest, PlatformSelection, Reference, Registry};
use crate::pace::Pace;
use crate::plan::Job;
use crate::registry::Access;
use crate::transfer::{Engine, Finish, Options, Ready, Watch};
use crate::verify::{self, Compared, Question};

use super::gate::Gate;
use super::sign::signing;
use super::signer::{Signer, What};
use super::trust::{Judge, Trust, refusal};
use super::validate::unasked;
use super::{Work, ask};

/// Transfers the images of a plan.
#[derive(Debug)]
pub struct Mirror {
    engine: Arc<Engine>,
    options: Options,
    gate: Option<Gate>,
    trust: Option<Trust>,
    signer: Option<Signer>,
}

impl Mirror {
    /// Transfers by `engine`, with `options` where a line has none of its own.
    pub const fn new(engine: Arc<Engine>, options: Options) -> Self {
        Self {
            engine,
            options,
            gate: None,
            trust: None,
            signer: None,
        }
    }

    /// With what the host's policy asks of sources.
    #[must_use]
    pub fn with_gate(mut self, gate: Option<Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// With what the command line asks of sources.
    #[must_use]
    pub fn with_trust(mut self, trust: Option<Trust>) -> Self {
        self.trust = trust;
        self
    }

    /// With somebody who signs what was copied, before its tag is set.
    #[must_use]
    pub fn with_signer(mut self, signer: Option<Signer>) -> Self {
        self.signer = signer;
        self
    }

    /// Judges the source of `job`, those platforms of it that are copied; gives the digest that was judged, which alone may be copied, and the
    /// validation. Nothing is asked where nothing is required.
    async fn judge(
        &self,
        job: &Job,
        selection: &PlatformSelection,
        watch: Watch<'_>,
    ) -> Result<Option<(Digest, Option<Validation>)>, Box<Outcome>> {
        if let Some(gate) = &self.gate {
            gate.refuse(&job.source)?;
        }
        let by_policy = match &self.gate {
            Some(gate) => gate.demands(&job.source)?,
            None => Vec::new(),
        };
        if by_policy.is_empty() && self.trust.is_none() {
            return Ok(None);
        }
        (watch.note)(Note::Entered(Stage::Verify));
        let root = {
            let _work = watch.pace.work();
            ask::pull(self.engine.client(), &job.source, Access::Pull)
                .await
                .map_err(|failure| Box::new(unasked(failure)))?
        };
        (watch.note)(Note::Resolved(root.digest()));
        let side = Some(Side::Source);
        let attached = self.engine.attached();
        for demand in &by_policy {
            let question = Question {
                image: &job.source,
                subjects: verify::Subjects::Instances,
                selection,
                compared: Compared::AsAsked,
                demand,
            };
            let validation = verify::validate_resolved(attached, &question, &root, watch.pace)
                .await
                .map_err(|failure| Box::new(unasked(at_source(failure))))?;
            if let Some(refused) = refusal(&validation, side, Judge::Policy) {
                return Err(Box::new(refused));
            }
        }
        let Some(trust) = &self.trust else {
            return Ok(Some((root.digest(), None)));
        };
        let demand = trust.demand(job);
        let demand = demand.map_err(|failure| Box::new(Outcome::Failed(failure)))?;
        let question = Question {
            image: &job.source,
            subjects: trust.subjects,
            selection,
            compared: Compared::ByWhatItIs,
            demand: &demand,
        };
        let validation = verify::validate_resolved(attached, &question, &root, watch.pace)
            .await
            .map_err(|failure| Box::new(unasked(at_source(failure))))?;
        match refusal(&validation, side, Judge::Caller) {
            Some(refused) => Err(Box::new(refused)),
            None => Ok(Some((root.digest(), Some(validation)))),
        }
    }

    /// Copies `source`, and signs it where that is asked.
    async fn copy(
        &self,
        job: &Job,
        source: &Reference,
        options: &Options,
        watch: Watch<'_>,
    ) -> Outcome {
        let sign = self.signer.as_ref().map(|signer| {
            move |ready: Ready| {
                (watch.note)(Note::Entered(Stage::Sign));
                async move {
                    let _work = watch.pace.work();
                    let what = What {
                        root: &ready.root,
                        only: ready.only.as_deref(),
                    };
                    let attached = self.engine.attached();
                    let signed = signer.sign(attached, job, &job.destination, what).await;
                    signed.map_err(signing)
                }
                .boxed()
            }
        });
        let finish: Option<Finish<'_>> = match &sign {
            Some(sign) => Some(sign),
            None => None,
        };
        let copied = self
            .engine
            .transfer_and((source, &job.destination), options, watch, finish)
            .await;
        match copied {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(error.failure()),
        }
    }
}

fn at_source(failure: Failure) -> Failure {
    Failure {
        side: Some(Side::Source),
        ..failure
    }
}

impl Work for Mirror {
    async fn preflight(&self, registry: &Registry) -> Result<(), Failure> {
        ask::reach(self.engine.client(), registry).await
    }

    async fn digest(&self, job: &Job) -> Result<Digest, Failure> {
        ask::digest(self.engine.client(), &job.source).await
    }

    async fn run(&self, job: &Job, pace: &Pace, note: &(dyn Fn(Note) + Send + Sync)) -> Outcome {
        let watch = Watch { pace, note };
        let mut options = self.options.clone();
        if let Some(platforms) = &job.settings.platforms {
            options.selection = platforms.clone();
        }
        // A line without a tag keeps its digest, so all of it is copied, whatever is selected.
        let whole = PlatformSelection::all();
        let copied = match &job.destination.tag {
            Some(_) => &options.selection,
            None => &whole,
        };
        let judged = match Box::pin(self.judge(job, copied, watch)).await {
            Ok(judged) => judged,
            Err(outcome) => return *outcome,
        };
        let mut source = job.source.clone();
        let mut validation = None;
        if let Some((digest, found)) = judged {
            // Whatever the tag names by now: what was judged is what is copied.
            source.digest = Some(digest);
            validation = found;
        }
        let mut outcome = Box::pin(self.copy(job, &source, &options, watch)).await;
        if let Outcome::Copied(copied) | Outcome::UpToDate(copied) | Outcome::Kept(copied) =
            &mut outcome
        {
            copied.validation = validation.map(Box::new);
        }
        outcome
    }
}

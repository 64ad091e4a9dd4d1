//! The work of `mirror` and `copy`: transfer one image.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::{Failure, Kind, Note, Outcome, Side, Stage};
use crate::oci::{Digest, Registry};
use crate::pace::Pace;
use crate::plan::{Job, JobId};
use crate::registry::Access;
use crate::transfer::{Engine, Options, Watch, kind_of};

use super::Work;

/// Transfers the images of a plan.
#[derive(Debug)]
pub struct Mirror {
    engine: Arc<Engine>,
    options: Options,
    refused: HashMap<JobId, Failure>,
}

impl Mirror {
    /// Transfers by `engine`, with `options` where a line has none of its own; the jobs in `refused`
    /// are not tried, because the host's policy asks for what is not implemented.
    pub const fn new(
        engine: Arc<Engine>,
        options: Options,
        refused: HashMap<JobId, Failure>,
    ) -> Self {
        Self {
            engine,
            options,
            refused,
        }
    }
}

impl Work for Mirror {
    async fn preflight(&self, registry: &Registry) -> Result<(), Failure> {
        self.engine
            .client()
            .reach(registry)
            .await
            .map_err(|error| Failure::new(Stage::Preflight, None, kind_of(&error.kind), &error))
    }

    async fn digest(&self, job: &Job) -> Result<Digest, Failure> {
        let source = &job.source;
        if let Some(digest) = source.digest {
            return Ok(digest);
        }
        let asked = self
            .engine
            .client()
            .resolve(&source.repository, &source.identifier(), Access::Pull)
            .await;
        let side = Some(Side::Source);
        match asked {
            Ok(Some(found)) => Ok(found.digest),
            Ok(None) => {
                let cause = format!("nothing is there under `{source}`");
                Err(Failure::because(
                    Stage::Resolve,
                    side,
                    Kind::NotFound,
                    &cause,
                ))
            }
            Err(error) => {
                let kind = kind_of(&error.kind);
                Err(Failure::new(Stage::Resolve, side, kind, &error))
            }
        }
    }

    async fn run(&self, job: &Job, pace: &Pace, note: &(dyn Fn(Note) + Send + Sync)) -> Outcome {
        if let Some(failure) = self.refused.get(&job.id) {
            return Outcome::NotTried(failure.clone());
        }
        let mut options = self.options.clone();
        if let Some(platforms) = &job.settings.platforms {
            options.selection = platforms.clone();
        }
        let watch = Watch { pace, note };
        match self
            .engine
            .transfer(&job.source, &job.destination, &options, watch)
            .await
        {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(error.failure()),
        }
    }
}

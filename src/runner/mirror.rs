//! The work of `mirror` and `copy`: judge one source, transfer it, sign it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;

use crate::event::{Detail, Failure, Kind, Note, Outcome, Side, Stage, Validation};
use crate::oci::{Digest, Namespace, PlatformSelection, Reference, Repository};
use crate::pace::Pace;
use crate::plan::{Job, JobId};
use crate::registry::{self, Access};
use crate::transfer::{Engine, Finish, Options, Ready, Watch};
use crate::verify::{self, Compared, Question};

use super::gate::Gate;
use super::projects::{self, Projects};
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
    sources: HashMap<JobId, Source>,
    projects: Projects,
    /// What refused everything when it was tried as a source by itself.
    refusing: Mutex<Vec<(Namespace, Failure)>>,
}

/// Where the source of a line is looked for, as the host's `registries.conf` has it.
#[derive(Debug, Clone)]
pub enum Source {
    /// Here, in this order; the last is what the line means.
    Places(Vec<Reference>),
    /// Nowhere; says why.
    Blocked(String),
}

impl Mirror {
    /// Transfers by `engine`, with `options` where a line has none of its own.
    pub fn new(engine: Arc<Engine>, options: Options) -> Self {
        Self {
            engine,
            options,
            gate: None,
            trust: None,
            signer: None,
            sources: HashMap::new(),
            projects: Projects::Named,
            refusing: Mutex::default(),
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

    /// With where sources are looked for, for lines of which that is not what they say.
    #[must_use]
    pub fn with_sources(mut self, sources: HashMap<JobId, Source>) -> Self {
        self.sources = sources;
        self
    }

    /// Makes the projects that destinations are in, where the registry is one that can.
    #[must_use]
    pub const fn with_projects(mut self, projects: Projects) -> Self {
        self.projects = projects;
        self
    }

    /// Why the source of `job` is looked for nowhere.
    fn blocked(&self, job: &Job) -> Option<Failure> {
        let Some(Source::Blocked(why)) = self.sources.get(&job.id) else {
            return None;
        };
        let (stage, side) = (Stage::Preflight, Some(Side::Source));
        let failure = Failure::because(stage, side, Kind::Refused, why);
        Some(failure.with_detail(Detail::Blocked))
    }

    /// Where the source of `job` is looked for, in this order.
    fn places<'a>(&'a self, job: &'a Job) -> Vec<&'a Reference> {
        match self.sources.get(&job.id) {
            Some(Source::Places(places)) if !places.is_empty() => places.iter().collect(),
            Some(Source::Places(_) | Source::Blocked(_)) | None => vec![&job.source],
        }
    }

    /// Those of them that are worth asking: the last, and each before it that did not refuse everything when it
    /// was tried by itself. One that cannot be reached costs every image all the tries of a request otherwise.
    fn open_places<'a>(&'a self, job: &'a Job, skipped: impl Fn(Note)) -> Vec<&'a Reference> {
        let mut places = self.places(job);
        let last = places.pop();
        let refusing = self.refusing.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|place| {
            let covers = |(own, _): &&(Namespace, Failure)| own.covers(&place.repository);
            let Some((_, failure)) = refusing.iter().find(covers) else {
                return true;
            };
            let why = failure.causes.join(": ");
            skipped(Note::remark(&format!("`{place}` is not asked: {why}")));
            false
        });
        places.extend(last);
        places
    }

    /// Judges the source of `job` at `place`, those platforms of it that are copied; gives the digest that was
    /// judged, which alone may be copied, and the validation. Nothing is asked where nothing is required.
    async fn judge(
        &self,
        job: &Job,
        place: &Reference,
        selection: &PlatformSelection,
        watch: Watch<'_>,
    ) -> Result<Option<(Digest, Option<Validation>)>, Box<Outcome>> {
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
            ask::pull(self.engine.client(), place, Access::Pull)
                .await
                .map_err(|failure| Box::new(unasked(failure)))?
        };
        (watch.note)(Note::Resolved(root.digest()));
        let side = Some(Side::Source);
        let attached = self.engine.attached();
        for demand in &by_policy {
            let question = Question {
                image: &job.source,
                place: Some(&place.repository),
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
            place: Some(&place.repository),
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
                    let attached = self.engine.attached().on(registry::Side::Destination);
                    let signed = signer.sign(&attached, job, &job.destination, what).await;
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
    async fn preflight(
        &self,
        side: Side,
        repositories: &[&Repository],
    ) -> Vec<(Namespace, Failure)> {
        let access = match side {
            Side::Source => Access::Pull,
            Side::Destination => Access::PullPush,
        };
        let client = self.engine.client();
        let mut refused = ask::reach(client, access, repositories).await;
        if side == Side::Destination && refused.is_empty() {
            refused = projects::check(client, repositories, self.projects).await;
        }
        if let (Side::Source, Some(first)) = (side, repositories.first()) {
            let mut refusing = self.refusing.lock().unwrap_or_else(PoisonError::into_inner);
            refusing.retain(|(own, _)| own.registry() != first.registry());
            refusing.extend(refused.iter().cloned());
        }
        refused
    }

    fn sources<'a>(&'a self, job: &'a Job) -> Vec<&'a Repository> {
        if self.blocked(job).is_some() {
            return Vec::new();
        }
        let places = self.places(job).into_iter();
        places.map(|place| &place.repository).collect()
    }

    async fn digest(&self, job: &Job) -> Result<Digest, Failure> {
        if let Some(failure) = self.blocked(job) {
            return Err(failure);
        }
        let mut places = self.open_places(job, drop).into_iter().peekable();
        loop {
            let here = places.next().unwrap_or(&job.source);
            let asked = ask::digest(self.engine.client(), here).await;
            if asked.is_ok() || places.peek().is_none() {
                return asked;
            }
        }
    }

    async fn run(&self, job: &Job, pace: &Pace, note: &(dyn Fn(Note) + Send + Sync)) -> Outcome {
        let watch = Watch { pace, note };
        if let Some(failure) = self.blocked(job) {
            return Outcome::NotTried(failure);
        }
        if let Some(gate) = &self.gate
            && let Err(refused) = gate.refuse(&job.source)
        {
            return *refused;
        }
        let mut options = self.options.clone();
        if let Some(platforms) = &job.settings.platforms {
            options.selection = platforms.clone();
        }
        let mut places = self.open_places(job, note).into_iter().peekable();
        loop {
            let here = places.next().unwrap_or(&job.source);
            let outcome = self.run_at(job, here, &options, watch).await;
            let trouble = outcome
                .failure()
                .filter(|failure| failure.side == Some(Side::Source));
            let (Some(trouble), true) = (trouble, places.peek().is_some()) else {
                return outcome;
            };
            let why = trouble.causes.join(": ");
            note(Note::remark(&format!("`{here}` did not do: {why}")));
        }
    }
}

impl Mirror {
    /// Does `job` with the source at `place`.
    async fn run_at(
        &self,
        job: &Job,
        place: &Reference,
        options: &Options,
        watch: Watch<'_>,
    ) -> Outcome {
        // A line without a tag keeps its digest, so all of it is copied, whatever is selected.
        let whole = PlatformSelection::all();
        let copied = match &job.destination.tag {
            Some(_) => &options.selection,
            None => &whole,
        };
        let judged = match Box::pin(self.judge(job, place, copied, watch)).await {
            Ok(judged) => judged,
            Err(outcome) => return *outcome,
        };
        let mut source = place.clone();
        let mut validation = None;
        if let Some((digest, found)) = judged {
            // Whatever the tag names by now: what was judged is what is copied.
            source.digest = Some(digest);
            validation = found;
        }
        let mut outcome = Box::pin(self.copy(job, &source, options, watch)).await;
        if let Outcome::Copied(copied) | Outcome::UpToDate(copied) | Outcome::Kept(copied) =
            &mut outcome
        {
            copied.validation = validation.map(Box::new);
            if place.repository != job.source.repository {
                (watch.note)(Note::remark(&format!("it came from `{place}`")));
            }
        }
        outcome
    }
}

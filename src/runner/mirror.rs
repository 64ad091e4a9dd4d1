//! The work of `mirror` and `copy`: judge one source, transfer it, sign it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;

use crate::event::{Detail, Failure, Kind, Note, Outcome, Side, Stage, Validation};
use crate::oci::{Digest, Namespace, PlatformSelection, Reference, Registry, Repository};
use crate::pace::Pace;
use crate::plan::{Job, JobId, Source};
use crate::registry::{self, Access};
use crate::transfer::{Engine, Finish, Options, Ready, Watch};
use crate::verify::{self, Compared, Question};

use super::ask::{self, Trial};
use super::gate::Gate;
use super::projects::{self, Projects};
use super::sign::signing;
use super::signer::{Means, Signer, What};
use super::trust::{Judge, Trust, refusal};
use super::validate::unasked;
use super::work::{Barred, Done, Refused, Work};

/// How long a copy may take without its source's tag being looked at once more: one HEAD is nothing then, and
/// most copies are done long before.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(30);

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
    second_look_after: Duration,
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
            second_look_after: SECOND_LOOK_AFTER,
        }
    }

    /// Looks at the tag of a source once more after a copy that took so long (30 s unless told), and says so
    /// where it moved meanwhile. What was looked up before is what is copied.
    #[must_use]
    pub const fn with_second_look(mut self, after: Duration) -> Self {
        self.second_look_after = after;
        self
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

    /// Where the source of `job` is looked for, in this order.
    fn places<'a>(&'a self, job: &'a Job) -> Vec<&'a Reference> {
        match self.sources.get(&job.id) {
            Some(Source::Places(places)) if !places.is_empty() => places.iter().collect(),
            Some(Source::Places(_) | Source::Blocked(_)) | None => vec![&job.source],
        }
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
        let asked = match self.trust.as_ref().map(|trust| trust.asked(job)) {
            Some(Ok(asked)) => asked,
            Some(Err(failure)) => return Err(Box::new(Outcome::Failed(failure))),
            None => None,
        };
        if by_policy.is_empty() && asked.is_none() {
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
        let Some(asked) = asked else {
            return Ok(Some((root.digest(), None)));
        };
        let question = Question {
            image: &job.source,
            place: Some(&place.repository),
            subjects: asked.subjects,
            selection,
            compared: Compared::ByWhatItIs,
            demand: &asked.demand,
        };
        let validation = verify::validate_resolved(attached, &question, &root, watch.pace)
            .await
            .map_err(|failure| Box::new(unasked(at_source(failure))))?;
        match refusal(&validation, side, Judge::Caller) {
            Some(refused) => Err(Box::new(refused)),
            None => Ok(Some((root.digest(), Some(validation)))),
        }
    }

    /// Who signs what is copied for `job`, where somebody asks for it.
    fn signed_by(&self, job: &Job) -> Result<Option<(&Signer, &Means)>, Failure> {
        match &self.signer {
            Some(signer) => Ok(signer.means(job)?.map(|means| (signer, means))),
            None => Ok(None),
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
        let signed_by = match self.signed_by(job) {
            Ok(signed_by) => signed_by,
            Err(failure) => return Outcome::Failed(failure),
        };
        let sign = signed_by.map(|(signer, means)| {
            move |ready: Ready| {
                (watch.note)(Note::Entered(Stage::Sign));
                async move {
                    let _work = watch.pace.work();
                    let what = What {
                        root: &ready.root,
                        only: ready.only.as_deref(),
                    };
                    let attached = self.engine.attached().on(registry::Side::Destination);
                    let image = (job, &job.destination);
                    let done = signer.sign(&attached, image, means, what).await;
                    done.map_err(signing)
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

impl Mirror {
    async fn reached(&self, side: Side, repositories: &[&Repository], trial: Trial) -> Refused {
        let access = match side {
            Side::Source => Access::Pull,
            Side::Destination => Access::PullPush,
        };
        ask::reach(self.engine.client(), access, repositories, trial).await
    }
}

fn at_source(failure: Failure) -> Failure {
    Failure {
        side: Some(Side::Source),
        ..failure
    }
}

impl Work for Mirror {
    fn pauses(&self) -> Vec<(Registry, &'static str, Instant)> {
        self.engine.client().pauses()
    }

    async fn preflight(&self, side: Side, repositories: &[&Repository]) -> Refused {
        let mut refused = self.reached(side, repositories, Trial::Before).await;
        if side == Side::Source {
            return refused;
        }
        // What one of several credentials may not do says nothing of the others.
        let is_open = |repository: &&Repository| {
            let covers = |(namespace, _): &(Namespace, Failure)| namespace.covers(repository);
            !refused.iter().any(covers)
        };
        let open: Vec<&Repository> = repositories.iter().copied().filter(is_open).collect();
        let checked = projects::check(self.engine.client(), &open, self.projects).await;
        refused.extend(checked);
        refused
    }

    async fn reach(&self, side: Side, repositories: &[&Repository]) -> Refused {
        self.reached(side, repositories, Trial::Again).await
    }

    fn settled(&self, job: &Job) -> Option<Outcome> {
        let Some(Source::Blocked(why)) = self.sources.get(&job.id) else {
            return None;
        };
        let (stage, side) = (Stage::Preflight, Some(Side::Source));
        let failure = Failure::because(stage, side, Kind::Refused, why);
        Some(Outcome::NotTried(failure.with_detail(Detail::Blocked)))
    }

    fn sources<'a>(&'a self, job: &'a Job) -> Vec<&'a Repository> {
        let places = self.places(job).into_iter();
        places.map(|place| &place.repository).collect()
    }

    async fn digest(&self, job: &Job, barred: &Barred) -> Result<Digest, Failure> {
        let places = self.places(job);
        let mut answer = Err(not_there(job));
        for (position, place) in places.iter().enumerate() {
            answer = match barred.at(position) {
                Some(why) => Err(why.clone()),
                None => ask::digest(self.engine.client(), place).await,
            };
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    async fn run(
        &self,
        job: &Job,
        barred: &Barred,
        pace: &Pace,
        note: &(dyn Fn(Note) + Send + Sync),
    ) -> Done {
        let watch = Watch { pace, note };
        if let Some(gate) = &self.gate
            && let Err(refused) = gate.refuse(&job.source)
        {
            return (*refused).into();
        }
        match self.signed_by(job) {
            Ok(Some((_, means))) => {
                if let Some(failure) = means.ended().await {
                    return Outcome::NotTried(failure).into();
                }
            }
            Ok(None) => {}
            Err(failure) => return Outcome::NotTried(failure).into(),
        }
        let mut options = self.options.clone();
        if let Some(platforms) = &job.settings.platforms {
            options.selection = platforms.clone();
        }
        let mut done = Done::from(Outcome::Failed(not_there(job)));
        let mut places = self.places(job).into_iter().enumerate().peekable();
        while let Some((position, place)) = places.next() {
            let bar = barred.at(position);
            let outcome = match bar {
                Some(why) => Outcome::Failed(why.clone()),
                None => self.run_at(job, place, &options, watch).await,
            };
            done.outcome = at_place(outcome, &place.repository);
            done.source = Some(place.repository.clone());
            let trouble = done.outcome.failure();
            let trouble = trouble.filter(|failure| failure.side == Some(Side::Source));
            let (Some(trouble), true) = (trouble, places.peek().is_some()) else {
                break;
            };
            let why = trouble.causes.join(": ");
            let what = match bar {
                Some(_) => "is not asked",
                None => "did not do",
            };
            note(Note::remark(&format!("`{place}` {what}: {why}")));
            if bar.is_none() {
                done.passed
                    .push((place.repository.clone(), trouble.clone()));
            }
        }
        done
    }
}

/// The same outcome, with the registry that failed as a source.
fn at_place(mut outcome: Outcome, place: &Repository) -> Outcome {
    if let Outcome::Failed(failure)
    | Outcome::Rejected(failure, _)
    | Outcome::Undetermined(failure, _) = &mut outcome
        && failure.side == Some(Side::Source)
    {
        failure.at = Some(place.registry().clone());
    }
    outcome
}

/// The failure of a job that is looked for nowhere; no plan has such a one.
fn not_there(job: &Job) -> Failure {
    let cause = format!("there is no place to look for `{}`", job.source);
    Failure::because(Stage::Resolve, Some(Side::Source), Kind::NotFound, &cause)
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
        let began = Instant::now();
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
        if let Outcome::Copied(copied) = &outcome
            && place.digest.is_none()
            && began.elapsed() >= self.second_look_after
        {
            self.look_again(place, copied.source, watch).await;
        }
        outcome
    }

    /// Says so where the tag of `place` does not name `copied` any more. The next run brings what it names now,
    /// so that an answer that cannot be had is no matter.
    async fn look_again(&self, place: &Reference, copied: Digest, watch: Watch<'_>) {
        let _work = watch.pace.work();
        let moved = match ask::digest(self.engine.client(), place).await {
            // Of two algorithms nobody can tell.
            Ok(now) if now == copied || now.algorithm() != copied.algorithm() => return,
            Ok(now) => format!("names `{now}` by now"),
            Err(failure) if failure.kind == Kind::NotFound => "is gone by now".to_owned(),
            Err(_) => return,
        };
        (watch.note)(Note::remark(&format!(
            "the tag of `{place}` moved while it was copied: `{copied}`, which it named, is what was copied; it {moved}"
        )));
    }
}

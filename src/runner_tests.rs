use std::fmt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tokio::time::sleep;

use super::*;
use crate::event::{Copied, Side, Tally};
use crate::list;
use crate::oci::{Digest, Pinned, Repository};
use crate::plan;
use crate::plan::Rewrite;
use crate::report::{Failures, Reporter as _};

#[path = "runner/ends_tests.rs"]
mod ends;

#[path = "runner/promises_tests.rs"]
mod promises;

#[path = "runner/registries_tests.rs"]
mod registries;

#[path = "runner/rivals_tests.rs"]
mod rivals;

/// What a job does, one after the other. Times are milliseconds.
#[derive(Debug, Clone, Copy)]
enum Step {
    Work(u64),
    Wait(u64),
    Say,
    /// Lets others run, without a clock.
    Yield,
}

/// How a job ends, when it is left to.
#[derive(Debug, Clone, Copy)]
enum Close {
    Copied,
    UpToDate,
    Failed(Kind, Option<Side>),
    NotTried,
    Hang,
    Panic,
    /// Hangs, and panics when it is dropped.
    HangBadly,
}

#[derive(Debug, Clone)]
struct Script {
    steps: Vec<Step>,
    close: Close,
}

impl From<Close> for Script {
    fn from(close: Close) -> Self {
        Self {
            steps: Vec::new(),
            close,
        }
    }
}

/// What a registry says before the first job.
#[derive(Debug, Clone, Copy)]
enum Door {
    Slow(u64),
    Refused(Kind),
    /// Open before the first job, and not later.
    Gone(Kind),
    /// Open before the first job, and without an answer later.
    Late,
    /// Refused on one side.
    NotAs(Side),
    Hang,
    Panic,
}

/// What a source says when it is asked for its digest.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Digest(u8),
    Failed(Kind),
    Panic,
}

/// Work whose every step is written down before.
#[derive(Debug, Default)]
struct Fake {
    /// By position; what has none is copied at once.
    scripts: Vec<Script>,
    /// By registry; what has none is open.
    doors: HashMap<String, Door>,
    /// By source; what has none has a digest of its own.
    answers: HashMap<String, Answer>,
    asked: Mutex<Vec<String>>,
    /// Registries that were tried by themselves.
    tried: Mutex<Vec<(Side, Registry)>>,
    /// Where a source is looked for, where that is not what its line says.
    places: HashMap<String, Vec<Repository>>,
    /// The registry that every job fails at which asks it, and how many did.
    fails_at: Option<Registry>,
    in_vain: AtomicUsize,
    running: AtomicUsize,
    running_most: AtomicUsize,
}

/// A panic that writes nothing to the screen of the tests.
fn panic_silently() -> ! {
    std::panic::resume_unwind(Box::new("planned"))
}

struct Running<'a>(&'a Fake);

impl<'a> Running<'a> {
    fn new(fake: &'a Fake) -> Self {
        let now = fake.running.fetch_add(1, Ordering::SeqCst) + 1;
        fake.running_most.fetch_max(now, Ordering::SeqCst);
        Self(fake)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic_silently();
    }
}

pub(super) fn failure(stage: Stage, kind: Kind, side: Option<Side>) -> Failure {
    Failure::because(stage, side, kind, "as planned")
}

pub(super) fn copied(job: &Job) -> Copied {
    let digest = Digest::sha256(job.source.to_string().as_bytes());
    Copied {
        image: Pinned {
            repository: job.destination.repository.clone(),
            digest,
        },
        source: digest,
        changed: None,
        tally: Tally::default(),
        validation: None,
        signing: None,
    }
}

impl Work for Fake {
    async fn preflight(&self, side: Side, repositories: &[&Repository]) -> Refused {
        let registry = repositories[0].registry();
        match self.doors.get(&registry.to_string()) {
            Some(Door::NotAs(own)) if *own == side => vec![(
                registry.clone().into(),
                failure(Stage::Preflight, Kind::Network, None),
            )],
            None | Some(Door::Gone(_) | Door::Late | Door::NotAs(_)) => Vec::new(),
            Some(Door::Slow(millis)) => {
                sleep(Duration::from_millis(*millis)).await;
                Vec::new()
            }
            Some(Door::Refused(kind)) => vec![(
                registry.clone().into(),
                failure(Stage::Preflight, *kind, None),
            )],
            Some(Door::Hang) => std::future::pending().await,
            Some(Door::Panic) => panic_silently(),
        }
    }

    async fn reach(&self, side: Side, repositories: &[&Repository]) -> Refused {
        let registry = repositories[0].registry();
        let door = self.doors.get(&registry.to_string());
        self.tried.lock().unwrap().push((side, registry.clone()));
        match door {
            Some(Door::Gone(kind)) => {
                let failure = failure(Stage::Preflight, *kind, None);
                vec![(registry.clone().into(), failure)]
            }
            Some(Door::Late) => std::future::pending().await,
            _ => self.preflight(side, repositories).await,
        }
    }

    fn sources<'a>(&'a self, job: &'a Job) -> Vec<&'a Repository> {
        match self.places.get(&job.source.to_string()) {
            Some(places) => places.iter().collect(),
            None => vec![&job.source.repository],
        }
    }

    async fn digest(&self, job: &Job, _: &Barred) -> Result<Digest, Failure> {
        let source = job.source.to_string();
        self.asked.lock().unwrap().push(source.clone());
        match self.answers.get(&source) {
            None => Ok(Digest::sha256(source.as_bytes())),
            Some(Answer::Digest(digest)) => Ok(Digest::sha256(&[*digest])),
            Some(Answer::Failed(kind)) => Err(failure(Stage::Resolve, *kind, Some(Side::Source))),
            Some(Answer::Panic) => panic_silently(),
        }
    }

    async fn run(
        &self,
        job: &Job,
        barred: &Barred,
        pace: &Pace,
        note: &(dyn Fn(Note) + Send + Sync),
    ) -> Done {
        let _running = Running::new(self);
        let script = self.scripts.get(job.id.position()).cloned();
        let script = script.unwrap_or_else(|| Close::Copied.into());
        let mut said = 0_usize;
        for step in script.steps {
            match step {
                Step::Work(millis) => {
                    let work = pace.work();
                    sleep(Duration::from_millis(millis)).await;
                    drop(work);
                }
                Step::Wait(millis) => {
                    pace.waiting(true);
                    sleep(Duration::from_millis(millis)).await;
                    pace.waiting(false);
                }
                Step::Say => {
                    note(Note::remark(&said.to_string()));
                    said += 1;
                }
                Step::Yield => tokio::task::yield_now().await,
            }
        }
        let as_written = match script.close {
            Close::Copied => Outcome::Copied(copied(job)),
            Close::UpToDate => Outcome::UpToDate(copied(job)),
            Close::Failed(kind, side) => Outcome::Failed(failure(Stage::Transfer, kind, side)),
            Close::NotTried => Outcome::NotTried(failure(Stage::Verify, Kind::Unsupported, None)),
            Close::Hang => std::future::pending().await,
            Close::Panic => panic_silently(),
            Close::HangBadly => {
                let _guard = PanicsWhenDropped;
                std::future::pending().await
            }
        };
        let mut done = Done::from(as_written.clone());
        let places = self.sources(job).into_iter().enumerate();
        for (position, place) in places {
            done.source = Some(place.clone());
            if let Some(why) = barred.at(position) {
                done.outcome = Outcome::Failed(why.clone());
            } else if self.fails_at.as_ref() == Some(place.registry()) {
                self.in_vain.fetch_add(1, Ordering::SeqCst);
                let gone = failure(Stage::Resolve, Kind::Network, Some(Side::Source));
                done.passed.push((place.clone(), gone));
            } else {
                done.outcome = as_written.clone();
            }
        }
        done
    }
}

/// When a run is told to stop.
#[derive(Debug, Clone, Copy)]
enum Stop {
    Never,
    At(u64, End),
    /// After so many events.
    After(usize, End),
}

/// Keeps what it is told, and hands it on to a failed list where there is one.
struct Recorder {
    events: Vec<Event>,
    ticks: usize,
    stop: Stop,
    wish: watch::Sender<Wish>,
    failed: Option<Failures>,
}

impl Recorder {
    fn stop_when_due(&self) {
        if let Stop::After(events, end) = self.stop
            && self.events.len() == events
        {
            self.wish.send_replace(Wish::Stop(end));
        }
    }
}

impl Consumer for Recorder {
    fn event(&mut self, event: &Event) {
        self.events.push(event.clone());
        if let Some(failed) = &mut self.failed {
            failed.event(event).unwrap();
        }
        self.stop_when_due();
    }

    fn tick(&mut self) {
        self.ticks += 1;
        if let Some(failed) = &mut self.failed {
            failed.tick().unwrap();
        }
    }
}

/// A run from its list to its stop.
#[derive(Debug)]
struct Case {
    plan: Arc<Plan>,
    work: Arc<Fake>,
    settings: Settings,
    stop: Stop,
}

/// What became of a [`Case`].
struct Story {
    plan: Arc<Plan>,
    work: Arc<Fake>,
    events: Vec<Event>,
    ticks: usize,
    summary: Summary,
    end: End,
    took: Duration,
}

fn plan_of(text: &str) -> Arc<Plan> {
    let parsed = list::parse("images.txt", text.as_bytes()).unwrap();
    assert!(parsed.bad.is_empty(), "{:?}", parsed.bad);
    Arc::new(plan::plan(parsed.entries, &Rewrite::default()).unwrap())
}

/// A list of `count` lines that have nothing but their registries in common.
fn lines(source: &str, count: usize, destination: &str) -> String {
    let line = |n| format!("{source}/a/x{n}:1 {destination}/b/{source}-x{n} 1\n");
    (0..count).map(line).collect()
}

/// Lines with different sources for one destination.
fn rivals(sources: &[&str]) -> String {
    let line = |source: &&str| format!("{source} d.io/b/y 1\n");
    sources.iter().map(line).collect()
}

impl Case {
    fn new(list: &str, scripts: Vec<Script>) -> Self {
        Self {
            plan: plan_of(list),
            work: Arc::new(Fake {
                scripts,
                ..Fake::default()
            }),
            settings: Settings {
                jobs: NonZeroUsize::new(4).unwrap(),
                timeout: None,
                skipped: 0,
                warnings: Vec::new(),
            },
            stop: Stop::Never,
        }
    }

    /// The same close for every job.
    fn all(list: &str, close: Close) -> Self {
        Self::new(list, vec![close.into(); plan_of(list).jobs().len()])
    }

    fn jobs(mut self, jobs: usize) -> Self {
        self.settings.jobs = NonZeroUsize::new(jobs).unwrap();
        self
    }

    fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    fn door(mut self, registry: &str, door: Door) -> Self {
        let work = Arc::get_mut(&mut self.work).unwrap();
        work.doors.insert(registry.to_owned(), door);
        self
    }

    fn answer(mut self, source: &str, answer: Answer) -> Self {
        let work = Arc::get_mut(&mut self.work).unwrap();
        work.answers.insert(source.to_owned(), answer);
        self
    }

    async fn run(self) -> Story {
        self.run_into(None).await
    }

    async fn run_into(self, failed: Option<Failures>) -> Story {
        let (wish, wishes) = watch::channel(Wish::Go);
        let mut recorder = Recorder {
            events: Vec::new(),
            ticks: 0,
            stop: self.stop,
            wish: wish.clone(),
            failed,
        };
        let began = Instant::now();
        let (plan, work) = (Arc::clone(&self.plan), Arc::clone(&self.work));
        let run = Box::pin(run(plan, work, self.settings, wishes, &mut recorder));
        let stop = async {
            match self.stop {
                Stop::At(millis, end) => {
                    sleep(Duration::from_millis(millis)).await;
                    wish.send_replace(Wish::Stop(end));
                }
                Stop::Never | Stop::After(..) => {}
            }
            std::future::pending::<()>().await;
        };
        let (summary, end) = tokio::select! {
            biased;
            ran = run => ran,
            () = stop => unreachable!(),
        };
        Story {
            plan: self.plan,
            work: self.work,
            events: recorder.events,
            ticks: recorder.ticks,
            summary,
            end,
            took: began.elapsed(),
        }
    }
}

impl Story {
    /// The one outcome of `job`, and how long it took.
    fn ended(&self, job: usize) -> (&Outcome, Duration) {
        let mut ended = self.events.iter().filter_map(|event| match event {
            Event::Finished {
                job: id,
                outcome,
                elapsed,
            } if id.position() == job => Some((outcome, *elapsed)),
            Event::Began { .. }
            | Event::Started { .. }
            | Event::Noted { .. }
            | Event::Paused(_)
            | Event::Finished { .. }
            | Event::Ended { .. } => None,
        });
        let first = ended.next().unwrap();
        assert_eq!(ended.next(), None, "job {job} ended twice");
        first
    }

    fn outcome(&self, job: usize) -> &Outcome {
        self.ended(job).0
    }

    fn has_started(&self, job: usize) -> bool {
        self.events.contains(&Event::Started {
            job: JobId::new(job),
        })
    }

    /// The words of all outcomes, in list order.
    fn words(&self) -> Vec<&'static str> {
        (0..self.plan.jobs().len())
            .map(|job| self.outcome(job).as_str())
            .collect()
    }

    fn failure(&self, job: usize) -> &Failure {
        self.outcome(job).failure().unwrap()
    }

    fn code(&self) -> u8 {
        self.summary.exit_code(self.end)
    }

    /// Promise 1.
    fn ends_every_line_once(&self) {
        let mut ledger = Ledger::new(self.plan.jobs().len(), 0);
        for event in &self.events {
            if let Event::Finished { job, outcome, .. } = event {
                ledger.finish(*job, outcome).unwrap();
            }
        }
        assert_eq!(ledger.open().next(), None);
        assert_eq!(*ledger.summary(), self.summary);
    }

    /// Promise 6, and what else is said of the order.
    fn has_its_events_in_order(&self) {
        #[derive(PartialEq, Debug, Clone, Copy)]
        enum State {
            Waiting,
            Running { said: usize },
            Ended,
        }
        let mut states = vec![State::Waiting; self.plan.jobs().len()];
        let last = self.events.len() - 1;
        for (at, event) in self.events.iter().enumerate() {
            assert_eq!(at == 0, matches!(event, Event::Began { .. }));
            assert_eq!(at == last, matches!(event, Event::Ended { .. }));
            match event {
                Event::Began { jobs, warnings: _ } => assert_eq!(*jobs, states.len()),
                Event::Started { job } => {
                    let state = &mut states[job.position()];
                    assert_eq!(*state, State::Waiting);
                    *state = State::Running { said: 0 };
                }
                Event::Noted { job, note } => match &mut states[job.position()] {
                    State::Running { said } => {
                        assert_eq!(*note, Note::remark(&said.to_string()));
                        *said += 1;
                    }
                    state @ (State::Waiting | State::Ended) => {
                        panic!("a note of {job:?}, which is {state:?}")
                    }
                },
                Event::Finished {
                    job,
                    outcome,
                    elapsed,
                } => {
                    let state = &mut states[job.position()];
                    match *state {
                        State::Waiting => assert_eq!(*elapsed, Duration::ZERO),
                        State::Running { said } => self.told_all(*job, outcome, said),
                        State::Ended => panic!("{job:?} ended twice"),
                    }
                    *state = State::Ended;
                }
                Event::Paused(_) => {}
                Event::Ended { summary, end } => {
                    assert_eq!(*summary, self.summary);
                    assert_eq!(*end, self.end);
                    assert!(states.iter().all(|state| *state == State::Ended));
                }
            }
        }
    }

    /// A job that came to its own end has said all it had to say.
    fn told_all(&self, job: JobId, outcome: &Outcome, said: usize) {
        let stopped = outcome.failure().is_some_and(|failure| {
            matches!(
                failure.kind,
                Kind::Timeout | Kind::Cancelled | Kind::Internal
            )
        });
        if let Some(script) = self.work.scripts.get(job.position())
            && !stopped
        {
            let says = |step: &&Step| matches!(step, Step::Say);
            assert_eq!(said, script.steps.iter().filter(says).count());
        }
    }

    /// Every job that was started ended as its script says, or was stopped; the others have a reason.
    fn ends_as_written(&self, timeout: Option<Duration>) {
        let interrupted = self.end != End::Completed;
        for job in self.plan.jobs() {
            let at = job.id.position();
            let outcome = self.outcome(at);
            let kind = outcome.failure().map(|failure| failure.kind);
            if kind == Some(Kind::Cancelled) {
                assert!(interrupted);
                assert_eq!(matches!(outcome, Outcome::Failed(_)), self.has_started(at));
                continue;
            }
            if self.has_started(at) {
                self.ends_as_script(job, outcome, timeout);
                continue;
            }
            match (job.course, outcome) {
                (Course::Duplicate { of }, other) => {
                    assert_eq!(*other, Outcome::Duplicate { of });
                }
                (Course::Contested { group }, Outcome::Duplicate { of }) => {
                    assert!(self.plan.contests()[group].contains(of));
                    assert!(*of < job.id);
                }
                (Course::Contested { .. }, Outcome::Failed(_)) | (_, Outcome::NotTried(_)) => {}
                (course, outcome) => panic!("{course:?} ended without a start: {outcome:?}"),
            }
        }
    }

    fn ends_as_script(&self, job: &Job, outcome: &Outcome, timeout: Option<Duration>) {
        let script = &self.work.scripts[job.id.position()];
        let counted = script.steps.iter().map(|step| match step {
            Step::Work(millis) => Duration::from_millis(*millis),
            Step::Wait(_) | Step::Say | Step::Yield => Duration::ZERO,
        });
        let late = timeout.is_some_and(|timeout| counted.sum::<Duration>() > timeout);
        let failed = |kind| {
            outcome
                .failure()
                .is_some_and(|failure| failure.kind == kind)
        };
        let as_written = match script.close {
            _ if late => failed(Kind::Timeout),
            Close::Hang => failed(Kind::Timeout),
            Close::HangBadly | Close::Panic => failed(Kind::Internal),
            Close::Copied => *outcome == Outcome::Copied(copied(job)),
            Close::UpToDate => *outcome == Outcome::UpToDate(copied(job)),
            Close::Failed(kind, _) => failed(kind),
            Close::NotTried => failed(Kind::Unsupported),
        };
        assert!(as_written, "{script:?} ended as {outcome:?}");
    }
}

impl fmt::Debug for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.events.fmt(f)
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Whether `time` is `millis`, as exact as the timers are.
fn is_about(time: Duration, millis: u64) -> bool {
    let least = Duration::from_millis(millis);
    (least..least + Duration::from_millis(3)).contains(&time)
}

fn steps(steps: &[Step], close: Close) -> Script {
    Script {
        steps: steps.to_vec(),
        close,
    }
}

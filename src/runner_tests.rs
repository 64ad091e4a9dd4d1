use std::fmt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tokio::time::sleep;

use super::*;
use crate::event::{Copied, Side, Tally};
use crate::list;
use crate::oci::{Digest, Pinned, Registry, Repository};
use crate::plan;
use crate::plan::Rewrite;
use crate::report::{Failures, Reporter as _};

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

fn any_kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::NotFound,
        Kind::Unauthorized,
        Kind::Network,
        Kind::Integrity,
    ])
}

fn any_side() -> impl Strategy<Value = Option<Side>> {
    prop::sample::select(vec![None, Some(Side::Source), Some(Side::Destination)])
}

fn any_close() -> impl Strategy<Value = Close> {
    prop_oneof![
        4 => Just(Close::Copied),
        2 => Just(Close::UpToDate),
        3 => (any_kind(), any_side()).prop_map(|(kind, side)| Close::Failed(kind, side)),
        1 => Just(Close::NotTried),
        1 => Just(Close::Hang),
        1 => Just(Close::Panic),
        1 => Just(Close::HangBadly),
    ]
}

/// Steps whose times are even, so that no odd deadline meets the end of one.
fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..1500).prop_map(|half| Step::Work(2 * half)),
        (0_u64..1500).prop_map(|half| Step::Wait(2 * half)),
        Just(Step::Say),
    ]
}

fn any_script() -> impl Strategy<Value = Script> {
    (prop::collection::vec(any_step(), 0..5), any_close())
        .prop_map(|(steps, close)| Script { steps, close })
}

fn any_stop() -> impl Strategy<Value = Stop> {
    let end = prop::sample::select(vec![End::Interrupted, End::Terminated]);
    (any::<bool>(), 0_u64..20_000, 1_usize..60, end).prop_map(|(by_time, at, after, end)| {
        if by_time {
            Stop::At(at, end)
        } else {
            Stop::After(after, end)
        }
    })
}

/// Lists in which duplicates and contests are frequent.
fn any_list() -> impl Strategy<Value = String> {
    let line = (0_usize..3, 0_usize..6, 0_usize..2, 0_usize..12)
        .prop_map(|(from, x, to, y)| format!("s{from}.io/a/x{x}:1 d{to}.io/b/y{y} 1\n"));
    prop::collection::vec(line, 0..25).prop_map(|lines| lines.concat())
}

fn any_doors() -> impl Strategy<Value = HashMap<String, Door>> {
    let registry = prop::sample::select(vec!["s0.io", "s1.io", "s2.io", "d0.io", "d1.io"]);
    let door = prop_oneof![
        4 => (0_u64..3000).prop_map(Door::Slow),
        2 => any_kind().prop_map(Door::Refused),
        1 => Just(Door::Panic),
    ];
    prop::collection::hash_map(registry.prop_map(str::to_owned), door, 0..3)
}

fn any_answers() -> impl Strategy<Value = HashMap<String, Answer>> {
    let source = (0_usize..3, 0_usize..6).prop_map(|(from, x)| format!("s{from}.io/a/x{x}:1"));
    let answer = prop_oneof![
        8 => (0_u8..2).prop_map(Answer::Digest),
        2 => any_kind().prop_map(Answer::Failed),
        1 => Just(Answer::Panic),
    ];
    prop::collection::hash_map(source, answer, 0..18)
}

prop_compose! {
    /// A run in which anything may happen. Whatever hangs meets a deadline.
    fn any_case()(
        list in any_list(),
        scripts in prop::collection::vec(any_script(), 25),
        doors in any_doors(),
        answers in any_answers(),
        jobs in 1_usize..6,
        timeout in prop::option::of(0_u64..4000),
        stop in any_stop(),
    ) -> Case {
        let mut case = Case::new(&list, scripts).jobs(jobs).stop(stop);
        let work = Arc::get_mut(&mut case.work).unwrap();
        work.doors = doors;
        work.answers = answers;
        case.settings.timeout = match (timeout, stop) {
            (Some(half), _) => Some(Duration::from_millis(2 * half + 1)),
            (None, Stop::At(..)) => None,
            (None, Stop::Never | Stop::After(..)) => Some(Duration::from_millis(3001)),
        };
        case
    }
}

/// Runs `work` on one thread and a clock that stands still while anything can be done.
fn paused<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}

/// Runs `work` on several threads and the real clock.
fn threaded<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_time()
        .build()
        .unwrap()
        .block_on(work)
}

proptest! {
    /// Promise 1.
    #[test]
    fn every_line_ends_once(case in any_case()) {
        let (settings, stop) = (case.settings.clone(), case.stop);
        let done = paused(case.run());
        done.ends_every_line_once();
        done.ends_as_written(settings.timeout);
        prop_assert!(done.work.running_most.load(Ordering::SeqCst) <= settings.jobs.get());
        prop_assert_eq!(done.work.running.load(Ordering::SeqCst), 0);
        if let Stop::At(millis, _) = stop {
            // One millisecond is how exact the timers are.
            prop_assert!(done.took <= Duration::from_millis(millis + 1));
        }
    }

    /// Promise 6.
    #[test]
    fn nothing_after_the_end(case in any_case()) {
        let done = paused(case.run());
        done.has_its_events_in_order();
    }

    /// The same where jobs really run at one time.
    #[test]
    fn nothing_after_the_end_on_several_threads(
        says in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..12), 0..40),
        panics in 0_usize..40,
        jobs in 1_usize..9,
        after in 1_usize..300,
    ) {
        let scripts: Vec<Script> = says
            .iter()
            .enumerate()
            .map(|(job, says)| Script {
                steps: says.iter().map(|say| if *say { Step::Say } else { Step::Yield }).collect(),
                close: if job == panics { Close::Panic } else { Close::Copied },
            })
            .collect();
        let list = lines("s.io", scripts.len(), "d.io");
        let case = Case::new(&list, scripts).jobs(jobs);
        let done = threaded(case.stop(Stop::After(after, End::Interrupted)).run());
        done.has_its_events_in_order();
        done.ends_every_line_once();
        done.ends_as_written(None);
        prop_assert!(done.work.running_most.load(Ordering::SeqCst) <= jobs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Promise 2, from a run to the next plan.
    #[test]
    fn the_report_is_a_list(case in any_case()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mirror-failed.txt");
        let failed = Failures::create(&path, &case.plan, &[], "mirror").unwrap();
        let done = paused(case.run_into(Some(failed)));
        let left: Vec<_> = done.plan.jobs().iter()
            .filter(|job| done.outcome(job.id.position()).failure().is_some())
            .map(|job| (&job.source, &job.destination, &job.line.text))
            .collect();
        prop_assert_eq!(path.exists(), !left.is_empty());
        let again = if left.is_empty() { Arc::default() } else { plan_of(&text(&path)) };
        let planned: Vec<_> = again.jobs().iter()
            .map(|job| (&job.source, &job.destination, &job.line.text))
            .collect();
        prop_assert_eq!(planned, left);
        prop_assert_eq!(again.duplicates().count(), 0);
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

#[tokio::test(start_paused = true)]
async fn no_more_jobs_run_at_once_than_asked() {
    let second = steps(&[Step::Work(1000)], Close::Copied);
    let case = Case::new(&lines("s.io", 20, "d.io"), vec![second; 20]);
    let done = case.jobs(3).run().await;
    assert_eq!(done.work.running_most.load(Ordering::SeqCst), 3);
    assert_eq!(done.summary.copied, 20);
    assert!(is_about(done.took, 7000), "{:?}", done.took);
    assert_eq!(done.code(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_empty_plan_is_done_at_once() {
    let done = Case::new("", Vec::new()).run().await;
    done.has_its_events_in_order();
    assert_eq!((done.events.len(), done.code()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_ends_without_a_start() {
    let line = lines("s.io", 1, "d.io");
    let done = Case::new(&line.repeat(2), Vec::new()).run().await;
    assert_eq!(done.words(), ["copied", "duplicate"]);
    assert!(!done.has_started(1));
    assert_eq!(done.code(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_out_of_time_says_so() {
    let list = lines("s.io", 2, "d.io");
    let case = Case::new(&list, vec![Close::Hang.into(), Close::Copied.into()]);
    let done = case.timeout(Duration::from_secs(90)).run().await;
    let failure = done.failure(0);
    assert_eq!(
        (failure.stage, failure.kind, failure.side),
        (Stage::Run, Kind::Timeout, None)
    );
    assert_eq!(failure.causes[..], ["it took longer than 1m 30s"]);
    assert!(is_about(done.ended(0).1, 90_000));
    assert_eq!(done.words(), ["failed", "copied"]);
    assert_eq!(done.code(), 4);
}

#[tokio::test(start_paused = true)]
async fn only_waiting_for_other_jobs_does_not_count() {
    let scripts = vec![
        steps(&[Step::Work(2000), Step::Wait(99_000)], Close::Copied),
        steps(
            &[Step::Work(2000), Step::Wait(99_000), Step::Work(2000)],
            Close::Copied,
        ),
    ];
    let case = Case::new(&lines("s.io", 2, "d.io"), scripts);
    let done = case.timeout(Duration::from_secs(3)).run().await;
    assert_eq!(done.words(), ["copied", "failed"]);
    assert!(is_about(done.ended(0).1, 101_000));
    assert_eq!(done.failure(1).kind, Kind::Timeout);
    assert!(is_about(done.ended(1).1, 102_000));
}

#[tokio::test(start_paused = true)]
async fn the_greatest_timeout_is_none() {
    let script = steps(&[Step::Wait(1000), Step::Work(1000)], Close::Copied);
    let case = Case::new(&lines("s.io", 1, "d.io"), vec![script]);
    let done = case.timeout(Duration::MAX).run().await;
    assert_eq!(done.words(), ["copied"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_only_its_line() {
    let scripts = vec![
        Close::Copied.into(),
        steps(&[Step::Say, Step::Work(10)], Close::Panic),
        Close::Panic.into(),
        steps(&[Step::Work(50)], Close::UpToDate),
        Close::Failed(Kind::NotFound, None).into(),
    ];
    let case = Case::new(&lines("s.io", 5, "d.io"), scripts);
    let done = case.jobs(2).run().await;
    assert_eq!(
        done.words(),
        ["copied", "failed", "failed", "up-to-date", "failed"]
    );
    for job in [1, 2] {
        assert_eq!(done.failure(job).kind, Kind::Internal);
    }
    assert!(is_about(done.ended(1).1, 10));
    assert_eq!(done.code(), 70);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_job_is_stopped_ends_only_its_line() {
    let scripts = vec![Close::HangBadly.into(), Close::Copied.into()];
    let case = Case::new(&lines("s.io", 2, "d.io"), scripts);
    let done = case.timeout(Duration::from_secs(1)).jobs(1).run().await;
    assert_eq!(done.words(), ["failed", "copied"]);
    assert_eq!(done.failure(0).kind, Kind::Internal);
    assert_eq!(done.code(), 70);
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_jobs_ends_only_its_lines() {
    let list = lines("bad.io", 1, "d.io")
        + &rivals(&["s.io/a/x:1", "s.io/a/y:1"])
        + &lines("good.io", 1, "d.io");
    let done = Case::new(&list, Vec::new())
        .door("bad.io", Door::Panic)
        .answer("s.io/a/y:1", Answer::Panic)
        .run()
        .await;
    assert_eq!(done.words(), ["not-tried", "failed", "failed", "copied"]);
    for job in 0..3 {
        assert_eq!(done.failure(job).kind, Kind::Internal);
    }
    assert_eq!(done.code(), 70);
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_what_runs_and_leaves_the_rest() {
    for (end, code) in [(End::Interrupted, 130), (End::Terminated, 143)] {
        let scripts = vec![
            Close::Panic.into(),
            steps(&[Step::Work(100)], Close::Copied),
            Close::Hang.into(),
            steps(&[Step::Work(100), Step::Say], Close::Hang),
            Close::Copied.into(),
        ];
        let case = Case::new(&lines("s.io", 5, "d.io"), scripts).jobs(2);
        let done = case.stop(Stop::At(5000, end)).run().await;
        done.has_its_events_in_order();
        assert_eq!(
            done.words(),
            ["failed", "copied", "failed", "failed", "not-tried"]
        );
        for job in 2..5 {
            assert_eq!(done.failure(job).kind, Kind::Cancelled);
        }
        assert!(!done.has_started(4));
        assert!(is_about(done.took, 5000));
        assert_eq!((done.end, done.code()), (end, code));
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_before_the_jobs_leaves_all_of_them() {
    let list = lines("s.io", 2, "d.io");
    let done = Case::new(&(list.clone() + &list), Vec::new())
        .door("s.io", Door::Hang)
        .stop(Stop::At(1000, End::Terminated))
        .run()
        .await;
    done.has_its_events_in_order();
    assert_eq!(
        done.words(),
        ["not-tried", "not-tried", "duplicate", "duplicate"]
    );
    assert_eq!(done.failure(0).kind, Kind::Cancelled);
    assert!(is_about(done.took, 1000));
    assert_eq!(done.code(), 143);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_dropped_ends_its_jobs() {
    let case = Case::all(&lines("s.io", 3, "d.io"), Close::Hang);
    let work = Arc::clone(&case.work);
    let run = tokio::time::timeout(Duration::from_secs(1), Box::pin(case.run()));
    assert!(run.await.is_err());
    tokio::task::yield_now().await;
    assert_eq!(work.running_most.load(Ordering::SeqCst), 3);
    assert_eq!(work.running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn the_reports_get_their_time() {
    let waiting = lines("s.io", 1, "d.io");
    let before = Case::all(&waiting, Close::Copied)
        .door("s.io", Door::Slow(10_000))
        .run();
    let running = Case::new(&waiting, vec![steps(&[Step::Work(10_000)], Close::Copied)]).run();
    for done in [before.await, running.await] {
        assert!((45..=55).contains(&done.ticks), "{}", done.ticks);
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_refuses_ends_its_lines_by_side() {
    let list = lines("bad.io", 2, "d.io") + &lines("s.io", 2, "bad.io") + &lines("s.io", 1, "d.io");
    let done = Case::new(&list, Vec::new())
        .door("bad.io", Door::Refused(Kind::Unauthorized))
        .run()
        .await;
    assert_eq!(
        done.words(),
        [["not-tried"; 4].as_slice(), &["copied"]].concat()
    );
    for (job, side) in [
        (0, Side::Source),
        (1, Side::Source),
        (2, Side::Destination),
        (3, Side::Destination),
    ] {
        let failure = done.failure(job);
        assert_eq!(
            (failure.stage, failure.kind, failure.side),
            (Stage::Preflight, Kind::Unauthorized, Some(side))
        );
        assert!(!done.has_started(job));
    }
    assert_eq!(done.code(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_gone_ends_its_remaining_lines() {
    for (side, from, to) in [
        (Side::Source, "gone.io", "d.io"),
        (Side::Destination, "s.io", "gone.io"),
    ] {
        let list = lines(from, 12, to) + &lines("other.io", 2, "else.io");
        let mut case = Case::all(&list, Close::Failed(Kind::Network, Some(side)))
            .door("gone.io", Door::Gone(Kind::Network));
        Arc::get_mut(&mut case.work).unwrap().scripts.truncate(12);
        let done = case.jobs(1).run().await;
        // One more is under way while the registry is tried.
        let expected = [["failed"; 9].as_slice(), &["not-tried"; 3], &["copied"; 2]];
        assert_eq!(done.words(), expected.concat());
        let failure = done.failure(11);
        assert_eq!(
            (failure.stage, failure.kind, failure.side),
            (Stage::Run, Kind::Network, Some(side))
        );
        assert_eq!(done.code(), 4);
    }
}

/// A list that begins with a project in trouble, and is fed back, must not begin there for ever.
#[tokio::test(start_paused = true)]
async fn a_registry_that_answers_when_it_is_tried_goes_on_for_a_while() {
    let close = Close::Failed(Kind::Network, Some(Side::Source));
    let mut case = Case::all(&lines("s.io", 100, "d.io"), close).jobs(1);
    Arc::get_mut(&mut case.work).unwrap().scripts.truncate(40);
    let done = case.run().await;
    assert_eq!((done.summary.failed, done.summary.copied), (40, 60));
    // After 8, 16 and 32 in a row.
    assert_eq!(done.work.tried.lock().unwrap().len(), 3);

    let done = Case::all(&lines("s.io", 2000, "d.io"), close).run().await;
    assert_eq!(done.summary.not_tried, 2000 - done.summary.failed);
    assert!((64..70).contains(&done.summary.failed), "{done:?}");
    let causes = &done.failure(1999).causes;
    assert_eq!(
        causes[0],
        "64 images in a row got no usable answer from `s.io`"
    );
}

/// Nobody waits for a registry that is tried by itself, and it is not tried for ever.
#[tokio::test(start_paused = true)]
async fn a_registry_that_is_tried_holds_nobody_up() {
    let close = Close::Failed(Kind::Unauthorized, Some(Side::Destination));
    let scripts = vec![steps(&[Step::Work(10)], close); 2000];
    let case = Case::new(&lines("s.io", 2000, "d.io"), scripts.clone());
    let done = case.jobs(8).run().await;
    assert_eq!(done.summary.failed, 2000);
    let tried = done.work.tried.lock().unwrap().len();
    assert!((30..60).contains(&tried), "{tried}");

    let mut case = Case::new(&lines("s.io", 2000, "d.io"), scripts).jobs(8);
    case = case.door("d.io", Door::Late);
    let done = case.run().await;
    assert_eq!(done.summary.failed, 2000);
    assert!(is_about(done.took, 2500), "{:?}", done.took);
    done.has_its_events_in_order();
    done.ends_every_line_once();
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_came_to_its_end_ends_what_is_left() {
    let denied = Close::Failed(Kind::Unauthorized, Some(Side::Destination));
    let scripts = vec![steps(&[Step::Work(10)], denied); 100];
    let case = Case::new(&lines("s.io", 100, "d.io"), scripts).jobs(8);
    let case = case.door("d.io", Door::Gone(Kind::Unauthorized));
    let done = case.run().await;
    assert!(done.summary.failed <= 16, "{done:?}");
    assert_eq!(done.summary.not_tried, 100 - done.summary.failed);
    assert_eq!(done.failure(99).side, Some(Side::Destination));
    assert_eq!(done.code(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_signal_while_a_registry_is_tried_ends_the_run() {
    let denied = Close::Failed(Kind::Unauthorized, Some(Side::Destination));
    let scripts = vec![steps(&[Step::Work(10)], denied); 100];
    let case = Case::new(&lines("s.io", 100, "d.io"), scripts).jobs(2);
    let case = case.door("d.io", Door::Late);
    let done = case.stop(Stop::At(105, End::Interrupted)).run().await;
    done.has_its_events_in_order();
    done.ends_every_line_once();
    assert!(is_about(done.took, 105), "{:?}", done.took);
    assert_eq!(done.code(), 130);
}

/// Each has waited for as long as it was asked to; 2,000 of them would be days.
#[tokio::test(start_paused = true)]
async fn a_registry_that_throttles_everything_ends_its_remaining_lines() {
    let close = Close::Failed(Kind::RateLimited, Some(Side::Source));
    let list = lines("s.io", 40, "d.io") + &lines("d.io", 1, "s.io");
    let mut case = Case::all(&list, close).jobs(1);
    Arc::get_mut(&mut case.work).unwrap().scripts.truncate(40);
    let done = case.run().await;
    // Pushes are limited by themselves.
    assert_eq!(
        done.words()[7..],
        [["failed"].as_slice(), &["not-tried"; 32], &["copied"]].concat()
    );
    let failure = done.failure(39);
    assert_eq!(
        (failure.kind, failure.causes[0].as_str()),
        (
            Kind::RateLimited,
            "8 images in a row were throttled by `s.io`"
        )
    );
    assert_eq!(done.code(), 4);
}

/// What cannot be reached as a source, for want of trust say, may be a destination.
#[tokio::test(start_paused = true)]
async fn lines_that_were_not_tried_end_no_others() {
    let list = lines("bad.io", 20, "d.io") + &lines("s.io", 1, "bad.io");
    let case = Case::new(&list, Vec::new()).jobs(1);
    let done = case.door("bad.io", Door::NotAs(Side::Source)).run().await;
    assert_eq!(done.words()[19..], ["not-tried", "copied"]);
}

/// Large images are no registry that is gone.
#[tokio::test(start_paused = true)]
async fn images_that_stay_and_take_too_long_end_no_others() {
    let copies = lines("s.io", 40, "d.io");
    let list: Vec<String> = (0..40).map(|n| format!("s.io/a/x{n}:1")).collect();
    let parsed = list::parse("images.txt", list.join("\n").as_bytes()).unwrap();
    let mut case = Case::all(&copies, Close::Hang).jobs(1);
    let (plan, wrong) = plan::plan_in_place(parsed.entries, &plan::Stay::default());
    assert!(wrong.is_empty());
    case.plan = Arc::new(plan);
    let done = case.timeout(Duration::from_secs(1)).run().await;
    assert_eq!(done.summary.failed, 40);
    assert!(done.work.tried.lock().unwrap().is_empty());
}

/// A mirror that is gone is left, and what it stands in front of goes on.
#[tokio::test(start_paused = true)]
async fn a_place_that_is_gone_is_not_asked_any_more() {
    let list = lines("s.io", 40, "d.io");
    let mirror = |path: &str| Repository::new("m.io".parse().unwrap(), path).unwrap();
    let places = |case: &mut Case| {
        let work = Arc::get_mut(&mut case.work).unwrap();
        for job in case.plan.jobs() {
            let here = vec![
                mirror(job.source.repository.path()),
                job.source.repository.clone(),
            ];
            work.places.insert(job.source.to_string(), here);
        }
        work.fails_at = Some("m.io".parse().unwrap());
    };
    for (door, asked) in [
        (Some(Door::Refused(Kind::Network)), 0),
        (Some(Door::Gone(Kind::Network)), 9),
        (None, 40),
    ] {
        let mut case = Case::all(&list, Close::Copied).jobs(1);
        places(&mut case);
        if let Some(door) = door {
            case = case.door("m.io", door);
        }
        let done = case.run().await;
        assert_eq!(done.summary.copied, 40);
        let in_vain = done.work.in_vain.load(Ordering::SeqCst);
        assert_eq!(in_vain, asked, "{door:?}");
    }
    // Where the mirror does not have it, and the registry is gone, that is the reason.
    let mut case = Case::all(&list, Close::Copied).jobs(1);
    places(&mut case);
    let done = case.door("s.io", Door::Refused(Kind::Network)).run().await;
    assert_eq!(done.summary.failed + done.summary.not_tried, 40);
    assert_eq!(done.failure(0).kind, Kind::Network);
    assert_eq!(done.code(), 4);
}

#[tokio::test(start_paused = true)]
async fn rivals_that_mean_one_digest_run_once() {
    let sources = ["s.io/a/x:1", "t.io/a/x:1", "u.io/a/x:1"];
    let mut case = Case::new(&rivals(&sources), Vec::new());
    for source in sources {
        case = case.answer(source, Answer::Digest(7));
    }
    let done = case.run().await;
    assert_eq!(done.words(), ["copied", "duplicate", "duplicate"]);
    assert_eq!(*done.outcome(2), Outcome::Duplicate { of: JobId::new(0) });
    assert_eq!(done.code(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_rival_takes_over_where_the_first_does_not_end_well() {
    let sources = ["s.io/a/x:1", "t.io/a/x:1", "u.io/a/x:1", "v.io/a/x:1"];
    let closes = [
        Close::NotTried,
        Close::Failed(Kind::NotFound, Some(Side::Source)),
        Close::Copied,
        Close::Copied,
    ];
    for jobs in 1..=4 {
        let scripts = closes.map(Script::from).to_vec();
        let mut case = Case::new(&rivals(&sources), scripts).jobs(jobs);
        for source in sources {
            case = case.answer(source, Answer::Digest(7));
        }
        let done = case.run().await;
        done.has_its_events_in_order();
        assert_eq!(done.words(), ["not-tried", "failed", "copied", "duplicate"]);
        assert_eq!(*done.outcome(3), Outcome::Duplicate { of: JobId::new(2) });
    }
}

#[tokio::test(start_paused = true)]
async fn rivals_that_differ_fail_by_name_and_the_others_run() {
    let list = rivals(&["s.io/a/x:1", "t.io/a/x:1"]) + &lines("s.io", 1, "d.io");
    let done = Case::new(&list, Vec::new()).run().await;
    assert_eq!(done.words(), ["failed", "failed", "copied"]);
    for job in [0, 1] {
        let failure = done.failure(job);
        assert_eq!(
            (failure.stage, failure.kind, failure.side),
            (Stage::Plan, Kind::Conflict, Some(Side::Destination))
        );
        let said = failure.causes.join("\n");
        for part in [
            "`d.io/b/y:1`",
            "images.txt:1 brings `s.io/a/x:1` (sha256:",
            "images.txt:2 brings `t.io/a/x:1` (sha256:",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
    assert_eq!(done.code(), 1);
}

#[tokio::test(start_paused = true)]
async fn however_long_the_names_of_rivals_are_each_is_said() {
    let path = "long/".repeat(40);
    let sources: Vec<String> = (0..5).map(|n| format!("s{n}.io/{path}x:1")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let done = Case::new(&rivals(&sources), Vec::new()).run().await;
    let said = done.failure(0).causes.join("\n");
    for (line, source) in sources.iter().enumerate() {
        let part = format!("images.txt:{} brings `{source}` (sha256:", line + 1);
        assert!(said.contains(&part), "{said}");
    }
    // What does not fit is counted.
    let sources: Vec<String> = (0..12).map(|n| format!("s{n}.io/a/x:1")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let done = Case::new(&rivals(&sources), Vec::new()).run().await;
    assert_eq!(done.summary.failed, 12);
    for job in 0..12 {
        let causes = &done.failure(job).causes;
        assert_eq!(causes.len(), crate::event::CAUSES_MAX);
        let own = format!("images.txt:{} brings", job + 1);
        assert!(causes.iter().any(|cause| cause.starts_with(&own)), "{own}");
        assert_eq!(causes.last().unwrap(), "lines like these: 6 more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rival_that_is_missing_fails_alone() {
    for others in [["s.io/a/x:1", "t.io/a/x:1"].as_slice(), &["s.io/a/x:1"]] {
        let sources = [others, &["gone.io/a/x:1"]].concat();
        let mut case = Case::new(&rivals(&sources), Vec::new())
            .answer("gone.io/a/x:1", Answer::Failed(Kind::NotFound));
        for source in others {
            case = case.answer(source, Answer::Digest(7));
        }
        let done = case.run().await;
        let missing = others.len();
        assert_eq!(*done.outcome(0).as_str(), *"copied");
        assert_eq!(done.failure(missing).kind, Kind::NotFound);
        assert_eq!(done.summary.failed, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rival_that_cannot_be_asked_fails_all_and_says_why() {
    let sources = ["s.io/a/x:1", "t.io/a/x:1", "u.io/a/x:1"];
    let done = Case::new(&rivals(&sources), Vec::new())
        .answer("s.io/a/x:1", Answer::Digest(7))
        .answer("t.io/a/x:1", Answer::Failed(Kind::Network))
        .answer("u.io/a/x:1", Answer::Digest(7))
        .run()
        .await;
    assert_eq!(done.words(), ["failed"; 3]);
    let own = done.failure(1);
    assert_eq!(
        (own.stage, own.kind, own.side),
        (Stage::Resolve, Kind::Network, Some(Side::Source))
    );
    for job in [0, 2] {
        let failure = done.failure(job);
        assert_eq!((failure.stage, failure.kind), (Stage::Plan, Kind::Network));
        assert_eq!(
            failure.causes[..],
            [
                "images.txt:2 wants `t.io/a/x:1` at `d.io/b/y:1` too, and could not be compared",
                "as planned"
            ]
        );
    }
    // It may well succeed next time.
    assert_eq!(done.code(), 4);
}

#[tokio::test(start_paused = true)]
async fn rivals_that_differ_conflict_whatever_else_could_not_be_asked() {
    let sources = ["s.io/a/x:1", "t.io/a/x:1", "u.io/a/x:1"];
    let done = Case::new(&rivals(&sources), Vec::new())
        .answer("t.io/a/x:1", Answer::Failed(Kind::Network))
        .run()
        .await;
    let kinds = [0, 1, 2].map(|job| done.failure(job).kind);
    assert_eq!(kinds, [Kind::Conflict, Kind::Network, Kind::Conflict]);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_refuses_is_not_asked_for_rivals() {
    let sources = ["s.io/a/x:1", "t.io/a/x:1"];
    let done = Case::new(&rivals(&sources), Vec::new())
        .door("d.io", Door::Refused(Kind::Network))
        .run()
        .await;
    assert_eq!(done.words(), ["not-tried"; 2]);
    assert_eq!(done.failure(1).side, Some(Side::Destination));
    assert!(done.work.asked.lock().unwrap().is_empty());

    let done = Case::new(&rivals(&sources), Vec::new())
        .door("t.io", Door::Refused(Kind::NotFound))
        .run()
        .await;
    assert_eq!(done.words(), ["failed", "not-tried"]);
    assert_eq!(done.failure(1).side, Some(Side::Source));
    assert_eq!(done.failure(0).stage, Stage::Plan);
    assert_eq!(*done.work.asked.lock().unwrap(), ["s.io/a/x:1"]);
}

#[test]
fn a_reason_keeps_its_innermost_cause() {
    let plan = plan_of(&lines("s.io", 1, "d.io"));
    let causes = (0..crate::event::CAUSES_MAX).map(|n| format!("cause {n}"));
    let deep = Failure {
        causes: causes.collect(),
        ..failure(Stage::Transfer, Kind::Network, Some(Side::Source))
    };
    let mut breaker = Breaker::new(1);
    for _ in 0..64 {
        let source = &plan.jobs()[0].source.repository;
        let barred = breaker.barred(&[source]);
        assert_eq!(breaker.refusal(&plan.jobs()[0], &barred), None);
        breaker.heed(&plan.jobs()[0], &Outcome::Failed(deep.clone()).into());
    }
    let source = &plan.jobs()[0].source.repository;
    let barred = breaker.barred(&[source]);
    let reason = breaker.refusal(&plan.jobs()[0], &barred).unwrap();
    assert_eq!(reason.causes.len(), crate::event::CAUSES_MAX);
    assert_eq!(reason.causes.last(), deep.causes.last());
}

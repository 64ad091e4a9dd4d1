//! Many jobs: bounds, deadlines, cancellation, order.
//!
//! One loop owns all tasks and is the only one that speaks: whatever jobs have to tell goes through a
//! channel to it, and it drains the channel before it announces an end. So events have one order, no
//! event of a job follows its end, and every job of the plan ends exactly once, also when it panics,
//! runs out of time, or the run is interrupted.

mod ask;
mod breaker;
mod contest;
mod gate;
mod mirror;
mod preflight;
mod projects;
mod queue;
mod sign;
mod signer;
mod trust;
mod validate;
mod work;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

pub use gate::{Files, Gate};
pub use mirror::Mirror;
pub use projects::Projects;
pub use sign::Sign;
pub use signer::{Means, Signer};
pub use trust::{Identity, Trust};
pub use validate::Validate;
pub use work::{Barred, Done, Refused, Work};

use breaker::{Breaker, Doubt};
use queue::Queue;

use crate::event::{End, Event, Failure, Kind, Ledger, Note, Outcome, Pause, Stage, Summary};
use crate::oci::Registry;
use crate::pace::Pace;
use crate::plan::{Course, Job, JobId, Plan};

/// How often the reports are given time to bring themselves up to date.
const TICK: Duration = Duration::from_millis(200);

/// The shortest pause that is told: shorter ones are over before they are read.
const PAUSE_TOLD_MIN: Duration = Duration::from_secs(2);

/// The bounds of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Jobs under way at once.
    pub jobs: NonZeroUsize,
    /// How long one job may take, its waiting for other jobs not counted.
    pub timeout: Option<Duration>,
    /// Bad lines that were skipped, which the counts have to show.
    pub skipped: usize,
    /// What every report says at its beginning, each one sentence fit for printing.
    pub warnings: Vec<String>,
}

/// Whether the run shall go on; sent by whoever hears the signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    Go,
    /// End, with this reason.
    Stop(End),
}

/// Who hears the events.
pub trait Consumer {
    /// Takes the next event.
    fn event(&mut self, event: &Event);

    /// Is called a few times a second.
    fn tick(&mut self);
}

/// Runs all jobs of `plan`, and tells `consumer` everything in one order.
///
/// # Cancel safety
///
/// Dropping it ends all jobs, without a word; a wish to stop ends them with one.
pub async fn run<W: Work>(
    plan: Arc<Plan>,
    work: Arc<W>,
    settings: Settings,
    mut wish: watch::Receiver<Wish>,
    consumer: &mut impl Consumer,
) -> (Summary, End) {
    let mut run = Run {
        ledger: Ledger::new(plan.jobs().len(), settings.skipped),
        breaker: Breaker::new(settings.jobs.get()),
        plan,
        work,
        consumer,
        settings,
        queue: Queue::default(),
        trials: FuturesUnordered::new(),
        doubted: HashSet::new(),
        paused: HashMap::new(),
    };
    run.consumer.event(&Event::Began {
        jobs: run.plan.jobs().len(),
        warnings: run.settings.warnings.clone(),
    });
    let end = run.all(&mut wish).await;
    run.leave_rest(end);
    let summary = run.ledger.summary().clone();
    run.consumer.event(&Event::Ended {
        summary: summary.clone(),
        end,
    });
    (summary, end)
}

/// A note and whose it is.
type Told = (JobId, Note);

struct Run<'a, W, C> {
    plan: Arc<Plan>,
    work: Arc<W>,
    settings: Settings,
    ledger: Ledger,
    breaker: Breaker,
    consumer: &'a mut C,
    queue: Queue,
    /// Registries that are tried by themselves while jobs run.
    trials: FuturesUnordered<BoxFuture<'static, (Doubt, Refused)>>,
    doubted: HashSet<Doubt>,
    /// Until when a registry was last told to be waited for, for what.
    paused: HashMap<(Registry, &'static str), Instant>,
}

/// What a task brings back.
struct Ran {
    done: Done,
    elapsed: Duration,
}

impl<W: Work, C: Consumer> Run<'_, W, C> {
    async fn all(&mut self, wish: &mut watch::Receiver<Wish>) -> End {
        for (job, of) in self.plan.clone().duplicates() {
            self.finish(job.id, &Outcome::Duplicate { of }, Duration::ZERO);
        }
        let at_once = self.settings.jobs;
        let refused = preflight::preflight(&*self.work, &self.plan, at_once);
        match unless_stopped(refused, wish, self.consumer).await {
            Ok(refused) => self.breaker.refuse_all(&refused),
            Err(end) => return end,
        }
        let contests = contest::settle(&*self.work, &self.plan, &self.breaker, at_once);
        let contests = match unless_stopped(contests, wish, self.consumer).await {
            Ok(contests) => contests,
            Err(end) => return end,
        };
        for (id, outcome) in contests.ended {
            self.finish(id, &outcome, Duration::ZERO);
        }
        for group in contests.groups {
            self.queue.hold(group);
        }
        self.jobs(wish).await
    }

    async fn jobs(&mut self, wish: &mut watch::Receiver<Wish>) -> End {
        let plan = Arc::clone(&self.plan);
        let mut waiting = plan
            .jobs()
            .iter()
            .filter(|job| matches!(job.course, Course::Run | Course::Contested { .. }));
        let (tell, mut told) = mpsc::unbounded_channel::<Told>();
        let (cancel, cancelled) = watch::channel(false);
        let mut tasks: JoinSet<Ran> = JoinSet::new();
        let mut running = HashMap::new();
        let mut end = End::Completed;
        let mut tick = ticks();
        loop {
            while end == End::Completed && tasks.len() < self.settings.jobs.get() {
                // What the queue has to do with comes from the queue alone, or it would start twice.
                let next = self.queue.next().and_then(|id| plan.job(id));
                let next = next.or_else(|| waiting.find(|job| !self.queue.has(job.id)));
                let Some(job) = next else { break };
                let Some(barred) = self.begin(job) else {
                    continue;
                };
                let task = self.task((job.id, barred), tell.clone(), cancelled.clone());
                running.insert(tasks.spawn(task).id(), job.id);
            }
            if tasks.is_empty() {
                return end;
            }
            tokio::select! {
                biased;
                stop = stopped(wish), if end == End::Completed => {
                    end = stop;
                    cancel.send_replace(true);
                }
                Some((doubt, refused)) = self.trials.next() => {
                    self.breaker.refuse_all(&[(Some(doubt.side), refused)]);
                    self.doubted.remove(&doubt);
                }
                Some((job, note)) = told.recv() => self.consumer.event(&Event::Noted { job, note }),
                Some(joined) = tasks.join_next_with_id() => {
                    while let Ok((job, note)) = told.try_recv() {
                        self.consumer.event(&Event::Noted { job, note });
                    }
                    let (id, ran) = match joined {
                        Ok((id, ran)) => (id, ran),
                        Err(error) => (error.id(), Ran::lost()),
                    };
                    if let Some(job) = running.remove(&id) {
                        self.ran(job, &ran);
                    }
                }
                _ = tick.tick() => {
                    self.tell_pauses();
                    self.consumer.tick();
                }
            }
        }
    }

    /// Tells which registries are waited for, once for each time that one asks for it.
    fn tell_pauses(&mut self) {
        let now = Instant::now();
        for (registry, requests, until) in self.work.pauses() {
            let wait = until.saturating_duration_since(now);
            let told = self.paused.entry((registry.clone(), requests));
            let told = told.or_insert(now);
            // Many requests that are refused at once are one wish, each a little later than the other.
            if wait >= PAUSE_TOLD_MIN && until > *told + PAUSE_TOLD_MIN {
                *told = until;
                self.consumer.event(&Event::Paused(Pause {
                    registry,
                    requests,
                    wait,
                }));
            }
        }
    }

    /// Begins with `job`, unless it has ended or is not worth a try: gives the places that it is not looked
    /// for in.
    fn begin(&mut self, job: &Job) -> Option<Barred> {
        if self.ledger.has_ended(job.id) {
            return None;
        }
        let barred = self.breaker.barred(&self.work.sources(job));
        let refusal = || self.breaker.refusal(job, &barred).map(Outcome::NotTried);
        if let Some(outcome) = self.work.settled(job).or_else(refusal) {
            self.finish(job.id, &outcome, Duration::ZERO);
            return None;
        }
        self.consumer.event(&Event::Started { job: job.id });
        Some(barred)
    }

    /// Takes in how a task ended.
    fn ran(&mut self, id: JobId, ran: &Ran) {
        let plan = Arc::clone(&self.plan);
        if let Some(job) = plan.job(id) {
            for doubt in self.breaker.heed(job, &ran.done) {
                self.try_again(doubt);
            }
        }
        self.finish(id, &ran.done.outcome, ran.elapsed);
    }

    /// The task of one job: whatever happens in it, it brings back an outcome.
    fn task(
        &self,
        (id, barred): (JobId, Barred),
        tell: mpsc::UnboundedSender<Told>,
        mut cancelled: watch::Receiver<bool>,
    ) -> impl Future<Output = Ran> + Send + 'static {
        let (plan, work) = (Arc::clone(&self.plan), Arc::clone(&self.work));
        let timeout = self.settings.timeout;
        Box::pin(async move {
            let began = Instant::now();
            let pace = Pace::default();
            let note = |note| drop(tell.send((id, note)));
            let Some(job) = plan.job(id) else {
                return Ran::lost();
            };
            let doing = AssertUnwindSafe(work.run(job, &barred, &pace, &note)).catch_unwind();
            let done = tokio::select! {
                biased;
                done = doing => done.unwrap_or_else(|_| Ran::lost().done),
                _ = cancelled.wait_for(|cancelled| *cancelled) => {
                    Outcome::Failed(interrupted()).into()
                }
                limit = out_of_time(began, &pace, timeout) => {
                    let cause = format!("it took longer than {}", humantime::format_duration(limit));
                    let failure = Failure::because(Stage::Run, None, Kind::Timeout, &cause);
                    work.out_of_time(failure).into()
                }
            };
            let elapsed = began.elapsed();
            Ran { done, elapsed }
        })
    }

    /// Tries a registry by itself that refused again and again, while jobs go on: nothing waits for it, and it
    /// is left when the last job has ended.
    fn try_again(&mut self, doubt: Doubt) {
        if !self.doubted.insert(doubt.clone()) {
            return;
        }
        let (work, plan) = (Arc::clone(&self.work), Arc::clone(&self.plan));
        self.trials.push(Box::pin(async move {
            let trying = async { Ok(preflight::again(&*work, &plan, &doubt).await) };
            let mut refused = unless_panicked(trying).await.unwrap_or_default();
            for (_, failure) in &mut refused {
                if failure.stage == Stage::Preflight {
                    failure.stage = Stage::Run;
                }
            }
            (doubt, refused)
        }));
    }

    fn finish(&mut self, job: JobId, outcome: &Outcome, elapsed: Duration) {
        // A job that ended before has had its event; a second one would break the promise.
        if self.ledger.finish(job, outcome).is_err() {
            return;
        }
        self.consumer.event(&Event::Finished {
            job,
            outcome: outcome.clone(),
            elapsed,
        });
        for repeated in self.queue.release(job, outcome) {
            self.finish(repeated, &Outcome::Duplicate { of: job }, Duration::ZERO);
        }
    }

    /// Ends what was never started.
    fn leave_rest(&mut self, end: End) {
        let open: Vec<JobId> = self.ledger.open().collect();
        for job in open {
            let failure = match end {
                End::Completed => Ran::lost_failure(),
                End::Interrupted | End::Terminated => interrupted(),
            };
            self.finish(job, &Outcome::NotTried(failure), Duration::ZERO);
        }
    }
}

impl Ran {
    /// The outcome of a job whose task was lost to a panic.
    fn lost() -> Self {
        Self {
            done: Outcome::Failed(Self::lost_failure()).into(),
            elapsed: Duration::ZERO,
        }
    }

    fn lost_failure() -> Failure {
        let cause = "this is a bug of consign: the job panicked; please report it";
        Failure::because(Stage::Run, None, Kind::Internal, cause)
    }
}

fn interrupted() -> Failure {
    Failure::because(Stage::Run, None, Kind::Cancelled, "the run was interrupted")
}

/// What `work` returns, or a bug where it panics.
async fn unless_panicked<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let caught = AssertUnwindSafe(work).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(Ran::lost_failure()))
}

/// What `before` returns, unless the run is to stop first. The reports get their time meanwhile.
async fn unless_stopped<T>(
    before: impl Future<Output = T>,
    wish: &mut watch::Receiver<Wish>,
    consumer: &mut impl Consumer,
) -> Result<T, End> {
    let mut before = pin!(before);
    let mut tick = ticks();
    loop {
        tokio::select! {
            biased;
            end = stopped(wish) => return Err(end),
            done = &mut before => return Ok(done),
            _ = tick.tick() => consumer.tick(),
        }
    }
}

fn ticks() -> Interval {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Returns when the run is to stop, and why; never when nobody is left to say so.
async fn stopped(wish: &mut watch::Receiver<Wish>) -> End {
    match wish
        .wait_for(|wish| *wish != Wish::Go)
        .await
        .map(|wish| *wish)
    {
        Ok(Wish::Stop(end)) => end,
        Ok(Wish::Go) | Err(_) => std::future::pending().await,
    }
}

/// Returns once the job has run for `timeout`, its pure waiting for other jobs not counted.
async fn out_of_time(began: Instant, pace: &Pace, timeout: Option<Duration>) -> Duration {
    let Some(timeout) = timeout else {
        return std::future::pending().await;
    };
    loop {
        let left = (timeout + pace.waited()).saturating_sub(began.elapsed());
        if left.is_zero() {
            return timeout;
        }
        tokio::time::sleep(left).await;
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;

//! Bars: what runs, how far it is, how long it may take.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use indicatif::ProgressStyle;
use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressDrawTarget};

use crate::event::{Note, Outcome, Reading, Stage};
use crate::plan::{Job, JobId};

use super::super::message::duration;

/// How many running images are shown.
const ROWS_MAX: usize = 8;
/// How many images must have ended before their pace says something.
const PACE_MIN: usize = 3;
/// How much a new measurement of the rate weighs against the old ones.
const RATE_WEIGHT: f64 = 0.2;

/// The bars of a run.
pub(super) struct Bars {
    multi: MultiProgress,
    total: ProgressBar,
    rows: Vec<ProgressBar>,
    running: BTreeMap<JobId, Running>,
    failed: usize,
    rate: Rate,
}

struct Running {
    stage: Stage,
    source: String,
}

impl fmt::Debug for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bars")
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}

impl Bars {
    pub(super) fn new(target: ProgressDrawTarget, jobs: usize) -> Self {
        let multi = MultiProgress::with_draw_target(target);
        let length = u64::try_from(jobs).unwrap_or(u64::MAX);
        // No colours in the templates: the library would ask the environment for them.
        let total = multi.add(
            ProgressBar::new(length).with_style(style("[{bar:12}] {pos}/{len} images, {wide_msg}")),
        );
        Self {
            multi,
            total,
            rows: Vec::new(),
            running: BTreeMap::new(),
            failed: 0,
            rate: Rate::default(),
        }
    }

    /// Does `write` while no bar stands on the screen.
    pub(super) fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        self.multi.suspend(write)
    }

    pub(super) fn start(&mut self, job: &Job) {
        let running = Running {
            stage: Stage::Resolve,
            source: job.source.to_string(),
        };
        self.running.insert(job.id, running);
    }

    pub(super) fn note(&mut self, job: JobId, note: &Note) {
        if let (Note::Entered(stage), Some(running)) = (note, self.running.get_mut(&job)) {
            running.stage = *stage;
        }
    }

    pub(super) fn finish(&mut self, job: JobId, outcome: &Outcome) {
        self.running.remove(&job);
        self.failed += usize::from(outcome.failure().is_some());
        self.total.inc(1);
    }

    /// Draws what `reading` shows, `elapsed` after the run began.
    pub(super) fn draw(&mut self, reading: Reading, elapsed: Duration) {
        let rate = self.rate.measure(reading.moved, Instant::now());
        // What counts most comes first: a narrow terminal cuts the rest.
        let mut message = String::new();
        if self.failed > 0 {
            for part in [&self.failed.to_string(), " failed, "] {
                message.push_str(part);
            }
        }
        if let Some(left) = left(self.total.position(), self.total.length(), elapsed) {
            for part in [
                &duration(Duration::from_secs(left.as_secs().max(1))).to_string(),
                " left, ",
            ] {
                message.push_str(part);
            }
        }
        for part in [
            &BinaryBytes(reading.moved).to_string(),
            " of ",
            &BinaryBytes(reading.expected.max(reading.moved)).to_string(),
            ", ",
            &BinaryBytes(rate).to_string(),
            "/s",
        ] {
            message.push_str(part);
        }
        self.total.set_message(message);
        self.draw_rows();
    }

    fn draw_rows(&mut self) {
        let wanted = self.running.len().min(ROWS_MAX);
        while self.rows.len() < wanted {
            let row = ProgressBar::new_spinner().with_style(style("  {wide_msg}"));
            self.rows.push(self.multi.add(row));
        }
        let hidden = self.running.len().saturating_sub(ROWS_MAX);
        let mut shown = self.running.values();
        for (position, row) in self.rows.iter().enumerate() {
            let message = match shown.next() {
                Some(_) if hidden > 0 && position + 1 == ROWS_MAX => {
                    format!("and {} more", hidden + 1)
                }
                Some(running) => format!("{:<9} {}", running.stage.as_str(), running.source),
                None => String::new(),
            };
            row.set_message(message);
        }
    }

    /// Takes the bars from the screen.
    pub(super) fn clear(self) {
        for row in &self.rows {
            row.finish_and_clear();
        }
        self.total.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // A template of ours is good, and its test shows it; a bar of another look beats a panic.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// How long the rest may take, by the pace so far.
fn left(ended: u64, all: Option<u64>, elapsed: Duration) -> Option<Duration> {
    let ended = u32::try_from(ended).ok()?;
    let rest = u32::try_from(all?).ok()?.checked_sub(ended)?;
    if usize::try_from(ended).ok()? < PACE_MIN || rest == 0 {
        return None;
    }
    elapsed.checked_mul(rest)?.checked_div(ended)
}

/// Bytes in a second, smoothed.
#[derive(Debug, Default)]
struct Rate {
    last: Option<(Instant, u64)>,
    smooth: Option<f64>,
}

impl Rate {
    /// The rate, when `moved` bytes have moved at `now`.
    fn measure(&mut self, moved: u64, now: Instant) -> u64 {
        let (then, before) = *self.last.get_or_insert((now, moved));
        let passed = now.saturating_duration_since(then);
        // Measuring shorter times would show the clock more than the road.
        if passed >= Duration::from_millis(100) {
            // Bytes up to 4 GiB in one measurement; more would be no rate of a network.
            let bytes = u32::try_from(moved.saturating_sub(before)).unwrap_or(u32::MAX);
            let fresh = f64::from(bytes) / passed.as_secs_f64();
            let smooth = match self.smooth {
                Some(old) => old + RATE_WEIGHT * (fresh - old),
                None => fresh,
            };
            self.smooth = Some(smooth);
            self.last = Some((now, moved));
        }
        // Through a duration, for numbers with a fraction become whole ones nowhere else.
        self.smooth
            .and_then(|rate| Duration::try_from_secs_f64(rate).ok())
            .map_or(0, |rate| rate.as_secs())
    }
}

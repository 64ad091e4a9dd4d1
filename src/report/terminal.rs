//! Progress and messages for a person, on standard error.
//!
//! On a terminal, bars show what is running and only what needs attention is printed above them.
//! Elsewhere there is a line for each image, and one now and then when nothing ends for long. What
//! did not end well is told with its causes and a hint, and the end with all counts.

mod bars;

use std::collections::HashSet;
use std::io;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressDrawTarget};

use self::bars::Bars;
use super::message::{self, Dress, counted, duration};
use super::{Error, Reason, Reporter, output};
use crate::event::{End, Event, Failure, Kind, Meter, Outcome, Summary};
use crate::plan::{JobId, Plan};

/// Whether colours are used. They never carry meaning alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Colours.
    Always,
    /// None, as `NO_COLOR` asks and files need.
    Never,
}

/// After how long without a line one says that the run goes on, where there are no bars.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How many different reasons for not trying a line are told; each is told once.
const REASONS_MAX: usize = 50;

/// Tells a person of a run.
#[derive(Debug)]
pub struct Terminal<W> {
    out: W,
    plan: Arc<Plan>,
    meter: Arc<Meter>,
    dress: Dress,
    bars: Option<Bars>,
    failed_list: Option<String>,
    began: Instant,
    spoke: Instant,
    total: usize,
    ended: usize,
    changed: usize,
    reasons: HashSet<Failure>,
}

impl<W: Write> Terminal<W> {
    /// Tells on `out` of a run of `plan` that counts on `meter`, in lines.
    pub fn new(out: W, plan: &Arc<Plan>, meter: &Arc<Meter>, colour: Colour) -> Self {
        Self {
            out,
            plan: Arc::clone(plan),
            meter: Arc::clone(meter),
            dress: match colour {
                Colour::Always => Dress::COLOURED,
                Colour::Never => Dress::PLAIN,
            },
            bars: None,
            failed_list: None,
            began: Instant::now(),
            spoke: Instant::now(),
            total: plan.jobs().len(),
            ended: 0,
            changed: 0,
            reasons: HashSet::new(),
        }
    }

    /// Shows bars on standard error, which must be the terminal that is written to.
    #[must_use]
    pub fn with_bars(self) -> Self {
        self.with_bars_on(ProgressDrawTarget::stderr())
    }

    fn with_bars_on(mut self, target: ProgressDrawTarget) -> Self {
        self.bars = Some(Bars::new(target, self.total));
        self
    }

    /// Names at the end the list of what is left to do, which is at `path`.
    #[must_use]
    pub fn with_failed_list(mut self, path: &Path) -> Self {
        self.failed_list = Some(output::shown(path));
        self
    }

    /// Writes `text` above the bars.
    fn print(&mut self, text: &str) -> io::Result<()> {
        let out = &mut self.out;
        self.spoke = Instant::now();
        let mut write = || {
            out.write_all(text.as_bytes())?;
            out.flush()
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn tell(&mut self, event: &Event) -> io::Result<()> {
        let plan = Arc::clone(&self.plan);
        match event {
            Event::Began { jobs, warnings } => {
                self.began = Instant::now();
                self.total = *jobs;
                for warning in warnings {
                    self.print(&format!("warning: {warning}\n"))?;
                }
                Ok(())
            }
            Event::Started { job } => {
                if let (Some(bars), Some(job)) = (&mut self.bars, plan.job(*job)) {
                    bars.start(job);
                }
                Ok(())
            }
            Event::Noted { job, note } => {
                if let Some(bars) = &mut self.bars {
                    bars.note(*job, note);
                }
                match (message::note(note), plan.job(*job)) {
                    (Some(text), Some(job)) => self.print(&format!("{}: note: {text}\n", job.line)),
                    _ => Ok(()),
                }
            }
            Event::Paused(pause) => self.print(&format!("{}\n", message::paused(pause))),
            Event::Finished {
                job,
                outcome,
                elapsed,
            } => self.finished(&plan, *job, outcome, *elapsed),
            Event::Ended { summary, end } => {
                if let Some(bars) = self.bars.take() {
                    bars.clear();
                }
                let text = self.conclusion(summary, *end);
                self.print(&text)
            }
        }
    }

    fn finished(
        &mut self,
        plan: &Plan,
        id: JobId,
        outcome: &Outcome,
        elapsed: Duration,
    ) -> io::Result<()> {
        self.ended += 1;
        self.changed += usize::from(
            outcome
                .copied()
                .is_some_and(|copied| copied.changed.is_some()),
        );
        if let Some(bars) = &mut self.bars {
            bars.finish(id, outcome);
        }
        let Some(job) = plan.job(id) else {
            return Ok(());
        };
        match outcome.failure() {
            Some(failure) => {
                if self.is_news(outcome, failure) {
                    self.print(&message::failed(job, outcome, failure, self.dress))
                } else {
                    Ok(())
                }
            }
            // What went well moves the bars; what was asked for and is not there is worth a line.
            None if self.bars.is_some() && !lacks_any(outcome) => Ok(()),
            None => {
                let text = message::well(plan, job, outcome, elapsed);
                let (ended, total) = (self.ended, self.total);
                self.print(&format!("[{ended}/{total}] {text}\n"))
            }
        }
    }

    /// Whether a failure is worth a message of its own: what ended a thousand lines at once is told
    /// once, and the interrupt that ended them is known to who made it.
    fn is_news(&mut self, outcome: &Outcome, failure: &Failure) -> bool {
        if failure.kind == Kind::Cancelled {
            return false;
        }
        let is_same_for_many = matches!(outcome, Outcome::NotTried(_));
        !is_same_for_many
            || self.reasons.len() < REASONS_MAX && self.reasons.insert(failure.clone())
    }

    /// What is said at the end.
    fn conclusion(&self, summary: &Summary, end: End) -> String {
        let word = match end {
            End::Completed => "finished",
            End::Interrupted => "interrupted",
            End::Terminated => "terminated",
        };
        let counts: Vec<String> = [
            (summary.copied, "copied"),
            (summary.up_to_date, "up to date"),
            (summary.kept, "kept"),
            (summary.signed, "signed"),
            (summary.already_signed, "already signed"),
            (summary.accepted, "accepted"),
            (summary.not_verified, "not verified"),
            (summary.not_signed, "not signed"),
            (summary.rejected, "rejected"),
            (summary.undetermined, "undetermined"),
            (summary.duplicates, "duplicate"),
            (summary.failed, "failed"),
            (summary.not_tried, "not tried"),
            (summary.skipped, "skipped as bad lines"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
        let lines = counted(summary.jobs() + summary.skipped, "line");
        let mut text = format!(
            "{word} {lines} in {}: {}\n",
            duration(self.began.elapsed()),
            if counts.is_empty() {
                "nothing to do".to_owned()
            } else {
                counts.join(", ")
            }
        );
        let mut say = |line: String| {
            for part in ["  ", &line, "\n"] {
                text.push_str(part);
            }
        };
        if summary.tally.bytes > 0 || summary.tally.blobs_mounted > 0 {
            say(format!("moved {}", message::moved(&summary.tally)));
        }
        if self.changed > 0 {
            say(format!(
                "{} under a new digest, since only some platforms were asked for",
                counted(self.changed, "image")
            ));
        }
        let kinds: Vec<String> = summary
            .kinds()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        if !kinds.is_empty() {
            say(format!("reasons: {}", kinds.join(", ")));
        }
        if let Some(path) = self.failed_list.as_ref().filter(|_| summary.unwell() > 0) {
            say(format!("what is left to do is in `{path}`"));
        }
        text
    }

    fn go_on(&mut self) -> io::Result<()> {
        let reading = self.meter.read();
        match &mut self.bars {
            Some(bars) => {
                bars.draw(reading, self.began.elapsed());
                Ok(())
            }
            None if self.spoke.elapsed() >= SILENCE_MAX => {
                let (ended, total) = (self.ended, self.total);
                self.print(&format!(
                    "[{ended}/{total}] going on: {} moved, {} moving\n",
                    BinaryBytes(reading.moved),
                    counted(reading.in_flight, "blob")
                ))
            }
            None => Ok(()),
        }
    }
}

impl<W: Write> Reporter for Terminal<W> {
    fn event(&mut self, event: &Event) -> Result<(), Error> {
        self.tell(event).map_err(unwritable)
    }

    fn tick(&mut self) -> Result<(), Error> {
        self.go_on().map_err(unwritable)
    }
}

/// Whether platforms were asked for that an image does not have.
fn lacks_any(outcome: &Outcome) -> bool {
    let validation = outcome.validation();
    validation.is_some_and(|validation| !validation.absent.is_empty())
}

fn unwritable(error: io::Error) -> Error {
    Error {
        what: "messages to",
        path: "standard error".to_owned(),
        reason: Reason::Io(error),
    }
}

#[cfg(test)]
#[path = "terminal_tests.rs"]
mod tests;

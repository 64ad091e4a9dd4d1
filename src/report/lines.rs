//! Events for machines: one JSON object a line, while the run goes on.

use std::io;
use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use super::json::{EndView, JobView, NoteView, OutcomeView, Place, SkippedView, time};
use super::{Clock, Error, Reason, Reporter, Skipped};
use crate::event::{Event, Note};
use crate::plan::{JobId, Plan};

/// Writes each event as one JSON object on one line.
///
/// The line is written at once and as a whole, so that a reader who follows never sees half of one.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
    plan: Arc<Plan>,
    skipped: Vec<Skipped>,
    clock: Clock,
    buffer: Vec<u8>,
}

impl<W: Write> Lines<W> {
    /// Writes to `out` the events of a run of `plan`, beside which the bad lines `skipped` were left
    /// out.
    pub fn new(out: W, plan: &Arc<Plan>, skipped: &[Skipped], clock: Clock) -> Self {
        Self {
            out,
            plan: Arc::clone(plan),
            skipped: skipped.to_vec(),
            clock,
            buffer: Vec::new(),
        }
    }

    fn write(&mut self, event: &'static str, body: &Body<'_>) -> io::Result<()> {
        self.buffer.clear();
        let line = Envelope {
            time: time((self.clock)()),
            event,
            body,
        };
        serde_json::to_writer(&mut self.buffer, &line)?;
        self.buffer.push(b'\n');
        self.out.write_all(&self.buffer)?;
        self.out.flush()
    }

    fn tell(&mut self, event: &Event) -> io::Result<()> {
        let plan = Arc::clone(&self.plan);
        match event {
            Event::Began { jobs, warnings } => {
                let began = Body::Began {
                    jobs: *jobs,
                    warnings,
                };
                self.write("began", &began)?;
                for skipped in self.skipped.clone() {
                    self.write("skipped", &Body::Skipped(SkippedView::of(&skipped)))?;
                }
                Ok(())
            }
            Event::Started { job } => match plan.job(*job) {
                Some(job) => self.write("started", &Body::Started(JobView::of(job))),
                None => Ok(()),
            },
            Event::Noted { job, note } => self.note(&plan, *job, note),
            Event::Paused(pause) => self.write(
                "paused",
                &Body::Paused {
                    registry: pause.registry.as_str(),
                    requests: pause.requests,
                    seconds: pause.wait.as_secs(),
                },
            ),
            Event::Finished {
                job,
                outcome,
                elapsed,
            } => match plan.job(*job) {
                Some(job) => self.write(
                    "finished",
                    &Body::Finished {
                        job: JobView::of(job),
                        end: Box::new(OutcomeView::of(&plan, job, outcome, *elapsed)),
                    },
                ),
                None => Ok(()),
            },
            Event::Ended { summary, end } => {
                self.write("ended", &Body::Ended(EndView::of(summary, *end)))
            }
        }
    }

    fn note(&mut self, plan: &Plan, job: JobId, note: &Note) -> io::Result<()> {
        match Place::find(plan, job) {
            Some(place) => self.write(
                "noted",
                &Body::Noted {
                    place,
                    note: NoteView::of(note),
                },
            ),
            None => Ok(()),
        }
    }
}

impl<W: Write> Reporter for Lines<W> {
    fn event(&mut self, event: &Event) -> Result<(), Error> {
        self.tell(event).map_err(|error| Error {
            what: "events to",
            path: "standard error".to_owned(),
            reason: Reason::Io(error),
        })
    }
}

#[derive(Serialize)]
struct Envelope<'a, T: Serialize> {
    time: T,
    event: &'static str,
    #[serde(flatten)]
    body: &'a Body<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Began {
        jobs: usize,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        warnings: &'a [String],
    },
    Skipped(SkippedView<'a>),
    Started(JobView<'a>),
    Noted {
        #[serde(flatten)]
        place: Place<'a>,
        #[serde(flatten)]
        note: NoteView<'a>,
    },
    Paused {
        registry: &'a str,
        requests: &'static str,
        seconds: u64,
    },
    Finished {
        #[serde(flatten)]
        job: JobView<'a>,
        #[serde(flatten)]
        end: Box<OutcomeView<'a>>,
    },
    Ended(EndView),
}

//! The report: one JSON document about a whole run.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::ser::{SerializeSeq as _, Serializer};

use super::json::{EndView, JobView, NoteView, OutcomeView, SkippedView, time};
use super::output::{Output, Sync};
use super::{Clock, Error, Reporter, Skipped};
use crate::event::{End, Event, Note, Outcome, Summary};
use crate::plan::{Job, JobId, Plan};

/// The version of the document, in its first field. Fields may be added without a new one.
pub const SCHEMA: &str = "consign.report/1";
/// How many notes of one job are kept.
const NOTES_MAX: usize = 32;

/// Writes the report when the run ends, however it ends.
///
/// Until then it holds one small record for each job; the document itself is never held.
#[derive(Debug)]
pub struct Document {
    output: Output,
    plan: Arc<Plan>,
    skipped: Vec<Skipped>,
    command: String,
    clock: Clock,
    began: SystemTime,
    ends: Vec<Option<(Outcome, Duration)>>,
    notes: BTreeMap<JobId, Vec<Note>>,
    warnings: Vec<String>,
}

impl Document {
    /// A report at `path`, which is written when the run ends. A file that is there is replaced then.
    ///
    /// `command` is the name of the command that runs; it must not hold secrets.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn create(
        path: &Path,
        plan: &Arc<Plan>,
        skipped: &[Skipped],
        command: &str,
        clock: Clock,
    ) -> Result<Self, Error> {
        Ok(Self {
            output: Output::open("report", path)?,
            plan: Arc::clone(plan),
            skipped: skipped.to_vec(),
            command: command.to_owned(),
            clock,
            began: clock(),
            ends: vec![None; plan.jobs().len()],
            notes: BTreeMap::new(),
            warnings: Vec::new(),
        })
    }

    fn note(&mut self, job: JobId, note: &Note) {
        match note {
            // The way of a job is for who watches; its end says what came of it.
            Note::Entered(_) | Note::Resolved(_) => {}
            Note::SignaturesDropped { .. }
            | Note::SignaturesLeft { .. }
            | Note::SignaturesPresent { .. }
            | Note::Remark(_) => {
                let notes = self.notes.entry(job).or_default();
                if notes.len() < NOTES_MAX {
                    notes.push(note.clone());
                }
            }
        }
    }

    fn write(&mut self, summary: &Summary, end: End) -> Result<(), Error> {
        let head = Head {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            command: &self.command,
            began: time(self.began),
            ended: time((self.clock)()),
            end: EndView::of(summary, end),
            warnings: &self.warnings,
            skipped: self.skipped.iter().map(SkippedView::of).collect(),
            lines: LinesView {
                plan: &self.plan,
                ends: &self.ends,
                notes: &self.notes,
            },
        };
        self.output.write(Sync::Now, |mut out| {
            serde_json::to_writer_pretty(&mut out, &head).map_err(io::Error::from)?;
            out.write_all(b"\n")
        })
    }
}

impl Reporter for Document {
    fn event(&mut self, event: &Event) -> Result<(), Error> {
        match event {
            Event::Began { jobs: _, warnings } => {
                self.began = (self.clock)();
                self.warnings.clone_from(warnings);
            }
            Event::Started { .. } | Event::Paused(_) => {}
            Event::Noted { job, note } => self.note(*job, note),
            Event::Finished {
                job,
                outcome,
                elapsed,
            } => {
                if let Some(slot) = self.ends.get_mut(job.position()) {
                    *slot = Some((outcome.clone(), *elapsed));
                }
            }
            Event::Ended { summary, end } => return self.write(summary, *end),
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Head<'a, B: Serialize, E: Serialize> {
    schema: &'static str,
    version: &'static str,
    command: &'a str,
    began: B,
    ended: E,
    #[serde(flatten)]
    end: EndView,
    /// What the run was told not to demand.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    skipped: Vec<SkippedView<'a>>,
    lines: LinesView<'a>,
}

struct LinesView<'a> {
    plan: &'a Plan,
    ends: &'a [Option<(Outcome, Duration)>],
    notes: &'a BTreeMap<JobId, Vec<Note>>,
}

impl Serialize for LinesView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut lines = serializer.serialize_seq(Some(self.plan.jobs().len()))?;
        for (job, end) in self.plan.jobs().iter().zip(self.ends) {
            let notes = self.notes.get(&job.id).map_or(&[][..], Vec::as_slice);
            lines.serialize_element(&self.line(job, end.as_ref(), notes))?;
        }
        lines.end()
    }
}

impl<'a> LinesView<'a> {
    fn line(
        &self,
        job: &'a Job,
        end: Option<&'a (Outcome, Duration)>,
        notes: &'a [Note],
    ) -> LineView<'a>
    where
        Self: 'a,
    {
        LineView {
            job: JobView::of(job),
            end: end.map(|(outcome, elapsed)| OutcomeView::of(self.plan, job, outcome, *elapsed)),
            notes: notes.iter().map(NoteView::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct LineView<'a> {
    #[serde(flatten)]
    job: JobView<'a>,
    #[serde(flatten)]
    end: Option<OutcomeView<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<NoteView<'a>>,
}

//! One JSON object for each line as it ends, on stdout: data for machines.

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use super::json::{JobView, OutcomeView};
use super::{Error, Reason, Reporter};
use crate::event::Event;
use crate::plan::Plan;

/// Writes what became of each line, one JSON object a line, in the order in which they end.
///
/// The object is that of the report's `lines`, without its notes.
#[derive(Debug)]
pub struct Results<W> {
    out: W,
    plan: Arc<Plan>,
}

impl<W: Write> Results<W> {
    /// Results of `plan`, written to `out`.
    pub fn new(out: W, plan: &Arc<Plan>) -> Self {
        Self {
            out,
            plan: Arc::clone(plan),
        }
    }
}

impl<W: Write> Reporter for Results<W> {
    fn event(&mut self, event: &Event) -> Result<(), Error> {
        let Event::Finished {
            job,
            outcome,
            elapsed,
        } = event
        else {
            return Ok(());
        };
        let Some(job) = self.plan.job(*job) else {
            return Ok(());
        };
        let view = ResultView {
            job: JobView::of(job),
            end: OutcomeView::of(&self.plan, job, outcome, *elapsed),
        };
        let fail = |reason: std::io::Error| Error {
            what: "results",
            path: "standard output".to_owned(),
            reason: Reason::Io(reason),
        };
        serde_json::to_writer(&mut self.out, &view).map_err(|error| fail(error.into()))?;
        self.out.write_all(b"\n").map_err(fail)?;
        self.out.flush().map_err(fail)
    }
}

#[derive(Serialize)]
struct ResultView<'a> {
    #[serde(flatten)]
    job: JobView<'a>,
    #[serde(flatten)]
    end: OutcomeView<'a>,
}

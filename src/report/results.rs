//! One JSON object for each line as it ends, on stdout: data for machines.

use std::io;
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
    state: State,
}

/// Whether what was written arrived. A line that is lost stays lost, unlike in a file that is written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    /// Whoever read has gone: it had what it wanted.
    Unread,
    /// Something could not be written.
    Lost(io::ErrorKind),
}

impl<W: Write> Results<W> {
    /// Results of `plan`, written to `out`.
    pub fn new(out: W, plan: &Arc<Plan>) -> Self {
        Self {
            out,
            plan: Arc::clone(plan),
            state: State::Well,
        }
    }

    fn write(&mut self, view: &ResultView<'_>) {
        let written = serde_json::to_vec(view)
            .map_err(io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                self.out.write_all(&line)?;
                self.out.flush()
            });
        if let Err(error) = written {
            self.state = if error.kind() == io::ErrorKind::BrokenPipe {
                State::Unread
            } else {
                State::Lost(error.kind())
            };
        }
    }

    fn outcome(&self) -> Result<(), Error> {
        match self.state {
            State::Well | State::Unread => Ok(()),
            State::Lost(kind) => Err(lost(kind)),
        }
    }
}

/// The error that something did not reach standard output.
pub(super) fn lost(kind: io::ErrorKind) -> Error {
    Error {
        what: "results to",
        path: "standard output".to_owned(),
        reason: Reason::Io(kind.into()),
    }
}

impl<W: Write> Reporter for Results<W> {
    fn event(&mut self, event: &Event) -> Result<(), Error> {
        if let Event::Finished {
            job,
            outcome,
            elapsed,
        } = event
            && self.state == State::Well
        {
            let plan = Arc::clone(&self.plan);
            if let Some(job) = plan.job(*job) {
                self.write(&ResultView {
                    job: JobView::of(job),
                    end: OutcomeView::of(&plan, job, outcome, *elapsed),
                });
            }
        }
        self.outcome()
    }
}

#[derive(Serialize)]
struct ResultView<'a> {
    #[serde(flatten)]
    job: JobView<'a>,
    #[serde(flatten)]
    end: OutcomeView<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::End;
    use crate::report::tests::{assorted, run_of};

    /// Takes so many writes and fails then.
    struct Full(usize, io::ErrorKind);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(self.1)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_is_lost_is_still_lost_at_the_end() {
        let (plan, outcomes) = assorted();
        for (room, kind, is_lost) in [
            (1, io::ErrorKind::StorageFull, true),
            (1, io::ErrorKind::BrokenPipe, false),
            (1000, io::ErrorKind::StorageFull, false),
        ] {
            let mut results = Results::new(Full(room, kind), &plan);
            let events = run_of(&outcomes, 1, End::Completed);
            let last = events.iter().map(|event| results.event(event)).last();
            assert_eq!(last.unwrap().is_err(), is_lost, "{kind}");
        }
    }
}

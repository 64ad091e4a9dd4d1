//! A run of any kind of work: its outputs, its signals, and the code it ends with.

use std::io::{self, Stderr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::event::{Event, Meter};
use crate::plan::Plan;
use crate::report::{
    Colour, Cosign, Digests, Document, Failures, Lines, Reporter as _, Reporters, Results, Skipped,
    Terminal,
};
use crate::runner::{self, Consumer, Settings, Wish, Work};

use super::Environment;
use super::args::{Bounds, General, LogFormat, Shown};
use super::error::Error;
use super::signals::{self, Signals};

/// What is run, and where it is written what became of it.
pub(super) struct Run {
    pub(super) command: &'static str,
    pub(super) plan: Arc<Plan>,
    pub(super) skipped: Vec<Skipped>,
    /// The files the plan was read from.
    pub(super) lists: Vec<PathBuf>,
    pub(super) failed: Option<PathBuf>,
    pub(super) report: Option<PathBuf>,
    pub(super) digests: Option<PathBuf>,
    /// What stdout says.
    pub(super) output: Shown,
    pub(super) bounds: Bounds,
    /// What every report says at its beginning.
    pub(super) warnings: Vec<String>,
}

impl Run {
    /// Runs `work` and says with which code the process ends.
    pub(super) async fn run(
        self,
        work: impl Work,
        meter: &Arc<Meter>,
        general: &General,
        environment: &Environment,
    ) -> Result<u8, Error> {
        let signals = Signals::listen()?;
        let reports = self.reports(general, environment, meter)?;
        let settings = Settings {
            jobs: self.bounds.jobs,
            timeout: self.bounds.timeout,
            skipped: self.skipped.len(),
            warnings: self.warnings.clone(),
        };
        let (wish, wishes) = watch::channel(Wish::Go);
        let consumer = Told {
            reports,
            error: None,
        };
        let (plan, work) = (Arc::clone(&self.plan), Arc::new(work));
        let ended = on_its_own(consumer, async move |consumer| {
            runner::run(plan, work, settings, wishes, consumer).await
        })?;
        let ((summary, end), consumer) = tokio::select! {
            ended = ended => ended.map_err(|_| {
                Error::refused("this is a bug of consign: a report panicked").with_code(70)
            })?,
            end = signals.watch(wish) => return Ok(signals::code(end)),
        };
        if let Some(error) = consumer.error {
            return Err(Error::usage(
                "the run ended, but not all of it could be written down",
                &error,
            ));
        }
        Ok(summary.exit_code(end))
    }

    /// Refuses outputs that would overwrite each other or a list; only the failed list may be the list
    /// that is run again.
    pub(super) fn check_outputs(&self) -> Result<(), Error> {
        let mut taken: Vec<(&str, PathBuf)> = Vec::new();
        let lists = self.lists.iter().map(|path| ("the list", Some(path)));
        let outputs = [
            ("the failed list", self.failed.as_ref()),
            ("the report", self.report.as_ref()),
            ("the list of digests", self.digests.as_ref()),
        ];
        for (what, path) in lists.chain(outputs) {
            let Some(path) = path else { continue };
            if path == Path::new("-") && what != "the list" {
                return Err(Error::refused(&format!(
                    "`-` cannot be {what}: it is a file, which is replaced as a whole"
                ))
                .with_hint("`--output json` writes to standard output"));
            }
            let place = place(path);
            let other = taken.iter().find(|(_, other)| *other == place);
            if let Some((other, _)) = other
                && !matches!((*other, what), ("the list", "the list" | "the failed list"))
            {
                let path = path.display();
                return Err(Error::refused(&format!(
                    "`{path}` cannot be {other} and {what}"
                )));
            }
            taken.push((what, place));
        }
        Ok(())
    }

    fn reports(
        &self,
        general: &General,
        environment: &Environment,
        meter: &Arc<Meter>,
    ) -> Result<Reporters, Error> {
        let fail = |error: crate::report::Error| Error::usage("nothing was tried", &error);
        let mut reports = Reporters::default();
        if let Some(path) = &self.report {
            let document = Document::create(
                path,
                &self.plan,
                &self.skipped,
                self.command,
                SystemTime::now,
            );
            reports.add(document.map_err(fail)?);
        }
        if let Some(path) = &self.digests {
            reports.add(Digests::create(path, &self.plan).map_err(fail)?);
        }
        // It is written at once, so it is the last: where another output cannot be had, an older list
        // stays as it is.
        if let Some(path) = &self.failed {
            let failures = Failures::create(path, &self.plan, &self.skipped, self.command);
            reports.add(failures.map_err(fail)?);
        }
        match self.output {
            Shown::Text => {}
            Shown::Json => reports.add(Results::new(io::stdout(), &self.plan)),
            Shown::Cosign => reports.add(Cosign::new(io::stdout())),
        }
        match general.log_format {
            LogFormat::Json => reports.add(Lines::new(
                io::stderr(),
                &self.plan,
                &self.skipped,
                SystemTime::now,
            )),
            LogFormat::Text => reports.add(self.terminal(environment, meter)),
        }
        Ok(reports)
    }
}

impl Run {
    fn terminal(&self, environment: &Environment, meter: &Arc<Meter>) -> Terminal<ForPeople> {
        let colour = if environment.is_terminal && !environment.has_no_color {
            Colour::Always
        } else {
            Colour::Never
        };
        let mut terminal = Terminal::new(ForPeople(io::stderr()), &self.plan, meter, colour);
        if environment.is_terminal {
            terminal = terminal.with_bars();
        }
        match &self.failed {
            Some(path) => terminal.with_failed_list(path),
            None => terminal,
        }
    }
}

/// Runs `work` with `consumer` on a thread of its own, and says how it ended: a consumer may be held up
/// by a pipe that nobody reads, or a disk that hangs, and signals must be heard all the same.
fn on_its_own<T: Send + 'static>(
    mut consumer: Told,
    work: impl AsyncFnOnce(&mut Told) -> T + Send + 'static,
) -> Result<oneshot::Receiver<(T, Told)>, Error> {
    let (tell, told) = oneshot::channel();
    let runtime = Handle::current();
    std::thread::Builder::new()
        .name("runner".to_owned())
        .spawn(move || {
            let ended = runtime.block_on(work(&mut consumer));
            // Nobody waits for it after a second signal.
            drop(tell.send((ended, consumer)));
        })
        .map_err(|error| Error::usage("cannot start the run", &error))?;
    Ok(told)
}

/// Where a path leads, as far as there is something to follow.
fn place(path: &Path) -> PathBuf {
    let resolved = path.canonicalize().or_else(|_| {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize()?;
        Ok::<_, io::Error>(folder.join(path.file_name().unwrap_or_default()))
    });
    resolved.unwrap_or_else(|_| path.to_owned())
}

/// Standard error, for a person. One who went away misses it; the run and its exit code are the same.
struct ForPeople(Stderr);

impl io::Write for ForPeople {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // As above.
        drop(self.0.flush());
        Ok(())
    }
}

/// The reports as the runner's consumer; the first error is kept for the end.
struct Told {
    reports: Reporters,
    error: Option<crate::report::Error>,
}

impl Consumer for Told {
    fn event(&mut self, event: &Event) {
        match self.reports.event(event) {
            Err(error) => {
                self.error.get_or_insert(error);
            }
            // At the end everything is written as a whole; what could not be before is there now.
            Ok(()) if matches!(event, Event::Ended { .. }) => self.error = None,
            Ok(()) => {}
        }
    }

    fn tick(&mut self) {
        if let Err(error) = self.reports.tick() {
            self.error.get_or_insert(error);
        }
    }
}

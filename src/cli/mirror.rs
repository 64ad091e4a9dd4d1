//! `mirror`, `plan`, and the run that `copy` shares with them.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Stderr, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::event::{Event, Failure, Kind, Meter, Side, Stage};
use crate::oci::{PlatformSelection, Registry};
use crate::plan::{JobId, Plan, Rewrite};
use crate::report::{
    Colour, Digests, Document, Failures, Lines, Reporter as _, Reporters, Skipped, Terminal,
    write_plan_json, write_plan_text,
};
use crate::runner::{self, Consumer, Mirror, Settings, Wish};
use crate::transfer::{Engine, Options, Overwrite};

use super::args::{Access, Bounds, Copying, General, LogFormat, MirrorArgs, Output};
use super::error::Error;
use super::lists::{self, BadLines};
use super::signals::{self, Signals};
use super::{Environment, access, policy};

/// `consign mirror`, and with `--dry-run` `consign plan`.
pub(super) async fn mirror(
    args: MirrorArgs,
    general: &General,
    environment: &Environment,
) -> Result<u8, Error> {
    refuse_later(&args.copying)?;
    let rewrite = Rewrite {
        source_registry: args.source,
        source_project: args.source_project,
        destination_registry: args.destination,
        destination_project: args.destination_project,
    };
    let bad_lines = if args.skip_bad_lines {
        BadLines::Skip
    } else {
        BadLines::Refuse
    };
    let (plan, skipped) = lists::plan(&args.files, &rewrite, bad_lines)?;
    if general.log_format == LogFormat::Text {
        for line in &skipped {
            // Nobody reads it, then.
            drop(writeln!(io::stderr(), "skipped {line}"));
        }
    }
    if args.dry_run {
        return show(&plan, &skipped, args.output);
    }
    let run = Run {
        command: "mirror",
        plan: Arc::new(plan),
        skipped,
        lists: args.files,
        failed: Some(args.failed),
        copying: args.copying,
        access: args.access,
        bounds: args.bounds,
    };
    run.run(general, environment).await
}

/// Refuses what is not there yet, by name.
pub(super) fn refuse_later(copying: &Copying) -> Result<(), Error> {
    match copying.later.first() {
        Some(flag) => Err(Error::refused(&format!("`{flag}` is not there yet"))),
        None => Ok(()),
    }
}

/// Prints a plan instead of running it.
fn show(plan: &Plan, skipped: &[Skipped], output: Output) -> Result<u8, Error> {
    let mut text = Vec::new();
    let written = match output {
        Output::Text => write_plan_text(plan, &mut text),
        Output::Json => write_plan_json(plan, &mut text),
    };
    written.map_err(|error| Error::usage("cannot print the plan", &error))?;
    super::print_bytes(&text)?;
    Ok(u8::from(!skipped.is_empty()))
}

/// A run of `mirror` or `copy`, with all that was given for it.
pub(super) struct Run {
    pub(super) command: &'static str,
    pub(super) plan: Arc<Plan>,
    pub(super) skipped: Vec<Skipped>,
    /// The files the plan was read from.
    pub(super) lists: Vec<PathBuf>,
    pub(super) failed: Option<PathBuf>,
    pub(super) copying: Copying,
    pub(super) access: Access,
    pub(super) bounds: Bounds,
}

impl Run {
    /// Runs it and says with which code the process ends.
    pub(super) async fn run(
        self,
        general: &General,
        environment: &Environment,
    ) -> Result<u8, Error> {
        self.check_outputs()?;
        let refusals = policy::refusals(&self.copying, environment, &self.plan)?;
        let registries: BTreeSet<Registry> = self
            .plan
            .source_registries()
            .into_keys()
            .chain(self.plan.destination_registries().into_keys())
            .cloned()
            .collect();
        let client = access::client(&self.access, environment, &registries)?;
        let meter = Arc::new(Meter::new());
        let signals = Signals::listen()?;
        let reports = self.reports(general, environment, &meter)?;
        announce(general);
        let engine = Arc::new(Engine::new(client, meter));
        let work = Mirror::new(engine, options(&self.copying), by_policy(refusals));
        let settings = Settings {
            jobs: self.bounds.jobs,
            timeout: self.bounds.timeout,
            skipped: self.skipped.len(),
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
    fn check_outputs(&self) -> Result<(), Error> {
        let mut taken: Vec<(&str, PathBuf)> = Vec::new();
        let lists = self.lists.iter().map(|path| ("the list", Some(path)));
        let outputs = [
            ("the failed list", self.failed.as_ref()),
            ("the report", self.copying.report.as_ref()),
            ("the list of digests", self.copying.digests.as_ref()),
        ];
        for (what, path) in lists.chain(outputs) {
            let Some(path) = path else { continue };
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
        if let Some(path) = &self.copying.report {
            let document = Document::create(
                path,
                &self.plan,
                &self.skipped,
                self.command,
                SystemTime::now,
            );
            reports.add(document.map_err(fail)?);
        }
        if let Some(path) = &self.copying.digests {
            reports.add(Digests::create(path, &self.plan).map_err(fail)?);
        }
        // It is written at once, so it is the last: where another output cannot be had, an older list
        // stays as it is.
        if let Some(path) = &self.failed {
            let failures = Failures::create(path, &self.plan, &self.skipped, self.command);
            reports.add(failures.map_err(fail)?);
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

/// Says once what this version leaves behind.
fn announce(general: &General) {
    const NOTICE: &str = "signatures and other referrers are not copied yet; images are";
    let said = match general.log_format {
        LogFormat::Text => writeln!(io::stderr(), "note: {NOTICE}"),
        LogFormat::Json => {
            let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
            let line = serde_json::json!({"time": time, "event": "notice", "message": NOTICE});
            writeln!(io::stderr(), "{line}")
        }
    };
    // Nobody reads it, then.
    drop(said);
}

fn options(copying: &Copying) -> Options {
    let selection = if copying.platforms.is_empty() {
        PlatformSelection::of_parts(&copying.os, &copying.arch, &copying.variant)
    } else {
        PlatformSelection::of_platforms(&copying.platforms)
    };
    Options {
        selection,
        index: copying.index.into(),
        on_existing: copying.on_existing.into(),
        overwrite: if copying.overwrite {
            Overwrite::Allowed
        } else {
            Overwrite::Refused
        },
    }
}

/// What the host's policy refuses, as failures of the jobs.
fn by_policy(refusals: HashMap<JobId, crate::policy::Unmet>) -> HashMap<JobId, Failure> {
    refusals
        .into_iter()
        .map(|(job, unmet)| {
            let failure =
                Failure::new(Stage::Verify, Some(Side::Source), Kind::Unsupported, &unmet);
            (job, failure)
        })
        .collect()
}

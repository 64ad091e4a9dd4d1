//! The plan, written for a person or a machine.

use std::collections::HashMap;
use std::io;
use std::io::Write;

use serde::Serialize;

use super::json::{JobView, Place, Shown};
use super::message::counted;
use crate::event::CAUSE_CHARS_MAX;
use crate::oci::Reference;
use crate::plan::{Course, Job, JobId, Plan, Source};
use crate::text;

/// Where sources are looked for, for jobs of which that is not what their lines say.
pub type Sources = HashMap<JobId, Source>;

/// Writes `plan`, whose images come from `sources`, for a person: a line for each job, then the counts and the
/// registries.
///
/// # Errors
///
/// When `out` cannot be written.
pub fn write_plan_text(plan: &Plan, sources: &Sources, out: &mut dyn Write) -> io::Result<()> {
    for job in plan.jobs() {
        write!(out, "{}: {}", job.line, job.source)?;
        if !job.is_in_place() {
            write!(out, " -> {}", job.destination)?;
        }
        match sources.get(&job.id) {
            None => {}
            Some(Source::Places(places)) => {
                let places: Vec<String> = places.iter().map(ToString::to_string).collect();
                write!(out, " (read from {})", places.join(", then "))?;
            }
            Some(Source::Blocked(why)) => write!(out, " (not tried: {})", cleaned(why))?,
        }
        if !job.settings.is_open() {
            write!(out, " [{}]", cleaned(job.settings.to_string().trim_start()))?;
        }
        match job.course {
            Course::Run => {}
            Course::Duplicate { of } => {
                if let Some(first) = plan.job(of) {
                    write!(out, " (duplicate of {})", first.line)?;
                }
            }
            Course::Contested { group } => {
                write!(out, " (only if its digest is that of ")?;
                for (position, rival) in rivals(plan, job, group).enumerate() {
                    let comma = if position > 0 { ", " } else { "" };
                    write!(out, "{comma}{}", rival.line)?;
                }
                write!(out, ")")?;
            }
        }
        writeln!(out)?;
    }
    let stays = plan.jobs().iter().all(Job::is_in_place);
    writeln!(
        out,
        "\n{}: {} to {}, {}, {} wanted by different sources",
        counted(plan.jobs().len(), "line"),
        plan.distinct().count(),
        if stays { "look at" } else { "mirror" },
        counted(plan.duplicates().count(), "duplicate"),
        counted(plan.contests().len(), "destination"),
    )?;
    let (from, to) = (plan.source_registries(), plan.destination_registries());
    let sides = if stays {
        vec![("at", to)]
    } else {
        vec![("from", from), ("to", to)]
    };
    for (word, registries) in sides {
        for (registry, count) in registries {
            writeln!(out, "{word} {registry}: {}", counted(count, "image"))?;
        }
    }
    Ok(())
}

/// Writes `plan`, whose images come from `sources`, for a machine: one JSON object a line, one line a job, and one of the counts.
///
/// # Errors
///
/// When `out` cannot be written.
pub fn write_plan_json(plan: &Plan, sources: &Sources, out: &mut dyn Write) -> io::Result<()> {
    for job in plan.jobs() {
        let (course, duplicate_of, contested_with) = match job.course {
            Course::Run => ("run", None, Vec::new()),
            Course::Duplicate { of } => ("duplicate", Place::find(plan, of), Vec::new()),
            Course::Contested { group } => (
                "contested",
                None,
                rivals(plan, job, group).map(Place::of).collect(),
            ),
        };
        let (read_from, blocked) = match sources.get(&job.id) {
            None => (Vec::new(), None),
            Some(Source::Places(places)) => (places.iter().map(Shown).collect(), None),
            Some(Source::Blocked(why)) => (Vec::new(), Some(cleaned(why))),
        };
        let view = PlannedView {
            job: JobView::of(job),
            read_from,
            blocked,
            course,
            duplicate_of,
            contested_with,
        };
        serde_json::to_writer(&mut *out, &view)?;
        writeln!(out)?;
    }
    let registries = |counts: std::collections::BTreeMap<&crate::oci::Registry, usize>| {
        counts
            .into_iter()
            .map(|(registry, count)| (registry.to_string(), count))
            .collect()
    };
    let counts = CountsView {
        lines: plan.jobs().len(),
        distinct: plan.distinct().count(),
        duplicates: plan.duplicates().count(),
        contested: plan.contests().len(),
        sources: registries(plan.source_registries()),
        destinations: registries(plan.destination_registries()),
    };
    serde_json::to_writer(&mut *out, &SummaryLine { summary: counts })?;
    writeln!(out)
}

fn cleaned(why: &str) -> String {
    text::cleaned(why, CAUSE_CHARS_MAX)
}

/// The other jobs of the contest of `job`.
fn rivals<'a>(plan: &'a Plan, job: &'a Job, group: usize) -> impl Iterator<Item = &'a Job> {
    let ids = plan.contests().get(group).map_or(&[][..], Vec::as_slice);
    ids.iter()
        .filter(|id: &&JobId| **id != job.id)
        .filter_map(|id| plan.job(*id))
}

#[derive(Serialize)]
struct PlannedView<'a> {
    #[serde(flatten)]
    job: JobView<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    read_from: Vec<Shown<&'a Reference>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked: Option<String>,
    course: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contested_with: Vec<Place<'a>>,
}

#[derive(Serialize)]
struct SummaryLine {
    summary: CountsView,
}

#[derive(Serialize)]
struct CountsView {
    lines: usize,
    distinct: usize,
    duplicates: usize,
    contested: usize,
    sources: std::collections::BTreeMap<String, usize>,
    destinations: std::collections::BTreeMap<String, usize>,
}

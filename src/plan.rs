//! Entries and rewrite rules to jobs: what a run will do, as data.
//!
//! Pure: no network and no files. After it every job knows its source and its destination with their
//! registries, and no two jobs that run have the same source and destination. Which of two sources
//! wins one destination cannot be known before their digests are, so such jobs are only marked
//! ([`Course::Contested`]).

mod source;
mod stay;

pub use source::Source;
pub use stay::{Stay, plan_in_place};

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::list::{Entry, Line, Names, Settings, Written};
use crate::oci;
use crate::oci::{Identifier, Reference, Registry, Repository};

/// The first part, or parts, of a repository's path; follows the grammar of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project(String);

impl Project {
    /// The project as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Project {
    type Err = oci::Error;

    fn from_str(text: &str) -> Result<Self, oci::Error> {
        // A repository's path is checked as one; only the word in the error is another.
        match Repository::new(Registry::docker_hub(), text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(oci::Error {
                what: "project",
                ..error
            }),
        }
    }
}

/// What the command line says instead of what the lines say. Each side is rewritten by itself, from
/// what is written in the line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Replaces the registry of every source, written or filled in.
    pub source_registry: Option<Registry>,
    /// Replaces the first part of the path of every source; goes in front of a path of one part.
    pub source_project: Option<Project>,
    /// The registry of every destination.
    pub destination_registry: Option<Registry>,
    /// As `source_project`, for every destination.
    pub destination_project: Option<Project>,
}

/// The position of a job in its plan, from 0; jobs stand in list order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(usize);

impl JobId {
    /// The job at `position` of a plan.
    pub const fn new(position: usize) -> Self {
        Self(position)
    }

    /// The position.
    pub const fn position(self) -> usize {
        self.0
    }
}

/// Whether and how a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// It runs.
    Run,
    /// An earlier job has the same source and destination; this one does not run.
    Duplicate {
        /// The first of them.
        of: JobId,
    },
    /// Another job brings another source to the same tag. It runs when the digests of all sources
    /// of its group are equal; else all of them fail.
    Contested {
        /// The position of its group in [`Plan::contests`].
        group: usize,
    },
}

/// The work that one entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its position.
    pub id: JobId,
    /// The line that asks for it.
    pub line: Line,
    /// What is copied: by its digest where it has one, else by its tag. It has one of them.
    pub source: Reference,
    /// Where to: a tag and no digest; or, where the source has a digest alone, that digest and no tag.
    pub destination: Reference,
    /// The repository that the line names as its source, for templates that speak of it: before any
    /// rewriting where the image stays, after it where it is copied.
    pub origin: Repository,
    /// What the entry asks for itself.
    pub settings: Settings,
    /// Whether and how it runs.
    pub course: Course,
}

impl Job {
    /// Whether the image stays where it is: it is signed or validated, not copied.
    pub fn is_in_place(&self) -> bool {
        self.source == self.destination
    }
}

/// What a run will do. Jobs stand in list order, each at the position of its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    jobs: Vec<Job>,
    contests: Vec<Vec<JobId>>,
}

impl Plan {
    /// All jobs, duplicates too.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// The job `id`; `None` when the plan has no such job.
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(id.0)
    }

    /// The groups of jobs that bring different sources to one tag; each has two or more jobs, none of
    /// them a duplicate.
    pub fn contests(&self) -> &[Vec<JobId>] {
        &self.contests
    }

    /// The jobs that are no duplicates.
    pub fn distinct(&self) -> impl Iterator<Item = &Job> {
        self.jobs
            .iter()
            .filter(|job| !matches!(job.course, Course::Duplicate { .. }))
    }

    /// The jobs that are duplicates, each with the job it repeats.
    pub fn duplicates(&self) -> impl Iterator<Item = (&Job, JobId)> {
        self.jobs.iter().filter_map(|job| match job.course {
            Course::Duplicate { of } => Some((job, of)),
            Course::Run | Course::Contested { .. } => None,
        })
    }

    /// The registries that are read from, each with its number of distinct jobs.
    pub fn source_registries(&self) -> BTreeMap<&Registry, usize> {
        self.count(|job| &job.source)
    }

    /// The registries that are written to, each with its number of distinct jobs.
    pub fn destination_registries(&self) -> BTreeMap<&Registry, usize> {
        self.count(|job| &job.destination)
    }

    fn count<'a>(
        &'a self,
        side: impl Fn(&'a Job) -> &'a Reference,
    ) -> BTreeMap<&'a Registry, usize> {
        let mut counts = BTreeMap::new();
        for job in self.distinct() {
            *counts.entry(side(job).repository.registry()).or_default() += 1;
        }
        counts
    }
}

/// What is wrong with an entry, and which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {reason}")]
pub struct Error {
    /// The line of the entry.
    pub line: Line,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Neither the line nor the command line names a destination registry.
    #[error("no destination registry for `{0}`")]
    NoDestination(Box<Reference>),
    /// A mirror line names an image where it is to stay, and neither it nor the command line says at
    /// which registry that is.
    #[error("no registry for `{0}`")]
    NoRegistry(Box<Reference>),
    /// It would be copied onto itself.
    #[error("`{0}` would be copied onto itself")]
    Itself(Box<Reference>),
    /// A name is none any more after rewriting.
    #[error("{0}")]
    Name(Box<oci::Error>),
    /// An earlier line asks for the same destination in another way.
    #[error("`{destination}` is asked for with other settings in `{first}`")]
    Unlike {
        /// The destination.
        destination: Box<Reference>,
        /// The first line that asks for it.
        first: Line,
    },
}

impl Error {
    /// What a person could do about it, where that is not plain.
    pub fn hint(&self) -> Option<&'static str> {
        match &self.reason {
            Reason::NoDestination(_) => Some(
                "give the registry with `-d REGISTRY`, or write it in column 2 of a mirror line",
            ),
            Reason::NoRegistry(_) => Some(
                "give the registry with `--registry REGISTRY`, or write it in column 2 of the line",
            ),
            Reason::Itself(_) => Some(
                "give another registry with `-d`, or another project with `--destination-project`",
            ),
            Reason::Name(_) | Reason::Unlike { .. } => None,
        }
    }
}

/// Makes the plan of `entries`, in their order.
///
/// # Errors
///
/// When any entry is wrong; all errors at once, in list order.
pub fn plan(entries: Vec<Entry>, rewrite: &Rewrite) -> Result<Plan, Vec<Error>> {
    let (plan, errors) = plan_good(entries, rewrite);
    if errors.is_empty() {
        Ok(plan)
    } else {
        Err(errors)
    }
}

/// Makes the plan of the good ones of `entries`, and says what is wrong with the others, for runs
/// that skip bad lines.
pub fn plan_good(entries: Vec<Entry>, rewrite: &Rewrite) -> (Plan, Vec<Error>) {
    plan_by(entries, |names| {
        let (source, destination) = sides(names, rewrite)?;
        Ok(Meant {
            origin: source.repository.clone(),
            source,
            destination,
        })
    })
}

/// What the names of an entry mean.
struct Meant {
    source: Reference,
    destination: Reference,
    origin: Repository,
}

/// Makes the plan of those `entries` whose names mean something, in their order, and says what is wrong
/// with the others.
fn plan_by(
    entries: Vec<Entry>,
    mean: impl Fn(Names) -> Result<Meant, Reason>,
) -> (Plan, Vec<Error>) {
    let mut errors = Vec::new();
    let mut jobs = Vec::with_capacity(entries.len());
    for (position, entry) in entries.into_iter().enumerate() {
        let Entry {
            line,
            names,
            settings,
        } = entry;
        match mean(names) {
            Ok(meant) => jobs.push(Job {
                id: JobId(position),
                line,
                source: meant.source,
                destination: meant.destination,
                origin: meant.origin,
                settings,
                course: Course::Run,
            }),
            Err(reason) => errors.push((position, Error { line, reason })),
        }
    }
    let plan = settle(jobs, &mut errors);
    errors.sort_by_key(|(position, _)| *position);
    let errors = errors.into_iter().map(|(_, error)| error).collect();
    (plan, errors)
}

/// The plan of `jobs`, without those that ask for what an earlier one asks for in another way.
fn settle(mut jobs: Vec<Job>, errors: &mut Vec<(usize, Error)>) -> Plan {
    let unlike = unlike(&jobs);
    jobs.retain(|job| match unlike.get(&job.id) {
        Some(first) => {
            let reason = Reason::Unlike {
                destination: Box::new(job.destination.clone()),
                first: first.clone(),
            };
            let line = job.line.clone();
            errors.push((job.id.0, Error { line, reason }));
            false
        }
        None => true,
    });
    for (position, job) in jobs.iter_mut().enumerate() {
        job.id = JobId(position);
    }
    let (courses, contests) = courses(&jobs);
    for (job, course) in jobs.iter_mut().zip(courses) {
        job.course = course;
    }
    Plan { jobs, contests }
}

/// The source and the destination that `names` mean under `rewrite`.
fn sides(names: Names, rewrite: &Rewrite) -> Result<(Reference, Reference), Reason> {
    let form = match names {
        Names::Default { .. } => Form::Default,
        Names::Mirror { .. } => Form::Mirror,
    };
    let (from, to, to_registry) = match names {
        // The registry of a default line is where it comes from, never where it goes.
        Names::Default { image, registry: _ } => (image.clone(), image, Written::No),
        Names::Mirror {
            source,
            source_registry: _,
            destination,
            destination_registry,
        } => (source, destination, destination_registry),
    };
    let registry = match (&rewrite.destination_registry, to_registry) {
        (Some(registry), _) => registry.clone(),
        (None, Written::Yes) => to.repository.registry().clone(),
        (None, Written::No) => return Err(Reason::NoDestination(Box::new(from))),
    };
    let source = Reference {
        repository: rewritten(
            &from.repository,
            rewrite.source_registry.as_ref(),
            rewrite.source_project.as_ref(),
        )?,
        tag: from.tag,
        digest: from.digest,
    };
    let destination = Reference {
        repository: rewritten(
            &to.repository,
            Some(&registry),
            rewrite.destination_project.as_ref(),
        )?,
        digest: if to.tag.is_some() { None } else { to.digest },
        tag: to.tag,
    };
    let same = source.repository == destination.repository && source.tag == destination.tag;
    // A mirror line may set a tag to a digest of the same repository.
    let moves = match form {
        Form::Default => false,
        Form::Mirror => source.digest.is_some(),
    };
    if same && !moves {
        return Err(Reason::Itself(Box::new(destination)));
    }
    Ok((source, destination))
}

/// Which form a line has.
#[derive(Clone, Copy)]
enum Form {
    Default,
    Mirror,
}

fn rewritten(
    repository: &Repository,
    registry: Option<&Registry>,
    project: Option<&Project>,
) -> Result<Repository, Reason> {
    let mut repository = repository.clone();
    if let Some(registry) = registry {
        repository = repository.at(registry);
    }
    if let Some(project) = project {
        repository = repository.in_project(&project.0).map_err(named)?;
    }
    // Docker Hub's names of one part are short for others; a plan has none, so that each of its
    // names is read again as what it is.
    if *repository.registry() == Registry::docker_hub() && !repository.path().contains('/') {
        repository = repository.in_project("library").map_err(named)?;
    }
    Ok(repository)
}

fn named(error: oci::Error) -> Reason {
    Reason::Name(Box::new(error))
}

/// What two jobs that write the same have in common.
type Goal<'a> = (&'a Repository, Identifier);

fn goal(job: &Job) -> Goal<'_> {
    (&job.destination.repository, job.destination.identifier())
}

/// The jobs that would write what an earlier one writes with other settings, each with the first line
/// that asks for it. An image that stays where it is can be judged and signed in several ways.
fn unlike(jobs: &[Job]) -> HashMap<JobId, Line> {
    let mut first: HashMap<Goal<'_>, &Job> = HashMap::with_capacity(jobs.len());
    let mut unlike = HashMap::new();
    for job in jobs.iter().filter(|job| !job.is_in_place()) {
        let earlier = *first.entry(goal(job)).or_insert(job);
        if earlier.settings != job.settings {
            unlike.insert(job.id, earlier.line.clone());
        }
    }
    unlike
}

/// The course of each job, and the groups of those that are contested.
fn courses(jobs: &[Job]) -> (Vec<Course>, Vec<Vec<JobId>>) {
    let mut first: HashMap<_, Vec<&Job>> = HashMap::with_capacity(jobs.len());
    let mut rivals: BTreeMap<Goal<'_>, Vec<JobId>> = BTreeMap::new();
    let mut courses = vec![Course::Run; jobs.len()];
    for (job, course) in jobs.iter().zip(&mut courses) {
        let alike = first
            .entry((&job.source, &job.destination, &job.origin))
            .or_default();
        let same = alike.iter().find(|other| other.settings == job.settings);
        let of = same.map(|other| other.id);
        if of.is_none() {
            alike.push(job);
        }
        if let Some(of) = of {
            *course = Course::Duplicate { of };
        } else if job.destination.tag.is_some() && !job.is_in_place() {
            // Two sources for one digest bring the same bytes; only a tag can be contested.
            rivals.entry(goal(job)).or_default().push(job.id);
        }
    }
    let mut contests: Vec<Vec<JobId>> = rivals
        .into_values()
        .filter(|group| group.len() > 1)
        .collect();
    contests.sort();
    for (group, ids) in contests.iter().enumerate() {
        for id in ids {
            if let Some(course) = courses.get_mut(id.0) {
                *course = Course::Contested { group };
            }
        }
    }
    (courses, contests)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

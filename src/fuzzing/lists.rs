//! Lists, names, compose files and policies.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broken promise is a finding"
)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check_printable;
use crate::compose;
use crate::limits::input::LIST_LINE_BYTES_MAX;
use crate::list;
use crate::list::{Entry, Parsed};
use crate::oci::{Digest, Identifier, Namespace, Reference, Registry, Repository, Tag};
use crate::plan;
use crate::plan::{Job, Plan, Rewrite};
use crate::policy::Policy;
use crate::report;
use crate::report::Skipped;

/// How the list is called.
const FILE: &str = "list";

/// A list: each line is an entry, a bad line, or says nothing; an entry written again says the same; and a
/// failed list of all of it plans the same.
///
/// # Panics
///
/// When one of these does not hold.
pub fn list(bytes: &[u8]) {
    let parsed = match list::parse(FILE, bytes) {
        Ok(parsed) => parsed,
        Err(error) => {
            check_printable(&error);
            assert!(error.line >= 1 && error.column >= 1, "{error:?}");
            return;
        }
    };
    for bad in &parsed.bad {
        check_printable(bad);
        assert!(bad.column >= 1, "{bad:?}");
    }
    check_lines(bytes, &parsed);
    parsed.entries.iter().for_each(check_entry);
    check_failed_list(parsed);
}

/// Each line that is neither blank nor a comment is an entry or a bad line, and no other is.
fn check_lines(bytes: &[u8], parsed: &Parsed) {
    let text = std::str::from_utf8(bytes).expect("what was read is text");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.split('\n').enumerate().filter(|(_, line)| {
        let line = line.trim_end_matches('\r').trim_matches([' ', '\t']);
        !(line.is_empty() || line.starts_with('#') || line.starts_with("//"))
    });
    let said: Vec<usize> = lines.map(|(at, _)| at + 1).collect();
    let good = parsed.entries.iter().map(|entry| entry.line.number);
    let bad = parsed.bad.iter().map(|bad| bad.line);
    assert!(good.clone().is_sorted() && bad.clone().is_sorted());
    let mut told: Vec<usize> = good.chain(bad).collect();
    told.sort_unstable();
    assert_eq!(told, said);
}

/// An entry says the same, read from its line alone and written in full.
fn check_entry(entry: &Entry) {
    let file = &entry.line.file;
    let again = list::line(file, entry.line.number, &entry.line.text);
    assert_eq!(&again.expect("the line was read before"), entry);
    let shown = entry.to_string();
    // With a registry and a tag it can become longer than a line may be.
    if shown.len() <= LIST_LINE_BYTES_MAX {
        let again = list::line(file, 1, &shown).expect("what is written is read");
        assert_eq!(again.settings, entry.settings, "{shown}");
        assert_eq!(again.to_string(), shown);
    }
}

/// Where all that is planned here goes.
fn rewrite() -> Rewrite {
    Rewrite {
        destination_registry: Some("d.example".parse().expect("a registry")),
        ..Rewrite::default()
    }
}

/// The failed list of a run in which nothing was tried is a list that asks for the same work, and knows
/// the same bad lines.
fn check_failed_list(parsed: Parsed) {
    let mut skipped: Vec<Skipped> = parsed.bad.iter().map(Skipped::unread).collect();
    let Some(plan) = planned(parsed.entries, &mut skipped) else {
        return;
    };
    let failed = report::untried(&plan, &skipped).expect("memory takes all");
    let again = list::parse(FILE, failed.as_slice()).expect("a failed list is a list");
    assert!(again.bad.is_empty(), "{:?}", again.bad);
    let again = plan::plan(again.entries, &rewrite()).expect("it was planned before");
    let what = |job: &Job| {
        let text = Arc::clone(&job.line.text);
        (
            job.source.clone(),
            job.destination.clone(),
            job.settings.clone(),
            text,
        )
    };
    let before: Vec<_> = plan.distinct().map(what).collect();
    assert_eq!(again.jobs().iter().map(what).collect::<Vec<_>>(), before);
    assert_eq!(again.duplicates().count(), 0);
    let carried = report::carried(failed.as_slice()).expect("memory gives all");
    assert_eq!(carried, skipped);
}

/// The plan of these, without those that cannot be planned.
fn planned(entries: Vec<Entry>, skipped: &mut Vec<Skipped>) -> Option<Plan> {
    let errors = match plan::plan(entries.clone(), &rewrite()) {
        Ok(plan) => return Some(plan),
        Err(errors) => errors,
    };
    for error in &errors {
        check_printable(error);
    }
    let bad: BTreeSet<usize> = errors.iter().map(|error| error.line.number).collect();
    skipped.extend(errors.iter().map(Skipped::unplanned));
    let good = entries.into_iter();
    let good = good.filter(|entry| !bad.contains(&entry.line.number));
    plan::plan(good.collect(), &rewrite()).ok()
}

/// Names of images and their parts: what is written is read as the same, and nothing in it leaves its
/// place in a path or a line.
///
/// # Panics
///
/// When one of these does not hold.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match text.parse::<Reference>() {
        Err(error) => check_printable(&error),
        Ok(read) => check_reference(text, &read),
    }
    let again = |shown: String| shown.parse::<Registry>().expect("it was read before");
    if let Ok(registry) = text.parse::<Registry>() {
        assert_eq!(again(registry.to_string()), registry);
        assert!(!registry.host().is_empty() && !registry.authority().is_empty());
        assert!(registry.port() != Some(0));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(tag) = text.parse::<Tag>() {
        assert_eq!(tag.as_str(), text);
    }
    if let Ok(namespace) = text.parse::<Namespace>() {
        let shown = namespace.to_string();
        assert_eq!(shown.parse::<Namespace>().ok(), Some(namespace), "{shown}");
    }
}

fn check_reference(text: &str, read: &Reference) {
    let shown = read.to_string();
    assert_eq!(shown.parse().as_ref(), Ok(read), "{text}");
    assert!(shown.is_ascii() && !shown.contains(|c: char| c.is_ascii_control() || c == ' '));
    let repository = &read.repository;
    let path = repository.path();
    assert!(path.split('/').all(|part| !part.starts_with('.')), "{path}");
    let again = Repository::new(repository.registry().clone(), path);
    assert_eq!(again.as_ref(), Ok(repository));
    match read.identifier() {
        Identifier::Digest(digest) => assert_eq!(Some(digest), read.digest),
        Identifier::Tag(tag) => assert!(read.digest.is_none() && !tag.as_str().contains('/')),
    }
    if let Ok(moved) = repository.in_project("p") {
        assert!(moved.path().starts_with("p/"));
    }
}

/// One file under the names that a compose file may ask for; no other is there.
struct Single<'a>(&'a [u8]);

impl compose::Files for Single<'_> {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        if !self.is_file(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.0[..self.0.len().min(limit + 1)].to_vec())
    }

    fn is_file(&self, path: &Path) -> bool {
        [".env", "a", "a.yaml"]
            .iter()
            .any(|own| path.ends_with(own))
    }

    fn absolute(&self, path: &Path) -> Option<PathBuf> {
        Some(Path::new("/home").join(path))
    }
}

/// Compose files: the line of a service says what the service says.
///
/// # Panics
///
/// When it does not.
pub fn compose(bytes: &[u8]) {
    let options = compose::Options {
        profiles: Vec::new(),
        project_name: None,
        env_files: Vec::new(),
        environment: BTreeMap::from([("SET".to_owned(), "set".to_owned())]),
        keys: compose::Keys::All,
    };
    let parsed = compose::parse(Path::new("c.yaml"), bytes, &options, &Single(bytes));
    for error in &parsed.errors {
        check_printable(error);
    }
    for warning in &parsed.warnings {
        check_printable(warning);
    }
    for entry in &parsed.entries {
        let again = list::line(&entry.line.file, 1, &entry.line.text);
        let again = again.expect("the line of a service is one of a list");
        assert_eq!(again.names, entry.names);
        assert_eq!(again.settings, entry.settings);
    }
}

/// A `policy.json`: something is asked of every image, whatever its name.
///
/// # Panics
///
/// When nothing is.
pub fn policy(bytes: &[u8]) {
    let policy = match Policy::parse(bytes) {
        Ok(policy) => policy,
        Err(error) => return check_printable(&error),
    };
    for name in ["a.io/b:c", "r.example:5000/a/b/c", "nginx"] {
        let mut image: Reference = name.parse().expect("a name");
        image.digest = Some(Digest::sha256(b""));
        let readings = policy.readings(&image);
        assert!(readings.iter().all(|(_, asked)| !asked.is_empty()));
        assert!(!readings.is_empty());
    }
    assert!(policy.paths().len() <= bytes.len());
}

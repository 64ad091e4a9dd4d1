//! What tags named when they were last asked for: hints, in one file.
//!
//! Each line is sixteen digits of the hash of a tag's name, a blank, and a digest; those that were used last stand
//! first. Two names of one hash, and whatever else stands there, cost a question and nothing more.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::cache::{CACHE_TAGS_BYTES_MAX, CACHE_TAGS_MAX};
use crate::oci::Digest;

use super::shelf;

/// What the file is called.
const NAME: &str = "tags";

/// How many changes may be lost with a process that is killed.
const UNSAVED_MAX: usize = 4096;

/// Whether changes are to be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saved {
    /// It is time.
    Due,
    /// They can wait.
    Later,
}

#[derive(Debug)]
pub(super) struct Tags {
    path: PathBuf,
    /// What the file has, read when it is first needed, and what was noted since.
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    noted: HashMap<u64, Digest>,
    /// Those that were used in this run.
    used: HashSet<u64>,
    /// Those that are not there any more.
    gone: HashSet<u64>,
    unsaved: usize,
}

impl Tags {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join(NAME),
            known: Mutex::new(None),
        }
    }

    /// What the tag `name` named last.
    pub(super) fn last(&self, name: &str) -> Option<Digest> {
        let mut guard = self.guard();
        let known = self.known(&mut guard);
        let key = key(name);
        let digest = known.noted.get(&key).copied()?;
        known.used.insert(key);
        Some(digest)
    }

    /// Notes what the tag `name` names now.
    pub(super) fn note(&self, name: &str, digest: Option<Digest>) -> Saved {
        let mut guard = self.guard();
        let known = self.known(&mut guard);
        let key = key(name);
        match digest {
            Some(digest) if known.noted.get(&key) == Some(&digest) => {
                known.used.insert(key);
                return Saved::Later;
            }
            Some(_) if known.used.len() >= CACHE_TAGS_MAX && !known.used.contains(&key) => {
                return Saved::Later;
            }
            Some(digest) => {
                known.noted.insert(key, digest);
                known.used.insert(key);
                known.gone.remove(&key);
            }
            None if known.noted.remove(&key).is_some() => {
                known.used.remove(&key);
                known.gone.insert(key);
            }
            None => return Saved::Later,
        }
        known.unsaved += 1;
        if known.unsaved < UNSAVED_MAX {
            Saved::Later
        } else {
            Saved::Due
        }
    }

    /// Writes down what changed, beside what others wrote meanwhile. Of two that do so at once one may be lost.
    pub(super) fn save(&self) -> io::Result<()> {
        let mut guard = self.guard();
        let known = self.known(&mut guard);
        // Where it is crowded the order counts too.
        let is_crowded = known.noted.len() > CACHE_TAGS_MAX / 2 && !known.used.is_empty();
        if known.unsaved == 0 && !is_crowded {
            return Ok(());
        }
        let mine = known
            .used
            .iter()
            .filter_map(|key| Some((*key, *known.noted.get(key)?)));
        let others = self.read()?.into_iter();
        let others =
            others.filter(|(key, _)| !known.used.contains(key) && !known.gone.contains(key));
        let lines: Vec<String> = mine
            .chain(others)
            .take(CACHE_TAGS_MAX)
            .map(|(key, digest)| format!("{key:016x} {digest}\n"))
            .collect();
        known.unsaved = 0;
        shelf::write(&self.path, lines.concat().as_bytes())
    }

    fn guard(&self) -> MutexGuard<'_, Option<Known>> {
        // A panic leaves it whole: every change is a few calls that cannot.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known<'a>(&self, guard: &'a mut Option<Known>) -> &'a mut Known {
        guard.get_or_insert_with(|| {
            let read = self.read().unwrap_or_else(|error| {
                tracing::debug!(%error, "what tags named last is not known");
                Vec::new()
            });
            Known {
                noted: read.into_iter().collect(),
                ..Known::default()
            }
        })
    }

    /// What the file has, in its order.
    fn read(&self) -> io::Result<Vec<(u64, Digest)>> {
        let mut text = Vec::new();
        let there = match self.path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            there => there?,
        };
        if !there.is_file() {
            return Err(io::Error::other("what tags named last is in no file"));
        }
        File::open(&self.path)?
            .take(CACHE_TAGS_BYTES_MAX)
            .read_to_end(&mut text)?;
        let lines = text.split(|byte| *byte == b'\n').filter_map(entry);
        Ok(lines.take(CACHE_TAGS_MAX).collect())
    }
}

/// What a line says, if it is one.
fn entry(line: &[u8]) -> Option<(u64, Digest)> {
    let (key, digest) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((u64::from_str_radix(key, 16).ok()?, digest.parse().ok()?))
}

/// What stands for the name of a tag: nobody reads in a cache which images somebody has.
fn key(name: &str) -> u64 {
    let digest = Digest::sha256(name.as_bytes());
    let first = digest.value().first_chunk().copied();
    u64::from_be_bytes(first.unwrap_or_default())
}

/// Any bytes as a line of hints: what is read is what would be written.
#[cfg(any(test, fuzzing))]
#[expect(clippy::expect_used, reason = "a broken promise is a finding")]
pub(super) fn fuzz(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((key, digest)) = entry(line) else {
            continue;
        };
        let written = format!("{key:016x} {digest}");
        assert_eq!(
            entry(written.as_bytes()).expect("it is a line"),
            (key, digest)
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn digest(of: &str) -> Digest {
        Digest::sha256(of.as_bytes())
    }

    #[test]
    fn what_was_noted_is_known_to_the_next_and_nobody_reads_names() {
        let folder = tempfile::tempdir().unwrap();
        let tags = Tags::new(folder.path());
        assert_eq!(tags.last("r.example/a:1"), None);
        assert_eq!(tags.note("r.example/a:1", Some(digest("a"))), Saved::Later);
        tags.note("r.example/b:1", Some(digest("b")));
        tags.note("r.example/c:1", None);
        tags.save().unwrap();
        let text = fs::read_to_string(folder.path().join(NAME)).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains("example"), "{text}");
        let next = Tags::new(folder.path());
        assert_eq!(next.last("r.example/a:1"), Some(digest("a")));
        next.note("r.example/b:1", Some(digest("c")));
        next.note("r.example/a:1", None);
        assert_eq!(next.last("r.example/a:1"), None);
        next.save().unwrap();
        let last = Tags::new(folder.path());
        assert_eq!(last.last("r.example/a:1"), None);
        assert_eq!(last.last("r.example/b:1"), Some(digest("c")));
    }

    #[test]
    fn two_at_once_keep_what_the_other_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (Tags::new(folder.path()), Tags::new(folder.path()));
        for (tags, name) in [(&one, "a"), (&two, "b")] {
            assert_eq!(tags.last(name), None);
            tags.note(name, Some(digest(name)));
        }
        one.save().unwrap();
        two.save().unwrap();
        let after = Tags::new(folder.path());
        assert_eq!(after.last("a"), Some(digest("a")));
        assert_eq!(after.last("b"), Some(digest("b")));
    }

    #[test]
    fn what_is_no_line_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let good = digest("a");
        let lines = [
            "\u{0}\u{1}",
            "0000000000000001 sha256:ab",
            "x sha256:0",
            &format!("{:016x} {good}", key("a")),
            &format!("{:016x} sha256:{}", key("b"), "a".repeat(30)),
        ];
        fs::write(folder.path().join(NAME), lines.join("\n")).unwrap();
        let tags = Tags::new(folder.path());
        assert_eq!(tags.last("a"), Some(good));
        assert_eq!(tags.last("b"), None);
        // What is no file at all is no hint, and is not replaced.
        let other = tempfile::tempdir().unwrap();
        fs::create_dir(other.path().join(NAME)).unwrap();
        let tags = Tags::new(other.path());
        assert_eq!(tags.last("a"), None);
        tags.note("a", Some(good));
        assert!(tags.save().is_err());
    }

    #[test]
    fn tags_are_bounded_and_those_used_last_stay() {
        let folder = tempfile::tempdir().unwrap();
        let old = (0..CACHE_TAGS_MAX + 10).map(|number| format!("{number:016x} {}", digest("old")));
        let late = format!("{:016x} {}", key("late"), digest("late"));
        let lines: Vec<String> = old.chain([late]).collect();
        fs::write(folder.path().join(NAME), lines.join("\n")).unwrap();
        let tags = Tags::new(folder.path());
        assert_eq!(tags.last("late"), None);
        tags.note("new", Some(digest("new")));
        tags.save().unwrap();
        let text = fs::read_to_string(folder.path().join(NAME)).unwrap();
        assert_eq!(text.lines().count(), CACHE_TAGS_MAX);
        let first = format!("{:016x} {}", key("new"), digest("new"));
        assert_eq!(text.lines().next(), Some(&*first));
        assert_eq!(Tags::new(folder.path()).last("new"), Some(digest("new")));
    }

    #[test]
    fn a_long_run_writes_down_what_it_noted_before_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let tags = Tags::new(folder.path());
        let due = (0..2 * UNSAVED_MAX).filter(|number| {
            let due = tags.note(&number.to_string(), Some(digest("a")));
            if due == Saved::Due {
                tags.save().unwrap();
            }
            due == Saved::Due
        });
        assert_eq!(due.count(), 2);
    }
}

//! The floors: which module may name which, and what of the outside world.
//!
//! A module may name the modules in its row and nothing else. The test reads the source as text, so
//! imports are written one module per `use`, and `super` never climbs to the root of the crate. Tests
//! may name what they like.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, floor, and what it may name of this crate: lower floors, and the same where no circle
/// comes of it.
const TABLE: &[(&str, u8, &[&str])] = &[
    ("folder", 0, &[]),
    ("limits", 0, &[]),
    ("oci", 0, &["limits"]),
    ("text", 0, &["limits"]),
    ("cache", 1, &["folder", "limits", "oci"]),
    ("list", 1, &["limits", "oci", "text"]),
    ("compose", 1, &["limits", "list", "oci", "text"]),
    ("plan", 1, &["list", "oci"]),
    ("policy", 1, &["limits", "oci", "text"]),
    ("template", 1, &["limits", "oci"]),
    ("event", 1, &["oci", "plan", "text"]),
    ("flight", 2, &[]),
    ("pace", 2, &[]),
    ("registry", 2, &["cache", "flight", "limits", "oci"]),
    ("sigstore", 2, &["limits", "oci", "text"]),
    ("layout", 2, &["limits", "oci"]),
    ("keyless", 3, &["limits", "registry", "sigstore", "text"]),
    (
        "attached",
        3,
        &["flight", "folder", "limits", "oci", "registry"],
    ),
    (
        "transfer",
        3,
        &[
            "attached", "event", "flight", "limits", "oci", "pace", "registry", "sigstore",
        ],
    ),
    (
        "verify",
        3,
        &[
            "attached", "event", "limits", "oci", "pace", "policy", "registry", "sigstore", "text",
            "transfer",
        ],
    ),
    (
        "sign",
        3,
        &[
            "attached", "event", "keyless", "limits", "oci", "registry", "sigstore", "transfer",
            "verify",
        ],
    ),
    ("serve", 3, &["layout", "limits", "oci"]),
    (
        "runner",
        4,
        &[
            "attached", "event", "keyless", "list", "oci", "pace", "plan", "policy", "registry",
            "sign", "sigstore", "template", "transfer", "verify",
        ],
    ),
    ("report", 4, &["event", "list", "oci", "plan", "text"]),
    ("cli", CLI_FLOOR, &[]),
    // For tests alone, and so above all.
    (
        "fuzzing",
        6,
        &[
            "cache", "cli", "compose", "keyless", "layout", "limits", "list", "oci", "plan",
            "policy", "registry", "report", "serve", "sigstore",
        ],
    ),
];

/// The floor of `cli`, which may name everything below it.
const CLI_FLOOR: u8 = 5;

/// What only some modules may name of the outside world: a path or a macro, and who may.
const OUTSIDE: &[(&str, &[&str])] = &[
    // Only one module sends requests, and only one answers them.
    ("reqwest", &["registry"]),
    ("hyper", &["serve"]),
    ("hyper_util", &["serve"]),
    // Its every minor version breaks, and its verdicts are not taken as they are.
    ("sigstore_verify", &["sigstore"]),
    // The edge reads what belongs to this machine.
    ("clap", &["cli"]),
    ("std::env", &["cli"]),
    ("tokio::signal", &["cli"]),
    ("rpassword", &["cli"]),
    // Programs of others get secrets: only helpers that a file of credentials names.
    ("process::Command", &["cli"]),
    ("tokio::process", &["cli"]),
    ("tracing_subscriber", &["cli"]),
    // Whoever writes to a person or to a file.
    ("indicatif", &["report"]),
    ("io::stdout", &["cli", "report"]),
    ("io::stderr", &["cli", "report"]),
    ("print!", &[]),
    ("println!", &[]),
    ("eprint!", &[]),
    ("eprintln!", &[]),
    (
        "std::fs",
        &["attached", "cache", "cli", "folder", "layout", "report"],
    ),
    ("tokio::fs", &["cli", "layout", "report"]),
    // Tasks belong to somebody who ends them.
    ("tokio::spawn", &[]),
    ("task::spawn", &[]),
    ("thread::spawn", &[]),
    ("JoinSet", &["registry", "runner", "serve"]),
    ("spawn_blocking", &["cli", "layout"]),
    // Groups would hide from this test what they import.
    ("std::{", &[]),
    ("tokio::{", &[]),
];

/// A file of this crate, without its tests and comments.
struct Source {
    /// The modules it stands in, from the root of the crate.
    path: Vec<String>,
    file: PathBuf,
    lines: Vec<(usize, String)>,
}

/// Where something is named.
struct Place<'a> {
    file: &'a Path,
    line: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl Source {
    fn new(file: &Path, text: &str) -> Self {
        let path = file.with_extension("");
        Self {
            path: path
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect(),
            file: file.to_owned(),
            lines: code(text),
        }
    }

    /// The module of the table that it belongs to.
    fn module(&self) -> &str {
        &self.path[0]
    }

    fn lines(&self) -> impl Iterator<Item = (Place<'_>, &str)> {
        self.lines.iter().map(|(line, text)| {
            let place = Place {
                file: &self.file,
                line: *line,
            };
            (place, text.as_str())
        })
    }
}

/// All files but those of tests, and but the two that only join the others.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let file = path.strip_prefix(&root).unwrap();
            let name = file.to_str().unwrap();
            let is_test = name.ends_with("_tests.rs")
                || name.ends_with("/tests.rs")
                || name.contains("/tests/");
            if !is_test && !["lib.rs", "main.rs", "floors.rs"].contains(&name) {
                sources.push(Source::new(file, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources
}

/// The lines of code of `text`, each with its number: no comments, and no item that is for tests.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut code = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let begin = line.trim_start();
        if begin.starts_with("//") {
            continue;
        }
        if begin == "#[cfg(test)]" {
            // As rustfmt leaves it: the item ends with `;`, or with a brace below its beginning.
            let end = format!("{}}}", line.strip_suffix(begin).unwrap_or_default());
            let mut is_block = false;
            for (_, line) in lines.by_ref() {
                is_block |= line.ends_with('{');
                if line == end || (!is_block && line.ends_with([';', '}'])) {
                    break;
                }
            }
            continue;
        }
        let line = line.split_once(" // ").map_or(line, |(code, _)| code);
        code.push((at + 1, line.to_owned()));
    }
    code
}

/// What follows each `path` in `line`, where it stands as a path of its own.
fn following<'a>(line: &'a str, path: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(path).filter_map(move |(at, _)| {
        let (before, found) = line.split_at(at);
        let after = found.strip_prefix(path)?;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let ends = !path.ends_with(is_word) || !after.starts_with(is_word);
        (!before.ends_with(is_word) && ends).then_some(after)
    })
}

/// The words that follow `crate::` in `line`; the empty word where a group does.
fn named(line: &str) -> impl Iterator<Item = &str> {
    following(line, "crate::").map(|after| {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        after.split(|c| !is_word(c)).next().unwrap_or_default()
    })
}

/// How often the longest run of `super::` in `line` climbs.
fn climbs(line: &str) -> usize {
    let runs = following(line, "super::").map(|mut after| {
        let mut count = 1;
        while let Some(next) = after.strip_prefix("super::") {
            (after, count) = (next, count + 1);
        }
        count
    });
    runs.max().unwrap_or_default()
}

/// Who may name whom.
fn allowed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let below = TABLE.iter().filter(|(_, floor, _)| *floor <= CLI_FLOOR);
    let everything = || below.clone().map(|(module, ..)| *module);
    TABLE
        .iter()
        .map(|(module, floor, imports)| {
            let imports = if *floor == CLI_FLOOR {
                everything().filter(|other| other != module).collect()
            } else {
                imports.iter().copied().collect()
            };
            (*module, imports)
        })
        .collect()
}

/// Every module that another names, with a place where it does.
fn imports(sources: &[Source]) -> BTreeMap<(&str, &str), Place<'_>> {
    let mut imports = BTreeMap::new();
    for source in sources {
        for (place, line) in source.lines() {
            for module in named(line).filter(|module| *module != source.module()) {
                imports
                    .entry((source.module(), module))
                    .or_insert(Place { ..place });
            }
        }
    }
    imports
}

fn assert_none(found: &[String], what: &str) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn imports_follow_the_floors() {
    let sources = sources();
    let allowed = allowed();
    let bad: Vec<String> = imports(&sources)
        .iter()
        .filter(|((from, to), _)| !allowed.get(from).is_some_and(|row| row.contains(to)))
        .map(|((from, to), place)| format!("src/{place}: `{from}` names `{to}`"))
        .collect();
    assert_none(&bad, "not in the table");
}

#[test]
fn the_table_allows_no_more_than_is_named() {
    let sources = sources();
    let imports = imports(&sources);
    let unused: Vec<String> = TABLE
        .iter()
        .flat_map(|(module, _, row)| row.iter().map(move |other| (*module, *other)))
        .filter(|import| !imports.contains_key(import))
        .map(|(from, to)| format!("`{from}` does not name `{to}`"))
        .collect();
    assert_none(&unused, "in the table for nothing");
}

#[test]
fn imports_name_one_module_each() {
    let mut bad = Vec::new();
    for source in &sources() {
        for (place, line) in source.lines() {
            if named(line).any(str::is_empty) {
                bad.push(format!("src/{place}: {line}"));
            }
            if climbs(line) >= source.path.len() {
                bad.push(format!("src/{place}: climbs to the root: {line}"));
            }
        }
    }
    assert_none(&bad, "not one module per `use`");
}

#[test]
fn every_module_has_a_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let lib = code(&fs::read_to_string(root).unwrap());
    let modules: BTreeSet<&str> = lib
        .iter()
        .filter_map(|(_, line)| line.trim_start_matches("pub ").strip_prefix("mod "))
        .filter_map(|module| module.strip_suffix(';'))
        .collect();
    let rows: BTreeSet<&str> = TABLE.iter().map(|(module, ..)| *module).collect();
    assert_eq!(modules, rows);
    assert_eq!(rows.len(), TABLE.len());
}

#[test]
fn the_table_climbs_from_floor_to_floor() {
    let floors: BTreeMap<&str, u8> = TABLE.iter().map(|(module, at, _)| (*module, *at)).collect();
    assert!(TABLE.is_sorted_by_key(|(_, floor, _)| *floor));
    for (module, floor, row) in TABLE {
        assert!(row.is_sorted(), "the row of `{module}` is in no order");
        for other in *row {
            let below = floors.get(other).is_some_and(|other| other <= floor);
            assert!(below, "`{module}` names `{other}`, which is above it");
        }
    }
}

#[test]
fn the_table_has_no_circle() {
    let mut left = allowed();
    while !left.is_empty() {
        let count = left.len();
        let rows = left.clone();
        left.retain(|_, row| row.iter().any(|other| rows.contains_key(other)));
        assert!(left.len() < count, "a circle among {:?}", left.keys());
    }
}

#[test]
fn the_outside_world_is_named_where_it_belongs() {
    let mut bad = Vec::new();
    for source in &sources() {
        for (place, line) in source.lines() {
            for (path, who) in OUTSIDE {
                if !who.contains(&source.module()) && following(line, path).next().is_some() {
                    bad.push(format!("src/{place}: `{}` names `{path}`", source.module()));
                }
            }
        }
    }
    assert_none(&bad, "not its business");
    let modules = allowed();
    for module in OUTSIDE.iter().flat_map(|(_, who)| *who) {
        assert!(modules.contains_key(module), "there is no `{module}`");
    }
}

/// The tests above hold for nothing when the source is not read.
#[test]
fn the_source_is_read_as_it_is_written() {
    let text = "\
//! `crate::comment`
use crate::oci::{Digest, Tag};
use crate::{plan, list};

fn a(text: crate::text::Text) {
    mycrate::x(); // crate::tail
    reqwest::get(super::super::x);
    my_reqwest::get();
    b(reqwester);
}
#[cfg(test)]
use crate::single;
#[cfg(test)]
#[path = \"x_tests.rs\"]
mod tests;
impl A {
    #[cfg(test)]
    fn only(&self) {
        crate::skipped()
    }
    pub(crate) fn more() -> crate::event::Event {}
}
#[cfg(test)]
mod more_tests {
    fn a() {
        use crate::tested;
    }
}
use crate::last;
";
    let source = Source::new(Path::new("a/b.rs"), text);
    assert_eq!((source.module(), source.path.len()), ("a", 2));
    let words: Vec<(usize, &str)> = source
        .lines()
        .flat_map(|(place, line)| named(line).map(move |word| (place.line, word)))
        .collect();
    assert_eq!(
        words,
        [
            (2, "oci"),
            (3, ""),
            (5, "text"),
            (21, "event"),
            (29, "last")
        ]
    );
    let found = |path| -> Vec<usize> {
        source
            .lines()
            .filter(|(_, line)| following(line, path).next().is_some())
            .map(|(place, _)| place.line)
            .collect()
    };
    assert_eq!(found("reqwest"), [7]);
    let most = source.lines().map(|(_, line)| climbs(line)).max();
    assert_eq!(most, Some(2));
    let all = sources();
    let read: BTreeSet<&str> = all.iter().map(Source::module).collect();
    assert_eq!(read, TABLE.iter().map(|(module, ..)| *module).collect());
    assert!(imports(&all).len() > TABLE.len());
}

//! The pages that name trials: docs/REGISTRIES.md and docs/RELIABILITY.md.

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;

use crate::harness::trial;

/// The rows of the table of faults.
const FAULTS: usize = 38;
/// How the name of a trial begins that is named after one of them.
const FAULT: &str = concat!("endure::", "fault_");

pub(super) fn trials() -> Vec<Trial> {
    vec![trial(
        "quirks::the_documentation_names_trials_that_exist",
        named,
    )]
}

/// The text of all Rust files below `folder`.
fn rust_below(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_below(&path, text);
        } else if path.extension().is_some_and(|name| name == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

async fn named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join("docs").join(name)).unwrap();
    let (mut trials, mut units) = (String::new(), String::new());
    rust_below(&root.join("tests"), &mut trials);
    rust_below(&root.join("src"), &mut units);
    registries(&read("REGISTRIES.md"), &trials, &units);
    faults(&read("RELIABILITY.md"), &trials, &units);
}

/// How many trials and unit tests a text names, all of which must exist.
#[track_caller]
fn count(text: &str, trials: &str, units: &str) -> usize {
    // What stands between backticks is every second part.
    let parts: Vec<&str> = text.split('`').collect();
    let mut count = 0;
    for pair in parts.chunks_exact(2) {
        let (before, word) = (pair[0], pair[1]);
        if before.ends_with("unit ") {
            assert!(units.contains(&format!("fn {word}()")), "{word}");
        } else if word.contains("::") {
            // A row of trials has a name of which only the beginning is written anywhere.
            let name = match word.strip_suffix('*') {
                Some(start) => format!("\"{start}"),
                None => format!("\"{word}\""),
            };
            assert!(trials.contains(&name), "{word}");
        } else {
            continue;
        }
        count += 1;
    }
    count
}

/// The table of faults has all its rows, each with a trial or a reason to wait.
fn faults(page: &str, trials: &str, units: &str) {
    count(page, trials, units);
    let row = |number: usize| {
        let start = format!("| {number} | ");
        let mut rows = page.lines().filter(|line| line.starts_with(&start));
        let row = rows.next().unwrap_or_else(|| panic!("no row {number}"));
        assert!(rows.next().is_none(), "two rows {number}");
        row
    };
    for number in 1..=FAULTS {
        let row = row(number);
        let state = row.trim_end_matches([' ', '|']).rsplit(" | ").next();
        let state = state.unwrap_or_default();
        if state.starts_with("shown") {
            assert!(count(row, trials, units) > 0, "{row}");
        } else {
            assert!(state.starts_with("waiting: "), "{row}");
        }
    }
    // Every trial that is named after a row stands in it.
    for name in trials.split('"') {
        let Some(rest) = name.strip_prefix(FAULT) else {
            continue;
        };
        let number = rest.split('_').next().unwrap_or_default();
        let number = number.parse().expect("the number of a row");
        assert!(row(number).contains(&format!("`{name}`")), "{name}");
    }
}

fn registries(page: &str, trials: &str, units: &str) {
    let count = count(page, trials, units);
    assert!(count > 100, "{count}");
    // Every trial of these is named, but this one.
    for name in trials
        .split('"')
        .filter(|name| name.starts_with("quirks::"))
    {
        let is_own = name.contains("the_documentation");
        assert!(is_own || page.contains(name), "{name}");
    }
    // Every row of the second table exists.
    let (rows, by_registry) = page.split_once("## By registry").unwrap();
    let is_row = |word: &&str| {
        let mut letters = word.chars();
        letters
            .next()
            .is_some_and(|first| first.is_ascii_uppercase())
            && word.len() > 1
            && letters.all(|digit| digit.is_ascii_digit())
    };
    let last = |line: &str| line.split('|').nth_back(1).unwrap_or_default().to_owned();
    for cell in by_registry.lines().map(last) {
        let words = cell.split(|c: char| !c.is_alphanumeric());
        for row in words.filter(is_row) {
            assert!(rows.contains(&format!("| {row} |")), "{row}");
        }
    }
}

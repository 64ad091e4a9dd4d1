//! Every seed, and thousands of changes of each, through its function; the targets of `fuzz/` are the same.

use std::collections::BTreeSet;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::{TARGETS, Target};

/// How many inputs are made of the seeds of a target.
const CHANGED: usize = 2_000;
/// How much of the time a target may take for them, in bytes: of large seeds fewer changes are made.
const CHANGED_BYTES: usize = 4 << 20;
/// The largest input that is made, in bytes.
const INPUT_BYTES_MAX: usize = 64 << 10;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(name)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// The seeds of a target, in the order of their names.
fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder("seeds").join(name);
    let seeds = names(&folder).into_iter().map(|seed| {
        let bytes = fs::read(folder.join(&seed)).unwrap();
        (seed, bytes)
    });
    seeds.collect()
}

/// One of `seeds`, changed in one to eight places, in the way of fuzzers.
fn changed(random: &mut Rng, seeds: &[(String, Vec<u8>)]) -> Vec<u8> {
    const WORDS: [&[u8]; 12] = [
        b"\"",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\n",
        b"null",
        b"9223372036854775808",
        b"\xff",
        b"\0",
    ];
    let pick = |random: &mut Rng| &seeds[random.usize(..seeds.len())].1;
    let mut bytes = pick(random).clone();
    for _ in 0..random.usize(1..=8) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..32)).min(bytes.len());
        match random.u8(..8) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.insert(at, random.u8(..)),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            3 if at < bytes.len() => bytes[at] = random.u8(..),
            4 => {
                let part = bytes[at..end].to_vec();
                let to = random.usize(..=bytes.len());
                bytes.splice(to..to, part);
            }
            5 => {
                let word = WORDS[random.usize(..WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            6 => {
                let other = pick(random);
                let from = random.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.truncate(end),
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

/// Gives `bytes` to `target`; a failure shows them, so that they can become a seed.
#[track_caller]
fn run(name: &str, target: Target, bytes: &[u8]) {
    let result = panic::catch_unwind(|| target(bytes));
    assert!(
        result.is_ok(),
        "{name} fails for b\"{}\"",
        bytes.escape_ascii()
    );
}

#[test]
fn every_seed_holds_and_so_do_its_changes() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for (_, bytes) in &seeds {
            run(name, *target, bytes);
        }
        // The same in each run: a failure comes again.
        let mut random = Rng::with_seed(6);
        let mut spent = 0;
        for _ in 0..CHANGED {
            let bytes = changed(&mut random, &seeds);
            spent += bytes.len();
            if spent > CHANGED_BYTES {
                break;
            }
            run(name, *target, &bytes);
        }
    }
}

#[test]
fn nothing_at_all_holds_too() {
    for (name, target) in TARGETS {
        run(name, *target, b"");
    }
}

/// A parser that is here and not there would never be fuzzed.
#[test]
fn every_function_is_a_target_with_seeds() {
    let names_here: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names_here.len(), TARGETS.len());
    assert_eq!(names(&folder("seeds")), names_here);
    let files = names(&folder("fuzz_targets")).into_iter();
    let files: BTreeSet<String> = files.map(|file| file.replace(".rs", "")).collect();
    assert_eq!(files, names_here);
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in &names_here {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        let file = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(
            file.contains(&format!("consign::fuzzing::{name}(bytes)")),
            "{name}"
        );
    }
}

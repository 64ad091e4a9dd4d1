//! Runs that go on through everything at once: faults by chance on both sides, signals, two runs beside each
//! other, until the destination is what the source is.
//!
//! `make soak` runs many, with images enough to last; `make check` one that is short. What must hold after every
//! run: each line of its list has one outcome, what did not end well is in the failed list and nothing else is,
//! and whatever has a tag at the destination is whole. At the end: both registries hold the same, with one
//! signature more for each image where it was to be signed, a further run writes nothing, and no file is left
//! that nobody asked for.
//!
//! Seeds make it the same story each time, as far as the order of requests lets it be.

mod stage;

use std::collections::BTreeSet;
use std::env;
use std::time::Duration;

use fastrand::Rng;
use libtest_mimic::Trial;

use crate::harness::trial;
use crate::program::Ended;
use crate::registry::Chaos;

use stage::Stage;

/// After so many runs it has to be done; each goes on where the others ended.
const RUNS_MAX: usize = 20;

/// For runs that are interrupted.
const WILD: Chaos = Chaos {
    per_mille: 60,
    outages: 40,
    outage: 120,
};
/// For those that come to their end; each has half as much as the one before, for of a thousand images some
/// always meet wrong bytes, which are not asked for again.
const MILD: Chaos = Chaos {
    per_mille: 20,
    outages: 2,
    outage: 30,
};

pub(crate) fn trials() -> Vec<Trial> {
    let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
    let mut trials = vec![trial(
        "soak::a_short_one_ends_with_equal_registries",
        || soak(1, 60),
    )];
    let seeds = number("CONSIGN_SOAK_SEEDS").unwrap_or(0);
    let first = number("CONSIGN_SOAK_FIRST").unwrap_or(1);
    let images = number("CONSIGN_SOAK_IMAGES").unwrap_or(1000);
    let images = usize::try_from(images).expect("a number of images");
    for seed in first..first + seeds {
        let name = format!("soak::of_seed_{seed}");
        trials.push(trial(&name, move || soak(seed, images)));
    }
    trials
}

/// How long one soak may take, on a machine that is busy with others.
const PATIENCE: Duration = Duration::from_mins(15);

async fn soak(seed: u64, images: usize) {
    let soaked = tokio::time::timeout(PATIENCE, Box::pin(soaked(seed, images))).await;
    soaked.unwrap_or_else(|_| panic!("seed {seed}: no end after {PATIENCE:?}"));
}

async fn soaked(seed: u64, images: usize) {
    let mut rng = Rng::with_seed(seed);
    let stage = Stage::set(seed, images, &mut rng).await;
    let interrupted = rng.usize(3..7);
    let mut is_done = false;
    for run in 0..RUNS_MAX {
        let chaos = match run.checked_sub(interrupted) {
            None => WILD,
            Some(whole) => Chaos {
                per_mille: MILD
                    .per_mille
                    .unbounded_shr(u32::try_from(whole).expect("few")),
                ..MILD
            },
        };
        stage.chaos(Some(chaos), rng.u64(..));
        let ends = if run < interrupted {
            stage.interrupted_run(&mut rng).await
        } else {
            stage.whole_run(&mut rng).await
        };
        stage.what_is_tagged_is_whole().await;
        if run >= interrupted && ends.iter().all(|ended| ended.code() == Some(0)) {
            is_done = true;
            break;
        }
    }
    assert!(is_done, "seed {seed}: not done after {RUNS_MAX} runs");
    stage.chaos(None, 0);
    // What a run on a failed list did is known of its lines alone: the whole list once more.
    stage.last_run().await.with(0);
    stage.both_hold_the_same().await;
    stage.nothing_is_left_to_write().await;
    stage.one_more(images, &mut rng).await;
    stage.no_file_is_left();
}

/// What the list of a run and its reports have to do with each other.
#[track_caller]
fn accounts_for_all(stage: &Stage, ended: &Ended, run: &stage::Run) {
    // Who is killed has no code, and who gets a second signal leaves at once: neither writes a report.
    let is_at_once = run.hurries && !stage.place.has(&run.report);
    let Some(code) = ended.code().filter(|_| !is_at_once) else {
        return stage.killed_run_lost_nothing(run);
    };
    // 4 is a run of which nothing was tried, 1 one of which something was.
    assert!([0, 1, 4, 130, 143].contains(&code), "{ended}");
    let report = stage.place.json(&run.report);
    let lines = report["lines"].as_array().expect("lines");
    let mut named = BTreeSet::new();
    let mut unwell = BTreeSet::new();
    for line in lines {
        let text = line["text"].as_str().expect("a text").to_owned();
        assert!(named.insert(text.clone()), "`{text}` has two ends: {ended}");
        match line["outcome"].as_str().expect("a word") {
            "copied" | "up-to-date" => {
                stage.is_there(&text);
            }
            "failed" | "not-tried" => {
                unwell.insert(text);
            }
            other => panic!("`{text}` ended as {other}: {ended}"),
        }
    }
    assert_eq!(named, run.lines, "{ended}");
    assert_eq!(stage.failed(run), unwell, "{ended}");
    assert_eq!(code == 0, unwell.is_empty(), "{ended}");
}

/// How long a run goes on before its signal comes: some are caught before they have begun.
fn moment(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.u64(20..4000))
}

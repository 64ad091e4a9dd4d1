use std::collections::BTreeMap;
use std::error::Error as _;

use proptest::prelude::*;

use super::*;
use crate::oci::Repository;

fn copied(bytes: u64) -> Copied {
    let digest = Digest::sha256(b"x");
    Copied {
        image: Pinned {
            repository: Repository::new("d.io".parse().unwrap(), "a").unwrap(),
            digest,
        },
        source: digest,
        changed: None,
        tally: Tally {
            bytes,
            ..Tally::default()
        },
        validation: None,
        signing: None,
    }
}

fn failed(stage: Stage, kind: Kind) -> Outcome {
    Outcome::Failed(Failure::because(stage, None, kind, "reason"))
}

fn code(outcomes: &[Outcome], end: End) -> u8 {
    let mut ledger = Ledger::new(outcomes.len(), 0);
    for (position, outcome) in outcomes.iter().enumerate() {
        ledger.finish(JobId::new(position), outcome).unwrap();
    }
    ledger.summary().exit_code(end)
}

#[test]
fn each_kind_has_its_exit_code() {
    for kind in Kind::ALL {
        let plain = match kind {
            Kind::NotFound
            | Kind::Unauthorized
            | Kind::Integrity
            | Kind::Conflict
            | Kind::Unsupported
            | Kind::Refused
            | Kind::Cancelled => 1,
            Kind::Rejected => 3,
            Kind::RateLimited | Kind::Network | Kind::Timeout => 4,
            Kind::Internal => 70,
        };
        let validating = match kind {
            Kind::Unauthorized | Kind::Refused => 4,
            Kind::NotFound
            | Kind::RateLimited
            | Kind::Network
            | Kind::Timeout
            | Kind::Integrity
            | Kind::Conflict
            | Kind::Unsupported
            | Kind::Rejected
            | Kind::Cancelled
            | Kind::Internal => plain,
        };
        for stage in [
            Stage::Preflight,
            Stage::Resolve,
            Stage::Transfer,
            Stage::Sign,
        ] {
            assert_eq!(
                code(&[failed(stage, kind)], End::Completed),
                plain,
                "{kind}"
            );
        }
        let judged = failed(Stage::Verify, kind);
        assert_eq!(code(&[judged], End::Completed), validating, "{kind}");
        let untried = Outcome::NotTried(Failure::because(Stage::Preflight, None, kind, "r"));
        assert_eq!(code(&[untried], End::Completed), plain, "{kind}");
    }
}

#[test]
fn the_worst_wins_in_any_company() {
    // Best first; each code beats all before it.
    let order = [
        (Outcome::UpToDate(copied(0)), 0),
        (failed(Stage::Resolve, Kind::Network), 4),
        (failed(Stage::Resolve, Kind::NotFound), 1),
        (failed(Stage::Run, Kind::Internal), 70),
        (failed(Stage::Verify, Kind::Rejected), 3),
    ];
    for set in 0_usize..1 << order.len() {
        let chosen: Vec<_> = order
            .iter()
            .enumerate()
            .filter(|(i, _)| set >> i & 1 == 1)
            .map(|(_, pair)| pair)
            .collect();
        let outcomes: Vec<Outcome> = chosen.iter().map(|(outcome, _)| outcome.clone()).collect();
        let mut reversed = outcomes.clone();
        reversed.reverse();
        let expected = chosen.last().map_or(0, |(_, code)| *code);
        assert_eq!(code(&outcomes, End::Completed), expected);
        assert_eq!(code(&reversed, End::Completed), expected);
        assert_eq!(code(&outcomes, End::Interrupted), 130);
        assert_eq!(code(&outcomes, End::Terminated), 143);
    }
}

#[test]
fn what_ends_well_is_zero_and_skipped_lines_are_not() {
    let well = [
        Outcome::Copied(copied(3)),
        Outcome::UpToDate(copied(0)),
        Outcome::Kept(copied(0)),
        Outcome::Duplicate { of: JobId::new(0) },
    ];
    assert_eq!(code(&well, End::Completed), 0);
    assert_eq!(Ledger::new(0, 0).summary().exit_code(End::Completed), 0);
    let skipping = Ledger::new(0, 2);
    assert_eq!(skipping.summary().exit_code(End::Completed), 1);
    assert_eq!(skipping.summary().unwell(), 2);
}

#[test]
fn a_job_ends_once() {
    let mut ledger = Ledger::new(2, 0);
    let first = JobId::new(0);
    ledger.finish(first, &Outcome::Copied(copied(3))).unwrap();
    let again = ledger.finish(first, &failed(Stage::Run, Kind::Internal));
    assert_eq!(again.unwrap_err().to_string(), "job 0 ended twice");
    let foreign = ledger.finish(JobId::new(2), &Outcome::Copied(copied(3)));
    assert_eq!(foreign.unwrap_err().reason, Reason::Unknown);
    assert!(ledger.has_ended(first));
    assert!(!ledger.has_ended(JobId::new(2)));
    assert_eq!(ledger.open().collect::<Vec<_>>(), [JobId::new(1)]);
    assert_eq!((ledger.summary().jobs(), ledger.summary().copied), (1, 1));
    assert_eq!(ledger.summary().tally.bytes, 3);
    assert_eq!(ledger.summary().exit_code(End::Completed), 0);
}

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Link {
    text: String,
    source: Option<Box<Self>>,
}

fn chain(texts: &[&str]) -> Link {
    let mut link: Option<Box<Link>> = None;
    for text in texts.iter().rev() {
        link = Some(Box::new(Link {
            text: (*text).to_owned(),
            source: link,
        }));
    }
    *link.unwrap()
}

#[test]
fn a_failure_keeps_the_chain_and_no_more() {
    let error = chain(&["outer", "inner\n\u{1b}[2J", "inner\n\u{1b}[2J", "root"]);
    assert!(error.source().is_some());
    let failure = Failure::new(
        Stage::Transfer,
        Some(Side::Destination),
        Kind::Network,
        &error,
    );
    assert_eq!(*failure.causes, ["outer", "inner \u{fffd}[2J", "root"]);
    let texts: Vec<String> = (0..40).map(|i| i.to_string().repeat(900)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let failure = Failure::new(Stage::Run, None, Kind::Network, &chain(&texts));
    assert_eq!(failure.causes.len(), CAUSES_MAX);
    assert!(failure.causes[CAUSES_MAX - 1].starts_with("39"));
    assert!(
        failure
            .causes
            .iter()
            .all(|cause| cause.chars().count() <= CAUSE_CHARS_MAX + 1)
    );
}

#[test]
fn the_meter_counts() {
    let meter = Meter::new();
    meter.expect(10);
    meter.moved(4);
    meter.spare(3);
    let blob = meter.begin_blob();
    let reading = meter.read();
    assert_eq!(
        (reading.moved, reading.expected, reading.in_flight),
        (4, 7, 1)
    );
    drop(blob);
    meter.spare(100);
    assert_eq!((meter.read().expected, meter.read().in_flight), (0, 0));
}

proptest! {
    /// Whatever is said in whatever order, each job is counted once.
    #[test]
    fn every_line_ends_once(ends in prop::collection::vec((0_usize..12, 0_usize..5), 0..60)) {
        let mut ledger = Ledger::new(10, 0);
        let mut first: BTreeMap<usize, usize> = BTreeMap::new();
        for (job, how) in ends {
            let outcome = match how {
                0 => Outcome::Copied(copied(1)),
                1 => Outcome::Duplicate { of: JobId::new(0) },
                2 => failed(Stage::Resolve, Kind::NotFound),
                3 => failed(Stage::Resolve, Kind::Network),
                _ => Outcome::NotTried(Failure::because(Stage::Run, None, Kind::Cancelled, "r")),
            };
            let fresh = job < 10 && !first.contains_key(&job);
            prop_assert_eq!(ledger.finish(JobId::new(job), &outcome).is_ok(), fresh);
            if fresh {
                first.insert(job, how);
            }
        }
        let how = |wanted: usize| first.values().filter(|how| **how == wanted).count();
        let summary = ledger.summary();
        prop_assert_eq!(summary.jobs(), first.len());
        prop_assert_eq!(ledger.open().count(), 10 - first.len());
        prop_assert_eq!(summary.copied, how(0));
        prop_assert_eq!(summary.failed, how(2) + how(3));
        prop_assert_eq!(summary.kinds().map(|(_, count)| count).sum::<usize>(), how(2) + how(3) + how(4));
    }
}

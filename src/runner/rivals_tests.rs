//! Lines that bring different sources to one destination.

use super::*;

#[tokio::test(start_paused = true)]
async fn rivals_that_mean_one_digest_run_once() {
    let sources = ["s.io/a/x:1", "t.io/a/x:1", "u.io/a/x:1"];
    let mut case = Case::new(&rivals(&sources), Vec::new());
    for source in sources {
        case = case.answer(source, Answer::Digest(7));
    }
    let done = case.run().await;
    assert_eq!(done.words(), ["copied", "duplicate", "duplicate"]);
    assert_eq!(*done.outcome(2), Outcome::Duplicate { of: JobId::new(0) });
    assert_eq!(done.code(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_rival_takes_over_where_the_first_does_not_end_well() {
    let sources = ["s.io/a/x:1", "t.io/a/x:1", "u.io/a/x:1", "v.io/a/x:1"];
    let closes = [
        Close::NotTried,
        Close::Failed(Kind::NotFound, Some(Side::Source)),
        Close::Copied,
        Close::Copied,
    ];
    for jobs in 1..=4 {
        let scripts = closes.map(Script::from).to_vec();
        let mut case = Case::new(&rivals(&sources), scripts).jobs(jobs);
        for source in sources {
            case = case.answer(source, Answer::Digest(7));
        }
        let done = case.run().await;
        done.has_its_events_in_order();
        assert_eq!(done.words(), ["not-tried", "failed", "copied", "duplicate"]);
        assert_eq!(*done.outcome(3), Outcome::Duplicate { of: JobId::new(2) });
    }
}

#[tokio::test(start_paused = true)]
async fn rivals_that_differ_fail_by_name_and_the_others_run() {
    let list = rivals(&["s.io/a/x:1", "t.io/a/x:1"]) + &lines("s.io", 1, "d.io");
    let done = Case::new(&list, Vec::new()).run().await;
    assert_eq!(done.words(), ["failed", "failed", "copied"]);
    for job in [0, 1] {
        let failure = done.failure(job);
        assert_eq!(
            (failure.stage, failure.kind, failure.side),
            (Stage::Plan, Kind::Conflict, Some(Side::Destination))
        );
        let said = failure.causes.join("\n");
        for part in [
            "`d.io/b/y:1`",
            "images.txt:1 brings `s.io/a/x:1` (sha256:",
            "images.txt:2 brings `t.io/a/x:1` (sha256:",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
    assert_eq!(done.code(), 1);
}

#[tokio::test(start_paused = true)]
async fn however_long_the_names_of_rivals_are_each_is_said() {
    let path = "long/".repeat(40);
    let sources: Vec<String> = (0..5).map(|n| format!("s{n}.io/{path}x:1")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let done = Case::new(&rivals(&sources), Vec::new()).run().await;
    let said = done.failure(0).causes.join("\n");
    for (line, source) in sources.iter().enumerate() {
        let part = format!("images.txt:{} brings `{source}` (sha256:", line + 1);
        assert!(said.contains(&part), "{said}");
    }
    // What does not fit is counted.
    let sources: Vec<String> = (0..12).map(|n| format!("s{n}.io/a/x:1")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let done = Case::new(&rivals(&sources), Vec::new()).run().await;
    assert_eq!(done.summary.failed, 12);
    for job in 0..12 {
        let causes = &done.failure(job).causes;
        assert_eq!(causes.len(), crate::event::CAUSES_MAX);
        let own = format!("images.txt:{} brings", job + 1);
        assert!(causes.iter().any(|cause| cause.starts_with(&own)), "{own}");
        assert_eq!(causes.last().unwrap(), "lines like these: 6 more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rival_that_is_missing_fails_alone() {
    for others in [["s.io/a/x:1", "t.io/a/x:1"].as_slice(), &["s.io/a/x:1"]] {
        let sources = [others, &["gone.io/a/x:1"]].concat();
        let mut case = Case::new(&rivals(&sources), Vec::new())
            .answer("gone.io/a/x:1", Answer::Failed(Kind::NotFound));
        for source in others {
            case = case.answer(source, Answer::Digest(7));
        }
        let done = case.run().await;
        let missing = others.len();
        assert_eq!(*done.outcome(0).as_str(), *"copied");
        assert_eq!(done.failure(missing).kind, Kind::NotFound);
        assert_eq!(done.summary.failed, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rival_that_cannot_be_asked_fails_all_and_says_why() {
    let sources = ["s.io/a/x:1", "t.io/a/x:1", "u.io/a/x:1"];
    let done = Case::new(&rivals(&sources), Vec::new())
        .answer("s.io/a/x:1", Answer::Digest(7))
        .answer("t.io/a/x:1", Answer::Failed(Kind::Network))
        .answer("u.io/a/x:1", Answer::Digest(7))
        .run()
        .await;
    assert_eq!(done.words(), ["failed"; 3]);
    let own = done.failure(1);
    assert_eq!(
        (own.stage, own.kind, own.side),
        (Stage::Resolve, Kind::Network, Some(Side::Source))
    );
    for job in [0, 2] {
        let failure = done.failure(job);
        assert_eq!((failure.stage, failure.kind), (Stage::Plan, Kind::Network));
        assert_eq!(
            failure.causes[..],
            [
                "images.txt:2 wants `t.io/a/x:1` at `d.io/b/y:1` too, and could not be compared",
                "as planned"
            ]
        );
    }
    // It may well succeed next time.
    assert_eq!(done.code(), 4);
}

#[tokio::test(start_paused = true)]
async fn rivals_that_differ_conflict_whatever_else_could_not_be_asked() {
    let sources = ["s.io/a/x:1", "t.io/a/x:1", "u.io/a/x:1"];
    let done = Case::new(&rivals(&sources), Vec::new())
        .answer("t.io/a/x:1", Answer::Failed(Kind::Network))
        .run()
        .await;
    let kinds = [0, 1, 2].map(|job| done.failure(job).kind);
    assert_eq!(kinds, [Kind::Conflict, Kind::Network, Kind::Conflict]);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_refuses_is_not_asked_for_rivals() {
    let sources = ["s.io/a/x:1", "t.io/a/x:1"];
    let done = Case::new(&rivals(&sources), Vec::new())
        .door("d.io", Door::Refused(Kind::Network))
        .run()
        .await;
    assert_eq!(done.words(), ["not-tried"; 2]);
    assert_eq!(done.failure(1).side, Some(Side::Destination));
    assert!(done.work.asked.lock().unwrap().is_empty());

    let done = Case::new(&rivals(&sources), Vec::new())
        .door("t.io", Door::Refused(Kind::NotFound))
        .run()
        .await;
    assert_eq!(done.words(), ["failed", "not-tried"]);
    assert_eq!(done.failure(1).side, Some(Side::Source));
    assert_eq!(done.failure(0).stage, Stage::Plan);
    assert_eq!(*done.work.asked.lock().unwrap(), ["s.io/a/x:1"]);
}

#[test]
fn a_reason_keeps_its_innermost_cause() {
    let plan = plan_of(&lines("s.io", 1, "d.io"));
    let causes = (0..crate::event::CAUSES_MAX).map(|n| format!("cause {n}"));
    let deep = Failure {
        causes: causes.collect(),
        ..failure(Stage::Transfer, Kind::Network, Some(Side::Source))
    };
    let mut breaker = Breaker::new(1);
    for _ in 0..64 {
        let source = &plan.jobs()[0].source.repository;
        let barred = breaker.barred(&[source]);
        assert_eq!(breaker.refusal(&plan.jobs()[0], &barred), None);
        breaker.heed(&plan.jobs()[0], &Outcome::Failed(deep.clone()).into());
    }
    let source = &plan.jobs()[0].source.repository;
    let barred = breaker.barred(&[source]);
    let reason = breaker.refusal(&plan.jobs()[0], &barred).unwrap();
    assert_eq!(reason.causes.len(), crate::event::CAUSES_MAX);
    assert_eq!(reason.causes.last(), deep.causes.last());
}

//! How jobs and runs end: one after the other, out of time, in a panic, interrupted.

use super::*;

#[tokio::test(start_paused = true)]
async fn no_more_jobs_run_at_once_than_asked() {
    let second = steps(&[Step::Work(1000)], Close::Copied);
    let case = Case::new(&lines("s.io", 20, "d.io"), vec![second; 20]);
    let done = case.jobs(3).run().await;
    assert_eq!(done.work.running_most.load(Ordering::SeqCst), 3);
    assert_eq!(done.summary.copied, 20);
    assert!(is_about(done.took, 7000), "{:?}", done.took);
    assert_eq!(done.code(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_empty_plan_is_done_at_once() {
    let done = Case::new("", Vec::new()).run().await;
    done.has_its_events_in_order();
    assert_eq!((done.events.len(), done.code()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_ends_without_a_start() {
    let line = lines("s.io", 1, "d.io");
    let done = Case::new(&line.repeat(2), Vec::new()).run().await;
    assert_eq!(done.words(), ["copied", "duplicate"]);
    assert!(!done.has_started(1));
    assert_eq!(done.code(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_out_of_time_says_so() {
    let list = lines("s.io", 2, "d.io");
    let case = Case::new(&list, vec![Close::Hang.into(), Close::Copied.into()]);
    let done = case.timeout(Duration::from_secs(90)).run().await;
    let failure = done.failure(0);
    assert_eq!(
        (failure.stage, failure.kind, failure.side),
        (Stage::Run, Kind::Timeout, None)
    );
    assert_eq!(failure.causes[..], ["it took longer than 1m 30s"]);
    assert!(is_about(done.ended(0).1, 90_000));
    assert_eq!(done.words(), ["failed", "copied"]);
    assert_eq!(done.code(), 4);
}

#[tokio::test(start_paused = true)]
async fn only_waiting_for_other_jobs_does_not_count() {
    let scripts = vec![
        steps(&[Step::Work(2000), Step::Wait(99_000)], Close::Copied),
        steps(
            &[Step::Work(2000), Step::Wait(99_000), Step::Work(2000)],
            Close::Copied,
        ),
    ];
    let case = Case::new(&lines("s.io", 2, "d.io"), scripts);
    let done = case.timeout(Duration::from_secs(3)).run().await;
    assert_eq!(done.words(), ["copied", "failed"]);
    assert!(is_about(done.ended(0).1, 101_000));
    assert_eq!(done.failure(1).kind, Kind::Timeout);
    assert!(is_about(done.ended(1).1, 102_000));
}

#[tokio::test(start_paused = true)]
async fn the_greatest_timeout_is_none() {
    let script = steps(&[Step::Wait(1000), Step::Work(1000)], Close::Copied);
    let case = Case::new(&lines("s.io", 1, "d.io"), vec![script]);
    let done = case.timeout(Duration::MAX).run().await;
    assert_eq!(done.words(), ["copied"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_only_its_line() {
    let scripts = vec![
        Close::Copied.into(),
        steps(&[Step::Say, Step::Work(10)], Close::Panic),
        Close::Panic.into(),
        steps(&[Step::Work(50)], Close::UpToDate),
        Close::Failed(Kind::NotFound, None).into(),
    ];
    let case = Case::new(&lines("s.io", 5, "d.io"), scripts);
    let done = case.jobs(2).run().await;
    assert_eq!(
        done.words(),
        ["copied", "failed", "failed", "up-to-date", "failed"]
    );
    for job in [1, 2] {
        assert_eq!(done.failure(job).kind, Kind::Internal);
    }
    assert!(is_about(done.ended(1).1, 10));
    assert_eq!(done.code(), 70);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_job_is_stopped_ends_only_its_line() {
    let scripts = vec![Close::HangBadly.into(), Close::Copied.into()];
    let case = Case::new(&lines("s.io", 2, "d.io"), scripts);
    let done = case.timeout(Duration::from_secs(1)).jobs(1).run().await;
    assert_eq!(done.words(), ["failed", "copied"]);
    assert_eq!(done.failure(0).kind, Kind::Internal);
    assert_eq!(done.code(), 70);
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_jobs_ends_only_its_lines() {
    let list = lines("bad.io", 1, "d.io")
        + &rivals(&["s.io/a/x:1", "s.io/a/y:1"])
        + &lines("good.io", 1, "d.io");
    let done = Case::new(&list, Vec::new())
        .door("bad.io", Door::Panic)
        .answer("s.io/a/y:1", Answer::Panic)
        .run()
        .await;
    assert_eq!(done.words(), ["not-tried", "failed", "failed", "copied"]);
    for job in 0..3 {
        assert_eq!(done.failure(job).kind, Kind::Internal);
    }
    assert_eq!(done.code(), 70);
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_what_runs_and_leaves_the_rest() {
    for (end, code) in [(End::Interrupted, 130), (End::Terminated, 143)] {
        let scripts = vec![
            Close::Panic.into(),
            steps(&[Step::Work(100)], Close::Copied),
            Close::Hang.into(),
            steps(&[Step::Work(100), Step::Say], Close::Hang),
            Close::Copied.into(),
        ];
        let case = Case::new(&lines("s.io", 5, "d.io"), scripts).jobs(2);
        let done = case.stop(Stop::At(5000, end)).run().await;
        done.has_its_events_in_order();
        assert_eq!(
            done.words(),
            ["failed", "copied", "failed", "failed", "not-tried"]
        );
        for job in 2..5 {
            assert_eq!(done.failure(job).kind, Kind::Cancelled);
        }
        assert!(!done.has_started(4));
        assert!(is_about(done.took, 5000));
        assert_eq!((done.end, done.code()), (end, code));
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_before_the_jobs_leaves_all_of_them() {
    let list = lines("s.io", 2, "d.io");
    let done = Case::new(&(list.clone() + &list), Vec::new())
        .door("s.io", Door::Hang)
        .stop(Stop::At(1000, End::Terminated))
        .run()
        .await;
    done.has_its_events_in_order();
    assert_eq!(
        done.words(),
        ["not-tried", "not-tried", "duplicate", "duplicate"]
    );
    assert_eq!(done.failure(0).kind, Kind::Cancelled);
    assert!(is_about(done.took, 1000));
    assert_eq!(done.code(), 143);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_dropped_ends_its_jobs() {
    let case = Case::all(&lines("s.io", 3, "d.io"), Close::Hang);
    let work = Arc::clone(&case.work);
    let run = tokio::time::timeout(Duration::from_secs(1), Box::pin(case.run()));
    assert!(run.await.is_err());
    tokio::task::yield_now().await;
    assert_eq!(work.running_most.load(Ordering::SeqCst), 3);
    assert_eq!(work.running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn the_reports_get_their_time() {
    let waiting = lines("s.io", 1, "d.io");
    let before = Case::all(&waiting, Close::Copied)
        .door("s.io", Door::Slow(10_000))
        .run();
    let running = Case::new(&waiting, vec![steps(&[Step::Work(10_000)], Close::Copied)]).run();
    for done in [before.await, running.await] {
        assert!((45..=55).contains(&done.ticks), "{}", done.ticks);
    }
}

//! What every run keeps, whatever happens in it.

use super::*;

fn any_kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::NotFound,
        Kind::Unauthorized,
        Kind::Network,
        Kind::Integrity,
    ])
}

fn any_side() -> impl Strategy<Value = Option<Side>> {
    prop::sample::select(vec![None, Some(Side::Source), Some(Side::Destination)])
}

fn any_close() -> impl Strategy<Value = Close> {
    prop_oneof![
        4 => Just(Close::Copied),
        2 => Just(Close::UpToDate),
        3 => (any_kind(), any_side()).prop_map(|(kind, side)| Close::Failed(kind, side)),
        1 => Just(Close::NotTried),
        1 => Just(Close::Hang),
        1 => Just(Close::Panic),
        1 => Just(Close::HangBadly),
    ]
}

/// Steps whose times are even, so that no odd deadline meets the end of one.
fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..1500).prop_map(|half| Step::Work(2 * half)),
        (0_u64..1500).prop_map(|half| Step::Wait(2 * half)),
        Just(Step::Say),
    ]
}

fn any_script() -> impl Strategy<Value = Script> {
    (prop::collection::vec(any_step(), 0..5), any_close())
        .prop_map(|(steps, close)| Script { steps, close })
}

fn any_stop() -> impl Strategy<Value = Stop> {
    let end = prop::sample::select(vec![End::Interrupted, End::Terminated]);
    (any::<bool>(), 0_u64..20_000, 1_usize..60, end).prop_map(|(by_time, at, after, end)| {
        if by_time {
            Stop::At(at, end)
        } else {
            Stop::After(after, end)
        }
    })
}

/// Lists in which duplicates and contests are frequent.
fn any_list() -> impl Strategy<Value = String> {
    let line = (0_usize..3, 0_usize..6, 0_usize..2, 0_usize..12)
        .prop_map(|(from, x, to, y)| format!("s{from}.io/a/x{x}:1 d{to}.io/b/y{y} 1\n"));
    prop::collection::vec(line, 0..25).prop_map(|lines| lines.concat())
}

fn any_doors() -> impl Strategy<Value = HashMap<String, Door>> {
    let registry = prop::sample::select(vec!["s0.io", "s1.io", "s2.io", "d0.io", "d1.io"]);
    let door = prop_oneof![
        4 => (0_u64..3000).prop_map(Door::Slow),
        2 => any_kind().prop_map(Door::Refused),
        1 => Just(Door::Panic),
    ];
    prop::collection::hash_map(registry.prop_map(str::to_owned), door, 0..3)
}

fn any_answers() -> impl Strategy<Value = HashMap<String, Answer>> {
    let source = (0_usize..3, 0_usize..6).prop_map(|(from, x)| format!("s{from}.io/a/x{x}:1"));
    let answer = prop_oneof![
        8 => (0_u8..2).prop_map(Answer::Digest),
        2 => any_kind().prop_map(Answer::Failed),
        1 => Just(Answer::Panic),
    ];
    prop::collection::hash_map(source, answer, 0..18)
}

prop_compose! {
    /// A run in which anything may happen. Whatever hangs meets a deadline.
    fn any_case()(
        list in any_list(),
        scripts in prop::collection::vec(any_script(), 25),
        doors in any_doors(),
        answers in any_answers(),
        jobs in 1_usize..6,
        timeout in prop::option::of(0_u64..4000),
        stop in any_stop(),
    ) -> Case {
        let mut case = Case::new(&list, scripts).jobs(jobs).stop(stop);
        let work = Arc::get_mut(&mut case.work).unwrap();
        work.doors = doors;
        work.answers = answers;
        case.settings.timeout = match (timeout, stop) {
            (Some(half), _) => Some(Duration::from_millis(2 * half + 1)),
            (None, Stop::At(..)) => None,
            (None, Stop::Never | Stop::After(..)) => Some(Duration::from_millis(3001)),
        };
        case
    }
}

/// Runs `work` on one thread and a clock that stands still while anything can be done.
fn paused<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}

/// Runs `work` on several threads and the real clock.
fn threaded<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_time()
        .build()
        .unwrap()
        .block_on(work)
}

proptest! {
    /// Promise 1.
    #[test]
    fn every_line_ends_once(case in any_case()) {
        let (settings, stop) = (case.settings.clone(), case.stop);
        let done = paused(case.run());
        done.ends_every_line_once();
        done.ends_as_written(settings.timeout);
        prop_assert!(done.work.running_most.load(Ordering::SeqCst) <= settings.jobs.get());
        prop_assert_eq!(done.work.running.load(Ordering::SeqCst), 0);
        if let Stop::At(millis, _) = stop {
            // One millisecond is how exact the timers are.
            prop_assert!(done.took <= Duration::from_millis(millis + 1));
        }
    }

    /// Promise 6.
    #[test]
    fn nothing_after_the_end(case in any_case()) {
        let done = paused(case.run());
        done.has_its_events_in_order();
    }

    /// The same where jobs really run at one time.
    #[test]
    fn nothing_after_the_end_on_several_threads(
        says in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..12), 0..40),
        panics in 0_usize..40,
        jobs in 1_usize..9,
        after in 1_usize..300,
    ) {
        let scripts: Vec<Script> = says
            .iter()
            .enumerate()
            .map(|(job, says)| Script {
                steps: says.iter().map(|say| if *say { Step::Say } else { Step::Yield }).collect(),
                close: if job == panics { Close::Panic } else { Close::Copied },
            })
            .collect();
        let list = lines("s.io", scripts.len(), "d.io");
        let case = Case::new(&list, scripts).jobs(jobs);
        let done = threaded(case.stop(Stop::After(after, End::Interrupted)).run());
        done.has_its_events_in_order();
        done.ends_every_line_once();
        done.ends_as_written(None);
        prop_assert!(done.work.running_most.load(Ordering::SeqCst) <= jobs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Promise 2, from a run to the next plan.
    #[test]
    fn the_report_is_a_list(case in any_case()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mirror-failed.txt");
        let failed = Failures::create(&path, &case.plan, &[], "mirror").unwrap();
        let done = paused(case.run_into(Some(failed)));
        let left: Vec<_> = done.plan.jobs().iter()
            .filter(|job| done.outcome(job.id.position()).failure().is_some())
            .map(|job| (&job.source, &job.destination, &job.line.text))
            .collect();
        prop_assert_eq!(path.exists(), !left.is_empty());
        let again = if left.is_empty() { Arc::default() } else { plan_of(&text(&path)) };
        let planned: Vec<_> = again.jobs().iter()
            .map(|job| (&job.source, &job.destination, &job.line.text))
            .collect();
        prop_assert_eq!(planned, left);
        prop_assert_eq!(again.duplicates().count(), 0);
    }
}

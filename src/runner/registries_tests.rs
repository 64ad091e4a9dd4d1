//! Registries that refuse, are gone or throttle, and what that ends.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_registry_that_refuses_ends_its_lines_by_side() {
    let list = lines("bad.io", 2, "d.io") + &lines("s.io", 2, "bad.io") + &lines("s.io", 1, "d.io");
    let done = Case::new(&list, Vec::new())
        .door("bad.io", Door::Refused(Kind::Unauthorized))
        .run()
        .await;
    assert_eq!(
        done.words(),
        [["not-tried"; 4].as_slice(), &["copied"]].concat()
    );
    for (job, side) in [
        (0, Side::Source),
        (1, Side::Source),
        (2, Side::Destination),
        (3, Side::Destination),
    ] {
        let failure = done.failure(job);
        assert_eq!(
            (failure.stage, failure.kind, failure.side),
            (Stage::Preflight, Kind::Unauthorized, Some(side))
        );
        assert!(!done.has_started(job));
    }
    assert_eq!(done.code(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_gone_ends_its_remaining_lines() {
    for (side, from, to) in [
        (Side::Source, "gone.io", "d.io"),
        (Side::Destination, "s.io", "gone.io"),
    ] {
        let list = lines(from, 12, to) + &lines("other.io", 2, "else.io");
        let mut case = Case::all(&list, Close::Failed(Kind::Network, Some(side)))
            .door("gone.io", Door::Gone(Kind::Network));
        Arc::get_mut(&mut case.work).unwrap().scripts.truncate(12);
        let done = case.jobs(1).run().await;
        // One more is under way while the registry is tried.
        let expected = [["failed"; 9].as_slice(), &["not-tried"; 3], &["copied"; 2]];
        assert_eq!(done.words(), expected.concat());
        let failure = done.failure(11);
        assert_eq!(
            (failure.stage, failure.kind, failure.side),
            (Stage::Run, Kind::Network, Some(side))
        );
        assert_eq!(done.code(), 4);
    }
}

/// A list that begins with a project in trouble, and is fed back, must not begin there for ever.
#[tokio::test(start_paused = true)]
async fn a_registry_that_answers_when_it_is_tried_goes_on_for_a_while() {
    let close = Close::Failed(Kind::Network, Some(Side::Source));
    let mut case = Case::all(&lines("s.io", 100, "d.io"), close).jobs(1);
    Arc::get_mut(&mut case.work).unwrap().scripts.truncate(40);
    let done = case.run().await;
    assert_eq!((done.summary.failed, done.summary.copied), (40, 60));
    // After 8, 16 and 32 in a row.
    assert_eq!(done.work.tried.lock().unwrap().len(), 3);

    let done = Case::all(&lines("s.io", 2000, "d.io"), close).run().await;
    assert_eq!(done.summary.not_tried, 2000 - done.summary.failed);
    assert!((64..70).contains(&done.summary.failed), "{done:?}");
    let causes = &done.failure(1999).causes;
    assert_eq!(
        causes[0],
        "64 images in a row got no usable answer from `s.io`"
    );
}

/// Nobody waits for a registry that is tried by itself, and it is not tried for ever.
#[tokio::test(start_paused = true)]
async fn a_registry_that_is_tried_holds_nobody_up() {
    let close = Close::Failed(Kind::Unauthorized, Some(Side::Destination));
    let scripts = vec![steps(&[Step::Work(10)], close); 2000];
    let case = Case::new(&lines("s.io", 2000, "d.io"), scripts.clone());
    let done = case.jobs(8).run().await;
    assert_eq!(done.summary.failed, 2000);
    let tried = done.work.tried.lock().unwrap().len();
    assert!((30..60).contains(&tried), "{tried}");

    let mut case = Case::new(&lines("s.io", 2000, "d.io"), scripts).jobs(8);
    case = case.door("d.io", Door::Late);
    let done = case.run().await;
    assert_eq!(done.summary.failed, 2000);
    assert!(is_about(done.took, 2500), "{:?}", done.took);
    done.has_its_events_in_order();
    done.ends_every_line_once();
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_came_to_its_end_ends_what_is_left() {
    let denied = Close::Failed(Kind::Unauthorized, Some(Side::Destination));
    let scripts = vec![steps(&[Step::Work(10)], denied); 100];
    let case = Case::new(&lines("s.io", 100, "d.io"), scripts).jobs(8);
    let case = case.door("d.io", Door::Gone(Kind::Unauthorized));
    let done = case.run().await;
    assert!(done.summary.failed <= 16, "{done:?}");
    assert_eq!(done.summary.not_tried, 100 - done.summary.failed);
    assert_eq!(done.failure(99).side, Some(Side::Destination));
    assert_eq!(done.code(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_signal_while_a_registry_is_tried_ends_the_run() {
    let denied = Close::Failed(Kind::Unauthorized, Some(Side::Destination));
    let scripts = vec![steps(&[Step::Work(10)], denied); 100];
    let case = Case::new(&lines("s.io", 100, "d.io"), scripts).jobs(2);
    let case = case.door("d.io", Door::Late);
    let done = case.stop(Stop::At(105, End::Interrupted)).run().await;
    done.has_its_events_in_order();
    done.ends_every_line_once();
    assert!(is_about(done.took, 105), "{:?}", done.took);
    assert_eq!(done.code(), 130);
}

/// Each has waited for as long as it was asked to; 2,000 of them would be days.
#[tokio::test(start_paused = true)]
async fn a_registry_that_throttles_everything_ends_its_remaining_lines() {
    let close = Close::Failed(Kind::RateLimited, Some(Side::Source));
    let list = lines("s.io", 40, "d.io") + &lines("d.io", 1, "s.io");
    let mut case = Case::all(&list, close).jobs(1);
    Arc::get_mut(&mut case.work).unwrap().scripts.truncate(40);
    let done = case.run().await;
    // Pushes are limited by themselves.
    assert_eq!(
        done.words()[7..],
        [["failed"].as_slice(), &["not-tried"; 32], &["copied"]].concat()
    );
    let failure = done.failure(39);
    assert_eq!(
        (failure.kind, failure.causes[0].as_str()),
        (
            Kind::RateLimited,
            "8 images in a row were throttled by `s.io`"
        )
    );
    assert_eq!(done.code(), 4);
}

/// What cannot be reached as a source, for want of trust say, may be a destination.
#[tokio::test(start_paused = true)]
async fn lines_that_were_not_tried_end_no_others() {
    let list = lines("bad.io", 20, "d.io") + &lines("s.io", 1, "bad.io");
    let case = Case::new(&list, Vec::new()).jobs(1);
    let done = case.door("bad.io", Door::NotAs(Side::Source)).run().await;
    assert_eq!(done.words()[19..], ["not-tried", "copied"]);
}

/// Large images are no registry that is gone.
#[tokio::test(start_paused = true)]
async fn images_that_stay_and_take_too_long_end_no_others() {
    let copies = lines("s.io", 40, "d.io");
    let list: Vec<String> = (0..40).map(|n| format!("s.io/a/x{n}:1")).collect();
    let parsed = list::parse("images.txt", list.join("\n").as_bytes()).unwrap();
    let mut case = Case::all(&copies, Close::Hang).jobs(1);
    let (plan, wrong) = plan::plan_in_place(parsed.entries, &plan::Stay::default());
    assert!(wrong.is_empty());
    case.plan = Arc::new(plan);
    let done = case.timeout(Duration::from_secs(1)).run().await;
    assert_eq!(done.summary.failed, 40);
    assert!(done.work.tried.lock().unwrap().is_empty());
}

/// A mirror that is gone is left, and what it stands in front of goes on.
#[tokio::test(start_paused = true)]
async fn a_place_that_is_gone_is_not_asked_any_more() {
    let list = lines("s.io", 40, "d.io");
    let mirror = |path: &str| Repository::new("m.io".parse().unwrap(), path).unwrap();
    let places = |case: &mut Case| {
        let work = Arc::get_mut(&mut case.work).unwrap();
        for job in case.plan.jobs() {
            let here = vec![
                mirror(job.source.repository.path()),
                job.source.repository.clone(),
            ];
            work.places.insert(job.source.to_string(), here);
        }
        work.fails_at = Some("m.io".parse().unwrap());
    };
    for (door, asked) in [
        (Some(Door::Refused(Kind::Network)), 0),
        (Some(Door::Gone(Kind::Network)), 9),
        (None, 40),
    ] {
        let mut case = Case::all(&list, Close::Copied).jobs(1);
        places(&mut case);
        if let Some(door) = door {
            case = case.door("m.io", door);
        }
        let done = case.run().await;
        assert_eq!(done.summary.copied, 40);
        let in_vain = done.work.in_vain.load(Ordering::SeqCst);
        assert_eq!(in_vain, asked, "{door:?}");
    }
    // Where the mirror does not have it, and the registry is gone, that is the reason.
    let mut case = Case::all(&list, Close::Copied).jobs(1);
    places(&mut case);
    let done = case.door("s.io", Door::Refused(Kind::Network)).run().await;
    assert_eq!(done.summary.failed + done.summary.not_tried, 40);
    assert_eq!(done.failure(0).kind, Kind::Network);
    assert_eq!(done.code(), 4);
}

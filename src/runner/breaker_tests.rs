//! What a breaker makes of the ends of jobs.

use std::sync::Arc;
use std::time::Duration;

use super::super::tests::{copied, failure};
use super::*;
use crate::list;
use crate::plan::{self, Plan, Rewrite};

/// The plan of these names, each copied to the same path of `d.io`.
fn plan_of(names: &[&str]) -> Arc<Plan> {
    let parsed = list::parse("images.txt", names.join("\n").as_bytes()).unwrap();
    let rewrite = Rewrite {
        destination_registry: Some("d.io".parse().unwrap()),
        ..Rewrite::default()
    };
    Arc::new(plan::plan(parsed.entries, &rewrite).unwrap())
}

/// That of `count` names of `s.io`.
fn plan_of_many(count: usize) -> Arc<Plan> {
    let names: Vec<String> = (0..count).map(|n| format!("s.io/a/x{n}:1")).collect();
    plan_of(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn refused(kind: Kind, detail: Detail) -> Failure {
    failure(Stage::Transfer, kind, Some(Side::Destination)).with_detail(detail)
}

/// How a breaker sees jobs that end with these failures, one after the other.
fn after(breaker: &mut Breaker, plan: &Plan, ended: &[Option<Failure>]) -> Vec<Doubt> {
    let heed = |(job, failure): (&Job, &Option<Failure>)| {
        let outcome = match failure {
            Some(failure) => Outcome::Failed(failure.clone()),
            None => Outcome::Copied(copied(job)),
        };
        breaker.heed(job, &outcome.into())
    };
    plan.jobs().iter().zip(ended).flat_map(heed).collect()
}

fn refusal(breaker: &Breaker, job: &Job) -> Option<Failure> {
    breaker.refusal(job, &breaker.barred(&[&job.source.repository]))
}

fn is_refused(breaker: &Breaker, job: &Job) -> bool {
    refusal(breaker, job).is_some()
}

#[test]
fn a_project_without_room_ends_its_own_lines_alone() {
    let plan = plan_of(&[
        "s.io/full/a:1",
        "s.io/full/b:1",
        "s.io/full/c:1",
        "s.io/full/d:1",
        "s.io/other/e:1",
    ]);
    let full = Some(refused(Kind::Refused, Detail::Quota));
    let mut breaker = Breaker::new(1);
    after(&mut breaker, &plan, &[full.clone(), full.clone()]);
    assert!(!is_refused(&breaker, &plan.jobs()[3]));
    // Something that fitted lets the count begin again.
    after(&mut breaker, &plan, &[None, full.clone(), full.clone()]);
    assert!(!is_refused(&breaker, &plan.jobs()[3]));
    after(&mut breaker, &plan, &[full]);
    assert!(is_refused(&breaker, &plan.jobs()[3]));
    assert!(!is_refused(&breaker, &plan.jobs()[4]));
    let why = refusal(&breaker, &plan.jobs()[3]).unwrap();
    assert_eq!((why.kind, why.detail), (Kind::Refused, Detail::Quota));
    assert_eq!(
        why.causes[0],
        "3 images in a row had no room in `d.io/full`"
    );
}

#[test]
fn other_refusals_end_nothing() {
    let plan = plan_of_many(40);
    for kind in [Kind::Refused, Kind::Conflict, Kind::NotFound] {
        let mut breaker = Breaker::new(1);
        let failure = Some(refused(kind, Detail::None));
        let doubts = after(&mut breaker, &plan, &vec![failure; 40]);
        assert_eq!(doubts, []);
        assert!(!is_refused(&breaker, &plan.jobs()[39]), "{kind}");
    }
}

#[test]
fn refusals_of_rights_raise_a_doubt_and_no_more() {
    let plan = plan_of_many(8);
    let denied = Some(refused(Kind::Unauthorized, Detail::None));
    let mut breaker = Breaker::new(1);
    let mut ended = vec![denied.clone(), denied.clone(), None];
    ended.extend(vec![denied; 5]);
    let doubts = after(&mut breaker, &plan, &ended);
    let doubt = Doubt {
        side: Side::Destination,
        registry: "d.io".parse().unwrap(),
    };
    // Three in a row; the next two are not enough for another one.
    assert_eq!(doubts, [doubt]);
    assert!(!is_refused(&breaker, &plan.jobs()[7]));
}

#[test]
fn a_registry_that_names_a_time_is_left_until_then() {
    let plan = plan_of_many(3);
    let again = std::time::UNIX_EPOCH + Duration::from_hours(24);
    let throttled = Failure {
        again: Some(again),
        ..failure(Stage::Resolve, Kind::RateLimited, Some(Side::Source))
    };
    let mut breaker = Breaker::new(8);
    after(&mut breaker, &plan, &[Some(throttled)]);
    let why = refusal(&breaker, &plan.jobs()[2]).unwrap();
    assert_eq!((why.kind, why.again), (Kind::RateLimited, Some(again)));
    assert_eq!(why.side, Some(Side::Source));
    assert_eq!(why.causes[0], "`s.io` throttles until 1970-01-02T00:00:00Z");
}

#[test]
fn what_stays_where_it_is_has_no_side() {
    let parsed = list::parse("images.txt", b"s.io/a/x:1\n".as_slice()).unwrap();
    let (plan, _) = plan::plan_in_place(parsed.entries, &plan::Stay::default());
    let job = &plan.jobs()[0];
    let mut breaker = Breaker::new(8);
    let why = failure(Stage::Preflight, Kind::Network, None);
    let registry: Namespace = "s.io".parse().unwrap();
    breaker.refuse(None, &registry, &why);
    assert_eq!(refusal(&breaker, job).unwrap().side, None);
}

#[test]
fn a_line_is_tried_as_long_as_one_of_its_places_is_worth_it() {
    let plan = plan_of_many(1);
    let job = &plan.jobs()[0];
    let repository = |name: &str| Repository::new(name.parse().unwrap(), "x").unwrap();
    let (mirror, named) = (repository("m.io"), repository("s.io"));
    let mut breaker = Breaker::new(1);
    let gone = failure(Stage::Preflight, Kind::Network, None);
    let registry: Registry = "m.io".parse().unwrap();
    breaker.refuse(Some(Side::Source), &registry.into(), &gone);
    assert_eq!(
        breaker.refusal(job, &breaker.barred(&[&mirror, &named])),
        None
    );
    assert!(breaker.refusal(job, &breaker.barred(&[&mirror])).is_some());
    let registry: Registry = "s.io".parse().unwrap();
    let namespace = Namespace::from(registry);
    breaker.refuse(Some(Side::Destination), &namespace, &gone);
    assert_eq!(
        breaker.refusal(job, &breaker.barred(&[&mirror, &named])),
        None
    );
    breaker.refuse(Some(Side::Source), &namespace, &gone);
    assert!(
        breaker
            .refusal(job, &breaker.barred(&[&mirror, &named]))
            .is_some()
    );
}

/// What was there already says nothing of room, and lists are mixed.
#[test]
fn what_needs_no_room_lets_no_count_begin_again() {
    let plan = plan_of_many(4);
    let full = Outcome::Failed(refused(Kind::Refused, Detail::Quota));
    let mut breaker = Breaker::new(1);
    for job in &plan.jobs()[..3] {
        breaker.heed(job, &full.clone().into());
        breaker.heed(job, &Outcome::UpToDate(copied(job)).into());
    }
    assert!(is_refused(&breaker, &plan.jobs()[3]));
}

/// One of two credentials has come to its end, and the lines of both take turns.
#[test]
fn what_goes_well_in_one_project_says_nothing_of_another() {
    let names: Vec<String> = (0..6)
        .map(|n| format!("s.io/{}/x{n}:1", ["good", "bad"][n % 2]))
        .collect();
    let plan = plan_of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let denied = Some(refused(Kind::Unauthorized, Detail::Credential));
    let mut breaker = Breaker::new(1);
    let ended: Vec<_> = (0..6)
        .map(|n| denied.clone().filter(|_| n % 2 == 1))
        .collect();
    assert_eq!(after(&mut breaker, &plan, &ended).len(), 1);
}

/// A limit of pulls is none of pushes, nor a source that is not trusted a destination that is not.
#[test]
fn sides_are_counted_by_themselves() {
    let text = b"s.io/a/x:1 d.io/a/x 1\nd.io/a/x:1 s.io/b/x 1\n";
    let parsed = list::parse("images.txt", text.as_slice()).unwrap();
    let plan = plan::plan(parsed.entries, &Rewrite::default()).unwrap();
    let again = std::time::UNIX_EPOCH + Duration::from_hours(24);
    let throttled = Failure {
        again: Some(again),
        ..failure(Stage::Resolve, Kind::RateLimited, Some(Side::Source))
    };
    let mut breaker = Breaker::new(1);
    after(&mut breaker, &plan, &[Some(throttled)]);
    assert!(is_refused(&breaker, &plan.jobs()[0]));
    assert!(!is_refused(&breaker, &plan.jobs()[1]));
}

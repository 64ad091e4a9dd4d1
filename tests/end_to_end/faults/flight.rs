//! Jobs that wait for each other, when one of them goes.

use std::time::Duration;

use consign::event::Kind;
use consign::oci::Reference;
use consign::pace::Pace;
use consign::transfer::{Options, Watch};
use futures::future::join_all;
use libtest_mimic::Trial;

use super::{Road, noise, reference, said};
use crate::harness::trial;
use crate::registry::{Contents, Image, Logged, Pushed, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("flight::a_job_that_is_dropped_hands_its_blob_over", dropped),
        trial("flight::a_job_that_fails_hands_its_blob_over", failed),
        trial(
            "flight::jobs_that_are_dropped_complete_nothing",
            all_dropped,
        ),
        trial("flight::jobs_for_one_tag_do_no_harm", one_tag),
    ]
}

/// The same image in two repositories of the source.
async fn twice(road: &Road) -> Pushed {
    let image = || Image::of_blobs([noise(1_500_000, 1)]);
    image().push(&road.source, "one", Some("1")).await;
    image().push(&road.source, "two", Some("1")).await
}

async fn arrived(road: &Road, name: &str) {
    assert_eq!(
        Contents::of(&road.source, name).await,
        Contents::of(&road.destination, name).await,
        "{}",
        road.logs()
    );
}

async fn dropped() {
    for is_same_repository in [false, true] {
        let road = Road::plain().await;
        let image = twice(&road).await;
        let layer = image.blobs[1];
        let stalled = road.source.rule(
            when("GET", &format!("*/blobs/{layer}"))
                .nth(1)
                .stall_body_after(500_000),
        );
        let mut first = Box::pin(road.copy("one:1"));
        tokio::select! {
            ended = &mut first => panic!("{ended:?}"),
            () = stalled.hit(1) => {}
        }
        let (from, to) = if is_same_repository {
            ("one:1", "one:2")
        } else {
            ("two:1", "two:1")
        };
        let from: Reference = reference(&road.source, from);
        let to: Reference = reference(&road.destination, to);
        let pace = Pace::default();
        let options = Options::default();
        let watch = Watch {
            pace: &pace,
            note: &|_| (),
        };
        let mut second = Box::pin(road.engine.transfer(&from, &to, &options, watch));
        let digest = layer.to_string().replace(':', "%3A");
        let put = format!("digest={digest}");
        let waits = async {
            while pace.waited().is_zero() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            // The first is dropped in the middle of its upload, not before it.
            let begun = |log: &[Logged]| {
                let mut uploads = log.iter().filter(|one| one.method == "PUT");
                uploads.any(|one| one.query.ends_with(&put))
            };
            road.destination.wait(begun).await;
        };
        tokio::select! {
            ended = &mut first => panic!("{ended:?}"),
            ended = &mut second => panic!("{ended:?}"),
            () = waits => {}
        }
        drop(first);
        let copied = road.is_copied(second.await);
        assert_eq!(copied.image.digest, image.digest);
        assert_eq!(road.source.count("GET", &format!("*/blobs/{layer}")), 2);
        let puts = road
            .destination
            .requests("PUT", &format!("*?*digest={digest}"));
        let done = puts.iter().filter(|put| put.status == Some(201)).count();
        assert_eq!((puts.len(), done), (2, 1), "{}", road.logs());
        assert_eq!(
            road.destination
                .tag(to.repository.path(), to.tag.as_ref().unwrap().as_str()),
            Some(image.digest)
        );
    }
}

async fn failed() {
    let road = Road::plain().await;
    let image = twice(&road).await;
    let layer = image.blobs[1];
    let gone = when("GET", &format!("*/blobs/{layer}")).nth(1).respond(404);
    let gone = road.source.rule(gone);
    let (first, second) = tokio::join!(road.copy("one:1"), road.copy("two:1"));
    assert_eq!(gone.hits(), 1);
    // One has the trouble, and keeps it to itself.
    let (bad, good, name) = if first.is_err() {
        (first, second, "two")
    } else {
        (second, first, "one")
    };
    let failure = road.is_failed(bad);
    assert_eq!(failure.kind, Kind::NotFound, "{}", said(&failure));
    road.is_copied(good);
    arrived(&road, name).await;
    // Nor is it remembered.
    let other = if name == "one" { "two" } else { "one" };
    road.copied(&format!("{other}:1")).await;
    arrived(&road, other).await;
}

async fn all_dropped() {
    let mut road = Road::plain().await;
    let image = twice(&road).await;
    let layer = image.blobs[1];
    let stalled = road
        .source
        .rule(when("GET", &format!("*/blobs/{layer}")).stall_body_after(500_000));
    {
        let both = futures::future::join(road.copy("one:1"), road.copy("two:1"));
        tokio::select! {
            ended = both => panic!("{ended:?}"),
            () = stalled.hit(1) => {}
        }
    }
    stalled.release();
    for name in ["one", "two"] {
        let contents = Contents::of(&road.destination, name).await;
        assert!(contents.tags.is_empty() && contents.manifests.is_empty());
        assert!(!contents.blobs.contains_key(&layer));
    }
    // What was left behind does not stand in the way, neither of this engine nor of the next.
    road.copied("one:1").await;
    road.next_run();
    road.copied("two:1").await;
    for name in ["one", "two"] {
        arrived(&road, name).await;
    }
}

async fn one_tag() {
    let road = Road::plain().await;
    for tag in ["1", "2"] {
        Image::new(&["base", tag])
            .push(&road.source, "app", Some(tag))
            .await;
    }
    let names = ["app:1", "app:2", "app:1", "app:2"];
    let copies = join_all(names.iter().map(|name| road.copy_to(name, "app:here"))).await;
    for copy in copies {
        assert!(copy.is_ok(), "{copy:?}");
    }
    let there = road.destination.tag("app", "here");
    assert!(there == road.source.tag("app", "1") || there == road.source.tag("app", "2"));
    for line in road.destination.requests("PUT", "*/blobs/uploads/*") {
        assert_eq!(line.status, Some(201));
    }
    // Two configs, the base, two layers: each once.
    assert_eq!(road.destination.count("PUT", "*/blobs/uploads/*"), 5);
}

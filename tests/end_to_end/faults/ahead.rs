//! A huge blob of a source that gives each connection only so much.

use std::time::Duration;

use consign::event::Kind;
use http::header::RANGE;
use libtest_mimic::Trial;

use super::{Road, blob_path, noise};
use crate::harness::trial;
use crate::registry::{Contents, Image, Logged, When, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("ahead::several_connections_read_one_blob", several),
        trial(
            "ahead::a_source_without_ranges_is_read_by_one",
            without_ranges,
        ),
        trial("ahead::a_wrong_part_is_never_published", wrong_part),
        trial("ahead::a_part_that_breaks_off_is_read_again", breaks_off),
    ]
}

/// Some 30 MB in the first second of one connection, and as much left as parts are worth.
const BYTES: usize = 96 * 1024 * 1024;

/// A road whose source gives each connection some 30 MB a second, and the blob of `app:1` there.
async fn narrow(road: &Road) -> String {
    let image = Image::of_blobs([noise(BYTES, 7)]);
    let image = image.push(&road.source, "app", Some("1")).await;
    let path = blob_path(&image.blobs[1]);
    let pause = Duration::from_millis(4);
    road.source
        .rule(when("GET", &path).trickle(128 * 1024, pause));
    path
}

/// Whether a part was asked for, from one byte to another.
fn is_part(request: &Logged) -> bool {
    let range = request.header(RANGE);
    range.starts_with("bytes=") && !range.ends_with('-')
}

fn parts(road: &Road, path: &str) -> Vec<Logged> {
    let mut asked = road.source.requests("GET", path);
    asked.retain(is_part);
    asked
}

/// The rule's request comes after so many others: the first of these is the whole blob's.
fn part(path: &str, number: usize) -> When {
    when("GET", path).nth(1 + number)
}

async fn arrived(road: &Road) {
    let (from, to) = (&road.source, &road.destination);
    let (from, to) = (
        Contents::of(from, "app").await,
        Contents::of(to, "app").await,
    );
    assert!(from == to, "{}", road.logs());
}

async fn several() {
    let road = Road::plain().await;
    let path = narrow(&road).await;
    // The first part is not answered before three others were asked for.
    let first = road.source.rule(part(&path, 1).stall());
    let mut copy = Box::pin(road.copied("app:1"));
    let are_four = |log: &[Logged]| log.iter().filter(|asked| is_part(asked)).count() >= 4;
    tokio::select! {
        copied = &mut copy => panic!("{copied:?}"),
        () = road.source.wait(are_four) => {}
    }
    first.release();
    copy.await;
    arrived(&road).await;
    assert!(parts(&road, &path).len() >= 8, "{}", road.logs());
    // One upload, as ever.
    let put = road.destination.requests("PUT", "/v2/app/blobs/uploads/*");
    assert_eq!(put.len(), 2, "{}", road.logs());
}

async fn without_ranges() {
    let road = Road::plain().await;
    let path = narrow(&road).await;
    road.source.rule(when("GET", &path).ignore_header("range"));
    road.copied("app:1").await;
    arrived(&road).await;
    // It was tried once.
    assert!(
        (1..=4).contains(&parts(&road, &path).len()),
        "{}",
        road.logs()
    );
}

async fn wrong_part() {
    let road = Road::plain().await;
    let path = narrow(&road).await;
    road.source.rule(part(&path, 3).corrupt_body_at(1000));
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Integrity, "{failure:?}");
    assert!(road.destination.tag("app", "1").is_none());
    let there = Contents::of(&road.destination, "app").await;
    assert!(there.blobs.values().all(|bytes| bytes.len() < BYTES));
}

async fn breaks_off() {
    let road = Road::plain().await;
    let path = narrow(&road).await;
    road.source.rule(part(&path, 2).cut_body_after(1_000_000));
    road.copied("app:1").await;
    arrived(&road).await;
    // One connection read on: that which stood by, or a new one from where the parts ended.
    let asked = road.source.requests("GET", &path);
    let parts = asked.iter().filter(|request| is_part(request)).count();
    assert!((2..=6).contains(&parts), "{}", road.logs());
    assert!(asked.len() - parts <= 2, "{}", road.logs());
}

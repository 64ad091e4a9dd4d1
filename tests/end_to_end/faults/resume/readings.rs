//! Sources that are read a second time: other bytes, other connections, none.

use consign::event::{Kind, Side};
use http::header::CONTENT_RANGE;
use libtest_mimic::Trial;

use super::super::said;
use super::{STATUS, Stage, from};
use crate::harness::trial;
use crate::registry::{Contents, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "resume::a_change_in_what_is_read_twice_is_a_new_session",
            changed_overlap,
        ),
        trial(
            "resume::wrong_bytes_of_either_reading_never_complete",
            wrong_bytes,
        ),
        trial(
            "resume::a_source_that_breaks_meanwhile_is_taken_up_too",
            source_breaks,
        ),
    ]
}

/// The bytes between a mark and what the destination has come twice, and are sent from the first reading.
async fn changed_overlap() {
    for reading in [1, 2] {
        let stage = Stage::plain().await;
        let source = &stage.road.source;
        stage.cut(11_000_000);
        // The second reading begins with the last mark before the end of what is there, which is not there.
        let at = if reading == 1 { 10_999_900 } else { 1000 };
        let corrupt = when("GET", &stage.blob).nth(reading).corrupt_body_at(at);
        source.rule(corrupt);
        stage.copied().await;
        let puts = stage.puts();
        assert_eq!(puts[0].path, puts[1].path, "{}", stage.road.logs());
        assert_ne!(puts[1].status, Some(201), "{reading}: it was finished");
        stage.assert_anew(3);
        assert_eq!(source.count("GET", &stage.blob), 3);
    }
}

async fn wrong_bytes() {
    // Before the mark, in the first reading; behind what is there, in the second one.
    for (reading, at) in [(1, 1_000_000), (1, 0), (2, 9_000_000)] {
        let stage = Stage::plain().await;
        stage.cut(11_000_000);
        let corrupt = when("GET", &stage.blob).nth(reading).corrupt_body_at(at);
        stage.road.source.rule(corrupt);
        let failure = stage.road.failed("app:1").await;
        let said = said(&failure);
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::Integrity, Some(Side::Source)),
            "{said}"
        );
        assert!(said.matches("sha256:").count() >= 2, "{said}");
        let puts = stage.puts();
        assert_eq!(puts.len(), 2, "{}", stage.road.logs());
        assert_ne!(puts[1].status, Some(201), "it was finished");
        assert!(puts[1].received < 13_000_000, "{}", stage.road.logs());
        let contents = Contents::of(&stage.road.destination, "app").await;
        assert!(contents.tags.is_empty() && contents.manifests.is_empty());
    }
}

async fn source_breaks() {
    let stage = Stage::plain().await;
    stage.cut(11_000_000);
    let cut = when("GET", &stage.blob).nth(2).cut_body_after(5_000_000);
    stage.road.source.rule(cut);
    stage.copied().await;
    let puts = stage.puts();
    assert_eq!(puts.len(), 2, "{}", stage.road.logs());
    assert_eq!(puts[1].header(CONTENT_RANGE), "11000000-23999999");
    let gets = stage.road.source.requests("GET", &stage.blob);
    assert_eq!(gets.len(), 3, "{}", stage.road.logs());
    assert!(from(&gets[1]) < from(&gets[2]), "{}", stage.road.logs());
    // One that does not know ranges gives all, and what is known of it is passed over.
    let stage = Stage::plain().await;
    stage.cut(11_000_000);
    let get = when("GET", &stage.blob).nth(2);
    stage.road.source.rule(get.respond(416));
    stage.copied().await;
    let puts = stage.puts();
    assert_eq!(puts.len(), 2, "{}", stage.road.logs());
    assert_eq!(puts[1].header(CONTENT_RANGE), "11000000-23999999");
    // Without an answer, all that was broken off is given back.
    let stage = Stage::plain().await;
    stage.cut(11_000_000);
    let get = when("GET", &stage.blob).from(2);
    stage.road.source.rule(get.respond(404));
    let failure = stage.road.failed("app:1").await;
    assert_eq!(failure.side, Some(Side::Source), "{}", said(&failure));
    assert_eq!(stage.road.destination.count("DELETE", STATUS), 1);
}

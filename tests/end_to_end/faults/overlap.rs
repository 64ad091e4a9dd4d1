//! Questions that are asked side by side, so that an image far away does not wait for one after the other.

use consign::event::Side;
use libtest_mimic::Trial;

use super::{Road, blob_path, noise, put_blob};
use crate::harness::trial;
use crate::registry::{Contents, Image, Logged, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "overlap::a_registry_that_lacks_blobs_is_asked_beside_the_source",
            both_ends_at_once,
        ),
        trial(
            "overlap::a_blob_that_is_there_after_all_ends_it",
            there_after_all,
        ),
        trial("overlap::a_source_that_fails_is_blamed", source_fails),
        trial(
            "overlap::a_registry_that_throttles_is_left_alone",
            throttled,
        ),
        trial(
            "overlap::the_tags_are_asked_for_while_blobs_move",
            tags_while_blobs_move,
        ),
    ]
}

/// An image of so many layers that a registry which lacks them all is known to lack blobs.
async fn lacked(road: &Road) {
    let layers: Vec<String> = (0..12).map(|layer| format!("lacked {layer}")).collect();
    let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
    Image::new(&layers)
        .push(&road.source, "app", Some("0"))
        .await;
    road.copied("app:0").await;
}

async fn arrived(road: &Road) {
    let (from, to) = (&road.source, &road.destination);
    let (from, to) = (
        Contents::of(from, "app").await,
        Contents::of(to, "app").await,
    );
    assert_eq!(from, to, "{}", road.logs());
}

async fn both_ends_at_once() {
    let road = Road::plain().await;
    lacked(&road).await;
    let image = Image::new(&["next"])
        .push(&road.source, "app", Some("1"))
        .await;
    // Neither is answered before both were asked.
    let opens = road
        .destination
        .rule(when("POST", "*/blobs/uploads/*").stall());
    let reads = road
        .source
        .rule(when("GET", &blob_path(&image.blobs[1])).stall());
    let mut copy = Box::pin(road.copied("app:1"));
    tokio::select! {
        copied = &mut copy => panic!("{copied:?}"),
        () = async { opens.hit(1).await; reads.hit(1).await } => {}
    }
    opens.release();
    reads.release();
    copy.await;
    arrived(&road).await;
    // Nothing was asked twice for it.
    let (source, destination) = (&road.source, &road.destination);
    for blob in &image.blobs {
        assert_eq!(source.count("GET", &blob_path(blob)), 1, "{}", road.logs());
    }
    assert_eq!(
        destination.count("POST", "/v2/app/blobs/uploads/*"),
        destination.count("PUT", "/v2/app/blobs/uploads/*"),
        "{}",
        road.logs()
    );
}

async fn there_after_all() {
    let road = Road::plain().await;
    lacked(&road).await;
    let layers: Vec<Vec<u8>> = (0..40).map(|layer| noise(100, layer)).collect();
    let image = Image::of_blobs(layers.clone());
    let image = image.push(&road.source, "app", Some("1")).await;
    for layer in layers {
        put_blob(&road.destination, "app", layer).await;
    }
    let copied = road.copied("app:1").await;
    arrived(&road).await;
    assert_eq!(copied.tally.blobs_present, 40, "{}", road.logs());
    // Those that were asked for before the first answer came, and the config.
    let asked = |source: &TestRegistry| source.count("GET", "/v2/app/blobs/*");
    let asked = asked(&road.source) - 13;
    assert!(
        asked <= 17,
        "{asked} of {}\n{}",
        image.blobs.len(),
        road.logs()
    );
}

async fn source_fails() {
    let road = Road::plain().await;
    lacked(&road).await;
    let image = Image::new(&["next"])
        .push(&road.source, "app", Some("1"))
        .await;
    let gone = when("GET", &blob_path(&image.blobs[1]));
    road.source.rule(gone.respond(404).error("BLOB_UNKNOWN"));
    let failure = road.failed("app:1").await;
    assert_eq!(failure.side, Some(Side::Source), "{failure:?}");
    assert!(
        road.destination.tag("app", "1").is_none(),
        "{}",
        road.logs()
    );
    // The session is not left open.
    assert_eq!(
        road.destination.count("DELETE", "/v2/app/blobs/uploads/*"),
        1,
        "{}",
        road.logs()
    );
    road.source.clear_rules();
    road.copied("app:1").await;
    arrived(&road).await;
}

async fn throttled() {
    let road = Road::plain().await;
    lacked(&road).await;
    let image = Image::new(&["next"])
        .push(&road.source, "app", Some("1"))
        .await;
    let layer = &image.blobs[1];
    let name = layer.to_string().replace(':', "%3A");
    let post = || when("POST", &format!("/v2/app/blobs/uploads/?mount={name}*")).nth(1);
    let held = road.destination.rule(post().stall());
    road.destination.rule(post().respond(429));
    let path = blob_path(layer);
    let reads = |log: &[Logged]| log.iter().any(|asked| asked.is("GET", &path));
    let mut copy = Box::pin(road.copied("app:1"));
    tokio::select! {
        copied = &mut copy => panic!("{copied:?}"),
        () = async { held.hit(1).await; road.source.wait(reads).await } => {}
    }
    held.release();
    copy.await;
    arrived(&road).await;
    // The places of both sides were given back with the source's answer, and taken again one after the other.
    assert_eq!(road.source.count("GET", &path), 2, "{}", road.logs());
    assert_eq!(
        road.destination
            .count("POST", &format!("/v2/app/blobs/uploads/?mount={name}*")),
        2
    );
}

async fn tags_while_blobs_move() {
    let road = Road::plain().await;
    Image::new(&["one"])
        .push(&road.source, "app", Some("1"))
        .await;
    let stalled = road.source.rule(when("GET", "*/blobs/*").stall());
    let lists = road.source.rule(when("GET", "*/tags/list").stall());
    let mut copy = Box::pin(road.copied("app:1"));
    tokio::select! {
        copied = &mut copy => panic!("{copied:?}"),
        () = async { stalled.hit(1).await; lists.hit(1).await } => {}
    }
    stalled.release();
    lists.release();
    copy.await;
    arrived(&road).await;
}

//! Blobs that come wrong, in pieces, slowly, or not at all.

use std::time::{Duration, Instant};

use consign::event::{Kind, Note, Side};
use consign::oci::Digest;
use http::header::RANGE;
use libtest_mimic::Trial;
use serde_json::json;

use super::{
    Road, blob_path, descriptor, impatient, noise, put_blob, put_manifest, put_path, said,
};
use crate::harness::trial;
use crate::registry::{Contents, Image, Pushed, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("blobs::a_wrong_byte_completes_nothing", wrong_byte),
        trial("blobs::a_length_that_lies_completes_nothing", wrong_length),
        trial("blobs::too_many_bytes_complete_nothing", too_long),
        trial("blobs::a_blob_that_ends_early_is_taken_up_again", truncated),
        trial("blobs::a_blob_that_is_too_short_is_no_blob", too_short),
        trial("blobs::a_cut_blob_goes_on_in_the_same_upload", resumed),
        trial("blobs::a_blob_cut_too_often_is_given_up", cut_too_often),
        trial("blobs::a_source_without_ranges_is_read_again", no_ranges),
        trial(
            "blobs::a_range_that_was_not_asked_for_is_not_taken",
            wrong_range,
        ),
        trial(
            "blobs::a_range_that_is_refused_is_read_whole",
            refused_range,
        ),
        trial(
            "blobs::an_object_store_is_asked_for_by_way_of_the_registry",
            object_store,
        ),
        trial("blobs::redirects_end_somewhere", redirects),
        trial("blobs::a_source_that_stalls_is_left_in_time", source_stalls),
        trial(
            "blobs::a_source_that_stalls_once_is_taken_up_again",
            source_stalls_once,
        ),
        trial("blobs::a_slow_source_is_waited_for", slow_source),
        trial("blobs::a_source_that_comes_in_bursts_is_waited_for", bursts),
        trial(
            "blobs::a_throttled_source_is_not_the_destinations_fault",
            throttled_source,
        ),
        trial("blobs::an_encoding_header_changes_no_byte", encoding),
        trial(
            "blobs::empty_and_repeated_layers_are_copied_once",
            empty_and_repeated,
        ),
        trial("blobs::a_blob_that_is_missing_is_said_so", missing),
        trial("blobs::urls_of_layers_are_never_followed", foreign),
        trial(
            "blobs::a_size_beyond_all_reason_is_refused",
            impossible_size,
        ),
        trial("blobs::a_page_instead_of_a_blob_is_refused", page),
    ]
}

/// A road, and an image of one layer at its source.
async fn with_layer(size: usize) -> (Road, Pushed, Digest) {
    let road = Road::plain().await;
    with_layer_on(road, size).await
}

async fn with_layer_on(road: Road, size: usize) -> (Road, Pushed, Digest) {
    let image = Image::of_blobs([noise(size, 7)])
        .push(&road.source, "app", Some("1"))
        .await;
    let layer = image.blobs[1];
    (road, image, layer)
}

/// Nothing of it is at the destination, and no upload of the layer came to its end.
async fn nothing_of(road: &Road, layer: &Digest, size: usize) {
    let contents = Contents::of(&road.destination, "app").await;
    assert!(contents.tags.is_empty() && contents.manifests.is_empty());
    assert!(!contents.blobs.contains_key(layer));
    assert!(contents.blobs.len() <= 1, "{contents:?}");
    for put in road.destination.requests("PUT", &put_path(layer)) {
        assert_ne!(put.status, Some(201));
        assert!(
            put.received < u64::try_from(size).unwrap(),
            "{}",
            road.logs()
        );
    }
}

async fn same(road: &Road) {
    assert_eq!(
        Contents::of(&road.source, "app").await,
        Contents::of(&road.destination, "app").await
    );
}

async fn wrong_byte() {
    for (size, offset) in [
        (1, 0),
        (2, 1),
        (100_000, 0),
        (100_000, 50_000),
        (3_000_000, 2_999_999),
    ] {
        let (road, _, layer) = with_layer(size).await;
        let path = blob_path(&layer);
        road.source.rule(when("GET", &path).corrupt_body_at(offset));
        let failure = road.failed("app:1").await;
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::Integrity, Some(Side::Source)),
            "{size}: {}",
            said(&failure)
        );
        // Both digests are named, and there is no storm.
        assert!(said(&failure).matches("sha256:").count() >= 2);
        assert!(said(&failure).contains(&layer.to_string()));
        assert_eq!(road.source.count("GET", &path), 1, "{}", road.logs());
        nothing_of(&road, &layer, size).await;
    }
}

async fn wrong_length() {
    for by in [-1, 1, 1000] {
        let (road, _, layer) = with_layer(100_000).await;
        let path = blob_path(&layer);
        road.source.rule(when("GET", &path).wrong_length(by));
        let failure = road.failed("app:1").await;
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::Integrity, Some(Side::Source)),
            "{by}: {}",
            said(&failure)
        );
        assert!(
            said(&failure).contains("100000 bytes"),
            "{}",
            said(&failure)
        );
        assert_eq!(road.source.count("GET", &path), 1);
        nothing_of(&road, &layer, 100_000).await;
    }
}

async fn too_long() {
    let (road, _, layer) = with_layer(100_000).await;
    let path = blob_path(&layer);
    let mut longer = noise(100_000, 7);
    longer.push(0);
    road.source.rule(when("GET", &path).replace_body(longer));
    road.source
        .rule(when("GET", &path).drop_header("content-length"));
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Integrity, "{}", said(&failure));
    assert_eq!(road.source.count("GET", &path), 1);
    nothing_of(&road, &layer, 100_000).await;
}

async fn truncated() {
    let (road, _, layer) = with_layer(300_000).await;
    let path = blob_path(&layer);
    let part = noise(300_000, 7)[..100_000].to_vec();
    let short = when("GET", &path).nth(1).replace_body(part);
    road.source.rule(short);
    road.source
        .rule(when("GET", &path).nth(1).drop_header("content-length"));
    road.copied("app:1").await;
    let ranges = ranges(&road, &path);
    assert_eq!(ranges, ["", "bytes=100000-"]);
    assert_eq!(road.destination.count("PUT", &put_path(&layer)), 1);
    same(&road).await;
}

async fn too_short() {
    let (road, _, layer) = with_layer(300_000).await;
    let path = blob_path(&layer);
    let part = noise(300_000, 7)[..100_000].to_vec();
    let short = when("GET", &path).respond(200).body(part);
    road.source.rule(short);
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Integrity, "{}", said(&failure));
    nothing_of(&road, &layer, 300_000).await;
}

/// What was asked of a blob, in order.
fn ranges(road: &Road, path: &str) -> Vec<String> {
    let asked = road.source.requests("GET", path);
    asked
        .iter()
        .map(|line| line.header(RANGE).to_owned())
        .collect()
}

/// Where a range begins.
fn start(range: &str) -> u64 {
    let start = range.strip_prefix("bytes=").unwrap().strip_suffix('-');
    start.unwrap().parse().unwrap()
}

async fn resumed() {
    let size = 2_000_000;
    let (road, _, layer) = with_layer(size).await;
    let path = blob_path(&layer);
    road.source.rule(when("GET", &path).cut_body_after(200_000));
    let copied = road.copied("app:1").await;
    assert_eq!(copied.tally.blobs_copied, 2);
    let ranges = ranges(&road, &path);
    assert_eq!(ranges[0], "");
    let starts: Vec<u64> = ranges[1..].iter().map(|range| start(range)).collect();
    assert!(starts.len() >= 9, "{ranges:?}");
    assert!(starts.is_sorted_by(|one, next| one < next), "{ranges:?}");
    // Each of two blobs in one upload.
    assert_eq!(road.destination.count("POST", "*"), 2, "{}", road.logs());
    let puts = road.destination.requests("PUT", &put_path(&layer));
    assert_eq!(puts.len(), 1, "{}", road.logs());
    assert_eq!(puts[0].received, u64::try_from(size).unwrap());
    same(&road).await;
}

async fn cut_too_often() {
    let (road, _, layer) = with_layer(1_000_000).await;
    let path = blob_path(&layer);
    road.source.rule(when("GET", &path).cut_body_after(1000));
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Network, Some(Side::Source)),
        "{}",
        said(&failure)
    );
    assert_eq!(road.source.count("GET", &path), 4, "{}", road.logs());
    nothing_of(&road, &layer, 1_000_000).await;
}

async fn no_ranges() {
    let (road, _, layer) = with_layer(300_000).await;
    let path = blob_path(&layer);
    road.source
        .rule(when("GET", &path).nth(1).cut_body_after(100_000));
    let whole = when("GET", &path).nth(2).respond(200);
    road.source.rule(whole.body(noise(300_000, 7)));
    road.copied("app:1").await;
    assert_eq!(ranges(&road, &path), ["", "bytes=100000-"]);
    assert_eq!(road.destination.count("PUT", &put_path(&layer)), 1);
    same(&road).await;

    // The second time it has other bytes.
    let (road, _, layer) = with_layer(300_000).await;
    let path = blob_path(&layer);
    road.source
        .rule(when("GET", &path).nth(1).cut_body_after(100_000));
    let whole = when("GET", &path).nth(2).respond(200);
    road.source.rule(whole.body(noise(300_000, 8)));
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Integrity, "{}", said(&failure));
    nothing_of(&road, &layer, 300_000).await;
}

async fn wrong_range() {
    for range in [
        "bytes 0-299999/300000",
        "bytes 100001-299999/300000",
        "bytes 100000-299999/400000",
        "lines 1-2/3",
        "",
    ] {
        let (road, _, layer) = with_layer(300_000).await;
        let path = blob_path(&layer);
        road.source
            .rule(when("GET", &path).nth(1).cut_body_after(100_000));
        road.source
            .rule(when("GET", &path).nth(2).set_header("content-range", range));
        road.copied("app:1").await;
        // It is read whole then, and what was seen is passed over.
        assert_eq!(ranges(&road, &path), ["", "bytes=100000-", ""], "{range}");
        assert_eq!(road.destination.count("PUT", &put_path(&layer)), 1);
        same(&road).await;
    }
}

async fn refused_range() {
    let (road, _, layer) = with_layer(300_000).await;
    let path = blob_path(&layer);
    road.source
        .rule(when("GET", &path).nth(1).cut_body_after(100_000));
    road.source.rule(
        when("GET", &path)
            .nth(2)
            .respond(416)
            .error("RANGE_INVALID"),
    );
    road.copied("app:1").await;
    assert_eq!(ranges(&road, &path), ["", "bytes=100000-", ""]);
    assert_eq!(road.destination.count("PUT", &put_path(&layer)), 1);
    same(&road).await;
}

async fn object_store() {
    let (road, _, layer) = with_layer(1_000_000).await;
    let path = blob_path(&layer);
    let store = TestRegistry::start().await;
    put_blob(&store, "app", noise(1_000_000, 7)).await;
    let signed = |n: usize| format!("{}{path}?sig={n}", store.url());
    for n in 1..=20 {
        road.source
            .rule(when("GET", &path).nth(n).redirect(&signed(n)));
    }
    store.rule(when("GET", &path).cut_body_after(150_000));
    road.copied("app:1").await;
    let asked = store.requests("GET", &path);
    assert!(asked.len() >= 6, "{}", store.log_text());
    for (n, line) in asked.iter().enumerate() {
        assert_eq!(line.query, format!("sig={}", n + 1));
        assert_eq!(line.header(RANGE).is_empty(), n == 0);
    }
    assert_eq!(road.destination.count("PUT", &put_path(&layer)), 1);
    same(&road).await;
}

async fn redirects() {
    // Relative ones, and not too many.
    let (road, _, layer) = with_layer(1000).await;
    let path = blob_path(&layer);
    for n in 0..4 {
        let from = format!("/hop/{n}");
        let to = if n == 3 {
            format!("{path}?end")
        } else {
            format!("/hop/{}", n + 1)
        };
        road.source.rule(when("GET", &from).redirect(&to));
    }
    road.source
        .rule(when("GET", &path).nth(1).redirect("/hop/0"));
    road.copied("app:1").await;
    same(&road).await;

    let (road, _, layer) = with_layer(1000).await;
    let path = blob_path(&layer);
    road.source.rule(when("GET", &path).redirect(&path));
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Refused, "{}", said(&failure));
    assert!(said(&failure).contains("redirects more than 5 times"));
    assert!(road.source.count("GET", &path) <= 6);

    for to in [
        "ftp://127.0.0.1/x",
        "http://169.254.169.254/x",
        "http://0.0.0.0/x",
    ] {
        let (road, _, layer) = with_layer(1000).await;
        road.source
            .rule(when("GET", &blob_path(&layer)).redirect(to));
        let failure = road.failed("app:1").await;
        assert_eq!(failure.kind, Kind::Refused, "{to}: {}", said(&failure));
    }
    let (road, _, layer) = with_layer(1000).await;
    road.source
        .rule(when("GET", &blob_path(&layer)).respond(302));
    let failure = road.failed("app:1").await;
    assert!(
        said(&failure).contains("redirects to nowhere"),
        "{}",
        said(&failure)
    );
}

const STALL: Duration = Duration::from_millis(600);

async fn source_stalls() {
    let road = Road::with(impatient(STALL)).await;
    let (road, _, layer) = with_layer_on(road, 300_000).await;
    let path = blob_path(&layer);
    // From the second one on nothing comes at all.
    road.source
        .rule(when("GET", &path).nth(1).stall_body_after(100_000));
    road.source
        .rule(when("GET", &path).from(2).stall_body_after(0));
    let begun = Instant::now();
    let failure = road.failed("app:1").await;
    let took = begun.elapsed();
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Timeout, Some(Side::Source)),
        "{}",
        said(&failure)
    );
    assert!(took >= STALL, "{took:?}");
    assert!(took < 3 * STALL, "{took:?}");
    assert!(said(&failure).contains("600ms"), "{}", said(&failure));
    assert_eq!(road.destination.count("PUT", &put_path(&layer)), 1);
    nothing_of(&road, &layer, 300_000).await;
}

async fn source_stalls_once() {
    let road = Road::with(impatient(STALL)).await;
    let (road, _, layer) = with_layer_on(road, 300_000).await;
    let path = blob_path(&layer);
    road.source
        .rule(when("GET", &path).nth(1).stall_body_after(100_000));
    road.copied("app:1").await;
    assert_eq!(ranges(&road, &path), ["", "bytes=100000-"]);
    assert_eq!(road.destination.count("PUT", &put_path(&layer)), 1);
    same(&road).await;
}

async fn slow_source() {
    let road = Road::with(impatient(STALL)).await;
    let (road, _, layer) = with_layer_on(road, 20_000).await;
    let path = blob_path(&layer);
    let slow = when("GET", &path).trickle(1000, Duration::from_millis(60));
    road.source.rule(slow);
    let begun = Instant::now();
    road.copied("app:1").await;
    assert!(begun.elapsed() > 2 * STALL, "it is slow altogether");
    assert_eq!(road.source.count("GET", &path), 1);
    assert_eq!(road.destination.count("PUT", &put_path(&layer)), 1);
}

async fn bursts() {
    // Each pause is longer than what is waited for before the connection is made anew, and shorter
    // than what is waited for altogether.
    let stall = Duration::from_millis(900);
    let road = Road::with(impatient(stall)).await;
    let (road, _, layer) = with_layer_on(road, 12_000).await;
    let path = blob_path(&layer);
    let slow = when("GET", &path).trickle(2000, Duration::from_millis(200));
    road.source.rule(slow);
    road.source.rule(when("GET", &path).stall_body_after(2000));
    road.copied("app:1").await;
    assert_eq!(road.source.count("GET", &path), 6);
    assert_eq!(road.destination.count("PUT", &put_path(&layer)), 1);
    same(&road).await;
}

async fn throttled_source() {
    let road = Road::with(impatient(Duration::from_millis(300))).await;
    let (road, _, layer) = with_layer_on(road, 100_000).await;
    let path = blob_path(&layer);
    let throttled = when("GET", &path).nth(1).respond(429);
    road.source.rule(throttled.header("retry-after", "1"));
    let copied = road.copied("app:1").await;
    assert_eq!(copied.tally.blobs_copied, 2);
    assert_eq!(
        road.destination.count("PUT", &put_path(&layer)),
        1,
        "{}",
        road.logs()
    );

    // In the middle of it, too.
    let road = Road::with(impatient(Duration::from_millis(300))).await;
    let (road, _, layer) = with_layer_on(road, 300_000).await;
    let path = blob_path(&layer);
    road.source
        .rule(when("GET", &path).nth(1).cut_body_after(100_000));
    let throttled = when("GET", &path).nth(2).respond(429);
    road.source.rule(throttled.header("retry-after", "1"));
    road.copied("app:1").await;
    assert_eq!(
        road.destination.count("PUT", &put_path(&layer)),
        1,
        "{}",
        road.logs()
    );
    same(&road).await;

    let road = Road::with(impatient(Duration::from_millis(300))).await;
    let (road, _, layer) = with_layer_on(road, 100_000).await;
    let throttled = when("GET", &blob_path(&layer)).respond(429);
    road.source.rule(throttled.header("retry-after", "1"));
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::RateLimited, Some(Side::Source)),
        "{}",
        said(&failure)
    );
}

async fn encoding() {
    let (road, image, layer) = with_layer(100_000).await;
    for path in [blob_path(&layer), blob_path(&image.blobs[0])] {
        let labelled = when("GET", &path).set_header("content-encoding", "gzip");
        road.source.rule(labelled);
    }
    let labelled = when("*", "*/manifests/*").set_header("content-encoding", "gzip");
    road.source.rule(labelled);
    road.copied("app:1").await;
    same(&road).await;
    for line in road.source.log() {
        assert!(!line.headers.contains_key("accept-encoding"), "{line}");
    }
}

async fn empty_and_repeated() {
    let road = Road::plain().await;
    let layer = noise(1000, 1);
    Image::of_blobs([vec![], layer.clone(), vec![], layer.clone()])
        .push(&road.source, "app", Some("1"))
        .await;
    Image::of_blobs(Vec::<Vec<u8>>::new())
        .push(&road.source, "app", Some("none"))
        .await;
    let copied = road.copied("app:1").await;
    assert_eq!(copied.tally.blobs_copied, 3);
    road.copied("app:none").await;
    same(&road).await;
    assert_eq!(
        road.destination
            .count("PUT", &put_path(&Digest::sha256(&layer))),
        1
    );

    // An empty blob that is called something else.
    let config = put_blob(&road.source, "app", "{}").await;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/x.config", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "application/x", "digest": Digest::sha256(b"x"), "size": 0 }],
    });
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    put_manifest(&road.source, Some("lie"), media_type, manifest.to_string()).await;
    let failure = road.failed("app:lie").await;
    assert_eq!(failure.kind, Kind::Integrity, "{}", said(&failure));
}

async fn missing() {
    let road = Road::plain().await;
    let config = put_blob(&road.source, "app", "{}").await;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/x.config", "digest": config, "size": 2 },
        "layers": [descriptor("application/x", b"missing")],
    });
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    put_manifest(&road.source, Some("1"), media_type, manifest.to_string()).await;
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::NotFound, Some(Side::Source)),
        "{}",
        said(&failure)
    );
    assert!(said(&failure).contains(&Digest::sha256(b"missing").to_string()));
    // The source was asked first: the destination saw no request for it that was then broken off.
    let put = put_path(&Digest::sha256(b"missing"));
    assert_eq!(road.destination.count("PUT", &put), 0, "{}", road.logs());
    nothing_of(&road, &Digest::sha256(b"missing"), 7).await;
}

async fn foreign() {
    let road = Road::plain().await;
    let elsewhere = TestRegistry::start().await;
    let url = format!("{}/layer", elsewhere.url());
    Image::new(&["a"])
        .docker()
        .foreign_layer(&url)
        .push(&road.source, "app", Some("1"))
        .await;
    road.copied("app:1").await;
    let notes = road.notes.lock().unwrap().clone();
    let is_said =
        |note: &Note| matches!(note, Note::Remark(text) if text.contains("foreign layer"));
    assert!(notes.iter().any(is_said), "{notes:?}");

    // Where the source has it, it is copied; and a usual layer may name URLs as it likes.
    let config = put_blob(&road.source, "app", "{}").await;
    for (tag, kind) in [
        (
            "2",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ),
        ("3", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    ] {
        let bytes = format!("layer of {tag}");
        let layer = put_blob(&road.source, "app", bytes.clone()).await;
        let mut entry = descriptor(kind, bytes.as_bytes());
        entry["urls"] = json!([url]);
        let media_type = "application/vnd.docker.distribution.manifest.v2+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": { "mediaType": "application/x.config", "digest": config, "size": 2 },
            "layers": [entry],
        });
        put_manifest(&road.source, Some(tag), media_type, manifest.to_string()).await;
        road.copied(&format!("app:{tag}")).await;
        let contents = Contents::of(&road.destination, "app").await;
        assert_eq!(contents.blobs[&layer], bytes.as_bytes());
    }
    assert!(elsewhere.log().is_empty(), "{}", elsewhere.log_text());
}

async fn impossible_size() {
    for size in [
        json!(9_223_372_036_854_775_807_u64),
        json!(-1),
        json!(1.5),
        json!("2"),
    ] {
        let road = Road::plain().await;
        let config = put_blob(&road.source, "app", "{}").await;
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": { "mediaType": "application/x.config", "digest": config, "size": size },
            "layers": [],
        });
        put_manifest(&road.source, Some("1"), media_type, manifest.to_string()).await;
        let failure = road.failed("app:1").await;
        assert_eq!(failure.kind, Kind::Unsupported, "{}", said(&failure));
        assert!(road.destination.writes().is_empty());
    }
}

async fn page() {
    let (road, _, layer) = with_layer(1000).await;
    let html = when("GET", &blob_path(&layer)).respond(200);
    let html = html.header("content-type", "text/html");
    road.source.rule(html.body("<html>please log in</html>"));
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Refused, "{}", said(&failure));
    assert!(!said(&failure).contains("html"), "{}", said(&failure));
    nothing_of(&road, &layer, 1000).await;
}

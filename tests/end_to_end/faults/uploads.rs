//! Destinations that stall, cut, forget, refuse, and that mount or do not.

use std::time::{Duration, Instant};

use consign::event::{Kind, Side};
use consign::transfer::Options;
use futures::future::join_all;
use libtest_mimic::Trial;

use super::{Road, blob_path, impatient, noise, put_blob, put_path, said};
use crate::harness::trial;
use crate::registry::{Contents, Image, Mounts, Settings, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "uploads::a_destination_that_stalls_once_gets_a_new_upload",
            stalls_once,
        ),
        trial("uploads::a_destination_that_stalls_is_left", stalls),
        trial("uploads::a_destination_that_cuts_gets_a_new_upload", cuts),
        trial(
            "uploads::a_session_that_is_gone_is_opened_anew",
            session_gone,
        ),
        trial(
            "uploads::what_is_too_large_for_it_is_refused_once",
            too_large,
        ),
        trial("uploads::an_early_refusal_ends_the_copy", too_large_early),
        trial("uploads::an_upload_opened_nowhere_is_an_error", nowhere),
        trial(
            "uploads::an_upload_opened_where_nobody_goes_is_an_error",
            untrusted,
        ),
        trial("uploads::a_location_keeps_its_query", location),
        trial("uploads::shared_layers_are_read_and_written_once", shared),
        trial("uploads::a_refused_mount_becomes_an_upload", mounts),
        trial(
            "uploads::a_mount_that_opens_an_upload_is_used",
            mount_becomes_upload,
        ),
        trial("uploads::what_is_there_is_not_uploaded_again", present),
        trial(
            "uploads::what_is_there_is_not_uploaded_again_where_nothing_is_mounted",
            present_unmounted,
        ),
        trial(
            "uploads::a_destination_that_accepts_too_early_is_not_believed",
            too_early,
        ),
        trial(
            "uploads::what_is_taken_without_a_receipt_is_not_believed",
            not_confirmed,
        ),
        trial(
            "uploads::a_blob_that_is_kept_elsewhere_is_there",
            head_redirected,
        ),
        trial("uploads::a_copy_within_a_registry_moves_no_bytes", inside),
        trial(
            "uploads::a_tag_within_a_repository_is_one_write",
            same_repository,
        ),
    ]
}

async fn same(road: &Road) {
    assert_eq!(
        Contents::of(&road.source, "app").await,
        Contents::of(&road.destination, "app").await
    );
}

const STALL: Duration = Duration::from_millis(500);
/// More than sockets hold between two ends that do not read.
const HUGE: usize = 24_000_000;

async fn stalls_once() {
    let road = Road::with(impatient(STALL)).await;
    let image = Image::of_blobs([noise(HUGE, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    let put = put_path(&image.blobs[1]);
    road.destination
        .rule(when("PUT", &put).nth(1).stall_request_after(1000));
    road.copied("app:1").await;
    let puts = road.destination.requests("PUT", &put);
    assert_eq!(puts.len(), 2, "{}", road.logs());
    assert_ne!(puts[0].path, puts[1].path, "a new session");
    assert_eq!(puts[1].status, Some(201));
    same(&road).await;
}

async fn stalls() {
    let road = Road::with(impatient(STALL)).await;
    let image = Image::of_blobs([noise(HUGE, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    let put = put_path(&image.blobs[1]);
    road.destination
        .rule(when("PUT", &put).stall_request_after(1000));
    let begun = Instant::now();
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Timeout, Some(Side::Destination)),
        "{}",
        said(&failure)
    );
    assert!(begun.elapsed() >= STALL);
    assert_eq!(road.destination.count("PUT", &put), 4);
    let contents = Contents::of(&road.destination, "app").await;
    assert!(contents.tags.is_empty() && contents.manifests.is_empty());
}

async fn cuts() {
    let road = Road::plain().await;
    let image = Image::of_blobs([noise(HUGE, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    let put = put_path(&image.blobs[1]);
    let cut = when("PUT", &put).times(2).cut_request_after(1_000_000);
    road.destination.rule(cut);
    road.copied("app:1").await;
    let puts = road.destination.requests("PUT", &put);
    assert_eq!(puts.len(), 3, "{}", road.logs());
    assert_eq!(puts[2].status, Some(201));
    same(&road).await;
}

async fn session_gone() {
    for status in [404, 416] {
        let road = Road::plain().await;
        let image = Image::of_blobs([noise(100_000, 1)])
            .push(&road.source, "app", Some("1"))
            .await;
        let put = put_path(&image.blobs[1]);
        let gone = when("PUT", &put).times(2).respond(status);
        road.destination.rule(gone.error("BLOB_UPLOAD_UNKNOWN"));
        road.copied("app:1").await;
        let puts = road.destination.requests("PUT", &put);
        assert_eq!(puts.len(), 3, "{}", road.logs());
        assert_ne!(puts[0].path, puts[2].path, "a new session");
        same(&road).await;
    }
    // For ever.
    let road = Road::plain().await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let gone = when("PUT", "*/blobs/uploads/*").respond(404);
    road.destination.rule(gone.error("BLOB_UPLOAD_UNKNOWN"));
    let failure = road.failed("app:1").await;
    assert_eq!(failure.side, Some(Side::Destination));
    assert!(road.destination.count("PUT", "*") <= 8);
}

async fn too_large() {
    for size in [100_000, HUGE] {
        let road = Road::plain().await;
        let image = Image::of_blobs([noise(size, 1)])
            .push(&road.source, "app", Some("1"))
            .await;
        let put = put_path(&image.blobs[1]);
        let refused = when("PUT", &put).respond(413);
        road.destination.rule(refused.error("SIZE_INVALID"));
        let failure = road.failed("app:1").await;
        let said = said(&failure);
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::Refused, Some(Side::Destination)),
            "{size}: {said}"
        );
        assert!(said.contains("413"), "{said}");
        assert_eq!(road.destination.count("PUT", &put), 1, "{}", road.logs());
    }
}

/// A server that answers without reading what is sent, and closes: whether the answer is seen before
/// the connection breaks is chance, and both are an end.
async fn too_large_early() {
    let road = Road::plain().await;
    let image = Image::of_blobs([noise(HUGE, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    let put = put_path(&image.blobs[1]);
    let refused = when("PUT", &put).respond(413).error("SIZE_INVALID");
    road.destination.rule(refused.early());
    let failure = road.failed("app:1").await;
    assert_eq!(failure.side, Some(Side::Destination), "{}", said(&failure));
    assert!(
        matches!(failure.kind, Kind::Refused | Kind::Network),
        "{}",
        said(&failure)
    );
    assert!(road.destination.count("PUT", &put) <= 4);
    assert_eq!(road.destination.count("PUT", "*/manifests/*"), 0);
}

async fn nowhere() {
    let road = Road::plain().await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let opened = when("POST", "*/blobs/uploads/*").drop_header("location");
    road.destination.rule(opened);
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Refused, Some(Side::Destination)),
        "{}",
        said(&failure)
    );
    assert!(said(&failure).contains("nowhere"), "{}", said(&failure));
    // 201 without a mount that was asked for is no upload either.
    let road = Road::between(
        Settings::default(),
        Settings {
            mounts: Mounts::Refused(405),
            ..Settings::default()
        },
    )
    .await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    road.destination
        .rule(when("POST", "*/blobs/uploads/").from(2).respond(201));
    let failure = road.failed("app:1").await;
    assert!(
        said(&failure).contains("neither opens an upload"),
        "{}",
        said(&failure)
    );
}

async fn untrusted() {
    for location in [
        "http://169.254.169.254/up",
        "ftp://127.0.0.1/up",
        "file:///up",
    ] {
        let road = Road::plain().await;
        Image::new(&["a"])
            .push(&road.source, "app", Some("1"))
            .await;
        let opened = when("POST", "*/blobs/uploads/*").set_header("location", location);
        road.destination.rule(opened);
        let failure = road.failed("app:1").await;
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::Refused, Some(Side::Destination)),
            "{location}: {}",
            said(&failure)
        );
    }
}

async fn location() {
    for prefix in ["", "../../../../"] {
        let road = Road::plain().await;
        Image::new(&["a"])
            .push(&road.source, "app", Some("1"))
            .await;
        let place = format!("{prefix}/place/1?_state=a%2Bb&x=%20y");
        let place = place.replace("//", "/");
        let opened = when("POST", "*/blobs/uploads/").set_header("location", &place);
        road.destination.rule(opened);
        let put = road.destination.rule(when("PUT", "/place/1").respond(201));
        // What comes after it is another matter.
        drop(road.copy("app:1").await);
        assert_eq!(put.hits(), 2, "{}", road.logs());
        for put in road.destination.requests("PUT", "/place/1") {
            let (state, digest) = put.query.rsplit_once('&').unwrap();
            assert_eq!(state, "_state=a%2Bb&x=%20y");
            assert!(digest.starts_with("digest=sha256%3A"), "{digest}");
        }
    }
}

async fn shared() {
    let road = Road::plain().await;
    let names: Vec<String> = (0..24).map(|n| format!("app{}:{n}", n % 6)).collect();
    let base = noise(1_500_000, 1);
    let mut blobs = Vec::new();
    for name in &names {
        let (repository, tag) = name.split_once(':').unwrap();
        let image = Image::of_blobs([base.clone(), noise(5000, 2), name.clone().into_bytes()])
            .push(&road.source, repository, Some(tag))
            .await;
        blobs.extend(image.blobs);
    }
    let copies = join_all(names.iter().map(|name| road.copy(name))).await;
    for copy in copies {
        road.is_copied(copy);
    }
    blobs.sort_unstable();
    blobs.dedup();
    for blob in &blobs {
        let gets = road.source.count("GET", &format!("*/blobs/{blob}"));
        let digest = blob.to_string().replace(':', "%3A");
        let puts = road
            .destination
            .count("PUT", &format!("*?*digest={digest}"));
        assert_eq!((gets, puts), (1, 1), "{blob}\n{}", road.logs());
    }
    for n in 0..6 {
        let name = format!("app{n}");
        assert_eq!(
            Contents::of(&road.source, &name).await,
            Contents::of(&road.destination, &name).await
        );
    }
}

async fn mounts() {
    for mounts in [
        Mounts::Refused(400),
        Mounts::Refused(403),
        Mounts::Refused(404),
        Mounts::Refused(405),
        Mounts::Upload,
        Mounts::NotFromItself,
    ] {
        let destination = Settings {
            mounts,
            ..Settings::default()
        };
        let road = Road::between(Settings::default(), destination).await;
        let image = Image::of_blobs([noise(1_500_000, 1), noise(1000, 2)])
            .push(&road.source, "app", Some("1"))
            .await;
        for to in ["app:1", "other:1"] {
            let copy = road.copy_to("app:1", to).await;
            road.is_copied(copy);
        }
        let expected = if mounts == Mounts::NotFromItself {
            1
        } else {
            2
        };
        for blob in &image.blobs {
            let gets = road.source.count("GET", &blob_path(blob));
            assert_eq!(gets, expected, "{mounts:?}\n{}", road.logs());
        }
        let source = Contents::of(&road.source, "app").await;
        for name in ["app", "other"] {
            assert_eq!(source, Contents::of(&road.destination, name).await);
        }
    }
}

async fn mount_becomes_upload() {
    let destination = Settings {
        mounts: Mounts::Upload,
        ..Settings::default()
    };
    let road = Road::between(Settings::default(), destination).await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    road.copied("app:1").await;
    // One POST for each of two blobs: the session that answered the mount took them.
    assert_eq!(road.destination.count("POST", "*"), 2, "{}", road.logs());
    assert_eq!(road.destination.count("PUT", "*/blobs/uploads/*"), 2);
}

async fn present() {
    for mounts in [Mounts::Done, Mounts::Refused(405), Mounts::NotFromItself] {
        let destination = Settings {
            mounts,
            ..Settings::default()
        };
        let mut road = Road::between(Settings::default(), destination).await;
        // So large that it is asked for before it is known what mounts are worth there.
        let base = noise(HUGE, 1);
        Image::of_blobs([base.clone()])
            .push(&road.source, "app", Some("1"))
            .await;
        let second = Image::of_blobs([base.clone(), noise(1_100_000, 2), noise(1000, 3)])
            .push(&road.source, "app", Some("2"))
            .await;
        road.copied("app:1").await;
        road.next_run();
        let copied = road.copied("app:2").await;
        let base = second.blobs[1];
        assert_eq!(road.source.count("GET", &blob_path(&base)), 0);
        assert_eq!(road.destination.count("PUT", &put_path(&base)), 0);
        assert_eq!(copied.tally.blobs_present, 1, "{mounts:?}\n{}", road.logs());
        assert_eq!(copied.tally.blobs_copied, 3);
        same(&road).await;
    }
}

/// Another repository got the blob first in this run, but cannot give it; this one has it from a
/// run before.
async fn present_unmounted() {
    for mounts in [Mounts::Refused(405), Mounts::Upload] {
        let destination = Settings {
            mounts,
            ..Settings::default()
        };
        let road = Road::between(Settings::default(), destination).await;
        let base = noise(1_500_000, 1);
        let image = Image::of_blobs([base.clone()])
            .push(&road.source, "app", Some("1"))
            .await;
        put_blob(&road.destination, "old", base).await;
        let copy = road.copy("app:1").await;
        road.is_copied(copy);
        road.destination.clear_log();
        let copy = road.copy_to("app:1", "old:1").await;
        road.is_copied(copy);
        let digest = image.blobs[1].to_string().replace(':', "%3A");
        let puts = road
            .destination
            .count("PUT", &format!("*?*digest={digest}"));
        assert_eq!(puts, 0, "{mounts:?}\n{}", road.logs());
    }
}

async fn too_early() {
    let road = Road::plain().await;
    let image = Image::of_blobs([noise(HUGE, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    let put = put_path(&image.blobs[1]);
    road.destination
        .rule(when("PUT", &put).respond(201).early());
    let failure = road.failed("app:1").await;
    assert_eq!(failure.side, Some(Side::Destination), "{}", said(&failure));
    assert_eq!(road.destination.count("PUT", "*/manifests/*"), 0);
}

async fn not_confirmed() {
    for (method_path, is_blob) in [("*/blobs/uploads/*", true), ("*/manifests/*", false)] {
        let road = Road::plain().await;
        Image::new(&["a"])
            .push(&road.source, "app", Some("1"))
            .await;
        let page = when("PUT", method_path).respond(200);
        let page = page.header("content-type", "text/html");
        road.destination
            .rule(page.body("<html>please log in</html>"));
        let failure = road.failed("app:1").await;
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::Refused, Some(Side::Destination)),
            "{}",
            said(&failure)
        );
        let manifests = road.destination.count("PUT", "*/manifests/*");
        assert_eq!(manifests, usize::from(!is_blob));
    }
}

async fn head_redirected() {
    let destination = Settings {
        mounts: Mounts::Refused(405),
        ..Settings::default()
    };
    let road = Road::between(Settings::default(), destination).await;
    let layer = noise(100_000, 1);
    let image = Image::of_blobs([layer.clone()])
        .push(&road.source, "app", Some("1"))
        .await;
    put_blob(&road.destination, "app", layer).await;
    let store = TestRegistry::start().await;
    // A URL that is signed for GET refuses HEAD.
    let place = format!("{}/signed?for=GET", store.url());
    let path = blob_path(&image.blobs[1]);
    road.destination.rule(when("HEAD", &path).redirect(&place));
    let copied = road.copied("app:1").await;
    assert_eq!(copied.tally.blobs_present, 1, "{}", road.logs());
    assert!(store.log().is_empty());
    assert_eq!(road.source.count("GET", &path), 0);
}

async fn inside() {
    let road = Road::plain().await;
    let image = Image::of_blobs([noise(1_500_000, 1), noise(1000, 2)])
        .push(&road.source, "app", Some("1"))
        .await;
    let from = super::reference(&road.source, "app:1");
    let to = super::reference(&road.source, "copy:2");
    let options = Options::default();
    let copied = road.transfer(&from, &to, &options).await;
    let copied = road.is_copied(copied);
    assert_eq!(copied.tally.blobs_mounted, 3);
    assert_eq!(road.source.count("GET", "*/blobs/*"), 0);
    assert_eq!(road.source.tag("copy", "2"), Some(image.digest));
}

async fn same_repository() {
    let road = Road::plain().await;
    let image = Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let from = super::reference(&road.source, "app:1");
    let to = super::reference(&road.source, "app:2");
    let options = Options::default();
    let copied = road.transfer(&from, &to, &options).await;
    road.is_copied(copied);
    assert_eq!(road.source.writes().len(), 1, "{}", road.source.log_text());
    assert_eq!(road.source.tag("app", "2"), Some(image.digest));
}

//! What is tried again, how often, and what is not.

use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime};

use consign::event::{Kind, Side};
use consign::transfer::Options;
use libtest_mimic::Trial;

use super::{Road, blob_path, manifest_path, put_path, quick, reference, said};
use crate::harness::trial;
use crate::registry::{Contents, Image, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("retry::retry_after_is_waited_for", retry_after),
        trial(
            "retry::a_registry_that_wants_hours_holds_up_nobody_else",
            absurd,
        ),
        trial("retry::trouble_that_passes_is_survived", passing),
        trial(
            "retry::trouble_that_stays_is_named_with_its_attempts",
            exhausted,
        ),
        trial("retry::what_is_refused_is_not_asked_again", not_again),
        trial("retry::a_connection_that_is_cut_is_made_again", cut),
        trial("retry::an_answer_that_is_lost_does_no_harm", lost),
        trial("retry::writes_are_tried_again", writes),
        trial("retry::nobody_there_is_said_so", nobody),
        trial("retry::a_registry_that_never_answers_is_left", silence),
    ]
}

async fn with_image() -> (Road, crate::registry::Pushed) {
    let road = Road::plain().await;
    let image = Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    (road, image)
}

async fn retry_after() {
    // What was said, and how many seconds have to pass at least. A date has whole seconds, so that
    // three ahead are more than two.
    for (said, least) in [
        ("1", 1),
        ("three seconds ahead", 1),
        ("0", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("soon", 0),
        ("-5", 0),
    ] {
        let (road, image) = with_image().await;
        let value = if said == "three seconds ahead" {
            httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3))
        } else {
            said.to_owned()
        };
        let path = blob_path(&image.blobs[1]);
        let throttled = when("GET", &path).nth(1).respond(429);
        road.source.rule(throttled.header("retry-after", &value));
        let begun = Instant::now();
        road.copied("app:1").await;
        let took = begun.elapsed();
        let least = Duration::from_secs(least);
        assert!(took >= least, "{value}: {took:?}");
        assert!(took < Duration::from_secs(10), "{value}: {took:?}");
        assert_eq!(road.source.count("GET", &path), 2);
        // It was the source that was throttled: the destination hears nothing of it.
        assert_eq!(
            road.destination.count("PUT", &put_path(&image.blobs[1])),
            1,
            "{value}: {}",
            road.logs()
        );
    }
    // Also where the body cannot be sent again, and another upload is begun.
    let (road, image) = with_image().await;
    let put = put_path(&image.blobs[1]);
    let throttled = when("PUT", &put).nth(1).respond(429);
    road.destination.rule(throttled.header("retry-after", "1"));
    let begun = Instant::now();
    road.copied("app:1").await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(road.destination.count("PUT", &put), 2);
}

async fn absurd() {
    let (road, _) = with_image().await;
    let other = crate::registry::TestRegistry::start().await;
    Image::new(&["b"]).push(&other, "app", Some("1")).await;
    let throttled = when("GET", "*/manifests/*").respond(429);
    let throttled = road
        .source
        .rule(throttled.header("retry-after", "999999999"));
    let from = reference(&other, "app:1");
    let to = reference(&road.destination, "other:1");
    let options = Options::default();
    let goes_on = async {
        throttled.hit(1).await;
        road.transfer(&from, &to, &options).await
    };
    tokio::select! {
        waits = road.copy("app:1") => panic!("{waits:?}"),
        copied = goes_on => {
            road.is_copied(copied);
        }
    }
    assert_eq!(throttled.hits(), 1);
}

async fn passing() {
    for status in [408, 429, 500, 502, 503, 504] {
        let (road, image) = with_image().await;
        let paths = [manifest_path("1"), blob_path(&image.blobs[1])];
        for path in &paths {
            road.source.rule(when("GET", path).times(3).respond(status));
        }
        let head = when("HEAD", "*").times(3).respond(status);
        road.destination.rule(head);
        road.copied("app:1").await;
        for path in &paths {
            assert_eq!(road.source.count("GET", path), 4, "{status}");
        }
    }
}

async fn exhausted() {
    for (status, kind) in [
        (429, Kind::RateLimited),
        (500, Kind::Network),
        (503, Kind::Network),
    ] {
        let (road, image) = with_image().await;
        let path = blob_path(&image.blobs[1]);
        for (rule, path) in [
            (when("GET", &path).respond(status), &path),
            (
                when("GET", &manifest_path("1")).respond(status),
                &manifest_path("1"),
            ),
        ] {
            road.source.clear_rules();
            road.source.clear_log();
            road.source.rule(rule.error("TROUBLE"));
            let failure = road.failed("app:1").await;
            assert_eq!(
                (failure.kind, failure.side),
                (kind, Some(Side::Source)),
                "{}",
                said(&failure)
            );
            let said = said(&failure);
            assert!(said.contains("after 4 attempts"), "{said}");
            assert!(said.contains("as scripted"), "{said}");
            assert!(said.contains(&status.to_string()), "{said}");
            assert_eq!(road.source.count("GET", path), 4, "{status} {path}");
        }
        let contents = Contents::of(&road.destination, "app").await;
        assert!(contents.tags.is_empty() && contents.manifests.is_empty());
    }
}

async fn not_again() {
    for (status, code, kind) in [
        (404, "MANIFEST_UNKNOWN", Kind::NotFound),
        (403, "DENIED", Kind::Unauthorized),
        (400, "NAME_INVALID", Kind::Refused),
        (405, "UNSUPPORTED", Kind::Refused),
        (501, "UNSUPPORTED", Kind::Network),
    ] {
        let (road, image) = with_image().await;
        let rule = when("GET", &manifest_path("1")).respond(status);
        road.source.rule(rule.error(code));
        let failure = road.failed("app:1").await;
        assert_eq!(failure.kind, kind, "{status}: {}", said(&failure));
        assert!(said(&failure).contains(code));
        assert_eq!(road.source.log().len(), 1, "{status}: {}", road.logs());

        road.source.clear_rules();
        let path = blob_path(&image.blobs[1]);
        road.source
            .rule(when("GET", &path).respond(status).error(code));
        let failure = road.failed("app:1").await;
        assert_eq!(
            (failure.kind, failure.side),
            (kind, Some(Side::Source)),
            "{status}: {}",
            said(&failure)
        );
        assert_eq!(road.source.count("GET", &path), 1, "{status}");
    }
}

async fn cut() {
    let (road, image) = with_image().await;
    road.destination.rule(when("HEAD", "*").times(2).hang_up());
    road.source
        .rule(when("GET", "*/manifests/*").times(2).hang_up());
    let path = blob_path(&image.blobs[1]);
    road.source.rule(when("GET", &path).times(2).hang_up());
    road.destination.rule(when("POST", "*").times(2).hang_up());
    road.destination
        .rule(when("PUT", "*/manifests/*").times(2).hang_up());
    road.copied("app:1").await;
    assert_eq!(
        Contents::of(&road.source, "app").await,
        Contents::of(&road.destination, "app").await
    );

    let (road, _) = with_image().await;
    road.source.rule(when("GET", "*/manifests/*").hang_up());
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Network);
    assert!(
        said(&failure).contains("after 4 attempts"),
        "{}",
        said(&failure)
    );
}

async fn lost() {
    for (method, path) in [
        ("POST", "*/blobs/uploads/"),
        ("PUT", "*/blobs/uploads/*"),
        ("PUT", "*/manifests/*"),
    ] {
        let (road, _) = with_image().await;
        let lost = road
            .destination
            .rule(when(method, path).times(2).lose_answer());
        road.copied("app:1").await;
        assert_eq!(lost.hits(), 2, "{}", road.logs());
        assert_eq!(
            Contents::of(&road.source, "app").await,
            Contents::of(&road.destination, "app").await
        );
    }
}

async fn writes() {
    for status in [429, 500, 502, 503, 504] {
        let (road, image) = with_image().await;
        let put = put_path(&image.blobs[1]);
        for rule in [
            when("POST", "*/blobs/uploads/").times(2).respond(status),
            when("PUT", &put).times(2).respond(status),
            when("PUT", "*/manifests/*").times(2).respond(status),
        ] {
            road.destination.rule(rule);
        }
        road.copied("app:1").await;
        assert_eq!(road.destination.count("PUT", &put), 3, "{status}");
        assert_eq!(road.destination.count("PUT", "*/manifests/1"), 3);
    }
    // To the end: each is a session of its own, and all are counted.
    let (road, image) = with_image().await;
    let put = put_path(&image.blobs[1]);
    road.destination.rule(when("PUT", &put).respond(503));
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Network, Some(Side::Destination))
    );
    assert!(
        said(&failure).contains("after 4 attempts"),
        "{}",
        said(&failure)
    );
    assert_eq!(road.destination.count("PUT", &put), 4);
    assert_eq!(road.destination.count("PUT", "*/manifests/*"), 0);
}

async fn nobody() {
    let (road, _) = with_image().await;
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let from = format!("{port}/app:1").parse().unwrap();
    let to = reference(&road.destination, "app:1");
    let failure = road.transfer(&from, &to, &Options::default()).await;
    let failure = road.is_failed(failure);
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Network, Some(Side::Source))
    );
    let said = said(&failure);
    assert!(said.to_lowercase().contains("refused"), "{said}");
    assert!(said.contains("after 4 attempts"), "{said}");
}

async fn silence() {
    let settings = consign::registry::Settings {
        stall_timeout: Duration::from_millis(200),
        ..quick()
    };
    let road = Road::with(settings).await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    road.source.rule(when("GET", "*/manifests/*").stall());
    let begun = Instant::now();
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Timeout, Some(Side::Source))
    );
    assert!(said(&failure).contains("made no progress"));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

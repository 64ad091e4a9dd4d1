//! What registries do otherwise than others: asked, answered, served. The rows of docs/REGISTRIES.md.

use consign::event::{Kind, Outcome, Side};
use consign::oci::Digest;
use consign::transfer::{OnExisting, Options};
use libtest_mimic::Trial;
use serde_json::json;

use super::{Road, blob_path, descriptor, manifest_path, noise, put_blob, put_manifest, said};
use crate::harness::trial;
use crate::registry::{Contents, Image, Mounts, Settings, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "quirks::a_head_that_says_404_of_what_is_served_is_not_believed",
            head_lies,
        ),
        trial(
            "quirks::a_tag_that_head_denies_is_kept_all_the_same",
            head_lies_of_a_kept_tag,
        ),
        trial(
            "quirks::a_blob_head_that_is_refused_becomes_an_upload",
            no_blob_head,
        ),
        trial(
            "quirks::a_foreign_layer_that_head_denies_is_copied",
            foreign_head,
        ),
        trial(
            "quirks::another_algorithm_for_the_same_bytes_is_the_same",
            algorithms,
        ),
        trial("quirks::answers_without_a_length_are_read", chunked),
        trial("quirks::encoding_headers_are_not_obeyed", encodings),
        trial("quirks::zstd_layers_in_dockers_words_are_copied", zstd),
        trial("quirks::a_page_for_people_is_named", pages),
        trial(
            "quirks::a_page_does_not_say_that_a_blob_is_there",
            page_for_head,
        ),
        trial("quirks::dockers_word_for_too_many_is_repeated", too_many),
    ]
}

async fn same(road: &Road) {
    assert_eq!(
        Contents::of(&road.source, "app").await,
        Contents::of(&road.destination, "app").await
    );
}

/// A destination that mounts nothing, so that it is asked for blobs by HEAD.
async fn without_mounts() -> Road {
    let destination = Settings {
        mounts: Mounts::Refused(405),
        ..Settings::default()
    };
    Road::between(Settings::default(), destination).await
}

async fn head_lies() {
    for (status, code) in [(404, ""), (404, "MANIFEST_UNKNOWN")] {
        let road = Road::plain().await;
        let image = Image::new(&["a"])
            .push(&road.source, "app", Some("1"))
            .await;
        for tag in ["1", "2", "gone"] {
            Image::new(&["old"])
                .push(&road.destination, "app", Some(tag))
                .await;
        }
        Image::new(&["b"])
            .push(&road.source, "app", Some("2"))
            .await;
        road.source
            .rule(when("HEAD", "*").respond(status).error(code));
        let copied = road.copied("app:1").await;
        assert_eq!(copied.image.digest, image.digest);
        // It is asked by HEAD no more.
        road.copied("app:2").await;
        assert_eq!(road.source.count("HEAD", "*"), 1, "{}", road.logs());
        let failure = road.failed("app:gone").await;
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::NotFound, Some(Side::Source))
        );
    }
    // One that has answered a HEAD is believed.
    let road = Road::plain().await;
    for registry in [&road.source, &road.destination] {
        Image::new(&["a"]).push(registry, "app", Some("1")).await;
    }
    Image::new(&["old"])
        .push(&road.destination, "app", Some("gone"))
        .await;
    assert!(matches!(road.copy("app:1").await, Ok(Outcome::UpToDate(_))));
    road.failed("app:gone").await;
    assert_eq!(road.source.count("GET", "*/manifests/*"), 0);
}

async fn head_lies_of_a_kept_tag() {
    for on_existing in [OnExisting::Keep, OnExisting::Fail] {
        let road = Road::plain().await;
        Image::new(&["new"])
            .push(&road.source, "app", Some("1"))
            .await;
        let old = Image::new(&["old"])
            .push(&road.destination, "app", Some("1"))
            .await;
        road.destination.rule(when("HEAD", "*").respond(404));
        let options = Options {
            on_existing,
            ..Options::default()
        };
        let ended = road.copy_with("app:1", "app:1", &options).await;
        if on_existing == OnExisting::Keep {
            assert!(matches!(ended, Ok(Outcome::Kept(_))), "{ended:?}");
        } else {
            assert_eq!(road.is_failed(ended).kind, Kind::Conflict);
        }
        assert!(road.destination.writes().is_empty(), "{}", road.logs());
        assert_eq!(road.destination.tag("app", "1"), Some(old.digest));
    }
}

async fn no_blob_head() {
    for status in [400, 403, 404, 405, 501] {
        let road = without_mounts().await;
        let layer = noise(100_000, 1);
        let image = Image::of_blobs([layer.clone()])
            .push(&road.source, "app", Some("1"))
            .await;
        // It is there, and said not to be.
        put_blob(&road.destination, "app", layer).await;
        road.destination
            .rule(when("HEAD", "*/blobs/*").respond(status));
        let copied = road.copied("app:1").await;
        assert_eq!(copied.tally.blobs_copied, 2, "{status}");
        let heads = road.destination.count("HEAD", &blob_path(&image.blobs[1]));
        assert_eq!(heads, 1, "{status}: {}", road.logs());
        same(&road).await;
    }
    // What is wrong with the credential is wrong with all that follows.
    let road = without_mounts().await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    road.destination
        .rule(when("HEAD", "*/blobs/*").respond(401));
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Unauthorized, "{}", said(&failure));
}

async fn foreign_head() {
    for status in [403, 404, 405] {
        let road = Road::plain().await;
        let elsewhere = TestRegistry::start().await;
        let layer = put_blob(&road.source, "app", "layer").await;
        let mut entry = descriptor(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            b"layer",
        );
        entry["urls"] = json!([format!("{}/layer", elsewhere.url())]);
        put_docker_image(&road.source, "1", &entry).await;
        road.source
            .rule(when("HEAD", &blob_path(&layer)).respond(status));
        road.copied("app:1").await;
        let contents = Contents::of(&road.destination, "app").await;
        assert!(contents.blobs.contains_key(&layer), "{status}");
        assert!(elsewhere.log().is_empty(), "{}", elsewhere.log_text());
    }
}

/// Puts an image in Docker's words, of one layer, into `app`.
async fn put_docker_image(registry: &TestRegistry, tag: &str, layer: &serde_json::Value) -> Digest {
    put_blob(registry, "app", "{}").await;
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    let document = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor("application/vnd.docker.container.image.v1+json", b"{}"),
        "layers": [layer],
    });
    put_manifest(registry, Some(tag), media_type, document.to_string()).await
}

async fn algorithms() {
    let mut road = Road::plain().await;
    let image = Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let long: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    let long = long.of_same_kind(&image.bytes).to_string();
    for method in ["PUT", "HEAD"] {
        let named = when(method, "*/manifests/*").set_header("docker-content-digest", &long);
        road.destination.rule(named);
    }
    // The receipt of a blob is not compared: its bytes were, before they went.
    let named = when("PUT", "*/blobs/uploads/*").set_header("docker-content-digest", &long);
    road.destination.rule(named);
    road.copied("app:1").await;
    for on_existing in [OnExisting::Replace, OnExisting::Keep, OnExisting::Fail] {
        road.next_run();
        let options = Options {
            on_existing,
            ..Options::default()
        };
        let again = road.copy_with("app:1", "app:1", &options).await;
        assert!(matches!(again, Ok(Outcome::UpToDate(_))), "{again:?}");
        assert!(road.destination.writes().is_empty(), "{}", road.logs());
    }
}

async fn chunked() {
    let road = Road::plain().await;
    let image = Image::of_blobs([noise(200_000, 1)])
        .push(&road.source, "app", None)
        .await;
    crate::registry::index(&road.source, "app", Some("1"), &[&image]).await;
    for path in ["*/blobs/*", "*/manifests/*"] {
        road.source
            .rule(when("*", path).drop_header("content-length"));
    }
    road.copied("app:1").await;
    same(&road).await;
    // One that is cut has no end, and is not taken for whole.
    let road = Road::plain().await;
    let image = Image::of_blobs([noise(200_000, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    let path = blob_path(&image.blobs[1]);
    road.source
        .rule(when("GET", &path).nth(1).cut_body_after(1000));
    road.source
        .rule(when("GET", &path).drop_header("content-length"));
    road.copied("app:1").await;
    same(&road).await;
}

async fn encodings() {
    for encoding in ["gzip", "x-gzip", "deflate", "br", "zstd"] {
        let road = Road::plain().await;
        // Layers that are gzip files indeed: who obeys the header would store other bytes.
        Image::new(&["a", "b"])
            .push(&road.source, "app", Some("1"))
            .await;
        for path in ["*/blobs/*", "*/manifests/*"] {
            road.source
                .rule(when("*", path).set_header("content-encoding", encoding));
        }
        road.copied("app:1").await;
        same(&road).await;
    }
}

async fn zstd() {
    let road = Road::plain().await;
    let bytes = noise(1000, 1);
    put_blob(&road.source, "app", bytes.clone()).await;
    let kind = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    let digest = put_docker_image(&road.source, "1", &descriptor(kind, &bytes)).await;
    let copied = road.copied("app:1").await;
    assert_eq!(copied.image.digest, digest);
    same(&road).await;
}

const LOGIN: &str = "<!DOCTYPE html><html><body>please log in</body></html>";

async fn pages() {
    let page = "for people";
    for is_moved in [false, true] {
        for is_manifest in [false, true] {
            let road = Road::plain().await;
            let image = Image::of_blobs([noise(1000, 1)])
                .push(&road.source, "app", Some("1"))
                .await;
            let path = if is_manifest {
                manifest_path("1")
            } else {
                blob_path(&image.blobs[1])
            };
            let served = if is_moved {
                let moved = when("*", &path).respond(302);
                road.source.rule(moved.header("location", "/login?to=x"));
                "/login"
            } else {
                path.as_str()
            };
            let html = when("*", served).respond(200).body(LOGIN);
            let html = html.header("content-type", "text/html; charset=utf-8");
            let asked = road.source.rule(html);
            let failure = road.failed("app:1").await;
            let said = said(&failure);
            assert_eq!(
                (failure.kind, failure.side),
                (Kind::Refused, Some(Side::Source)),
                "{said}"
            );
            assert!(said.contains(page) && !said.contains("log in"), "{said}");
            assert_eq!(asked.hits(), 1, "{}", road.logs());
        }
    }
    // Without a length it is no other thing, nor a blob that ends too early.
    let road = Road::plain().await;
    let image = Image::of_blobs([noise(1000, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    let path = blob_path(&image.blobs[1]);
    for rule in [
        when("GET", &path).set_header("content-type", "text/html"),
        when("GET", &path).replace_body(LOGIN),
        when("GET", &path).drop_header("content-length"),
    ] {
        road.source.rule(rule);
    }
    let failure = road.failed("app:1").await;
    assert!(said(&failure).contains(page), "{}", said(&failure));
    assert_eq!(road.source.count("GET", &path), 1);
    // At a destination: what stands there cannot be told.
    let road = Road::plain().await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let html = when("*", "*").respond(200).body(LOGIN);
    let html = html.header("content-type", "text/html");
    road.destination.rule(html);
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Refused, Some(Side::Destination))
    );
    assert!(said(&failure).contains(page), "{}", said(&failure));
    assert!(road.destination.writes().is_empty());
    // A blob that is a page is copied as any other one.
    let road = Road::plain().await;
    let image = Image::of_blobs([LOGIN])
        .push(&road.source, "app", Some("1"))
        .await;
    let kind = when("GET", &blob_path(&image.blobs[1])).set_header("content-type", "text/html");
    road.source.rule(kind);
    road.copied("app:1").await;
    same(&road).await;
}

async fn page_for_head() {
    let road = without_mounts().await;
    let image = Image::of_blobs([noise(1000, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    let html = when("HEAD", "*/blobs/*").respond(200).body(LOGIN);
    road.destination
        .rule(html.header("content-type", "text/html"));
    let copied = road.copied("app:1").await;
    assert_eq!(copied.tally.blobs_copied, 2, "{}", road.logs());
    let contents = Contents::of(&road.destination, "app").await;
    assert!(contents.blobs.contains_key(&image.blobs[1]));
}

async fn too_many() {
    let road = Road::plain().await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let message = "You have reached your unauthenticated pull rate limit.";
    let document = json!({ "errors": [{ "code": "TOOMANYREQUESTS", "message": message }] });
    let limited = when("GET", "*/manifests/*").respond(429);
    let limited = limited.header("ratelimit-limit", "100;w=21600");
    road.source.rule(limited.body(document.to_string()));
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::RateLimited, Some(Side::Source))
    );
    let said = said(&failure);
    assert!(
        said.contains("TOOMANYREQUESTS") && said.contains(message),
        "{said}"
    );
    assert_eq!(road.source.log().len(), 4, "{}", road.logs());
    assert!(road.destination.writes().is_empty());
}

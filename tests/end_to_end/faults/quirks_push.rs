//! Destinations that take uploads in their own way, or take nothing more.

use consign::event::{Failure, Kind, Side};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use libtest_mimic::Trial;
use serde_json::json;

use super::{Road, manifest_path, noise, put_blob, put_path, said};
use crate::harness::trial;
use crate::registry::{Contents, Image, Mounts, Rule, Settings, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "quirks::a_mount_that_is_answered_by_nonsense_becomes_an_upload",
            odd_mounts,
        ),
        trial(
            "quirks::a_mount_from_where_nothing_is_becomes_an_upload",
            mount_from_nowhere,
        ),
        trial("quirks::an_upload_is_one_put_with_a_length", monolithic),
        trial(
            "quirks::an_upload_may_be_opened_by_another_success",
            odd_openings,
        ),
        trial(
            "quirks::what_is_taken_without_a_word_is_looked_for",
            wordless,
        ),
        trial("quirks::a_size_limit_is_named", too_large),
        trial(
            "quirks::an_immutable_tag_is_a_conflict_in_every_wording",
            immutable,
        ),
        trial(
            "quirks::a_project_that_is_missing_is_named_once",
            missing_project,
        ),
        trial(
            "quirks::a_kind_of_manifest_that_is_refused_is_sent_once",
            kinds,
        ),
        trial("quirks::a_quota_is_named_and_not_tried_again", quota),
    ]
}

/// An answer as the specification writes it, with these words.
fn refusal(rule: Rule, code: &str, message: &str) -> Rule {
    let document = json!({ "errors": [{ "code": code, "message": message }] });
    rule.header("content-type", "application/json")
        .body(document.to_string())
}

async fn same(road: &Road) {
    assert_eq!(
        Contents::of(&road.source, "app").await,
        Contents::of(&road.destination, "app").await
    );
}

async fn with_image() -> Road {
    let road = Road::plain().await;
    Image::of_blobs([noise(1000, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    road
}

async fn odd_mounts() {
    for status in [200, 202, 204, 303, 415, 501] {
        let road = with_image().await;
        let mount = when("POST", "*/blobs/uploads/?*mount=*").respond(status);
        road.destination.rule(mount);
        road.copied("app:1").await;
        same(&road).await;
        let copy = road.copy_to("app:1", "other:1").await;
        road.is_copied(copy);
    }
}

async fn mount_from_nowhere() {
    for (status, code, message) in [
        (400, "BAD_REQUEST", "project app not found"),
        (404, "NAME_UNKNOWN", "repository name not known to registry"),
        (401, "UNAUTHORIZED", "project app not found"),
    ] {
        let road = with_image().await;
        road.copied("app:1").await;
        let mount = when("POST", "/v2/other/blobs/uploads/?*from=app*").respond(status);
        let refused = road.destination.rule(refusal(mount, code, message));
        let copy = road.copy_to("app:1", "other:1").await;
        road.is_copied(copy);
        assert_eq!(refused.hits(), 2, "{}", road.logs());
    }
}

async fn monolithic() {
    for status in [400, 404, 405, 416] {
        let road = Road::plain().await;
        for (tag, size) in [("1", 10), ("2", 3_000_000)] {
            Image::of_blobs([noise(size, 1)])
                .push(&road.source, "app", Some(tag))
                .await;
        }
        let parts = when("PATCH", "*").respond(status).error("SIZE_INVALID");
        let parts = road.destination.rule(parts);
        let least = when("POST", "*/blobs/uploads/*");
        road.destination
            .rule(least.set_header("oci-chunk-min-length", "10485760"));
        road.copied("app:1").await;
        road.copied("app:2").await;
        same(&road).await;
        assert_eq!(parts.hits(), 0);
        let puts = road.destination.requests("PUT", "*/blobs/uploads/*");
        assert_eq!(puts.len(), 4, "{}", road.logs());
        for put in puts {
            assert_eq!(put.header(CONTENT_LENGTH), put.received.to_string());
            assert!(put.header(TRANSFER_ENCODING).is_empty());
        }
    }
}

async fn odd_openings() {
    for status in [200, 204] {
        let destination = Settings {
            mounts: Mounts::Refused(405),
            ..Settings::default()
        };
        let road = Road::between(Settings::default(), destination).await;
        Image::of_blobs([noise(1000, 1)])
            .push(&road.source, "app", Some("1"))
            .await;
        let opened = when("POST", "/v2/app/blobs/uploads/")
            .from(2)
            .respond(status);
        road.destination
            .rule(opened.header("location", "/place/1?state=x"));
        let stored = road.destination.rule(when("PUT", "/place/1").respond(201));
        // As if what is put there were in the repository.
        road.destination
            .rule(when("HEAD", "*/blobs/*").respond(404));
        for bytes in Contents::of(&road.source, "app").await.blobs.into_values() {
            put_blob(&road.destination, "app", bytes).await;
        }
        road.copied("app:1").await;
        assert!(stored.hits() > 0, "{}", road.logs());
        same(&road).await;
    }
}

async fn wordless() {
    for status in [200, 202, 204] {
        let road = with_image().await;
        for path in ["*/blobs/uploads/*", "*/manifests/*"] {
            road.destination.rule(when("PUT", path).answer_with(status));
        }
        road.copied("app:1").await;
        same(&road).await;
        // Each of three asked for once more, and nothing sent twice.
        let puts = road.destination.count("PUT", "*");
        assert_eq!(puts, 3, "{}", road.logs());
        assert_eq!(road.destination.count("HEAD", "*/blobs/*"), 2);
    }
    // One that did not take it.
    for (path, puts) in [("*/blobs/uploads/*", 0), ("*/manifests/*", 1)] {
        let road = with_image().await;
        road.destination.rule(when("PUT", path).respond(202));
        let failure = road.failed("app:1").await;
        assert!(
            said(&failure).contains("does not confirm"),
            "{}",
            said(&failure)
        );
        assert_eq!(road.destination.count("PUT", "*/manifests/*"), puts);
        assert_eq!(road.destination.tag("app", "1"), None);
    }
}

async fn too_large() {
    let page = "<html><head><title>413 Request Entity Too Large</title></head></html>";
    for path in ["*/blobs/uploads/*", "*/manifests/*"] {
        let road = with_image().await;
        let large = when("PUT", path).respond(413).body(page);
        let large = road
            .destination
            .rule(large.header("content-type", "text/html"));
        let failure = road.failed("app:1").await;
        let said = said(&failure);
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::Refused, Some(Side::Destination)),
            "{said}"
        );
        assert!(
            said.contains("413") && said.contains("size limit of the registry, or of a proxy"),
            "{said}"
        );
        assert!(!said.contains("html") && !said.contains("quota"), "{said}");
        assert!(large.hits() <= 2, "{}", road.logs());
    }
}

async fn immutable() {
    for (status, code, message) in [
        (400, "TAG_INVALID", "it is there"),
        (
            400,
            "ImageTagAlreadyExistsException",
            "the tag exists already",
        ),
        (403, "DENIED", "the tag is immutable"),
        (
            412,
            "PRECONDITION",
            "due to 'app:1' configured as immutable.",
        ),
        (409, "", ""),
    ] {
        let put = ("PUT", manifest_path("1"));
        let (failure, hits) = refused((put.0, &put.1), (status, code, message)).await;
        assert_eq!(
            (failure.kind, hits),
            (Kind::Conflict, 1),
            "{}",
            said(&failure)
        );
        // The same digest under the tag is no conflict, and is not written.
        let mut road = with_image().await;
        road.copied("app:1").await;
        road.next_run();
        road.destination.rule(when("PUT", "*").respond(status));
        assert!(road.copy("app:1").await.is_ok());
        assert!(road.destination.writes().is_empty(), "{}", road.logs());
    }
}

/// Where a destination may say no, and how often it may be asked at most: once for each of two blobs that
/// go at the same time, or for the manifest.
const WRITES: [(&str, &str, usize); 3] = [
    ("POST", "*/blobs/uploads/*", 2),
    ("PUT", "*/blobs/uploads/*", 2),
    ("PUT", "*/manifests/*", 1),
];

/// What becomes of an image whose `method` to `path` is answered so, and how often that happened.
async fn refused(
    (method, path): (&str, &str),
    (status, code, message): (u16, &str, &str),
) -> (Failure, usize) {
    let road = with_image().await;
    let rule = when(method, path).respond(status);
    let refused = road.destination.rule(refusal(rule, code, message));
    let failure = road.failed("app:1").await;
    assert_eq!(
        failure.side,
        Some(Side::Destination),
        "{status}: {}",
        said(&failure)
    );
    assert!(said(&failure).contains(message), "{}", said(&failure));
    assert_eq!(road.destination.tag("app", "1"), None);
    (failure, refused.hits())
}

async fn missing_project() {
    for (status, code, message, kind) in [
        (404, "NAME_UNKNOWN", "it does not exist", Kind::NotFound),
        (404, "NOT_FOUND", "project app not found", Kind::NotFound),
        (
            401,
            "UNAUTHORIZED",
            "project app not found",
            Kind::Unauthorized,
        ),
        (500, "UNKNOWN", "project app not found", Kind::Network),
    ] {
        for (method, path, most) in WRITES {
            let (failure, hits) = refused((method, path), (status, code, message)).await;
            assert_eq!(failure.kind, kind, "{}", said(&failure));
            assert!(said(&failure).contains("must exist"), "{}", said(&failure));
            // A token that may have ended on the way is worth a second try.
            let may_be_spent = status == 401 && (method, path) == ("PUT", "*/blobs/uploads/*");
            let most = if may_be_spent { 2 * most } else { most };
            assert!(hits <= most, "{status} {method} {path}: {hits}");
        }
    }
    // To a reader it is not there, and no project is asked for.
    let road = Road::plain().await;
    let unknown = when("GET", "*").respond(404).error("NAME_UNKNOWN");
    road.source.rule(unknown);
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::NotFound);
    assert!(!said(&failure).contains("must exist"), "{}", said(&failure));
    assert_eq!(road.source.log().len(), 1, "{}", road.logs());
}

/// ECR answers 405 for some manifests with a subject, Gitea of old 501 for artifacts, Quay of old and
/// Artifactory 6 call them invalid.
async fn kinds() {
    for (status, code, kind) in [
        (405, "UNSUPPORTED", Kind::Refused),
        (501, "", Kind::Network),
        (400, "MANIFEST_INVALID", Kind::Refused),
    ] {
        let answer = (status, code, "not this kind");
        let (failure, hits) = refused(("PUT", "*/manifests/*"), answer).await;
        assert_eq!((failure.kind, hits), (kind, 1), "{}", said(&failure));
    }
}

async fn quota() {
    let harbor = "adding 29.0 MiB of storage resource, which when updated to current usage of 152.4 \
                  MiB will exceed the configured upper limit of 10.0 MiB.";
    for (status, code, message) in [
        (403, "DENIED", harbor),
        (400, "BAD_REQUEST", harbor),
        (412, "PRECONDITION", harbor),
        (413, "", harbor),
        (500, "UNKNOWN", harbor),
        (403, "DENIED", "Quota has been exceeded on namespace"),
        (507, "", ""),
    ] {
        for (method, path, most) in WRITES {
            let (failure, hits) = refused((method, path), (status, code, message)).await;
            assert_eq!(failure.kind, Kind::Refused, "{}", said(&failure));
            assert!(said(&failure).contains("quota"), "{}", said(&failure));
            assert!(hits <= most, "{status} {method} {path}: {hits}");
        }
    }
    // In the words of a cloud it is a matter of patience.
    let road = with_image().await;
    let busy = when("PUT", "*/manifests/*").nth(1).respond(429);
    let words = "Quota exceeded for quota metric 'Requests'";
    road.destination
        .rule(refusal(busy, "TOOMANYREQUESTS", words));
    road.copied("app:1").await;
    // The bytes of the layer went once.
    let layers = Contents::of(&road.source, "app").await.blobs.into_keys();
    for layer in layers {
        assert_eq!(road.destination.count("PUT", &put_path(&layer)), 1);
    }
}

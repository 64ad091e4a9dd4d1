//! Faults 21 and 29 to 31: destinations that do not take everything, and such that are late.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, TRANSFER_ENCODING};
use libtest_mimic::Trial;

use super::named::OCI_INDEX;
use super::stage::Stage;
use crate::faults::noise;
use crate::harness::trial;
use crate::program::{Workplace, outcomes};
use crate::registry::{Contents, Image, TestRegistry, when};
use crate::signatures::stand::{OURS, PASSPHRASE};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "endure::fault_21_a_destination_that_refuses_parts_gets_one_piece",
            one_piece,
        ),
        trial(
            "endure::fault_29_an_immutable_tag_is_well_or_a_conflict",
            immutable,
        ),
        trial(
            "endure::fault_30_a_project_without_room_is_sent_nothing_more",
            quota,
        ),
        trial(
            "endure::fault_31_a_signature_that_is_seen_late_is_written_once",
            late,
        ),
    ]
}

async fn one_piece() {
    for (status, code) in [
        (405, "UNSUPPORTED"),
        (416, "BLOB_UPLOAD_INVALID"),
        (501, ""),
    ] {
        let stage = Stage::plain().await;
        let layers = [noise(300_000, 1), noise(1, 2), Vec::new()];
        let image = Image::of_blobs(layers);
        let image = image.push(&stage.source, "app", Some("1")).await;
        let part = stage
            .destination
            .rule(when("PATCH", "*").respond(status).error(code));
        // Where there are parts, they have to be large.
        let minimum = when("POST", "*/blobs/uploads/*");
        stage
            .destination
            .rule(minimum.set_header("oci-chunk-min-length", "5242880"));
        stage.mirrored(&["app:1"], "").await.with(0);
        stage.same("app").await;
        assert_eq!(part.hits(), 0, "{}", stage.logs());
        let puts = stage.destination.requests("PUT", "/v2/app/blobs/uploads/*");
        assert_eq!(puts.len(), image.blobs.len(), "{}", stage.logs());
        for put in puts {
            assert_eq!(
                put.header(CONTENT_LENGTH),
                put.received.to_string(),
                "{put}"
            );
            assert_eq!(put.header(TRANSFER_ENCODING), "", "{put}");
            assert_eq!(put.header(CONTENT_RANGE), "", "{put}");
        }
    }
}

async fn immutable() {
    for (status, code, message) in [
        (409, "", ""),
        (400, "TAG_INVALID", "the tag exists already"),
        (412, "PRECONDITION", "'app:1' configured as immutable."),
        (403, "DENIED", "the tag is immutable"),
    ] {
        let stage = Stage::plain().await;
        let same = Image::new(&["same"]);
        for registry in [&stage.source, &stage.destination] {
            same.clone().push(registry, "app", Some("same")).await;
        }
        Image::new(&["new"])
            .push(&stage.source, "app", Some("other"))
            .await;
        Image::new(&["free"])
            .push(&stage.source, "free", Some("1"))
            .await;
        let old = Image::new(&["old"]);
        let old = old.push(&stage.destination, "app", Some("other")).await;
        let errors = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
        let refused = when("PUT", "/v2/app/manifests/*").respond(status);
        let refused = refused.header("content-type", "application/json");
        let refused = stage.destination.rule(refused.body(errors.to_string()));
        let names = ["app:same", "app:other", "free:1"];
        let ended = stage.mirrored(&names, "").await.with(1);
        ended.saying(&["app:other", "conflict", message]);
        let all = outcomes(&stage.place.json("report.json"));
        assert_eq!(all, ["up-to-date", "failed", "copied"]);
        stage.failed(1, ("conflict", "destination"), &[message]);
        let kinds = &stage.place.json("report.json")["summary"]["kinds"];
        assert_eq!(*kinds, serde_json::json!({ "conflict": 1 }));
        if !code.is_empty() {
            assert_eq!(stage.failure(1)["detail"], "immutable", "{message}");
        }
        // Asked once, and the digest that is there already not at all.
        assert_eq!(refused.hits(), 1, "{}", stage.logs());
        assert_eq!(stage.destination.count("PUT", "*/manifests/same"), 0);
        assert_eq!(stage.destination.tag("app", "other"), Some(old.digest));
        assert_eq!(stage.place.lines("failed.txt").len(), 1);
    }
}

/// What Harbor says at the last PUT (goharbor/harbor #17390).
const NO_ROOM: &str = r#"{"errors":[{"code":"DENIED","message":"adding 29.0 MiB of storage resource, which when updated to current usage of 152.4 MiB will exceed the configured upper limit of 10.0 MiB."}]}"#;

async fn quota() {
    let stage = Stage::plain().await;
    let mut names: Vec<String> = (0..8).map(|n| format!("full/app{n}:1")).collect();
    names.push("roomy/app:1".to_owned());
    for name in &names {
        let (repository, tag) = name.split_once(':').expect("a tag");
        Image::new(&[name])
            .push(&stage.source, repository, Some(tag))
            .await;
    }
    let full = when("PUT", "/v2/full/*/manifests/*").respond(403);
    let full = full
        .header("content-type", "application/json")
        .body(NO_ROOM);
    let full = stage.destination.rule(full);
    let ended = stage.mirrored(&names, "--jobs 1").await.with(1);
    ended.saying(&["quota", "3 images in a row had no room in"]);
    let report = stage.place.json("report.json");
    let all = outcomes(&report);
    assert!(all[..3].iter().all(|word| word == "failed"), "{all:?}");
    assert!(all[3..8].iter().all(|word| word == "not-tried"), "{all:?}");
    assert_eq!(all[8], "copied");
    for n in 0..3 {
        stage.failed(n, ("refused", "destination"), &["quota"]);
        assert_eq!(stage.failure(n)["detail"], "quota");
    }
    assert_eq!(stage.line(5)["failure"]["detail"], "quota");
    // One try each, and for those that follow nothing at all is asked of either side.
    assert_eq!(full.hits(), 3, "{}", stage.logs());
    for n in 3..8 {
        let path = format!("/v2/full/app{n}/*");
        for registry in [&stage.source, &stage.destination] {
            assert_eq!(registry.count("*", &path), 0, "{}", stage.logs());
        }
    }
    for n in 0..8 {
        assert_eq!(stage.destination.tag(&format!("full/app{n}"), "1"), None);
    }
    assert_eq!(stage.place.lines("failed.txt").len(), 8);
    // With room again, the list of what failed brings the rest.
    stage.clear();
    let again = "mirror -f failed.txt -o failed.txt --report report.json";
    let sides = format!("-s {} -d {}", stage.source.host(), stage.destination.host());
    stage.place.run(&format!("{again} {sides}")).await.with(0);
    assert!(!stage.place.has("failed.txt"));
}

/// A registry whose answers are late: what was just written is not there when it is asked for.
async fn late() {
    let tag = ("tag", "*/manifests/sha256-*.sig");
    let referrer = ("referrer", "*/manifests/sha256:*");
    let bundle = ("bundle", "*/manifests/sha256:*");
    // A tag that never shows what was written to it is `attached::who_is_always_overwritten_gives_up`.
    for (format, times) in [(tag, 2), (referrer, 2), (bundle, 2), (referrer, usize::MAX)] {
        signed_late(format, times).await;
    }
}

/// Signs where what was written is not to be seen for so many times.
async fn signed_late((format, writes): (&str, &str), times: usize) {
    let is_seen = times != usize::MAX;
    let registry = TestRegistry::start().await;
    Image::new(&["a"]).push(&registry, "app", Some("1")).await;
    let place = Workplace::new();
    place.write("passphrase", PASSPHRASE);
    let name = format!("{}/app:1", registry.host());
    let flags = format!("--key {} --passphrase-file passphrase", OURS.private());
    let sign = format!("sign {name} {flags} --signature-format {format} --report report.json");
    let written = registry.rule(when("PUT", writes).nth(1).stall());
    let running = place.start(&sign);
    written.hit(1).await;
    for method in ["GET", "HEAD"] {
        // The image itself is there all the time.
        let path = if format == "tag" {
            writes
        } else {
            "*/referrers/*"
        };
        let absent = when(method, path).times(times);
        registry.rule(if format == "tag" {
            absent.respond(404).error("MANIFEST_UNKNOWN")
        } else {
            let none = r#"{"schemaVersion":2,"manifests":[]}"#;
            absent
                .respond(200)
                .header("content-type", OCI_INDEX)
                .body(none)
        });
    }
    registry.rule(when("GET", "*/blobs/*").times(times).respond(404));
    written.release();
    let ended = running.end().await;
    let line = place.json("report.json")["lines"][0].clone();
    if is_seen {
        ended.with(0);
        assert_eq!(
            line["outcome"],
            "signed",
            "{line:#}\n{}",
            registry.log_text()
        );
    } else {
        ended.with(1);
        assert_eq!(line["failure"]["kind"], "conflict", "{line:#}");
    }
    let puts = registry.count("PUT", writes);
    assert_eq!(puts, 1, "{format}, {times}: {}", registry.log_text());
    // What is seen at last is known for what it is.
    registry.clear_rules();
    let before = Contents::of(&registry, "app").await;
    place.run(&sign).await.with(0);
    let line = place.json("report.json")["lines"][0].clone();
    assert_eq!(line["outcome"], "already-signed", "{line:#}");
    assert_eq!(Contents::of(&registry, "app").await, before);
}

//! What goes wrong with what is attached, and what is done before the tag is set.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use consign::event::{
    Failure, Format, Kind, Note, Outcome, Role, Side, SignedManifest, Signing, Stage as At,
};
use consign::oci::{Digest, PlatformSelection};
use consign::pace::Pace;
use consign::transfer::{Error, Finish, IndexMode, Options, Prune, Ready, Watch};
use futures::FutureExt as _;
use libtest_mimic::Trial;
use serde_json::json;

use super::stage::{
    Api, OCI, SIDES, Stage, list, put_tag, refer, refer_with, signatures, tag_of,
    without_signatures,
};
use crate::faults::{descriptor, manifest_path, reference, said};
use crate::harness::trial;
use crate::registry::{Contents, Image, index, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("closure::throttled_lists_set_no_tag", throttled),
        trial("closure::what_is_gone_or_foreign_is_named", gone),
        trial("closure::what_is_nested_too_deep_is_refused", deep),
        trial("closure::lists_that_run_in_circles_end", circles),
        trial("closure::a_missing_blob_sets_no_tag", missing_blob),
        trial("closure::a_manifest_with_8_gib_is_not_held", large),
        trial("closure::large_manifests_are_listed_too", large_manifest),
        trial(
            "closure::dropped_in_the_middle_the_next_run_ends_it",
            dropped,
        ),
        trial("closure::finish_comes_before_the_tag", finish),
        trial("closure::finish_sees_what_is_there", finish_sees),
        trial("closure::finish_sees_all_of_what_is_joined", finish_merges),
        trial("closure::a_failed_finish_sets_no_tag", finish_fails),
        trial("closure::our_own_signatures_are_not_foreign", finish_counts),
    ]
}

async fn throttled() {
    for (sides, method, path, side) in [
        (SIDES[0], "GET", "*/tags/list", Side::Source),
        (SIDES[0], "GET", "*/referrers/*", Side::Source),
        (SIDES[0], "GET", "*/referrers/*", Side::Destination),
        (SIDES[3], "GET", "/v2/app/manifests/sha256-*", Side::Source),
        (
            SIDES[3],
            "GET",
            "/v2/app/manifests/sha256-*",
            Side::Destination,
        ),
        (SIDES[0], "HEAD", "*.sig", Side::Source),
        (SIDES[0], "HEAD", "*.att", Side::Destination),
    ] {
        for status in [429, 500, 503] {
            let mut stage = Stage::between(sides).await;
            stage.whole().await;
            let registry = match side {
                Side::Source => &stage.road.source,
                Side::Destination => &stage.road.destination,
            };
            registry.rule(when(method, path).respond(status));
            let failure = stage.road.failed("app:1").await;
            let kind = if status == 429 {
                Kind::RateLimited
            } else {
                Kind::Network
            };
            assert_eq!(failure.kind, kind, "{path} {status}: {}", said(&failure));
            assert_eq!(failure.side, Some(side));
            assert_eq!(stage.road.destination.tag("app", "1"), None);
            // Once it is well again, the same run could go on.
            stage.road.source.clear_rules();
            stage.road.destination.clear_rules();
            stage.road.copied("app:1").await;
            stage.is_same().await;
            stage.road.next_run();
            stage.wrote_nothing(&stage.copy(&Options::default()).await);
        }
    }
    // A registry that does not list its tags is asked for each.
    let mut stage = Stage::between(SIDES[3]).await;
    stage.whole().await;
    stage
        .road
        .source
        .rule(when("GET", "*/tags/list").respond(404));
    stage.copy(&Options::default()).await;
    stage.is_same().await;
    stage.road.next_run();
    stage.wrote_nothing(&stage.copy(&Options::default()).await);
}

/// A list names what is not there, and what speaks of something else: both are named, and not brought.
async fn gone() {
    for to in [Api::Has, Api::Lacks] {
        let mut stage = Stage::between((Api::Lacks, to)).await;
        let whole = stage.whole().await;
        let source = stage.source();
        let absent = Digest::sha256(b"absent");
        let mut entry = descriptor(OCI, b"absent");
        entry["artifactType"] = "application/x".into();
        list(source.0, whole.all.digest, entry).await;
        let foreign = refer(source, &whole.arm, "application/x", "on arm").await;
        list(source.0, whole.all.digest, foreign.descriptor()).await;
        for _ in 0..2 {
            stage.copy(&Options::default()).await;
            let notes = stage.notes();
            for (digest, words) in [(absent, "is not there"), (foreign.digest, "something else")] {
                let names = |note: &&Note| matches!(note, Note::Remark(text) if text.contains(&digest.to_string()) && text.contains(words));
                assert_eq!(notes.iter().filter(names).count(), 1, "{notes:?}");
            }
            assert_eq!(notes.len(), 2);
            stage.road.next_run();
        }
        let listed = Stage::listed(stage.destination(), whole.all.digest).await;
        assert_eq!(listed, [whole.sbom.digest]);
        let listed = Stage::listed(stage.destination(), whole.arm.digest).await;
        assert_eq!(listed, [foreign.digest]);
    }
}

async fn deep() {
    for (levels, is_good) in [(4, true), (5, false)] {
        let stage = Stage::between(SIDES[0]).await;
        let source = stage.source();
        let image = Image::new(&["a"]).push(source.0, "app", Some("1")).await;
        let mut subject = image;
        for level in 0..levels {
            let payload = format!("level {level}");
            subject = refer(source, &subject, "application/x", &payload).await;
        }
        if is_good {
            stage.road.copied("app:1").await;
            stage.is_same().await;
        } else {
            let failure = stage.road.failed("app:1").await;
            assert!(said(&failure).contains("4 levels"), "{}", said(&failure));
            assert_eq!(stage.road.destination.tag("app", "1"), None);
        }
    }
}

/// Two lists that name each other's subjects, on both sides.
async fn circles() {
    let stage = Stage::between((Api::Lacks, Api::Lacks)).await;
    let whole = stage.whole().await;
    for place in [stage.source(), stage.destination()] {
        list(place.0, whole.amd.digest, whole.arm.descriptor()).await;
        list(place.0, whole.arm.digest, whole.amd.descriptor()).await;
        list(place.0, whole.amd.digest, whole.amd.descriptor()).await;
    }
    stage.copy(&Options::default()).await;
    assert_eq!(
        stage.road.destination.tag("app", "1"),
        Some(whole.all.digest)
    );
}

async fn missing_blob() {
    let stage = Stage::between(SIDES[0]).await;
    let whole = stage.whole().await;
    let blob = Digest::sha256(b"note on amd");
    let rule = when("GET", &format!("*/blobs/{blob}")).respond(404);
    stage.road.source.rule(rule.error("BLOB_UNKNOWN"));
    let failure = stage.road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::NotFound);
    assert!(said(&failure).contains(&blob.to_string()));
    let destination = &stage.road.destination;
    assert_eq!(destination.tag("app", "1"), None);
    let there = Contents::of(destination, "app").await;
    assert!(!there.manifests.contains_key(&whole.note.digest));
}

/// A signature whose layer claims to be of 8 GiB: nothing of that size is made room for, and the bytes
/// that come instead are not taken.
async fn large() {
    let stage = Stage::between(SIDES[0]).await;
    let source = &stage.road.source;
    let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
    put_tag(source, image.digest, "sig", &[("one", "s1")]).await;
    let size = json!(8_u64 << 30).to_string();
    let tag = tag_of(image.digest, "sig");
    let manifest = super::stage::tagged(source, image.digest, "sig")
        .await
        .unwrap();
    let text = manifest
        .to_string()
        .replace("\"size\":3", &format!("\"size\":{size}"));
    crate::faults::put_manifest(source, Some(&tag), OCI, text).await;
    let failure = stage.road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Integrity, "{}", said(&failure));
    assert_eq!(stage.road.destination.tag("app", "1"), None);
}

async fn large_manifest() {
    for sides in SIDES {
        let mut stage = Stage::between(sides).await;
        let source = stage.source();
        let image = Image::new(&["a"]).push(source.0, "app", Some("1")).await;
        let fields = json!({ "annotations": { "long": "x".repeat(100_000) } });
        let types = ("application/x", "application/x");
        let large = refer_with(source, &image, types, "large", fields).await;
        let small = refer(source, &image, "application/x", "small").await;
        stage.copy(&Options::default()).await;
        let mut listed = Stage::listed(stage.destination(), image.digest).await;
        listed.sort();
        let mut both = [large, small.digest];
        both.sort();
        assert_eq!(listed, both, "{sides:?}");
        stage.road.next_run();
        stage.wrote_nothing(&stage.copy(&Options::default()).await);
    }
}

async fn dropped() {
    for sides in SIDES {
        for path in ["*.sig", "*/blobs/uploads/*", "*/manifests/sha256:*"] {
            let mut stage = Stage::between(sides).await;
            stage.whole().await;
            let stalled = stage
                .road
                .destination
                .rule(when("PUT", path).from(3).stall());
            tokio::select! {
                _ = stage.road.copy("app:1") => panic!("it stalls"),
                () = stalled.hit(1) => {}
            }
            assert_eq!(stage.road.destination.tag("app", "1"), None);
            stage.road.destination.clear_rules();
            // The same engine goes on, as another job of the run would.
            stage.road.copied("app:1").await;
            stage.is_same().await;
            stage.road.next_run();
            stage.wrote_nothing(&stage.copy(&Options::default()).await);
        }
    }
}

impl Stage {
    async fn finishing(&self, options: &Options, finish: Finish<'_>) -> Result<Outcome, Error> {
        let source = reference(&self.road.source, "app:1");
        let destination = reference(&self.road.destination, "app:1");
        let pace = Pace::default();
        let note = |note| self.road.notes.lock().unwrap().push(note);
        let watch = Watch {
            pace: &pace,
            note: &note,
        };
        let images = (&source, &destination);
        Box::pin(
            self.road
                .engine
                .transfer_and(images, options, watch, Some(finish)),
        )
        .await
    }
}

fn signing(ready: &Ready, added: bool) -> Signing {
    Signing {
        image: ready.image.clone(),
        author: consign::event::Author::Key("key".to_owned()),
        signatures: vec![SignedManifest {
            digest: ready.image.digest,
            role: Role::Index,
            format: Format::Tag,
            identity: "identity".to_owned(),
            added,
        }],
    }
}

async fn finish() {
    for sides in SIDES {
        for is_bare in [false, true] {
            let mut stage = Stage::between(sides).await;
            if is_bare {
                let source = &stage.road.source;
                Image::new(&["a"]).push(source, "app", Some("1")).await;
            } else {
                stage.whole().await;
            }
            for added in [true, false] {
                let digest = stage.road.source.tag("app", "1").unwrap();
                let calls = AtomicUsize::new(0);
                let run = |ready: Ready| {
                    calls.fetch_add(1, Ordering::SeqCst);
                    let destination = &stage.road.destination;
                    async move {
                        assert_eq!(ready.image.digest, digest);
                        assert_eq!(ready.root.digest(), digest);
                        assert_eq!(ready.only, None);
                        // The first time the tag is not set yet.
                        assert_eq!(destination.tag("app", "1").is_some(), !added);
                        let there = Contents::of(destination, "app").await;
                        assert!(there.manifests.contains_key(&digest));
                        Ok(signing(&ready, added))
                    }
                    .boxed()
                };
                let outcome = stage.finishing(&Options::default(), &run).await.unwrap();
                assert_eq!(calls.load(Ordering::SeqCst), 1);
                assert!(outcome.copied().unwrap().signing.is_some());
                assert_eq!(matches!(outcome, Outcome::Copied(_)), added, "{outcome:?}");
                stage.road.next_run();
            }
            // A signing that adds something makes it a copy, though the image was there.
            let run = |ready: Ready| async move { Ok(signing(&ready, true)) }.boxed();
            let outcome = stage.finishing(&Options::default(), &run).await.unwrap();
            assert!(matches!(outcome, Outcome::Copied(_)));
            assert_eq!(stage.road.destination.writes().len(), 0);
        }
    }
}

/// Of an index that was made anew: the new one, with all of it there.
async fn finish_sees() {
    let stage = Stage::between(SIDES[0]).await;
    let whole = stage.whole().await;
    let options = Options {
        selection: PlatformSelection::of_platforms(&["linux/amd64".parse().unwrap()]),
        ..Options::default()
    };
    for _ in 0..2 {
        let seen = Mutex::new(None);
        let run = |ready: Ready| {
            *seen.lock().unwrap() = Some(ready.clone());
            async move { Ok(signing(&ready, false)) }.boxed()
        };
        let outcome = stage.finishing(&options, &run).await.unwrap();
        let ready = seen.lock().unwrap().take().unwrap();
        assert_eq!(ready.image, outcome.copied().unwrap().image);
        assert_ne!(ready.image.digest, whole.all.digest);
        let entries = &ready.root.as_index().unwrap().manifests;
        let digests: Vec<Digest> = entries.iter().map(|entry| entry.digest).collect();
        assert_eq!(digests, [whole.amd.digest, whole.attested.digest]);
        assert_eq!(ready.only, Some(digests));
    }
}

/// Of an index that was joined with what was there: all of it, for the tag is set over all of it.
async fn finish_merges() {
    let stage = Stage::between(SIDES[0]).await;
    let whole = stage.whole().await;
    let destination = &stage.road.destination;
    let own = Image::new(&["own"])
        .on("linux/s390x")
        .push(destination, "app", None)
        .await;
    index(destination, "app", Some("1"), &[&own]).await;
    let options = Options {
        selection: PlatformSelection::of_platforms(&["linux/amd64".parse().unwrap()]),
        index: IndexMode::Merge,
        ..Options::default()
    };
    let seen = Mutex::new(None);
    let run = |ready: Ready| {
        *seen.lock().unwrap() = Some(ready.clone());
        async move { Ok(signing(&ready, true)) }.boxed()
    };
    stage.finishing(&options, &run).await.unwrap();
    let ready = seen.lock().unwrap().take().unwrap();
    let entries = &ready.root.as_index().unwrap().manifests;
    let has = |digest| entries.iter().any(|entry| entry.digest == digest);
    assert!(has(own.digest) && has(whole.amd.digest));
    let is_signed = |digest| {
        ready
            .only
            .as_ref()
            .is_none_or(|only| only.contains(&digest))
    };
    assert!(is_signed(own.digest) && is_signed(whole.amd.digest));
}

async fn finish_fails() {
    let stage = Stage::between(SIDES[0]).await;
    stage.whole().await;
    let refusal = Failure::because(At::Sign, Some(Side::Destination), Kind::Unauthorized, "no");
    let run = |_: Ready| {
        let refusal = refusal.clone();
        async move { Err(refusal) }.boxed()
    };
    let error = stage
        .finishing(&Options::default(), &run)
        .await
        .unwrap_err();
    assert_eq!(error.failure(), refusal);
    assert_eq!(stage.road.destination.tag("app", "1"), None);
    assert_eq!(stage.road.destination.count("PUT", &manifest_path("1")), 0);
}

/// A second run that strips and signs does not take what it made for somebody else's; and what is
/// pruned goes after the image was signed.
async fn finish_counts() {
    let mut stage = Stage::between(SIDES[0]).await;
    let image = Image::new(&["a"])
        .push(&stage.road.source, "app", Some("1"))
        .await;
    let destination = &stage.road.destination;
    put_tag(
        destination,
        image.digest,
        "sig",
        &[("own", "own"), ("a", "b")],
    )
    .await;
    let run = |ready: Ready| async move { Ok(signing(&ready, false)) }.boxed();
    let options = without_signatures(Prune::No);
    stage.finishing(&options, &run).await.unwrap();
    assert_eq!(stage.notes(), [Note::SignaturesPresent { count: 1 }]);
    stage.road.next_run();
    let run = |ready: Ready| {
        let destination = &stage.road.destination;
        async move {
            assert_eq!(signatures(destination, ready.image.digest).await.len(), 2);
            Ok(signing(&ready, false))
        }
        .boxed()
    };
    let options = without_signatures(Prune::Yes { keep: None });
    stage.finishing(&options, &run).await.unwrap();
    assert!(
        signatures(&stage.road.destination, image.digest)
            .await
            .is_empty()
    );
}

//! The closure arrives, and nothing of the destination's is lost.

use consign::event::{Changed, Kind, Note, Outcome};
use consign::oci::PlatformSelection;
use consign::transfer::{Closure, IndexMode, OnExisting, Options};
use libtest_mimic::Trial;
use serde_json::json;

use super::stage::{
    Api, OCI_INDEX, SIDES, Stage, entry_of, fallback, put_tag, refer, signatures, tag_of, tagged,
    with,
};
use crate::faults::{manifest_path, put_manifest, reference};
use crate::harness::trial;
use crate::registry::{Contents, Image, artifact, index};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("closure::everything_arrives_byte_for_byte", everything),
        trial("closure::children_first_attached_next_tag_last", order),
        trial("closure::lists_are_joined", lists_are_joined),
        trial("closure::a_later_signature_is_brought", later),
        trial("closure::own_signatures_survive", own_survives),
        trial("closure::the_larger_signature_manifest_wins", supersets),
        trial("closure::media_types_of_others_are_joined", media_types),
        trial(
            "closure::an_sbom_is_treated_as_its_image_and_signatures_stay",
            on_existing,
        ),
        trial("closure::a_kept_tag_brings_nothing", kept),
        trial("closure::a_rewritten_index_drops_its_own", rewritten),
        trial("closure::a_merged_index_drops_its_own", merged),
        trial("closure::what_is_not_listed_is_listed", unlisted),
        trial("closure::tags_of_tags_travel", tags_of_tags),
        trial("closure::indexes_refer_and_are_referred_to", indexes),
        trial("closure::a_pinned_tag_copies_the_digest", pinned),
        trial("closure::within_a_repository_nothing_is_asked", within),
    ]
}

async fn everything() {
    for sides in SIDES {
        let mut stage = Stage::between(sides).await;
        let whole = stage.whole().await;
        let outcome = stage.copy(&Options::default()).await;
        stage.wrote(&outcome);
        stage.is_same().await;
        assert_eq!(stage.notes(), []);
        let tally = outcome.copied().unwrap().tally;
        // 4 of the image, 5 tags, 3 referrers.
        assert_eq!(tally.manifests_pushed, 12, "{sides:?}");
        for (subject, referrer) in [
            (&whole.all, &whole.sbom),
            (&whole.sbom, &whole.seal),
            (&whole.amd, &whole.note),
        ] {
            let listed = Stage::listed(stage.destination(), subject.digest).await;
            assert_eq!(listed, [referrer.digest], "{sides:?}");
        }
        if sides == (Api::Lacks, Api::Lacks) {
            // Entries travel as they were, lies and all.
            let entries = fallback(&stage.road.destination, whole.all.digest).await;
            assert_eq!(entries, [entry_of(&whole.sbom)]);
        }
        let before = Contents::of(&stage.road.destination, "app").await;
        stage.road.next_run();
        let again = stage.copy(&Options::default()).await;
        stage.wrote_nothing(&again);
        assert_eq!(Contents::of(&stage.road.destination, "app").await, before);
        assert_eq!(stage.notes(), []);
    }
}

async fn order() {
    for sides in SIDES {
        let stage = Stage::between(sides).await;
        let whole = stage.whole().await;
        stage.copy(&Options::default()).await;
        let destination = &stage.road.destination;
        let put = |name: String| {
            let put = destination.requests("PUT", &manifest_path(&name));
            assert_eq!(put.len(), 1, "{name}\n{}", destination.log_text());
            (put[0].number, put[0].answered.unwrap())
        };
        let root = put(whole.all.digest.to_string());
        for child in [&whole.amd, &whole.arm, &whole.attested] {
            assert!(put(child.digest.to_string()).1 < root.0, "{sides:?}");
        }
        let tag = put("1".to_owned());
        let attached = [
            tag_of(whole.all.digest, "sig"),
            tag_of(whole.amd.digest, "sig"),
            tag_of(whole.attested.digest, "sig"),
            tag_of(whole.all.digest, "att"),
            tag_of(whole.arm.digest, "sbom"),
            whole.sbom.digest.to_string(),
            whole.seal.digest.to_string(),
            whole.note.digest.to_string(),
        ];
        for name in attached {
            let (begun, ended) = put(name);
            assert!(root.1 < begun && ended < tag.0, "{sides:?}");
        }
        for write in destination.writes() {
            assert!(write.number == tag.0 || write.answered.unwrap() < tag.0);
        }
    }
}

/// What the destination has attached stays, and one update lists all that is new.
async fn lists_are_joined() {
    for from in [Api::Has, Api::Lacks] {
        let stage = Stage::between((from, Api::Lacks)).await;
        let whole = stage.whole().await;
        let second = refer(stage.source(), &whole.all, "application/x", "second").await;
        let own = refer(stage.destination(), &whole.all, "application/x.own", "own").await;
        stage.copy(&Options::default()).await;
        let listed = Stage::listed(stage.destination(), whole.all.digest).await;
        assert_eq!(listed.len(), 3);
        assert_eq!(listed[0], own.digest);
        assert!(listed.contains(&whole.sbom.digest) && listed.contains(&second.digest));
        let list = manifest_path(tag_of(whole.all.digest, ""));
        assert_eq!(stage.road.destination.count("PUT", &list), 1);
    }
}

async fn later() {
    for sides in SIDES {
        let mut stage = Stage::between(sides).await;
        let image = Image::new(&["a"])
            .push(&stage.road.source, "app", Some("1"))
            .await;
        stage.wrote(&stage.copy(&Options::default()).await);
        // Nothing was attached: the image was written once, under its tag.
        assert_eq!(
            stage.road.destination.count("PUT", &manifest_path("*")),
            1,
            "{}",
            stage.road.logs()
        );
        put_tag(&stage.road.source, image.digest, "sig", &[("late", "s")]).await;
        let sbom = refer(stage.source(), &image, "application/x.sbom", "late").await;
        stage.road.next_run();
        let outcome = stage.copy(&Options::default()).await;
        stage.wrote(&outcome);
        assert_eq!(outcome.copied().unwrap().tally.manifests_pushed, 2);
        assert_eq!(stage.road.destination.count("PUT", &manifest_path("1")), 0);
        assert_eq!(
            signatures(&stage.road.destination, image.digest).await,
            ["s"]
        );
        assert_eq!(
            Stage::listed(stage.destination(), image.digest).await,
            [sbom.digest]
        );
        stage.road.next_run();
        stage.wrote_nothing(&stage.copy(&Options::default()).await);
    }
}

async fn own_survives() {
    let mut stage = Stage::between(SIDES[0]).await;
    let whole = stage.whole().await;
    let (source, destination) = (&stage.road.source, &stage.road.destination);
    for (kind, subject) in [("sig", &whole.all), ("att", &whole.all)] {
        put_tag(
            destination,
            subject.digest,
            kind,
            &[("site", "own"), ("one", "s1")],
        )
        .await;
    }
    let before = tagged(destination, whole.all.digest, "sig").await.unwrap();
    stage.wrote(&stage.copy(&Options::default()).await);
    assert_eq!(
        signatures(destination, whole.all.digest).await,
        ["own", "s1", "s2"]
    );
    let after = tagged(destination, whole.all.digest, "sig").await.unwrap();
    let theirs = tagged(source, whole.all.digest, "sig").await.unwrap();
    assert_eq!(after["layers"][0], before["layers"][0]);
    assert_eq!(after["layers"][2], theirs["layers"][1]);
    assert_eq!(after["odd"], before["odd"]);
    let contents = Contents::of(destination, "app").await;
    let config = after["config"]["digest"].as_str().unwrap().parse().unwrap();
    let config: serde_json::Value = serde_json::from_slice(&contents.blobs[&config]).unwrap();
    let layers = after["layers"].as_array().unwrap();
    let digests: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    assert_eq!(config["rootfs"]["diff_ids"], json!(digests));
    let statements = tagged(destination, whole.all.digest, "att").await.unwrap();
    assert_eq!(statements["layers"].as_array().unwrap().len(), 3);
    stage.road.next_run();
    stage.wrote_nothing(&stage.copy(&Options::default()).await);
}

/// cosign can be told to write Docker's media types; the layers are the same.
async fn media_types() {
    let mut stage = Stage::between(SIDES[0]).await;
    let (source, destination) = (&stage.road.source, &stage.road.destination);
    let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
    put_tag(source, image.digest, "sig", &[("theirs", "s1")]).await;
    put_tag(destination, image.digest, "sig", &[("site", "own")]).await;
    let mut docker = tagged(destination, image.digest, "sig").await.unwrap();
    docker["mediaType"] = json!(DOCKER);
    let tag = tag_of(image.digest, "sig");
    put_manifest(destination, Some(&tag), DOCKER, docker.to_string()).await;
    stage.wrote(&stage.copy(&Options::default()).await);
    assert_eq!(signatures(destination, image.digest).await, ["own", "s1"]);
    stage.road.next_run();
    stage.wrote_nothing(&stage.copy(&Options::default()).await);
}

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// One that has all that the other has takes its place with its own bytes, or stays.
async fn supersets() {
    for (here, there, winner) in [
        (&["a", "b"][..], &["a"][..], "source"),
        (&["b", "a"], &["a", "b"], "destination"),
        (&["a"], &["b", "a"], "destination"),
    ] {
        let stage = Stage::between(SIDES[0]).await;
        let source = &stage.road.source;
        let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
        let layers = |of: &[&'static str]| of.iter().map(|s| ("same", *s)).collect::<Vec<_>>();
        let here = put_tag(source, image.digest, "sig", &layers(here)).await;
        let destination = &stage.road.destination;
        let there = put_tag(destination, image.digest, "sig", &layers(there)).await;
        stage.copy(&Options::default()).await;
        let expected = if winner == "source" { here } else { there };
        let tag = tag_of(image.digest, "sig");
        assert_eq!(destination.tag("app", &tag), Some(expected), "{winner}");
    }
}

async fn on_existing() {
    for rule in [OnExisting::Replace, OnExisting::Keep, OnExisting::Fail] {
        // An SBOM, and an index under a tag for signatures, which nothing can be joined with.
        for kind in ["sbom", "sig"] {
            let stage = Stage::between(SIDES[0]).await;
            let (source, destination) = (&stage.road.source, &stage.road.destination);
            let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
            let tag = tag_of(image.digest, kind);
            let (theirs, own) = if kind == "sbom" {
                (
                    put_tag(source, image.digest, kind, &[("theirs", "")]).await,
                    put_tag(destination, image.digest, kind, &[("own", "")]).await,
                )
            } else {
                let child = Image::new(&["child"]).push(source, "app", None).await;
                let odd = index(source, "app", Some(&tag), &[&child]).await.digest;
                (
                    odd,
                    put_tag(destination, image.digest, kind, &[("own", "s")]).await,
                )
            };
            let options = Options {
                on_existing: rule,
                ..Options::default()
            };
            let result = stage.road.copy_with("app:1", "app:1", &options).await;
            // Signatures are never overwritten.
            let is_replaced = rule == OnExisting::Replace && kind == "sbom";
            let expected = if is_replaced { theirs } else { own };
            assert_eq!(
                destination.tag("app", &tag),
                Some(expected),
                "{rule:?} {kind}"
            );
            let fails = match kind {
                "sbom" => (rule == OnExisting::Fail).then_some(Kind::Conflict),
                _ => (rule != OnExisting::Keep).then_some(Kind::Unsupported),
            };
            if let Some(kind) = fails {
                let failure = stage.road.is_failed(result);
                assert_eq!(failure.kind, kind, "{failure:?}");
                assert_eq!(destination.tag("app", "1"), None);
            } else {
                stage.road.is_copied(result);
                assert_eq!(destination.tag("app", "1"), Some(image.digest));
            }
        }
    }
}

async fn kept() {
    let stage = Stage::between(SIDES[0]).await;
    stage.whole().await;
    let other = Image::new(&["other"])
        .push(&stage.road.destination, "app", Some("1"))
        .await;
    let options = Options {
        on_existing: OnExisting::Keep,
        ..Options::default()
    };
    let outcome = stage.copy(&options).await;
    assert!(matches!(outcome, Outcome::Kept(_)));
    assert_eq!(stage.road.destination.writes().len(), 0);
    assert_eq!(stage.road.destination.tag("app", "1"), Some(other.digest));
    assert_eq!(stage.road.source.count("GET", "*"), 0);
}

fn only_amd(index: IndexMode) -> Options {
    Options {
        selection: PlatformSelection::of_platforms(&["linux/amd64".parse().unwrap()]),
        index,
        ..Options::default()
    }
}

/// The signatures of an index that is made anew would hang in the air; those of its children travel.
async fn rewritten() {
    for sides in SIDES {
        let mut stage = Stage::between(sides).await;
        let whole = stage.whole().await;
        for run in 0..2 {
            let outcome = stage.copy(&only_amd(IndexMode::Rewrite)).await;
            if run == 0 {
                stage.wrote(&outcome);
            } else {
                stage.wrote_nothing(&outcome);
            }
            assert_eq!(outcome.copied().unwrap().changed, Some(Changed::Selected));
            let notes = stage.notes();
            assert_eq!(notes[0], Note::SignaturesDropped { count: 2 }, "{notes:?}");
            assert!(matches!(&notes[1], Note::Remark(text) if text.ends_with(": 2")));
            assert_eq!(notes.len(), 2);
            stage.road.next_run();
        }
        let contents = Contents::of(&stage.road.destination, "app").await;
        for gone in [&whole.sbom, &whole.seal, &whole.arm, &whole.all] {
            assert!(!contents.manifests.contains_key(&gone.digest));
        }
        for (subject, kind, is_there) in [
            (&whole.all, "sig", false),
            (&whole.all, "att", false),
            (&whole.arm, "sbom", false),
            (&whole.amd, "sig", true),
            (&whole.attested, "sig", true),
        ] {
            let tag = tag_of(subject.digest, kind);
            assert_eq!(contents.tags.contains_key(&tag), is_there, "{kind}");
        }
        assert_eq!(
            Stage::listed(stage.destination(), whole.amd.digest).await,
            [whole.note.digest]
        );
    }
}

async fn merged() {
    let stage = Stage::between(SIDES[0]).await;
    let whole = stage.whole().await;
    let destination = &stage.road.destination;
    let own = Image::new(&["own"])
        .on("linux/s390x")
        .push(destination, "app", None)
        .await;
    index(destination, "app", Some("1"), &[&own]).await;
    let outcome = stage.copy(&only_amd(IndexMode::Merge)).await;
    assert_eq!(outcome.copied().unwrap().changed, Some(Changed::Merged));
    let notes = stage.notes();
    assert_eq!(notes[0], Note::SignaturesDropped { count: 2 }, "{notes:?}");
    assert_eq!(signatures(destination, whole.amd.digest).await, ["s3"]);
    // A sparse index keeps its digest and its signatures; those of absent children stay behind.
    let sparse = Stage::between(SIDES[0]).await;
    let whole = sparse.whole().await;
    let result = sparse
        .road
        .copy_with("app:1", "app:1", &only_amd(IndexMode::Sparse))
        .await;
    sparse.road.is_failed(result);
    let destination = &sparse.road.destination;
    assert_eq!(signatures(destination, whole.all.digest).await.len(), 0);
    assert_eq!(destination.tag("app", "1"), None);
}

/// A referrer whose bytes are there, and that no list names.
async fn unlisted() {
    let stage = Stage::between((Api::Lacks, Api::Lacks)).await;
    let whole = stage.whole().await;
    let kind = "application/spdx+json";
    artifact(
        &stage.road.destination,
        "app",
        kind,
        Some(&whole.all),
        "sbom of all",
    )
    .await;
    stage.copy(&Options::default()).await;
    let listed = Stage::listed(stage.destination(), whole.all.digest).await;
    assert_eq!(listed, [whole.sbom.digest]);
}

/// `cosign sign --attachment sbom` signs the manifest under a tag.
async fn tags_of_tags() {
    let stage = Stage::between((Api::Lacks, Api::Lacks)).await;
    let source = &stage.road.source;
    let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
    let bill = put_tag(source, image.digest, "sbom", &[("bill", "")]).await;
    put_tag(source, bill, "sig", &[("signed bill", "s")]).await;
    stage.copy(&Options::default()).await;
    assert_eq!(signatures(&stage.road.destination, bill).await, ["s"]);
    stage.is_same().await;
}

/// A referrer may be an index; what refers to its children travels too.
async fn indexes() {
    let mut stage = Stage::between((Api::Has, Api::Has)).await;
    let source = &stage.road.source;
    let image = Image::new(&["a"]).push(source, "app", Some("1")).await;
    let part = Image::new(&["part"]).push(source, "app", None).await;
    let document = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "artifactType": "application/x.parts",
        "manifests": [part.descriptor()],
        "subject": image.descriptor(),
    });
    put_manifest(source, None, OCI_INDEX, document.to_string()).await;
    refer(stage.source(), &part, "application/x.note", "note on part").await;
    stage.copy(&Options::default()).await;
    let contents = Contents::of(&stage.road.destination, "app").await;
    assert_eq!(contents, Contents::of(source, "app").await);
    stage.road.next_run();
    stage.wrote_nothing(&stage.copy(&Options::default()).await);
}

/// What was validated is what is copied, wherever its tag has gone since.
async fn pinned() {
    let stage = Stage::between(SIDES[0]).await;
    let (source, destination) = (&stage.road.source, &stage.road.destination);
    let old = Image::new(&["old"]).push(source, "app", Some("1")).await;
    put_tag(source, old.digest, "sig", &[("old", "s")]).await;
    let new = Image::new(&["new"]).push(source, "app", Some("1")).await;
    assert_ne!(old.digest, new.digest);
    let from = reference(source, &format!("app:1@{}", old.digest));
    let to = reference(destination, "app:1");
    let result = stage.road.transfer(&from, &to, &with(Closure::All)).await;
    stage.road.is_copied(result);
    assert_eq!(destination.tag("app", "1"), Some(old.digest));
    assert_eq!(signatures(destination, old.digest).await, ["s"]);
    assert_eq!(source.count("*", &manifest_path("1")), 0);
}

async fn within() {
    let stage = Stage::between(SIDES[0]).await;
    stage.whole().await;
    let source = &stage.road.source;
    let (from, to) = (reference(source, "app:1"), reference(source, "app:2"));
    let result = stage.road.transfer(&from, &to, &Options::default()).await;
    stage.road.is_copied(result);
    assert_eq!(source.count("*", "*/tags/list"), 0);
    assert_eq!(source.count("*", "*/referrers/*"), 0);
    assert_eq!(source.writes().len(), 1);
}

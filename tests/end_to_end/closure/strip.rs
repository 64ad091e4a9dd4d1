//! Signatures that are left behind, and those that the destination has.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use consign::event::Note;
use consign::oci::Digest;
use consign::sigstore::{Bundle, Payload, PrivateKey, StatementSubject};
use consign::transfer::{Closure, Options, Prune};
use libtest_mimic::Trial;
use serde_json::json;

use super::stage::{
    Api, BUNDLE, EMPTY, REFERRER_SIGNATURE, SIDES, SIMPLE_SIGNING, Stage, put_tag, refer,
    refer_with, signatures, tag_of, with, without_signatures,
};
use crate::faults::manifest_path;
use crate::harness::trial;
use crate::registry::{Contents, Image, Pushed, TestRegistry, index, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "closure::signatures_stay_behind_and_all_else_travels",
            strip,
        ),
        trial("closure::a_bundle_is_known_by_what_is_in_it", bundles),
        trial("closure::present_signatures_are_counted", present),
        trial("closure::prune_removes_signatures_alone", prune),
        trial("closure::prune_keeps_what_the_key_made", prune_keeps),
        trial("closure::prune_removes_nothing_that_arrives_broken", broken),
        trial(
            "closure::what_cannot_be_deleted_fails_the_line",
            undeletable,
        ),
        trial("closure::no_referrers_copies_the_image_alone", image_alone),
        trial(
            "closure::a_rewritten_index_leaves_its_signatures",
            rewritten,
        ),
    ]
}

const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const SLSA: &str = "https://slsa.dev/provenance/v1";

/// One of each kind that is a signature; gives their digests.
async fn all_kinds(place: (&TestRegistry, Api), subject: &Pushed) -> Vec<Digest> {
    let mut kinds = Vec::new();
    let oci = json!({});
    kinds.push(
        refer_with(
            place,
            subject,
            (REFERRER_SIGNATURE, SIMPLE_SIGNING),
            "oci 1.1",
            oci,
        )
        .await,
    );
    for fields in [
        json!({"artifactType": BUNDLE, "annotations": {"dev.sigstore.bundle.predicateType": COSIGN_SIGN}}),
        json!({"artifactType": BUNDLE, "annotations": {"dev.sigstore.bundle.content": "message-signature"}}),
    ] {
        let types = (EMPTY, BUNDLE);
        kinds.push(refer_with(place, subject, types, "annotated", fields).await);
    }
    let notation = "application/vnd.cncf.notary.signature";
    kinds.push(
        refer_with(
            place,
            subject,
            (notation, "application/jose+json"),
            "old",
            json!({}),
        )
        .await,
    );
    let fields = json!({ "artifactType": notation });
    kinds.push(
        refer_with(
            place,
            subject,
            (EMPTY, "application/jose+json"),
            "new",
            fields,
        )
        .await,
    );
    kinds
}

/// An attestation in a bundle.
async fn provenance(place: (&TestRegistry, Api), subject: &Pushed) -> Digest {
    let fields = json!({
        "artifactType": BUNDLE,
        "annotations": { "dev.sigstore.bundle.predicateType": SLSA },
    });
    refer_with(place, subject, (EMPTY, BUNDLE), "provenance", fields).await
}

fn left(count: u64) -> Note {
    Note::SignaturesLeft { count }
}

async fn strip() {
    for sides in SIDES {
        let mut stage = Stage::between(sides).await;
        let whole = stage.whole().await;
        let source = stage.source();
        let kinds = all_kinds(source, &whole.amd).await;
        let provenance = provenance(source, &whole.amd).await;
        // What hangs on a signature stays with it.
        let hanging = {
            let contents = Contents::of(source.0, "app").await;
            let (media_type, bytes) = contents.manifests[&kinds[0]].clone();
            let subject = Pushed::of(media_type, bytes);
            refer(source, &subject, "application/x.note", "on a signature").await
        };
        let options = without_signatures(Prune::No);
        for run in 0..2 {
            let outcome = stage.copy(&options).await;
            if run == 0 {
                stage.wrote(&outcome);
            } else {
                stage.wrote_nothing(&outcome);
            }
            // 4 layers under tags, 5 referrers.
            assert_eq!(stage.notes(), [left(9)], "{sides:?} {run}");
            stage.road.next_run();
        }
        let contents = Contents::of(&stage.road.destination, "app").await;
        assert!(contents.tags.keys().all(|tag| !tag.contains(".sig")));
        for gone in kinds.iter().chain([&hanging.digest]) {
            assert!(!contents.manifests.contains_key(gone), "{sides:?}");
        }
        assert!(contents.tags.contains_key(&tag_of(whole.all.digest, "att")));
        assert!(
            contents
                .tags
                .contains_key(&tag_of(whole.arm.digest, "sbom"))
        );
        let listed = Stage::listed(stage.destination(), whole.amd.digest).await;
        assert_eq!(listed.len(), 2);
        assert!(listed.contains(&whole.note.digest) && listed.contains(&provenance));
        for (subject, referrer) in [(&whole.all, &whole.sbom), (&whole.sbom, &whole.seal)] {
            let listed = Stage::listed(stage.destination(), subject.digest).await;
            assert_eq!(listed, [referrer.digest]);
        }
        // The next run without the wish brings them.
        stage.copy(&Options::default()).await;
        stage.is_same().await;
    }
}

fn envelope(predicate: &str) -> String {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [],
        "predicateType": predicate,
        "predicate": {},
    });
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "x" } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(statement.to_string()),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": "AA==" }],
        },
    })
    .to_string()
}

/// A bundle whose manifest says nothing is read, and one that nobody can read is treated as what it may
/// be: it does not travel, and it is not deleted.
async fn bundles() {
    let stage = Stage::between(SIDES[0]).await;
    let source = stage.source();
    let image = Image::new(&["a"]).push(source.0, "app", Some("1")).await;
    let fields = || json!({ "artifactType": BUNDLE });
    let types = (EMPTY, BUNDLE);
    let signed = refer_with(source, &image, types, envelope(COSIGN_SIGN), fields()).await;
    let other = refer_with(source, &image, types, envelope(SLSA), fields()).await;
    let message = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "x" } },
        "messageSignature": {
            "messageDigest": { "algorithm": "SHA2_256", "digest": "AA==" },
            "signature": "AA==",
        },
    });
    let over_digest = refer_with(source, &image, types, message.to_string(), fields()).await;
    let garbage = refer_with(source, &image, types, "no bundle", fields()).await;
    let there = stage.destination();
    refer_with(there, &image, types, "no bundle", fields()).await;
    stage
        .copy(&without_signatures(Prune::Yes { keep: None }))
        .await;
    let notes = stage.notes();
    assert!(notes.contains(&left(2)), "{notes:?}");
    let is_named =
        |note: &Note| matches!(note, Note::Remark(text) if text.contains(&garbage.to_string()));
    assert!(notes.iter().any(is_named), "{notes:?}");
    let listed = Stage::listed(stage.destination(), image.digest).await;
    assert!(listed.contains(&other) && listed.contains(&garbage));
    assert!(!listed.contains(&signed) && !listed.contains(&over_digest));

    // A bundle that could not be asked for is no answer.
    let mut stage = Stage::between(SIDES[0]).await;
    let source = stage.source();
    let image = Image::new(&["a"]).push(source.0, "app", Some("1")).await;
    refer_with(source, &image, types, envelope(SLSA), fields()).await;
    let blob = Digest::sha256(envelope(SLSA).as_bytes());
    let throttled = when("GET", &format!("*/blobs/{blob}")).respond(429);
    source.0.rule(throttled);
    let options = without_signatures(Prune::No);
    let result = stage.road.copy_with("app:1", "app:1", &options).await;
    let failure = stage.road.is_failed(result);
    assert_eq!(failure.kind, consign::event::Kind::RateLimited);
    assert_eq!(stage.road.destination.tag("app", "1"), None);
    stage.road.source.clear_rules();
    stage.road.next_run();
    stage.wrote(&stage.copy(&options).await);
}

async fn present() {
    for sides in SIDES {
        let mut stage = Stage::between(sides).await;
        let whole = stage.whole().await;
        let there = stage.destination();
        put_tag(there.0, whole.all.digest, "sig", &[("a", "1"), ("b", "2")]).await;
        all_kinds(there, &whole.arm).await;
        provenance(there, &whole.arm).await;
        for _ in 0..2 {
            stage.copy(&without_signatures(Prune::No)).await;
            let expected = [left(4), Note::SignaturesPresent { count: 7 }];
            assert_eq!(stage.notes(), expected, "{sides:?}");
            stage.road.next_run();
        }
        assert_eq!(
            signatures(&stage.road.destination, whole.all.digest).await,
            ["1", "2"]
        );
        // Nobody asks for them otherwise.
        stage.copy(&with(Closure::None)).await;
        assert_eq!(stage.notes(), []);
    }
}

async fn prune() {
    for sides in SIDES {
        let mut stage = Stage::between(sides).await;
        let whole = stage.whole().await;
        // They were mirrored once, with their signatures.
        stage.copy(&Options::default()).await;
        let there = stage.destination();
        let kinds = all_kinds(there, &whole.arm).await;
        let provenance = provenance(there, &whole.arm).await;
        let options = without_signatures(Prune::Yes { keep: None });
        stage.road.next_run();
        stage.notes();
        stage.wrote(&stage.copy(&options).await);
        let notes = stage.notes();
        assert_eq!(notes[0], left(4));
        assert!(
            matches!(&notes[1], Note::Remark(text) if text.ends_with(": 9")),
            "{notes:?}"
        );
        let contents = Contents::of(&stage.road.destination, "app").await;
        assert!(contents.tags.keys().all(|tag| !tag.contains(".sig")));
        for gone in &kinds {
            assert!(!contents.manifests.contains_key(gone), "{sides:?}");
        }
        assert!(contents.tags.contains_key(&tag_of(whole.all.digest, "att")));
        let listed = Stage::listed(stage.destination(), whole.arm.digest).await;
        assert_eq!(listed, [provenance]);
        let listed = Stage::listed(stage.destination(), whole.all.digest).await;
        assert_eq!(listed, [whole.sbom.digest]);
        stage.road.next_run();
        stage.wrote_nothing(&stage.copy(&options).await);
        assert_eq!(stage.notes(), [left(4)]);
    }
}

fn payload_by(key: &PrivateKey, digest: &Digest) -> (String, String) {
    let payload = Payload::write("r.example/app:1", digest, &BTreeMap::new());
    let signature = STANDARD.encode(key.sign(&payload).unwrap());
    (String::from_utf8(payload).unwrap(), signature)
}

fn bundle_by(key: &PrivateKey, digest: Digest) -> Vec<u8> {
    let subject = StatementSubject {
        name: None,
        digest: Some(digest),
        annotations: BTreeMap::new(),
    };
    Bundle::sign(key, &subject).unwrap()
}

async fn prune_keeps() {
    let (own, other) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap(),
    );
    for sides in SIDES {
        let mut stage = Stage::between(sides).await;
        let image = Image::new(&["a"])
            .push(&stage.road.source, "app", Some("1"))
            .await;
        let there = stage.destination();
        let (mine, my) = payload_by(&own, &image.digest);
        let (theirs, their) = payload_by(&other, &image.digest);
        // A genuine one by the key for something else speaks of something else.
        let (moved, moved_by) = payload_by(&own, &Digest::sha256(b"else"));
        let layers = [(&*theirs, &*their), (&*mine, &*my), (&*moved, &*moved_by)];
        put_tag(there.0, image.digest, "sig", &layers).await;
        let types = (REFERRER_SIGNATURE, SIMPLE_SIGNING);
        let by = |signature: &str| json!({ "signature": signature });
        let kept_one = refer_with(there, &image, types, mine.clone(), by(&my)).await;
        refer_with(there, &image, types, theirs.clone(), by(&their)).await;
        let types = (EMPTY, BUNDLE);
        let fields = || json!({ "artifactType": BUNDLE });
        let mine = bundle_by(&own, image.digest);
        let kept_two = refer_with(there, &image, types, mine, fields()).await;
        for foreign in [
            bundle_by(&other, image.digest),
            bundle_by(&own, Digest::sha256(b"else")),
        ] {
            refer_with(there, &image, types, foreign, fields()).await;
        }
        let keep = Some(own.public().clone());
        let options = without_signatures(Prune::Yes { keep });
        stage.wrote(&stage.copy(&options).await);
        let notes = stage.notes();
        assert!(
            matches!(&notes[0], Note::Remark(text) if text.ends_with(": 5")),
            "{notes:?}"
        );
        let left = signatures(&stage.road.destination, image.digest).await;
        assert_eq!(left, [my]);
        let mut listed = Stage::listed(stage.destination(), image.digest).await;
        listed.sort();
        let mut kept = [kept_one, kept_two];
        kept.sort();
        assert_eq!(listed, kept, "{sides:?}");
        stage.road.next_run();
        stage.wrote_nothing(&stage.copy(&options).await);
        assert_eq!(stage.notes(), []);
    }
}

/// Bytes that were changed on the way say nothing of whose signature it is.
async fn broken() {
    let own = PrivateKey::generate().unwrap();
    let stage = Stage::between(SIDES[0]).await;
    let image = Image::new(&["a"])
        .push(&stage.road.source, "app", Some("1"))
        .await;
    let destination = &stage.road.destination;
    let (mine, my) = payload_by(&own, &image.digest);
    let blob = Digest::sha256(mine.as_bytes());
    put_tag(destination, image.digest, "sig", &[(&*mine, &*my)]).await;
    destination.rule(when("GET", &format!("*/blobs/{blob}")).corrupt_body());
    let keep = Some(own.public().clone());
    let options = without_signatures(Prune::Yes { keep });
    let result = stage.road.copy_with("app:1", "app:1", &options).await;
    let failure = stage.road.is_failed(result);
    assert_eq!(failure.kind, consign::event::Kind::Integrity, "{failure:?}");
    assert_eq!(signatures(destination, image.digest).await, [my]);
    assert_eq!(destination.count("DELETE", "*"), 0);
}

async fn undeletable() {
    let stage = Stage::between(SIDES[0]).await;
    let image = Image::new(&["a"])
        .push(&stage.road.source, "app", Some("1"))
        .await;
    let destination = &stage.road.destination;
    put_tag(destination, image.digest, "sig", &[("a", "1")]).await;
    destination.rule(when("DELETE", "*").respond(405).error("UNSUPPORTED"));
    let options = without_signatures(Prune::Yes { keep: None });
    let result = stage.road.copy_with("app:1", "app:1", &options).await;
    stage.road.is_failed(result);
    assert_eq!(destination.tag("app", "1"), None);
}

async fn image_alone() {
    for sides in SIDES {
        let stage = Stage::between(sides).await;
        stage.whole().await;
        stage.copy(&with(Closure::None)).await;
        let contents = Contents::of(&stage.road.destination, "app").await;
        assert_eq!((contents.tags.len(), contents.manifests.len()), (1, 4));
        for registry in [&stage.road.source, &stage.road.destination] {
            assert_eq!(registry.count("*", "*/tags/list"), 0);
            assert_eq!(registry.count("*", "*/referrers/*"), 0);
            assert_eq!(registry.count("*", &manifest_path("sha256-*")), 0);
        }
    }
}

async fn rewritten() {
    let stage = Stage::between(SIDES[0]).await;
    let whole = stage.whole().await;
    let options = Options {
        selection: consign::oci::PlatformSelection::of_platforms(&["linux/amd64".parse().unwrap()]),
        ..without_signatures(Prune::No)
    };
    // An index that is to be the same as the one that is made anew, signed at the destination.
    let there = &stage.road.destination;
    let amd = Image::new(&["amd"]).push(there, "app", None).await;
    drop(index(there, "app", None, &[&amd]).await);
    stage.copy(&options).await;
    let notes = stage.notes();
    // Two of the index, one of each of the two that were copied.
    assert!(notes.contains(&left(4)), "{notes:?}");
    assert!(
        !notes
            .iter()
            .any(|note| matches!(note, Note::SignaturesDropped { .. }))
    );
    assert!(signatures(there, whole.amd.digest).await.is_empty());
}

//! Signatures that are not what they should be, and registries that do not say.

use consign::oci::Digest;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::others::{Cosign, Stored};
use super::stand::{Kind, Made, OTHER, OURS, Registry, Stand, TWO, on_both};
use crate::harness::{Tool, Tools, with_tools};
use crate::registry::{TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![with_tools(
        "signatures::a_throttled_listing_is_no_verdict",
        &[],
        throttled,
    )];
    trials.extend(on_both(
        "each_bad_signature_has_its_reason",
        (Kind::Serve, &[]),
        reasons,
    ));
    trials.extend(on_both(
        "an_attestation_is_no_signature",
        (Kind::Serve, &[Tool::Cosign3]),
        attestation,
    ));
    trials
}

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// The signature tag of a manifest.
fn tag_of(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

async fn signature(stand: &Stand, image: &Made, digest: &Digest) -> Value {
    let place = (image.host.as_str(), image.repository.as_str());
    let bytes = stand
        .get(place, &tag_of(digest))
        .await
        .expect("it is signed");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

/// Images of one repository, each signed in its own wrong way.
const NAMES: [&str; 8] = [
    "none", "half", "wrong", "named", "moved", "tampered", "trailing", "absent",
];

async fn images(stand: &Stand, registry: &Registry) -> Vec<Made> {
    let mut images = Vec::new();
    for name in NAMES {
        let name_and_tag = format!("apps/app:{name}");
        let image = stand.image(registry, &name_and_tag, TWO).await;
        stand.place.write("one.txt", image.by_tag());
        let (key, more) = match name {
            "none" | "moved" => (None, ""),
            "half" => (Some(OURS), "--subjects platforms -a amd64"),
            "wrong" => (Some(OTHER), ""),
            "named" => (Some(OURS), "--sign-identity elsewhere.example/{path}:{tag}"),
            _ => (Some(OURS), ""),
        };
        if let Some(key) = key {
            let sign = format!("sign -f one.txt --key {} {more}", key.private());
            stand.run(&sign).await.with(0);
        }
        images.push(image);
    }
    let [_, half, _, _, moved, tampered, trailing, absent] = images.as_slice() else {
        panic!("{images:?}");
    };
    // A genuine signature of the first platform of another image.
    let genuine = signature(stand, half, &half.children[0].1).await;
    for (_, digest) in &moved.children {
        put(stand, moved, digest, &genuine).await;
    }
    // Another payload than the one that was signed.
    for (_, digest) in &tampered.children {
        let payload = payload(tampered, digest, &json!({ "team": "x" }));
        exchange(stand, tampered, digest, payload).await;
    }
    for (_, digest) in &trailing.children {
        let payload = payload(trailing, digest, &Value::Null);
        exchange(stand, trailing, digest, payload + "\n").await;
    }
    // A signature without the annotation that holds it.
    for (_, digest) in &absent.children {
        let mut manifest = signature(stand, absent, digest).await;
        assert_eq!(manifest["layers"][0]["mediaType"], SIMPLE_SIGNING);
        let annotations = manifest["layers"][0]["annotations"].as_object_mut();
        annotations.expect("it has some").remove(ANNOTATION);
        put(stand, absent, digest, &manifest).await;
    }
    images
}

/// Puts a manifest under the signature tag of another.
async fn put(stand: &Stand, image: &Made, digest: &Digest, manifest: &Value) {
    let place = (image.host.as_str(), image.repository.as_str());
    stand.manifest(place, Some(&tag_of(digest)), manifest).await;
}

/// As it is signed, but for what stands in `optional`.
fn payload(image: &Made, digest: &Digest, optional: &Value) -> String {
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": image.by_tag() },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": optional,
    });
    payload.to_string()
}

/// Leaves the signature as it is, and exchanges what it is said to sign.
async fn exchange(stand: &Stand, image: &Made, digest: &Digest, payload: String) {
    let mut manifest = signature(stand, image, digest).await;
    let place = (image.host.as_str(), image.repository.as_str());
    let blob = stand.blob(place, payload.as_bytes()).await;
    assert_ne!(manifest["layers"][0]["digest"], json!(blob));
    manifest["layers"][0]["digest"] = json!(blob);
    manifest["layers"][0]["size"] = json!(payload.len());
    put(stand, image, digest, &manifest).await;
}

async fn reasons(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    let host = registry.host();
    let images = images(&stand, &registry).await;
    stand.list(&images);
    let validate = format!(
        "validate -f list.txt --registry {host} --key {}",
        OURS.public()
    );
    let results = stand.results(&format!("{validate} --jobs 1"), 3).await;
    assert_eq!(results.len(), NAMES.len());
    let moved = format!(
        "Signature for digest {} does not match",
        images[1].children[0].1
    );
    let absent = format!("missing {ANNOTATION} annotation");
    let none = "A signature was required, but no signature exists";
    let wrong = "cryptographic signature verification failed";
    let named = "Signature for identity \"elsewhere.example/apps/app:named\" is not accepted";
    let expected = [none, none, wrong, named, &moved, wrong, wrong, &absent];
    for (at, (name, reason)) in NAMES.iter().zip(expected).enumerate() {
        let line = results.iter().find(|line| line["job"] == at);
        let line = line.expect("a result");
        assert_eq!(line["outcome"], "rejected", "{name}: {line}");
        let manifests = line["validation"]["manifests"].as_array().expect("a list");
        let seen: Vec<&Value> = manifests.iter().map(|one| &one["verdict"]).collect();
        let first = if *name == "half" {
            "accepted"
        } else {
            "rejected"
        };
        assert_eq!(seen, [first, "rejected"], "{name}: {line}");
        let last = manifests[1]["reasons"].as_array().expect("a list");
        let says = |text: &Value| text.as_str().is_some_and(|text| text.contains(reason));
        assert!(last.iter().any(says), "{name}: {last:?}");
    }
    // One that is right beside a wrong one is enough.
    let more = "apps/app:wrong\napps/app:moved\napps/app:tampered\n";
    stand.place.write("more.txt", more);
    let sign = format!(
        "sign -f more.txt --registry {host} --key {}",
        OURS.private()
    );
    stand.run(&sign).await.with(0);
    let more = validate.replace("list.txt", "more.txt");
    stand.run(&more).await.with(0);
    // Without a look at the other platform, half is enough.
    stand.place.write("half.txt", "apps/app:half\n");
    let half = validate.replace("list.txt", "half.txt");
    stand.run(&format!("{half} --arch amd64")).await.with(0);
}

/// `cosign attest` makes bundles by the same key, of another predicate; cosign 3 itself takes them.
async fn attestation(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    let image = stand.image(&registry, "apps/web:1", TWO).await;
    stand.place.write("predicate.json", r#"{"a":1}"#);
    let predicate = stand.place.path("predicate.json");
    Cosign::Three
        .attest(&stand, OURS, &predicate, &image.by_tag())
        .await;
    stand.place.write("one.txt", image.by_tag());
    let validate = format!(
        "validate -f one.txt --key {} --subjects index --signed-identity digestOnly",
        OURS.public()
    );
    let results = stand.results(&validate, 3).await;
    let said = results[0].to_string();
    assert!(said.contains("predicate"), "{said}");
    let how = (Stored::Bundle, "");
    Cosign::Three.sign(&stand, OURS, how, &image.by_tag()).await;
    stand.run(&validate).await.with(0);
}

/// Whether somebody signed it cannot be told, so it is neither rejected nor signed.
async fn throttled(tools: Tools) {
    let registry = Registry::Logged(TestRegistry::start().await);
    let Registry::Logged(scripted) = &registry else {
        panic!("it is one");
    };
    let stand = Stand::new(tools);
    let host = registry.host();
    let images = [
        stand.single(&registry, "apps/web:1").await,
        stand.single(&registry, "apps/db:1").await,
    ];
    stand.list(&images[..1]);
    let bundle = format!(
        "sign -f list.txt --registry {host} --key {} --signature-format bundle",
        OURS.private()
    );
    stand.run(&bundle).await.with(0);
    stand.list(&images);
    let throttle = scripted.rule(
        when("GET", "*/referrers/*")
            .respond(429)
            .header("retry-after", "0"),
    );
    registry.forget().await;

    let validate = format!(
        "validate -f list.txt --registry {host} --key {}",
        OURS.public()
    );
    let results = stand.results(&validate, 4).await;
    assert!(throttle.hits() > 0);
    for line in &results {
        assert_eq!(line["outcome"], "undetermined", "{line}");
        assert_eq!(line["failure"]["kind"], "rate-limited", "{line}");
        assert_eq!(line["failure"]["stage"], "verify", "{line}");
        for manifest in line["validation"]["manifests"].as_array().expect("a list") {
            assert_eq!(manifest["verdict"], "undetermined", "{line}");
            assert_eq!(manifest["kind"], "rate-limited", "{line}");
        }
    }
    assert_eq!(stand.place.lines("validate-failed.txt").len(), 2);
    assert!(
        !stand
            .place
            .read("validate-failed.txt")
            .contains("kind=rejected")
    );

    // Signing could add what is there, and mirroring could miss what must be there: neither is done.
    for format in [
        "",
        "--signature-format bundle",
        "--signature-format referrer",
    ] {
        let sign = format!(
            "sign -f list.txt --registry {host} --key {} {format}",
            OURS.private()
        );
        let results = stand.results(&sign, 4).await;
        for line in &results {
            assert_eq!(line["outcome"], "failed", "{line}");
            assert_eq!(line["failure"]["kind"], "rate-limited", "{line}");
        }
    }
    let other = TestRegistry::start().await;
    let mirror = format!(
        "mirror -f list.txt -s {host} -d {} --verify-key {}",
        other.host(),
        OURS.public()
    );
    let results = stand.results(&mirror, 4).await;
    assert!(
        results.iter().all(|line| line["outcome"] == "undetermined"),
        "{results:#?}"
    );
    assert!(other.writes().is_empty(), "{}", other.log_text());
    let writes = registry.writes().await;
    assert!(writes.is_empty(), "{writes:#?}");

    // Once it answers, the verdict is what it would have been.
    scripted.clear_rules();
    stand.list(&images);
    let results = stand.results(&validate, 3).await;
    let mut words: Vec<&str> = Vec::new();
    for at in 0..2 {
        let line = results
            .iter()
            .find(|line| line["job"] == at)
            .expect("a result");
        words.push(line["outcome"].as_str().expect("a word"));
    }
    assert_eq!(words, ["accepted", "rejected"]);
}

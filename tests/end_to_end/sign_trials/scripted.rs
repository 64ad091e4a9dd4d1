//! What is asked, kept and written, against a registry that can be made to misbehave.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use consign::event::Format;
use consign::layout::RepositoryPath;
use consign::oci::{Digest, MediaType};
use consign::sign::Formats;
use consign::sigstore::PrivateKey;
use consign::verify;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{ALL, Subject, added, key, only, process};
use crate::harness::trial;
use crate::registry::{Contents, Image, Referrers, Settings, TestRegistry, artifact};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("sign::a_second_run_adds_nothing_in_any_format", twice),
        trial("sign::what_others_signed_stays_byte_for_byte", foreign),
        trial(
            "sign::the_same_said_in_other_bytes_is_signed_already",
            other_bytes,
        ),
        trial(
            "sign::another_name_or_annotation_is_another_signature",
            another_claim,
        ),
        trial("sign::a_bundle_is_added_where_there_is_one", usual),
        trial("sign::a_signature_costs_few_requests", costs),
    ]
}

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

pub(super) async fn subject(registry: &TestRegistry) -> Subject {
    let image = Image::new(&["layer"])
        .push(registry, "app", Some("1"))
        .await;
    Subject::new(&registry.host(), "app", &image)
}

/// A registry of each kind.
pub(super) async fn both() -> [TestRegistry; 2] {
    let unknown = Settings {
        referrers: Referrers::Unknown,
        ..Settings::default()
    };
    [
        TestRegistry::start().await,
        TestRegistry::with(unknown).await,
    ]
}

async fn twice() {
    for registry in both().await {
        let subject = subject(&registry).await;
        let key = key();
        let formats = Formats::These(ALL.to_vec());
        let first = added(subject.sign_with(&process(None), &key, &formats).await);
        assert_eq!(first, ALL.map(|format| (format, true)));
        let before = Contents::of(&registry, "app").await;
        registry.clear_log();
        let signed = subject.sign_with(&process(None), &key, &formats).await;
        assert_eq!(added(signed), ALL.map(|format| (format, false)));
        assert!(registry.writes().is_empty(), "{}", registry.log_text());
        for format in ALL {
            let signed = subject.sign_with(&process(None), &key, &only(format)).await;
            assert_eq!(added(signed), [(format, false)]);
        }
        assert_eq!(Contents::of(&registry, "app").await, before);
        // Each was read and verified, in its own place.
        for format in ALL {
            let keys = consign::sigstore::Signers::Keys(vec![key.public().clone()]);
            let pinned = subject.pinned();
            let found = verify::signatures(&process(None), &pinned, &keys, format).await;
            let found = found.expect("it answers");
            assert_eq!(found.len(), 1, "{format:?}");
            assert_eq!(found[0].identity, Some(subject.claim().identity));
            assert_eq!(found[0].annotations, subject.claim().annotations);
        }
    }
}

/// Puts a blob into `app` and gives its descriptor.
async fn blob(registry: &TestRegistry, media_type: &str, bytes: impl Into<Bytes>) -> Value {
    let bytes: Bytes = bytes.into();
    let size = bytes.len();
    let path: RepositoryPath = "app".parse().expect("a path");
    let digest = registry.inner().add_blob(&path, bytes).await;
    json!({ "mediaType": media_type, "digest": digest.expect("memory takes it"), "size": size })
}

/// Puts a manifest under a tag of `app`.
async fn put(registry: &TestRegistry, tag: &str, media_type: &MediaType, text: String) -> Digest {
    let path: RepositoryPath = "app".parse().expect("a path");
    let tag = tag.parse().expect("a tag");
    let registry = registry.inner();
    let put = registry.add_manifest(&path, Some(&tag), media_type, text.into());
    put.await.expect("memory takes it")
}

async fn manifest_under(registry: &TestRegistry, tag: &str) -> (MediaType, String) {
    let digest = registry.tag("app", tag).expect("something is there");
    let contents = Contents::of(registry, "app").await;
    let (media_type, bytes) = &contents.manifests[&digest];
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    (media_type.clone(), text)
}

async fn foreign() {
    let registry = TestRegistry::start().await;
    let subject = subject(&registry).await;
    let payload = blob(&registry, SIMPLE_SIGNING, "theirs").await;
    let sbom = blob(&registry, "text/spdx+json", "{}").await;
    let config = blob(&registry, "application/vnd.oci.image.config.v1+json", "{}").await;
    let (digest, size) = (&payload["digest"], &payload["size"]);
    let theirs = format!(
        r#"{{ "size":{size}, "mediaType" : "{SIMPLE_SIGNING}","annotations":{{"dev.sigstore.cosign/bundle":"{{\"a\":1}}","dev.cosignproject.cosign/signature":"MEQ\u003d","dev.sigstore.cosign/certificate":"-----BEGIN\n"}},"digest":{digest},"odd":1.0}}"#
    );
    let text = format!(
        r#"{{"schemaVersion":2,"annotations":{{"kept":"yes"}},"config":{config},"layers":[{theirs},{sbom},{theirs}]}}"#
    );
    put(&registry, &subject.tag(), &MediaType::OciManifest, text).await;
    let before = Contents::of(&registry, "app").await;
    let (ours, others) = (key(), key());
    for key in [&ours, &others] {
        let signed = subject
            .sign_with(&process(None), key, &only(Format::Tag))
            .await;
        assert_eq!(added(signed), [(Format::Tag, true)]);
    }
    let (media_type, text) = manifest_under(&registry, &subject.tag()).await;
    assert_eq!(media_type, MediaType::OciManifest);
    assert!(text.contains(r#""annotations":{"kept":"yes"}"#), "{text}");
    let layers = format!(r#""layers":[{theirs},{sbom},{theirs},{{"#);
    assert!(text.contains(&layers), "{text}");
    let manifest: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(manifest["layers"].as_array().expect("layers").len(), 5);
    // Nothing went, and what both say is one blob.
    let after = Contents::of(&registry, "app").await;
    for digest in before.blob_digests() {
        assert!(after.blobs.contains_key(&digest));
    }
    assert_eq!(
        manifest["layers"][3]["digest"],
        manifest["layers"][4]["digest"]
    );
    let digest: Digest = serde_json::from_value(manifest["config"]["digest"].clone()).expect("one");
    let config: Value = serde_json::from_slice(&after.blobs[&digest]).expect("JSON");
    assert_eq!(
        config["rootfs"]["diff_ids"]
            .as_array()
            .expect("layers")
            .len(),
        5
    );
}

/// What skopeo signs: the same with its own name and the time.
fn skopeos(subject: &Subject, identity: &str) -> String {
    format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"{identity}"}},"image":{{"docker-manifest-digest":"{}"}},"type":"cosign container image signature"}},"optional":{{"by":"consign","creator":"containers/image 5.39.1","timestamp":1795196498}}}}"#,
        subject.digest()
    )
}

/// Puts a signature under the tag, as skopeo does.
async fn put_skopeos(registry: &TestRegistry, subject: &Subject, key: &PrivateKey, payload: &str) {
    let signature = key.sign(payload.as_bytes()).expect("it signs");
    let mut layer = blob(registry, SIMPLE_SIGNING, payload.to_owned()).await;
    layer["annotations"] =
        json!({ "dev.cosignproject.cosign/signature": BASE64.encode(signature) });
    let config = blob(registry, "application/vnd.oci.image.config.v1+json", "{}").await;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OciManifest, "config": config, "layers": [layer],
    });
    put(
        registry,
        &subject.tag(),
        &MediaType::OciManifest,
        manifest.to_string(),
    )
    .await;
}

async fn other_bytes() {
    let registry = TestRegistry::start().await;
    let subject = subject(&registry).await;
    let own = key();
    let payload = skopeos(&subject, &subject.claim().identity);
    put_skopeos(&registry, &subject, &own, &payload).await;
    let before = Contents::of(&registry, "app").await;
    let signed = subject
        .sign_with(&process(None), &own, &only(Format::Tag))
        .await;
    assert_eq!(added(signed), [(Format::Tag, false)]);
    assert_eq!(Contents::of(&registry, "app").await, before);
    // Of another key, it says nothing for ours.
    let signed = subject
        .sign_with(&process(None), &key(), &only(Format::Tag))
        .await;
    assert_eq!(added(signed), [(Format::Tag, true)]);
}

async fn another_claim() {
    for registry in both().await {
        let subject = subject(&registry).await;
        let key = key();
        let mut renamed = subject.claim();
        renamed.identity = format!("{}:2", subject.repository);
        let mut noted = subject.claim();
        noted
            .annotations
            .insert("more".to_owned(), "yes".to_owned());
        let formats = Formats::These(ALL.to_vec());
        for is_new in [true, false] {
            for claim in [&subject.claim(), &renamed, &noted] {
                let what = (claim, &formats);
                let signed = subject.sign_as(&process(None), &key, what).await;
                assert_eq!(added(signed), ALL.map(|format| (format, is_new)));
            }
        }
    }
}

async fn usual() {
    for registry in both().await {
        let image = Image::new(&["layer"])
            .push(&registry, "app", Some("1"))
            .await;
        let subject = Subject::new(&registry.host(), "app", &image);
        let own = key();
        // Another kind of referrer changes nothing.
        artifact(
            &registry,
            "app",
            "application/spdx+json",
            Some(&image),
            "{}",
        )
        .await;
        let signed = subject
            .sign_with(&process(None), &own, &Formats::Usual)
            .await;
        assert_eq!(added(signed), [(Format::Tag, true)]);
        let theirs = subject
            .sign_with(&process(None), &key(), &only(Format::Bundle))
            .await;
        assert_eq!(added(theirs), [(Format::Bundle, true)]);
        for is_new in [true, false] {
            let signed = subject
                .sign_with(&process(None), &own, &Formats::Usual)
                .await;
            assert_eq!(
                added(signed),
                [(Format::Tag, false), (Format::Bundle, is_new)]
            );
        }
    }
    // As go-containerregistry lists it: by the type of the config.
    let unknown = Settings {
        referrers: Referrers::Unknown,
        ..Settings::default()
    };
    let registry = TestRegistry::with(unknown).await;
    let subject = subject(&registry).await;
    let config = blob(&registry, "application/vnd.oci.empty.v1+json", "{}").await;
    let layer = blob(&registry, BUNDLE, "{\"a\":1}").await;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OciManifest, "config": config, "layers": [layer],
        "artifactType": BUNDLE,
        "subject": {
            "mediaType": MediaType::OciManifest, "digest": subject.digest(),
            "size": subject.descriptor.size,
        },
    })
    .to_string();
    let size = manifest.len();
    let digest = put(&registry, "other", &MediaType::OciManifest, manifest).await;
    let list = json!({ "schemaVersion": 2, "mediaType": MediaType::OciIndex, "manifests": [{
        "mediaType": MediaType::OciManifest, "digest": digest, "size": size,
        "artifactType": "application/vnd.oci.empty.v1+json",
    }] });
    let tag = subject.digest().to_string().replace(':', "-");
    put(&registry, &tag, &MediaType::OciIndex, list.to_string()).await;
    let signed = subject
        .sign_with(&process(None), &key(), &Formats::Usual)
        .await;
    assert_eq!(added(signed), [(Format::Tag, true), (Format::Bundle, true)]);
}

async fn costs() {
    for registry in both().await {
        let subject = subject(&registry).await;
        let key = key();
        let usual = &Formats::Usual;
        for (formats, first, second) in [
            // Referrers twice, the tag; then the tag again, two blobs, the tag thrice and the payload.
            (usual, 12, 3),
            // Referrers twice and what they are; the blobs, the manifest, and all of that once more.
            (&only(Format::Referrer), 13, 4),
            (&only(Format::Bundle), 15, 5),
        ] {
            registry.clear_log();
            let signed = subject.sign_with(&process(None), &key, formats).await;
            assert!(added(signed)[0].1);
            assert!(registry.log().len() <= first, "{}", registry.log_text());
            registry.clear_log();
            let signed = subject.sign_with(&process(None), &key, formats).await;
            assert!(!added(signed)[0].1);
            assert_eq!(registry.log().len(), second, "{}", registry.log_text());
        }
    }
}

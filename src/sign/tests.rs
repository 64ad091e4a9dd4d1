//! Documents and claims; what is sent and read back is tested end to end.

use super::document::{Signed, bundle_for};
use super::*;
use crate::oci::{Digest, Manifest, MediaType, View};

/// What cosign 2.5 signed with `-a foo=bar --registry-referrers-mode=oci-1-1`, and its documents.
const SUBJECT: &str = "sha256:87e38e1c1e1b1d4e2be9887087e7976f91c8043654f4d3abfc4644c6c978f30b";
const SUBJECT_SIZE: u64 = 259;
const SIGNATURE: &str = "MEQCIDl0TBnUv+boAoTt1m8X1Z+Oej1aPW5/bZ+O5POTB2VHAiBTzcb6yV9Ou6grJQ+EKFhMSXn3v8V6ZEiiwwTL6oOz5Q==";
const CONFIG: &str = "sha256:2084625013e5a42b94a37cde5bb486db627eda42f1e1e8daa01c265c9e4d6a2d";
const REFERRER: &str = "sha256:6181adfc89f80523832330f9fbc14e1067ab25d88cdb539de65ce4b6c2bc0df9";

fn payload() -> Bytes {
    let text = format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"127.0.0.1:5511/app"}},"image":{{"docker-manifest-digest":"{SUBJECT}"}},"type":"cosign container image signature"}},"optional":{{"foo":"bar"}}}}"#
    );
    text.into()
}

fn annotations() -> BTreeMap<String, String> {
    BTreeMap::from([(
        "dev.cosignproject.cosign/signature".to_owned(),
        SIGNATURE.to_owned(),
    )])
}

fn subject() -> Descriptor {
    serde_json::from_value(serde_json::json!({
        "mediaType": MediaType::OciManifest, "digest": SUBJECT, "size": SUBJECT_SIZE,
    }))
    .unwrap()
}

fn manifest(text: &str, media_type: &MediaType) -> Manifest {
    Manifest::parse(Bytes::from(text.to_owned()), media_type).unwrap()
}

#[test]
fn a_referrer_is_that_of_cosign_byte_for_byte() {
    let payload = payload();
    let signed = Signed {
        payload: &payload,
        annotations: &annotations(),
    };
    let (manifest, config) = signed.referring_to(&subject()).unwrap();
    assert_eq!(Digest::sha256(&config).to_string(), CONFIG);
    assert_eq!(manifest.digest().to_string(), REFERRER);
}

#[test]
fn a_bundles_manifest_is_that_of_cosign_without_the_time() {
    let bundle = b"a bundle";
    let written = bundle_for(&subject(), bundle).unwrap();
    let digest = Digest::sha256(bundle);
    let expected = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}},"layers":[{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","size":8,"digest":"{digest}"}}],"annotations":{{"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1"}},"subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":{SUBJECT_SIZE},"digest":"{SUBJECT}"}},"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}}"#
    );
    assert_eq!(written.raw(), expected.as_bytes());
}

#[test]
fn what_stood_under_the_tag_keeps_its_bytes() {
    let payload = payload();
    let signed = Signed {
        payload: &payload,
        annotations: &annotations(),
    };
    let other = Digest::sha256(b"other");
    let theirs = format!(
        r#"{{ "odd" : 1.50, "digest": "{other}",  "size": 7, "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "annotations": {{"z":"1", "a":"\u0041"}} }}"#
    );
    let text = format!(
        r#"{{"annotations": {{"b":"2"}}, "layers": [ {theirs} , {theirs}], "schemaVersion": 2, "unknown": [1, 2],
            "config": {{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{other}","size":7}}}}"#
    );
    let old = manifest(&text, &MediaType::DockerManifest);
    let (new, config) = signed.added_to(Some(&old)).unwrap();
    let text = String::from_utf8(new.raw().to_vec()).unwrap();
    let own = Digest::sha256(&payload);
    let config_digest = Digest::sha256(&config);
    let config_size = config.len();
    assert_eq!(
        text,
        format!(
            r#"{{"annotations":{{"b":"2"}},"layers":[{theirs},{theirs},{{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":{},"digest":"{own}","annotations":{{"dev.cosignproject.cosign/signature":"{SIGNATURE}"}}}}],"schemaVersion":2,"unknown":[1, 2],"config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":{config_size},"digest":"{config_digest}"}}}}"#,
            payload.len()
        )
    );
    assert_eq!(new.media_type(), &MediaType::DockerManifest);
    let View::Image(view) = new.view() else {
        panic!("an image")
    };
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let digests: Vec<Digest> = view.layers.iter().map(|layer| layer.digest).collect();
    assert_eq!(
        config["rootfs"]["diff_ids"],
        serde_json::to_value(&digests).unwrap()
    );
    assert_eq!(config["history"].as_array().unwrap().len(), digests.len());
}

#[test]
fn a_signature_is_added_to_images_alone() {
    let payload = payload();
    let signed = Signed {
        payload: &payload,
        annotations: &annotations(),
    };
    let index = manifest(
        r#"{"schemaVersion":2,"manifests":[]}"#,
        &MediaType::OciIndex,
    );
    assert!(signed.added_to(Some(&index)).is_err());
    let old = MediaType::parse("application/vnd.oci.artifact.manifest.v1+json");
    let artifact = manifest(r#"{"blobs":[]}"#, &old);
    assert!(signed.added_to(Some(&artifact)).is_err());
    let without_layers = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{SUBJECT}","size":2}}}}"#
    );
    let bare = manifest(&without_layers, &MediaType::OciManifest);
    let (added, _) = signed.added_to(Some(&bare)).unwrap();
    let View::Image(view) = added.view() else {
        panic!("an image")
    };
    assert_eq!(view.layers.len(), 1);
}

fn claim(identity: &str, annotations: &[(&str, &str)]) -> Claim {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Claim {
        identity: identity.to_owned(),
        annotations: annotations.iter().map(owned).collect(),
    }
}

#[test]
fn claims_that_nobody_can_read_are_refused() {
    let tag = Formats::Usual;
    for good in [
        "h.example/app",
        "h.example/app:1",
        "app",
        "localhost:1/a@sha256:87e38e1c1e1b1d4e2be9887087e7976f91c8043654f4d3abfc4644c6c978f30b",
    ] {
        assert_eq!(claim(good, &[]).check(&tag), Ok(()), "{good}");
    }
    for bad in [
        "",
        "App",
        "h.example/app:",
        "docker://h.example/app:1",
        "https://h.example/app",
        "a b",
        "h.example/app@sha256:1",
    ] {
        let refused = claim(bad, &[]).check(&tag);
        assert!(
            matches!(refused, Err(ClaimError::Identity(_))),
            "{bad}: {refused:?}"
        );
    }
    let timed = claim("app", &[("timestamp", "noon")]);
    assert_eq!(timed.check(&tag), Err(ClaimError::Timestamp));
    let only = |format| Formats::These(vec![format]);
    assert_eq!(
        timed.check(&only(Format::Referrer)),
        Err(ClaimError::Timestamp)
    );
    assert_eq!(timed.check(&only(Format::Bundle)), Ok(()));
}

#[test]
fn the_same_is_said_only_by_the_same_name_and_annotations() {
    let says = |identity: Option<&str>, annotations: &[(&str, &str)]| Evidence {
        by: crate::event::Maker::Key {
            id: String::new(),
            time: None,
        },
        format: Format::Tag,
        identity: identity.map(str::to_owned),
        identity_proven: false,
        annotations: claim("app", annotations).annotations,
    };
    let own = claim("h.example/app:1", &[("a", "1"), ("b", "2")]);
    let name = Some("h.example/app:1");
    assert!(own.is_said_by(&says(name, &[("a", "1"), ("b", "2")])));
    assert!(own.is_said_by(&says(
        name,
        &[("a", "1"), ("b", "2"), ("creator", "x"), ("timestamp", "3")]
    )));
    for (identity, annotations) in [
        (name, &[("a", "1")][..]),
        (name, &[("a", "1"), ("b", "3")]),
        (name, &[("a", "1"), ("b", "2"), ("c", "3")]),
        (Some("h.example/app"), &[("a", "1"), ("b", "2")]),
        (None, &[("a", "1"), ("b", "2")]),
    ] {
        assert!(!own.is_said_by(&says(identity, annotations)));
    }
    let creator = claim("h.example/app:1", &[("creator", "me")]);
    assert!(creator.is_said_by(&says(name, &[("creator", "me"), ("timestamp", "3")])));
    assert!(!creator.is_said_by(&says(name, &[("creator", "you")])));
}

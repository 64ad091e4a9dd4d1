//! Manifests that say what cannot be.

use consign::event::Kind;
use serde_json::json;

use super::{SOURCE, Stage, basic, guarded};
use crate::faults::{manifest_path, put_manifest, said};
use crate::registry::{Contents, Image, Settings, index, when};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// GHSA-f36w-mj3v-6jqv: the size of a child is used before it is looked at.
pub(super) async fn sizes() {
    let stage = Stage::between(Settings::default(), Settings::default()).await;
    let image = Image::new(&["a"])
        .push(&stage.road.source, "app", None)
        .await;
    for (tag, size) in [
        ("1", json!(9_223_372_036_854_775_807_u64)),
        ("2", json!(u64::MAX)),
        ("3", json!(-1)),
        ("4", json!(1.5)),
        ("5", json!("2")),
        ("6", json!(null)),
    ] {
        let mut entry = image.descriptor();
        entry["size"] = size;
        let document = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
        put_manifest(
            &stage.road.source,
            Some(tag),
            OCI_INDEX,
            document.to_string(),
        )
        .await;
        let failure = stage.refuses(tag).await;
        assert_eq!(failure.kind, Kind::Unsupported, "{tag}: {}", said(&failure));
        assert!(stage.road.destination.writes().is_empty());
    }
    index(&stage.road.source, "app", Some("good"), &[&image]).await;
    stage.copies("good").await;
}

/// CVE-2024-3727: a digest that is a path, in a list or in a header, is no digest.
pub(super) async fn paths() {
    let stage = Stage::between(guarded(basic(SOURCE)), Settings::default()).await;
    let image = Image::new(&["a"])
        .push(&stage.road.source, "app", Some("good"))
        .await;
    let hex = "0".repeat(64);
    let bad = [
        "sha256:../../../v2/other/blobs/uploads",
        "sha256:",
        "",
        "../../token",
        "sha256:%2e%2e%2f",
        "sha256:ABCDEF",
        &format!("SHA256:{hex}"),
        &format!("sha256:{hex}/../../x"),
        &format!("sha256:{hex}0"),
        &format!("md5:{hex}"),
    ];
    for (n, digest) in bad.iter().enumerate() {
        let mut entry = image.descriptor();
        entry["digest"] = json!(digest);
        let document = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
        let tag = n.to_string();
        put_manifest(
            &stage.road.source,
            Some(&tag),
            OCI_INDEX,
            document.to_string(),
        )
        .await;
        let failure = stage.refuses(&tag).await;
        assert_eq!(
            failure.kind,
            Kind::Unsupported,
            "{digest}: {}",
            said(&failure)
        );
    }
    assert!(stage.road.destination.writes().is_empty());
    // In a header it is not believed; by way of the bytes the digest is known.
    for digest in &bad {
        stage.road.source.clear_rules();
        let lies = when("*", "*/manifests/*").set_header("docker-content-digest", digest);
        stage.road.source.rule(lies);
        drop(stage.road.copy("app:good").await);
    }
    stage.road.source.clear_rules();
    for registry in [&stage.road.source, &stage.road.destination] {
        for line in registry.log() {
            let is_strange = line.path.contains("..") || line.path.contains('%');
            assert!(!is_strange, "{line}");
        }
    }
    let there = Contents::of(&stage.road.destination, "app").await;
    assert!(
        there
            .manifest_digests()
            .iter()
            .all(|digest| *digest == image.digest)
    );
    assert_eq!(there.tags.get("good"), Some(&image.digest));
}

/// CVE-2021-41190: of one digest, first this type is said and then that.
pub(super) async fn types() {
    let stage = Stage::between(Settings::default(), Settings::default()).await;
    let one = stage.image("1").await;
    let many = index(&stage.road.source, "app", Some("2"), &[&one]).await;
    let lie = |method: &str, path: &str, said: &str| {
        let lies = when(method, path).set_header("content-type", said);
        stage.road.source.rule(lies);
    };
    let manifest = one.media_type.to_string();
    for (method, tag, digest, said_to_be) in [
        ("GET", "1", one.digest, OCI_INDEX),
        ("GET", "2", many.digest, manifest.as_str()),
    ] {
        stage.road.source.clear_rules();
        lie(method, &manifest_path(tag), said_to_be);
        lie(method, &manifest_path(digest), said_to_be);
        // What was cut is read again, and then it is something else.
        let failure = stage.refuses(tag).await;
        assert!(
            matches!(failure.kind, Kind::Integrity | Kind::Unsupported),
            "{tag}: {}",
            said(&failure)
        );
    }
    assert!(
        Contents::of(&stage.road.destination, "app")
            .await
            .tags
            .is_empty()
    );
    // A HEAD that says otherwise decides nothing.
    stage.road.source.clear_rules();
    lie(
        "HEAD",
        "*/manifests/*",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    );
    stage.copies("1").await;
    stage.copies("2").await;
    let there = Contents::of(&stage.road.destination, "app").await;
    assert_eq!(there.manifests[&one.digest].0, one.media_type);
}

//! What is there when a registry opens.

use super::*;

#[tokio::test]
async fn a_restart_finds_all_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::open(directory.path(), Access::Writable)
        .await
        .unwrap();
    let (document, digest) = push_image(&registry).await;
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(IMAGE, document.to_string().as_bytes())],
    });
    put(&registry, "a/manifests/all", INDEX, &index).await;
    ask(&registry, "DELETE /v2/a/manifests/1", &[], "").await;
    let stray = push_blob(&registry, "a", b"stray").await;
    drop(registry);
    for access in [Access::ReadOnly, Access::Writable] {
        let registry = Registry::open(directory.path(), access).await.unwrap();
        let seen = get(&registry, &format!("/v2/a/manifests/{digest}")).await;
        assert_eq!(seen.body, document.to_string());
        assert_eq!(
            get(&registry, "/v2/a/manifests/all").await.body,
            index.to_string()
        );
        let layer = Digest::sha256(b"layer");
        assert_eq!(
            get(&registry, &format!("/v2/a/blobs/{layer}")).await.body,
            "layer"
        );
        assert_eq!(
            get(&registry, &format!("/v2/a/blobs/{stray}")).await.status,
            404
        );
        assert_eq!(registry.repositories(), [name("a")]);
        assert_eq!(registry.manifests(&name("a")).len(), 2);
    }
}

#[tokio::test]
async fn a_layout_of_another_program_is_served_with_its_gaps() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("My-Images");
    std::fs::create_dir_all(path.join("blobs/sha256")).unwrap();
    let store = |document: &serde_json::Value| {
        let text = document.to_string();
        let hex = Digest::sha256(text.as_bytes()).hex();
        std::fs::write(path.join("blobs/sha256").join(hex), text).unwrap();
    };
    let inner = image(b"{}", &[b"gone"]);
    let outer = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [
            descriptor(IMAGE, inner.to_string().as_bytes()),
            descriptor(IMAGE, b"not brought"),
            descriptor(INDEX, b"not brought either"),
        ],
    });
    store(&inner);
    store(&outer);
    let mut entry = descriptor(INDEX, outer.to_string().as_bytes());
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "v1"});
    let absent = descriptor(IMAGE, b"absent");
    let root = serde_json::json!({"schemaVersion": 2, "manifests": [entry, absent]});
    std::fs::write(path.join("index.json"), root.to_string()).unwrap();
    std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();

    let registry = Registry::open(&path, Access::ReadOnly).await.unwrap();
    let seen = get(&registry, "/v2/my-images/manifests/v1").await;
    assert_eq!((seen.body, seen.status), (outer.to_string().into(), 200));
    let child = get(
        &registry,
        &format!("/v2/my-images/manifests/{}", digest_of(&inner)),
    )
    .await;
    assert_eq!(
        (child.status, &*child.body),
        (200, inner.to_string().as_bytes())
    );
    for gone in [
        format!("manifests/{}", Digest::sha256(b"absent")),
        format!("manifests/{}", Digest::sha256(b"not brought")),
        format!("blobs/{}", Digest::sha256(b"gone")),
    ] {
        assert_eq!(
            get(&registry, &format!("/v2/my-images/{gone}"))
                .await
                .status,
            404
        );
    }
}

#[tokio::test]
async fn an_index_that_names_itself_or_goes_deep_is_no_trap() {
    let registry = writable().await;
    let mut child = descriptor(IMAGE, b"bottom");
    for _ in 0..50 {
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": INDEX, "manifests": [child.clone(), child],
        });
        let bytes = Bytes::from(index.to_string());
        child = descriptor(INDEX, &bytes);
        registry
            .layout()
            .put_blob(&Digest::sha256(&bytes), bytes)
            .await
            .unwrap();
    }
    let entry = layout::Entry {
        repository: name("deep"),
        tag: Some("1".parse().unwrap()),
        media_type: MediaType::OciIndex,
        digest: child["digest"].as_str().unwrap().parse().unwrap(),
        size: child["size"].as_u64().unwrap(),
    };
    registry.layout().put(entry).await.unwrap();
    let again = Registry::new(registry.layout().clone(), Access::ReadOnly)
        .await
        .unwrap();
    assert_eq!(again.manifests(&name("deep")).len(), 9);
}

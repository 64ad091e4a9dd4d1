//! Manifests: what they need, how they go, who refers to them.

use super::*;

#[tokio::test]
async fn a_manifest_needs_what_it_names() {
    let registry = writable().await;
    push_blob(&registry, "a", b"{}").await;
    // It is in the layout, but in another repository.
    push_blob(&registry, "b", b"layer").await;
    let document = image(b"{}", &[b"layer", b"other"]);
    let seen = put(&registry, "a/manifests/1", IMAGE, &document).await;
    assert_eq!((seen.status, &*seen.code()), (400, "MANIFEST_BLOB_UNKNOWN"));
    let errors = seen.json()["errors"].clone();
    assert_eq!(errors.as_array().unwrap().len(), 2);
    assert_eq!(
        errors[0]["detail"]["digest"],
        Digest::sha256(b"layer").to_string()
    );

    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(IMAGE, b"absent")],
    });
    let seen = put(&registry, "a/manifests/1", INDEX, &index).await;
    assert_eq!((seen.status, &*seen.code()), (400, "MANIFEST_BLOB_UNKNOWN"));
    let sparse = writable().await.accept_sparse(Children::Optional);
    assert_eq!(
        put(&sparse, "a/manifests/1", INDEX, &index).await.status,
        201
    );

    let mut foreign = image(b"{}", &[b"absent"]);
    let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    foreign["layers"][0]["mediaType"] = kind.into();
    assert_eq!(
        put(&registry, "a/manifests/1", IMAGE, &foreign)
            .await
            .status,
        400
    );
    foreign["layers"][0]["urls"] = serde_json::json!(["https://example.com/layer"]);
    assert_eq!(
        put(&registry, "a/manifests/1", IMAGE, &foreign)
            .await
            .status,
        201
    );
    // That it was named does not make it be there.
    let plain = image(b"{}", &[b"absent"]);
    assert_eq!(
        put(&registry, "a/manifests/2", IMAGE, &plain).await.status,
        400
    );
}

#[tokio::test]
async fn documents_that_are_no_manifests_are_refused() {
    let registry = writable().await;
    let (document, _) = push_image(&registry).await;
    let wrong = Digest::sha256(b"wrong");
    let seen = put(&registry, &format!("a/manifests/{wrong}"), IMAGE, &document).await;
    assert_eq!((seen.status, &*seen.code()), (400, "DIGEST_INVALID"));
    let seen = put(&registry, "a/manifests/2", INDEX, &document).await;
    assert_eq!((seen.status, &*seen.code()), (400, "MANIFEST_INVALID"));
    let long = vec![b' '; crate::limits::image::MANIFEST_BYTES_MAX + 1];
    let seen = ask(&registry, "PUT /v2/a/manifests/2", &[], long).await;
    assert_eq!((seen.status, &*seen.code()), (413, "SIZE_INVALID"));
    let seen = ask(&registry, "PUT /v2/a/manifests/2", &[], "[".repeat(100_000)).await;
    assert_eq!((seen.status, &*seen.code()), (400, "MANIFEST_INVALID"));
    assert_eq!(
        get(&registry, "/v2/a/tags/list").await.json()["tags"],
        serde_json::json!(["1"])
    );
}

#[tokio::test]
async fn a_manifest_is_named_by_any_algorithm() {
    let registry = writable().await;
    let (document, _) = push_image(&registry).await;
    let mut digester = Digester::new(Algorithm::Sha512);
    digester.update(document.to_string().as_bytes());
    let path = format!("a/manifests/{}", digester.finish());
    assert_eq!(put(&registry, &path, IMAGE, &document).await.status, 201);
    assert_eq!(
        get(&registry, &format!("/v2/{path}")).await.body,
        document.to_string()
    );
}

#[tokio::test]
async fn deletions_take_what_they_name() {
    let registry = writable().await;
    let (document, digest) = push_image(&registry).await;
    put(&registry, "a/manifests/2", IMAGE, &document).await;
    let path = format!("/v2/a/manifests/{digest}");
    // A tag goes alone.
    assert_eq!(
        ask(&registry, "DELETE /v2/a/manifests/2", &[], "")
            .await
            .status,
        202
    );
    assert_eq!(
        ask(&registry, "DELETE /v2/a/manifests/2", &[], "")
            .await
            .status,
        404
    );
    assert_eq!(get(&registry, &path).await.status, 200);
    // A manifest goes with its tags.
    assert_eq!(
        ask(&registry, &format!("DELETE {path}"), &[], "")
            .await
            .status,
        202
    );
    for gone in [&*path, "/v2/a/manifests/1"] {
        assert_eq!(get(&registry, gone).await.status, 404);
    }
    assert_eq!(registry.layout().size(&digest).await.unwrap(), None);
    // A blob stays on the disk for as long as another repository has it.
    let layer = Digest::sha256(b"layer");
    push_blob(&registry, "b", b"layer").await;
    for (repository, left) in [("a", Some(5)), ("b", None)] {
        let path = format!("/v2/{repository}/blobs/{layer}");
        assert_eq!(
            ask(&registry, &format!("DELETE {path}"), &[], "")
                .await
                .status,
            202
        );
        assert_eq!(get(&registry, &path).await.status, 404);
        assert_eq!(registry.layout().size(&layer).await.unwrap(), left);
    }
}

#[tokio::test]
async fn referrers_are_listed_by_type() {
    let directory = tempfile::tempdir().unwrap();
    let mut registry = Registry::open(directory.path(), Access::Writable)
        .await
        .unwrap();
    let (document, subject) = push_image(&registry).await;
    let mut typed = image(b"{}", &[]);
    typed["artifactType"] = "application/x.one".into();
    typed["annotations"] = serde_json::json!({"k": "v"});
    typed["subject"] = descriptor(IMAGE, document.to_string().as_bytes());
    let mut untyped = image(b"{}", &[b"layer"]);
    untyped["subject"] = typed["subject"].clone();
    for referrer in [&typed, &untyped] {
        let path = format!("a/manifests/{}", digest_of(referrer));
        let seen = put(&registry, &path, IMAGE, referrer).await;
        assert_eq!(
            (seen.status, seen.header("oci-subject")),
            (201, &*subject.to_string())
        );
    }
    for _ in 0..2 {
        let path = format!("/v2/a/referrers/{subject}");
        let seen = get(&registry, &path).await;
        assert_eq!((seen.status, seen.header("content-type")), (200, INDEX));
        assert_eq!(seen.json()["manifests"].as_array().unwrap().len(), 2);
        assert_eq!(seen.header("oci-filters-applied"), "");
        let seen = get(&registry, &format!("{path}?artifactType=application/x.one")).await;
        assert_eq!(seen.header("oci-filters-applied"), "artifactType");
        let mut expected = descriptor(IMAGE, typed.to_string().as_bytes());
        expected["artifactType"] = "application/x.one".into();
        expected["annotations"] = serde_json::json!({"k": "v"});
        assert_eq!(seen.json()["manifests"], serde_json::json!([expected]));
        // The type of the config stands in for an absent one.
        let config = "application/vnd.oci.image.config.v1%2Bjson";
        let seen = get(&registry, &format!("{path}?artifactType={config}")).await;
        assert_eq!(seen.json()["manifests"].as_array().unwrap().len(), 1);
        // And all of it after a restart too.
        drop(registry);
        registry = Registry::open(directory.path(), Access::Writable)
            .await
            .unwrap();
    }
    let gone = format!("DELETE /v2/a/manifests/{}", digest_of(&typed));
    assert_eq!(ask(&registry, &gone, &[], "").await.status, 202);
    let seen = get(&registry, &format!("/v2/a/referrers/{subject}")).await;
    assert_eq!(seen.json()["manifests"].as_array().unwrap().len(), 1);
    let seen = get(
        &registry,
        &format!("/v2/x/referrers/{}", Digest::sha256(b"?")),
    )
    .await;
    assert_eq!(
        (seen.status, &seen.json()["manifests"]),
        (200, &serde_json::json!([]))
    );
}

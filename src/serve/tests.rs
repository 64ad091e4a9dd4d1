//! The registry as a client sees it: requests given to the handler, and some over real TCP.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::oci::{Algorithm, Digester};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An answer with its body read.
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> String {
        self.json()["errors"][0]["code"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

async fn ask(
    registry: &Registry,
    what: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Seen {
    let (method, path) = what.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let (parts, body) = registry.handle(request).await.into_parts();
    Seen {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

async fn get(registry: &Registry, path: &str) -> Seen {
    ask(registry, &format!("GET {path}"), &[], "").await
}

async fn writable() -> Registry {
    Registry::new(Layout::in_memory(), Access::Writable)
        .await
        .unwrap()
}

fn name(text: &str) -> RepositoryPath {
    text.parse().unwrap()
}

async fn push_blob(registry: &Registry, repository: &str, bytes: &'static [u8]) -> Digest {
    let digest = Digest::sha256(bytes);
    let what = format!("POST /v2/{repository}/blobs/uploads/?digest={digest}");
    let seen = ask(registry, &what, &[], bytes).await;
    assert_eq!(seen.status, 201);
    assert_eq!(
        seen.header("location"),
        format!("/v2/{repository}/blobs/{digest}")
    );
    digest
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    serde_json::json!({
        "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len(),
    })
}

fn image(config: &[u8], layers: &[&[u8]]) -> serde_json::Value {
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", layer))
        .collect();
    serde_json::json!({
        "schemaVersion": 2, "mediaType": IMAGE,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": layers,
    })
}

async fn put(registry: &Registry, path: &str, kind: &str, document: &serde_json::Value) -> Seen {
    let what = format!("PUT /v2/{path}");
    let headers = [("content-type", kind)];
    ask(registry, &what, &headers, document.to_string()).await
}

fn digest_of(document: &serde_json::Value) -> Digest {
    Digest::sha256(document.to_string().as_bytes())
}

/// Pushes an image of one config and one layer under `a:1`.
async fn push_image(registry: &Registry) -> (serde_json::Value, Digest) {
    push_blob(registry, "a", b"{}").await;
    push_blob(registry, "a", b"layer").await;
    let document = image(b"{}", &[b"layer"]);
    let seen = put(registry, "a/manifests/1", IMAGE, &document).await;
    assert_eq!(seen.status, 201);
    let digest = digest_of(&document);
    assert_eq!(seen.header("location"), format!("/v2/a/manifests/{digest}"));
    assert_eq!(seen.header("docker-content-digest"), digest.to_string());
    (document, digest)
}

#[tokio::test]
async fn a_pushed_image_is_pulled_as_it_was() {
    let registry = writable().await;
    let (document, digest) = push_image(&registry).await;
    for reference in ["1", &digest.to_string()] {
        let path = format!("/v2/a/manifests/{reference}");
        let seen = get(&registry, &path).await;
        assert_eq!(seen.status, 200);
        assert_eq!(seen.body, document.to_string());
        assert_eq!(seen.header("content-type"), IMAGE);
        let head = ask(&registry, &format!("HEAD {path}"), &[], "").await;
        assert_eq!(head.status, 200);
        assert_eq!(head.headers, seen.headers);
        assert!(head.body.is_empty());
    }
    assert_eq!(get(&registry, "/v2/").await.status, 200);
    let missing = get(&registry, "/v2/a/manifests/2").await;
    assert_eq!(
        (missing.status, &*missing.code()),
        (404, "MANIFEST_UNKNOWN")
    );
    let known = [("if-none-match", &*format!("\"{digest}\""))];
    let seen = ask(&registry, "GET /v2/a/manifests/1", &known, "").await;
    assert_eq!((seen.status, seen.body.len()), (304, 0));
}

#[tokio::test]
async fn blobs_are_served_whole_and_in_part() {
    let registry = writable().await;
    let digest = push_blob(&registry, "a", b"0123456789").await;
    let path = format!("/v2/a/blobs/{digest}");
    let whole = get(&registry, &path).await;
    assert_eq!((whole.status, &*whole.body), (200, &b"0123456789"[..]));
    assert_eq!(whole.header("content-length"), "10");
    assert_eq!(whole.header("docker-content-digest"), digest.to_string());
    let head = ask(&registry, &format!("HEAD {path}"), &[], "").await;
    assert_eq!(head.headers, whole.headers);
    for (range, body, shown) in [
        ("bytes=3-", "3456789", "bytes 3-9/10"),
        ("bytes=3-4", "34", "bytes 3-4/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
    ] {
        let seen = ask(&registry, &format!("GET {path}"), &[("range", range)], "").await;
        assert_eq!((seen.status, &*seen.body), (206, body.as_bytes()));
        assert_eq!(seen.header("content-range"), shown);
        assert_eq!(seen.header("content-length"), body.len().to_string());
    }
    let range = [("range", "bytes=10-")];
    let seen = ask(&registry, &format!("GET {path}"), &range, "").await;
    assert_eq!((seen.status, &*seen.code()), (416, "RANGE_INVALID"));
    assert_eq!(seen.header("content-range"), "bytes */10");
    let changed = [("range", "bytes=3-"), ("if-range", "\"other\"")];
    let seen = ask(&registry, &format!("GET {path}"), &changed, "").await;
    assert_eq!((seen.status, seen.body.len()), (200, 10));
    // The bytes are there, but not in this repository.
    let elsewhere = get(&registry, &format!("/v2/b/blobs/{digest}")).await;
    assert_eq!(
        (elsewhere.status, &*elsewhere.code()),
        (404, "BLOB_UNKNOWN")
    );
}

#[tokio::test]
async fn a_blob_is_uploaded_in_pieces() {
    let registry = writable().await;
    let seen = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await;
    assert_eq!((seen.status, seen.header("range")), (202, "0-0"));
    let location = seen.header("location").to_owned();
    assert!(location.starts_with("/v2/a/blobs/uploads/"), "{location}");

    let patch = format!("PATCH {location}");
    let first = [("content-range", "0-2"), ("content-length", "3")];
    let seen = ask(&registry, &patch, &first, "abc").await;
    assert_eq!((seen.status, seen.header("range")), (202, "0-2"));
    // The same piece again does not fit, and the answer says what would.
    let seen = ask(&registry, &patch, &first, "abc").await;
    assert_eq!((seen.status, seen.header("range")), (416, "0-2"));
    assert_eq!(seen.header("location"), location);
    let odd = [("content-range", "3-9"), ("content-length", "3")];
    assert_eq!(
        ask(&registry, &patch, &odd, "def").await.code(),
        "SIZE_INVALID"
    );
    let odd = [("content-range", "later")];
    assert_eq!(ask(&registry, &patch, &odd, "def").await.status, 400);
    // Without a range it is appended.
    let seen = ask(&registry, &patch, &[], "def").await;
    assert_eq!((seen.status, seen.header("range")), (202, "0-5"));
    let seen = get(&registry, &location).await;
    assert_eq!((seen.status, seen.header("range")), (204, "0-5"));

    let digest = Digest::sha256(b"abcdefgh");
    let seen = ask(
        &registry,
        &format!("PUT {location}?digest={digest}"),
        &[],
        "gh",
    )
    .await;
    assert_eq!(seen.status, 201);
    assert_eq!(seen.header("location"), format!("/v2/a/blobs/{digest}"));
    assert_eq!(
        get(&registry, &location).await.code(),
        "BLOB_UPLOAD_UNKNOWN"
    );
    assert_eq!(
        get(&registry, seen.header("location")).await.body,
        "abcdefgh"
    );
}

#[tokio::test]
async fn a_wrong_digest_ends_the_upload_and_stores_nothing() {
    let registry = writable().await;
    let digest = Digest::sha256(b"right");
    for what in ["digest=sha256:12", "digest=", ""] {
        let seen = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await;
        let location = seen.header("location").to_owned();
        let seen = ask(&registry, &format!("PUT {location}?{what}"), &[], "x").await;
        assert_eq!((seen.status, &*seen.code()), (400, "DIGEST_INVALID"));
    }
    let seen = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await;
    let location = seen.header("location").to_owned();
    let finish = format!("PUT {location}?digest={digest}");
    assert_eq!(
        ask(&registry, &finish, &[], "wrong").await.code(),
        "DIGEST_INVALID"
    );
    assert_eq!(
        ask(&registry, &finish, &[], "right").await.code(),
        "BLOB_UPLOAD_UNKNOWN"
    );
    let single = format!("POST /v2/a/blobs/uploads/?digest={digest}");
    assert_eq!(
        ask(&registry, &single, &[], "wrong").await.code(),
        "DIGEST_INVALID"
    );
    assert_eq!(
        get(&registry, &format!("/v2/a/blobs/{digest}"))
            .await
            .status,
        404
    );
    assert_eq!(registry.layout().size(&digest).await.unwrap(), None);
}

#[tokio::test]
async fn an_upload_can_be_cancelled_and_belongs_to_its_repository() {
    let registry = writable().await;
    let seen = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await;
    let location = seen.header("location").to_owned();
    let other = location.replace("/v2/a/", "/v2/b/");
    assert_eq!(get(&registry, &other).await.status, 404);
    let delete = format!("DELETE {location}");
    assert_eq!(ask(&registry, &delete, &[], "").await.status, 204);
    assert_eq!(ask(&registry, &delete, &[], "").await.status, 404);
}

#[tokio::test]
async fn an_upload_that_was_cut_off_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::open(directory.path(), Access::Writable)
        .await
        .unwrap();
    let seen = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await;
    let location = seen.header("location").to_owned();
    let pieces = futures::stream::iter([
        Ok(Frame::data(Bytes::from_static(b"abc"))),
        Err(BodyError::from("cut")),
    ]);
    let request = Request::patch(&location)
        .body(StreamBody::new(pieces))
        .unwrap();
    assert_eq!(registry.handle(request).await.status().as_u16(), 400);
    assert_eq!(get(&registry, &location).await.header("range"), "0-2");
    let digest = Digest::sha256(b"abcdef");
    assert_eq!(registry.layout().size(&digest).await.unwrap(), None);
    let finish = format!("PUT {location}?digest={digest}");
    let rest = [("content-range", "3-5"), ("content-length", "3")];
    assert_eq!(ask(&registry, &finish, &rest, "def").await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn abandoned_uploads_make_room() {
    let registry = writable().await;
    let start = "POST /v2/a/blobs/uploads/";
    let first = ask(&registry, start, &[], "").await;
    tokio::time::advance(Duration::from_secs(1)).await;
    loop {
        let seen = ask(&registry, start, &[], "").await;
        if seen.status != 202 {
            assert_eq!((seen.status, &*seen.code()), (429, "TOOMANYREQUESTS"));
            assert!(!seen.header("retry-after").is_empty());
            break;
        }
    }
    tokio::time::advance(Duration::from_mins(2)).await;
    assert_eq!(ask(&registry, start, &[], "").await.status, 202);
    assert_eq!(get(&registry, first.header("location")).await.status, 404);
}

#[tokio::test]
async fn mounts_need_a_blob_to_mount() {
    let registry = writable().await;
    let digest = push_blob(&registry, "a", b"x").await;
    let absent = Digest::sha256(b"absent");
    for (query, status) in [
        (format!("mount={absent}&from=a"), 202),
        (format!("mount={digest}&from=nobody"), 202),
        (format!("mount={digest}&from=../etc"), 202),
        (format!("mount={digest}&from=a"), 201),
        (format!("mount={digest}&from=b"), 201),
        (format!("mount={digest}"), 201),
        (format!("mount={absent}"), 202),
        ("mount=sha256:0".to_owned(), 400),
    ] {
        let what = format!("POST /v2/b/blobs/uploads/?{query}");
        assert_eq!(
            ask(&registry, &what, &[], "").await.status,
            status,
            "{query}"
        );
    }
    assert_eq!(
        get(&registry, &format!("/v2/b/blobs/{digest}")).await.body,
        "x"
    );
}

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
    let long = vec![b' '; crate::oci::MANIFEST_BYTES_MAX + 1];
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
async fn tags_are_listed_in_pages() {
    let registry = writable().await;
    let (document, _) = push_image(&registry).await;
    for tag in ["b", "a", "C", "0"] {
        put(&registry, &format!("a/manifests/{tag}"), IMAGE, &document).await;
    }
    let seen = get(&registry, "/v2/a/tags/list").await;
    assert_eq!(
        seen.json(),
        serde_json::json!({"name": "a", "tags": ["0", "1", "C", "a", "b"]})
    );
    let mut path = "/v2/a/tags/list?n=2".to_owned();
    let mut all = Vec::new();
    loop {
        let seen = get(&registry, &path).await;
        let tags = seen.json()["tags"].as_array().unwrap().clone();
        assert!(tags.len() <= 2);
        all.extend(tags);
        let Some((next, relation)) = seen.header("link").split_once('>') else {
            break;
        };
        assert_eq!(relation, "; rel=\"next\"");
        path = next.strip_prefix('<').unwrap().to_owned();
    }
    assert_eq!(all, ["0", "1", "C", "a", "b"]);
    let none = get(&registry, "/v2/a/tags/list?n=0").await;
    assert_eq!(none.json()["tags"], serde_json::json!([]));
    let behind = get(&registry, "/v2/a/tags/list?last=a1&n=5").await;
    assert_eq!(behind.json()["tags"], serde_json::json!(["b"]));
    assert_eq!(
        get(&registry, "/v2/a/tags/list?n=x").await.code(),
        "PAGINATION_NUMBER_INVALID"
    );
    let unknown = get(&registry, "/v2/nobody/tags/list").await;
    assert_eq!((unknown.status, &*unknown.code()), (404, "NAME_UNKNOWN"));
    push_blob(&registry, "b/c", b"x").await;
    let seen = get(&registry, "/v2/_catalog?n=1").await;
    assert_eq!(seen.json(), serde_json::json!({"repositories": ["a"]}));
    assert_eq!(
        seen.header("link"),
        "</v2/_catalog?n=1&last=a>; rel=\"next\""
    );
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

#[tokio::test]
async fn a_read_only_registry_refuses_every_write() {
    let registry = writable().await;
    let (_, digest) = push_image(&registry).await;
    let registry = Registry::new(registry.layout().clone(), Access::ReadOnly)
        .await
        .unwrap();
    for what in [
        "POST /v2/a/blobs/uploads/".to_owned(),
        format!("POST /v2/a/blobs/uploads/?mount={digest}&from=a"),
        "PUT /v2/a/manifests/1".to_owned(),
        "DELETE /v2/a/manifests/1".to_owned(),
        format!("DELETE /v2/a/blobs/{}", Digest::sha256(b"layer")),
        "PATCH /v2/a/blobs/uploads/1".to_owned(),
    ] {
        let seen = ask(&registry, &what, &[], "").await;
        assert_eq!((seen.status, &*seen.code()), (405, "UNSUPPORTED"), "{what}");
        assert_eq!(seen.header("allow"), "GET, HEAD");
    }
    assert_eq!(get(&registry, "/v2/a/manifests/1").await.status, 200);
    let seen = ask(&registry, "POST /v2/", &[], "").await;
    assert_eq!(seen.status, 405);
}

#[tokio::test]
async fn many_push_the_same_blob_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::open(directory.path(), Access::Writable)
        .await
        .unwrap();
    let bytes = Bytes::from(vec![7; 1_500_000]);
    let digest = Digest::sha256(&bytes);
    let pushes = (0..8).map(|_| async {
        let seen = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await;
        let location = seen.header("location").to_owned();
        for part in [bytes.slice(..700_000), bytes.slice(700_000..)] {
            let seen = ask(&registry, &format!("PATCH {location}"), &[], part).await;
            assert_eq!(seen.status, 202);
        }
        ask(
            &registry,
            &format!("PUT {location}?digest={digest}"),
            &[],
            "",
        )
        .await
        .status
    });
    let statuses = futures::future::join_all(pushes).await;
    assert_eq!(statuses, [201; 8]);
    assert_eq!(
        get(&registry, &format!("/v2/a/blobs/{digest}")).await.body,
        bytes
    );
}

/// A server on a socket, for as long as the returned set lives.
async fn listening<H: Handler>(handler: Arc<H>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        listen(listener, handler, std::future::pending())
            .await
            .unwrap();
    });
    (url, tasks)
}

#[tokio::test]
async fn a_client_pushes_and_pulls_over_tcp() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::open(directory.path(), Access::Writable)
        .await
        .unwrap();
    let (url, _server) = listening(Arc::new(registry)).await;
    let client = reqwest::Client::new();
    let bytes = vec![3; 2_000_000];
    let digest = Digest::sha256(&bytes);
    let post = client.post(format!("{url}/v2/a/blobs/uploads/"));
    let response = post.send().await.unwrap();
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let put = client.put(format!("{url}{location}?digest={digest}"));
    let response = put.body(bytes.clone()).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let blob = format!("{url}/v2/a/blobs/{digest}");
    let head = client.head(&blob).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "2000000");
    let got = client.get(&blob).send().await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), bytes);
    let long = vec![b' '; 5_000_000];
    let put = client.put(format!("{url}/v2/a/manifests/1"));
    assert_eq!(put.body(long).send().await.unwrap().status(), 413);
}

#[tokio::test]
async fn a_handler_can_cut_a_body_and_a_connection() {
    struct Cutting;
    impl Handler for Cutting {
        async fn handle(
            &self,
            request: Request<hyper::body::Incoming>,
        ) -> Result<Response<Body>, BodyError> {
            if request.uri().path() == "/none" {
                return Err("no answer".into());
            }
            let pieces = futures::stream::iter([
                Ok(Frame::data(Bytes::from_static(b"abc"))),
                Err(BodyError::from("cut")),
            ]);
            let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
            let length = header::HeaderValue::from_static("10");
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
            Ok(response)
        }
    }
    let (url, _server) = listening(Arc::new(Cutting)).await;
    assert!(reqwest::get(format!("{url}/none")).await.is_err());
    // Hyper may cut before or after what was already given to it is on the wire.
    if let Ok(response) = reqwest::get(url).await {
        assert!(response.bytes().await.is_err());
    }
}

#[tokio::test]
async fn the_end_waits_for_requests_under_way() {
    struct Slow(tokio::sync::Semaphore, tokio::sync::Semaphore);
    impl Handler for Slow {
        async fn handle(
            &self,
            _: Request<hyper::body::Incoming>,
        ) -> Result<Response<Body>, BodyError> {
            self.0.add_permits(1);
            self.1.acquire().await?.forget();
            Ok(Response::new(body("done")))
        }
    }
    let slow = Arc::new(Slow(
        tokio::sync::Semaphore::new(0),
        tokio::sync::Semaphore::new(0),
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let end = async move {
        drop(stopped.await);
    };
    let server = listen(listener, Arc::clone(&slow), end);
    let client = async {
        let request = async { reqwest::get(&url).await.unwrap().text().await.unwrap() };
        let control = async {
            slow.0.acquire().await.unwrap().forget();
            stop.send(()).unwrap();
            slow.1.add_permits(1);
        };
        tokio::join!(request, control).0
    };
    let (end, answer) = tokio::join!(server, client);
    end.unwrap();
    assert_eq!(answer, "done");
}

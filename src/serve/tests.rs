//! The registry as a client sees it: requests given to the handler, and some over real TCP.

mod manifests;
mod restart;
mod tcp;
mod uploads;

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

//! Uploads: pieces, sessions, mounts.

use super::*;

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

/// A request for `location` whose body goes on as `pieces` do.
fn slow(
    location: &str,
    pieces: tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, BodyError>>,
) -> Request<impl hyper::body::Body<Data = Bytes, Error = BodyError> + Send> {
    let pieces = futures::stream::unfold(pieces, async |mut pieces| {
        Some((pieces.recv().await?, pieces))
    });
    let body = StreamBody::new(Box::pin(pieces));
    Request::patch(location).body(body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_waits_for_what_was_under_way() {
    let registry = writable().await;
    let seen = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await;
    let location = seen.header("location").to_owned();
    let (sender, pieces) = tokio::sync::mpsc::channel(1);
    let write = registry.handle(slow(&location, pieces));
    let come_back = async {
        let piece = Frame::data(Bytes::from_static(b"abc"));
        sender.send(Ok(piece)).await.unwrap();
        // Beyond patience.
        let busy = get(&registry, &location).await;
        assert_eq!((busy.status, &*busy.code()), (409, "BLOB_UPLOAD_INVALID"));
        let busy = ask(&registry, &format!("PUT {location}"), &[], "").await;
        assert_eq!(busy.status, 409);
        let asked = get(&registry, &location);
        let end = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let cut = Err(BodyError::from("cut"));
            sender.send(cut).await.unwrap();
        };
        let (seen, ()) = tokio::join!(asked, end);
        assert_eq!((seen.status, seen.header("range")), (204, "0-2"));
    };
    let (cut, ()) = tokio::join!(write, come_back);
    assert_eq!(cut.status().as_u16(), 400);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_does_not_hold_its_upload() {
    let registry = writable().await;
    let seen = ask(&registry, "POST /v2/a/blobs/uploads/", &[], "").await;
    let location = seen.header("location").to_owned();
    let (sender, pieces) = tokio::sync::mpsc::channel(2);
    let piece = Frame::data(Bytes::from_static(b"abc"));
    sender.send(Ok(piece)).await.unwrap();
    let left = registry.handle(slow(&location, pieces)).await;
    assert_eq!(left.status().as_u16(), 400);
    assert_eq!(get(&registry, &location).await.header("range"), "0-2");
    drop(sender);
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

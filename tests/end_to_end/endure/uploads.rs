//! Destinations with ways of their own: tokens that end, mounts that are no mounts, places to upload to,
//! and rules for chunks.

use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use libtest_mimic::Trial;

use super::stage::{Stage, put_of};
use crate::faults::noise;
use crate::harness::trial;
use crate::program::auth_file;
use crate::registry::{Auth, Bearer, Image, Mounts, Settings};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "endure::fault_08_a_token_ends_between_the_start_of_an_upload_and_its_put",
            token_ends,
        ),
        trial("endure::fault_18_a_mount_is_answered_in_every_way", mounts),
        trial("endure::fault_19_a_location_of_every_form", locations),
        trial("endure::fault_20_rules_for_the_sizes_of_chunks", chunks),
    ]
}

/// The destination forgets all tokens while a PUT is on its way: that of a blob, and that of a manifest.
async fn token_ends() {
    let bearer = Settings {
        auth: Auth::Bearer(Bearer::default()),
        ..Settings::default()
    };
    let mut stage = Stage::between(Settings::default(), bearer).await;
    let image = stage.image("t/app:1", 300_000).await;
    let file = auth_file(&[(&stage.destination.host(), "user", "password")]);
    stage.place.write("auth.json", file);
    let put = put_of(&image.blobs[1]);
    let held = stage.destination.script(&format!(
        "
        PUT  {put}          1  stall
        PUT  */manifests/*  1  stall
        "
    ));
    let destination = &stage.destination;
    let (ended, ()) = tokio::join!(stage.mirror("--authfile auth.json"), async {
        for held in &held {
            held.hit(1).await;
            destination.revoke_tokens();
            held.release();
        }
    });
    ended.with(0).hiding(&["password"]);
    // Each was asked once more, with another token.
    destination.asked(&format!(
        "
        PUT  {put}          1    401 as Bearer
        PUT  {put}          1    201 as Bearer received 300000
        PUT  */manifests/*  1    401 as Bearer
        PUT  */manifests/*  1    201 as Bearer
        GET  /token*        *
        *    *              *
        "
    ));
    for path in [put.as_str(), "*/manifests/*"] {
        let puts = destination.requests("PUT", path);
        let tokens: Vec<&str> = puts.iter().map(|put| put.header(AUTHORIZATION)).collect();
        assert_ne!(tokens[0], tokens[1], "{path}");
        // What came of a blob is gone with its PUT: it gets a session of its own.
        assert_eq!(puts[0].path == puts[1].path, path != put, "{path}");
    }
    let refused = destination
        .token_requests()
        .iter()
        .any(|token| !token.given);
    assert!(!refused);
    stage.same("t/app").await;
}

/// Two images with a layer in common, where mounts are answered so.
async fn mounts() {
    for (mounts, status) in [
        (Mounts::Done, 201),
        (Mounts::Upload, 202),
        (Mounts::Refused(400), 400),
        (Mounts::Refused(403), 403),
        (Mounts::Refused(404), 404),
        (Mounts::Refused(405), 405),
    ] {
        let settings = Settings {
            mounts,
            ..Settings::default()
        };
        let mut stage = Stage::between(Settings::default(), settings).await;
        let shared = noise(100_000, 1);
        let mut layer = None;
        for name in ["t/one:1", "t/two:1"] {
            let image = Image::of_blobs([shared.clone(), name.into()]);
            layer = Some(stage.add(name, image).await.blobs[1]);
        }
        let put = put_of(&layer.expect("it was pushed"));
        stage.mirror("").await.with(0);
        stage.ended_with(&[("t/one:1", "copied"), ("t/two:1", "copied")]);
        for repository in ["t/one", "t/two"] {
            stage.same(repository).await;
        }
        let log = &stage.destination;
        let mount = "*/blobs/uploads/?*mount=*from=*";
        let answers = log.requests("POST", mount);
        assert!(
            answers.iter().any(|line| line.status == Some(status)),
            "{status}: {}",
            log.log_text()
        );
        // Once where it is mounted, else once for each of the two, and every session was used.
        let puts = log.requests("PUT", &put);
        let expected = if status == 201 { 1 } else { 2 };
        assert_eq!(puts.len(), expected, "{status}: {}", log.log_text());
        let opened = log.requests("POST", "*/blobs/uploads/*");
        let opened = opened.iter().filter(|line| line.status == Some(202));
        let used = log.count("PUT", "*/blobs/uploads/*");
        assert_eq!(opened.count(), used, "{status}: {}", log.log_text());
    }
}

async fn locations() {
    // What the registry says, and what is asked then: `ID` is the end of what it would say by itself.
    for (form, path, query) in [
        ("{}", "/v2/t/app/blobs/uploads/*", ""),
        ("http://HOST{}", "/v2/t/app/blobs/uploads/*", ""),
        ("//HOST{}", "/v2/t/app/blobs/uploads/*", ""),
        ("{last}", "/v2/t/app/blobs/uploads/*", ""),
        ("../uploads/{last}", "/v2/t/app/blobs/uploads/*", ""),
        (
            "{}?_state=a%2Bb&x=%20y",
            "/v2/t/app/blobs/uploads/*",
            "_state=a%2Bb&x=%20y&",
        ),
        ("http://HOST{}?", "/v2/t/app/blobs/uploads/*", ""),
        ("/place/{last}?s=1%2F2", "/place/*", "s=1%2F2&"),
    ] {
        let mut stage = Stage::plain().await;
        let image = stage.image("t/app:1", 10_000).await;
        let location = form.replace("HOST", &stage.destination.host());
        stage.destination.script(&format!(
            "
            POST  */blobs/uploads/*  *  set location {location}
            PUT   /place/*           *  201
            "
        ));
        let ended = stage.mirror("").await;
        let puts = stage.destination.requests("PUT", path);
        let puts: Vec<_> = puts
            .iter()
            .filter(|put| !put.path.contains("/manifests/"))
            .collect();
        assert_eq!(puts.len(), 2, "{form}: {}", stage.logs());
        for put in &puts {
            let digest = put
                .query
                .strip_prefix(query)
                .unwrap_or_else(|| panic!("{put}"));
            let digest = digest.strip_prefix("digest=sha256%3A").expect(form);
            let named = |blob: &&consign::oci::Digest| blob.hex() == digest;
            assert!(image.blobs.iter().any(|blob| named(&blob)), "{put}");
            assert_eq!(put.status, Some(201), "{put}");
        }
        // At the other path nothing is kept, so that the manifest is refused; everywhere else it is there.
        if path.starts_with("/v2/") {
            ended.with(0);
            stage.same("t/app").await;
        } else {
            ended.with(1);
        }
    }
}

/// A registry that wants parts of 16 MiB at least, and refuses others.
async fn chunks() {
    const SIZE: usize = 1_000_000;
    let mut stage = Stage::plain().await;
    let image = stage.image("t/app:1", SIZE).await;
    let put = put_of(&image.blobs[1]);
    stage.destination.script(&format!(
        "
        POST   */blobs/uploads/*  *  set oci-chunk-min-length 16777216
        PATCH  *                  *  416 error BLOB_UPLOAD_INVALID range 0-0
        PUT    {put}              1  416 error BLOB_UPLOAD_INVALID range 0-0
        PUT    {put}              2  cut request after 300000
        "
    ));
    stage.mirror("").await.with(0);
    // Never a part: all bytes and their length, anew in another session after a refusal and after a cut.
    stage.destination.asked(&format!(
        "
        PUT    {put}              1    416 received {SIZE}
        PUT    {put}              1    nothing
        PUT    {put}              1    201 received {SIZE}
        PATCH  *                  0
        *      *                  *
        "
    ));
    let puts = stage.destination.requests("PUT", &put);
    for put in &puts {
        assert_eq!(put.header(CONTENT_LENGTH), SIZE.to_string());
    }
    assert_ne!(puts[0].path, puts[1].path);
    stage.same("t/app").await;
}

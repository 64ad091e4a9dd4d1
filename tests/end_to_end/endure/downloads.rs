//! Bytes that break off, come wrong, or come from elsewhere.

use http::header::AUTHORIZATION;
use libtest_mimic::Trial;

use super::stage::{Stage, blob, put_of};
use crate::faults::put_blob;
use crate::harness::trial;
use crate::program::auth_file;
use crate::registry::{
    Auth, Bearer, Image, Logged, Settings, TestRegistry, Transport, index, when,
};
use crate::relay::{End, Relay, Way};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "endure::fault_01_connection_reset_in_the_middle_of_a_blob",
            reset,
        ),
        trial(
            "endure::fault_01_a_blob_that_is_reset_for_ever_is_given_up",
            reset_for_ever,
        ),
        trial(
            "endure::fault_02_a_body_that_ends_early_with_a_good_status",
            truncated,
        ),
        trial(
            "endure::fault_03_other_bytes_than_the_digest_says",
            other_bytes,
        ),
        trial(
            "endure::fault_04_a_digest_header_that_is_wrong_or_missing",
            digest_header,
        ),
        trial("endure::fault_09_a_signed_url_that_ends", signed_url),
        trial(
            "endure::fault_09_a_signed_url_that_has_ended_already",
            ended_url,
        ),
        trial(
            "endure::fault_10_a_redirect_to_another_host_scheme_or_port",
            redirected,
        ),
    ]
}

/// A blob of 2 MB through connections that are reset every 500 kB.
async fn reset() {
    const SIZE: usize = 2_000_000;
    let mut stage = Stage::plain().await;
    let image = stage.image("t/app:1", SIZE).await;
    let layer = blob(&image.blobs[1]);
    let relay = Relay::start(&stage.source.host());
    let relay = relay.cut(Way::Out, 500_000, (3, End::Reset));
    let through = format!("-s {}", relay.host());
    stage.mirror(&through).await.with(0);
    stage.ended_with(&[("t/app:1", "copied")]);
    // Each goes on where the one before ended. What was on the wire at a reset is lost, so that only those
    // of `fault_02`, which end in order, are known to the byte.
    stage.source.asked(&format!(
        "
        GET  {layer}  1  200 from 0
        GET  {layer}  3  206 later
        *    *        *
        "
    ));
    let asked = stage.source.requests("GET", &layer);
    let from: Vec<Option<u64>> = asked.iter().map(Logged::first_byte).collect();
    assert!(from.is_sorted_by(|one, next| one < next), "{from:?}");
    for (at, from) in (0..).zip(&from) {
        assert!(*from <= Some(at * 500_000), "{from:?} was never sent");
    }
    // The hash went on as the bytes did: one upload, which was right.
    stage.destination.asked(&format!(
        "
        PUT  {}  1  201 received {SIZE}
        *    *   *
        ",
        put_of(&image.blobs[1]),
    ));
    stage.same("t/app").await;

    // A source that has no ranges sends it anew, and what came before is passed over.
    let mut stage = Stage::plain().await;
    let image = stage.image("t/app:1", SIZE).await;
    let layer = blob(&image.blobs[1]);
    stage.source.script("GET */blobs/* * ignore range");
    let relay = Relay::start(&stage.source.host());
    let relay = relay.cut(Way::Out, 500_000, (2, End::Reset));
    let through = format!("-s {}", relay.host());
    stage.mirror(&through).await.with(0);
    stage.source.asked(&format!(
        "
        GET  {layer}  1    200 from 0
        GET  {layer}  1-4  200
        *    *        *
        "
    ));
    assert_eq!(stage.destination.count("PUT", "*/manifests/1"), 1);
    stage.same("t/app").await;
}

/// Every connection is reset after 5 kB, which is the head of an answer and no more.
async fn reset_for_ever() {
    let mut stage = Stage::plain().await;
    let image = stage.image("t/app:1", 1_000_000).await;
    let relay = Relay::start(&stage.source.host());
    let relay = relay.cut(Way::Out, 5_000, (usize::MAX, End::Reset));
    let through = format!("-s {}", relay.host());
    let ended = stage.mirror(&through).await.with(4);
    ended.saying(&["after 5 attempts"]);
    stage.ended_with(&[("t/app:1", "failed")]);
    let layer = blob(&image.blobs[1]);
    assert_eq!(stage.source.count("GET", &layer), 5, "{}", stage.logs());
    stage.nothing_visible("t/app").await;
    assert_eq!(stage.place.lines("mirror-failed.txt"), ["t/app:1"]);
    // The same list does it once the way is good.
    stage.mirror("").await.with(0);
    stage.same("t/app").await;
}

async fn truncated() {
    const SIZE: usize = 300_000;
    // The connection ends in order: before the length is reached, or with no length told.
    for fault in ["cut after 100000", "drop content-length"] {
        let mut stage = Stage::plain().await;
        let image = stage.image("t/app:1", SIZE).await;
        let layer = blob(&image.blobs[1]);
        stage.source.script(&format!(
            "
            GET  {layer}          1    {fault}
            GET  {layer}          1    cut after 100000
            GET  */manifests/*    1-2  cut after 50
            "
        ));
        stage.mirror("").await.with(0);
        stage.source.asked(&format!(
            "
            GET  {layer}          1    200 from 0
            GET  {layer}          1    206 from 100000
            GET  */manifests/*    3    200
            *    *                *
            "
        ));
        stage.same("t/app").await;
    }
    // It is told to be shorter than it is, and is so: nothing that was cut is committed.
    let mut stage = Stage::plain().await;
    let image = stage.image("t/app:1", SIZE).await;
    let layer = blob(&image.blobs[1]);
    let part = stage.bytes_of("t/app", &image.blobs[1]).await[..100_000].to_vec();
    stage.source.rule(when("GET", &layer).replace_body(part));
    stage.mirror("").await.with(1).saying(&["100000"]);
    stage.nothing_visible("t/app").await;
    for put in stage.destination.requests("PUT", "*/blobs/uploads/*") {
        let is_config = put.received < 100_000 && put.status == Some(201);
        assert!(is_config || put.status != Some(201), "{}", stage.logs());
    }
}

async fn other_bytes() {
    let mut stage = Stage::plain().await;
    let wrong = stage.image("t/wrong:1", 300_000).await;
    stage.image("t/good:1", 1000).await;
    // A child of an index, by its digest, is other bytes too.
    let child = Image::new(&["t/child"])
        .push(&stage.source, "t/child", None)
        .await;
    index(&stage.source, "t/child", Some("1"), &[&child]).await;
    stage.listed("t/child:1");
    let layer = blob(&wrong.blobs[1]);
    let child_path = format!("*/manifests/{}", child.digest);
    stage.source.script(&format!(
        "
        GET  {layer}       *  corrupt at 299999
        GET  {child_path}  *  corrupt at 10
        "
    ));
    let ended = stage.mirror("").await.with(1);
    let other = {
        let mut bytes = stage.bytes_of("t/wrong", &wrong.blobs[1]).await;
        bytes[299_999] ^= 1;
        consign::oci::Digest::sha256(&bytes)
    };
    let both = [wrong.blobs[1].to_string(), other.to_string()];
    ended.saying(&[&both[0], &both[1], &child.digest.to_string()]);
    stage.ended_with(&[
        ("t/wrong:1", "failed"),
        ("t/good:1", "copied"),
        ("t/child:1", "failed"),
    ]);
    // It was noticed here, and not by the destination, which never got all of it.
    let report = stage.place.json("report.json");
    for line in [0, 2] {
        let failure = &report["lines"][line]["failure"];
        assert_eq!(
            (&failure["kind"], &failure["side"]),
            (&"integrity".into(), &"source".into())
        );
    }
    for put in stage.destination.requests("PUT", &put_of(&wrong.blobs[1])) {
        assert!(put.received < 300_000, "{}", stage.logs());
    }
    // No storm: each wrong thing was read once.
    stage.source.asked(&format!(
        "
        GET  {layer}       1  200
        GET  {child_path}  1  200
        *    *             *
        "
    ));
    stage.nothing_visible("t/wrong").await;
    stage.nothing_visible("t/child").await;
    stage.same("t/good").await;
}

async fn digest_header() {
    let other = format!("sha256:{}", "0".repeat(64));
    let mut stage = Stage::plain().await;
    for name in ["t/wrong:1", "t/missing:1", "t/taken:1"] {
        stage.image(name, 1000).await;
    }
    stage.source.script(&format!(
        "
        *    /v2/t/wrong/manifests/*    *  set docker-content-digest {other}
        *    /v2/t/missing/manifests/*  *  drop docker-content-digest
        "
    ));
    stage
        .destination
        .script("PUT /v2/t/taken/manifests/* * drop docker-content-digest");
    let ended = stage.mirror("").await.with(0);
    ended.saying(&["the registry names another digest", &other]);
    for repository in ["t/wrong", "t/missing", "t/taken"] {
        stage.same(repository).await;
    }
    // A destination that says that it stored something else did so, as far as anybody can know.
    let mut stage = Stage::plain().await;
    let image = stage.image("t/app:1", 1000).await;
    let script = format!("PUT */manifests/* * set docker-content-digest {other}");
    stage.destination.script(&script);
    let ended = stage.mirror("").await.with(1);
    ended.saying(&[&other, &image.digest.to_string()]);
}

/// A registry with tokens that sends to an object store, by URLs that are all different, and what was
/// asked of the store when the image was mirrored.
struct Signed {
    stage: Stage,
    store: TestRegistry,
    layer: String,
}

impl Signed {
    async fn new() -> Self {
        let guarded = Settings {
            auth: Auth::Bearer(Bearer::default()),
            ..Settings::default()
        };
        let mut stage = Stage::between(guarded, Settings::default()).await;
        let store = TestRegistry::start().await;
        let image = stage.image("t/app:1", 1_000_000).await;
        let layer = blob(&image.blobs[1]);
        let bytes = stage.bytes_of("t/app", &image.blobs[1]).await;
        put_blob(&store, "t/app", bytes).await;
        let at_store = format!("{}/v2/t/app/blobs/{}", store.url(), image.blobs[1]);
        let redirects: Vec<String> = (1..=9)
            .map(|n| format!("GET {layer} {n} redirect {at_store}?sig={n}"))
            .collect();
        stage.source.script(&redirects.join("\n"));
        let file = auth_file(&[(&stage.source.host(), "user", "password")]);
        stage.place.write("auth.json", file);
        Self {
            stage,
            store,
            layer,
        }
    }

    /// The image was copied by this many URLs, in one upload.
    async fn is_copied_by(&self, urls: usize) {
        self.stage.source.asked(&format!(
            "
            GET  {}  {urls}  307 as Bearer
            *    *   *
            ",
            self.layer
        ));
        let uploads = self.stage.destination.count("PUT", "*/blobs/uploads/*");
        assert_eq!(uploads, 2, "{}", self.stage.logs());
        self.stage.same("t/app").await;
    }
}

/// Every URL is good for one request and 400 kB.
async fn signed_url() {
    let signed = Signed::new().await;
    signed.store.script(
        "
        GET  */blobs/*?sig=1  1   cut after 400000
        GET  */blobs/*?sig=2  1   cut after 400000
        GET  */blobs/*?sig=1  2-  403
        GET  */blobs/*?sig=2  2-  403
        ",
    );
    signed.stage.mirror("--authfile auth.json").await.with(0);
    // Each once, from where the one before ended, and never with the registry's token.
    signed.store.asked(
        "
        GET  */blobs/*?sig=1  1  200 from 0 as nobody
        GET  */blobs/*?sig=2  1  206 from 400000 as nobody
        GET  */blobs/*?sig=3  1  206 from 800000 as nobody
        ",
    );
    signed.is_copied_by(3).await;
}

/// A URL has ended when it is followed, as where the clocks differ or a place was waited for.
async fn ended_url() {
    let signed = Signed::new().await;
    signed.store.script(
        r#"
        GET  */blobs/*?sig=1  *  403 body "<Code>AccessDenied</Code>"
        GET  */blobs/*?sig=2  1  cut after 400000
        GET  */blobs/*?sig=3  *  403
        "#,
    );
    signed.stage.mirror("--authfile auth.json").await.with(0);
    signed.store.asked(
        "
        GET  */blobs/*?sig=1  1  403 from 0 as nobody
        GET  */blobs/*?sig=2  1  200 from 0 as nobody
        GET  */blobs/*?sig=3  1  403 from 400000 as nobody
        GET  */blobs/*?sig=4  1  206 from 400000 as nobody
        ",
    );
    signed.is_copied_by(4).await;

    // One that never lets anybody in is left after as many tries as anything.
    let signed = Signed::new().await;
    signed.store.script("GET * * 403");
    let ended = signed.stage.mirror("--authfile auth.json").await;
    ended
        .failed()
        .saying(&["403"])
        .hiding(&["sig=", "password"]);
    assert!(signed.store.log().len() <= 5, "{}", signed.store.log_text());
    signed.stage.nothing_visible("t/app").await;
}

async fn redirected() {
    let secret = |stage: &Stage| {
        let file = auth_file(&[(&stage.source.host(), "user", "password")]);
        stage.place.write("auth.json", file);
    };
    let basic = || Settings {
        auth: Auth::Basic("user", "password"),
        ..Settings::default()
    };
    // Another port of the same host is another host.
    let mut stage = Stage::between(basic(), Settings::default()).await;
    let other = TestRegistry::start().await;
    let image = stage.image("t/app:1", 1000).await;
    let bytes = stage.bytes_of("t/app", &image.blobs[1]).await;
    put_blob(&other, "t/app", bytes).await;
    let layer = blob(&image.blobs[1]);
    let to = format!("{}/v2/t/app/blobs/{}", other.url(), image.blobs[1]);
    stage.source.script(&format!("GET {layer} * redirect {to}"));
    secret(&stage);
    stage.mirror("--authfile auth.json").await.with(0);
    other.asked("GET */blobs/* 1 200 as nobody");
    assert!(
        other
            .log()
            .iter()
            .all(|line| line.header(AUTHORIZATION).is_empty())
    );
    stage.same("t/app").await;

    // From TLS to plain HTTP, and to a scheme that is none.
    let tls = Settings {
        transport: Transport::Tls,
        ..basic()
    };
    let mut stage = Stage::between(tls, Settings::default()).await;
    let image = stage.image("t/app:1", 1000).await;
    let layer = blob(&image.blobs[1]);
    stage.place.write("ca.pem", stage.source.certificate());
    secret(&stage);
    for to in [to.as_str(), "ftp://127.0.0.1/x", "http://169.254.169.254/x"] {
        stage.source.clear_rules();
        stage.source.clear_log();
        stage.source.script(&format!("GET {layer} * redirect {to}"));
        let run_it = "--authfile auth.json --ca-file ca.pem";
        stage.mirror(run_it).await.with(1).hiding(&["password"]);
        assert_eq!(stage.source.count("GET", &layer), 1, "{to}");
        stage.nothing_visible("t/app").await;
    }
    // Nobody went there.
    assert_eq!(other.log().len(), 1);
}

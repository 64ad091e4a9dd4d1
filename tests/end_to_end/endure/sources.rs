//! Faults 28 and 32 to 34: tags that move, encodings, pages for people, and clocks that are wrong.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use consign::event::{Event, Meter, Note};
use consign::plan::Rewrite;
use consign::runner::{self, Consumer, Mirror, Wish};
use consign::transfer::{Engine, Options};
use consign::{attached::Attached, list, plan, registry as client};
use http::header::ACCEPT_ENCODING;
use libtest_mimic::Trial;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::stage::Stage;
use super::wire::Wire;
use crate::certificates::Authority;
use crate::faults::{blob_path, manifest_path, quick};
use crate::harness::trial;
use crate::registry::{Bearer, Contents, Image, Settings, Transport, index, when};
use crate::signatures::stand::OURS;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "endure::fault_28_a_tag_that_moves_is_copied_as_it_was_and_said_so",
            moved,
        ),
        trial(
            "endure::fault_32_content_encoding_changes_no_byte",
            encodings,
        ),
        trial("endure::fault_33_a_login_page_is_no_answer", pages),
        trial(
            "endure::fault_34_a_clock_that_is_wrong_is_named_or_does_no_harm",
            clocks,
        ),
    ]
}

async fn moved() {
    moved_meanwhile().await;
    gone_meanwhile().await;
    moved_long_ago().await;
}

/// It moves between the question for its digest and the one for its bytes, or while the blobs come.
async fn moved_meanwhile() {
    for waits_for in ["manifest", "blob"] {
        let stage = Stage::plain().await;
        let child = Image::new(&["planned"])
            .push(&stage.source, "app", None)
            .await;
        let planned = index(&stage.source, "app", Some("1"), &[&child]).await;
        // Something stands there, so that the source is asked for a digest first.
        let old = Image::new(&["old"]);
        old.push(&stage.destination, "app", Some("1")).await;
        let path = match waits_for {
            "manifest" => manifest_path(planned.digest),
            _ => blob_path(&child.blobs[1]),
        };
        let asked = stage.source.rule(when("GET", &path).stall());
        let moves = async {
            asked.hit(1).await;
            Image::new(&["moved"])
                .push(&stage.source, "app", Some("1"))
                .await;
            asked.release();
        };
        let (ended, ()) = tokio::join!(stage.mirrored(&["app:1"], ""), moves);
        ended.with(0);
        assert_eq!(stage.destination.tag("app", "1"), Some(planned.digest));
        assert_eq!(stage.line(0)["source_digest"], planned.digest.to_string());
        // The tag is looked up once.
        assert_eq!(
            stage.source.count("*", &manifest_path("1")),
            1,
            "{}",
            stage.logs()
        );
        // The next run brings what it names by now.
        stage.clear();
        stage.mirrored(&["app:1"], "").await.with(0);
        assert_eq!(
            stage.destination.tag("app", "1"),
            stage.source.tag("app", "1")
        );
    }
}

/// What was looked up is gone by the time it is asked for: nothing else comes in its place.
async fn gone_meanwhile() {
    let stage = Stage::plain().await;
    let planned = Image::new(&["planned"])
        .push(&stage.source, "app", Some("1"))
        .await;
    let old = Image::new(&["old"])
        .push(&stage.destination, "app", Some("1"))
        .await;
    let newer = Image::new(&["moved"])
        .push(&stage.source, "app", None)
        .await;
    let gone = when("GET", &manifest_path(planned.digest)).respond(404);
    stage.source.rule(gone.error("MANIFEST_UNKNOWN"));
    let second = when("HEAD", &manifest_path("1")).from(2);
    let digest = newer.digest.to_string();
    stage
        .source
        .rule(second.set_header("docker-content-digest", &digest));
    let ended = stage.mirrored(&["app:1"], "").await.with(1);
    ended.saying(&[
        "app:1",
        &planned.digest.to_string(),
        &digest,
        "is gone",
        "next run",
    ]);
    stage.failed(0, ("not-found", "source"), &["its tag named"]);
    assert_eq!(stage.destination.tag("app", "1"), Some(old.digest));
    assert!(stage.destination.writes().is_empty(), "{}", stage.logs());
    // Where the tag has not moved, what is gone is just gone.
    stage.clear();
    let gone = when("GET", &manifest_path(planned.digest)).respond(404);
    stage.source.rule(gone.error("MANIFEST_UNKNOWN"));
    let ended = stage.mirrored(&["app:1"], "").await.with(1);
    assert!(!ended.stderr.contains("its tag named"), "{ended}");
}

/// Keeps the remarks of a run.
#[derive(Default)]
struct Remarks(Vec<String>);

impl Consumer for Remarks {
    fn event(&mut self, event: &Event) {
        if let Event::Noted {
            note: Note::Remark(remark),
            ..
        } = event
        {
            self.0.push(remark.clone());
        }
    }

    fn tick(&mut self) {}
}

/// Mirrors `app:1` by the runner, looking again at the tag after a copy of so long; gives the remarks.
async fn looking_again(stage: &Stage, after: Duration) -> Vec<String> {
    let text = format!("{}/app:1", stage.source.host());
    let parsed = list::parse("list", text.as_bytes()).expect("a list");
    let rewrite = Rewrite {
        destination_registry: Some(stage.destination.host().parse().expect("a registry")),
        ..Rewrite::default()
    };
    let plan = plan::plan(parsed.entries, &rewrite).expect("a plan");
    let client = client::Client::new(quick());
    let attached = Attached::new(client.clone(), None);
    let engine = Engine::new(client, Arc::new(Meter::new()), attached);
    let work = Mirror::new(Arc::new(engine), Options::default()).with_second_look(after);
    let settings = runner::Settings {
        jobs: NonZeroUsize::MIN,
        timeout: None,
        skipped: 0,
        warnings: Vec::new(),
    };
    // A run stays on one thread, as in the program.
    let runtime = Handle::current();
    let run = move || {
        let (wish, wishes) = watch::channel(Wish::Go);
        let mut remarks = Remarks::default();
        let run = runner::run(
            Arc::new(plan),
            Arc::new(work),
            settings,
            wishes,
            &mut remarks,
        );
        let (summary, _) = runtime.block_on(run);
        drop(wish);
        assert_eq!(summary.failed, 0, "{summary:?}");
        remarks.0
    };
    tokio::task::spawn_blocking(run).await.expect("it ran")
}

/// A copy that took long looks at the tag once more; one that did not makes no request for it.
async fn moved_long_ago() {
    let long = Duration::from_hours(1);
    for (after, moves, says) in [
        (Duration::ZERO, true, true),
        (Duration::ZERO, false, false),
        (long, true, false),
    ] {
        let stage = Stage::plain().await;
        let planned = Image::new(&["planned"])
            .push(&stage.source, "app", Some("1"))
            .await;
        let asked = stage
            .source
            .rule(when("GET", &blob_path(&planned.blobs[1])).stall());
        let other = async {
            asked.hit(1).await;
            if moves {
                Image::new(&["moved"])
                    .push(&stage.source, "app", Some("1"))
                    .await;
            }
            asked.release();
        };
        let (remarks, ()) = tokio::join!(looking_again(&stage, after), other);
        assert_eq!(stage.destination.tag("app", "1"), Some(planned.digest));
        let heads = stage.source.count("HEAD", &manifest_path("1"));
        assert_eq!(heads, usize::from(after.is_zero()), "{}", stage.logs());
        assert_eq!(!remarks.is_empty(), says, "{remarks:?}");
        if says {
            let now = stage.source.tag("app", "1").expect("it is there");
            let names = |digest: &dyn ToString| remarks[0].contains(&digest.to_string());
            assert!(names(&planned.digest) && names(&now), "{remarks:?}");
            assert!(remarks[0].contains("moved"), "{remarks:?}");
        }
    }
    // What is there already costs what it costs, however long it took.
    let stage = Stage::plain().await;
    for registry in [&stage.source, &stage.destination] {
        Image::new(&["a"]).push(registry, "app", Some("1")).await;
    }
    assert!(looking_again(&stage, Duration::ZERO).await.is_empty());
    assert_eq!(
        stage.source.count("*", &manifest_path("1")),
        1,
        "{}",
        stage.logs()
    );
}

async fn encodings() {
    for encoding in ["gzip", "x-gzip", "deflate", "br, zstd", "identity"] {
        let stage = Stage::plain().await;
        // A layer that is a gzip, and one that is none.
        for (tag, image) in [
            ("packed", Image::new(&["packed"])),
            ("plain", Image::of_blobs(["not packed"])),
        ] {
            let child = image.push(&stage.source, "app", None).await;
            index(&stage.source, "app", Some(tag), &[&child]).await;
        }
        for registry in [&stage.source, &stage.destination] {
            registry.rule(when("*", "/v2/*").set_header("content-encoding", encoding));
        }
        stage
            .mirrored(&["app:packed", "app:plain"], "")
            .await
            .with(0);
        stage.same("app").await;
        stage
            .mirrored(&["app:packed", "app:plain"], "")
            .await
            .with(0);
        let is_up_to_date = stage.line(0)["outcome"] == "up-to-date";
        assert!(is_up_to_date, "{:#}", stage.line(0));
        for request in stage.source.log() {
            let asked = request.header(ACCEPT_ENCODING);
            assert!(
                asked.is_empty() || asked == "identity",
                "{request}: {asked}"
            );
        }
    }
    // One that does encode, though nobody asked for it, is found out by what comes.
    let stage = Stage::plain().await;
    let image = Image::of_blobs(["layer"])
        .push(&stage.source, "app", Some("1"))
        .await;
    let path = blob_path(&image.blobs[1]);
    let encoded = when("GET", &path).set_header("content-encoding", "gzip");
    stage.source.rule(encoded);
    stage
        .source
        .rule(when("GET", &path).replace_body("\u{1f}\u{8b}..."));
    stage.mirrored(&["app:1"], "").await.with(1);
    stage.failed(0, ("integrity", "source"), &[&image.blobs[1].to_string()]);
    assert_eq!(stage.destination.tag("app", "1"), None);
    assert_eq!(stage.source.count("GET", &path), 1, "{}", stage.logs());
}

const HTML: &str = "<html>please log in</html>";

async fn pages() {
    // Of each place, the page itself, or a redirect to it.
    for (at_source, method, path, kind) in [
        (true, "*", "*/manifests/*", "refused"),
        (true, "GET", "*/blobs/*", "refused"),
        (true, "GET", "*/referrers/*", "refused"),
        (false, "*", "*/manifests/*", "refused"),
        (false, "POST", "*/blobs/uploads/*", "refused"),
        (false, "PUT", "*/blobs/uploads/*", "refused"),
        (false, "PUT", "*/manifests/*", "refused"),
    ] {
        for is_moved in [false, true] {
            let stage = Stage::plain().await;
            Image::new(&["a"])
                .push(&stage.source, "app", Some("1"))
                .await;
            let (registry, side) = if at_source {
                (&stage.source, "source")
            } else {
                (&stage.destination, "destination")
            };
            let page = |path: &str| {
                let page = when("*", path).respond(200);
                registry.rule(
                    page.header("content-type", "text/html; charset=utf-8")
                        .body(HTML),
                );
            };
            let asked = if is_moved {
                page("/login");
                registry.rule(when(method, path).respond(302).header("location", "/login"))
            } else {
                let page = when(method, path).respond(200);
                registry.rule(
                    page.header("content-type", "text/html; charset=utf-8")
                        .body(HTML),
                )
            };
            let ended = stage.mirrored(&["app:1"], "").await;
            let what = format!(
                "{method} {path}, moved: {is_moved}\n{ended}\n{}",
                stage.logs()
            );
            assert_eq!(ended.code(), Some(1), "{what}");
            let failure = stage.failure(0);
            assert!(
                failure["kind"] == kind && failure["side"] == side,
                "{failure:#}\n{what}"
            );
            // For each of two blobs that go at the same time: a mount, and an upload.
            let most = if method == "POST" { 4 } else { 2 };
            assert!((1..=most).contains(&asked.hits()), "{what}");
            assert!(!ended.stderr.contains("<html>"), "{what}");
            assert_eq!(stage.destination.tag("app", "1"), None, "{what}");
            let there = Contents::of(&stage.destination, "app").await;
            assert!(there.manifests.is_empty(), "{what}");
        }
    }
    pages_for_verdicts().await;
}

/// A page is no token, no list of tags, and no verdict.
async fn pages_for_verdicts() {
    let guarded = crate::faults::bearer(Bearer {
        credentials: None,
        ..Bearer::default()
    });
    let stage = Stage::between(guarded, Settings::default()).await;
    let image = Image::new(&["a"])
        .push(&stage.source, "app", Some("1"))
        .await;
    let page = when("*", "/token").respond(200);
    let page = page.header("content-type", "text/html").body(HTML);
    let page = stage.source.rule(page);
    let ended = stage.mirrored(&["app:1"], "").await.failed();
    ended.saying(&["token"]);
    assert_eq!(page.hits(), 1, "{}", stage.logs());
    stage.clear();
    let page = when("GET", "*/tags/list").respond(200);
    let page = page.header("content-type", "text/html").body(HTML);
    stage.source.rule(page);
    // What is not listed is asked for by its name: the tag of a signature travels all the same.
    let signature = format!("sha256-{}.sbom", image.digest.hex());
    Image::new(&["an sbom"])
        .push(&stage.source, "app", Some(&signature))
        .await;
    stage.mirrored(&["app:1"], "").await.with(0);
    let sbom = stage.source.tag("app", &signature);
    assert_eq!(stage.destination.tag("app", &signature), sbom);
    let host = stage.source.host();
    let listed = stage
        .place
        .run(&format!("list-tags {host}/app"))
        .await
        .with(1);
    assert!(listed.stdout.is_empty(), "{listed}");
    listed.saying(&["HTML"]);
    stage.clear();
    for path in ["*/referrers/*", "*/manifests/sha256-*"] {
        let page = when("*", path).respond(200);
        stage
            .source
            .rule(page.header("content-type", "text/html").body(HTML));
    }
    let validate = format!(
        "validate {host}/app:1 --key {} --report report.json",
        OURS.public()
    );
    let ended = stage.place.run(&validate).await.with(4);
    assert_eq!(stage.line(0)["outcome"], "undetermined", "{ended}");
}

async fn clocks() {
    token_dates().await;
    retry_dates().await;
    certificates().await;
}

/// A token lives for as long as it is said to from when it was asked for, whatever date is on it.
async fn token_dates() {
    for issued in ["1999-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "yesterday"] {
        let stage = Stage::plain().await;
        let tags = ["1", "2", "3"];
        for tag in tags {
            Image::new(&[tag])
                .push(&stage.source, "app", Some(tag))
                .await;
        }
        let realm = format!(
            "Bearer realm=\"{}/token\",service=\"x\"",
            stage.source.url()
        );
        let asks = when("*", "/v2/app/*").nth(1).respond(401);
        stage.source.rule(asks.header("www-authenticate", &realm));
        let token = serde_json::json!({ "token": "t", "issued_at": issued, "expires_in": 300 });
        let given = when("*", "/token").respond(200);
        let given = given.header("date", "Fri, 01 Jan 1999 00:00:00 GMT");
        let given = stage.source.rule(given.body(token.to_string()));
        let names = tags.map(|tag| format!("app:{tag}"));
        stage.mirrored(&names, "--jobs 1").await.with(0);
        assert_eq!(given.hits(), 1, "{issued}: {}", stage.logs());
        stage.same("app").await;
    }
}

/// A date to wait for is one on the clock of who says it.
async fn retry_dates() {
    let hour = Duration::from_hours(1);
    let now = SystemTime::now();
    for (skew, its_now) in [("ahead", now + hour), ("behind", now - hour)] {
        let stage = Stage::plain().await;
        Image::new(&["a"])
            .push(&stage.source, "app", Some("1"))
            .await;
        let date = |time| httpdate::fmt_http_date(time);
        let busy = when("GET", "*/manifests/*").nth(1).respond(429);
        let busy = busy.header("date", &date(its_now));
        let until = date(its_now + Duration::from_secs(1));
        stage.source.rule(busy.header("retry-after", &until));
        stage.mirrored(&["app:1"], "").await.with(0);
        let took = stage.line(0)["elapsed_ms"].as_u64().expect("a time");
        assert!((900..30_000).contains(&took), "{skew}: {took} ms");
        stage.same("app").await;
    }
}

/// A certificate that has ended, or has not begun: said with its date after one try, and nothing is sent.
async fn certificates() {
    let authority = Authority::new();
    let names = ["localhost", "127.0.0.1"];
    for (certified, words) in [
        (authority.expired_server(&names), ["expired", "2020-01-02"]),
        (
            authority.future_server(&names),
            ["not valid before", "3020-01-02"],
        ),
    ] {
        let destination = Settings {
            transport: Transport::TlsAs(certified),
            ..Settings::default()
        };
        let stage = Stage::between(Settings::default(), destination).await;
        for name in ["a", "b", "c"] {
            Image::new(&[name])
                .push(&stage.source, name, Some("1"))
                .await;
        }
        let wire = Wire::to(&stage.destination.host()).await;
        stage.place.write("ca.pem", authority.pem());
        let lines = ["a:1", "b:1", "c:1"].map(|name| format!("{}/{name}", stage.source.host()));
        stage.place.write("list.txt", lines.join("\n"));
        let to = wire.host();
        let run_it = format!("mirror -f list.txt -d {to} --ca-file ca.pem --report report.json");
        let ended = stage.place.run(&run_it).await.failed();
        ended.saying(&words).saying(&[&to, "clock"]);
        assert_eq!(wire.accepted(), 1, "it is tried once");
        for n in 0..3 {
            assert_eq!(stage.line(n)["outcome"], "not-tried");
            assert_eq!(stage.line(n)["failure"]["detail"], "certificate-time");
        }
        assert!(stage.destination.log().is_empty(), "{}", stage.logs());
        assert_eq!(stage.source.count("*", "/v2/*"), 0, "{}", stage.logs());
    }
}

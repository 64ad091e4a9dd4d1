//! Registries in trouble, and registries that throttle.

use std::time::{Duration, SystemTime};

use libtest_mimic::Trial;

use super::stage::Stage;
use crate::harness::trial;
use crate::registry::{Image, TestRegistry};
use crate::signatures::stand::{OURS, PASSPHRASE};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("endure::fault_05_server_errors_for_minutes", server_errors),
        trial("endure::fault_06_retry_after_in_every_form", retry_after),
        trial(
            "endure::fault_07_throttling_on_one_api_delays_no_other",
            one_api,
        ),
        trial(
            "endure::fault_07_throttling_on_one_api_changes_no_verdict",
            verdicts,
        ),
    ]
}

/// One registry is in trouble for a while, one for as long as the run lasts, and one is well.
async fn server_errors() {
    let mut stage = Stage::plain().await;
    let (good, dead) = (TestRegistry::start().await, TestRegistry::start().await);
    stage.image("t/flaky:1", 1000).await;
    let mut lines = vec![format!("{}/t/flaky:1", stage.source.host())];
    for n in 0..4 {
        for (name, registry) in [("dead", &dead), ("good", &good)] {
            let repository = format!("t/{name}{n}");
            Image::new(&[name])
                .push(registry, &repository, Some("1"))
                .await;
            lines.push(format!("{}/{repository}:1", registry.host()));
        }
    }
    stage.place.write("list.txt", lines.join("\n"));
    stage.source.script(
        "
        GET  */manifests/*  1  500
        GET  */manifests/*  2  502
        GET  */manifests/*  3  503
        GET  */manifests/*  4  504
        ",
    );
    dead.script("* * * 503");
    // No `-s`: every line names its own registry.
    let to = stage.destination.host();
    let run_it = format!("mirror -f list.txt -d {to} --report report.json -j 16");
    let ended = stage.place.run(&run_it).await.with(4);
    ended.saying(&["after 5 attempts", "503"]);
    for (line, outcome) in stage.outcomes() {
        let expected = if line.contains("/dead") {
            "failed"
        } else {
            "copied"
        };
        assert_eq!(outcome, expected, "{line}");
    }
    // As often as is promised, and no more.
    stage.source.asked(
        "
        GET  */manifests/1  1  500
        GET  */manifests/1  1  502
        GET  */manifests/1  1  503
        GET  */manifests/1  1  504
        GET  */manifests/1  1  200
        GET  */blobs/*      2  200
        GET  */tags/list    1  200
        GET  */referrers/*  1  200
        ",
    );
    let tries: Vec<String> = (0..4)
        .map(|n| format!("GET /v2/t/dead{n}/manifests/1 5 503"))
        .collect();
    dead.asked(&tries.join("\n"));
    // The registry that is well waited for nobody: all of it was asked before the last try of the others.
    let last = |registry: &TestRegistry| registry.log().iter().map(|line| line.at).max();
    assert!(last(&good) < last(&dead));
}

/// Sources that each say 429 once, with a `Retry-After` of their own, in one run.
async fn retry_after() {
    let second = Duration::from_secs(1);
    let soon = httpdate::fmt_http_date(SystemTime::now() + 3 * second);
    // What is waited for at least, in seconds; nothing where it is longer than this run lasts.
    let table: [(&str, Option<u32>); 12] = [
        ("1", Some(1)),
        // A date has no fractions, and the program needs a moment to start.
        (&soon, Some(1)),
        ("0", Some(0)),
        ("-5", Some(0)),
        ("1.5", Some(0)),
        ("soon", Some(0)),
        ("99999999999999999999999999", Some(0)),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
        ("Wed, 21 Oct 2099 07:28:00 GMT", None),
        ("1000000000000000000", None),
        ("50", None),
        ("3600", None),
    ];
    let place = Stage::plain().await;
    let mut sources = Vec::new();
    let mut list = String::new();
    for (n, (value, wait)) in table.iter().enumerate() {
        let source = TestRegistry::start().await;
        let repository = format!("t/app{n}");
        Image::new(&["a"])
            .push(&source, &repository, Some("1"))
            .await;
        let throttled = source.script(&format!("GET */manifests/* 1 429 retry-after \"{value}\""));
        list = format!("{list}{}/{repository}:1\n", source.host());
        sources.push((source, throttled, *value, *wait));
    }
    place.place.write("list.txt", list);
    let to = place.destination.host();
    let more = "--report report.json -j 16 --timeout 4s --debug";
    let ended = place
        .place
        .run(&format!("mirror -f list.txt -d {to} {more}"))
        .await;
    let ended = ended.with(4);
    for ((source, throttled, value, wait), (line, outcome)) in sources.iter().zip(place.outcomes())
    {
        assert_eq!(throttled[0].hits(), 1);
        let asked = source.requests("GET", "*/manifests/*");
        let Some(wait) = wait else {
            // It is waited for to the end of the line's time, or the line fails at once.
            assert_eq!(outcome, "failed", "{value}");
            assert_eq!(asked.len(), 1, "{value}: {}", source.log_text());
            continue;
        };
        assert_eq!(outcome, "copied", "{value}: {line}");
        let waited = asked[1].at - asked[0].at;
        assert!(waited >= second * *wait, "{value}: {waited:?}");
        assert!(waited < 4 * second, "{value}: {waited:?}");
    }
    // What is absurd is capped at a minute; what is long and can be believed is told.
    let pauses = ended.stderr.matches("pause=60s").count();
    assert_eq!(pauses, 2, "{ended}");
    assert_eq!(ended.stderr.matches("pause=50s").count(), 1, "{ended}");
    let hour = &place.place.json("report.json")["lines"][11]["failure"];
    assert_eq!(hour["kind"], "rate-limited");
    assert!(hour["again"].is_string(), "{hour}");
}

/// The list of referrers is throttled: nothing else of the same registry waits for it.
async fn one_api() {
    const IMAGES: usize = 6;
    let mut stage = Stage::plain().await;
    for n in 0..IMAGES {
        stage.image(&format!("t/app{n}:1"), 10_000).await;
    }
    // All but the first image wait for their uploads until a list was refused, and ask for blobs then.
    let waits: Vec<String> = (1..IMAGES)
        .map(|n| format!("POST /v2/t/app{n}/blobs/uploads/* * stall"))
        .collect();
    let waits = stage.destination.script(&waits.join("\n"));
    let throttled = stage.source.script("GET */referrers/* 1 429 retry-after 2");
    let (ended, ()) = tokio::join!(stage.mirror(""), async {
        throttled[0].hit(1).await;
        for wait in &waits {
            wait.release();
        }
    });
    ended.with(0);
    let source = &stage.source;
    let lists = source.requests("GET", "*/referrers/*");
    assert_eq!(lists.len(), IMAGES + 1, "{}", source.log_text());
    let again = lists[0].at + Duration::from_secs(2);
    assert!(lists[1].at >= again, "{:?}", lists[1].at - lists[0].at);
    // Everything else was asked while that one list was waited for.
    let is_other = |path: &str| path.contains("/blobs/") || path.contains("/manifests/");
    let log = source.log();
    let others: Vec<_> = log.iter().filter(|line| is_other(&line.path)).collect();
    assert_eq!(others.len(), 3 * IMAGES, "{}", source.log_text());
    let after = others.iter().filter(|line| line.at > lists[0].at);
    assert!(after.count() >= IMAGES - 1, "{}", source.log_text());
    for line in others {
        assert!(line.at < again, "{line} waited\n{}", source.log_text());
    }
    for n in 0..IMAGES {
        stage.same(&format!("t/app{n}")).await;
    }
}

/// What could not be asked is no verdict; once it can be asked, there is one.
async fn verdicts() {
    let mut stage = Stage::plain().await;
    for name in ["t/unsigned:1", "t/signed:1"] {
        stage.image(name, 1000).await;
    }
    let host = stage.source.host();
    let sign = format!(
        "sign {host}/t/signed:1 --signature-format bundle --key {}",
        OURS.private()
    );
    let passphrase = [("COSIGN_PASSWORD", PASSPHRASE.into())];
    stage.place.run_with(&sign, &passphrase).await.with(0);
    let validate = format!(
        "validate -f list.txt --registry {host} --key {} --report report.json",
        OURS.public()
    );
    stage.source.clear_log();
    stage.source.script("GET */referrers/* * 429");
    stage.place.run(&validate).await.with(4);
    stage.ended_with(&[
        ("t/unsigned:1", "undetermined"),
        ("t/signed:1", "undetermined"),
    ]);
    // As often as anything is tried, for each of the two.
    assert_eq!(stage.source.count("GET", "*/referrers/*"), 10);
    stage.source.clear_rules();
    stage.place.run(&validate).await.with(3);
    stage.ended_with(&[("t/unsigned:1", "rejected"), ("t/signed:1", "accepted")]);
}

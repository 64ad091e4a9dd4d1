//! A registry that begins to refuse in the middle of a run.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::Value;

use super::stage::{Stage, lines_with};
use crate::harness::trial;
use crate::program::Ended;
use crate::registry::{Auth, Bearer, Settings, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "access::middle_a_login_that_ends_leaves_the_rest_not_tried",
            login_ends,
        ),
        trial(
            "access::middle_a_token_service_that_refuses_leaves_the_rest_not_tried",
            no_tokens,
        ),
        trial(
            "access::middle_a_registry_that_wants_an_hour_leaves_the_rest_not_tried_and_says_when",
            an_hour,
        ),
        trial(
            "access::middle_one_bad_repository_stops_no_other",
            bad_repository,
        ),
    ]
}

const PASSWORD: &str = "pass-in-the-middle";
const LOGIN: (&str, &str) = ("somebody", PASSWORD);
const IMAGES: usize = 30;

/// Many images, every second one in a repository of its own.
async fn stage() -> Stage {
    let name = |n: usize| format!("team/app{}:{n}", n / 2);
    let names: Vec<String> = (0..IMAGES).map(name).collect();
    Stage::of(&names).await
}

async fn guarded(auth: Auth) -> TestRegistry {
    TestRegistry::with(Settings {
        auth,
        ..Settings::default()
    })
    .await
}

fn bearer(uses: Option<usize>) -> Auth {
    Auth::Bearer(Bearer {
        credentials: Some(("somebody", PASSWORD)),
        uses,
        ..Bearer::default()
    })
}

/// Some arrived, some failed, and most were not tried, for this kind of reason; gives the causes of
/// one of those.
#[track_caller]
fn most_not_tried(ended: &Ended, report: &Value, stage: &Stage, kind: &str) -> String {
    let copied = lines_with(report, "copied").len();
    let failed = lines_with(report, "failed").len();
    let left = lines_with(report, "not-tried").len();
    assert!(copied > 0, "{ended}");
    assert!(failed <= 8 && left > 0, "{failed} failed: {ended}");
    assert_eq!(copied + failed + left, IMAGES, "{ended}");
    let listed = stage.place.lines("mirror-failed.txt").len();
    assert_eq!(listed, failed + left, "{ended}");
    let lines = report["lines"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["outcome"] == "not-tried");
    let failure = &line.expect("one")["failure"];
    assert_eq!(failure["side"], "destination", "{ended}");
    assert_eq!(failure["kind"], kind, "{ended}");
    failure["causes"].to_string()
}

async fn login_ends() {
    for auth in [Auth::Basic("somebody", PASSWORD), bearer(None)] {
        let is_basic = matches!(auth, Auth::Basic(..));
        let stage = stage().await;
        let registry = guarded(auth).await;
        let host = registry.host();
        let stalled = when("PUT", "*/manifests/*").nth(5).stall();
        let stalled = registry.rule(stalled);
        let change = async {
            stalled.hit(1).await;
            registry.change_password("another one");
            registry.revoke_tokens();
            registry.clear_log();
            stalled.release();
        };
        let ((ended, report), ()) = tokio::join!(stage.mirror(&host, LOGIN, "-j 2"), change);
        let ended = ended.with(1).hiding(&[PASSWORD]);
        let causes = most_not_tried(&ended, &report, &stage, "unauthorized");
        assert!(causes.contains(&host), "{causes}");
        ended.saying(&["log in to", &host]);
        // A password that is refused again and again locks its user out elsewhere.
        let refused = if is_basic {
            let is_refused = |line: &&crate::registry::Logged| line.status == Some(401);
            registry.log().iter().filter(is_refused).count()
        } else {
            let asked = registry.token_requests();
            asked.iter().filter(|request| !request.given).count()
        };
        assert!(refused <= 12, "{refused} times: {}", registry.log_text());
    }
}

async fn no_tokens() {
    let stage = stage().await;
    let registry = guarded(bearer(Some(12))).await;
    let refuses = when("GET", "/token").from(4).respond(401);
    let refuses = registry.rule(refuses);
    let (ended, report) = stage.mirror(&registry.host(), LOGIN, "-j 2").await;
    let ended = ended.with(1).hiding(&[PASSWORD]);
    most_not_tried(&ended, &report, &stage, "unauthorized");
    assert!(refuses.hits() <= 12, "{}", registry.log_text());
}

async fn an_hour() {
    let stage = stage().await;
    let registry = guarded(Auth::Basic("somebody", PASSWORD)).await;
    let host = registry.host();
    let busy = when("*", "/v2/*").from(40).respond(429);
    let busy = registry.rule(busy.header("retry-after", "3600").error("TOOMANYREQUESTS"));
    let began = Instant::now();
    let (ended, report) = stage.mirror(&host, LOGIN, "-j 2").await;
    assert!(began.elapsed() < Duration::from_secs(30), "{ended}");
    let ended = ended.with(4);
    let causes = most_not_tried(&ended, &report, &stage, "rate-limited");
    assert!(causes.contains(&host), "{causes}");
    // It says when that is: a time of the day, or how long that takes.
    let is_time = regex::Regex::new(r"\d\d:\d\d|1h|60m|59m").expect("a pattern");
    assert!(is_time.is_match(&causes), "{causes}");
    assert!(busy.hits() <= 30, "{}", registry.log_text());
}

async fn bad_repository() {
    let mut names: Vec<String> = (0..20).map(|n| format!("team/bad:{n}")).collect();
    names.extend((0..4).map(|n| format!("team/good:{n}")));
    let stage = Stage::of(&names).await;
    let registry = guarded(Auth::Basic("somebody", PASSWORD)).await;
    for method in ["POST", "PUT"] {
        let denied = when(method, "/v2/team/bad/*").respond(403);
        registry.rule(denied.error("DENIED"));
    }
    let (ended, report) = stage.mirror(&registry.host(), LOGIN, "-j 2").await;
    let ended = ended.with(1);
    assert_eq!(lines_with(&report, "copied").len(), 4, "{ended}");
    assert_eq!(lines_with(&report, "failed").len(), 20, "{ended}");
}

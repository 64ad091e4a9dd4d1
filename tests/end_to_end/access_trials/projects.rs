//! Harbor's projects: missing, made, full.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::harbor::{Harbor, May, Missing, PASSWORD, USER, refuse_manifests};
use super::stage::{Stage, lines_with};
use crate::harness::trial;
use crate::registry::{Image, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "access::harbor_a_missing_project_is_named_before_any_byte_moves",
            missing,
        ),
        trial(
            "access::harbor_a_missing_project_is_made_once_where_that_is_asked",
            made,
        ),
        trial(
            "access::harbor_a_project_that_may_not_be_made_is_said_so",
            not_made,
        ),
        trial(
            "access::harbor_no_project_is_made_where_there_is_no_harbor",
            no_harbor,
        ),
        trial("access::harbor_a_robot_that_may_not_look_goes_on", robot),
        trial(
            "access::harbor_a_full_project_ends_its_own_lines_alone",
            full,
        ),
        trial(
            "access::harbor_an_immutable_tag_fails_its_line_alone",
            immutable,
        ),
    ]
}

const LOGIN: (&str, &str) = (USER, PASSWORD);

async fn missing() {
    for said in [Missing::Unauthorized, Missing::NotFound, Missing::Trouble] {
        let stage = Stage::of(&["good/a:1", "lost/b:1", "good/c:1", "lost/d:1"]).await;
        let harbor = Harbor::start(&["good"], May::Look, said).await;
        let (ended, report) = stage.mirror(&harbor.host(), LOGIN, "").await;
        let ended = ended.with(1).hiding(&[PASSWORD]);
        let ended = ended.saying(&["lost`", &harbor.host(), "--create-projects"]);
        assert_eq!(
            lines_with(&report, "copied"),
            ["good/a:1", "good/c:1"],
            "{ended}"
        );
        assert_eq!(
            lines_with(&report, "not-tried"),
            ["lost/b:1", "lost/d:1"],
            "{ended}"
        );
        for line in [1, 3] {
            let failure = &report["lines"][line]["failure"];
            assert_eq!(failure["stage"], "preflight", "{ended}");
            assert_eq!(failure["side"], "destination", "{ended}");
        }
        let log = harbor.registry.log_text();
        for method in ["POST", "PUT", "PATCH"] {
            assert_eq!(harbor.registry.count(method, "/v2/lost/*"), 0, "{log}");
            assert_eq!(harbor.registry.count(method, "/api/*"), 0, "{log}");
        }
        assert_eq!(
            harbor.registry.count("HEAD", "/api/v2.0/projects?*=lost"),
            1,
            "{log}"
        );
        let list = stage.place.read("mirror-failed.txt");
        let comments = list.matches("# not-tried stage=preflight side=destination");
        assert_eq!(comments.count(), 2, "{list}");
        assert_eq!(
            stage.place.lines("mirror-failed.txt"),
            ["lost/b:1", "lost/d:1"]
        );
    }
}

async fn made() {
    let names = [
        "lost/a:1",
        "lost/b/c:1",
        "good/c:1",
        "lost/d:1",
        "other/e:1",
    ];
    let stage = Stage::of(&names).await;
    let harbor = Harbor::start(&["good"], May::Create, Missing::Unauthorized).await;
    let more = "--create-projects";
    let (ended, report) = stage.mirror(&harbor.host(), LOGIN, more).await;
    let ended = ended.with(0).hiding(&[PASSWORD]);
    assert_eq!(lines_with(&report, "copied"), names, "{ended}");
    let posts = harbor.registry.requests("POST", "/api/*");
    assert_eq!(posts.len(), 2, "{}", harbor.registry.log_text());
    for post in &posts {
        let wanted: Value = serde_json::from_slice(&post.body).expect("JSON");
        assert_eq!(wanted["metadata"]["public"], "false", "{wanted}");
        assert_eq!(post.headers["content-type"], "application/json");
    }
    let names: Vec<String> = harbor.projects().into_keys().collect();
    assert_eq!(names, ["good", "lost", "other"]);
    // The pushes came after.
    let first = harbor.registry.requests("POST", "/v2/lost/*")[0].number;
    let is_before = |post: &&crate::registry::Logged| post.answered < Some(first);
    assert!(posts.iter().any(|post| is_before(&post)));

    // The next run finds them; and so does one that somebody else was faster than.
    harbor.registry.clear_log();
    stage.mirror(&harbor.host(), LOGIN, more).await.0.with(0);
    assert_eq!(harbor.registry.count("POST", "*"), 0);
    let not_yet = when("HEAD", "/api/v2.0/projects?*=lost")
        .times(1)
        .respond(404);
    harbor.registry.rule(not_yet);
    stage.mirror(&harbor.host(), LOGIN, more).await.0.with(0);
    let posts = harbor.registry.requests("POST", "/api/*");
    let statuses: Vec<_> = posts.iter().map(|post| post.status).collect();
    assert_eq!(statuses, [Some(409)]);
}

async fn not_made() {
    let stage = Stage::of(&["good/a:1", "lost/b:1"]).await;
    let harbor = Harbor::start(&["good"], May::Look, Missing::Unauthorized).await;
    let more = "--create-projects";
    let (ended, report) = stage.mirror(&harbor.host(), LOGIN, more).await;
    let ended = ended.with(1).saying(&["lost`", "403"]);
    assert_eq!(lines_with(&report, "copied"), ["good/a:1"], "{ended}");
    assert_eq!(lines_with(&report, "not-tried"), ["lost/b:1"], "{ended}");
    assert_eq!(harbor.registry.count("POST", "/v2/lost/*"), 0);
}

/// What is no Harbor gets no project, and no password for asking.
async fn no_harbor() {
    let stage = Stage::of(&["team/a:1"]).await;
    for page in [None, Some("<html>Pong</html>")] {
        let registry = TestRegistry::start().await;
        if let Some(page) = page {
            let login = when("GET", "/api/*").respond(200);
            registry.rule(login.header("content-type", "text/html").body(page));
        }
        let more = "--create-projects";
        let (ended, _) = stage.mirror(&registry.host(), LOGIN, more).await;
        ended
            .saying(&["warning: it is no Harbor", &registry.host()])
            .hiding(&[PASSWORD]);
        assert_eq!(
            registry.count("POST", "/api/*"),
            0,
            "{}",
            registry.log_text()
        );
        for asked in registry.requests("*", "/api/*") {
            assert_eq!(asked.scheme(), "", "{asked}");
        }
    }
}

async fn robot() {
    let stage = Stage::of(&["good/a:1", "good/b:1"]).await;
    let harbor = Harbor::start(&["good"], May::Nothing, Missing::Unauthorized).await;
    stage.mirror(&harbor.host(), LOGIN, "").await.0.with(0);
    // What is not there is found out on the way, and fails its line alone.
    let stage = Stage::of(&["good/a:1", "lost/b:1"]).await;
    let (ended, report) = stage.mirror(&harbor.host(), LOGIN, "").await;
    let ended = ended.with(1).saying(&["lost/b"]);
    assert_eq!(lines_with(&report, "up-to-date"), ["good/a:1"], "{ended}");
}

async fn full() {
    const IMAGES: usize = 12;
    let of_harbor_2 = "adding 10.0 MiB of storage resource, which when updated to current usage of \
         95.0 MiB will exceed the configured upper limit of 100.0 MiB.";
    let of_harbor_1 = "Quota exceeded when processing the request of adding 1.3 MiB of storage \
         resource, which when added to current usage of 235.9 MiB will exceed the configured upper \
         limit of 100.0 MiB.";
    for refusal in [
        (403, "DENIED", of_harbor_2),
        (403, "DENIED", of_harbor_1),
        (400, "DENIED", of_harbor_1),
        (412, "PRECONDITION", of_harbor_2),
        (500, "UNKNOWN", of_harbor_1),
    ] {
        let mut names: Vec<String> = (0..IMAGES).map(|n| format!("full/app{n}:1")).collect();
        names.extend((0..4).map(|n| format!("roomy/app{n}:1")));
        let stage = Stage::of(&names).await;
        let harbor = Harbor::start(&["full", "roomy"], May::Look, Missing::Unauthorized).await;
        harbor.registry.rule(refuse_manifests("full", 3, refusal));
        // One at a time, or one that fitted may end after the first that did not.
        let (ended, report) = stage.mirror(&harbor.host(), LOGIN, "-j 1").await;
        let ended = ended.with(1).saying(&["upper limit"]);
        let status = refusal.0;
        assert_eq!(
            lines_with(&report, "copied").len(),
            2 + 4,
            "{status}: {ended}"
        );
        // The rest is not uploaded in vain.
        let failed = lines_with(&report, "failed").len();
        assert_eq!(failed, 3, "{status}: {ended}");
        let left = lines_with(&report, "not-tried");
        assert_eq!(left.len(), IMAGES - 2 - failed, "{status}: {ended}");
        let line = report["lines"].as_array().expect("lines");
        let line = line.iter().find(|line| line["outcome"] == "not-tried");
        let causes = line.expect("one")["failure"]["causes"].to_string();
        assert!(causes.contains("upper limit"), "{causes}");
        assert!(causes.contains("full"), "{causes}");
        assert_eq!(stage.place.lines("mirror-failed.txt").len(), IMAGES - 2);
        let puts = harbor.registry.count("PUT", "/v2/full/*/manifests/*");
        assert!(puts <= 2 + failed * 5, "{}", harbor.registry.log_text());
    }
}

async fn immutable() {
    let stage = Stage::of(&["good/a:1", "good/b:1"]).await;
    let harbor = Harbor::start(&["good"], May::Look, Missing::Unauthorized).await;
    Image::new(&["another"])
        .push(&harbor.registry, "good/a", Some("1"))
        .await;
    let message = "Failed to process request due to 'a:1' configured as immutable.";
    let rule = when("PUT", "/v2/good/a/manifests/1").respond(412);
    let document = json!({ "errors": [{ "code": "PRECONDITION", "message": message }] });
    harbor.registry.rule(rule.body(document.to_string()));
    let (ended, report) = stage.mirror(&harbor.host(), LOGIN, "").await;
    let ended = ended.with(1).saying(&["immutable"]);
    assert_eq!(report["lines"][0]["failure"]["kind"], "conflict", "{ended}");
    assert_eq!(lines_with(&report, "copied"), ["good/b:1"], "{ended}");
}

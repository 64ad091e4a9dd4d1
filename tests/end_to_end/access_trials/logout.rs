//! `consign logout`: what is forgotten, and what stays.

use libtest_mimic::Trial;
use serde_json::json;

use super::{entry, helper, path};
use crate::harness::trial;
use crate::program::Workplace;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "access::a_logout_forgets_in_all_places_and_says_where",
            everywhere,
        ),
        trial("access::a_logout_of_one_file_leaves_the_others", one_file),
        trial("access::a_logout_of_all_empties_one_file", all),
        trial("access::a_helper_that_does_not_erase_is_told", bad_helper),
        trial("access::what_is_broken_can_be_logged_out_of", broken),
    ]
}

async fn everywhere() {
    let place = Workplace::new();
    let hub = "https://index.docker.io/v1/";
    let docker = json!({ "auths": {
        "h.example": entry("a", "p"),
        "https://h.example/v2/": entry("b", "p"),
        "h.example/ns": entry("c", "p"),
        "h.example:5000": entry("d", "p"),
        hub: entry("e", "p"),
    }, "detachKeys": "ctrl-x" });
    place.write(".docker/config.json", docker.to_string());
    let kept = json!({ "auths": { "h.example": entry("f", "p") } });
    place.write(".config/containers/auth.json", kept.to_string());
    place.write(
        ".dockercfg",
        json!({ "https://h.example/v1/": entry("g", "p") }).to_string(),
    );
    let run = [("XDG_RUNTIME_DIR", place.path("run"))];
    let text = place
        .run_with("logout h.example", &run)
        .await
        .with(0)
        .text();
    for words in [
        "Removed `h.example` from `",
        "Removed `https://h.example/v2/` from `",
        "Removed `https://h.example/v1/` from `",
        "`h.example/ns` in `",
        ".config/containers/auth.json",
        ".docker/config.json",
        ".dockercfg",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(
        place.json(".config/containers/auth.json"),
        json!({ "auths": {} })
    );
    assert_eq!(place.json(".dockercfg"), json!({}));
    let left = json!({ "auths": {
        "h.example/ns": entry("c", "p"),
        "h.example:5000": entry("d", "p"),
        hub: entry("e", "p"),
    }, "detachKeys": "ctrl-x" });
    assert_eq!(place.json(".docker/config.json"), left);
    let text = place
        .run_with("logout docker.io", &run)
        .await
        .with(0)
        .text();
    assert!(text.contains(hub), "{text}");
    let text = place
        .run_with("logout h.example", &run)
        .await
        .with(0)
        .text();
    assert!(
        text.starts_with("Not logged in to `h.example`\n`h.example/ns` in `"),
        "{text}"
    );
    place.run_with("logout h.example/ns", &run).await.with(0);
    let text = place
        .run_with("logout third.example", &run)
        .await
        .with(0)
        .text();
    assert_eq!(text, "Not logged in to `third.example`\n");
    let left = json!({ "auths": { "h.example:5000": entry("d", "p") }, "detachKeys": "ctrl-x" });
    assert_eq!(place.json(".docker/config.json"), left);
    assert!(!place.has("run"));
}

async fn one_file() {
    let place = Workplace::new();
    let file = json!({ "auths": { "h.example": entry("a", "p") } });
    for name in [".docker/config.json", "flag.json", "other.json"] {
        place.write(name, file.to_string());
    }
    place
        .run("logout h.example --authfile flag.json")
        .await
        .with(0);
    place
        .run("logout h.example --compat-auth-file other.json")
        .await
        .with(0);
    assert_eq!(place.json("flag.json"), json!({ "auths": {} }));
    assert_eq!(place.json("other.json"), json!({ "auths": {} }));
    assert_eq!(place.json(".docker/config.json"), file);
    let ended = place.run("logout h.example --authfile none.json").await;
    ended.with(2).saying(&["none.json"]);
    assert!(!place.has("none.json"));
}

async fn all() {
    let place = Workplace::new();
    let log = r#"cd "$(dirname "$0")"; printf '%s ' "$1" >> log; cat >> log; echo >> log
        [ "$1" = erase ] || echo '{"Username":"a","Secret":"b"}'"#;
    helper(&place, "log", log).await;
    let file = json!({
        "auths": { "a.example": {}, "b.example/ns": entry("a", "p"), "c.example": entry("a", "p") },
        "credHelpers": { "d.example": "log" },
        "credsStore": "log",
    });
    place.write(".docker/config.json", file.to_string());
    place.write(".config/containers/auth.json", file.to_string());
    let more = [("PATH", path(&place))];
    let text = place.run_with("logout --all", &more).await.with(0).text();
    assert_eq!(text.lines().count(), 5, "{text}");
    let left = json!({ "auths": {}, "credHelpers": { "d.example": "log" }, "credsStore": "log" });
    assert_eq!(place.json(".docker/config.json"), left);
    assert_eq!(place.json(".config/containers/auth.json"), file);
    let log = place.read("bin/log");
    assert_eq!(
        log.lines().collect::<Vec<_>>(),
        [
            "get d.example",
            "erase d.example",
            "get a.example",
            "erase a.example"
        ]
    );
    let text = place
        .run("logout -a --authfile .config/containers/auth.json")
        .await;
    // Without its helper, what the file has is forgotten all the same.
    text.with(1).saying(&["docker-credential-log"]);
    assert_eq!(place.json(".config/containers/auth.json"), left);
}

async fn broken() {
    let place = Workplace::new();
    place.write(".config/containers/auth.json", "{");
    let file = json!({ "auths": { "h.example": { "auth": "no base64" } } });
    place.write(".docker/config.json", file.to_string());
    let ended = place.run("logout h.example").await.with(2);
    assert!(
        ended.text().starts_with("Removed `h.example` from `"),
        "{ended}"
    );
    ended.saying(&[".config/containers/auth.json", "line 1"]);
    assert_eq!(place.json(".docker/config.json"), json!({ "auths": {} }));
}

async fn bad_helper() {
    let place = Workplace::new();
    let script = r#"[ "$1" = get ] && echo '{"Username":"a","Secret":"hunter2"}' || { echo hunter2; exit 1; }"#;
    helper(&place, "bad", script).await;
    let file =
        json!({ "credHelpers": { "h.example": "bad" }, "auths": { "h.example": entry("a", "p") } });
    place.write(".docker/config.json", file.to_string());
    let more = [("PATH", path(&place))];
    let ended = place.run_with("logout h.example", &more).await.with(1);
    assert!(ended.text().contains("Removed `h.example`"), "{ended}");
    assert!(!ended.stderr.contains("hunter2"), "{ended}");
    ended.saying(&["docker-credential-bad", "credHelpers"]);
}

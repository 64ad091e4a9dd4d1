//! Services beside the command line: what counts for whom.

use libtest_mimic::Trial;
use serde_json::Value;

use super::stage::{SIGNED, Stage, VERIFIED};
use crate::harness::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "compose::a_key_on_the_command_line_is_for_services_that_name_none",
            keys,
        ),
        trial(
            "compose::flags_of_verification_count_for_services_too",
            flags,
        ),
        trial("compose::where_nobody_asks_nothing_is_contacted", nobody),
        trial(
            "compose::for_a_service_that_asks_for_nothing_nobody_is_asked",
            left_alone,
        ),
        trial(
            "compose::one_name_for_signatures_does_where_one_service_is_signed",
            one_name,
        ),
        trial("compose::flags_that_nothing_uses_are_refused", unused),
        trial("compose::two_services_of_one_image_are_both_judged", twice),
    ]
}

const OTHER: &str = "x-nerdctl-verify: cosign\nx-nerdctl-cosign-public-key: keys/other.pub";

async fn keys() {
    let services = [
        ("own", VERIFIED),
        ("other", OTHER),
        ("none", "x-nerdctl-verify: none\nx-nerdctl-sign: none"),
        ("silent", ""),
        ("signed", SIGNED),
    ];
    let stage = Stage::set(&services).await;
    let signed = stage
        .outcomes("sign -f compose.yaml --key keys/own.key", 0)
        .await;
    assert_eq!(signed, ["signed"; 5]);
    let by_own = stage
        .outcomes("validate -f compose.yaml --key keys/own.pub", 3)
        .await;
    let judged = ["accepted", "rejected", "accepted", "accepted", "accepted"];
    assert_eq!(by_own, judged);
    let by_other = stage
        .outcomes("validate -f compose.yaml --key keys/other.pub", 3)
        .await;
    let judged = ["accepted", "rejected", "rejected", "rejected", "rejected"];
    assert_eq!(by_other, judged);
    let silent = stage.outcomes("validate -f compose.yaml", 3).await;
    let judged = [
        "accepted",
        "rejected",
        "not-verified",
        "not-verified",
        "not-verified",
    ];
    assert_eq!(silent, judged);
    // A mirror too: those that say nothing are held by the command line.
    let to = stage.destination.host();
    let mirror = format!("mirror -f compose.yaml -d {to} --verify-key keys/other.pub");
    let copied = stage.outcomes(&mirror, 3).await;
    let judged = ["copied", "rejected", "rejected", "rejected", "rejected"];
    assert_eq!(copied, judged);
    let arrived = ["own", "other", "none", "silent", "signed"].map(|name| stage.arrived(name));
    assert_eq!(arrived, [true, false, false, false, false]);
}

async fn flags() {
    let stage = Stage::set(&[("own", VERIFIED), ("silent", "")]).await;
    let sign = "sign -f compose.yaml --key keys/own.key -a team=web --sign-identity {repository}";
    let signed = stage.outcomes(sign, 0).await;
    assert_eq!(signed, ["signed", "signed"]);
    let repository = stage.image("own").replace(":1", "");
    for (flags, code, outcome) in [
        ("", 0, "accepted"),
        ("-a team=web", 0, "accepted"),
        ("-a team=db", 3, "rejected"),
        ("--signed-identity matchRepository", 0, "accepted"),
        ("--signed-identity matchExact", 3, "rejected"),
        ("--signed-identity matchRepoDigestOrExact", 3, "rejected"),
        ("--signed-identity digestOnly", 0, "accepted"),
        (&format!("--exact-repository {repository}"), 0, "accepted"),
        ("--exact-repository other.example/a", 3, "rejected"),
        ("--subjects platforms", 0, "accepted"),
        ("--subjects all", 0, "accepted"),
    ] {
        let validate = format!("validate -f compose.yaml {flags}");
        let found = stage.outcomes(&validate, code).await;
        assert_eq!(found, [outcome, "not-verified"], "{flags}");
    }
    // A key on the command line keeps its own usual rule, which a bare repository does not pass.
    let found = stage
        .outcomes("validate -f compose.yaml --key keys/own.pub", 3)
        .await;
    assert_eq!(found, ["accepted", "rejected"]);
}

async fn nobody() {
    let services = [
        ("none", "x-nerdctl-verify: none\nx-nerdctl-sign: none"),
        ("silent", ""),
    ];
    let stage = Stage::set(&services).await;
    stage.forget();
    let ended = stage.run("validate -f compose.yaml").await.with(2);
    ended.saying(&["`--key FILE` is missing"]);
    let ended = stage.run("sign -f compose.yaml").await.with(2);
    ended.saying(&["nothing to sign with"]);
    stage.nothing_was_asked();
    assert!(!stage.place.has("validate-failed.txt"));
    // A mirror copies what nobody asks to verify.
    let mirror = format!("mirror -f compose.yaml -d {}", stage.destination.host());
    assert_eq!(stage.outcomes(&mirror, 0).await, ["copied", "copied"]);
}

/// A service such as `image: postgres`: not ours to sign, and perhaps of a registry that is not to be reached.
async fn left_alone() {
    let both = format!("{VERIFIED}\n{SIGNED}");
    let stage = Stage::set(&[("own", both.as_str())]).await;
    let others = [stage.destination.host(), "127.0.0.1:9".to_owned()];
    let images = ["other", "gone"].iter().zip(&others);
    let more: Vec<String> = images
        .map(|(name, host)| format!("  {name}: {{image: {host}/{name}:1}}\n"))
        .collect();
    let text = stage.place.read("compose.yaml") + &more.concat();
    stage.place.write("compose.yaml", text);
    let signed = stage.outcomes("sign -f compose.yaml", 0).await;
    assert_eq!(signed, ["signed", "not-signed", "not-signed"]);
    let found = stage.outcomes("validate -f compose.yaml", 0).await;
    assert_eq!(found, ["accepted", "not-verified", "not-verified"]);
    let log = stage.destination.log();
    assert!(log.is_empty(), "{}", stage.destination.log_text());
    assert!(!stage.place.has("sign-failed.txt"));
    assert!(!stage.place.has("validate-failed.txt"));
}

async fn one_name() {
    let stage = Stage::set(&[("own", SIGNED), ("silent", ""), ("again", SIGNED)]).await;
    let name = format!("{}:2", stage.image("own").replace(":1", ""));
    let sign = format!("sign -f compose.yaml --sign-identity {name}");
    stage.forget();
    let ended = stage.run(&sign).await.with(2);
    ended.saying(&["would name one image for all lines"]);
    stage.nothing_was_asked();
    stage.compose(&[("own", SIGNED), ("silent", "")]);
    let signed = stage.outcomes(&sign, 0).await;
    assert_eq!(signed, ["signed", "not-signed"]);
    let named = format!(
        "validate -f compose.yaml --key keys/own.pub --signed-identity exactReference:{name}"
    );
    let found = stage.outcomes(&named, 3).await;
    assert_eq!(found, ["accepted", "rejected"]);
}

async fn unused() {
    let stage = Stage::set(&[("own", &format!("{VERIFIED}\n{SIGNED}"))]).await;
    stage.place.write("root.json", "{}");
    stage.forget();
    let to = stage.destination.host();
    for (words, said) in [
        (
            "sign -f compose.yaml --rekor-url http://127.0.0.1:1",
            "`--rekor-url`",
        ),
        (
            "sign -f compose.yaml --trusted-root root.json",
            "`--trusted-root`",
        ),
        ("sign -f compose.yaml --tlog-upload", "`--tlog-upload`"),
        (
            "validate -f compose.yaml --ca-roots root.json",
            "`--ca-roots`",
        ),
        (
            &format!("mirror -f compose.yaml -d {to} --sign-trusted-root root.json"),
            "`--sign-trusted-root`",
        ),
        (
            &format!("mirror -f compose.yaml -d {to} --fulcio-url http://127.0.0.1:1"),
            "`--fulcio-url`",
        ),
    ] {
        let ended = stage.run(words).await.with(2);
        ended.saying(&[said]);
        stage.nothing_was_asked();
    }
}

async fn twice() {
    let stage = Stage::set(&[("own", VERIFIED)]).await;
    stage
        .run("sign -f compose.yaml --key keys/own.key")
        .await
        .with(0);
    let mut text = super::stage::compose(&[("own", VERIFIED)]);
    let again = super::stage::compose(&[("own", OTHER)]).replace("  own:", "  again:");
    text.push_str(&again.replace("services:\n", ""));
    stage.place.write("compose.yaml", &text);
    let found = stage.outcomes("validate -f compose.yaml", 3).await;
    assert_eq!(found, ["accepted", "rejected"]);
    let ended = stage
        .run("validate -f compose.yaml --report report.json")
        .await;
    ended.with(3);
    let summary: &Value = &stage.place.json("report.json")["summary"];
    assert_eq!(summary["rejected"], 1, "{summary}");
    assert_eq!(summary["accepted"], 1, "{summary}");
    stage.forget();
    let mirror = format!("mirror -f compose.yaml -d {}", stage.destination.host());
    let ended = stage
        .run(&format!("{mirror} --skip-bad-lines"))
        .await
        .with(2);
    ended.saying(&["other settings", "compose.yaml"]);
    stage.nothing_was_asked();
}

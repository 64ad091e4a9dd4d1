//! What would switch a verification off without a word elsewhere ends everything here, before anything is contacted.

use libtest_mimic::Trial;

use super::stage::{SIGNED, Stage, VERIFIED};
use crate::harness::trial;
use crate::program::Workplace;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "compose::a_half_understood_service_ends_everything",
            half_understood,
        ),
        trial("compose::all_that_is_wrong_is_said_at_once", at_once),
        trial(
            "compose::a_key_that_is_none_is_refused_by_its_line",
            no_keys,
        ),
        trial(
            "compose::a_bad_line_that_may_ask_is_never_skipped",
            bad_lines,
        ),
        trial("compose::secrets_are_not_filled_in", secrets),
    ]
}

const KEY: &str = "x-nerdctl-cosign-public-key: keys/own.pub";
const IDENTITY: &str = "x-nerdctl-cosign-certificate-identity: dev@example.com";
const ISSUER: &str = "x-nerdctl-cosign-certificate-oidc-issuer: https://ci.example";

/// The keys of a service, on which line of the file what is wrong stands, the key that is named, and why.
const WRONG: &[(&str, usize, &str, &str)] = &[
    (
        "x-nerdctl-verify: true",
        4,
        "x-nerdctl-verify",
        "must be a string",
    ),
    (
        "x-nerdctl-verify: 1",
        4,
        "x-nerdctl-verify",
        "must be a string",
    ),
    (
        "x-nerdctl-verify:",
        4,
        "x-nerdctl-verify",
        "must be a string",
    ),
    (
        "x-nerdctl-verify: [cosign]",
        4,
        "x-nerdctl-verify",
        "must be a string",
    ),
    (
        "x-nerdctl-verify: {cosign: yes}",
        4,
        "x-nerdctl-verify",
        "must be a string",
    ),
    (
        "x-nerdctl-verify: Cosign",
        4,
        "x-nerdctl-verify",
        "`Cosign` is not known",
    ),
    (
        "x-nerdctl-verify: 'true'",
        4,
        "x-nerdctl-verify",
        "`true` is not known",
    ),
    (
        "x-nerdctl-verify: notation",
        4,
        "x-nerdctl-verify",
        "`notation` is not there yet",
    ),
    (
        "x-nerdctl-verify: ''",
        4,
        "x-nerdctl-verify",
        "its value is empty",
    ),
    (
        "x-nerdctl-verify: ${UNSET_BY_ANYBODY}",
        4,
        "x-nerdctl-verify",
        "its value is empty",
    ),
    (
        "x-nerdctl-sign: ${UNSET_BY_ANYBODY}",
        4,
        "x-nerdctl-sign",
        "its value is empty",
    ),
    (
        "x-nerdctl-sign: false",
        4,
        "x-nerdctl-sign",
        "must be a string",
    ),
    (
        "x-nerdctl-sign: notation",
        4,
        "x-nerdctl-sign",
        "`notation` is not there yet",
    ),
    (
        "x-nerdctl-verfy: cosign",
        4,
        "x-nerdctl-verfy",
        "looks like",
    ),
    (
        "x-nerdctl-verify-cosign: cosign",
        4,
        "x-nerdctl-verify-cosign",
        "looks like",
    ),
    (
        "x-nerdctl-cosign-publickey: keys/own.pub",
        4,
        "x-nerdctl-cosign-publickey",
        "looks like",
    ),
    (
        "X-Nerdctl-Verify: cosign",
        4,
        "X-Nerdctl-Verify",
        "looks like",
    ),
    (
        KEY,
        4,
        "x-nerdctl-cosign-public-key",
        "means nothing without",
    ),
    (
        "x-nerdctl-cosign-private-key: keys/own.key",
        4,
        "x-nerdctl-cosign-private-key",
        "means nothing without",
    ),
    (
        IDENTITY,
        4,
        "x-nerdctl-cosign-certificate-identity",
        "means nothing without",
    ),
];

/// The same with a provider that is right in front, so that the line is the fifth.
const BESIDE: &[(&str, &str, &str)] = &[
    (
        "x-nerdctl-cosign-public-key: 7",
        "x-nerdctl-cosign-public-key",
        "must be a string",
    ),
    (
        "x-nerdctl-cosign-public-key: ${UNSET_BY_ANYBODY}",
        "x-nerdctl-cosign-public-key",
        "its value is empty",
    ),
    (
        "x-nerdctl-cosign-public-key: keys/none.pub",
        "x-nerdctl-cosign-public-key",
        "there is no file `keys/none.pub`",
    ),
    (
        "x-nerdctl-cosign-public-key: awskms:///alias/a",
        "x-nerdctl-cosign-public-key",
        "`awskms://…` is not there",
    ),
    (
        "x-nerdctl-cosign-certificate-identity: ''",
        "x-nerdctl-cosign-certificate-identity",
        "its value is empty",
    ),
    (
        "x-nerdctl-cosign-certificate-identity-regexp: '('",
        "x-nerdctl-cosign-certificate-identity-regexp",
        "no regular expression",
    ),
];

/// Keys that are right alone and wrong together.
const TOGETHER: &[(&[&str], &str, &str)] = &[
    (
        &[KEY, IDENTITY],
        "x-nerdctl-cosign-certificate-identity",
        "cannot stand beside",
    ),
    (
        &[KEY, ISSUER],
        "x-nerdctl-cosign-certificate-oidc-issuer",
        "cannot stand beside",
    ),
    (
        &[IDENTITY],
        "x-nerdctl-verify",
        "x-nerdctl-cosign-certificate-oidc-issuer",
    ),
    (
        &[ISSUER],
        "x-nerdctl-verify",
        "x-nerdctl-cosign-certificate-identity",
    ),
    (
        &[],
        "x-nerdctl-verify",
        "x-nerdctl-cosign-certificate-identity",
    ),
    (
        &[
            IDENTITY,
            "x-nerdctl-cosign-certificate-identity-regexp: a",
            ISSUER,
        ],
        "x-nerdctl-cosign-certificate-identity-regexp",
        "cannot stand beside",
    ),
];

async fn refused(stage: &Stage, keys: &str, words: &[&str]) {
    let text = super::stage::compose(&[("web", keys), ("db", "")]);
    stage.place.write("compose.yaml", &text);
    let to = stage.destination.host();
    for command in [
        "validate -f compose.yaml --key keys/own.pub".to_owned(),
        "sign -f compose.yaml --key keys/own.key".to_owned(),
        format!("mirror -f compose.yaml -d {to}"),
        format!("mirror -f compose.yaml -d {to} --skip-bad-lines"),
        "validate -f compose.yaml --key keys/own.pub --skip-bad-lines".to_owned(),
        format!("plan -f compose.yaml -d {to}"),
    ] {
        let ended = stage.run(&command).await.with(2).saying(words);
        assert!(!ended.stderr.contains("goes on without"), "{ended}");
        assert!(ended.stdout.is_empty(), "{ended}");
    }
    stage.nothing_was_asked();
}

async fn half_understood() {
    let stage = Stage::set(&[("web", ""), ("db", "")]).await;
    stage.forget();
    for (keys, line, key, why) in WRONG {
        let place = format!("compose.yaml:{line}:");
        refused(&stage, keys, &[&place, "service `web`", key, why]).await;
    }
    for (more, key, why) in BESIDE {
        let keys = format!("x-nerdctl-verify: cosign\n{more}");
        if key.contains("public-key") && why.contains("no file") {
            // Who only signs needs no public key.
            let text = super::stage::compose(&[("web", &keys)]);
            stage.place.write("compose.yaml", &text);
            let ended = stage.run("validate -f compose.yaml").await.with(2);
            ended.saying(&["compose.yaml:5:", "service `web`", key, why]);
            continue;
        }
        refused(
            &stage,
            &keys,
            &["compose.yaml:5:", "service `web`", key, why],
        )
        .await;
    }
    for (more, key, why) in TOGETHER {
        let keys = format!("x-nerdctl-verify: cosign\n{}", more.join("\n"));
        refused(&stage, &keys, &["compose.yaml:", "service `web`", key, why]).await;
    }
    assert!(!stage.place.has("mirror-failed.txt"));
    assert!(!stage.place.has("validate-failed.txt"));
}

async fn at_once() {
    let stage = Stage::set(&[("web", "")]).await;
    let wrong = "x-nerdctl-verify: cosing\nx-nerdctl-sign: 1";
    stage.compose(&[("web", wrong), ("db", KEY)]);
    stage.forget();
    let ended = stage.run("validate -f compose.yaml").await.with(2);
    ended.saying(&[
        "3 lines cannot be used; nothing was contacted",
        "compose.yaml:4:",
        "compose.yaml:5:",
        "compose.yaml:8:",
        "service `db`",
    ]);
    stage.nothing_was_asked();
}

async fn no_keys() {
    let both = format!("{VERIFIED}\n{SIGNED}");
    let stage = Stage::set(&[("silent", ""), ("web", &both)]).await;
    stage.forget();
    let public = stage.place.read("keys/own.pub");
    let private = stage.place.read("keys/own.key");
    let to = stage.destination.host();
    let mirror = format!("mirror -f compose.yaml -d {to}");
    for (file, text, commands, why) in [
        (
            "keys/own.pub",
            "",
            ["validate -f compose.yaml", &mirror],
            "it is no PEM file",
        ),
        (
            "keys/own.pub",
            &private,
            ["validate -f compose.yaml", &mirror],
            "is a private key",
        ),
        (
            "keys/own.key",
            "",
            ["sign -f compose.yaml", &mirror],
            "it is no PEM file",
        ),
        (
            "keys/own.key",
            &public,
            ["sign -f compose.yaml", &mirror],
            "is a public key",
        ),
    ] {
        stage.place.write(file, text);
        for command in commands {
            let ended = stage.run(command).await.with(2);
            ended.saying(&["compose.yaml:5, service `web`: ", file, why]);
        }
        stage.place.write("keys/own.pub", &public);
        stage.place.write("keys/own.key", &private);
    }
    let wrong = [("COSIGN_PASSWORD", "another".into())];
    for command in ["sign -f compose.yaml", &mirror] {
        let ended = stage.run_with(command, &wrong).await.with(2);
        ended
            .saying(&["compose.yaml:5, service `web`: ", "keys/own.key"])
            .hiding(&["another"]);
    }
    stage.nothing_was_asked();
}

/// Without the line that asks, the other one would go on as nobody meant it.
async fn bad_lines() {
    let place = Workplace::new();
    let flags = "mirror -f list.txt -d m.example --skip-bad-lines";
    for (wrong, why) in [
        (
            "verfy=cosign cosign-public-key=k.pub",
            ":13: there is no setting",
        ),
        (
            "verify=cosign cosign-public-key=k.pub x",
            ":51: behind settings",
        ),
        (
            "verify=cosign cosign-public-key=k\u{1}.pub",
            ":46: a control character",
        ),
        ("verify = cosign", ":13: two columns"),
        (
            "m.example/a verify=cosign cosign-public-key=k.pub",
            ":13: two columns",
        ),
    ] {
        place.write("list.txt", format!("r.example/a {wrong}\nr.example/a\n"));
        let ended = place.run(flags).await.with(2);
        let ended = ended.saying(&[&format!("list.txt:1{why}")]);
        let said = &ended.stderr;
        assert!(!said.contains("goes on without"), "{said}");
    }
    assert!(!place.has("mirror-failed.txt"));
}

/// The registry of an image is who writes the file, and may be told more by its tag than anybody meant.
async fn secrets() {
    let place = Workplace::new();
    let more = [
        ("COSIGN_PASSWORD", "hunter2".into()),
        ("SIGSTORE_ID_TOKEN", "hunter3".into()),
        ("TAG", "1".into()),
    ];
    place.write(
        "compose.yaml",
        "services:\n  a: {image: 'r.example/a:${COSIGN_PASSWORD:-none}-${SIGSTORE_ID_TOKEN:-none}-${TAG:-none}'}\n",
    );
    let ended = place
        .run_with("plan -f compose.yaml -d m.example", &more)
        .await;
    let ended = ended.with(0).hiding(&["hunter2", "hunter3"]);
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(said.contains("r.example/a:none-none-1 "), "{said}");
}

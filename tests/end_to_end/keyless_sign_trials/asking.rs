//! What is asked before anything is made public, and which flags make no sense.

use std::path::PathBuf;

use libtest_mimic::Trial;
use serde_json::Value;

use super::Stage;
use crate::harness::trial;
use crate::instance::{JOB, email_token, job_token};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("keyless_sign::nobody_signs_who_did_not_agree", consent),
        trial(
            "keyless_sign::what_makes_no_sense_is_refused_by_name",
            nonsense,
        ),
        trial("keyless_sign::what_is_lacking_is_named", lacking),
        trial(
            "keyless_sign::a_token_comes_from_flag_file_or_variable",
            tokens,
        ),
        trial("keyless_sign::reports_name_identity_and_issuer", reports),
    ]
}

/// Nothing was asked of anybody.
#[track_caller]
fn nothing_was_contacted(stage: &Stage) {
    assert!(
        stage.registry.log().is_empty(),
        "{}",
        stage.registry.log_text()
    );
    let log = stage.server.registry();
    assert!(log.log().is_empty(), "{}", log.log_text());
}

async fn consent() {
    let stage = Stage::set().await;
    let (_, image) = stage.image("app").await;
    stage.registry.clear_log();
    let command = format!("sign {} {image}", stage.services());
    let token = || {
        (
            "SIGSTORE_ID_TOKEN",
            PathBuf::from(email_token("me@x.test", "https://i.test")),
        )
    };
    let run = async |words: String, agrees: Option<&str>| {
        let mut more = vec![token()];
        more.extend(agrees.map(|text| ("COSIGN_YES", PathBuf::from(text))));
        stage.place.run_with(&words, &more).await
    };
    for (words, agrees) in [
        (command.clone(), None),
        (command.clone(), Some("false")),
        (command.clone(), Some("0")),
        (format!("{command} --yes=false"), Some("true")),
    ] {
        let url = stage.server.url();
        run(words, agrees).await.with(2).saying(&[
            "`me@x.test`",
            "`https://i.test`",
            "for good",
            &url,
            "--yes",
            "COSIGN_YES=true",
        ]);
    }
    run(command.clone(), Some("yes"))
        .await
        .with(2)
        .saying(&["COSIGN_YES"]);
    nothing_was_contacted(&stage);
    for (words, agrees) in [
        (command.clone(), Some("true")),
        (command.clone(), Some("1")),
        (format!("{command} -y"), None),
        (format!("{command} --yes"), Some("false")),
        (format!("{command} --yes=true"), None),
        (format!("{command} --auto-yes"), None),
    ] {
        run(words, agrees).await.with(0);
    }
    assert_eq!(
        stage.server.entries(),
        1,
        "the first one is found by the others"
    );
}

async fn nonsense() {
    let stage = Stage::set().await;
    let root = stage.files.trusted_root.display();
    let url = stage.server.url();
    let services = stage.services();
    stage.place.write("empty", "");
    stage.place.write("bad.json", "{}");
    let generate = "generate-key --prefix site --passphrase-file empty";
    stage.place.run(generate).await.with(0);
    let past = job_token();
    let token = [("SIGSTORE_ID_TOKEN", PathBuf::from(past))];
    for (words, said) in [
        (format!("--fulcio-url {url}"), "--rekor-url"),
        (format!("--rekor-url {url}"), "--fulcio-url"),
        (
            format!("--fulcio-url {url} --rekor-url {url}"),
            "`--trusted-root` is missing",
        ),
        (format!("--fulcio-url ftp://x --rekor-url {url}"), "ftp://x"),
        (
            format!("{services} --trusted-root none.json"),
            "cannot be used multiple times",
        ),
        ("--signing-config none.json".to_owned(), "none.json"),
        (
            format!("--signing-config bad.json --trusted-root {root}"),
            "bad.json",
        ),
        (
            format!("{services} --oidc-issuer https://x"),
            "--oidc-issuer",
        ),
        (format!("{services} --oidc-provider x"), "--identity-token"),
        (
            format!("{services} --tlog-upload=false"),
            "--tlog-upload=false",
        ),
        (format!("{services} --passphrase-file empty"), "--key"),
        (format!("{services} --key site.key"), "a key is given"),
        ("--key site.key --tlog-upload".to_owned(), "--tlog-upload"),
        (
            format!("--key site.key --trusted-root {root}"),
            "--trusted-root",
        ),
        (
            format!("{services} --registry-referrers-mode oci-1-1 --signature-format tag"),
            "cannot be used with",
        ),
    ] {
        let words = format!("sign -y {words} h.example/app:1");
        stage
            .place
            .run_with(&words, &token)
            .await
            .with(2)
            .saying(&[said]);
    }
    nothing_was_contacted(&stage);
}

async fn lacking() {
    let stage = Stage::set().await;
    let token = [("SIGSTORE_ID_TOKEN", PathBuf::from(job_token()))];
    let services = stage.services();
    let without = format!("sign -y {services} h.example/app:1");
    stage
        .place
        .run(&without)
        .await
        .with(2)
        .saying(&["--key", "SIGSTORE_ID_TOKEN"]);
    for words in [
        "mirror -f list.txt -d other.example --identity-token a",
        "mirror -f list.txt -d other.example --sign-trusted-root a",
        "mirror -f list.txt -d other.example --sign-subjects all",
    ] {
        stage.place.write("list.txt", "h.example/a:1\n");
        stage
            .place
            .run(words)
            .await
            .with(2)
            .saying(&["--sign-keyless"]);
    }
    let prune =
        "mirror -f list.txt -d other.example --sign-keyless --remove-signatures --prune-signatures";
    stage
        .place
        .run_with(prune, &token)
        .await
        .with(2)
        .saying(&["--prune-signatures"]);
    nothing_was_contacted(&stage);
}

async fn tokens() {
    let stage = Stage::set().await;
    let services = stage.services();
    let mut entries = 0;
    let good = job_token();
    stage.place.write("token", format!("{good}\n"));
    for words in [
        format!("--identity-token {good}"),
        "--identity-token token".to_owned(),
    ] {
        let (_, image) = stage.image(&format!("app{entries}")).await;
        let ended = stage
            .place
            .run(&format!("sign -y {services} {words} {image}"))
            .await;
        ended.with(0).hiding(&[&good]);
        entries += 1;
        assert_eq!(stage.server.entries(), entries);
    }
    let ended_token = |exp: i64| {
        use base64::Engine as _;
        let claims = format!(r#"{{"iss":"https://i.test","sub":"hidden-subject","exp":{exp}}}"#);
        let part = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
        format!("e30.{part}.c2ln")
    };
    for (text, said) in [
        ("some-secret-that-is-no-token".to_owned(), "neither"),
        (ended_token(1_000_000_000), "ended at 2001-09-09T01:46:40Z"),
    ] {
        let words = format!("sign -y {services} --identity-token {text} h.example/app:1");
        stage
            .place
            .run(&words)
            .await
            .with(2)
            .saying(&[said])
            .hiding(&[&text]);
        let words = format!("sign -y {services} h.example/app:1");
        let token = [("SIGSTORE_ID_TOKEN", PathBuf::from(&text))];
        stage
            .place
            .run_with(&words, &token)
            .await
            .with(2)
            .hiding(&[&text]);
    }
    assert_eq!(stage.server.entries(), entries);
}

async fn reports() {
    let stage = Stage::set().await;
    let (_, image) = stage.image("app").await;
    let ended = stage
        .sign(&format!("--output json --report report.json {image}"))
        .await
        .with(0);
    let expected = serde_json::json!({ "identity": JOB, "issuer": crate::instance::ISSUER });
    let line: Value = ended.json_lines().remove(0);
    let report = stage.place.json("report.json");
    for signing in [&line["signing"], &report["lines"][0]["signing"]] {
        assert_eq!(signing["certificate"], expected, "{ended}");
        assert!(signing.get("key").is_none(), "{ended}");
    }
    assert!(
        !stage.place.has("sign-failed.txt"),
        "images alone make no list"
    );
}

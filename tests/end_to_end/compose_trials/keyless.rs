//! Services that are signed and verified without keys.

use std::path::PathBuf;

use libtest_mimic::Trial;

use super::stage::{SIGNED, Sigstore, Stage, VERIFIED, outcomes};
use crate::harness::trial;
use crate::instance::{ISSUER, JOB, job_token};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "compose::services_are_signed_and_verified_without_keys",
            both,
        ),
        trial(
            "compose::without_a_token_the_service_that_needs_one_is_named",
            no_token,
        ),
        trial(
            "compose::a_token_signs_those_alone_that_ask_for_it",
            those_alone,
        ),
        trial(
            "compose::a_mirror_signs_each_service_in_its_own_way",
            mirrored,
        ),
    ]
}

/// How a service asks to be signed by whom the token names.
const KEYLESS: &str = "x-nerdctl-sign: cosign";

/// How a service asks that somebody of this identity signed it.
fn by(identity: (&str, &str), issuer: (&str, &str)) -> String {
    let key = "x-nerdctl-cosign-certificate";
    format!(
        "x-nerdctl-verify: cosign\n{key}-identity{}: '{}'\n{key}-oidc-issuer{}: '{}'\n{KEYLESS}",
        identity.0, identity.1, issuer.0, issuer.1
    )
}

/// The token of a job, in the variable that cosign reads it from.
fn token() -> [(&'static str, PathBuf); 1] {
    [("SIGSTORE_ID_TOKEN", PathBuf::from(job_token()))]
}

async fn both() {
    let services = [
        ("exact", by(("", JOB), ("", ISSUER))),
        (
            "regexp",
            by(
                ("-regexp", "^https://gitlab\\.instance\\.test/"),
                ("-regexp", "^https://gitlab\\.[a-z.]+$"),
            ),
        ),
        (
            "other",
            by(("", "https://gitlab.instance.test/other"), ("", ISSUER)),
        ),
        ("issuer", by(("", JOB), ("", "https://elsewhere.test"))),
        (
            "mixed",
            by(("-regexp", r#"^"no body"\|\S# $"#), ("", ISSUER)),
        ),
        ("silent", String::new()),
    ];
    let stage = Stage::set(&services).await;
    let sigstore = Sigstore::beside(&stage).await;
    let sign = format!("sign -f compose.yaml {} --output json", sigstore.services());
    stage.forget();
    // Nobody agreed to be named for good.
    let refused = stage.run_with(&sign, &token()).await.with(2);
    refused.saying(&["COSIGN_YES"]).hiding(&[&job_token()]);
    assert_eq!(sigstore.server.certificates(), 0);
    stage.nothing_was_written();
    let mut agreed = token().to_vec();
    agreed.push(("COSIGN_YES", PathBuf::from("true")));
    let signed = stage.run_with(&sign, &agreed).await.with(0);
    let mut expected = vec!["signed"; 5];
    expected.push("not-signed");
    assert_eq!(outcomes(&signed), expected);

    let root = sigstore.files.trusted_root.display();
    let validate = format!("validate -f compose.yaml --trusted-root {root}");
    let found = stage.outcomes(&validate, 3).await;
    let rejected = ["rejected"; 3];
    assert_eq!(found[..2], ["accepted", "accepted"]);
    assert_eq!(found[2..5], rejected);
    assert_eq!(found[5], "not-verified");
    // The failed list asks for the same, with quotes and blanks.
    let failed = stage.place.lines("validate-failed.txt");
    let again = format!("validate -f validate-failed.txt --trusted-root {root}");
    assert_eq!(stage.outcomes(&again, 3).await, rejected);
    assert_eq!(stage.place.lines("validate-failed.txt"), failed);
    // By the public instance nobody of them signed.
    let public = stage.outcomes("validate -f compose.yaml", 3).await;
    assert_eq!(public[..5], ["rejected"; 5]);
}

async fn no_token() {
    let services = [
        ("keyed", format!("{VERIFIED}\n{SIGNED}")),
        ("token", KEYLESS.to_owned()),
    ];
    let stage = Stage::set(&services).await;
    let sigstore = Sigstore::beside(&stage).await;
    stage.forget();
    let to = stage.destination.host();
    for words in [
        "sign -f compose.yaml -y".to_owned(),
        "sign -f compose.yaml -y --key keys/own.key".to_owned(),
        format!("mirror -f compose.yaml -y -d {to}"),
        format!("sign -f compose.yaml -y {}", sigstore.services()),
    ] {
        let ended = stage.run(&words).await.with(2);
        ended.saying(&[
            "compose.yaml:9, service `token`: ",
            "/token_image:1`",
            "SIGSTORE_ID_TOKEN",
        ]);
        stage.nothing_was_asked();
    }
    assert_eq!(sigstore.server.certificates(), 0);
    // Who verifies needs none.
    let found = stage.outcomes("validate -f compose.yaml", 3).await;
    assert_eq!(found, ["rejected", "not-verified"]);
}

async fn those_alone() {
    let services = [
        ("keyed", SIGNED),
        ("token", KEYLESS),
        ("none", "x-nerdctl-sign: none"),
        ("silent", ""),
    ];
    let stage = Stage::set(&services).await;
    let sigstore = Sigstore::beside(&stage).await;
    let sign = format!(
        "sign -f compose.yaml -y {} --output json",
        sigstore.services()
    );
    let ended = stage.run_with(&sign, &token()).await.with(0);
    let found = ["signed", "signed", "not-signed", "not-signed"];
    assert_eq!(outcomes(&ended), found);
    assert_eq!(sigstore.server.certificates(), 1);

    // A token beside services of which none asks for it is used for none.
    let services = [("keyed", SIGNED), ("silent", "")];
    stage.compose(&services);
    let ended = stage
        .run_with("sign -f compose.yaml --output json", &token())
        .await;
    assert_eq!(outcomes(&ended.with(0)), ["already-signed", "not-signed"]);
    let services = [("none", "x-nerdctl-sign: none"), ("silent", "")];
    stage.compose(&services);
    stage.forget();
    let ended = stage.run_with(&sign, &token()).await.with(2);
    ended.saying(&["nothing to sign with"]);
    stage.nothing_was_asked();
    assert_eq!(sigstore.server.certificates(), 1);

    // Given by a flag, it is for them too.
    stage.place.write("token", job_token());
    let sign = format!("{sign} --identity-token token");
    let ended = stage.run(&sign).await.with(0);
    assert_eq!(outcomes(&ended), ["signed", "signed"]);
}

async fn mirrored() {
    let services = [
        ("keyed", format!("{VERIFIED}\n{SIGNED}")),
        ("token", by(("", JOB), ("", ISSUER))),
        ("silent", String::new()),
    ];
    let stage = Stage::set(&services).await;
    let sigstore = Sigstore::beside(&stage).await;
    let (url, root) = (sigstore.server.url(), sigstore.files.trusted_root.display());
    let to = stage.destination.host();
    let all = format!("--fulcio-url {url} --rekor-url {url}");
    let mut environment = token().to_vec();
    let sign = format!("sign -f compose.yaml -y {all} --trusted-root {root}");
    stage.run_with(&sign, &environment).await.with(0);
    // A trusted root on the command line asks a log's word of keys too, and those signatures have none.
    let mirror =
        format!("mirror -f compose.yaml -d {to} -y {all} --sign-trusted-root {root} --output json");
    let strict = format!("{mirror} --trusted-root {root}");
    let ended = stage.run_with(&strict, &environment).await.with(3);
    assert_eq!(outcomes(&ended), ["rejected", "copied", "copied"]);
    // The same in the environment speaks of certificates alone, as cosign has it.
    let variables = sigstore.files.variables();
    environment.extend(variables.map(|(name, path)| (name, path.to_owned())));
    let ended = stage.run_with(&mirror, &environment).await.with(0);
    assert_eq!(outcomes(&ended), ["copied", "up-to-date", "up-to-date"]);
    let lines = ended.json_lines();
    let signed = lines.iter().filter(|line| line["signing"].is_object());
    assert_eq!(signed.count(), 2, "{ended}");
    stage.place.write(".env", format!("REGISTRY={to}\n"));
    let validate = "validate -f compose.yaml --signed-identity matchExact --output json";
    let ended = stage.run_with(validate, &environment).await.with(0);
    let found = ["accepted", "accepted", "not-verified"];
    assert_eq!(outcomes(&ended), found);
}

//! Every flag of `cosign sign` and `cosign verify`, given to `consign`: it is taken, or refused by name with what to
//! type instead; none is unknown.

use std::path::PathBuf;

use libtest_mimic::Trial;

use crate::harness::{Tools, trial, with_tools};
use crate::instance::job_token;
use crate::program::{Ended, Workplace};
use crate::signatures::others::Cosign;

pub(crate) fn trials() -> Vec<Trial> {
    [
        ("two", Cosign::Two, "sign"),
        ("two", Cosign::Two, "verify"),
        ("three", Cosign::Three, "sign"),
        ("three", Cosign::Three, "verify"),
    ]
    .into_iter()
    .map(|(version, cosign, command)| {
        with_tools(
            &format!("cosign_flags::none_of_{command}_of_version_{version}_is_unknown"),
            &[cosign.tool()],
            move |tools| known(tools, cosign, command),
        )
    })
    .chain([trial(
        "cosign_flags::commands_of_cosigns_are_refused_with_what_there_is",
        commands,
    )])
    .collect()
}

async fn commands() {
    let place = Workplace::new();
    for (words, said) in [
        ("generate-key-pair", "consign generate-key --prefix cosign"),
        (
            "attest --predicate x reg.example/app:1",
            "cosign does the rest",
        ),
        (
            "verify-attestation reg.example/app:1",
            "cosign does the rest",
        ),
        ("initialize", "--trusted-root FILE"),
        ("tree reg.example/app:1", "consign list-tags"),
    ] {
        let command = words.split(' ').next().expect("a word");
        let ended = place.run(words).await.with(2);
        ended.saying(&[&format!("`{command}`"), "hint:", said]);
    }
}

/// A flag of cosign's, from its help.
#[derive(Debug)]
struct Flag {
    /// Its letter, with the dash.
    short: Option<String>,
    /// Its name, with the dashes.
    long: String,
    /// Whether it stands alone.
    is_bool: bool,
}

/// The flags in a help: `    -a, --annotations=[]:`, a line each.
fn flags(help: &str) -> Vec<Flag> {
    let read = |line: &str| {
        let (names, default) = line.strip_suffix(':')?.split_once('=')?;
        let (short, long) = match names.split_once(", ") {
            Some((short, long)) => (Some(short.to_owned()), long),
            None => (None, names),
        };
        long.starts_with("--").then(|| Flag {
            short,
            long: long.to_owned(),
            is_bool: matches!(default, "true" | "false"),
        })
    };
    let indented = help.lines().filter_map(|line| line.strip_prefix("    "));
    indented.filter_map(read).collect()
}

/// Those of every command of cosign's; its help has them in another form.
fn global() -> Vec<Flag> {
    let flag = |short: Option<&str>, long: &str, is_bool| Flag {
        short: short.map(str::to_owned),
        long: long.to_owned(),
        is_bool,
    };
    vec![
        flag(None, "--output-file", false),
        flag(Some("-t"), "--timeout", false),
        flag(Some("-d"), "--verbose", true),
    ]
}

/// A value that makes sense for a flag; a file that is not there where nothing else is said.
fn value(long: &str) -> &'static str {
    match long {
        "--annotations" => "team=web",
        "--timeout" => "3m0s",
        "--registry-referrers-mode" => "oci-1-1",
        "--output" => "json",
        "--max-workers" => "10",
        "--signature-digest-algorithm" => "sha256",
        "--fulcio-url" | "--rekor-url" | "--timestamp-server-url" => "https://none.example",
        _ => "none",
    }
}

async fn known(tools: Tools, cosign: Cosign, command: &str) {
    let help = tools.run(cosign.tool(), [command, "--help"]).await;
    let mut all = flags(&help);
    assert!(all.len() > 30, "{help}");
    all.retain(|flag| flag.long != "--help");
    all.extend(global());
    let place = Workplace::new();
    for flag in &all {
        let tried = |typed: String| tried(&place, command, flag, typed);
        if flag.is_bool {
            for value in ["", "=true", "=false"] {
                tried(format!("{}{value}", flag.long)).await;
            }
            // What is usual there is usual here too, but for two: all in an index is signed, and no log asked.
            let usual = matches!(
                flag.long.as_str(),
                "--recursive"
                    | "--offline"
                    | "--check-claims"
                    | "--upload"
                    | "--tlog-upload"
                    | "--use-signing-config"
            );
            tried(format!("{}={usual}", flag.long)).await.with(0);
        } else {
            tried(format!("{} {}", flag.long, value(&flag.long))).await;
            tried(format!("{}={}", flag.long, value(&flag.long))).await;
        }
        let Some(short) = &flag.short else { continue };
        let what = value(&flag.long);
        match (short.as_str(), flag.is_bool) {
            // A report has this letter here, and it is given its file.
            ("-r", _) => {}
            (_, true) => drop(tried(short.clone()).await),
            (_, false) => drop(tried(format!("{short} {what}")).await),
        }
    }
}

/// Runs the program with a flag; it is known, or refused by its name.
async fn tried(place: &Workplace, command: &str, flag: &Flag, typed: String) -> Ended {
    let long = flag.long.as_str();
    let base = match (command, long) {
        ("sign", _) => "sign -y",
        // Who must have signed is said once.
        (_, "--key") => "validate",
        (_, "--certificate-identity" | "--certificate-identity-regexp") => {
            "validate --certificate-oidc-issuer https://x.example"
        }
        (_, "--certificate-oidc-issuer" | "--certificate-oidc-issuer-regexp") => {
            "validate --certificate-identity x"
        }
        _ => "validate --certificate-identity x --certificate-oidc-issuer https://x.example",
    };
    // What makes no sense alone.
    let beside = match long {
        "--ca-roots" => "--insecure-ignore-tlog --insecure-ignore-sct",
        "--ca-intermediates" | "--timestamp-certificate-chain" => {
            "--ca-roots none --insecure-ignore-tlog --insecure-ignore-sct"
        }
        _ => "",
    };
    let base = if typed.starts_with("-y") || long == "--yes" {
        "sign"
    } else {
        base
    };
    let words = format!("{base} {typed} {beside} --dry-run reg.example/app:1");
    let token = [("SIGSTORE_ID_TOKEN", PathBuf::from(job_token()))];
    let ended = place.run_with(&words, &token).await;
    for unknown in ["unexpected", "For more information, try"] {
        assert!(!ended.stderr.contains(unknown), "{ended}");
    }
    if ended.code() != Some(0) {
        let is_named = ended.stderr.contains(long) || ended.stderr.contains("`none`");
        assert!(is_named || ended.stderr.contains(&typed), "{ended}");
        let is_told = ended.stderr.contains("hint:") || ended.stderr.contains("`none`");
        assert!(is_told, "{ended}");
        return ended.with(2);
    }
    ended
}

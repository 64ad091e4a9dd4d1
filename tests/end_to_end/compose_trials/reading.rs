//! Compose files read as docker compose reads them, and never half understood.
//!
//! The corpus is `testdata/compose`. What docker compose says of a file is compared case by case; where
//! we differ, the row says why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use libtest_mimic::Trial;
use serde_json::Value;
use tokio::process::Command;

use crate::harness::{Tool, Tools, trial, with_tools};
use crate::program::Workplace;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "compose::our_images_are_those_of_docker_compose",
            &[Tool::Compose],
            same_images,
        ),
        with_tools(
            "compose::what_docker_compose_refuses_is_refused",
            &[Tool::Compose],
            same_refusals,
        ),
        with_tools(
            "compose::where_we_are_stricter_and_where_not_is_known",
            &[Tool::Compose],
            known_differences,
        ),
        trial("compose::the_keys_of_nerdctl_become_settings", nerdctl),
        trial("compose::nothing_wrong_is_skipped", nothing_skipped),
        trial("compose::standard_input_and_formats", formats),
    ]
}

/// A file of the corpus, and how it is read.
struct Case {
    file: &'static str,
    flags: &'static str,
    environment: &'static [(&'static str, &'static str)],
}

const fn case(file: &'static str) -> Case {
    with(file, "", &[])
}

const fn with(
    file: &'static str,
    flags: &'static str,
    environment: &'static [(&'static str, &'static str)],
) -> Case {
    Case {
        file,
        flags,
        environment,
    }
}

const SET: &[(&str, &str)] = &[("SET", "set"), ("EMPTY", "")];

const TOKEN: &[(&str, &str)] = &[("SIGSTORE_ID_TOKEN", "a.b.c")];

/// Files of which both programs say the same images.
const SAME: &[Case] = &[
    with("variables/compose.yaml", "", SET),
    case("variables-dollar/compose.yaml"),
    case("dotenv/compose.yaml"),
    with(
        "dotenv/compose.yaml",
        "",
        &[("Q", "from-environment"), ("A", "other")],
    ),
    case("env-file/compose.yaml"),
    with("env-file/compose.yaml", "--env-file one.env", &[]),
    with(
        "env-file/compose.yaml",
        "--env-file one.env --env-file two.env",
        &[],
    ),
    with(
        "env-file/compose.yaml",
        "--env-file one.env --env-file more.env",
        &[],
    ),
    with(
        "env-file/compose.yaml",
        "",
        &[("COMPOSE_ENV_FILES", "one.env,two.env")],
    ),
    with(
        "env-file/compose.yaml",
        "",
        &[("COMPOSE_DISABLE_ENV_FILE", "true"), ("TAG", "x")],
    ),
    case("profiles/compose.yaml"),
    with("profiles/compose.yaml", "--profile debug", &[]),
    with(
        "profiles/compose.yaml",
        "--profile test --profile other",
        &[],
    ),
    with("profiles/compose.yaml", "--profile *", &[]),
    with(
        "profiles/compose.yaml",
        "",
        &[("COMPOSE_PROFILES", "test,other")],
    ),
    with(
        "profiles/compose.yaml",
        "--profile test",
        &[("COMPOSE_PROFILES", "other")],
    ),
    case("profiles-dotenv/compose.yaml"),
    with(
        "profiles-dotenv/compose.yaml",
        "",
        &[("COMPOSE_PROFILES", "other")],
    ),
    case("extends/compose.yaml"),
    with("extends/compose.yaml", "", &[("TAG", "2")]),
    with("extends-profiles/compose.yaml", "--profile p", &[]),
    case("extends-reset/compose.yaml"),
    with("extends-reset/compose.yaml", "--profile p", &[]),
    with("extends-reset/compose.yaml", "--profile q", &[]),
    case("include/compose.yaml"),
    with("include/compose.yaml", "", &[("TAG", "mine")]),
    with("include/compose.yaml", "--project-name given", &[]),
    case("include-elsewhere/compose.yaml"),
    with("include-elsewhere/compose.yaml", "", &[("T", "mine")]),
    case("include-only/compose.yaml"),
    case("include-same/compose.yaml"),
    case("anchors/compose.yaml"),
    case("built/compose.yaml"),
    with("built/compose.yaml", "--project-name given", &[]),
    with(
        "built/compose.yaml",
        "",
        &[("COMPOSE_PROJECT_NAME", "given")],
    ),
    with("name/compose.yaml", "", SET),
    with("name/compose.yaml", "--project-name given", SET),
    case("name-dotenv/compose.yaml"),
    with(
        "name-dotenv/compose.yaml",
        "",
        &[("COMPOSE_PROJECT_NAME", "given")],
    ),
    case("Folder.Name-X/compose.yaml"),
    case("platform/compose.yaml"),
    case("duplicates/compose.yaml"),
    case("names/compose.yaml"),
    case("documents/compose.yaml"),
    case("json/compose.yaml"),
    case("depends/compose.yaml"),
    with("depends/compose.yaml", "--profile p", &[]),
    // One of its services is signed without a key.
    with("nerdctl/compose.yaml", "", TOKEN),
];

/// Files that both programs refuse.
const REFUSED: &[Case] = &[
    case("bad/yaml.yaml"),
    case("bad/twice.yaml"),
    case("bad/merge-twice.yaml"),
    case("bad/no-image.yaml"),
    case("bad/image-null.yaml"),
    case("bad/image-number.yaml"),
    case("bad/image-list.yaml"),
    case("bad/image-date.yaml"),
    case("bad/build-null.yaml"),
    case("bad/service-null.yaml"),
    case("bad/services-list.yaml"),
    case("bad/service-name.yaml"),
    case("bad/required.yaml"),
    with("bad/required-unused.yaml", "", SET),
    case("bad/template.yaml"),
    case("bad/template-empty.yaml"),
    case("bad/template-word.yaml"),
    case("bad/extends-missing.yaml"),
    case("bad/extends-itself.yaml"),
    case("bad/extends-file.yaml"),
    case("bad/include-missing.yaml"),
    case("bad/include-conflict.yaml"),
    case("bad/include-circle.yaml"),
    case("bad/include-text.yaml"),
    case("bad/include-env.yaml"),
    case("bad/depends.yaml"),
    case("bad/alias-itself.yaml"),
    case("bad/alias-unknown.yaml"),
    case("bad/profiles-text.yaml"),
    case("bad/profiles-null.yaml"),
    case("bad/name-number.yaml"),
    case("bad/platform-number.yaml"),
    with("bad/env.yaml", "--env-file quote.env", &[]),
    with("bad/env.yaml", "--env-file space.env", &[]),
    with("bad/env.yaml", "--env-file template.env", &[]),
    with("bad/env.yaml", "--env-file none.env", &[]),
    with("bad/env.yaml", "--project-name Upper", &[]),
    with("bad/env.yaml", "", &[("COMPOSE_PROJECT_NAME", "Upper")]),
];

/// Files that we refuse and docker compose reads, each with the reason.
const STRICTER: &[(&str, &str)] = &[
    (
        "extends-profiles/compose.yaml",
        "where no profile is chosen there is nothing to do, which is told",
    ),
    (
        "Folder._-X/compose.yaml",
        "the name of the project, with `_-`, begins no repository",
    ),
    (
        "stricter/unknown-tag.yaml",
        "a tag that nobody knows may mean anything",
    ),
    (
        "stricter/upper-case.yaml",
        "no registry has a repository with upper-case letters",
    ),
    (
        "stricter/no-name.yaml",
        "a variable that is not set leaves no name of an image",
    ),
    ("stricter/blank.yaml", "it is no name of an image"),
    (
        "stricter/verify-number.yaml",
        "a value that is no string would switch verification off",
    ),
    (
        "stricter/verify-typo.yaml",
        "a mistyped key would switch verification off",
    ),
    (
        "stricter/verify-half.yaml",
        "verification by certificate needs an identity and an issuer",
    ),
    ("stricter/platform.yaml", "it is no platform"),
];

/// Files that we read and docker compose refuses, each with the reason.
const LENIENT: &[(&str, &str)] = &[
    (
        "lenient/unknown-key.yaml",
        "keys of later versions of compose must not stop a mirror",
    ),
    ("lenient/unknown-top.yaml", "the same"),
    (
        "lenient/circle.yaml",
        "in which order services begin is not our business",
    ),
    (
        "lenient/dangling-network.yaml",
        "networks are not our business",
    ),
];

/// Values of variables that are no images, compared with what docker compose makes of them.
const QUOTES: &[(&str, &str)] = &[
    ("a", "a\"b"),
    ("b", "a\\nb"),
    ("c", "a$A"),
    ("e", "\""),
    ("f", "'"),
    ("g", "it's"),
    ("h", "a\\b"),
];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/compose")
}

impl Case {
    /// What this program says of it.
    async fn ours(&self, place: &Workplace) -> Output {
        let flags = format!("plan -d m.example --output json {} -f", self.flags);
        self.run(place.command(&flags)).await
    }

    async fn run(&self, mut command: Command) -> Output {
        let path = corpus().join(self.file);
        let (folder, file) = (path.parent().unwrap(), path.file_name().unwrap());
        command
            .arg(file)
            .current_dir(folder)
            .envs(self.environment.iter().copied());
        command.output().await.expect("it runs")
    }

    /// What docker compose says of it.
    async fn theirs(&self, tools: &Tools, words: &[&str]) -> Output {
        let mut command = tools.command(Tool::Compose);
        command.args(self.flags.split_whitespace()).arg("-f");
        let path = corpus().join(self.file);
        let (folder, file) = (path.parent().unwrap(), path.file_name().unwrap());
        command
            .arg(file)
            .args(words)
            .current_dir(folder)
            .envs(self.environment.iter().copied());
        command.output().await.expect("it runs")
    }

    fn name(&self) -> String {
        format!("{} {} {:?}", self.file, self.flags, self.environment)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The images of a plan as the file has them.
fn images(plan: &Output) -> BTreeSet<String> {
    let lines = text(&plan.stdout);
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter_map(|line: Value| Some(line["text"].as_str()?.to_owned()))
        .map(|text| text.split(' ').next().unwrap().to_owned())
        .collect()
}

async fn same_images(tools: Tools) {
    let place = Workplace::new();
    let mut differ = Vec::new();
    for case in SAME {
        let ours = case.ours(&place).await;
        let theirs = case.theirs(&tools, &["config", "--images"]).await;
        let is_good = ours.status.success() && theirs.status.success();
        let listed = text(&theirs.stdout);
        let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
        if !is_good || images(&ours) != listed || listed.is_empty() {
            differ.push(format!(
                "{}\n  ours: {:?} {}\n  theirs: {listed:?} {}",
                case.name(),
                images(&ours),
                text(&ours.stderr),
                text(&theirs.stderr)
            ));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

async fn same_refusals(tools: Tools) {
    let place = Workplace::new();
    let mut differ = Vec::new();
    for case in REFUSED {
        let ours = case.ours(&place).await;
        let theirs = case.theirs(&tools, &["config", "--images"]).await;
        if ours.status.code() != Some(2) || !ours.stdout.is_empty() || theirs.status.success() {
            differ.push(format!(
                "{}\n  ours: {} {}\n  theirs: {} {}",
                case.name(),
                text(&ours.stdout),
                text(&ours.stderr),
                text(&theirs.stdout),
                text(&theirs.stderr)
            ));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

async fn known_differences(tools: Tools) {
    let place = Workplace::new();
    for (file, reason) in STRICTER {
        let ours = case(file).ours(&place).await;
        assert_eq!(ours.status.code(), Some(2), "{file}: {reason}");
        let theirs = case(file).theirs(&tools, &["config", "--images"]).await;
        assert!(
            theirs.status.success(),
            "{file}: {reason}, and so do they now"
        );
    }
    for (file, reason) in LENIENT {
        let ours = case(file).ours(&place).await;
        assert!(
            ours.status.success(),
            "{file}: {reason}: {}",
            text(&ours.stderr)
        );
        let theirs = case(file).theirs(&tools, &["config", "--images"]).await;
        assert!(
            !theirs.status.success(),
            "{file}: {reason}, and they read it now"
        );
    }
    let quotes = case("dotenv-quotes/compose.yaml");
    let theirs = quotes.theirs(&tools, &["config", "--format", "json"]).await;
    let theirs: Value = serde_json::from_slice(&theirs.stdout).unwrap();
    let ours = quotes.ours(&place).await;
    assert_eq!(ours.status.code(), Some(2));
    let said = text(&ours.stderr);
    for (service, value) in QUOTES {
        let image = theirs["services"][service]["image"].as_str().unwrap();
        // It doubles a `$` in what it writes, for whoever reads it again.
        assert_eq!(image.replace("$$", "$"), *value, "{service}");
        let ours = format!("service `{service}`: `{value}` is not a valid");
        assert!(said.contains(&ours), "{ours}: {said}");
    }
}

async fn nerdctl() {
    let place = Workplace::new();
    let plan = with("nerdctl/compose.yaml", "", TOKEN).ours(&place).await;
    assert!(plan.status.success(), "{}", text(&plan.stderr));
    let lines = text(&plan.stdout);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found: Vec<(&str, u64)> = lines
        .iter()
        .filter_map(|line| Some((line["text"].as_str()?, line["line"].as_u64()?)))
        .collect();
    let keyed = "verify=cosign cosign-public-key=keys/cosign.pub sign=cosign cosign-private-key=keys/cosign.key";
    assert_eq!(
        found,
        [
            (format!("r.example:5000/svc0_image {keyed}").as_str(), 7),
            ("r.example:5000/svc1_image", 12),
            ("r.example:5000/svc2_image verify=none sign=none", 14),
            (
                "r.example:5000/svc3_image verify=cosign \
                 cosign-certificate-identity-regexp=^https://ci\\.example/ \
                 cosign-certificate-oidc-issuer=https://ci.example sign=cosign",
                18
            ),
            (format!("r.example:5000/svc4_image {keyed}").as_str(), 25),
        ]
    );
    let said = text(&plan.stderr);
    let note =
        "note: service `svc0`: the key of `x-nerdctl-cosign-public-key` is `keys/cosign.pub`";
    assert!(said.contains(note), "{said}");
}

async fn nothing_skipped() {
    let place = Workplace::new();
    place.write(
        "compose.yaml",
        "services:\n  a: {image: r.example/a}\n  b: {image: r.example/b, x-nerdctl-verify: 1}\n",
    );
    let flags = "mirror -f compose.yaml -d m.example --skip-bad-lines";
    let ended = place.run(flags).await.with(2);
    let ended = ended.saying(&["compose.yaml:3:", "`b`", "must be a string"]);
    assert!(
        !ended.stderr.contains("goes on without"),
        "{}",
        ended.stderr
    );
    // Without the second service, the first would go on as nobody meant it.
    place.write(
        "compose.yaml",
        "services:\n  a: {image: r.example/a}\n  b: {image: r.example/a, x-nerdctl-verify: none}\n",
    );
    let ended = place.run(flags).await.with(2);
    ended.saying(&["compose.yaml:3", "other settings"]);
    place.write("list.txt", "r.example/a\nr.example/a verify=cosing\n");
    let flags = "mirror -f list.txt -d m.example --skip-bad-lines";
    let ended = place.run(flags).await.with(2);
    ended.saying(&["list.txt:2:20: ", "`cosing` is not known"]);
    assert!(!place.has("mirror-failed.txt"));
}

async fn formats() {
    let place = Workplace::new();
    let text = "services: {a: {build: .}}\n";
    let flags = "plan -d m.example --project-name p -f -";
    let read = async |more: &str, text: &str| {
        let flags = format!("{flags} {more}");
        place.run_command(place.command(&flags), &flags, text).await
    };
    let ended = read("", text).await.with(0);
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(
        said.starts_with("-:1, service `a`: docker.io/library/p-a:latest"),
        "{said}"
    );
    let ended = read("--list-format plain", text).await.with(2);
    ended.saying(&["-:1:", "columns"]);
    let ended = read("--list-format compose", "a.io/b:1\n").await.with(2);
    ended.saying(&["must be a mapping"]);
}

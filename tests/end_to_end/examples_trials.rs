//! What the examples and the page for cosign's users tell people to type: the files are YAML, and each line is run as
//! it stands there, by a shell, as far as it can be without a registry.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use saphyr_parser::{Event, Parser};

use crate::harness::trial;
use crate::instance::{ISSUER, Instance, job_token};
use crate::program::{Ended, Workplace};
use crate::signatures::stand::{OURS, PASSPHRASE};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "examples::each_line_of_theirs_can_be_typed",
            lines_of_examples,
        ),
        trial(
            "examples::each_line_for_users_of_cosign_can_be_typed",
            lines_of_page,
        ),
        trial("examples::the_compose_file_is_planned", planned),
    ]
}

/// The folder of the documents.
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");

/// What is left out of each line, so that nothing is contacted: runs only plan, the rest only reads its flags.
const SHELL: &str = r#"
consign() {
    case "$1" in
        mirror | plan | sign | validate | verify) command consign "$@" --dry-run ;;
        *) command consign "$@" --help ;;
    esac
}
"#;

/// What a pipeline has in its environment.
const VARIABLES: &[(&str, &str)] = &[
    ("CI_COMMIT_BRANCH", "main"),
    ("CI_COMMIT_SHA", "9f2c3d1e"),
    ("CI_COMMIT_SHORT_SHA", "9f2c"),
    (
        "CI_PIPELINE_URL",
        "https://gitlab.instance.test/apps/web/-/pipelines/77",
    ),
    ("CI_PROJECT_URL", "https://gitlab.instance.test/apps/web"),
    ("CI_REGISTRY", "registry.instance.test"),
    ("CI_REGISTRY_PASSWORD", "secret"),
    ("CI_REGISTRY_USER", "job"),
    ("CI_SERVER_URL", ISSUER),
    ("COSIGN_PASSWORD", PASSPHRASE),
    ("COSIGN_YES", "true"),
    ("FULCIO_URL", "https://fulcio.instance.test"),
    ("GITLAB_USER_NAME", "Ann, Bob"),
    (
        "IMAGE_DIGEST",
        "registry.instance.test/apps/web@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    ),
    ("REKOR_URL", "https://rekor.instance.test"),
    ("SIGNING_KEY", "site.key"),
    ("SIGNING_PUB", "site.pub"),
    ("SITE_CA", "root.pem"),
    ("TRUSTED_ROOT", "trusted_root.json"),
];

/// A folder with all files that lines name.
fn place() -> Workplace {
    let place = Workplace::new();
    Instance::new().write(&place.path(""));
    for name in ["site", "cosign", "vendor", "keys/vendor"] {
        let copy = |from: String, ending: &str| {
            let text = fs::read(from).expect("a key of ours");
            place.write(&format!("{name}.{ending}"), text);
        };
        copy(OURS.private(), "key");
        copy(OURS.public(), "pub");
    }
    for list in ["images.txt", "unvalidated.txt"] {
        place.write(list, "reg.example/app:1.0\n");
    }
    let compose = fs::read(Path::new(DOCS).join("examples/compose.yaml"));
    place.write("compose.yaml", compose.expect("an example"));
    place
}

/// Runs a line in it.
async fn typed(place: &Workplace, line: &str) -> Ended {
    let program = Path::new(env!("CARGO_BIN_EXE_consign"));
    let programs = program.parent().expect("it is in a folder");
    let mut command = tokio::process::Command::new("/bin/sh");
    command
        .args(["-euc", &format!("{SHELL}{line}")])
        .env_clear()
        .env("PATH", programs)
        .env("HOME", place.path(""))
        .env("SIGSTORE_ID_TOKEN", job_token())
        .envs(VARIABLES.iter().copied())
        .current_dir(place.path(""))
        .kill_on_drop(true);
    place.run_command(command, line, "").await
}

/// Lines of a text, those that go on joined.
fn joined(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// What stands in backticks and is a whole command.
fn quoted(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    let spans = spans.map(|span| span.replace('\n', " "));
    spans.filter(|span| span.starts_with("consign ")).collect()
}

/// Whether a line of a script runs the program.
fn runs(line: &str) -> bool {
    line.starts_with("consign ") || line.contains("| consign ") || line.contains("&& consign ")
}

/// The commands in a YAML file: those of its values, and those of its comments.
#[track_caller]
fn commands_of_yaml(text: &str, name: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Event::Scalar(value, ..) = event {
            commands.extend(joined(&value).into_iter().filter(|line| runs(line)));
        }
    }
    let mut comments = String::new();
    for line in text.lines() {
        let Some((_, comment)) = line.split_once("# ") else {
            continue;
        };
        let comment = comment.trim();
        comments.push_str(comment);
        comments.push('\n');
        // What the command does stands behind it.
        let command = comment.split("   ").next().unwrap_or_default();
        let command = command.rsplit("&& ").next().unwrap_or_default();
        if command.starts_with("consign ") {
            commands.push(command.to_owned());
        }
    }
    commands.extend(quoted(&comments));
    commands
}

async fn lines_of_examples() {
    let folder = Path::new(DOCS).join("examples");
    let files = fs::read_dir(folder).expect("there are examples");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    let place = place();
    for file in files {
        let name = file.display().to_string();
        let text = fs::read_to_string(&file).expect("it is text");
        let commands = commands_of_yaml(&text, &name);
        assert!(commands.len() >= 2, "{name}: {commands:?}");
        for command in commands {
            typed(&place, &command).await.with(0);
        }
    }
}

async fn lines_of_page() {
    let text = fs::read_to_string(Path::new(DOCS).join("FROM_COSIGN.md")).expect("a page");
    let mut commands = Vec::new();
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 0 {
            commands.extend(quoted(part));
            continue;
        }
        let lines = joined(part).into_iter();
        let lines = lines.filter_map(|line| line.strip_prefix("$ ").map(str::to_owned));
        commands.extend(lines.filter(|line| runs(line)));
    }
    assert!(commands.len() >= 20, "{commands:?}");
    let place = place();
    for command in commands {
        typed(&place, &command).await.with(0);
    }
}

async fn planned() {
    let place = place();
    let ended = place
        .run("plan -f compose.yaml -d mirror.example --output json")
        .await
        .with(0);
    let text = ended.text();
    for image in [
        "vendor/database",
        "shop/web",
        "shop/worker",
        "library/haproxy",
    ] {
        assert!(
            text.contains(&format!("mirror.example/{image}:")),
            "{image}: {ended}"
        );
    }
}

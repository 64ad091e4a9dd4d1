//! GitLab's pipeline that signs an image and verifies it, with `consign` where its tutorial has cosign; cosign
//! with what it signs, and the reverse.
//!
//! The lines are run by a shell, as a job runs them: what is in quotes, and what is not, is part of them. The
//! services are those of an instance of our own. What is to be trusted of it is in cosign's variables; `sign`
//! alone is told where they are.

use std::path::Path;
use std::sync::Arc;

use consign::event::Format;
use libtest_mimic::Trial;
use serde_json::Value;
use tokio::process::Command;

use crate::harness::{Tool, Tools, with_tools};
use crate::instance::{By, Client, Files, ISSUER, Instance, JOB, Server, job_token, job_token_for};
use crate::program::{Ended, Workplace};
use crate::signatures::others::{BOTH, Cosign, REFERRERS};
use crate::signatures::stand::{Kind, Made, OURS, PASSPHRASE, Registry, Stand, TWO};

pub(crate) fn trials() -> Vec<Trial> {
    let all = &[Tool::Cosign2, Tool::Cosign3, Tool::Registry];
    let cosigns = &[Tool::Cosign2, Tool::Cosign3];
    vec![
        with_tools(
            "gitlab::the_tutorial_works_as_printed_on_docker_registry",
            all,
            |tools| printed(tools, Kind::Debian),
        ),
        with_tools(
            "gitlab::the_tutorial_works_as_printed_on_serve",
            cosigns,
            |tools| printed(tools, Kind::Serve),
        ),
        with_tools(
            "gitlab::what_cosign_signs_so_is_validated_on_docker_registry",
            all,
            |tools| signed_by_cosign(tools, Kind::Debian),
        ),
        with_tools(
            "gitlab::what_cosign_signs_so_is_validated_on_serve",
            cosigns,
            |tools| signed_by_cosign(tools, Kind::Serve),
        ),
        with_tools(
            "gitlab::values_of_variables_are_read_as_cosign_reads_them",
            cosigns,
            values,
        ),
        with_tools(
            "gitlab::a_token_that_has_ended_signs_nothing",
            &[],
            ended_token,
        ),
        with_tools(
            "gitlab::of_several_images_those_that_are_accepted_are_printed",
            &[],
            several,
        ),
    ]
}

/// The line that signs.
const SIGN: &str = r#"consign sign "$IMAGE_DIGEST" --registry-referrers-mode oci-1-1 \
    --annotations "com.gitlab.ci.user.name=$GITLAB_USER_NAME" \
    --annotations "com.gitlab.ci.pipeline.id=$CI_PIPELINE_ID" \
    --annotations "com.gitlab.ci.pipeline.url=$CI_PIPELINE_URL" \
    --annotations "com.gitlab.ci.job.url=$CI_JOB_URL" \
    --annotations "com.gitlab.ci.commit.sha=$CI_COMMIT_SHA" \
    --annotations "com.gitlab.ci.mr.id=${CI_MERGE_REQUEST_ID:-}" \
    --annotations "tag=$IMAGE_TAG" $SERVICES"#;

/// The line that verifies.
const VERIFY: &str = r#"consign validate --annotations "tag=$IMAGE_TAG" \
    --certificate-identity "$CI_PROJECT_URL//.gitlab-ci.yml@refs/heads/$CI_COMMIT_REF_NAME" \
    --certificate-oidc-issuer "$CI_SERVER_URL" "$IMAGE_URI""#;

/// The name of who runs the pipeline.
const USER: &str = "Ann Other";
/// What the job has in its environment beside that.
const JOB_VARIABLES: &[(&str, &str)] = &[
    ("COSIGN_YES", "true"),
    ("GITLAB_USER_NAME", USER),
    ("CI_PIPELINE_ID", "77"),
    (
        "CI_PIPELINE_URL",
        "https://gitlab.instance.test/apps/web/-/pipelines/77?a=b",
    ),
    (
        "CI_JOB_URL",
        "https://gitlab.instance.test/apps/web/-/jobs/123",
    ),
    ("CI_COMMIT_SHA", "9f2c3d1e"),
    ("CI_PROJECT_URL", "https://gitlab.instance.test/apps/web"),
    ("CI_COMMIT_REF_NAME", "main"),
    ("CI_SERVER_URL", ISSUER),
    ("IMAGE_TAG", "1.0"),
];

/// What a build makes.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// One image.
    Single,
    /// An index of two platforms.
    Two,
    /// The same with a manifest of provenance beside each, as `BuildKit` has it.
    Attested,
}

/// A runner of jobs, an instance with its services, and a registry.
struct Runner {
    stand: Stand,
    registry: Registry,
    server: Server,
    files: Files,
}

impl Runner {
    async fn new(tools: Tools, kind: Kind) -> Self {
        let instance = Arc::new(Instance::new());
        let files = instance.write(tools.folder());
        Self {
            registry: Registry::start(&tools, kind, "gitlab").await,
            server: Server::start(instance).await,
            stand: Stand::new(tools),
            files,
        }
    }

    const fn cosign(&self) -> Client<'_> {
        Client {
            tools: &self.stand.tools,
            files: &self.files,
        }
    }

    /// An image that the job has pushed.
    async fn image(&self, name: &str, shape: Shape) -> Made {
        let name = format!("apps/{name}:1.0");
        match shape {
            Shape::Single => self.stand.single(&self.registry, &name).await,
            Shape::Two => self.stand.image(&self.registry, &name, TWO).await,
            Shape::Attested => self.stand.attested(&self.registry, &name).await,
        }
    }

    /// Runs lines of a job; `more` is in its environment, before anything else.
    async fn job(&self, lines: &str, image: &Made, more: &[(&str, &str)]) -> Ended {
        let url = self.server.url();
        let program = Path::new(env!("CARGO_BIN_EXE_consign"));
        let programs = program.parent().expect("it is in a folder");
        let mut command = Command::new("/bin/sh");
        command
            .args(["-euc", lines])
            .env_clear()
            .env("PATH", programs)
            .env("HOME", self.stand.place.path(""))
            .current_dir(self.stand.place.path(""))
            .kill_on_drop(true)
            .envs(JOB_VARIABLES.iter().copied())
            .envs(self.files.variables())
            .env("SIGSTORE_ID_TOKEN", job_token())
            .env("SERVICES", format!("--fulcio-url {url} --rekor-url {url}"))
            .env("IMAGE_URI", image.by_tag())
            .env("IMAGE_DIGEST", image.by_digest())
            .envs(more.iter().copied());
        let place: &Workplace = &self.stand.place;
        place.run_command(command, lines, "").await
    }

    /// Runs the line that verifies, which must reject and print nothing of use to a program.
    async fn rejects(&self, image: &Made, more: &[(&str, &str)], said: &str) {
        let ended = self.job(VERIFY, image, more).await.with(3);
        assert!(ended.stdout.is_empty(), "{ended}");
        ended.saying(&[said]);
    }
}

/// What a validation prints: an array with one signature or more of this image.
#[track_caller]
fn signatures(ended: &Ended, image: &Made) -> Vec<Value> {
    let printed: Value =
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"));
    let signatures = printed.as_array().expect("an array").clone();
    assert!(!signatures.is_empty(), "{ended}");
    let digests: Vec<String> = image.digests().iter().map(ToString::to_string).collect();
    for signature in &signatures {
        let critical = &signature["critical"];
        let digest = critical["image"]["docker-manifest-digest"].as_str();
        assert!(
            digests.iter().any(|known| Some(known.as_str()) == digest),
            "{ended}"
        );
        assert_eq!(
            critical["type"], "cosign container image signature",
            "{ended}"
        );
        let name = critical["identity"]["docker-reference"].as_str();
        let name = name.expect("it has a name");
        assert!(name.starts_with(&image.place()), "{ended}");
        let optional = &signature["optional"];
        assert_eq!(optional["Issuer"], ISSUER, "{ended}");
        assert_eq!(optional["Subject"], JOB, "{ended}");
        assert_eq!(optional["tag"], "1.0", "{ended}");
    }
    signatures
}

async fn printed(tools: Tools, kind: Kind) {
    let runner = Runner::new(tools, kind).await;
    for (name, shape) in [
        ("web", Shape::Single),
        ("multi", Shape::Two),
        ("built", Shape::Attested),
    ] {
        let image = runner.image(name, shape).await;
        let signed = runner.job(SIGN, &image, &[]).await.with(0);
        assert!(signed.stdout.is_empty(), "{signed}");
        let ended = runner.job(VERIFY, &image, &[]).await.with(0);
        for signature in signatures(&ended, &image) {
            let optional = &signature["optional"];
            assert_eq!(optional["com.gitlab.ci.user.name"], USER, "{ended}");
            assert_eq!(optional["com.gitlab.ci.mr.id"], "", "{ended}");
            let url = optional["com.gitlab.ci.pipeline.url"].as_str();
            assert!(url.is_some_and(|url| url.ends_with("77?a=b")), "{ended}");
        }
        runner.rejects(&image, &[("IMAGE_TAG", "2.0")], "tag").await;
        runner
            .rejects(&image, &[("CI_COMMIT_REF_NAME", "other")], JOB)
            .await;
        runner
            .rejects(
                &image,
                &[("CI_SERVER_URL", "https://gitlab.example")],
                ISSUER,
            )
            .await;
        for cosign in BOTH {
            let mut names = image.names();
            names.dedup();
            for name in names {
                let good = format!("{REFERRERS} -a tag=1.0 -a com.gitlab.ci.mr.id=");
                let client = runner.cosign();
                client
                    .verify(cosign, (JOB, ISSUER), &good, &name)
                    .await
                    .good();
                let wrong = format!("{REFERRERS} -a tag=2.0");
                let said = client.verify(cosign, (JOB, ISSUER), &wrong, &name).await;
                assert!(!said.is_good, "{}", said.text);
            }
        }
    }
}

async fn signed_by_cosign(tools: Tools, kind: Kind) {
    let runner = Runner::new(tools, kind).await;
    let token = job_token();
    for (number, (cosign, format)) in [
        (Cosign::Two, Format::Referrer),
        (Cosign::Three, Format::Tag),
        (Cosign::Three, Format::Referrer),
        (Cosign::Three, Format::Bundle),
    ]
    .into_iter()
    .enumerate()
    {
        // Version 3 needs to be told both.
        let mode = match (cosign, format) {
            (Cosign::Three, Format::Referrer) => "--registry-referrers-mode oci-1-1",
            _ => "",
        };
        for (name, shape, more) in [
            ("web", Shape::Single, ""),
            ("all", Shape::Two, "--recursive"),
            ("index", Shape::Two, ""),
        ] {
            let image = runner.image(&format!("{name}{number}"), shape).await;
            let how = format!("{mode} {more} -a tag=1.0");
            let by = (&runner.server, By::Token(&token));
            let client = runner.cosign();
            let signed = client
                .sign(cosign, by, (format, &how), &image.by_digest())
                .await;
            signed.good();
            let line = match format {
                // A bundle of cosign's has no name.
                Format::Bundle => format!("{VERIFY} --signed-identity digestOnly"),
                Format::Tag | Format::Referrer => VERIFY.to_owned(),
            };
            let ended = runner.job(&line, &image, &[]).await;
            if name == "index" {
                // Unless it is told so, cosign signs the index alone.
                let ended = ended.with(3).saying(&["linux/amd64", "--subjects index"]);
                assert!(ended.stdout.is_empty(), "{ended}");
                let line = format!("{line} --subjects index");
                runner.job(&line, &image, &[]).await.with(0);
            } else {
                let ended = ended.with(0);
                if format != Format::Bundle {
                    signatures(&ended, &image);
                }
            }
        }
    }
}

/// What stands behind `--annotations`, and what it means to both, or to nobody.
const VALUES: &[(&str, Option<(&str, &str)>)] = &[
    ("\"user=Ann, Bob\"", Some(("user", "Ann, Bob"))),
    ("user=Ann Other", Some(("user", "Ann Other"))),
    (
        "\"user=Ann \"\"A\"\" Other\"",
        Some(("user", "Ann \"A\" Other")),
    ),
    ("one=1,user=", Some(("user", ""))),
    ("user=Ann, Bob", None),
    ("user=\"Ann, Bob\"", None),
    ("user=1,", None),
    ("user", None),
];

async fn values(tools: Tools) {
    let runner = Runner::new(tools, Kind::Serve).await;
    let (stand, client) = (&runner.stand, runner.cosign());
    let (private, public) = (OURS.private(), OURS.public());
    for (number, &(typed, meant)) in VALUES.iter().enumerate() {
        let image = runner.image(&format!("ours{number}"), Shape::Single).await;
        let name = image.by_tag();
        let run = async |words: &str| {
            let mut command = stand.place.command(words);
            command.args(["--annotations", typed]);
            command.env("COSIGN_PASSWORD", PASSPHRASE);
            stand.place.run_command(command, words, "").await
        };
        let signed = run(&format!("sign --key {private} {name}")).await;
        let Some((key, value)) = meant else {
            let ended = signed.with(2).saying(&["--annotations", "user"]);
            assert!(ended.stdout.is_empty(), "{ended}");
            for cosign in BOTH {
                let said = client
                    .with_key(cosign, "sign", (&private, typed), &name)
                    .await;
                assert!(!said.is_good, "{typed}: {}", said.text);
            }
            continue;
        };
        signed.with(0);
        for cosign in BOTH {
            client
                .with_key(cosign, "verify", (&public, typed), &name)
                .await
                .good();
            let theirs = runner
                .image(
                    &format!("theirs{number}-{cosign:?}").to_lowercase(),
                    Shape::Two,
                )
                .await;
            let name = theirs.by_digest();
            client
                .with_key(cosign, "sign", (&private, typed), &name)
                .await
                .good();
            let words = format!(
                "validate --key {public} --subjects index --signed-identity digestOnly {name}"
            );
            let ended = run(&words).await.with(0);
            let printed: Value = serde_json::from_slice(&ended.stdout).expect("it is JSON");
            assert_eq!(printed[0]["optional"][key], value, "{ended}");
        }
    }
    let image = runner.image("web", Shape::Single).await;
    let name = ("GITLAB_USER_NAME", "Ann, Bob");
    let ended = runner.job(SIGN, &image, &[name]).await.with(2);
    ended.saying(&["` Bob`", "as cosign's does", "stands in quotes"]);
    assert_eq!(runner.server.certificates(), 0);
}

async fn ended_token(tools: Tools) {
    let runner = Runner::new(tools, Kind::Logged).await;
    let image = runner.image("web", Shape::Single).await;
    runner.registry.forget().await;
    let token = job_token_for(-60);
    let ended = runner
        .job(SIGN, &image, &[("SIGSTORE_ID_TOKEN", &token)])
        .await;
    let ended = ended.with(2).saying(&["the identity token ended at"]);
    assert!(ended.hiding(&[&token]).stdout.is_empty());
    assert_eq!(runner.server.certificates(), 0);
    assert!(runner.registry.log().await.is_empty());
    runner.rejects(&image, &[], "").await;
}

async fn several(tools: Tools) {
    let runner = Runner::new(tools, Kind::Serve).await;
    let first = runner.image("first", Shape::Single).await;
    let second = runner.image("second", Shape::Single).await;
    let elsewhere = [("COSIGN_REPOSITORY", "reg.example/signatures")];
    let signed = runner.job(SIGN, &second, &elsewhere).await.with(0);
    signed.saying(&["COSIGN_REPOSITORY is not read"]);
    let both = format!("{VERIFY} {} {}", first.by_digest(), second.by_digest());
    let ended = runner.job(&both, &second, &elsewhere).await.with(3);
    // By its tag and by its digest, a line each.
    let printed = ended.json_lines();
    assert_eq!(printed.len(), 2, "{ended}");
    for array in printed {
        let critical = &array[0]["critical"];
        let digest = &critical["image"]["docker-manifest-digest"];
        assert_eq!(digest, &second.digest.to_string(), "{ended}");
    }
    ended.saying(&["COSIGN_REPOSITORY is not read", &first.by_digest()]);
}

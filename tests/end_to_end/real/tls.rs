//! A registry behind TLS, with an authority that nobody knows, that lets in only those who show a
//! certificate of it and a password.

use std::fs;

use libtest_mimic::Trial;

use super::credentials::{PASSWORD, USERS};
use super::distribution::Distribution;
use crate::certificates::Authority;
use crate::harness::{Tool, Tools, with_tools};
use crate::program::{Workplace, auth_file, outcomes};
use crate::registry::{Contents, Image, Pushed, TestRegistry};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "real::tls_with_a_private_authority_and_a_client_certificate_works_wherever_they_are_written_down",
            &[Tool::Registry],
            works,
        ),
        with_tools(
            "real::tls_that_fails_names_the_host_the_cause_and_the_remedy",
            &[Tool::Registry],
            fails,
        ),
        with_tools(
            "real::tls_as_skopeo_has_it_in_certs_d",
            &[Tool::Registry, Tool::Skopeo],
            skopeo,
        ),
    ]
}

/// An open source with an image, and the registry behind TLS.
struct Stage {
    authority: Authority,
    source: TestRegistry,
    image: Pushed,
    guarded: Distribution,
    place: Workplace,
}

impl Stage {
    async fn set(tools: &Tools) -> Self {
        let authority = Authority::new();
        let source = TestRegistry::start().await;
        let image = Image::new(&["a", "b"])
            .push(&source, "team/app", Some("1"))
            .await;
        let guarded = Distribution::behind_tls(tools, "guarded", &authority, USERS).await;
        let place = Workplace::new();
        place.write("list.txt", "team/app:1\n");
        place.write("ca.pem", authority.pem());
        Self {
            authority,
            source,
            image,
            guarded,
            place,
        }
    }

    /// Writes a folder as `certs.d` has one for each host.
    fn write_folder(&self, folder: &str, with_authority: bool) {
        let client = self.authority.client();
        let write = |name: &str, text: &str| self.place.write(&format!("{folder}/{name}"), text);
        write("client.cert", &client.certificate);
        write("client.key", &client.key);
        if with_authority {
            write("ca.crt", &self.authority.pem());
        }
    }

    fn certs_d(&self) -> String {
        format!(".config/containers/certs.d/{}", self.guarded.host())
    }

    /// The arguments of a run into the registry behind TLS.
    fn arguments(&self, more: &str) -> String {
        let (from, to) = (self.source.host(), self.guarded.host());
        format!(
            "mirror -f list.txt -s {from} -d {to} --report report.json \
             --dest-creds somebody:{PASSWORD} {more}"
        )
    }

    async fn goes_well(&self, more: &str, outcome: &str) {
        let ended = self.place.run(&self.arguments(more)).await.with(0);
        let ended = ended.hiding(&[PASSWORD]);
        let report = self.place.json("report.json");
        assert_eq!(outcomes(&report), [outcome], "{more}: {ended}");
    }
}

async fn works(tools: Tools) {
    let stage = Stage::set(&tools).await;
    let place = &stage.place;
    let host = stage.guarded.host();

    // The authority by a flag, by the environment, in certs.d, in a folder of the run.
    stage.write_folder(&stage.certs_d(), false);
    stage.goes_well("--ca-file ca.pem", "copied").await;
    let mut all: Vec<String> = stage.image.blobs.iter().map(ToString::to_string).collect();
    all.push(stage.image.digest.to_string());
    assert_eq!(stage.guarded.stored(), all.into_iter().collect());
    let known = [("SSL_CERT_FILE", place.path("ca.pem"))];
    place.run_with(&stage.arguments(""), &known).await.with(0);
    for more in [
        "--tls-verify=false",
        "--dest-tls-verify=false",
        "--ca-file ca.pem --tls-verify",
    ] {
        stage.goes_well(more, "up-to-date").await;
    }
    stage.write_folder(&stage.certs_d(), true);
    stage.goes_well("", "up-to-date").await;
    fs::remove_dir_all(place.path(".config")).expect("it was there");
    stage.write_folder("folder", true);
    stage.goes_well("--cert-dir folder", "up-to-date").await;

    // The way back: now it is the source. The password is in a file.
    stage.write_folder(&stage.certs_d(), true);
    let back = TestRegistry::start().await;
    let to = back.host();
    let run_it = format!("mirror -f list.txt -s {host} -d {to} --src-creds somebody:{PASSWORD}");
    place.run(&run_it).await.with(0);
    assert_eq!(
        Contents::of(&back, "team/app").await,
        Contents::of(&stage.source, "team/app").await
    );
    place.write(
        ".config/containers/auth.json",
        auth_file(&[(host, "somebody", PASSWORD)]),
    );
    for run_it in [
        format!("copy {host}/team/app:1 {to}/other/app:1"),
        format!("inspect {host}/team/app:1"),
        format!("list-tags {host}/team/app"),
    ] {
        place.run(&run_it).await.with(0).hiding(&[PASSWORD]);
    }
}

async fn fails(tools: Tools) {
    let stage = Stage::set(&tools).await;
    let host = stage.guarded.host();
    let remedies = ["--ca-file", "certs.d"];

    // Nobody knows the authority.
    stage.write_folder(&stage.certs_d(), false);
    let ended = stage.place.run(&stage.arguments("")).await.failed();
    let ended = ended.hiding(&[PASSWORD]);
    ended.saying(&[host, "certificate"]).saying(&remedies);
    // Another authority is no help.
    stage.place.write("other.pem", Authority::new().pem());
    let ended = stage
        .place
        .run(&stage.arguments("--ca-file other.pem"))
        .await;
    ended.failed().saying(&[host]).saying(&remedies);

    // It is known, but the client is not.
    let folder = stage.place.path(".config");
    fs::remove_dir_all(&folder).expect("it was there");
    let ended = stage.place.run(&stage.arguments("--ca-file ca.pem")).await;
    let ended = ended.failed().hiding(&[PASSWORD]);
    ended.saying(&[host, "client certificate", "certs.d"]);
    // Nor is one of somebody else.
    let stranger = Authority::new().client();
    let write = |name: &str, text: &str| {
        let name = format!("{}/{name}", stage.certs_d());
        stage.place.write(&name, text);
    };
    write("client.cert", &stranger.certificate);
    write("client.key", &stranger.key);
    let ended = stage.place.run(&stage.arguments("--ca-file ca.pem")).await;
    ended.failed().saying(&[host, "client certificate"]);
    // A pair that is none is named, and nothing is asked.
    write("client.key", &stage.authority.client().key);
    write("client.cert", &stage.authority.client().certificate);
    let ended = stage.place.run(&stage.arguments("--ca-file ca.pem")).await;
    assert_ne!(ended.code(), Some(0), "{ended}");
    ended.saying(&["client."]);
    fs::remove_file(stage.place.path(&format!("{}/client.key", stage.certs_d())))
        .expect("it was there");
    let ended = stage.place.run(&stage.arguments("--ca-file ca.pem")).await;
    assert_ne!(ended.code(), Some(0), "{ended}");
    ended.saying(&["client.key"]);

    assert!(stage.guarded.stored().is_empty());
    let asked = stage.guarded.log().await;
    assert!(asked.is_empty(), "{asked:#?}");
}

/// What consign reads is what skopeo reads.
async fn skopeo(tools: Tools) {
    let stage = Stage::set(&tools).await;
    let (from, to) = (stage.source.host(), stage.guarded.host());
    let run = async |words: &str| {
        let mut command = tools.command(Tool::Skopeo);
        command
            .args(["--insecure-policy", "--tmpdir", "."])
            .args(words.split_whitespace())
            .env("HOME", stage.place.path(""));
        let output = command.output().await.expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), told)
    };
    let copy = format!(
        "copy --src-tls-verify=false --dest-creds somebody:{PASSWORD} docker://{from}/team/app:1 \
         docker://{to}/team/app:1"
    );
    let (is_good, told) = run(&copy).await;
    assert!(!is_good && told.contains("certificate"), "{told}");
    stage.write_folder(&stage.certs_d(), true);
    let (is_good, told) = run(&copy).await;
    assert!(is_good, "{told}");
    stage.goes_well("", "up-to-date").await;
    fs::remove_dir_all(stage.place.path(".config")).expect("it was there");
    stage.write_folder("folder", true);
    let folder = format!("--dest-cert-dir {}", stage.place.path("folder").display());
    let (is_good, told) = run(&copy.replace("copy", &format!("copy {folder}"))).await;
    assert!(is_good, "{told}");
}

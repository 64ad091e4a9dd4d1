//! `generate-key` as people run it, and its keys under the tools that are to use them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use consign::sigstore::{KeyError, KeyFile, Passphrase, PublicKey};
use libtest_mimic::Trial;

use crate::harness::{Tool, Tools, trial, with_tools};
use crate::program::Workplace;
use crate::registry::{Image, TestRegistry};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("generate_key::a_pair_fits_and_opens", pair),
        trial("generate_key::only_the_owner_reads_the_private_key", modes),
        trial("generate_key::nothing_is_replaced_unless_told", replacing),
        trial("generate_key::where_the_passphrase_comes_from", sources),
        trial("generate_key::what_cannot_be_is_named", refusals),
        with_tools(
            "generate_key::cosign_2_signs_and_verifies_with_it",
            &[Tool::Cosign2],
            |tools| cosign(tools, Tool::Cosign2),
        ),
        with_tools(
            "generate_key::cosign_3_signs_and_verifies_with_it",
            &[Tool::Cosign3],
            |tools| cosign(tools, Tool::Cosign3),
        ),
    ]
}

const PASSWORD: &str = "COSIGN_PASSWORD";

/// Opens `NAME.key` and says whether `NAME.pub` is its other half.
#[track_caller]
fn fits(place: &Workplace, name: &str, passphrase: &str) -> Result<bool, KeyError> {
    let private = KeyFile::parse(place.read(&format!("{name}.key")).as_bytes()).unwrap();
    let public = PublicKey::parse(place.read(&format!("{name}.pub")).as_bytes()).unwrap();
    let KeyFile::Sealed(sealed) = private else {
        panic!("`{name}.key` is not sealed");
    };
    let opened = sealed.open(&Passphrase::new(passphrase.to_owned()))?;
    Ok(*opened.public() == public)
}

/// The names in the folder, sorted.
fn names(place: &Workplace) -> Vec<String> {
    let entries = fs::read_dir(place.path(".")).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

fn password(text: &str) -> [(&str, PathBuf); 1] {
    [(PASSWORD, PathBuf::from(text))]
}

async fn pair() {
    let place = Workplace::new();
    let ended = place
        .run_with("generate-key", &password("pass phrase"))
        .await
        .with(0)
        .saying(&["sigstore.key", "sigstore.pub"]);
    assert_eq!(ended.text(), "", "stdout is data");
    assert!(!ended.stderr.contains("warning"), "{ended}");
    assert!(!ended.stderr.contains("pass phrase"), "{ended}");
    assert_eq!(names(&place), ["sigstore.key", "sigstore.pub"]);
    assert_eq!(fits(&place, "sigstore", "pass phrase"), Ok(true));
    assert_eq!(
        fits(&place, "sigstore", "pass phrases"),
        Err(KeyError::Passphrase)
    );
    // The other name, the short flag, a folder.
    place.write("keys/.keep", "");
    let run = "generate-sigstore-key -p keys/site";
    place.run_with(run, &password("pass phrase")).await.with(0);
    assert_eq!(fits(&place, "keys/site", "pass phrase"), Ok(true));
    let keys = [place.read("sigstore.pub"), place.read("keys/site.pub")];
    assert_ne!(keys[0], keys[1], "each pair is new");
}

async fn modes() {
    let place = Workplace::new();
    let run = |umask: &'static str, name: &'static str| {
        let mut command = place.command("");
        let program = command.as_std().get_program().to_owned();
        command = tokio::process::Command::new("sh");
        command
            .arg("-c")
            .arg(format!("umask {umask}; exec \"$0\" generate-key -p {name}"))
            .arg(program)
            .current_dir(place.path("."))
            .env(PASSWORD, "pass phrase");
        async move { command.output().await.expect("there is a shell") }
    };
    let mode = |name: &str| {
        let found = fs::metadata(place.path(name)).unwrap();
        found.permissions().mode() & 0o777
    };
    for (umask, name, public) in [("000", "open", 0o644), ("077", "closed", 0o600)] {
        let output = run(umask, name).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(mode(&format!("{name}.key")), 0o600, "umask {umask}");
        assert_eq!(mode(&format!("{name}.pub")), public, "umask {umask}");
    }
}

async fn replacing() {
    let place = Workplace::new();
    for taken in ["site.key", "site.pub"] {
        place.write(taken, "theirs");
        place
            .run_with("generate-key -p site", &password("pass phrase"))
            .await
            .with(2)
            .saying(&[&format!("`{taken}` is there already"), "--auto-yes"]);
        assert_eq!(names(&place), [taken]);
        assert_eq!(place.read(taken), "theirs");
        fs::remove_file(place.path(taken)).unwrap();
    }
    for flag in ["-y", "--auto-yes", "--yes", "--force"] {
        place.write("site.key", "theirs");
        place.write("site.pub", "theirs");
        let run = format!("generate-key -p site {flag}");
        place.run_with(&run, &password("pass phrase")).await.with(0);
        assert_eq!(fits(&place, "site", "pass phrase"), Ok(true), "{flag}");
        assert_eq!(names(&place), ["site.key", "site.pub"]);
    }
}

async fn sources() {
    let place = Workplace::new();
    place.write("lf", "from a file\n");
    place.write("crlf", "from a file\r\n");
    for (name, flag) in [
        ("lf", "--passphrase-file"),
        ("crlf", "--sigstore-passphrase-file"),
    ] {
        // A flag wins over the environment.
        let run = format!("generate-key -p {name} {flag} {name}");
        let other = password("of the environment");
        place.run_with(&run, &other).await.with(0);
        assert_eq!(fits(&place, name, "from a file"), Ok(true), "{name}");
    }
    for few in ["", "1234"] {
        let run = "generate-key -y";
        place
            .run_with(run, &password(few))
            .await
            .with(0)
            .saying(&["warning", "fewer than 5 bytes"]);
        assert_eq!(fits(&place, "sigstore", few), Ok(true));
    }
}

async fn refusals() {
    let place = Workplace::new();
    // Nobody is there to be asked.
    place.run("generate-key").await.with(2).saying(&[
        "no passphrase",
        "--passphrase-file",
        "COSIGN_PASSWORD",
    ]);
    place
        .run("generate-key --passphrase-file none")
        .await
        .with(2)
        .saying(&["cannot read the passphrase", "`none`"]);
    place
        .run_with("generate-key -p none/site", &password("pass phrase"))
        .await
        .with(2)
        .saying(&["cannot write `none/site.key`"]);
    place
        .run_with("generate-key -p keys/", &password("pass phrase"))
        .await
        .with(2)
        .saying(&["no beginning of a file name"]);
    assert!(names(&place).is_empty(), "nothing is left");
}

/// Reads the public half with the tool, signs an image in the tag format, verifies it.
async fn cosign(tools: Tools, tool: Tool) {
    let place = Workplace::new();
    place
        .run_with("generate-key -p site", &password("pass phrase"))
        .await
        .with(0);
    let registry = TestRegistry::start().await;
    let image = Image::new(&["base"]);
    let image = image.push(&registry, "app", Some("1")).await;
    let image = format!("{}/app@{}", registry.host(), image.digest);
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let (key, public) = (path("site.key"), path("site.pub"));
    let shown = run(&tools, tool, &["public-key", "--key", &key]).await;
    assert_eq!(shown, place.read("site.pub"));
    let mut sign = vec!["sign", "--key", &key, "--tlog-upload=false", "-y"];
    if tool == Tool::Cosign3 {
        sign.extend(["--use-signing-config=false", "--new-bundle-format=false"]);
    }
    sign.extend(["--allow-http-registry", &image]);
    run(&tools, tool, &sign).await;
    let verify = ["verify", "--key", &public, "--insecure-ignore-tlog"];
    let verify = [verify.as_slice(), &["--allow-http-registry", &image]].concat();
    let said = run(&tools, tool, &verify).await;
    assert!(said.contains("docker-manifest-digest"), "{said}");
    assert!(Path::new(&key).is_file());
}

/// Runs cosign, which opens the key.
async fn run(tools: &Tools, tool: Tool, arguments: &[&str]) -> String {
    let mut command = tools.command(tool);
    command.args(arguments).env(PASSWORD, "pass phrase");
    let output = command.output().await.expect("the tool starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let error = text(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    text(&output.stdout)
}

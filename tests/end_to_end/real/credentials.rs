//! Passwords that other tools wrote down, at a registry that asks for them.

use libtest_mimic::Trial;

use super::distribution::Distribution;
use super::run;
use crate::harness::{Tool, Tools, with_tools};
use crate::program::{Ended, Workplace, outcomes};

/// A sample that everybody has: from the test vectors of `crypt_blowfish`.
pub(super) const USERS: &str =
    "somebody:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";
pub(super) const PASSWORD: &str = "U*U";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "real::what_crane_logged_in_to_is_open",
            &[Tool::Registry, Tool::Crane, Tool::Oras],
            crane,
        ),
        with_tools(
            "real::what_skopeo_logged_in_to_is_open",
            &[Tool::Registry, Tool::Skopeo, Tool::Oras],
            skopeo,
        ),
        with_tools(
            "real::a_wrong_password_fails_and_is_not_told",
            &[Tool::Registry, Tool::Crane, Tool::Oras],
            wrong,
        ),
    ]
}

/// An open source with an artifact, a destination that asks who it is, and a list.
struct Stage {
    source: Distribution,
    destination: Distribution,
    place: Workplace,
}

impl Stage {
    async fn set(tools: &Tools) -> Self {
        let source = Distribution::start(tools, "source").await;
        let destination = Distribution::guarded(tools, "destination", USERS).await;
        std::fs::write(tools.folder().join("note.txt"), "a note").expect("it is written");
        let push = format!("push --plain-http {}/team/note:1 note.txt", source.host());
        run(tools, Tool::Oras, &push).await;
        let place = Workplace::new();
        place.write("list.txt", "team/note:1\n");
        Self {
            source,
            destination,
            place,
        }
    }

    /// Runs with one more variable in the environment.
    async fn mirror(&self, name: &str, value: std::path::PathBuf) -> Ended {
        let (from, to) = (self.source.host(), self.destination.host());
        let run_it = format!("mirror -f list.txt -s {from} -d {to} --debug --report report.json");
        self.place.run_with(&run_it, &[(name, value)]).await
    }

    fn arrived(&self) {
        assert_eq!(self.destination.links(), self.source.links());
        assert_eq!(self.destination.stored(), self.source.stored());
    }
}

/// Nobody who reads what was printed or written down learns the password, plain or encoded.
#[track_caller]
fn no_password_is_told(ended: &Ended, place: &Workplace) {
    let report = place.read("report.json");
    // "somebody:U*U"
    for secret in [
        PASSWORD,
        "c29tZWJvZHk6VSpV",
        "WRONG",
        "c29tZWJvZHk6V1JPTkc=",
    ] {
        assert!(!ended.stderr.contains(secret), "{ended}");
        assert!(!report.contains(secret), "{report}");
    }
}

async fn crane(tools: Tools) {
    let stage = Stage::set(&tools).await;
    let to = stage.destination.host();
    let login = format!("auth login {to} -u somebody -p {PASSWORD}");
    run(&tools, Tool::Crane, &login).await;
    let folder = tools.folder().join(".docker");
    assert!(folder.join("config.json").exists());
    let ended = stage.mirror("DOCKER_CONFIG", folder).await.with(0);
    no_password_is_told(&ended, &stage.place);
    stage.arrived();
}

async fn skopeo(tools: Tools) {
    let stage = Stage::set(&tools).await;
    let to = stage.destination.host();
    let file = tools.folder().join("auth.json");
    let login = format!(
        "login --tls-verify=false --authfile {} -u somebody -p {PASSWORD} {to}",
        file.display()
    );
    run(&tools, Tool::Skopeo, &login).await;
    let ended = stage.mirror("REGISTRY_AUTH_FILE", file).await.with(0);
    no_password_is_told(&ended, &stage.place);
    stage.arrived();
}

async fn wrong(tools: Tools) {
    let stage = Stage::set(&tools).await;
    let to = stage.destination.host();
    for password in ["", "auth login -u somebody -p WRONG"] {
        if !password.is_empty() {
            run(&tools, Tool::Crane, &format!("{password} {to}")).await;
        }
        let folder = tools.folder().join(".docker");
        let ended = stage.mirror("DOCKER_CONFIG", folder).await.with(1);
        no_password_is_told(&ended, &stage.place);
        let ended = ended.saying(&["log in to", to]);
        let report = stage.place.json("report.json");
        assert_eq!(outcomes(&report).len(), 1);
        let failure = &report["lines"][0]["failure"];
        assert_eq!(failure["kind"], "unauthorized", "{ended}");
        assert_eq!(stage.place.lines("mirror-failed.txt"), ["team/note:1"]);
        assert!(stage.destination.stored().is_empty());
    }
}

//! `registries.conf`: skopeo and `consign` read the same files, and ask the same registries.
//!
//! [`rows`] is the table of what becomes of a name, with what is another thing here. Both programs find the
//! files of a row in a home of its own.

mod rows;

use consign::oci::Digest;
use libtest_mimic::Trial;

use crate::harness::{Tool, Tools, trial, with_tools};
use crate::program::{Workplace, auth_file};
use crate::registry::{Auth, Image, Settings, TestRegistry, Transport};

use rows::{Row, rows};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "access::skopeo_reads_images_where_registries_conf_says",
            &[Tool::Skopeo],
            skopeo,
        ),
        trial(
            "access::images_are_read_where_registries_conf_says",
            consign,
        ),
        trial(
            "access::registries_conf_says_nothing_of_destinations",
            destinations,
        ),
        trial(
            "access::a_short_name_means_what_its_alias_says",
            short_names,
        ),
        trial(
            "access::a_password_for_a_registry_does_not_reach_its_mirrors",
            passwords,
        ),
        trial(
            "access::a_mirror_that_refuses_everything_is_tried_once",
            refusing,
        ),
        trial(
            "access::registries_conf_that_is_wrong_ends_a_run_before_it_begins",
            wrong,
        ),
    ]
}

/// Where images are in each registry.
const REPOSITORIES: [&str; 3] = ["ns/app", "m/ns/app", "app"];

/// The registries that rows are about, by letter: `a` to `c` have an image of their own under tag 1, and one
/// without a tag that is the same everywhere; `t` has them behind a certificate that nobody knows; `e` has
/// nothing.
struct Stage {
    registries: Vec<(char, TestRegistry)>,
    destination: TestRegistry,
    /// The digest of what all have.
    common: Digest,
}

/// What came of a command.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// Which repositories of which registries were asked for a manifest: `b ns/app`.
    asked: Vec<String>,
    /// Whose image came; `=` for the one that all have.
    came: Option<char>,
}

impl Stage {
    async fn set() -> Self {
        let mut registries = Vec::new();
        let mut common = None;
        for letter in ['a', 'b', 'c', 't', 'e'] {
            let settings = Settings {
                transport: match letter {
                    't' => Transport::Tls,
                    _ => Transport::Plain,
                },
                ..Settings::default()
            };
            let registry = TestRegistry::with(settings).await;
            for repository in REPOSITORIES.iter().filter(|_| letter != 'e') {
                let own = Image::new(&[&letter.to_string()]);
                own.push(&registry, repository, Some("1")).await;
                let same = Image::new(&["same"]).push(&registry, repository, None);
                common = Some(same.await.digest);
            }
            registries.push((letter, registry));
        }
        Self {
            registries,
            destination: TestRegistry::start().await,
            common: common.expect("there are some"),
        }
    }

    /// The text with the addresses of registries for `{a}`, and with the digest for `DIGEST`.
    fn filled(&self, text: &str) -> String {
        let mut text = text.replace("DIGEST", &self.common.to_string());
        for (letter, registry) in &self.registries {
            text = text.replace(&format!("{{{letter}}}"), &registry.host());
        }
        text.replace("{to}", &self.destination.host())
    }

    /// A home with the files of a row.
    fn home(&self, row: &Row) -> Workplace {
        let place = Workplace::new();
        for (name, text) in &row.files {
            place.write(&format!(".config/containers/{name}"), self.filled(text));
        }
        place
    }

    /// What was asked since the last time, and whose image this is.
    fn seen(&self, came: Option<Digest>) -> Seen {
        let mut asked = Vec::new();
        for (letter, registry) in &self.registries {
            for request in registry.requests("*", "/v2/*/manifests/*") {
                let path = request.path.trim_start_matches("/v2/");
                let (repository, reference) = path.split_once("/manifests/").expect("a manifest");
                // Where signatures would be is asked for too.
                if !reference.starts_with("sha256-") {
                    asked.push(format!("{letter} {repository}"));
                }
            }
            registry.clear_log();
        }
        asked.sort();
        asked.dedup();
        let whose = |digest: Digest| {
            let has_it = |registry: &TestRegistry| registry.tag("app", "1") == Some(digest);
            let found = self.registries.iter().find(|(_, one)| has_it(one));
            found.map_or('?', |(letter, _)| *letter)
        };
        let came = came.map(|digest| {
            if digest == self.common {
                '='
            } else {
                whose(digest)
            }
        });
        Seen { asked, came }
    }
}

/// skopeo, which the table is about.
async fn skopeo(tools: Tools) {
    let stage = Stage::set().await;
    for row in rows() {
        let place = stage.home(&row);
        let image = stage.filled(row.image);
        let run = async |arguments: String| {
            let mut command = tools.command(Tool::Skopeo);
            command.args(arguments.split_whitespace());
            command.env("HOME", place.path(""));
            command.output().await.expect("skopeo runs")
        };
        let [verify, source_verify] = if row.verifies {
            ["", ""]
        } else {
            ["--tls-verify=false", "--src-tls-verify=false"]
        };
        let output = run(format!("inspect --raw {verify} docker://{image}")).await;
        let came = output
            .status
            .success()
            .then(|| Digest::sha256(&output.stdout));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(stage.seen(came), row.expected(), "{}: {said}", row.what);

        let got = format!("skopeo/{}", row.name());
        let copy = format!(
            "copy --insecure-policy --dest-tls-verify=false {source_verify} docker://{image} \
             docker://{}/{got}:1",
            stage.destination.host()
        );
        let output = run(copy).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let came = stage.destination.tag(&got, "1");
        assert_eq!(
            output.status.success(),
            came.is_some(),
            "{}: {said}",
            row.what
        );
        assert_eq!(stage.seen(came), row.expected(), "{}: {said}", row.what);
    }
}

/// The same with our own program, and nothing of others.
async fn consign() {
    let stage = Stage::set().await;
    for row in rows() {
        let place = stage.home(&row);
        let image = stage.filled(row.image);
        let verify = if row.verifies {
            ""
        } else {
            "--tls-verify=false"
        };
        let ended = place.run(&format!("inspect --raw {verify} {image}")).await;
        let came = (ended.code() == Some(0)).then(|| Digest::sha256(&ended.stdout));
        assert_eq!(
            stage.seen(came),
            row.expected_here(),
            "{}: {ended}",
            row.what
        );
        for word in row.said {
            assert!(
                ended.stderr.contains(word),
                "{}: `{word}` {ended}",
                row.what
            );
        }

        let got = format!("consign/{}", row.name());
        let to = stage.destination.host();
        let ended = place
            .run(&format!("copy {verify} {image} {to}/{got}:1"))
            .await;
        let came = stage.destination.tag(&got, "1");
        assert_eq!(
            ended.code() == Some(0),
            came.is_some(),
            "{}: {ended}",
            row.what
        );
        assert_eq!(
            stage.seen(came),
            row.expected_here(),
            "{}: {ended}",
            row.what
        );
    }
}

/// What stands in the files of a destination is not looked at: it is written to as it is named, and what
/// stands there is asked for there.
async fn destinations() {
    let stage = Stage::set().await;
    let place = Workplace::new();
    let tables = "[[registry]]\nprefix = '{to}'\nlocation = '{e}/elsewhere'\nblocked = true\n\
                  [[registry.mirror]]\nlocation = '{b}'\n";
    place.write(".config/containers/registries.conf", stage.filled(tables));
    let copy = stage.filled("copy {a}/ns/app:1 {to}/ns/app:1");
    for _ in 0..2 {
        place.run(&copy).await.with(0);
        let came = stage.destination.tag("ns/app", "1");
        let seen = stage.seen(came);
        assert_eq!(
            (seen.asked, seen.came),
            (vec!["a ns/app".to_owned()], Some('a'))
        );
    }
    for (letter, registry) in &stage.registries {
        assert!(
            registry.writes().is_empty(),
            "{letter}: {}",
            registry.log_text()
        );
    }
    // As a source the same name is another thing.
    let ended = place
        .run(&stage.filled("inspect --raw {to}/ns/app:1"))
        .await
        .with(0);
    let seen = stage.seen(Some(Digest::sha256(&ended.stdout)));
    assert_eq!(
        (seen.asked, seen.came),
        (vec!["b ns/app".to_owned()], Some('b'))
    );
}

/// Aliases, which skopeo has in its files and does not use, are what podman uses them for.
async fn short_names() {
    let stage = Stage::set().await;
    let place = Workplace::new();
    let tables = "[aliases]\n'app' = '{a}/ns/app'\n'team/app' = '{b}/ns/app'\n\
                  [[registry]]\nprefix = '{b}'\nlocation = '{c}'\n";
    place.write(".config/containers/registries.conf", stage.filled(tables));
    for (name, asked, came) in [
        ("app:1", "a ns/app", 'a'),
        ("app@DIGEST", "a ns/app", '='),
        ("team/app:1", "c ns/app", 'c'),
    ] {
        let ended = place
            .run(&stage.filled(&format!("inspect --raw {name}")))
            .await;
        let seen = stage.seen(Some(Digest::sha256(&ended.stdout)));
        assert_eq!(
            (seen.asked, seen.came),
            (vec![asked.to_owned()], Some(came)),
            "{name}: {ended}"
        );
    }
    for (name, tag) in [("app", "1"), ("team/app", "1")] {
        let ended = place.run(&format!("list-tags {name}")).await.with(0);
        assert_eq!(ended.text().split('"').nth(1), Some(tag), "{name}: {ended}");
    }
    place.write("list.txt", "app:1\n");
    let mirror = stage.filled("mirror -f list.txt -d {to}");
    place.run(&mirror).await.with(0);
    assert_eq!(stage.seen(None).asked, ["a ns/app"]);
}

/// What is typed for a registry is for that one, also where it is blocked and its mirrors alone are asked. (To
/// skopeo 1.22 it is for whoever is asked.)
async fn passwords() {
    let guarded = || async {
        let registry = TestRegistry::with(Settings {
            auth: Auth::Basic("user", "password"),
            ..Settings::default()
        })
        .await;
        Image::new(&["a"]).push(&registry, "app", Some("1")).await;
        registry
    };
    let (primary, mirror, destination) = (
        guarded().await,
        guarded().await,
        TestRegistry::start().await,
    );
    for (blocked, code) in [("", 0), ("blocked = true\n", 1)] {
        let place = Workplace::new();
        let (from, to) = (primary.host(), destination.host());
        let tables = format!(
            "[[registry]]\nlocation = '{from}'\n{blocked}[[registry.mirror]]\nlocation = '{}'\n",
            mirror.host()
        );
        place.write(".config/containers/registries.conf", tables);
        let copy = format!("copy --src-creds user:password {from}/app:1 {to}/app:1");
        place.run(&copy).await.with(code);
        let inspect = format!("inspect --creds user:password {from}/app:1");
        place.run(&inspect).await.with(code);
        assert!(!mirror.log().is_empty(), "{}", mirror.log_text());
        let sent =
            |registry: &TestRegistry| registry.log().iter().any(|one| one.scheme() == "Basic");
        assert!(!sent(&mirror), "{blocked}");
        assert_eq!(sent(&primary), blocked.is_empty());
        primary.clear_log();
        mirror.clear_log();
    }
}

/// What is wrong in a file is told with the file, and nobody is asked.
async fn wrong() {
    let stage = Stage::set().await;
    let place = Workplace::new();
    place.write("list.txt", stage.filled("{a}/ns/app:1\n"));
    for (text, words) in [
        ("[[registry]\n", ["line 1", "registries.conf"]),
        ("\n[[registry]]\nblocked = 1\n", ["line 3", "invalid type"]),
        (
            "[registries.search]\nregistries = ['a.example']\n",
            ["version 1", "registries.conf"],
        ),
    ] {
        place.write(".config/containers/registries.conf", text);
        for command in ["mirror -f list.txt -d {to}", "inspect {a}/ns/app:1"] {
            let ended = place.run(&stage.filled(command)).await;
            ended.with(2).saying(&words);
        }
    }
    assert_eq!(stage.seen(None).asked, [""; 0]);
    assert!(stage.destination.log().is_empty());
}

/// A mirror that does not take its credential: no image asks it again, and all of them come.
async fn refusing() {
    let guarded = Settings {
        auth: Auth::Basic("user", "password"),
        ..Settings::default()
    };
    let (from, mirror) = (
        TestRegistry::start().await,
        TestRegistry::with(guarded).await,
    );
    let to = TestRegistry::start().await;
    let place = Workplace::new();
    let (host, near) = (from.host(), mirror.host());
    let conf = format!(
        "[[registry]]\nlocation = \"{host}\"\n[[registry.mirror]]\nlocation = \"{near}\"\n"
    );
    place.write(".config/containers/registries.conf", conf);
    place.write("auth.json", auth_file(&[(&near, "user", "of yesterday")]));
    let mut list = String::new();
    for name in ["a", "b", "c"] {
        Image::new(&[name]).push(&from, name, Some("1")).await;
        list = format!("{list}{host}/{name}:1\n");
    }
    place.write("list.txt", list);
    let run_it = format!("mirror -f list.txt -d {} --report report.json", to.host());
    let file = [("REGISTRY_AUTH_FILE", place.path("auth.json"))];
    let ended = place.run_with(&run_it, &file).await.with(0);
    ended.saying(&["is not asked", "did not take the credential"]);
    let asked = mirror.log_text();
    let is_image = |name: &&str| asked.contains(&format!("/v2/{name}/"));
    assert!(!["a", "b", "c"].iter().any(is_image), "{asked}");
    assert!(!mirror.log().is_empty(), "it was not tried at all");
}

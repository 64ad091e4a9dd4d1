//! Who answers where several places have an entry: the table of the order, asked of us and of skopeo on
//! the same files.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{entry, helper, path, users};
use crate::harness::{Tool, Tools, with_tools};
use crate::program::Workplace;
use crate::registry::{Auth, Settings, TestRegistry};

pub(super) fn trials() -> Vec<Trial> {
    vec![with_tools(
        "access::the_same_files_give_the_user_that_skopeo_takes",
        &[Tool::Skopeo],
        table,
    )]
}

/// Podman's two places, Docker's and the one before it.
const RUNTIME: &str = "run/containers/auth.json";
const KEPT: &str = ".config/containers/auth.json";
const DOCKER: &str = ".docker/config.json";
const OLD: &str = ".dockercfg";
/// Places that variables and flags name.
const XDG_KEPT: &str = "xdg/containers/auth.json";
const NAMED: &str = "named.json";
const FLAG: &str = "flag.json";
const DOCKERS_OTHER: &str = "docker/config.json";

/// `XDG_RUNTIME_DIR`, which all sessions have.
const SESSION: (&str, &str) = ("XDG_RUNTIME_DIR", "run");

/// One question: which files are there and what is set, and who has to arrive.
struct Row {
    what: &'static str,
    /// Files; in each the whole registry is known as the user of the same name as the file, unless
    /// something else is written.
    files: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    flag: bool,
    /// The file whose user arrives; nobody without one.
    expected: Option<&'static str>,
}

const ROWS: &[Row] = &[
    Row {
        what: "a flag names the file",
        files: &[FLAG, NAMED, RUNTIME, KEPT, DOCKERS_OTHER, DOCKER, OLD],
        variables: &[
            SESSION,
            ("REGISTRY_AUTH_FILE", NAMED),
            ("DOCKER_CONFIG", "docker"),
        ],
        flag: true,
        expected: Some(FLAG),
    },
    Row {
        what: "REGISTRY_AUTH_FILE names the file",
        files: &[NAMED, RUNTIME, KEPT, DOCKERS_OTHER, DOCKER, OLD],
        variables: &[
            SESSION,
            ("REGISTRY_AUTH_FILE", NAMED),
            ("DOCKER_CONFIG", "docker"),
        ],
        flag: false,
        expected: Some(NAMED),
    },
    Row {
        what: "the folder of the session comes first",
        files: &[RUNTIME, KEPT, XDG_KEPT, DOCKER, OLD],
        variables: &[SESSION, ("XDG_CONFIG_HOME", "xdg")],
        flag: false,
        expected: Some(RUNTIME),
    },
    Row {
        what: "DOCKER_CONFIG moves Docker's place and no other",
        files: &[RUNTIME, DOCKERS_OTHER, DOCKER],
        variables: &[SESSION, ("DOCKER_CONFIG", "docker")],
        flag: false,
        expected: Some(RUNTIME),
    },
    Row {
        what: "XDG_CONFIG_HOME comes second",
        files: &[KEPT, XDG_KEPT, DOCKERS_OTHER, DOCKER, OLD],
        variables: &[
            SESSION,
            ("XDG_CONFIG_HOME", "xdg"),
            ("DOCKER_CONFIG", "docker"),
        ],
        flag: false,
        expected: Some(XDG_KEPT),
    },
    Row {
        what: "without XDG_CONFIG_HOME it is below the home",
        files: &[KEPT, XDG_KEPT, DOCKER, OLD],
        variables: &[SESSION],
        flag: false,
        expected: Some(KEPT),
    },
    Row {
        what: "Docker's file comes third",
        files: &[DOCKERS_OTHER, DOCKER, OLD],
        variables: &[SESSION],
        flag: false,
        expected: Some(DOCKER),
    },
    Row {
        what: "DOCKER_CONFIG is Docker's place",
        files: &[DOCKERS_OTHER, DOCKER, OLD],
        variables: &[SESSION, ("DOCKER_CONFIG", "docker")],
        flag: false,
        expected: Some(DOCKERS_OTHER),
    },
    Row {
        what: "DOCKER_CONFIG without a file leaves it to the old one",
        files: &[DOCKER, OLD],
        variables: &[SESSION, ("DOCKER_CONFIG", "docker")],
        flag: false,
        expected: Some(OLD),
    },
    Row {
        what: "the old file comes last",
        files: &[OLD],
        variables: &[SESSION],
        flag: false,
        expected: Some(OLD),
    },
    Row {
        what: "a folder of the session that is not there is passed over",
        files: &[DOCKER],
        variables: &[("XDG_RUNTIME_DIR", "none")],
        flag: false,
        expected: Some(DOCKER),
    },
    Row {
        what: "without a session it goes on too",
        files: &[RUNTIME, KEPT, DOCKER],
        variables: &[],
        flag: false,
        expected: Some(KEPT),
    },
    Row {
        what: "there is no file",
        files: &[],
        variables: &[SESSION],
        flag: false,
        expected: None,
    },
];

/// What stands in files beyond users of whole registries.
struct Content {
    what: &'static str,
    files: &'static [File],
    /// The repository that is asked for.
    repository: &'static str,
    expected: Option<&'static str>,
}

/// One file; `HOST` is the registry.
struct File {
    name: &'static str,
    /// Keys and users; an entry without a user is an empty one.
    users: &'static [(&'static str, &'static str)],
    /// Registries and their helpers.
    helpers: &'static [(&'static str, &'static str)],
}

impl File {
    const fn of(name: &'static str, users: &'static [(&'static str, &'static str)]) -> Self {
        let helpers = &[];
        Self {
            name,
            users,
            helpers,
        }
    }

    const fn with(mut self, helpers: &'static [(&'static str, &'static str)]) -> Self {
        self.helpers = helpers;
        self
    }

    fn json(&self, host: &str) -> Value {
        let users = self.users.iter().map(|(key, user)| {
            let entry = if user.is_empty() {
                json!({})
            } else {
                entry(user, "p")
            };
            (key.replace("HOST", host), entry)
        });
        let helpers = self.helpers.iter();
        let helpers = helpers.map(|(key, name)| (key.replace("HOST", host), json!(name)));
        json!({
            "auths": users.collect::<serde_json::Map<_, _>>(),
            "credHelpers": helpers.collect::<serde_json::Map<_, _>>(),
        })
    }
}

const ALL: &[(&str, &str)] = &[
    ("HOST", "all"),
    ("HOST/team", "team"),
    ("HOST/team/app", "app"),
];

const CONTENTS: &[Content] = &[
    Content {
        what: "a repository",
        files: &[File::of(DOCKER, ALL)],
        repository: "team/app",
        expected: Some("app"),
    },
    Content {
        what: "its namespace",
        files: &[File::of(DOCKER, ALL)],
        repository: "team/app2",
        expected: Some("team"),
    },
    Content {
        what: "a repository below",
        files: &[File::of(DOCKER, ALL)],
        repository: "team/app/x",
        expected: Some("app"),
    },
    Content {
        what: "no namespace",
        files: &[File::of(DOCKER, ALL)],
        repository: "team2/app",
        expected: Some("all"),
    },
    Content {
        what: "another namespace alone",
        files: &[File::of(RUNTIME, &[("HOST/team", "team")])],
        repository: "team2/app",
        expected: None,
    },
    Content {
        what: "another namespace, and the next file",
        files: &[
            File::of(RUNTIME, &[("HOST/team", "team")]),
            File::of(DOCKER, &[("HOST", "docker")]),
        ],
        repository: "team2/app",
        expected: Some("docker"),
    },
    Content {
        what: "the whole registry in an earlier file",
        files: &[
            File::of(RUNTIME, &[("HOST", "runtime")]),
            File::of(DOCKER, &[("HOST/team/app", "docker")]),
        ],
        repository: "team/app",
        expected: Some("runtime"),
    },
    Content {
        what: "an address",
        files: &[File::of(DOCKER, &[("https://HOST/v1/", "address")])],
        repository: "team/app",
        expected: Some("address"),
    },
    Content {
        what: "a name before an address",
        files: &[File::of(
            DOCKER,
            &[("http://HOST", "address"), ("HOST", "name")],
        )],
        repository: "team/app",
        expected: Some("name"),
    },
    Content {
        what: "a name without the port",
        files: &[File::of(DOCKER, &[("127.0.0.1", "host")])],
        repository: "team/app",
        expected: None,
    },
    Content {
        what: "an empty entry, and the next file",
        files: &[
            File::of(RUNTIME, &[("HOST", "")]),
            File::of(DOCKER, &[("HOST", "docker")]),
        ],
        repository: "team/app",
        expected: Some("docker"),
    },
    Content {
        what: "a helper before the entries",
        files: &[File::of(DOCKER, ALL).with(&[("HOST", "given")])],
        repository: "team/app",
        expected: Some("helper"),
    },
    Content {
        what: "a helper that has nothing, and the next file",
        files: &[
            File::of(KEPT, ALL).with(&[("HOST", "nothing")]),
            File::of(DOCKER, &[("HOST", "docker")]),
        ],
        repository: "team/app",
        expected: Some("docker"),
    },
    Content {
        what: "a helper of another registry",
        files: &[File::of(DOCKER, ALL).with(&[("127.0.0.1", "given")])],
        repository: "team2/app",
        expected: Some("all"),
    },
];

/// Only one user; the file is his name.
fn whole(file: &str, host: &str) -> Value {
    let entries = json!({ host: entry(file, "p") });
    if file == OLD {
        entries
    } else {
        json!({ "auths": entries })
    }
}

async fn table(tools: Tools) {
    let registry = TestRegistry::with(Settings {
        auth: Auth::Basic("nobody", "at all"),
        ..Settings::default()
    })
    .await;
    let host = registry.host();
    for row in ROWS {
        let files: Vec<(&str, Value)> = row
            .files
            .iter()
            .map(|file| (*file, whole(file, &host)))
            .collect();
        let question = Question {
            registry: &registry,
            files: &files,
            variables: row.variables,
            repository: "team/app",
            flag: row.flag,
        };
        question.ask(&tools, row.what, row.expected).await;
    }
    for content in CONTENTS {
        let files = content.files.iter();
        let files: Vec<(&str, Value)> = files.map(|file| (file.name, file.json(&host))).collect();
        let question = Question {
            registry: &registry,
            files: &files,
            variables: &[SESSION],
            repository: content.repository,
            flag: false,
        };
        question.ask(&tools, content.what, content.expected).await;
    }
}

/// What both are asked.
struct Question<'a> {
    registry: &'a TestRegistry,
    files: &'a [(&'a str, Value)],
    variables: &'a [(&'a str, &'a str)],
    repository: &'a str,
    flag: bool,
}

impl Question<'_> {
    /// Asks us and skopeo for the tags of the repository, and compares who arrives.
    async fn ask(&self, tools: &Tools, what: &str, expected: Option<&str>) {
        let place = Workplace::new();
        place.write("run/nothing", "");
        helper(
            &place,
            "given",
            r#"echo '{"Username":"helper","Secret":"p"}'"#,
        )
        .await;
        let nothing = "echo credentials not found in native keychain; exit 1";
        helper(&place, "nothing", nothing).await;
        for (file, content) in self.files {
            place.write(file, content.to_string());
        }
        let name = format!("{}/{}", self.registry.host(), self.repository);
        let flag = place.path(FLAG);
        let flag = if self.flag {
            format!("--authfile {}", flag.display())
        } else {
            String::new()
        };
        let mut commands = [
            place.command(&format!("list-tags {flag} {name}")),
            tools.command(Tool::Skopeo),
        ];
        let theirs = format!("list-tags --tls-verify=false {flag} docker://{name}");
        commands[1].args(theirs.split_whitespace());
        let mut arrived = Vec::new();
        for command in &mut commands {
            command
                .env_remove("XDG_RUNTIME_DIR")
                .env("HOME", place.path(""))
                .env("PATH", path(&place));
            for (name, value) in self.variables {
                command.env(name, place.path(value));
            }
            self.registry.clear_log();
            let output = command.output().await.expect("it runs");
            assert!(!output.status.success(), "{what}: nobody may come in");
            assert!(!self.registry.log().is_empty(), "{what}: {output:?}");
            arrived.push(users(self.registry));
        }
        let expected: Vec<&str> = expected.into_iter().collect();
        assert_eq!(arrived[0], expected, "{what}: we");
        assert_eq!(arrived[1], expected, "{what}: skopeo");
    }
}

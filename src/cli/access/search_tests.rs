use super::super::support::{environment, helper, shown, write};
use super::*;

/// A file in which everybody is known as `user`.
fn file(path: &Path, keys: &[&str], user: &str) {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:p"));
    let entries: Vec<String> = keys
        .iter()
        .map(|key| format!("\"{key}\":{{\"auth\":\"{auth}\"}}"))
        .collect();
    write(path, &format!("{{\"auths\":{{{}}}}}", entries.join(",")));
}

async fn found(given: &Given, environment: &Environment, asked: &str) -> Result<String, String> {
    let search = Search::new(given, environment);
    let answer = search.answer(&asked.parse().unwrap()).await;
    answer
        .map(|answer| answer.map_or_else(String::new, |answer| shown(&answer.credential)))
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn places_are_asked_in_turn() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut environment = environment(home);
    let mut given = Given::default();
    let at = |name: &str| home.join(name);
    write(
        &at(".dockercfg"),
        r#"{"h.example":{"auth":"bGVnYWN5OnA="}}"#,
    );
    assert_eq!(
        found(&given, &environment, "h.example").await.unwrap(),
        "legacy:p"
    );
    file(&at(".docker/config.json"), &["h.example"], "docker");
    assert_eq!(
        found(&given, &environment, "h.example").await.unwrap(),
        "docker:p"
    );
    file(&at(".config/containers/auth.json"), &["h.example"], "kept");
    assert_eq!(
        found(&given, &environment, "h.example").await.unwrap(),
        "kept:p"
    );
    file(&at("run/containers/auth.json"), &["h.example"], "runtime");
    assert_eq!(
        found(&given, &environment, "h.example").await.unwrap(),
        "runtime:p"
    );
    file(&at("named.json"), &["h.example"], "variable");
    environment.registry_auth_file = Some(at("named.json").into());
    assert_eq!(
        found(&given, &environment, "h.example").await.unwrap(),
        "variable:p"
    );
    file(&at("flag.json"), &["h.example"], "flag");
    given.authfile = Some(at("flag.json"));
    assert_eq!(
        found(&given, &environment, "h.example").await.unwrap(),
        "flag:p"
    );
    write(&at("creds.txt"), "h.example creds p");
    given.creds_file = Some(Arc::new(CredsFile::open(&at("creds.txt")).unwrap()));
    assert_eq!(
        found(&given, &environment, "h.example").await.unwrap(),
        "creds:p"
    );
    // Who is not in it is looked for further on.
    assert_eq!(
        found(&given, &environment, "h.example:5000").await.unwrap(),
        ""
    );
    given.creds = Some(Creds::read("--creds", &"typed:p".into()).unwrap());
    assert_eq!(
        found(&given, &environment, "h.example").await.unwrap(),
        "typed:p"
    );
    assert_eq!(
        found(&given, &environment, "other.example").await.unwrap(),
        "typed:p"
    );
    given.no_creds = true;
    assert_eq!(found(&given, &environment, "h.example").await.unwrap(), "");
}

#[tokio::test]
async fn a_place_without_an_entry_leaves_it_to_the_next() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut environment = environment(home);
    file(
        &home.join("run/containers/auth.json"),
        &["h.example/ns"],
        "runtime",
    );
    file(
        &home.join("xdg/containers/auth.json"),
        &["h.example"],
        "kept",
    );
    file(
        &home.join("docker/config.json"),
        &["other.example"],
        "docker",
    );
    environment.config_home = Some(home.join("xdg").into());
    environment.docker_config = Some(home.join("docker").into());
    let given = Given::default();
    for (asked, meant) in [
        ("h.example/ns/app", "runtime:p"),
        ("h.example/ns2", "kept:p"),
        ("other.example/ns", "docker:p"),
        ("third.example", ""),
    ] {
        assert_eq!(
            found(&given, &environment, asked).await.unwrap(),
            meant,
            "{asked}"
        );
    }
}

#[test]
fn without_a_folder_for_the_session_it_is_the_one_of_the_user() {
    let home = tempfile::tempdir().unwrap();
    let mut environment = environment(home.path());
    environment.runtime_dir = None;
    let paths = |environment: &Environment| -> Vec<PathBuf> {
        let places = files(None, environment).into_iter();
        let paths = places.filter_map(|place| match place.kind {
            Kind::File(file) => Some(file.path),
            Kind::Creds(_) | Kind::CredsFile(_) => None,
        });
        paths.collect()
    };
    let first = Path::new("/run/containers/1000/auth.json");
    assert_eq!(paths(&environment)[0], first);
    environment.home = None;
    assert_eq!(paths(&environment), [first]);
}

#[tokio::test]
async fn a_file_that_is_named_has_to_be_there_and_one_that_is_there_has_to_be_sound() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut environment = environment(home);
    let given = Given::default();
    assert_eq!(found(&given, &environment, "h.example").await.unwrap(), "");
    write(&home.join(".docker/config.json"), "{\n  \"auths\": hunter2");
    let said = found(&given, &environment, "h.example").await.unwrap_err();
    assert!(
        said.contains(".docker/config.json") && said.contains("line 2"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
    // Who is answered before does not meet it.
    file(
        &home.join("run/containers/auth.json"),
        &["h.example"],
        "runtime",
    );
    assert_eq!(
        found(&given, &environment, "h.example").await.unwrap(),
        "runtime:p"
    );
    environment.registry_auth_file = Some(home.join("none.json").into());
    let said = found(&given, &environment, "h.example").await.unwrap_err();
    assert!(said.contains("none.json"), "{said}");
    let authfile = Some(home.join("flag.json"));
    let given = Given {
        authfile,
        ..Given::default()
    };
    let said = found(&given, &environment, "h.example").await.unwrap_err();
    assert!(said.contains("flag.json"), "{said}");
}

/// Counts how often it is run, and says so.
const COUNTING: &str = r#"read -r server; echo x >> "$0.count"; n=$(wc -l < "$0.count")
    echo "{\"Username\":\"$server\",\"Secret\":\"p$n\"}""#;

#[tokio::test]
async fn helpers_are_asked_once_for_each_registry_and_again_when_that_is_wanted() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    helper(home, "count", COUNTING);
    write(
        &home.join(".docker/config.json"),
        r#"{"credHelpers":{"h.example":"count"},"auths":{"h.example":{"auth":"YTpi"}}}"#,
    );
    let repositories: Vec<Repository> = (0..50)
        .map(|n| Repository::new("h.example".parse().unwrap(), &format!("ns/app{n}")).unwrap())
        .collect();
    let credentials = credentials(&Given::default(), &environment(home), &repositories)
        .await
        .unwrap();
    for repository in &repositories {
        let credential = credentials.get(repository).unwrap();
        assert_eq!(shown(&credential), "h.example:p1");
    }
    let count = std::fs::read_to_string(home.join("bin/docker-credential-count.count")).unwrap();
    assert_eq!(count.lines().count(), 1);
}

#[tokio::test]
async fn a_store_that_fails_is_not_run_for_every_repository() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    helper(home, "fails", "echo x >> \"$0.count\"; exit 1");
    write(
        &home.join(".docker/config.json"),
        r#"{"credsStore":"fails"}"#,
    );
    let repositories: Vec<Repository> = (0..50)
        .map(|n| Repository::new("h.example".parse().unwrap(), &format!("ns/app{n}")).unwrap())
        .collect();
    let credentials = credentials(&Given::default(), &environment(home), &repositories)
        .await
        .unwrap();
    assert!(credentials.get(&repositories[0]).is_none());
    let count = std::fs::read_to_string(home.join("bin/docker-credential-fails.count")).unwrap();
    assert_eq!(count.lines().count(), 1);
}

#[tokio::test]
async fn a_store_that_is_not_there_matters_where_it_keeps_something() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let environment = environment(home);
    let given = Given::default();
    let path = home.join(".docker/config.json");
    let text =
        r#"{"credsStore":"desktop","auths":{"kept.example":{},"plain.example":{"auth":"YTpi"}}}"#;
    write(&path, text);
    assert_eq!(
        found(&given, &environment, "plain.example").await.unwrap(),
        "a:b"
    );
    assert_eq!(
        found(&given, &environment, "other.example").await.unwrap(),
        ""
    );
    let said = found(&given, &environment, "kept.example")
        .await
        .unwrap_err();
    for word in [
        "kept.example",
        "credsStore",
        "config.json",
        "docker-credential-desktop",
    ] {
        assert!(said.contains(word), "{said}");
    }
    helper(home, "desktop", r#"echo '{"Username":"s","Secret":"t"}'"#);
    for asked in ["plain.example", "other.example", "kept.example/ns"] {
        assert_eq!(
            found(&given, &environment, asked).await.unwrap(),
            "s:t",
            "{asked}"
        );
    }
    helper(
        home,
        "desktop",
        "echo credentials not found in native keychain; exit 1",
    );
    assert_eq!(
        found(&given, &environment, "plain.example").await.unwrap(),
        "a:b"
    );
    assert_eq!(
        found(&given, &environment, "kept.example").await.unwrap(),
        ""
    );
}

#[tokio::test]
async fn a_helper_of_one_registry_has_to_answer() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let environment = environment(home);
    let given = Given::default();
    for name in ["none", "../../bin/true", "-x", "a b"] {
        let text = format!("{{\"credHelpers\":{{\"h.example\":\"{name}\"}}}}");
        write(&home.join(".docker/config.json"), &text);
        let said = found(&given, &environment, "h.example").await.unwrap_err();
        assert!(
            said.contains("credHelpers") && said.contains(name),
            "{said}"
        );
        assert_eq!(
            found(&given, &environment, "other.example").await.unwrap(),
            ""
        );
    }
    helper(home, "test", "echo hunter2; exit 1");
    write(
        &home.join(".docker/config.json"),
        r#"{"credHelpers":{"h.example":"test"}}"#,
    );
    let said = found(&given, &environment, "h.example").await.unwrap_err();
    assert!(
        said.contains("hint: ") && !said.contains("hunter2"),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_found_is_given_for_what_it_is_written_for() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let path = home.join(".docker/config.json");
    file(&path, &["h.example", "h.example/ns", "docker.io"], "u");
    let repositories: Vec<Repository> = [
        "h.example/ns/a",
        "h.example/b",
        "docker.io/c/d",
        "x.example/a",
    ]
    .iter()
    .map(|name| name.parse::<crate::oci::Reference>().unwrap().repository)
    .collect();
    let credentials = credentials(&Given::default(), &environment(home), &repositories)
        .await
        .unwrap();
    let namespaces: Vec<Option<String>> = repositories
        .iter()
        .map(|repository| credentials.namespace(repository).map(ToString::to_string))
        .collect();
    let some = |name: &str| Some(name.to_owned());
    let meant = [
        some("h.example/ns"),
        some("h.example"),
        some("docker.io"),
        None,
    ];
    assert_eq!(namespaces, meant);
}

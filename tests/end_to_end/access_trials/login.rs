//! `consign login`: proven first, kept where others find it, and never told.

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    PASSWORD, USER, entry, guarded, guarded_by, helper, nothing_secret, path, run_with_input,
};
use crate::harness::{Tool, Tools, trial, with_tools};
use crate::program::Workplace;
use crate::real::distribution::Distribution;
use crate::registry::{Auth, Bearer, TestRegistry};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "access::others_use_what_consign_logged_in_to",
            &[Tool::Registry, Tool::Skopeo, Tool::Crane, Tool::Oras],
            for_others,
        ),
        with_tools(
            "access::consign_uses_what_others_logged_in_to",
            &[Tool::Registry, Tool::Skopeo, Tool::Crane, Tool::Oras],
            of_others,
        ),
        trial("access::a_login_is_proven_before_it_is_kept", proven),
        trial("access::a_wrong_password_is_not_written_nor_told", wrong),
        trial(
            "access::whatever_does_not_take_a_password_is_no_login",
            not_taken,
        ),
        trial(
            "access::a_registry_that_does_not_answer_is_no_login",
            no_answer,
        ),
        trial("access::logins_at_the_same_time_lose_nothing", together),
        trial(
            "access::a_helper_keeps_what_the_file_gives_it",
            kept_by_helper,
        ),
        trial("access::a_namespace_is_logged_in_to", namespace),
        trial("access::a_login_that_is_not_found_is_told", shadowed),
        trial("access::nobody_is_asked_without_a_terminal", no_terminal),
        trial("access::who_is_logged_in_is_told", get_login),
    ]
}

/// User and password of the registry that reads `htpasswd`: from the test vectors of `crypt_blowfish`.
const HTPASSWD: &str = "somebody:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";
const SOMEBODY: (&str, &str) = ("somebody", "U*U");

/// Docker's file.
const CONFIG: &str = ".docker/config.json";

fn bearer() -> Auth {
    Auth::Bearer(Bearer {
        credentials: Some((USER, PASSWORD)),
        ..Bearer::default()
    })
}

/// A registry of docker-registry behind `htpasswd`, with an artifact `team/note:1`.
async fn distribution(tools: &Tools) -> Distribution {
    let registry = Distribution::guarded(tools, "guarded", HTPASSWD).await;
    std::fs::write(tools.folder().join("note.txt"), "a note").expect("it is written");
    let (user, password) = SOMEBODY;
    let push = format!(
        "push --plain-http -u {user} -p {password} {}/team/note:1 note.txt",
        registry.host()
    );
    tools.run(Tool::Oras, push.split_whitespace()).await;
    registry
}

/// Runs a tool of others in the home of `place`.
async fn theirs(tools: &Tools, tool: Tool, place: &Workplace, arguments: &str) -> String {
    let mut command = tools.command(tool);
    command
        .args(arguments.split_whitespace())
        .env("HOME", place.path(""))
        .env("XDG_RUNTIME_DIR", place.path("run"))
        .current_dir(place.path(""));
    let output = command.output().await.expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn with_run() -> Workplace {
    let place = Workplace::new();
    place.write("run/nothing", "");
    place
}

async fn for_others(tools: Tools) {
    let distribution = distribution(&tools).await;
    let by_basic = guarded().await;
    let by_token = guarded_by(bearer()).await;
    let place = with_run();
    for (host, (user, password), name) in [
        (distribution.host().to_owned(), SOMEBODY, "team/note"),
        (by_basic.host(), (USER, PASSWORD), "team/app"),
        (by_token.host(), (USER, PASSWORD), "team/app"),
    ] {
        let login = format!("login {host} -u {user} --password-stdin --debug");
        let ended = run_with_input(&place, &login, password, &[]).await.with(0);
        nothing_secret(&ended, user, password);
        assert!(ended.text().starts_with("Login Succeeded"), "{ended}");
        let list = format!("inspect --raw --tls-verify=false docker://{host}/{name}:1");
        theirs(&tools, Tool::Skopeo, &place, &list).await;
        let tags = theirs(&tools, Tool::Crane, &place, &format!("ls {host}/{name}")).await;
        assert_eq!(tags.trim(), "1");
        theirs(
            &tools,
            Tool::Crane,
            &place,
            &format!("digest {host}/{name}:1"),
        )
        .await;
        let tags = format!("repo tags --plain-http {host}/{name}");
        assert_eq!(theirs(&tools, Tool::Oras, &place, &tags).await.trim(), "1");
        place.run(&format!("inspect {host}/{name}:1")).await.with(0);
    }
    let file = place.json(CONFIG);
    assert_eq!(file["auths"].as_object().expect("entries").len(), 3);
    // What one of them writes into the same file leaves the others in.
    let login = "auth login other.example -u a -p b";
    theirs(&tools, Tool::Crane, &place, login).await;
    place
        .run(&format!("inspect {}/team/app:1", by_token.host()))
        .await
        .with(0);
}

async fn of_others(tools: Tools) {
    let registry = distribution(&tools).await;
    let host = registry.host();
    let (user, password) = SOMEBODY;
    for (tool, login) in [
        (
            Tool::Skopeo,
            format!("login --tls-verify=false -u {user} -p {password} {host}"),
        ),
        (
            Tool::Crane,
            format!("auth login {host} -u {user} -p {password}"),
        ),
        (
            Tool::Oras,
            format!("login --plain-http -u {user} -p {password} {host}"),
        ),
    ] {
        let place = with_run();
        let run = [("XDG_RUNTIME_DIR", place.path("run"))];
        let inspect = format!("inspect {host}/team/note:1");
        place
            .run_with(&inspect, &run)
            .await
            .with(1)
            .saying(&["log in to"]);
        theirs(&tools, tool, &place, &login).await;
        let ended = place.run_with(&inspect, &run).await.with(0);
        nothing_secret(&ended, user, password);
        let logout = place
            .run_with(&format!("logout {host}"), &run)
            .await
            .with(0);
        assert!(logout.text().starts_with("Removed"), "{tool}: {logout}");
        place.run_with(&inspect, &run).await.with(1);
    }
}

async fn proven() {
    for auth in [Auth::Basic(USER, PASSWORD), bearer()] {
        let registry = guarded_by(auth).await;
        let host = registry.host();
        let place = Workplace::new();
        let login = format!("login {host} --username {USER} --password-stdin --debug");
        let input = format!("{PASSWORD}\n");
        let ended = run_with_input(&place, &login, &input, &[]).await.with(0);
        nothing_secret(&ended, USER, PASSWORD);
        assert_eq!(
            place.json(CONFIG),
            json!({ "auths": { &host: entry(USER, PASSWORD) } })
        );
        assert!(registry.writes().is_empty(), "{}", registry.log_text());
        place
            .run(&format!("list-tags {host}/team/app"))
            .await
            .with(0);
        // On the command line it works too, with a warning.
        let place = Workplace::new();
        let password = PASSWORD.replace(' ', "");
        assert_ne!(password, PASSWORD);
        let ended = place
            .run(&format!("login {host} -u {USER} -p {password}"))
            .await;
        let ended = ended
            .with(1)
            .saying(&["warning: a password on the command line"]);
        nothing_secret(&ended, USER, &password);
    }
}

async fn wrong() {
    for auth in [Auth::Basic(USER, PASSWORD), bearer()] {
        let registry = guarded_by(auth).await;
        let host = registry.host();
        for input in ["wrong-password", ""] {
            let place = Workplace::new();
            place.write("config.json", "{\"auths\":{}}");
            let login = format!("login {host} -u {USER} --password-stdin --debug");
            let code = if input.is_empty() { 2 } else { 1 };
            let ended = run_with_input(&place, &login, input, &[]).await.with(code);
            if input.is_empty() {
                ended.saying(&["the password is empty"]);
            } else {
                nothing_secret(&ended, USER, input);
                ended.saying(&[
                    &host,
                    "does not take this user and password",
                    "nothing was written",
                ]);
            }
            assert!(!place.has(".docker"));
            let login = format!("{login} --authfile config.json");
            run_with_input(&place, &login, input, &[]).await.with(code);
            assert_eq!(place.read("config.json"), "{\"auths\":{}}");
        }
    }
}

/// ECR says 403 of a password that has ended; what is no registry says 404, or shows a page.
async fn not_taken() {
    for (status, code) in [(403, 1), (404, 1), (405, 1), (200, 1)] {
        let registry = guarded().await;
        let asked = crate::registry::when("GET", "/v2/").from(2);
        let answer = asked.respond(status).header("content-type", "text/html");
        registry.rule(answer.body("<html>login</html>"));
        let place = Workplace::new();
        let login = format!("login {} -u {USER} --password-stdin", registry.host());
        let ended = run_with_input(&place, &login, PASSWORD, &[]).await;
        let ended = ended.with(code).saying(&["nothing was written"]);
        nothing_secret(&ended, USER, PASSWORD);
        assert!(!place.has(".docker"), "{status}: {ended}");
    }
}

async fn no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let place = Workplace::new();
    let login = format!("login {address} -u {USER} --password-stdin --retry-times 0");
    let ended = run_with_input(&place, &login, PASSWORD, &[]).await.with(4);
    nothing_secret(&ended, USER, PASSWORD);
    ended.saying(&[&address.to_string(), "nothing was written"]);
    assert!(!place.has(".docker"));
    // A registry that takes its time has only so much.
    let registry = guarded().await;
    registry.rule(crate::registry::when("GET", "/v2/").stall());
    let login = format!(
        "login {} -u {USER} --password-stdin --timeout 100ms",
        registry.host()
    );
    let ended = run_with_input(&place, &login, PASSWORD, &[]).await.with(4);
    ended.saying(&["longer than 100ms"]);
    assert!(!place.has(".docker"));
}

async fn together() {
    let place = Workplace::new();
    let mut registries = Vec::new();
    for _ in 0..8 {
        registries.push(guarded().await);
    }
    let logins = registries.iter().map(|registry| {
        let login = format!("login {} -u {USER} --password-stdin", registry.host());
        let place = &place;
        async move { run_with_input(place, &login, PASSWORD, &[]).await.with(0) }
    });
    futures::future::join_all(logins).await;
    let file = place.json(CONFIG);
    let entries = file["auths"].as_object().expect("entries");
    assert_eq!(entries.len(), registries.len(), "{file:#}");
    let hosts: Vec<String> = registries.iter().map(TestRegistry::host).collect();
    assert!(hosts.iter().all(|host| entries.contains_key(host)));
}

/// A helper that keeps what it gets in files beside it.
const STORE: &str = r#"cd "$(dirname "$0")" || exit 1
case "$1" in
  store) cat > stored.json ;;
  get) cat > asked
    if [ -f stored.json ]; then cat stored.json
    else echo "credentials not found in native keychain"; exit 1; fi ;;
  erase) cat > erased; rm -f stored.json ;;
esac"#;

async fn kept_by_helper() {
    let registry = guarded().await;
    let host = registry.host();
    for (config, kept) in [
        (
            json!({ "credsStore": "files" }),
            json!({ "credsStore": "files", "auths": { &host: {} } }),
        ),
        (
            json!({ "credHelpers": { &host: "files" }, "auths": { &host: entry("old", "old") } }),
            json!({ "credHelpers": { &host: "files" }, "auths": {} }),
        ),
    ] {
        let place = Workplace::new();
        helper(&place, "files", STORE).await;
        place.write(CONFIG, config.to_string());
        let more = [("PATH", path(&place))];
        let login = format!("login {host} -u {USER} --password-stdin --debug");
        let ended = run_with_input(&place, &login, PASSWORD, &more)
            .await
            .with(0);
        nothing_secret(&ended, USER, PASSWORD);
        assert!(ended.text().contains("docker-credential-files"), "{ended}");
        let stored: Value = place.json("bin/stored.json");
        let expected = json!({ "ServerURL": &host, "Username": USER, "Secret": PASSWORD });
        assert_eq!(stored, expected);
        assert_eq!(place.json(CONFIG), kept);
        place
            .run_with(&format!("list-tags {host}/team/app"), &more)
            .await
            .with(0);
        assert_eq!(place.read("bin/asked"), host);
        // Not for a part of the registry.
        let login = format!("login {host}/team -u {USER} --password-stdin");
        let ended = run_with_input(&place, &login, PASSWORD, &more)
            .await
            .with(2);
        ended.saying(&["helpers know no namespaces"]);
        // And out again.
        let ended = place
            .run_with(&format!("logout {host}"), &more)
            .await
            .with(0);
        assert!(ended.text().contains("docker-credential-files"), "{ended}");
        assert!(!place.has("bin/stored.json"));
        assert_eq!(place.read("bin/erased"), host);
        let ended = place
            .run_with(&format!("logout {host}"), &more)
            .await
            .with(0);
        assert_eq!(ended.text(), format!("Not logged in to `{host}`\n"));
    }
}

async fn namespace() {
    let registry = guarded().await;
    let host = registry.host();
    let place = Workplace::new();
    let login = format!("login {host}/team -u {USER} --password-stdin");
    let ended = run_with_input(&place, &login, PASSWORD, &[]).await.with(0);
    ended.saying(&["Docker and crane know no namespaces"]);
    let key = format!("{host}/team");
    assert_eq!(
        place.json(CONFIG),
        json!({ "auths": { key: entry(USER, PASSWORD) } })
    );
    place
        .run(&format!("list-tags {host}/team/app"))
        .await
        .with(0);
    // Next door it is not shown.
    registry.clear_log();
    place
        .run(&format!("list-tags {host}/team2/app"))
        .await
        .with(1);
    assert!(
        super::users(&registry).is_empty(),
        "{}",
        registry.log_text()
    );
}

async fn shadowed() {
    let registry = guarded().await;
    let host = registry.host();
    let place = with_run();
    let old = json!({ "auths": { &host: entry("old", "old") } });
    place.write("run/containers/auth.json", old.to_string());
    let run = [("XDG_RUNTIME_DIR", place.path("run"))];
    let login = format!("login {host} -u {USER} --password-stdin");
    let ended = run_with_input(&place, &login, PASSWORD, &run).await.with(0);
    ended.saying(&["warning: ", "run/containers/auth.json", "is asked first"]);
    // To the file that is asked first, it is found.
    let file = place.path("run/containers/auth.json");
    let login = format!("{login} --authfile {}", file.display());
    let ended = run_with_input(&place, &login, PASSWORD, &run).await.with(0);
    assert!(!ended.stderr.contains("warning"), "{ended}");
    place
        .run_with(&format!("list-tags {host}/team/app"), &run)
        .await
        .with(0);
}

async fn no_terminal() {
    let registry = guarded().await;
    let host = registry.host();
    let place = Workplace::new();
    let ended = place.run(&format!("login {host}")).await.with(2);
    ended.saying(&["no user", "--username USER --password-stdin"]);
    let ended = place.run(&format!("login {host} -u {USER}")).await.with(2);
    ended.saying(&["no password", "--password-stdin"]);
    let login = format!("login {host} -u a:b --password-stdin");
    run_with_input(&place, &login, PASSWORD, &[]).await.with(2);
    // What is broken is told before anybody types a password.
    place.write(CONFIG, "{");
    let login = format!("login {host} -u {USER} --password-stdin");
    let ended = run_with_input(&place, &login, PASSWORD, &[]).await.with(2);
    ended.saying(&["config.json", "line 1"]);
    assert_eq!(place.read(CONFIG), "{");
    assert!(registry.log().is_empty(), "{}", registry.log_text());
}

async fn get_login() {
    let place = Workplace::new();
    let config = json!({ "auths": { "h.example": entry("me", "hunter2") } });
    place.write(CONFIG, config.to_string());
    let ended = place.run("login h.example --get-login").await.with(0);
    assert_eq!(ended.text(), "me\n");
    let ended = place.run("login other.example --get-login").await.with(1);
    ended.saying(&["not logged in to `other.example`"]);
}

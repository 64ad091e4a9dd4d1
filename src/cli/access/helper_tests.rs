use std::path::Path;

use super::super::support::{helper, shown};
use super::*;

fn find(home: &Path, name: &str) -> Result<Helper, HelperError> {
    Helper::find(name, Some(home.join("bin").as_os_str()))
}

/// A helper of this script.
fn made(home: &Path, script: &str) -> Helper {
    helper(home, "test", script);
    find(home, "test").unwrap()
}

#[test]
fn names_that_are_no_plain_words_are_refused() {
    let home = tempfile::tempdir().unwrap();
    helper(home.path(), "good-1.0_x", "exit 0");
    assert!(find(home.path(), "good-1.0_x").is_ok());
    for bad in [
        "../x",
        "a/b",
        "/bin/sh",
        "a b",
        "-x",
        "--",
        "a;b",
        "a|b",
        "$(x)",
        "a\nb",
        "a\0b",
        "ä",
        "",
        &"a".repeat(101),
    ] {
        assert!(
            matches!(find(home.path(), bad), Err(HelperError::Name(_))),
            "{bad:?}"
        );
    }
    assert!(matches!(
        find(home.path(), "good"),
        Err(HelperError::Missing(_))
    ));
}

#[test]
fn programs_are_found_in_folders_of_path_alone() {
    let home = tempfile::tempdir().unwrap();
    helper(home.path(), "test", "exit 0");
    let find = |path: &str| Helper::find("test", Some(OsStr::new(path)));
    let folder = home.path().join("bin");
    let folder = folder.to_str().unwrap();
    assert!(find(&format!("/none:{folder}")).is_ok());
    for path in ["", ".", "bin", ":", &format!("{folder}/none")] {
        assert!(find(path).is_err(), "{path}");
    }
    assert!(Helper::find("test", None).is_err());
    // A file that is no program is passed over.
    let other = home.path().join("other");
    super::super::support::write(&other.join("docker-credential-test"), "");
    let found = find(&format!("{}:{folder}", other.display())).unwrap();
    assert!(found.program.starts_with(folder));
}

#[tokio::test]
async fn a_helper_is_asked_by_the_name_of_the_server() {
    let home = tempfile::tempdir().unwrap();
    let script = r#"read -r server; echo "{\"ServerURL\":\"$server\",\"Username\":\"$1\",\"Secret\":\"of $server\"}""#;
    let credential = made(home.path(), script)
        .get("h.example:5000")
        .await
        .unwrap();
    assert_eq!(shown(&credential.unwrap()), "get:of h.example:5000");
}

#[tokio::test]
async fn answers_are_read_as_the_protocol_has_them() {
    let home = tempfile::tempdir().unwrap();
    for (script, meant) in [
        (
            r#"echo '{"Username":"<token>","Secret":"t"}'"#,
            Some("token t"),
        ),
        (r#"echo '{"Username":"","Secret":""}'"#, None),
        ("echo '{}'", None),
        (
            "echo credentials not found in native keychain; exit 1",
            None,
        ),
        ("echo credentials not found in native keychain", None),
        // It did not even read.
        (
            r#"exec <&-; echo '{"Username":"a","Secret":"b"}'"#,
            Some("a:b"),
        ),
        (
            r#"echo noise >&2; echo '{"Username":"a","Secret":"credentials not found in native keychain"}'"#,
            Some("a:credentials not found in native keychain"),
        ),
    ] {
        let got = made(home.path(), script).get("h.example").await.unwrap();
        assert_eq!(got.as_ref().map(shown).as_deref(), meant, "{script}");
    }
}

#[tokio::test]
async fn what_a_helper_prints_is_never_told() {
    let home = tempfile::tempdir().unwrap();
    for script in [
        "echo hunter2; exit 1",
        "echo hunter2 >&2; exit 3",
        "echo hunter2",
        r#"echo '{"Username": ["hunter2"]}'"#,
        "yes hunter2",
        "kill -9 $$",
    ] {
        let helper = made(home.path(), script);
        let error = helper.get("h.example").await.unwrap_err();
        let hint = error.hint("h.example").unwrap_or_default();
        let said = format!("{error} {error:?} {hint}");
        assert!(said.contains("test") && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn a_helper_has_only_so_much_time() {
    let home = tempfile::tempdir().unwrap();
    let mut helper = made(home.path(), "exec sleep 1000");
    helper.time_max = Duration::from_millis(50);
    let error = helper.get("h.example").await.unwrap_err();
    assert!(matches!(error, HelperError::TooSlow(_)), "{error}");
}

#[tokio::test]
async fn helpers_store_and_erase() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("log");
    let script = format!(
        "echo \"$1\" >> '{0}'; cat >> '{0}'; echo >> '{0}'",
        log.display()
    );
    let helper = made(home.path(), &script);
    let password = SecretString::from("p\"w");
    helper.store("h.example", "me", &password).await.unwrap();
    assert_eq!(helper.erase("h.example").await.unwrap(), Erased::Gone);
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        [lines[0], lines[2], lines[3]],
        ["store", "erase", "h.example"]
    );
    let stored: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
    let meant = serde_json::json!({"ServerURL": "h.example", "Username": "me", "Secret": "p\"w"});
    assert_eq!(stored, meant);
    let helper = made(home.path(), "echo hunter2; exit 1");
    for failed in [
        helper
            .store("h.example", "me", &password)
            .await
            .unwrap_err(),
        helper.erase("h.example").await.unwrap_err(),
    ] {
        assert!(
            !format!("{failed}{failed:?}").contains("hunter2"),
            "{failed}"
        );
    }
    let helper = made(
        home.path(),
        "echo credentials not found in native keychain; exit 1",
    );
    assert_eq!(
        helper.erase("h.example").await.unwrap(),
        Erased::WasNotThere
    );
}

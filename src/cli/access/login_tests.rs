use super::super::support::{environment, helper, write};
use super::*;

#[test]
fn one_line_end_is_cut_off_and_no_more() {
    for (text, meant) in [
        ("secret", "secret"),
        ("secret\n", "secret"),
        ("secret\r\n", "secret"),
        ("secret\n\n", "secret\n"),
        (" secret ", " secret "),
    ] {
        let password = read_password(text.as_bytes()).unwrap();
        assert_eq!(password.expose_secret(), meant, "{text:?}");
    }
    let long = "s".repeat(usize::try_from(LOGIN_INPUT_BYTES_MAX).unwrap() + 1);
    for bad in [long.as_bytes(), b"sss\xff"] {
        let said = read_password(bad).unwrap_err().to_string();
        assert!(!said.contains("sss"), "{said}");
    }
}

#[test]
fn the_file_that_is_written_is_the_one_that_is_named_else_dockers() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut environment = environment(home);
    let of = |environment: &Environment, flags: [Option<&str>; 2]| {
        let [authfile, compatible] = flags.map(|flag| flag.map(Path::new));
        let target = Target::of(authfile, compatible, environment).unwrap();
        (target.path, target.is_dockers)
    };
    assert_eq!(
        of(&environment, [None, None]),
        (home.join(".docker/config.json"), true)
    );
    environment.docker_config = Some("/docker".into());
    assert_eq!(
        of(&environment, [None, None]),
        ("/docker/config.json".into(), true)
    );
    environment.registry_auth_file = Some("/variable".into());
    assert_eq!(of(&environment, [None, None]), ("/variable".into(), false));
    assert_eq!(
        of(&environment, [Some("/flag"), None]),
        ("/flag".into(), false)
    );
    assert_eq!(
        of(&environment, [None, Some("/compatible")]),
        ("/compatible".into(), true)
    );
    environment.registry_auth_file = None;
    environment.docker_config = None;
    environment.home = None;
    assert!(Target::of(None, None, &environment).is_err());
}

#[test]
fn helpers_keep_registries_and_no_namespaces() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let environment = environment(home);
    let path = home.join("config.json");
    write(
        &path,
        r#"{"credHelpers":{"h.example":"one"},"credsStore":"all"}"#,
    );
    let target = Target {
        path: path.clone(),
        is_dockers: true,
    };
    let keeper = |name: &str| {
        let keeper = Keeper::find(&name.parse().unwrap(), &target, &environment);
        keeper
            .map(|keeper| keeper.shown())
            .map_err(|error| error.to_string())
    };
    assert!(
        keeper("h.example")
            .unwrap_err()
            .contains("docker-credential-one")
    );
    helper(home, "one", "exit 0");
    helper(home, "all", "exit 0");
    assert_eq!(keeper("h.example").unwrap(), "by docker-credential-one");
    assert_eq!(keeper("other.example").unwrap(), "by docker-credential-all");
    for name in ["h.example/ns", "other.example/ns"] {
        assert!(
            keeper(name)
                .unwrap_err()
                .contains("helpers know no namespaces")
        );
    }
    write(&path, "");
    assert!(keeper("h.example/ns").unwrap().starts_with("in `"));
}

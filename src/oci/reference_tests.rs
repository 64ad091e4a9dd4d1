use proptest::prelude::*;

use super::*;

fn shown(text: &str) -> String {
    text.parse::<Reference>().unwrap().to_string()
}

#[test]
fn names_are_read_as_docker_reads_them() {
    let digest = Digest::sha256(b"x");
    for (written, meant) in [
        ("nginx", "docker.io/library/nginx".to_owned()),
        ("foo/nginx:1", "docker.io/foo/nginx:1".to_owned()),
        ("reg.io/nginx:1", "reg.io/nginx:1".to_owned()),
        ("localhost/nginx", "localhost/nginx".to_owned()),
        ("localhost:5000/nginx", "localhost:5000/nginx".to_owned()),
        ("myreg/foo/bar", "docker.io/myreg/foo/bar".to_owned()),
        ("myreg:5000/foo", "myreg:5000/foo".to_owned()),
        (
            "index.docker.io/nginx",
            "docker.io/library/nginx".to_owned(),
        ),
        ("docker.io/nginx", "docker.io/library/nginx".to_owned()),
        ("docker://quay.io/a/b:c", "quay.io/a/b:c".to_owned()),
        ("[::1]:5000/a/b:c", "[::1]:5000/a/b:c".to_owned()),
        ("REG.io/nginx:V1", "reg.io/nginx:V1".to_owned()),
        (
            "registry.k8s.io/pause:3.9",
            "registry.k8s.io/pause:3.9".to_owned(),
        ),
        (
            &format!("nginx:1@{digest}"),
            format!("docker.io/library/nginx:1@{digest}"),
        ),
        (
            &format!("nginx@{digest}"),
            format!("docker.io/library/nginx@{digest}"),
        ),
    ] {
        assert_eq!(shown(written), meant);
    }
}

#[test]
fn what_is_no_name_is_refused() {
    for bad in [
        "",
        "/",
        ":",
        "@",
        "nginx:",
        "nginx@",
        "nginx@sha256:1",
        "Nginx",
        "a//b",
        "a/",
        "/a",
        "a b",
        "reg.io/",
        "reg.io:99999/a",
        "reg.io:0/a",
        "reg.io:/a",
        "a..b/c",
        "a/b..c",
        "a/-b",
        "a/b-",
        "a/b___c",
        "a/_b",
        "user@reg.io/a",
        "user:pw@reg.io/a",
        "http://reg.io/a",
        "[::1/a",
        "[::1]x/a",
        "a:b:c",
        "a/b:tag/with/slash",
        "a:-tag",
        "a/../b",
        "a\u{0}b",
        "a\nb",
        "ä/b",
        "a/b:ä",
        "-reg.io/a",
        "docker://docker://a",
    ] {
        assert!(bad.parse::<Reference>().is_err(), "{bad:?} was taken");
    }
    assert!(
        format!("a/{}", "b".repeat(254))
            .parse::<Reference>()
            .is_err()
    );
    assert!(
        format!("a:{}", "b".repeat(129))
            .parse::<Reference>()
            .is_err()
    );
}

#[test]
fn projects_replace_the_first_part() {
    let of = |text: &str| text.parse::<Reference>().unwrap().repository;
    assert_eq!(of("r.io/a/b/c").in_project("x").unwrap(), of("r.io/x/b/c"));
    assert_eq!(of("r.io/c").in_project("x").unwrap(), of("r.io/x/c"));
    assert_eq!(of("r.io/a/c").in_project("x/y").unwrap(), of("r.io/x/y/c"));
    assert!(of("r.io/a/c").in_project("X").is_err());
    assert!(of("r.io/a/c").in_project("").is_err());
}

#[test]
fn hosts_ports_and_loopback() {
    let of = |text: &str| text.parse::<Registry>().unwrap();
    assert_eq!(
        (of("[::1]:5000").host(), of("[::1]:5000").port()),
        ("::1", Some(5000))
    );
    assert_eq!((of("[::1]").host(), of("[::1]").port()), ("::1", None));
    assert_eq!((of("a.b:1").host(), of("a.b:1").port()), ("a.b", Some(1)));
    assert_eq!((of("a.b").host(), of("a.b").port()), ("a.b", None));
    for (text, loopback) in [
        ("localhost", true),
        ("localhost:5000", true),
        ("127.0.0.1:1", true),
        ("127.9.9.9", true),
        ("[::1]:5", true),
        ("127.evil.example", false),
        ("localhost.example", false),
        ("10.0.0.1", false),
    ] {
        assert_eq!(of(text).is_loopback(), loopback, "{text}");
    }
    assert_eq!(of("docker.io").authority(), "registry-1.docker.io");
}

proptest! {
    #[test]
    fn parse_after_display_is_identity(
        host in prop::option::of("[a-z0-9]{1,8}\\.[a-z]{2,4}(:[1-9][0-9]{0,3})?"),
        path in "[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,5}){0,3}",
        tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,20}"),
        pinned in any::<bool>(),
    ) {
        let mut text = host.map_or(String::new(), |host| format!("{host}/"));
        text.push_str(&path);
        if let Some(tag) = tag { text.push(':'); text.push_str(&tag); }
        if pinned { text.push('@'); text.push_str(&Digest::sha256(path.as_bytes()).to_string()); }
        let once: Reference = text.parse().unwrap();
        let twice: Reference = once.to_string().parse().unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        drop(text.parse::<Reference>());
        drop(text.parse::<Registry>());
        drop(text.parse::<Digest>());
    }
}

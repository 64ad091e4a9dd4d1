use super::super::support::{shown, write};
use super::*;

fn file(text: &str) -> AuthFile {
    AuthFile::parse(Path::new("auth.json"), Format::Current, text.as_bytes()).unwrap()
}

/// `USER:p` as it stands in a file.
fn entry(user: &str) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:p"));
    format!("{{\"auth\":\"{encoded}\"}}")
}

/// A file whose entries have these keys; the user of each is its key.
fn file_of(keys: &[&str], format: Format) -> AuthFile {
    let entries: Vec<String> = keys
        .iter()
        .map(|key| format!("\"{key}\":{}", entry(&key.replace(':', "|"))))
        .collect();
    let entries = format!("{{{}}}", entries.join(","));
    let text = match format {
        Format::Current => format!("{{\"auths\":{entries}}}"),
        Format::Legacy => entries,
    };
    AuthFile::parse(Path::new("file"), format, text.as_bytes()).unwrap()
}

/// The candidates for `asked`, as words: a key, or a helper and what it is asked for.
fn found(file: &AuthFile, asked: &str) -> Vec<String> {
    let look = file.look(&asked.parse().unwrap()).unwrap();
    let words = look.candidates.iter().map(|candidate| match candidate {
        Candidate::Entry { key, .. } => (*key).to_owned(),
        Candidate::Helper { name, server, .. } => format!("{name} {server}"),
    });
    words.collect()
}

#[test]
fn the_longest_namespace_answers_and_nothing_near_it() {
    let file = file_of(
        &[
            "h.example",
            "h.example/ns",
            "h.example/ns/app",
            "h.example:5000",
            "h.example:443/ns",
            "other.example/ns",
        ],
        Format::Current,
    );
    for (asked, key) in [
        ("h.example", "h.example"),
        ("h.example/x", "h.example"),
        ("h.example/ns", "h.example/ns"),
        ("h.example/ns/other", "h.example/ns"),
        ("h.example/ns/app", "h.example/ns/app"),
        ("h.example/ns/app/deep", "h.example/ns/app"),
        ("h.example/ns/app2", "h.example/ns"),
        ("h.example/ns2", "h.example"),
        ("h.example/ns2/app", "h.example"),
        ("H.EXAMPLE/ns", "h.example/ns"),
        ("h.example:5000/ns", "h.example:5000"),
        ("h.example:443/ns/a", "h.example:443/ns"),
        ("other.example/ns", "other.example/ns"),
    ] {
        assert_eq!(found(&file, asked), [key], "{asked}");
    }
    for nobody in [
        "h.example:443",
        "h.example:443/other",
        "h.example:80/ns",
        "a.h.example/ns",
        "h.example2",
        "other.example",
        "other.example/ns2",
    ] {
        assert!(found(&file, nobody).is_empty(), "{nobody}");
    }
}

#[test]
fn keys_that_are_no_names_answer_for_nobody() {
    let keys = [
        "h.example.",
        "h.example/",
        "h.example/v2/",
        "h.example/NS",
        "user@h.example",
        "h.example:99999",
        "*.example",
        "",
        "ftp://h.example",
        "h.example/ns:tag",
    ];
    let file = file_of(&keys, Format::Current);
    for asked in ["h.example", "h.example/ns", "h.example/ns/app", "docker.io"] {
        assert!(found(&file, asked).is_empty(), "{asked}");
    }
}

#[test]
fn addresses_count_as_their_registry_and_plain_names_before_them() {
    for key in [
        "https://h.example",
        "https://h.example/v1/",
        "https://h.example/v2/",
        "http://h.example",
        "http://H.example/v2/x",
    ] {
        let file = file_of(&[key], Format::Current);
        assert_eq!(found(&file, "h.example/a/b"), [key]);
        assert!(found(&file, "h.example:443/a").is_empty(), "{key}");
        assert!(found(&file, "v2/h.example").is_empty(), "{key}");
        let file = file_of(&[key, "h.example"], Format::Current);
        assert_eq!(found(&file, "h.example"), ["h.example"]);
    }
}

#[test]
fn docker_hub_has_many_names() {
    for key in [
        "docker.io",
        "index.docker.io",
        "registry-1.docker.io",
        "https://index.docker.io/v1/",
        "https://index.docker.io/v2/",
        "https://docker.io",
    ] {
        let file = file_of(&[key], Format::Current);
        assert_eq!(found(&file, "docker.io/library/busybox"), [key]);
        assert!(found(&file, "auth.docker.io").is_empty());
    }
    let all = [
        "registry-1.docker.io",
        "https://index.docker.io/v1/",
        "docker.io",
        "docker.io/library",
    ];
    let best = |count: usize| {
        found(
            &file_of(&all[..count], Format::Current),
            "docker.io/library/a",
        )
    };
    assert_eq!(best(1), ["registry-1.docker.io"]);
    assert_eq!(best(2), ["https://index.docker.io/v1/"]);
    assert_eq!(best(3), ["docker.io"]);
    assert_eq!(best(4), ["docker.io/library"]);
}

#[test]
fn the_file_before_config_json_has_registries_only() {
    let keys = ["h.example/v1/", "https://index.docker.io/v1/"];
    let file = file_of(&keys, Format::Legacy);
    assert_eq!(found(&file, "h.example/a/b"), ["h.example/v1/"]);
    assert_eq!(
        found(&file, "docker.io/a/b"),
        ["https://index.docker.io/v1/"]
    );
    assert!(found(&file, "h.example:5000").is_empty());
}

#[test]
fn placeholders_are_as_if_they_were_not_there() {
    for empty in [
        "{}",
        "null",
        r#"{"auth":""}"#,
        r#"{"auth":"Og=="}"#,
        r#"{"email":"a@b.example"}"#,
        r#"{"username":"somebody"}"#,
    ] {
        let text = format!(
            "{{\"auths\":{{\"h.example/ns\":{empty},\"h.example\":{empty},\"https://h.example/v2/\":{}}}}}",
            entry("u")
        );
        let file = file(&text);
        assert_eq!(found(&file, "h.example/ns/app"), ["https://h.example/v2/"]);
        let look = file.look(&"h.example".parse().unwrap()).unwrap();
        assert!(look.has_placeholder, "{empty}");
    }
}

#[test]
fn helpers_have_their_place_in_the_order() {
    let text = format!(
        r#"{{"auths":{{"a.example/ns":{0},"a.example":{0},"b.example/ns":{0},"b.example":{0}}},
            "credHelpers":{{"a.example":"one","c.example/ns":"none","https://index.docker.io/v1/":"hub"}},
            "credsStore":"all"}}"#,
        entry("u")
    );
    let file = file(&text);
    // It alone answers.
    assert_eq!(found(&file, "a.example/ns/app"), ["one a.example"]);
    assert_eq!(found(&file, "b.example/ns/app"), ["b.example/ns"]);
    assert_eq!(found(&file, "b.example/x"), ["all b.example", "b.example"]);
    // Helpers know no namespaces.
    assert_eq!(found(&file, "c.example/ns"), ["all c.example"]);
    assert_eq!(found(&file, "a.example:443"), ["all a.example:443"]);
    assert_eq!(
        found(&file, "docker.io/a/b"),
        ["hub https://index.docker.io/v1/"]
    );
    let text = r#"{"credsStore":"all"}"#;
    let asked = found(&self::file(text), "docker.io/a/b");
    assert_eq!(asked, ["all https://index.docker.io/v1/"]);
    let text = r#"{"credHelpers":{"a.example":""},"credsStore":""}"#;
    assert!(found(&self::file(text), "a.example").is_empty());
}

#[test]
fn entries_are_read_as_docker_and_podman_write_them() {
    let of = |entry: &str| {
        let file = file(&format!("{{\"auths\":{{\"h.example\":{entry}}}}}"));
        let look = file.look(&"h.example".parse().unwrap());
        look.map(|look| match look.candidates.first() {
            Some(Candidate::Entry { credential, .. }) => shown(credential),
            other => panic!("{other:?}"),
        })
    };
    for (entry, meant) in [
        // a:b:c
        (r#"{"auth":"YTpiOmM="}"#, "a:b:c"),
        (r#"{"auth":"YTpiOmM=\n"}"#, "a:b:c"),
        // a:b and two zero bytes
        (r#"{"auth":"YTpiAAA="}"#, "a:b"),
        // a:
        (r#"{"auth":"YTo="}"#, "a:"),
        (r#"{"auth":"","identitytoken":"t"}"#, "token t"),
        // 0:
        (r#"{"auth":"MDo=","identitytoken":"t"}"#, "token t"),
        (r#"{"username":"a","password":"b"}"#, "a:b"),
        (
            r#"{"username":"x","password":"y","auth":"YTpiOmM="}"#,
            "a:b:c",
        ),
    ] {
        assert_eq!(of(entry).unwrap(), meant, "{entry}");
    }
    for entry in [
        r#"{"auth":"hunter2"}"#,
        // hunter2 without a colon
        r#"{"auth":"aHVudGVyMg=="}"#,
        // 0xff 0xfe
        r#"{"auth":"//4="}"#,
        r#"{"registrytoken":"hunter2"}"#,
    ] {
        let said = of(entry).unwrap_err().to_string();
        assert!(said.contains("`h.example` in `auth.json`"), "{said}");
        for secret in ["hunter2", "aHVudGVyMg", "//4="] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

#[test]
fn a_broken_entry_harms_only_its_own_registry() {
    let text = format!(
        "{{\"auths\":{{\"a.example\":{{\"auth\":\"!\"}},\"b.example\":{}}}}}",
        entry("u")
    );
    let file = file(&text);
    assert_eq!(found(&file, "b.example"), ["b.example"]);
    assert!(file.look(&"a.example".parse().unwrap()).is_err());
}

#[test]
fn broken_files_are_named_with_line_and_column_and_never_quoted() {
    let parse = |text: &str, format| {
        let parsed = AuthFile::parse(Path::new("/x/auth.json"), format, text.as_bytes());
        parsed.map(drop).map_err(|error| error.to_string())
    };
    for (text, place) in [
        ("{\n\"auths\": hunter2", "line 2, column 10"),
        ("{\n\n\"auths\": {\"h\": \"hunter2\"}}", "line 3, column"),
        ("{\"auths\": {\"h\": {\"auth\": [\"hunter2\"]}}}", "line 1"),
        ("{\"auths\": \"hunter2\"}", "line 1"),
        ("{\"credHelpers\": {\"h\": {\"hunter2\": 1}}}", "line 1"),
        ("{\"credsStore\": [\"hunter2\"]}", "line 1"),
        ("{\"auths\": {}} hunter2", "line 1"),
        ("{\"auths\": {}, \"auths\": {\"hunter2\": {}}}", "line 1"),
        ("\"hunter2\"", "line 1"),
        ("hunter2", "line 1"),
        ("{", "line 1"),
        ("[\"hunter2\"]", "no file of credentials"),
        ("", "empty"),
        (" \n", "empty"),
        (&"[".repeat(100_000), "no file of credentials"),
        (&format!("{{\"a\":{}", "[".repeat(100_000)), "line 1"),
    ] {
        let said = parse(text, Format::Current).unwrap_err();
        assert!(
            said.contains("`/x/auth.json`") && said.contains(place),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
    let said = parse("{\"h\": \"hunter2\"}", Format::Legacy).unwrap_err();
    assert!(
        said.contains("line 1") && !said.contains("hunter2"),
        "{said}"
    );
    for good in [
        "{}",
        "{\"auths\": null, \"credHelpers\": null}",
        "{\"detachKeys\":\"x\"}",
    ] {
        assert_eq!(parse(good, Format::Current), Ok(()), "{good}");
    }
}

#[test]
fn files_that_are_not_there_are_nothing_and_large_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.json");
    let read = |path: &Path| AuthFile::read(path, Format::Current);
    assert!(read(&path).unwrap().is_none());
    write(&path, "{}");
    assert!(read(&path).unwrap().is_some());
    assert!(read(&path.join("below/a/file")).unwrap().is_none());
    let said = read(folder.path()).unwrap_err().to_string();
    assert!(
        said.contains(&folder.path().display().to_string()),
        "{said}"
    );
    let length = usize::try_from(AUTHFILE_BYTES_MAX).unwrap();
    write(&path, &format!("{{}}{}", " ".repeat(length - 2)));
    assert!(read(&path).unwrap().is_some());
    write(&path, &format!("{{}}{}", " ".repeat(length - 1)));
    let said = read(&path).unwrap_err().to_string();
    assert!(said.contains("larger than 1 MiB"), "{said}");
}

#[test]
fn secrets_do_not_print() {
    let text = r#"{"auths":{"a.example":{"auth":"YTpodW50ZXIy","identitytoken":"hunter2","registrytoken":"hunter2"},
        "b.example":{"username":"b","password":"hunter2"}}}"#;
    let file = file(text);
    let asked: Namespace = "b.example".parse().unwrap();
    let shown = format!("{file:?} {:?}", file.look(&asked).unwrap());
    assert!(shown.contains("b.example"));
    for secret in ["hunter2", "YTpodW50ZXIy"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

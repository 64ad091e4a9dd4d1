//! What files are read, and what is wrong with them.

use crate::limits::input::ACCESS_FILE_BYTES_MAX;

use super::*;

#[test]
fn files_are_found_and_merged_as_skopeo_finds_them() {
    let table =
        |to: &str| format!("[[registry]]\nprefix = 'h.example'\nlocation = '{to}.example'\n");
    let stage = Stage::new();
    let is = |expected: &str| {
        assert_eq!(
            places(&stage.read(), "h.example/x"),
            format!("{expected}.example/x")
        );
    };
    is("h");
    stage.write("etc/containers/registries.conf", table("host"));
    is("host");
    stage.write(
        "etc/containers/registries.conf.d/20.conf",
        table("drop-in-20"),
    );
    stage.write(
        "etc/containers/registries.conf.d/10.conf",
        table("drop-in-10"),
    );
    stage.write(
        "etc/containers/registries.conf.d/30.toml",
        table("no-drop-in"),
    );
    stage.write(
        "etc/containers/registries.conf.d/sub.conf/40.conf",
        table("below"),
    );
    is("drop-in-20");
    // Those of the user come after those of the host, whatever their names.
    let users = "home/.config/containers";
    stage.write(
        &format!("{users}/registries.conf.d/05.conf"),
        table("user-05"),
    );
    is("user-05");
    fs::remove_dir_all(stage.folder.path().join(users)).unwrap();
    // The file of the user stands instead of all that the host has.
    stage.write(&format!("{users}/registries.conf"), "");
    is("h");
    stage.write(&format!("{users}/registries.conf"), table("user"));
    is("user");
    stage.write(
        &format!("{users}/registries.conf.d/05.conf"),
        table("user-05"),
    );
    is("user-05");
    // A file that is named stands alone.
    let named = stage.write("named.conf", table("named"));
    let older = stage.write("older.conf", table("older"));
    for (variables, expected) in [
        (&[("CONTAINERS_REGISTRIES_CONF", &*named)][..], "named"),
        (&[("REGISTRIES_CONFIG_PATH", &*older)], "older"),
        (
            &[
                ("CONTAINERS_REGISTRIES_CONF", &*named),
                ("REGISTRIES_CONFIG_PATH", &*older),
            ],
            "named",
        ),
        (&[("CONTAINERS_REGISTRIES_CONF", Path::new(""))], "user-05"),
        (
            &[("CONTAINERS_REGISTRIES_CONF", Path::new("/dev/null"))],
            "h",
        ),
        // Users who have no home.
        (&[("HOME", Path::new(""))], "drop-in-20"),
        (&[("HOME", Path::new("/dev/null"))], "drop-in-20"),
    ] {
        let registries = stage.read_with(variables).unwrap();
        let expected = format!("{expected}.example/x");
        assert_eq!(
            places(&registries, "h.example/x"),
            expected,
            "{variables:?}"
        );
    }
    let none = stage.folder.path().join("none.conf");
    let said = stage
        .read_with(&[("CONTAINERS_REGISTRIES_CONF", &none)])
        .unwrap_err();
    assert!(said.contains("none.conf"), "{said}");
}

#[test]
fn tables_are_merged_by_their_prefix() {
    let stage = Stage::new();
    stage.write(
        "etc/containers/registries.conf",
        "[[registry]]\nlocation='a.example'\nblocked=true\n[[registry]]\nlocation='b.example'\nblocked=true\n",
    );
    // In another file it does not matter that the two do not agree.
    stage.write(
        "etc/containers/registries.conf.d/1.conf",
        "[[registry]]\nprefix='A.example'\nlocation='a.example'\n",
    );
    let registries = stage.read();
    assert_eq!(places(&registries, "a.example/x"), "a.example/x");
    assert!(places(&registries, "b.example/x").contains("blocks"));
    // In one file the first counts.
    let twice = "[[registry]]\nprefix='h.example'\nlocation='one.example'\n\
                 [[registry]]\nprefix='h.example'\nlocation='two.example'\n";
    assert_eq!(places(&of(twice), "h.example/x"), "one.example/x");
}

/// Refuses each text with a word about this line of it.
#[track_caller]
fn all_refused(cases: &[(usize, &str, &str)]) {
    for (line, text, word) in cases {
        let said = error(text);
        let place = format!("registries.conf`, line {line}: ");
        assert!(said.contains(&place) && said.contains(word), "{text}{said}");
    }
}

#[test]
fn what_is_not_toml_or_of_another_type_is_an_error_with_file_and_line() {
    all_refused(&[
        (2, "\n[[registry]\n", "unclosed"),
        (2, "[[registry]]\ninsecure = 'yes'\n", "invalid type"),
        (
            3,
            "[[registry]]\nlocation = 'a.example'\nblocked = 1\n",
            "invalid type",
        ),
        (1, "registry = 5\n", "invalid type"),
        (
            1,
            "unqualified-search-registries = 'a.example'\n",
            "invalid type",
        ),
        (2, "[aliases]\na = 5\n", "invalid type"),
        (
            3,
            "[[registry]]\nlocation='a.example'\nlocation='b.example'\n",
            "duplicate",
        ),
    ]);
    let stage = Stage::new();
    stage.write("etc/containers/registries.conf.d/7.conf", "[[registry]]\n");
    let said = stage.read_with(&[]).unwrap_err();
    assert!(said.contains("7.conf`, line 1"), "{said}");
}

#[test]
fn what_makes_no_sense_is_an_error_with_file_and_line() {
    all_refused(&[
        (1, "[[registry]]\nblocked = true\n", "neither"),
        (1, "[[registry]]\nprefix = 'a.example'\n", "no `location`"),
        (
            1,
            "[[registry]]\nlocation = 'https://a.example'\n",
            "scheme",
        ),
        (
            1,
            "[[registry]]\nprefix = '*.a.example/b'\nlocation = 'b.example'\n",
            "wildcard",
        ),
        (
            1,
            "[[registry]]\nprefix = '*.a.example:5000'\nlocation = 'b.example'\n",
            "wildcard",
        ),
        (
            1,
            "[[registry]]\nlocation='a.example'\npull-from-mirror='all'\n",
            "`pull-from-mirror`",
        ),
        (
            1,
            "[[registry]]\nlocation='a.example'\n[[registry.mirror]]\nlocation='b.example'\n\
             pull-from-mirror='some'\n",
            "`digest-only`",
        ),
        (
            2,
            "\n[[registry]]\nlocation='a.example'\nmirror-by-digest-only=true\n\
             [[registry.mirror]]\nlocation='b.example'\npull-from-mirror='all'\n",
            "exclude each other",
        ),
        (
            1,
            "[[registry]]\nlocation='a.example'\n[[registry.mirror]]\n",
            "no `location`",
        ),
        (
            3,
            "[[registry]]\nlocation='a.example'\n[[registry]]\nprefix='b.example'\n\
             location='a.example'\ninsecure=true\n",
            "`a.example`",
        ),
        (2, "[aliases]\n'a' = 'b.example/c:1'\n", "`a`"),
        (2, "[aliases]\n'a' = 'b/c'\n", "`a`"),
        (2, "[aliases]\n'a' = 'b.example/C'\n", "`a`"),
        (2, "[aliases]\n'a:1' = 'b.example/c'\n", "`a:1`"),
        (
            2,
            "[aliases]\n'h.example/a' = 'b.example/c'\n",
            "`h.example/a`",
        ),
    ]);
}

#[test]
fn keys_count_in_upper_and_lower_case_alike() {
    // As in skopeo: a block that is not seen would be none.
    let registries = of(r"
        [[Registry]]
        LOCATION = 'h.example'
        Blocked = true
        [[Registry.Mirror]]
        Location = 'm.example'
        Pull-From-Mirror = 'digest-only'
        [Aliases]
        a = 'r.example/a'
    ");
    assert!(places(&registries, "h.example/x").contains("blocks"));
    assert_eq!(
        places(&registries, "h.example/x@DIGEST"),
        "m.example/x@DIGEST"
    );
    assert!(registries.alias("a").is_some());
    assert!(
        error(
            "[Registries.Block]
Registries = ['a.example']"
        )
        .contains("version 1")
    );
    all_refused(&[
        (
            2,
            "[[registry]]\nlocation='a.example'\nLocation='b.example'\n",
            "twice",
        ),
        (2, "[[registry]]\nBlocked = 'yes'\n", "invalid type"),
        (2, "[aliases]\n'A' = 'b.example/c'\n", "`A`"),
    ]);
}

#[test]
fn an_error_repeats_no_password() {
    for text in [
        "[[registry]]\nlocation = 'a.example'\nproxy = 'http://some-user:pass-word@p.example\n",
        "[[registry]]\nproxy = 'http://some-user:pass-word@p.example'\n",
        "[[registry]]\nproxy = 'http://some-user:pass-word@p.example'\ninsecure = 5\n",
        "[[registry]]\nproxy = 'http://some-user:pass-word@p.example' x\n",
        "[[registry]]\nproxy = http://some-user:pass-word@p.example\n",
        "[[registry]]\nmirror = 'http://some-user:pass-word@p.example'\n",
        "[[registry]]\ninsecure = 'pass-word, expected pass-word'\n",
        "unqualified-search-registries = 'pass-word'\n",
    ] {
        let said = error(text);
        assert!(
            said.contains("registries.conf") && !said.contains("pass-word"),
            "{said}"
        );
    }
}

#[test]
fn version_1_is_refused_where_it_says_anything() {
    for text in [
        "[registries.search]\nregistries = ['a.example']\n",
        "[registries.block]\nregistries = ['a.example']\n[[registry]]\nlocation = 'b.example'\n",
        "[registries.insecure]\nregistries = ['a.example']\n",
    ] {
        let said = error(text);
        let words = ["registries.conf", "version 1", "[[registry]]"];
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    // As distributions left it behind.
    of("[registries.search]\nregistries = []\n[registries.insecure]\n[registries.block]\n");
}

#[test]
fn what_nobody_knows_is_left() {
    let registries = of(r"
        unqualified-search-registries = ['a.example']
        short-name-mode = 'whatever'
        credential-helpers = ['secretservice']
        additional-layer-store-auth-helper = 'helper'
        later = { x = [1, 2.5, true, 1979-05-27T07:32:00Z] }
        [[registry]]
        location = 'h.example'
        later = 5
        [[registry.mirror]]
        location = 'm.example'
        later = 'x'
    ");
    assert_eq!(
        places(&registries, "h.example/x"),
        "m.example/x h.example/x"
    );
}

#[test]
fn files_are_bounded() {
    let stage = Stage::new();
    let bytes_max = usize::try_from(ACCESS_FILE_BYTES_MAX).unwrap();
    let name = "etc/containers/registries.conf";
    stage.write(name, " ".repeat(bytes_max));
    stage.read();
    stage.write(name, " ".repeat(bytes_max + 1));
    let said = stage.read_with(&[]).unwrap_err();
    assert!(said.contains(name) && said.contains("1 MiB"), "{said}");
    stage.write(name, b"\xff");
    let said = stage.read_with(&[]).unwrap_err();
    assert!(said.contains(name) && said.contains("UTF-8"), "{said}");
    stage.write(name, "");
    for number in 0..=DROP_INS_MAX {
        stage.write(&format!("{name}.d/{number}.conf"), "");
    }
    let said = stage.read_with(&[]).unwrap_err();
    assert!(said.contains("registries.conf.d"), "{said}");
    // Tables in tables end somewhere.
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(error(&deep).contains("line 1"));
}

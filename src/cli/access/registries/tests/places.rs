//! What becomes of a name.

use super::*;

#[test]
fn what_no_table_fits_is_read_where_its_name_says() {
    for text in [
        "",
        "# nothing\n",
        "[[registry]]\nlocation='other.example'\n",
    ] {
        let registries = of(text);
        for image in ["h.example/a:1", "h.example/a", "h.example/a@DIGEST"] {
            assert_eq!(places(&registries, image), image);
            assert_eq!(registries.origin(&reference(image)), None);
        }
    }
}

#[test]
fn the_longest_prefix_that_fits_counts() {
    let registries = of(r"
        [[registry]]
        location = 'h.example'
        [[registry]]
        prefix = 'h.example/a/b/c'
        location = 'four.example'
        [[registry]]
        prefix = 'h.example/a/'
        location = 'two.example/x/'
        [[registry]]
        prefix = 'h.example/a/b'
        location = 'three.example:5000'
        [[registry]]
        prefix = 'H.example:5000'
        location = 'five.example'
        [[registry]]
        prefix = 'h.example/a/b:1'
        location = 'six.example/b:2'
        [[registry]]
        prefix = 'h.example/a/l:latest'
        location = 'seven.example/l:latest'
    ");
    for (image, place) in [
        ("h.example/x", "h.example/x"),
        ("h.example/ab:1", "h.example/ab:1"),
        ("h.example/a/x:1", "two.example/x/x:1"),
        ("h.example/a/bc", "two.example/x/bc"),
        ("h.example/a/b/x@DIGEST", "three.example:5000/x@DIGEST"),
        ("h.example/a/b/cd", "three.example:5000/cd"),
        ("h.example/a/b/c/d", "four.example/d"),
        // Host and port are exact.
        ("h.example:5000/a/b", "five.example/a/b"),
        ("H.Example/a/x", "two.example/x/x"),
        ("h.example:443/a", "h.example:443/a"),
        ("h.example2/a", "h.example2/a"),
        ("a.h.example/a", "a.h.example/a"),
        // One image.
        ("h.example/a/b:1", "six.example/b:2"),
        ("h.example/a/b:1@DIGEST", "six.example/b:2@DIGEST"),
        ("h.example/a/l", "seven.example/l"),
        ("h.example/a/l:latest", "seven.example/l:latest"),
        ("h.example/a/l:later", "two.example/x/l:later"),
    ] {
        assert_eq!(places(&registries, image), place, "{image}");
    }
    let origin = registries.origin(&reference("h.example/a/b/x")).unwrap();
    assert_eq!(origin.prefix, "h.example/a/b");
    assert!(origin.file.ends_with("etc/containers/registries.conf"));
}

#[test]
fn docker_hub_is_written_out() {
    let registries = of(r"
        [[registry]]
        prefix = 'docker.io/library'
        location = 'one.example/hub'
        [[registry]]
        prefix = 'docker.io/busybox'
        location = 'two.example'
        [[registry]]
        prefix = 'three.example'
        location = 'docker.io'
        [[registry]]
        prefix = 'four.example'
        location = 'registry-1.docker.io/library'
    ");
    assert_eq!(places(&registries, "busybox"), "one.example/hub/busybox");
    assert_eq!(
        places(&registries, "docker.io/busybox:1"),
        "one.example/hub/busybox:1"
    );
    assert_eq!(places(&registries, "three.example/a/b"), "docker.io/a/b");
    assert_eq!(places(&registries, "four.example/a"), "docker.io/library/a");
    let refused = places(&registries, "three.example/a");
    assert!(
        refused.contains("`docker.io/a:latest`") && refused.contains("library"),
        "{refused}"
    );
}

#[test]
fn a_wildcard_is_for_all_hosts_below() {
    let registries = of(r"
        [[registry]]
        prefix = '*.h.example'
        location = 'one.example/all'
        [[registry]]
        prefix = '*.Deep.h.example'
        insecure = true
        [[registry]]
        prefix = 'b.h.example'
        location = 'two.example'
        [[registry]]
        prefix = 'b.h.example/ns'
        location = 'three.example'
    ");
    for (image, place) in [
        ("a.h.example/x:1", "one.example/all/x:1"),
        ("a.b.h.example/x", "one.example/all/x"),
        ("a.deep.h.example/x", "!a.deep.h.example/x"),
        ("a.deep.h.example:5000/x", "!a.deep.h.example:5000/x"),
        ("h.example/x", "h.example/x"),
        ("ah.example/x", "ah.example/x"),
        ("a.h.example.org/x", "a.h.example.org/x"),
        ("org.example/a.h.example/x", "org.example/a.h.example/x"),
        // Found where the domain comes twice, which skopeo does not.
        ("a.h.examples.h.example/x", "one.example/all/x"),
        // Equally long: the first in the order of bytes, as skopeo has it.
        ("b.h.example/x", "one.example/all/x"),
        ("b.h.example/ns/x", "three.example/x"),
    ] {
        assert_eq!(places(&registries, image), place, "{image}");
    }
    // The port stays, which not every location can have.
    let host = of("[[registry]]\nprefix='*.h.example'\nlocation='m.example'");
    assert_eq!(places(&host, "a.h.example:5/x"), "m.example:5/x");
    let refused = places(&registries, "a.h.example:5000/x");
    assert!(
        refused.contains("`one.example/all:5000/x:latest`"),
        "{refused}"
    );
}

#[test]
fn mirrors_come_first_and_only_where_they_are_for_such_a_reference() {
    let registries = of(r"
        [[registry]]
        prefix = 'h.example/a'
        location = 'r.example/b'
        insecure = true
        [[registry.mirror]]
        location = 'all.example:5000/m'
        [[registry.mirror]]
        location = 'digests.example'
        pull-from-mirror = 'digest-only'
        insecure = true
        [[registry.mirror]]
        location = 'tags.example'
        pull-from-mirror = 'tag-only'
        [[registry.mirror]]
        location = 'everything.example'
        pull-from-mirror = 'all'

        [[registry]]
        location = 'old.example'
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = 'm.example'
    ");
    for (image, expected) in [
        (
            "h.example/a/x:1",
            "all.example:5000/m/x:1 tags.example/x:1 everything.example/x:1 !r.example/b/x:1",
        ),
        (
            "h.example/a/x",
            "all.example:5000/m/x tags.example/x everything.example/x !r.example/b/x",
        ),
        (
            "h.example/a/x@DIGEST",
            "all.example:5000/m/x@DIGEST !digests.example/x@DIGEST everything.example/x@DIGEST \
             !r.example/b/x@DIGEST",
        ),
        // The digest is what is asked for.
        (
            "h.example/a/x:1@DIGEST",
            "all.example:5000/m/x:1@DIGEST !digests.example/x:1@DIGEST \
             everything.example/x:1@DIGEST !r.example/b/x:1@DIGEST",
        ),
        ("old.example/x:1", "old.example/x:1"),
        (
            "old.example/x@DIGEST",
            "m.example/x@DIGEST old.example/x@DIGEST",
        ),
    ] {
        assert_eq!(places(&registries, image), expected, "{image}");
    }
}

#[test]
fn what_is_blocked_is_not_asked() {
    let registries = of(r"
        [[registry]]
        location = 'h.example'
        blocked = true
        [[registry]]
        location = 'with.example'
        blocked = true
        [[registry.mirror]]
        location = 'm.example'
        pull-from-mirror = 'digest-only'
        [[registry]]
        prefix = 'moved.example'
        location = 'elsewhere.example'
        blocked = true
        [[registry]]
        prefix = 'open.example'
        location = 'h.example/below'
        [[registry]]
        location = 'a.example'
        [[registry.mirror]]
        location = 'h.example/mirror'
        [[registry.mirror]]
        location = 'm.example'
        [[registry]]
        prefix = '*.all.example'
        blocked = true
        [[registry]]
        location = 'h.example/free'
    ");
    let blocks = |image: &str, prefix: &str| {
        let said = places(&registries, image);
        let words = [format!("`{image}`"), format!("blocks `{prefix}`")];
        let has_all = words.iter().all(|word| said.contains(word));
        assert!(has_all && said.contains("registries.conf"), "{said}");
    };
    blocks("h.example/x:1", "h.example");
    blocks("with.example/x:1", "with.example");
    // skopeo 1.22 looks at the name it asks for, and so at `elsewhere.example`; the manual says the names.
    blocks("moved.example/x:1", "moved.example");
    blocks("open.example/x:1", "h.example");
    blocks("a.all.example:5000/x:1", "*.all.example");
    assert_eq!(
        places(&registries, "with.example/x@DIGEST"),
        "m.example/x@DIGEST"
    );
    assert_eq!(
        places(&registries, "a.example/x:1"),
        "m.example/x:1 a.example/x:1"
    );
    assert_eq!(places(&registries, "h.example/free/x"), "h.example/free/x");
}

#[test]
fn a_location_makes_a_name_or_is_an_error_that_names_it() {
    for (prefix, location, image, words) in [
        ("h.example", "Bad/Path", "h.example/x:1", "`Bad/Path/x:1`"),
        (
            "h.example",
            "r.example/Bad",
            "h.example/x:1",
            "`r.example/Bad/x:1`",
        ),
        ("h.example", "foo", "h.example/x:1", "no registry"),
        ("h.example/a", "r.example", "h.example/a:1", "`r.example:1`"),
        ("h.example/a:1", "r.example/a", "h.example/a:1", "tag"),
        ("h.example/a", "r.example/a:2", "h.example/a@DIGEST", "tag"),
        (
            "h.example/a",
            "r.example/a:2",
            "h.example/a:1",
            "`r.example/a:2:1`",
        ),
        (
            "h.example/a:1",
            "r.example/a@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "h.example/a:1",
            "digest",
        ),
        (
            "h.example/a@DIGEST",
            "r.example/a:1",
            "h.example/a@DIGEST",
            "digest",
        ),
    ] {
        let text = format!("[[registry]]\nprefix = '{prefix}'\nlocation = '{location}'\n");
        let registries = of(&text.replace("DIGEST", DIGEST));
        let said = places(&registries, image).replace(DIGEST, "DIGEST");
        for word in [
            words,
            location,
            image,
            &format!("`{prefix}`"),
            "registries.conf",
        ] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
    let text = "[[registry]]\nprefix='h.example/a@DIGEST'\nlocation='r.example/b@DIGEST'\n";
    let registries = of(&text.replace("DIGEST", DIGEST));
    assert_eq!(
        places(&registries, "h.example/a@DIGEST"),
        "r.example/b@DIGEST"
    );
}

#[test]
fn a_proxy_of_a_registry_is_refused_where_it_is_met() {
    let registries = of(r"
        [[registry]]
        location = 'h.example'
        proxy = 'http://some-user:pass-word@proxy.example'
        [[registry]]
        location = 'r.example'
        [[registry.mirror]]
        location = 'm.example'
        proxy = 'http://some-user:pass-word@proxy.example'
    ");
    for image in ["h.example/x", "r.example/x"] {
        let said = places(&registries, image);
        assert!(
            said.contains("`proxy`") && !said.contains("pass-word"),
            "{said}"
        );
    }
    assert_eq!(places(&registries, "m.example/x"), "m.example/x");
    let shown = format!("{registries:?}");
    assert!(!shown.contains("pass-word"), "{shown}");
}

#[test]
fn a_short_name_may_mean_a_full_one() {
    let stage = Stage::new();
    stage.write(
        "etc/containers/registries.conf",
        "[aliases]\n'fedora' = 'registry.fedoraproject.org/fedora'\n'ns/app' = 'docker.io/app'\n\
         'gone' = 'r.example/gone'\n",
    );
    stage.write(
        "etc/containers/registries.conf.d/1.conf",
        "[aliases]\n\"fedora\" = \"r.example:5000/f/fedora\"\n\"gone\" = \"\"\n",
    );
    let registries = stage.read();
    let alias = |name: &str| {
        let alias = registries.alias(name)?;
        Some(alias.repository.to_string())
    };
    assert_eq!(alias("fedora").as_deref(), Some("r.example:5000/f/fedora"));
    assert_eq!(alias("ns/app").as_deref(), Some("docker.io/library/app"));
    assert_eq!(alias("gone"), None);
    assert_eq!(alias("app"), None);
    let file = &registries.alias("fedora").unwrap().file;
    assert!(
        file.ends_with("registries.conf.d/1.conf"),
        "{}",
        file.display()
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_is_too_much(text in r#"([\[\]='"a-z.:/*@\n ]|registry|mirror|prefix|location|true){0,60}"#) {
            let file: Arc<Path> = Arc::from(Path::new("x.conf"));
            if let Ok(parsed) = file::parse(&file, text.as_bytes()) {
                let registries = Registries { entries: parsed.entries, aliases: parsed.aliases };
                drop(registries.places(&reference("a.b/c:1")));
            }
        }

        #[test]
        fn what_is_made_keeps_the_digest(
            prefix in r"[a-b.]{0,3}(:5)?(/[a-b]{1,2}){0,2}",
            location in r"[a-b.]{1,3}(:5)?(/[a-b]{1,2}){0,2}(:[a-b])?",
            name in r"[a-b]\.[a-b](:5)?(/[a-b]{1,2}){1,3}",
            tag in r"(:[a-b])?",
        ) {
            let text = format!("[[registry]]\nprefix='{prefix}'\nlocation='{location}'\n");
            let file: Arc<Path> = Arc::from(Path::new("x.conf"));
            let image = reference(&format!("{name}{tag}@DIGEST"));
            if let Ok(parsed) = file::parse(&file, text.as_bytes()) {
                let registries = Registries { entries: parsed.entries, aliases: parsed.aliases };
                for place in registries.places(&image).into_iter().flatten() {
                    prop_assert_eq!(place.reference.digest, image.digest);
                    prop_assert_eq!(place.reference.tag.is_some(), image.tag.is_some());
                }
            }
        }
    }
}

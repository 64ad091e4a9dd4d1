//! Whose credential goes where: exactly to what it is written down for.

use libtest_mimic::Trial;

use super::secrets::Secrets;
use crate::harness::trial;
use crate::program::{Workplace, auth_file};
use crate::registry::{Auth, Bearer, Contents, Image, Settings, TestRegistry};

const SOURCE: (&str, &str) = ("reader", "pass-of-the-source");
const OTHER: (&str, &str) = ("another", "pass-of-another");

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "access::lookup_only_the_exact_name_has_the_credential",
            exact,
        ),
        trial(
            "access::lookup_nobody_without_an_entry_is_told_anything",
            no_entry,
        ),
        trial("access::lookup_each_side_has_its_own_credential", sides),
        trial(
            "access::lookup_a_mirror_gets_its_own_credential_alone",
            mirror,
        ),
    ]
}

async fn guarded((user, password): (&'static str, &'static str)) -> TestRegistry {
    let registry = TestRegistry::with(Settings {
        auth: Auth::Basic(user, password),
        ..Settings::default()
    })
    .await;
    Image::new(&["a"])
        .push(&registry, "team/app", Some("1"))
        .await;
    registry
}

/// CVE-2026-5222: an entry for a name that is almost the same is for somebody else.
async fn exact() {
    let registry = guarded(SOURCE).await;
    let secret = Secrets::of(&[SOURCE]);
    let host = registry.host();
    let (name, port) = host.split_once(':').expect("a port");
    let inspect = format!("inspect {host}/team/app:1");
    let place = Workplace::new();
    let file = [("REGISTRY_AUTH_FILE", place.path("auth.json"))];
    for key in [
        name.to_owned(),
        format!("{name}:443"),
        format!("{name}:80"),
        format!("{name}:{port}0"),
        format!("{name}.:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        format!("1{host}"),
        format!("user@{host}"),
        format!("{host}/team2"),
        format!("{host}/tea"),
        format!("{host}/team/ap"),
        format!("{host}/team/app2"),
        format!("{host}/team/app/more"),
        format!("{host}/app"),
        format!("{host}/TEAM"),
    ] {
        place.write("auth.json", auth_file(&[(&key, SOURCE.0, SOURCE.1)]));
        let ended = place.run_with(&inspect, &file).await;
        assert_ne!(ended.code(), Some(0), "{key}: {ended}");
        secret.never_reached(&registry, &key);
    }
    // Its neighbours.
    for key in [
        host.clone(),
        format!("{host}/team"),
        format!("{host}/team/app"),
        format!("http://{host}"),
        format!("https://{host}/v1/"),
        format!("https://{host}/v2/"),
    ] {
        registry.clear_log();
        place.write("auth.json", auth_file(&[(&key, SOURCE.0, SOURCE.1)]));
        place.run_with(&inspect, &file).await.with(0);
        secret.reached(&registry, &key);
    }
    // The longest name wins, and a shorter one is not tried after it.
    registry.clear_log();
    let both = [
        (host.as_str(), SOURCE.0, SOURCE.1),
        (&format!("{host}/team"), OTHER.0, OTHER.1),
    ];
    place.write("auth.json", auth_file(&both));
    place.run_with(&inspect, &file).await.with(1);
    secret.never_reached(&registry, "the namespace");
    Secrets::of(&[OTHER]).reached(&registry, "the namespace");
}

/// GHSA-9m43-p3cx-w8j5: what a registry that is in no file asks for is not there.
async fn no_entry() {
    let (registry, known) = (guarded(SOURCE).await, guarded(OTHER).await);
    let place = Workplace::new();
    place.write("list.txt", "team/app:1\n");
    let hosts = [registry.host(), known.host()];
    place.write(
        "auth.json",
        auth_file(&[
            (&hosts[1], OTHER.0, OTHER.1),
            ("docker.io", SOURCE.0, SOURCE.1),
        ]),
    );
    let file = [("REGISTRY_AUTH_FILE", place.path("auth.json"))];
    let run_it = format!("mirror -f list.txt -s {} -d {}", hosts[0], hosts[1]);
    place.run_with(&run_it, &file).await.with(1);
    for secret in [SOURCE, OTHER] {
        Secrets::of(&[secret]).never_reached(&registry, "a registry without an entry");
    }
    // With one, but told to be nobody.
    place.write(
        "auth.json",
        auth_file(&[
            (&hosts[0], SOURCE.0, SOURCE.1),
            (&hosts[1], OTHER.0, OTHER.1),
        ]),
    );
    let nobody = format!("{run_it} --src-no-creds");
    place.run_with(&nobody, &file).await.with(1);
    Secrets::of(&[SOURCE]).never_reached(&registry, "--src-no-creds");
    let nobody = format!("{run_it} --dest-no-creds");
    known.clear_log();
    place.run_with(&nobody, &file).await.with(1);
    Secrets::of(&[OTHER]).never_reached(&known, "--dest-no-creds");
    let inspect = format!("inspect {}/team/app:1", hosts[0]);
    registry.clear_log();
    let nobody = format!("{inspect} --no-creds");
    place.run_with(&nobody, &file).await.with(1);
    Secrets::of(&[SOURCE]).never_reached(&registry, "--no-creds");
    // Its neighbours: the same without the flags, and a registry that is open to nobody in particular.
    place.run_with(&run_it, &file).await.with(0);
    place.run_with(&inspect, &file).await.with(0);
    let open = TestRegistry::with(Settings {
        auth: Auth::Bearer(Bearer {
            credentials: None,
            ..Bearer::default()
        }),
        ..Settings::default()
    })
    .await;
    Image::new(&["a"]).push(&open, "team/app", Some("1")).await;
    let run_it = format!("mirror -f list.txt -s {} -d {}", open.host(), hosts[1]);
    place
        .run_with(&format!("{run_it} --src-no-creds"), &file)
        .await
        .with(0);
}

/// What one side is to be told by a flag the other side is not.
async fn sides() {
    let (from, to) = (guarded(SOURCE).await, guarded(OTHER).await);
    let place = Workplace::new();
    place.write("list.txt", "team/app:1\n");
    let run_it = format!("mirror -f list.txt -s {} -d {}", from.host(), to.host());
    let creds =
        |side: &str, (user, secret): (&str, &str)| format!("--{side}-creds {user}:{secret}");
    for more in [creds("src", SOURCE), creds("dest", OTHER)] {
        place.run(&format!("{run_it} {more}")).await.with(1);
    }
    Secrets::of(&[SOURCE]).never_reached(&to, "the destination");
    Secrets::of(&[OTHER]).never_reached(&from, "the source");
    let both = format!("{run_it} {} {}", creds("src", SOURCE), creds("dest", OTHER));
    place.run(&both).await.with(0);
    Secrets::of(&[SOURCE]).never_reached(&to, "the destination");
    Secrets::of(&[OTHER]).never_reached(&from, "the source");
    // One registry on both sides, with another credential for each.
    let one = guarded(SOURCE).await;
    let host = one.host();
    place.write("list.txt", format!("{host}/team/app {host}/copy/app 1\n"));
    let within = format!("mirror -f list.txt {}", creds("src", SOURCE));
    place.run(&within).await.with(1);
    let written = one.writes();
    assert!(
        written.iter().all(|line| line.scheme().is_empty()),
        "{}",
        one.log_text()
    );
}

/// A mirror of registries.conf is somebody else than the registry it stands for.
async fn mirror() {
    for knows_mirror in [false, true] {
        let (registry, mirror) = (guarded(SOURCE).await, guarded(OTHER).await);
        let to = TestRegistry::start().await;
        let place = Workplace::new();
        place.write("list.txt", "team/app:1\n");
        let (host, near) = (registry.host(), mirror.host());
        let conf = format!(
            "[[registry]]\nprefix = \"{host}\"\nlocation = \"{host}\"\n\
             [[registry.mirror]]\nlocation = \"{near}\"\ninsecure = true\n"
        );
        place.write(".config/containers/registries.conf", conf);
        let mut entries = vec![(host.as_str(), SOURCE.0, SOURCE.1)];
        if knows_mirror {
            entries.push((near.as_str(), OTHER.0, OTHER.1));
        }
        place.write("auth.json", auth_file(&entries));
        let file = [("REGISTRY_AUTH_FILE", place.path("auth.json"))];
        let run_it = format!("mirror -f list.txt -s {host} -d {}", to.host());
        place.run_with(&run_it, &file).await.with(0);
        assert!(!mirror.log().is_empty(), "the mirror was not asked");
        Secrets::of(&[SOURCE]).never_reached(&mirror, "the mirror");
        Secrets::of(&[OTHER]).never_reached(&registry, "the registry");
        if knows_mirror {
            assert_eq!(
                registry.count("GET", "*/blobs/*"),
                0,
                "{}",
                registry.log_text()
            );
        } else {
            // It refuses, and the registry itself is asked.
            assert!(registry.count("GET", "*/blobs/*") > 0);
        }
        assert_eq!(
            Contents::of(&to, "team/app").await,
            Contents::of(&registry, "team/app").await
        );
    }
}

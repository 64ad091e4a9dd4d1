use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::oci::MediaType;

/// An entry of an index whose manifest is `name`.
fn entry(name: &str, platform: Option<&str>) -> Value {
    let mut entry = json!({
        "mediaType": MediaType::OciManifest,
        "digest": Digest::sha256(name.as_bytes()),
        "size": name.len(),
    });
    if let Some((os, architecture)) = platform.map(|text| text.split_once('/').unwrap()) {
        entry["platform"] = json!({ "os": os, "architecture": architecture });
    }
    entry
}

fn attesting(mut entry: Value, subject: &str) -> Value {
    entry["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": Digest::sha256(subject.as_bytes()),
    });
    entry
}

fn index(entries: &[Value]) -> Manifest {
    let document = json!({ "schemaVersion": 2, "manifests": entries });
    Manifest::parse(Bytes::from(document.to_string()), &MediaType::OciIndex).unwrap()
}

fn wanted(platforms: &[&str]) -> PlatformSelection {
    let platforms: Vec<Platform> = platforms.iter().map(|text| text.parse().unwrap()).collect();
    PlatformSelection::of_platforms(&platforms)
}

fn chosen(
    entries: &[Value],
    subjects: Subjects,
    selection: &PlatformSelection,
) -> Result<Chosen, Failure> {
    let root = index(entries);
    let image = Pinned {
        repository: "h.example/a"
            .parse::<crate::oci::Reference>()
            .unwrap()
            .repository,
        digest: root.digest(),
    };
    let whole = (subjects == Subjects::All).then_some(&root);
    of_index(&image, root.as_index().unwrap(), whole, selection)
}

/// What is meant, each as its name or `index`, with its role.
fn names(entries: &[Value], chosen: &Chosen, all: &[&str]) -> Vec<String> {
    let root = index(entries).digest();
    chosen
        .manifests
        .iter()
        .map(|(manifest, role)| {
            let is = |name: &&&str| Digest::sha256(name.as_bytes()) == manifest.digest;
            let name = all.iter().find(is).copied();
            let name = name.unwrap_or(if manifest.digest == root {
                "index"
            } else {
                "?"
            });
            match role {
                Role::Index => format!("{name} is the index"),
                Role::Platform(Some(platform)) => format!("{name} is {platform}"),
                Role::Platform(None) => format!("{name} is of any platform"),
                Role::Other => format!("{name} is other"),
            }
        })
        .collect()
}

const ALL: &[&str] = &["amd", "arm", "note", "win", "nested"];

fn usual() -> Vec<Value> {
    vec![
        attesting(entry("note", Some("unknown/unknown")), "amd"),
        entry("amd", Some("linux/amd64")),
        entry("arm", Some("linux/arm64")),
        entry("win", Some("windows/amd64")),
    ]
}

#[test]
fn platforms_are_meant_as_they_are_selected() {
    let entries = usual();
    let selection = wanted(&["linux/amd64", "linux/s390x"]);
    let some = chosen(&entries, Subjects::Platforms, &selection).unwrap();
    assert_eq!(names(&entries, &some, ALL), ["amd is linux/amd64"]);
    let unchecked: Vec<String> = some.unchecked.iter().map(ToString::to_string).collect();
    assert_eq!(unchecked, ["linux/arm64", "windows/amd64"]);
    assert_eq!(some.absent, ["linux/s390x"]);

    let every = chosen(&entries, Subjects::Platforms, &PlatformSelection::all()).unwrap();
    let expected = [
        "amd is linux/amd64",
        "arm is linux/arm64",
        "win is windows/amd64",
    ];
    assert_eq!(names(&entries, &every, ALL), expected);
    assert!(every.unchecked.is_empty() && every.absent.is_empty());
}

#[test]
fn all_means_the_index_and_attestations_of_what_is_selected() {
    let entries = usual();
    let every = chosen(&entries, Subjects::All, &PlatformSelection::all()).unwrap();
    let expected = [
        "index is the index",
        "note is other",
        "amd is linux/amd64",
        "arm is linux/arm64",
        "win is windows/amd64",
    ];
    assert_eq!(names(&entries, &every, ALL), expected);
    let amd = chosen(&entries, Subjects::All, &wanted(&["linux/amd64"])).unwrap();
    let expected = ["index is the index", "note is other", "amd is linux/amd64"];
    assert_eq!(names(&entries, &amd, ALL), expected);
    let arm = chosen(&entries, Subjects::All, &wanted(&["linux/arm64"])).unwrap();
    assert_eq!(
        names(&entries, &arm, ALL),
        ["index is the index", "arm is linux/arm64"]
    );
}

#[test]
fn nothing_that_can_be_run_hides_behind_an_annotation() {
    let selection = wanted(&["linux/amd64"]);
    let entries = [
        entry("amd", Some("linux/amd64")),
        attesting(entry("win", Some("linux/amd64")), "amd"),
        attesting(entry("arm", None), "amd"),
        entry("nested", Some("/")),
        attesting(entry("note", Some("unknown/unknown")), "amd"),
    ];
    let some = chosen(&entries, Subjects::Platforms, &selection).unwrap();
    let expected = [
        "amd is linux/amd64",
        "win is linux/amd64",
        "arm is of any platform",
        "nested is of any platform",
    ];
    assert_eq!(names(&entries, &some, ALL), expected);
}

#[test]
fn an_index_in_an_index_is_a_manifest_of_its_own() {
    let mut nested = entry("nested", None);
    nested["mediaType"] = json!(MediaType::OciIndex);
    let entries = [entry("amd", Some("linux/amd64")), nested];
    for subjects in [Subjects::Platforms, Subjects::All] {
        let some = chosen(&entries, subjects, &wanted(&["linux/amd64"])).unwrap();
        assert_eq!(
            names(&entries, &some, ALL).last().unwrap(),
            "nested is other"
        );
    }
}

#[test]
fn nothing_found_is_never_right() {
    let none = [
        (
            Vec::new(),
            Subjects::Platforms,
            PlatformSelection::all(),
            "none",
        ),
        (
            vec![entry("note", Some("unknown/unknown"))],
            Subjects::Platforms,
            PlatformSelection::all(),
            "none",
        ),
        (
            usual(),
            Subjects::Platforms,
            wanted(&["linux/s390x"]),
            "linux/amd64, linux/arm64, windows/amd64",
        ),
        (
            usual(),
            Subjects::All,
            wanted(&["linux/s390x"]),
            "linux/amd64, linux/arm64, windows/amd64",
        ),
        (
            vec![entry("note", Some("unknown/unknown"))],
            Subjects::All,
            wanted(&["linux/amd64"]),
            "none",
        ),
    ];
    for (entries, subjects, selection, has) in none {
        let failure = chosen(&entries, subjects, &selection).unwrap_err();
        assert_eq!(failure.kind, Kind::NotFound);
        let said = failure.causes.join(": ");
        assert!(
            said.ends_with(&format!("({selection}); it has {has}")),
            "{said}"
        );
    }
}

#[test]
fn each_digest_is_meant_once_and_there_is_an_end() {
    let entries = [
        entry("amd", Some("linux/amd64")),
        entry("amd", Some("linux/arm64")),
        entry("amd", Some("windows/amd64")),
    ];
    let selection = wanted(&["linux/amd64", "linux/arm64"]);
    let some = chosen(&entries, Subjects::Platforms, &selection).unwrap();
    assert_eq!(names(&entries, &some, ALL), ["amd is linux/amd64"]);
    // The same manifest is checked: nothing of it is unchecked.
    assert!(some.unchecked.is_empty() && some.absent.is_empty());

    let many: Vec<Value> = (0..=INDEX_ENTRIES_MAX)
        .map(|number| entry(&number.to_string(), Some("linux/amd64")))
        .collect();
    let failure = chosen(&many, Subjects::Platforms, &selection).unwrap_err();
    assert_eq!(failure.kind, Kind::Unsupported);
}

//! Which manifests are looked at, asked of a registry.

use consign::event::{Format, Kind, Role};
use consign::oci::{Manifest, MediaType, PlatformSelection};
use consign::pace::Pace;
use consign::policy::SignedIdentity;
use consign::verify::{self, Compared, Demand, Question, Search, Subjects};
use libtest_mimic::Trial;
use std::sync::Arc;

use super::{Court, accepted, blob_path, rejected};
use crate::harness::trial;
use crate::registry::{Image, artifact, attestation, index};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "verify::a_single_image_has_its_platform_in_its_config",
            single,
        ),
        trial("verify::an_artifact_is_never_passed_over", artifacts),
        trial("verify::platforms_there_and_wanted_are_reported", reported),
        trial("verify::what_was_resolved_is_what_is_validated", resolved),
    ]
}

fn wanted(platforms: &[&str]) -> PlatformSelection {
    let platforms: Vec<_> = platforms.iter().map(|text| text.parse().unwrap()).collect();
    PlatformSelection::of_platforms(&platforms)
}

async fn single() {
    let court = Court::open().await;
    let image = Image::new(&["a"]).on("linux/arm64/v8");
    let image = image.push(&court.registry, "app", Some("1")).await;
    let layer = court.sign(Format::Tag, &court.name("app:1"), image.digest);
    court.attach(Format::Tag, &image, &[layer]).await;
    let config = blob_path(image.blobs[0]);

    let checked = court.judge(&court.ask("app:1")).await;
    assert_eq!(checked.role, Role::Platform(None));
    assert_eq!(court.registry.count("GET", &config), 0);

    let mut ask = court.ask("app:1");
    ask.selection = wanted(&["linux/amd64", "linux/arm64"]);
    let validation = court.validate(&ask).await.unwrap();
    accepted(&validation.checked[0]);
    let platform = "linux/arm64/v8".parse().unwrap();
    assert_eq!(validation.checked[0].role, Role::Platform(Some(platform)));
    assert_eq!(validation.absent, ["linux/amd64"]);
    assert!(validation.unchecked.is_empty());
    assert_eq!(court.registry.count("GET", &config), 1);

    // Another platform than asked for is a failure, not a success of nothing.
    ask.selection = wanted(&["linux/amd64"]);
    let failure = court.validate(&ask).await.unwrap_err();
    assert_eq!(failure.kind, Kind::NotFound);
    assert!(
        failure.causes.concat().contains("it has linux/arm64/v8"),
        "{failure:?}"
    );
    // The index alone is asked for: what platform it has does not matter.
    ask.subjects = Subjects::Index;
    accepted(&court.judge(&ask).await);
}

async fn artifacts() {
    let court = Court::open().await;
    let chart = artifact(&court.registry, "app", "a/chart", None, "chart").await;
    let mut ask = court.ask(&format!("app@{}", chart.digest));
    ask.selection = wanted(&["linux/amd64"]);
    let checked = court.judge(&ask).await;
    rejected(&checked, "no signature exists");
    assert_eq!(checked.role, Role::Platform(None));
    let layer = court.sign(Format::Tag, &court.name("app:1"), chart.digest);
    court.attach(Format::Tag, &chart, &[layer]).await;
    accepted(&court.judge(&ask).await);
}

async fn reported() {
    let court = Court::open().await;
    let on = async |platform: &str| {
        let image = Image::new(&[platform]).on(platform);
        image.push(&court.registry, "app", None).await
    };
    let (amd, win) = (on("linux/amd64").await, on("windows/amd64").await);
    let note = attestation(&court.registry, "app", &amd).await;
    let root = index(&court.registry, "app", Some("1"), &[&amd, &note, &win]).await;
    for image in [&amd, &root] {
        let layer = court.sign(Format::Tag, &court.name("app:1"), image.digest);
        court.attach(Format::Tag, image, &[layer]).await;
    }
    let mut ask = court.ask("app:1");
    ask.selection = wanted(&["linux/amd64", "linux/arm64"]);
    let validation = court.validate(&ask).await.unwrap();
    assert_eq!(validation.checked.len(), 1);
    accepted(&validation.checked[0]);
    assert_eq!(validation.unchecked, ["windows/amd64".parse().unwrap()]);
    assert_eq!(validation.absent, ["linux/arm64"]);
    assert_eq!(validation.image.digest, root.digest);

    ask.subjects = Subjects::All;
    let validation = court.validate(&ask).await.unwrap();
    let roles: Vec<&Role> = validation
        .checked
        .iter()
        .map(|checked| &checked.role)
        .collect();
    let platform = Role::Platform(Some("linux/amd64".parse().unwrap()));
    assert_eq!(roles, [&Role::Index, &platform, &Role::Other]);
    rejected(&validation.checked[2], "no signature exists");
    ask.subjects = Subjects::Instances;
    let validation = court.validate(&ask).await.unwrap();
    let roles: Vec<&Role> = validation
        .checked
        .iter()
        .map(|checked| &checked.role)
        .collect();
    assert_eq!(roles, [&platform, &Role::Other]);

    ask.selection = wanted(&["linux/s390x"]);
    for subjects in [Subjects::Platforms, Subjects::All, Subjects::Instances] {
        ask.subjects = subjects;
        let failure = court.validate(&ask).await.unwrap_err();
        assert_eq!(failure.kind, Kind::NotFound);
        assert!(
            failure
                .causes
                .concat()
                .contains("linux/amd64, windows/amd64"),
            "{failure:?}"
        );
    }
}

async fn resolved() {
    let court = Court::open().await;
    let old = Image::new(&["a"])
        .push(&court.registry, "app", Some("1"))
        .await;
    let layer = court.sign(Format::Tag, &court.name("app:1"), old.digest);
    court.attach(Format::Tag, &old, &[layer]).await;
    // The tag moves on to something unsigned.
    let new = Image::new(&["b"])
        .push(&court.registry, "app", Some("1"))
        .await;
    let demand = Demand {
        signers: Arc::new(consign::sigstore::Signers::Keys(vec![
            court.other.public().clone(),
            court.key.public().clone(),
        ])),
        identity: SignedIdentity::MatchRepoDigestOrExact,
        annotations: super::map(&[]),
        search: Search::Everywhere,
    };
    let image = court.name("app:1").parse().unwrap();
    let selection = PlatformSelection::all();
    let question = Question {
        image: &image,
        place: None,
        subjects: Subjects::Platforms,
        selection: &selection,
        compared: Compared::ByWhatItIs,
        demand: &demand,
    };
    let pace = Pace::default();
    let root = |bytes| Manifest::parse(bytes, &MediaType::OciManifest).unwrap();
    let validate = async |root: &Manifest| {
        let validation = verify::validate_resolved(&court.attached, &question, root, &pace).await;
        validation.unwrap().checked.remove(0)
    };
    let checked = validate(&root(old.bytes.clone())).await;
    accepted(&checked);
    assert_eq!(
        checked.evidence.unwrap().by.key(),
        Some(court.key.public().id().as_str())
    );
    assert_eq!(court.requests(), 2);
    rejected(
        &validate(&root(new.bytes.clone())).await,
        "no signature exists",
    );
    // A digest that was not resolved to is a mistake of whoever asks.
    let pinned = court.name(&format!("app@{}", new.digest)).parse().unwrap();
    let question = Question {
        image: &pinned,
        place: None,
        ..question
    };
    let old = root(old.bytes.clone());
    let failure = verify::validate_resolved(&court.attached, &question, &old, &pace).await;
    assert_eq!(failure.unwrap_err().kind, Kind::Internal);
}

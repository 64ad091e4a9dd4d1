//! Some platforms of an image, and what stands under the tag then; tags that exist.

use consign::event::{Changed, Kind, Note, Outcome, Side};
use consign::oci::{Digest, Platform, PlatformSelection};
use consign::transfer::{IndexMode, OnExisting, Options, Overwrite};
use libtest_mimic::Trial;

use super::{Road, manifest_path, said};
use crate::harness::trial;
use crate::registry::{
    Contents, Image, Pushed, Settings, Sparse, TestRegistry, attestation, index, when,
};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("platforms::a_selection_makes_an_index_of_its_own", rewrite),
        trial("platforms::a_selection_of_all_changes_nothing", all_of_them),
        trial("platforms::a_sparse_index_keeps_its_digest", sparse),
        trial("platforms::a_merge_keeps_what_was_there", merge),
        trial("platforms::platforms_are_not_taken_away", taken_away),
        trial(
            "platforms::a_platform_that_is_not_there_is_said_so",
            not_there,
        ),
        trial(
            "platforms::a_single_image_has_its_platform_in_its_config",
            single,
        ),
        trial("platforms::a_digest_keeps_all_its_platforms", pinned),
        trial(
            "platforms::an_existing_tag_is_replaced_kept_or_refused",
            existing,
        ),
        trial(
            "platforms::a_selection_that_was_cut_short_is_completed",
            cut_short,
        ),
    ]
}

/// amd64 with an attestation, arm64 with an attestation, arm/v7.
struct Whole {
    amd: Pushed,
    arm: Pushed,
    small: Pushed,
    amd_attested: Pushed,
    arm_attested: Pushed,
    index: Pushed,
}

async fn whole(registry: &TestRegistry, tag: &str) -> Whole {
    let on = async |platform: &str| {
        Image::new(&[platform, tag])
            .on(platform)
            .push(registry, "app", None)
            .await
    };
    let (amd, arm, small) = (
        on("linux/amd64").await,
        on("linux/arm64/v8").await,
        on("linux/arm/v7").await,
    );
    let amd_attested = attestation(registry, "app", &amd).await;
    let arm_attested = attestation(registry, "app", &arm).await;
    let children = [&amd, &arm, &small, &amd_attested, &arm_attested];
    let index = index(registry, "app", Some(tag), &children).await;
    Whole {
        amd,
        arm,
        small,
        amd_attested,
        arm_attested,
        index,
    }
}

fn only(platforms: &[&str]) -> Options {
    let platforms: Vec<Platform> = platforms.iter().map(|text| text.parse().unwrap()).collect();
    Options {
        selection: PlatformSelection::of_platforms(&platforms),
        ..Options::default()
    }
}

/// The children of what stands under a tag.
async fn children(registry: &TestRegistry, tag: &str) -> Vec<String> {
    let contents = Contents::of(registry, "app").await;
    let (_, bytes) = &contents.manifests[&contents.tags[tag]];
    let document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let entries = document["manifests"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap().to_owned())
        .collect()
}

fn digests(images: &[&Pushed]) -> Vec<String> {
    images
        .iter()
        .map(|image| image.digest.to_string())
        .collect()
}

async fn has(registry: &TestRegistry, digest: &Digest) -> bool {
    let contents = Contents::of(registry, "app").await;
    contents.manifests.contains_key(digest)
}

async fn rewrite() {
    let road = Road::plain().await;
    let image = whole(&road.source, "1").await;
    let copy = road
        .copy_with("app:1", "app:1", &only(&["linux/arm64"]))
        .await;
    let copied = road.is_copied(copy);
    assert_eq!(copied.changed, Some(Changed::Selected));
    assert_eq!(copied.source, image.index.digest);
    assert_ne!(copied.image.digest, image.index.digest);
    assert_eq!(
        children(&road.destination, "1").await,
        digests(&[&image.arm, &image.arm_attested])
    );
    let contents = Contents::of(&road.destination, "app").await;
    assert_eq!(contents.manifests.len(), 3);
    for absent in [&image.amd, &image.small, &image.amd_attested, &image.index] {
        assert!(!contents.manifests.contains_key(&absent.digest));
        assert_eq!(road.source.count("GET", &manifest_path(absent.digest)), 0);
    }
    // The entries are those of the source, to the byte.
    let text = String::from_utf8(contents.manifests[&copied.image.digest].1.to_vec()).unwrap();
    assert!(text.contains(&image.arm.descriptor().to_string()), "{text}");
}

async fn all_of_them() {
    let road = Road::plain().await;
    let image = whole(&road.source, "1").await;
    let options = only(&["linux/amd64", "linux/arm64", "linux/arm"]);
    let copy = road.copy_with("app:1", "app:1", &options).await;
    let copied = road.is_copied(copy);
    assert_eq!(copied.image.digest, image.index.digest);
    assert_eq!(copied.changed, None);
}

async fn sparse() {
    let takes = Settings {
        sparse: Sparse::Taken,
        ..Settings::default()
    };
    let mut road = Road::between(Settings::default(), takes).await;
    let image = whole(&road.source, "1").await;
    let options = |platform| Options {
        index: IndexMode::Sparse,
        ..only(&[platform])
    };
    let amd = options("linux/amd64");
    let copy = road.copy_with("app:1", "app:1", &amd).await;
    let copied = road.is_copied(copy);
    assert_eq!(copied.image.digest, image.index.digest);
    assert_eq!(copied.changed, None);
    assert!(has(&road.destination, &image.amd_attested.digest).await);
    assert!(!has(&road.destination, &image.arm.digest).await);

    road.next_run();
    let again = road.copy_with("app:1", "app:1", &amd).await.unwrap();
    assert!(matches!(again, Outcome::UpToDate(_)), "{again:?}");
    assert!(road.destination.writes().is_empty());
    // Another part of it comes beside the first.
    road.next_run();
    let copy = road
        .copy_with("app:1", "app:1", &options("linux/arm64"))
        .await;
    road.is_copied(copy);
    for there in [&image.amd, &image.arm, &image.arm_attested] {
        assert!(has(&road.destination, &there.digest).await);
    }

    // Where it is not taken, it is no success, and no tag.
    let road = Road::plain().await;
    whole(&road.source, "1").await;
    let copy = road.copy_with("app:1", "app:1", &amd).await;
    let failure = road.is_failed(copy);
    assert_eq!(failure.side, Some(Side::Destination), "{}", said(&failure));
    assert_eq!(road.destination.tag("app", "1"), None);
}

async fn merge() {
    let mut road = Road::plain().await;
    let image = whole(&road.source, "1").await;
    let options = |platform| Options {
        index: IndexMode::Merge,
        ..only(&[platform])
    };
    let copy = road
        .copy_with("app:1", "app:1", &options("linux/amd64"))
        .await;
    assert_eq!(road.is_copied(copy).changed, Some(Changed::Selected));
    let copy = road
        .copy_with("app:1", "app:1", &options("linux/arm64"))
        .await;
    assert_eq!(road.is_copied(copy).changed, Some(Changed::Merged));
    assert_eq!(
        children(&road.destination, "1").await,
        digests(&[
            &image.amd,
            &image.amd_attested,
            &image.arm,
            &image.arm_attested
        ])
    );
    for platform in ["linux/amd64", "linux/arm64"] {
        road.next_run();
        let again = road.copy_with("app:1", "app:1", &options(platform)).await;
        let again = again.unwrap();
        assert!(
            matches!(again, Outcome::UpToDate(_)),
            "{platform}: {again:?}"
        );
    }

    // A newer image takes the place of the older one, and its attestation goes with it.
    let newer = whole(&road.source, "2").await;
    let copy = road
        .copy_with("app:2", "app:1", &options("linux/amd64"))
        .await;
    road.is_copied(copy);
    let mut now = children(&road.destination, "1").await;
    now.sort_unstable();
    let mut expected = digests(&[
        &newer.amd,
        &newer.amd_attested,
        &image.arm,
        &image.arm_attested,
    ]);
    expected.sort_unstable();
    assert_eq!(now, expected);
}

async fn taken_away() {
    let road = Road::plain().await;
    let image = whole(&road.source, "1").await;
    let wide = only(&["linux/amd64", "linux/arm64"]);
    let copy = road.copy_with("app:1", "app:1", &wide).await;
    let before = road.is_copied(copy).image.digest;
    let copy = road
        .copy_with("app:1", "app:1", &only(&["linux/arm64"]))
        .await;
    let failure = road.is_failed(copy);
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Conflict, Some(Side::Destination))
    );
    assert!(said(&failure).contains("linux/amd64"), "{}", said(&failure));
    assert_eq!(road.destination.tag("app", "1"), Some(before));

    let allowed = Options {
        overwrite: Overwrite::Allowed,
        ..only(&["linux/arm64"])
    };
    let copy = road.copy_with("app:1", "app:1", &allowed).await;
    road.is_copied(copy);
    assert_eq!(
        children(&road.destination, "1").await,
        digests(&[&image.arm, &image.arm_attested])
    );

    // A single image under the tag has a platform too.
    let road = Road::plain().await;
    whole(&road.source, "1").await;
    let old = Image::new(&["old"])
        .push(&road.destination, "app", Some("1"))
        .await;
    let copy = road
        .copy_with("app:1", "app:1", &only(&["linux/arm64"]))
        .await;
    let failure = road.is_failed(copy);
    assert_eq!(failure.kind, Kind::Conflict, "{}", said(&failure));
    assert_eq!(road.destination.tag("app", "1"), Some(old.digest));
    // What the source has no more is not missed.
    let road = Road::plain().await;
    whole(&road.source, "1").await;
    Image::new(&["old"])
        .on("linux/s390x")
        .push(&road.destination, "app", Some("1"))
        .await;
    let copy = road
        .copy_with("app:1", "app:1", &only(&["linux/arm64"]))
        .await;
    road.is_copied(copy);
}

async fn not_there() {
    let road = Road::plain().await;
    whole(&road.source, "1").await;
    let copy = road
        .copy_with("app:1", "app:1", &only(&["linux/s390x"]))
        .await;
    let failure = road.is_failed(copy);
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::NotFound, Some(Side::Source))
    );
    let said = said(&failure);
    for word in ["linux/s390x", "linux/amd64", "linux/arm/v7"] {
        assert!(said.contains(word), "{said}");
    }
    assert!(!said.contains("unknown"), "{said}");
    assert!(road.destination.writes().is_empty());
    // One of two is enough.
    let copy = road
        .copy_with("app:1", "app:1", &only(&["linux/s390x", "linux/arm/v7"]))
        .await;
    road.is_copied(copy);
}

async fn single() {
    let road = Road::plain().await;
    let image = Image::new(&["a"])
        .on("linux/arm64/v8")
        .push(&road.source, "app", Some("1"))
        .await;
    let copy = road
        .copy_with("app:1", "app:1", &only(&["linux/amd64"]))
        .await;
    let failure = road.is_failed(copy);
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::NotFound, Some(Side::Source)),
        "{}",
        said(&failure)
    );
    assert!(said(&failure).contains("linux/arm64/v8"));
    let copy = road
        .copy_with("app:1", "app:1", &only(&["linux/arm64"]))
        .await;
    assert_eq!(road.is_copied(copy).image.digest, image.digest);

    // A config that is no JSON, or has other bytes, is an error and no guess.
    let road = Road::plain().await;
    let image = Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let config = format!("/v2/app/blobs/{}", image.blobs[0]);
    road.source.rule(when("GET", &config).corrupt_body());
    let copy = road
        .copy_with("app:1", "app:1", &only(&["linux/amd64"]))
        .await;
    let failure = road.is_failed(copy);
    assert_eq!(failure.kind, Kind::Integrity, "{}", said(&failure));
}

async fn pinned() {
    let road = Road::plain().await;
    let image = whole(&road.source, "1").await;
    let name = format!("app@{}", image.index.digest);
    let copy = road.copy_with(&name, &name, &only(&["linux/amd64"])).await;
    let copied = road.is_copied(copy);
    assert_eq!(copied.image.digest, image.index.digest);
    let notes = road.notes.lock().unwrap().clone();
    let is_said =
        |note: &Note| matches!(note, Note::Remark(text) if text.contains("all platforms"));
    assert!(notes.iter().any(is_said), "{notes:?}");
}

async fn existing() {
    let with = |on_existing| Options {
        on_existing,
        ..Options::default()
    };
    for is_selected in [false, true] {
        let road = Road::plain().await;
        let image = whole(&road.source, "1").await;
        let old = Image::new(&["old"])
            .push(&road.destination, "app", Some("1"))
            .await;
        let options = |on_existing| {
            let selection = if is_selected {
                only(&["linux/amd64"]).selection
            } else {
                PlatformSelection::all()
            };
            Options {
                selection,
                ..with(on_existing)
            }
        };
        let kept = road
            .copy_with("app:1", "app:1", &options(OnExisting::Keep))
            .await;
        let Ok(Outcome::Kept(kept)) = kept else {
            panic!("{kept:?}");
        };
        assert_eq!(kept.image.digest, old.digest);
        assert_eq!(kept.source, image.index.digest);
        let copy = road
            .copy_with("app:1", "app:1", &options(OnExisting::Fail))
            .await;
        let failure = road.is_failed(copy);
        assert_eq!(
            (failure.kind, failure.side),
            (Kind::Conflict, Some(Side::Destination))
        );
        assert!(said(&failure).contains(&old.digest.to_string()));
        assert!(road.destination.writes().is_empty());
        let copy = road
            .copy_with("app:1", "app:1", &options(OnExisting::Replace))
            .await;
        let copied = road.is_copied(copy);
        assert_eq!(road.destination.tag("app", "1"), Some(copied.image.digest));
        // The same once more is no conflict, whatever is said of existing tags.
        for on_existing in [OnExisting::Keep, OnExisting::Fail, OnExisting::Replace] {
            let again = road
                .copy_with("app:1", "app:1", &options(on_existing))
                .await;
            let again = again.unwrap();
            assert!(matches!(again, Outcome::UpToDate(_)), "{again:?}");
        }
    }
}

/// The part is there under its tag, but a child is not (it was removed, or the registry takes sparse
/// indexes): it is brought.
async fn cut_short() {
    let takes = Settings {
        sparse: Sparse::Taken,
        ..Settings::default()
    };
    let road = Road::between(Settings::default(), takes).await;
    let image = whole(&road.source, "1").await;
    let options = only(&["linux/amd64"]);
    let copy = road.copy_with("app:1", "app:1", &options).await;
    let copied = road.is_copied(copy);
    let path = "app".parse().unwrap();
    let removed = reqwest::Client::new().delete(format!(
        "{}{}",
        road.destination.url(),
        manifest_path(image.amd.digest)
    ));
    assert_eq!(removed.send().await.unwrap().status(), 202);
    assert_eq!(
        road.destination
            .inner()
            .manifests(&path)
            .iter()
            .filter(|(digest, _)| *digest == image.amd.digest)
            .count(),
        0
    );
    let mut road = road;
    road.next_run();
    let copy = road.copy_with("app:1", "app:1", &options).await;
    assert_eq!(road.is_copied(copy).image.digest, copied.image.digest);
    assert!(has(&road.destination, &image.amd.digest).await);
}

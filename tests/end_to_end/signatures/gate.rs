//! Validation before mirroring, with keys on the command line; and what becomes of those that were
//! rejected.

use libtest_mimic::Trial;
use serde_json::Value;

use super::stand::{Kind, Made, OTHER, OURS, Registry, Stand, TWO, on_both};
use crate::harness::Tools;

pub(super) fn trials() -> Vec<Trial> {
    [
        on_both(
            "only_what_is_accepted_is_mirrored",
            (Kind::Logged, &[]),
            mirrored,
        ),
        on_both(
            "what_was_rejected_is_not_signed",
            (Kind::Logged, &[]),
            not_signed,
        ),
        on_both(
            "accepted_by_the_annotations_and_identity_of_the_source",
            (Kind::Logged, &[]),
            demands,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Four images: signed by us, by somebody else, by nobody, and by us on one platform alone.
async fn four(stand: &Stand, source: &Registry) -> Vec<Made> {
    let mut images = Vec::new();
    for (name, key, more) in [
        ("apps/good:1", Some(OURS), ""),
        ("apps/wrong:1", Some(OTHER), ""),
        ("apps/none:1", None, ""),
        ("apps/half:1", Some(OURS), "-a amd64"),
    ] {
        let image = stand.image(source, name, TWO).await;
        if let Some(key) = key {
            stand.place.write("one.txt", image.by_tag());
            let sign = format!("sign -f one.txt --key {} {more}", key.private());
            stand.run(&sign).await.with(0);
        }
        images.push(image);
    }
    images
}

async fn mirrored(tools: Tools, kind: Kind) {
    let source = Registry::start(&tools, kind, "source").await;
    let destination = Registry::start(&tools, kind, "destination").await;
    let stand = Stand::new(tools);
    let images = four(&stand, &source).await;
    stand.list(&images);
    let (from, to) = (source.host(), destination.host());
    destination.forget().await;
    let mirror = format!(
        "mirror -f list.txt -s {from} -d {to} --verify-key {} --report report.json",
        OURS.public()
    );
    source.forget().await;
    let ended = stand.run(&mirror).await.with(3);
    // What a tag means is asked once: what is copied is what was validated, wherever the tag moves.
    let mut log = source.log().await;
    log.retain(|access| access.parts().2 == "1");
    assert_eq!(log.len(), images.len(), "{log:#?}");
    let report = stand.place.json("report.json");
    assert_eq!(report["summary"]["copied"], 1, "{ended}");
    assert_eq!(report["summary"]["rejected"], 3, "{ended}");
    assert_eq!(report["summary"]["kinds"]["rejected"], 3, "{report}");
    let lines = report["lines"].as_array().expect("lines");
    assert_eq!(lines[0]["source_digest"], images[0].digest.to_string());
    assert_eq!(lines[0]["digest"], images[0].digest.to_string());
    assert_eq!(verdicts(&lines[0]), ["accepted", "accepted"]);
    assert_eq!(verdicts(&lines[1]), ["rejected", "rejected"]);
    assert_eq!(verdicts(&lines[3]), ["accepted", "rejected"]);
    // Nothing at all was written for those that were refused.
    for write in destination.writes().await {
        assert_eq!(write.parts().0, "apps/good", "{write:?}");
    }
    for image in &images[1..] {
        let place = (to.as_str(), image.repository.as_str());
        assert_eq!(stand.get(place, &image.tag).await, None);
    }
    // The failed list has them, says why, and is refused again as it is.
    let failed = stand.place.read("mirror-failed.txt");
    assert_eq!(failed.matches("kind=rejected").count(), 3, "{failed}");
    assert_eq!(stand.place.lines("mirror-failed.txt").len(), 3, "{failed}");
    let again = mirror.replace("list.txt", "mirror-failed.txt");
    stand.run(&again).await.with(3);
    assert_eq!(stand.place.lines("mirror-failed.txt").len(), 3);
    // With both keys, two pass.
    let both = format!("{mirror} --verify-key {}", OTHER.public());
    stand.run(&both).await.with(3);
    assert_eq!(stand.place.json("report.json")["summary"]["rejected"], 2);
    // An up-to-date image is validated too: somebody may have taken its signature away.
    let other = format!(
        "mirror -f list.txt -s {from} -d {to} --verify-key {}",
        OTHER.public()
    );
    stand
        .run(&format!("{other} --report report.json"))
        .await
        .with(3);
    assert_eq!(
        stand.place.json("report.json")["lines"][0]["outcome"],
        "rejected"
    );
}

fn verdicts(line: &Value) -> Vec<&str> {
    let manifests = line["validation"]["manifests"].as_array().expect("a list");
    manifests
        .iter()
        .map(|manifest| manifest["verdict"].as_str().expect("a word"))
        .collect()
}

async fn not_signed(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    let images = four(&stand, &registry).await;
    stand.list(&images);
    let host = registry.host();
    let validate = format!(
        "validate -f list.txt --registry {host} --key {}",
        OURS.public()
    );
    stand.run(&validate).await.with(3);
    let marked = stand.place.read("validate-failed.txt");
    assert_eq!(marked.matches("kind=rejected").count(), 3, "{marked}");

    // Fed to `sign`, they are refused, and stay refused.
    registry.forget().await;
    let sign = |list: &str| {
        format!(
            "sign -f {list} --registry {host} --key {} --report report.json",
            OURS.private()
        )
    };
    for list in ["validate-failed.txt", "sign-failed.txt"] {
        let ended = stand.run(&sign(list)).await;
        assert!(ended.code() != Some(0), "{ended}");
        let ended = ended.saying(&["--sign-rejected"]);
        assert_eq!(
            stand.place.json("report.json")["summary"]["signed"],
            0,
            "{ended}"
        );
        let writes = registry.writes().await;
        assert!(writes.is_empty(), "{writes:#?}");
        let marked = stand.place.read("sign-failed.txt");
        assert_eq!(marked.matches("kind=rejected").count(), 3, "{marked}");
    }
    // One that is not marked is signed beside them.
    let more = stand.image(&registry, "apps/more:1", TWO).await;
    stand.place.write("more.txt", more.line());
    let ended = stand.run(&sign("more.txt -f sign-failed.txt")).await;
    assert!(ended.code() != Some(0), "{ended}");
    assert_eq!(
        stand.place.json("report.json")["summary"]["signed"],
        1,
        "{ended}"
    );

    let anyway = format!("{} --sign-rejected", sign("sign-failed.txt"));
    stand.run(&anyway).await.with(0);
    assert!(!stand.place.has("sign-failed.txt"));
    stand.run(&validate).await.with(0);
}

async fn demands(tools: Tools, kind: Kind) {
    let source = Registry::start(&tools, kind, "source").await;
    let destination = Registry::start(&tools, kind, "destination").await;
    let stand = Stand::new(tools);
    let (from, to) = (source.host(), destination.host());
    let image = stand.image(&source, "apps/web:1", TWO).await;
    stand.list(&[image]);
    let sign = format!(
        "sign -f list.txt --registry {from} --key {} --sign-identity origin.example/{{path}}:{{tag}} \
         -a tag={{tag}} --subjects platforms",
        OURS.private()
    );
    stand.run(&sign).await.with(0);
    for (more, code) in [
        ("", 3),
        ("--exact-repository other.example/{path}", 3),
        (
            "--exact-repository origin.example/{path} --verify-annotations tag=2",
            3,
        ),
        (
            "--exact-repository origin.example/{path} --verify-subjects all",
            3,
        ),
        (
            "--exact-repository origin.example/{path} --verify-subjects index",
            3,
        ),
        (
            "--exact-repository origin.example/{path} --verify-annotations tag={tag}",
            0,
        ),
    ] {
        let mirror = format!(
            "mirror -f list.txt -s {from} -d {to} --verify-key {} {more}",
            OURS.public()
        );
        let ended = stand.run(&mirror).await;
        assert_eq!(ended.code(), Some(code), "{ended}");
        let is_there = stand.get((&to, "apps/web"), "1").await.is_some();
        assert_eq!(is_there, code == 0, "{ended}");
    }
}

//! Signing anew what others have signed, where cosign 3 looks at bundles before anything else.

use libtest_mimic::Trial;

use super::others::{BOTH, Cosign, Stored};
use super::stand::{Kind, Made, OTHER, OURS, Registry, Stand, TWO, on_both};
use crate::harness::{Tool, Tools};

const COSIGNS: (Kind, &[Tool]) = (Kind::Logged, &[Tool::Cosign2, Tool::Cosign3]);

pub(super) fn trials() -> Vec<Trial> {
    [
        on_both("stripped_and_signed_anew_in_one_pass", COSIGNS, in_one_pass),
        on_both("a_foreign_bundle_gets_ours_beside_it", COSIGNS, beside),
        on_both("an_index_made_anew_is_signed_as_it_is", COSIGNS, rewritten),
        on_both("pruned_are_signatures_of_others_alone", COSIGNS, pruned),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// An image that others signed: in the tag, and by a bundle, index and platforms.
async fn foreign(stand: &Stand, registry: &Registry) -> Made {
    let image = stand.image(registry, "apps/web:1", TWO).await;
    let name = image.by_tag();
    Cosign::Two
        .sign(stand, OTHER, (Stored::Tag, "-r"), &name)
        .await;
    Cosign::Three
        .sign(stand, OTHER, (Stored::Bundle, "-r"), &name)
        .await;
    let key = OTHER.public();
    for cosign in BOTH {
        cosign.verify_all(stand, &key, "", &image.names()).await;
    }
    image
}

/// Both cosigns accept all of it by our key, and nothing of it by theirs.
async fn is_ours_alone(stand: &Stand, image: &Made) {
    for cosign in BOTH {
        cosign
            .verify_all(stand, &OURS.public(), "", &image.names())
            .await;
        let theirs = OTHER.public();
        for name in image.names() {
            let said = cosign.verify(stand, &theirs, "", &name).await;
            assert!(!said.is_good, "{cosign:?} still finds theirs at {name}");
        }
    }
}

async fn in_one_pass(tools: Tools, kind: Kind) {
    let source = Registry::start(&tools, kind, "source").await;
    let destination = Registry::start(&tools, kind, "destination").await;
    let stand = Stand::new(tools);
    let from = foreign(&stand, &source).await;
    stand.list(std::slice::from_ref(&from));
    let (a, b) = (source.host(), destination.host());
    let key = OURS.private();
    let again = format!(
        "mirror -f list.txt -s {a} -d {b} --remove-signatures --sign-key {key} --report report.json"
    );
    destination.forget().await;
    stand.run(&again).await.with(0);
    let image = from.at(&b);
    let line = &stand.place.json("report.json")["lines"][0];
    assert_eq!(line["outcome"], "copied", "{line}");
    assert_eq!(line["digest"], image.digest.to_string(), "{line}");
    // The tag came last: nobody ever saw it unsigned.
    let writes = destination.writes().await;
    let last = writes.last().expect("it wrote");
    assert_eq!(last.parts(), ("apps/web", "manifests", "1"), "{writes:#?}");
    is_ours_alone(&stand, &image).await;
    stand.list(std::slice::from_ref(&image));
    let validate = format!("validate -f list.txt --registry {b} --subjects all");
    stand
        .run(&format!("{validate} --key {}", OURS.public()))
        .await
        .with(0);

    // Once more, nothing is written at either side.
    for registry in [&source, &destination] {
        registry.forget().await;
    }
    stand.run(&again).await.with(0);
    let line = &stand.place.json("report.json")["lines"][0];
    assert_eq!(line["outcome"], "up-to-date", "{line}");
    for registry in [&source, &destination] {
        let writes = registry.writes().await;
        assert!(writes.is_empty(), "{writes:#?}");
    }
    is_ours_alone(&stand, &image).await;
}

/// Where signatures of others stay, ours is found by both cosigns all the same.
async fn beside(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    let image = foreign(&stand, &registry).await;
    let host = registry.host();
    let tags_before = signature_tags(&stand, &image).await;
    stand.list(std::slice::from_ref(&image));
    let sign = format!(
        "sign -f list.txt --registry {host} --key {} --report report.json",
        OURS.private()
    );
    stand.run(&sign).await.with(0);
    let signing = &stand.place.json("report.json")["lines"][0]["signing"];
    let mut formats: Vec<&str> = Vec::new();
    for signature in signing["signatures"].as_array().expect("a list") {
        assert_eq!(signature["added"], true, "{signature}");
        formats.push(signature["format"].as_str().expect("a word"));
    }
    formats.sort_unstable();
    assert_eq!(formats, ["bundle", "bundle", "bundle", "tag", "tag", "tag"]);
    for key in [OURS, OTHER] {
        for cosign in BOTH {
            cosign
                .verify_all(&stand, &key.public(), "", &image.names())
                .await;
        }
    }
    // What others wrote is still there, byte for byte.
    for (before, after) in tags_before.iter().zip(signature_tags(&stand, &image).await) {
        assert!(after.starts_with(before.as_slice()), "{after:?}");
        assert_eq!(after.len(), before.len() + 1);
    }
    registry.forget().await;
    stand.run(&sign).await.with(0);
    assert_eq!(
        stand.place.json("report.json")["lines"][0]["outcome"],
        "already-signed"
    );
    let writes = registry.writes().await;
    assert!(writes.is_empty(), "{writes:#?}");
}

/// The layers of the signature tags, as they are written.
async fn signature_tags(stand: &Stand, image: &Made) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for digest in image.digests() {
        let tag = format!("sha256-{}.sig", digest.hex());
        let place = (image.host.as_str(), image.repository.as_str());
        let bytes = stand.get(place, &tag).await.expect("a signature tag");
        let manifest: serde_json::Value = serde_json::from_slice(&bytes).expect("it is JSON");
        let layers = manifest["layers"].as_array().expect("layers");
        all.push(layers.iter().map(ToString::to_string).collect());
    }
    all
}

/// What was mirrored with signatures once is freed of them, and ours stays.
async fn pruned(tools: Tools, kind: Kind) {
    let source = Registry::start(&tools, kind, "source").await;
    let destination = Registry::start(&tools, kind, "destination").await;
    let stand = Stand::new(tools);
    let from = foreign(&stand, &source).await;
    stand.list(std::slice::from_ref(&from));
    let (a, b) = (source.host(), destination.host());
    let mirror = format!("mirror -f list.txt -s {a} -d {b} --report report.json");
    stand.run(&mirror).await.with(0);
    let image = from.at(&b);
    for cosign in BOTH {
        cosign
            .verify_all(&stand, &OTHER.public(), "", &image.names())
            .await;
    }
    let strip = format!("{mirror} --remove-signatures --sign-key {}", OURS.private());
    stand.run(&strip).await.with(0);
    let notes = stand.place.json("report.json")["lines"][0]["notes"].to_string();
    assert!(notes.contains("signatures-present"), "{notes}");
    for key in [OURS, OTHER] {
        for cosign in BOTH {
            cosign
                .verify_all(&stand, &key.public(), "", &image.names())
                .await;
        }
    }
    let prune = format!("{strip} --prune-signatures");
    stand.run(&prune).await.with(0);
    is_ours_alone(&stand, &image).await;
    destination.forget().await;
    stand.run(&prune).await.with(0);
    let writes = destination.writes().await;
    assert!(writes.is_empty(), "{writes:#?}");
    is_ours_alone(&stand, &image).await;
}

/// Of one platform there is an index that nobody signed at the source.
async fn rewritten(tools: Tools, kind: Kind) {
    let source = Registry::start(&tools, kind, "source").await;
    let destination = Registry::start(&tools, kind, "destination").await;
    let stand = Stand::new(tools);
    let from = stand.image(&source, "apps/web:1", TWO).await;
    for cosign in BOTH {
        cosign
            .sign(&stand, OTHER, (Stored::Tag, "-r"), &from.by_tag())
            .await;
    }
    stand.list(std::slice::from_ref(&from));
    let (a, b) = (source.host(), destination.host());
    let mirror = format!("mirror -f list.txt -s {a} -d {b} --arch arm64 --report report.json");
    stand.run(&mirror).await.with(0);
    let line = stand.place.json("report.json")["lines"][0].clone();
    assert_eq!(line["changed"], "selected", "{line}");
    let notes = line["notes"].to_string();
    assert!(notes.contains("signatures-dropped"), "{notes}");
    let digest = line["digest"]
        .as_str()
        .expect("a digest")
        .parse()
        .expect("a digest");
    assert_ne!(digest, from.digest);
    let image = Made {
        digest,
        children: from.children[1..].to_vec(),
        ..from.at(&b)
    };
    for cosign in BOTH {
        let theirs = OTHER.public();
        cosign
            .verify_all(&stand, &theirs, "", &image.children())
            .await;
        cosign
            .verify(&stand, &theirs, "", &image.by_tag())
            .await
            .refused("no signatures found");
    }
    // Signed in the same pass, it has ours; the platform has both.
    let sign = format!(
        "{mirror} --sign-key {} --sign-annotations source={{source}}",
        OURS.private()
    );
    stand.run(&sign).await.with(0);
    let wanted = format!("-a source={}", from.place());
    for cosign in BOTH {
        cosign
            .verify_all(&stand, &OURS.public(), &wanted, &image.names())
            .await;
        cosign
            .verify_all(&stand, &OTHER.public(), "", &image.children())
            .await;
    }
    destination.forget().await;
    stand.run(&sign).await.with(0);
    let writes = destination.writes().await;
    assert!(writes.is_empty(), "{writes:#?}");
}

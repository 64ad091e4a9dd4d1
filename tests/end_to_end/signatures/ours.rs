//! Made here, read by others: the table of formats and readers.

use libtest_mimic::Trial;

use super::others::{BOTH, Cosign, REFERRERS, Skopeo, policy, signed_by};
use super::stand::{Kind, Made, OTHER, OURS, PASSPHRASE, Registry, Stand, TWO, on_both};
use crate::harness::{Tool, Tools};

const COSIGNS: (Kind, &[Tool]) = (Kind::Serve, &[Tool::Cosign2, Tool::Cosign3]);
const SKOPEO: (Kind, &[Tool]) = (Kind::Serve, &[Tool::Skopeo]);

pub(super) fn trials() -> Vec<Trial> {
    [
        on_both("both_cosigns_verify_what_is_signed_here", COSIGNS, by_tag),
        on_both(
            "both_cosigns_verify_referrers_made_here",
            COSIGNS,
            referrers,
        ),
        on_both("cosign_3_verifies_bundles_made_here", COSIGNS, bundles),
        on_both("skopeo_accepts_what_is_signed_here", SKOPEO, skopeo),
        on_both("attestation_manifests_are_signed_too", SKOPEO, attested),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Three platforms, an attestation-like one among them would be no platform for skopeo.
const THREE: &[&str] = &["linux/amd64", "linux/arm64/v8", "linux/s390x"];

/// A registry with two images, which a key that was made here has signed: one with an annotation, one
/// without. And the public key.
async fn signed(tools: Tools, kind: Kind, how: &str) -> (Stand, Registry, [Made; 2], String) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    let make = stand.run("generate-key --prefix site").await;
    make.with(0);
    let mut images = Vec::new();
    for (name, more) in [("apps/web:1", "-a team=web"), ("apps/plain:2.0", "")] {
        let image = stand.image(&registry, name, THREE).await;
        stand.place.write("one.txt", image.by_tag());
        let sign = format!("sign -f one.txt --key site.key {how} {more} --report signed.json");
        stand.run(&sign).await.with(0);
        let signing = &stand.place.json("signed.json")["lines"][0]["signing"];
        let signatures = signing["signatures"].as_array().expect("a list");
        assert_eq!(signatures.len(), 4, "{signing}");
        assert!(
            signatures.iter().all(|one| one["added"] == true),
            "{signing}"
        );
        images.push(image);
    }
    let key = stand.place.path("site.pub").display().to_string();
    let images: Vec<Made> = images;
    (stand, registry, images.try_into().expect("two"), key)
}

/// What each cosign says of all manifests of both images, and of the wrong key and annotation.
async fn table(stand: &Stand, images: &[Made; 2], key: &str, (cosign, flag): (Cosign, &str)) {
    let [annotated, plain] = images;
    let with = |annotation: &str| format!("{flag} {annotation}");
    cosign
        .verify_all(stand, key, flag, &annotated.names())
        .await;
    cosign.verify_all(stand, key, flag, &plain.names()).await;
    let right = with("-a team=web");
    cosign
        .verify_all(stand, key, &right, &annotated.names())
        .await;
    for (image, more, key) in [
        (annotated, with("-a team=other"), key),
        (plain, with("-a team=web"), key),
        (plain, with(""), &OTHER.public()),
    ] {
        for name in [image.by_tag(), image.children()[0].clone()] {
            let said = cosign.verify(stand, key, &more, &name).await;
            assert!(!said.is_good, "{cosign:?} takes {name} with {more}");
        }
    }
}

async fn by_tag(tools: Tools, kind: Kind) {
    let (stand, registry, images, key) = signed(tools, kind, "").await;
    for cosign in BOTH {
        table(&stand, &images, &key, (cosign, "")).await;
    }
    // What cosign prints of it is what was signed: the digest, the identity and the annotation.
    let said = Cosign::Two
        .verify(&stand, &key, "", &images[0].by_tag())
        .await;
    let payload = said.good();
    let digest = images[0].digest.to_string();
    for word in [digest.as_str(), &images[0].by_tag(), r#""team":"web""#] {
        assert!(payload.contains(word), "`{word}`: {payload}");
    }
    // An image that nobody signed is refused.
    let unsigned = stand.image(&registry, "apps/none:1", TWO).await;
    for cosign in BOTH {
        let said = cosign.verify(&stand, &key, "", &unsigned.by_tag()).await;
        said.refused("no signatures found");
    }
}

async fn referrers(tools: Tools, kind: Kind) {
    let how = "--signature-format referrer";
    let (stand, _registry, images, key) = signed(tools, kind, how).await;
    for cosign in BOTH {
        table(&stand, &images, &key, (cosign, REFERRERS)).await;
    }
    // Without its flag cosign 2 looks at tags alone, and finds none.
    let said = Cosign::Two
        .verify(&stand, &key, "", &images[0].by_tag())
        .await;
    said.refused("no signatures found");
}

async fn bundles(tools: Tools, kind: Kind) {
    let how = "--signature-format bundle";
    let (stand, _registry, images, key) = signed(tools, kind, how).await;
    table(&stand, &images, &key, (Cosign::Three, "")).await;
    let said = Cosign::Two
        .verify(&stand, &key, "", &images[0].by_tag())
        .await;
    said.refused("no signatures found");
}

/// Under the default identity, by tag and by digest, one platform and all.
async fn skopeo(tools: Tools, kind: Kind) {
    let (stand, registry, images, key) = signed(tools, kind, "").await;
    let unsigned = stand.image(&registry, "apps/none:1", TWO).await;
    let host = registry.host();
    let accepts = Skopeo::with(&stand, &policy(&host, &signed_by(&key)));
    for image in &images {
        for name in [image.by_tag(), image.by_digest()] {
            for all in ["", "--all"] {
                accepts.pull(all, &name).await.good();
            }
        }
        for name in image.children() {
            accepts.pull("", &name).await.good();
        }
    }
    let none = accepts.pull("--all", &unsigned.by_tag()).await;
    none.refused("A signature was required, but no signature exists");
    // The same image under another tag is another identity.
    let moved = "apps/web:moved";
    let bytes = stand
        .get((&host, "apps/web"), "1")
        .await
        .expect("it is there");
    let document = serde_json::from_slice(&bytes).expect("it is JSON");
    stand
        .manifest((&host, "apps/web"), Some("moved"), &document)
        .await;
    let other = accepts.pull("--all", &format!("{host}/{moved}")).await;
    other.refused("Signature for identity");
    let wrong = policy(&host, &signed_by(&OTHER.public()));
    let wrong = Skopeo::with(&stand, &wrong);
    for all in ["", "--all"] {
        let said = wrong.pull(all, &images[0].by_tag()).await;
        said.refused("cryptographic signature verification failed");
    }
    // Our own passphrase reader and skopeo's agree about the key that was made here.
    assert!(!stand.place.read("site.key").contains(PASSPHRASE));
}

/// skopeo checks every manifest of an index that it copies, whatever it is for.
async fn attested(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    let image = stand.attested(&registry, "apps/built:1").await;
    let key = OURS.public();
    let accepts = Skopeo::with(&stand, &policy(&registry.host(), &signed_by(&key)));
    stand.place.write("one.txt", image.by_tag());
    let sign = format!("sign -f one.txt --key {}", OURS.private());
    let signed = |result: &serde_json::Value| {
        let signatures = result["signing"]["signatures"].as_array();
        signatures.expect("a list").len()
    };
    let results = stand
        .results(&format!("{sign} --subjects platforms"), 0)
        .await;
    assert_eq!(signed(&results[0]), 2, "{results:#?}");
    let validate = format!("validate -f one.txt --key {key}");
    stand.run(&validate).await.with(0);
    stand
        .run(&format!("{validate} --subjects all"))
        .await
        .with(3);
    accepts.pull("", &image.by_tag()).await.good();
    let said = accepts.pull("--all", &image.by_tag()).await;
    said.refused("no signature exists");
    let results = stand.results(&sign, 0).await;
    assert_eq!(signed(&results[0]), 5, "{results:#?}");
    stand
        .run(&format!("{validate} --subjects all"))
        .await
        .with(0);
    accepts.pull("--all", &image.by_tag()).await.good();
}

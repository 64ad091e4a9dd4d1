//! Made by others, read here: each program, each format and each kind of key, under the identity that
//! it needs and not under the others.

use libtest_mimic::Trial;
use serde_json::Value;

use super::others::{BOTH, Cosign, Skopeo, Stored};
use super::stand::{Key, Kind, Made, OTHER, OURS, Registry, Stand, TWO, on_both};
use crate::harness::{Tool, Tools, with_tools};

const COSIGNS: (Kind, &[Tool]) = (Kind::Serve, &[Tool::Cosign2, Tool::Cosign3]);
const SKOPEO: (Kind, &[Tool]) = (Kind::Serve, &[Tool::Skopeo]);
const ALL: &[Tool] = &[Tool::Registry, Tool::Cosign2, Tool::Cosign3, Tool::Skopeo];

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![with_tools(
        "signatures::every_kind_of_key_of_others_is_read",
        ALL,
        every_key,
    )];
    trials.extend(on_both(
        "what_cosign_signed_needs_its_own_identity",
        COSIGNS,
        cosign,
    ));
    trials.extend(on_both(
        "bundles_of_cosign_3_prove_no_identity",
        COSIGNS,
        bundle,
    ));
    trials.extend(on_both(
        "what_skopeo_signed_needs_nothing_more",
        SKOPEO,
        skopeo,
    ));
    trials
}

/// What one image's validation says, and the code that it ends with.
async fn verdict(stand: &Stand, image: &Made, more: &str, code: i32) -> Value {
    stand.place.write("one.txt", image.by_tag());
    let key = OURS.public();
    let validate = format!("validate -f one.txt --key {key} {more}");
    let mut results = stand.results(&validate, code).await;
    results.pop().expect("a result")
}

/// The signature that was accepted for the first manifest.
fn accepted<'a>(result: &'a Value, format: &str) -> &'a Value {
    assert_eq!(result["outcome"], "accepted", "{result}");
    let signature = &result["validation"]["manifests"][0]["signature"];
    assert_eq!(signature["format"], format, "{result}");
    signature
}

/// The words with which it was rejected.
fn rejected(result: &Value) -> String {
    assert_eq!(result["outcome"], "rejected", "{result}");
    assert_eq!(result["failure"]["kind"], "rejected", "{result}");
    result.to_string()
}

async fn cosign(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    for (number, (cosign, stored, format)) in [
        (Cosign::Two, Stored::Tag, "tag"),
        (Cosign::Three, Stored::Tag, "tag"),
        (Cosign::Two, Stored::Referrer, "referrer"),
    ]
    .into_iter()
    .enumerate()
    {
        let image = stand
            .image(&registry, &format!("theirs/app{number}:1"), TWO)
            .await;
        let name = image.by_tag();
        cosign
            .sign(&stand, OURS, (stored, "-a team=web"), &name)
            .await;
        // It names the repository alone, and signs the index alone.
        let index = "--subjects index";
        let wanted = format!("{index} --signed-identity matchRepository -a team=web");
        let result = verdict(&stand, &image, &wanted, 0).await;
        let signature = accepted(&result, format);
        assert_eq!(signature["identity"], image.place(), "{signature}");
        assert_eq!(signature["identity_proven"], true, "{signature}");
        assert_eq!(signature["annotations"]["team"], "web", "{signature}");
        let exact = format!("{index} --exact-repository {}", image.place());
        accepted(&verdict(&stand, &image, &exact, 0).await, format);
        let by_default = rejected(&verdict(&stand, &image, index, 3).await);
        assert!(by_default.contains(&image.place()), "{by_default}");
        let platforms = "--signed-identity matchRepository";
        rejected(&verdict(&stand, &image, platforms, 3).await);
        let other = format!("{index} --signed-identity matchRepository -a team=other");
        rejected(&verdict(&stand, &image, &other, 3).await);

        // With `-r` it signs the platforms too, and both kinds of subjects are there.
        cosign.sign(&stand, OURS, (stored, "-r"), &name).await;
        let all = "--subjects all --signed-identity matchRepository";
        accepted(&verdict(&stand, &image, all, 0).await, format);
        accepted(&verdict(&stand, &image, platforms, 0).await, format);
        let wrong = format!("validate -f one.txt --key {} {all}", OTHER.public());
        stand.run(&wrong).await.with(3);
    }
}

async fn bundle(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    let image = stand.image(&registry, "theirs/bundled:1", TWO).await;
    let name = image.by_tag();
    let how = (Stored::Bundle, "-a team=web");
    Cosign::Three.sign(&stand, OURS, how, &name).await;
    let wanted = "--subjects index --signed-identity digestOnly -a team=web";
    let result = verdict(&stand, &image, wanted, 0).await;
    let signature = accepted(&result, "bundle");
    assert_eq!(signature["identity"], Value::Null, "{signature}");
    assert_eq!(signature["identity_proven"], false, "{signature}");
    assert_eq!(signature["annotations"]["team"], "web", "{signature}");
    // It names nothing, so nothing but `digestOnly` accepts it.
    let repository = image.place();
    for identity in [
        String::new(),
        "--signed-identity matchExact".to_owned(),
        "--signed-identity matchRepository".to_owned(),
        format!("--exact-repository {repository}"),
        format!("--signed-identity exactReference:{name}"),
        format!("--signed-identity remapIdentity:{repository}={repository}"),
    ] {
        let more = format!("--subjects index {identity}");
        rejected(&verdict(&stand, &image, &more, 3).await);
    }
    let other = "--subjects index --signed-identity digestOnly -a team=other";
    rejected(&verdict(&stand, &image, other, 3).await);
}

async fn skopeo(tools: Tools, kind: Kind) {
    let source = Registry::start(&tools, kind, "source").await;
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    let from = stand.image(&source, "apps/web:1", TWO).await;
    let image = from.at(&registry.host());
    let skopeo = Skopeo::trusting(&stand);
    skopeo
        .copy_and_sign(OURS, &from.by_tag(), &image.by_tag())
        .await;
    let result = verdict(&stand, &image, "--subjects all", 0).await;
    let signature = accepted(&result, "tag");
    assert_eq!(signature["identity"], image.by_tag(), "{signature}");
    accepted(&verdict(&stand, &image, "", 0).await, "tag");
    let exact = "--subjects all --signed-identity matchExact";
    accepted(&verdict(&stand, &image, exact, 0).await, "tag");
    for identity in [
        format!("exactReference:{}", image.by_digest()),
        "exactRepository:elsewhere.example/apps/web".to_owned(),
    ] {
        let more = format!("--signed-identity {identity}");
        let said = rejected(&verdict(&stand, &image, &more, 3).await);
        assert!(said.contains(&image.by_tag()), "{said}");
    }
    let wrong = format!("validate -f one.txt --key {}", OTHER.public());
    stand.run(&wrong).await.with(3);
}

/// All kinds that cosign imports. Who signs what over which hash stands in `testdata/sigstore`.
const KEYS: [Key; 6] = [
    Key("p256"),
    Key("p384"),
    Key("p521"),
    Key("rsa2048"),
    Key("rsa4096"),
    Key("ed25519"),
];

async fn every_key(tools: Tools) {
    let registry = Registry::start(&tools, Kind::Debian, "registry").await;
    let stand = Stand::new(tools);
    let skopeo = Skopeo::trusting(&stand);
    let host = registry.host();
    for key in KEYS {
        let mut lists = [Vec::new(), Vec::new()];
        for (name, cosign, stored) in [
            ("two", Cosign::Two, Stored::Tag),
            ("three", Cosign::Three, Stored::Tag),
            ("mode", Cosign::Two, Stored::Referrer),
            ("bundle", Cosign::Three, Stored::Bundle),
        ] {
            let image = stand
                .single(&registry, &format!("{}/{name}:1", key.0))
                .await;
            cosign
                .sign(&stand, key, (stored, ""), &image.by_tag())
                .await;
            lists[usize::from(stored == Stored::Bundle)].push(image.by_tag());
        }
        let image = stand.single(&registry, &format!("{}/plain:1", key.0)).await;
        let to = format!("{host}/{}/skopeo:1", key.0);
        skopeo.copy_and_sign(key, &image.by_tag(), &to).await;
        lists[0].push(to);
        for (list, identity) in lists.iter().zip(["matchRepository", "digestOnly"]) {
            stand.place.write("list.txt", list.join("\n"));
            let validate = format!("validate -f list.txt --signed-identity {identity}");
            let right = format!("{validate} --key {}", key.public());
            let ended = stand.run(&right).await;
            assert_eq!(ended.code(), Some(0), "{}: {ended}", key.0);
            let wrong = format!("{validate} --key {} --report wrong.json", OTHER.public());
            stand.run(&wrong).await.with(3);
            let summary = &stand.place.json("wrong.json")["summary"];
            assert_eq!(summary["rejected"], list.len(), "{summary}");
        }
        // And what such a key signs here, others read.
        let image = stand.single(&registry, &format!("{}/ours:1", key.0)).await;
        stand.place.write("list.txt", image.by_tag());
        let sign = format!("sign -f list.txt --key {}", key.private());
        stand.run(&sign).await.with(0);
        for cosign in BOTH {
            cosign
                .verify_all(&stand, &key.public(), "", &[image.by_tag()])
                .await;
        }
    }
}

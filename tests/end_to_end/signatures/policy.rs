//! The host's `policy.json`, beside skopeo with the same policy and the same images.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::others::{Cosign, Skopeo, Stored, policy, signed_by};
use super::stand::{Key, Kind, Made, OTHER, OURS, Registry, Stand, TWO, on_both};
use crate::harness::{Tool, Tools};
use crate::program::outcomes;

const BOTH: (Kind, &[Tool]) = (Kind::Logged, &[Tool::Cosign2, Tool::Skopeo]);

pub(super) fn trials() -> Vec<Trial> {
    [
        on_both(
            "a_policy_means_here_what_it_means_to_skopeo",
            BOTH,
            beside_skopeo,
        ),
        on_both(
            "a_policy_asks_of_its_own_scopes_alone",
            (Kind::Logged, &[]),
            scopes,
        ),
        on_both(
            "a_policy_and_a_key_must_both_be_met",
            (Kind::Logged, &[]),
            with_key,
        ),
        on_both(
            "the_policy_of_the_user_is_found",
            (Kind::Logged, &[]),
            of_the_user,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Images whose signatures name the tag, the repository alone, another repository; one that is signed
/// in its index alone, one that somebody else signed, one that has a bundle alone, one that nobody signed.
async fn images(stand: &Stand, registry: &Registry) -> Vec<Made> {
    let mut images = Vec::new();
    for name in [
        "tagged", "bare", "moved", "digest", "index", "theirs", "bundled", "none",
    ] {
        let image = stand.image(registry, &format!("apps/{name}:1"), TWO).await;
        stand.place.write("one.txt", image.by_tag());
        let sign = |key: Key, more: &str| format!("sign -f one.txt --key {} {more}", key.private());
        let sign = match name {
            "tagged" => Some(sign(OURS, "")),
            "moved" => Some(sign(OURS, "--sign-identity other.example/{path}:{tag}")),
            "digest" => Some(sign(OURS, "--sign-identity {repository}@{digest}")),
            "index" => Some(sign(OURS, "--subjects index")),
            "theirs" => Some(sign(OTHER, "")),
            // podman and skopeo look at tags alone.
            "bundled" => Some(sign(OURS, "--signature-format bundle")),
            _ => None,
        };
        if let Some(sign) = sign {
            stand.run(&sign).await.with(0);
        }
        if name == "bare" {
            let how = (Stored::Tag, "-r");
            Cosign::Two.sign(stand, OURS, how, &image.by_tag()).await;
        }
        images.push(image);
    }
    images
}

/// Each kind of identity, with values that fit some of the images.
fn identities(host: &str) -> Vec<Value> {
    let repository = |name: &str| format!("{host}/apps/{name}");
    vec![
        Value::Null,
        json!({ "type": "matchExact" }),
        json!({ "type": "matchRepoDigestOrExact" }),
        json!({ "type": "matchRepository" }),
        json!({ "type": "exactReference", "dockerReference": repository("tagged:1") }),
        json!({ "type": "exactReference", "dockerReference": "other.example/apps/moved:1" }),
        json!({ "type": "exactRepository", "dockerRepository": "other.example/apps/moved" }),
        json!({ "type": "exactRepository", "dockerRepository": repository("bare") }),
        json!({ "type": "remapIdentity", "prefix": host, "signedPrefix": "other.example" }),
        json!({
            "type": "remapIdentity",
            "prefix": repository("moved"),
            "signedPrefix": "other.example/apps/moved",
        }),
    ]
}

async fn beside_skopeo(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let destination = Registry::start(&tools, kind, "destination").await;
    let stand = Stand::new(tools);
    let images = images(&stand, &registry).await;
    let (host, to) = (registry.host(), destination.host());
    let mut names = Vec::new();
    let mut list = String::new();
    for image in &images {
        for name in [image.by_tag(), image.by_digest()] {
            list += name.strip_prefix(&format!("{host}/")).expect("its host");
            list.push('\n');
            names.push(name);
        }
    }
    stand.place.write("list.txt", list);

    let mut policies: Vec<Value> = Vec::new();
    for identity in identities(&host) {
        let mut requirement = signed_by(&OURS.public());
        if !identity.is_null() {
            requirement["signedIdentity"] = identity;
        }
        policies.push(policy(&host, &requirement));
    }
    // The key in other clothes, two keys, two requirements of which both must be met, and no signature.
    let pem = std::fs::read(OURS.public()).expect("it reads");
    let data = json!({ "type": "sigstoreSigned", "keyData": STANDARD.encode(&pem) });
    let paths = [OTHER.public(), OURS.public()];
    let paths = json!({ "type": "sigstoreSigned", "keyPaths": paths });
    policies.push(policy(&host, &data));
    policies.push(policy(&host, &paths));
    let mut both = policy(&host, &data);
    let theirs = signed_by(&OTHER.public());
    let list = both["transports"]["docker"][&host].as_array_mut();
    list.expect("a list").push(theirs.clone());
    policies.push(both);
    policies.push(policy(&host, &theirs));
    policies.push(policy(&host, &json!({ "type": "reject" })));
    policies.push(policy(&host, &json!({ "type": "insecureAcceptAnything" })));
    policies.push(json!({ "default": [{ "type": "reject" }] }));

    let (mut accepted, mut rejected) = (0, 0);
    for policy in policies {
        let skopeo = Skopeo::with(&stand, &policy);
        let mut theirs = Vec::new();
        for name in &names {
            theirs.push(skopeo.pull("--all", name).await.is_good);
        }
        stand.place.write("policy.json", policy.to_string());
        let mirror = format!(
            "mirror -f list.txt -s {host} -d {to} --policy policy.json --report report.json"
        );
        let ended = stand.run(&mirror).await;
        let ours = outcomes(&stand.place.json("report.json"));
        for ((name, good), outcome) in names.iter().zip(&theirs).zip(&ours) {
            let is_good = match outcome.as_str() {
                "copied" | "up-to-date" => true,
                "rejected" => false,
                other => panic!("{name} is {other} under {policy}: {ended}"),
            };
            assert_eq!(
                is_good, *good,
                "{name} is {outcome} under {policy}: {ended}"
            );
            *(if is_good {
                &mut accepted
            } else {
                &mut rejected
            }) += 1;
        }
        let code = if theirs.contains(&false) { 3 } else { 0 };
        assert_eq!(ended.code(), Some(code), "{ended}");
    }
    // Neither of the two takes everything, or nothing.
    assert!(accepted > 20 && rejected > 20, "{accepted} and {rejected}");
}

async fn scopes(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let destination = Registry::start(&tools, kind, "destination").await;
    let stand = Stand::new(tools);
    let (host, to) = (registry.host(), destination.host());
    let mut images = Vec::new();
    for name in [
        "open/app:1",
        "lost/app:1",
        "later/app:1",
        "closed/app:1",
        "signed/app:1",
    ] {
        images.push(stand.image(&registry, name, TWO).await);
    }
    stand.place.write("one.txt", images[4].by_tag());
    let sign = format!("sign -f one.txt --key {}", OURS.private());
    stand.run(&sign).await.with(0);
    stand.list(&images);
    let scope = |name: &str| format!("{host}/{name}");
    let later = json!({ "type": "signedBy", "keyType": "GPGKeys", "keyPath": "/none.gpg" });
    let policy = json!({
        "default": [{ "type": "insecureAcceptAnything" }],
        "transports": { "docker": {
            scope("lost"): [signed_by("/nowhere/site.pub")],
            scope("later"): [later],
            scope("closed"): [{ "type": "reject" }],
            scope("signed/app"): [signed_by(&OURS.public())],
        } },
    });
    stand.place.write("policy.json", policy.to_string());
    destination.forget().await;
    let mirror = format!("mirror -f list.txt -s {host} -d {to}");
    let ended = stand
        .run(&format!(
            "{mirror} --policy policy.json --report report.json"
        ))
        .await
        .with(3)
        .saying(&["/nowhere/site.pub", "signedBy", "rejected by policy"]);
    let words = outcomes(&stand.place.json("report.json"));
    assert_eq!(words[0], "copied", "{ended}");
    assert!(
        matches!(words[1].as_str(), "failed" | "not-tried"),
        "{ended}"
    );
    assert!(
        matches!(words[2].as_str(), "failed" | "not-tried"),
        "{ended}"
    );
    assert_eq!(words[3], "rejected", "{ended}");
    assert_eq!(words[4], "copied", "{ended}");
    for write in destination.writes().await {
        let (repository, _, _) = write.parts();
        assert!(matches!(repository, "open/app" | "signed/app"), "{write:?}");
    }
    // What is left to do names all three.
    assert_eq!(stand.place.lines("mirror-failed.txt").len(), 3);
    stand
        .run(&format!("{mirror} --insecure-policy"))
        .await
        .with(0);
}

/// Below the home, without being named; and what is no policy ends the run before it begins.
async fn of_the_user(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let destination = Registry::start(&tools, kind, "destination").await;
    let stand = Stand::new(tools);
    let (host, to) = (registry.host(), destination.host());
    let image = stand.image(&registry, "apps/web:1", TWO).await;
    stand.list(std::slice::from_ref(&image));
    let habit = ".config/containers/policy.json";
    stand
        .place
        .write(habit, r#"{"default":[{"type":"reject"}]}"#);
    let mirror = format!("mirror -f list.txt -s {host} -d {to}");
    let copy = format!("copy {} {to}/apps/web:1", image.by_tag());
    for command in [&mirror, &copy] {
        let ended = stand.run(command).await;
        ended.with(3).saying(&["rejected by policy"]);
        assert_eq!(stand.get((&to, "apps/web"), "1").await, None);
    }
    for (text, words) in [
        (r#"{"default":[]}"#, "must not be empty"),
        (r#"{"default":[{"type":"reject"}],"x":1}"#, "Unknown key"),
        (
            r#"{"default":[{"type":"sigstoreSigned"}]}"#,
            "exactly one of keyPath",
        ),
        ("{", "policy.json"),
    ] {
        stand.place.write(habit, text);
        let ended = stand.run(&mirror).await;
        ended.with(2).saying(&[words, "policy.json"]);
    }
    stand
        .run(&format!("{mirror} --policy none.json"))
        .await
        .with(2)
        .saying(&["none.json"]);
    stand.place.write(
        "open.json",
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    );
    stand
        .run(&format!("{mirror} --policy open.json"))
        .await
        .with(0);
}

async fn with_key(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let destination = Registry::start(&tools, kind, "destination").await;
    let stand = Stand::new(tools);
    let (host, to) = (registry.host(), destination.host());
    let image = stand.image(&registry, "apps/web:1", TWO).await;
    stand.list(std::slice::from_ref(&image));
    let sign = format!("sign -f list.txt --registry {host} --key");
    stand
        .run(&format!("{sign} {}", OURS.private()))
        .await
        .with(0);
    let asks = |key: Key| policy(&host, &signed_by(&key.public())).to_string();
    stand.place.write("ours.json", asks(OURS));
    stand.place.write("other.json", asks(OTHER));
    for (policy, key, code) in [
        ("ours.json", OTHER, 3),
        ("other.json", OURS, 3),
        ("ours.json", OURS, 0),
    ] {
        let mirror = format!("mirror -f list.txt -s {host} -d {to} --policy {policy}");
        let ended = stand
            .run(&format!("{mirror} --verify-key {}", key.public()))
            .await;
        assert_eq!(ended.code(), Some(code), "{ended}");
        let is_there = stand.get((&to, "apps/web"), "1").await.is_some();
        assert_eq!(is_there, code == 0, "{ended}");
    }
    // With both signatures, both are met.
    stand
        .run(&format!("{sign} {}", OTHER.private()))
        .await
        .with(0);
    let both = format!("mirror -f list.txt -s {host} -d {to} --policy other.json --verify-key");
    stand
        .run(&format!("{both} {}", OURS.public()))
        .await
        .with(0);
}

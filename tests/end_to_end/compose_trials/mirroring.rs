//! Copying what services ask to be verified and signed.

use libtest_mimic::Trial;
use serde_json::json;

use super::stage::{SIGNED, Stage, VERIFIED};
use crate::harness::trial;
use crate::registry::{Image, when};
use crate::signatures::others::{policy, signed_by};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("compose::what_services_sign_is_not_pruned", pruned),
        trial(
            "compose::signatures_of_the_source_stay_behind_where_that_is_asked",
            removed,
        ),
        trial("compose::no_tag_is_set_before_its_signature", before),
        trial("compose::a_policy_and_a_service_both_count", both),
        trial(
            "compose::sparse_indexes_go_with_services_that_verify_them",
            sparse,
        ),
        trial("compose::a_tag_that_moved_is_judged_as_it_is_now", moved),
    ]
}

async fn signed_page() -> Stage {
    let both = format!("{VERIFIED}\n{SIGNED}");
    let stage = Stage::set(&[("web", both.as_str()), ("silent", "")]).await;
    stage.run("sign -f compose.yaml").await.with(0);
    stage.forget();
    stage
}

async fn pruned() {
    let stage = signed_page().await;
    let to = stage.destination.host();
    for more in ["", "--sign-key keys/own.key"] {
        let words =
            format!("mirror -f compose.yaml -d {to} --remove-signatures --prune-signatures {more}");
        let ended = stage.run(&words).await.with(2);
        ended.saying(&["`--prune-signatures`", "lines with `sign`"]);
    }
    stage.nothing_was_asked();
}

async fn removed() {
    let stage = signed_page().await;
    let to = stage.destination.host();
    let mirror = format!("mirror -f compose.yaml -d {to} --remove-signatures");
    let copied = stage.outcomes(&mirror, 0).await;
    assert_eq!(copied, ["copied", "copied"]);
    stage.place.write(".env", format!("REGISTRY={to}\n"));
    // Its own is there, and the one of the source is not.
    let exact =
        format!("validate -f compose.yaml --signed-identity exactReference:{to}/web_image:1");
    let found = stage.outcomes(&exact, 0).await;
    assert_eq!(found, ["accepted", "not-verified"]);
    let old = stage.image("web");
    let source = format!("validate -f compose.yaml --signed-identity exactReference:{old}");
    let found = stage.outcomes(&source, 3).await;
    assert_eq!(found, ["rejected", "not-verified"]);
    // `--no-referrers` leaves behind what is attached, and signs all the same.
    stage
        .place
        .write(".env", format!("REGISTRY={}\n", stage.registry.host()));
    let mirror = format!("mirror -f compose.yaml -d {to} --destination-project p --no-referrers");
    let copied = stage.outcomes(&mirror, 0).await;
    assert_eq!(copied, ["copied", "copied"]);
    stage.place.write(".env", format!("REGISTRY={to}/p\n"));
    let found = stage
        .outcomes("validate -f compose.yaml --signed-identity matchExact", 0)
        .await;
    assert_eq!(found, ["accepted", "not-verified"]);
}

async fn before() {
    let stage = signed_page().await;
    let to = stage.destination.host();
    let mirror = format!("mirror -f compose.yaml -d {to}");
    // Whatever is pushed as a signature is refused.
    let refuses = stage
        .destination
        .rule(when("PUT", "/v2/web_image/manifests/sha256-*").respond(403));
    let copied = stage.outcomes(&mirror, 1).await;
    assert_eq!(copied, ["failed", "copied"]);
    assert!(!stage.arrived("web"), "{}", stage.destination.log_text());
    drop(refuses);
    stage.destination.clear_rules();
    let copied = stage.outcomes(&mirror, 0).await;
    assert_eq!(copied, ["copied", "up-to-date"]);
    let writes = stage.destination.writes().into_iter();
    let names: Vec<String> = writes
        .filter(|request| request.status == Some(201))
        .filter_map(|request| {
            let name = request.path.strip_prefix("/v2/web_image/manifests/")?;
            Some(name.split(':').next()?.split('-').next()?.to_owned())
        })
        .collect();
    // The image by its digest, its signature, what stands under its tag.
    let last = names.last().map(String::as_str);
    assert_eq!(last, Some("1"), "{}", stage.destination.log_text());
    assert!(stage.arrived("web"));
}

async fn both() {
    let services = [("web", VERIFIED), ("silent", "")];
    let stage = Stage::set(&services).await;
    stage
        .run("sign -f compose.yaml --key keys/own.key")
        .await
        .with(0);
    let host = stage.registry.host();
    let to = stage.destination.host();
    let mirror = format!("mirror -f compose.yaml -d {to} --policy policy.json");
    let policed = |key: &str| {
        let key = stage.place.path(key).display().to_string();
        policy(&host, &signed_by(&key)).to_string()
    };
    stage.place.write("policy.json", policed("keys/other.pub"));
    let copied = stage.outcomes(&mirror, 3).await;
    assert_eq!(copied, ["rejected", "rejected"]);
    stage.place.write("policy.json", policed("keys/own.pub"));
    let other = VERIFIED.replace("own.pub", "other.pub");
    stage.compose(&[("web", other.as_str()), ("silent", "")]);
    let copied = stage.outcomes(&mirror, 3).await;
    assert_eq!(copied, ["rejected", "copied"]);
    assert!(!stage.arrived("web"));
    let anything = json!({ "default": [{ "type": "insecureAcceptAnything" }] });
    stage.place.write("policy.json", anything.to_string());
    let copied = stage.outcomes(&mirror, 3).await;
    assert_eq!(copied, ["rejected", "up-to-date"]);
    stage.compose(&services);
    stage.place.write("policy.json", policed("keys/own.pub"));
    let copied = stage.outcomes(&mirror, 0).await;
    assert_eq!(copied, ["copied", "up-to-date"]);
}

async fn sparse() {
    let stage = signed_page().await;
    let to = stage.destination.host();
    let mirror = format!("mirror -f compose.yaml -d {to}");
    let judged = stage.outcomes(&format!("{mirror} --index sparse"), 0).await;
    assert_eq!(judged, ["copied", "copied"]);
    stage.forget();
    for more in [
        "--index merge",
        "--index sparse --verify-subjects platforms",
        "--index sparse --verify-key keys/own.pub",
    ] {
        let ended = stage.run(&format!("{mirror} {more}")).await.with(2);
        ended.saying(&["`--index "]);
    }
    stage.nothing_was_asked();
}

async fn moved() {
    let stage = signed_page().await;
    let other = Image::new(&["other"]);
    other.push(&stage.registry, "web_image", Some("1")).await;
    let to = stage.destination.host();
    let mirror = format!("mirror -f compose.yaml -d {to}");
    assert_eq!(stage.outcomes(&mirror, 3).await, ["rejected", "copied"]);
    assert!(!stage.arrived("web"));
}

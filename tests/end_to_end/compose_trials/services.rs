//! The services of nerdctl's page: one that is verified, one that is not, and one whose key was changed.

use libtest_mimic::Trial;
use serde_json::Value;

use super::stage::{SIGNED, Stage, VERIFIED, compose, keys, outcomes};
use crate::harness::{Tool, Tools, trial, with_tools};
use crate::signatures::others::{BOTH, Cosign, Stored};
use crate::signatures::stand::{Kind, OURS, Registry, Stand, TWO};

pub(super) fn trials() -> Vec<Trial> {
    let cosigns = [Tool::Registry, Tool::Cosign2, Tool::Cosign3];
    vec![
        trial(
            "compose::services_are_signed_validated_and_copied_as_each_says",
            ours,
        ),
        trial("compose::an_unverified_service_is_told_to_a_person", told),
        with_tools(
            "compose::what_cosign_signed_is_accepted_by_its_service",
            &cosigns,
            theirs,
        ),
        with_tools(
            "compose::a_bundle_of_cosign_3_needs_a_flag_that_is_named",
            &cosigns,
            bundle,
        ),
    ]
}

/// The key of `svc2` was changed to one that signed nothing.
const CHANGED: &str = "x-nerdctl-verify: cosign\nx-nerdctl-cosign-public-key: keys/other.pub";

fn page(third: &str) -> [(&'static str, String); 3] {
    [
        ("svc0", format!("build: .\n{VERIFIED}\n{SIGNED}")),
        ("svc1", "build: {context: ./svc1}".to_owned()),
        ("svc2", format!("{third}\n{SIGNED}")),
    ]
}

async fn ours() {
    let (page, changed) = (page(VERIFIED), page(CHANGED));
    let stage = Stage::set(&page).await;
    let nothing = stage.outcomes("validate -f compose.yaml", 3).await;
    assert_eq!(nothing, ["rejected", "not-verified", "rejected"]);
    let signed = stage.outcomes("sign -f compose.yaml", 0).await;
    assert_eq!(signed, ["signed", "not-signed", "signed"]);
    let again = stage.outcomes("sign -f compose.yaml", 0).await;
    assert_eq!(again, ["already-signed", "not-signed", "already-signed"]);

    let good = stage.outcomes("validate -f compose.yaml", 0).await;
    assert_eq!(good, ["accepted", "not-verified", "accepted"]);
    stage.compose(&changed);
    let bad = stage.outcomes("validate -f compose.yaml", 3).await;
    assert_eq!(bad, ["accepted", "not-verified", "rejected"]);

    stage.forget();
    let to = stage.destination.host();
    let copied = format!("mirror -f compose.yaml -d {to}");
    let copied = stage.outcomes(&copied, 3).await;
    assert_eq!(copied, ["copied", "copied", "rejected"]);
    let arrived = ["svc0", "svc1", "svc2"].map(|service| stage.arrived(service));
    assert_eq!(arrived, [true, true, false]);
    let touched = stage.destination.requests("*", "/v2/svc2_image/*");
    let is_write = |method: &str| !matches!(method, "GET" | "HEAD");
    let written = touched.iter().any(|one| is_write(one.method.as_str()));
    assert!(!written, "{}", stage.destination.log_text());
    // What was copied was signed for where it is now; what was refused is not there.
    stage.place.write(".env", format!("REGISTRY={to}\n"));
    let there = stage.outcomes("validate -f compose.yaml --signed-identity matchExact", 1);
    assert_eq!(there.await, ["accepted", "not-verified", "failed"]);
}

async fn told() {
    let page = page(VERIFIED);
    let stage = Stage::set(&page).await;
    let signed = stage.run("sign -f compose.yaml --report report.json").await;
    signed.with(0).saying(&[
        &format!("not signed: `{}`", stage.image("svc1")),
        "1 not signed",
    ]);
    assert_eq!(stage.place.json("report.json")["summary"]["not_signed"], 1);
    let ended = stage
        .run("validate -f compose.yaml --report report.json")
        .await;
    ended.with(0).saying(&[
        &format!(
            "compose.yaml:10, service `svc1`: not verified: `{}`",
            stage.image("svc1")
        ),
        "1 not verified",
    ]);
    let report = stage.place.json("report.json");
    assert_eq!(report["lines"][1]["service"], "svc1", "{report}");
    assert_eq!(report["summary"]["not_verified"], 1, "{report}");
    assert_eq!(report["summary"]["accepted"], 2, "{report}");
    assert!(!stage.place.has("validate-failed.txt"));
}

/// A stand with the page's images, the first and the third of them of two platforms or of none.
async fn stand(tools: Tools, is_index: bool) -> (Stand, Registry) {
    let name = format!("registry-{is_index}");
    let registry = Registry::start(&tools, Kind::Debian, &name).await;
    let stand = Stand::new(tools);
    keys(&stand.place);
    stand
        .place
        .write(".env", format!("REGISTRY={}\n", registry.host()));
    for name in ["svc0_image:1", "svc1_image:1", "svc2_image:1"] {
        if is_index {
            stand.image(&registry, name, TWO).await;
        } else {
            stand.single(&registry, name).await;
        }
    }
    (stand, registry)
}

async fn theirs(tools: Tools) {
    for is_index in [false, true] {
        let (stand, registry) = stand(tools.clone(), is_index).await;
        let host = registry.host();
        let (page, changed) = (page(VERIFIED), page(CHANGED));
        for (cosign, stored, service) in [
            (Cosign::Two, Stored::Tag, "svc0"),
            (Cosign::Three, Stored::Tag, "svc2"),
        ] {
            let image = format!("{host}/{service}_image:1");
            cosign.sign(&stand, OURS, (stored, ""), &image).await;
        }
        let validate = "validate -f compose.yaml --output json";
        stand.place.write("compose.yaml", compose(&page));
        let ended = stand.run(validate).await.with(0);
        assert_eq!(outcomes(&ended), ["accepted", "not-verified", "accepted"]);
        stand.place.write("compose.yaml", compose(&changed));
        let ended = stand.run(validate).await.with(3);
        assert_eq!(outcomes(&ended), ["accepted", "not-verified", "rejected"]);
        let name = format!("destination-{is_index}");
        let to = Registry::start(&tools, Kind::Debian, &name).await;
        let mirror = format!("mirror -f compose.yaml -d {} --output json", to.host());
        let ended = stand.run(&mirror).await.with(3);
        assert_eq!(outcomes(&ended), ["copied", "copied", "rejected"]);
        let there = (to.host(), "svc2_image");
        assert!(stand.get((&there.0, there.1), "1").await.is_none());
        // And cosign accepts what was signed here on the way.
        let copied = [format!("{}/svc0_image:1", to.host())];
        for cosign in BOTH {
            cosign.verify_all(&stand, &OURS.public(), "", &copied).await;
        }
    }
}

async fn bundle(tools: Tools) {
    for is_index in [false, true] {
        let (stand, registry) = stand(tools.clone(), is_index).await;
        let image = format!("{}/svc0_image:1", registry.host());
        let how = (Stored::Bundle, "");
        Cosign::Three.sign(&stand, OURS, how, &image).await;
        let only = [("svc0", VERIFIED)];
        stand.place.write("compose.yaml", compose(&only));
        let validate = "validate -f compose.yaml --output json";
        let ended = stand.run(validate).await.with(3);
        let result: &Value = &ended.json_lines()[0];
        let hint = result.to_string();
        assert!(hint.contains("--signed-identity digestOnly"), "{hint}");
        let accepting = format!("{validate} --signed-identity digestOnly");
        let ended = stand.run(&accepting).await.with(0);
        assert_eq!(outcomes(&ended), ["accepted"]);
        let name = format!("destination-{is_index}");
        let to = Registry::start(&tools, Kind::Debian, &name).await;
        let mirror = format!("mirror -f compose.yaml -d {} --output json", to.host());
        let ended = stand.run(&mirror).await.with(3);
        assert_eq!(outcomes(&ended), ["rejected"]);
        assert!(stand.get((&to.host(), "svc0_image"), "1").await.is_none());
        let accepting = format!("{mirror} --signed-identity digestOnly");
        let ended = stand.run(&accepting).await.with(0);
        assert_eq!(outcomes(&ended), ["copied"]);
    }
}

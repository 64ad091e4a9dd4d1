//! The page of Hangar's documentation from which this began: signatures survive a mirror run, name
//! where they were made, and are made anew where that is wanted.

use libtest_mimic::Trial;
use serde_json::Value;

use super::stand::{Kind, Made, OTHER, OURS, Registry, Stand, TWO, on_both};
use crate::harness::Tools;

pub(super) fn trials() -> Vec<Trial> {
    [
        on_both(
            "a_mirrored_image_keeps_the_identity_that_was_signed",
            (Kind::Serve, &[]),
            page,
        ),
        on_both(
            "fifty_mirrored_images_validate_in_one_run",
            (Kind::Serve, &[]),
            fifty,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Signs images where they are.
async fn sign(stand: &Stand, images: &[Made], registry: &str) {
    stand.list(images);
    let key = OURS.private();
    let sign = format!("sign -f list.txt --registry {registry} --key {key} -o sign.failed");
    stand.run(&sign).await.with(0);
}

async fn page(tools: Tools, kind: Kind) {
    let old = Registry::start(&tools, kind, "old").await;
    let new = Registry::start(&tools, kind, "new").await;
    let fresh = Registry::start(&tools, kind, "fresh").await;
    let (from, to, anew) = (old.host(), new.host(), fresh.host());
    let stand = Stand::new(tools);
    let image = stand.image(&old, "library/nginx:1.27", TWO).await;
    sign(&stand, std::slice::from_ref(&image), &from).await;
    let key = OURS.public();
    let validate = format!("validate -f list.txt --key {key}");
    stand
        .run(&format!("{validate} --registry {from}"))
        .await
        .with(0);

    // Signatures travel, and still say where they were made.
    stand
        .run(&format!("mirror -f list.txt -s {from} -d {to}"))
        .await
        .with(0);
    let rejected = stand.run(&format!("{validate} --registry {to}")).await;
    let signed = image.by_tag();
    rejected.with(3).saying(&[&signed, "--exact-repository"]);
    assert!(stand.place.has("validate-failed.txt"));
    let exact = format!("--exact-repository {}", image.place());
    stand
        .run(&format!("{validate} --registry {to} {exact}"))
        .await
        .with(0);
    assert!(!stand.place.has("validate-failed.txt"));
    // Another repository was not signed.
    let other = format!("--exact-repository {from}/library/other");
    stand
        .run(&format!("{validate} --registry {to} {other}"))
        .await
        .with(3);

    // Hangar's words for it.
    for (words, code) in [
        (
            format!("sign validate -f list.txt -k {key} --registry {to} --insecure-ignore-tlog"),
            3,
        ),
        (
            format!(
                "sign validate -f list.txt -k {key} --registry {to} --tls-verify=false -j 4 -y {exact}"
            ),
            0,
        ),
        (
            format!(
                "signv1 validate -f list.txt --sigstore-pubkey {key} --registry {to} -a amd64,arm64 --os linux -o failed.txt"
            ),
            3,
        ),
        (
            format!("signv1 validate -f list.txt -p {key} --registry {to} {exact} -o failed.txt"),
            0,
        ),
    ] {
        let failed = if words.contains("-o") {
            "failed.txt"
        } else {
            "sign-failed.txt"
        };
        stand.run(&words).await.with(code);
        assert_eq!(stand.place.has(failed), code == 3, "{words}");
    }

    // Left behind and made anew, they need nothing more.
    let leave = format!("mirror -f list.txt -s {from} -d {anew} --remove-signatures");
    stand.run(&leave).await.with(0);
    let none = stand.run(&format!("{validate} --registry {anew}")).await;
    none.with(3).saying(&["no signature"]);
    sign(&stand, std::slice::from_ref(&image), &anew).await;
    stand
        .run(&format!("{validate} --registry {anew}"))
        .await
        .with(0);
    stand
        .run(&format!("{validate} --registry {anew} {exact}"))
        .await
        .with(3);
}

async fn fifty(tools: Tools, kind: Kind) {
    let old = Registry::start(&tools, kind, "old").await;
    let new = Registry::start(&tools, kind, "new").await;
    let (from, to) = (old.host(), new.host());
    let stand = Stand::new(tools);
    // Ten repositories of five tags each.
    let names = (0..50).map(|n| format!("team{}/app{}:v{}", n % 2, n % 5, n / 5));
    let images = stand.images(&old, names, TWO).await;
    sign(&stand, &images, &from).await;
    let mut lines = Vec::new();
    for image in &images {
        let (repository, tag) = (&image.repository, &image.tag);
        lines.push(format!(
            "{from}/{repository} {to}/mirrored/{repository} {tag}"
        ));
    }
    stand.place.write("mirror.txt", lines.join("\n"));
    stand.run("mirror -f mirror.txt").await.with(0);
    stand
        .run(&format!("mirror -f list.txt -s {from} -d {to}"))
        .await
        .with(0);

    let key = OURS.public();
    for (list, more, code) in [
        // As an image list, with the old host before the path of each.
        (
            "list.txt",
            format!("--registry {to} --exact-repository {from}/{{path}}"),
            0,
        ),
        ("list.txt", format!("--registry {to}"), 3),
        (
            "list.txt",
            format!("--registry {to} --exact-repository {to}/{{path}}"),
            3,
        ),
        (
            "list.txt",
            format!("--registry {to} --exact-repository {from}/team0/app0"),
            3,
        ),
        // As mirror lines, which say themselves where each image came from.
        ("mirror.txt", "--exact-repository {source}".to_owned(), 0),
        (
            "mirror.txt",
            "--exact-repository {repository}".to_owned(),
            3,
        ),
        ("mirror.txt", String::new(), 3),
    ] {
        let validate = format!("validate -f {list} --key {key} {more} --report report.json");
        let ended = stand.run(&validate).await;
        assert_eq!(ended.code(), Some(code), "{ended}");
        let report = stand.place.json("report.json");
        let accepted = if more.contains("app0") {
            5
        } else if code == 0 {
            50
        } else {
            0
        };
        assert_eq!(report["summary"]["accepted"], accepted, "{more}");
        assert_eq!(report["summary"]["rejected"], 50 - accepted, "{more}");
        each_names_what_was_signed(&report, &images, accepted == 50);
    }
    signed_where_they_went(&stand).await;
}

/// A mirror line means its destination, for signing too.
async fn signed_where_they_went(stand: &Stand) {
    let key = OTHER.private();
    let sign = format!("sign -f mirror.txt --key {key} --jobs 16 -a from={{source}}");
    stand.run(&sign).await.with(0);
    let validate = format!("validate -f mirror.txt --key {}", OTHER.public());
    stand
        .run(&format!("{validate} -a from={{source}}"))
        .await
        .with(0);
    stand
        .run(&format!("{validate} -a from={{repository}}"))
        .await
        .with(3);
}

fn each_names_what_was_signed(report: &Value, images: &[Made], is_accepted: bool) {
    let lines = report["lines"].as_array().expect("lines");
    assert_eq!(lines.len(), images.len());
    for (line, image) in lines.iter().zip(images) {
        for manifest in line["validation"]["manifests"].as_array().expect("a list") {
            if is_accepted {
                assert_eq!(manifest["signature"]["identity"], image.by_tag());
            } else if manifest["verdict"] == "rejected" {
                let reasons = manifest["reasons"].to_string();
                assert!(reasons.contains(&image.by_tag()), "{reasons}");
            }
        }
    }
}

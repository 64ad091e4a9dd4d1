//! Signing again, and signing at once.

use libtest_mimic::Trial;
use tokio::process::Command;

use super::others::{BOTH, Cosign, REFERRERS};
use super::stand::{Kind, Made, OTHER, OURS, PASSPHRASE, Registry, Stand, TWO, on_both};
use crate::harness::{Tool, Tools, with_tools};

/// How often two processes meet.
const TIMES: usize = 20;

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![with_tools(
        "signatures::two_processes_at_once_lose_no_signature",
        &[Tool::Registry, Tool::Cosign2, Tool::Cosign3],
        at_once,
    )];
    trials.extend(on_both(
        "many_names_of_one_image_are_signed_at_once",
        (Kind::Logged, &[]),
        many_names,
    ));
    trials.extend(on_both(
        "signed_again_nothing_is_written",
        (Kind::Logged, &[]),
        again,
    ));
    trials
}

async fn again(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    let host = registry.host();
    let key = OURS.private();
    for format in ["tag", "referrer", "bundle", "tag,referrer,bundle"] {
        let name = format!("apps/{}:1", format.replace(',', "-"));
        let images = [
            stand.image(&registry, &name, TWO).await,
            stand
                .single(
                    &registry,
                    &format!("one-{name}").replace("one-apps/", "one/"),
                )
                .await,
        ];
        stand.list(&images);
        let formats = format.split(',').count();
        let sign = format!(
            "sign -f list.txt --registry {host} --key {key} --signature-format {format} -a team=web"
        );
        let first = stand.results(&sign, 0).await;
        let links = signature_count(&first, true);
        assert_eq!(links, 4 * formats, "{first:#?}");
        assert!(
            first.iter().all(|line| line["outcome"] == "signed"),
            "{first:#?}"
        );
        for _ in 0..2 {
            registry.forget().await;
            let second = stand.results(&sign, 0).await;
            assert!(
                second
                    .iter()
                    .all(|line| line["outcome"] == "already-signed"),
                "{second:#?}"
            );
            assert_eq!(signature_count(&second, false), 4 * formats, "{second:#?}");
            let writes = registry.writes().await;
            assert!(writes.is_empty(), "{writes:#?}");
        }
        // Said to a person as well.
        let said = stand.run(&sign).await.with(0);
        assert!(said.stderr.contains("already signed"), "{said}");
        // Another annotation is another signature.
        let other = stand.results(&format!("{sign} -a stage=prod"), 0).await;
        assert_eq!(signature_count(&other, true), 4 * formats, "{other:#?}");
    }
}

/// How many signatures stand there, of those that were added by this run or were not.
fn signature_count(results: &[serde_json::Value], added: bool) -> usize {
    let signatures = |line: &serde_json::Value| {
        let list = line["signing"]["signatures"].as_array().expect("a list");
        list.iter().filter(|one| one["added"] == added).count()
    };
    results.iter().map(signatures).sum()
}

/// Two processes of one user, which share a home and so the locks below it.
async fn at_once(tools: Tools) {
    let registry = Registry::start(&tools, Kind::Debian, "registry").await;
    let stand = Stand::new(tools);
    for format in ["tag", "referrer", "bundle"] {
        let names = (0..TIMES).map(|n| format!("{format}/app:{n}"));
        let images = stand.images(&registry, names, &["linux/amd64"]).await;
        for image in &images {
            sign_at_once(&stand, image, format).await;
        }
        // Each key by itself finds its signature of index and platform of each image.
        stand.list(&images);
        for key in [OURS, OTHER] {
            let validate = format!(
                "validate -f list.txt --registry {} --key {} --subjects all",
                registry.host(),
                key.public()
            );
            let ended = stand.run(&validate).await;
            assert_eq!(ended.code(), Some(0), "{ended}");
        }
        // So do others, of the last one of them.
        let last = images.last().expect("there is one").names();
        let (cosigns, flag) = match format {
            "tag" => (&BOTH[..], ""),
            // cosign looks at one referrer of each index alone, whichever comes first.
            "referrer" => (&[][..], REFERRERS),
            _ => (&[Cosign::Three][..], ""),
        };
        for cosign in cosigns {
            for key in [OURS, OTHER] {
                cosign.verify_all(&stand, &key.public(), flag, &last).await;
            }
        }
    }
}

async fn sign_at_once(stand: &Stand, image: &Made, format: &str) {
    stand.place.write("one.txt", image.by_tag());
    let start = |key: &str, failed: &str| -> Command {
        let words = format!("sign -f one.txt --key {key} --signature-format {format} -o {failed}");
        let mut command = stand.place.command(&words);
        command.env("COSIGN_PASSWORD", PASSPHRASE);
        command
    };
    let mut ours = start(&OURS.private(), "ours.failed");
    let mut theirs = start(&OTHER.private(), "theirs.failed");
    let (ours, theirs) = tokio::join!(ours.output(), theirs.output());
    for output in [ours, theirs] {
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {said}", image.by_tag());
    }
}

/// Ten tags of one image: all signatures of a manifest are wanted in one place, by one process.
async fn many_names(tools: Tools, kind: Kind) {
    let registry = Registry::start(&tools, kind, "registry").await;
    let stand = Stand::new(tools);
    let host = registry.host();
    let first = stand.image(&registry, "apps/web:v0", TWO).await;
    let place = (host.as_str(), "apps/web");
    let bytes = stand.get(place, "v0").await.expect("it is there");
    let document = serde_json::from_slice(&bytes).expect("it is JSON");
    let mut images = vec![first];
    for n in 1..10 {
        let tag = format!("v{n}");
        stand.manifest(place, Some(&tag), &document).await;
        images.push(Made {
            tag,
            ..images[0].clone()
        });
    }
    stand.list(&images);
    for format in ["tag", "referrer", "bundle"] {
        let sign = format!(
            "sign -f list.txt --registry {host} --key {} --signature-format {format} --jobs 10 \
             -a format={format}",
            OURS.private()
        );
        let results = stand.results(&sign, 0).await;
        assert_eq!(signature_count(&results, true), 30, "{results:#?}");
        let validate = format!(
            "validate -f list.txt --registry {host} --key {} --subjects all -a format={format} \
             --signed-identity matchExact",
            OURS.public()
        );
        let results = stand.results(&validate, 0).await;
        for line in results {
            for manifest in line["validation"]["manifests"].as_array().expect("a list") {
                let signature = &manifest["signature"];
                assert_eq!(signature["identity"], line["image"], "{line}");
                assert_eq!(signature["format"], format, "{line}");
            }
        }
        registry.forget().await;
        let results = stand.results(&sign, 0).await;
        assert_eq!(signature_count(&results, false), 30, "{results:#?}");
        let writes = registry.writes().await;
        assert!(writes.is_empty(), "{writes:#?}");
    }
}

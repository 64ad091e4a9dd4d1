//! A part of an image: which platforms arrive, and what stands under the tag.

use consign::oci::Digest;
use libtest_mimic::Trial;
use serde_json::Value;

use super::distribution::Distribution;
use super::images::Images;
use super::{crane_digest, crane_manifest, run};
use crate::harness::{Tool, Tools, with_tools};
use crate::program::{Workplace, outcomes};
use crate::registry::{Image, Settings, Sparse, TestRegistry, attestation, index};

const TOOLS: &[Tool] = &[Tool::Registry, Tool::Crane, Tool::Python];

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "real::a_rewritten_index_has_the_wanted_platforms",
            TOOLS,
            rewritten,
        ),
        with_tools(
            "real::a_merged_index_keeps_what_the_destination_has",
            TOOLS,
            merged,
        ),
        with_tools(
            "real::a_sparse_index_stays_as_it_is_or_fails_with_a_hint",
            TOOLS,
            sparse,
        ),
        with_tools(
            "real::attestations_follow_their_platform",
            &[Tool::Registry, Tool::Crane],
            attestations,
        ),
        with_tools(
            "real::an_image_without_the_wanted_platform_fails",
            TOOLS,
            absent,
        ),
    ]
}

/// A source with one image of four platforms, a destination, and a place to run in.
struct Stage {
    tools: Tools,
    images: Images,
    source: Distribution,
    destination: Distribution,
    place: Workplace,
}

impl Stage {
    async fn set(tools: Tools) -> Self {
        let source = Distribution::start(&tools, "source").await;
        let destination = Distribution::start(&tools, "destination").await;
        let images = Images::pushed(&tools, "--set four --scale 0.02", &source).await;
        let place = Workplace::new();
        place.write("list.txt", images.list());
        Self {
            tools,
            images,
            source,
            destination,
            place,
        }
    }

    /// Mirrors with these flags, ends with this code, and gives the report of the only line.
    async fn mirror(&self, flags: &str, code: i32) -> Value {
        let (from, to) = (self.source.host(), self.destination.host());
        let run_it = format!("mirror -f list.txt -s {from} -d {to} --report report.json {flags}");
        self.place.run(&run_it).await.with(code);
        self.place.json("report.json")["lines"][0].clone()
    }

    /// The index that crane finds at the destination.
    async fn there(&self) -> Value {
        let name = format!("{}/{}", self.destination.host(), self.images.images[0].name);
        let bytes = crane_manifest(&self.tools, &name).await;
        serde_json::from_slice(&bytes).expect("it is JSON")
    }

    /// Crane finds all that the index at the destination names, intact.
    async fn validate(&self) {
        let name = &self.images.images[0].name;
        let validate = format!("validate --remote {}/{name}", self.destination.host());
        run(&self.tools, Tool::Crane, &validate).await;
    }

    /// The index at the source.
    fn whole(&self) -> Value {
        let bytes = self.images.manifest(&self.images.images[0].index);
        serde_json::from_slice(&bytes).expect("it is JSON")
    }

    /// The index at the source with only these entries, and all else as it was.
    fn part(&self, positions: &[usize]) -> Value {
        let mut part = self.whole();
        let all = part["manifests"].clone();
        part["manifests"] = positions.iter().map(|at| all[*at].clone()).collect();
        part
    }
}

async fn rewritten(tools: Tools) {
    let stage = Stage::set(tools).await;
    let line = stage.mirror("--arch amd64,arm64", 0).await;
    assert_eq!(line["outcome"], "copied");
    assert_eq!(line["changed"], "selected");
    let source = stage.images.images[0].index.to_string();
    assert_eq!(line["source_digest"], source);
    assert_ne!(line["digest"], source);
    assert_eq!(stage.there().await, stage.part(&[0, 1]));
    stage.validate().await;
    let name = format!(
        "{}/{}",
        stage.destination.host(),
        stage.images.images[0].name
    );
    let digest = crane_digest(&stage.tools, &name).await;
    assert_eq!(line["digest"], digest.to_string());

    // It is the same every time, so that the second run has nothing to write.
    stage.destination.forget().await;
    let again = stage.mirror("--platform linux/arm64,linux/amd64", 0).await;
    assert_eq!(again["outcome"], "up-to-date");
    assert_eq!(again["digest"], line["digest"]);
    let log = stage.destination.log().await;
    let reads = log
        .iter()
        .all(|access| access.method == "HEAD" || access.method == "GET");
    assert!(reads, "{log:#?}");

    // What would take a platform away is refused, unless it is wanted.
    let less = stage.mirror("--arch amd64", 1).await;
    assert_eq!(less["failure"]["kind"], "conflict");
    assert!(
        less["failure"].to_string().contains("linux/arm64"),
        "{less}"
    );
    assert_eq!(crane_digest(&stage.tools, &name).await, digest);
    let less = stage.mirror("--arch amd64 --overwrite", 0).await;
    assert_eq!(less["outcome"], "copied");
    assert_eq!(stage.there().await, stage.part(&[0]));
    // All of it is the index of the source again.
    assert_eq!(stage.mirror("", 0).await["digest"], source);
    assert_eq!(stage.there().await, stage.whole());
    stage.validate().await;
}

async fn merged(tools: Tools) {
    let stage = Stage::set(tools).await;
    let line = stage.mirror("--arch s390x --index merge", 0).await;
    assert_eq!(line["outcome"], "copied");
    assert_eq!(stage.there().await, stage.part(&[3]));
    let line = stage.mirror("--arch amd64 --index merge", 0).await;
    assert_eq!(line["changed"], "merged");
    let there = stage.there().await;
    let mut entries = there["manifests"].as_array().expect("entries").clone();
    let wanted = stage.part(&[0, 3]);
    let wanted = wanted["manifests"].as_array().expect("entries");
    assert_eq!(entries.len(), 2, "{there}");
    entries.retain(|entry| !wanted.contains(entry));
    assert!(entries.is_empty(), "{entries:?}");
    stage.validate().await;
    let again = stage.mirror("--arch amd64 --index merge", 0).await;
    assert_eq!(again["outcome"], "up-to-date");
}

async fn sparse(tools: Tools) {
    let stage = Stage::set(tools).await;
    // Distribution looks for the children of an index.
    let line = stage.mirror("--arch arm64 --index sparse", 1).await;
    assert_eq!(line["outcome"], "failed");
    let hint = line["hint"].as_str().expect("a hint");
    assert!(hint.contains("--index rewrite"), "{hint}");

    let lenient = TestRegistry::with(Settings {
        sparse: Sparse::Taken,
        ..Settings::default()
    })
    .await;
    let (from, to) = (stage.source.host(), lenient.host());
    let name = &stage.images.images[0].name;
    let run_it = format!("mirror -f list.txt -s {from} -d {to} --arch arm64 --index sparse");
    stage.place.run(&run_it).await.with(0);
    let digest = crane_digest(&stage.tools, &format!("{to}/{name}")).await;
    assert_eq!(digest, stage.images.images[0].index);
    let platform = format!("--platform linux/arm64/v8 {to}/{name}");
    let arm = crane_digest(&stage.tools, &platform).await;
    assert_eq!(arm, stage.images.images[0].children[1].0);
    let validate = format!("validate --platform linux/arm64/v8 --remote {to}/{name}");
    run(&stage.tools, Tool::Crane, &validate).await;
    let repository = name.split(':').next().expect("a repository");
    let contents = crate::registry::Contents::of(&lenient, repository).await;
    assert_eq!(contents.manifests.len(), 2, "{contents:?}");

    // What is not there cannot be brought on; what is can.
    let onward = format!("mirror -f list.txt -s {to} -d {from} --destination-project onward");
    let ended = stage.place.run(&onward).await.with(1);
    ended.saying(&["the source names something that it does not have"]);
    let onward = format!("{onward} --arch arm64");
    stage.place.run(&onward).await.with(0);
    let there = crane_manifest(
        &stage.tools,
        &format!("{from}/{}", name.replacen("four/", "onward/", 1)),
    )
    .await;
    let there: Value = serde_json::from_slice(&there).expect("it is JSON");
    assert_eq!(there, stage.part(&[1]));
}

async fn attestations(tools: Tools) {
    let source = TestRegistry::start().await;
    let destination = Distribution::start(&tools, "destination").await;
    let amd = Image::new(&["amd"]).push(&source, "team/app", None).await;
    let arm = Image::new(&["arm"]).on("linux/arm64");
    let arm = arm.push(&source, "team/app", None).await;
    let of_amd = attestation(&source, "team/app", &amd).await;
    let of_arm = attestation(&source, "team/app", &arm).await;
    let all = [&amd, &arm, &of_amd, &of_arm];
    index(&source, "team/app", Some("1"), &all).await;
    let place = Workplace::new();
    place.write("list.txt", "team/app:1\n");
    let (from, to) = (source.host(), destination.host());
    let run_it = format!("mirror -f list.txt -s {from} -d {to} --arch arm64");
    place.run(&run_it).await.with(0);
    let bytes = crane_manifest(&tools, &format!("{to}/team/app:1")).await;
    let there: Value = serde_json::from_slice(&bytes).expect("it is JSON");
    let expected = [arm.descriptor(), of_arm.descriptor()];
    assert_eq!(there["manifests"], Value::from(expected.to_vec()));
    let at = format!("{to}/team/app@{}", of_arm.digest);
    assert_eq!(crane_manifest(&tools, &at).await, of_arm.bytes);
    for blob in of_arm.blobs.iter().chain(&arm.blobs) {
        let bytes = run(&tools, Tool::Crane, &format!("blob {to}/team/app@{blob}")).await;
        // A layer is no text; what is one must be the same.
        let same = Digest::sha256(bytes.as_bytes()) == *blob;
        assert!(same || bytes.contains('\u{fffd}'), "{blob}");
    }
    assert!(!destination.stored().contains(&of_amd.digest.to_string()));
    assert!(!destination.stored().contains(&amd.digest.to_string()));
}

async fn absent(tools: Tools) {
    let stage = Stage::set(tools).await;
    let name = &stage.images.images[0].name;
    // Beside the index, one of its images alone under a tag.
    let single = format!(
        "copy --platform linux/s390x {from}/{name} {from}/alone/one:1",
        from = stage.source.host()
    );
    run(&stage.tools, Tool::Crane, &single).await;
    stage
        .place
        .write("list.txt", format!("{name}\nalone/one:1\n"));
    let line = stage.mirror("--arch riscv64", 1).await;
    assert_eq!(line["failure"]["kind"], "not-found");
    assert!(line["failure"].to_string().contains("riscv64"), "{line}");
    let report = stage.place.json("report.json");
    assert_eq!(outcomes(&report), ["failed", "failed"]);
    assert!(stage.destination.stored().is_empty());
    stage.mirror("--arch s390x", 0).await;
    let report = stage.place.json("report.json");
    assert_eq!(outcomes(&report), ["copied", "copied"]);
    let digest = crane_digest(
        &stage.tools,
        &format!("{}/alone/one:1", stage.destination.host()),
    )
    .await;
    assert_eq!(digest, stage.images.images[0].children[3].0);
}

//! How much memory a run takes when registries answer with the largest of everything that is still read, to
//! many images at once: no more than any other run.

use std::fmt::Write as _;

use bytes::Bytes;
use consign::limits::answer::TAG_PAGE_BYTES_MAX;
use consign::limits::image::{DOCUMENT_VALUES_MAX, MANIFEST_BYTES_MAX};
use consign::oci::{Digest, MediaType};
use libtest_mimic::Trial;

use super::memory::{MOST, report};
use crate::harness::trial;
use crate::program::Workplace;
use crate::registry::{TestRegistry, when};

/// As many images as may be under way at once in this trial.
const IMAGES: usize = 64;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "real::memory_of_the_largest_manifests_stays_below_64_mib",
            manifests,
        ),
        trial(
            "real::memory_of_the_largest_lists_stays_below_64_mib",
            lists,
        ),
    ]
}

/// A manifest as large as may be, with as many layers or annotations: `item` makes one of them.
fn manifest(before: &str, after: &str, values: usize, item: impl Fn(usize) -> String) -> Bytes {
    let config = Digest::sha256(b"config");
    let mut text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"a/b","digest":"{config}","size":9}},{before}"#,
        MediaType::OciManifest
    );
    for number in 0..DOCUMENT_VALUES_MAX / values - 20 {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&item(number));
    }
    write!(text, r#"{after},"x":""#).expect("a text takes it");
    text.push_str(&"x".repeat(MANIFEST_BYTES_MAX - text.len() - 2));
    text.push_str(r#""}"#);
    text.into()
}

/// 64 images, from `source` to a registry that has nothing and whose blobs are never done.
async fn mirrored(source: &TestRegistry, what: &str) {
    let destination = TestRegistry::start().await;
    destination.rule(when("*", "*/blobs/*").stall());
    let place = Workplace::new();
    let mut list = String::new();
    for number in 0..IMAGES {
        writeln!(list, "app{number}/app:1").expect("a text takes it");
    }
    place.write("list.txt", list);
    let (from, to) = (source.host(), destination.host());
    let running = place.start(&format!(
        "mirror -f list.txt -s {from} -d {to} -j {IMAGES} --timeout 4s"
    ));
    let (ended, peak) = running.end_and_peak().await;
    ended.failed();
    assert!(peak > 0 && peak < MOST, "{what}: {peak} bytes");
    report(what, peak);
}

async fn manifests() {
    let layer = |number: usize| {
        let digest = Digest::sha256(number.to_string().as_bytes());
        format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":1}}"#)
    };
    let layers = manifest(r#""layers":["#, "]", 4, layer);
    let annotation = |number: usize| format!(r#""{number:x}":"""#);
    let annotations = manifest(r#""layers":[],"annotations":{"#, "}", 1, annotation);
    for (what, document) in [("layers", layers), ("annotations", annotations)] {
        let source = TestRegistry::start().await;
        let large = when("GET", "*/manifests/*").respond(200);
        let large = large.header("content-type", MediaType::OciManifest.as_str());
        source.rule(large.body(document));
        mirrored(&source, &format!("the largest manifests: {what}")).await;
    }
}

/// Lists of tags of signatures, and of referrers.
async fn lists() {
    let source = TestRegistry::start().await;
    let small = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
        MediaType::OciIndex
    );
    let index = when("GET", "*/manifests/*").respond(200);
    let index = index.header("content-type", MediaType::OciIndex.as_str());
    source.rule(index.body(small));
    let mut tags = r#"{"name":"app","tags":["#.to_owned();
    while tags.len() < TAG_PAGE_BYTES_MAX - 200 {
        let digest = Digest::sha256(tags.len().to_string().as_bytes());
        write!(tags, r#""sha256-{}.sig","#, digest.hex()).expect("a text takes it");
    }
    tags.push_str(r#""v1"]}"#);
    source.rule(when("GET", "*/tags/list").respond(200).body(tags));
    let mut annotations = String::new();
    for number in 0..DOCUMENT_VALUES_MAX - 20 {
        write!(annotations, r#""{number:x}":"","#).expect("a text takes it");
    }
    let referrers = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{}","size":9,"annotations":{{{annotations}"z":""}}}}]}}"#,
        MediaType::OciIndex,
        MediaType::OciManifest,
        Digest::sha256(b"referrer"),
    );
    source.rule(when("GET", "*/referrers/*").respond(200).body(referrers));
    mirrored(&source, "the largest lists").await;
}

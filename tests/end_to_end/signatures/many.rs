//! A thousand manifests, with the requests counted.

use std::collections::BTreeMap;

use libtest_mimic::Trial;

use super::stand::{Kind, OURS, Registry, Stand};
use crate::harness::{Tool, Tools, with_tools};

pub(super) fn trials() -> Vec<Trial> {
    vec![with_tools(
        "signatures::a_thousand_manifests_take_two_requests_each",
        &[Tool::Registry],
        thousand,
    )]
}

/// Indexes, of [`PLATFORMS`] each.
const INDEXES: usize = 125;
const PLATFORMS: &[&str] = &[
    "linux/386",
    "linux/amd64",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/arm64",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
];

async fn thousand(tools: Tools) {
    let registry = Registry::start(&tools, Kind::Debian, "registry").await;
    let stand = Stand::new(tools);
    let host = registry.host();
    let names = (0..INDEXES).map(|n| format!("apps/app{}:v{n}", n % 5));
    let images = stand.images(&registry, names, PLATFORMS).await;
    stand.list(&images);
    let sign = format!(
        "sign -f list.txt --registry {host} --key {} --subjects platforms \
         --signature-format tag --jobs 16 \
         --report report.json",
        OURS.private()
    );
    stand.run(&sign).await.with(0);
    assert_eq!(
        stand.place.json("report.json")["summary"]["signed"],
        INDEXES
    );

    registry.forget().await;
    let validate = format!(
        "validate -f list.txt --registry {host} --key {} --arch all --jobs 16 --report report.json",
        OURS.public()
    );
    stand.run(&validate).await.with(0);
    let report = stand.place.json("report.json");
    assert_eq!(report["summary"]["accepted"], INDEXES);
    let mut checked = 0;
    for line in report["lines"].as_array().expect("lines") {
        checked += line["validation"]["manifests"]
            .as_array()
            .expect("a list")
            .len();
    }
    assert_eq!(checked, INDEXES * PLATFORMS.len());
    assert_eq!(checked, 1000);

    // One for each index, two for each manifest: that of its signature, and the payload.
    let log = registry.log().await;
    let mut asked: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for access in &log {
        let (_, kind, name) = access.parts();
        let what = match (kind, name.starts_with("sha256-")) {
            ("manifests", true) => "signature",
            ("manifests", false) => "index",
            ("blobs", _) => "payload",
            _ => "other",
        };
        assert!(what == "other" || access.status == 200, "{access:?}");
        *asked.entry((&access.method, what)).or_default() += 1;
    }
    let expected = BTreeMap::from([
        (("GET", "index"), INDEXES),
        (("GET", "signature"), checked),
        (("GET", "payload"), checked),
    ]);
    assert_eq!(asked, expected);
}

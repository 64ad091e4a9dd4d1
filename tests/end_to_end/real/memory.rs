//! How much memory a run takes: about the same for one line and for ten thousand, for small images
//! and for large ones. `CONSIGN_TEST_HUGE=1` makes the large one 2 GiB, for which 6 GiB of disk are
//! needed; with `CONSIGN_TEST_FIGURES` set, the figures are printed.

use std::env;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use consign::layout::{Layout, RepositoryPath};
use consign::oci::{Digest, MediaType, Tag};
use consign::serve::{self, Access, Registry};
use libtest_mimic::Trial;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::distribution::Distribution;
use super::images::Images;
use crate::harness::{Tool, Tools, trial, with_tools};
use crate::program::Workplace;

const MIB: u64 = 1024 * 1024;
/// What no run may take, whatever it mirrors.
pub(super) const MOST: u64 = 64 * MIB;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "real::memory_of_ten_thousand_lines_stays_below_64_mib",
            lines,
        ),
        trial(
            "real::memory_of_ten_thousand_failures_stays_below_64_mib",
            failures,
        ),
        with_tools(
            "real::memory_of_a_large_blob_stays_below_64_mib",
            &[Tool::Registry, Tool::Python],
            large_blob,
        ),
    ]
}

/// A registry in memory that has a small image under each of these tags; dropped, it ends.
struct Tagged {
    host: String,
    _server: JoinSet<std::io::Result<()>>,
}

impl Tagged {
    async fn start(repository: &str, tags: &[Tag]) -> Self {
        let registry = Registry::new(Layout::in_memory(), Access::Writable).await;
        let registry = registry.expect("memory is writable");
        let path: RepositoryPath = repository.parse().expect("a repository");
        let config = registry.add_blob(&path, "{}".into()).await;
        let config = config.expect("memory takes it");
        for tag in tags {
            let manifest = serde_json::json!({
                "schemaVersion": 2,
                "mediaType": MediaType::OciManifest,
                "config": { "mediaType": MediaType::OciConfig, "digest": config, "size": 2 },
                "layers": [],
                "annotations": { "org.example.tag": tag.as_str() },
            });
            let bytes = Bytes::from(manifest.to_string());
            let added = registry.add_manifest(&path, Some(tag), &MediaType::OciManifest, bytes);
            added.await.expect("memory takes it");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let mut server = JoinSet::new();
        server.spawn(serve::listen(
            listener,
            Arc::new(registry),
            std::future::pending(),
        ));
        Self {
            host,
            _server: server,
        }
    }
}

fn ten_thousand_tags() -> Vec<Tag> {
    let tag = |number| format!("v{number}").parse().expect("a tag");
    (0..10_000).map(tag).collect()
}

fn list_of(tags: &[Tag]) -> String {
    let mut list = String::new();
    for tag in tags {
        writeln!(list, "many/app:{tag}").expect("a text takes it");
    }
    list
}

/// Each line fails with its own reasons, and all of them are written down.
async fn failures() {
    let tags = ten_thousand_tags();
    let source = Tagged::start("many/app", &tags[..1]).await;
    let destination = Tagged::start("many/app", &tags[..1]).await;
    let place = Workplace::new();
    place.write("list.txt", list_of(&tags));
    let (from, to) = (&source.host, &destination.host);
    let more = "--report report.json --log-format json";
    let running = place.start(&format!("mirror -f list.txt -s {from} -d {to} {more}"));
    let (ended, peak) = running.end_and_peak().await;
    ended.with(1);
    assert_eq!(place.json("report.json")["summary"]["failed"], 9_999);
    assert_eq!(place.lines("mirror-failed.txt").len(), 9_999);
    assert!(peak > 0 && peak < MOST, "{peak} bytes");
    report("10,000 failures", peak);
}

async fn lines() {
    let tags = ten_thousand_tags();
    let source = Tagged::start("many/app", &tags).await;
    let destination = Tagged::start("many/app", &tags).await;
    let place = Workplace::new();
    place.write("list.txt", list_of(&tags));
    let (from, to) = (&source.host, &destination.host);
    let more = "--report report.json --digests digests.txt";
    let running = place.start(&format!("mirror -f list.txt -s {from} -d {to} {more}"));
    let (ended, peak) = running.end_and_peak().await;
    ended.with(0);
    assert_eq!(place.json("report.json")["summary"]["up_to_date"], 10_000);
    assert_eq!(place.lines("digests.txt").len(), 10_000);
    assert!(peak > 0 && peak < MOST, "{peak} bytes");
    report("10,000 lines", peak);
}

async fn large_blob(tools: Tools) {
    let is_huge = env::var_os("CONSIGN_TEST_HUGE").is_some_and(|value| value == "1");
    let size = if is_huge { 2048 * MIB } else { 256 * MIB };
    let source = Distribution::start(&tools, "source").await;
    let destination = Distribution::start(&tools, "destination").await;
    // One layer of that size, which cannot be compressed.
    let set = format!("--set large --images 1 --unique 1 --large-bytes {size} --content random");
    let images = Images::pushed(&tools, &set, &source).await;
    let place = Workplace::new();
    place.write("list.txt", images.list());
    let (from, to) = (source.host(), destination.host());
    let run_it = format!("mirror -f list.txt -s {from} -d {to} --report report.json");
    let (ended, peak) = place.start(&run_it).end_and_peak().await;
    ended.with(0);
    let moved = place.json("report.json")["summary"]["tally"]["bytes"].as_u64();
    assert!(moved.is_some_and(|moved| moved > size), "{moved:?}");
    assert!(peak > 0 && peak < MOST, "{peak} bytes");
    report("one large blob", peak);
    let index: Digest = images.images[0].index;
    assert!(destination.stored().contains(&index.to_string()));
    assert_eq!(destination.links(), source.links());
}

/// Says how much it was, where somebody wants to know.
#[expect(clippy::print_stderr, reason = "a figure for people, asked for")]
pub(super) fn report(what: &str, peak: u64) {
    if env::var_os("CONSIGN_TEST_FIGURES").is_some() {
        eprintln!("{what}: {} KiB at most", peak / 1024);
    }
}

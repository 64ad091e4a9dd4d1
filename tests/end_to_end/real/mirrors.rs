//! Whole sets of images: they arrive as they were, with no request too many.

use std::collections::{BTreeMap, BTreeSet};

use consign::oci::Digest;
use libtest_mimic::Trial;

use super::distribution::{Access, Distribution};
use super::images::Images;
use super::{crane_manifest, run};
use crate::harness::{Tool, Tools, with_tools};
use crate::program::{Workplace, outcomes};

const ALL: &[Tool] = &[Tool::Registry, Tool::Crane, Tool::Python];
const OURS: &[Tool] = &[Tool::Registry, Tool::Python];

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "real::forty_multi_arch_images_arrive_bit_for_bit",
            ALL,
            forty_images,
        ),
        with_tools("real::run_twice_write_once", OURS, run_twice),
        with_tools(
            "real::a_fresh_copy_takes_95_requests",
            OURS,
            a_fresh_copy_takes_95_requests,
        ),
        with_tools(
            "real::two_runs_at_once_do_not_disturb_each_other",
            OURS,
            two_at_once,
        ),
        with_tools(
            "real::within_one_registry_no_blob_is_moved",
            OURS,
            within_one_registry,
        ),
    ]
}

async fn forty_images(tools: Tools) {
    let source = Distribution::start(&tools, "source").await;
    let destination = Distribution::start(&tools, "destination").await;
    // Groups of ten images share layers, over ten repositories.
    let set = "--set big --images 40 --scale 0.0005 --shared 2 --unique 1";
    let images = Images::pushed(&tools, set, &source).await;
    assert_eq!(images.images.len(), 40);

    let place = Workplace::new();
    place.write("list.txt", images.list());
    let (from, to) = (source.host(), destination.host());
    let run_it = format!("mirror -f list.txt -s {from} -d {to} --report report.json");
    place.run(&run_it).await.with(0);
    assert!(!place.has("mirror-failed.txt"));
    let report = place.json("report.json");
    assert_eq!(report["summary"]["copied"], 40);
    let log = destination.log().await;
    each_blob_moves_once(&images, &source.log().await, &log);
    children_come_before_parents(&images, &log);

    // Both sides hold the same bytes under the same names, and the destination nothing else.
    assert_eq!(destination.stored(), images.everything());
    assert_eq!(source.stored(), images.everything());
    assert_eq!(destination.links(), source.links());
    // Another tool reads the same, and finds everything that the manifests name.
    for image in &images.images {
        let name = &image.name;
        let bytes = crane_manifest(&tools, &format!("{from}/{name}")).await;
        assert_eq!(Digest::sha256(&bytes), image.index, "{name}");
        let there = crane_manifest(&tools, &format!("{to}/{name}")).await;
        assert_eq!(there, bytes, "{name}");
    }
    for image in images.images.iter().step_by(8) {
        let validate = format!("validate --remote {to}/{}", image.name);
        run(&tools, Tool::Crane, &validate).await;
    }
}

fn each_blob_moves_once(images: &Images, source: &[Access], destination: &[Access]) {
    let mut reads: BTreeMap<&str, u32> = BTreeMap::new();
    for access in source {
        if let ("GET", (_, "blobs", digest)) = (access.method.as_str(), access.parts()) {
            *reads.entry(digest).or_default() += 1;
        }
    }
    let blobs = images.blobs();
    let read: BTreeSet<String> = reads.keys().map(ToString::to_string).collect();
    assert_eq!(read, blobs);
    let twice: Vec<_> = reads.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "read more than once: {twice:?}");

    let mut uploads: BTreeMap<String, u32> = BTreeMap::new();
    for access in destination {
        if access.method == "PUT"
            && let Some((_, digest)) = access.blob_brought()
        {
            *uploads.entry(digest).or_default() += 1;
        }
    }
    assert_eq!(uploads.keys().cloned().collect::<BTreeSet<_>>(), blobs);
    let twice: Vec<_> = uploads.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "uploaded more than once: {twice:?}");
}

/// In the order of the log, a manifest comes when its repository has all that it names.
fn children_come_before_parents(images: &Images, log: &[Access]) {
    let mut there: BTreeSet<(String, String)> = BTreeSet::new();
    let mut tags = 0;
    for access in log {
        there.extend(access.blob_brought());
        let (repository, "manifests", name) = access.parts() else {
            continue;
        };
        if access.method != "PUT" {
            continue;
        }
        assert_eq!(access.status, 201, "{access:?}");
        let has = |digest: &str| there.contains(&(repository.to_owned(), digest.to_owned()));
        let image = images
            .images
            .iter()
            .find(|image| image.name.starts_with(&format!("{repository}:")))
            .expect("an image of the set");
        if let Some((_, blobs)) = image
            .children
            .iter()
            .find(|(digest, _)| digest.to_string() == name)
        {
            assert!(blobs.iter().all(|blob| has(blob)), "{name} came too early");
            there.insert((repository.to_owned(), name.to_owned()));
        } else {
            let mut children = image.children.iter();
            assert!(
                children.all(|(digest, _)| has(&digest.to_string())),
                "{repository}:{name} came too early"
            );
            tags += 1;
        }
    }
    assert_eq!(tags, images.images.len());
}

async fn run_twice(tools: Tools) {
    let source = Distribution::start(&tools, "source").await;
    let destination = Distribution::start(&tools, "destination").await;
    let set = "--set tiny --images 12 --group 4 --scale 0.1";
    let images = Images::pushed(&tools, set, &source).await;
    let place = Workplace::new();
    place.write("list.txt", images.list());
    let (from, to) = (source.host(), destination.host());
    let run_it = format!("mirror -f list.txt -s {from} -d {to} --report report.json");
    place.run(&run_it).await.with(0);
    let before = destination.links();
    let names: BTreeSet<&str> = images.images.iter().map(|i| i.name.as_str()).collect();
    let repositories: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| name.split(':').next())
        .collect();
    for (flags, has_closure) in [
        ("", true),
        (" --jobs 1", true),
        (" --no-referrers", false),
        (" --no-referrers --jobs 1", false),
    ] {
        source.forget().await;
        destination.forget().await;
        place.run(&format!("{run_it}{flags}")).await.with(0);
        assert_eq!(
            outcomes(&place.json("report.json")),
            ["up-to-date"].repeat(12)
        );
        // One HEAD for each image at each side. For what may be attached: the tags of each repository of
        // the source, and whether there is a referrers API for it.
        for registry in [&source, &destination] {
            let (heads, others): (Vec<_>, Vec<_>) = registry
                .log()
                .await
                .into_iter()
                .partition(|access| access.method == "HEAD");
            let asked: BTreeSet<String> = heads
                .iter()
                .map(Access::parts)
                .map(|(repository, _, tag)| format!("{repository}:{tag}"))
                .collect();
            assert_eq!(heads.len(), 12, "{heads:#?}");
            assert!(asked.iter().eq(names.iter()), "{asked:?}");
            let is_asked = has_closure && registry.host() == source.host();
            let expected = if is_asked { 2 * repositories.len() } else { 0 };
            assert_eq!(others.len(), expected, "{others:#?}");
        }
    }
    assert_eq!(destination.links(), before);
    assert_eq!(destination.stored(), images.everything());
}

async fn a_fresh_copy_takes_95_requests(tools: Tools) {
    let source = Distribution::start(&tools, "source").await;
    let destination = Distribution::start(&tools, "destination").await;
    let images = Images::pushed(&tools, "--set four --scale 0.1", &source).await;
    assert_eq!(images.blobs().len(), 28);
    let image = &images.images[0];
    let place = Workplace::new();
    place.write("list.txt", images.list());
    place.write("pinned.txt", format!("{}@{}\n", image.name, image.index));
    let run_it = |what: &str| {
        let (from, to) = (source.host(), destination.host());
        format!("mirror -f {what} -s {from} -d {to}")
    };
    // Source: the index, 4 manifests and 28 blobs. Destination: whether the tag is there, for each
    // blob a session and an upload, and 5 manifests. For what may be attached, at the source: its tags,
    // and whether it has the referrers API.
    let closure = 2;
    for (what, at_source, at_destination) in [
        ("list.txt --no-referrers", 33, 62),
        ("list.txt --no-referrers", 1, 1),
        ("pinned.txt --no-referrers", 0, 1),
        ("list.txt", 1 + closure, 1),
        ("pinned.txt", closure, 1),
        ("list.txt --destination-project fresh", 33 + closure, 62),
    ] {
        source.forget().await;
        destination.forget().await;
        place.run(&run_it(what)).await.with(0);
        let log = source.log().await;
        assert_eq!(log.len(), at_source, "{log:#?}");
        let log = destination.log().await;
        assert_eq!(log.len(), at_destination, "{log:#?}");
    }
}

async fn within_one_registry(tools: Tools) {
    let registry = Distribution::start(&tools, "registry").await;
    let set = "--set tiny --images 8 --group 4 --scale 0.1";
    let images = Images::pushed(&tools, set, &registry).await;
    let before = registry.links();
    let place = Workplace::new();
    place.write("list.txt", images.list());
    let host = registry.host();
    let run_it = format!("mirror -f list.txt -s {host} -d {host} --destination-project copy");
    place
        .run(&format!("{run_it} --report report.json"))
        .await
        .with(0);
    let tally = &place.json("report.json")["summary"]["tally"];
    assert_eq!(tally["bytes"], 0, "{tally}");
    for access in registry.log().await {
        let (_, kind, _) = access.parts();
        let is_blob = kind.starts_with("blobs");
        let is_mount = access.method == "POST" && access.parameter("mount").is_some();
        assert!(!is_blob || is_mount && access.status == 201, "{access:?}");
    }
    assert_eq!(registry.stored(), images.everything());
    let all: BTreeMap<String, String> = before
        .iter()
        .map(|(path, link)| (path.replacen("tiny/", "copy/", 1), link.clone()))
        .chain(before.clone())
        .collect();
    assert_eq!(registry.links(), all);
}

/// Distribution 2.8 takes a blob for missing while another push of it is written down.
async fn two_at_once(tools: Tools) {
    let source = Distribution::start(&tools, "source").await;
    let destination = Distribution::start(&tools, "destination").await;
    let set = "--set tiny --images 40 --group 20 --scale 0.1";
    let images = Images::pushed(&tools, set, &source).await;
    let (from, to) = (source.host(), destination.host());
    let run_it = format!("mirror -f list.txt -s {from} -d {to}");
    let places = [Workplace::new(), Workplace::new()];
    let [one, other] = places.each_ref().map(|place| {
        place.write("list.txt", images.list());
        place.start(&run_it)
    });
    for running in [one, other] {
        running.end().await.with(0);
    }
    assert_eq!(destination.stored(), images.everything());
    assert_eq!(destination.links(), source.links());
}

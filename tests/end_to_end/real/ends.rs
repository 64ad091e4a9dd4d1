//! Runs that do not come to their end: killed, interrupted, terminated.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::Value;

use super::distribution::Distribution;
use super::images::Images;
use super::run;
use crate::harness::{Tool, Tools, with_tools};
use crate::program::{Workplace, outcomes, until};
use crate::relay::{Relay, Way};

const TOOLS: &[Tool] = &[Tool::Registry, Tool::Crane, Tool::Python];

/// Some 20 images of 60 KiB each.
const SET: &str =
    "--set big --images 20 --group 5 --scale 0.001 --shared 1 --unique 1 --platforms 2";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools("real::sigkill_leaves_a_list_of_what_is_left", TOOLS, killed),
        with_tools(
            "real::sigint_ends_within_two_seconds_and_lists_what_is_not_done",
            TOOLS,
            |tools| ended(tools, "INT", 130, "interrupted"),
        ),
        with_tools(
            "real::sigterm_ends_within_two_seconds_and_lists_what_is_not_done",
            TOOLS,
            |tools| ended(tools, "TERM", 143, "terminated"),
        ),
        with_tools(
            "real::sigint_before_the_first_answer_lists_all",
            &[Tool::Registry],
            unanswered,
        ),
    ]
}

/// The tags of a registry, as crane sees them: `REPOSITORY:TAG`.
async fn tags(tools: &Tools, host: &str) -> BTreeSet<String> {
    let mut tags = BTreeSet::new();
    let catalog = run(tools, Tool::Crane, &format!("catalog {host}")).await;
    for repository in catalog.lines() {
        // A repository has blobs before it has tags; distribution says then that it does not know it.
        let mut ls = tools.command(Tool::Crane);
        ls.args(["ls", &format!("{host}/{repository}")]);
        let listed = ls.output().await.expect("it runs");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        tags.extend(listed.lines().map(|tag| format!("{repository}:{tag}")));
    }
    tags
}

/// Whether a registry has, in the repository of the image, all that the image consists of.
fn is_complete(images: &Images, name: &str, destination: &Distribution) -> bool {
    let links = destination.links();
    let image = images.images.iter().find(|image| image.name == name);
    let image = image.expect("an image of the set");
    let (repository, tag) = name.split_once(':').expect("a tag");
    let has = |path: String, digest: &str| {
        let link = links.get(&format!("{repository}/{path}/link"));
        link.is_some_and(|link| link == digest)
    };
    let path = |digest: &str| digest.replace(':', "/");
    let index = image.index.to_string();
    has(format!("_manifests/tags/{tag}/current"), &index)
        && image.children.iter().all(|(digest, blobs)| {
            let digest = digest.to_string();
            has(format!("_manifests/revisions/{}", path(&digest)), &digest)
                && blobs
                    .iter()
                    .all(|blob| has(format!("_layers/{}", path(blob)), blob))
        })
}

async fn killed(tools: Tools) {
    let source = Distribution::start(&tools, "source").await;
    let destination = Distribution::start(&tools, "destination").await;
    let images = Images::pushed(&tools, SET, &source).await;
    let all: BTreeSet<String> = images.images.iter().map(|i| i.name.clone()).collect();
    let place = Workplace::new();
    place.write("list.txt", images.list());
    let mut list = "list.txt";
    // Each run goes on where the one before was caught: while it reads, while it writes, while it
    // waits for the answers to what it wrote.
    for (side, way, bytes) in [
        (&source, Way::Out, 300_000),
        (&destination, Way::In, 300_000),
        (&destination, Way::Out, 30_000),
    ] {
        let gate = Relay::start(side.host()).hold(way, bytes);
        let (from, to) = if side.host() == source.host() {
            (gate.host(), destination.host().to_owned())
        } else {
            (source.host().to_owned(), gate.host())
        };
        let before = place.lines(list).len();
        let running = place.start(&format!("mirror -f {list} -s {from} -d {to} -j 3"));
        list = "mirror-failed.txt";
        gate.held(way).await;
        // The list is written once a second: caught when some of it is done.
        until("a shorter list", || {
            (place.lines(list).len() < before).then_some(())
        })
        .await;
        running.signal("KILL").await;
        assert_eq!(running.end().await.code(), None);

        let left: BTreeSet<String> = place.lines(list).into_iter().collect();
        let to = destination.host();
        let tags = tags(&tools, to).await;
        for name in &tags {
            assert!(is_complete(&images, name, &destination), "{name}");
            let validate = format!("validate --remote {to}/{name}");
            run(&tools, Tool::Crane, &validate).await;
        }
        let missing: BTreeSet<String> = all.difference(&tags).cloned().collect();
        assert!(missing.is_subset(&left), "{missing:?} are not in {left:?}");
        assert!(!missing.is_empty(), "it was caught too late");
    }
    let (from, to) = (source.host(), destination.host());
    let run_it = format!("mirror -f mirror-failed.txt -s {from} -d {to}");
    place.run(&run_it).await.with(0);
    assert!(!place.has("mirror-failed.txt"));
    assert_eq!(tags(&tools, to).await, all);
    assert_eq!(destination.stored(), images.everything());
    assert_eq!(destination.links(), source.links());
}

/// Waits until the program asks the registries for nothing more: all that it has at hand is done,
/// and the rest is held by the gate.
async fn quiet(registries: [&Distribution; 2]) {
    const ENOUGH: Duration = Duration::from_millis(600);
    let mut seen = (Instant::now(), 0);
    until("quiet registries", || {
        let length = registries.iter().map(|one| one.log_length()).sum();
        if length != seen.1 {
            seen = (Instant::now(), length);
        }
        (seen.0.elapsed() > ENOUGH).then_some(())
    })
    .await;
}

async fn ended(tools: Tools, signal: &'static str, code: i32, end: &'static str) {
    let source = Distribution::start(&tools, "source").await;
    let destination = Distribution::start(&tools, "destination").await;
    let images = Images::pushed(&tools, SET, &source).await;
    let all: Vec<String> = images.images.iter().map(|i| i.name.clone()).collect();
    let place = Workplace::new();
    place.write("list.txt", images.list());
    let gate = Relay::start(source.host()).hold(Way::Out, 500_000);
    let (from, to) = (gate.host(), destination.host());
    let more = "-j 3 --report report.json --digests digests.txt";
    let running = place.start(&format!("mirror -f list.txt -s {from} -d {to} {more}"));
    gate.held(Way::Out).await;
    quiet([&source, &destination]).await;

    let asked = Instant::now();
    running.signal(signal).await;
    let ended = running.end().await;
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}: {ended}");
    let ended = ended.with(code);

    let report = place.json("report.json");
    assert_eq!(report["end"], end);
    assert_eq!(report["exit_code"], code);
    let lines = report["lines"].as_array().expect("lines");
    let of = |outcomes: &[&str]| -> Vec<String> {
        let fits = |line: &&Value| outcomes.iter().any(|word| line["outcome"] == *word);
        let text = |line: &Value| line["text"].as_str().expect("a text").to_owned();
        lines.iter().filter(fits).map(text).collect()
    };
    let copied = of(&["copied"]);
    assert!(!copied.is_empty() && copied.len() < all.len(), "{ended}");
    let left = of(&["failed", "not-tried"]);
    // Exactly what is not done, in the order of the list; and what is done is there.
    let not_done: Vec<String> = all
        .iter()
        .filter(|name| !copied.contains(name))
        .cloned()
        .collect();
    assert_eq!(left, not_done);
    assert_eq!(place.lines("mirror-failed.txt"), not_done);
    let there = tags(&tools, to).await;
    assert_eq!(there, copied.iter().cloned().collect(), "{ended}");
    let digests: Vec<String> = images
        .images
        .iter()
        .filter(|image| copied.contains(&image.name))
        .map(|image| format!("{to}/{}@{}", image.name, image.index))
        .collect();
    assert_eq!(place.lines("digests.txt"), digests);
    for name in &there {
        assert!(is_complete(&images, name, &destination), "{name}");
    }

    // Once the gate is open, the same command does the rest and only that.
    gate.open();
    let again = format!("mirror -f mirror-failed.txt -s {from} -d {to} --report report.json");
    place.run(&again).await.with(0);
    let summary = &place.json("report.json")["summary"];
    assert_eq!(summary["copied"], not_done.len());
    assert!(!place.has("mirror-failed.txt"));
    assert_eq!(tags(&tools, to).await, all.into_iter().collect());
    assert_eq!(destination.stored(), images.everything());
}

async fn unanswered(tools: Tools) {
    let registry = Distribution::start(&tools, "registry").await;
    let place = Workplace::new();
    place.write("list.txt", "team/app:1\nteam/app:2\n");
    let gate = Relay::start(registry.host()).hold(Way::Out, 0);
    let (from, to) = (gate.host(), registry.host());
    let running = place.start(&format!(
        "mirror -f list.txt -s {from} -d {to} --report report.json"
    ));
    gate.held(Way::Out).await;
    let asked = Instant::now();
    running.signal("INT").await;
    let ended = running.end().await.with(130);
    assert!(asked.elapsed() < Duration::from_secs(2), "{ended}");
    assert_eq!(place.lines("mirror-failed.txt"), place.lines("list.txt"));
    let report = place.json("report.json");
    assert_eq!(report["end"], "interrupted");
    assert_eq!(outcomes(&report), ["not-tried", "not-tried"]);
}

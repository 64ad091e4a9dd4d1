//! Registries that restart, runs that are interrupted or killed, and runs that meet.

use std::collections::BTreeSet;

use libtest_mimic::Trial;

use super::stage::{Stage, put_of};
use super::whole::always_whole;
use crate::harness::{Tool, Tools, trial, with_tools};
use crate::program::Workplace;
use crate::real::distribution::Distribution;
use crate::registry::{Image, Logged, Referrers, Settings, index};
use crate::relay::{Relay, Way};
use crate::signatures::stand::{Key, OTHER, OURS, PASSPHRASE};

const MIB: u64 = 1024 * 1024;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        with_tools(
            "endure::fault_13_the_destination_restarts_in_the_middle_of_an_upload",
            &[Tool::Registry],
            destination_restarts,
        ),
        with_tools(
            "endure::fault_13_the_source_restarts_in_the_middle_of_a_download",
            &[Tool::Registry],
            source_restarts,
        ),
        trial("endure::fault_13_a_session_that_is_gone", session_gone),
        trial("endure::fault_15_sigint", || {
            interrupted("INT", 130, "interrupted")
        }),
        trial("endure::fault_15_sigterm", || {
            interrupted("TERM", 143, "terminated")
        }),
        trial("endure::fault_16_sigkill_and_another_run", killed),
        trial("endure::fault_17_two_runs_at_once_from_one_home", one_home),
        trial(
            "endure::fault_17_two_runs_at_once_from_two_homes",
            two_homes,
        ),
    ]
}

/// Killed and started again on its port and its storage, with half of a large blob under way.
async fn destination_restarts(tools: Tools) {
    let mut stage = Stage::plain().await;
    let image = stage.image("t/app:1", 24 * 1024 * 1024).await;
    let mut destination = Distribution::start(&tools, "destination").await;
    let relay = Relay::start(destination.host()).hold(Way::In, 10 * MIB);
    let running = stage.start(&format!("-d {}", relay.host()));
    relay.held(Way::In).await;
    destination.kill().await;
    destination.restart().await;
    relay.open();
    running.end().await.with(0);
    let stored = destination.stored();
    assert_eq!(stored.len(), 3);
    assert!(stored.contains(&image.digest.to_string()));
    // Another run has nothing to do.
    let again = format!("-d {}", destination.host());
    stage.mirror(&again).await.with(0);
    stage.ended_with(&[("t/app:1", "up-to-date")]);
}

/// The same of a source: what came is not read again.
async fn source_restarts(tools: Tools) {
    let mut stage = Stage::plain().await;
    let image = stage.image("t/app:1", 24 * 1024 * 1024).await;
    let mut source = Distribution::start(&tools, "source").await;
    stage.mirror(&format!("-d {}", source.host())).await.with(0);
    source.forget().await;
    let relay = Relay::start(source.host()).hold(Way::Out, 10 * MIB);
    let running = stage.start(&format!("-s {}", relay.host()));
    relay.held(Way::Out).await;
    source.kill().await;
    source.restart().await;
    relay.open();
    running.end().await.with(0);
    stage.same("t/app").await;
    let log = source.log().await;
    let layer = format!("/v2/t/app/blobs/{}", image.blobs[1]);
    let last = log.iter().rfind(|line| line.path == layer);
    assert_eq!(last.map(|line| line.status), Some(206), "{log:#?}");
    // One upload took all of it.
    assert_eq!(stage.destination.count("PUT", &put_of(&image.blobs[1])), 1);
}

/// The registry has forgotten the session: another one is opened, and everything is sent anew.
async fn session_gone() {
    const SIZE: usize = 300_000;
    let mut stage = Stage::plain().await;
    let image = stage.image("t/app:1", SIZE).await;
    let put = put_of(&image.blobs[1]);
    stage.destination.script(&format!(
        "
        PUT  {put}  1  404 error BLOB_UPLOAD_UNKNOWN
        PUT  {put}  2  hang up
        PUT  {put}  3  404 error BLOB_UPLOAD_UNKNOWN
        "
    ));
    stage.mirror("").await.with(0);
    stage.destination.asked(&format!(
        "
        PUT  {put}  1  404
        PUT  {put}  1  nothing
        PUT  {put}  1  404
        PUT  {put}  1  201 received {SIZE}
        *    *      *
        "
    ));
    let puts = stage.destination.requests("PUT", &put);
    let sessions: BTreeSet<&str> = puts.iter().map(|put| put.path.as_str()).collect();
    assert_eq!(sessions.len(), 4, "{}", stage.logs());
    stage.same("t/app").await;
}

/// Some indexes of two images each, which have a layer in common.
async fn indexes(stage: &mut Stage, count: usize) {
    for n in 0..count {
        let repository = format!("t/app{n}");
        let mut children = Vec::new();
        for platform in ["linux/amd64", "linux/arm64"] {
            let own = format!("{repository} {platform}").repeat(500);
            let image =
                Image::of_blobs([format!("first of {repository}").repeat(500), own]).on(platform);
            children.push(image.push(&stage.source, &repository, None).await);
        }
        let children: Vec<_> = children.iter().collect();
        index(&stage.source, &repository, Some("1"), &children).await;
        stage.listed(&format!("{repository}:1"));
    }
}

async fn interrupted(signal: &'static str, code: i32, end: &'static str) {
    const COUNT: usize = 6;
    let mut stage = Stage::plain().await;
    indexes(&mut stage, COUNT).await;
    // Three are let through; of the others the last blob never comes.
    let stalls: Vec<String> = (3..COUNT)
        .map(|n| format!("GET /v2/t/app{n}/blobs/* 3- stall"))
        .collect();
    let stalls = stage.source.script(&stalls.join("\n"));
    let running = stage.start("-j 6");
    for stall in &stalls {
        stall.hit(1).await;
    }
    let destination = &stage.destination;
    let tags = |log: &[Logged]| {
        let is_tag = |line: &&Logged| line.is("PUT", "*/manifests/1") && line.status == Some(201);
        log.iter().filter(is_tag).count()
    };
    destination.wait(|log| tags(log) == 3).await;
    running.signal(signal).await;
    running.end().await.with(code);
    let report = stage.place.json("report.json");
    assert_eq!(
        (&report["end"], &report["exit_code"]),
        (&end.into(), &code.into())
    );
    let done: BTreeSet<String> = (0..3).map(|n| format!("t/app{n}:1")).collect();
    let copied = stage
        .outcomes()
        .into_iter()
        .filter(|(_, outcome)| outcome == "copied");
    assert_eq!(copied.map(|(name, _)| name).collect::<BTreeSet<_>>(), done);
    let left: Vec<String> = (3..COUNT).map(|n| format!("t/app{n}:1")).collect();
    assert_eq!(stage.place.lines("mirror-failed.txt"), left);
    for n in 0..COUNT {
        let repository = format!("t/app{n}");
        always_whole(destination, &repository).await;
        assert_eq!(destination.tag(&repository, "1").is_some(), n < 3);
    }
    // What is left is done by the list that was left.
    stage.source.clear_rules();
    let (from, to) = (stage.source.host(), destination.host());
    let again = format!("mirror -f mirror-failed.txt -s {from} -d {to}");
    stage.place.run(&again).await.with(0);
    assert!(!stage.place.has("mirror-failed.txt"));
    for n in 0..COUNT {
        stage.same(&format!("t/app{n}")).await;
    }
}

/// Killed again and again, each time a little later, until a run comes to its end.
async fn killed() {
    const COUNT: usize = 6;
    let mut stage = Stage::plain().await;
    indexes(&mut stage, COUNT).await;
    let mut runs = 0;
    for request in [2, 9, 17, 31, 44, 60] {
        // Its so many-th request is not answered, so that it cannot come to its end.
        let stalled = stage.destination.script(&format!("* * {request} stall"));
        let mut running = stage.start("-j 3");
        let ended = tokio::select! {
            () = stalled[0].hit(1) => false,
            () = running.ends() => true,
        };
        if ended {
            break;
        }
        running.signal("KILL").await;
        assert_eq!(running.end().await.code(), None);
        runs += 1;
        // What can be seen is whole, and was at every moment.
        for n in 0..COUNT {
            let repository = format!("t/app{n}");
            always_whole(&stage.destination, &repository).await;
            let tag = stage.destination.tag(&repository, "1");
            if tag.is_some() {
                stage.same(&repository).await;
            }
        }
    }
    assert!(runs >= 3, "it was killed {runs} times only");
    stage.destination.clear_rules();
    stage.mirror("").await.with(0);
    let mut written = 0;
    for n in 0..COUNT {
        let repository = format!("t/app{n}");
        stage.same(&repository).await;
        written += always_whole(&stage.destination, &repository).await;
    }
    assert!(written >= 3 * COUNT, "{written}");
}

/// Two runs at once over one list, each with a key of its own; afterwards every image has both signatures,
/// once each, and a third run writes nothing.
async fn meet(stage: &Stage, homes: [&Workplace; 2], format: &str) {
    const COUNT: usize = 4;
    let passphrase = [("COSIGN_PASSWORD", PASSPHRASE.into())];
    let (from, to) = (stage.source.host(), stage.destination.host());
    let line = |key: Key, name: &str| {
        let key = key.private();
        format!(
            "mirror -f list.txt -s {from} -d {to} --sign-key {key} --signature-format {format} \
             -o {name}.txt --report {name}.json"
        )
    };
    let list = stage.place.read("list.txt");
    for home in homes {
        home.write("list.txt", &list);
    }
    let (ours, other) = (line(OURS, "ours"), line(OTHER, "other"));
    let (one, two) = tokio::join!(
        homes[0].run_with(&ours, &passphrase),
        homes[1].run_with(&other, &passphrase)
    );
    for ended in [one, two] {
        ended.with(0);
    }
    for n in 0..COUNT {
        let repository = format!("t/app{n}");
        let written = always_whole(&stage.destination, &repository).await;
        // The image, and two signatures of it at least.
        assert!(written >= 3, "{written}");
    }
    for key in [OURS, OTHER] {
        let validate = format!(
            "validate -f list.txt --registry {to} --key {}",
            key.public()
        );
        homes[0].run(&validate).await.with(0);
    }
    // Nothing is missing, and nothing was signed twice.
    stage.destination.clear_log();
    for (home, line) in [(homes[0], ours), (homes[1], other)] {
        home.run_with(&line, &passphrase).await.with(0);
    }
    let writes = stage.destination.writes();
    assert!(writes.is_empty(), "{writes:#?}");
}

async fn four(destination: Settings) -> Stage {
    let mut stage = Stage::between(Settings::default(), destination).await;
    for n in 0..4 {
        stage.image(&format!("t/app{n}:1"), 10_000).await;
    }
    stage
}

/// From one home, where both signatures share a tag: a lock between the two runs keeps them.
async fn one_home() {
    let settings = Settings {
        referrers: Referrers::Unknown,
        ..Settings::default()
    };
    for format in ["tag", "bundle"] {
        let stage = four(settings.clone()).await;
        meet(&stage, [&stage.place, &stage.place], format).await;
    }
}

/// From two homes, as two hosts are: the registry lists what refers to an image, so that nothing is shared.
async fn two_homes() {
    let stage = four(Settings::default()).await;
    let other = Workplace::new();
    meet(&stage, [&stage.place, &other], "bundle").await;
}

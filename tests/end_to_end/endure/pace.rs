//! Slow sources, slow destinations, and those that stand still.

use std::time::{Duration, Instant};

use consign::oci::Digest;
use libtest_mimic::Trial;

use super::stage::{Stage, blob, put_of};
use crate::harness::{Tool, Tools, trial, with_tools};
use crate::program::until;
use crate::real::distribution::{Access, Distribution};
use crate::relay::{Relay, Way};

const MIB: u64 = 1024 * 1024;
/// More than all sockets between two ends hold.
const LARGE: usize = 48 * 1024 * 1024;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("endure::fault_11_a_slow_source", slow_source),
        with_tools(
            "endure::fault_12_a_slow_destination",
            &[Tool::Registry],
            slow_destination,
        ),
        with_tools(
            "endure::fault_12_a_destination_that_stands_still",
            &[Tool::Registry],
            stopped_destination,
        ),
        trial(
            "endure::fault_12_no_upload_is_open_while_the_source_is_waited_for",
            idle_upload,
        ),
    ]
}

/// One source brings a byte at a time, for longer than `--stall-timeout`; one stands still for good; others
/// are well.
async fn slow_source() {
    let mut stage = Stage::plain().await;
    let slow = stage.image("t/slow:1", 12).await;
    let dead = stage.image("t/dead:1", 12).await;
    for name in ["t/good1:1", "t/good2:1"] {
        stage.image(name, 100_000).await;
    }
    stage.source.script(&format!(
        "
        GET  {}  *  trickle 1 every 150ms
        GET  {}  1  stall after 3
        GET  {}  *  stall after 0
        ",
        blob(&slow.blobs[1]),
        blob(&dead.blobs[1]),
        blob(&dead.blobs[1]),
    ));
    let began = Instant::now();
    let ended = stage.mirror("--stall-timeout 1s").await.with(4);
    assert!(began.elapsed() > Duration::from_millis(1800));
    ended.saying(&["made no progress", "1s"]);
    stage.ended_with(&[
        ("t/slow:1", "copied"),
        ("t/dead:1", "failed"),
        ("t/good1:1", "copied"),
        ("t/good2:1", "copied"),
    ]);
    // The others did not wait.
    let log = &stage.destination;
    let end = |path: &str| {
        let puts = log.requests("PUT", path);
        puts[0]
            .answered
            .unwrap_or_else(|| panic!("{}", log.log_text()))
    };
    for other in ["/v2/t/good1/manifests/1", "/v2/t/good2/manifests/1"] {
        assert!(
            end(other) < end(&put_of(&slow.blobs[1])),
            "{}",
            log.log_text()
        );
    }
    stage.nothing_visible("t/dead").await;
    stage.same("t/slow").await;
}

/// A source and a registry of others, each behind a relay, and one large image.
struct Pair {
    stage: Stage,
    destination: Distribution,
    source_relay: Relay,
    relay: Relay,
    config: Digest,
    layer: Digest,
}

impl Pair {
    async fn new(tools: &Tools, name: &str) -> Self {
        let mut stage = Stage::plain().await;
        let image = stage.image("t/app:1", LARGE).await;
        let destination = Distribution::start(tools, name).await;
        Self {
            source_relay: Relay::start(&stage.source.host()),
            relay: Relay::start(destination.host()),
            config: image.blobs[0],
            layer: image.blobs[1],
            stage,
            destination,
        }
    }

    fn arguments(&self, more: &str) -> String {
        let (from, to) = (self.source_relay.host(), self.relay.host());
        self.stage.arguments(&format!("-s {from} -d {to} {more}"))
    }

    /// Waits until the upload has begun in earnest.
    async fn under_way(&self) {
        until("an upload", || {
            (self.relay.passed(Way::In) > MIB).then_some(())
        })
        .await;
    }

    /// What the program and all sockets between the two relays hold, in bytes.
    fn held(&self) -> u64 {
        self.source_relay.passed(Way::Out) - self.relay.passed(Way::In)
    }

    /// Layer, config and manifest are there, each hashed anew.
    fn is_whole(&self) {
        let stored = self.destination.stored();
        assert_eq!(stored.len(), 3);
        assert!(stored.contains(&self.layer.to_string()));
    }
}

/// The source is read no faster than the destination takes it, with little memory.
async fn slow_destination(tools: Tools) {
    let pair = Pair::new(&tools, "destination").await;
    let pair = Pair {
        relay: Relay::start(pair.destination.host()).narrow(Way::In, 24 * MIB),
        ..pair
    };
    let running = pair
        .stage
        .place
        .start(&pair.arguments("--stall-timeout 1s"));
    pair.under_way().await;
    let watched = async {
        let mut most = 0;
        until("the end of it", || {
            most = most.max(pair.held());
            (pair.relay.passed(Way::In) > 40 * MIB).then_some(())
        })
        .await;
        most
    };
    let ((ended, peak), most) = tokio::join!(running.end_and_peak(), watched);
    ended.with(0);
    assert!(most < 32 * MIB, "{most} bytes were read ahead");
    assert!(peak > 0 && peak < 64 * MIB, "{peak} bytes of memory");
    pair.is_whole();
}

/// It is stopped (`SIGSTOP`) in the middle of an upload: for less than `--stall-timeout`, and for more.
async fn stopped_destination(tools: Tools) {
    let pair = Pair::new(&tools, "destination").await;
    let arguments = pair.arguments("--stall-timeout 20s");
    let running = pair.stage.place.start(&arguments);
    pair.under_way().await;
    pair.destination.freeze().await;
    // Nothing more goes in, and what is read from the source is bounded.
    let mut seen = (Instant::now(), 0);
    until("everything stands still", || {
        let passed = pair.source_relay.passed(Way::Out);
        if passed != seen.1 {
            seen = (Instant::now(), passed);
        }
        (seen.0.elapsed() > Duration::from_millis(300)).then_some(())
    })
    .await;
    pair.destination.thaw().await;
    running.end().await.with(0);
    let brought = pair.destination.log().await;
    let is_it = |line: &&Access| {
        let digest = pair.layer.to_string();
        line.method == "PUT" && line.parameter("digest") == Some(digest)
    };
    let puts = brought.iter().filter(is_it).count();
    assert_eq!(puts, 1, "{brought:#?}");
    pair.is_whole();

    let pair = Pair::new(&tools, "other").await;
    let pair = Pair {
        relay: Relay::start(pair.destination.host()).narrow(Way::In, 16 * MIB),
        ..pair
    };
    let arguments = pair.arguments("--stall-timeout 1s --debug");
    let running = pair.stage.place.start(&arguments);
    pair.under_way().await;
    // The layer alone is under way: a question that stands still for so long is no upload, and ends the image.
    until("the config", || {
        let config = pair.config.to_string();
        pair.destination.stored().contains(&config).then_some(())
    })
    .await;
    pair.destination.freeze().await;
    // It is given up, and asked again: by then it is well.
    until("a stall is noticed", || {
        running.stderr().contains("made no progress").then_some(())
    })
    .await;
    pair.destination.thaw().await;
    running.end().await.with(0);
    pair.is_whole();
}

/// The source says nothing for a while: no PUT stands open at the destination meanwhile.
async fn idle_upload() {
    let mut stage = Stage::plain().await;
    let image = stage.image("t/app:1", 100_000).await;
    let put = put_of(&image.blobs[1]);
    let waits = stage
        .source
        .script(&format!("GET {} * stall", blob(&image.blobs[1])));
    let destination = &stage.destination;
    let (ended, open) = tokio::join!(stage.mirror(""), async {
        waits[0].hit(1).await;
        // The other blob is through by then: nothing else is about to happen.
        let config = put_of(&image.blobs[0]);
        destination
            .wait(|log| {
                log.iter()
                    .any(|line| line.is("PUT", &config) && line.status.is_some())
            })
            .await;
        let open = destination.count("PUT", &put);
        waits[0].release();
        open
    });
    ended.with(0);
    assert_eq!(open, 0);
    assert_eq!(destination.count("PUT", &put), 1);
    stage.same("t/app").await;
}

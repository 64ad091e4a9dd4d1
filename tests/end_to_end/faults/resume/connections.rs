//! Real connections that are cut on their way to a destination.

use consign::oci::Reference;
use http::header::CONTENT_RANGE;
use libtest_mimic::Trial;

use super::super::{Options, reference};
use super::{SIZE, Stage};
use crate::harness::{Tool, Tools, trial, with_tools};
use crate::real::distribution::{Access, Distribution};
use crate::registry::Contents;
use crate::relay::{End, Relay, Way};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("resume::a_connection_that_is_reset_is_gone_on_with", reset),
        with_tools(
            "resume::distribution_begins_anew_what_broke",
            &[Tool::Registry],
            distribution,
        ),
    ]
}

/// How much of the layer passes before a connection is cut, in bytes.
const PASSES: u64 = 11_000_000;

/// Copies the image by way of a relay, which must go well.
async fn copied(stage: &Stage, relay: &Relay) {
    let from = reference(&stage.road.source, "app:1");
    let to = format!("{}/app:1", relay.host());
    let to: Reference = to.parse().expect("a reference");
    let options = Options::default();
    let copied = stage.road.transfer(&from, &to, &options).await;
    stage.road.is_copied(copied);
}

async fn reset() {
    for end in [End::Close, End::Reset] {
        let stage = Stage::plain().await;
        let relay = Relay::start(&stage.road.destination.host());
        let relay = relay.cut(Way::In, PASSES, (1, end));
        copied(&stage, &relay).await;
        assert_eq!(
            Contents::of(&stage.road.source, "app").await,
            Contents::of(&stage.road.destination, "app").await
        );
        let puts = stage.puts();
        assert_eq!(puts.len(), 2, "{}", stage.road.logs());
        assert_eq!(puts[0].path, puts[1].path, "the same session");
        let range = puts[1].header(CONTENT_RANGE);
        let (first, last) = range.split_once('-').expect("a range");
        let first: u64 = first.parse().expect("a number");
        assert!((1_048_576..=PASSES).contains(&first), "{range}");
        assert_eq!(last, (SIZE - 1).to_string());
        // Nothing that arrived is sent again.
        assert_eq!(puts[0].received, first, "{}", stage.road.logs());
    }
}

/// Distribution 2.8 ends an upload that broke.
async fn distribution(tools: Tools) {
    let stage = Stage::plain().await;
    let destination = Distribution::start(&tools, "destination").await;
    let relay = Relay::start(destination.host()).cut(Way::In, PASSES, (2, End::Reset));
    copied(&stage, &relay).await;
    let log = destination.log().await;
    let asked = |method: &str, status: u16| {
        let of_uploads =
            |access: &&Access| access.parts().1 == "blobs/uploads" && !access.parts().2.is_empty();
        let uploads = log.iter().filter(of_uploads);
        uploads
            .filter(|access| access.method == method && access.status == status)
            .count()
    };
    assert_eq!(asked("GET", 404), 2, "{log:?}");
    // The layer and the configuration.
    assert_eq!(asked("PUT", 201), 2, "{log:?}");
    assert_eq!(destination.stored().len(), 3, "two blobs and a manifest");
}

//! Paces that were asked for, and those that registries ask for.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use consign::oci::Identifier;
use consign::registry as client;
use libtest_mimic::Trial;

use super::{Road, noise, quick, reference};
use crate::harness::trial;
use crate::program::{Workplace, outcomes};
use crate::registry::{Bearer, Contents, Image, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("pace::a_rate_is_kept_by_all_requests_together", rate),
        trial(
            "pace::a_rate_holds_back_what_is_tried_again",
            rate_of_retries,
        ),
        trial("pace::bytes_of_all_blobs_share_one_bandwidth", bandwidth),
        trial("pace::paces_that_cannot_be_kept_are_refused", refused),
        trial(
            "pace::lists_that_are_throttled_hold_up_no_manifest",
            lists_apart,
        ),
        trial("pace::a_wish_for_patience_is_told", patience),
        trial("pace::a_token_that_drips_is_left", dripping_token),
        trial("pace::a_manifest_that_drips_is_left", dripping_manifest),
    ]
}

/// A workplace with a list of so many images of `from`, each of two blobs of its own.
async fn images(from: &TestRegistry, count: usize) -> Workplace {
    let place = Workplace::new();
    let mut list = String::new();
    for n in 0..count {
        let name = format!("team/app{n}");
        Image::new(&[&name]).push(from, &name, Some("1")).await;
        list = format!("{list}{name}:1\n");
    }
    place.write("list.txt", list);
    place
}

/// The shortest time that so many requests take at `per_second`, the first of which is sent at once.
fn least(requests: usize, per_second: u32) -> Duration {
    let intervals = u32::try_from(requests.saturating_sub(1)).expect("few");
    // Two milliseconds that a turn may come too early, and the clock of this trial is another one.
    (Duration::from_secs(1) * intervals / per_second).saturating_sub(Duration::from_millis(10))
}

async fn rate() {
    let (from, to) = (TestRegistry::start().await, TestRegistry::start().await);
    let place = images(&from, 6).await;
    let (source, host) = (from.host(), to.host());
    let run = format!(
        "mirror -f list.txt -s {source} -d {host} -j 6 --rate {source}=20 --rate {host}=50 --report report.json"
    );
    let begun = Instant::now();
    place.run(&run).await.with(0);
    let took = begun.elapsed();
    assert_eq!(outcomes(&place.json("report.json")), ["copied"; 6]);
    for (registry, per_second) in [(&from, 20), (&to, 50)] {
        let requests = registry.log().len();
        assert!(requests > 15, "{}", registry.log_text());
        assert!(
            took >= least(requests, per_second),
            "{requests} requests in {took:?}:\n{}",
            registry.log_text()
        );
    }
}

async fn rate_of_retries() {
    let (from, to) = (TestRegistry::start().await, TestRegistry::start().await);
    Image::new(&["a"]).push(&from, "app", Some("1")).await;
    let mut settings = quick();
    let rate = client::Rate::new(10.0).expect("a rate");
    let source = from.host().parse().expect("a registry");
    settings.rates.insert(source, rate);
    let road = Road::of(from, to, settings);
    road.source
        .rule(when("GET", "/v2/app/manifests/*").times(3).respond(503));
    let begun = Instant::now();
    road.copied("app:1").await;
    let requests = road.source.log().len();
    assert!(requests >= 7, "{}", road.logs());
    assert!(begun.elapsed() >= least(requests, 10), "{}", road.logs());
}

async fn bandwidth() {
    let mut settings = quick();
    settings.bandwidth = NonZeroU64::new(200_000);
    let road = Road::with(settings).await;
    for seed in 0..3 {
        let name = format!("app{seed}");
        Image::of_blobs([noise(100_000, seed)])
            .push(&road.source, &name, Some("1"))
            .await;
    }
    let begun = Instant::now();
    let all = [0, 1, 2].map(|seed| {
        let road = &road;
        async move { road.copied(&format!("app{seed}:1")).await }
    });
    futures::future::join_all(all).await;
    // 300,000 bytes and the configs, less one piece of an eighth of a second for each of the three.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1100), "{took:?}");
    for seed in 0..3 {
        let name = format!("app{seed}");
        let (there, here) = (
            Contents::of(&road.source, &name).await,
            Contents::of(&road.destination, &name).await,
        );
        assert_eq!(there, here, "{}", road.logs());
    }
}

async fn refused() {
    let place = Workplace::new();
    for (flags, words) in [
        ("--rate 5", "REGISTRY=REQUESTS_PER_SECOND"),
        ("--rate docker.io=0", "no number of requests a second"),
        ("--rate docker.io=-3", "no number of requests a second"),
        ("--rate docker.io=nan", "no number of requests a second"),
        ("--rate docker.io=1e9", "no number of requests a second"),
        ("--rate a/b=5", "a/b"),
        (
            "--rate docker.io=5 --rate index.docker.io=6",
            "twice for `docker.io`",
        ),
        ("--limit-rate 0", "1k at least"),
        ("--limit-rate 100", "1k at least"),
        ("--limit-rate 5kk", "1k at least"),
        ("--limit-rate=-5k", "1k at least"),
        ("--limit-rate 99999999999G", "1k at least"),
    ] {
        let run = format!("list-tags 127.0.0.1:1/app {flags}");
        place.run(&run).await.with(2).saying(&[words]);
    }
}

/// One list waits for three seconds; manifests of the same registry are read meanwhile.
async fn lists_apart() {
    let road = Road::plain().await;
    let image = Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let throttled = when("GET", "/v2/app/referrers/*").nth(1).respond(429);
    let throttled = road.source.rule(throttled.header("retry-after", "3"));
    let digest = Identifier::Digest(image.digest);
    let client = client::Client::new(quick());
    let repository = reference(&road.source, "app:1");
    let list = client.referrers(&repository.repository, &image.digest, client::Access::Pull);
    let others = async {
        throttled.hit(1).await;
        let begun = Instant::now();
        for _ in 0..5 {
            client
                .pull_manifest(&repository.repository, &digest, client::Access::Pull)
                .await
                .expect("a manifest");
        }
        // Far less than what the list waits for, however busy the machine is.
        assert_eq!(road.source.count("GET", "/v2/app/referrers/*"), 1);
        begun.elapsed()
    };
    let (listed, took) = futures::join!(list, others);
    listed.expect("a list");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(road.source.count("GET", "/v2/app/referrers/*"), 2);
}

/// Who waits for half a minute wants to know for whom.
async fn patience() {
    for (format, words) in [
        ("text", "asks for patience: no requests for manifests for "),
        ("json", r#""event":"paused","registry":""#),
    ] {
        let (from, to) = (TestRegistry::start().await, TestRegistry::start().await);
        let place = images(&from, 2).await;
        let throttled = when("GET", "/v2/*/manifests/*").nth(1).respond(429);
        from.rule(throttled.header("retry-after", "4"));
        let (source, host) = (from.host(), to.host());
        let run = format!("mirror -f list.txt -s {source} -d {host} --log-format {format}");
        let ended = place.run(&run).await.with(0).saying(&[words, &source]);
        assert_eq!(ended.to_string().matches(words).count(), 1, "{ended}");
    }
}

/// A kilobyte of a token, a byte at a time: never silent, and never there.
async fn dripping_token() {
    let registry = TestRegistry::with(super::bearer(Bearer::default())).await;
    Image::new(&["a"]).push(&registry, "app", Some("1")).await;
    registry.rule(when("GET", "/token").trickle(1, Duration::from_millis(50)));
    let mut settings = super::known_to(&[&registry]);
    settings.stall_timeout = Duration::from_millis(400);
    settings.retry.attempts = 1;
    let client = client::Client::new(settings);
    let image = reference(&registry, "app:1");
    let begun = Instant::now();
    let tag = image.identifier();
    let asked = client.resolve(&image.repository, &tag, client::Access::Pull);
    let error = asked.await.expect_err("no token");
    assert!(
        matches!(error.kind, client::ErrorKind::Stalled(_)),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(15));
}

async fn dripping_manifest() {
    let mut settings = quick();
    settings.stall_timeout = Duration::from_millis(400);
    settings.retry.attempts = 1;
    let road = Road::with(settings).await;
    Image::new(&["a", "b", "c", "d"])
        .push(&road.source, "app", Some("1"))
        .await;
    road.source
        .rule(when("GET", "/v2/app/manifests/*").trickle(1, Duration::from_millis(50)));
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, consign::event::Kind::Timeout, "{failure:?}");
}

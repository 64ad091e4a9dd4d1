//! The arithmetic of the benchmarks' servers (`benches/rig`), without the servers: a figure that a link which
//! is not what it says has part in would be worth nothing.

#[path = "../benches/rig/plot/curves.rs"]
mod curves;
#[path = "../benches/rig/relay/link.rs"]
mod link;
#[path = "../benches/rig/range.rs"]
mod range;
#[path = "../benches/rig/registry/route.rs"]
mod route;
#[path = "../benches/rig/plot/scale.rs"]
mod scale;

use std::time::Duration;

use http::Method;

use link::{Link, Shape};
use range::Range;
use route::{Query, Route};
use scale::Scale;

const GIGABIT: u64 = 1_000_000_000;
const MIB: usize = 1024 * 1024;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn shape(round_trip: u64, bits_per_second: Option<u64>) -> Shape {
    Shape {
        round_trip: ms(round_trip),
        bits_per_second,
    }
}

#[test]
fn a_byte_arrives_half_a_round_trip_after_it_was_sent() {
    let mut link = Link::new(shape(100, None));
    assert_eq!(link.send(ms(7), 1), ms(57));
    assert_eq!(link.send(ms(7), 1_000_000_000), ms(57));
}

#[test]
fn what_is_sent_at_once_leaves_one_after_another() {
    // 125,000 bytes take a millisecond.
    let mut link = Link::new(shape(50, Some(GIGABIT)));
    assert_eq!(link.send(ms(0), 125_000), ms(26));
    assert_eq!(link.send(ms(0), 250_000), ms(28));
    // An idle link has saved nothing up.
    assert_eq!(link.send(ms(100), 125_000), ms(126));
}

#[test]
fn who_finds_the_queue_full_waits_until_it_is_not() {
    let mut link = Link::new(shape(50, Some(GIGABIT)));
    assert_eq!(link.room(ms(3)), ms(3));
    link.send(ms(0), 12_500_000);
    // 100 ms are queued, and 1 MiB is 8.388608 ms of them.
    assert_eq!(link.room(ms(3)), Duration::from_nanos(91_611_392));
    assert_eq!(link.room(ms(95)), ms(95));
}

#[test]
fn a_queue_lasts_longer_than_a_timer_on_a_fast_link() {
    // 100 Gbit/s: 1 MiB leaves in 0.08 ms.
    let mut link = Link::new(shape(0, Some(100 * GIGABIT)));
    link.send(ms(0), 125_000_000);
    assert_eq!(link.room(ms(0)), ms(6));
}

#[test]
fn one_connection_can_fill_the_link() {
    let window = shape(50, Some(GIGABIT)).window();
    assert_eq!(window, 6_250_000 + MIB);
    assert!(shape(100, None).window() > 16 * MIB);
}

#[test]
fn a_piece_takes_a_millisecond_of_a_narrow_link_and_never_less_than_a_packet() {
    assert_eq!(shape(0, Some(100_000_000)).piece(), 12_500);
    assert_eq!(shape(0, Some(9_600)).piece(), 1460);
    assert_eq!(shape(0, Some(40 * GIGABIT)).piece(), 64 * 1024);
    assert_eq!(shape(0, None).piece(), 64 * 1024);
}

#[test]
fn a_range_is_cut_to_what_there_is() {
    for (text, range) in [
        ("bytes=0-3", Range::Part(0, 4)),
        ("bytes=4-", Range::Part(4, 10)),
        ("bytes=4-99", Range::Part(4, 10)),
        ("bytes=-3", Range::Part(7, 10)),
        ("bytes=-99", Range::Part(0, 10)),
        ("bytes=9-9", Range::Part(9, 10)),
        ("bytes=10-", Range::Beyond),
        ("bytes=-0", Range::Beyond),
    ] {
        assert_eq!(Range::read(text, 10), range, "{text}");
    }
}

#[test]
fn a_range_that_is_not_understood_is_the_whole() {
    for text in [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=3-1",
        "bytes=0-1,4-5",
        "bytes=a-b",
        "lines=0-1",
    ] {
        assert_eq!(Range::read(text, 10), Range::Whole, "{text}");
    }
}

#[test]
fn a_request_is_counted_by_the_names_of_measure_py() {
    let kind = |method, path: &str, query| Route::read(path).kind(&method, query);
    assert_eq!(kind(Method::GET, "/v2/", ""), "ping");
    assert_eq!(kind(Method::HEAD, "/v2/a/b/manifests/v1", ""), "manifest");
    assert_eq!(kind(Method::GET, "/v2/a/b/blobs/sha256:00", ""), "blob");
    assert_eq!(kind(Method::POST, "/v2/a/blobs/uploads/", ""), "upload");
    assert_eq!(
        kind(
            Method::POST,
            "/v2/a/blobs/uploads/",
            "mount=sha256:00&from=b"
        ),
        "mount"
    );
    assert_eq!(
        kind(Method::PUT, "/v2/a/blobs/uploads/7", "digest=sha256:00"),
        "upload"
    );
    assert_eq!(kind(Method::GET, "/v2/a/tags/list", "n=1"), "tags");
    assert_eq!(
        kind(Method::GET, "/v2/a/referrers/sha256:00", ""),
        "referrers"
    );
    assert_eq!(kind(Method::GET, "/v3/", ""), "other");
}

#[test]
fn a_path_names_its_repository_whatever_that_is_called() {
    let digest = "sha256:00";
    assert_eq!(
        Route::read("/v2/blobs/tags/manifests/list"),
        Route::Manifest("blobs/tags", "list")
    );
    assert_eq!(Route::read("/v2/a/blobs/uploads"), Route::Uploads("a"));
    assert_eq!(Route::read("/v2/a/blobs/uploads/7"), Route::Upload("a", 7));
    assert_eq!(Route::read("/v2/a/blobs/uploads/x"), Route::Other);
    assert_eq!(
        Route::read("/v2/a/blobs/sha256:00"),
        Route::Blob("a", digest)
    );
    assert_eq!(
        Route::read("/v2/a/referrers/sha256:00").repository(),
        Some("a")
    );
    assert_eq!(Route::read("/v2/a/tags/other"), Route::Other);
    assert_eq!(Route::read("/_rig/stats").repository(), None);
}

#[test]
fn a_query_is_decoded() {
    let query = Query("mount=sha256%3A00&from=a%2Fb&from=c");
    assert_eq!(query.get("mount").as_deref(), Some("sha256:00"));
    assert_eq!(query.get("from").as_deref(), Some("a/b"));
    assert_eq!(query.get("digest"), None);
}

#[test]
fn an_axis_is_logarithmic_where_figures_are_far_apart() {
    let of = |figures: &[f64]| Scale::fitting(figures.iter().copied());
    assert_eq!(of(&[30.0, 40.0]), Scale::Linear(44.0));
    assert_eq!(of(&[]), Scale::Linear(1.0));
    assert_eq!(of(&[0.0, 40.0]), Scale::Linear(44.0));
    assert!(matches!(of(&[1.0, 100.0]), Scale::Log(low, high) if low < 1.0 && high > 100.0));
}

#[test]
fn an_axis_names_round_figures() {
    assert_eq!(Scale::Linear(44.0).names(), [0.0, 10.0, 20.0, 30.0, 40.0]);
    assert_eq!(Scale::Log(0.9, 25.0).names(), [1.0, 2.0, 5.0, 10.0, 20.0]);
    let axis = Scale::log([1.0, 64.0].into_iter());
    assert!((axis.figure(axis.place(8.0)) - 8.0).abs() < 1e-9);
    assert!(axis.ends().0 < axis.place(1.0) && axis.place(64.0) < axis.ends().1);
    assert_eq!(scale::short(0.05), "0.05");
    assert_eq!(scale::short(10_000.0), "10k");
    assert_eq!(scale::short_bytes(4096.0 * 1024.0 * 1024.0), "4 GiB");
}

#[test]
fn a_curve_has_the_medians_of_its_rounds() {
    let line = |value: u32, wall: u32, code: u32| {
        format!(
            r#"{{"case":"growth","step":"jobs","tool":"consign","value":{value},"code":{code},"wall":{wall},
            "peak_mb":30,"servers":{{"source":{{"requests":1}},"destination":{{"requests":2,"cpu":1}}}}}}"#
        )
        .replace('\n', " ")
    };
    let mut lines = vec![r#"{"case":"big","tool":"limit"}"#.to_owned()];
    lines.extend([
        line(8, 3, 0),
        line(1, 9, 0),
        line(8, 1, 0),
        line(8, 2, 0),
        line(8, 7, 1),
    ]);
    let steps = curves::read(&lines.join("\n")).unwrap();
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].name, "jobs");
    let [wall, memory, requests] = &steps[0].curves;
    assert_eq!(wall["consign"], [(1.0, 9.0), (8.0, 2.0)]);
    assert_eq!(memory["consign"], [(1.0, 30.0), (8.0, 30.0)]);
    assert_eq!(requests["consign"], [(1.0, 3.0), (8.0, 3.0)]);
}

#[test]
fn a_line_of_results_that_is_none_is_named() {
    let error = curves::read("{}\nno\n").unwrap_err();
    assert!(error.starts_with("line 2: "), "{error}");
    let error = curves::read(r#"{"case":"growth","code":0}"#).unwrap_err();
    assert!(error.starts_with("line 1: missing field"), "{error}");
}

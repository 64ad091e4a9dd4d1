//! Destinations that break in the middle of a blob, and have what they got, say so, or lie about it.

mod connections;
mod places;
mod readings;

use std::time::Duration;

use consign::event::{Kind, Side};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use libtest_mimic::Trial;

use super::{Road, blob_path, impatient, noise, put_path, said};
use crate::harness::trial;
use crate::registry::{Contents, Image, Logged, when};

pub(super) fn trials() -> Vec<Trial> {
    [
        sessions(),
        places::trials(),
        readings::trials(),
        connections::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn sessions() -> Vec<Trial> {
    vec![
        trial("resume::a_broken_upload_is_gone_on_with", cut_once),
        trial(
            "resume::one_that_breaks_again_and_again_comes_to_its_end",
            cut_often,
        ),
        trial(
            "resume::one_that_has_all_is_finished_without_a_byte",
            all_there,
        ),
        trial(
            "resume::one_that_stalls_is_gone_on_with_when_it_answers_again",
            stalled,
        ),
        trial(
            "resume::a_destination_that_is_in_trouble_is_asked_what_it_has",
            trouble,
        ),
        trial("resume::too_little_is_not_gone_on_with", too_little),
        trial(
            "resume::what_cannot_be_there_is_not_believed",
            hostile_ranges,
        ),
        trial(
            "resume::one_byte_too_many_or_too_few_is_a_new_session",
            nearly,
        ),
        trial(
            "resume::a_range_that_never_grows_is_left_after_all_tries",
            never_grows,
        ),
        trial(
            "resume::a_part_that_is_refused_is_a_new_session",
            part_refused,
        ),
        trial(
            "resume::a_refusal_for_good_of_a_part_is_told",
            part_refused_for_good,
        ),
    ]
}

/// More than the buffers between two ends hold, so that not all of it is sent when one breaks.
const SIZE: usize = 24_000_000;
/// The same where an end stands still for long: 32 MiB and 4 MiB, where the kernel lets sockets grow so far.
const LARGE: usize = 48_000_000;
/// Where a second reading can begin at the latest, in bytes: the way from mark to mark, and one piece.
const MARK: u64 = 4 * 1024 * 1024 + 512 * 1024;
/// The requests that ask for a session.
const STATUS: &str = "/v2/app/blobs/uploads/*";

/// One image with one large layer.
struct Stage {
    road: Road,
    put: String,
    blob: String,
}

impl Stage {
    async fn plain() -> Self {
        Self::on(Road::plain().await).await
    }

    async fn on(road: Road) -> Self {
        Self::with(road, SIZE).await
    }

    async fn with(road: Road, size: usize) -> Self {
        let image = Image::of_blobs([noise(size, 1)])
            .push(&road.source, "app", Some("1"))
            .await;
        let layer = image.blobs[1];
        Self {
            road,
            put: put_path(&layer),
            blob: blob_path(&layer),
        }
    }

    /// Breaks the first upload of the layer after so many bytes.
    fn cut(&self, after: usize) {
        let put = when("PUT", &self.put).nth(1);
        self.road.destination.rule(put.cut_request_after(after));
    }

    async fn copied(&self) {
        self.road.copied("app:1").await;
        assert_eq!(
            Contents::of(&self.road.source, "app").await,
            Contents::of(&self.road.destination, "app").await
        );
    }

    fn puts(&self) -> Vec<Logged> {
        self.road.destination.requests("PUT", &self.put)
    }

    /// The second PUT of two brought the bytes from `first` on, into the session of the first one.
    fn assert_resumed_at(&self, first: u64) {
        let puts = self.puts();
        assert_eq!(puts.len(), 2, "{}", self.road.logs());
        assert_eq!(puts[0].path, puts[1].path, "the same session");
        let size = u64::try_from(SIZE).unwrap();
        assert_eq!(
            puts[1].header(CONTENT_RANGE),
            format!("{first}-{}", size - 1)
        );
        assert_eq!(puts[1].received, size - first);
        assert_eq!(puts[1].status, Some(201));
        let gets = self.road.source.requests("GET", &self.blob);
        assert_eq!(gets.len(), 2, "{}", self.road.logs());
        let from = from(&gets[1]);
        assert!(from <= first && first - from < MARK, "from {from}");
        assert_eq!(self.road.destination.count("GET", STATUS), 1);
        assert_eq!(self.road.destination.count("DELETE", "*"), 0);
    }

    /// The last PUT brought all bytes, into a session of its own.
    fn assert_anew(&self, puts: usize) {
        let all = self.puts();
        assert_eq!(all.len(), puts, "{}", self.road.logs());
        let last = all.last().unwrap();
        assert_ne!(all[0].path, last.path, "a new session");
        assert_eq!(last.header(CONTENT_RANGE), "");
        assert_eq!(last.header(CONTENT_LENGTH), SIZE.to_string());
        assert_eq!(last.status, Some(201));
    }
}

/// Where the part begins that was asked for; all is asked for without one.
fn from(get: &Logged) -> u64 {
    let range = get.header(RANGE).strip_prefix("bytes=");
    let from = range.and_then(|range| range.strip_suffix('-'));
    from.map_or(0, |from| from.parse().unwrap())
}

async fn cut_once() {
    let stage = Stage::plain().await;
    stage.cut(11_000_000);
    stage.copied().await;
    stage.assert_resumed_at(11_000_000);
    // The first one said nothing of parts.
    assert_eq!(stage.puts()[0].header(CONTENT_RANGE), "");
}

async fn cut_often() {
    let stage = Stage::plain().await;
    // More often than anything is tried that does not come further.
    let cut = when("PUT", &stage.put).times(7);
    let cut = cut.cut_request_after(3_000_000);
    stage.road.destination.rule(cut);
    stage.copied().await;
    let puts = stage.puts();
    let sessions = puts.iter().filter(|put| put.path == puts[0].path).count();
    assert_eq!(sessions, puts.len(), "one session");
    let ranges: Vec<_> = puts.iter().map(|put| put.header(CONTENT_RANGE)).collect();
    assert_eq!(
        ranges,
        [
            "",
            "3000000-23999999",
            "6000000-23999999",
            "9000000-23999999",
            "12000000-23999999",
            "15000000-23999999",
            "18000000-23999999",
            "21000000-23999999"
        ]
    );
}

async fn all_there() {
    let stage = Stage::plain().await;
    stage.cut(SIZE);
    stage.copied().await;
    let puts = stage.puts();
    assert_eq!(puts.len(), 2, "{}", stage.road.logs());
    assert_eq!(puts[0].path, puts[1].path);
    assert_eq!(puts[1].header(CONTENT_RANGE), "");
    assert_eq!((puts[1].received, puts[1].status), (0, Some(201)));
}

async fn stalled() {
    let road = Road::with(impatient(Duration::from_secs(2))).await;
    let stage = Stage::with(road, LARGE).await;
    let destination = &stage.road.destination;
    let put = when("PUT", &stage.put).nth(1);
    // What is left is more than all sockets between the two ends hold.
    let stall = destination.rule(put.stall_request_after(4_000_000));
    let release = async {
        destination
            .wait(|log| log.iter().any(|request| request.is("GET", STATUS)))
            .await;
        stall.release();
    };
    tokio::join!(stage.copied(), release);
    let puts = stage.puts();
    assert_eq!(puts.len(), 2, "{}", stage.road.logs());
    assert_eq!(puts[0].path, puts[1].path, "the same session");
    let range = puts[1].header(CONTENT_RANGE);
    let (first, _) = range.split_once('-').unwrap();
    assert!(first.parse::<usize>().unwrap() >= 4_000_000, "{range}");
}

async fn trouble() {
    for status in [408, 429, 500, 502, 503, 504] {
        let stage = Stage::plain().await;
        let destination = &stage.road.destination;
        // What a proxy in front of it says, which has read everything and passed nothing on.
        let put = when("PUT", &stage.put).nth(1);
        destination.rule(put.respond(status));
        stage.copied().await;
        assert_eq!(destination.count("GET", STATUS), 1, "{status}");
        stage.assert_anew(2);
    }
    // What is refused is not asked for.
    for status in [400, 403, 501] {
        let stage = Stage::plain().await;
        let put = when("PUT", &stage.put).nth(1);
        stage.road.destination.rule(put.respond(status));
        stage.road.failed("app:1").await;
        assert_eq!(stage.road.destination.count("GET", STATUS), 0, "{status}");
    }
}

async fn too_little() {
    let stage = Stage::plain().await;
    let cut = when("PUT", &stage.put).cut_request_after(1_000_000);
    stage.road.destination.rule(cut);
    let failure = stage.road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Network, Some(Side::Destination)),
        "{}",
        said(&failure)
    );
    let puts = stage.puts();
    assert_eq!(puts.len(), 4, "{}", stage.road.logs());
    assert!(puts.iter().all(|put| put.header(CONTENT_RANGE).is_empty()));
    // What it kept of them is not left there.
    assert_eq!(stage.road.destination.count("DELETE", STATUS), 4);
    // So little was sent that nothing is asked.
    let road = Road::plain().await;
    let image = Image::of_blobs([noise(900_000, 1)])
        .push(&road.source, "app", Some("1"))
        .await;
    let put = when("PUT", &put_path(&image.blobs[1])).nth(1);
    road.destination.rule(put.cut_request_after(800_000));
    road.copied("app:1").await;
    assert_eq!(road.destination.count("GET", STATUS), 0, "{}", road.logs());
}

async fn hostile_ranges() {
    for range in [
        "0-0",
        // All, of which the end was never sent; and more than there is.
        "0-23999999",
        "0-24000000",
        "0-99999999999",
        "0-18446744073709551614",
        "0-18446744073709551615",
        "0-18446744073709551616",
        "0--1",
        "-2999999",
        "5-10999999",
        "0-10999999,12000000-13000000",
        "items=0-10999999",
        "bytes 0-10999999/24000000",
        "0-+10999999",
        "0x0-0xA7D8BF",
        "garbage",
        "",
    ] {
        let stage = Stage::plain().await;
        let destination = &stage.road.destination;
        stage.cut(11_000_000);
        destination.rule(when("GET", STATUS).set_header("range", range));
        stage.copied().await;
        assert_eq!(destination.count("GET", STATUS), 1, "{range}");
        // It is there all the same, and is not left.
        assert_eq!(destination.count("DELETE", STATUS), 1, "{range}");
        stage.assert_anew(2);
    }
    for status in [200, 404, 400, 403, 405, 416, 500, 503] {
        let stage = Stage::plain().await;
        let destination = &stage.road.destination;
        stage.cut(11_000_000);
        let answer = when("GET", STATUS).respond(status).body("<html>");
        destination.rule(answer);
        stage.copied().await;
        stage.assert_anew(2);
    }
    // The unit of HTTP is no lie.
    let stage = Stage::plain().await;
    stage.cut(11_000_000);
    let unit = when("GET", STATUS).set_header("range", "bytes=0-10999999");
    stage.road.destination.rule(unit);
    stage.copied().await;
    stage.assert_resumed_at(11_000_000);
}

async fn nearly() {
    for last in [10_999_998, 11_000_000, 9_000_000] {
        let stage = Stage::plain().await;
        let destination = &stage.road.destination;
        stage.cut(11_000_000);
        let status = when("GET", STATUS).set_header("range", &format!("0-{last}"));
        destination.rule(status);
        stage.copied().await;
        let puts = stage.puts();
        assert_eq!(
            puts[1].header(CONTENT_RANGE),
            format!("{}-23999999", last + 1)
        );
        assert_ne!(puts[1].status, Some(201), "{last}");
        stage.assert_anew(3);
    }
}

async fn never_grows() {
    let stage = Stage::plain().await;
    let destination = &stage.road.destination;
    destination.rule(when("PUT", &stage.put).cut_request_after(11_000_000));
    destination.rule(when("GET", STATUS).set_header("range", "0-2999999"));
    let failure = stage.road.failed("app:1").await;
    assert_eq!(failure.side, Some(Side::Destination), "{}", said(&failure));
    // Each of four sessions is gone on with once at most.
    let puts = stage.puts().len();
    assert!((4..=8).contains(&puts), "{}", stage.road.logs());
    assert_eq!(destination.count("PUT", "*/manifests/*"), 0);
}

async fn part_refused() {
    for status in [400, 404, 405, 409, 411, 415, 416, 501] {
        let stage = Stage::plain().await;
        stage.cut(11_000_000);
        let part = when("PUT", &stage.put).nth(2).respond(status);
        stage.road.destination.rule(part);
        stage.copied().await;
        let puts = stage.puts();
        assert_eq!(puts[0].path, puts[1].path, "{status}");
        stage.assert_anew(3);
    }
    // One that does so for ever is asked four times in all.
    let stage = Stage::plain().await;
    let destination = &stage.road.destination;
    for n in [1, 3, 5, 7] {
        let put = when("PUT", &stage.put).nth(n);
        destination.rule(put.cut_request_after(11_000_000));
        destination.rule(when("PUT", &stage.put).nth(n + 1).respond(416));
    }
    let failure = stage.road.failed("app:1").await;
    assert_eq!(failure.side, Some(Side::Destination), "{}", said(&failure));
    // After the third time nothing is asked.
    assert!(stage.puts().len() <= 8, "{}", stage.road.logs());
    assert_eq!(destination.count("GET", STATUS), 3);
}

async fn part_refused_for_good() {
    let rows = [
        (413, "SIZE_INVALID", Kind::Refused),
        (403, "DENIED", Kind::Unauthorized),
    ];
    for (status, code, kind) in rows {
        let stage = Stage::plain().await;
        stage.cut(11_000_000);
        let part = when("PUT", &stage.put).from(2).respond(status);
        stage.road.destination.rule(part.error(code));
        let failure = stage.road.failed("app:1").await;
        assert_eq!(
            (failure.kind, failure.side),
            (kind, Some(Side::Destination)),
            "{}",
            said(&failure)
        );
        assert!(said(&failure).contains(code), "{}", said(&failure));
        assert_eq!(stage.puts().len(), 2, "{}", stage.road.logs());
    }
}

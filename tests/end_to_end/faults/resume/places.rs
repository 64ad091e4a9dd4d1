//! Sessions that are elsewhere by then, tokens that ended meanwhile, and registries that never go on.

use http::header::{AUTHORIZATION, CONTENT_RANGE};
use libtest_mimic::Trial;

use super::super::{basic, bearer, known_to, noise, put_path};
use super::{Road, STATUS, Stage};
use crate::harness::trial;
use crate::registry::{Bearer, Image, Logged, Settings, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "resume::a_session_that_moved_is_followed_without_credentials",
            moved,
        ),
        trial(
            "resume::a_session_that_moved_where_nobody_goes_is_left",
            moved_to_forbidden,
        ),
        trial(
            "resume::a_status_that_leads_elsewhere_is_not_followed",
            redirected,
        ),
        trial("resume::a_token_that_ended_meanwhile_is_renewed", revoked),
        trial(
            "resume::a_registry_that_never_does_is_not_asked_for_ever",
            learned,
        ),
    ]
}

async fn moved() {
    let source = TestRegistry::start().await;
    let destination = TestRegistry::with(basic()).await;
    let settings = known_to(&[&source, &destination]);
    let stage = Stage::on(Road::of(source, destination, settings)).await;
    let elsewhere = TestRegistry::start().await;
    let place = format!("{}/place/1?_state=a%2Bb", elsewhere.url());
    stage.cut(11_000_000);
    let status = when("GET", STATUS).set_header("location", &place);
    stage.road.destination.rule(status);
    elsewhere.rule(when("PUT", "/place/1").respond(201));
    // What comes after it is another matter: the blob is not where its manifest goes.
    drop(stage.road.copy("app:1").await);
    let puts = elsewhere.requests("PUT", "/place/1");
    assert_eq!(puts.len(), 1, "{}", elsewhere.log_text());
    assert_eq!(puts[0].header(AUTHORIZATION), "");
    assert_eq!(puts[0].header(CONTENT_RANGE), "11000000-23999999");
    assert!(puts[0].query.starts_with("_state=a%2Bb&digest=sha256%3A"));
    assert_eq!(elsewhere.log().len(), 1, "{}", elsewhere.log_text());
    let status = stage.road.destination.requests("GET", STATUS);
    assert_eq!(status[0].scheme(), "Basic");
}

async fn moved_to_forbidden() {
    for location in [
        "http://169.254.169.254/up",
        "http://[fd00:ec2::254]/up",
        "ftp://127.0.0.1/up",
        "file:///up",
    ] {
        let stage = Stage::plain().await;
        stage.cut(11_000_000);
        let status = when("GET", STATUS).set_header("location", location);
        stage.road.destination.rule(status);
        stage.copied().await;
        stage.assert_anew(2);
    }
}

async fn redirected() {
    let stage = Stage::plain().await;
    let elsewhere = TestRegistry::start().await;
    stage.cut(11_000_000);
    let to = format!("{}/place/1", elsewhere.url());
    let status = when("GET", STATUS).redirect(&to);
    let status = status.header("range", "0-10999999");
    stage.road.destination.rule(status);
    stage.copied().await;
    stage.assert_anew(2);
    assert!(elsewhere.log().is_empty(), "{}", elsewhere.log_text());
}

async fn revoked() {
    let road = Road::between(Settings::default(), bearer(Bearer::default())).await;
    let stage = Stage::on(road).await;
    let destination = &stage.road.destination;
    stage.cut(11_000_000);
    let revoke = async {
        let is_under_way =
            |request: &Logged| request.is("PUT", &stage.put) && request.received > 1_000_000;
        destination.wait(|log| log.iter().any(is_under_way)).await;
        destination.revoke_tokens();
    };
    tokio::join!(stage.copied(), revoke);
    // Whoever came first asked for the new one.
    assert_eq!(destination.token_requests().len(), 2);
    let puts = stage.puts();
    assert_eq!(puts.len(), 2, "{}", stage.road.logs());
    assert_eq!(puts[0].path, puts[1].path, "the same session");
    assert_eq!(puts[1].header(CONTENT_RANGE), "11000000-23999999");
}

async fn learned() {
    let road = Road::plain().await;
    let mut puts = Vec::new();
    for n in 0..6 {
        let image = Image::of_blobs([noise(3_000_000, n)])
            .push(&road.source, "app", Some(&n.to_string()))
            .await;
        let put = put_path(&image.blobs[1]);
        let cut = when("PUT", &put).nth(1).cut_request_after(2_000_000);
        road.destination.rule(cut);
        puts.push(put);
    }
    let gone = when("GET", STATUS).respond(404);
    road.destination.rule(gone.error("BLOB_UPLOAD_UNKNOWN"));
    for (n, put) in puts.iter().enumerate() {
        road.copied(&format!("app:{n}")).await;
        let requests = road.destination.requests("PUT", put);
        assert_eq!(requests.len(), 2, "{}", road.logs());
        assert_ne!(requests[0].path, requests[1].path, "a new session");
    }
    assert_eq!(road.destination.count("GET", STATUS), 3, "{}", road.logs());
}

//! TLS and certificates that nobody knows.

use consign::event::{Kind, Side};
use consign::registry::Tls;
use libtest_mimic::Trial;

use super::{Road, known_to, said};
use crate::harness::trial;
use crate::registry::{Auth, Contents, Image, Settings, TestRegistry, Transport};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "tls::an_unknown_certificate_is_named_and_nothing_is_sent",
            unknown,
        ),
        trial(
            "tls::certificates_are_not_checked_where_that_was_asked_for",
            unverified,
        ),
    ]
}

async fn road(tls: Tls) -> Road {
    let source = TestRegistry::with(Settings {
        auth: Auth::Basic("user", "password"),
        transport: Transport::Tls,
        ..Settings::default()
    })
    .await;
    let destination = TestRegistry::start().await;
    let mut settings = known_to(&[&source]);
    settings.set_tls(tls);
    let road = Road::of(source, destination, settings);
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    road
}

async fn unknown() {
    let road = road(Tls::Verified).await;
    let failure = road.failed("app:1").await;
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Network, Some(Side::Source))
    );
    let said = said(&failure);
    assert!(said.contains("certificate"), "{said}");
    // No password over plain HTTP either.
    assert!(road.source.log().is_empty(), "{}", road.source.log_text());
    // It will not get better by asking again.
    assert!(!said.contains("attempts"), "{said}");
}

async fn unverified() {
    let road = road(Tls::Unverified).await;
    road.copied("app:1").await;
    assert_eq!(
        Contents::of(&road.source, "app").await,
        Contents::of(&road.destination, "app").await
    );
}

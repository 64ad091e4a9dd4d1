//! Places that a registry names: realms, redirects, upload sessions.

use consign::event::Kind;
use consign::registry::Credential;
use http::header::AUTHORIZATION;

use super::{
    DESTINATION, SOURCE, Stage, asks, basic, blob_path, challenges, guarded, known, tokens,
};
use crate::access_trials::secrets::Secrets;
use crate::faults::{Road, bearer, said};
use crate::registry::{Auth, Bearer, Image, Mounts, Settings, TestRegistry, Transport, when};

/// CVE-2020-15157, GHSA-qvqc-4c52-x6qp: a place that is not the registry answers 401.
pub(super) async fn place_asks() {
    for auth in [basic(SOURCE), Auth::Bearer(tokens(SOURCE))] {
        let stage = Stage::between(guarded(auth.clone()), Settings::default()).await;
        for challenge in challenges(&stage.attacker) {
            stage.attacker.clear_rules();
            stage.road.source.clear_rules();
            let layer = stage.image("1").await.blobs[1];
            stage.keeps_at(layer, &stage.attacker);
            stage.attacker.rule(asks("/v2/*", &challenge));
            let failure = stage.refuses("1").await;
            assert_eq!(failure.kind, Kind::Unauthorized, "{}", said(&failure));
            assert_eq!(stage.attacker.count("*", "/token"), 0);
        }
        // What it asked for did not become what the registry asks for.
        stage.road.source.clear_rules();
        stage.copies("1").await;
    }
}

/// CVE-2026-48978, GHSA-28r5-37g7-p6mp: a registry with TLS names a realm without.
pub(super) async fn plain_realm() {
    let attacker = TestRegistry::with(bearer(tokens(SOURCE))).await;
    let with_realm = |realm: String| Settings {
        transport: Transport::Tls,
        ..guarded(Auth::Bearer(Bearer {
            realm: Some(realm),
            ..tokens(SOURCE)
        }))
    };
    let realm = format!("{}/token", attacker.url());
    let stage = Stage::with(with_realm(realm), Settings::default(), attacker).await;
    stage.image("1").await;
    stage.never_goes("1").await;
    // Its neighbours: its own realm on its own address, and one behind TLS on another port.
    let own = Settings {
        transport: Transport::Tls,
        ..guarded(Auth::Bearer(tokens(SOURCE)))
    };
    let stage = Stage::between(own.clone(), Settings::default()).await;
    stage.image("1").await;
    stage.copies("1").await;
    let other = TestRegistry::with(own).await;
    let realm = with_realm(format!("{}/token", other.url()));
    let stage = Stage::between(realm, Settings::default()).await;
    stage.image("1").await;
    // Its tokens are not known to the registry; what counts is that it was asked.
    stage.refuses("1").await;
    Secrets::of(&[SOURCE]).reached(&other, "the realm");
    Secrets::of(&[DESTINATION]).never_reached(&other, "the realm");
}

/// The same: a realm at a third registry, for which there is a credential too.
pub(super) async fn foreign_realm() {
    let destination = TestRegistry::with(bearer(tokens(DESTINATION))).await;
    let realm = format!("{}/token", destination.url());
    let source = TestRegistry::with(bearer(Bearer {
        realm: Some(realm),
        ..tokens(SOURCE)
    }))
    .await;
    let settings = known(&source, &destination);
    let road = Road::of(source, destination, settings);
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let failure = road.failed("app:1").await;
    assert_eq!(failure.kind, Kind::Unauthorized, "{}", said(&failure));
    for asked in road.destination.token_requests() {
        // To read is what the source asks for; its own credential is no good there, and no other is tried.
        let is_for_the_source = asked.scopes.iter().all(|scope| scope.ends_with(":pull"));
        let user = asked.user.as_deref();
        assert_eq!(user == Some(SOURCE.0), is_for_the_source, "{asked:?}");
        assert_eq!(asked.given, !is_for_the_source, "{asked:?}");
    }
    Secrets::of(&[DESTINATION]).never_reached(&road.source, "the source");
}

/// CVE-2026-50151, GHSA-jxpm-75mh-9fp7: the place of an upload answers 401.
pub(super) async fn upload_asks() {
    for auth in [basic(DESTINATION), Auth::Bearer(tokens(DESTINATION))] {
        let to = Settings {
            mounts: Mounts::Upload,
            ..guarded(auth.clone())
        };
        let stage = Stage::between(Settings::default(), to).await;
        stage.image("1").await;
        for challenge in challenges(&stage.attacker) {
            for place in [
                stage.attacker.url(),
                stage.attacker.url().replace("127.0.0.1", "localhost"),
            ] {
                stage.attacker.clear_rules();
                stage.road.destination.clear_rules();
                stage.attacker.rule(asks("/up*", &challenge));
                let location = format!("{place}/up/1?X-Signature=abc");
                let opened = when("POST", "*/blobs/uploads/*").set_header("location", &location);
                stage.road.destination.rule(opened);
                stage.refuses("1").await;
                assert_eq!(stage.attacker.count("*", "/token"), 0);
            }
        }
        // Its neighbour: relative, as this registry has it.
        stage.road.destination.clear_rules();
        stage.copies("1").await;
    }
    // Absolute, on the registry itself: it gets its own password.
    let to = guarded(basic(DESTINATION));
    let stage = Stage::between(Settings::default(), to).await;
    let destination = &stage.road.destination;
    Image::new(&["one"])
        .push(&stage.road.source, "app", Some("1"))
        .await;
    let mut locations = Vec::new();
    for _ in 0..2 {
        let url = format!("{}/v2/app/blobs/uploads/", destination.url());
        let (user, secret) = DESTINATION;
        let post = reqwest::Client::new().post(url);
        let answer = post.basic_auth(user, Some(secret)).send().await;
        let answer = answer.expect("an answer");
        let session = answer.headers()["location"].to_str().expect("a path");
        locations.push(format!("{}{session}", destination.url()));
    }
    for (n, location) in locations.iter().enumerate() {
        let opened = when("POST", "*/uploads/*").nth(n + 1).respond(202);
        destination.rule(opened.header("location", location));
    }
    stage.copies("1").await;
    assert_eq!(destination.count("PUT", "/v2/app/blobs/uploads/*"), 2);
}

/// GHSA-vh4v-2xq2-g5cg: from TLS to plain HTTP, on the same name.
pub(super) async fn out_of_tls() {
    let behind = Settings {
        transport: Transport::Tls,
        ..guarded(basic(SOURCE))
    };
    let stage = Stage::between(behind.clone(), Settings::default()).await;
    let layer = stage.image("1").await.blobs[1];
    stage.keeps_at(layer, &stage.attacker);
    stage.never_goes("1").await;
    // Its neighbour: to another port behind TLS, without the password.
    let store = TestRegistry::with(Settings {
        transport: Transport::Tls,
        ..Settings::default()
    })
    .await;
    Image::new(&["layer", "1"]).push(&store, "app", None).await;
    stage.road.source.clear_rules();
    stage.keeps_at(layer, &store);
    stage.copies("1").await;
    assert_eq!(store.count("GET", &blob_path(layer)), 1);
    assert!(
        store
            .log()
            .iter()
            .all(|line| line.header(AUTHORIZATION).is_empty())
    );
}

/// ggcr #2292 and others: a redirect of the token service would take along what was sent to it.
pub(super) async fn moved_service() {
    let identity = "identity-token-of-the-source";
    for status in [301, 302, 303, 307, 308] {
        for is_identity in [false, true] {
            let guarded = guarded(Auth::Bearer(Bearer {
                identity_token: Some(identity),
                ..tokens(SOURCE)
            }));
            let mut stage = Stage::between(guarded, Settings::default()).await;
            if is_identity {
                let host = stage.road.source.host().parse().expect("a registry");
                let token = Credential::IdentityToken(identity.into());
                stage.road.settings.insert(&host, &token);
                stage.road.next_run();
            }
            stage.image("1").await;
            // Another port, another name for it.
            let elsewhere = format!("{}/token", stage.attacker.url());
            let renamed = elsewhere.replace("127.0.0.1", "localhost");
            for place in [elsewhere, renamed] {
                stage.road.source.clear_rules();
                let moved = when("*", "/token")
                    .respond(status)
                    .header("location", &place);
                stage.road.source.rule(moved);
                let failure = stage.refuses("1").await;
                Secrets::of(&[("", identity)]).never_reached(&stage.attacker, "the attacker");
                assert!(stage.attacker.log().is_empty(), "{}", said(&failure));
            }
            stage.road.source.clear_rules();
            stage.copies("1").await;
        }
    }
}

//! Token services and users of an unusual kind.

use consign::event::{Kind, Side};
use http::header::AUTHORIZATION;
use libtest_mimic::Trial;

use super::{Road, bearer, password, quick, said};
use crate::harness::trial;
use crate::registry::{Auth, Bearer, Contents, Image, Settings, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("quirks::tokens_come_in_every_wording", wordings),
        trial("quirks::robots_have_names_of_their_own", robots),
        trial(
            "quirks::a_name_that_the_token_service_refuses_is_asked_for_once",
            nested,
        ),
        trial(
            "quirks::basic_for_a_spent_token_does_not_lose_bearer",
            basic_for_bearer,
        ),
    ]
}

async fn wordings() {
    for body in [
        r#"{"access_token":"T"}"#,
        r#"{"token":"T"}"#,
        r#"{"token":"","access_token":"T","expires_in":60}"#,
        r#"{"token":"T","access_token":"T","expires_in":0}"#,
        r#"{"token":"T","expires_in":"60"}"#,
        r#"{"token":"T","expires_in":null,"issued_at":"2020-01-01T00:00:00Z"}"#,
        r#"{"token":"T","expires_in":-1,"refresh_token":"R","scope":"x"}"#,
    ] {
        let road = Road::plain().await;
        Image::new(&["a", "b"])
            .push(&road.source, "app", Some("1"))
            .await;
        let realm = format!("Bearer realm=\"{}/token\",service=\"s\"", road.source.url());
        let asks = when("GET", "/v2/*").nth(1).respond(401);
        road.source.rule(asks.header("www-authenticate", &realm));
        let tokens = road
            .source
            .rule(when("GET", "/token").respond(200).body(body));
        road.copied("app:1").await;
        assert_eq!(tokens.hits(), 1, "{body}: {}", road.logs());
        for line in road.source.requests("GET", "/v2/*").iter().skip(1) {
            assert_eq!(line.header(AUTHORIZATION), "Bearer T", "{body}");
        }
    }
}

async fn robots() {
    const ROBOTS: [(&str, &str); 3] = [
        ("robot$library+ci", "pa$s+w:rd %41"),
        ("org+robot", "ABC$+"),
        ("$oauthtoken", "+/="),
    ];
    for (user, secret) in ROBOTS {
        let basic = Settings {
            auth: Auth::Basic(user, secret),
            ..Settings::default()
        };
        let tokens = bearer(Bearer {
            credentials: Some((user, secret)),
            ..Bearer::default()
        });
        let (source, destination) = (
            TestRegistry::with(basic).await,
            TestRegistry::with(tokens).await,
        );
        let mut settings = quick();
        for registry in [&source, &destination] {
            let host = registry.host().parse().unwrap();
            settings.insert(&host, &password(user, secret));
        }
        let road = Road::of(source, destination, settings);
        Image::new(&["a"])
            .push(&road.source, "app", Some("1"))
            .await;
        road.copied("app:1").await;
        let asked = road.destination.token_requests();
        assert!(
            asked
                .iter()
                .all(|request| request.user.as_deref() == Some(user))
        );
    }
}

/// Quay of old: a repository name of more than two parts gets no token.
async fn nested() {
    let road = Road::between(Settings::default(), bearer(Bearer::default())).await;
    Image::new(&["a"])
        .push(&road.source, "a/b/c", Some("1"))
        .await;
    let refused = when("GET", "/token").respond(400);
    let refused = road.destination.rule(refused.error("NAME_INVALID"));
    let failure = road.failed("a/b/c:1").await;
    let said = said(&failure);
    assert_eq!(
        (failure.kind, failure.side),
        (Kind::Refused, Some(Side::Destination)),
        "{said}"
    );
    assert!(said.contains("/token") && said.contains("400"), "{said}");
    assert_eq!(refused.hits(), 1, "{}", road.logs());
}

/// Harbor answers a token that it does not know with a Basic challenge (containerd/nerdctl #1987).
async fn basic_for_bearer() {
    let road = Road::between(bearer(Bearer::default()), Settings::default()).await;
    for tag in ["1", "2"] {
        Image::new(&[tag, "b"])
            .push(&road.source, "app", Some(tag))
            .await;
    }
    road.copied("app:1").await;
    let spent = when("GET", "*/manifests/2").nth(1).respond(401);
    let spent = spent.header("www-authenticate", "Basic realm=\"harbor\"");
    let spent = road.source.rule(spent.error("UNAUTHORIZED"));
    road.source.revoke_tokens();
    road.source.clear_log();
    road.copied("app:2").await;
    assert_eq!(spent.hits(), 1);
    assert_eq!(road.source.count("GET", "/token"), 1, "{}", road.logs());
    for line in road.source.requests("GET", "/v2/*") {
        assert_eq!(line.scheme(), "Bearer", "{}", road.logs());
    }
    assert_eq!(
        Contents::of(&road.source, "app").await,
        Contents::of(&road.destination, "app").await
    );
}

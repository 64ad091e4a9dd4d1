//! What a registry, or somebody on the way to it, tries in order to be told a secret that is for others.

use consign::registry::{Access, Client, Credentials, Project, Tls};
use http::header::AUTHORIZATION;
use libtest_mimic::Trial;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Road, bearer, known_to, new_client, password, quick, reference, said};
use crate::harness::trial;
use crate::registry::{Auth, Bearer, Image, Settings, TestRegistry, Transport, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "leaks::a_challenge_that_anybody_may_have_sent_is_not_answered_where_certificates_count",
            unverified_challenge,
        ),
        trial(
            "leaks::a_registry_that_calls_itself_a_harbor_is_told_no_password_for_it",
            harbor_ping,
        ),
        trial(
            "leaks::a_harbor_whose_tokens_come_from_elsewhere_is_told_no_password",
            harbor_elsewhere,
        ),
        trial(
            "leaks::a_challenge_of_another_api_changes_nothing_for_the_registry",
            harbor_challenge,
        ),
        trial(
            "leaks::nothing_is_deleted_where_a_registry_has_sent_us",
            delete_elsewhere,
        ),
        trial("leaks::what_a_registry_repeats_is_not_repeated", repeated),
        trial(
            "leaks::a_page_that_was_left_for_does_not_lead_back",
            page_back,
        ),
    ]
}

fn certificate(registry: &TestRegistry) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(registry.certificate().as_bytes()).expect("a certificate")
}

fn is_stranger(registry: &TestRegistry) -> bool {
    let log = registry.log();
    log.iter().all(|line| line.header(AUTHORIZATION).is_empty())
}

fn over_tls(auth: Auth) -> Settings {
    Settings {
        auth,
        transport: Transport::Tls,
        ..Settings::default()
    }
}

/// On one side, or in one namespace, certificates are not checked: who stands on that way names a token
/// service of his own, and lets all other requests pass.
async fn unverified_challenge() {
    for is_by_side in [true, false] {
        let registry = TestRegistry::with(over_tls(Auth::Basic("user", "password"))).await;
        let thief = TestRegistry::with(over_tls(Auth::Bearer(Bearer::default()))).await;
        let host: consign::oci::Registry = registry.host().parse().unwrap();
        let mut settings = quick();
        settings.certificates.authorities = vec![certificate(&registry), certificate(&thief)];
        let mut credentials = Credentials::none();
        let good: consign::oci::Namespace = format!("{host}/good").parse().unwrap();
        credentials.give(good, password("user", "password"), None);
        let access = if is_by_side {
            settings.source.tls = Tls::Unverified;
            settings.destination.credentials = credentials;
            Access::PullPush
        } else {
            let bad: consign::oci::Namespace = format!("{host}/bad").parse().unwrap();
            settings.source.exceptions.insert(bad, Tls::Unverified);
            settings.source.credentials = credentials;
            Access::Pull
        };
        let challenge = format!("Bearer realm=\"{}/token\",service=\"s\"", thief.url());
        let spoofed = when("GET", "/v2/bad/*").nth(1).respond(401);
        registry.rule(spoofed.header("www-authenticate", &challenge));
        let client = new_client(settings);
        let bad = reference(&registry, "bad:1");
        let pulled = client
            .pull_manifest(&bad.repository, &bad.identifier(), Access::Pull)
            .await;
        assert!(pulled.is_err());
        assert_eq!(thief.count("GET", "/token"), 1, "{}", thief.log_text());
        let good = reference(&registry, "good:1").repository;
        let reached = client.reach(&good, access).await;
        assert!(is_stranger(&thief), "{}", thief.log_text());
        reached.unwrap();
        let last = registry.log().pop().unwrap();
        assert_eq!(last.scheme(), "Basic", "{}", registry.log_text());
    }
}

/// A registry whose tokens come from `realm`, that is a Harbor by its own words.
async fn harbor(realm: Option<String>) -> (TestRegistry, Client) {
    let registry = TestRegistry::with(bearer(Bearer {
        realm: realm.clone(),
        ..Bearer::default()
    }))
    .await;
    let realm = realm.unwrap_or_else(|| format!("{}/token", registry.url()));
    let challenge = format!("Bearer realm=\"{realm}\",service=\"harbor-registry\"");
    let asks = when("GET", "/v2/").nth(1).respond(401);
    registry.rule(asks.header("www-authenticate", &challenge));
    registry.rule(when("GET", "/v2/").nth(2).respond(200));
    registry.rule(when("GET", "/api/v2.0/ping").respond(200).body("Pong"));
    let client = new_client(known_to(&[&registry]));
    client
        .greet(&reference(&registry, "team/app").repository)
        .await;
    (registry, client)
}

async fn harbor_ping() {
    let (registry, client) = harbor(None).await;
    let repository = reference(&registry, "team/app").repository;
    assert!(client.is_harbor(&repository).await.unwrap());
    let pings = registry.requests("GET", "/api/v2.0/ping");
    assert_eq!(pings.len(), 1, "{}", registry.log_text());
    assert_eq!(pings[0].scheme(), "", "{}", registry.log_text());
    // Harbor's own API takes no tokens: whoever is one is told.
    registry.rule(when("HEAD", "/api/v2.0/projects").respond(200));
    client.project(&repository).await.unwrap();
    let asked = registry.requests("HEAD", "/api/v2.0/projects");
    assert_eq!(asked[0].scheme(), "Basic", "{}", registry.log_text());
}

async fn harbor_elsewhere() {
    let service = TestRegistry::with(bearer(Bearer::default())).await;
    let (registry, client) = harbor(Some(format!("{}/token", service.url()))).await;
    let repository = reference(&registry, "team/app").repository;
    assert!(!client.is_harbor(&repository).await.unwrap());
    for line in registry.log() {
        assert_ne!(line.scheme(), "Basic", "{}", registry.log_text());
    }
}

async fn harbor_challenge() {
    let (registry, client) = harbor(None).await;
    let repository = reference(&registry, "team/app").repository;
    assert!(client.is_harbor(&repository).await.unwrap());
    let refused = when("HEAD", "/api/v2.0/projects").respond(401);
    registry.rule(refused.header("www-authenticate", "Basic realm=\"harbor\""));
    let project = client.project(&repository).await.unwrap();
    assert_eq!(project, Project::Unknown);
    client.reach(&repository, Access::PullPush).await.unwrap();
    for line in registry.requests("*", "/v2/*") {
        assert_ne!(line.scheme(), "Basic", "{}", registry.log_text());
    }
}

/// Some registries, and services of tokens, say what they were given.
async fn repeated() {
    // "user:password", as it is sent.
    let sent = "dXNlcjpwYXNzd29yZA==";
    let says = |text: &str| {
        serde_json::json!({ "errors": [{ "code": "DENIED", "message": text }] }).to_string()
    };
    let road = Road::between(super::basic(), Settings::default()).await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let text = format!("not by Basic {sent}, which is password");
    let refused = when("GET", "*/manifests/*").from(2).respond(403);
    road.source.rule(refused.body(says(&text)));
    let failure = road.failed("app:1").await;
    let told = said(&failure);
    assert!(
        told.contains("DENIED: not by Basic ***, which is ***"),
        "{told}"
    );

    let road = Road::between(bearer(Bearer::default()), Settings::default()).await;
    Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let text = format!("no token for {sent} (user:password)");
    road.source
        .rule(when("GET", "/token").respond(401).body(says(&text)));
    let told = said(&road.failed("app:1").await);
    assert!(told.contains("no token for ***"), "{told}");
    assert!(!told.contains("password"), "{told}");
}

/// A list that is continued elsewhere comes from there; where that one says to go on is its word alone.
async fn page_back() {
    let registry = TestRegistry::with(super::basic()).await;
    let other = TestRegistry::start().await;
    Image::new(&["a"]).push(&registry, "app", Some("1")).await;
    Image::new(&["a"]).push(&other, "app", Some("1")).await;
    let there = format!("{}/v2/app/tags/list", other.url());
    registry.rule(when("GET", "*/tags/list").redirect(&there));
    let back = format!("<{}/v2/secret/tags/list>; rel=\"next\"", registry.url());
    other.rule(when("GET", "*/tags/list").set_header("link", &back));
    let client = new_client(known_to(&[&registry]));
    let error = client.tags(&reference(&registry, "app").repository).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("elsewhere"), "{error}");
    assert_eq!(registry.count("GET", "/v2/secret/*"), 0);
}

/// Whoever is within a network can delete where others cannot even ask.
async fn delete_elsewhere() {
    let road = Road::plain().await;
    let other = TestRegistry::start().await;
    let image = Image::new(&["a"])
        .push(&road.source, "app", Some("1"))
        .await;
    let victim = Image::new(&["b"]).push(&other, "team/app", Some("1")).await;
    let location = format!("{}/v2/team/app/manifests/{}", other.url(), victim.digest);
    let opened = when("POST", "/v2/app/blobs/uploads/");
    road.destination
        .rule(opened.set_header("location", &location));
    for blob in &image.blobs {
        let missing = when("GET", &super::blob_path(blob)).respond(404);
        road.source.rule(missing);
    }
    road.failed("app:1").await;
    assert!(other.writes().is_empty(), "{}", other.log_text());
    assert!(road.destination.count("POST", "*") > 0, "{}", road.logs());
}

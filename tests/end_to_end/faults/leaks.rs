//! What a registry, or somebody on the way to it, tries in order to be told a secret that is for others.

use consign::registry::{Access, Credentials, Tls};
use http::header::AUTHORIZATION;
use libtest_mimic::Trial;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{new_client, password, quick, reference};
use crate::harness::trial;
use crate::registry::{Auth, Bearer, Settings, TestRegistry, Transport, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![trial(
        "leaks::a_challenge_that_anybody_may_have_sent_is_not_answered_where_certificates_count",
        unverified_challenge,
    )]
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

use rustls::pki_types::PrivateKeyDer;

use super::*;

fn certified() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let names = ["proxy.test".to_owned(), "registry.test".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    (certified.cert.der().clone(), key)
}

fn behind(proxy: &str, certificates: Certificates) -> Connections {
    let proxies = Proxies::new(None, Some(proxy.parse().unwrap()), "direct.test");
    Connections::new(certificates, proxies)
}

/// The HTTP client takes one identity for the registry and for the proxy on the way.
#[test]
fn a_client_certificate_is_not_shown_to_a_proxy() {
    let (certificate, key) = certified();
    let mut certificates = Certificates {
        authorities: vec![certificate.clone()],
        ..Certificates::default()
    };
    for host in ["registry.test", "direct.test"] {
        let own = HostCertificates {
            authorities: Vec::new(),
            identity: Some(Identity::new(vec![certificate.clone()], key.clone_key())),
        };
        certificates.hosts.insert(host.to_owned(), Ok(own));
    }
    let client = |proxy: &str, host: &str| {
        let connections = behind(proxy, certificates.clone());
        let url = format!("https://{host}/v2/").parse().unwrap();
        let registry = host.parse().unwrap();
        let client = connections.client(&registry, Tls::Verified, (Errand::Api, &url));
        assert!(!format!("{connections:?} {client:?}").contains("pass-word"));
        client.map(drop).map_err(|error| error.to_string())
    };
    let refused = client("https://u:pass-word@proxy.test:8443", "registry.test").unwrap_err();
    assert!(refused.contains("`proxy.test:8443`"), "{refused}");
    assert!(refused.contains("`registry.test`"), "{refused}");
    assert!(!refused.contains("pass-word"), "{refused}");
    for (proxy, host) in [
        ("http://proxy.test:8080", "registry.test"),
        ("socks5h://proxy.test:1080", "registry.test"),
        ("https://proxy.test:8443", "direct.test"),
        ("https://u:pass-word@proxy.test:8443", "other.test"),
    ] {
        assert_eq!(client(proxy, host), Ok(()), "{proxy} {host}");
    }
}

/// A registry that sends us elsewhere does not get done there what only we may do.
#[test]
fn a_client_certificate_is_not_shown_where_others_send_us() {
    let (certificate, key) = certified();
    let with = |is_known: bool| {
        let identity = Identity::new(vec![certificate.clone()], key.clone_key());
        Ok(HostCertificates {
            authorities: Vec::new(),
            identity: is_known.then_some(identity),
        })
    };
    let hosts = [
        ("own.test", true),
        ("own.test:5001", true),
        ("auth.test", true),
        ("plain.test", false),
        ("docker.io", true),
    ];
    let hosts = hosts.map(|(host, is_known)| (host.to_owned(), with(is_known)));
    let certificates = Certificates {
        authorities: Vec::new(),
        hosts: hosts.into(),
    };
    let connections = Connections::new(certificates, Proxies::default());
    let shown = |registry: &str, errand: Errand, url: &str| {
        let (registry, url) = (registry.parse().unwrap(), url.parse().unwrap());
        let profile = connections.profile(&registry, Tls::Verified, (errand, &url));
        profile.identity
    };
    for (registry, errand, url, expected) in [
        (
            "own.test",
            Errand::Api,
            "https://own.test/v2/",
            Some("own.test"),
        ),
        (
            "docker.io",
            Errand::Api,
            "https://registry-1.docker.io/v2/",
            Some("docker.io"),
        ),
        ("own.test", Errand::Api, "https://auth.test/blob", None),
        ("own.test", Errand::Api, "https://own.test:5001/blob", None),
        ("plain.test", Errand::Api, "https://own.test/v2/", None),
        ("other.test", Errand::Api, "https://own.test/v2/", None),
        (
            "own.test",
            Errand::Token,
            "https://own.test/token",
            Some("own.test"),
        ),
        (
            "own.test",
            Errand::Token,
            "https://auth.test/token",
            Some("auth.test"),
        ),
        (
            "own.test:5000",
            Errand::Token,
            "https://own.test:5001/token",
            Some("own.test:5001"),
        ),
        ("plain.test", Errand::Token, "https://auth.test/token", None),
        ("other.test", Errand::Token, "https://auth.test/token", None),
    ] {
        let shown = shown(registry, errand, url);
        assert_eq!(shown.as_deref(), expected, "{registry} {errand:?} {url}");
    }
}

/// It is told a password that is not the registry's.
#[test]
fn the_certificate_of_a_proxy_is_checked_whatever_is_said_of_registries() {
    let (certificate, _) = certified();
    let (other, _) = certified();
    let takes = |authority: &CertificateDer<'static>, name: &'static str| {
        let connections = behind(
            "https://proxy.test",
            Certificates {
                authorities: vec![authority.clone()],
                ..Certificates::default()
            },
        );
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = connections.unverified(provider).unwrap();
        let name = ServerName::try_from(name).unwrap();
        let taken = verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now());
        taken.is_ok()
    };
    assert!(takes(&certificate, "proxy.test"));
    assert!(!takes(&other, "proxy.test"));
    assert!(takes(&other, "registry.test"));
}

/// They are 300 texts to be decoded, for a registry that speaks plain HTTP as a rule.
#[test]
fn the_systems_authorities_are_not_read_for_loopback_before_a_certificate_is_seen() {
    let connections = Connections::new(Certificates::default(), Proxies::default());
    let of = |name: &str| {
        let (registry, url) = (name.parse().unwrap(), format!("https://{name}/v2/"));
        let errand = (Errand::Api, &url.parse().unwrap());
        // Whether there are any is the system's business.
        drop(connections.client(&registry, Tls::Verified, errand));
        connections.roots.are_read()
    };
    assert!(!of("127.0.0.1:5000"));
    assert!(!of("localhost:5000"));
    assert!(of("registry.test"));
}

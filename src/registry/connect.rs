//! Connections: which certificates count for which host, and which proxy is on the way.
//!
//! A registry is trusted by the system's authorities, by those of the run, and by those that are given for
//! it; whatever it sends a request to, a token service or an object store, is trusted by the same and by
//! those that are given for that host, as Docker and containers/image do it. A client certificate is shown
//! to the host alone that it is given for, and not where a registry has sent a request that knows none: it
//! could have things done, or tokens made, in the name of others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use url::{Host, Url};

use crate::oci::Registry;

use super::error::NetworkError;
use super::place::is_loopback;
use super::proxy::Proxies;
use super::roots::{SystemRoots, WhenNeeded};
use super::tls::{Certificates, HostCertificates, Identity, Tls};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections are closed before common servers close them (nginx: 75 s, distribution: 60 s).
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections that are kept for each host.
const IDLE_MAX: usize = 64;

/// What connections have in common that are kept in one pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Profile {
    tls: Tls,
    /// This machine is never reached by a proxy.
    is_loopback: bool,
    /// The registry that sends the request, where something is given for it.
    registry: Option<String>,
    /// The host it goes to, where something is given for that.
    host: Option<String>,
    /// The host whose client certificate is shown.
    identity: Option<String>,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// What is asked of a registry, wherever that sends it.
    Api,
    /// A token.
    Token,
}

/// The connections of a run.
#[derive(Debug)]
pub(super) struct Connections {
    certificates: Certificates,
    proxies: Proxies,
    roots: SystemRoots,
    clients: Mutex<HashMap<Profile, reqwest::Client>>,
}

impl Connections {
    pub(super) fn new(certificates: Certificates, proxies: Proxies) -> Self {
        Self {
            certificates,
            proxies,
            roots: SystemRoots::default(),
            clients: Mutex::default(),
        }
    }

    /// The client for a request to `url` that `registry`, or what it said, asks for.
    ///
    /// The client certificate of the registry is for its own origin. That of another host is shown there to a
    /// token service alone, and only where that is at the same host, or the registry knows who asks too.
    ///
    /// # Errors
    ///
    /// Where certificates that are given for one of the two cannot be used, or there are none to check with.
    pub(super) fn client(
        &self,
        registry: &Registry,
        tls: Tls,
        (errand, url): (Errand, &Url),
    ) -> Result<reqwest::Client, NetworkError> {
        self.of_profile(self.profile(registry, tls, (errand, url)), url)
    }

    /// The client for a request to a service at `url` that is no registry: its certificate is checked, whatever
    /// is said of those of registries, by what is given for its host.
    pub(super) fn service(&self, url: &Url) -> Result<reqwest::Client, NetworkError> {
        let host = authority_of(url);
        let host = self.certificates.hosts.contains_key(&host).then_some(host);
        let profile = Profile {
            tls: Tls::Verified,
            is_loopback: is_loopback(url),
            registry: None,
            identity: host.clone(),
            host,
        };
        self.of_profile(profile, url)
    }

    fn of_profile(&self, profile: Profile, url: &Url) -> Result<reqwest::Client, NetworkError> {
        self.check_identity(&profile, url)?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&profile) {
            return Ok(client.clone());
        }
        let client = self.build(&profile)?;
        clients.insert(profile, client.clone());
        Ok(client)
    }

    fn profile(&self, registry: &Registry, tls: Tls, (errand, url): (Errand, &Url)) -> Profile {
        let given = |host: &str| {
            let host = host.to_owned();
            self.certificates.hosts.contains_key(&host).then_some(host)
        };
        // Docker Hub's API stands on another host than its name says.
        let home: Option<Url> = format!("{}://{}", url.scheme(), registry.authority())
            .parse()
            .ok();
        let home = home.as_ref();
        let is_own = home.is_some_and(|home| home.origin() == url.origin());
        let is_same_host = home.is_some_and(|home| home.host() == url.host());
        let own = given(registry.as_str());
        let host = if is_own {
            own.clone()
        } else {
            given(&authority_of(url))
        };
        let knows_who_asks = || {
            let found = self.certificates.hosts.get(registry.as_str());
            found.is_some_and(|own| own.as_ref().is_ok_and(|own| own.identity.is_some()))
        };
        let is_shown = match errand {
            Errand::Api => is_own,
            Errand::Token => is_same_host || knows_who_asks(),
        };
        Profile {
            tls,
            is_loopback: is_loopback(url),
            registry: own,
            identity: host.clone().filter(|_| is_shown),
            host,
        }
    }

    /// Refuses to show a client certificate where a proxy on the way could ask for it: the HTTP client has one
    /// identity for both.
    fn check_identity(&self, profile: &Profile, url: &Url) -> Result<(), NetworkError> {
        let proxy = self.proxies.of(url);
        let Some(proxy) = proxy.filter(|proxy| proxy.scheme() == "https") else {
            return Ok(());
        };
        let host = self.given(profile.identity.as_deref())?;
        if host.is_none_or(|host| host.identity.is_none()) {
            return Ok(());
        }
        let (proxy, host) = (authority_of(&proxy), authority_of(url));
        Err(NetworkError::Unusable(format!(
            "the client certificate for `{host}` is not used, for the proxy `{proxy}` on the way speaks TLS and \
             could ask for it; `NO_PROXY`, or a proxy by `http://`, leaves it to the registry"
        )))
    }

    /// The proxy on the way to `url`, for people: without its user.
    pub(super) fn proxy(&self, url: &Url) -> Option<String> {
        let proxy = self.proxies.of(url)?;
        Some(authority_of(&proxy))
    }

    fn build(&self, profile: &Profile) -> Result<reqwest::Client, NetworkError> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("consign/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            // What may be sent again is sent again by the transport; this would keep a copy of every request.
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .tls_backend_preconfigured(self.tls(profile)?)
            .no_proxy();
        let builder = if profile.is_loopback {
            builder
        } else {
            builder.proxy(self.proxies.rule())
        };
        builder.build().map_err(NetworkError::http)
    }

    fn tls(&self, profile: &Profile) -> Result<ClientConfig, NetworkError> {
        let registry = self.given(profile.registry.as_deref())?;
        let host = self.given(profile.host.as_deref())?;
        let failed = |error| NetworkError::Tls(Box::new(error));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        let is_given = registry.is_some() || host.is_some();
        let builder = match profile.tls {
            Tls::Verified
                if profile.is_loopback && !is_given && self.certificates.authorities.is_empty() =>
            {
                let verifier = WhenNeeded::new(self.roots.clone(), provider);
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
            }
            Tls::Verified => {
                let given = [registry, host].into_iter().flatten();
                builder.with_root_certificates(self.trusted(given)?)
            }
            Tls::Unverified => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(self.unverified(provider)?)),
        };
        let shown = self.given(profile.identity.as_deref())?;
        let identity = shown.and_then(|host| host.identity.as_ref());
        let mut config = match identity {
            Some(identity) => with_identity(builder, identity).map_err(failed)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// A verifier that takes any certificate but that of a proxy.
    fn unverified(&self, provider: Arc<CryptoProvider>) -> Result<Unverified, NetworkError> {
        let mut names = Vec::new();
        for proxy in self.proxies.over_tls() {
            let name = match proxy.host() {
                Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).ok(),
                Some(Host::Ipv4(address)) => Some(IpAddr::V4(address).into()),
                Some(Host::Ipv6(address)) => Some(IpAddr::V6(address).into()),
                None => None,
            };
            names.extend(name);
        }
        let of_proxies = if names.is_empty() {
            None
        } else {
            let roots = self.trusted(std::iter::empty())?;
            let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
            let verifier = builder.build();
            Some(verifier.map_err(|error| {
                NetworkError::Unusable(format!("no proxy can be checked: {error}"))
            })?)
        };
        Ok(Unverified {
            provider,
            names,
            of_proxies,
        })
    }

    fn given(&self, host: Option<&str>) -> Result<Option<&HostCertificates>, NetworkError> {
        let found = host.and_then(|host| self.certificates.hosts.get(host));
        match found {
            None => Ok(None),
            Some(Ok(given)) => Ok(Some(given)),
            Some(Err(why)) => Err(NetworkError::Unusable(why.clone())),
        }
    }

    /// All authorities that count.
    fn trusted<'a>(
        &self,
        given: impl Iterator<Item = &'a HostCertificates>,
    ) -> Result<Arc<RootCertStore>, NetworkError> {
        let mut more = given
            .flat_map(|host| &host.authorities)
            .chain(&self.certificates.authorities)
            .peekable();
        let system = match self.roots.read() {
            Ok(roots) => roots,
            // Those that are given may do.
            Err(_) if more.peek().is_some() => Arc::new(RootCertStore::empty()),
            Err(why) => return Err(NetworkError::Unusable(why)),
        };
        if more.peek().is_none() {
            return Ok(system);
        }
        let mut roots = RootCertStore::clone(&system);
        for authority in more {
            roots.add(authority.clone()).map_err(|error| {
                NetworkError::Unusable(format!("an authority that was given is no use: {error}"))
            })?;
        }
        Ok(Arc::new(roots))
    }
}

fn with_identity(
    builder: rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>,
    identity: &Identity,
) -> Result<ClientConfig, rustls::Error> {
    builder.with_client_auth_cert(identity.chain().to_vec(), identity.key().clone_key())
}

/// Host and port as names have them: the port only where it is not the scheme's own.
pub(super) fn authority_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Takes any certificate, as `--tls-verify=false` asks; the handshake itself must still be right. That is said
/// of registries: a proxy, which may be told a password of its own, has to prove who it is all the same.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
    /// The proxies that speak TLS.
    names: Vec<ServerName<'static>>,
    of_proxies: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.of_proxies {
            Some(verifier) if self.names.contains(&name.to_owned()) => {
                verifier.verify_server_cert(certificate, chain, name, ocsp, now)
            }
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;

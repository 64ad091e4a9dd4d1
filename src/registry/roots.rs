//! The authorities of the system, read when the first certificate is to be checked.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

/// The system's authorities, read once: that is most of what a run without work does.
#[derive(Debug, Clone, Default)]
pub(super) struct SystemRoots(Arc<OnceLock<Result<Arc<RootCertStore>, String>>>);

impl SystemRoots {
    /// Reads them, unless they are read.
    ///
    /// # Errors
    ///
    /// Says why there are none.
    pub(super) fn read(&self) -> Result<Arc<RootCertStore>, String> {
        self.0.get_or_init(system_roots).clone()
    }

    #[cfg(test)]
    pub(super) fn are_read(&self) -> bool {
        self.0.get().is_some()
    }
}

/// The system's authorities: those of `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems have some that are not well formed; they vouch for nobody.
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        for error in &found.errors {
            tracing::warn!(%error, "a part of the system's certificates cannot be read");
        }
        return Ok(Arc::new(roots));
    }
    let why = found.errors.first().map(ToString::to_string);
    Err(match why {
        Some(why) => format!("there are no authorities to check certificates with: {why}"),
        None => "there are no authorities to check certificates with on this system".to_owned(),
    })
}

/// Checks certificates by the system's authorities alone, which it reads when it sees the first. Registries on
/// loopback are asked in TLS first, and most speak plain HTTP.
#[derive(Debug)]
pub(super) struct WhenNeeded {
    roots: SystemRoots,
    provider: Arc<CryptoProvider>,
    verifier: OnceLock<Result<Arc<WebPkiServerVerifier>, rustls::Error>>,
}

impl WhenNeeded {
    pub(super) const fn new(roots: SystemRoots, provider: Arc<CryptoProvider>) -> Self {
        Self {
            roots,
            provider,
            verifier: OnceLock::new(),
        }
    }

    fn verifier(&self) -> Result<&WebPkiServerVerifier, rustls::Error> {
        let make = || {
            let roots = self.roots.read().map_err(rustls::Error::General)?;
            let provider = Arc::clone(&self.provider);
            WebPkiServerVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))
        };
        match self.verifier.get_or_init(make) {
            Ok(verifier) => Ok(verifier),
            Err(error) => Err(error.clone()),
        }
    }
}

impl ServerCertVerifier for WhenNeeded {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = self.verifier()?;
        verifier.verify_server_cert(certificate, chain, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verifier = self.verifier()?;
        verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verifier = self.verifier()?;
        verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

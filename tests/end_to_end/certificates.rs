//! An authority of our own, and the certificates that it signs.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// Who vouches for others; nobody knows it who is not told.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "an authority of the trials");
        let issuer = CertifiedIssuer::self_signed(params, key());
        Self {
            issuer: issuer.expect("a certificate"),
        }
    }

    /// Its certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its certificate.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A certificate of a server with these names.
    pub(crate) fn server(&self, names: &[&str]) -> Certified {
        self.certify(names, ExtendedKeyUsagePurpose::ServerAuth, None)
    }

    /// The same, which ended on 2 January 2020.
    pub(crate) fn expired_server(&self, names: &[&str]) -> Certified {
        let life = Some(((2019, 1, 2), (2020, 1, 2)));
        self.certify(names, ExtendedKeyUsagePurpose::ServerAuth, life)
    }

    /// The same, which begins on 2 January 3020.
    pub(crate) fn future_server(&self, names: &[&str]) -> Certified {
        let life = Some(((3020, 1, 2), (3021, 1, 2)));
        self.certify(names, ExtendedKeyUsagePurpose::ServerAuth, life)
    }

    /// A certificate of a client.
    pub(crate) fn client(&self) -> Certified {
        self.certify(&[], ExtendedKeyUsagePurpose::ClientAuth, None)
    }

    fn certify(
        &self,
        names: &[&str],
        purpose: ExtendedKeyUsagePurpose,
        life: Option<(Day, Day)>,
    ) -> Certified {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params
            .distinguished_name
            .push(DnType::CommonName, "somebody of the trials");
        if let Some((begin, end)) = life {
            params.not_before = date_time_ymd(begin.0, begin.1, begin.2);
            params.not_after = date_time_ymd(end.0, end.1, end.2);
        }
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("a signature");
        Certified {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }
}

/// Year, month, day.
type Day = (i32, u8, u8);

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certified {
    /// The certificate, in PEM.
    pub(crate) certificate: String,
    /// Its key, in PEM.
    pub(crate) key: String,
    /// The certificate.
    pub(crate) der: CertificateDer<'static>,
    /// Its key, as PKCS#8.
    pub(crate) key_der: Vec<u8>,
}

impl Certified {
    /// A certificate that nobody else signed.
    pub(crate) fn alone(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certified = rcgen::generate_simple_self_signed(names).expect("a certificate");
        Self {
            certificate: certified.cert.pem(),
            key: certified.signing_key.serialize_pem(),
            der: certified.cert.der().clone(),
            key_der: certified.signing_key.serialize_der(),
        }
    }

    /// A server that shows it, and that asks for certificates of the authority `clients`.
    pub(crate) fn acceptor(&self, clients: Option<CertificateDer<'static>>) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("TLS versions");
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority).expect("a certificate");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                config.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let key = PrivateKeyDer::try_from(self.key_der.clone()).expect("a key");
        let config = config
            .with_single_cert(vec![self.der.clone()], key)
            .expect("the key is that of the certificate");
        TlsAcceptor::from(Arc::new(config))
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

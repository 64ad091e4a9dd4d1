//! Whether, and by which certificates, the two ends of a connection are known.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Whether certificates are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tls {
    /// Certificates are checked.
    #[default]
    Verified,
    /// Any certificate is taken, and plain HTTP where TLS is not spoken.
    Unverified,
}

/// A certificate with its key, which proves to a registry who asks. The key is never printed.
#[derive(Clone)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    /// The identity of `chain`, the own certificate first, with its `key`.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self {
            chain,
            key: Arc::new(key),
        }
    }

    /// The chain, the own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The key of the first certificate.
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates, ***)", self.chain.len())
    }
}

/// What is known of one host: authorities that may vouch for it, and who asks there.
#[derive(Debug, Clone, Default)]
pub struct HostCertificates {
    /// Authorities that are trusted beside the system's.
    pub authorities: Vec<CertificateDer<'static>>,
    /// What is shown where the host asks for a certificate.
    pub identity: Option<Identity>,
}

/// The certificates of a run.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    /// Authorities that are trusted for every host, beside the system's.
    pub authorities: Vec<CertificateDer<'static>>,
    /// What is known of single hosts, by `host[:port]` in lower case, as names have it; or a sentence that
    /// says why it cannot be used, which matters only where the host is met.
    pub hosts: HashMap<String, Result<HostCertificates, String>>,
}

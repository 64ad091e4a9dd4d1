//! Chains of certificates, each member of them valid at the time that counts.
//!
//! The verifier takes every certificate of a trusted root for an anchor, and the dates of anchors are
//! nobody's business there. Here only the last of a chain is one, and its own dates count too: whoever let
//! an intermediate expire does not vouch for anything any more.

use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, DnsName, ServerName, UnixTime};
use sigstore_crypto::WEBPKI_VERIFICATION_ALGS;
use sigstore_types::TimeRange;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::limits::signature::CERTIFICATES_MAX;
use crate::text;

use super::super::Refusal;
use super::claims::{self, Certified, refused};
use super::shape;

/// `id-kp-codeSigning` (RFC 5280, section 4.2.1.12), the value of the OID in DER.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// An authority of a trusted root.
#[derive(Debug)]
pub(super) struct Authority {
    /// Leaf-most first; not empty.
    chain: Vec<Vec<u8>>,
    window: Option<TimeRange>,
    /// When the anchor is valid.
    dates: (Timestamp, Timestamp),
}

/// Whether a certificate must say that it is for signing code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// It must.
    Said,
    /// It must not say that it is for something else; so Go reads certificates, and podman with it.
    NotDenied,
}

impl Authority {
    pub(super) fn new(chain: Vec<Vec<u8>>, window: Option<TimeRange>) -> Result<Self, String> {
        let last = chain.last().ok_or("an authority has no certificate")?;
        let dates = dates(last)?;
        if chain.len() > CERTIFICATES_MAX {
            return Err(format!(
                "a chain has more than {CERTIFICATES_MAX} certificates"
            ));
        }
        Ok(Self {
            chain,
            window,
            dates,
        })
    }

    /// The chains that a PEM text makes: one for each root, with all that are none below it.
    pub(super) fn chains(pem: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, String> {
        let mut roots = Vec::new();
        let mut others = Vec::new();
        for der in certificates(pem)? {
            let certificate = Certificate::from_der(&der).map_err(|why| why.to_string())?;
            let body = &certificate.tbs_certificate;
            if body.subject == body.issuer {
                roots.push(der);
            } else {
                others.push(der);
            }
        }
        if roots.is_empty() {
            return Err("no certificate in it is a root (its own issuer)".to_owned());
        }
        let chain = |root| others.iter().cloned().chain([root]).collect();
        Ok(roots.into_iter().map(chain).collect())
    }

    /// Checks that `leaf` was vouched for at `time`, by way of `intermediates` where the chain has a gap.
    fn vouches(
        &self,
        (leaf, intermediates): (&CertificateDer<'_>, &[Vec<u8>]),
        time: Timestamp,
        usage: Usage,
    ) -> Result<(), String> {
        if self.window.is_some_and(|window| !window.contains(time)) {
            return Err(format!("the authority is not trusted at {time}"));
        }
        let (from, to) = self.dates;
        if time < from || time > to {
            return Err(format!(
                "the authority's own certificate is valid from {from} to {to}, and not at {time}"
            ));
        }
        let (anchor, below) = self.chain.split_last().ok_or("the authority is empty")?;
        let anchor = CertificateDer::from(anchor.as_slice());
        let anchor = anchor_from_trusted_cert(&anchor).map_err(|why| why.to_string())?;
        let below: Vec<CertificateDer<'_>> = below
            .iter()
            .chain(intermediates)
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let leaf = EndEntityCert::try_from(leaf).map_err(|why| why.to_string())?;
        let seconds = u64::try_from(time.as_second()).map_err(|_| "a time before 1970")?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let usage = match usage {
            Usage::Said => KeyUsage::required(CODE_SIGNING),
            Usage::NotDenied => KeyUsage::required_if_present(CODE_SIGNING),
        };
        let anchors = [anchor];
        leaf.verify_for_usage(
            WEBPKI_VERIFICATION_ALGS,
            &anchors,
            &below,
            time,
            usage,
            None,
            None,
        )
        .map(drop)
        .map_err(|why| plain(&why.to_string()))
    }
}

/// The sentence that an error of the library for certificates is, with its name there.
pub(super) fn plain(name: &str) -> String {
    const SENTENCES: [(&str, &str); 9] = [
        ("CertExpired", "a certificate had ended"),
        ("CertNotValidYet", "a certificate had not begun"),
        ("UnknownIssuer", "nobody who is trusted issued it"),
        ("InvalidSignatureForPublicKey", "its issuer did not sign it"),
        ("RequiredEkuNotFound", "it is not for signing code"),
        ("CaUsedAsEndEntity", "it is an authority's own"),
        ("EndEntityUsedAsCa", "one that is no authority's issued it"),
        (
            "PathLenConstraintViolated",
            "the chain is longer than an authority allows",
        ),
        (
            "NameConstraintViolation",
            "an authority may not vouch for such names",
        ),
    ];
    let found = SENTENCES.iter().find(|(known, _)| name.starts_with(known));
    found.map_or_else(
        || name.to_owned(),
        |(known, sentence)| format!("{sentence} ({known})"),
    )
}

/// Checks that one of `authorities` vouched for the first of `chain` at each of `times`; the others of it
/// are intermediates, which nobody trusts by themselves.
pub(super) fn vouched(
    authorities: &[Authority],
    chain: &[Vec<u8>],
    times: &[Timestamp],
    usage: Usage,
) -> Result<(), Refusal> {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(refused("there is no certificate"));
    };
    if chain.len() > CERTIFICATES_MAX {
        return Err(refused(&format!(
            "its chain has more than {CERTIFICATES_MAX} certificates"
        )));
    }
    let leaf = CertificateDer::from(leaf.as_slice());
    for &time in times {
        let mut why = "there is no authority".to_owned();
        let is_vouched = authorities.iter().any(|authority| {
            let vouched = authority.vouches((&leaf, intermediates), time, usage);
            vouched.map_err(|other| why = other).is_ok()
        });
        if !is_vouched {
            return Err(refused(&format!(
                "its certificate was not vouched for at {time}: {why}"
            )));
        }
    }
    Ok(())
}

/// The certificates of a PEM text, in DER; at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|why| format!("it is no PEM: {}", text::told_of_pem(&why)))?;
        shape::check("certificate", &certificate).map_err(|why| why.to_string())?;
        Certificate::from_der(&certificate)
            .map_err(|why| format!("a certificate cannot be read: {why}"))?;
        found.push(certificate.to_vec());
        if found.len() > CERTIFICATES_MAX {
            return Err(format!("it has more than {CERTIFICATES_MAX} certificates"));
        }
    }
    if found.is_empty() {
        return Err("it has no certificate".to_owned());
    }
    Ok(found)
}

fn dates(der: &[u8]) -> Result<(Timestamp, Timestamp), String> {
    let certificate =
        Certificate::from_der(der).map_err(|why| format!("a certificate cannot be read: {why}"))?;
    claims::dates(&certificate).map_err(|refusal| refusal.to_string())
}

/// Certificates of a site's own authority, judged at the present time and without any log
/// (containers-policy.json(5), `pki`).
#[derive(Debug)]
pub struct Pki {
    authorities: Vec<Authority>,
    intermediates: Vec<Vec<u8>>,
    subject: Subject,
}

/// Whom a certificate must be issued to; what is `None` is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// One of its email addresses, exactly.
    pub email: Option<String>,
    /// One of its host names, as TLS compares them.
    pub host: Option<String>,
}

impl Pki {
    /// Certificates that chain to one of the roots in `roots` (PEM; all in it are trusted), by way of
    /// `intermediates` (PEM) and what signatures bring.
    ///
    /// # Errors
    ///
    /// When a certificate cannot be read.
    pub fn new(
        roots: &[u8],
        intermediates: Option<&[u8]>,
        subject: Subject,
    ) -> Result<Self, String> {
        let authorities = certificates(roots)?
            .into_iter()
            .map(|root| Authority::new(vec![root], None))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            authorities,
            intermediates: intermediates
                .map(certificates)
                .transpose()?
                .unwrap_or_default(),
            subject,
        })
    }

    /// Judges the certificates in `chain`, the signer's first, as they are at `now`.
    pub(in crate::sigstore) fn judge(
        &self,
        chain: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<Certified, Refusal> {
        let all: Vec<Vec<u8>> = chain.iter().chain(&self.intermediates).cloned().collect();
        vouched(&self.authorities, &all, &[now], Usage::NotDenied)?;
        let leaf = chain
            .first()
            .ok_or_else(|| refused("there is no certificate"))?;
        let certified = Certified::read(leaf)?;
        if let Some(email) = &self.subject.email
            && !certified.emails.contains(email)
        {
            // The words of containers/image.
            return Err(refused(&format!(
                "Required email \"{email}\" not found (got {:?})",
                certified.emails
            )));
        }
        if let Some(host) = &self.subject.host {
            named_host(leaf, host)?;
        }
        Ok(certified)
    }
}

fn named_host(leaf: &[u8], host: &str) -> Result<(), Refusal> {
    let der = CertificateDer::from(leaf);
    let unfit = |why: &dyn std::fmt::Display| {
        refused(&format!("Unexpected subject hostname: `{host}`: {why}"))
    };
    let certificate = EndEntityCert::try_from(&der).map_err(|why| unfit(&why))?;
    let name = DnsName::try_from(host).map_err(|why| unfit(&why))?;
    certificate
        .verify_is_valid_for_subject_name(&ServerName::DnsName(name))
        .map_err(|why| unfit(&why))
}

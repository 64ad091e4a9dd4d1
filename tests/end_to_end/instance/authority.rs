//! The certificate authority: a root, intermediates, and leaves that live for minutes, each with the
//! promise of a certificate log (RFC 6962) that it will show it.

use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, CustomExtension,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, SanType, SerialNumber, date_time_ymd,
};
use x509_cert::der::{Decode as _, Encode as _};

use super::keys::{Key, Public, pem, sha256};

/// Who issues certificates.
type Issuer = CertifiedIssuer<'static, KeyPair>;

/// The issuer of a token, as a bare string: Fulcio's first way, still read.
const ISSUER_BARE: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1, 1];
/// The same as an ASN.1 string.
const ISSUER: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1, 8];
/// The list of promises in a certificate, RFC 6962 section 3.3.
const PROMISES: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

/// Where in time the root and its good intermediates are good, in years.
const LIFE: (i32, i32) = (2020, 2050);

/// A root with its intermediates.
#[derive(Debug)]
pub(super) struct Authority {
    root: Issuer,
    /// Issues the leaves.
    intermediate: Issuer,
    /// One whose time ended in 2024.
    expired: Issuer,
    /// One that the root signed too, and that stands in no trusted root.
    stranger: Issuer,
}

/// Which intermediate issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum By {
    /// The good one.
    #[default]
    Intermediate,
    /// The one that had expired.
    Expired,
    /// The one that nobody was told of.
    Stranger,
    /// The leaf itself.
    Itself,
}

/// What a certificate log promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Promise {
    /// To show this certificate.
    #[default]
    Good,
    /// Nothing.
    Absent,
    /// Something by a signature that is wrong.
    Bad,
    /// The right thing, as a log that nobody trusts.
    Foreign,
}

/// A certificate to be issued.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    /// Whom it names.
    pub(super) names: Vec<SanType>,
    /// A common name, which real ones have none of.
    pub(super) common_name: Option<String>,
    /// Who vouched for that; nothing for a certificate that does not say.
    pub(super) issuer: Option<String>,
    /// When it begins, in seconds since 1970.
    pub(super) begin: u64,
    /// How many seconds it lasts.
    pub(super) lifetime: u64,
    /// What it is for.
    pub(super) purpose: ExtendedKeyUsagePurpose,
    /// Whether it may issue others.
    pub(super) is_authority: bool,
    /// What else it says.
    pub(super) extensions: Vec<CustomExtension>,
    /// What the log says.
    pub(super) promise: Promise,
    /// Who issues it.
    pub(super) by: By,
}

impl Authority {
    /// A new one; all have the same names.
    pub(super) fn new() -> Self {
        let root = CertifiedIssuer::self_signed(params("instance root", LIFE, None), pair());
        let root = root.expect("a certificate");
        let under = |name: &str, life| {
            let issuer = CertifiedIssuer::signed_by(params(name, life, Some(0)), pair(), &root);
            issuer.expect("a certificate")
        };
        Self {
            intermediate: under("instance intermediate", LIFE),
            expired: under("instance intermediate of old", (LIFE.0, 2024)),
            stranger: under("instance intermediate unseen", LIFE),
            root,
        }
    }

    fn intermediate(&self, by: By) -> &Issuer {
        match by {
            By::Intermediate | By::Itself => &self.intermediate,
            By::Expired => &self.expired,
            By::Stranger => &self.stranger,
        }
    }

    /// The certificates above a leaf, the root at the end.
    pub(super) fn chain(&self, by: By) -> [Vec<u8>; 2] {
        [self.intermediate(by), &self.root].map(|issuer| issuer.der().to_vec())
    }

    /// Issues a certificate.
    pub(super) fn issue(&self, leaf: &Leaf, key: &Key, public: &Public, log: &Key) -> Vec<u8> {
        let mut params = leaf.params();
        if leaf.by == By::Itself {
            let sign = |params: &CertificateParams| params.self_signed(key.pair());
            return promised(&mut params, leaf, &public.der, log, sign);
        }
        let issuer = self.intermediate(leaf.by);
        let above = issuer.key().subject_public_key_info();
        let sign = |params: &CertificateParams| params.signed_by(public, issuer);
        promised(&mut params, leaf, &above, log, sign)
    }
}

impl Leaf {
    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        // A subject alternative name is critical where there is no other.
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = &self.common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(self.begin);
        params.not_after = params.not_before + Duration::from_secs(self.lifetime);
        params.serial_number = Some(SerialNumber::from_slice(&serial()));
        params.subject_alt_names.clone_from(&self.names);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if self.is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        params.extended_key_usages = vec![self.purpose.clone()];
        params.use_authority_key_identifier_extension = true;
        if let Some(issuer) = &self.issuer {
            let extension = CustomExtension::from_oid_content;
            let text = der(UTF8, issuer.as_bytes());
            let bare = extension(ISSUER_BARE, issuer.clone().into_bytes());
            params.custom_extensions = vec![bare, extension(ISSUER, text)];
        }
        params.custom_extensions.extend(self.extensions.clone());
        params
    }
}

/// Signs a certificate, and once more with the log's promise to show the first.
fn promised(
    params: &mut CertificateParams,
    leaf: &Leaf,
    above: &[u8],
    log: &Key,
    sign: impl Fn(&CertificateParams) -> Result<Certificate, rcgen::Error>,
) -> Vec<u8> {
    let bare = sign(params).expect("a certificate").der().to_vec();
    let foreign = Key::generate();
    let log = match leaf.promise {
        Promise::Absent => return bare,
        Promise::Foreign => &foreign,
        Promise::Good | Promise::Bad => log,
    };
    let parsed = x509_cert::Certificate::from_der(&bare).expect("a certificate");
    let mut shown = parsed.tbs_certificate.to_der().expect("it was read");
    if leaf.promise == Promise::Bad {
        shown.push(0);
    }
    let promise = promise(log, &sha256(above), &shown, leaf.begin * 1000);
    let list = [counted(promise.len() + 2), counted(promise.len())].concat();
    let list = der(OCTETS, &[list, promise].concat());
    let promises = CustomExtension::from_oid_content(PROMISES, list);
    params.custom_extensions.push(promises);
    sign(params).expect("a certificate").der().to_vec()
}

/// A signed certificate timestamp of a precertificate, RFC 6962 section 3.2; `time` in milliseconds.
fn promise(log: &Key, above: &[u8; 32], shown: &[u8], time: u64) -> Vec<u8> {
    let length = u32::try_from(shown.len()).expect("a certificate is small");
    let mut signed = vec![0, 0];
    signed.extend(time.to_be_bytes());
    signed.extend([0, 1]);
    signed.extend(above);
    signed.extend(&length.to_be_bytes()[1..]);
    signed.extend(shown);
    signed.extend([0, 0]);
    let signature = log.sign(&signed);
    let mut promise = vec![0];
    promise.extend(log.public().id());
    promise.extend(time.to_be_bytes());
    // No extensions; SHA-256 and ECDSA.
    promise.extend([0, 0, 4, 3]);
    promise.extend(counted(signature.len()));
    promise.extend(signature);
    promise
}

fn counted(length: usize) -> Vec<u8> {
    let length = u16::try_from(length).expect("it is small");
    length.to_be_bytes().to_vec()
}

const OCTETS: u8 = 4;
const UTF8: u8 = 12;
const IA5: u8 = 22;

/// One value in DER, of up to 255 bytes.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("it is small");
    let mut bytes = vec![tag];
    if length > 127 {
        bytes.push(0x81);
    }
    bytes.push(length);
    bytes.extend(content);
    bytes
}

/// A comment as Netscape had it, which browsers showed and nobody checks.
pub(super) fn comment(text: &str) -> CustomExtension {
    let oid = &[2, 16, 840, 1, 113_730, 1, 13];
    CustomExtension::from_oid_content(oid, der(IA5, text.as_bytes()))
}

/// A certificate in PEM.
pub(super) fn certificate_pem(der: &[u8]) -> String {
    pem("CERTIFICATE", der)
}

fn params(name: &str, life: (i32, i32), depth: Option<u8>) -> CertificateParams {
    let mut params = CertificateParams::default();
    let constraints = depth.map_or(BasicConstraints::Unconstrained, |depth| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        BasicConstraints::Constrained(depth)
    });
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = depth.is_some();
    params.distinguished_name = DistinguishedName::new();
    let subject = &mut params.distinguished_name;
    subject.push(DnType::OrganizationName, "instance.test");
    subject.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(life.0, 1, 1);
    params.not_after = date_time_ymd(life.1, 1, 1);
    params
}

fn pair() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn serial() -> [u8; 16] {
    let mut serial: [u8; 16] = std::array::from_fn(|_| fastrand::u8(..));
    // Positive, and as long as it looks.
    serial[0] = 0x5a;
    serial
}

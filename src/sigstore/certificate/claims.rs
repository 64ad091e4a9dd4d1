//! What a certificate claims: who signed, who vouched for them, and in which build.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, Utf8StringRef};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::limits::signature::{CLAIM_BYTES_MAX, CLAIMS_MAX};
use crate::text;
use crate::text::{cleaned, told_of_regexp};

use super::super::Refusal;
use super::super::key::PublicKey;

/// The arc below which Fulcio writes what it was told of a build (its `oid-info.md`).
const FULCIO: &str = "1.3.6.1.4.1.57264.1.";
/// Who vouched for the identity: a UTF-8 string in DER.
const ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");
/// The same in older certificates: the bytes of the text.
const ISSUER_OLD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");

/// How much of an error is shown, in characters.
const SHOWN_CHARS_MAX: usize = 400;

/// Who made a signature, as a certificate says that passed everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// Its first email address or URI; empty where it has none.
    pub identity: String,
    /// Who vouched for that, usually a URL; empty where it does not say.
    pub issuer: String,
    /// All its email addresses.
    pub emails: Vec<String>,
    /// What Fulcio was told of the build, by OID.
    pub claims: BTreeMap<String, String>,
    /// When the signature was there, by the first proof of it; `None` where the present time counted.
    pub time: Option<Timestamp>,
    /// Whether a transparency log vouched for it.
    pub logged: bool,
    /// Whether the certificate itself was proven to be in a log.
    pub transparent: bool,
    /// Its key.
    pub(super) key: PublicKey,
}

impl Certified {
    /// Reads a certificate, and believes it.
    pub(super) fn read(der: &[u8]) -> Result<Self, Refusal> {
        let broken = |why: &dyn fmt::Display| {
            refused(&cleaned(
                &format!("its certificate cannot be read: {why}"),
                SHOWN_CHARS_MAX,
            ))
        };
        let certificate = Certificate::from_der(der).map_err(|why| broken(&why))?;
        let body = &certificate.tbs_certificate;
        let key = body
            .subject_public_key_info
            .to_der()
            .map_err(|why| broken(&why))?;
        let key = PublicKey::from_der(&key).map_err(|why| broken(&why))?;
        let names = body
            .get::<SubjectAltName>()
            .map_err(|why| broken(&why))?
            .map(|(_, names)| names.0)
            .unwrap_or_default();
        let mut identity = None;
        let mut emails = Vec::new();
        for name in &names {
            let text = match name {
                GeneralName::Rfc822Name(email) => {
                    emails.push(email.to_string());
                    email.to_string()
                }
                GeneralName::UniformResourceIdentifier(uri) => uri.to_string(),
                GeneralName::OtherName(_)
                | GeneralName::DnsName(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EdiPartyName(_)
                | GeneralName::IpAddress(_)
                | GeneralName::RegisteredId(_) => continue,
            };
            identity.get_or_insert(text);
        }
        Ok(Self {
            identity: identity.unwrap_or_default(),
            issuer: issuer(&certificate)?,
            emails,
            claims: claims(&certificate),
            time: None,
            logged: false,
            transparent: false,
            key,
        })
    }

    /// Checks that its key made `signature` over `message`.
    pub(in crate::sigstore) fn made(
        &self,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Refusal> {
        self.key.verify(message, signature)
    }
}

pub(super) fn dates(certificate: &Certificate) -> Result<(Timestamp, Timestamp), Refusal> {
    let validity = &certificate.tbs_certificate.validity;
    let read = |time: &x509_cert::time::Time| {
        Timestamp::try_from(time.to_system_time())
            .map_err(|why| refused(&format!("a certificate's date cannot be read: {why}")))
    };
    Ok((read(&validity.not_before)?, read(&validity.not_after)?))
}

fn issuer(certificate: &Certificate) -> Result<String, Refusal> {
    let extensions = certificate.tbs_certificate.extensions.iter().flatten();
    let of = |oid| {
        let found = extensions.clone().find(|one| one.extn_id == oid);
        found.map(|one| one.extn_value.as_bytes())
    };
    if let Some(value) = of(ISSUER) {
        return Utf8StringRef::from_der(value)
            .map(|text| text.to_string())
            .map_err(|why| refused(&format!("its certificate's issuer cannot be read: {why}")));
    }
    let old = of(ISSUER_OLD).map(text_of).unwrap_or_default();
    Ok(old)
}

/// What Fulcio wrote of the build, as it is.
fn claims(certificate: &Certificate) -> BTreeMap<String, String> {
    let extensions = certificate.tbs_certificate.extensions.iter().flatten();
    extensions
        .map(|one| (one.extn_id.to_string(), one.extn_value.as_bytes()))
        .filter(|(oid, value)| oid.starts_with(FULCIO) && value.len() <= CLAIM_BYTES_MAX)
        .take(CLAIMS_MAX)
        .map(|(oid, value)| (oid, text_of(value)))
        .collect()
}

/// A UTF-8 string in DER, or the bytes as they are.
fn text_of(value: &[u8]) -> String {
    Utf8StringRef::from_der(value).map_or_else(
        |_| String::from_utf8_lossy(value).into_owned(),
        |text| text.to_string(),
    )
}

/// What an identity or an issuer must be.
#[derive(Clone, PartialEq, Eq)]
pub enum Words {
    /// Exactly this.
    Exact(String),
    /// What this regular expression finds anywhere in it, as cosign's do.
    Regexp(Regexp),
}

/// A regular expression that can be compiled. It is kept as it is written: compiled, those of a long list would fill
/// the memory, and compiling one takes less time than the signature it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regexp(String);

/// Why words are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WordsError(String);

impl Words {
    /// Exactly `text`.
    ///
    /// # Errors
    ///
    /// When it is empty, which every certificate without a name would fit.
    pub fn exact(text: &str) -> Result<Self, WordsError> {
        if text.is_empty() {
            return Err(WordsError("it is empty".to_owned()));
        }
        Ok(Self::Exact(text.to_owned()))
    }

    /// What `pattern` finds, anywhere in the text. Classes such as `\d` and `\w` and the flag `i` mean
    /// ASCII, as in the RE2 of cosign.
    ///
    /// # Errors
    ///
    /// When it is empty or no regular expression, or would take more than 256 KiB.
    pub fn regexp(pattern: &str) -> Result<Self, WordsError> {
        if pattern.is_empty() {
            return Err(WordsError("it is empty, and would fit anything".to_owned()));
        }
        text::regexp(pattern).map_err(|why| {
            let why = why.to_string();
            WordsError(format!(
                "it is no regular expression: {}",
                told_of_regexp(&why)
            ))
        })?;
        Ok(Self::Regexp(Regexp(pattern.to_owned())))
    }

    /// Whether `name` is what is meant. An empty one never is: it is a name that is not there.
    pub fn fit(&self, name: &str) -> bool {
        if name.is_empty() {
            return false;
        }
        match self {
            Self::Exact(wanted) => wanted == name,
            Self::Regexp(Regexp(pattern)) => {
                text::regexp(pattern).is_ok_and(|regexp| regexp.is_match(name.as_bytes()))
            }
        }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) if looks_like_pattern(text) => write!(
                f,
                "`{text}` (letter by letter: what ends with `-regexp` takes patterns)"
            ),
            Self::Exact(text) => write!(f, "`{text}`"),
            Self::Regexp(Regexp(pattern)) => write!(f, "`{pattern}` (a regular expression)"),
        }
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether somebody may have meant a regular expression. Addresses and URIs have dots, and may have a `+`.
fn looks_like_pattern(text: &str) -> bool {
    text.starts_with('^') || text.ends_with('$') || text.contains(".*")
}

/// A refusal with what `why` says.
pub(super) fn refused(why: &str) -> Refusal {
    Refusal::Form(why.to_owned())
}

//! Who may have signed, and who did.

use jiff::Timestamp;

use super::certificate::{Certificates, Certified, LoggedKeys, Material, Pki};
use super::{Bundle, Payload, PublicKey, Refusal, Statement, signature_of};

/// Who may have made a signature.
#[derive(Debug)]
pub enum Signers {
    /// The holder of one of these keys; no log is asked.
    Keys(Vec<PublicKey>),
    /// The same, and a transparency log says so.
    Logged(LoggedKeys),
    /// Whoever a certificate names, issued by an authority of a trusted root.
    Certificates(Certificates),
    /// Whoever a certificate of a site's own authority names, now.
    Pki(Pki),
}

/// Who made a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    /// The holder of a key.
    Key {
        /// The key's id.
        id: String,
        /// When the signature was there, where a log says it.
        time: Option<Timestamp>,
    },
    /// Whom a certificate names.
    Certificate(Box<Certified>),
}

impl Signers {
    /// Whether they are known by certificates.
    pub const fn by_certificate(&self) -> bool {
        match self {
            Self::Keys(_) | Self::Logged(_) => false,
            Self::Certificates(_) | Self::Pki(_) => true,
        }
    }

    /// Whose signature one of theirs is, as a sentence begins.
    pub const fn whose(&self) -> &'static str {
        if self.by_certificate() {
            "the certificate's"
        } else {
            "this key's"
        }
    }

    /// Checks a signature in base64 over a payload, with what stands beside it; gives what the payload says
    /// and who made it.
    ///
    /// # Errors
    ///
    /// [`Refusal::Signature`] when none of them made it, else a form that says which proof is missing or wrong.
    pub fn payload(
        &self,
        (payload, signature): (&[u8], &str),
        material: &Material<'_>,
    ) -> Result<(Payload, Maker), Refusal> {
        Payload::check_size(payload)?;
        match self {
            Self::Keys(keys) => {
                let (read, position) = Payload::verify(payload, signature, keys)?;
                Ok((read, key(keys, position, None)))
            }
            Self::Logged(logged) => {
                let (read, position, time) = logged.payload((payload, signature), material)?;
                Ok((read, key(logged.keys(), position, time)))
            }
            Self::Certificates(certificates) => {
                let (read, certified) = certificates.payload((payload, signature), material)?;
                Ok((read, Maker::Certificate(Box::new(certified))))
            }
            Self::Pki(pki) => {
                let certified = pki.judge(&material.certificates()?, Timestamp::now())?;
                certified.made(payload, &signature_of(signature)?)?;
                Ok((
                    Payload::read(payload)?,
                    Maker::Certificate(Box::new(certified)),
                ))
            }
        }
    }

    /// Checks a bundle; gives what its statement says and who made it. The predicate type and the subjects
    /// are for the caller to compare.
    ///
    /// # Errors
    ///
    /// As [`Signers::payload`].
    pub fn statement(&self, bundle: &Bundle) -> Result<(Statement, Maker), Refusal> {
        match self {
            Self::Keys(keys) => {
                let (statement, position) = bundle.verify(keys)?;
                Ok((statement, key(keys, position, None)))
            }
            Self::Logged(logged) => {
                let (statement, position, time) = logged.statement(bundle)?;
                Ok((statement, key(logged.keys(), position, time)))
            }
            Self::Certificates(certificates) => {
                let (statement, certified) = certificates.statement(bundle)?;
                Ok((statement, Maker::Certificate(Box::new(certified))))
            }
            Self::Pki(_) => Err(Refusal::Form(
                "bundles are not read by the rule `pki`, which podman knows for tags alone"
                    .to_owned(),
            )),
        }
    }
}

fn key(keys: &[PublicKey], position: usize, time: Option<Timestamp>) -> Maker {
    let id = keys.get(position).map(PublicKey::id).unwrap_or_default();
    Maker::Key { id, time }
}

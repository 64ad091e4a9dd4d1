//! What an entry asks for itself: its platforms, who must have signed it, and who signs it.
//!
//! The same few keys stand in two places: behind the names of a list line as `key=value`, and, as
//! `x-nerdctl-key`, in a service of a compose file. [`Collected`] holds the rules of both, which are
//! nerdctl's without its holes: there a key without its provider, an identity beside a public key, or
//! a value of another type silently switch verification off; here each of them is a [`Fault`].

use std::fmt;

use crate::limits::input::SETTING_BYTES_MAX;
use crate::oci;
use crate::oci::{Platform, PlatformSelection};
use crate::text;
use crate::text::told_of_regexp;

/// What an entry asks for itself. What it leaves open, the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The platforms that are wanted of this image.
    pub platforms: Option<PlatformSelection>,
    /// Who must have signed it.
    pub verify: Option<Verify>,
    /// Who signs it.
    pub sign: Option<Sign>,
}

/// Who must have signed an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verify {
    /// The entry brings no verification of its own, and says so.
    None,
    /// The owner of the public key in this file, a path as it can be opened.
    Key(String),
    /// Whom a certificate names.
    Certificate(CertificateWords),
}

/// Whom a certificate must name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateWords {
    /// Who signed.
    pub identity: Words,
    /// Who says so.
    pub issuer: Words,
}

/// How something is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Words {
    /// Exactly this.
    Exact(String),
    /// What this regular expression finds something in. It is one that can be compiled.
    Regexp(String),
}

/// Who signs an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sign {
    /// The entry brings no signer of its own, and says so.
    None,
    /// The owner of the private key in this file, a path as it can be opened.
    Key(String),
    /// Whoever an identity token names.
    Keyless,
}

/// A key of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The platform, or several, parted by commas.
    Platform,
    /// How it is verified.
    Verify,
    /// How it is signed.
    Sign,
    /// The public key that verifies.
    PublicKey,
    /// The private key that signs.
    PrivateKey,
    /// The identity of a certificate.
    Identity,
    /// The same, as a regular expression.
    IdentityRegexp,
    /// The issuer of a certificate.
    Issuer,
    /// The same, as a regular expression.
    IssuerRegexp,
}

impl Key {
    /// All keys, in the order in which they are written.
    pub const ALL: [Self; 9] = [
        Self::Platform,
        Self::Verify,
        Self::PublicKey,
        Self::Identity,
        Self::IdentityRegexp,
        Self::Issuer,
        Self::IssuerRegexp,
        Self::Sign,
        Self::PrivateKey,
    ];

    /// Its name on a list line. In a compose file `x-nerdctl-` stands before it, but for the platform.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Verify => "verify",
            Self::Sign => "sign",
            Self::PublicKey => "cosign-public-key",
            Self::PrivateKey => "cosign-private-key",
            Self::Identity => "cosign-certificate-identity",
            Self::IdentityRegexp => "cosign-certificate-identity-regexp",
            Self::Issuer => "cosign-certificate-oidc-issuer",
            Self::IssuerRegexp => "cosign-certificate-oidc-issuer-regexp",
        }
    }

    /// The key of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    /// Whether its value is the path of a key.
    pub const fn is_path(self) -> bool {
        matches!(self, Self::PublicKey | Self::PrivateKey)
    }

    const fn is_regexp(self) -> bool {
        matches!(self, Self::IdentityRegexp | Self::IssuerRegexp)
    }
}

/// What is wrong with a setting.
#[derive(Debug)]
pub struct Fault {
    /// The key that is wrong, or is missing another.
    pub key: Key,
    /// Why.
    pub reason: FaultReason,
}

impl Fault {
    /// What is wrong, where keys have `prefix` in front of their names, as compose files write them.
    pub fn told(&self, prefix: &str) -> String {
        let name = |key: &Key| {
            // The platform is compose's own.
            let prefix = if *key == Key::Platform { "" } else { prefix };
            format!("`{prefix}{}`", key.name())
        };
        let key = name(&self.key);
        if let FaultReason::Without(other) = &self.reason {
            return format!("{key} means nothing without {} `cosign`", name(other));
        }
        if let FaultReason::Beside(other) = &self.reason {
            let other = name(other);
            return format!("{key} cannot stand beside {other}: only one of them would count");
        }
        if let FaultReason::Needs(exact, regexp) = &self.reason {
            let (exact, regexp) = (name(exact), name(regexp));
            return format!("{key}: without a public key it needs {exact} or {regexp}");
        }
        format!("{key}: {}", self.reason)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(""))
    }
}

impl std::error::Error for Fault {}

/// Why a setting is wrong.
#[derive(Debug, thiserror::Error)]
pub enum FaultReason {
    /// It is there a second time.
    #[error("it is there twice")]
    Twice,
    /// It has no value.
    #[error("its value is empty")]
    Empty,
    /// Its value is too long.
    #[error("its value has more than {SETTING_BYTES_MAX} bytes")]
    TooLong,
    /// Its value has a control character.
    #[error("its value has a control character")]
    Control,
    /// Its value is not known.
    #[error("`{0}` is not known; there are `cosign` and `none`")]
    Unknown(String),
    /// Its value means Notary Project signatures.
    #[error("`notation` is not there yet")]
    Notation,
    /// Its value is no platform.
    #[error("{0}")]
    Platform(Box<oci::Error>),
    /// Its value names a key that no file has.
    #[error("keys are files; `{0}…` is not there")]
    Scheme(String),
    /// Its value is no regular expression.
    #[error("it is no regular expression: {0}")]
    Regexp(String),
    /// It means something only where this other one says `cosign`.
    #[error("it means nothing by itself")]
    Without(Key),
    /// It cannot stand beside another.
    #[error("it cannot stand beside another")]
    Beside(Key),
    /// One of two others has to stand beside it.
    #[error("it needs another")]
    Needs(Key, Key),
}

/// Settings that are being read.
#[derive(Debug, Default)]
pub struct Collected(Vec<(Key, String)>);

impl Collected {
    /// Adds one.
    ///
    /// # Errors
    ///
    /// When it is there already, or its value by itself cannot be right.
    pub fn add(&mut self, key: Key, value: &str) -> Result<(), Fault> {
        let fault = |reason| Err(Fault { key, reason });
        if self.value(key).is_some() {
            return fault(FaultReason::Twice);
        }
        if let Err(reason) = check(key, value) {
            return fault(reason);
        }
        self.0.push((key, value.to_owned()));
        Ok(())
    }

    /// The value of a key.
    pub fn value(&self, key: Key) -> Option<&str> {
        self.0
            .iter()
            .find_map(|(other, value)| (*other == key).then_some(value.as_str()))
    }

    /// What they mean together.
    ///
    /// # Errors
    ///
    /// When one of them would be ignored, or one that they need is not there.
    pub fn settings(&self) -> Result<Settings, Fault> {
        let platforms = match self.value(Key::Platform) {
            Some(text) => Some(platforms(text).map_err(|reason| Fault {
                key: Key::Platform,
                reason,
            })?),
            None => None,
        };
        Ok(Settings {
            platforms,
            verify: self.verify()?,
            sign: self.sign()?,
        })
    }

    fn verify(&self) -> Result<Option<Verify>, Fault> {
        let certificate = [
            Key::Identity,
            Key::IdentityRegexp,
            Key::Issuer,
            Key::IssuerRegexp,
        ];
        let provider = self.value(Key::Verify);
        if provider != Some(COSIGN) {
            self.none_of(&[Key::PublicKey], Key::Verify)?;
            self.none_of(&certificate, Key::Verify)?;
            return Ok(provider.map(|_| Verify::None));
        }
        if let Some(path) = self.value(Key::PublicKey) {
            return match certificate
                .into_iter()
                .find(|key| self.value(*key).is_some())
            {
                Some(key) => Err(Fault {
                    key,
                    reason: FaultReason::Beside(Key::PublicKey),
                }),
                None => Ok(Some(Verify::Key(path.to_owned()))),
            };
        }
        Ok(Some(Verify::Certificate(CertificateWords {
            identity: self.words(Key::Identity, Key::IdentityRegexp)?,
            issuer: self.words(Key::Issuer, Key::IssuerRegexp)?,
        })))
    }

    fn sign(&self) -> Result<Option<Sign>, Fault> {
        let provider = self.value(Key::Sign);
        if provider != Some(COSIGN) {
            self.none_of(&[Key::PrivateKey], Key::Sign)?;
            return Ok(provider.map(|_| Sign::None));
        }
        Ok(Some(match self.value(Key::PrivateKey) {
            Some(path) => Sign::Key(path.to_owned()),
            None => Sign::Keyless,
        }))
    }

    fn none_of(&self, keys: &[Key], without: Key) -> Result<(), Fault> {
        match keys.iter().find(|key| self.value(**key).is_some()) {
            Some(key) => Err(Fault {
                key: *key,
                reason: FaultReason::Without(without),
            }),
            None => Ok(()),
        }
    }

    fn words(&self, exact: Key, regexp: Key) -> Result<Words, Fault> {
        match (self.value(exact), self.value(regexp)) {
            (Some(text), None) => Ok(Words::Exact(text.to_owned())),
            (None, Some(text)) => Ok(Words::Regexp(text.to_owned())),
            (Some(_), Some(_)) => Err(Fault {
                key: regexp,
                reason: FaultReason::Beside(exact),
            }),
            (None, None) => Err(Fault {
                key: Key::Verify,
                reason: FaultReason::Needs(exact, regexp),
            }),
        }
    }
}

const COSIGN: &str = "cosign";

/// Whether a value can be right, whatever stands beside it.
fn check(key: Key, value: &str) -> Result<(), FaultReason> {
    if value.trim().is_empty() {
        return Err(FaultReason::Empty);
    }
    if value.len() > SETTING_BYTES_MAX {
        return Err(FaultReason::TooLong);
    }
    if value.chars().any(char::is_control) {
        return Err(FaultReason::Control);
    }
    match (key, value) {
        (Key::Verify | Key::Sign, COSIGN | "none") => Ok(()),
        (Key::Verify | Key::Sign, "notation") => Err(FaultReason::Notation),
        (Key::Verify | Key::Sign, _) => Err(FaultReason::Unknown(value.to_owned())),
        (Key::Platform, _) => platforms(value).map(|_| ()),
        (key, _) if key.is_path() => {
            scheme(value).map_or(Ok(()), |scheme| Err(FaultReason::Scheme(scheme.to_owned())))
        }
        (key, _) if key.is_regexp() => match text::regexp(value) {
            Ok(_) => Ok(()),
            Err(error) => Err(FaultReason::Regexp(
                told_of_regexp(&error.to_string()).to_owned(),
            )),
        },
        _ => Ok(()),
    }
}

/// The beginning of `path` that names a place for keys other than files, as cosign has them
/// (`awskms://`, `k8s://`, `env://`, `pkcs11:`, …).
fn scheme(path: &str) -> Option<&str> {
    if let Some(at) = path.find("://") {
        return path.get(..at + 3);
    }
    path.starts_with("pkcs11:").then_some("pkcs11:")
}

fn platforms(text: &str) -> Result<PlatformSelection, FaultReason> {
    let platforms: Result<Vec<Platform>, oci::Error> = text.split(',').map(str::parse).collect();
    platforms
        .map(|platforms| PlatformSelection::of_platforms(&platforms))
        .map_err(|error| FaultReason::Platform(Box::new(error)))
}

impl Settings {
    /// Whether it leaves everything to the command line.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// The keys and values that mean this, in the order of [`Key::ALL`].
    pub fn words(&self) -> Vec<(Key, String)> {
        let mut words = Vec::new();
        if let Some(platforms) = &self.platforms {
            words.push((Key::Platform, platforms.to_string().replace(", ", ",")));
        }
        match &self.verify {
            None => {}
            Some(Verify::None) => words.push((Key::Verify, "none".to_owned())),
            Some(Verify::Key(path)) => {
                words.push((Key::Verify, COSIGN.to_owned()));
                words.push((Key::PublicKey, path.clone()));
            }
            Some(Verify::Certificate(CertificateWords { identity, issuer })) => {
                words.push((Key::Verify, COSIGN.to_owned()));
                words.push(match identity {
                    Words::Exact(text) => (Key::Identity, text.clone()),
                    Words::Regexp(text) => (Key::IdentityRegexp, text.clone()),
                });
                words.push(match issuer {
                    Words::Exact(text) => (Key::Issuer, text.clone()),
                    Words::Regexp(text) => (Key::IssuerRegexp, text.clone()),
                });
            }
        }
        match &self.sign {
            None => {}
            Some(Sign::None) => words.push((Key::Sign, "none".to_owned())),
            Some(Sign::Keyless) => words.push((Key::Sign, COSIGN.to_owned())),
            Some(Sign::Key(path)) => {
                words.push((Key::Sign, COSIGN.to_owned()));
                words.push((Key::PrivateKey, path.clone()));
            }
        }
        words
    }
}

impl fmt::Display for Settings {
    /// Writes what stands behind the names of a list line, with a blank before each word; nothing
    /// where everything is open.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in self.words() {
            let is_bare = !value.starts_with('"') && !value.contains([' ', '\t']);
            if is_bare {
                write!(f, " {}={value}", key.name())?;
            } else {
                let quoted = serde_json::Value::from(value);
                write!(f, " {}={quoted}", key.name())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;

//! Judging a signature by its certificate, and a key's signature by its entry in a log.

use std::sync::Arc;

use jiff::Timestamp;
use sigstore_types::{Artifact, DerPublicKey, Sha256Hash};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult};

use super::super::bundle::{Bundle, Statement};
use super::super::key::PublicKey;
use super::super::payload::Payload;
use super::super::{Refusal, maker, signature_of};
use super::chain::{self, Usage};
use super::claims::{Certified, Words, refused};
use super::material::{By, Hash, Material, bounded, broken, fits};
use super::root::TrustRoot;
use crate::text::cleaned;

/// How much of a verifier's error is shown, in characters.
const SHOWN_CHARS_MAX: usize = 400;

/// What is not demanded of certificates, because somebody said so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relaxed {
    /// A transparency log's word for the signature.
    pub log: bool,
    /// A certificate log's word for the certificate.
    pub sct: bool,
}

/// Signatures by certificates that an authority of `root` issued to somebody who is meant.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// What is trusted.
    pub root: Arc<TrustRoot>,
    /// To whom.
    pub whom: Whom,
    /// What is not demanded.
    pub relaxed: Relaxed,
}

/// Whom a certificate must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// Whoever fits both.
    Fitting {
        /// What its email address or URI must be.
        identity: Words,
        /// Who must have vouched for that.
        issuer: Words,
        /// What else the certificate must say, by OID below Fulcio's arc, exactly.
        claims: Vec<(&'static str, String)>,
    },
    /// Whoever has exactly this address among theirs, vouched for by exactly this issuer
    /// (containers-policy.json(5), `fulcio`).
    Address {
        /// The address.
        email: String,
        /// Who must have vouched for it.
        issuer: String,
    },
}

/// Signatures by keys that stand in a transparency log.
#[derive(Debug, Clone)]
pub struct LoggedKeys {
    keys: Vec<PublicKey>,
    root: Arc<TrustRoot>,
}

impl Certificates {
    /// Judges a signature in base64 over `payload` by what it brings, and gives what the payload says.
    pub(in crate::sigstore) fn payload(
        &self,
        (payload, signature): (&[u8], &str),
        material: &Material<'_>,
    ) -> Result<(Payload, Certified), Refusal> {
        let signature = signature_of(signature)?;
        let material = &self.root.read(material);
        let chain = material.certificates()?;
        let certified = if self.counts_now(material.has_time()) {
            let certified = self.now(&chain)?;
            certified.made(payload, &signature)?;
            certified
        } else {
            if !material.has_entry() && !self.relaxed.log {
                return Err(refused(NO_PROMISE));
            }
            let by = By::Certificates(&chain);
            let bundle = material.bundle(&by, (payload, &signature), Hash::Sha256)?;
            let verified = self.verify(Artifact::from_blob(payload), &bundle)?;
            self.certified(&chain, &verified)?
        };
        self.whom.check(&certified)?;
        Ok((Payload::read(payload)?, certified))
    }

    /// Judges a bundle, and gives what its statement says.
    pub(in crate::sigstore) fn statement(
        &self,
        bundle: &Bundle,
    ) -> Result<(Statement, Certified), Refusal> {
        let text = bundle
            .with_certificate()
            .ok_or_else(|| refused("the bundle carries no certificate"))?;
        let (statement, digest) = claimed(bundle)?;
        let parsed = parsed(text)?;
        let leaf = parsed.signing_certificate();
        let leaf = leaf.ok_or_else(|| refused("the bundle carries no certificate"))?;
        let chain = chain_of(&parsed, leaf.as_bytes());
        let proofs = &parsed.verification_material;
        let has_time = !proofs.tlog_entries.is_empty()
            || !proofs
                .timestamp_verification_data
                .rfc3161_timestamps
                .is_empty();
        let certified = if self.counts_now(has_time) {
            let certified = self.now(&chain)?;
            let (message, signature) = bundle.signed()?;
            certified.made(&message, signature)?;
            certified
        } else {
            if proofs.tlog_entries.is_empty() && !self.relaxed.log {
                return Err(refused(NO_ENTRY));
            }
            let verified = self.verify(digest, &parsed)?;
            self.certified(&chain, &verified)?
        };
        self.whom.check(&certified)?;
        Ok((statement, certified))
    }

    /// Whether the present time is the one that counts: nothing tells another, and no proof is demanded
    /// that would need one. cosign reads a site's own certificates so.
    const fn counts_now(&self, has_time: bool) -> bool {
        !has_time && self.relaxed.log && self.relaxed.sct
    }

    /// What of a chain that a signature brings may vouch for it.
    fn trusted<'a>(&self, chain: &'a [Vec<u8>]) -> &'a [Vec<u8>] {
        if self.root.takes_intermediates {
            chain
        } else {
            chain.get(..1).unwrap_or_default()
        }
    }

    fn now(&self, chain: &[Vec<u8>]) -> Result<Certified, Refusal> {
        let now = Timestamp::now();
        chain::vouched(
            &self.root.authorities,
            self.trusted(chain),
            &[now],
            Usage::Said,
        )?;
        let leaf = chain
            .first()
            .ok_or_else(|| refused("it carries no certificate"))?;
        Certified::read(leaf)
    }

    fn verify<'a>(
        &self,
        artifact: impl Into<Artifact<'a>>,
        bundle: &sigstore_types::Bundle,
    ) -> Result<VerificationResult, Refusal> {
        let mut policy = VerificationPolicy::any_identity();
        if self.relaxed.log {
            policy = policy.skip_tlog_unsafe();
        }
        if self.relaxed.sct {
            policy = policy.skip_sct();
        }
        let verified = self.root.verifier.verify(artifact, bundle, &policy);
        verified.map_err(|why| unverified(&why, &self.root))
    }

    /// What the certificate says, once its chain was valid at each time that the verifier proved.
    fn certified(
        &self,
        chain: &[Vec<u8>],
        verified: &VerificationResult,
    ) -> Result<Certified, Refusal> {
        let times = verified.verified_timestamps();
        // Whatever the verifier means by success: these are what a verdict rests on.
        if !verified.certificate_verified()
            || times.is_empty()
            || !(self.relaxed.log || verified.tlog_verified())
            || !(self.relaxed.sct || verified.sct_verified())
        {
            return Err(refused("its certificate was not proven in full"));
        }
        chain::vouched(
            &self.root.authorities,
            self.trusted(chain),
            times,
            Usage::Said,
        )?;
        let leaf = chain
            .first()
            .ok_or_else(|| refused("it carries no certificate"))?;
        Ok(Certified {
            time: times.iter().min().copied(),
            logged: verified.tlog_verified(),
            transparent: verified.sct_verified(),
            ..Certified::read(leaf)?
        })
    }
}

impl Whom {
    /// Refuses a certificate that names somebody else, in the words of who looks for what to type, or in
    /// those of containers/image.
    fn check(&self, certified: &Certified) -> Result<(), Refusal> {
        match self {
            Self::Fitting {
                identity,
                issuer,
                claims,
            } => {
                fitting(identity, issuer, certified)?;
                let unlike = claims
                    .iter()
                    .find(|(oid, wanted)| certified.claims.get(*oid) != Some(wanted));
                match unlike {
                    Some((oid, wanted)) => Err(refused(&format!(
                        "its certificate does not say `{wanted}` in {oid}: {}",
                        certified
                            .claims
                            .get(*oid)
                            .map_or("it is silent".to_owned(), |said| format!(
                                "it says `{said}`"
                            ))
                    ))),
                    None => Ok(()),
                }
            }
            Self::Address { email: _, issuer } if certified.issuer != *issuer => Err(refused(
                &format!("Unexpected Fulcio OIDC issuer \"{}\"", certified.issuer),
            )),
            Self::Address { email, issuer: _ } if !certified.emails.contains(email) => {
                Err(refused(&format!(
                    "Required email \"{email}\" not found (got {:?})",
                    certified.emails
                )))
            }
            Self::Address { .. } => Ok(()),
        }
    }
}

fn fitting(identity: &Words, issuer: &Words, certified: &Certified) -> Result<(), Refusal> {
    let named = if certified.identity.is_empty() {
        "nobody (it has neither an email address nor a URI)".to_owned()
    } else {
        format!("`{}`", certified.identity)
    };
    let by = &certified.issuer;
    if !identity.fit(&certified.identity) {
        return Err(refused(&format!(
            "its certificate names {named}, vouched for by `{by}`, and {identity} is wanted"
        )));
    }
    if !issuer.fit(by) {
        return Err(refused(&format!(
            "its certificate names {named}, vouched for by `{by}`, and the issuer {issuer} is wanted"
        )));
    }
    Ok(())
}

/// What is said of a signature without a log's word; the beginning is what podman says.
const NO_PROMISE: &str = "missing dev.sigstore.cosign/bundle annotation: no transparency log vouches for it, which is demanded";

/// The same of a bundle.
const NO_ENTRY: &str = "it has no entry of a transparency log, which is demanded";

impl LoggedKeys {
    /// Signatures by one of `keys`, each with an entry of a log of `root`.
    ///
    /// # Errors
    ///
    /// When a key is of a kind whose entries cannot be verified: P-521.
    pub fn new(keys: Vec<PublicKey>, root: Arc<TrustRoot>) -> Result<Self, String> {
        for key in &keys {
            sigstore_crypto::KeyAlgorithm::from_spki(&DerPublicKey::new(key.der().to_vec()))
                .map_err(|_| {
                    "log entries of P-521 keys cannot be verified; those of P-256, P-384, RSA and Ed25519 can"
                        .to_owned()
                })?;
        }
        Ok(Self { keys, root })
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    pub(in crate::sigstore) fn payload(
        &self,
        (payload, signature): (&[u8], &str),
        material: &Material<'_>,
    ) -> Result<(Payload, usize, Option<Timestamp>), Refusal> {
        let bytes = signature_of(signature)?;
        let material = &self.root.read(material);
        let (position, key) = self.maker(payload, &bytes)?;
        if !material.has_entry() {
            return Err(refused(NO_PROMISE));
        }
        let policy = policy(key);
        let verify = |hash| -> Result<VerificationResult, Refusal> {
            let bundle = material.bundle(&By::Key, (payload, &bytes), hash)?;
            let payload = Artifact::from_blob(payload);
            let verified = self.root.verifier.verify(payload, &bundle, &policy);
            verified.map_err(|why| unverified(&why, &self.root))
        };
        // cosign 2 signs over SHA-256 whatever the key, cosign 3 over the hash of its curve.
        let verified =
            verify(Hash::Sha256).or_else(|why| verify(Hash::OfTheKey).map_err(|_| why))?;
        Ok((Payload::read(payload)?, position, first(&verified)?))
    }

    pub(in crate::sigstore) fn statement(
        &self,
        bundle: &Bundle,
    ) -> Result<(Statement, usize, Option<Timestamp>), Refusal> {
        let text = bundle.with_key().ok_or_else(|| {
            refused("the bundle carries a certificate, and a key's signature is wanted")
        })?;
        let (statement, digest) = claimed(bundle)?;
        let position = bundle.maker(&self.keys)?;
        let key = self.keys.get(position).ok_or(Refusal::Signature)?;
        let parsed = parsed(text)?;
        if parsed.verification_material.tlog_entries.is_empty() {
            return Err(refused(NO_ENTRY));
        }
        let verified = self.root.verifier.verify(digest, &parsed, &policy(key));
        let verified = verified.map_err(|why| unverified(&why, &self.root))?;
        Ok((statement, position, first(&verified)?))
    }

    fn maker(&self, message: &[u8], signature: &[u8]) -> Result<(usize, &PublicKey), Refusal> {
        let position = maker(&self.keys, message, signature)?;
        let key = self.keys.get(position).ok_or(Refusal::Signature)?;
        Ok((position, key))
    }
}

fn policy(key: &PublicKey) -> PublicKeyVerificationPolicy {
    PublicKeyVerificationPolicy::new(DerPublicKey::new(key.der().to_vec()))
}

/// The first time that is proven, of a signature that a log vouched for.
fn first(verified: &VerificationResult) -> Result<Option<Timestamp>, Refusal> {
    if !verified.tlog_verified() {
        return Err(refused(NO_ENTRY));
    }
    Ok(verified.verified_timestamps().iter().min().copied())
}

/// What a bundle's statement says, unverified, with the digest of its first subject that has one: the
/// verifier wants to be told what is signed, and what that should be is for our caller to compare.
fn claimed(bundle: &Bundle) -> Result<(Statement, Sha256Hash), Refusal> {
    let statement = bundle.claimed()?;
    let digest = statement
        .subjects
        .iter()
        .find_map(|subject| subject.digest)
        .ok_or_else(|| refused("the bundle names no digest of an image"))?;
    let digest = Sha256Hash::from_hex(&digest.hex());
    let digest = digest.map_err(|why| broken("statement", &why))?;
    Ok((statement, digest))
}

/// What the verifier reads, if it is no more than it should look at.
fn parsed(text: &[u8]) -> Result<sigstore_types::Bundle, Refusal> {
    fits(text)?;
    let text = std::str::from_utf8(text).map_err(|why| broken("bundle", &why))?;
    let parsed = sigstore_types::Bundle::from_json(text).map_err(|why| broken("bundle", &why))?;
    bounded(&parsed)?;
    Ok(parsed)
}

/// The certificates of a bundle, the signer's first.
fn chain_of(bundle: &sigstore_types::Bundle, leaf: &[u8]) -> Vec<Vec<u8>> {
    use sigstore_types::bundle::VerificationMaterialContent as Content;

    // Whatever else brings its leaf alone.
    if let Content::X509CertificateChain { certificates } = &bundle.verification_material.content {
        let all = certificates.iter();
        return all.map(|one| one.raw_bytes.as_bytes().to_vec()).collect();
    }
    vec![leaf.to_vec()]
}

fn unverified(why: &sigstore_verify::Error, root: &TrustRoot) -> Refusal {
    let mut text = why.to_string();
    // What the library for certificates calls them is no sentence.
    if let Some(at) = text.find("certificate chain validation failed: ") {
        let (before, name) = text.split_at(at + "certificate chain validation failed: ".len());
        text = format!("{before}{}", chain::plain(name));
    }
    let mut text = cleaned(&text, SHOWN_CHARS_MAX);
    if UNKNOWN.iter().any(|words| text.contains(words)) {
        let called = match root.name() {
            "" => String::new(),
            name => format!(" ({name})"),
        };
        text = format!(
            "{text}; the trusted root{called} is that of another instance, or older than its keys"
        );
    }
    Refusal::Form(text)
}

/// By what of its words the verifier means that the trusted root has no such log or authority.
const UNKNOWN: [&str; 4] = [
    "No log key valid at",
    "unknown transparency log",
    "key not found or not valid at",
    "UnknownIssuer",
];

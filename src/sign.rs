//! Signing one pinned manifest and attaching the signature.
//!
//! Everything is asked before anything is written: a registry that cannot say what is there gets no
//! signature. What others attached stays as it was, byte for byte. A signature by the same key, of the same
//! format, identity and annotations is not made again, so that a second run writes nothing; and "signed" is
//! said only of what was read back from the registry and verified with the public half of the key, or, where
//! it was made by a certificate, by the trusted root and in the same name.
//!
//! The formats are those of cosign 2.5 and 3.1: what is written has their shape, down to the order of the
//! fields.

mod document;
mod error;
mod own;
mod reading;
mod referrer;
mod tag;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::attached::Attached;
use crate::event::{Author, Evidence, Failure, Format, Role, SignedManifest};
use crate::limits::signature::PAYLOAD_BYTES_MAX;
use crate::oci::{self, Algorithm, Descriptor, Pinned, Reference, Repository};
use crate::sigstore::{Payload, StatementSubject};
use crate::verify;

pub use own::Hand;

use error::{Cause, Error};
use own::Own;

/// In which formats signatures are stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Formats {
    /// The tag format, and a bundle too where the subject already has a bundle: cosign 3 looks no further
    /// than bundles then.
    #[default]
    Usual,
    /// These; at least one.
    These(Vec<Format>),
}

impl Formats {
    /// Whether a simple-signing payload is written.
    fn have_payload(&self) -> bool {
        match self {
            Self::Usual => true,
            Self::These(formats) => formats
                .iter()
                .any(|format| matches!(format, Format::Tag | Format::Referrer)),
        }
    }
}

/// What a signature says.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The identity: the name of an image, with or without tag and digest.
    pub identity: String,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Why nobody should sign a claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The identity is no name of an image, so no policy could ever accept it.
    #[error("the identity is no name of an image")]
    Identity(#[source] oci::Error),
    /// An annotation that others read as something else.
    #[error(
        "podman and skopeo take the annotation `timestamp` for a number of seconds, and refuse a signature where it is none"
    )]
    Timestamp,
    /// It is longer than what anybody reads as a payload.
    #[error(
        "identity and annotations are longer than {PAYLOAD_BYTES_MAX} bytes, which no verifier reads"
    )]
    TooLong,
}

/// What containers/image writes into its payloads by itself; no annotations of a user, unless asked for.
const NO_ANNOTATIONS: [&str; 2] = ["creator", "timestamp"];
/// The one of them that it reads as an integer (measured with skopeo 1.22).
const TIMESTAMP: &str = "timestamp";

impl Claim {
    /// Whether it can be signed in `formats` so that others can read it. Asks nobody.
    ///
    /// # Errors
    ///
    /// As [`ClaimError`].
    pub fn check(&self, formats: &Formats) -> Result<(), ClaimError> {
        // Read leniently elsewhere; in a signature nobody strips it.
        if self.identity.starts_with("docker://") {
            let reason = oci::Reason::Grammar("a name has no scheme (`docker://`) in front");
            return Err(ClaimError::Identity(oci::Error::new(
                "image reference",
                &self.identity,
                reason,
            )));
        }
        self.identity
            .parse::<Reference>()
            .map_err(ClaimError::Identity)?;
        if formats.have_payload() && self.annotations.contains_key(TIMESTAMP) {
            return Err(ClaimError::Timestamp);
        }
        Ok(())
    }

    /// Whether a signature says the same.
    fn is_said_by(&self, evidence: &Evidence) -> bool {
        let is_own =
            |name: &str| self.annotations.contains_key(name) || !NO_ANNOTATIONS.contains(&name);
        let theirs = evidence
            .annotations
            .iter()
            .filter(|(name, _)| is_own(name.as_str()));
        evidence.identity.as_deref() == Some(self.identity.as_str()) && theirs.eq(&self.annotations)
    }
}

/// Signs the manifest `subject` of `repository` by `hand` in each of `formats`, unless the same signature stands there;
/// reads each back and verifies it. The result has one entry for each format, in their order.
///
/// One writer at a time: signers of one subject wait for each other in this process and, where `attached` has
/// a folder for locks, on this host, so that two with one key add one signature. Between hosts the tag format
/// is read again and repaired; two that add a referrer at the same moment with the same key may add two.
///
/// Safe to drop at any time: blobs that nothing names may stay behind, and signatures that were written stand;
/// none that was there is lost. Several manifests of one image may be signed at once.
///
/// # Errors
///
/// Always of the stage `Sign`, at the destination. When the claim cannot be signed, when the registry cannot be
/// asked what is there (nothing was written then), when it cannot be written, or when what was written is
/// not there, or is something else, when read again. Where one of several formats fails, those before it stand;
/// the next run finds them.
pub async fn sign(
    attached: &Attached,
    repository: &Repository,
    (subject, role): (&Descriptor, &Role),
    claim: &Claim,
    (hand, formats): (Hand<'_>, &Formats),
) -> Result<Vec<SignedManifest>, Failure> {
    let pinned = Pinned {
        repository: repository.clone(),
        digest: subject.digest,
    };
    let payload = Payload::write(&claim.identity, &subject.digest, &claim.annotations);
    let signing = async {
        check(claim, formats, (&pinned, &payload))?;
        let job = Job {
            attached,
            descriptor: subject,
            claim,
            own: hand.own().await?,
            payload: payload.into(),
            subject: pinned.clone(),
        };
        job.run(formats).await
    };
    let signed = signing
        .await
        .map_err(|cause| Error::failure(&pinned, cause))?;
    let entry = |(format, added)| SignedManifest {
        digest: subject.digest,
        role: role.clone(),
        format,
        identity: claim.identity.clone(),
        added,
    };
    Ok(signed.into_iter().map(entry).collect())
}

/// In whose name `hand` signs. A session without a certificate takes one.
///
/// # Errors
///
/// When it gets none; of the stage `Sign`.
pub async fn author(hand: Hand<'_>, subject: &Pinned) -> Result<Author, Failure> {
    let own = hand.own().await;
    own.map(|own| own.author)
        .map_err(|cause| Error::failure(subject, cause))
}

/// Why nobody who needs a new certificate can sign any more: the token has ended, or was refused. Nothing for a
/// key, nor while a certificate lasts.
pub async fn ended(hand: Hand<'_>) -> Option<Failure> {
    match hand {
        Hand::Key(_) => None,
        Hand::Keyless(session) => session.ended().await.as_ref().map(error::ended),
    }
}

/// Whether `subject` has a referrer that is a Sigstore bundle, of whatever predicate and by whatever key.
///
/// cosign 3 verifies by bundles alone then, and passes over the tag.
///
/// # Errors
///
/// When its referrers cannot be asked for, or one of them cannot be read; of the stage `Sign`.
pub async fn has_bundle(attached: &Attached, subject: &Pinned) -> Result<bool, Failure> {
    let found = referrer::has_bundle(attached, subject).await;
    found.map_err(|cause| Error::failure(subject, cause))
}

/// The signing of one manifest.
struct Job<'a> {
    attached: &'a Attached,
    subject: Pinned,
    descriptor: &'a Descriptor,
    claim: &'a Claim,
    own: Own<'a>,
    /// What the tag and the referrer format sign.
    payload: Bytes,
}

/// Whether `claim` can be signed of `subject` at all; asks nobody.
fn check(
    claim: &Claim,
    formats: &Formats,
    (subject, payload): (&Pinned, &[u8]),
) -> Result<(), Cause> {
    claim.check(formats)?;
    if subject.digest.algorithm() != Algorithm::Sha256 {
        return Err(Cause::Algorithm);
    }
    if u64::try_from(payload.len()).is_ok_and(|length| length > PAYLOAD_BYTES_MAX) {
        return Err(ClaimError::TooLong.into());
    }
    Ok(())
}

impl Job<'_> {
    /// The formats in their order, each with whether its signature was added.
    async fn run(&self, formats: &Formats) -> Result<Vec<(Format, bool)>, Cause> {
        let formats = self.resolved(formats).await?;
        // The tag is guarded by its own update; a referrer would be added beside another one.
        let has_referrers = formats.iter().any(|format| *format != Format::Tag);
        let _held = if has_referrers {
            Some(self.attached.lock(&self.subject).await?)
        } else {
            None
        };
        let mut signed = Vec::with_capacity(formats.len());
        for format in formats {
            let stands = match format {
                Format::Tag => self.stands_under_tag().await?,
                Format::Referrer | Format::Bundle => self.is_found_in(format).await?,
            };
            signed.push((format, !stands));
        }
        // All that can refuse to answer has answered.
        for (format, added) in &mut signed {
            if *added {
                *added = match format {
                    Format::Tag => self.add_to_tag().await?,
                    Format::Referrer => self.add_referrer().await?,
                    Format::Bundle => self.add_bundle().await?,
                };
            }
        }
        Ok(signed)
    }

    /// The formats that are meant for this subject, each once.
    async fn resolved(&self, formats: &Formats) -> Result<Vec<Format>, Cause> {
        let list = match formats {
            Formats::Usual if referrer::has_bundle(self.attached, &self.subject).await? => {
                vec![Format::Tag, Format::Bundle]
            }
            Formats::Usual => vec![Format::Tag],
            Formats::These(list) => list.clone(),
        };
        let mut each = Vec::with_capacity(list.len());
        for format in list {
            if !each.contains(&format) {
                each.push(format);
            }
        }
        if each.is_empty() {
            return Err(Cause::NoFormat);
        }
        Ok(each)
    }

    /// Whether a signature of `format` by the same maker says the same.
    async fn is_found_in(&self, format: Format) -> Result<bool, Cause> {
        let signers = &self.own.signers;
        let found = verify::signatures(self.attached, &self.subject, signers, format).await?;
        Ok(found.iter().any(|evidence| self.claim.is_said_by(evidence)))
    }

    /// What a bundle says.
    fn statement(&self) -> StatementSubject {
        StatementSubject {
            name: Some(self.claim.identity.clone()),
            digest: Some(self.subject.digest),
            annotations: self.claim.annotations.clone(),
        }
    }
}

#[cfg(test)]
#[path = "sign/tests.rs"]
mod tests;

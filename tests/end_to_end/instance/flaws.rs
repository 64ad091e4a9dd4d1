//! What can be wrong with a signature of the instance. Each differs from a good one in one point alone.

use super::products::Form;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The certificate has no promise of a certificate log.
    NoSct,
    /// The promise's signature is wrong.
    BadSct,
    /// The promise is that of a log that nobody trusts.
    ForeignSct,
    /// It was logged when the certificate had expired.
    LoggedAfterEnd,
    /// It was logged before the certificate began.
    LoggedBeforeBegin,
    /// All of it is to happen tomorrow.
    LoggedInTheFuture,
    /// The intermediate had expired; it stands in the trusted root.
    ExpiredIntermediate,
    /// The intermediate was signed by the root, and does not stand in the trusted root.
    UnknownIntermediate,
    /// The certificate was issued by another authority of the same names.
    OtherAuthority,
    /// The certificate was issued by itself.
    SelfSigned,
    /// The certificate is not for signing code.
    NotForCode,
    /// The certificate is that of an authority.
    LeafIsAuthority,
    /// The certificate names somebody else too.
    TwoNames,
    /// The certificate names nobody; who was meant stands in its comment.
    NamedInComment,
    /// The certificate names nobody; who was meant is its subject's common name.
    NamedInSubject,
    /// Who was meant stands in a name of a kind that is for other things.
    NamedInOtherName,
    /// The certificate does not say who vouched for the name.
    NoIssuer,
    /// The entry is a good one of another signature by the same key and certificate.
    ForeignEntry,
    /// The entry has another signature of the same bytes by the same key.
    EntryOfOtherSignature,
    /// The entry has the digest of other bytes.
    EntryOfOtherDigest,
    /// The entry has another certificate of the same key, or another key.
    EntryOfOtherSigner,
    /// There is no entry at all.
    NoEntry,
    /// The entry was not promised to be logged: it has no time that anybody signed.
    NoSet,
    /// The promise was signed by somebody else.
    BadSet,
    /// The promise is for another time.
    SetOfOtherTime,
    /// The way to the root is wrong.
    BadProof,
    /// The note of the root was signed by somebody else.
    BadCheckpoint,
    /// The note is a good one of another tree.
    CheckpointOfOtherTree,
    /// The log is one that nobody trusts.
    ForeignLog,
    /// The signature is one of other bytes.
    OtherBytes,
    /// 1,000 timestamps beside the rest.
    ManyTimestamps,
    /// 1,000 entries.
    ManyEntries,
}

/// Who signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signer {
    /// Somebody with a certificate.
    Certificate,
    /// Somebody with a key, who has it logged.
    Key,
}

/// All that can be wrong with a certificate.
const OF_CERTIFICATES: &[Flaw] = &[
    Flaw::NoSct,
    Flaw::BadSct,
    Flaw::ForeignSct,
    Flaw::LoggedAfterEnd,
    Flaw::LoggedBeforeBegin,
    Flaw::ExpiredIntermediate,
    Flaw::UnknownIntermediate,
    Flaw::OtherAuthority,
    Flaw::SelfSigned,
    Flaw::NotForCode,
    Flaw::LeafIsAuthority,
    Flaw::TwoNames,
    Flaw::NamedInComment,
    Flaw::NamedInSubject,
    Flaw::NamedInOtherName,
    Flaw::NoIssuer,
];

/// All that can be wrong with an entry of the log, or with what it is about.
const OF_ENTRIES: &[Flaw] = &[
    Flaw::LoggedInTheFuture,
    Flaw::ForeignEntry,
    Flaw::EntryOfOtherSignature,
    Flaw::EntryOfOtherDigest,
    Flaw::EntryOfOtherSigner,
    Flaw::NoEntry,
    Flaw::NoSet,
    Flaw::BadSet,
    Flaw::SetOfOtherTime,
    Flaw::ForeignLog,
    Flaw::OtherBytes,
];

/// What can be wrong with proofs.
const OF_PROOFS: &[Flaw] = &[
    Flaw::BadProof,
    Flaw::BadCheckpoint,
    Flaw::CheckpointOfOtherTree,
];

/// What can be too much.
const OF_BUNDLES: &[Flaw] = &[Flaw::ManyTimestamps, Flaw::ManyEntries];

impl Flaw {
    /// All that can be wrong with something of this form.
    pub(crate) fn all(signer: Signer, form: Form) -> Vec<Self> {
        let mut flaws = OF_ENTRIES.to_vec();
        if signer == Signer::Certificate {
            flaws.extend(OF_CERTIFICATES);
        }
        if form.has_proof() {
            flaws.extend(OF_PROOFS);
        }
        if form != Form::Simple {
            flaws.extend(OF_BUNDLES);
        }
        flaws
    }

    /// What Sigstore's own verifier says of it; nothing where it takes it.
    pub(crate) fn refusal(self, signer: Signer, form: Form) -> Option<&'static str> {
        let words = match self {
            Self::NoSct => "missing SCT extension",
            Self::BadSct | Self::ForeignSct => "SCT signature verification failed",
            Self::LoggedAfterEnd => "CertExpired",
            Self::LoggedBeforeBegin => "CertNotValidYet",
            Self::LoggedInTheFuture => "is in the future",
            Self::OtherAuthority => "InvalidSignatureForPublicKey",
            Self::NotForCode => "RequiredEkuNotFound",
            Self::LeafIsAuthority => "CaUsedAsEndEntity",
            Self::NamedInComment | Self::NamedInSubject => "got other@instance.test",
            Self::NamedInOtherName | Self::NoIssuer => "got none",
            Self::ForeignEntry | Self::EntryOfOtherDigest => "hash mismatch",
            Self::EntryOfOtherSignature | Self::EntryOfOtherSigner => "not match",
            Self::NoEntry => "must have an inclusion pro",
            // A key that does not expire needs no time, only a proof.
            Self::NoSet if signer == Signer::Key && form.has_proof() => return None,
            Self::NoSet if form.has_proof() => "no verified timestamp",
            Self::NoSet => "must have an inclusion promise",
            Self::BadSet | Self::SetOfOtherTime => "SET verification failed",
            Self::BadProof => "root hash mismatch",
            Self::BadCheckpoint => "No valid Rekor signature found on checkpoint",
            Self::CheckpointOfOtherTree => "does not match checkpoint root hash",
            Self::ForeignLog => " key ",
            Self::OtherBytes => "signature verification failed",
            Self::ManyTimestamps => "no timestamp authorities",
            // Bundles of these versions carry what stands between leaf and root.
            Self::UnknownIntermediate if matches!(form, Form::Bundle01 | Form::Bundle02) => {
                return None;
            }
            Self::UnknownIntermediate | Self::SelfSigned => "UnknownIssuer",
            // It takes what stands in a trusted root as it is, counts nothing, and asks for one name.
            Self::ExpiredIntermediate | Self::TwoNames | Self::ManyEntries => return None,
        };
        Some(words)
    }
}

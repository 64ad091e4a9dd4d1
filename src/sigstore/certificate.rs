//! Certificates instead of keys: who signed is an identity that an authority vouched for.
//!
//! A short-lived certificate says who asked for it and who vouched for them; a transparency log or a
//! timestamp says when the signature was there. Chains, SCTs, log entries and timestamps are judged by the
//! Sigstore project's own verifier (`sigstore-verify`), which asks nobody. What it leaves open is judged
//! here: that each certificate of the chain was valid at the signing time, those of the trusted root too;
//! identities by regular expression; how much of everything is looked at at all; and certificates without
//! a log, as a site's own authority issues them.

mod chain;
mod claims;
mod judge;
mod material;
mod root;
mod shape;

pub use chain::{Pki, Subject};
pub use claims::{Certified, Words, WordsError};
pub use judge::{Certificates, LoggedKeys, Relaxed, Whom};
pub use material::{
    CERTIFICATE_ANNOTATION, CHAIN_ANNOTATION, ENTRY_ANNOTATION, Material, TIMESTAMP_ANNOTATION,
};
pub use root::{BUILT_IN_ROOT_DATE, Pieces, RootError, TrustRoot};
#[cfg(any(test, fuzzing))]
pub(super) use shape::check as check_shape;

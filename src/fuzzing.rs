//! What has to hold whatever bytes arrive: one function for each parser of untrusted bytes.
//!
//! Each takes any bytes, gives them to its parser, and panics where a promise of it is broken: not only when
//! the parser does, but also when what was read is not what was written. `cargo fuzz` runs them with bytes
//! that it makes up (`fuzz/`), and the tests of this module run them over the seeds in `fuzz/seeds` and
//! thousands of changes of those, so that what was found once is tried again by every `make test`.
//!
//! Compiled for tests and fuzzing alone. A parser that its module keeps to itself has its function beside
//! it, in that module's `fuzzing.rs`; this module names them all.

mod documents;
mod lists;
#[cfg(test)]
mod tests;

pub use documents::{index, manifest};
pub use lists::{compose, list, policy, reference};

use std::fmt::Display;

use crate::cache;
use crate::cli;
use crate::keyless;
use crate::layout;
use crate::registry;
use crate::serve;
use crate::sigstore;

/// A function that any bytes may be given to.
pub type Target = fn(&[u8]);

/// All of them by name: that of the file in `fuzz/fuzz_targets`, and of the folder in `fuzz/seeds`.
pub const TARGETS: &[(&str, Target)] = &[
    ("auth_file", auth_file),
    ("bundle", bundle),
    ("cache", cache),
    ("certificate_answer", certificate_answer),
    ("challenge", challenge),
    ("compose", compose),
    ("creds_file", creds_file),
    ("error_body", error_body),
    ("identity_token", identity_token),
    ("index", index),
    ("key_file", key_file),
    ("layout", layout),
    ("link", link),
    ("list", list),
    ("log_answer", log_answer),
    ("manifest", manifest),
    ("payload", payload),
    ("policy", policy),
    ("range", range),
    ("reference", reference),
    ("referrers", referrers),
    ("registries_conf", registries_conf),
    ("shape", shape),
    ("token", token),
    ("trusted_root", trusted_root),
    ("verification", verification),
];

/// Files of credentials: no secret of theirs is shown.
pub fn auth_file(bytes: &[u8]) {
    cli::fuzzing::auth_file(bytes);
}

/// Files of the cache: entries lie where the file has them, and hints are digests.
pub fn cache(bytes: &[u8]) {
    cache::fuzz(bytes);
}

/// Files given with `--creds-file`: no secret of theirs is shown.
pub fn creds_file(bytes: &[u8]) {
    cli::fuzzing::creds_file(bytes);
}

/// `registries.conf`: where an image is read from is of the same digest or tag.
pub fn registries_conf(bytes: &[u8]) {
    cli::fuzzing::registries_conf(bytes);
}

/// Answers of token services.
pub fn token(bytes: &[u8]) {
    registry::fuzzing::token(bytes);
}

/// `WWW-Authenticate`: credentials go to allowed places alone.
pub fn challenge(bytes: &[u8]) {
    registry::fuzzing::challenge(bytes);
}

/// `Link`: the next page is in the header, and at the registry.
pub fn link(bytes: &[u8]) {
    registry::fuzzing::link(bytes);
}

/// Pages of referrers: entries keep their bytes.
pub fn referrers(bytes: &[u8]) {
    registry::fuzzing::referrers(bytes);
}

/// Bodies of errors: what is repeated is short, on one line, and no secret.
pub fn error_body(bytes: &[u8]) {
    registry::fuzzing::error_body(bytes);
}

/// `Range` and `Content-Range`, as they are asked, answered and served: within the blob, and at one place.
pub fn range(bytes: &[u8]) {
    registry::fuzzing::ranges(bytes);
    serve::fuzzing::range(bytes);
}

/// `index.json` of a layout: what is written again is the same.
pub fn layout(bytes: &[u8]) {
    layout::fuzzing::root(bytes);
}

/// Identity tokens: they are not shown.
pub fn identity_token(bytes: &[u8]) {
    keyless::fuzzing::identity_token(bytes);
}

/// Answers of certificate authorities: a certificate for another key is never taken.
pub fn certificate_answer(bytes: &[u8]) {
    keyless::fuzzing::certificate_answer(bytes);
}

/// Answers of transparency logs.
pub fn log_answer(bytes: &[u8]) {
    keyless::fuzzing::log_answer(bytes);
}

/// Simple-signing payloads: nothing changed is what was signed.
pub fn payload(bytes: &[u8]) {
    sigstore::fuzzing::payload(bytes);
}

/// Bundles and the statements in them: what is accepted is what was signed.
pub fn bundle(bytes: &[u8]) {
    sigstore::fuzzing::bundle(bytes);
}

/// Key files: nothing of a private key is shown.
pub fn key_file(bytes: &[u8]) {
    sigstore::fuzzing::key_file(bytes);
}

/// The shape of certificates and timestamps: what passes is decoded at once.
pub fn shape(bytes: &[u8]) {
    sigstore::fuzzing::shape(bytes);
}

/// Trusted roots.
pub fn trusted_root(bytes: &[u8]) {
    sigstore::fuzzing::trusted_root(bytes);
}

/// Signatures with their certificates and log entries, against a fixed root and key: what is accepted is
/// what was signed, by who is meant.
pub fn verification(bytes: &[u8]) {
    sigstore::fuzzing::verification(bytes);
}

/// Whatever is said to a person stays on its lines and moves no cursor.
fn check_printable(said: &dyn Display) {
    let said = said.to_string();
    let is_bad = |c: char| c.is_control() && c != '\n';
    assert!(!said.contains(is_bad), "said: {said:?}");
}

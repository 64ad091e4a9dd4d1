//! Where sources are really looked for.

use crate::oci::Reference;

/// Where the source of a job is looked for, where that is not what its line says: as the host's
/// `registries.conf` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Here, in this order; the last is what the line means.
    Places(Vec<Reference>),
    /// Nowhere; says why.
    Blocked(String),
}

//! Who may have signed, and what is trusted of authorities and logs.

use std::path::PathBuf;

use clap::Args;

/// Whom certificates must name, for `validate`; the names are cosign's.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = super::VERIFYING)]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(in crate::cli) struct Who {
    /// Accept signatures by certificates that name this email address or URI; needs an issuer too
    #[arg(long, value_name = "IDENTITY")]
    pub(in crate::cli) certificate_identity: Option<String>,
    /// The same as a regular expression, which may fit anywhere in it: anchor it with ^ and $
    #[arg(long, value_name = "REGEXP", conflicts_with = "certificate_identity")]
    pub(in crate::cli) certificate_identity_regexp: Option<String>,
    /// Who must have vouched for that identity, as a URL; needs an identity too
    #[arg(long, value_name = "ISSUER")]
    pub(in crate::cli) certificate_oidc_issuer: Option<String>,
    /// The same as a regular expression, which may fit anywhere in it: anchor it with ^ and $
    #[arg(
        long,
        value_name = "REGEXP",
        conflicts_with = "certificate_oidc_issuer"
    )]
    pub(in crate::cli) certificate_oidc_issuer_regexp: Option<String>,
}

/// The same of sources, for `mirror` and `copy`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = super::VERIFYING)]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(in crate::cli) struct VerifyWho {
    /// Validate each source first, and copy only what is signed by a certificate that names this
    #[arg(long, value_name = "IDENTITY")]
    pub(in crate::cli) verify_certificate_identity: Option<String>,
    /// The same as a regular expression, which may fit anywhere in it: anchor it with ^ and $
    #[arg(
        long,
        value_name = "REGEXP",
        conflicts_with = "verify_certificate_identity"
    )]
    pub(in crate::cli) verify_certificate_identity_regexp: Option<String>,
    /// Who must have vouched for that identity, as a URL
    #[arg(long, value_name = "ISSUER")]
    pub(in crate::cli) verify_certificate_oidc_issuer: Option<String>,
    /// The same as a regular expression, which may fit anywhere in it: anchor it with ^ and $
    #[arg(
        long,
        value_name = "REGEXP",
        conflicts_with = "verify_certificate_oidc_issuer"
    )]
    pub(in crate::cli) verify_certificate_oidc_issuer_regexp: Option<String>,
}

impl From<VerifyWho> for Who {
    fn from(who: VerifyWho) -> Self {
        Self {
            certificate_identity: who.verify_certificate_identity,
            certificate_identity_regexp: who.verify_certificate_identity_regexp,
            certificate_oidc_issuer: who.verify_certificate_oidc_issuer,
            certificate_oidc_issuer_regexp: who.verify_certificate_oidc_issuer_regexp,
        }
    }
}

/// What is trusted of authorities and logs. Without any of it the public instance's root, as it was on the
/// day that `--trusted-root` names in its help.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is trusted of certificates and logs")]
pub(in crate::cli) struct TrustArgs {
    /// What is trusted.
    #[arg(long, value_name = "FILE", help = TRUSTED_ROOT, conflicts_with_all = ["ca_roots", "rekor_public_keys", "ct_log_public_keys", "timestamp_chains"])]
    pub(in crate::cli) trusted_root: Option<PathBuf>,
    /// Certificates of an own authority, PEM, instead of a trusted root
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) ca_roots: Option<PathBuf>,
    /// Certificates between those and the signers', PEM
    #[arg(long, value_name = "FILE", requires = "ca_roots")]
    pub(in crate::cli) ca_intermediates: Option<PathBuf>,
    /// The public key of an own transparency log; signatures by a key must stand in it then. May be repeated
    #[arg(long = "rekor-public-key", value_name = "FILE")]
    pub(in crate::cli) rekor_public_keys: Vec<PathBuf>,
    /// The public key of an own log of certificates; may be repeated
    #[arg(long = "ct-log-public-key", value_name = "FILE", requires = "ca_roots")]
    pub(in crate::cli) ct_log_public_keys: Vec<PathBuf>,
    /// The certificates of an own timestamp authority, PEM, its own first; may be repeated
    #[arg(
        long = "timestamp-certificate-chain",
        value_name = "FILE",
        requires = "ca_roots"
    )]
    pub(in crate::cli) timestamp_chains: Vec<PathBuf>,
    /// Accept what no transparency log vouches for; said in every report
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub(in crate::cli) insecure_ignore_tlog: Option<bool>,
    /// Accept certificates that no log of certificates vouches for; said in every report
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub(in crate::cli) insecure_ignore_sct: Option<bool>,
}

/// A test compares the date with the one that is built in.
const TRUSTED_ROOT: &str = "The authorities and logs that are trusted, a trusted_root.json; without it those \
    of the public Sigstore instance, as they were on 2026-10-23";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigstore::BUILT_IN_ROOT_DATE;

    #[test]
    fn the_help_names_the_day_of_the_root_that_is_built_in() {
        assert!(TRUSTED_ROOT.ends_with(BUILT_IN_ROOT_DATE));
    }
}

//! Signing without a key: whom the signature is of, and who vouches for it. The names are cosign's.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

/// Who vouches for signatures without a key, for `sign`, `mirror` and `copy`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = super::KEYLESS)]
pub(in crate::cli) struct KeylessArgs {
    /// Sign without a key, as whom this identity token names: the token, or a file that has it and is read
    /// again for each certificate; else `SIGSTORE_ID_TOKEN`
    #[arg(long, value_name = "TOKEN|FILE")]
    pub(in crate::cli) identity_token: Option<SecretString>,
    /// The certificate authority (Fulcio); that of the public Sigstore instance without it
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) fulcio_url: Option<String>,
    /// The transparency log (Rekor, its first API); that of the public Sigstore instance without it
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) rekor_url: Option<String>,
    /// A timestamp authority (RFC 3161), which stamps every signature; may be repeated, for bundles
    #[arg(
        long = "tsa-url",
        visible_alias = "timestamp-server-url",
        value_name = "URL"
    )]
    pub(in crate::cli) tsa_urls: Vec<String>,
    /// A signing config, which names all of these services
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) signing_config: Option<PathBuf>,
    /// Agree to what is asked for: that signing without a key makes public for good who signed
    #[arg(
        short = 'y',
        long,
        alias = "auto-yes",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        value_name = "BOOL",
        help_heading = super::KEYLESS
    )]
    pub(in crate::cli) yes: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    tlog_upload: Option<bool>,
    #[arg(long, hide = true)]
    oidc_issuer: Option<String>,
    #[arg(long, hide = true)]
    oidc_client_id: Option<String>,
    #[arg(long, hide = true)]
    oidc_provider: Option<String>,
    #[arg(long, hide = true)]
    oidc_client_secret_file: Option<PathBuf>,
    #[arg(long, hide = true)]
    oidc_redirect_url: Option<String>,
    #[arg(long, hide = true)]
    fulcio_auth_flow: Option<String>,
    // No provider is asked in any case. With it cosign leaves the variable with the token unread.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    oidc_disable_ambient_providers: Option<bool>,
}

impl KeylessArgs {
    /// The first flag that was given and says who vouches.
    pub(in crate::cli) fn first(&self) -> Option<&'static str> {
        super::signatures::first(&[
            (self.identity_token.is_some(), "--identity-token"),
            (self.fulcio_url.is_some(), "--fulcio-url"),
            (self.rekor_url.is_some(), "--rekor-url"),
            (!self.tsa_urls.is_empty(), "--tsa-url"),
            (self.signing_config.is_some(), "--signing-config"),
        ])
    }

    /// The first flag that was given and would need a browser, or a person.
    pub(in crate::cli) fn interactive(&self) -> Option<&'static str> {
        super::signatures::first(&[
            (self.oidc_issuer.is_some(), "--oidc-issuer"),
            (self.oidc_client_id.is_some(), "--oidc-client-id"),
            (self.oidc_provider.is_some(), "--oidc-provider"),
            (
                self.oidc_client_secret_file.is_some(),
                "--oidc-client-secret-file",
            ),
            (self.oidc_redirect_url.is_some(), "--oidc-redirect-url"),
            (
                self.fulcio_auth_flow
                    .as_deref()
                    .is_some_and(|flow| flow != "token"),
                "--fulcio-auth-flow",
            ),
            (
                self.oidc_disable_ambient_providers == Some(true) && self.identity_token.is_none(),
                "--oidc-disable-ambient-providers",
            ),
        ])
    }

    /// What `--tlog-upload` says, where it was given.
    pub(in crate::cli) const fn tlog_upload(&self) -> Option<bool> {
        self.tlog_upload
    }
}

//! The flags that say how registries are spoken to.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use super::duration;

/// How registries are spoken to, for every command that does.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = super::REGISTRIES)]
pub(in crate::cli) struct Access {
    /// Check certificates; `=false` takes any, and plain HTTP where TLS is not spoken. Without it they are
    /// checked, but where the host's registries.conf says otherwise of a source
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true
    )]
    pub(in crate::cli) tls_verify: Option<bool>,
    /// Trust the authorities in this PEM file too; may be repeated
    #[arg(long = "ca-file", alias = "registry-cacert", value_name = "FILE")]
    pub(in crate::cli) ca_files: Vec<PathBuf>,
    /// Take *.crt, *.cert and *.key from this folder, instead of those of the host's certs.d
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) cert_dir: Option<PathBuf>,
    /// The file of credentials, instead of those of podman and Docker; `login` writes to it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) authfile: Option<PathBuf>,
    /// Take credentials from this file first, `REGISTRY[/NAMESPACE] USER PASSWORD` in each line; `-` is
    /// standard input
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) creds_file: Option<PathBuf>,
    /// How long a transfer or request may make no progress
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(in crate::cli) stall_timeout: Duration,
}

/// Who asks, where all registries of a command are on one side.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = super::REGISTRIES)]
pub(in crate::cli) struct OneSide {
    /// User and password for every registry; without a password it is asked for
    #[arg(long, value_name = "USER[:PASSWORD]", conflicts_with = "no_creds")]
    pub(in crate::cli) creds: Option<SecretString>,
    /// Show no credentials, whatever there are
    #[arg(long)]
    pub(in crate::cli) no_creds: bool,
}

/// What is otherwise on one side of a copy.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = super::REGISTRIES)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags are bools where they are typed"
)]
pub(in crate::cli) struct TwoSides {
    /// User and password for every source registry; without a password it is asked for
    #[arg(long, value_name = "USER[:PASSWORD]", conflicts_with = "src_no_creds")]
    pub(in crate::cli) src_creds: Option<SecretString>,
    /// User and password for every destination registry; without a password it is asked for
    #[arg(long, value_name = "USER[:PASSWORD]", conflicts_with = "dest_no_creds")]
    pub(in crate::cli) dest_creds: Option<SecretString>,
    /// Show no credentials to sources, whatever there are
    #[arg(long)]
    pub(in crate::cli) src_no_creds: bool,
    /// Show no credentials to destinations, whatever there are
    #[arg(long)]
    pub(in crate::cli) dest_no_creds: bool,
    /// --authfile for sources
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) src_authfile: Option<PathBuf>,
    /// --authfile for destinations
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) dest_authfile: Option<PathBuf>,
    /// --tls-verify for sources
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true
    )]
    pub(in crate::cli) src_tls_verify: Option<bool>,
    /// --tls-verify for destinations
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true
    )]
    pub(in crate::cli) dest_tls_verify: Option<bool>,
    /// Make projects of destinations that are not there, private ones, where the registry is a Harbor
    #[arg(long)]
    pub(in crate::cli) create_projects: bool,
}

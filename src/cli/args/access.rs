//! The flags that say how registries are spoken to.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use super::duration;
use crate::oci::Registry;
use crate::registry::Rate;

/// The slowest pace of blobs: below it registries take a transfer for dead.
const LEAST_BYTES_PER_SECOND: u64 = 1024;

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
    /// Ask this registry so many times a second and no more, in place of a limit that adapts; may be repeated
    #[arg(long = "rate", value_name = "REGISTRY=N", value_parser = paced)]
    pub(in crate::cli) rates: Vec<(Registry, Rate)>,
    /// Read no more than so many bytes of blobs a second, all transfers together: 500k, 20M, 1G (powers of 1024)
    #[arg(long, value_name = "BYTES", value_parser = bytes_per_second)]
    pub(in crate::cli) limit_rate: Option<NonZeroU64>,
}

/// `REGISTRY=REQUESTS_PER_SECOND`.
fn paced(text: &str) -> Result<(Registry, Rate), String> {
    let (registry, number) = text
        .split_once('=')
        .ok_or("it is REGISTRY=REQUESTS_PER_SECOND, `docker.io=5` say")?;
    let registry = registry
        .parse::<Registry>()
        .map_err(|error| error.to_string())?;
    let rate = number.parse().ok().and_then(Rate::new).ok_or_else(|| {
        format!(
            "`{number}` is no number of requests a second between 0.0003 (one an hour) and 1000000"
        )
    })?;
    Ok((registry, rate))
}

/// A number of bytes, with a unit or without.
fn bytes_per_second(text: &str) -> Result<NonZeroU64, String> {
    let text = text.to_ascii_lowercase();
    let units = [
        ("kib", 10),
        ("mib", 20),
        ("gib", 30),
        ("k", 10),
        ("m", 20),
        ("g", 30),
    ];
    let mut fitting = units
        .into_iter()
        .filter_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let (number, shift) = fitting.next().unwrap_or((&text, 0));
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = number.parse::<u64>().ok().filter(|_| is_number);
    bytes
        .and_then(|bytes| bytes.checked_mul(1 << shift))
        .filter(|bytes| *bytes >= LEAST_BYTES_PER_SECOND)
        .and_then(NonZeroU64::new)
        .ok_or_else(|| {
            "it is a number of bytes a second, 1k at least, with k, M or G behind it for powers of 1024"
                .to_owned()
        })
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

//! The flags of `login`, `logout` and `auth`. They carry Hangar's names, which are skopeo's.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use secrecy::SecretString;

use crate::oci::Namespace;

use super::{Access, OneSide, Output, duration};

/// `consign login`.
#[derive(Debug, Args)]
pub(in crate::cli) struct LoginArgs {
    /// The registry, or a namespace of it that has a credential of its own
    #[arg(value_name = "REGISTRY[/NAMESPACE]", value_parser = registry_or_namespace)]
    pub(in crate::cli) registry: Namespace,
    /// Who logs in; asked for on a terminal
    #[arg(short, long, value_name = "USER")]
    pub(in crate::cli) username: Option<String>,
    /// The password.
    #[command(flatten)]
    pub(in crate::cli) password: PasswordArgs,
    /// Write to this config.json of Docker, and use its helpers
    #[arg(long, value_name = "FILE", conflicts_with = "authfile")]
    pub(in crate::cli) compat_auth_file: Option<PathBuf>,
    /// Print who is logged in, and do nothing
    #[arg(long, conflicts_with_all = ["username", "password", "password_stdin"])]
    pub(in crate::cli) get_login: bool,
    /// Print all places where credentials are looked for too
    #[arg(short, long)]
    pub(in crate::cli) verbose: bool,
    /// How long all of it may take; 0 is for ever
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration_or_none)]
    pub(in crate::cli) timeout: MaybeDuration,
    /// How often to try again when the registry does not answer
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(in crate::cli) retry_times: u32,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(in crate::cli) access: Access,
}

/// How a password is given.
#[derive(Debug, Args)]
pub(in crate::cli) struct PasswordArgs {
    /// The password, which the list of processes and the history of the shell then show; better give
    /// --password-stdin
    #[arg(
        short,
        long,
        value_name = "PASSWORD",
        conflicts_with = "password_stdin"
    )]
    pub(in crate::cli) password: Option<SecretString>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    pub(in crate::cli) password_stdin: bool,
}

/// `consign logout`.
#[derive(Debug, Args)]
pub(in crate::cli) struct LogoutArgs {
    /// The registry, or a namespace of it
    #[arg(value_name = "REGISTRY[/NAMESPACE]", value_parser = registry_or_namespace, required_unless_present = "all", conflicts_with = "all")]
    pub(in crate::cli) registry: Option<Namespace>,
    /// Forget all registries of one file
    #[arg(short, long)]
    pub(in crate::cli) all: bool,
    /// Forget what is in this file alone
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) authfile: Option<PathBuf>,
    /// Forget what is in this config.json of Docker alone
    #[arg(long, value_name = "FILE", conflicts_with = "authfile")]
    pub(in crate::cli) compat_auth_file: Option<PathBuf>,
    /// Flags of Hangar's that change nothing here: no registry is asked.
    #[command(flatten)]
    pub(in crate::cli) idle: IdleArgs,
}

/// Flags that are read and change nothing.
#[derive(Debug, Args)]
pub(in crate::cli) struct IdleArgs {
    #[arg(long, hide = true, value_parser = duration_or_none)]
    timeout: Option<MaybeDuration>,
    #[arg(long, hide = true)]
    retry_times: Option<u32>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    tls_verify: Option<bool>,
}

/// The commands below `auth`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum BelowAuth {
    /// Print where the credential of a registry or repository comes from; never the secret
    Explain(Box<ExplainArgs>),
}

/// `consign auth explain`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// The registry, or a repository of it
    #[arg(value_name = "REGISTRY[/REPOSITORY]", value_parser = registry_or_namespace)]
    pub(in crate::cli) registry: Namespace,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    pub(in crate::cli) output: Output,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(in crate::cli) access: Access,
    /// Who asks.
    #[command(flatten)]
    pub(in crate::cli) side: OneSide,
}

/// A duration of which nothing means that there is no limit.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct MaybeDuration(pub(in crate::cli) Option<Duration>);

fn duration_or_none(text: &str) -> Result<MaybeDuration, String> {
    if matches!(text, "0" | "0s") {
        return Ok(MaybeDuration(None));
    }
    duration(text).map(Some).map(MaybeDuration)
}

/// Reads `REGISTRY[/NAMESPACE]`. Of an address, as `docker login` takes it, the registry counts.
fn registry_or_namespace(text: &str) -> Result<Namespace, String> {
    let stripped = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let name = match stripped {
        Some(address) => address.split('/').next().unwrap_or_default(),
        None => text.strip_suffix('/').unwrap_or(text),
    };
    name.parse::<Namespace>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Cli;
    use super::*;

    #[test]
    fn hangars_command_lines_are_read() {
        for line in [
            "consign login a.io -u me --password-stdin --tls-verify=false --timeout 0 --retry-times 3",
            "consign login a.io/team --username me --password x --authfile f -v",
            "consign login https://a.io/v2/ --get-login --compat-auth-file f",
            "consign logout a.io --authfile f --timeout 1m --retry-times 3 --tls-verify=false",
            "consign logout --all --compat-auth-file f",
            "consign logout -a",
            "consign auth explain a.io/team/app --output json --authfile f --creds-file g",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_no_password_is_told() {
        for line in [
            "consign login",
            "consign login a.io -p hunter2 --password-stdin -u me",
            "consign login a.io --password-stdin",
            "consign login a.io --get-login -p hunter2",
            "consign login a.io --authfile f --compat-auth-file g -p hunter2",
            "consign login A.io/B -p hunter2",
            "consign login a.io. -p hunter2",
            "consign logout",
            "consign logout a.io --all",
            "consign auth",
            "consign auth explain",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_password_does_not_print() {
        let line = ["consign", "login", "a.io", "-u", "me", "-p", "hunter2"];
        let shown = format!("{:?}", Cli::try_parse_from(line).unwrap());
        assert!(
            shown.contains("a.io") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn of_an_address_the_registry_counts() {
        for (text, meant) in [
            ("a.io", "a.io"),
            ("a.io/", "a.io"),
            ("https://a.io/v2/", "a.io"),
            ("http://a.io:5000", "a.io:5000"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("a.io/team/app", "a.io/team/app"),
        ] {
            let namespace = registry_or_namespace(text).unwrap();
            assert_eq!(namespace.to_string(), meant, "{text}");
        }
    }
}

//! What was typed. Flags carry Hangar's names where Hangar has them.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod access;
mod annotations;
mod caching;
mod cosign;
mod keyless;
mod lists;
mod login;
mod output;
mod selecting;
mod signatures;
mod trusting;

pub(super) use access::{Access, OneSide, TwoSides};
pub(super) use annotations::Annotations;
pub(super) use caching::Caching;
pub(super) use cosign::{Instead, command as instead_of_command};
pub(super) use keyless::KeylessArgs;
pub(super) use lists::{ListFormat, Reading};
pub(super) use login::{BelowAuth, ExplainArgs, LoginArgs, LogoutArgs};
pub(super) use output::{Output, Shown};
pub(super) use selecting::Selecting;
pub(super) use signatures::{
    BelowSign, IdentityArgs, InPlace, SignArgs, SignCommand, Signatures, Signing, ValidateArgs,
};
pub(super) use trusting::{TrustArgs, Who};

use super::access::Typed;
use super::generate_key::GenerateKeyArgs;
use crate::oci::{Reference, Registry};
use crate::plan::Project;
use crate::transfer::{IndexMode, OnExisting};

/// The most images at once; beyond it registries only queue.
const JOBS_MAX: usize = 256;

/// The longest time limit; beyond it clocks could overflow and nobody waits.
const DURATION_MAX: Duration = Duration::from_hours(30 * 24);

/// Headings of the help. In a structure, what has one stands behind what has none: it holds until the next.
const REGISTRIES: &str = "Registries";
const SELECTING: &str = "Platforms and annotations";
const TRAVEL: &str = "Signatures that are there";
const VERIFYING: &str = "Who must have signed";
const SIGNING: &str = "Signing";
const KEYLESS: &str = "Signing without a key";

/// Bulk image mirroring, signing and signature validation
#[derive(Debug, Parser)]
#[command(
    name = "consign",
    version,
    max_term_width = 100,
    disable_help_subcommand = false
)]
pub(super) struct Cli {
    /// What is on the command line for every command.
    #[command(flatten)]
    pub(super) general: General,
    /// The command.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(super) struct General {
    /// What stderr says: for people, or one JSON object per event
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(super) log_format: LogFormat,
    /// Log requests and decisions to stderr
    #[arg(long, global = true)]
    pub(super) debug: bool,
}

/// How stderr speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The commands that are there.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Copy the images of lists between registries
    #[command(visible_alias = "m")]
    Mirror(Box<MirrorArgs>),
    /// Copy one image between registries
    Copy(Box<CopyArgs>),
    /// Sign the images of lists where they are
    #[command(alias = "signv1")]
    Sign(Box<SignCommand>),
    /// Validate the signatures of the images of lists
    ///
    /// Of each image the manifests of linux on amd64 and arm64 must be signed, unless --arch, --os, --platform or --subjects
    /// say otherwise.
    #[command(visible_alias = "verify")]
    Validate(Box<ValidateArgs>),
    /// Make a pair of keys as cosign has them
    #[command(visible_alias = "generate-sigstore-key")]
    GenerateKey(GenerateKeyArgs),
    /// Print what a mirror run would do
    Plan(Box<MirrorArgs>),
    /// Look at an image at its registry
    #[command(visible_alias = "i")]
    Inspect(InspectArgs),
    /// List the tags of a repository, sorted, as JSON
    ListTags(ListTagsArgs),
    /// Log in to a registry: prove a user and a password there, and keep them
    Login(Box<LoginArgs>),
    /// Log out of a registry: forget what is kept of it
    Logout(LogoutArgs),
    /// Look at credentials
    Auth {
        /// What to do.
        #[command(subcommand)]
        below: BelowAuth,
    },
    /// Serve a directory as a registry, or one in memory
    Serve(ServeArgs),
    /// Print the version
    Version,
    /// Anything else: refused by name.
    #[command(external_subcommand)]
    Other(Vec<String>),
}

/// `consign mirror`, and `consign plan`.
#[derive(Debug, Args)]
pub(super) struct MirrorArgs {
    /// An image list or a compose file; may be repeated, `-` is standard input
    #[arg(short, long = "file", value_name = "LIST", required = true)]
    pub(super) files: Vec<PathBuf>,
    /// Take every image from this registry
    #[arg(short, long, value_name = "REGISTRY")]
    pub(super) source: Option<Registry>,
    /// Copy every image to this registry
    #[arg(short, long, value_name = "REGISTRY")]
    pub(super) destination: Option<Registry>,
    /// Replace the first part of every source path
    #[arg(long, value_name = "PROJECT")]
    pub(super) source_project: Option<Project>,
    /// Replace the first part of every destination path
    #[arg(long, value_name = "PROJECT")]
    pub(super) destination_project: Option<Project>,
    /// Go on without lines that cannot be read; they are listed as failed
    #[arg(long)]
    pub(super) skip_bad_lines: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// What stdout says of a plan, or, as JSON, of each line of a run
    #[arg(long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    pub(super) output: Output,
    /// Where lines that did not end well are listed, as a list to feed back
    #[arg(
        short = 'o',
        long = "failed",
        value_name = "FILE",
        default_value = "mirror-failed.txt"
    )]
    pub(super) failed: PathBuf,
    /// The bounds of the run.
    #[command(flatten)]
    pub(super) bounds: Bounds,
    /// What is copied, and how.
    #[command(flatten)]
    pub(super) copying: Copying,
    /// How lists are read.
    #[command(flatten)]
    pub(super) reading: Reading,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(super) access: Access,
    /// What is otherwise on one side.
    #[command(flatten)]
    pub(super) sides: TwoSides,
}

/// `consign copy`.
#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    /// The image to copy
    #[arg(value_name = "SRC")]
    pub(super) from: Typed,
    /// Where to; without a tag, the one of the source
    #[arg(value_name = "DST")]
    pub(super) to: Reference,
    /// What stdout says: nothing, or what became of it
    #[arg(long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    pub(super) output: Output,
    /// The bounds of the run.
    #[command(flatten)]
    pub(super) bounds: Bounds,
    /// What is copied, and how.
    #[command(flatten)]
    pub(super) copying: Copying,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(super) access: Access,
    /// What is otherwise on one side.
    #[command(flatten)]
    pub(super) sides: TwoSides,
}

/// What is copied, and how.
#[derive(Debug, Args)]
pub(super) struct Copying {
    /// What stands under the tag when not all of an index is wanted
    #[arg(long, value_enum, default_value = "rewrite", value_name = "MODE")]
    pub(super) index: IndexArg,
    /// What to do with a tag that exists with another digest
    #[arg(long, value_enum, default_value = "replace", value_name = "WHAT")]
    pub(super) on_existing: ExistingArg,
    /// Let a rewritten index take away platforms that the destination has
    #[arg(long)]
    pub(super) overwrite: bool,
    /// Write what stands at the destination now as a list of names with digests
    #[arg(long, value_name = "FILE")]
    pub(super) digests: Option<PathBuf>,
    /// Write what became of every line as a JSON document
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Which platforms.
    #[command(flatten)]
    pub(super) selecting: Selecting,
    /// The policy.json to honour, instead of the one of the user or of the host
    #[arg(long, value_name = "FILE", conflicts_with = "insecure_policy", help_heading = VERIFYING)]
    pub(super) policy: Option<PathBuf>,
    /// Honour no policy.json
    #[arg(long, help_heading = VERIFYING)]
    pub(super) insecure_policy: bool,
    /// What becomes of signatures.
    #[command(flatten)]
    pub(super) signatures: Signatures,
    /// What is kept of those that were validated.
    #[command(flatten)]
    pub(super) caching: Caching,
    /// Flags of Hangar's and of later versions: refused by name.
    #[command(flatten)]
    pub(super) later: Later,
}

/// Flags that are not there yet. They are read so that they can be refused by name.
#[derive(Debug, Args)]
pub(super) struct Later {
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) provenance: Option<bool>,
    // Hangar asks for missing passwords unless told otherwise; nothing here ever asks.
    #[arg(long, hide = true)]
    pub(super) skip_login: bool,
    // The key of `sign` and `validate`; here there are two.
    #[arg(short = 'k', long, hide = true)]
    key: Option<PathBuf>,
}

impl Later {
    /// The flag of another command's that was given, and what there is instead.
    pub(super) fn elsewhere(&self) -> Option<Instead> {
        self.key.is_some().then_some((
            "--key",
            "`--verify-key` is the public key by which sources are validated, `--sign-key` the private one that \
             signs what was copied",
        ))
    }

    /// The first flag that was given and is not there yet.
    pub(super) fn first(&self) -> Option<&'static str> {
        (self.provenance == Some(false)).then_some("--provenance=false")
    }
}

/// The bounds of a run.
#[derive(Debug, Clone, Args)]
pub(super) struct Bounds {
    /// Images at once, 1 to 256
    #[arg(short, long, value_name = "N", default_value = "8", value_parser = jobs)]
    pub(super) jobs: NonZeroUsize,
    /// How long one image may take, its waiting for blobs of other images not counted; no limit
    /// without it
    #[arg(
        long,
        short_alias = 't',
        value_name = "DURATION",
        value_parser = duration
    )]
    pub(super) timeout: Option<Duration>,
}

/// `consign inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The image
    #[arg(value_name = "REF")]
    pub(super) image: Typed,
    /// Print the bytes of its manifest, unchanged
    #[arg(long)]
    pub(super) raw: bool,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(super) access: Access,
    /// Who asks.
    #[command(flatten)]
    pub(super) side: OneSide,
}

/// `consign list-tags`.
#[derive(Debug, Args)]
pub(super) struct ListTagsArgs {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    pub(super) repository: Typed,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(super) access: Access,
    /// Who asks.
    #[command(flatten)]
    pub(super) side: OneSide,
}

/// `consign serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// An OCI image layout; without it, a registry in memory that accepts pushes
    #[arg(value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
    /// Accept pushes into the directory, which is made if it is not there
    #[arg(long)]
    pub(super) writable: bool,
    /// Where to listen; port 0 takes a free one. The address is printed once it listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    pub(super) listen: SocketAddr,
}

/// `--index`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum IndexArg {
    /// A new index of the selected entries
    Rewrite,
    /// The index unchanged, with only the selected children present
    Sparse,
    /// The selected entries joined with what the destination has
    Merge,
}

impl From<IndexArg> for IndexMode {
    fn from(arg: IndexArg) -> Self {
        match arg {
            IndexArg::Rewrite => Self::Rewrite,
            IndexArg::Sparse => Self::Sparse,
            IndexArg::Merge => Self::Merge,
        }
    }
}

/// `--on-existing`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ExistingArg {
    /// Set the tag anew
    Replace,
    /// Leave the tag, and say so
    Keep,
    /// Fail the line
    Fail,
}

impl From<ExistingArg> for OnExisting {
    fn from(arg: ExistingArg) -> Self {
        match arg {
            ExistingArg::Replace => Self::Replace,
            ExistingArg::Keep => Self::Keep,
            ExistingArg::Fail => Self::Fail,
        }
    }
}

fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    text.parse::<NonZeroUsize>()
        .ok()
        .filter(|jobs| jobs.get() <= JOBS_MAX)
        .ok_or_else(|| format!("a number from 1 to {JOBS_MAX} is wanted"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if parsed.is_zero() || parsed > DURATION_MAX {
        return Err("it must be longer than nothing and at most 30 days".to_owned());
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn who_names_no_image_is_told_of_lists_too() {
        for command in ["sign", "validate", "verify"] {
            let error = Cli::try_parse_from(["consign", command]).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("<IMAGE|--file <LIST>>"), "{said}");
        }
    }

    #[test]
    fn no_heading_of_the_help_holds_for_longer_than_it_should() {
        let cli = Cli::command();
        for command in ["mirror", "copy", "sign", "validate"] {
            let command = cli.find_subcommand(command).unwrap();
            for (flag, heading) in [
                ("jobs", None),
                ("report", None),
                ("arch", Some(SELECTING)),
                ("stall_timeout", Some(REGISTRIES)),
            ] {
                let arg = command.get_arguments().find(|arg| arg.get_id() == flag);
                assert_eq!(arg.unwrap().get_help_heading(), heading, "{flag}");
            }
        }
    }

    #[test]
    fn hangars_command_lines_are_read() {
        for line in [
            "consign mirror -f list.txt -s a.io -d b.io -a amd64,arm64 --os linux -o failed.txt -j 4 --timeout 10m0s --tls-verify=false --overwrite --source-project x --destination-project y --skip-login --provenance=true",
            "consign m --file list.txt --destination b.io:5000 --arch amd64 --jobs=20 --tls-verify",
            "consign inspect --raw docker://a.io/b:c",
            "consign list-tags a.io/b",
            "consign sign -f list.txt -k key --registry a.io --project x -j 4 -a amd64,arm64 --os linux --tls-verify=false --skip-login --sigstore-passphrase-file p",
            "consign sign -f list.txt -p key --passphrase-file p --tlog-upload=false -y",
            "consign generate-sigstore-key --prefix site --passphrase-file p -y",
            "consign signv1 -f list.txt --sigstore-key key",
            "consign signv1 validate -f list.txt --sigstore-pubkey key.pub --exact-repository a.io/b -o failed.txt",
            "consign sign validate -f list.txt -k key.pub --insecure-ignore-tlog -r report.json --format json",
            "consign validate -f list.txt -p a.pub -p b.pub -a tag=1 -a amd64 --subjects all",
            "consign mirror -f list.txt --sigstore-private-key key --sigstore-passphrase-file p --remove-signatures",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "consign mirror",
            "consign mirror -f x -j 0",
            "consign mirror -f x -j 257",
            "consign mirror -f x --timeout 0s",
            "consign mirror -f x --timeout soon",
            "consign mirror -f x --stall-timeout 300000000000years",
            "consign mirror -f x -d user@host",
            "consign mirror -f x --platform linux",
            "consign mirror -f x --platform linux/amd64 --arch arm64",
            "consign mirror -f x --arch ,",
            "consign mirror -f x --arch key=value",
            "consign mirror -f x --prune-signatures",
            "consign mirror -f x --remove-signatures --no-referrers",
            "consign mirror -f x --verify-key k --exact-repository a --signed-identity matchExact",
            "consign mirror -f x --sign-annotations a=b",
            "consign validate -f x -k key --no-cache --cache-dir x",
            "consign sign -f x -k key --no-cache",
            "consign sign -k key",
            "consign validate -f x -k key --signed-identity matchSome",
            "consign validate -f x -k key --annotations tag",
            "consign validate -f x -k key --annotations a=b,c",
            "consign sign -f x -k key --sign-identity {what}",
            "consign sign -f x -k key --annotations creator=me",
            "consign copy a",
            "consign copy A b",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}

//! What was typed. Flags carry Hangar's names where Hangar has them.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::oci::{Platform, Reference, Registry};
use crate::plan::Project;
use crate::transfer::{IndexMode, OnExisting};

/// The most images at once; beyond it registries only queue.
const JOBS_MAX: usize = 256;

/// The longest time limit; beyond it clocks could overflow and nobody waits.
const DURATION_MAX: Duration = Duration::from_hours(30 * 24);

/// Bulk image mirroring; signing and signature validation are not there yet
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
    /// Print what a mirror run would do
    Plan(Box<MirrorArgs>),
    /// Look at an image at its registry
    #[command(visible_alias = "i")]
    Inspect(InspectArgs),
    /// List the tags of a repository, sorted, as JSON
    ListTags(ListTagsArgs),
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
    /// An image list; may be repeated, `-` is standard input
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
    /// What stdout of a plan says
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
    /// What is copied, and how.
    #[command(flatten)]
    pub(super) copying: Copying,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(super) access: Access,
    /// The bounds of the run.
    #[command(flatten)]
    pub(super) bounds: Bounds,
}

/// `consign copy`.
#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    /// The image to copy
    #[arg(value_name = "SRC")]
    pub(super) from: Reference,
    /// Where to; without a tag, the one of the source
    #[arg(value_name = "DST")]
    pub(super) to: Reference,
    /// What is copied, and how.
    #[command(flatten)]
    pub(super) copying: Copying,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(super) access: Access,
    /// The bounds of the run.
    #[command(flatten)]
    pub(super) bounds: Bounds,
}

/// What is copied, and how.
#[derive(Debug, Args)]
pub(super) struct Copying {
    /// Architectures wanted, comma-separated or repeated; all without it
    #[arg(
        short,
        long,
        value_name = "ARCH",
        value_parser = part,
        value_delimiter = ',',
        conflicts_with = "platforms"
    )]
    pub(super) arch: Vec<String>,
    /// Operating systems wanted, comma-separated or repeated; all without it
    #[arg(
        long,
        value_name = "OS",
        value_parser = part,
        value_delimiter = ',',
        conflicts_with = "platforms"
    )]
    pub(super) os: Vec<String>,
    /// Variants wanted, comma-separated or repeated; all without it
    #[arg(
        long,
        value_name = "VARIANT",
        value_parser = part,
        value_delimiter = ',',
        conflicts_with = "platforms"
    )]
    pub(super) variant: Vec<String>,
    /// Platforms wanted, comma-separated or repeated
    #[arg(
        long = "platform",
        value_name = "OS/ARCH[/VARIANT]",
        value_delimiter = ','
    )]
    pub(super) platforms: Vec<Platform>,
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
    /// The policy.json to honour, instead of the one of the user or of the host
    #[arg(long, value_name = "FILE", conflicts_with = "insecure_policy")]
    pub(super) policy: Option<PathBuf>,
    /// Honour no policy.json
    #[arg(long)]
    pub(super) insecure_policy: bool,
    /// Flags of Hangar's and of later versions: refused by name.
    #[command(flatten)]
    pub(super) later: Later,
}

/// Flags that are not there yet. They are read so that they can be refused by name.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags are bools where they are typed"
)]
pub(super) struct Later {
    #[arg(long, hide = true)]
    pub(super) remove_signatures: bool,
    #[arg(long, hide = true)]
    pub(super) prune_signatures: bool,
    #[arg(long, hide = true)]
    pub(super) no_referrers: bool,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) provenance: Option<bool>,
    #[arg(long, hide = true)]
    pub(super) sign_key: Option<String>,
    #[arg(long, hide = true)]
    pub(super) verify_key: Option<String>,
    #[arg(long, hide = true)]
    pub(super) sigstore_private_key: Option<String>,
    #[arg(long, hide = true)]
    pub(super) sigstore_passphrase_file: Option<String>,
    // Hangar asks for missing passwords unless told otherwise; nothing here ever asks.
    #[arg(long, hide = true)]
    pub(super) skip_login: bool,
}

impl Later {
    /// The first flag that was given and is not there yet.
    pub(super) fn first(&self) -> Option<&'static str> {
        [
            (self.remove_signatures, "--remove-signatures"),
            (self.prune_signatures, "--prune-signatures"),
            (self.no_referrers, "--no-referrers"),
            (self.provenance == Some(false), "--provenance=false"),
            (self.sign_key.is_some(), "--sign-key"),
            (self.verify_key.is_some(), "--verify-key"),
            (
                self.sigstore_private_key.is_some(),
                "--sigstore-private-key",
            ),
            (
                self.sigstore_passphrase_file.is_some(),
                "--sigstore-passphrase-file",
            ),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }
}

/// How registries are spoken to.
#[derive(Debug, Args)]
pub(super) struct Access {
    /// Check certificates; `=false` takes any, and plain HTTP where TLS is not spoken
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        default_value = "true",
        default_missing_value = "true",
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub(super) tls_verify: bool,
    /// How long a transfer or request may make no progress
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(super) stall_timeout: Duration,
}

/// The bounds of a run.
#[derive(Debug, Args)]
pub(super) struct Bounds {
    /// Images at once, 1 to 256
    #[arg(short, long, value_name = "N", default_value = "8", value_parser = jobs)]
    pub(super) jobs: NonZeroUsize,
    /// How long one image may take, its waiting for blobs of other images not counted; no limit
    /// without it
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) timeout: Option<Duration>,
}

/// `consign inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The image
    #[arg(value_name = "REF")]
    pub(super) image: Reference,
    /// Print the bytes of its manifest, unchanged
    #[arg(long)]
    pub(super) raw: bool,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(super) access: Access,
}

/// `consign list-tags`.
#[derive(Debug, Args)]
pub(super) struct ListTagsArgs {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    pub(super) repository: Reference,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(super) access: Access,
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

/// What stdout says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Text,
    /// For machines.
    Json,
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

/// A part of a platform. `-a` with a `=` will be an annotation, as cosign's users type it.
fn part(text: &str) -> Result<String, String> {
    if text.contains('=') {
        return Err("annotations are not there yet".to_owned());
    }
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    if text.is_empty() || !text.bytes().all(is_plain) {
        return Err("lower-case letters, digits, -, _ and . are wanted".to_owned());
    }
    Ok(text.to_owned())
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
    fn hangars_command_lines_are_read() {
        for line in [
            "consign mirror -f list.txt -s a.io -d b.io -a amd64,arm64 --os linux -o failed.txt -j 4 --timeout 10m0s --tls-verify=false --overwrite --source-project x --destination-project y --skip-login --provenance=true",
            "consign m --file list.txt --destination b.io:5000 --arch amd64 --jobs=20 --tls-verify",
            "consign inspect --raw docker://a.io/b:c",
            "consign list-tags a.io/b",
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
            "consign mirror -f x -a key=value",
            "consign copy a",
            "consign copy A b",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}

//! `sign` and `validate`, and what `mirror` and `copy` can be told of signatures.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::annotations::Annotations;
use super::caching::Caching;
use super::cosign::{CosignSign, CosignVerify, Instead};
use super::trusting::{TrustArgs, VerifyWho, Who};
use super::{Access, Bounds, KeylessArgs, OneSide, Reading, Selecting, Shown};
use crate::event::Format;
use crate::oci::{Reference, Registry};
use crate::plan::Project;
use crate::policy::SignedIdentity;
use crate::sign::Formats;
use crate::template::Template;
use crate::verify::Subjects;

/// `consign sign`, with `consign sign validate` below it, as Hangar has it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::cli) struct SignCommand {
    /// What is below it.
    #[command(subcommand)]
    pub(in crate::cli) below: Option<BelowSign>,
    /// The command itself.
    #[command(flatten)]
    pub(in crate::cli) args: SignArgs,
}

/// What is below `sign`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum BelowSign {
    /// The same as `consign validate`
    Validate(Box<ValidateArgs>),
}

/// Which images, where they are, and where it is written what became of them.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags are bools where they are typed"
)]
pub(in crate::cli) struct InPlace {
    /// Images, beside lists or without any; each is what a line of a list could be
    #[arg(value_name = "IMAGE", value_parser = image, group = "which")]
    pub(in crate::cli) images: Vec<String>,
    /// An image list or a compose file; may be repeated, `-` is standard input. A mirror line means its destination
    #[arg(short, long = "file", value_name = "LIST", group = "which")]
    pub(in crate::cli) files: Vec<PathBuf>,
    /// Look for every image at this registry
    #[arg(long, value_name = "REGISTRY")]
    pub(in crate::cli) registry: Option<Registry>,
    /// Replace the first part of every path
    #[arg(long, value_name = "PROJECT")]
    pub(in crate::cli) project: Option<Project>,
    /// Go on without lines that cannot be read; they are listed as failed
    #[arg(long)]
    pub(in crate::cli) skip_bad_lines: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// What stdout says: text unless told otherwise, and cosign for images alone that are validated
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(in crate::cli) output: Option<Shown>,
    /// Where lines that did not end well are listed, as a list to feed back; COMMAND-failed.txt without it, and
    /// nowhere for images alone
    #[arg(short = 'o', long = "failed", value_name = "FILE")]
    pub(in crate::cli) failed: Option<PathBuf>,
    /// Write what became of every line as a JSON document
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::cli) report: Option<PathBuf>,
    /// The bounds of the run.
    #[command(flatten)]
    pub(in crate::cli) bounds: Bounds,
    #[arg(long, hide = true)]
    skip_login: bool,
    // Hangar's, for every command; only what copies asks a policy.
    #[arg(long, hide = true)]
    insecure_policy: bool,
    /// How lists are read.
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// Which platforms.
    #[command(flatten)]
    pub(in crate::cli) selecting: Selecting,
    /// Annotations that signatures have, or must have, templates; `-a KEY=VALUE` too
    #[arg(
        long = "annotations",
        alias = "annotation",
        value_name = "KEY=VALUE",
        help_heading = super::SELECTING
    )]
    pub(in crate::cli) annotations: Vec<Annotations>,
    /// How registries are spoken to.
    #[command(flatten)]
    pub(in crate::cli) access: Access,
    /// Who asks.
    #[command(flatten)]
    pub(in crate::cli) side: OneSide,
}

/// `consign sign`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SignArgs {
    /// Which images.
    #[command(flatten)]
    pub(in crate::cli) images: InPlace,
    /// The private key
    #[arg(
        short = 'k',
        short_alias = 'p',
        long,
        visible_alias = "sigstore-key",
        aliases = ["sigstore-private-key", "sigstore-pubkey"],
        value_name = "FILE",
        help_heading = super::SIGNING
    )]
    pub(in crate::cli) key: Option<PathBuf>,
    /// How the key signs.
    #[command(flatten)]
    pub(in crate::cli) signing: Signing,
    /// Which manifests of an image are signed
    #[arg(long, value_enum, default_value = "all", value_name = "WHICH", help_heading = super::SIGNING)]
    pub(in crate::cli) subjects: SubjectsArg,
    /// Sign also what a failed list marks as rejected by a validation
    #[arg(long, help_heading = super::SIGNING)]
    pub(in crate::cli) sign_rejected: bool,
    /// Who vouches where there is no key.
    #[command(flatten)]
    pub(in crate::cli) keyless: KeylessArgs,
    /// By what signatures without a key are verified before they are pushed, a `trusted_root.json`; without
    /// it the public Sigstore instance's
    #[arg(long, value_name = "FILE", help_heading = super::KEYLESS)]
    pub(in crate::cli) trusted_root: Option<PathBuf>,
    /// cosign's.
    #[command(flatten)]
    pub(in crate::cli) cosign: CosignSign,
}

impl SignArgs {
    /// The same with what cosign's flags mean.
    ///
    /// # Errors
    ///
    /// With the first of them that is not taken.
    pub(in crate::cli) fn meant(mut self) -> Result<Self, Instead> {
        if let Some(instead) = self.cosign.refused() {
            return Err(instead);
        }
        if self.cosign.is_insecure() {
            self.images.access.tls_verify.get_or_insert(false);
        }
        let is_open =
            self.signing.formats.is_empty() && self.signing.registry_referrers_mode.is_none();
        if let Some(bundles) = self.cosign.bundles().filter(|_| is_open) {
            self.signing.formats = vec![if bundles {
                FormatArg::Bundle
            } else {
                FormatArg::Tag
            }];
        }
        Ok(self)
    }
}

/// How a key signs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = super::SIGNING)]
pub(in crate::cli) struct Signing {
    /// A file with the passphrase of the key; else `COSIGN_PASSWORD`, else it is asked for
    #[arg(long, visible_alias = "sigstore-passphrase-file", value_name = "FILE")]
    pub(in crate::cli) passphrase_file: Option<PathBuf>,
    /// The identity that signatures name.
    #[arg(long, alias = "sign-container-identity", value_name = "TEMPLATE", help = SIGN_IDENTITY)]
    pub(in crate::cli) sign_identity: Option<Template>,
    /// Where and how signatures are stored; may be repeated. Without it the tag, and a bundle too where
    /// the image has one
    #[arg(
        long = "signature-format",
        value_enum,
        value_delimiter = ',',
        value_name = "FORMAT"
    )]
    pub(in crate::cli) formats: Vec<FormatArg>,
    /// The same in cosign's words: oci-1-1 is --signature-format referrer
    #[arg(long, value_enum, value_name = "MODE", conflicts_with = "formats")]
    pub(in crate::cli) registry_referrers_mode: Option<ReferrersMode>,
}

/// `--registry-referrers-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ReferrersMode {
    /// Referrers, as the OCI specifications 1.1 have them
    #[value(name = "oci-1-1")]
    Oci11,
    /// What is usual without it
    Legacy,
}

const SIGN_IDENTITY: &str = "The identity that signatures name, a template of {repository}, {path}, \
    {registry}, {tag}, {digest}, {source}; without it {repository}:{tag}";

impl Signing {
    /// The formats that were asked for.
    pub(in crate::cli) fn formats(&self) -> Formats {
        if self.registry_referrers_mode == Some(ReferrersMode::Oci11) {
            return Formats::These(vec![Format::Referrer]);
        }
        if self.formats.is_empty() {
            return Formats::Usual;
        }
        let mut formats: Vec<Format> = self.formats.iter().map(|&arg| arg.into()).collect();
        formats.sort_unstable();
        formats.dedup();
        Formats::These(formats)
    }
}

/// `consign validate`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ValidateArgs {
    /// Which images.
    #[command(flatten)]
    pub(in crate::cli) images: InPlace,
    /// A public key; may be repeated, one that fits suffices
    #[arg(
        short = 'k',
        short_alias = 'p',
        long = "key",
        visible_alias = "sigstore-pubkey",
        alias = "sigstore-key",
        value_name = "FILE",
        help_heading = super::VERIFYING
    )]
    pub(in crate::cli) keys: Vec<PathBuf>,
    /// Whom certificates must name.
    #[command(flatten)]
    pub(in crate::cli) who: Who,
    /// What is trusted.
    #[command(flatten)]
    pub(in crate::cli) trust: TrustArgs,
    /// The identity.
    #[command(flatten)]
    pub(in crate::cli) identity: IdentityArgs,
    /// Which manifests of an image must be signed: platforms unless told otherwise; the index for lines
    /// that say themselves who must have signed
    #[arg(long, value_enum, value_name = "WHICH", help_heading = super::VERIFYING)]
    pub(in crate::cli) subjects: Option<SubjectsArg>,
    /// What is kept of what was validated.
    #[command(flatten)]
    pub(in crate::cli) caching: Caching,
    // Hangar asks before it overwrites, and for missing passwords; nothing here does.
    #[arg(
        short = 'y',
        long,
        alias = "auto-yes",
        hide = true,
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true
    )]
    yes: Option<bool>,
    /// cosign's.
    #[command(flatten)]
    pub(in crate::cli) cosign: CosignVerify,
}

impl ValidateArgs {
    /// The same with what cosign's flags mean.
    ///
    /// # Errors
    ///
    /// With the first of them that is not taken.
    pub(in crate::cli) fn meant(mut self) -> Result<Self, Instead> {
        if let Some(instead) = self.cosign.refused() {
            return Err(instead);
        }
        // cosign's `-o` is the form of its output.
        let failed = self.images.failed.as_deref().and_then(Path::to_str);
        if let Some(flag) = failed.and_then(|text| match text {
            "json" => Some("-o json"),
            "text" => Some("-o text"),
            _ => None,
        }) {
            return Err((
                flag,
                "`-o` names the list of what did not end well; `--output cosign` prints what cosign prints",
            ));
        }
        if self.cosign.is_insecure() {
            self.images.access.tls_verify.get_or_insert(false);
        }
        Ok(self)
    }
}

/// The identity that signatures must name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = super::VERIFYING)]
pub(in crate::cli) struct IdentityArgs {
    /// The repository that signatures must name.
    #[arg(long, value_name = "TEMPLATE", help = EXACT_REPOSITORY, conflicts_with = "signed_identity")]
    pub(in crate::cli) exact_repository: Option<Template>,
    /// Which identity signatures must name.
    #[arg(long, value_name = "RULE", help = SIGNED_IDENTITY)]
    pub(in crate::cli) signed_identity: Option<SignedIdentity>,
}

const SIGNED_IDENTITY: &str = "Which identity signatures must name: matchRepoDigestOrExact (the \
    default for keys), matchExact, matchRepository (the default for certificates, and for lines that say \
    themselves who must have signed), exactReference:R, exactRepository:R, \
    remapIdentity:PREFIX=SIGNED_PREFIX, or digestOnly, which proves no name";

const EXACT_REPOSITORY: &str = "Signatures must name this repository, whatever the image is called: a \
    template, such as docker.io/{path} or {source}, for images that were mirrored from elsewhere";

/// What `mirror` and `copy` can be told of signatures.
#[derive(Debug, Clone, Args)]
#[expect(
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "flags are bools where they are typed, and keep their names"
)]
pub(in crate::cli) struct Signatures {
    /// Leave signatures behind; attestations and SBOMs are copied
    #[arg(long, conflicts_with = "no_referrers", help_heading = super::TRAVEL)]
    pub(in crate::cli) remove_signatures: bool,
    /// With --remove-signatures: delete those that the destination has already
    #[arg(long, requires = "remove_signatures", help_heading = super::TRAVEL)]
    pub(in crate::cli) prune_signatures: bool,
    /// Copy the image alone: no signatures, attestations, SBOMs or other referrers
    #[arg(long, help_heading = super::TRAVEL)]
    pub(in crate::cli) no_referrers: bool,
    /// Validate each source with this public key first, and copy only what is accepted; may be repeated
    #[arg(long = "verify-key", value_name = "FILE", help_heading = super::VERIFYING)]
    pub(in crate::cli) verify_keys: Vec<PathBuf>,
    /// Whom certificates of sources must name.
    #[command(flatten)]
    pub(in crate::cli) verify_who: VerifyWho,
    /// What is trusted.
    #[command(flatten)]
    pub(in crate::cli) trust: TrustArgs,
    /// The identity that signatures of sources must name.
    #[command(flatten)]
    pub(in crate::cli) identity: IdentityArgs,
    /// Which manifests of a source must be signed: each platform that is copied unless told otherwise; the index
    /// for lines that say themselves who must have signed
    #[arg(long, value_enum, value_name = "WHICH", help_heading = super::VERIFYING)]
    pub(in crate::cli) verify_subjects: Option<SubjectsArg>,
    /// Annotations that signatures of sources must have, templates
    #[arg(long, value_name = "KEY=VALUE", help_heading = super::VERIFYING)]
    pub(in crate::cli) verify_annotations: Vec<Annotations>,
    /// Sign what was copied with this private key, before the tag is set
    #[arg(
        long,
        visible_alias = "sigstore-private-key",
        value_name = "FILE",
        group = "signs",
        help_heading = super::SIGNING
    )]
    pub(in crate::cli) sign_key: Option<PathBuf>,
    /// Sign what was copied without a key, as whom --identity-token or `SIGSTORE_ID_TOKEN` names, before the tag
    /// is set
    #[arg(long, group = "signs", help_heading = super::KEYLESS)]
    pub(in crate::cli) sign_keyless: bool,
    /// Who vouches then.
    #[command(flatten)]
    pub(in crate::cli) keyless: KeylessArgs,
    /// By what signatures without a key are verified before they are pushed, a `trusted_root.json`; without
    /// it the public Sigstore instance's
    #[arg(long, value_name = "FILE", help_heading = super::KEYLESS)]
    pub(in crate::cli) sign_trusted_root: Option<PathBuf>,
    /// How the key signs.
    #[command(flatten)]
    pub(in crate::cli) signing: Signing,
    /// Which manifests of what was copied are signed; all without it
    #[arg(long, value_enum, value_name = "WHICH", requires = "signs", help_heading = super::SIGNING)]
    pub(in crate::cli) sign_subjects: Option<SubjectsArg>,
    /// Annotations to sign, templates; `-a KEY=VALUE` too
    #[arg(long, value_name = "KEY=VALUE", requires = "signs", help_heading = super::SIGNING)]
    pub(in crate::cli) sign_annotations: Vec<Annotations>,
}

impl Signatures {
    /// A flag that was given and says how sources are verified.
    pub(in crate::cli) fn needs_verification(&self) -> Option<&'static str> {
        first(&[
            (
                self.identity.exact_repository.is_some(),
                "--exact-repository",
            ),
            (self.identity.signed_identity.is_some(), "--signed-identity"),
            (self.verify_subjects.is_some(), "--verify-subjects"),
            (!self.verify_annotations.is_empty(), "--verify-annotations"),
        ])
    }
}

/// Which manifests of an image are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum SubjectsArg {
    /// The index alone, or the single image
    Index,
    /// Each image of a platform
    Platforms,
    /// The index and all in it, attestation manifests too
    All,
}

impl From<SubjectsArg> for Subjects {
    fn from(arg: SubjectsArg) -> Self {
        match arg {
            SubjectsArg::Index => Self::Index,
            SubjectsArg::Platforms => Self::Platforms,
            SubjectsArg::All => Self::All,
        }
    }
}

/// `--signature-format`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum FormatArg {
    /// Under the tag sha256-DIGEST.sig: cosign, podman, CRI-O, Harbor
    Tag,
    /// The same as a referrer: cosign with --experimental-oci11
    Referrer,
    /// A Sigstore bundle as a referrer: cosign 3
    Bundle,
}

impl From<FormatArg> for Format {
    fn from(arg: FormatArg) -> Self {
        match arg {
            FormatArg::Tag => Self::Tag,
            FormatArg::Referrer => Self::Referrer,
            FormatArg::Bundle => Self::Bundle,
        }
    }
}

pub(super) fn first(flags: &[(bool, &'static str)]) -> Option<&'static str> {
    flags
        .iter()
        .find_map(|(given, name)| given.then_some(*name))
}

/// An image on the command line, as a line of a list has it.
fn image(text: &str) -> Result<String, crate::oci::Error> {
    text.parse::<Reference>().map(|_| text.to_owned())
}

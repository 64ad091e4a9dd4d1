//! The flags of the cache.

use std::path::PathBuf;

use clap::Args;

/// What is kept from one run to the next.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = super::VERIFYING)]
pub(in crate::cli) struct Caching {
    /// Read everything that is validated from its registry, and keep nothing of it
    #[arg(long, conflicts_with = "cache_dir")]
    pub(in crate::cli) no_cache: bool,
    /// Where manifests and signatures that were read are kept, by their digests, to be read from there while the
    /// registry says that they stand; without it `$XDG_CACHE_HOME/consign/content`, else
    /// `~/.cache/consign/content`. Verdicts are never kept
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) cache_dir: Option<PathBuf>,
}

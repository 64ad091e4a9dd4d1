//! How lists are read.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How lists are read, those of them that are compose files above all.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Compose files")]
pub(in crate::cli) struct Reading {
    /// What lists are; without it, what each looks like
    #[arg(long, value_enum, default_value_t = ListFormat::Auto, value_name = "FORMAT")]
    pub(in crate::cli) list_format: ListFormat,
    /// A profile of compose files that is chosen, `*` for all; may be repeated
    #[arg(long = "profile", value_name = "NAME")]
    pub(in crate::cli) profiles: Vec<String>,
    /// A file with variables for compose files, instead of .env beside each; may be repeated
    #[arg(long = "env-file", value_name = "FILE")]
    pub(in crate::cli) env_files: Vec<PathBuf>,
    /// What the project of compose files is called, for images that are only built
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) project_name: Option<String>,
}

/// `--list-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ListFormat {
    /// A compose file where `services:` or `include:` begins a line, else a plain list
    Auto,
    /// One image a line
    Plain,
    /// A compose file
    Compose,
}

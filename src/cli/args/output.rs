//! What stdout says.

use clap::ValueEnum;

/// What stdout says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Output {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// What stdout says of images that stay where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Shown {
    /// Nothing; the rest is for people
    Text,
    /// What became of each line, one JSON object a line
    Json,
    /// What `cosign verify` prints: for each accepted image an array of its signatures
    Cosign,
}

impl From<Output> for Shown {
    fn from(output: Output) -> Self {
        match output {
            Output::Text => Self::Text,
            Output::Json => Self::Json,
        }
    }
}

impl From<Shown> for Output {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Text | Shown::Cosign => Self::Text,
            Shown::Json => Self::Json,
        }
    }
}

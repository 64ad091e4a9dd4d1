//! The built program between registries of others, looked at with clients of others.

mod clients;
mod credentials;
pub(crate) mod distribution;
mod ends;
mod hostile;
mod images;
mod memory;
mod mirrors;
mod platforms;
mod served;
mod tls;
mod token_service;
mod tokens;

use std::path::Path;

use consign::oci::Digest;
use libtest_mimic::Trial;

use crate::harness::{Tool, Tools};

pub(crate) fn trials() -> Vec<Trial> {
    [
        mirrors::trials(),
        clients::trials(),
        credentials::trials(),
        platforms::trials(),
        ends::trials(),
        memory::trials(),
        hostile::trials(),
        served::trials(),
        tls::trials(),
        tokens::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Runs a tool with arguments that are parted by blanks, and gives its standard output.
async fn run(tools: &Tools, tool: Tool, arguments: &str) -> String {
    let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
    tools.run(tool, words).await
}

/// The manifest under a name, as crane reads it: its bytes.
async fn crane_manifest(tools: &Tools, name: &str) -> Vec<u8> {
    let text = run(tools, Tool::Crane, &format!("manifest {name}")).await;
    text.into_bytes()
}

/// The digest under a name, as crane asks for it.
async fn crane_digest(tools: &Tools, name: &str) -> Digest {
    let text = run(tools, Tool::Crane, &format!("digest {name}")).await;
    text.trim().parse().expect("a digest")
}

/// A path that is given to a program.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

//! Trials: how a test is declared, and how it finds the outside tools it needs.
//!
//! [`trial`] makes a test of an async function, which gets a multi-thread runtime of its own;
//! [`with_tools`] makes one that needs programs of others. A tool is the program that
//! `CONSIGN_TEST_REGISTRY`, `_CRANE`, `_ORAS`, `_SKOPEO`, `_COSIGN2`, `_COSIGN3` or `_COMPOSE` names,
//! else the one on `PATH`, else the one below
//! `${CONSIGN_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/consign-counterparts}/bin`.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use tokio::process::Command;

/// A program of others that some tests need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Distribution 2.8, as Debian packages it.
    Registry,
    /// go-containerregistry's client.
    Crane,
    /// The ORAS client.
    Oras,
    /// The client of containers/image.
    Skopeo,
    /// Sigstore's client, 2.x.
    Cosign2,
    /// Sigstore's client, 3.x.
    Cosign3,
    /// Docker's reader of compose files.
    Compose,
    /// Runs the scripts that make images.
    Python,
    /// A timestamp authority.
    Openssl,
}

impl Tool {
    const fn variable(self) -> &'static str {
        match self {
            Self::Registry => "CONSIGN_TEST_REGISTRY",
            Self::Crane => "CONSIGN_TEST_CRANE",
            Self::Oras => "CONSIGN_TEST_ORAS",
            Self::Skopeo => "CONSIGN_TEST_SKOPEO",
            Self::Cosign2 => "CONSIGN_TEST_COSIGN2",
            Self::Cosign3 => "CONSIGN_TEST_COSIGN3",
            Self::Compose => "CONSIGN_TEST_COMPOSE",
            Self::Python => "CONSIGN_TEST_PYTHON",
            Self::Openssl => "CONSIGN_TEST_OPENSSL",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Registry => "docker-registry",
            Self::Crane => "crane",
            Self::Oras => "oras",
            Self::Skopeo => "skopeo",
            Self::Cosign2 => "cosign2",
            Self::Cosign3 => "cosign3",
            Self::Compose => "docker-compose",
            Self::Python => "python3",
            Self::Openssl => "openssl",
        }
    }

    fn find(self) -> Option<PathBuf> {
        if let Some(named) = env::var_os(self.variable()).filter(|named| !named.is_empty()) {
            return Some(PathBuf::from(named));
        }
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain(counterparts())
            .map(|folder| folder.join(self.program()))
            .find(|program| program.is_file())
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

fn counterparts() -> Option<PathBuf> {
    let from = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let tools = from("CONSIGN_TOOLS").or_else(|| {
        let cache = from("XDG_CACHE_HOME").or_else(|| Some(from("HOME")?.join(".cache")))?;
        Some(cache.join("consign-counterparts"))
    })?;
    Some(tools.join("bin"))
}

/// The tools of one test, all of them there.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    found: Vec<(Tool, PathBuf)>,
    /// An empty home, so that nobody's configuration or credentials take part.
    home: Arc<tempfile::TempDir>,
}

impl Tools {
    /// The program file of a tool that the test declared.
    pub(crate) fn path(&self, tool: Tool) -> &Path {
        let found = self.found.iter().find(|(other, _)| *other == tool);
        &found.expect("the test declares its tools").1
    }

    /// A scratch folder of this test.
    pub(crate) fn folder(&self) -> &Path {
        self.home.path()
    }

    /// A command of a tool, with a clean environment and an empty home.
    pub(crate) fn command(&self, tool: Tool) -> Command {
        let mut command = Command::new(self.path(tool));
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .env("XDG_RUNTIME_DIR", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a tool to its end, which must be a good one, and gives its standard output.
    pub(crate) async fn run<A: AsRef<OsStr>>(
        &self,
        tool: Tool,
        arguments: impl IntoIterator<Item = A>,
    ) -> String {
        let mut command = self.command(tool);
        command.args(arguments);
        let output = command.output().await.expect("the tool starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{:?} ended with {}:\n{}\n{}",
            command.as_std(),
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }
}

/// A test of an async function.
pub(crate) fn trial<F>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()> + Send + 'static,
{
    Trial::test(name, move || run(body()))
}

/// A test that needs tools; without them it is ignored, or fails where tools are required.
pub(crate) fn with_tools<F>(
    name: &str,
    tools: &[Tool],
    body: impl FnOnce(Tools) -> F + Send + 'static,
) -> Trial
where
    F: Future<Output = ()> + Send + 'static,
{
    let names: Vec<String> = tools.iter().map(Tool::to_string).collect();
    let kind = format!("needs {}", names.join(", "));
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for tool in tools {
        match tool.find() {
            Some(program) => found.push((*tool, program)),
            None => missing.push(tool.to_string()),
        }
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        let is_required = env::var_os("CONSIGN_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        let ignored = Trial::test(name, move || {
            Err(Failed::from(format!("{missing}: absent")))
        });
        return ignored.with_kind(kind).with_ignored_flag(!is_required);
    }
    Trial::test(name, move || {
        let home = Arc::new(tempfile::tempdir()?);
        run(body(Tools { found, home }))
    })
    .with_kind(kind)
}

fn run(body: impl Future<Output = ()> + Send + 'static) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(body);
    // A server that still stalls somewhere must not hold up the end.
    runtime.shutdown_background();
    Ok(())
}

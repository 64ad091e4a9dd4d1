//! Credential helpers: programs of others that keep secrets (the protocol of docker-credential-helpers).
//!
//! `docker-credential-NAME get|store|erase` reads one request on standard input and answers on standard
//! output. A name comes from a file, so it must be a plain word, and the program is looked for in `PATH`
//! alone: no file chooses another program. What a helper prints is never shown, for it may hold the
//! secret; it is bounded in bytes and in time.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::limits::input::{HELPER_ANSWER_BYTES_MAX, HELPER_NAME_BYTES_MAX};
use crate::registry::Credential;
use crate::text::cleaned;

use super::super::SECRETS;

/// How long a helper may take: somebody may have to unlock a keyring.
const TIME_MAX: Duration = Duration::from_mins(1);
/// What a helper prints when it has nothing (docker-credential-helpers, `credentials/error.go`).
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user whose secret is an identity token (same protocol, and docker's `config.json`).
const TOKEN_USER: &str = "<token>";

/// Why a helper did not help. Never with anything that it printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelperError {
    #[error("`{0}` is no name of a helper: letters, digits, `.`, `_` and `-` make one")]
    Name(String),
    #[error("the helper `docker-credential-{0}` is not in any folder of PATH")]
    Missing(String),
    #[error("the helper `docker-credential-{0}` cannot be run")]
    Run(String, #[source] io::Error),
    #[error("the helper `docker-credential-{0}` ended with {1}")]
    Failed(String, ExitStatus),
    #[error("the helper `docker-credential-{0}` took longer than 60 s")]
    TooSlow(String),
    #[error("the helper `docker-credential-{0}` gave more than 64 KiB")]
    TooLong(String),
    #[error("the helper `docker-credential-{0}` gave an answer that is none of its protocol")]
    Answer(String),
}

impl HelperError {
    /// What a person can do to see more of it.
    pub(super) fn hint(&self, server: &str) -> Option<String> {
        match self {
            Self::Failed(name, _) | Self::TooSlow(name) | Self::Answer(name) => {
                let server = cleaned(server, 300);
                Some(format!(
                    "its own words are not shown, for they may hold a secret: `printf %s {server} | docker-credential-{name} get`"
                ))
            }
            Self::Name(_) | Self::Missing(_) | Self::Run(..) | Self::TooLong(_) => None,
        }
    }
}

/// Whether there was something to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Erased {
    Gone,
    /// As far as helpers say so: most are content to remove nothing.
    WasNotThere,
}

/// A helper that is there.
#[derive(Debug, Clone)]
pub(super) struct Helper {
    name: String,
    program: PathBuf,
    time_max: Duration,
}

impl Helper {
    /// The helper `name`, as a file names it, in the folders of `path`.
    ///
    /// # Errors
    ///
    /// When the name is no plain word, or there is no such program.
    pub(super) fn find(name: &str, path: Option<&OsStr>) -> Result<Self, HelperError> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty()
            || name.len() > HELPER_NAME_BYTES_MAX
            || name.starts_with('-')
            || !name.bytes().all(is_plain)
        {
            return Err(HelperError::Name(cleaned(name, HELPER_NAME_BYTES_MAX)));
        }
        let file = format!("docker-credential-{name}");
        let is_program = |program: &PathBuf| {
            let found = program.metadata();
            found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        // A folder that depends on where one stands is no place for programs that get secrets.
        let program = std::env::split_paths(path.unwrap_or_default())
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(&file))
            .find(is_program)
            .ok_or_else(|| HelperError::Missing(name.to_owned()))?;
        Ok(Self {
            name: name.to_owned(),
            program,
            time_max: TIME_MAX,
        })
    }

    /// What the helper has for `server`; nothing where it says that it has nothing.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it kills the helper.
    pub(super) async fn get(&self, server: &str) -> Result<Option<Credential>, HelperError> {
        let (status, answer) = self.run("get", server.as_bytes()).await?;
        if says_not_found(&answer) {
            return Ok(None);
        }
        if !status.success() {
            return Err(HelperError::Failed(self.name.clone(), status));
        }
        let answer: Answer =
            serde_json::from_slice(&answer).map_err(|_| HelperError::Answer(self.name.clone()))?;
        let secret = SecretString::from(answer.secret);
        if secret.expose_secret().is_empty() && answer.username.is_empty() {
            return Ok(None);
        }
        Ok(Some(if answer.username == TOKEN_USER {
            Credential::IdentityToken(secret)
        } else {
            Credential::Password {
                user: answer.username,
                password: secret,
            }
        }))
    }

    /// Gives `user` and `password` for `server` to the helper, instead of what it had.
    pub(super) async fn store(
        &self,
        server: &str,
        user: &str,
        password: &SecretString,
    ) -> Result<(), HelperError> {
        let request = serde_json::json!({
            "ServerURL": server,
            "Username": user,
            "Secret": password.expose_secret(),
        });
        let request = Zeroizing::new(request.to_string());
        let (status, _) = self.run("store", request.as_bytes()).await?;
        if status.success() {
            Ok(())
        } else {
            Err(HelperError::Failed(self.name.clone(), status))
        }
    }

    /// Makes the helper forget what it has for `server`.
    pub(super) async fn erase(&self, server: &str) -> Result<Erased, HelperError> {
        let (status, answer) = self.run("erase", server.as_bytes()).await?;
        if says_not_found(&answer) {
            Ok(Erased::WasNotThere)
        } else if status.success() {
            Ok(Erased::Gone)
        } else {
            Err(HelperError::Failed(self.name.clone(), status))
        }
    }

    async fn run(
        &self,
        action: &str,
        request: &[u8],
    ) -> Result<(ExitStatus, Zeroizing<Vec<u8>>), HelperError> {
        let fail = |error| HelperError::Run(self.name.clone(), error);
        let gone = || fail(io::ErrorKind::BrokenPipe.into());
        let mut command = Command::new(&self.program);
        for secret in SECRETS {
            // They are for what images are signed with, and none of its business.
            command.env_remove(secret);
        }
        let mut child = command
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(fail)?;
        let mut input = child.stdin.take().ok_or_else(gone)?;
        let output = child.stdout.take().ok_or_else(gone)?;
        let mut answer = Zeroizing::new(Vec::new());
        let work = async {
            let write = async {
                // A helper that does not read all of it may still answer.
                let written = input.write_all(request).await;
                drop(input);
                written.or_else(|error| {
                    let is_closed = error.kind() == io::ErrorKind::BrokenPipe;
                    if is_closed { Ok(()) } else { Err(error) }
                })
            };
            let mut output = output.take(HELPER_ANSWER_BYTES_MAX + 1);
            let read = output.read_to_end(&mut answer);
            let (written, read) = tokio::join!(write, read);
            written.and(read).map_err(fail)?;
            if u64::try_from(answer.len()).is_ok_and(|length| length > HELPER_ANSWER_BYTES_MAX) {
                return Err(HelperError::TooLong(self.name.clone()));
            }
            child.wait().await.map_err(fail)
        };
        let status = tokio::time::timeout(self.time_max, work)
            .await
            .map_err(|_| HelperError::TooSlow(self.name.clone()))??;
        Ok((status, answer))
    }
}

/// What `get` answers.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

fn says_not_found(answer: &[u8]) -> bool {
    // Some say more around it.
    let text = String::from_utf8_lossy(answer.get(..1000).unwrap_or(answer));
    !text.trim_start().starts_with('{') && text.contains(NOT_FOUND)
}

#[cfg(test)]
#[path = "helper_tests.rs"]
mod tests;

//! Credentials that were given with the command: `--creds` and its like, and `--creds-file`.
//!
//! No value that may hold a secret is ever part of an error.

use std::fmt;
use std::fs::File;
use std::io;
use std::io::{IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use crate::cli::error::Error;
use crate::limits::input::AUTHFILE_BYTES_MAX;
use crate::oci::{Namespace, Namespaced};
use crate::registry::Credential;

use super::authfile::covers;

/// What the command line says about the credentials of one side of a run.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Given {
    /// `--creds`, `--src-creds` or `--dest-creds`: for every registry of the side.
    pub(in crate::cli) creds: Option<Creds>,
    /// `--no-creds`, `--src-no-creds` or `--dest-no-creds`: nobody is asked.
    pub(in crate::cli) no_creds: bool,
    /// `--creds-file`, which both sides share.
    pub(in crate::cli) creds_file: Option<Arc<CredsFile>>,
    /// `--src-authfile` or `--dest-authfile`, else `--authfile`: only this file is looked into.
    pub(in crate::cli) authfile: Option<PathBuf>,
}

/// A user and a password that were typed.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Creds {
    /// The flag, as people typed it.
    pub(super) flag: &'static str,
    user: String,
    password: SecretString,
}

impl Creds {
    /// Reads `USER[:PASSWORD]`, the value of `flag`; a password that is not there is asked for.
    ///
    /// # Errors
    ///
    /// When there is no user, or no password and nobody to ask.
    pub(in crate::cli) fn read(flag: &'static str, value: &SecretString) -> Result<Self, Error> {
        let value = value.expose_secret();
        let (user, password) = match value.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (value, None),
        };
        if user.is_empty() {
            let what = format!("`{flag}` names no user; `USER:PASSWORD` is wanted");
            return Err(Error::refused(&what));
        }
        let password = match password {
            Some(password) => password.into(),
            None => ask_password(&format!("Password for `{user}` ({flag}): ")).map_err(|error| {
                error.with_hint(&format!(
                    "`{flag} USER:PASSWORD` is seen by others in the list of processes; `--creds-file` and `--authfile` are not"
                ))
            })?,
        };
        Ok(Self {
            flag,
            user: user.to_owned(),
            password,
        })
    }

    /// What it proves with.
    pub(super) fn credential(&self) -> Credential {
        Credential::Password {
            user: self.user.clone(),
            password: self.password.clone(),
        }
    }
}

/// What a person types on the terminal, which does not show it.
///
/// # Errors
///
/// When there is no terminal, or nothing is typed.
pub(in crate::cli) fn ask_password(question: &str) -> Result<SecretString, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::refused(
            "there is no password, and no terminal to ask for one",
        ));
    }
    let question = crate::text::cleaned(question, 400);
    let password = rpassword::prompt_password(question)
        .map_err(|error| Error::usage("cannot ask for the password", &error))?;
    if password.is_empty() {
        return Err(Error::refused("the password is empty"));
    }
    Ok(password.into())
}

/// A file of credentials for jobs without a home: `REGISTRY[/NAMESPACE] USER PASSWORD`, one a line.
pub(in crate::cli) struct CredsFile {
    /// How it is called in messages.
    name: String,
    entries: Namespaced<(usize, Credential)>,
}

impl fmt::Debug for CredsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredsFile({}, ***)", self.name)
    }
}

impl CredsFile {
    /// Reads the file at `path`, `-` for standard input, to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is larger than 1 MiB, or has lines that are no entries: all of them are
    /// named, with file and line and never with what they hold.
    pub(in crate::cli) fn open(path: &Path) -> Result<Self, Error> {
        let is_stdin = path == Path::new("-");
        let name = if is_stdin {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let read = if is_stdin {
            read_all(io::stdin().lock())
        } else {
            File::open(path).and_then(read_all)
        };
        let bytes = read.map_err(|error| {
            Error::usage(&format!("cannot read credentials from `{name}`"), &error)
        })?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > AUTHFILE_BYTES_MAX) {
            let what = format!("`{name}` is larger than 1 MiB, which no file of credentials is");
            return Err(Error::refused(&what));
        }
        Self::parse(name, &bytes)
    }

    pub(super) fn parse(name: String, bytes: &[u8]) -> Result<Self, Error> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut entries: Namespaced<(usize, Credential)> = Namespaced::default();
        let mut wrong = Vec::new();
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let number = at + 1;
            let mut bad = |why: &str| wrong.push(format!("  {name}:{number}: {why}"));
            match read_line(line) {
                Ok(None) => {}
                Ok(Some((namespace, credential))) => match entries.at(&namespace) {
                    Some((first, _)) => {
                        bad(&format!(
                            "`{namespace}` is there twice, first in line {first}"
                        ));
                    }
                    None => entries.insert(namespace, (number, credential)),
                },
                Err(why) => bad(why),
            }
        }
        if wrong.is_empty() {
            return Ok(Self { name, entries });
        }
        let what = format!("`{name}` has lines that are no credentials");
        Err(Error::several(&what, wrong)
            .with_hint("`REGISTRY[/NAMESPACE] USER PASSWORD`, parted by blanks, one a line"))
    }

    /// How it is called in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The entry of the longest namespace that covers `asked`, with the number of its line.
    pub(super) fn look(&self, asked: &Namespace) -> Option<(&Namespace, usize, &Credential)> {
        let covering = self.entries.iter().filter(|(own, _)| covers(own, asked));
        let (namespace, (line, credential)) =
            covering.max_by_key(|(own, _)| own.path().map_or(0, str::len))?;
        Some((namespace, *line, credential))
    }
}

fn read_all(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    source
        .take(AUTHFILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads one line; nothing for a blank one and a comment. The error is what is wrong with it.
fn read_line(line: &[u8]) -> Result<Option<(Namespace, Credential)>, &'static str> {
    const BLANKS: [char; 2] = [' ', '\t'];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = std::str::from_utf8(line).map_err(|_| "it is not UTF-8")?;
    let line = line.trim_start_matches(BLANKS);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.contains(|c: char| c.is_control() && c != '\t') {
        return Err("it has a control character");
    }
    let (name, rest) = line.split_once(BLANKS).ok_or("it has no user")?;
    let namespace: Namespace = name
        .parse()
        .map_err(|_| "it does not begin with `REGISTRY` or `REGISTRY/NAMESPACE`")?;
    let rest = rest.trim_start_matches(BLANKS);
    let (user, password) = rest.split_once(BLANKS).ok_or("it has no password")?;
    let password = password.trim_matches(BLANKS);
    if password.is_empty() {
        return Err("it has no password");
    }
    if user.contains(':') {
        return Err("its user has a colon, which no user can have (RFC 7617)");
    }
    let credential = Credential::Password {
        user: user.to_owned(),
        password: password.into(),
    };
    Ok(Some((namespace, credential)))
}

#[cfg(test)]
#[path = "given_tests.rs"]
mod tests;

//! Compose files as image lists: the image of each service, with what it asks for itself.
//!
//! Reads what decides which images a project has, as docker compose does: anchors, aliases and merge
//! keys, several documents, variables with `.env`, `extends`, `include`, profiles, and the names of images
//! that are only built. Of a service it keeps the image, its `platform`, and nerdctl's eight
//! `x-nerdctl-*` keys, by the rules of [`list::Settings`](crate::list::Settings). All else in a file is
//! somebody else's business and not checked.
//!
//! Pure: files are read by a callback, [`Files`]. Memory is bounded whatever is read ([`Limit`]), and all
//! that is wrong with services is found at once.

mod budget;
mod dotenv;
mod error;
mod merge;
mod named;
mod project;
mod reading;
mod service;
mod template;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use budget::Limit;
pub use error::{Error, Reason};

use crate::list::Entry;

/// How a project's files are read. Paths are as they are written in files, behind the folder of the
/// file that names them: relative ones begin at the working directory.
pub trait Files {
    /// The content of a file, up to one byte more than `limit`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;

    /// Whether a regular file is there.
    fn is_file(&self, path: &Path) -> bool;

    /// The whole path of a folder, for its name. `None` where it cannot be known.
    fn absolute(&self, path: &Path) -> Option<PathBuf>;
}

/// Which keys have to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Those that verify.
    Public,
    /// Those that sign.
    Private,
    /// Both.
    All,
}

/// What is said beside the file.
#[derive(Clone)]
pub struct Options {
    /// The profiles that are chosen; where there are none, those of `COMPOSE_PROFILES`.
    pub profiles: Vec<String>,
    /// The name of the project, instead of what the environment and the file say.
    pub project_name: Option<String>,
    /// Files with variables, instead of `.env` beside the compose file; later ones count more.
    pub env_files: Vec<PathBuf>,
    /// The environment, which counts more than files.
    pub environment: BTreeMap<String, String>,
    /// Which keys have to be there.
    pub keys: Keys,
}

impl fmt::Debug for Options {
    /// Without the environment, which has secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("profiles", &self.profiles)
            .field("project_name", &self.project_name)
            .field("env_files", &self.env_files)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// A compose file that was read to its end.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The images of its services, those of included files first, in the order of the files. The text of
    /// each line is a list line that says the same.
    pub entries: Vec<Entry>,
    /// All that is wrong. Nothing may be contacted unless it is empty, and none of it can be skipped: a
    /// service that is half understood might be one that asks for verification.
    pub errors: Vec<Error>,
    /// What people should know: variables that are not set.
    pub warnings: Vec<String>,
    /// Which files of keys are used.
    pub notes: Vec<String>,
}

/// Whether a text is a compose file rather than a list: whether a line of it is the key `services` or
/// `include` of a mapping at the left border, or all of it is a JSON object that has one of them.
///
/// No line that names an image looks so: a name neither ends with a colon nor has a quote or a brace.
pub fn is_compose(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.trim_ascii_start().starts_with(b"{") {
        let has = |word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
        return has(b"services") || has(b"include");
    }
    bytes.split(|byte| *byte == b'\n').any(|line| {
        let is_key = |key: &[u8]| {
            let rest = line.strip_prefix(key)?.trim_ascii_start();
            let rest = rest.strip_prefix(b":")?;
            Some(rest.first().is_none_or(u8::is_ascii_whitespace))
        };
        let keys: [&[u8]; 6] = [
            b"services",
            b"include",
            b"\"services\"",
            b"\"include\"",
            b"'services'",
            b"'include'",
        ];
        keys.into_iter().any(|key| is_key(key) == Some(true))
    })
}

/// Reads a compose file and all it names. `name` is how a person names it, `-` for standard input; its
/// folder is that of the project.
pub fn parse(name: &Path, bytes: &[u8], options: &Options, files: &dyn Files) -> Parsed {
    project::parse(name, bytes, options, files)
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;

//! One file of credentials: read, bounded, and looked into.
//!
//! The format is that of containers-auth.json(5), which is Docker's `config.json` with namespaces; and
//! that of `.dockercfg` before it. Keys are exact on host and port and on whole parts of a path
//! (CVE-2026-5222 was a looser match). What stands in the file is never part of an error: a file of
//! credentials that is broken is one all the same.

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

use crate::cli::error::Error;
use crate::limits::input::AUTHFILE_BYTES_MAX;
use crate::oci::{Namespace, Registry, Repository};
use crate::registry::Credential;

use super::json::{Document, Entry};

/// The key under which Docker keeps the credential of Docker Hub, and the name by which it asks helpers.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `auth.json` and `config.json`.
    Current,
    /// `.dockercfg`: the entries alone, without what stands around them.
    Legacy,
}

/// A file of credentials, read. Its secrets are not printed.
#[derive(Debug)]
pub(super) struct AuthFile {
    path: PathBuf,
    entries: Vec<(Key, Entry)>,
    helpers: Vec<(String, String)>,
    store: Option<String>,
}

/// What may answer for a namespace. The first that does is taken.
#[derive(Debug)]
pub(super) enum Candidate<'a> {
    /// It is written in the file.
    Entry {
        /// The key of the entry.
        key: &'a str,
        /// What the entry is for.
        namespace: Namespace,
        credential: Credential,
    },
    /// A helper has to be asked.
    Helper {
        /// The name, as the file has it.
        name: &'a str,
        /// What the helper is asked for.
        server: String,
        field: Field,
    },
}

/// The field of a file that names a helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// `credHelpers`: the helper alone answers for this registry.
    CredHelpers,
    /// `credsStore`: the helper is asked for every registry, and what stands in the file comes after it.
    CredsStore,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CredHelpers => "credHelpers",
            Self::CredsStore => "credsStore",
        })
    }
}

impl fmt::Display for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { key, .. } => write!(f, "`{key}`"),
            Self::Helper { name, field, .. } => {
                let name = crate::text::cleaned(name, 100);
                write!(f, "docker-credential-{name} as `{field}`")
            }
        }
    }
}

/// What a file has for a namespace.
#[derive(Debug)]
pub(super) struct Look<'a> {
    /// Who may answer, in order.
    pub(super) candidates: Vec<Candidate<'a>>,
    /// Whether there is an empty entry for the registry, which says that a helper keeps the secret.
    pub(super) has_placeholder: bool,
}

impl AuthFile {
    /// Reads the file at `path`; nothing where there is none.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be read, is larger than [`AUTHFILE_BYTES_MAX`], or is no file of
    /// credentials. Names the file and, where the JSON is broken, line and column.
    pub(super) fn read(path: &Path, format: Format) -> Result<Option<Self>, Error> {
        match bytes_of(path)? {
            Some(bytes) => Self::parse(path, format, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Reads `bytes`, the content of `path`.
    pub(super) fn parse(path: &Path, format: Format, bytes: &[u8]) -> Result<Self, Error> {
        let document = match format {
            // The JSON reader would take an array for an object.
            _ if bytes.trim_ascii_start().first() == Some(&b'[') => {
                let what = format!("`{}` is no file of credentials", path.display());
                return Err(Error::refused(&what));
            }
            Format::Current => serde_json::from_slice::<Document>(bytes),
            Format::Legacy => serde_json::from_slice(bytes).map(|auths| Document {
                auths,
                ..Document::default()
            }),
        };
        let document = document.map_err(|error| broken(path, bytes, &error))?;
        let entries = document.auths.into_pairs().into_iter();
        Ok(Self {
            path: path.to_owned(),
            entries: entries
                .map(|(key, entry)| (Key::read(key, format), entry))
                .collect(),
            helpers: document.cred_helpers.into_pairs(),
            store: document.creds_store.filter(|name| !name.is_empty()),
        })
    }

    /// Who may answer for `asked`, in order: the helper of the registry alone, where one is named; else the
    /// entry of the longest namespace below the registry; else the helper of all registries and then the
    /// entry of the registry.
    ///
    /// # Errors
    ///
    /// When the entry that would answer cannot be read.
    pub(super) fn look(&self, asked: &Namespace) -> Result<Look<'_>, Error> {
        let registry = asked.registry();
        let has_placeholder = self.placeholders().any(|other| other == registry);
        if let Some((name, server)) = self.helper(registry) {
            let field = Field::CredHelpers;
            let server = server.to_owned();
            return Ok(Look {
                candidates: vec![Candidate::Helper {
                    name,
                    server,
                    field,
                }],
                has_placeholder,
            });
        }
        let mut candidates = Vec::new();
        let below = self
            .entries
            .iter()
            .filter(|(key, entry)| !entry.is_empty() && key.path().is_some() && key.covers(asked));
        // Of two with one key the later one counts, as in Go's JSON.
        let longest = below.max_by_key(|(key, _)| key.path().map_or(0, str::len));
        if let Some((key, entry)) = longest {
            candidates.push(self.entry(key, entry)?);
        } else {
            if let Some(name) = &self.store {
                candidates.push(Candidate::Helper {
                    name,
                    server: server_name(registry),
                    field: Field::CredsStore,
                });
            }
            let of_registry = self.entries.iter().rev().filter(|(key, entry)| {
                !entry.is_empty() && key.path().is_none() && key.covers(asked)
            });
            if let Some((key, entry)) = of_registry.min_by_key(|(key, _)| key.rank(registry)) {
                candidates.push(self.entry(key, entry)?);
            }
        }
        Ok(Look {
            candidates,
            has_placeholder,
        })
    }

    /// The helper that `credHelpers` names for `registry`, and the name by which the registry stands there.
    pub(super) fn helper(&self, registry: &Registry) -> Option<(&str, &str)> {
        let mut found = self.helpers.iter().rev().filter(|(key, name)| {
            let key = Key::read(key.clone(), Format::Current);
            !name.is_empty() && key.path().is_none() && key.registry() == Some(registry)
        });
        found
            .next()
            .map(|(key, name)| (name.as_str(), key.as_str()))
    }

    /// The helper of all registries that have none of their own.
    pub(super) fn store(&self) -> Option<&str> {
        self.store.as_deref()
    }

    /// All registries that `credHelpers` names, with their helpers.
    pub(super) fn helpers(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.helpers.iter();
        all.map(|(key, name)| (key.as_str(), name.as_str()))
    }

    /// The namespaces of all entries below `registry`.
    pub(super) fn namespaces<'a>(
        &'a self,
        registry: &'a Registry,
    ) -> impl Iterator<Item = &'a str> {
        let below = self.entries.iter().filter(move |(key, entry)| {
            key.registry() == Some(registry) && key.path().is_some() && !entry.is_empty()
        });
        below.map(|(key, _)| key.text.as_str())
    }

    /// Whether it has an entry for exactly `namespace`, an empty one too.
    pub(super) fn has(&self, namespace: &Namespace) -> bool {
        let mut keys = self.entries.iter().map(|(key, _)| key);
        keys.any(|key| key.meaning() == Some(namespace))
    }

    /// The registries with an empty entry.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = &Registry> {
        let empty = self.entries.iter().filter(|(key, entry)| {
            let is_registry = key.path().is_none();
            is_registry && entry.is_empty()
        });
        empty.filter_map(|(key, _)| key.registry())
    }

    fn entry<'a>(&self, key: &'a Key, entry: &Entry) -> Result<Candidate<'a>, Error> {
        let fail = |why: &str| {
            let path = self.path.display();
            Error::refused(&format!("the entry `{}` in `{path}` {why}", key.text))
        };
        let namespace = key.meaning.clone().ok_or_else(|| fail("names nothing"))?;
        Ok(Candidate::Entry {
            key: &key.text,
            namespace,
            credential: entry.credential().map_err(fail)?,
        })
    }
}

/// Whether all of `inner` is in `outer`.
pub(super) fn covers(outer: &Namespace, inner: &Namespace) -> bool {
    let Some(path) = inner.path() else {
        return outer == inner;
    };
    let repository = Repository::new(inner.registry().clone(), path);
    repository.is_ok_and(|repository| outer.covers(&repository))
}

/// The name by which helpers are asked for `registry`, and entries of it are written.
pub(super) fn server_name(registry: &Registry) -> String {
    if *registry == Registry::docker_hub() {
        DOCKER_HUB_KEY.to_owned()
    } else {
        registry.to_string()
    }
}

/// What is in the file at `path`; nothing where there is none.
///
/// # Errors
///
/// When it cannot be read, or has more than [`AUTHFILE_BYTES_MAX`].
pub(super) fn bytes_of(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let shown = path.display();
    let fail =
        |error: io::Error| Error::usage(&format!("cannot read credentials from `{shown}`"), &error);
    let file = match File::open(path) {
        Ok(file) => file,
        // The home of service users is often `/dev/null`.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(fail(error)),
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(AUTHFILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > AUTHFILE_BYTES_MAX) {
        let what = format!("`{shown}` is larger than 1 MiB, which no file of credentials is");
        return Err(Error::refused(&what));
    }
    Ok(Some(bytes))
}

/// Where the JSON is broken. The words of the parser may quote what stands there, and are not told.
fn broken(path: &Path, bytes: &[u8], error: &serde_json::Error) -> Error {
    let path = path.display();
    if bytes.trim_ascii().is_empty() {
        return Error::refused(&format!("the file of credentials `{path}` is empty"))
            .with_hint("`{}` is one without entries");
    }
    let what = match error.classify() {
        serde_json::error::Category::Data => "is no file of credentials",
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => "is not JSON",
    };
    let (line, column) = (error.line(), error.column());
    Error::refused(&format!(
        "`{path}` {what}: line {line}, column {column} cannot be read"
    ))
}

/// The key of an entry, and what it means: nothing where it is no name of a registry or namespace.
#[derive(Debug)]
pub(super) struct Key {
    text: String,
    meaning: Option<Namespace>,
}

impl Key {
    pub(super) fn read(text: String, format: Format) -> Self {
        let stripped = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        // Docker wrote the address of the API for years, `https://host/v1/` say.
        let is_address = stripped.is_some() || format == Format::Legacy;
        let name = stripped.unwrap_or(&text);
        let meaning = if is_address {
            let host = name.split('/').next().unwrap_or_default();
            host.parse().ok().map(|registry: Registry| registry.into())
        } else {
            name.parse().ok()
        };
        Self { text, meaning }
    }

    pub(super) const fn meaning(&self) -> Option<&Namespace> {
        self.meaning.as_ref()
    }

    fn registry(&self) -> Option<&Registry> {
        self.meaning.as_ref().map(Namespace::registry)
    }

    fn path(&self) -> Option<&str> {
        self.meaning.as_ref()?.path()
    }

    fn covers(&self, asked: &Namespace) -> bool {
        self.meaning.as_ref().is_some_and(|own| covers(own, asked))
    }

    /// Of several keys of one registry, the plain name is the best, and then Docker's.
    fn rank(&self, registry: &Registry) -> u8 {
        if self.text.eq_ignore_ascii_case(registry.as_str()) {
            0
        } else if self.text == DOCKER_HUB_KEY {
            1
        } else {
            2
        }
    }
}

#[cfg(test)]
#[path = "authfile_tests.rs"]
mod tests;

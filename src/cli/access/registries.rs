//! `registries.conf`: where images are really read from (containers-registries.conf(5), version 2).
//!
//! It is for sources alone. A name that is written to, or asked for what stands at a destination, is never
//! looked up here.
//!
//! Files are found and merged as by containers/image 5 (skopeo 1.22, podman 5): the file of the user
//! instead of the host's and its drop-ins; drop-ins of the host, then those of the user, each in the order
//! of names; `[[registry]]` tables by their `prefix`, aliases by their name, the later one instead of the
//! earlier. A file named by `CONTAINERS_REGISTRIES_CONF` is read alone. Keys that nobody knows are left.
//!
//! `unqualified-search-registries`, `short-name-mode`, `credential-helpers` and
//! `additional-layer-store-auth-helper` are not honoured: a name without a registry and without an alias is
//! one of Docker Hub, and credentials are looked for as everywhere else.

mod file;
mod prefix;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::error::Error;
use crate::limits::input::DROP_INS_MAX;
use crate::oci::{self, Reference, Repository};
use crate::registry::Tls;

use super::files;
use file::Parsed;
use prefix::{Prefix, Unfit};

/// Where an image is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Place {
    /// What is asked for there.
    pub(in crate::cli) reference: Reference,
    /// Whether its registry has to prove who it is, where the files say that it need not.
    pub(in crate::cli) tls: Option<Tls>,
    /// Whether it is a mirror, and not what the name means.
    pub(in crate::cli) is_mirror: bool,
}

/// Where the files say what becomes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Origin<'a> {
    /// The file.
    pub(in crate::cli) file: &'a Path,
    /// The prefix of its `[[registry]]` table.
    pub(in crate::cli) prefix: &'a str,
}

/// A full name for a short one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Alias {
    /// What the short name means.
    pub(in crate::cli) repository: Repository,
    /// The file that says so.
    pub(in crate::cli) file: Arc<Path>,
}

/// Why an image is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum NoPlace {
    /// A file forbids it.
    #[error("`{image}` is not read: `{}` blocks `{prefix}`", file.display())]
    Blocked {
        /// What was to be read.
        image: String,
        /// The file.
        file: Arc<Path>,
        /// The prefix of its table.
        prefix: String,
    },
    /// A location makes no name of it.
    #[error(transparent)]
    Name(Box<NoName>),
    /// A file wants a proxy of its own for it.
    #[error(
        "`{}` gives `{prefix}` a `proxy` of its own, which is not there yet: `HTTPS_PROXY` and `HTTP_PROXY` are",
        file.display()
    )]
    Proxy {
        /// The file.
        file: Arc<Path>,
        /// The prefix of its table.
        prefix: String,
    },
}

/// What a location makes of a name, and why it is not asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` makes `{made}` of `{image}`, by the location `{location}` for `{prefix}`: {why}",
    file.display()
)]
pub(in crate::cli) struct NoName {
    image: String,
    made: String,
    /// Of the registry or of a mirror.
    location: String,
    file: Arc<Path>,
    prefix: String,
    why: Unfit,
}

/// What the files say.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Registries {
    /// By their prefix.
    entries: BTreeMap<Prefix, Entry>,
    /// By the short name; nothing for one that was taken back.
    aliases: BTreeMap<String, Option<Alias>>,
}

/// A `[[registry]]` table.
#[derive(Debug, Clone)]
struct Entry {
    file: Arc<Path>,
    /// Nothing for a wildcard that leaves names as they are.
    location: Option<String>,
    tls: Option<Tls>,
    is_blocked: bool,
    has_proxy: bool,
    mirrors: Vec<Mirror>,
}

/// A `[[registry.mirror]]` table.
#[derive(Debug, Clone)]
struct Mirror {
    location: String,
    tls: Option<Tls>,
    has_proxy: bool,
    serves: Serves,
}

/// What a mirror is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    All,
    Digests,
    Tags,
}

impl Serves {
    const fn is_for(self, image: &Reference) -> bool {
        match self {
            Self::All => true,
            Self::Digests => image.digest.is_some(),
            Self::Tags => image.digest.is_none(),
        }
    }
}

/// What one file says.
#[cfg(any(test, fuzzing))]
pub(super) fn parsed(file: &Arc<Path>, bytes: &[u8]) -> Result<Registries, Error> {
    let Parsed { entries, aliases } = file::parse(file, bytes)?;
    Ok(Registries { entries, aliases })
}

impl Registries {
    /// Reads the files, where `variable` gives what the environment has under a name, and `root` is the
    /// folder that has `etc/containers`: `/`.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read, is not TOML, is of version 1, or says what makes no sense.
    pub(in crate::cli) fn read(
        variable: &dyn Fn(&str) -> Option<OsString>,
        root: &Path,
    ) -> Result<Self, Error> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let named = ["CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH"]
            .into_iter()
            .find_map(variable);
        let mut registries = Self::default();
        if let Some(named) = named {
            registries.add(Path::new(&named))?;
            return Ok(registries);
        }
        let host = root.join("etc/containers");
        let user = variable("HOME").map(|home| Path::new(&home).join(".config/containers"));
        let is_users = match &user {
            Some(user) => registries.add_found(&user.join("registries.conf"))?,
            None => false,
        };
        if !is_users {
            registries.add_found(&host.join("registries.conf"))?;
            registries.add_drop_ins(&host)?;
        }
        if let Some(user) = &user {
            registries.add_drop_ins(user)?;
        }
        Ok(registries)
    }

    /// The full name that `name` stands for: the part in front of tag and digest, as it was written.
    pub(in crate::cli) fn alias(&self, name: &str) -> Option<&Alias> {
        self.aliases.get(name)?.as_ref()
    }

    /// Where `image` is read from, in the order in which they are asked: mirrors that are for such a
    /// reference, then the registry itself, unless it is blocked. What no table fits is read where its
    /// name says.
    ///
    /// # Errors
    ///
    /// When all is blocked, or a location makes no name of it.
    pub(in crate::cli) fn places(&self, image: &Reference) -> Result<Vec<Place>, NoPlace> {
        let name = asked(image);
        let Some((prefix, entry, rest)) = self.entry(&name) else {
            return Ok(vec![Place {
                reference: image.clone(),
                tls: None,
                is_mirror: false,
            }]);
        };
        let rewritten = |location: &str| {
            let made = format!("{location}{rest}");
            prefix::reference(&made, image).map_err(|why| {
                NoPlace::Name(Box::new(NoName {
                    image: image.to_string(),
                    made,
                    location: location.to_owned(),
                    file: Arc::clone(&entry.file),
                    prefix: prefix.to_string(),
                    why,
                }))
            })
        };
        let with_proxy = || NoPlace::Proxy {
            file: Arc::clone(&entry.file),
            prefix: prefix.to_string(),
        };
        let mut places = Vec::new();
        for mirror in &entry.mirrors {
            if !mirror.serves.is_for(image) {
                continue;
            }
            let reference = rewritten(&mirror.location)?;
            if let Some((_, file)) = self.blocked(&reference) {
                tracing::debug!(mirror = %reference, file = %file.display(), "the mirror is blocked");
                continue;
            }
            if mirror.has_proxy {
                return Err(with_proxy());
            }
            places.push(Place {
                reference,
                tls: mirror.tls,
                is_mirror: true,
            });
        }
        let reference = match &entry.location {
            Some(location) => rewritten(location)?,
            None => image.clone(),
        };
        let blocked = if entry.is_blocked {
            Some((prefix, &entry.file))
        } else {
            self.blocked(&reference)
        };
        match blocked {
            Some((prefix, file)) if places.is_empty() => Err(NoPlace::Blocked {
                image: image.to_string(),
                file: Arc::clone(file),
                prefix: prefix.to_string(),
            }),
            Some(_) => Ok(places),
            None if entry.has_proxy => Err(with_proxy()),
            None => {
                places.push(Place {
                    reference,
                    tls: entry.tls,
                    is_mirror: false,
                });
                Ok(places)
            }
        }
    }

    /// What decides where `image` is read from; nothing where its name alone does.
    pub(in crate::cli) fn origin(&self, image: &Reference) -> Option<Origin<'_>> {
        let (prefix, entry, _) = self.entry(&asked(image))?;
        Some(Origin {
            file: &entry.file,
            prefix: prefix.as_str(),
        })
    }

    /// The table with the longest prefix that fits, and what follows the prefix in `name`. Of two that are
    /// equally long the first in the order of bytes counts, as in containers/image.
    fn entry<'n>(&self, name: &'n str) -> Option<(&Prefix, &Entry, &'n str)> {
        let mut found: Option<(&Prefix, &Entry, &'n str)> = None;
        for (prefix, entry) in &self.entries {
            let is_longer =
                found.is_none_or(|(other, ..)| prefix.as_str().len() > other.as_str().len());
            if is_longer && let Some(rest) = prefix.rest(name) {
                found = Some((prefix, entry, rest));
            }
        }
        found
    }

    /// What blocks a name as it is asked for.
    fn blocked(&self, reference: &Reference) -> Option<(&Prefix, &Arc<Path>)> {
        let (prefix, entry, _) = self.entry(&asked(reference))?;
        entry.is_blocked.then_some((prefix, &entry.file))
    }

    /// Adds a file, if there is one.
    fn add_found(&mut self, path: &Path) -> Result<bool, Error> {
        match files::bytes(path) {
            Ok(bytes) => self.merge(path, &bytes).map(|()| true),
            Err(error) if files::is_absent(&error) => Ok(false),
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    /// Adds a file that has to be there.
    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let bytes = files::bytes(path).map_err(|error| unreadable(path, &error))?;
        self.merge(path, &bytes)
    }

    fn add_drop_ins(&mut self, folder: &Path) -> Result<(), Error> {
        let folder = folder.join("registries.conf.d");
        let entries =
            files::entries(&folder, DROP_INS_MAX).map_err(|error| unreadable(&folder, &error))?;
        let drop_ins = entries.into_iter().filter(|path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            // A name that is only `.conf` counts too.
            name.as_encoded_bytes().ends_with(b".conf") && (path.is_file() || !path.exists())
        });
        for path in drop_ins {
            self.add_found(&path)?;
        }
        Ok(())
    }

    fn merge(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        tracing::debug!(file = %path.display(), "registries.conf");
        let Parsed { entries, aliases } = file::parse(&Arc::from(path), bytes)?;
        self.entries.extend(entries);
        self.aliases.extend(aliases);
        Ok(())
    }
}

/// A reference as it is compared with prefixes: a name alone asks for `latest`.
fn asked(reference: &Reference) -> String {
    match (&reference.tag, &reference.digest) {
        (None, None) => format!("{}:{}", reference.repository, oci::Tag::latest()),
        _ => reference.to_string(),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::usage(&format!("cannot read `{}`", path.display()), error)
}

#[cfg(test)]
mod tests;

//! Changing a file of credentials: entries are put in and taken out, and all else stays as it is.
//!
//! The file is replaced as a whole and is its owner's alone (mode 0600). Between reading and replacing its
//! folder is locked, so that two who log in at once both stand in it. Others do not know this lock: between
//! one of them and us the last one wins, as between two of them.

use std::fmt;
use std::fs;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::cli::error::Error;
use crate::limits::input::{AUTHFILE_BYTES_MAX, AUTHFILE_LINKS_MAX};
use crate::oci::Namespace;

use super::authfile::{AuthFile, Format, Key, bytes_of, server_name};

/// How long the lock is waited for. It is held for milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the lock is tried.
const POLL: Duration = Duration::from_millis(20);

/// The entries of a file, to be changed.
pub(super) struct Entries {
    format: Format,
    pairs: Vec<(String, Box<RawValue>)>,
    is_changed: bool,
}

// By hand: the values are secrets.
impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.pairs.iter().map(|(key, _)| key);
        f.debug_list().entries(keys).finish()
    }
}

impl Entries {
    /// Puts `user` and `password` in for `namespace`, instead of all that was there for exactly it.
    pub(super) fn put(
        &mut self,
        namespace: &Namespace,
        user: &str,
        password: &SecretString,
    ) -> Result<(), Error> {
        let pair = Zeroizing::new(format!("{user}:{}", password.expose_secret()));
        let auth = STANDARD.encode(pair.as_bytes());
        self.put_raw(namespace, format!("{{\n\t\t\t\"auth\": \"{auth}\"\n\t\t}}"))
    }

    /// Puts in that a helper keeps the secret of `namespace`, as Docker does.
    pub(super) fn put_placeholder(&mut self, namespace: &Namespace) -> Result<(), Error> {
        self.put_raw(namespace, "{}".to_owned())
    }

    fn put_raw(&mut self, namespace: &Namespace, entry: String) -> Result<(), Error> {
        let entry = RawValue::from_string(entry)
            .map_err(|_| Error::refused("the entry cannot be written as JSON"))?;
        let key = match namespace.path() {
            Some(_) => namespace.to_string(),
            None => server_name(namespace.registry()),
        };
        self.take(namespace);
        self.pairs.push((key, entry));
        self.is_changed = true;
        Ok(())
    }

    /// Takes out all that is there for exactly `namespace`, and gives the keys.
    pub(super) fn take(&mut self, namespace: &Namespace) -> Vec<String> {
        let format = self.format;
        self.take_where(|key| Key::read(key.to_owned(), format).meaning() == Some(namespace))
    }

    /// Takes out everything, and gives the keys.
    pub(super) fn take_all(&mut self) -> Vec<String> {
        self.take_where(|_| true)
    }

    fn take_where(&mut self, goes: impl Fn(&str) -> bool) -> Vec<String> {
        let gone = self.pairs.extract_if(.., |(key, _)| goes(key));
        let gone: Vec<String> = gone.map(|(key, _)| key).collect();
        self.is_changed |= !gone.is_empty();
        gone
    }
}

/// Changes the entries of the file at `path` by `edit`, and gives what that gives. A file that is not
/// there is made, with its folder, when something is to be written; an empty one counts as not there.
///
/// # Errors
///
/// When the file cannot be read or is no file of credentials, when it cannot be written, or when somebody
/// holds its lock for too long.
///
/// # Cancel safety
///
/// Dropped, it has changed all or nothing.
pub(super) async fn change<T>(
    path: &Path,
    format: Format,
    edit: impl FnOnce(&mut Entries) -> Result<T, Error>,
) -> Result<T, Error> {
    let fail = |error: io::Error| {
        let what = format!("cannot write credentials to `{}`", path.display());
        Error::usage(&what, &error)
    };
    let target = target(path).map_err(fail)?;
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let is_new = !target.exists();
    if is_new {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(fail)?;
    }
    let _lock = lock(folder).await.map_err(fail)?;
    let mut document = Document::read(path, &target, format)?;
    let done = edit(&mut document.entries)?;
    if document.entries.is_changed {
        let text = document.text();
        if u64::try_from(text.len()).is_ok_and(|length| length > AUTHFILE_BYTES_MAX) {
            let what = format!("`{}` would be larger than 1 MiB", path.display());
            return Err(Error::refused(&what));
        }
        replace(&target, text.as_bytes()).map_err(fail)?;
    }
    Ok(done)
}

/// The file itself, where `path` leads to it over links, whether it is there or not.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..AUTHFILE_LINKS_MAX {
        match fs::read_link(&path) {
            Ok(next) => path = path.parent().unwrap_or(Path::new("")).join(next),
            // Not there, or no link.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links lead on from one another"))
}

/// Locks `folder` between processes; nothing where its file system has no locks.
async fn lock(folder: &Path) -> io::Result<Option<File>> {
    // The folder itself, for the file is replaced, and nobody needs another file beside it.
    let lock = File::open(folder)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Some(lock)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another process holds its folder locked"));
            }
            Err(TryLockError::Error(error)) => {
                tracing::warn!(folder = %folder.display(), %error, "no lock between processes");
                return Ok(None);
            }
        }
        tokio::time::sleep(POLL.mul_f64(0.5 + fastrand::f64())).await;
    }
}

/// All of a file, with what is not understood as it is written.
struct Document {
    /// The fields of the file in order; that of the entries is empty here.
    fields: Vec<(String, Box<RawValue>)>,
    entries: Entries,
}

impl Document {
    /// Reads `target`, which people call `path`.
    fn read(path: &Path, target: &Path, format: Format) -> Result<Self, Error> {
        let mut new = Self {
            fields: Vec::new(),
            entries: Entries {
                format,
                pairs: Vec::new(),
                is_changed: false,
            },
        };
        let Some(bytes) = bytes_of(target)? else {
            return Ok(new);
        };
        if bytes.trim_ascii().is_empty() {
            return Ok(new);
        }
        // Names what is broken, with its place in the file.
        AuthFile::parse(path, format, &bytes)?;
        let read = |text: &[u8]| {
            serde_json::from_slice::<Option<Fields>>(text).map_err(|_| {
                Error::refused(&format!("`{}` is no file of credentials", path.display()))
            })
        };
        let fields = read(&bytes)?.unwrap_or_default().0;
        match format {
            Format::Legacy => new.entries.pairs = fields,
            Format::Current => {
                let auths = fields.iter().find(|(name, _)| name == AUTHS);
                if let Some((_, auths)) = auths {
                    let entries = read(auths.get().as_bytes())?;
                    new.entries.pairs = entries.unwrap_or_default().0;
                }
                new.fields = fields;
            }
        }
        Ok(new)
    }

    /// The document as text, indented as Docker and podman do it.
    fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        match self.entries.format {
            Format::Legacy => write_object(&mut text, 1, &self.entries.pairs),
            Format::Current => {
                let mut entries = Zeroizing::new(String::new());
                write_object(&mut entries, 2, &self.entries.pairs);
                let has_auths = self.fields.iter().any(|(name, _)| name == AUTHS);
                let new = (!has_auths).then_some((AUTHS, entries.as_str()));
                let fields = self.fields.iter().map(|(name, value)| {
                    let is_auths = name == AUTHS;
                    let value = if is_auths { &entries } else { value.get() };
                    (name.as_str(), value)
                });
                write_pairs(&mut text, 1, fields.chain(new));
            }
        }
        text.push('\n');
        text
    }
}

/// The field of the entries.
const AUTHS: &str = "auths";

fn write_object(text: &mut String, depth: usize, pairs: &[(String, Box<RawValue>)]) {
    let pairs = pairs.iter();
    write_pairs(
        text,
        depth,
        pairs.map(|(name, value)| (name.as_str(), value.get())),
    );
}

fn write_pairs<'a>(
    text: &mut String,
    depth: usize,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) {
    text.push('{');
    let mut is_empty = true;
    for (name, value) in pairs {
        text.push_str(if is_empty { "\n" } else { ",\n" });
        is_empty = false;
        text.extend(std::iter::repeat_n('\t', depth));
        // A text is written with all that JSON wants escaped.
        text.push_str(&serde_json::Value::from(name).to_string());
        text.push_str(": ");
        text.push_str(value);
    }
    if !is_empty {
        text.push('\n');
        text.extend(std::iter::repeat_n('\t', depth - 1));
    }
    text.push('}');
}

/// Puts `bytes` in the place of `path`, readable and writable for its owner alone. A reader finds the old
/// content or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{:016x}.tmp", fastrand::u64(..)));
    let beside = path.with_file_name(beside);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            // Root in the home of somebody else would take the file away from its owner. The file itself, for
            // by now its owner may have put a link to another one in the place of its name.
            if let Ok(old) = fs::metadata(path) {
                drop(fchown(&file, Some(old.uid()), Some(old.gid())));
            }
            Ok(())
        })
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error says more than that of cleaning up after it.
        drop(fs::remove_file(&beside));
    }
    written
}

/// An object in its order, its values as they are written.
#[derive(Default)]
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfFields)
    }
}

struct OfFields;

impl<'de> Visitor<'de> for OfFields {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

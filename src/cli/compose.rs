//! Compose files: the files, the environment and the flags that they are read with.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::compose::{Files, Keys, Options};

use super::SECRETS;
use super::args::Reading;

/// The files of this machine.
pub(super) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let irregular = || io::Error::other("it is not a regular file");
        // Opening a pipe would wait for whoever writes to it.
        if !std::fs::metadata(path)?.is_file() {
            return Err(irregular());
        }
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(irregular());
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn absolute(&self, path: &Path) -> Option<PathBuf> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        std::fs::canonicalize(path).ok()
    }
}

/// What is said beside a compose file: by flags, and by the environment. What is not UTF-8 there is in
/// no file either. Whoever writes the file could send what is secret to a registry of theirs, in a tag.
pub(super) fn options(reading: &Reading, keys: Keys) -> Options {
    Options {
        profiles: reading.profiles.clone(),
        project_name: reading.project_name.clone(),
        env_files: reading.env_files.clone(),
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| !SECRETS.contains(&name.as_str()))
            .collect(),
        keys,
    }
}

//! Files of limited size.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::limits::input::ACCESS_FILE_BYTES_MAX;

/// All of a file.
///
/// # Errors
///
/// When it cannot be read, or has more than [`ACCESS_FILE_BYTES_MAX`].
pub(super) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(ACCESS_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > ACCESS_FILE_BYTES_MAX) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 1 MiB",
        ));
    }
    Ok(bytes)
}

/// Whether an error means that there is no such file or folder. The home of service users is often `/dev/null`.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// What stands in a folder, in the order of names; nothing where there is no such folder.
///
/// # Errors
///
/// When it cannot be read, or has more than `entries_max`.
pub(super) fn entries(folder: &Path, entries_max: usize) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths: Vec<PathBuf> = entries
        .take(entries_max.saturating_add(1))
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    if paths.len() > entries_max {
        let what = format!("more than {entries_max} things stand in it");
        return Err(io::Error::other(what));
    }
    paths.sort();
    Ok(paths)
}

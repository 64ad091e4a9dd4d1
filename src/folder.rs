//! Folders that are this user's own: where processes of one user keep what nobody else may put there.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Makes `folder` if it is not there, readable by its owner alone; refuses one where somebody else could put,
/// hold or replace files. What is above it is the user's business.
///
/// # Errors
///
/// When it cannot be made or written into, is a link, belongs to somebody else, or others may write into it.
pub fn prepare(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let is = folder.symlink_metadata()?;
    if !is.is_dir() {
        return Err(io::Error::other("it is a link, not a folder"));
    }
    if is.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write into it"));
    }
    // Whoever this process is, a file that it makes anew has the same owner.
    let name = format!(".{:016x}", fastrand::u64(..));
    let probe = folder.join(name);
    let made = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&probe)?;
    let own = made.metadata().map(|made| made.uid());
    std::fs::remove_file(&probe)?;
    if own? != is.uid() {
        return Err(io::Error::other("it belongs to somebody else"));
    }
    Ok(())
}

/// Whether `file` is what stands at `path`, and not what stood there before.
///
/// # Errors
///
/// When neither can be told.
pub fn stands_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

//! Files that are replaced as a whole.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::fs::{File, OpenOptions};
use std::io;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Error, Reason};
use crate::text;

/// How much of a path is shown, in characters.
const PATH_CHARS_MAX: usize = 400;

/// A path as a person may read it.
pub(super) fn shown(path: &Path) -> String {
    text::cleaned(&path.to_string_lossy(), PATH_CHARS_MAX)
}

/// Whether the bytes must survive a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    /// They are on the disk before the file is replaced.
    Now,
    /// The system may take its time. After a loss of power the file may be empty.
    Later,
}

/// Where a report goes.
#[derive(Debug)]
pub(super) struct Output {
    what: &'static str,
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// A regular file, there already or not; not a link.
    Replaced(PathBuf),
    /// A pipe or a device, which nobody can replace.
    Stream(File),
}

impl Output {
    /// The output `path`; `what` names it in errors.
    ///
    /// Tries now whether it can be written, and changes nothing.
    pub(super) fn open(what: &'static str, path: &Path) -> Result<Self, Error> {
        let target = Target::find(path).map_err(|reason| Error {
            what,
            path: shown(path),
            reason,
        })?;
        Ok(Self {
            what,
            path: path.to_owned(),
            target,
        })
    }

    /// Writes what `content` writes: all of it, or nothing.
    pub(super) fn write(
        &mut self,
        sync: Sync,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        let done = match &mut self.target {
            Target::Replaced(path) => replace(path, sync, content),
            Target::Stream(file) => {
                let mut buffer = BufWriter::new(file);
                content(&mut buffer).and_then(|()| buffer.flush())
            }
        };
        done.map_err(|error| self.error(Reason::Io(error)))
    }

    /// Removes the file, if there is one to remove.
    pub(super) fn remove(&self) -> Result<(), Error> {
        match &self.target {
            Target::Stream(_) => Ok(()),
            Target::Replaced(path) => match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(self.error(Reason::Io(error)))
                }
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }

    /// The path as it was given.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An error about this output.
    pub(super) fn error(&self, reason: Reason) -> Error {
        Error {
            what: self.what,
            path: shown(&self.path),
            reason,
        }
    }
}

impl Target {
    fn find(path: &Path) -> Result<Self, Reason> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err(Reason::NotAFile),
            Ok(metadata) if metadata.is_file() => {
                let path = fs::canonicalize(path)?;
                try_beside(&path)?;
                Ok(Self::Replaced(path))
            }
            Ok(_) => Ok(Self::Stream(OpenOptions::new().write(true).open(path)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                try_beside(path)?;
                Ok(Self::Replaced(path.to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Tries whether a file can be made beside `path`, and takes away what killed runs left there.
fn try_beside(path: &Path) -> io::Result<()> {
    let (file, beside) = create_beside(path)?;
    drop(file);
    fs::remove_file(beside)?;
    sweep(path);
    Ok(())
}

/// Takes away files that were to become `path`, and whose process was killed before they did: it is gone, and
/// nobody holds their lock, for whoever writes here may be a process that this one does not see. What cannot be
/// taken away does no harm.
fn sweep(path: &Path) {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let entries = fs::read_dir(folder.unwrap_or(Path::new(".")));
    for entry in entries.into_iter().flatten().take(SWEPT_MAX).flatten() {
        let name = entry.file_name();
        let process = path.file_name().and_then(|of| process_of(&name, of));
        if process.is_some_and(is_gone)
            && let Ok(file) = OpenOptions::new().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// The process that made the file `name` to become `of`.
fn process_of(name: &OsStr, of: &OsStr) -> Option<u32> {
    let rest = name
        .to_str()?
        .strip_prefix('.')?
        .strip_prefix(of.to_str()?)?;
    let (process, count) = rest
        .strip_prefix('.')?
        .strip_suffix(".tmp")?
        .split_once('-')?;
    count.parse::<u64>().ok()?;
    process.parse().ok()
}

/// Whether there is no such process; never where that cannot be told.
fn is_gone(process: u32) -> bool {
    let processes = Path::new("/proc");
    processes.join("self").exists() && !processes.join(process.to_string()).exists()
}

fn replace(
    path: &Path,
    sync: Sync,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let (file, beside) = create_beside(path)?;
    let written = fill(file, sync, content)
        .and_then(|()| match fs::metadata(path) {
            // Who may read the old file may read the new one.
            Ok(old) => fs::set_permissions(&beside, old.permissions()),
            Err(_) => Ok(()),
        })
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error says more than that of cleaning up after it.
        drop(fs::remove_file(&beside));
    }
    written
}

fn fill(
    file: File,
    sync: Sync,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = BufWriter::new(file);
    content(&mut buffer)?;
    let file = buffer.into_inner().map_err(io::Error::from)?;
    match sync {
        Sync::Now => file.sync_all(),
        Sync::Later => Ok(()),
    }
}

/// How many names beside an output are looked at, so that a folder of any size holds up no run.
const SWEPT_MAX: usize = 10_000;

/// Makes a new file in the directory of `path`, under a name of its own.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    // A killed run of the same number may have left one behind.
    const NAMES_MAX: u32 = 100;
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let mut last = None;
    for _ in 0..NAMES_MAX {
        let mut beside = OsString::from(".");
        beside.push(name);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        beside.push(format!(".{}-{count}.tmp", std::process::id()));
        let beside = path.with_file_name(beside);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&beside)
        {
            Ok(file) => {
                // For who sweeps; where there are no locks, nothing is swept.
                drop(file.try_lock());
                return Ok((file, beside));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_runs_left_is_taken_away_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        // Beyond the greatest number that a process can have.
        let gone = place(".report.json.4194999-7.tmp");
        let own = place(&format!(".report.json.{}-9.tmp", std::process::id()));
        let others = [
            own.clone(),
            place(".other.json.4194999-7.tmp"),
            place(".report.json.4194999.tmp"),
            place(".report.json.4194999-x.tmp"),
            place("report.json.4194999-7.tmp"),
        ];
        let held = place(".report.json.4194998-1.tmp");
        for path in others.iter().chain([&gone, &held]) {
            fs::write(path, "").unwrap();
        }
        let lock = File::open(&held).unwrap();
        lock.lock().unwrap();
        try_beside(&place("report.json")).unwrap();
        assert!(!gone.exists());
        for path in others.iter().chain([&held]) {
            assert!(path.exists(), "{}", path.display());
        }
    }
}

//! The folders that entries stand in: written to so that no reader sees half of anything, and bounded.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::limits::cache::{CACHE_BYTES_MAX, CACHE_ENTRIES_MAX, CACHE_ENTRY_BYTES_MAX};

/// How many shelves there are: each is bounded by itself, so that no process has to know all of them.
const SHELVES: usize = 256;

/// How many entries, and how many bytes in blocks, may be put onto a shelf before it is looked at again: as much
/// is always kept free of it, so that one process passes no bound, and further ones by no more.
const UNSEEN_ENTRIES: usize = 64;
const UNSEEN_BYTES: u64 = 1024 * 1024;

/// What file systems store by, in bytes.
const BLOCK_BYTES: u64 = 4096;

/// What the name of an unfinished file begins with.
const TEMPORARY: &str = ".new-";

/// How old an unfinished file is whose writer is gone.
const TEMPORARY_AGE: Duration = Duration::from_hours(1);

/// How much one shelf may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) entries: usize,
    /// In whole blocks.
    pub(super) bytes: u64,
}

impl Bound {
    /// A share of the whole cache, without what may be added unseen.
    fn usual() -> Self {
        let shelves = u64::try_from(SHELVES).unwrap_or(u64::MAX);
        Self {
            entries: CACHE_ENTRIES_MAX / SHELVES - UNSEEN_ENTRIES,
            bytes: CACHE_BYTES_MAX / shelves - UNSEEN_BYTES,
        }
    }
}

/// What this process has put onto shelves since it looked at them.
#[derive(Debug, Default)]
pub(super) struct Shelves(Mutex<HashMap<PathBuf, Unseen>>);

#[derive(Debug, Default)]
struct Unseen {
    entries: usize,
    bytes: u64,
}

impl Shelves {
    /// Makes room on `place` for one more entry of `size` bytes, if it is time to look at it.
    pub(super) fn make_room(&self, place: &Path, size: usize) {
        if self.is_due(place, blocks(u64::try_from(size).unwrap_or(u64::MAX))) {
            sweep(place, Bound::usual());
        }
    }

    /// Counts an entry, and says whether the shelf is to be looked at before it is put there.
    fn is_due(&self, place: &Path, bytes: u64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !all.contains_key(place);
        let unseen = all.entry(place.to_owned()).or_default();
        unseen.entries += 1;
        unseen.bytes += bytes;
        let is_due = is_new || unseen.entries > UNSEEN_ENTRIES || unseen.bytes > UNSEEN_BYTES;
        if is_due {
            *unseen = Unseen { entries: 1, bytes };
        }
        is_due
    }
}

/// How many bytes a file takes.
const fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK_BYTES) * BLOCK_BYTES
}

/// Writes a file as a whole: there is the old one, or none, or this one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    let temporary = folder.join(format!("{TEMPORARY}{:016x}", fastrand::u64(..)));
    let create = || {
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)
    };
    let mut file = match create() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            create()?
        }
        created => created?,
    };
    let written = file.write_all(bytes);
    drop(file);
    let written = written.and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written
}

/// Takes away what writers left that were killed.
pub(super) fn sweep_temporary(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if is_temporary(&entry) {
            remove_if_left(&entry);
        }
    }
}

/// Takes away the entries of a shelf that were used longest ago, until it keeps `bound`.
pub(super) fn sweep(shelf: &Path, bound: Bound) {
    let Ok(entries) = fs::read_dir(shelf) else {
        return;
    };
    let mut found: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    let mut bytes = 0;
    for entry in entries.flatten() {
        if is_temporary(&entry) {
            remove_if_left(&entry);
            continue;
        }
        // Whatever else somebody keeps there is left alone.
        let Ok(there) = entry.metadata() else {
            continue;
        };
        if there.is_file() && entry.file_name().to_str().is_some_and(is_name) {
            let used = there.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let size = blocks(there.len());
            bytes += size;
            found.push((used, size, entry.path()));
        }
    }
    if found.len() <= bound.entries && bytes <= bound.bytes {
        return;
    }
    found.sort_unstable();
    let mut left = found.len();
    for (_, size, path) in found {
        if left <= bound.entries && bytes <= bound.bytes {
            return;
        }
        // Another process may have been here before.
        drop(fs::remove_file(path));
        left -= 1;
        bytes -= size;
    }
}

/// Whether a file of this name may be an entry.
fn is_name(name: &str) -> bool {
    name.split_once('-').is_some_and(|(algorithm, digits)| {
        matches!(algorithm, "sha256" | "sha512")
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn is_temporary(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    name.to_str()
        .is_some_and(|name| name.starts_with(TEMPORARY))
}

fn remove_if_left(entry: &fs::DirEntry) {
    let is_left = entry.metadata().is_ok_and(|there| {
        let age = there.modified().ok().and_then(|made| made.elapsed().ok());
        there.is_file() && age.is_some_and(|age| age > TEMPORARY_AGE)
    });
    if is_left {
        drop(fs::remove_file(entry.path()));
    }
}

const _: () = assert!(
    CACHE_ENTRY_BYTES_MAX <= 1024 * 1024,
    "one entry may come unseen"
);

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of a shelf, without what stands in front of the last letter.
    fn left(shelf: &Path) -> Vec<char> {
        let names = fs::read_dir(shelf).unwrap().flatten();
        let names = names.map(|entry| entry.file_name().into_string().unwrap());
        let mut last: Vec<char> = names.map(|name| name.chars().last().unwrap()).collect();
        last.sort_unstable();
        last
    }

    /// An entry that was used so many hours ago.
    fn entry(shelf: &Path, name: &str, (size, hours): (usize, u64)) {
        let path = shelf.join(name);
        write(&path, &vec![0; size]).unwrap();
        let used = SystemTime::now() - Duration::from_hours(hours);
        let file = fs::File::open(path).unwrap();
        file.set_modified(used).unwrap();
    }

    #[test]
    fn what_was_used_longest_ago_leaves_first() {
        let shelf = tempfile::tempdir().unwrap();
        let shelf = shelf.path();
        for (name, hours) in [
            ("sha256-a", 5),
            ("sha256-b", 9),
            ("sha512-c", 7),
            ("sha256-d", 2),
        ] {
            entry(shelf, name, (10, hours));
        }
        let bound = |entries, bytes| Bound { entries, bytes };
        sweep(shelf, bound(4, 4 * BLOCK_BYTES));
        assert_eq!(left(shelf), ['a', 'b', 'c', 'd']);
        sweep(shelf, bound(3, u64::MAX));
        assert_eq!(left(shelf), ['a', 'c', 'd']);
        // By bytes, of which each takes whole blocks.
        sweep(shelf, bound(100, 3 * BLOCK_BYTES - 1));
        assert_eq!(left(shelf), ['a', 'd']);
        entry(shelf, "sha256-e", (4097, 0));
        sweep(shelf, bound(100, 3 * BLOCK_BYTES));
        assert_eq!(left(shelf), ['d', 'e']);
        sweep(shelf, bound(0, 0));
        assert!(left(shelf).is_empty());
    }

    #[test]
    fn what_is_no_entry_is_left_alone_and_what_was_left_is_taken_away() {
        let shelf = tempfile::tempdir().unwrap();
        let shelf = shelf.path();
        fs::create_dir(shelf.join("sha256-ad")).unwrap();
        fs::write(shelf.join("note.x"), "mine").unwrap();
        entry(shelf, ".new-old-o", (3, 2));
        entry(shelf, ".new-young-y", (3, 0));
        sweep(
            shelf,
            Bound {
                entries: 0,
                bytes: 0,
            },
        );
        assert_eq!(left(shelf), ['d', 'x', 'y']);
        entry(shelf, ".new-old-o", (3, 2));
        sweep_temporary(shelf);
        assert_eq!(left(shelf), ['d', 'x', 'y']);
    }

    #[test]
    fn a_shelf_is_looked_at_before_it_can_pass_its_bound() {
        let shelves = Shelves::default();
        let (one, other) = (Path::new("/a/00"), Path::new("/a/01"));
        assert!(shelves.is_due(one, BLOCK_BYTES));
        assert!(shelves.is_due(other, BLOCK_BYTES));
        let due = (0..UNSEEN_ENTRIES).map(|_| shelves.is_due(one, BLOCK_BYTES));
        assert_eq!(due.filter(|due| *due).count(), 1);
        assert!(!shelves.is_due(one, BLOCK_BYTES));
        assert!(shelves.is_due(one, UNSEEN_BYTES));
        assert!(shelves.is_due(one, BLOCK_BYTES));
        let bound = Bound::usual();
        assert_eq!(
            (bound.entries + UNSEEN_ENTRIES) * SHELVES,
            CACHE_ENTRIES_MAX
        );
        let shelves = u64::try_from(SHELVES).unwrap();
        assert_eq!((bound.bytes + UNSEEN_BYTES) * shelves, CACHE_BYTES_MAX);
    }

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/sha256-a");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        // A folder stands where the file is to be.
        let taken = folder.path().join("sha256-b");
        fs::create_dir_all(taken.join("x")).unwrap();
        assert!(write(&taken, b"three").is_err());
        assert_eq!(left(folder.path()), ['b', 'w']);
    }
}

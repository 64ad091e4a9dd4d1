//! The files that entries stand in, one behind the other: added to, and now and then written anew.
//!
//! A file for each entry would be simpler, and was tried: to make one takes some 50 µs, which doubled what a
//! validation costs. Here an entry is one write to the end of a file. Each has a head before its bytes: a mark, what it is,
//! how long, when it was used last, and the first half of a digest.
//!
//! What a killed process leaves is an entry that is cut off. Whoever reads its file next sees everything before it, and
//! writes the file anew before he adds to it. So he does where a file is full, or half of it is of no use: those entries
//! stay that were used last, under another name first and then renamed. Others that have the old file open go on
//! reading there, and see before they write that it is not the one that stands there.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::folder::stands_at;
use crate::limits::cache::{CACHE_BYTES_MAX, CACHE_ENTRIES_MAX, CACHE_ENTRY_BYTES_MAX};

/// How many shelves there are: each is bounded by itself, so that nobody has to know all of them.
pub(super) const SHELVES: usize = 64;

/// What every head begins with.
const MARK: [u8; 4] = *b"cgn1";
/// How long a head is, in bytes: the mark, the kind and three of no use, length, hour, key.
const HEAD_BYTES: usize = 32;
/// The kinds: an entry, and the note that one was used.
const ENTRY: u8 = 0;
const USE: u8 = 1;

/// How old the hour of an entry's last use is before it is noted again: what is used nightly is told from what
/// is not.
const USE_NOTED_HOURS: u32 = 6;
/// A file that has less is not written anew for what is of no use in it, in bytes.
const SPARE_BYTES: u64 = 64 * 1024;

/// What the name of an unfinished file begins with.
const TEMPORARY: &str = ".new-";
/// How old an unfinished file is whose writer is gone.
const TEMPORARY_AGE: Duration = Duration::from_hours(1);

/// The first half of a digest: what is read is compared with all of it.
pub(super) type Key = [u8; 16];

/// Where entries are.
type Entries = HashMap<Key, Place>;

/// How much one shelf may have.
#[derive(Debug, Clone, Copy)]
struct Bound {
    entries: usize,
    bytes: u64,
}

/// One file.
#[derive(Debug)]
pub(super) struct Shelf {
    path: PathBuf,
    bound: Bound,
    known: Mutex<Option<Known>>,
}

/// What is known of a file that was read.
#[derive(Debug)]
struct Known {
    file: Arc<File>,
    entries: Entries,
    /// How many bytes of it are of use.
    live: u64,
    /// Whether it ends with something else than an entry.
    is_torn: bool,
    /// Uses that are not written down yet.
    uses: Vec<u8>,
}

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    length: u32,
    /// The hour of its last use, since 1970.
    hour: u32,
}

/// An entry that was found.
#[derive(Debug)]
pub(super) struct Found {
    file: Arc<File>,
    place: Place,
}

impl Found {
    /// How many bytes it has.
    pub(super) fn size(&self) -> usize {
        usize::try_from(self.place.length).unwrap_or(usize::MAX)
    }

    /// Its bytes, if they are there; they may be anything.
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.size()];
        self.file.read_exact_at(&mut bytes, self.place.offset)?;
        Ok(bytes)
    }
}

impl Shelf {
    pub(super) fn new(folder: &Path, number: usize) -> Self {
        let bytes = u64::try_from(CACHE_BYTES_MAX / SHELVES).unwrap_or(u64::MAX);
        Self {
            path: folder.join(format!("{number:02x}")),
            bound: Bound {
                entries: CACHE_ENTRIES_MAX / SHELVES,
                bytes,
            },
            known: Mutex::new(None),
        }
    }

    /// The entry with `key`.
    pub(super) fn find(&self, key: &Key) -> io::Result<Option<Found>> {
        let mut guard = self.guard();
        let known = self.known(&mut guard)?;
        Ok(known.entries.get(key).map(|place| Found {
            file: Arc::clone(&known.file),
            place: *place,
        }))
    }

    /// Notes that an entry was read.
    pub(super) fn used(&self, key: &Key) {
        let mut guard = self.guard();
        let now = hour();
        if let Some(known) = guard.as_mut()
            && let Some(place) = known.entries.get_mut(key)
            && now.abs_diff(place.hour) >= USE_NOTED_HOURS
        {
            place.hour = now;
            known.uses.extend(head(USE, (0, now), key));
        }
    }

    /// Forgets an entry that is something else: it is of no use in the file.
    pub(super) fn forget(&self, key: &Key) {
        let mut guard = self.guard();
        if let Some(known) = guard.as_mut()
            && let Some(place) = known.entries.remove(key)
        {
            known.live -= place.size();
        }
    }

    /// Adds an entry, and makes room for it where there is none.
    pub(super) fn add(&self, key: &Key, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut guard = self.guard();
        let added = HEAD_BYTES + bytes.len();
        let known = self.with_room(&mut guard, (1, added))?;
        let now = hour();
        let mut record = Vec::with_capacity(added);
        record.extend(head(ENTRY, (length, now), key));
        record.extend(bytes);
        let end = append(&known.file, &record)?;
        let place = Place {
            offset: end - u64::from(length),
            length,
            hour: now,
        };
        known.live += place.size();
        if let Some(old) = known.entries.insert(*key, place) {
            known.live -= old.size();
        }
        Ok(())
    }

    /// Writes down what was used.
    pub(super) fn settle(&self) -> io::Result<()> {
        let mut guard = self.guard();
        let Some(known) = guard.as_mut() else {
            return Ok(());
        };
        let uses = std::mem::take(&mut known.uses);
        if uses.is_empty() {
            return Ok(());
        }
        let known = self.with_room(&mut guard, (0, uses.len()))?;
        append(&known.file, &uses).map(drop)
    }

    fn guard(&self) -> MutexGuard<'_, Option<Known>> {
        // Who panics leaves an index that is whole: every change of it is one call.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known<'a>(&self, guard: &'a mut Option<Known>) -> io::Result<&'a mut Known> {
        if guard.is_none() {
            *guard = Some(self.load()?);
        }
        guard.as_mut().ok_or_else(|| io::Error::other("no shelf"))
    }

    /// The file that stands there, with room for so many entries and bytes more.
    fn with_room<'a>(
        &self,
        guard: &'a mut Option<Known>,
        (entries, bytes): (usize, usize),
    ) -> io::Result<&'a mut Known> {
        let known = self.known(guard)?;
        if !stands_at(&known.file, &self.path)? {
            *guard = None;
        }
        let known = self.known(guard)?;
        let size = known.file.metadata()?.len();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let is_full =
            known.entries.len() + entries > self.bound.entries || size + bytes > self.bound.bytes;
        let is_wasteful = size > SPARE_BYTES && size / 2 > known.live;
        if is_full || is_wasteful || known.is_torn {
            // With what others have added since.
            let mut all = self.load()?;
            for (key, place) in &known.entries {
                if let Some(there) = all.entries.get_mut(key) {
                    there.hour = there.hour.max(place.hour);
                }
            }
            *guard = Some(self.rewrite(all)?);
        }
        self.known(guard)
    }

    /// Reads what the file has, which is made if it is not there.
    fn load(&self) -> io::Result<Known> {
        // Looked at first: to open a pipe that somebody put there would wait for another end.
        let is_other = self
            .path
            .symlink_metadata()
            .is_ok_and(|there| !there.is_file());
        if is_other {
            return Err(io::Error::other(
                "something else stands where a file is to be",
            ));
        }
        let open = || {
            OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&self.path)
        };
        let file = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Somebody has deleted the whole cache.
                let folder = self.path.parent().unwrap_or(&self.path);
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder)?;
                open()?
            }
            opened => opened?,
        };
        let size = file.metadata()?.len();
        let (entries, is_torn) = scan(&file, size, self.bound)?;
        Ok(Known::new(file, entries, is_torn))
    }

    /// Writes the file anew with what was used last, up to three quarters of what it may have.
    fn rewrite(&self, old: Known) -> io::Result<Known> {
        let mut all: Vec<(Key, Place)> = old.entries.into_iter().collect();
        all.sort_unstable_by_key(|(key, place)| (std::cmp::Reverse(place.hour), *key));
        let temporary = temporary(&self.path);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let kept = self.keep_of(&all, &old.file, &file);
        let kept = kept.and_then(|kept| fs::rename(&temporary, &self.path).map(|()| kept));
        let entries = kept.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
        Ok(Known::new(file, entries, false))
    }

    fn keep_of(&self, all: &[(Key, Place)], from: &Arc<File>, to: &File) -> io::Result<Entries> {
        let mut kept = HashMap::new();
        let mut end = 0;
        let mut writer = BufWriter::new(to);
        for (key, place) in all {
            let size = place.size();
            let has_room =
                kept.len() < self.bound.entries / 4 * 3 && end + size <= self.bound.bytes / 4 * 3;
            if !has_room {
                break;
            }
            let found = Found {
                file: Arc::clone(from),
                place: *place,
            };
            let Ok(bytes) = found.bytes() else {
                // Somebody has cut it off.
                continue;
            };
            writer.write_all(&head(ENTRY, (place.length, place.hour), key))?;
            writer.write_all(&bytes)?;
            end += size;
            let offset = end - u64::from(place.length);
            kept.insert(*key, Place { offset, ..*place });
        }
        writer.flush()?;
        Ok(kept)
    }
}

impl Known {
    fn new(file: File, entries: Entries, is_torn: bool) -> Self {
        Self {
            file: Arc::new(file),
            live: entries.values().map(|place| place.size()).sum(),
            entries,
            is_torn,
            uses: Vec::new(),
        }
    }
}

impl Place {
    /// How many bytes it takes in its file, with its head.
    fn size(self) -> u64 {
        u64::from(self.length) + head_size()
    }
}

const fn head_size() -> u64 {
    32
}

/// The hour of now, since 1970.
fn hour() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let hours = since.unwrap_or_default().as_secs() / 3600;
    u32::try_from(hours).unwrap_or(u32::MAX)
}

fn head(kind: u8, (length, hour): (u32, u32), key: &Key) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend(MARK);
    head.extend([kind, 0, 0, 0]);
    head.extend(length.to_le_bytes());
    head.extend(hour.to_le_bytes());
    head.extend(key);
    head
}

/// Writes to the end of a file, in one piece: nothing of another process gets in between. Says where the end is.
fn append(mut file: &File, record: &[u8]) -> io::Result<u64> {
    let written = file.write(record)?;
    if written != record.len() {
        // The rest would stand behind what others write.
        return Err(io::Error::from(ErrorKind::WriteZero));
    }
    file.stream_position()
}

/// What a file of `size` bytes has, up to what is no entry, or is more than a file may have: several processes that add at
/// once may pass its bound, but nobody doubles it. And whether there is such.
fn scan(file: impl Read + Seek, size: u64, bound: Bound) -> io::Result<(Entries, bool)> {
    let mut entries = Entries::new();
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    reader.rewind()?;
    let mut offset = 0;
    let (most, now) = (bound.bytes.saturating_mul(2), hour());
    while offset < size {
        let mut head = [0; HEAD_BYTES];
        match reader.read_exact(&mut head) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok((entries, true)),
            read => read?,
        }
        offset += head_size();
        let is_too_much = offset > most || entries.len() > bound.entries.saturating_mul(2);
        let Some((kind, place, key)) = parse(&head, (offset, now)).filter(|_| !is_too_much) else {
            return Ok((entries, true));
        };
        let length = u64::from(place.length);
        match kind {
            ENTRY if length <= size.saturating_sub(offset) => {
                reader.seek_relative(i64::from(place.length))?;
                offset += length;
                entries.insert(key, place);
            }
            USE if length == 0 => {
                if let Some(used) = entries.get_mut(&key) {
                    used.hour = used.hour.max(place.hour);
                }
            }
            _ => return Ok((entries, true)),
        }
    }
    Ok((entries, false))
}

/// What a head says whose bytes begin at `offset`, in the hour `now`.
fn parse(head: &[u8; HEAD_BYTES], (offset, now): (u64, u32)) -> Option<(u8, Place, Key)> {
    let (mark, rest) = head.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (hour, key) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    let most = u32::try_from(CACHE_ENTRY_BYTES_MAX).unwrap_or(u32::MAX);
    if *mark != MARK || length > most {
        return None;
    }
    let place = Place {
        offset,
        length,
        // A clock that was wrong once keeps nothing for ever.
        hour: u32::from_le_bytes(*hour).min(now),
    };
    Some((*kind.first()?, place, key.try_into().ok()?))
}

fn temporary(path: &Path) -> PathBuf {
    path.with_file_name(format!("{TEMPORARY}{:016x}", fastrand::u64(..)))
}

/// Writes a file as a whole: there is the old one, or none, or this one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = file.write_all(bytes);
    drop(file);
    let written = written.and_then(|()| fs::rename(&temporary, path));
    written.inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Takes away what writers left that were killed.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_temporary = name
            .to_str()
            .is_some_and(|name| name.starts_with(TEMPORARY));
        let is_old = |there: fs::Metadata| {
            let age = there.modified().ok().and_then(|made| made.elapsed().ok());
            there.is_file() && age.is_some_and(|age| age > TEMPORARY_AGE)
        };
        if is_temporary && entry.metadata().is_ok_and(is_old) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// Any bytes as a file of the cache: what is found lies within it, one entry behind the other, and no more of it than
/// twice what a file may have.
#[cfg(any(test, fuzzing))]
#[expect(clippy::expect_used, reason = "a broken promise is a finding")]
pub(super) fn fuzz(bytes: &[u8]) {
    let bound = Bound {
        entries: 4,
        bytes: 8 << 10,
    };
    let size = u64::try_from(bytes.len()).expect("a size");
    let (entries, is_torn) = scan(io::Cursor::new(bytes), size, bound).expect("memory can be read");
    assert!(entries.len() <= 2 * bound.entries + 1);
    let mut places: Vec<Place> = entries.into_values().collect();
    places.sort_by_key(|place| place.offset);
    let mut end = 0;
    for place in places {
        assert!(place.offset >= end + head_size());
        end = place.offset + u64::from(place.length);
        assert!(end <= size && place.offset <= 2 * bound.bytes);
    }
    let most = u64::try_from(CACHE_ENTRY_BYTES_MAX).expect("a size");
    assert!(is_torn || size <= 2 * bound.bytes + most);
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::thread;

use super::*;

/// A cache in a folder of its own.
fn cache() -> (tempfile::TempDir, Cache) {
    let home = tempfile::tempdir().unwrap();
    let cache = Cache::open(&home.path().join("cache")).unwrap();
    (home, cache)
}

/// Some bytes and their digest.
fn some(text: &str) -> (Digest, &[u8]) {
    (Digest::sha256(text.as_bytes()), text.as_bytes())
}

fn read(cache: &Cache, digest: &Digest) -> Option<Bytes> {
    cache.find(digest).and_then(Entry::read)
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

/// Changes all files of shelves.
fn spoil(folder: &Path, change: impl Fn(&mut Vec<u8>)) {
    for number in 0..SHELVES {
        let path = folder.join(format!("{number:02x}"));
        if let Ok(mut bytes) = fs::read(&path)
            && !bytes.is_empty()
        {
            change(&mut bytes);
            fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn what_is_kept_is_there_for_the_next_and_for_its_owner_alone() {
    let (home, cache) = cache();
    let (digest, bytes) = some("a");
    assert!(cache.find(&digest).is_none());
    cache.keep(&digest, bytes);
    let any: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    let long = any.of_same_kind(b"b");
    cache.keep(&long, b"b");
    cache.note("r.example/a:1", Some(digest));
    cache.settle();
    let next = Cache::open(&home.path().join("cache")).unwrap();
    assert_eq!(read(&next, &digest).unwrap(), bytes);
    assert_eq!(read(&next, &long).unwrap(), &b"b"[..]);
    assert_eq!(next.find(&digest).unwrap().size(), 1);
    assert_eq!(next.last("r.example/a:1"), Some(digest));
    let folder = home.path().join("cache");
    assert_eq!(mode(&folder), 0o700);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{path:?}");
        assert!(path.is_file());
    }
}

#[test]
fn an_entry_that_is_torn_or_changed_is_not_there_and_can_be_kept_anew() {
    let (home, cache) = cache();
    let folder = home.path().join("cache");
    let (digest, bytes) = some("what was served");
    cache.keep(&digest, bytes);
    let changes: [fn(&mut Vec<u8>); 4] = [
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes.truncate(bytes.len() - 3),
        |bytes| bytes.truncate(0),
        |bytes| bytes.fill(0),
    ];
    for change in changes {
        let open = Cache::open(&folder).unwrap();
        assert_eq!(read(&open, &digest).unwrap(), bytes);
        // One that has read the file already, and one that has not.
        for cache in [open, Cache::open(&folder).unwrap()] {
            spoil(&folder, change);
            assert!(read(&cache, &digest).is_none());
            cache.keep(&digest, bytes);
            assert_eq!(read(&cache, &digest).unwrap(), bytes);
            // Whether it sees that or something older, which it finds out by reading.
            let next = Cache::open(&folder).unwrap();
            drop(read(&next, &digest));
            next.keep(&digest, bytes);
            assert_eq!(read(&next, &digest).unwrap(), bytes);
        }
    }
}

#[test]
fn what_is_no_file_is_no_shelf() {
    let (home, cache) = cache();
    let (digest, bytes) = some("a");
    let elsewhere = home.path().join("elsewhere");
    fs::write(&elsewhere, "mine").unwrap();
    let shelf = usize::from(digest.value()[0]) % SHELVES;
    symlink(&elsewhere, home.path().join(format!("cache/{shelf:02x}"))).unwrap();
    assert!(cache.find(&digest).is_none());
    cache.keep(&digest, bytes);
    assert!(cache.find(&digest).is_none());
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine");
}

#[test]
fn what_is_large_is_not_kept() {
    let (_home, cache) = cache();
    let bytes = vec![7; CACHE_ENTRY_BYTES_MAX + 1];
    let most = &bytes[1..];
    for (bytes, is_kept) in [(&*bytes, false), (most, true)] {
        let digest = Digest::sha256(bytes);
        cache.keep(&digest, bytes);
        assert_eq!(read(&cache, &digest).is_some(), is_kept);
    }
}

#[test]
fn a_folder_that_is_not_our_own_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let real = home.path().join("real");
    Cache::open(&real).unwrap();
    let link = home.path().join("link");
    symlink(&real, &link).unwrap();
    assert!(Cache::open(&link).is_err());
    fs::set_permissions(&real, fs::Permissions::from_mode(0o770)).unwrap();
    assert!(Cache::open(&real).is_err());
    fs::write(home.path().join("file"), "").unwrap();
    assert!(Cache::open(&home.path().join("file")).is_err());
}

#[test]
fn what_cannot_be_written_ends_writing_and_not_reading() {
    let (home, cache) = cache();
    let (digest, bytes) = some("a");
    cache.keep(&digest, bytes);
    // A folder where a shelf is to be: whoever may write anywhere cannot write there either.
    let (other, more) = some("b");
    let shelf = |digest: &Digest| usize::from(digest.value()[0]) % SHELVES;
    assert_ne!(shelf(&digest), shelf(&other));
    fs::create_dir(home.path().join(format!("cache/{:02x}", shelf(&other)))).unwrap();
    cache.keep(&other, more);
    assert!(cache.is_read_only());
    assert!(read(&cache, &other).is_none());
    assert_eq!(read(&cache, &digest).unwrap(), bytes);
    let (third, more) = some("c");
    cache.keep(&third, more);
    cache.note("r.example/a:1", Some(third));
    cache.settle();
    assert!(read(&cache, &third).is_none());
}

#[test]
fn many_write_and_remove_at_once_and_nobody_reads_anything_else() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("cache");
    let texts: Vec<String> = (0..40).map(|number| format!("text {number}")).collect();
    thread::scope(|scope| {
        for writer in 0..4 {
            let (folder, texts) = (&folder, &texts);
            scope.spawn(move || {
                // Each as if it were a process of its own.
                let cache = Cache::open(folder).unwrap();
                for round in 0..7 {
                    for text in texts {
                        let (digest, bytes) = some(text);
                        if let Some(found) = read(&cache, &digest) {
                            assert_eq!(found, bytes);
                        }
                        cache.keep(&digest, bytes);
                        cache.note(text, Some(digest));
                        if (round + writer) % 7 == 0 && text.ends_with('7') {
                            spoil(folder, |bytes| bytes.truncate(bytes.len() - 1));
                        }
                    }
                    cache.settle();
                }
                assert!(!cache.is_read_only());
            });
        }
    });
    let cache = Cache::open(&folder).unwrap();
    for text in &texts {
        let (digest, bytes) = some(text);
        cache.keep(&digest, bytes);
        assert_eq!(cache.last(text), Some(digest));
    }
    let names = fs::read_dir(&folder).unwrap().flatten();
    let mut names = names.map(|entry| entry.file_name().into_string().unwrap());
    assert!(names.all(|name| name.len() == 2 || name == "tags"));
}

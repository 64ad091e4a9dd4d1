use std::fs::OpenOptions;
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
    let mut folders = vec![home.path().join("cache")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{folder:?}");
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{path:?}");
                files += 1;
            }
        }
    }
    assert_eq!(files, 3);
}

#[test]
fn an_entry_that_is_torn_or_changed_is_removed_and_can_be_kept_anew() {
    let (_home, cache) = cache();
    let (digest, bytes) = some("what was served");
    for spoiled in [
        "what was",
        "what was served and more",
        "what has served",
        "",
    ] {
        cache.keep(&digest, bytes);
        fs::write(cache.path(&digest), spoiled).unwrap();
        assert!(read(&cache, &digest).is_none(), "{spoiled}");
        assert!(!cache.path(&digest).exists(), "{spoiled}");
    }
    // One of another length is not taken for the one that is to be kept.
    fs::write(cache.path(&digest), "torn").unwrap();
    cache.keep(&digest, bytes);
    assert_eq!(read(&cache, &digest).unwrap(), bytes);
}

#[test]
fn what_is_no_file_is_no_entry() {
    let (home, cache) = cache();
    let (digest, bytes) = some("a");
    let path = cache.path(&digest);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let elsewhere = home.path().join("elsewhere");
    fs::write(&elsewhere, bytes).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(cache.find(&digest).is_none());
    // It is replaced, and what it led to is not written.
    cache.keep(&digest, bytes);
    assert_eq!(read(&cache, &digest).unwrap(), bytes);
    assert!(path.symlink_metadata().unwrap().is_file());
    assert!(elsewhere.exists());
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
    // One that grew is not read whole.
    let digest = Digest::sha256(most);
    let path = cache.path(&digest);
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    io::Write::write_all(&mut file, b"x").unwrap();
    assert!(cache.find(&digest).is_none());
}

#[test]
fn use_is_noted_now_and_then() {
    let (_home, cache) = cache();
    let (digest, bytes) = some("a");
    cache.keep(&digest, bytes);
    let age = |hours: u64| {
        let used = SystemTime::now() - Duration::from_hours(hours);
        let file = File::open(cache.path(&digest)).unwrap();
        file.set_modified(used).unwrap();
        assert!(read(&cache, &digest).is_some());
        let noted = cache.path(&digest).metadata().unwrap().modified().unwrap();
        noted.duration_since(used).unwrap()
    };
    assert!(age(5) > Duration::from_hours(4));
    assert_eq!(age(0), Duration::ZERO);
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
    let (_home, cache) = cache();
    let (digest, bytes) = some("a");
    cache.keep(&digest, bytes);
    // A file where a shelf is to be: whoever may write anywhere cannot write there either.
    let (other, more) = some("b");
    fs::write(cache.path(&other).parent().unwrap(), "").unwrap();
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
                for round in 0..20 {
                    for text in texts {
                        let (digest, bytes) = some(text);
                        if let Some(found) = read(&cache, &digest) {
                            assert_eq!(found, bytes);
                        }
                        cache.keep(&digest, bytes);
                        cache.note(text, Some(digest));
                        if (round + writer) % 3 == 0 {
                            fs::write(cache.path(&digest), "torn").unwrap();
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

use super::*;

/// A shelf of at most so many entries and bytes.
fn shelf(folder: &Path, entries: usize, bytes: u64) -> Shelf {
    Shelf {
        bound: Bound { entries, bytes },
        ..Shelf::new(folder, 7)
    }
}

fn key(of: u8) -> Key {
    // Nowhere else are sixteen of these together.
    [of ^ 0xa5; 16]
}

fn read(shelf: &Shelf, of: u8) -> Option<Vec<u8>> {
    let found = shelf.find(&key(of)).unwrap()?;
    Some(found.bytes().unwrap())
}

/// Which entries there are.
fn there(shelf: &Shelf) -> Vec<u8> {
    (0..=u8::MAX)
        .filter(|of| shelf.find(&key(*of)).unwrap().is_some())
        .collect()
}

/// Makes an entry look as if it was used so many hours ago.
fn age(shelf: &Shelf, of: u8, hours: u32) {
    let mut guard = shelf.guard();
    let place = guard.as_mut().unwrap().entries.get_mut(&key(of)).unwrap();
    place.hour -= hours;
    let note = head(USE, (0, place.hour), &key(of));
    drop(guard);
    // In the file the older of two is of no use.
    let text = fs::read(&shelf.path).unwrap();
    let at = text.windows(16).position(|part| *part == key(of)).unwrap();
    let mut text = text;
    text[at - 4..at].copy_from_slice(&note[12..16]);
    fs::write(&shelf.path, text).unwrap();
}

#[test]
fn what_was_added_is_there_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let one = shelf(folder.path(), 100, 10_000);
    one.add(&key(1), b"one").unwrap();
    one.add(&key(2), b"").unwrap();
    one.add(&key(1), b"once more").unwrap();
    let next = shelf(folder.path(), 100, 10_000);
    for shelf in [&one, &next] {
        assert_eq!(read(shelf, 1).unwrap(), b"once more");
        assert_eq!(read(shelf, 2).unwrap(), b"");
        assert_eq!(read(shelf, 3), None);
    }
    next.forget(&key(1));
    assert_eq!(read(&next, 1), None);
}

#[test]
fn what_was_used_longest_ago_leaves_first() {
    let folder = tempfile::tempdir().unwrap();
    let one = shelf(folder.path(), 8, 10_000);
    for of in 0..8 {
        one.add(&key(of), &[of]).unwrap();
    }
    for (of, hours) in [
        (0, 50),
        (1, 10),
        (2, 90),
        (3, 70),
        (4, 60),
        (5, 5),
        (6, 6),
        (7, 7),
    ] {
        age(&one, of, hours);
    }
    let next = shelf(folder.path(), 8, 10_000);
    // It was used longest ago, and is read now.
    assert_eq!(read(&next, 2).unwrap(), [2]);
    next.used(&key(2));
    next.settle().unwrap();
    let last = shelf(folder.path(), 8, 10_000);
    last.add(&key(9), b"new").unwrap();
    // Three quarters of eight, and the new one.
    assert_eq!(there(&last), [0, 1, 2, 5, 6, 7, 9]);
    assert_eq!(
        there(&shelf(folder.path(), 8, 10_000)),
        [0, 1, 2, 5, 6, 7, 9]
    );
}

#[test]
fn no_file_grows_beyond_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let one = shelf(folder.path(), 1000, 4096);
    for of in 0..=u8::MAX {
        one.add(&key(of), &[of; 100]).unwrap();
        assert!(one.path.metadata().unwrap().len() <= 4096);
    }
    let left = there(&one);
    assert!(left.len() >= 20, "{left:?}");
    assert!(left.contains(&255));
    for of in left {
        assert_eq!(read(&one, of).unwrap(), [of; 100]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(CACHE_ENTRIES_MAX % SHELVES, 0);
    assert_eq!(CACHE_BYTES_MAX % SHELVES, 0);
    let usual = Shelf::new(folder.path(), 0).bound;
    let most = u64::try_from(CACHE_ENTRY_BYTES_MAX).unwrap();
    assert!(usual.bytes / 4 >= most, "there is room for the largest");
    assert_eq!(usize::try_from(head_size()), Ok(HEAD_BYTES));
}

#[test]
fn notes_of_use_do_not_fill_a_file() {
    let folder = tempfile::tempdir().unwrap();
    for night in 0..2200 {
        let one = shelf(folder.path(), 100, 1 << 20);
        if night == 0 {
            one.add(&key(1), b"one").unwrap();
        }
        age(one_known(&one), 1, 24);
        one.used(&key(1));
        one.settle().unwrap();
        assert!(one.path.metadata().unwrap().len() <= SPARE_BYTES + 32);
        assert_eq!(read(&one, 1).unwrap(), b"one");
    }
}

/// The same, read.
fn one_known(shelf: &Shelf) -> &Shelf {
    there(shelf);
    shelf
}

#[test]
fn an_end_that_is_cut_off_is_put_right_by_the_next_who_adds() {
    let folder = tempfile::tempdir().unwrap();
    let one = shelf(folder.path(), 100, 10_000);
    one.add(&key(1), b"one").unwrap();
    let before = fs::read(&one.path).unwrap();
    one.add(&key(2), b"two").unwrap();
    let whole = fs::read(&one.path).unwrap();
    for end in before.len() + 1..whole.len() {
        fs::write(&one.path, &whole[..end]).unwrap();
        let next = shelf(folder.path(), 100, 10_000);
        assert_eq!(there(&next), [1], "{end}");
        next.add(&key(3), b"three").unwrap();
        assert_eq!(there(&next), [1, 3], "{end}");
        assert_eq!(there(&shelf(folder.path(), 100, 10_000)), [1, 3], "{end}");
    }
    // Nothing but nonsense, and heads that lie.
    let long = head(ENTRY, (u32::MAX, 0), &key(4));
    let strange = head(9, (0, 0), &key(4));
    for text in [b"nonsense".to_vec(), long, strange, vec![0; 100]] {
        fs::write(&one.path, text).unwrap();
        let next = shelf(folder.path(), 100, 10_000);
        assert!(there(&next).is_empty());
        next.add(&key(3), b"three").unwrap();
        assert_eq!(there(&shelf(folder.path(), 100, 10_000)), [3]);
    }
}

#[test]
fn who_has_the_old_file_open_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (
        shelf(folder.path(), 8, 10_000),
        shelf(folder.path(), 8, 10_000),
    );
    for of in 0..8 {
        one.add(&key(of), &[of]).unwrap();
    }
    let found = one.find(&key(0)).unwrap().unwrap();
    // It writes the file anew.
    two.add(&key(8), b"8").unwrap();
    assert_eq!(found.bytes().unwrap(), [0]);
    one.add(&key(9), b"9").unwrap();
    let last = shelf(folder.path(), 8, 10_000);
    assert_eq!(read(&last, 8).unwrap(), b"8");
    assert_eq!(read(&last, 9).unwrap(), b"9");
    // Somebody has deleted it all.
    fs::remove_dir_all(folder.path()).unwrap();
    two.add(&key(10), b"10").unwrap();
    assert_eq!(there(&shelf(folder.path(), 8, 10_000)), [10]);
}

#[test]
fn unfinished_files_are_taken_away_when_they_are_old() {
    let folder = tempfile::tempdir().unwrap();
    for (name, hours) in [(".new-a", 2), (".new-b", 0), ("c", 2)] {
        let file = File::create(folder.path().join(name)).unwrap();
        let made = SystemTime::now() - Duration::from_hours(hours);
        file.set_modified(made).unwrap();
    }
    sweep(folder.path());
    let names = fs::read_dir(folder.path()).unwrap().flatten();
    let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, [".new-b", "c"]);
}

proptest::proptest! {
    /// Pieces of what a file has, in any order and cut anywhere, and anything else.
    #[test]
    fn whatever_a_file_has_is_read_within_it_and_can_be_added_to(
        pieces in proptest::collection::vec((0_u8..4, 0_u8..4, 0_u32..40, 0_usize..60), 0..12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let one = shelf(folder.path(), 100, 10_000);
        let mut text = Vec::new();
        for (kind, of, length, cut) in pieces {
            let mut piece = head(kind, (length, hour()), &key(of));
            piece.extend(vec![of; 20]);
            piece.truncate(cut);
            text.extend(piece);
        }
        fs::write(&one.path, &text).unwrap();
        for of in there(&one) {
            let found = one.find(&key(of)).unwrap().unwrap();
            assert!(found.place.offset + u64::from(found.place.length) <= u64::try_from(text.len()).unwrap());
            found.bytes().unwrap();
        }
        one.add(&key(9), b"added").unwrap();
        let next = shelf(folder.path(), 100, 10_000);
        assert_eq!(read(&next, 9).unwrap(), b"added");
        assert_eq!(there(&next), there(&one));
    }
}

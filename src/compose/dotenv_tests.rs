use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::*;
use crate::compose::budget::Budget;
use crate::limits::input::COMPOSE_FILE_BYTES_MAX;

fn read(text: &str) -> Result<Variables, (usize, String)> {
    let set = Variables::from([("SET".to_owned(), "set".to_owned())]);
    let earlier = Variables::from([("EARLIER".to_owned(), "earlier".to_owned())]);
    let mut filling = Filling {
        variables: &set,
        budget: &mut Budget::default(),
        unset: &mut BTreeSet::new(),
    };
    parse(text, &earlier, &mut filling).map_err(|(line, reason)| (line, reason.to_string()))
}

#[test]
fn values_are_read_as_compose_reads_them() {
    for (text, wanted) in [
        ("V=a", "a"),
        ("\u{feff}V=a\r\n", "a"),
        ("# c\n\n  V = a b \n", "a b"),
        ("export V=a", "a"),
        ("V: a", "a"),
        ("V=", ""),
        ("V=a#b", "a#b"),
        ("V=a #b", "a"),
        ("V=#x", "#x"),
        ("V=a\nV=b", "b"),
        ("V=it's", "it's"),
        ("V=\"a #b\" # c", "a #b"),
        ("V='a$SET\\n'", "a$SET\\n"),
        ("V='it\\'s'", "it's"),
        ("V=\"a\\n\\tb\\\"\\x\\\\\"", "a\n\tb\"\\x\\"),
        ("V=\"a\nb\"", "a\nb"),
        ("V=\"\\$SET\"", "$SET"),
        ("V=$SET-${NONE:-d}", "set-d"),
        ("W=1\nV=${W}2", "12"),
        ("W=\"$V\"\nV=1", "1"),
        ("EARLIER=own\nV=$EARLIER", "earlier"),
        ("SET=own\nV=$SET", "set"),
        ("V=a\\ b", "a\\ b"),
    ] {
        let found = read(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(found["V"], wanted, "{text}");
    }
    let inherited = read("SET\nNONE\nV=1").unwrap();
    assert_eq!(inherited.len(), 2);
    assert_eq!(inherited["SET"], "set");
    assert_eq!(read("EARLIER=own").unwrap()["EARLIER"], "own");
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    for (text, line, why) in [
        ("\nV=\"a", 2, "does not end"),
        ("A B=1", 1, "blank"),
        ("# c\n\n=1", 3, "without a name"),
        ("V=\"a\"b", 1, "behind the closing quote"),
        ("V=1\nA!=2", 2, "a character"),
        ("V=${", 1, "no template"),
        ("V=${NONE:?no}", 1, "must be set: no"),
    ] {
        let (at, said) = read(text).unwrap_err();
        assert_eq!(at, line, "{text}");
        assert!(said.contains(why), "{text}: {said}");
    }
}

/// Counting the lines before each statement anew took a minute for such a file.
#[test]
fn a_long_file_takes_as_long_as_it_is() {
    let began = Instant::now();
    let text = "V=1\n".repeat(COMPOSE_FILE_BYTES_MAX / 4);
    assert_eq!(read(&text).unwrap()["V"], "1");
    let wrong = read(&format!("{text}=")).unwrap_err();
    assert_eq!(wrong.0, COMPOSE_FILE_BYTES_MAX / 4 + 1);
    assert!(began.elapsed() < Duration::from_secs(20));
}

use std::io;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::oci::Digest;

fn read(text: &[u8]) -> Parsed {
    parse("images.txt", text).unwrap()
}

fn refused(text: &[u8]) -> Error {
    match parse("images.txt", text) {
        Err(error) => error,
        Ok(parsed) => panic!("{} entries were taken", parsed.entries.len()),
    }
}

/// What each line of `text` means, or what is said of it.
fn meanings(text: &str) -> Vec<String> {
    let parsed = read(text.as_bytes());
    let mut lines: Vec<(usize, String)> = parsed
        .entries
        .iter()
        .map(|entry| (entry.line.number, entry.names.to_string()))
        .collect();
    lines.extend(parsed.bad.iter().map(|bad| (bad.line, bad.to_string())));
    lines.sort();
    lines.into_iter().map(|(_, meaning)| meaning).collect()
}

#[test]
fn comments_blanks_marks_and_line_ends_are_fine() {
    let text = "\u{feff}# a comment\r\n\
        // another\r\n\
        ##section\n\
        \n\
        \t  \n\
        nginx \t\r\n\
        \u{20} nginx:1.27 # pinned\n\
        nginx:1.28\t#pinned too\r\r\n\
        quay.io/a/b:c";
    let parsed = read(text.as_bytes());
    assert!(parsed.bad.is_empty(), "{:?}", parsed.bad);
    let lines: Vec<_> = parsed
        .entries
        .iter()
        .map(|entry| {
            (
                entry.line.number,
                &*entry.line.text,
                entry.names.to_string(),
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            (6, "nginx \t", "docker.io/library/nginx:latest".to_owned()),
            (
                7,
                "  nginx:1.27 # pinned",
                "docker.io/library/nginx:1.27".to_owned()
            ),
            (
                8,
                "nginx:1.28\t#pinned too",
                "docker.io/library/nginx:1.28".to_owned()
            ),
            (9, "quay.io/a/b:c", "quay.io/a/b:c".to_owned()),
        ]
    );
    assert_eq!(parsed.entries[0].line.to_string(), "images.txt:6");
    assert!(read(b"").entries.is_empty());
    assert!(read(b"\xef\xbb\xbf").entries.is_empty());
}

#[test]
fn default_lines_have_what_they_say() {
    let digest = Digest::sha256(b"x");
    let text = format!("nginx\nnginx:1\nr.io/a@{digest}\nr.io/a:1@{digest}\ndocker://r.io/a:1\n");
    let parsed = read(text.as_bytes());
    let found: Vec<_> = parsed
        .entries
        .iter()
        .map(|entry| match &entry.names {
            Names::Default { image, registry } => (
                image.tag.as_ref().map(ToString::to_string),
                image.digest.is_some(),
                *registry,
            ),
            Names::Mirror { .. } => panic!("{entry:?}"),
        })
        .collect();
    let tag = |text: &str| Some(text.to_owned());
    assert_eq!(
        found,
        [
            (tag("latest"), false, Written::No),
            (tag("1"), false, Written::No),
            (None, true, Written::Yes),
            (tag("1"), true, Written::Yes),
            (tag("1"), false, Written::Yes),
        ]
    );
}

#[test]
fn mirror_lines_fill_in_the_tag() {
    let digest = Digest::sha256(b"x");
    let text = format!(
        "a/b c/d 1\n\
         a/b:1\tr.io/c/d:1 \t 1 # note\n\
         q.io/a/b@{digest} c/d 1\n\
         q.io/a/b:1@{digest} c/d 1\n"
    );
    assert_eq!(
        meanings(&text),
        [
            "docker.io/a/b:1 docker.io/c/d 1".to_owned(),
            "docker.io/a/b:1 r.io/c/d 1".to_owned(),
            format!("q.io/a/b:1@{digest} docker.io/c/d 1"),
            format!("q.io/a/b:1@{digest} docker.io/c/d 1"),
        ]
    );
    match &read(text.as_bytes()).entries[1].names {
        Names::Mirror {
            source,
            source_registry,
            destination,
            destination_registry,
        } => {
            assert_eq!((source.tag.is_some(), source.digest), (true, None));
            assert_eq!(
                (destination.tag.is_some(), destination.digest),
                (true, None)
            );
            assert_eq!(*source_registry, Written::No);
            assert_eq!(*destination_registry, Written::Yes);
        }
        Names::Default { .. } => panic!("a mirror line"),
    }
}

#[test]
fn every_bad_line_is_named_with_its_column() {
    let digest = Digest::sha256(b"x");
    let text = format!(
        "nginx:\n\
         good:1\n\
         a/b c/d\n\
         a b c d\n\
         a/b:2 c/d 1\n\
         a/b c/d:2 1\n\
         a/b:2@{digest} c/d 1\n\
         a/b c/d@{digest} 1\n\
         a/b c/d -1\n\
         ä/b Ä/b 1\n\
         nginx:1 //note\n\
         r.io/Nginx:1\n\
         x:1 # bell \u{7}\n\
         one\rtwo\n\
         \u{20}a/b c/d:?? 1\n"
    );
    let places: Vec<(usize, usize)> = read(text.as_bytes())
        .bad
        .iter()
        .map(|bad| (bad.line, bad.column))
        .collect();
    assert_eq!(
        places,
        [
            (1, 7),
            (3, 5),
            (4, 7),
            (5, 5),
            (6, 9),
            (7, 5),
            (8, 8),
            (9, 9),
            (10, 1),
            (11, 9),
            (12, 6),
            (13, 12),
            (14, 4),
            (15, 10),
        ]
    );
    let said = meanings("a/b:2 c/d 1\nnginx:1 x\n");
    assert_eq!(
        said,
        [
            "images.txt:1:5: tag `2` differs from the tag `1` of column 3",
            "images.txt:2:9: two columns; a line has one, or three: source, destination, tag",
        ]
    );
    assert!(read(b"a b").bad[0].hint().unwrap().contains("sources.txt"));
}

#[test]
fn errors_are_fit_for_printing() {
    let parsed = parse(
        "a\u{1b}[31m\nb",
        &b"\x1b[2J\xe2\x80\xae evil evil evil evil\n"[..],
    )
    .unwrap();
    let bad = &parsed.bad[0];
    for text in [bad.to_string(), bad.text.clone()] {
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(!text.contains('\u{202e}'), "{text:?}");
    }
    let long = format!("{} b", "a".repeat(4000));
    let parsed = read(long.as_bytes());
    assert!(parsed.bad[0].text.chars().count() <= 201);
    assert!(parsed.bad[0].to_string().chars().count() < 400);
}

#[test]
fn what_is_no_list_is_refused_as_a_whole() {
    let found = |text: &[u8]| {
        let error = refused(text);
        (error.line, error.column, error.reason)
    };
    assert!(matches!(found(b"a:1\nb\0:1\n"), (2, 2, Reason::Binary)));
    assert!(matches!(
        found(b"# \xc3\xa4\nx\xc3\xa4\xff\n"),
        (2, 3, Reason::NotUtf8)
    ));
    assert!(matches!(found(b"\xff\xfen\0g\0"), (1, 1, Reason::Utf16)));
    let long = format!("a:1\n#{}\n", "x".repeat(LIST_LINE_BYTES_MAX));
    assert!(matches!(
        found(long.as_bytes()),
        (2, 1, Reason::LineTooLong)
    ));
    let returns = format!("a:1{}\nb:1\n", "\r".repeat(2 * LIST_LINE_BYTES_MAX));
    assert!(matches!(
        found(returns.as_bytes()),
        (1, 1, Reason::LineTooLong)
    ));
    let fits = format!("\u{feff}#{}\r\na:1", "x".repeat(LIST_LINE_BYTES_MAX - 1));
    assert_eq!(read(fits.as_bytes()).entries.len(), 1);
}

/// Gives `piece` for ever, and counts what was taken.
struct Endless {
    piece: &'static [u8],
    at: usize,
    taken: usize,
}

impl Endless {
    fn of(piece: &'static [u8]) -> Self {
        Self {
            piece,
            at: 0,
            taken: 0,
        }
    }
}

impl io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let size = piece.len().min(buffer.len());
        buffer[..size].copy_from_slice(&piece[..size]);
        self.consume(size);
        Ok(size)
    }
}

impl BufRead for Endless {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, size: usize) {
        self.taken += size;
        self.at = (self.at + size) % self.piece.len();
    }
}

#[test]
fn an_endless_line_is_given_up_at_once() {
    let mut stream = Endless::of(b"xxxxxxxx");
    let error = parse("-", &mut stream).unwrap_err();
    assert!(matches!(error.reason, Reason::LineTooLong));
    assert!(stream.taken <= LIST_LINE_BYTES_MAX + LINE_MARGIN_BYTES);
}

/// A comment line of the greatest length.
const COMMENT: &[u8; 4096] = &{
    let mut line = [b'#'; 4096];
    line[4095] = b'\n';
    line
};

/// A line whose names are long, though no names are.
const NAMES: &[u8; 512] = &{
    let mut line = [b'a'; 512];
    line[511] = b'\n';
    line
};

#[test]
fn endless_lines_are_given_up() {
    let mut stream = Endless::of(b"a/b:1\n");
    let error = parse("-", &mut stream).unwrap_err();
    assert!(matches!(error.reason, Reason::TooManyLines));
    assert_eq!(error.line, LIST_LINES_MAX + 1);
    let mut stream = Endless::of(b"a/b c/d\n");
    let error = parse("-", &mut stream).unwrap_err();
    assert!(matches!(error.reason, Reason::TooManyLines));
    let mut stream = Endless::of(include_bytes!("list_tests.rs"));
    assert!(parse("-", &mut stream).is_err());
    let mut stream = Endless::of(NAMES);
    let error = parse("-", &mut stream).unwrap_err();
    assert!(matches!(error.reason, Reason::TextTooLong));
    assert_eq!(error.line, LIST_TEXT_BYTES_MAX / 511 + 1);
    let mut stream = Endless::of(COMMENT);
    let error = parse("-", &mut stream).unwrap_err();
    assert!(matches!(error.reason, Reason::ListTooLong));
    assert!(stream.taken <= LIST_BYTES_MAX + LIST_LINE_BYTES_MAX);
}

#[test]
fn comments_are_not_counted() {
    let text = "#\n\n".repeat(LIST_LINES_MAX) + "a:1";
    assert_eq!(read(text.as_bytes()).entries.len(), 1);
}

#[test]
fn a_failing_reader_is_named() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("pulled out"))
        }
    }
    let reader = io::BufReader::new(io::Read::chain(&b"a:1\n"[..], Broken));
    let error = parse("usb.txt", reader).unwrap_err();
    assert_eq!(error.to_string(), "usb.txt:2:1: cannot read on: pulled out");
}

/// A file of the folder of real lists, or `None`, said by name, where there is none.
pub(crate) fn real_list(name: &str) -> Option<Vec<u8>> {
    let found = std::env::var_os("CONSIGN_REAL_LISTS")
        .and_then(|folder| std::fs::read(PathBuf::from(folder).join(name)).ok());
    if found.is_none() {
        println!("skipped: `{name}`, for CONSIGN_REAL_LISTS names no folder with it");
    }
    found
}

#[test]
fn real_lists_have_no_bad_lines() {
    for (name, entries) in [
        ("rancher-image-mirror.images-list.txt", 2172),
        ("kubesphere-images-list.txt", 140),
        ("longhorn-images.txt", 14),
        ("harvester-rancher-images.txt", 27),
    ] {
        let Some(bytes) = real_list(name) else {
            continue;
        };
        let parsed = parse(name, bytes.as_slice()).unwrap();
        assert!(parsed.bad.is_empty(), "{:?}", parsed.bad);
        assert_eq!(parsed.entries.len(), entries, "{name}");
    }
}

/// A line that names images.
fn good_line() -> impl Strategy<Value = String> {
    let name = "([a-z0-9]{1,6}\\.io(:[1-9][0-9]{0,3})?/)?[a-z0-9]{1,6}(-[a-z0-9]{1,4})?(/[a-z0-9]{1,5}){0,2}";
    let tag = "[A-Za-z0-9_][A-Za-z0-9._-]{0,12}";
    let default =
        (name, prop::option::of(tag), any::<bool>()).prop_map(|(mut line, tag, pinned)| {
            if let Some(tag) = tag {
                line.push(':');
                line.push_str(&tag);
            }
            if pinned {
                let digest = Digest::sha256(line.as_bytes()).to_string();
                line.push('@');
                line.push_str(&digest);
            }
            line
        });
    let mirror = (name, "[ \t]{1,3}", name, tag)
        .prop_map(|(from, gap, to, tag)| format!("{from}{gap}{to} {tag}"));
    prop_oneof![default, mirror]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "([ \t#/:@.a-zÄ\u{0}\r\n-]|docker://|sha256:|latest){0,80}") {
        if let Ok(parsed) = parse("x", text.as_bytes()) {
            for bad in &parsed.bad {
                prop_assert!(!bad.to_string().chars().any(char::is_control));
                prop_assert!(bad.column <= text.chars().count() + 1);
            }
        }
    }

    #[test]
    fn what_is_displayed_parses_again(lines in prop::collection::vec(good_line(), 0..12)) {
        let text = lines.join("\r\n");
        let once = read(text.as_bytes());
        prop_assert!(once.bad.is_empty(), "{:?}", once.bad);
        prop_assert_eq!(once.entries.len(), lines.len());
        let shown: Vec<String> = once.entries.iter().map(|e| e.names.to_string()).collect();
        let twice = read(shown.join("\n").as_bytes());
        let again: Vec<String> = twice.entries.iter().map(|e| e.names.to_string()).collect();
        prop_assert_eq!(shown, again);
        // And so do the lines as they were written.
        let written: Vec<&str> = once.entries.iter().map(|e| &*e.line.text).collect();
        prop_assert_eq!(written, lines.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

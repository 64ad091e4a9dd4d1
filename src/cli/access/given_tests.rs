use super::super::support::shown;
use super::*;

fn file(bytes: &[u8]) -> Result<CredsFile, String> {
    CredsFile::parse("creds.txt".to_owned(), bytes).map_err(|error| error.to_string())
}

fn answer(file: &CredsFile, asked: &str) -> Option<(String, usize, String)> {
    let asked = asked.parse().unwrap();
    let (namespace, line, credential) = file.look(&asked)?;
    Some((namespace.to_string(), line, shown(credential)))
}

#[test]
fn lines_are_read_however_they_are_written() {
    let text = "\u{feff}# of the site\r\n\r\nh.example user pass word  \r\n\t h.example:5000\tuser\t a:b \n\
        h.example/ns robot$x+y #pa ss\ndocker.io hub p";
    let file = file(text.as_bytes()).unwrap();
    for (asked, line, meant) in [
        ("h.example/a", 3, "user:pass word"),
        ("h.example", 3, "user:pass word"),
        ("h.example:5000/a", 4, "user:a:b"),
        ("h.example/ns/a", 5, "robot$x+y:#pa ss"),
        ("h.example/ns2", 3, "user:pass word"),
        ("docker.io/library/a", 6, "hub:p"),
    ] {
        let (_, at, got) = answer(&file, asked).unwrap();
        assert_eq!((at, got.as_str()), (line, meant), "{asked}");
    }
    for nobody in ["h.example:443/a", "a.h.example", "index.example"] {
        assert_eq!(answer(&file, nobody), None, "{nobody}");
    }
    assert!(self::file(b"").is_ok() && self::file(b"\n# none\n\t\n").is_ok());
}

#[test]
fn bad_lines_are_all_named_and_never_quoted() {
    let text = "h.example\nh.example hunter2\nhttps://h.example u hunter2\nh.example/ u hunter2\n\
        good.example u hunter2\ngood.example u hunter2\nh.example u:v hunter2\nh.example hunter2 \t\n\
        h.example. u hunter2\nh.example u hunter2\u{1b}[0m\nhunter2";
    let said = file(text.as_bytes()).unwrap_err();
    for number in [1, 2, 3, 4, 6, 7, 8, 9, 10, 11] {
        assert!(
            said.contains(&format!("creds.txt:{number}: ")),
            "{number}: {said}"
        );
    }
    assert!(
        !said.contains("creds.txt:5:") && !said.contains("hunter2"),
        "{said}"
    );
    assert!(said.contains("first in line 5"), "{said}");
    let said = file(b"h.example u hunter2\xff").unwrap_err();
    assert!(said.contains("creds.txt:1: it is not UTF-8") && !said.contains("hunter2"));
}

#[test]
fn files_of_credentials_are_bounded_and_have_to_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("creds.txt");
    let open = || CredsFile::open(&path).map_err(|error| error.to_string());
    assert!(open().unwrap_err().contains("creds.txt"));
    let length = usize::try_from(AUTHFILE_BYTES_MAX).unwrap();
    std::fs::write(&path, "#".repeat(length)).unwrap();
    assert!(open().is_ok());
    std::fs::write(&path, "#".repeat(length + 1)).unwrap();
    assert!(open().unwrap_err().contains("larger than 1 MiB"));
}

#[test]
fn creds_have_a_user_and_a_password() {
    let read = |text: &str| Creds::read("--src-creds", &text.into());
    for (text, meant) in [("a:b", "a:b"), ("a:b:c d", "a:b:c d"), ("a:", "a:")] {
        assert_eq!(shown(&read(text).unwrap().credential()), meant);
    }
    let said = read(":hunter2").unwrap_err().to_string();
    assert!(
        said.contains("--src-creds") && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn secrets_do_not_print() {
    let given = Given {
        creds: Some(Creds::read("--creds", &"me:hunter2".into()).unwrap()),
        creds_file: Some(Arc::new(file(b"h.example u hunter2").unwrap())),
        ..Given::default()
    };
    let shown = format!("{given:?}");
    assert!(
        shown.contains("creds.txt") && !shown.contains("hunter2"),
        "{shown}"
    );
}

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::list;
use crate::list::{Sign, Verify};

#[path = "compose/refused_tests.rs"]
mod refused;

/// Files in memory; all paths are as they are asked for.
#[derive(Default)]
struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
    asked: RefCell<Vec<PathBuf>>,
}

impl Memory {
    fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()));
        Self {
            files: files.collect(),
            asked: RefCell::default(),
        }
    }
}

impl Files for Memory {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        self.asked.borrow_mut().push(path.to_owned());
        let mut bytes = self
            .files
            .get(path)
            .cloned()
            .ok_or(io::ErrorKind::NotFound)?;
        bytes.truncate(limit + 1);
        Ok(bytes)
    }

    fn is_file(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    fn absolute(&self, path: &Path) -> Option<PathBuf> {
        Some(Path::new("/Home.Dir").join(path))
    }
}

fn options() -> Options {
    Options {
        profiles: Vec::new(),
        project_name: None,
        env_files: Vec::new(),
        environment: BTreeMap::from([("SET".to_owned(), "set".to_owned())]),
        keys: Keys::All,
    }
}

fn read(text: &str, files: &[(&str, &str)]) -> Parsed {
    parse(
        Path::new("c.yaml"),
        text.as_bytes(),
        &options(),
        &Memory::of(files),
    )
}

/// The lines of a file that is right, each with its number.
fn lines(text: &str, files: &[(&str, &str)]) -> Vec<(usize, String)> {
    let parsed = read(text, files);
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
    let entries = parsed.entries.iter();
    entries
        .map(|entry| (entry.line.number, entry.line.text.to_string()))
        .collect()
}

/// What is said of a file that is wrong.
fn said(text: &str, files: &[(&str, &str)]) -> Vec<String> {
    let parsed = read(text, files);
    assert!(parsed.entries.is_empty(), "{text} was taken");
    parsed.errors.iter().map(ToString::to_string).collect()
}

fn assert_said(text: &str, place: &str, why: &str) {
    let said = said(text, &[]);
    let [said] = said.as_slice() else {
        panic!("{text}: {said:?}")
    };
    assert!(said.starts_with(place), "{text}: {said}");
    assert!(said.contains(why), "{text}: {said}");
}

#[test]
fn a_service_brings_its_image_platform_keys_and_line() {
    let text = "\
x-mine: &mine
  x-nerdctl-verify: cosign
  x-nerdctl-cosign-public-key: ${KEYS:-keys}/a.pub
services:
  a:
    <<: *mine
    image: r.io/a:1
    platform: linux/arm64
  b:
    build: .
    x-nerdctl-sign: cosign
    x-nerdctl-cosign-private-key: b.key
  c: {image: nginx, x-nerdctl-verify: none}
";
    let files = [("keys/a.pub", ""), ("b.key", "")];
    assert_eq!(
        lines(text, &files),
        [
            (
                7,
                "r.io/a:1 platform=linux/arm64 verify=cosign cosign-public-key=keys/a.pub"
                    .to_owned()
            ),
            (
                9,
                "homedir-b sign=cosign cosign-private-key=b.key".to_owned()
            ),
            (13, "nginx verify=none".to_owned()),
        ]
    );
    let parsed = read(text, &files);
    assert_eq!(
        parsed.entries[1].settings.sign,
        Some(Sign::Key("b.key".to_owned()))
    );
    assert_eq!(parsed.entries[2].settings.verify, Some(Verify::None));
    assert_eq!(&*parsed.entries[0].line.file, "c.yaml");
    assert_eq!(parsed.notes.len(), 2);
}

#[test]
fn keys_are_looked_for_here_and_then_beside_the_file_that_names_them() {
    let text = "\
services:
  a:
    extends: {service: base, file: below/base.yaml}
    image: a.io/a
  b:
    image: a.io/b
    x-nerdctl-sign: cosign
    x-nerdctl-cosign-private-key: both.key
";
    let base = "\
services:
  base:
    x-nerdctl-verify: cosign
    x-nerdctl-cosign-public-key: k.pub
";
    let files = [
        ("dir/below/base.yaml", base),
        ("dir/below/k.pub", ""),
        ("both.key", ""),
        ("dir/both.key", ""),
    ];
    let parsed = parse(
        Path::new("dir/c.yaml"),
        text.as_bytes(),
        &options(),
        &Memory::of(&files),
    );
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
    let key = |path: &str| Some(Verify::Key(path.to_owned()));
    assert_eq!(parsed.entries[0].settings.verify, key("dir/below/k.pub"));
    assert_eq!(
        parsed.entries[1].settings.sign,
        Some(Sign::Key("both.key".to_owned()))
    );
    assert!(
        parsed.notes[0].contains("`dir/below/k.pub`"),
        "{:?}",
        parsed.notes
    );
}

#[test]
fn a_key_that_is_nowhere_is_an_error_only_where_it_is_needed() {
    let text = "\
services:
  a:
    image: a.io/a
    x-nerdctl-sign: cosign
    x-nerdctl-cosign-private-key: a.key
";
    let found = said(text, &[]);
    assert!(found[0].contains("there is no file `a.key`"), "{found:?}");
    let options = Options {
        keys: Keys::Public,
        ..options()
    };
    let parsed = parse(
        Path::new("c.yaml"),
        text.as_bytes(),
        &options,
        &Memory::default(),
    );
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
}

#[test]
fn nothing_switches_verification_off_unsaid() {
    for (key, place, why) in [
        (
            "x-nerdctl-verify: 123",
            "c.yaml:4:23: service `a`: ",
            "must be a string, and is a number",
        ),
        ("x-nerdctl-verify: true", "c.yaml:4:23: ", "a boolean"),
        ("x-nerdctl-verify:", "c.yaml:4:", "and is nothing"),
        (
            "x-nerdctl-verify: [cosign]",
            "c.yaml:4:23: ",
            "and is a list",
        ),
        (
            "x-nerdctl-verify: {a: b}",
            "c.yaml:4:23: ",
            "and is a mapping",
        ),
        ("x-nerdctl-verify: ''", "c.yaml:4:23: ", "empty"),
        ("x-nerdctl-verify: $NONE", "c.yaml:4:23: ", "empty"),
        (
            "x-nerdctl-verify: Cosign",
            "c.yaml:4:23: ",
            "`Cosign` is not known",
        ),
        (
            "x-nerdctl-verify: notation",
            "c.yaml:4:23: ",
            "not there yet",
        ),
        ("x-nerdctl-sign: notation", "c.yaml:4:21: ", "not there yet"),
        ("x-nerdctl-verfy: cosign", "c.yaml:4:5: ", "looks like"),
        ("x-nerdctl-verifys: cosign", "c.yaml:4:5: ", "looks like"),
        ("x_nerdctl_verify: cosign", "c.yaml:4:5: ", "looks like"),
        ("X-Nerdctl-Verify: cosign", "c.yaml:4:5: ", "looks like"),
        ("nerdctl-verify: cosign", "c.yaml:4:5: ", "looks like"),
        ("x-nerdctl-cosign-key: a", "c.yaml:4:5: ", "looks like"),
        ("x-nerdctl-signing: a", "c.yaml:4:5: ", "looks like"),
        (
            "x-nerdctl-cosign-public-key: c.yaml",
            "c.yaml:4:",
            "no file",
        ),
        (
            "x-nerdctl-cosign-public-key: k8s://a/b",
            "c.yaml:4:",
            "`k8s://…`",
        ),
        (
            "x-nerdctl-cosign-certificate-identity: a",
            "c.yaml:4:5: ",
            "means nothing without `x-nerdctl-verify` `cosign`",
        ),
        (
            "x-nerdctl-verify: cosign",
            "c.yaml:4:5: ",
            "needs `x-nerdctl-cosign-certificate-identity`",
        ),
        (
            "platform: 1",
            "c.yaml:4:15: ",
            "`platform` must be a string",
        ),
        ("platform: a/b/c/d", "c.yaml:4:15: ", "os/arch"),
    ] {
        let text = format!("services:\n  a:\n    image: r.io/a\n    {key}\n");
        assert_said(&text, place, why);
    }
    let fine = "services:\n  a:\n    image: a.io/b\n    x-mine: 1\n    x-nerdctl-other: 2\n";
    assert_eq!(lines(fine, &[]).len(), 1);
}

#[test]
fn a_plain_list_is_never_a_compose_file() {
    for text in [
        "services:\n  a:\n",
        "# c\nname: x\ninclude:\n- a",
        "\"services\": {}",
        "\u{feff}services:\r\n",
        "{\"services\": {}}",
        "services :\n",
    ] {
        assert!(is_compose(text.as_bytes()), "{text}");
    }
    for text in [
        "nginx\n",
        "services\n",
        "services:1\n",
        "include:latest\n",
        "{{ image }}\n",
        "a services: b\n",
        " services:\n",
        "# services:\n",
        "",
    ] {
        assert!(!is_compose(text.as_bytes()), "{text}");
    }
}

proptest! {
    #[test]
    fn a_list_that_is_read_is_no_compose_file(lines in prop::collection::vec("(services|include|a|\"|\\{)?( ?: ?|:|=|/)?[a-z1 ]{0,4}", 0..6)) {
        let text = lines.join("\n");
        let parsed = list::parse("l", text.as_bytes()).unwrap();
        if parsed.bad.is_empty() {
            prop_assert!(!is_compose(text.as_bytes()));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "(services:|\n  a:|\n    image:|\n  b:|\n    extends:|include:|- |\\*x|&x |<<: |!reset |\\$\\{A:-|\\}|\\$|x-nerdctl-verify: |cosign|[ \n\t{}\\[\\],:'\"#|>a-]){0,60}") {
        let parsed = parse(Path::new("c.yaml"), text.as_bytes(), &options(), &Memory::of(&[("a", &text), (".env", &text)]));
        for error in &parsed.errors {
            prop_assert!(!error.to_string().chars().any(char::is_control), "{error}");
        }
    }

    #[test]
    fn the_line_of_a_service_says_the_same(value in "[ -~äß]{1,20}", platform in prop::option::of(Just("linux/arm64"))) {
        let quoted = serde_json::Value::from(value.replace('$', "$$"));
        let platform = platform.map_or(String::new(), |text| format!("    platform: {text}\n"));
        let text = format!("services:\n  a:\n    image: a.io/b\n{platform}    x-nerdctl-verify: cosign\n    x-nerdctl-cosign-certificate-identity: {quoted}\n    x-nerdctl-cosign-certificate-oidc-issuer: {quoted}\n");
        let parsed = read(&text, &[]);
        if let Some(entry) = parsed.entries.first() {
            let again = list::parse("l", entry.line.text.as_bytes()).unwrap();
            prop_assert_eq!(&again.entries[0].settings, &entry.settings);
            prop_assert_eq!(&again.entries[0].names, &entry.names);
        } else {
            prop_assert!(value.trim().is_empty(), "{:?}", parsed.errors);
        }
    }
}

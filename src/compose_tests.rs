use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::list;
use crate::list::{Sign, Verify};

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
fn all_that_is_wrong_is_found_at_once() {
    let text = "\
services:
  a:
    image: 123
    x-nerdctl-verify: yes
    x-nerdctl-sign: 1
  b:
    command: x
  c:
    image: ${X:?give it}
  d:
    image: a.io/d
    depends_on: [e]
";
    let found = said(text, &[]);
    let places: Vec<&str> = found
        .iter()
        .map(|text| text.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "c.yaml:9:12",
            "c.yaml:4:23",
            "c.yaml:5:21",
            "c.yaml:3:12",
            "c.yaml:6:3",
            "c.yaml:12:18"
        ],
        "{found:?}"
    );
    assert!(found[0].contains("`X` must be set: give it"));
}

/// Files that are refused, with the place and what is said of it.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "services: [a]",
        "c.yaml:1:11: ",
        "must be a mapping, and is a list",
    ),
    ("a", "c.yaml:1:1: ", "`the file` must be a mapping"),
    ("", "c.yaml:1:1: ", "no `services`"),
    ("name: x", "c.yaml:1:1: ", "no `services`"),
    (
        "services: {a: {image: x}, a: {image: y}}",
        "c.yaml:1:27: ",
        "the key `a` is there already, in line 1",
    ),
    ("services:\n\ta: x", "c.yaml:2:", "no YAML"),
    (
        "services: {a: {<<: x, image: y}}",
        "c.yaml:1:",
        "`<<` joins mappings",
    ),
    (
        "services: &x\n  a: *x",
        "c.yaml:2:6: ",
        "an alias of what it stands in",
    ),
    (
        "services: {a: {image: !foo x}}",
        "c.yaml:1:",
        "`!foo` is not known",
    ),
    (
        "services: {a: {image: !!binary x}}",
        "c.yaml:1:",
        "`!!binary` is not known",
    ),
    ("services: {a: {[b]: x}}", "c.yaml:1:", "a key that is"),
    (
        "services: {a: }",
        "c.yaml:1:",
        "must be a mapping, and is nothing",
    ),
    (
        "services: {'a b': {image: x}}",
        "c.yaml:1:",
        "the name of a service",
    ),
    (
        "services: {a: {image: 'x y'}}",
        "c.yaml:1:23: ",
        "`x y` is no image",
    ),
    (
        "services: {a: {image: x, extends: b}}",
        "c.yaml:1:35: ",
        "`b`, which is not there",
    ),
    (
        "services: {a: {image: x, extends: a}}",
        "c.yaml:1:35: ",
        "extends itself",
    ),
    (
        "services: {a: {extends: {file: b.yaml}}}",
        "c.yaml:1:",
        "must be a service",
    ),
    (
        "services: {a: {extends: {service: b, file: b.yaml}}}",
        "c.yaml:1:",
        "cannot read `b.yaml`",
    ),
    (
        "services: {a: {extends: {service: b, file: 'https://x/y'}}}",
        "c.yaml:1:",
        "not a file of this machine",
    ),
    (
        "include: [oci://a.io/b]",
        "c.yaml:1:11: ",
        "not a file of this machine",
    ),
    (
        "include: ['git@x:y']",
        "c.yaml:1:11: ",
        "not a file of this machine",
    ),
    (
        "include: a.yaml",
        "c.yaml:1:10: ",
        "`include` must be a list",
    ),
    (
        "include: [none.yaml]",
        "c.yaml:1:11: ",
        "cannot read `none.yaml`",
    ),
    ("include: [c.yaml]", "c.yaml:1:11: ", "includes itself"),
    ("services: {a: {build: }}", "c.yaml:1:", "`build` must be"),
    (
        "services: {a: {build: ., profiles: x}}",
        "c.yaml:1:",
        "`profiles` must be a list",
    ),
    (
        "name: 1\nservices: {a: {build: .}}",
        "c.yaml:1:7: ",
        "`name` must be a string",
    ),
    (
        "services: {a: {image: 'a${'}}",
        "c.yaml:1:23: ",
        "is no template",
    ),
];

#[test]
fn what_is_no_compose_file_is_refused_with_its_place() {
    for (text, place, why) in REFUSED {
        assert_said(text, place, why);
    }
}

#[test]
fn small_files_cannot_grow_without_end() {
    let mut bomb = "x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n".to_owned();
    for level in 1..12 {
        let item = format!("*x{}", level - 1);
        let items = [item.as_str(); 10].join(", ");
        bomb.extend([
            "x",
            &level.to_string(),
            ": &x",
            &level.to_string(),
            " [",
            &items,
            "]\n",
        ]);
    }
    assert!(said(&bomb, &[])[0].contains("values, with those that aliases"));
    let aliases = ["*x0"; 1000].join(", ");
    let long = format!("x0: &x0 {}\nx1: [{aliases}]", "a".repeat(200_000));
    assert!(said(&long, &[])[0].contains("bytes, with what aliases"));
    let deep = format!("services: {}", "[".repeat(200));
    assert!(said(&deep, &[])[0].contains("nested more than"));
    let huge = format!("# {}", "x".repeat(FILE_BYTES_MAX));
    assert!(said(&huge, &[])[0].contains("the file has more than"));
    let nested = format!(
        "services: {{a: {{image: \"{}x{}\"}}}}",
        "${A:-".repeat(99),
        "}".repeat(99)
    );
    assert!(said(&nested, &[])[0].contains("chain"));
    let links = (0..100).map(|at| format!("  s{at}: {{image: x, extends: s{}}}\n", at + 1));
    let chain = format!("services:\n{}", links.collect::<String>());
    assert!(said(&chain, &[])[0].contains("chain"));
    let twice = "include: [{path: [a.yaml, a.yaml, b.yaml]}]";
    let included = "include: [b.yaml]";
    let found = said(
        twice,
        &[("a.yaml", included), ("b.yaml", "include: [a.yaml]")],
    );
    assert!(found[0].contains("itself"), "{found:?}");
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
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(parse(Path::new("c.yaml"), &bytes, &options(), &Memory::default()));
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

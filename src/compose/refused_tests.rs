//! What is wrong with a compose file, and what is too much.

use super::*;

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
    let huge = format!(
        "# {}",
        "x".repeat(crate::limits::input::COMPOSE_FILE_BYTES_MAX)
    );
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

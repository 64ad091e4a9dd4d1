use super::*;

fn read(text: &str) -> Vec<Node> {
    documents(text, 0, &mut Budget::default()).unwrap()
}

/// A value in one line, as JSON has it; `#` before what is neither text nor nothing.
fn shown(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Text(text) => format!("{text:?}"),
        Value::Other(text) => format!("#{text}"),
        Value::List(list) => {
            let items: Vec<String> = list.iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let items: Vec<String> = map
                .iter()
                .map(|(key, node)| format!("{}: {}", key.text, shown(node)))
                .collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

#[test]
fn words_are_what_composes_reader_takes_them_for() {
    for text in [
        "a",
        "yes",
        "on",
        "1.2.3",
        "1:30",
        "0x",
        "1.2e",
        "2001-12",
        "2001-12-14x",
        ".",
        "e3",
        "infinity",
        "\"1\"",
        "'true'",
        "!!str 12",
        "|-\n  1",
    ] {
        let node = &read(text)[0];
        assert!(node.text().is_some(), "{text}: {}", shown(node));
    }
    for text in [
        "1",
        "-1",
        "+1.5",
        "1_000",
        "0o7",
        "0x1F",
        "0b1",
        "1e3",
        ".5",
        ".inf",
        "-.INF",
        ".nan",
        "true",
        "False",
        "2001-12-14",
        "2001-12-14T01:02:03Z",
        "!!int '1'",
    ] {
        let node = &read(text)[0];
        assert!(
            matches!(node.value, Value::Other(_)),
            "{text}: {}",
            shown(node)
        );
    }
    for text in ["~", "null", "NULL", "!!null x", "---"] {
        assert!(read(text)[0].is_null(), "{text}");
    }
}

#[test]
fn merges_give_way_to_what_is_written_and_to_earlier_ones() {
    let text = "\
a: &a {x: 1, y: 1}
b: &b {y: 2, z: 2}
c: {<<: [*a, *b], z: 3}
d: {z: 4, <<: *a}
";
    assert_eq!(
        shown(&read(text)[0]),
        "{a: {x: #1, y: #1}, b: {y: #2, z: #2}, c: {z: #3, x: #1, y: #1}, d: {z: #4, x: #1, y: #1}}"
    );
}

#[test]
fn places_are_those_of_the_text() {
    let node = &read("# c\nservices:\n  ä: &x\n    image: b\n  c: *x\n")[0];
    let service = node.get("services").and_then(|node| node.get("ä")).unwrap();
    let image = service.get("image").unwrap().place;
    assert_eq!((image.line, image.column), (4, 12));
    let (key, _) = find(node.get("services").unwrap().map().unwrap(), "c").unwrap();
    assert_eq!((key.place.line, key.place.column), (5, 3));
}

#[test]
fn documents_and_marks_are_told_apart() {
    let text = "a: 1\n---\na: !reset\nb: !override [1]\n...\n---\n";
    let documents = read(text);
    assert_eq!(documents.len(), 3);
    assert_eq!(documents[1].get("a").unwrap().mark, Mark::Reset);
    assert_eq!(documents[1].get("b").unwrap().mark, Mark::Override);
    assert!(documents[2].is_null());
}

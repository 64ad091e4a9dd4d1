//! YAML text to values with their places: anchors, aliases, merge keys and tags as compose reads them.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::budget::Budget;
use super::error::Reason;

/// Where something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// The position of its file among those of the project.
    pub(super) file: usize,
    /// The line, from 1.
    pub(super) line: usize,
    /// The column in characters, from 1.
    pub(super) column: usize,
}

/// What is wrong, and where.
pub(super) type Wrong = (Place, Reason);

/// How a value takes part in a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// As its kind does.
    Usual,
    /// It takes away what it would be merged with, and itself.
    Reset,
    /// It replaces what it would be merged with.
    Override,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) mark: Mark,
    pub(super) value: Value,
}

/// A key of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) place: Place,
}

/// A mapping, in its order.
pub(super) type Map = Vec<(Key, Node)>;

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Text(String),
    /// A number, a boolean, a date: as it is written.
    Other(String),
    List(Vec<Node>),
    Map(Map),
}

impl Node {
    /// What it is, in words.
    pub(super) const fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a string",
            Value::Other(_) => "a number, a boolean or a date; in quotes it is a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        find(self.map()?, key).map(|(_, node)| node)
    }

    /// The string that it is.
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value {
            return Some(text);
        }
        None
    }

    /// The list that it is.
    pub(super) fn list(&self) -> Option<&[Self]> {
        if let Value::List(list) = &self.value {
            return Some(list);
        }
        None
    }

    /// The mapping that it is.
    pub(super) const fn map(&self) -> Option<&Map> {
        if let Value::Map(map) = &self.value {
            return Some(map);
        }
        None
    }

    /// Whether it is nothing.
    pub(super) const fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// How many values it has, itself included, and how much text.
    pub(super) fn size(&self) -> (usize, usize) {
        match &self.value {
            Value::Null => (1, 0),
            Value::Text(text) | Value::Other(text) => (1, text.len()),
            Value::List(list) => list.iter().fold((1, 0), |sum, node| add(sum, node.size())),
            Value::Map(map) => map.iter().fold((1, 0), |sum, (key, node)| {
                add(add(sum, (1, key.text.len())), node.size())
            }),
        }
    }

    /// Whether both say the same, wherever they stand.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Null, Value::Null) => true,
            (Value::Text(one), Value::Text(two)) | (Value::Other(one), Value::Other(two)) => {
                one == two
            }
            (Value::List(one), Value::List(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.is_same(two))
            }
            (Value::Map(one), Value::Map(two)) => {
                let theirs: HashMap<&str, &Self> = two
                    .iter()
                    .map(|(key, node)| (key.text.as_str(), node))
                    .collect();
                one.len() == two.len()
                    && one.iter().all(|(key, node)| {
                        theirs
                            .get(key.text.as_str())
                            .is_some_and(|other| node.is_same(other))
                    })
            }
            _ => false,
        }
    }
}

fn add(one: (usize, usize), two: (usize, usize)) -> (usize, usize) {
    (one.0.saturating_add(two.0), one.1.saturating_add(two.1))
}

/// The key of this name and its value.
pub(super) fn find<'a>(map: &'a Map, key: &str) -> Option<(&'a Key, &'a Node)> {
    map.iter()
        .find(|(other, _)| other.text == key)
        .map(|(key, node)| (key, node))
}

/// Reads all documents of the file at position `file`.
pub(super) fn documents(text: &str, file: usize, budget: &mut Budget) -> Result<Vec<Node>, Wrong> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        file,
        budget,
        anchors: HashMap::new(),
    };
    let mut documents = Vec::new();
    loop {
        let (event, _) = reader.next()?;
        if event == Event::StreamEnd {
            return Ok(documents);
        }
        // Else the beginning of the stream, or the end of a document.
        if let Event::DocumentStart(_) = event {
            let (event, place) = reader.next()?;
            reader.anchors.clear();
            documents.push(reader.node(event, place, 0)?);
        }
    }
}

struct Reader<'a, 'b> {
    parser: Parser<'a, StrInput<'a>>,
    file: usize,
    budget: &'b mut Budget,
    /// What anchors name; nothing while it is being read.
    anchors: HashMap<usize, Option<Node>>,
}

impl<'a> Reader<'a, '_> {
    fn next(&mut self) -> Result<(Event<'a>, Place), Wrong> {
        match self.parser.next_event() {
            None => Ok((Event::StreamEnd, Place::default())),
            Some(Ok((event, span))) => Ok((event, self.place(&span))),
            Some(Err(error)) => {
                let marker = error.marker();
                let place = Place {
                    file: self.file,
                    line: marker.line().max(1),
                    column: marker.col() + 1,
                };
                Err((place, Reason::Yaml(Reason::shown(error.info()))))
            }
        }
    }

    fn place(&self, span: &Span) -> Place {
        Place {
            file: self.file,
            line: span.start.line().max(1),
            column: span.start.col() + 1,
        }
    }

    /// The value that begins with `event`.
    fn node(&mut self, event: Event<'a>, place: Place, depth: usize) -> Result<Node, Wrong> {
        let limit = |limit| (place, Reason::Limit(limit));
        Budget::depth(depth).map_err(limit)?;
        self.budget.nodes(1).map_err(limit)?;
        match event {
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::Scalar(text, style, anchor, tag) => {
                self.budget.text(text.len()).map_err(limit)?;
                let (mark, core) = marked(tag.as_deref(), place)?;
                let node = Node {
                    place,
                    mark,
                    value: scalar(text.into_owned(), style, core, place)?,
                };
                self.name(anchor, node)
            }
            Event::SequenceStart(anchor, tag) => {
                let (mark, core) = marked(tag.as_deref(), place)?;
                check_core(core, "seq", place)?;
                self.begin(anchor);
                let mut list = Vec::new();
                loop {
                    let (event, place) = self.next()?;
                    if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                        break;
                    }
                    list.push(self.node(event, place, depth + 1)?);
                }
                let value = Value::List(list);
                self.name(anchor, Node { place, mark, value })
            }
            Event::MappingStart(anchor, tag) => {
                let (mark, core) = marked(tag.as_deref(), place)?;
                check_core(core, "map", place)?;
                self.begin(anchor);
                let value = Value::Map(self.mapping(depth)?);
                self.name(anchor, Node { place, mark, value })
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Ok(Node {
                place,
                mark: Mark::Usual,
                value: Value::Null,
            }),
        }
    }

    fn begin(&mut self, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, None);
        }
    }

    /// Keeps what an anchor names.
    fn name(&mut self, anchor: usize, node: Node) -> Result<Node, Wrong> {
        if anchor > 0 {
            self.pay(&node, node.place)?;
            self.anchors.insert(anchor, Some(node.clone()));
        }
        Ok(node)
    }

    fn pay(&mut self, node: &Node, place: Place) -> Result<(), Wrong> {
        let (nodes, text) = node.size();
        let limit = |limit| (place, Reason::Limit(limit));
        self.budget.nodes(nodes).map_err(limit)?;
        self.budget.text(text).map_err(limit)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<Node, Wrong> {
        let Some(Some(node)) = self.anchors.get(&anchor).cloned() else {
            return Err((place, Reason::SelfAlias));
        };
        self.pay(&node, place)?;
        Ok(node)
    }

    fn mapping(&mut self, depth: usize) -> Result<Map, Wrong> {
        let mut map: Map = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<Map> = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                break;
            }
            let is_plain = matches!(&event, Event::Scalar(_, ScalarStyle::Plain, _, _));
            let key = self.node(event, place, depth + 1)?;
            let text = match key.value {
                Value::Text(text) | Value::Other(text) => text,
                Value::Null => String::new(),
                Value::List(_) | Value::Map(_) => return Err((place, Reason::Key)),
            };
            if let Some(line) = seen.insert(text.clone(), place.line) {
                let key = Reason::shown(&text);
                return Err((place, Reason::Twice { key, line }));
            }
            let (event, at) = self.next()?;
            let node = self.node(event, at, depth + 1)?;
            if is_plain && text == "<<" {
                merged.extend(merges(node, at)?);
            } else {
                map.push((Key { text, place }, node));
            }
        }
        // What is written here counts first, then the earlier of those that are merged.
        seen.remove("<<");
        let mut has: HashSet<String> = seen.into_keys().collect();
        let marked = map.iter().enumerate();
        let marked = marked.filter(|(_, (_, node))| node.mark == Mark::Reset);
        let mut resets: HashMap<String, usize> = marked
            .map(|(at, (key, _))| (key.text.clone(), at))
            .collect();
        for (key, node) in merged.into_iter().flatten() {
            if has.insert(key.text.clone()) {
                map.push((key, node));
                continue;
            }
            // What is taken away is what this mapping is laid over, not what is merged into it.
            let reset = resets.remove(&key.text);
            if let Some((_, own)) = reset.and_then(|at| map.get_mut(at)) {
                let mark = Mark::Override;
                *own = Node { mark, ..node };
            }
        }
        Ok(map)
    }
}

/// The mappings that `<<` names.
fn merges(node: Node, place: Place) -> Result<Vec<Map>, Wrong> {
    let list = if let Value::List(list) = node.value {
        list
    } else {
        vec![node]
    };
    let maps = list.into_iter().map(|node| {
        if let Value::Map(map) = node.value {
            Ok(map)
        } else {
            Err((place, Reason::MergeKey))
        }
    });
    maps.collect()
}

/// What a tag says: of a merge, and of the kind of its value.
fn marked(tag: Option<&Tag>, place: Place) -> Result<(Mark, Option<&str>), Wrong> {
    let Some(tag) = tag else {
        return Ok((Mark::Usual, None));
    };
    if tag.is_yaml_core_schema() {
        return Ok((Mark::Usual, Some(&tag.suffix)));
    }
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("!", "reset") => Ok((Mark::Reset, None)),
        ("!", "override") => Ok((Mark::Override, None)),
        _ => Err(unknown(&tag.to_string(), place)),
    }
}

fn unknown(tag: &str, place: Place) -> Wrong {
    (place, Reason::Tag(Reason::shown(tag)))
}

fn check_core(core: Option<&str>, wanted: &str, place: Place) -> Result<(), Wrong> {
    match core {
        Some(core) if core != wanted => Err(unknown(&format!("!!{core}"), place)),
        _ => Ok(()),
    }
}

fn scalar(
    text: String,
    style: ScalarStyle,
    core: Option<&str>,
    place: Place,
) -> Result<Value, Wrong> {
    match core {
        None if style == ScalarStyle::Plain => Ok(plain(text)),
        None | Some("str") => Ok(Value::Text(text)),
        Some("null") => Ok(Value::Null),
        Some("int" | "float" | "bool" | "timestamp") => Ok(Value::Other(text)),
        Some("merge") if text == "<<" => Ok(Value::Text(text)),
        Some(core) => Err(unknown(&format!("!!{core}"), place)),
    }
}

/// What a word without quotes is: YAML 1.2's core schema, and what compose's own reader knows beside it
/// (numbers with `_` and `0b`, dates).
fn plain(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Value::Other(text),
        _ => {}
    }
    if is_number(&text) || is_date(&text) {
        return Value::Other(text);
    }
    Value::Text(text)
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let digits = digits.replace('_', "");
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix));
        }
    }
    let is_decimal = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+');
    digits.chars().all(is_decimal) && digits.parse::<f64>().is_ok()
}

/// Whether it begins as `2001-12-14` and goes on as a time does.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let is_digits = |part: &str, most: usize| {
        !part.is_empty() && part.len() <= most && part.bytes().all(|b| b.is_ascii_digit())
    };
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let (day, time) = rest.split_at(end.unwrap_or(rest.len()));
    let is_time = time.is_empty() || (time.starts_with(['T', 't', ' ']) && time.contains(':'));
    year.len() == 4 && is_digits(year, 4) && is_digits(month, 2) && is_digits(day, 2) && is_time
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;

//! Free annotations, kept close together: a document of 4 MiB may have a hundred thousand of them.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Texts by their names, in the order of the names. Of two with one name the last counts.
///
/// Two allocations, whatever is in it; a map of texts would have two for each, and take ten times as much.
#[derive(Clone, Default)]
pub struct Annotations {
    text: Box<str>,
    spans: Box<[Span]>,
}

/// Where a name and its text stand, one behind the other.
#[derive(Debug, Clone, Copy)]
struct Span {
    begin: u32,
    middle: u32,
    end: u32,
}

/// What is read so far.
#[derive(Default)]
struct Building {
    text: String,
    spans: Vec<Span>,
}

impl Annotations {
    /// The texts among the values of `object`. Others are against the specification, but no reason to refuse a
    /// document that is only passing through.
    pub(super) fn texts_of(object: &RawValue) -> Self {
        struct Lenient;
        impl<'de> Visitor<'de> for Lenient {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut building = Building::default();
                while let Some((name, value)) = map.next_entry::<Cow<'de, str>, &RawValue>()? {
                    let text = serde_json::from_str::<Cow<'_, str>>(value.get());
                    if let Ok(text) = text
                        && building.push(&name, &text).is_none()
                    {
                        break;
                    }
                }
                Ok(building.done())
            }
        }
        let mut deserializer = serde_json::Deserializer::from_str(object.get());
        deserializer.deserialize_map(Lenient).unwrap_or_default()
    }

    /// The text of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .spans
            .binary_search_by_key(&name, |span| name_of(&self.text, *span));
        let span = self.spans.get(found.ok()?)?;
        Some(text_of(&self.text, *span))
    }

    /// All names and texts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pair = |span: &Span| (name_of(&self.text, *span), text_of(&self.text, *span));
        self.spans.iter().map(pair)
    }
}

fn part(text: &str, begin: u32, end: u32) -> &str {
    let place = |at| usize::try_from(at).unwrap_or(usize::MAX);
    // Every span was made from this text.
    text.get(place(begin)..place(end)).unwrap_or_default()
}

fn name_of(text: &str, span: Span) -> &str {
    part(text, span.begin, span.middle)
}

fn text_of(text: &str, span: Span) -> &str {
    part(text, span.middle, span.end)
}

impl Building {
    /// Adds one; `None` beyond 4 GiB.
    fn push(&mut self, name: &str, text: &str) -> Option<()> {
        let begin = u32::try_from(self.text.len()).ok()?;
        self.text.push_str(name);
        let middle = u32::try_from(self.text.len()).ok()?;
        self.text.push_str(text);
        let end = u32::try_from(self.text.len()).ok()?;
        self.spans.push(Span { begin, middle, end });
        Some(())
    }

    fn done(mut self) -> Annotations {
        let text = &*self.text;
        // Stable, and backwards, so that the last of one name comes first and stays.
        self.spans.reverse();
        self.spans.sort_by_key(|span| name_of(text, *span));
        self.spans.dedup_by_key(|span| name_of(text, *span));
        Annotations {
            text: self.text.into_boxed_str(),
            spans: self.spans.into_boxed_slice(),
        }
    }
}

impl<N: AsRef<str>, T: AsRef<str>> FromIterator<(N, T)> for Annotations {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(all: I) -> Self {
        let mut building = Building::default();
        for (name, text) in all {
            if building.push(name.as_ref(), text.as_ref()).is_none() {
                break;
            }
        }
        building.done()
    }
}

impl PartialEq for Annotations {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Annotations {}

impl fmt::Debug for Annotations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut building = Building::default();
                while let Some((name, text)) = map.next_entry::<Cow<'de, str>, Cow<'de, str>>()? {
                    let added = building.push(&name, &text);
                    added.ok_or_else(|| de::Error::custom("annotations of more than 4 GiB"))?;
                }
                Ok(building.done())
            }
        }
        deserializer.deserialize_map(Texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Annotations {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn texts_are_found_by_name() {
        let read = read(r#"{"b":"2","a":"\u0031","":"none","é":"ü\n"}"#);
        for (name, text) in [("a", "1"), ("b", "2"), ("", "none"), ("é", "ü\n")] {
            assert_eq!(read.get(name), Some(text));
        }
        assert_eq!(read.get("c"), None);
        let names: Vec<&str> = read.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["", "a", "b", "é"]);
        assert_eq!(Annotations::default().get(""), None);
    }

    #[test]
    fn of_two_with_one_name_the_last_counts() {
        let twice = read(r#"{"a":"1","b":"2","a":"3","b":"4","a":"5"}"#);
        assert_eq!(twice, read(r#"{"b":"4","a":"5"}"#));
        assert_ne!(twice, read(r#"{"b":"4","a":"1"}"#));
        assert_eq!(twice, Annotations::from_iter([("a", "5"), ("b", "4")]));
    }

    #[test]
    fn what_is_no_text_may_be_passed_over() {
        let texts = |json: &str| {
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            Annotations::texts_of(&raw)
        };
        let some = texts(r#"{"a":1,"b":"2","c":{"d":[]},"e":null,"f":"\n"}"#);
        assert_eq!(some, Annotations::from_iter([("b", "2"), ("f", "\n")]));
        for none in ["null", "[]", "1", r#""a""#, "{}"] {
            assert_eq!(texts(none), Annotations::default(), "{none}");
        }
    }

    #[test]
    fn only_texts_are_annotations() {
        for bad in [
            r#"{"a":1}"#,
            r#"{"a":null}"#,
            r#"{"a":{}}"#,
            "[]",
            "\"a\"",
            "1",
        ] {
            assert!(serde_json::from_str::<Annotations>(bad).is_err(), "{bad}");
        }
    }
}

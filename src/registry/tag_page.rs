//! One page of a list of tags, read without keeping what nobody wants.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::limits::answer::{TAGS_BYTES_MAX, TAGS_MAX};
use crate::limits::image::TAG_BYTES_MAX;
use crate::oci::Tag;

const NO_LIST: &str = "it is no list of tags";

/// What a page had.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TagPage {
    pub(super) count: usize,
    /// The first tag and the last, where they can be tags.
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
}

/// The tags that are kept of a list.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) tags: Vec<Tag>,
    bytes: usize,
}

impl Kept {
    /// Keeps one more.
    pub(super) fn add(&mut self, text: &str) -> Result<(), &'static str> {
        let tag: Tag = text.parse().map_err(|_| "it lists what is no tag")?;
        self.bytes += text.len();
        if self.tags.len() == TAGS_MAX || self.bytes > TAGS_BYTES_MAX {
            return Err("its list of tags has more than 250,000, or more than 8 MiB");
        }
        self.tags.push(tag);
        Ok(())
    }
}

/// Takes each tag; says why the list is none.
type Taker<'a> = &'a mut dyn FnMut(&str) -> Result<(), &'static str>;

impl TagPage {
    /// Reads a page (OCI distribution specification 1.1, "Listing Tags") and gives each tag to `take`.
    pub(super) fn read(json: &[u8], take: Taker<'_>) -> Result<Self, &'static str> {
        let mut reading = Reading {
            page: Self::default(),
            is_list: false,
            refused: None,
            take,
        };
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let read = Document(&mut reading).deserialize(&mut deserializer);
        let read = read.and_then(|()| deserializer.end());
        match reading.refused {
            Some(why) => Err(why),
            None if read.is_err() || !reading.is_list => Err(NO_LIST),
            None => Ok(reading.page),
        }
    }
}

struct Reading<'a> {
    page: TagPage,
    /// Whether it has the name of a repository, or tags.
    is_list: bool,
    refused: Option<&'static str>,
    take: Taker<'a>,
}

impl Reading<'_> {
    fn tag(&mut self, text: &str) -> Result<(), &'static str> {
        let known = || (text.len() <= TAG_BYTES_MAX).then(|| text.to_owned());
        if self.page.count == 0 {
            self.page.first = known();
        }
        self.page.count += 1;
        // One allocation is used for all of them.
        match &mut self.page.last {
            Some(last) if text.len() <= TAG_BYTES_MAX => text.clone_into(last),
            last => *last = known(),
        }
        (self.take)(text)
    }
}

/// The object around the tags.
struct Document<'a, 'b>(&'a mut Reading<'b>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tags")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut names, mut lists) = (0, 0);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "tags" => {
                    lists += 1;
                    map.next_value_seed(Tags(self.0))?;
                }
                "name" => {
                    names += 1;
                    self.0.is_list |= map.next_value::<Option<String>>()?.is_some();
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if names > 1 || lists > 1 {
            return Err(serde::de::Error::custom(NO_LIST));
        }
        Ok(())
    }
}

/// The tags; Go programs write `null` where there are none.
struct Tags<'a, 'b>(&'a mut Reading<'b>);

impl<'de> DeserializeSeed<'de> for Tags<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Tags<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tags")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.0.is_list = true;
        while let Some(text) = list.next_element::<Cow<'de, str>>()? {
            if let Err(why) = self.0.tag(&text) {
                self.0.refused = Some(why);
                return Err(serde::de::Error::custom(why));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(TagPage, Vec<String>), &'static str> {
        let mut all = Vec::new();
        let page = TagPage::read(json.as_bytes(), &mut |text| {
            all.push(text.to_owned());
            Ok(())
        })?;
        Ok((page, all))
    }

    #[test]
    fn all_tags_are_seen_in_their_order() {
        let (page, all) = read(r#" {"name":"a","tags":["1","\u0032","3"],"x":[{}]} "#).unwrap();
        assert_eq!(all, ["1", "2", "3"]);
        assert_eq!(page.count, 3);
        assert_eq!(page.first.as_deref(), Some("1"));
        assert_eq!(page.last.as_deref(), Some("3"));
        for none in [
            r#"{"name":"a","tags":null}"#,
            r#"{"tags":[]}"#,
            r#"{"name":"a"}"#,
        ] {
            assert_eq!(
                read(none).unwrap(),
                (TagPage::default(), Vec::new()),
                "{none}"
            );
        }
    }

    #[test]
    fn only_a_list_is_a_list() {
        for bad in [
            "",
            "null",
            "{}",
            r#"["1"]"#,
            r#"{"tags":{}}"#,
            r#"{"tags":[1]}"#,
            r#"{"tags":null}"#,
            r#"{"name":null,"tags":null}"#,
            r#"{"errors":[]}"#,
            r#"{"tags":[]}x"#,
            r#"{"tags":[],"tags":[]}"#,
            "<html>login</html>",
        ] {
            assert_eq!(read(bad), Err(NO_LIST), "{bad}");
        }
    }

    #[test]
    fn as_many_tags_as_the_limit_are_kept_and_no_more() {
        let mut kept = Kept::default();
        for number in 0..TAGS_MAX {
            kept.add(&number.to_string()).unwrap();
        }
        assert!(kept.add("one").unwrap_err().contains("250,000"));
        let mut kept = Kept::default();
        let long = "a".repeat(TAG_BYTES_MAX);
        for _ in 0..TAGS_BYTES_MAX / TAG_BYTES_MAX {
            kept.add(&long).unwrap();
        }
        assert!(kept.add("a").unwrap_err().contains("8 MiB"));
        assert!(kept.add("not a tag").is_err());
    }

    #[test]
    fn what_is_refused_ends_the_reading() {
        let mut count = 0;
        let refused = TagPage::read(br#"{"tags":["a","b","c"]}"#, &mut |_| {
            count += 1;
            if count == 2 { Err("enough") } else { Ok(()) }
        });
        assert_eq!((refused, count), (Err("enough"), 2));
    }
}

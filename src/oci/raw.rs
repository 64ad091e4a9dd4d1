//! Documents as ordered fields with their bytes, to be written again with some of them changed.
//!
//! What stays keeps its bytes, its order and the fields nobody here knows; only white space between
//! fields and entries goes.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Error, Manifest, Reason};

/// A manifest or index as an ordered list of fields, each with its bytes.
pub(super) struct RawDocument<'a> {
    manifest: &'a Manifest,
    fields: Vec<(String, &'a RawValue)>,
}

impl<'a> RawDocument<'a> {
    pub(super) fn read(manifest: &'a Manifest) -> Result<Self, Error> {
        let Fields(fields) =
            serde_json::from_slice(manifest.raw()).map_err(|error| json(manifest, &error))?;
        Ok(Self { manifest, fields })
    }

    /// The bytes of a field.
    pub(super) fn field(&self, name: &str) -> Option<&'a RawValue> {
        let mut fields = self.fields.iter();
        fields
            .find(|(other, _)| other == name)
            .map(|(_, value)| *value)
    }

    /// The entries of a list; none where there is no such field, or `null`.
    pub(super) fn list(&self, name: &str) -> Result<Vec<&'a RawValue>, Error> {
        let list: Option<Option<Vec<&'a RawValue>>> = self
            .field(name)
            .map(|value| serde_json::from_str(value.get()))
            .transpose()
            .map_err(|error| json(self.manifest, &error))?;
        Ok(list.flatten().unwrap_or_default())
    }

    /// The document with these fields where they stood, or at its end where there were none.
    pub(super) fn with(&self, changed: &[(&str, &str)]) -> Result<Manifest, Error> {
        let mut text = String::with_capacity(self.manifest.raw().len());
        let new_one = |name: &str| changed.iter().find(|(other, _)| *other == name);
        for (name, value) in &self.fields {
            let value = new_one(name).map_or(value.get(), |(_, value)| value);
            push_field(&mut text, name, value);
        }
        for (name, value) in changed {
            if self.field(name).is_none() {
                push_field(&mut text, name, value);
            }
        }
        text.push('}');
        Manifest::parse(Bytes::from(text), self.manifest.media_type())
    }
}

/// The error of a document that is no JSON of the expected shape.
fn json(manifest: &Manifest, error: &serde_json::Error) -> Error {
    let shown = manifest.digest().to_string();
    Error::new("manifest", &shown, Reason::Json(error.to_string()))
}

/// Begins a JSON object with a field, or goes on with one.
pub(super) fn push_field(text: &mut String, name: &str, value: &str) {
    text.push(if text.is_empty() { '{' } else { ',' });
    text.push_str(&serde_json::Value::from(name).to_string());
    text.push(':');
    text.push_str(value);
}

/// A JSON list of these.
pub(super) fn list_of<'a>(entries: impl IntoIterator<Item = &'a str>) -> String {
    let entries: Vec<&str> = entries.into_iter().collect();
    format!("[{}]", entries.join(","))
}

/// An index with its entries laid open.
pub(super) struct RawIndex<'a> {
    document: RawDocument<'a>,
    pub(super) entries: Vec<&'a RawValue>,
}

impl<'a> RawIndex<'a> {
    pub(super) fn read(index: &'a Manifest) -> Result<Self, Error> {
        let document = RawDocument::read(index)?;
        let entries = document.list("manifests")?;
        Ok(Self { document, entries })
    }

    pub(super) fn with_entries(&self, entries: &[&RawValue]) -> Result<Manifest, Error> {
        let list = list_of(entries.iter().map(|entry| entry.get()));
        self.document.with(&[("manifests", &list)])
    }
}

struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

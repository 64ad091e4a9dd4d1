//! JSON without a second meaning: no key twice, no key that nobody knows, no value of another kind.
//!
//! Errors are in the words of containers/image, which is as strict, so that what is known of its messages
//! can be found again.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, de};

use crate::text::cleaned;

/// How much of a key an error shows, in characters.
const KEY_CHARS_MAX: usize = 80;

/// Base64 as Go's standard decoder takes it: padded, the last bits whatever they are.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// A JSON value without a key that stands twice in one object.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `null`.
    Null,
    /// A boolean or a number: nothing in a policy is one.
    Other,
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Self>),
    /// An object.
    Object(BTreeMap<String, Self>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Value::List(values))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if entries.contains_key(&key) {
                        let key = cleaned(&key, KEY_CHARS_MAX);
                        return Err(de::Error::custom(format!("Duplicate key \"{key}\"")));
                    }
                    entries.insert(key, map.next_value()?);
                }
                Ok(Value::Object(entries))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Value {
    /// The members of an object.
    pub(super) fn fields(self) -> Result<Fields, String> {
        match self {
            Self::Object(entries) => Ok(Fields(entries)),
            Self::Null | Self::Other | Self::Text(_) | Self::List(_) => {
                Err("JSON object expected".to_owned())
            }
        }
    }

    /// The elements of an array; `null` has none.
    pub(super) fn list(self, key: &str) -> Result<Vec<Self>, String> {
        match self {
            Self::List(values) => Ok(values),
            Self::Null => Ok(Vec::new()),
            Self::Other | Self::Text(_) | Self::Object(_) => Err(format!("\"{key}\" is no list")),
        }
    }

    fn text(self, key: &str) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Null | Self::Other | Self::List(_) | Self::Object(_) => {
                Err(format!("\"{key}\" is no text"))
            }
        }
    }

    fn data(self, key: &str) -> Result<Vec<u8>, String> {
        let mut text = self.text(key)?;
        text.retain(|c| c != '\n' && c != '\r');
        BASE64
            .decode(text)
            .map_err(|error| format!("illegal base64 data in \"{key}\": {error}"))
    }
}

/// The members of an object that are yet to be looked at.
#[derive(Debug)]
pub(super) struct Fields(BTreeMap<String, Value>);

impl Fields {
    /// Refuses keys that are not among `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(format!("Unknown key \"{}\"", cleaned(key, KEY_CHARS_MAX))),
        }
    }

    /// Refuses keys that are not among `wanted`, and the lack of one of these.
    pub(super) fn exactly(&self, wanted: &[&str]) -> Result<(), String> {
        self.only(wanted)?;
        match wanted.iter().find(|key| !self.0.contains_key(**key)) {
            None => Ok(()),
            Some(key) => Err(format!("Key \"{key}\" missing in a JSON object")),
        }
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The value, if the key is there.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    /// All keys and values.
    pub(super) fn into_entries(self) -> BTreeMap<String, Value> {
        self.0
    }

    /// A string; empty where it is `null` or not there.
    pub(super) fn text(&mut self, key: &str) -> Result<String, String> {
        match self.take(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(value) => value.text(key),
        }
    }

    /// Bytes in base64; none where it is `null` or not there.
    pub(super) fn data(&mut self, key: &str) -> Result<Option<Vec<u8>>, String> {
        match self.take(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.data(key).map(Some),
        }
    }

    /// Strings; none where the key is not there. An empty list is refused, as `shown`.
    pub(super) fn texts(&mut self, key: &str, shown: &str) -> Result<Option<Vec<String>>, String> {
        self.several(key, shown, Value::text)
    }

    /// Bytes in base64, several; none where the key is not there. An empty list is refused, as `shown`.
    pub(super) fn datas(&mut self, key: &str, shown: &str) -> Result<Option<Vec<Vec<u8>>>, String> {
        self.several(key, shown, Value::data)
    }

    fn several<T>(
        &mut self,
        key: &str,
        shown: &str,
        read: impl Fn(Value, &str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, String> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let values = value.list(key)?;
        if values.is_empty() {
            return Err(format!("\"{shown}\" contains no entries"));
        }
        let read = values.into_iter().map(|value| read(value, key));
        read.collect::<Result<_, _>>().map(Some)
    }
}

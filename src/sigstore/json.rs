//! JSON objects read strictly: every member in order, none twice, nothing after the last brace.
//!
//! Readers that disagree on which of two equal keys counts can be made to see two documents in one.
//! Values are kept as text until somebody knows what they should be; skipping over them does not
//! recurse, and where they are decoded, `serde_json` ends at 128 levels.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Refusal;
use crate::text::cleaned;

/// How much of a key or a message is shown, in characters.
const SHOWN_CHARS_MAX: usize = 120;

/// The members of an object in their order; no key stands there twice.
#[derive(Debug)]
pub(super) struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads `bytes`, which are one object and nothing else.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let Entries(entries) = Entries::deserialize(&mut deserializer).map_err(|e| form(&e))?;
        deserializer
            .end()
            .map_err(|_| Refusal::Form("Unexpected data after JSON object".to_owned()))?;
        let mut seen = BTreeSet::new();
        if let Some((twice, _)) = entries.iter().find(|(key, _)| !seen.insert(key)) {
            let key = cleaned(twice, SHOWN_CHARS_MAX);
            return Err(Refusal::Form(format!("Duplicate key \"{key}\"")));
        }
        Ok(Self(entries))
    }

    /// The values of exactly these keys, in this order: each is there, and no other.
    pub(super) fn exactly<const N: usize>(
        &self,
        keys: [&str; N],
    ) -> Result<[&'a RawValue; N], Refusal> {
        if let Some((key, _)) = self.0.iter().find(|(key, _)| !keys.contains(&key.as_str())) {
            let key = cleaned(key, SHOWN_CHARS_MAX);
            return Err(Refusal::Form(format!("Unknown key \"{key}\"")));
        }
        let missing = |key: &&str| self.get(key).is_none();
        if let Some(key) = keys.iter().find(|key| missing(key)) {
            let what = format!("Key \"{key}\" missing in a JSON object");
            return Err(Refusal::Form(what));
        }
        // Every one was found above; the fallback is never taken.
        Ok(keys.map(|key| self.get(key).unwrap_or(RawValue::NULL)))
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().find(|(other, _)| other == key);
        found.map(|(_, value)| *value)
    }

    /// All members.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), *value))
    }
}

/// Decodes one value.
pub(super) fn decode<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, Refusal> {
    serde_json::from_str(value.get()).map_err(|error| form(&error))
}

/// A string; where `null` stands it is empty, as Go's decoder leaves it.
pub(super) fn string(value: &RawValue) -> Result<String, Refusal> {
    Ok(decode::<Option<String>>(value)?.unwrap_or_default())
}

/// A string as it is, anything else as the JSON it is.
pub(super) fn shown(value: &RawValue) -> String {
    serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

/// The text of a decoder's error, which can hold what the document says.
pub(super) fn form(error: &serde_json::Error) -> Refusal {
    Refusal::Form(cleaned(&error.to_string(), SHOWN_CHARS_MAX))
}

struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

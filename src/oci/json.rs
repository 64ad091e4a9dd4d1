//! How much a JSON document says, seen before it is read: what a reader makes of a few bytes may be a
//! hundred times as large.

use crate::limits::image::DOCUMENT_VALUES_MAX;

use super::Reason;

/// What a reader keeps for each value, in bytes, at most: a descriptor, which is four at least, has some 300, in
/// a list that grows by doubling.
const VALUE_BYTES: usize = 100;

/// How much there is in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    bytes: usize,
    values: usize,
}

impl Measure {
    /// Counts the values in `json`; a list or an object that is empty counts twice. Of what is no JSON the
    /// number means nothing.
    pub fn of(json: &[u8]) -> Self {
        let mut values = 1_usize;
        let mut bytes = json.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => skip_text(&mut bytes),
                b',' | b'{' | b'[' => values += 1,
                _ => {}
            }
        }
        Self {
            bytes: json.len(),
            values,
        }
    }

    /// Whether a document may have as much.
    ///
    /// # Errors
    ///
    /// Beyond [`DOCUMENT_VALUES_MAX`].
    pub const fn check(self) -> Result<Self, Reason> {
        if self.values > DOCUMENT_VALUES_MAX {
            return Err(Reason::TooMany(DOCUMENT_VALUES_MAX));
        }
        Ok(self)
    }

    /// How much memory it takes at most, in bytes, with what a reader makes of it.
    pub const fn weight(self) -> usize {
        self.bytes * 2 + self.values * VALUE_BYTES
    }
}

/// Passes over the rest of a text that began.
fn skip_text<'a>(bytes: &mut impl Iterator<Item = &'a u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(json: &str) -> usize {
        Measure::of(json.as_bytes()).values
    }

    #[test]
    fn values_are_counted_and_texts_are_not_looked_into() {
        assert_eq!(counted("1"), 1);
        assert_eq!(counted(r#"{"a":1,"b":[2,3]}"#), 5);
        assert_eq!(counted(r#"{"a":"{[,\"[\\","b":","}"#), 3);
        // What is no JSON does no harm.
        for odd in ["", "\"", "\"\\", "]]]{", "{{{{"] {
            assert!(counted(odd) <= 5, "{odd}");
        }
    }

    #[test]
    fn as_much_as_a_document_may_have_is_taken_and_no_more() {
        let list = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        let check = |json: &str| Measure::of(json.as_bytes()).check();
        // The list itself is a value, and an empty one would count too.
        assert!(check(&list(DOCUMENT_VALUES_MAX - 1)).is_ok());
        let error = check(&list(DOCUMENT_VALUES_MAX)).unwrap_err();
        assert!(error.to_string().contains("120000"), "{error}");
    }
}

//! The words of the OCI specifications: names, digests, descriptors, manifests, platforms.
//!
//! Everything here is parsed at the border into types that cannot be wrong, and keeps the bytes it
//! was read from: a [`Manifest`] is its raw bytes with a view beside them, and nothing that is only
//! passing through is ever serialised again. This floor is pure: no network, no files, no clock.

mod annotations;
mod append;
mod descriptor;
mod digest;
mod edit;
mod json;
mod manifest;
mod media_type;
mod namespace;
mod platform;
mod raw;
mod reference;

pub use annotations::Annotations;
pub use append::{entries_of, referrer_entry, with_layers, with_referrers, without_referrers};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, Digester};
pub use edit::{merged, selected};
pub use json::Measure;
pub use manifest::{Image, Index, Manifest, View};
pub use media_type::MediaType;
pub use namespace::{Namespace, Namespaced};
pub use platform::{MeantPlatform, Platform, PlatformSelection};
pub use reference::{Identifier, Pinned, Reference, Registry, Repository, Tag};

use crate::limits::image::JSON_DEPTH_MAX;

/// Why a text or a document is not what it claims to be.
///
/// The offending input is kept, cut to a printable length, so that a message can name it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{input}` is not a valid {what}: {reason}")]
pub struct Error {
    /// What was expected: "tag", "digest", "manifest".
    pub what: &'static str,
    /// The input, control characters replaced, at most [`INPUT_SHOWN_CHARS`] characters.
    pub input: String,
    /// What is wrong with it.
    pub reason: Reason,
}

/// How much of a bad input an [`Error`] shows, in characters.
pub const INPUT_SHOWN_CHARS: usize = 120;
/// How much of a reason that repeats a document is shown, in characters.
const REASON_SHOWN_CHARS: usize = 2 * INPUT_SHOWN_CHARS;

/// What is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing is there.
    #[error("it is empty")]
    Empty,
    /// It is longer than the specification or a limit of ours allows.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// It has more values than a document may have.
    #[error("it has more than {0} values, which no real one has")]
    TooMany(usize),
    /// It nests deeper than documents are read.
    #[error("it is nested more than {0} levels deep")]
    TooDeep(usize),
    /// It does not follow the grammar.
    #[error("{0}")]
    Grammar(&'static str),
    /// It is not JSON of the expected shape.
    #[error("{0}")]
    Json(String),
    /// Two statements about one thing disagree.
    #[error("it calls itself `{inner}` but was served as `{outer}`")]
    MediaTypes {
        /// What the document says.
        inner: String,
        /// What the server said.
        outer: String,
    },
    /// A Docker schema 1 manifest: its digest does not cover its bytes, so it cannot be copied unchanged.
    #[error(
        "Docker schema 1 is not signable, and cannot be copied without a change of its digest; build or push the image \
         again as schema 2 or OCI"
    )]
    Schema1,
}

impl Reason {
    /// What is wrong with a document that could not be decoded.
    pub fn of_json(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // serde_json has no kind for it.
        if text.starts_with("recursion limit exceeded") {
            return Self::TooDeep(JSON_DEPTH_MAX);
        }
        Self::Json(text)
    }
}

impl Error {
    /// An error about `input`, which is cut and cleaned for printing.
    pub fn new(what: &'static str, input: &str, reason: Reason) -> Self {
        Self {
            what,
            input: shown(input, INPUT_SHOWN_CHARS),
            reason: reason.shown(),
        }
    }
}

impl Reason {
    /// The same, what others wrote in it cut and cleaned for printing.
    fn shown(self) -> Self {
        match self {
            Self::Json(why) => Self::Json(shown(&why, REASON_SHOWN_CHARS)),
            Self::MediaTypes { inner, outer } => Self::MediaTypes {
                inner: shown(&inner, INPUT_SHOWN_CHARS),
                outer: shown(&outer, INPUT_SHOWN_CHARS),
            },
            Self::Empty
            | Self::TooLong(_)
            | Self::TooMany(_)
            | Self::TooDeep(_)
            | Self::Grammar(_)
            | Self::Schema1 => self,
        }
    }
}

/// At most `chars_max` characters of `text` and an ellipsis, control characters replaced.
fn shown(text: &str, chars_max: usize) -> String {
    let mut chars = text.chars();
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut shown: String = chars.by_ref().take(chars_max).map(printable).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

//! What can be wrong with a list.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::limits::input::{
    LIST_BYTES_MAX, LIST_LINE_BYTES_MAX, LIST_LINES_MAX, LIST_TEXT_BYTES_MAX,
};
use crate::oci;
use crate::oci::Tag;
use crate::text;

use super::Fault;
use super::words::words;

/// How much of a bad line an [`Error`] keeps, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// What is wrong with a list, and where.
#[derive(Debug)]
pub struct Error {
    /// The file, as a person would name it.
    pub file: Arc<str>,
    /// The number of the line, from 1.
    pub line: usize,
    /// Where in the line, in characters, from 1.
    pub column: usize,
    /// The line, cut and cleaned for printing; empty where the whole file is refused.
    pub text: String,
    /// What is wrong.
    pub reason: Reason,
    /// Whether a word behind the first has a `=`, as settings have and names have not: the line may ask for
    /// something, whatever is wrong with it.
    pub may_ask: bool,
}

/// What is wrong with a line, or with a whole file.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// A name in it is none.
    #[error("{0}")]
    Name(Box<oci::Error>),
    /// It has two columns.
    #[error("two columns; a line has one, or three: source, destination, tag")]
    TwoColumns,
    /// It has more than three columns.
    #[error("{0} columns; a line has one, or three: source, destination, tag")]
    Columns(usize),
    /// A tag in the first two columns differs from the third.
    #[error("tag `{written}` differs from the tag `{third}` of column 3")]
    OtherTag {
        /// The tag of column 1 or 2.
        written: Tag,
        /// The tag of column 3.
        third: Tag,
    },
    /// The destination has a digest.
    #[error("a digest in column 2; what is copied is said in column 1")]
    DestinationDigest,
    /// A setting in it is wrong, by itself or for another.
    #[error("{0}")]
    Setting(Box<Fault>),
    /// A word behind its names is a setting that is not known.
    #[error("there is no setting `{0}`")]
    NoSetting(String),
    /// A word stands behind settings and is none.
    #[error("behind settings only settings stand, `key=value`")]
    NotASetting,
    /// A value begins with `"` and is no JSON string.
    #[error("a value that begins with `\"` is a JSON string, and nothing follows it but a blank")]
    NotAString,
    /// It has a control character.
    #[error("a control character")]
    Control,
    /// The file has a NUL byte.
    #[error("a NUL byte; the file is not text")]
    Binary,
    /// The file is UTF-16.
    #[error("the file is UTF-16; a list is UTF-8")]
    Utf16,
    /// The file is not UTF-8.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// A line is too long for a list.
    #[error("a line of more than {LIST_LINE_BYTES_MAX} bytes; the file is not a list")]
    LineTooLong,
    /// There are too many lines.
    #[error("more than {LIST_LINES_MAX} lines with images")]
    TooManyLines,
    /// The lines are too long altogether.
    #[error("more than {LIST_TEXT_BYTES_MAX} bytes of lines with images")]
    TextTooLong,
    /// The file is too long.
    #[error("more than {LIST_BYTES_MAX} bytes")]
    ListTooLong,
    /// It could not be read.
    #[error("cannot read on: {0}")]
    Read(io::Error),
}

impl Error {
    pub(super) fn new(
        file: &Arc<str>,
        line: usize,
        column: usize,
        text: &str,
        reason: Reason,
    ) -> Self {
        Self {
            file: Arc::clone(file),
            line,
            column,
            text: text::cleaned(text, TEXT_CHARS_MAX),
            reason,
            may_ask: words(text)
                .iter()
                .skip(1)
                .any(|word| word.text.contains('=')),
        }
    }

    /// What a person could do about it, where that is not plain.
    pub fn hint(&self) -> Option<&'static str> {
        match &self.reason {
            Reason::TwoColumns => Some(
                "a list that names the origin of each image in a second column (`…-sources.txt`) is \
                 not for mirroring; use the list of the same release without it, or cut the second column",
            ),
            Reason::Columns(_) => Some("a comment at the end of a line begins with ` #`"),
            Reason::TooManyLines | Reason::TextTooLong | Reason::ListTooLong => {
                Some("part it into several lists, and run them one after the other")
            }
            Reason::Utf16 => Some("save it as UTF-8; PowerShell: `Out-File -Encoding utf8`"),
            Reason::DestinationDigest => {
                Some("`SOURCE@DIGEST DESTINATION TAG` copies that digest and sets that tag")
            }
            Reason::OtherTag { .. } => {
                Some("a mirror line cannot change the tag; leave it out of columns 1 and 2")
            }
            Reason::NoSetting(_) => Some(
                "settings of a line are `platform`, `verify`, `sign`, `cosign-public-key`, `cosign-private-key`, \
                 `cosign-certificate-identity[-regexp]` and `cosign-certificate-oidc-issuer[-regexp]`",
            ),
            Reason::NotASetting | Reason::NotAString => {
                Some("a value with blanks is a JSON string: `key=\"a b\"`")
            }
            Reason::Name(_)
            | Reason::Setting(_)
            | Reason::Control
            | Reason::Binary
            | Reason::NotUtf8
            | Reason::LineTooLong
            | Reason::Read(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.reason
        )
    }
}

impl std::error::Error for Error {}

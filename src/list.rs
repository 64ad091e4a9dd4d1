//! Image lists: text to entries, each with the line it came from.
//!
//! One image a line, in two forms: a *default line* names an image, a *mirror line* names a source,
//! a destination and a tag. Behind the names may stand [settings](Settings), `key=value`. Comments, blank lines, CRLF, a byte order mark and a missing last line
//! end are fine; anything else is an [`Error`] with file, line and column, and all of them are found
//! at once. Memory is bounded whatever is read: a file that is no list (binary, endless, with lines
//! of megabytes) is refused as a whole.
//!
//! Nothing is decided here but what a line says: registries that a command line gives instead, and
//! lines that contradict each other, are the [plan](crate::plan)'s.

mod error;
mod settings;
mod words;

use std::fmt;
use std::io::BufRead;
use std::io::Read as _;
use std::sync::Arc;

pub use error::{Error, Reason};
pub use settings::{
    CertificateWords, Collected, Fault, FaultReason, Key, Settings, Sign, Verify, Words,
};

use crate::limits::input::{
    LIST_BYTES_MAX, LIST_LINE_BYTES_MAX, LIST_LINES_MAX, LIST_TEXT_BYTES_MAX,
};
use crate::oci;
use crate::oci::{Reference, Tag};
use crate::text;

use words::{Word, column, words};

/// How much of a file's name is kept to name its lines, in characters.
pub const FILE_CHARS_MAX: usize = 200;

/// What may stand in a buffer beside a line of the greatest length: byte order mark, CRLF, and one
/// byte that proves that the line is longer.
const LINE_MARGIN_BYTES: usize = 6;

/// A line of a list, kept so that every outcome can name it and write it again.
///
/// Cheap to clone. The text has no control characters but tabs, and no line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The file it stands in, as a person would name it, fit for printing.
    pub file: Arc<str>,
    /// Its number, from 1.
    pub number: usize,
    /// The whole line as it was written, without byte order mark and line end.
    pub text: Arc<str>,
    /// The service of a compose file that it is, fit for printing.
    pub service: Option<Arc<str>>,
}

impl fmt::Display for Line {
    /// Writes `file:number`, and the service where it is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.number)?;
        match &self.service {
            Some(service) => write!(f, ", service `{service}`"),
            None => Ok(()),
        }
    }
}

/// Whether a registry was written in front of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was written.
    Yes,
    /// It was not; `docker.io` was filled in.
    No,
}

/// The images that a line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// A default line: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`.
    Default {
        /// The image. Written without tag and digest, it has the tag `latest`; with a digest alone,
        /// no tag.
        image: Reference,
        /// Whether its registry was written.
        registry: Written,
    },
    /// A mirror line: `SOURCE DESTINATION TAG`.
    Mirror {
        /// The source, with the tag of the third column, and the digest where one is written.
        source: Reference,
        /// Whether its registry was written.
        source_registry: Written,
        /// The destination, with the tag of the third column and no digest.
        destination: Reference,
        /// Whether its registry was written.
        destination_registry: Written,
    },
}

impl fmt::Display for Names {
    /// Writes a line that names the same images, with every registry and tag filled in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default { image, registry: _ } => image.fmt(f),
            Self::Mirror {
                source,
                source_registry: _,
                destination,
                destination_registry: _,
            } => {
                let tag = destination.tag.clone().unwrap_or_else(Tag::latest);
                write!(f, "{source} {} {tag}", destination.repository)
            }
        }
    }
}

/// One line of a list that names images, or what stands for it in a list of another format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub line: Line,
    /// What it names.
    pub names: Names,
    /// What it asks for itself.
    pub settings: Settings,
}

impl fmt::Display for Entry {
    /// Writes a line that says the same, with every registry and tag filled in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.names, self.settings)
    }
}

/// A list that was read to its end.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The entries, in the order of their lines.
    pub entries: Vec<Entry>,
    /// All bad lines, in their order. Nothing may be contacted unless it is empty or the user said
    /// that bad lines are to be skipped.
    pub bad: Vec<Error>,
}

/// Reads a list; `file` is how a person names it.
///
/// Holds at most one line beside what it returns, and reads at most [`LIST_BYTES_MAX`].
///
/// # Errors
///
/// When the file as a whole is no list, with the line where that was seen: more than [`LIST_LINES_MAX`]
/// lines that name images or [`LIST_TEXT_BYTES_MAX`] of them, a line of more than [`LIST_LINE_BYTES_MAX`], more
/// than [`LIST_BYTES_MAX`] altogether, a NUL byte, bytes that are not UTF-8, or a failure to read it. A line that is merely
/// wrong is no error here: it stands in [`Parsed::bad`].
pub fn parse<R: BufRead>(file: &str, mut reader: R) -> Result<Parsed, Error> {
    let file: Arc<str> = text::cleaned(file, FILE_CHARS_MAX).into();
    let mut parsed = Parsed::default();
    let mut buffer = Vec::new();
    let mut number = 0_usize;
    let mut taken = 0_usize;
    let mut images = 0_usize;
    let mut length = 0_usize;
    let limit = u64::try_from(LIST_LINE_BYTES_MAX + LINE_MARGIN_BYTES).unwrap_or(u64::MAX);
    loop {
        buffer.clear();
        number += 1;
        let whole = |reason| Error::new(&file, number, 1, "", reason);
        let read = reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut buffer)
            .map_err(|error| whole(Reason::Read(error)))?;
        if read == 0 {
            return Ok(parsed);
        }
        taken = taken.saturating_add(read);
        if taken > LIST_BYTES_MAX {
            return Err(whole(Reason::ListTooLong));
        }
        let text = decode(&buffer, number)
            .map_err(|(column, reason)| Error::new(&file, number, column, "", reason))?;
        let said = said(text).transpose();
        let Some(said) = said else { continue };
        images += 1;
        if images > LIST_LINES_MAX {
            return Err(whole(Reason::TooManyLines));
        }
        length += text.len();
        if length > LIST_TEXT_BYTES_MAX {
            return Err(whole(Reason::TextTooLong));
        }
        match said {
            Ok((names, settings)) => parsed.entries.push(Entry {
                line: Line {
                    file: Arc::clone(&file),
                    number,
                    text: Arc::from(text),
                    service: None,
                },
                names,
                settings,
            }),
            Err((at, reason)) => {
                let column = column(text, at);
                parsed
                    .bad
                    .push(Error::new(&file, number, column, text, reason));
            }
        }
    }
}

/// The text of the line in `buffer`, without byte order mark and line end; or the column where it
/// is seen to be none, and why.
fn decode(buffer: &[u8], number: usize) -> Result<&str, (usize, Reason)> {
    const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
    const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
    let mut line = buffer.strip_suffix(b"\n").unwrap_or(buffer);
    while let Some(rest) = line.strip_suffix(b"\r") {
        line = rest;
    }
    if number == 1 {
        if UTF16_MARKS.iter().any(|mark| line.starts_with(mark)) {
            return Err((1, Reason::Utf16));
        }
        line = line.strip_prefix(UTF8_MARK).unwrap_or(line);
    }
    if let Some(at) = line.iter().position(|byte| *byte == 0) {
        return Err((at + 1, Reason::Binary));
    }
    let whole = buffer.ends_with(b"\n") || buffer.len() < LIST_LINE_BYTES_MAX + LINE_MARGIN_BYTES;
    if line.len() > LIST_LINE_BYTES_MAX || !whole {
        return Err((1, Reason::LineTooLong));
    }
    std::str::from_utf8(line).map_err(|error| {
        let good = line.get(..error.valid_up_to()).unwrap_or_default();
        let before = std::str::from_utf8(good).map_or(0, |good| good.chars().count());
        (before + 1, Reason::NotUtf8)
    })
}

/// What is wrong with a line, and at which byte.
type Wrong = (usize, Reason);

/// What a line says that is neither blank nor a comment; `None` for one that is.
///
/// # Errors
///
/// When it is wrong: at which byte, and why.
fn said(text: &str) -> Result<Option<(Names, Settings)>, Wrong> {
    let words = words(text);
    if words.is_empty() {
        return Ok(None);
    }
    // Whatever is kept of a line may be written to a file or a screen again.
    if let Some(at) = text.find(|c: char| c.is_control() && c != '\t') {
        return Err((at, Reason::Control));
    }
    // No name has a `=`.
    let is_setting = |word: &Word<'_>| word.text.contains('=');
    let first = words.iter().skip(1).position(is_setting);
    let (named, behind) = words.split_at(first.map_or(words.len(), |at| at + 1));
    let images = names(named)?;
    let mut collected = Collected::default();
    let mut places = Vec::with_capacity(behind.len());
    for word in behind {
        let (key, value, at) = words::setting(word)?;
        collected
            .add(key, &value)
            .map_err(|fault| (at, Reason::Setting(Box::new(fault))))?;
        places.push((key, word.at));
    }
    let settings = collected.settings().map_err(|fault| {
        let place = places.iter().find(|(key, _)| *key == fault.key);
        (
            place.map_or(0, |(_, at)| *at),
            Reason::Setting(Box::new(fault)),
        )
    })?;
    Ok(Some((images, settings)))
}

/// Reads the text of one line that no list file holds; `file` and `number` are where it comes from.
///
/// # Errors
///
/// When it names no image, or more lines than one, or is longer than a line of a list may be.
pub fn line(file: &Arc<str>, number: usize, text: &str) -> Result<Entry, Error> {
    let wrong = |(at, reason)| Error::new(file, number, column(text, at), text, reason);
    if text.len() > LIST_LINE_BYTES_MAX {
        return Err(Error::new(file, number, 1, text, Reason::LineTooLong));
    }
    let (names, settings) = said(text)
        .map_err(wrong)?
        .ok_or_else(|| wrong((0, Reason::Columns(0))))?;
    Ok(Entry {
        line: Line {
            file: Arc::clone(file),
            number,
            text: Arc::from(text),
            service: None,
        },
        names,
        settings,
    })
}

fn names(words: &[Word<'_>]) -> Result<Names, Wrong> {
    match words {
        [image] => {
            let (mut image, registry) = reference(image)?;
            if image.tag.is_none() && image.digest.is_none() {
                image.tag = Some(Tag::latest());
            }
            Ok(Names::Default { image, registry })
        }
        [source, destination, tag] => mirror(source, destination, tag),
        [_, second] => Err((second.at, Reason::TwoColumns)),
        [_, _, _, fourth, ..] => Err((fourth.at, Reason::Columns(words.len()))),
        [] => Err((0, Reason::Columns(0))),
    }
}

fn mirror(source: &Word<'_>, destination: &Word<'_>, third: &Word<'_>) -> Result<Names, Wrong> {
    let (mut from, source_registry) = reference(source)?;
    let (mut to, destination_registry) = reference(destination)?;
    let tag: Tag = third
        .text
        .parse()
        .map_err(|error| (third.at, Reason::Name(Box::new(error))))?;
    if to.digest.is_some() {
        let at = destination.text.find('@').unwrap_or(0);
        return Err((destination.at + at, Reason::DestinationDigest));
    }
    for (word, name) in [(source, &mut from), (destination, &mut to)] {
        match &name.tag {
            Some(written) if *written != tag => {
                let (name, _) = word.text.split_once('@').unwrap_or((word.text, ""));
                let at = name.rfind(':').map_or(0, |colon| colon + 1);
                return Err((
                    word.at + at,
                    Reason::OtherTag {
                        written: written.clone(),
                        third: tag,
                    },
                ));
            }
            Some(_) => {}
            None => name.tag = Some(tag.clone()),
        }
    }
    Ok(Names::Mirror {
        source: from,
        source_registry,
        destination: to,
        destination_registry,
    })
}

fn reference(word: &Word<'_>) -> Result<(Reference, Written), Wrong> {
    let reference = word.text.parse().map_err(|error| {
        (
            word.at + place(word.text, &error),
            Reason::Name(Box::new(error)),
        )
    })?;
    let name = word.text.strip_prefix("docker://").unwrap_or(word.text);
    let written = if Reference::names_registry(name) {
        Written::Yes
    } else {
        Written::No
    };
    Ok((reference, written))
}

/// Where in `word` the part begins that `error` speaks of, in bytes.
fn place(word: &str, error: &oci::Error) -> usize {
    let found = match error.what {
        // These stand at the end of a name, and what is before may look the same.
        "tag" | "digest" => word.rfind(&error.input),
        _ => word.find(&error.input),
    };
    found.unwrap_or(0)
}

#[cfg(test)]
#[path = "list_tests.rs"]
pub(crate) mod tests;

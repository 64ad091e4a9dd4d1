//! The words of a line, and those of them that are settings.

use super::{Key, Reason, Wrong};
use crate::text;

/// How much of a word that is wrong an error repeats, in characters.
const WORD_CHARS_MAX: usize = 80;

/// A word of a line and where it begins, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) at: usize,
    pub(super) text: &'a str,
}

/// The words of a line up to its comment; none for a blank or a comment line. In a word `key="…"`
/// blanks do not part.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    const BLANKS: [char; 2] = [' ', '\t'];
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let word = rest.trim_start_matches(BLANKS);
        at += rest.len() - word.len();
        if word.is_empty() || word.starts_with('#') {
            break;
        }
        let length = quoted(word, words.is_empty())
            .or_else(|| word.find(BLANKS))
            .unwrap_or(word.len());
        words.push(Word {
            at,
            text: word.get(..length).unwrap_or(word),
        });
        at += length;
    }
    match words.first() {
        Some(first) if first.text.starts_with("//") => Vec::new(),
        _ => words,
    }
}

/// Where the word at the beginning of `text` ends, when it is a setting with a value in quotes; the
/// first word of a line is none. A string that does not end takes the whole line.
fn quoted(text: &str, is_first: bool) -> Option<usize> {
    let value = text.find("=\"")? + 2;
    let key = text.get(..value - 2)?;
    if is_first || Key::of(key).is_none() {
        return None;
    }
    let mut is_escaped = false;
    let end = text.get(value..)?.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let Some(end) = end.map(|end| value + end + 1) else {
        return Some(text.len());
    };
    let rest = text.get(end..)?;
    Some(end + rest.find([' ', '\t']).unwrap_or(rest.len()))
}

/// The column of the byte `at` of `text`, in characters, from 1.
pub(super) fn column(text: &str, at: usize) -> usize {
    1 + text.char_indices().take_while(|(i, _)| *i < at).count()
}

/// The setting that a word is: its key, its value, and where that begins.
pub(super) fn setting(word: &Word<'_>) -> Result<(Key, String, usize), Wrong> {
    let Some((name, value)) = word.text.split_once('=') else {
        return Err((word.at, Reason::NotASetting));
    };
    let Some(key) = Key::of(name) else {
        let name = text::cleaned(name, WORD_CHARS_MAX);
        return Err((word.at, Reason::NoSetting(name)));
    };
    let at = word.at + name.len() + 1;
    let value = if value.starts_with('"') {
        serde_json::from_str(value).map_err(|_| (at, Reason::NotAString))?
    } else {
        value.to_owned()
    };
    Ok((key, value, at))
}

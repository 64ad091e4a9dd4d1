//! Text from outside, made fit for a terminal and for one line of a file.
//!
//! What a server says and what stands in a list is written by others. Before it reaches a screen or
//! a report it passes through [`cleaned`], so that it can neither move a cursor, nor hide or turn
//! around what stands beside it, nor begin a line of its own, nor fill a disk.

use regex::bytes::{Regex, RegexBuilder};
use rustls::pki_types::pem;

use crate::limits::input::REGEXP_BYTES_MAX;

/// Compiles a regular expression. Classes such as `\d` and `\w` and the flag `i` mean ASCII, as in the RE2 of
/// cosign.
///
/// # Errors
///
/// When it is none, or would take more than 256 KiB.
pub fn regexp(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(REGEXP_BYTES_MAX)
        .build()
}

/// `text` on one line, at most `chars_max` characters and an ellipsis long.
///
/// Line ends and tabs become blanks; other control characters, and those that change the direction
/// of writing or show nothing, become U+FFFD. The rest is kept as it is.
pub fn cleaned(text: &str, chars_max: usize) -> String {
    let mut chars = text.chars();
    let mut clean: String = chars.by_ref().take(chars_max).map(printable).collect();
    if chars.next().is_some() {
        clean.push('…');
    }
    clean
}

fn printable(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        // Zero-width and direction marks, byte order mark, interlinear marks, tags
        // (CVE-2021-42574 is what the direction marks can do).
        '\u{061c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => '\u{fffd}',
        other if other.is_control() => '\u{fffd}',
        other => other,
    }
}

/// The last line of what a compiler of regular expressions says; those before it draw a picture.
pub fn told_of_regexp(error: &str) -> &str {
    let last = error.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last)
}

/// What is wrong with PEM, without anything of its content, which may be a key.
pub const fn told_of_pem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section has no beginning",
        pem::Error::Base64Decode(_) => "a section is not base64",
        pem::Error::Io(_) | pem::Error::NoItemsFound | pem::Error::SectionTooLarge | _ => {
            "it cannot be read"
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_moves_the_cursor_or_begins_a_line() {
        assert_eq!(cleaned("a\r\nb\tc", 80), "a  b c");
        assert_eq!(cleaned("\u{1b}[31mred\u{7}", 80), "\u{fffd}[31mred\u{fffd}");
        assert_eq!(
            cleaned("a\u{202e}b\u{0}c\u{9b}", 80),
            "a\u{fffd}b\u{fffd}c\u{fffd}"
        );
        assert_eq!(cleaned("Grüße, 世界", 80), "Grüße, 世界");
    }

    #[test]
    fn it_is_cut_by_characters() {
        assert_eq!(cleaned("äöü", 3), "äöü");
        assert_eq!(cleaned("äöüß", 3), "äöü…");
        assert_eq!(cleaned("", 0), "");
        assert_eq!(cleaned("a", 0), "…");
    }

    proptest! {
        #[test]
        fn clean_text_stays_as_it_is(text in any::<String>(), limit in 0_usize..40) {
            let once = cleaned(&text, limit);
            prop_assert!(once.chars().count() <= limit + 1);
            prop_assert!(!once.chars().any(char::is_control));
            prop_assert_eq!(cleaned(&once, limit + 1), once);
        }
    }
}

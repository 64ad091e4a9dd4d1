//! What people are told when nothing was tried, and the code the process ends with.

use std::error::Error as StdError;
use std::fmt;

use crate::text::cleaned;

/// The longest line of a message, in characters.
const LINE_CHARS_MAX: usize = 2000;

/// Why a command ended before its work, or could not say what it did. Ends with 2 unless set.
#[derive(Debug)]
pub(super) struct Error {
    lines: Vec<String>,
    hints: Vec<String>,
    code: u8,
}

impl Error {
    /// Something was wrong with what was given: `what`, and the chain of `error`.
    pub(super) fn usage(what: &str, error: &(dyn StdError + 'static)) -> Self {
        let mut new = Self::refused(what);
        new.push_chain(error);
        new
    }

    /// Something is refused, and one sentence says all.
    pub(super) fn refused(what: &str) -> Self {
        Self {
            lines: vec![format!("error: {what}")],
            hints: Vec::new(),
            code: 2,
        }
    }

    /// Several things are wrong, one a line.
    pub(super) fn several(what: &str, wrong: impl IntoIterator<Item = String>) -> Self {
        let mut new = Self::refused(what);
        new.lines.extend(wrong);
        new
    }

    /// The same, of this line of a list.
    pub(super) fn in_line(mut self, line: &str) -> Self {
        if let Some(first) = self.lines.first_mut() {
            let said = first.strip_prefix("error: ").unwrap_or(first).to_owned();
            *first = format!("error: {line}: {said}");
        }
        self
    }

    pub(super) fn with_hint(mut self, hint: &str) -> Self {
        self.hints.push(hint.to_owned());
        self
    }

    pub(super) const fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    pub(super) const fn code(&self) -> u8 {
        self.code
    }

    fn push_chain(&mut self, error: &(dyn StdError + 'static)) {
        let mut cause = Some(error);
        let mut before = String::new();
        while let Some(current) = cause {
            let text = current.to_string();
            if text != before {
                self.lines.push(format!("  caused by: {text}"));
            }
            before = text;
            cause = current.source();
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{}", cleaned(line, LINE_CHARS_MAX))?;
        }
        for hint in &self.hints {
            writeln!(f, "  hint: {}", cleaned(hint, LINE_CHARS_MAX))?;
        }
        Ok(())
    }
}

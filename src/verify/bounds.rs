//! What is said of what went wrong, bounded and fit for printing.

use std::error;
use std::iter;

use crate::attached;
use crate::event::{CAUSE_CHARS_MAX, Failure, Kind, Stage};
use crate::registry;
use crate::text;
use crate::transfer::with_blame;

/// How many reasons are kept of one manifest.
const REASONS_MAX: usize = 20;

/// Reasons why signatures were not accepted: the first [`REASONS_MAX`], and how many more.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    kept: Vec<String>,
    more: usize,
}

impl Reasons {
    pub(super) fn push(&mut self, reason: &str) {
        if self.kept.len() < REASONS_MAX {
            self.kept.push(printable(reason));
        } else {
            self.more += 1;
        }
    }

    /// Puts `reason` before all others.
    pub(super) fn begin_with(&mut self, reason: &str) {
        self.kept.insert(0, printable(reason));
    }

    pub(super) fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.kept.push(format!("… and {} more", self.more));
        }
        self.kept
    }
}

/// One sentence, cleaned and cut like a cause of a [`Failure`].
pub(super) fn printable(text: &str) -> String {
    text::cleaned(text, CAUSE_CHARS_MAX)
}

/// The failure that `error` is, with `what` could not be done in front.
pub(super) fn failed(what: String, kind: Kind, error: &(dyn error::Error + 'static)) -> Failure {
    // A chain longer than this is a circle.
    const LINKS_MAX: usize = 64;
    let links = iter::successors(Some(error), |error| error.source()).take(LINKS_MAX);
    let causes = iter::once(what).chain(links.map(ToString::to_string));
    let failure = Failure::chain(Stage::Verify, None, kind, causes);
    let registry = match error.downcast_ref() {
        Some(attached::Error::Registry(error)) => Some(error),
        Some(_) | None => error.downcast_ref::<registry::Error>(),
    };
    match registry {
        Some(error) => with_blame(failure, error),
        None => failure,
    }
}

/// The failure that `cause` is, with `what` could not be done in front.
pub(super) fn because(what: String, kind: Kind, cause: String) -> Failure {
    Failure::chain(Stage::Verify, None, kind, [what, cause])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_few_short_and_clean() {
        let mut reasons = Reasons::default();
        for _ in 0..10_000 {
            reasons.push(&format!("\u{1b}[31m{}\n", "x".repeat(5000)));
        }
        let reasons = reasons.finish();
        assert_eq!(reasons.len(), REASONS_MAX + 1);
        assert_eq!(reasons.last().unwrap(), "… and 9980 more");
        for reason in &reasons {
            assert!(reason.chars().count() <= CAUSE_CHARS_MAX + 1);
            assert!(!reason.chars().any(char::is_control));
        }
    }
}

//! The bounds of what a compose file and all it names may become.
//!
//! Aliases, `extends` and variables all repeat what is written once, so that a small file could grow
//! without end. What they repeat is paid for out of one budget for the whole project.

use std::fmt;

use crate::limits::input::{
    COMPOSE_CHAIN_MAX, COMPOSE_DEPTH_MAX, COMPOSE_FILE_BYTES_MAX, COMPOSE_FILES_MAX,
    COMPOSE_TEXT_BYTES_MAX, COMPOSE_VALUES_MAX,
};

/// A bound that was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// A file is too long.
    File,
    /// Something is nested too deeply.
    Depth,
    /// There are too many values.
    Nodes,
    /// The values are too long.
    Text,
    /// There are too many files.
    Files,
    /// Something extends, includes or contains the next too often.
    Chain,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => write!(f, "the file has more than {COMPOSE_FILE_BYTES_MAX} bytes"),
            Self::Depth => write!(f, "nested more than {COMPOSE_DEPTH_MAX} deep"),
            Self::Nodes => write!(
                f,
                "more than {COMPOSE_VALUES_MAX} values, with those that aliases, merges and `extends` repeat"
            ),
            Self::Text => write!(
                f,
                "more than {COMPOSE_TEXT_BYTES_MAX} bytes, with what aliases and variables repeat"
            ),
            Self::Files => write!(f, "more than {COMPOSE_FILES_MAX} files in one project"),
            Self::Chain => write!(
                f,
                "more than {COMPOSE_CHAIN_MAX} in a chain of `extends`, `include` or templates"
            ),
        }
    }
}

/// What is left.
#[derive(Debug)]
pub(super) struct Budget {
    nodes: usize,
    text: usize,
    files: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            nodes: COMPOSE_VALUES_MAX,
            text: COMPOSE_TEXT_BYTES_MAX,
            files: COMPOSE_FILES_MAX,
        }
    }
}

impl Budget {
    /// Pays for some values.
    pub(super) fn nodes(&mut self, count: usize) -> Result<(), Limit> {
        self.nodes = self.nodes.checked_sub(count).ok_or(Limit::Nodes)?;
        Ok(())
    }

    /// Pays for text.
    pub(super) fn text(&mut self, bytes: usize) -> Result<(), Limit> {
        self.text = self.text.checked_sub(bytes).ok_or(Limit::Text)?;
        Ok(())
    }

    /// Pays for a file of so many bytes.
    pub(super) fn file(&mut self, bytes: usize) -> Result<(), Limit> {
        if bytes > COMPOSE_FILE_BYTES_MAX {
            return Err(Limit::File);
        }
        self.files = self.files.checked_sub(1).ok_or(Limit::Files)?;
        Ok(())
    }

    /// Whether something may stand at this depth.
    pub(super) const fn depth(depth: usize) -> Result<(), Limit> {
        if depth > COMPOSE_DEPTH_MAX {
            return Err(Limit::Depth);
        }
        Ok(())
    }

    /// Whether a chain may be so long.
    pub(super) const fn chain(length: usize) -> Result<(), Limit> {
        if length > COMPOSE_CHAIN_MAX {
            return Err(Limit::Chain);
        }
        Ok(())
    }
}

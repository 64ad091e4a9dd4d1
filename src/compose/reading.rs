//! The files of a project: read within bounds, and their variables filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::limits::input::COMPOSE_FILE_BYTES_MAX;
use crate::list;
use crate::text;

use super::budget::Budget;
use super::error::{Error, Reason};
use super::named::folder;
use super::project::Table;
use super::template::{Filling, Variables};
use super::yaml::{Node, Place, Value, Wrong};
use super::{Files, dotenv};

/// The file with variables beside a compose file.
const DOTENV: &str = ".env";

/// A file that was read: how it is called, and where it is.
pub(super) struct Read {
    pub(super) name: Arc<str>,
    pub(super) folder: PathBuf,
}

/// What is read of a project, and what that cost and found.
pub(super) struct Project<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) read: Vec<Read>,
    pub(super) budget: Budget,
    pub(super) unset: BTreeSet<String>,
    pub(super) errors: Vec<Error>,
    /// Files that were read for `extends`, by path and scope.
    pub(super) bases: BTreeMap<(PathBuf, usize), Rc<Table>>,
    pub(super) scopes: usize,
}

impl Project<'_> {
    pub(super) fn error(&self, (place, reason): Wrong) -> Error {
        error(&self.read, None, (place, reason))
    }

    /// `set` with what files say beside it: those that are named, or else `.env` where there is one.
    pub(super) fn variables(
        &mut self,
        set: &Variables,
        folder: &Path,
        named: &[PathBuf],
    ) -> Result<Variables, Wrong> {
        let mut found = Variables::new();
        let usual = [folder.join(DOTENV)];
        let paths = match named {
            [] if usual.iter().all(|path| self.files.is_file(path)) => &usual,
            named => named,
        };
        for path in paths {
            let (file, text) = self.open(path, Place::default())?;
            let filling = &mut Filling {
                variables: set,
                budget: &mut self.budget,
                unset: &mut self.unset,
            };
            let more = dotenv::parse(&text, &found, filling).map_err(|(line, reason)| {
                (
                    Place {
                        file,
                        line,
                        column: 1,
                    },
                    reason,
                )
            })?;
            found.extend(more);
        }
        let mut all = set.clone();
        for (name, value) in found {
            all.entry(name).or_insert(value);
        }
        Ok(all)
    }

    /// Fills in the variables of all texts; what is wrong is kept with the other errors.
    pub(super) fn fill(&mut self, node: &mut Node, variables: &Variables) {
        match &mut node.value {
            Value::Text(text) if text.contains('$') => match self.filled(text, variables) {
                Ok(filled) => *text = filled,
                Err(reason) => {
                    let error = self.error((node.place, reason));
                    self.errors.push(error);
                }
            },
            Value::List(list) => list.iter_mut().for_each(|node| self.fill(node, variables)),
            Value::Map(map) => map
                .iter_mut()
                .for_each(|(_, node)| self.fill(node, variables)),
            Value::Null | Value::Text(_) | Value::Other(_) => {}
        }
    }

    pub(super) fn filled(&mut self, text: &str, variables: &Variables) -> Result<String, Reason> {
        Filling {
            variables,
            budget: &mut self.budget,
            unset: &mut self.unset,
        }
        .fill(text)
    }

    pub(super) fn pay(&mut self, node: &Node) -> Result<(), Wrong> {
        let (nodes, text) = node.size();
        let limit = |limit| (node.place, Reason::Limit(limit));
        self.budget.nodes(nodes).map_err(limit)?;
        self.budget.text(text).map_err(limit)
    }

    /// Reads a file that is named at `from`.
    pub(super) fn open(&mut self, path: &Path, from: Place) -> Result<(usize, String), Wrong> {
        let bytes = self
            .files
            .read(path, COMPOSE_FILE_BYTES_MAX)
            .map_err(|error| {
                let path = Reason::shown(&path.to_string_lossy());
                (from, Reason::Names { path, error })
            })?;
        let file = self.known(path);
        let text = self.text(file, &bytes)?;
        Ok((file, text))
    }

    pub(super) fn text(&mut self, file: usize, bytes: &[u8]) -> Result<String, Wrong> {
        let place = Place {
            file,
            line: 1,
            column: 1,
        };
        self.budget
            .file(bytes.len())
            .map_err(|limit| (place, Reason::Limit(limit)))?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|_| (place, Reason::NotUtf8))?;
        Ok(text.to_owned())
    }

    pub(super) fn known(&mut self, path: &Path) -> usize {
        self.read.push(Read {
            name: text::cleaned(&path.to_string_lossy(), list::FILE_CHARS_MAX).into(),
            folder: folder(path),
        });
        self.read.len() - 1
    }

    pub(super) fn whole_path(&self, path: &Path) -> PathBuf {
        self.files.absolute(path).unwrap_or_else(|| path.to_owned())
    }
}

/// An error as others see it.
pub(super) fn error(read: &[Read], service: Option<&str>, (place, reason): Wrong) -> Error {
    let file = read.get(place.file).map(|read| Arc::clone(&read.name));
    Error {
        file: file.unwrap_or_else(|| Arc::from("-")),
        line: place.line.max(1),
        column: place.column.max(1),
        service: service.map(Reason::shown),
        reason: Box::new(reason),
    }
}

//! What `include` and `extends` name.

use std::path::{Path, PathBuf};

use super::error::Reason;
use super::yaml::{Node, Wrong};

/// What an item of `include` says.
pub(super) struct Include<'a> {
    pub(super) paths: Vec<&'a str>,
    pub(super) folder: Option<&'a str>,
    pub(super) env_files: Vec<&'a str>,
}

impl<'a> Include<'a> {
    pub(super) fn of(item: &'a Node) -> Result<Self, Wrong> {
        if let Some(path) = item.text() {
            return Ok(Self {
                paths: vec![path],
                folder: None,
                env_files: Vec::new(),
            });
        }
        if item.map().is_none() {
            return Err(kind(item, "include", "a list of paths or of mappings"));
        }
        let folder = string(item, "project_directory")?;
        Ok(Self {
            paths: strings(item.get("path"), "path")?,
            folder: folder.filter(|text| !text.is_empty()),
            env_files: strings(item.get("env_file"), "env_file")?,
        })
    }
}

/// One string, or a list of them.
fn strings<'a>(node: Option<&'a Node>, what: &str) -> Result<Vec<&'a str>, Wrong> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    if let Some(text) = node.text() {
        return Ok(vec![text]);
    }
    let wrong = |node: &Node| kind(node, what, "a string or a list of them");
    let list = node.list().ok_or_else(|| wrong(node))?;
    list.iter()
        .map(|node| node.text().ok_or_else(|| wrong(node)))
        .collect()
}

/// The string that is at `key`, where it is there.
fn string<'a>(node: &'a Node, key: &str) -> Result<Option<&'a str>, Wrong> {
    match node.get(key) {
        None => Ok(None),
        Some(node) => match node.text() {
            Some(text) => Ok(Some(text)),
            None => Err(kind(node, key, "a string")),
        },
    }
}

/// The service that is extended, and its file where that is another one.
pub(super) fn extension(node: &Node) -> Result<(&str, Option<&str>), Wrong> {
    if let Some(name) = node.text() {
        return Ok((name, None));
    }
    match string(node, "service")? {
        Some(service) => Ok((service, string(node, "file")?)),
        None => Err(kind(node, "extends", "a service, or a mapping with one")),
    }
}

/// The path of a file that is named in a file of `folder`.
pub(super) fn local(folder: &Path, named: &str) -> Result<PathBuf, Reason> {
    // What compose fetches itself: artifacts of registries, and repositories of git.
    let is_remote =
        named.contains("://") || named.starts_with("git@") || named.starts_with("github.com/");
    if is_remote {
        return Err(Reason::Remote(Reason::shown(named)));
    }
    Ok(folder.join(named))
}

/// The folder of a file; standard input is read in the working directory.
pub(super) fn folder(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

/// What is said of a value of the wrong kind.
pub(super) fn kind(node: &Node, what: &str, wanted: &'static str) -> Wrong {
    let reason = Reason::Kind {
        what: Reason::shown(what),
        wanted,
        found: node.kind(),
    };
    (node.place, reason)
}

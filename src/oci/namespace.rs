//! Namespaces of repositories: a registry, or a part of one.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::{Error, Registry, Repository};

/// A registry as a whole, or what stands below a path of it: `host[:port][/PATH]`
/// (containers-auth.json(5), "FORMAT").
///
/// Exact on host and port, and on whole parts of the path: `host/ns` covers `host/ns` and `host/ns/app`,
/// not `host/ns2` (CVE-2026-5222 was a looser match).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace {
    registry: Registry,
    path: Option<Box<str>>,
}

impl Namespace {
    /// The project of `repository`: what stands below the first part of its path.
    pub fn project(repository: &Repository) -> Self {
        let path = repository.path();
        let first = path.split_once('/').map_or(path, |(first, _)| first);
        Self {
            registry: repository.registry().clone(),
            path: Some(first.into()),
        }
    }

    /// The registry it is part of.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The path below the registry; nothing for all of it.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Whether `repository` is in it.
    pub fn covers(&self, repository: &Repository) -> bool {
        if self.registry != *repository.registry() {
            return false;
        }
        let Some(path) = self.path() else { return true };
        let rest = repository.path().strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl From<Registry> for Namespace {
    fn from(registry: Registry) -> Self {
        Self {
            registry,
            path: None,
        }
    }
}

impl From<&Repository> for Namespace {
    fn from(repository: &Repository) -> Self {
        Self {
            registry: repository.registry().clone(),
            path: Some(repository.path().into()),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.registry.fmt(f)?;
        match self.path() {
            Some(path) => write!(f, "/{path}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Namespace {
    type Err = Error;

    /// Reads `REGISTRY[/PATH]`; nothing is filled in.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once('/') {
            None => Ok(text.parse::<Registry>()?.into()),
            Some((registry, path)) => Ok((&Repository::new(registry.parse()?, path)?).into()),
        }
    }
}

/// Things by namespace, of which the longest that covers a repository counts. Found in as many steps as the
/// repository's path has parts, however many there are.
#[derive(Debug, Clone)]
pub struct Namespaced<T>(HashMap<Registry, HashMap<Box<str>, (Namespace, T)>>);

impl<T> Default for Namespaced<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// The path of a registry as a whole.
const WHOLE: &str = "";

impl<T> Namespaced<T> {
    /// Puts `thing` under `namespace`, instead of what was there.
    pub fn insert(&mut self, namespace: Namespace, thing: T) {
        let path = namespace.path().unwrap_or(WHOLE).into();
        let of_registry = self.0.entry(namespace.registry.clone()).or_default();
        of_registry.insert(path, (namespace, thing));
    }

    /// What stands under the longest namespace that covers `repository`.
    pub fn get(&self, repository: &Repository) -> Option<&T> {
        let of_registry = self.0.get(repository.registry())?;
        let paths = std::iter::successors(Some(repository.path()), |&path| {
            Some(path.rsplit_once('/')?.0)
        });
        let found = paths.chain([WHOLE]).find_map(|path| of_registry.get(path));
        found.map(|(_, thing)| thing)
    }

    /// What stands under exactly this namespace.
    pub fn at(&self, namespace: &Namespace) -> Option<&T> {
        let of_registry = self.0.get(&namespace.registry)?;
        let found = of_registry.get(namespace.path().unwrap_or(WHOLE));
        found.map(|(_, thing)| thing)
    }

    /// All of it, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&Namespace, &T)> {
        let all = self.0.values().flat_map(HashMap::values);
        all.map(|(namespace, thing)| (namespace, thing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_covers_whole_parts_of_a_path() {
        let covers = |namespace: &str, repository: &str| {
            let repository: super::super::Reference = repository.parse().unwrap();
            let namespace: Namespace = namespace.parse().unwrap();
            namespace.covers(&repository.repository)
        };
        for (namespace, repository) in [
            ("h.example", "h.example/a/b"),
            ("h.example/a", "h.example/a"),
            ("h.example/a", "h.example/a/b"),
            ("H.example:5000/a/b", "h.example:5000/a/b"),
            ("docker.io", "busybox"),
            ("docker.io/library", "busybox"),
            ("index.docker.io", "docker.io/a/b"),
        ] {
            assert!(covers(namespace, repository), "{namespace} {repository}");
        }
        for (namespace, repository) in [
            ("h.example/a", "h.example/ab"),
            ("h.example/a/b", "h.example/a"),
            ("h.example", "h.example:443/a"),
            ("h.example:443", "h.example/a"),
            ("h.example", "a.h.example/a"),
            ("h.example", "h.example2/a"),
        ] {
            assert!(!covers(namespace, repository), "{namespace} {repository}");
        }
        for bad in [
            "",
            "h.example/",
            "h.example/A",
            "h.example./a",
            "/a",
            "https://h.example",
        ] {
            assert!(bad.parse::<Namespace>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_longest_counts() {
        let mut things = Namespaced::default();
        for name in [
            "h.example/a",
            "h.example",
            "h.example/a/b/c",
            "h.example/a/b",
        ] {
            things.insert(name.parse().unwrap(), name);
        }
        let of = |path: &str| {
            let repository = Repository::new("h.example".parse().unwrap(), path).unwrap();
            *things.get(&repository).unwrap()
        };
        assert_eq!(of("a/b/x"), "h.example/a/b");
        assert_eq!(of("a/b/c/d"), "h.example/a/b/c");
        assert_eq!(of("a"), "h.example/a");
        assert_eq!(of("ab"), "h.example");
    }
}

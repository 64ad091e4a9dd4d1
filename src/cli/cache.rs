//! Where the cache is, and whether there is one.

use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::folder;

use super::Environment;
use super::args::Caching;

/// What the cache is below the folder for caches.
const FOLDER: &str = "consign/content";
/// The same below a folder that was named, which may hold anything: files of the cache are replaced and removed.
const NAMED: &str = "consign-content";

/// The cache that is meant. One that cannot be used is no reason to fail: that is said, and everything is
/// read from registries.
pub(super) fn open(args: &Caching, environment: &Environment) -> Option<Cache> {
    let at = folder(args, environment)?;
    // What was named is looked at as what is made in it.
    let named = args.cache_dir.as_deref().map_or(Ok(()), folder::prepare);
    match named.and_then(|()| Cache::open(&at)) {
        Ok(cache) => Some(cache),
        Err(error) => {
            let folder = at.display();
            tracing::warn!("the cache `{folder}` is not used: {error}");
            None
        }
    }
}

/// Writes down what a run noted, at its end.
pub(super) fn settle(cache: Option<&Cache>) {
    if let Some(cache) = cache {
        cache.settle();
    }
}

/// Where it is; nowhere without a home.
fn folder(args: &Caching, environment: &Environment) -> Option<PathBuf> {
    if args.no_cache {
        return None;
    }
    if let Some(folder) = &args.cache_dir {
        return Some(folder.join(NAMED));
    }
    // One that is not absolute is passed over (XDG base directory specification 0.8).
    let caches = environment.cache_home.as_deref().map(Path::new);
    let caches = caches.filter(|caches| caches.is_absolute());
    let home = environment.home.as_deref().map(Path::new);
    let folder = match caches {
        Some(caches) => caches.to_owned(),
        None => home?.join(".cache"),
    };
    Some(folder.join(FOLDER))
}

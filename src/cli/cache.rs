//! Where the cache is, and whether there is one.

use std::path::{Path, PathBuf};

use crate::cache::Cache;

use super::Environment;
use super::args::Caching;

/// What the cache is below the folder for caches.
const FOLDER: &str = "consign/content";

/// The cache that is meant. One that cannot be used is no reason to fail: that is said, and everything is
/// read from registries.
pub(super) fn open(args: &Caching, environment: &Environment) -> Option<Cache> {
    let folder = folder(args, environment)?;
    match Cache::open(&folder) {
        Ok(cache) => Some(cache),
        Err(error) => {
            let folder = folder.display();
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
        return Some(folder.clone());
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

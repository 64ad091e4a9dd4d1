//! What a run knows of what it has brought, kept short: a run of 10,000 images asks for some hundred thousand
//! blobs and manifests, and remembers each to its end.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;

use crate::flight::Flight;
use crate::oci::{Digest, Registry, Repository};

use super::closure::Found;
use super::{Pass, Thing};

/// Stands for a key of a flight: 16 bytes in place of 100 to 200.
///
/// Two hashes with keys that are chosen anew for each run and that nobody outside knows, so that nobody can
/// make two keys that share a name. That two of a million do so by chance has a probability of one in 10^26.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name([u64; 2]);

/// What was brought, and where to. Shared by all jobs of a run.
#[derive(Debug, Default)]
pub(super) struct Known {
    keys: [RandomState; 2],
    /// Which repository of a destination registry a blob was brought to first.
    pub(super) homes: Flight<Name, Repository>,
    /// What a destination repository is known to have: blobs, and manifests with all below them. The
    /// same bytes may be both, in two places of a registry.
    pub(super) present: Flight<Name, ()>,
    /// What was found attached, and was dealt with.
    pub(super) closures: Flight<Name, Arc<Found>>,
}

impl Known {
    /// A blob at a registry, whichever repository has it.
    pub(super) fn home(&self, registry: &Registry, digest: Digest) -> Name {
        self.name((registry, digest))
    }

    /// A thing in a repository.
    pub(super) fn thing(&self, repository: &Repository, thing: Thing, digest: Digest) -> Name {
        self.name((repository, thing, digest))
    }

    /// A manifest whose closure is looked at: where from, where to, which, and what for.
    pub(super) fn closure(
        &self,
        (from, to): (&Repository, &Repository),
        digest: Digest,
        pass: Pass,
    ) -> Name {
        self.name((from, to, digest, pass))
    }

    fn name(&self, key: impl Hash) -> Name {
        Name(self.keys.each_ref().map(|keys| keys.hash_one(&key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Reference;

    #[test]
    fn what_differs_in_anything_has_another_name() {
        let known = Known::default();
        let [one, two] = ["a.example/app:1", "b.example/app:1"]
            .map(|text| text.parse::<Reference>().unwrap().repository);
        let digests = [b"1", b"2"].map(|bytes| Digest::sha256(bytes));
        let mut names = Vec::new();
        for repository in [&one, &two] {
            for digest in digests {
                names.push(known.home(repository.registry(), digest));
                names.push(known.thing(repository, Thing::Blob, digest));
                names.push(known.thing(repository, Thing::Manifest, digest));
                for pass in [Pass::Bring, Pass::BringTags, Pass::Prune] {
                    names.push(known.closure((repository, &one), digest, pass));
                    names.push(known.closure((repository, &two), digest, pass));
                }
            }
        }
        let count = names.len();
        names.sort_by_key(|name| name.0);
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(
            known.home(one.registry(), digests[0]),
            known.home(one.registry(), digests[0])
        );
        // Another run has other names.
        let other = Known::default();
        assert_ne!(
            known.home(one.registry(), digests[0]),
            other.home(one.registry(), digests[0])
        );
    }
}

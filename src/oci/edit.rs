//! New indexes made from old ones, when only some platforms are wanted.
//!
//! The fields and entries that stay keep their bytes, their order and the fields nobody here knows;
//! only white space between them goes. The result depends on nothing but the inputs, so that a
//! second run makes the same bytes and finds them already there.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::value::RawValue;

use super::raw::RawIndex;
use super::{Descriptor, Digest, Error, Manifest, MeantPlatform, Platform, Reason};

/// The index with only the entries at `positions`, in their old order.
///
/// Returns the index itself where nothing is left out.
///
/// # Errors
///
/// When `index` is no index, or `positions` are not its own.
pub fn selected(index: &Manifest, positions: &[usize]) -> Result<Manifest, Error> {
    let view = index.as_index().ok_or_else(|| not_an_index(index))?;
    if positions.len() == view.manifests.len() {
        return Ok(index.clone());
    }
    let raw = RawIndex::read(index)?;
    let kept = positions
        .iter()
        .map(|position| raw.entries.get(*position).copied())
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| not_an_index(index))?;
    raw.with_entries(&kept)
}

/// The entries of `index` at `positions`, joined with what `old` has.
///
/// The old entries keep their places, one of the same platform is replaced where it stands, and new
/// ones follow in their order. Attestation manifests whose subject is gone go too. The fields around
/// the entries are those of `index`.
///
/// # Errors
///
/// When one of the two is no index, or `positions` are not those of `index`.
pub fn merged(old: &Manifest, index: &Manifest, positions: &[usize]) -> Result<Manifest, Error> {
    let (old_view, view) = match (old.as_index(), index.as_index()) {
        (Some(old_view), Some(view)) => (old_view, view),
        (None, _) => return Err(not_an_index(old)),
        (_, None) => return Err(not_an_index(index)),
    };
    let (old_raw, raw) = (RawIndex::read(old)?, RawIndex::read(index)?);
    let fresh: Vec<Entry<'_>> = positions
        .iter()
        .map(|position| Some((view.manifests.get(*position)?, *raw.entries.get(*position)?)))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| not_an_index(index))?;
    let mut fresh = Fresh::new(fresh);
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for (descriptor, bytes) in old_view.manifests.iter().zip(&old_raw.entries) {
        entries.push(fresh.take(descriptor).unwrap_or((descriptor, bytes)));
    }
    entries.extend(fresh.entries.into_iter().flatten());
    let digests: HashSet<Digest> = entries.iter().map(|(entry, _)| entry.digest).collect();
    entries.retain(|(entry, _)| {
        entry
            .attests()
            .is_none_or(|subject| digests.contains(&subject))
    });
    let kept: Vec<&RawValue> = entries.into_iter().map(|(_, bytes)| bytes).collect();
    raw.with_entries(&kept)
}

/// An entry with its bytes.
type Entry<'a> = (&'a Descriptor, &'a RawValue);

/// Entries that come into an index, found by whose places they take: both indexes may have tens of
/// thousands.
struct Fresh<'a> {
    /// Those that have no place yet.
    entries: Vec<Option<Entry<'a>>>,
    by_digest: HashMap<Digest, VecDeque<usize>>,
    by_platform: HashMap<MeantPlatform, VecDeque<usize>>,
}

impl<'a> Fresh<'a> {
    fn new(entries: Vec<Entry<'a>>) -> Self {
        let mut by_digest: HashMap<Digest, VecDeque<usize>> = HashMap::new();
        let mut by_platform: HashMap<MeantPlatform, VecDeque<usize>> = HashMap::new();
        for (at, (entry, _)) in entries.iter().enumerate() {
            by_digest.entry(entry.digest).or_default().push_back(at);
            if let Some(platform) = known(entry) {
                by_platform.entry(platform).or_default().push_back(at);
            }
        }
        Self {
            entries: entries.into_iter().map(Some).collect(),
            by_digest,
            by_platform,
        }
    }

    /// The first that takes the place of `old`: of the same digest, or of the same platform.
    fn take(&mut self, old: &Descriptor) -> Option<Entry<'a>> {
        let platform = known(old).and_then(|platform| self.by_platform.get_mut(&platform));
        let queues = [self.by_digest.get_mut(&old.digest), platform];
        let entries = &self.entries;
        let is_left = |at: &usize| entries.get(*at).is_some_and(Option::is_some);
        let firsts = queues.into_iter().flatten().filter_map(|queue| {
            while queue.front().is_some_and(|at| !is_left(at)) {
                queue.pop_front();
            }
            queue.front().copied()
        });
        let first = firsts.min()?;
        self.entries.get_mut(first)?.take()
    }
}

/// The platform of an entry that names one.
fn known(entry: &Descriptor) -> Option<MeantPlatform> {
    let platform = entry.platform.as_ref();
    platform
        .filter(|platform| !platform.is_unknown())
        .map(Platform::meant)
}

pub(super) fn not_an_index(manifest: &Manifest) -> Error {
    Error::new(
        "image index",
        &manifest.digest().to_string(),
        Reason::Grammar("it has no such entries"),
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;

    use super::super::{MediaType, PlatformSelection};
    use super::*;

    fn entry(of: &str, extra: &str) -> String {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{}{extra}}}"#,
            Digest::sha256(of.as_bytes()),
            of.len()
        )
    }

    fn on(of: &str, arch: &str) -> String {
        entry(
            of,
            &format!(r#","platform":{{"architecture":"{arch}","os":"linux"}},"odd":1.0"#),
        )
    }

    fn attestation(of: &str, subject: &str) -> String {
        let subject = Digest::sha256(subject.as_bytes());
        entry(
            of,
            &format!(
                r#","annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{subject}"}},"platform":{{"architecture":"unknown","os":"unknown"}}"#
            ),
        )
    }

    fn index(entries: &[String]) -> Manifest {
        let text = format!(
            "{{ \"schemaVersion\": 2,\n \"manifests\": [{}], \"annotations\": {{\"b\":\"1\", \"a\":\"2\"}}, \"odd\": 1.50}}",
            entries.join(", ")
        );
        Manifest::parse(Bytes::from(text), &MediaType::OciIndex).unwrap()
    }

    fn digests(manifest: &Manifest) -> Vec<Digest> {
        let view = manifest.as_index().unwrap();
        view.manifests.iter().map(|entry| entry.digest).collect()
    }

    fn names(list: &[&str]) -> Vec<Digest> {
        list.iter()
            .map(|of| Digest::sha256(of.as_bytes()))
            .collect()
    }

    #[test]
    fn a_selection_keeps_order_fields_and_entries_as_they_were() {
        let whole = index(&[
            on("a", "amd64"),
            on("b", "arm64"),
            attestation("at-a", "a"),
            attestation("at-b", "b"),
        ]);
        let wanted = PlatformSelection::of_parts(&[], &["arm64".to_owned()], &[]);
        let positions = wanted.choose(&whole.as_index().unwrap().manifests).unwrap();
        let part = selected(&whole, &positions).unwrap();
        assert_eq!(digests(&part), names(&["b", "at-b"]));
        let text = String::from_utf8(part.raw().to_vec()).unwrap();
        assert!(
            text.starts_with(r#"{"schemaVersion":2,"manifests":["#),
            "{text}"
        );
        assert!(
            text.ends_with(r#""annotations":{"b":"1", "a":"2"},"odd":1.50}"#),
            "{text}"
        );
        assert!(text.contains(&on("b", "arm64")));
        assert_eq!(selected(&whole, &positions).unwrap().raw(), part.raw());
    }

    #[test]
    fn a_whole_selection_keeps_the_digest() {
        let whole = index(&[on("a", "amd64"), on("b", "arm64")]);
        assert_eq!(selected(&whole, &[0, 1]).unwrap().digest(), whole.digest());
    }

    #[test]
    fn a_wish_for_an_absent_platform_is_no_selection() {
        let whole = index(&[on("a", "amd64")]);
        let wanted = PlatformSelection::of_parts(&[], &["s390x".to_owned()], &[]);
        assert_eq!(wanted.choose(&whole.as_index().unwrap().manifests), None);
    }

    #[test]
    fn a_merge_replaces_in_place_appends_and_is_stable() {
        let old = index(&[
            on("old-amd", "amd64"),
            on("old-arm", "arm64"),
            attestation("at-old-amd", "old-amd"),
        ]);
        let new = index(&[
            on("new-amd", "amd64"),
            on("new-s390", "s390x"),
            attestation("at-new-amd", "new-amd"),
        ]);
        let once = merged(&old, &new, &[0, 1, 2]).unwrap();
        assert_eq!(
            digests(&once),
            names(&["new-amd", "old-arm", "new-s390", "at-new-amd"])
        );
        let twice = merged(&once, &new, &[0, 1, 2]).unwrap();
        assert_eq!(twice.raw(), once.raw());
    }

    /// Comparing each entry with each other took minutes for two such indexes.
    #[test]
    fn large_indexes_are_joined_as_fast_as_they_are_long() {
        let index = |of: &str, numbers: &[usize]| {
            let entry = |n: &usize| on(&format!("{of}{n}"), &format!("a{n}"));
            let entries: Vec<String> = numbers.iter().map(entry).collect();
            let text = format!(r#"{{"manifests":[{}]}}"#, entries.join(","));
            Manifest::parse(Bytes::from(text), &MediaType::OciIndex).unwrap()
        };
        let all: Vec<usize> = (0..10_000).collect();
        let back: Vec<usize> = all.iter().rev().copied().collect();
        let (old, new) = (index("old", &all), index("new", &back));
        let began = Instant::now();
        let joined = merged(&old, &new, &all).unwrap();
        assert!(began.elapsed() < Duration::from_secs(10));
        // Each new one where the old one of its platform was.
        assert_eq!(joined.raw(), index("new", &all).raw());
    }
}

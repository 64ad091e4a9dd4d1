//! The root index, `index.json`, in memory: entries by name, each with the text it had on disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::oci::{Descriptor, Digest, MediaType, Tag};

use super::entry::{Entry, RepositoryPath, read_name};

/// The root index.
///
/// Invariant: `names` lists exactly the slots that have an entry. Fields and entries that nobody
/// here understands keep their bytes.
#[derive(Debug)]
pub(super) struct Root {
    /// The fields of the document but `manifests`, as they were.
    fields: Vec<(String, Box<RawValue>)>,
    /// The entries in the order of the document; keys are never used twice.
    slots: BTreeMap<u64, Slot>,
    next: u64,
    names: BTreeMap<RepositoryPath, Names>,
    /// How many bytes the texts of all slots have, with a comma each.
    bytes: usize,
    /// Counts changes.
    version: u64,
}

#[derive(Debug)]
struct Slot {
    text: Arc<str>,
    entry: Option<Entry>,
}

#[derive(Debug, Default)]
struct Names {
    /// Other programs may write one tag twice; the last one holds.
    tags: BTreeMap<Tag, Vec<u64>>,
    digests: HashMap<Digest, BTreeSet<u64>>,
    /// Those of them without a tag: one digest may have thousands of tags.
    untagged: HashMap<Digest, BTreeSet<u64>>,
}

impl Root {
    pub(super) fn empty() -> Self {
        let field = |name: &str, value: serde_json::Value| {
            serde_json::value::to_raw_value(&value)
                .ok()
                .map(|raw| (name.to_owned(), raw))
        };
        let fields = [
            field("schemaVersion", 2.into()),
            field("mediaType", MediaType::OciIndex.as_str().into()),
        ];
        Self {
            fields: fields.into_iter().flatten().collect(),
            slots: BTreeMap::new(),
            next: 0,
            names: BTreeMap::new(),
            bytes: 0,
            version: 0,
        }
    }

    /// Reads `index.json`; manifests without a repository are put under `default`.
    pub(super) fn parse(json: &[u8], default: &RepositoryPath) -> Result<Self, serde_json::Error> {
        let document: Document = serde_json::from_slice(json)?;
        let mut root = Self {
            fields: document.fields,
            ..Self::empty()
        };
        for raw in document.manifests {
            // An entry with a digest or a size that is not understood is kept and not served.
            let entry = serde_json::from_str::<Descriptor>(raw.get())
                .ok()
                .map(|descriptor| {
                    let name = descriptor.annotations.get(super::REF_NAME);
                    let (repository, tag) = read_name(name, default);
                    Entry {
                        repository,
                        tag,
                        media_type: descriptor.media_type,
                        digest: descriptor.digest,
                        size: descriptor.size,
                    }
                });
            root.push(Arc::from(raw.get()), entry);
        }
        Ok(root)
    }

    /// The document.
    pub(super) fn render(&self) -> Vec<u8> {
        let mut text = String::with_capacity(self.rendered_bytes());
        text.push('{');
        for (name, value) in &self.fields {
            text.push_str(&serde_json::Value::String(name.clone()).to_string());
            text.push(':');
            text.push_str(value.get());
            text.push(',');
        }
        text.push_str("\"manifests\":[");
        for (number, slot) in self.slots.values().enumerate() {
            if number > 0 {
                text.push(',');
            }
            // One entry a line, for people and for diff.
            text.push('\n');
            text.push_str(&slot.text);
        }
        text.push_str("]}\n");
        text.into_bytes()
    }

    /// At most how many bytes [`Root::render`] gives.
    pub(super) fn rendered_bytes(&self) -> usize {
        let fields: usize = self
            .fields
            .iter()
            .map(|(name, value)| 2 * name.len() + value.get().len() + 8)
            .sum();
        fields + self.bytes + 32
    }

    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.values().filter_map(|slot| slot.entry.as_ref())
    }

    pub(super) fn repositories(&self) -> impl Iterator<Item = &RepositoryPath> {
        self.names.keys()
    }

    /// The tags of a repository in their order; `None` where nothing is known of it.
    pub(super) fn tags(
        &self,
        repository: &RepositoryPath,
    ) -> Option<impl Iterator<Item = &Tag> + use<'_>> {
        self.names.get(repository).map(|names| names.tags.keys())
    }

    pub(super) fn find(&self, repository: &RepositoryPath, tag: &Tag) -> Option<&Entry> {
        let key = self.names.get(repository)?.tags.get(tag)?.last()?;
        self.slots.get(key)?.entry.as_ref()
    }

    /// Puts `entry` under its name. What the tag named before stays there by its digest, as with
    /// any registry.
    pub(super) fn put(&mut self, entry: Entry) {
        let text: Arc<str> = Arc::from(entry.descriptor().to_string());
        let Some(tag) = &entry.tag else {
            if !self.holds(&entry.repository, &entry.digest) {
                self.change(text, entry);
            }
            return;
        };
        let before = self.find(&entry.repository, tag);
        if before.is_some_and(|before| {
            (before.digest, before.size, &before.media_type)
                == (entry.digest, entry.size, &entry.media_type)
        }) {
            return;
        }
        let replaced = self.take_tag(&entry.repository, tag);
        let (repository, digest) = (entry.repository.clone(), entry.digest);
        let untagged = Entry {
            tag: None,
            ..entry.clone()
        };
        self.change(text, entry);
        self.keep_by_digest(replaced);
        // Our own entry without a tag says nothing more; one with other fields might.
        let plain = untagged.descriptor().to_string();
        let keys = self
            .names
            .get(&repository)
            .and_then(|names| names.untagged.get(&digest).cloned());
        for key in keys.unwrap_or_default() {
            if self.slots.get(&key).is_some_and(|slot| *slot.text == plain) {
                self.take(key);
            }
        }
    }

    /// Removes a tag; its manifest stays by digest.
    pub(super) fn remove_tag(&mut self, repository: &RepositoryPath, tag: &Tag) -> bool {
        let removed = self.take_tag(repository, tag);
        let found = !removed.is_empty();
        if found {
            self.version += 1;
        }
        self.keep_by_digest(removed);
        found
    }

    /// Removes a manifest with all its tags.
    pub(super) fn remove_digest(&mut self, repository: &RepositoryPath, digest: &Digest) -> bool {
        let keys = self.keys(repository, digest);
        for key in &keys {
            self.take(*key);
        }
        if !keys.is_empty() {
            self.version += 1;
        }
        !keys.is_empty()
    }

    fn holds(&self, repository: &RepositoryPath, digest: &Digest) -> bool {
        self.names
            .get(repository)
            .is_some_and(|names| names.digests.contains_key(digest))
    }

    fn keys(&self, repository: &RepositoryPath, digest: &Digest) -> BTreeSet<u64> {
        self.names
            .get(repository)
            .and_then(|names| names.digests.get(digest).cloned())
            .unwrap_or_default()
    }

    fn keep_by_digest(&mut self, removed: Vec<Entry>) {
        for mut entry in removed {
            entry.tag = None;
            if !self.holds(&entry.repository, &entry.digest) {
                let text = Arc::from(entry.descriptor().to_string());
                self.change(text, entry);
            }
        }
    }

    fn take_tag(&mut self, repository: &RepositoryPath, tag: &Tag) -> Vec<Entry> {
        let keys = self
            .names
            .get(repository)
            .and_then(|names| names.tags.get(tag).cloned())
            .unwrap_or_default();
        keys.into_iter().filter_map(|key| self.take(key)).collect()
    }

    fn change(&mut self, text: Arc<str>, entry: Entry) {
        self.version += 1;
        self.push(text, Some(entry));
    }

    fn push(&mut self, text: Arc<str>, entry: Option<Entry>) {
        let key = self.next;
        self.next += 1;
        self.bytes += text.len() + 2;
        if let Some(entry) = &entry {
            let names = self.names.entry(entry.repository.clone()).or_default();
            if let Some(tag) = &entry.tag {
                names.tags.entry(tag.clone()).or_default().push(key);
            }
            names.digests.entry(entry.digest).or_default().insert(key);
            if entry.tag.is_none() {
                names.untagged.entry(entry.digest).or_default().insert(key);
            }
        }
        self.slots.insert(key, Slot { text, entry });
    }

    fn take(&mut self, key: u64) -> Option<Entry> {
        let slot = self.slots.remove(&key)?;
        self.bytes -= slot.text.len() + 2;
        let entry = slot.entry?;
        if let Some(names) = self.names.get_mut(&entry.repository) {
            if let Some(tag) = &entry.tag
                && let Some(keys) = names.tags.get_mut(tag)
            {
                keys.retain(|other| *other != key);
                if keys.is_empty() {
                    names.tags.remove(tag);
                }
            }
            for digests in [&mut names.digests, &mut names.untagged] {
                if let Some(keys) = digests.get_mut(&entry.digest) {
                    keys.remove(&key);
                    if keys.is_empty() {
                        digests.remove(&entry.digest);
                    }
                }
            }
            if names.digests.is_empty() {
                self.names.remove(&entry.repository);
            }
        }
        Some(entry)
    }
}

/// The document as it stands on disk.
struct Document {
    fields: Vec<(String, Box<RawValue>)>,
    manifests: Vec<Box<RawValue>>,
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Document;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an image index")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut document = Document {
                    fields: Vec::new(),
                    manifests: Vec::new(),
                };
                while let Some(key) = map.next_key::<String>()? {
                    if key == "manifests" {
                        // Go programs write `null` for an empty list.
                        let list: Option<Vec<Box<RawValue>>> = map.next_value()?;
                        document.manifests.extend(list.unwrap_or_default());
                    } else {
                        document.fields.push((key, map.next_value()?));
                    }
                }
                Ok(document)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(repository: &str, tag: Option<&str>, of: &str) -> Entry {
        Entry {
            repository: repository.parse().unwrap(),
            tag: tag.map(|tag| tag.parse().unwrap()),
            media_type: MediaType::OciManifest,
            digest: Digest::sha256(of.as_bytes()),
            size: 2,
        }
    }

    fn names(root: &Root) -> Vec<String> {
        let again = Root::parse(&root.render(), &"default".parse().unwrap()).unwrap();
        let names: Vec<String> = again.entries().map(Entry::name).collect();
        let before: Vec<String> = root.entries().map(Entry::name).collect();
        assert_eq!(names, before);
        assert!(root.render().len() <= root.rendered_bytes());
        names
    }

    #[test]
    fn what_a_tag_named_before_stays_by_digest() {
        let mut root = Root::empty();
        root.put(entry("a", Some("1"), "old"));
        root.put(entry("a", Some("1"), "new"));
        let old = format!("a@{}", Digest::sha256(b"old"));
        assert_eq!(names(&root), ["a:1".to_owned(), old.clone()]);
        // Tagged again, it needs no entry of its own.
        root.put(entry("a", Some("0"), "old"));
        assert_eq!(names(&root), ["a:1", "a:0"]);
        assert!(root.remove_tag(&"a".parse().unwrap(), &"0".parse().unwrap()));
        assert_eq!(names(&root), ["a:1".to_owned(), old]);
    }

    #[test]
    fn a_change_that_changes_nothing_is_no_change() {
        let mut root = Root::empty();
        root.put(entry("a", Some("1"), "x"));
        let version = root.version();
        root.put(entry("a", Some("1"), "x"));
        root.put(entry("a", None, "x"));
        assert!(!root.remove_tag(&"a".parse().unwrap(), &"2".parse().unwrap()));
        assert_eq!(root.version(), version);
        assert_eq!(names(&root), ["a:1"]);
    }

    #[test]
    fn a_deleted_manifest_goes_with_all_its_tags() {
        let mut root = Root::empty();
        for tag in ["1", "2"] {
            root.put(entry("a", Some(tag), "x"));
        }
        root.put(entry("b", Some("1"), "x"));
        assert!(root.remove_digest(&"a".parse().unwrap(), &Digest::sha256(b"x")));
        assert_eq!(names(&root), ["b:1"]);
        assert!(root.tags(&"a".parse().unwrap()).is_none());
    }

    #[test]
    fn what_is_not_understood_survives() {
        let digest = Digest::sha256(b"x");
        let known = format!(
            r#"{{"mediaType":"a/b","digest":"{digest}","size":1,"odd":1.50,"annotations":{{"org.opencontainers.image.ref.name":"v1","z":"1"}}}}"#
        );
        let unknown = r#"{"mediaType":"a/b","digest":"sha384:00","size":1}"#;
        let json = format!(
            r#"{{"schemaVersion":2,"odd":{{"b":1.0}},"manifests":[{known},{unknown}],"annotations":{{"k":"v"}}}}"#
        );
        let mut root = Root::parse(json.as_bytes(), &"here".parse().unwrap()).unwrap();
        root.put(entry("a", Some("1"), "y"));
        let text = String::from_utf8(root.render()).unwrap();
        for kept in [&known, unknown, r#""odd":{"b":1.0}"#, r#"{"k":"v"}"#] {
            assert!(text.contains(kept), "{text}");
        }
        let found = root.find(&"here".parse().unwrap(), &"v1".parse().unwrap());
        assert_eq!(found.unwrap().digest, digest);
    }

    #[test]
    fn the_last_of_two_entries_with_one_tag_holds_and_both_go() {
        let one = entry("a", Some("1"), "one").descriptor();
        let two = entry("a", Some("1"), "two").descriptor();
        let json = format!(r#"{{"manifests":[{one},{two}]}}"#);
        let mut root = Root::parse(json.as_bytes(), &"d".parse().unwrap()).unwrap();
        let (a, tag) = ("a".parse().unwrap(), "1".parse().unwrap());
        assert_eq!(root.find(&a, &tag).unwrap().digest, Digest::sha256(b"two"));
        assert!(root.remove_tag(&a, &tag));
        assert!(root.find(&a, &tag).is_none());
        assert_eq!(root.entries().filter(|e| e.tag.is_none()).count(), 2);
    }
}

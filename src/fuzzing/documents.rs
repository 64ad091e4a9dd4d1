//! Manifests and indexes.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broken promise is a finding"
)]

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::Value;

use super::check_printable;
use crate::limits::image::BLOB_BYTES_MAX;
use crate::oci;
use crate::oci::{Descriptor, Digest, Manifest, MediaType, PlatformSelection, View};

/// The shortest descriptor: `{"mediaType":"","digest":"sha256:<64>","size":0}`.
const DESCRIPTOR_BYTES_MIN: usize = 110;

/// A manifest under each media type: it keeps its bytes, names what the document names, and is never an
/// image to one reader and an index to another (CVE-2021-41190).
///
/// # Panics
///
/// When one of these does not hold.
pub fn manifest(bytes: &[u8]) {
    let types = [
        MediaType::OciManifest,
        MediaType::DockerManifest,
        MediaType::OciIndex,
        MediaType::DockerList,
        MediaType::DockerSchema1,
        MediaType::parse("application/json"),
        MediaType::parse("application/vnd.example.artifact"),
    ];
    let read: Vec<Manifest> = types.iter().filter_map(|kind| parse(bytes, kind)).collect();
    let indexes = read.iter().filter(|one| one.as_index().is_some()).count();
    assert!(
        indexes == 0 || indexes == read.len(),
        "both an index and an image"
    );
    if is_text(bytes) {
        read.iter().for_each(check_layers);
    }
}

/// What is no UTF-8 in fields that nobody reads may pass through, and is refused where it would be
/// written again.
fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
}

/// An index: what is made of it has the entries that were chosen, each with its bytes.
///
/// # Panics
///
/// When it has others.
pub fn index(bytes: &[u8]) {
    for kind in [MediaType::OciIndex, MediaType::DockerList] {
        if let Some(index) = parse(bytes, &kind).filter(|_| is_text(bytes)) {
            check_edits(&index);
        }
    }
}

fn parse(bytes: &[u8], kind: &MediaType) -> Option<Manifest> {
    let raw = Bytes::copy_from_slice(bytes);
    let read = match Manifest::parse(raw.clone(), kind) {
        Ok(read) => read,
        Err(error) => {
            check_printable(&error);
            return None;
        }
    };
    assert_eq!(read.raw(), bytes);
    assert_eq!(read.digest(), Digest::sha256(bytes));
    let again = Manifest::parse(raw, kind).expect("it was read before");
    assert_eq!(format!("{:?}", read.view()), format!("{:?}", again.view()));
    // Values nest less deeply than what is passed over may.
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    match read.view() {
        View::Index(index) => check(&index.manifests, &document, &["manifests"], bytes),
        View::Image(image) => {
            check(&image.layers, &document, &["layers", "blobs"], bytes);
            let config: Vec<Descriptor> = image.config.iter().cloned().collect();
            let wanted = document["config"]["digest"].as_str();
            let is_same = |config: &Descriptor| Some(&*config.digest.to_string()) == wanted;
            assert!(document.is_null() || config.iter().all(is_same));
        }
    }
    Some(read)
}

/// What was read is what stands in the lists `names` of the document, and no more than it has room for.
fn check(read: &[Descriptor], document: &Value, names: &[&str], bytes: &[u8]) {
    assert!(read.len() <= bytes.len() / DESCRIPTOR_BYTES_MIN);
    assert!(read.iter().all(|one| one.size <= BLOB_BYTES_MAX));
    if document.is_null() {
        return;
    }
    let written = names.iter().filter_map(|name| document[name].as_array());
    let written = written.flatten().map(|one| one["digest"].as_str());
    let digests: Vec<String> = read.iter().map(|one| one.digest.to_string()).collect();
    let digests = digests.iter().map(|digest| Some(digest.as_str()));
    assert!(digests.eq(written), "other digests than are written");
}

fn check_layers(manifest: &Manifest) {
    let entry = oci::referrer_entry(manifest).expect("the entry of a manifest");
    let entry: Descriptor = serde_json::from_str(entry.get()).expect("it is a descriptor");
    assert_eq!(entry.digest, manifest.digest());
    let digest = Digest::sha256(b"config");
    let config = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":6}}"#);
    if let Ok(made) = oci::with_layers(Some(manifest), &config, &[], &|_| false) {
        let View::Image(image) = made.view() else {
            unreachable!("an image stays one");
        };
        assert!(image.layers.is_empty());
        assert_eq!(
            image.config.as_ref().map(|config| config.digest),
            Some(digest)
        );
    }
}

fn check_edits(index: &Manifest) {
    let view = index.as_index().expect("its type says that it is one");
    let entries = oci::entries_of(index).expect("the entries of an index");
    assert!(entries.iter().map(|(entry, _)| entry).eq(&view.manifests));
    let all: Vec<usize> = (0..entries.len()).collect();
    let whole = oci::selected(index, &all).expect("all that it has");
    assert_eq!(whole.raw(), index.raw());
    let some: Vec<usize> = all.iter().copied().step_by(2).collect();
    let made = oci::selected(index, &some).expect("some that it has");
    let kept = oci::entries_of(&made).expect("the entries of an index");
    assert_eq!(kept.len(), some.len());
    for ((_, bytes), position) in kept.iter().zip(&some) {
        assert_eq!(bytes.get(), entries[*position].1.get());
    }
    let merged = oci::merged(index, index, &some).expect("it is joined with itself");
    let merged = oci::entries_of(&merged).expect("the entries of an index");
    let own: HashSet<Digest> = view.manifests.iter().map(|entry| entry.digest).collect();
    assert!(merged.iter().all(|(entry, _)| own.contains(&entry.digest)));
    let whole = oci::with_referrers(Some(index), &[]).expect("nothing is added");
    assert_eq!(whole.raw(), index.raw());
    if let Some(first) = view.manifests.first() {
        let left = oci::without_referrers(index, &[first.digest]).expect("one goes");
        let left = left.iter().filter_map(Manifest::as_index);
        let mut left = left.flat_map(|left| &left.manifests);
        assert!(left.all(|entry| entry.digest != first.digest));
    }
    let wanted = PlatformSelection::of_parts(&["linux".to_owned()], &["amd64".to_owned()], &[]);
    if let Some(chosen) = wanted.choose(&view.manifests) {
        assert!(chosen.is_sorted_by(|a, b| a < b));
        assert!(chosen.iter().all(|position| *position < entries.len()));
    }
}

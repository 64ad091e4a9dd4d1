//! What stands under a tag with something added or taken away: lists of referrers, and manifests whose
//! layers are signatures.
//!
//! As in `edit`, what stays keeps its bytes, and the result depends on nothing but the inputs.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::edit::not_an_index;
use super::raw::{RawDocument, RawIndex, list_of, push_field};
use super::{Descriptor, Digest, Error, Manifest, MediaType, Reason, View};

/// The entries of `index`, each with its bytes, in their order.
///
/// # Errors
///
/// When it is no index.
pub fn entries_of(index: &Manifest) -> Result<Vec<(Descriptor, Box<RawValue>)>, Error> {
    let view = index.as_index().ok_or_else(|| not_an_index(index))?;
    let raw = RawIndex::read(index)?;
    let entries = view.manifests.iter().zip(raw.entries);
    Ok(entries
        .map(|(descriptor, bytes)| (descriptor.clone(), bytes.to_owned()))
        .collect())
}

/// The list of referrers `old` with `entries` at its end, or a new list of them; one whose digest is there
/// already is not added. The very same bytes where nothing is added.
///
/// # Errors
///
/// When `old` is no index, an entry is no descriptor, or the result is larger than a manifest may be.
pub fn with_referrers(old: Option<&Manifest>, entries: &[&RawValue]) -> Result<Manifest, Error> {
    let mut seen: HashSet<Digest> = match old {
        Some(old) => {
            let view = old.as_index().ok_or_else(|| not_an_index(old))?;
            view.manifests.iter().map(|entry| entry.digest).collect()
        }
        None => HashSet::new(),
    };
    let mut added = Vec::new();
    for entry in entries {
        if seen.insert(descriptor(entry.get())?.digest) {
            added.push(*entry);
        }
    }
    match old {
        Some(old) if added.is_empty() => Ok(old.clone()),
        Some(old) => {
            let raw = RawIndex::read(old)?;
            let mut all = raw.entries.clone();
            all.extend(added);
            raw.with_entries(&all)
        }
        None => {
            let list = list_of(added.iter().map(|entry| entry.get()));
            let text = fresh(&MediaType::OciIndex, &[("manifests", &list)]);
            Manifest::parse(text, &MediaType::OciIndex)
        }
    }
}

/// The list of referrers `old` without the entries of `digests`; `None` when nothing is left, and the very
/// same bytes where none of them is in it.
///
/// # Errors
///
/// When `old` is no index.
pub fn without_referrers(old: &Manifest, digests: &[Digest]) -> Result<Option<Manifest>, Error> {
    let view = old.as_index().ok_or_else(|| not_an_index(old))?;
    let gone: HashSet<&Digest> = digests.iter().collect();
    let raw = RawIndex::read(old)?;
    let kept: Vec<&RawValue> = view
        .manifests
        .iter()
        .zip(&raw.entries)
        .filter(|(entry, _)| !gone.contains(&entry.digest))
        .map(|(_, bytes)| *bytes)
        .collect();
    if kept.is_empty() {
        return Ok(None);
    }
    if kept.len() == raw.entries.len() {
        return Ok(Some(old.clone()));
    }
    raw.with_entries(&kept).map(Some)
}

/// The image manifest `old` with another config, with the layers that `keep` keeps, and with those of
/// `add` at their end; without an old one, an OCI image manifest of them. Config and layers are
/// descriptors as JSON.
///
/// # Errors
///
/// When `old` is no image manifest, something given is no descriptor, or the result is larger than a
/// manifest may be.
pub fn with_layers(
    old: Option<&Manifest>,
    config: &str,
    add: &[String],
    keep: &dyn Fn(&Descriptor) -> bool,
) -> Result<Manifest, Error> {
    for text in add.iter().map(String::as_str).chain([config]) {
        descriptor(text)?;
    }
    let Some(old) = old else {
        let list = list_of(add.iter().map(String::as_str));
        let fields = [("config", config), ("layers", &*list)];
        let text = fresh(&MediaType::OciManifest, &fields);
        return Manifest::parse(text, &MediaType::OciManifest);
    };
    let View::Image(image) = old.view() else {
        return Err(not_an_image(old));
    };
    let document = RawDocument::read(old)?;
    let layers = document.list("layers")?;
    // An old artifact manifest has `blobs` instead.
    if layers.len() != image.layers.len() {
        return Err(not_an_image(old));
    }
    let kept = image.layers.iter().zip(layers);
    let kept = kept.filter_map(|(layer, bytes)| keep(layer).then_some(bytes.get()));
    let list = list_of(kept.chain(add.iter().map(String::as_str)));
    document.with(&[("config", config), ("layers", &list)])
}

/// The entry of `manifest` in a list of referrers: with its artifact type, or that of its config where it
/// has none, and its annotations as they are written, if they are texts (OCI distribution specification 1.1, "Listing
/// Referrers").
///
/// # Errors
///
/// When the manifest cannot be read as ordered fields.
pub fn referrer_entry(manifest: &Manifest) -> Result<Box<RawValue>, Error> {
    let artifact_type = match manifest.view() {
        View::Image(image) => image.artifact_type.as_deref().or_else(|| {
            image
                .config
                .as_ref()
                .map(|config| config.media_type.as_str())
        }),
        View::Index(index) => index.artifact_type.as_deref(),
    };
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = String::new();
    push_field(
        &mut text,
        "mediaType",
        &quoted(manifest.media_type().as_str()),
    );
    push_field(&mut text, "digest", &quoted(&manifest.digest().to_string()));
    push_field(&mut text, "size", &manifest.size().to_string());
    let document = RawDocument::read(manifest)?;
    // Annotations that are no texts would make the whole list unreadable for others.
    let are_texts = |text: &&str| {
        let read: Option<BTreeMap<String, String>> = serde_json::from_str(text).ok();
        read.is_some_and(|annotations| !annotations.is_empty())
    };
    let annotations = document.field("annotations").map(RawValue::get);
    if let Some(annotations) = annotations.filter(are_texts) {
        push_field(&mut text, "annotations", annotations);
    }
    if let Some(artifact_type) = artifact_type {
        push_field(&mut text, "artifactType", &quoted(artifact_type));
    }
    text.push('}');
    descriptor(&text)?;
    RawValue::from_string(text).map_err(|error| not_a_descriptor("", &error))
}

/// A new document with these fields behind the usual two.
fn fresh(media_type: &MediaType, fields: &[(&str, &str)]) -> Bytes {
    let own = serde_json::Value::from(media_type.as_str()).to_string();
    let mut text = String::new();
    push_field(&mut text, "schemaVersion", "2");
    push_field(&mut text, "mediaType", &own);
    for (name, value) in fields {
        push_field(&mut text, name, value);
    }
    text.push('}');
    Bytes::from(text)
}

/// Reads what is to stand in a document: one descriptor, and nothing behind it.
fn descriptor(text: &str) -> Result<Descriptor, Error> {
    serde_json::from_str(text).map_err(|error| not_a_descriptor(text, &error))
}

fn not_a_descriptor(text: &str, error: &serde_json::Error) -> Error {
    Error::new("descriptor", text, Reason::Json(error.to_string()))
}

fn not_an_image(manifest: &Manifest) -> Error {
    Error::new(
        "image manifest",
        &manifest.digest().to_string(),
        Reason::Grammar("it has no such layers"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(of: &str, extra: &str) -> String {
        let digest = Digest::sha256(of.as_bytes());
        let size = of.len();
        format!(r#"{{ "mediaType":"a/b", "digest":"{digest}","size":{size}{extra}}}"#)
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn document(text: String, media_type: &MediaType) -> Manifest {
        Manifest::parse(Bytes::from(text), media_type).unwrap()
    }

    fn index(entries: &[String]) -> Manifest {
        let list = entries.join(" , ");
        let text =
            format!(r#"{{"odd": 1.50, "manifests": [{list}], "schemaVersion": 2, "more":[ ]}}"#);
        document(text, &MediaType::OciIndex)
    }

    fn text(manifest: &Manifest) -> &str {
        std::str::from_utf8(manifest.raw()).unwrap()
    }

    #[test]
    fn a_list_grows_at_its_end_and_keeps_what_it_had() {
        let old = index(&[entry("a", r#","odd":[ 1 ]"#), entry("b", "")]);
        let (a, c) = (raw(&entry("a", "")), raw(&entry("c", r#", "x":1e0"#)));
        let new = with_referrers(Some(&old), &[&a, &c, &c]).unwrap();
        let expected = format!(
            r#"{{"odd":1.50,"manifests":[{},{},{}],"schemaVersion":2,"more":[ ]}}"#,
            entry("a", r#","odd":[ 1 ]"#),
            entry("b", ""),
            c.get()
        );
        assert_eq!(text(&new), expected);
        let again = with_referrers(Some(&new), &[&c, &a]).unwrap();
        assert_eq!(again.raw(), new.raw());
        assert_eq!(
            entries_of(&new).unwrap()[2].1.get(),
            c.get(),
            "entries are read with their bytes"
        );
    }

    #[test]
    fn a_new_list_is_an_index_of_its_entries() {
        let a = raw(&entry("a", ""));
        let list = with_referrers(None, &[&a]).unwrap();
        assert_eq!(
            text(&list),
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
                a.get()
            )
        );
        assert!(
            with_referrers(None, &[])
                .unwrap()
                .as_index()
                .unwrap()
                .manifests
                .is_empty()
        );
        let image = with_layers(None, &entry("c", ""), &[], &|_| true).unwrap();
        assert!(with_referrers(Some(&image), &[&a]).is_err());
        assert!(with_referrers(None, &[&raw("{}")]).is_err());
    }

    #[test]
    fn a_list_shrinks_to_nothing() {
        let old = index(&[entry("a", ""), entry("b", ""), entry("c", "")]);
        let of = |text: &str| Digest::sha256(text.as_bytes());
        let none = without_referrers(&old, &[of("x")]).unwrap().unwrap();
        assert_eq!(none.raw(), old.raw());
        let some = without_referrers(&old, &[of("b"), of("x")])
            .unwrap()
            .unwrap();
        assert!(text(&some).contains(&format!("[{},{}]", entry("a", ""), entry("c", ""))));
        let all = without_referrers(&old, &[of("a"), of("b"), of("c")]);
        assert_eq!(all.unwrap().map(|left| left.digest()), None);
    }

    #[test]
    fn layers_come_and_go_and_the_others_keep_their_bytes() {
        let config = entry("config", "");
        let first = with_layers(None, &config, &[entry("a", r#","n":1.0"#)], &|_| false).unwrap();
        assert_eq!(first.media_type(), &MediaType::OciManifest);
        let odd = text(&first).replacen('{', r#"{"odd": [ ],"#, 1);
        let odd = document(odd, &MediaType::OciManifest);
        let other = entry("other", "");
        let both = with_layers(Some(&odd), &other, &[entry("b", "")], &|_| true).unwrap();
        let expected = format!(
            r#"{{"odd":[ ],"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{other},"layers":[{},{}]}}"#,
            entry("a", r#","n":1.0"#),
            entry("b", "")
        );
        assert_eq!(text(&both), expected);
        let gone = Digest::sha256(b"a");
        let less = with_layers(Some(&both), &other, &[], &|layer| layer.digest != gone).unwrap();
        assert!(text(&less).ends_with(&format!(r#""layers":[{}]}}"#, entry("b", ""))));
    }

    #[test]
    fn what_is_no_descriptor_does_not_get_into_a_manifest() {
        let good = entry("a", "");
        for bad in ["", "{}", "[]", &format!(r#"{good},"subject":{good}"#)] {
            assert!(with_layers(None, bad, &[], &|_| true).is_err(), "{bad}");
            let add = [bad.to_owned()];
            assert!(with_layers(None, &good, &add, &|_| true).is_err(), "{bad}");
        }
        assert!(with_layers(Some(&index(&[])), &good, &[], &|_| true).is_err());
        let artifact = format!(r#"{{"blobs":[{good}],"mediaType":"x/y"}}"#);
        let artifact = document(artifact, &MediaType::parse("x/y"));
        assert!(with_layers(Some(&artifact), &good, &[], &|_| true).is_err());
    }

    #[test]
    fn an_entry_says_what_its_manifest_says() {
        let config = entry("config", "").replace("a/b", "application/x.config");
        let plain = with_layers(None, &config, &[], &|_| true).unwrap();
        let of = |manifest: &Manifest| referrer_entry(manifest).unwrap();
        let seen: Descriptor = serde_json::from_str(of(&plain).get()).unwrap();
        assert_eq!((seen.digest, seen.size), (plain.digest(), plain.size()));
        assert_eq!(seen.media_type, MediaType::OciManifest);
        assert_eq!(seen.artifact_type.as_deref(), Some("application/x.config"));

        let body = text(&plain).replacen(
            '{',
            r#"{"artifactType":"application/x","annotations":{"b" :"1","a":"\u0032"},"#,
            1,
        );
        let typed = document(body, &MediaType::OciManifest);
        let entry = of(&typed);
        assert!(
            entry
                .get()
                .contains(r#""annotations":{"b" :"1","a":"\u0032"},"#)
        );
        let seen: Descriptor = serde_json::from_str(entry.get()).unwrap();
        assert_eq!(seen.artifact_type.as_deref(), Some("application/x"));
        assert_eq!(seen.annotations.get("a"), Some("2"));

        let body = text(&plain).replacen('{', r#"{"annotations":{"n":1},"#, 1);
        let odd = document(body, &MediaType::OciManifest);
        assert!(!of(&odd).get().contains("annotations"));

        let list = index(&[]);
        let seen: Descriptor = serde_json::from_str(of(&list).get()).unwrap();
        assert_eq!(seen.artifact_type, None);
    }
}

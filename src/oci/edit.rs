//! New indexes made from old ones, when only some platforms are wanted.
//!
//! The fields and entries that stay keep their bytes, their order and the fields nobody here knows;
//! only white space between them goes. The result depends on nothing but the inputs, so that a
//! second run makes the same bytes and finds them already there.

use serde_json::value::RawValue;

use super::raw::RawIndex;
use super::{Descriptor, Digest, Error, Manifest, Platform, Reason};

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
    let mut fresh: Vec<Option<(&Descriptor, &RawValue)>> = positions
        .iter()
        .map(|position| Some((view.manifests.get(*position)?, *raw.entries.get(*position)?)))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| not_an_index(index))?
        .into_iter()
        .map(Some)
        .collect();
    let mut entries: Vec<(Descriptor, &RawValue)> = Vec::new();
    for (descriptor, bytes) in old_view.manifests.iter().zip(&old_raw.entries) {
        let twin = fresh.iter_mut().find(|slot| {
            slot.as_ref()
                .is_some_and(|(new, _)| is_same_place(new, descriptor))
        });
        match twin.and_then(Option::take) {
            Some((new, new_bytes)) => entries.push((new.clone(), new_bytes)),
            None => entries.push((descriptor.clone(), bytes)),
        }
    }
    for (descriptor, bytes) in fresh.into_iter().flatten() {
        entries.push((descriptor.clone(), bytes));
    }
    let digests: Vec<Digest> = entries.iter().map(|(entry, _)| entry.digest).collect();
    entries.retain(|(entry, _)| {
        entry
            .attests()
            .is_none_or(|subject| digests.contains(&subject))
    });
    let kept: Vec<&RawValue> = entries.into_iter().map(|(_, bytes)| bytes).collect();
    raw.with_entries(&kept)
}

/// Whether `new` takes the place of `old` in a merged index.
fn is_same_place(new: &Descriptor, old: &Descriptor) -> bool {
    if new.digest == old.digest {
        return true;
    }
    let known = |platform: &Option<Platform>| platform.clone().filter(|p| !p.is_unknown());
    match (known(&new.platform), known(&old.platform)) {
        (Some(new), Some(old)) => new.is_same(&old),
        _ => false,
    }
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
}

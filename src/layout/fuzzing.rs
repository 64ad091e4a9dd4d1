//! What has to hold whatever stands in an `index.json`.
#![expect(clippy::expect_used, reason = "a broken promise is a finding")]

use super::entry::RepositoryPath;
use super::root::Root;

/// What is written again has the same entries, and no more bytes than were foretold.
pub(crate) fn root(json: &[u8]) {
    let default: RepositoryPath = "default".parse().expect("a path");
    let Ok(root) = Root::parse(json, &default) else {
        return;
    };
    let text = root.render();
    assert!(text.len() <= root.rendered_bytes());
    let again = Root::parse(&text, &default).expect("what is written is read");
    assert!(again.entries().eq(root.entries()));
    assert!(again.repositories().eq(root.repositories()));
    assert_eq!(again.render(), text);
    for entry in root.entries() {
        let Some(tag) = &entry.tag else { continue };
        assert!(root.find(&entry.repository, tag).is_some());
    }
}

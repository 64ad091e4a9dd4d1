//! The names under which a layout keeps manifests.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::oci::{Digest, Error, MediaType, Registry, Repository, Tag};

/// The path of a repository, `<name>` in the API: a repository without its registry, for a layout
/// stands in none. It follows the grammar of [`Repository`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryPath(Arc<str>);

/// The repository of a directory whose name has nothing that could stand in a repository's.
const NAMELESS: &str = "layout";

impl RepositoryPath {
    /// The path as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The repository that images without one of their own are served under: the name of the
    /// directory in lower case, with a `-` for each run of other characters than letters, digits,
    /// `.` and `_`.
    pub(super) fn of_directory(directory: &Path) -> Self {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let mut text = String::new();
        for c in name.to_lowercase().chars() {
            let fits = c.is_ascii_lowercase() || c.is_ascii_digit();
            if fits {
                text.push(c);
            } else if text.ends_with(|last: char| last.is_ascii_alphanumeric()) {
                // One separator at a time: any two together might not be allowed.
                text.push(if matches!(c, '.' | '_') { c } else { '-' });
            }
        }
        let text = text.trim_end_matches(['.', '_', '-']);
        text.parse().unwrap_or_else(|_| Self(Arc::from(NAMELESS)))
    }
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepositoryPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Repository::new(Registry::docker_hub(), text)?;
        Ok(Self(Arc::from(text)))
    }
}

impl From<&Repository> for RepositoryPath {
    fn from(repository: &Repository) -> Self {
        Self(Arc::from(repository.path()))
    }
}

/// One manifest of the root index under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The repository.
    pub repository: RepositoryPath,
    /// The tag; without one the manifest is reached by its digest.
    pub tag: Option<Tag>,
    /// The media type of the manifest.
    pub media_type: MediaType,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl Entry {
    /// What stands in the annotation: `REPOSITORY:TAG`, or `REPOSITORY@DIGEST` without a tag.
    pub(super) fn name(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}:{tag}", self.repository),
            None => format!("{}@{}", self.repository, self.digest),
        }
    }

    /// The descriptor of the root index for this entry.
    pub(super) fn descriptor(&self) -> serde_json::Value {
        serde_json::json!({
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
            "annotations": { super::REF_NAME: self.name() },
        })
    }
}

/// Reads the annotation of an entry: the repository and the tag that it names.
///
/// `REPOSITORY:TAG` and `REPOSITORY@DIGEST` are our own form. Other programs write a bare tag,
/// nothing, or what they please: those manifests belong to `default`, the last two without a tag.
pub(super) fn read_name(
    name: Option<&str>,
    default: &RepositoryPath,
) -> (RepositoryPath, Option<Tag>) {
    let own = || (default.clone(), None);
    let Some(name) = name else { return own() };
    if let Some((repository, _)) = name.split_once('@') {
        // `REPOSITORY:TAG@DIGEST` names a tag too.
        return match repository.parse() {
            Ok(repository) => (repository, None),
            Err(_) => tagged(repository).unwrap_or_else(own),
        };
    }
    match name.parse() {
        Ok(tag) => (default.clone(), Some(tag)),
        Err(_) => tagged(name).unwrap_or_else(own),
    }
}

fn tagged(name: &str) -> Option<(RepositoryPath, Option<Tag>)> {
    let (repository, tag) = name.rsplit_once(':')?;
    Some((repository.parse().ok()?, Some(tag.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> (String, Option<String>) {
        let default = RepositoryPath::of_directory(Path::new("/srv/Default Images!"));
        let (repository, tag) = read_name(Some(name), &default);
        (repository.to_string(), tag.map(|tag| tag.to_string()))
    }

    #[test]
    fn names_of_this_and_of_other_programs_are_read() {
        let digest = Digest::sha256(b"").to_string();
        for (name, repository, tag) in [
            ("library/app:1.2", "library/app", Some("1.2")),
            (&*format!("library/app@{digest}"), "library/app", None),
            (&*format!("app:1@{digest}"), "app", Some("1")),
            ("latest", "default-images", Some("latest")),
            ("", "default-images", None),
            ("../../etc:passwd", "default-images", None),
            ("localhost:5000/app:1", "default-images", None),
            (
                "docker.io/library/nginx:1.27",
                "docker.io/library/nginx",
                Some("1.27"),
            ),
        ] {
            assert_eq!(
                read(name),
                (repository.to_owned(), tag.map(str::to_owned)),
                "{name}"
            );
        }
    }

    #[test]
    fn any_directory_gives_a_repository() {
        for (directory, repository) in [
            ("/srv/images", "images"),
            ("/srv/My Images (2)", "my-images-2"),
            ("/", NAMELESS),
            ("/srv/…", NAMELESS),
            ("/srv/.hidden", "hidden"),
            ("/srv/a..b__c", "a.b_c"),
        ] {
            let path = RepositoryPath::of_directory(Path::new(directory));
            assert_eq!(path.as_str(), repository);
        }
    }
}

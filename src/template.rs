//! Templates of identities and annotations: `{repository}` (with its registry), `{path}` (without),
//! `{registry}`, `{tag}`, `{digest}`, `{source}` (the line's source repository). Pure.

use std::fmt;
use std::str::FromStr;

use crate::limits::input::TEMPLATE_BYTES_MAX;
use crate::oci::{Digest, Repository, Tag};

/// A text with placeholders, checked when it is read. The default is the empty text, which is read from nothing,
/// since a name is never empty, and the value of an annotation may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Repository,
    Path,
    Registry,
    Tag,
    Digest,
    Source,
}

impl Place {
    const ALL: [(&'static str, Self); 6] = [
        ("repository", Self::Repository),
        ("path", Self::Path),
        ("registry", Self::Registry),
        ("tag", Self::Tag),
        ("digest", Self::Digest),
        ("source", Self::Source),
    ];

    fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, place)| *place == self);
        found.map_or("", |(name, _)| name)
    }
}

/// What the placeholders of one image mean.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// The repository where the image is.
    pub repository: &'a Repository,
    /// The tag it is named by, if any.
    pub tag: Option<&'a Tag>,
    /// The digest of what is spoken of, where it is known.
    pub digest: Option<&'a Digest>,
    /// The repository that the line names as its source.
    pub source: &'a Repository,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A placeholder that nobody knows.
    #[error(
        "`{{{0}}}` is no placeholder: there are {{repository}}, {{path}}, {{registry}}, {{tag}}, {{digest}} and {{source}}"
    )]
    Unknown(String),
    /// A brace that opens or closes nothing.
    #[error("a `{{` or `}}` has no other half")]
    Brace,
    /// Nothing is there.
    #[error("it is empty")]
    Empty,
    /// It is longer than anything that is needed.
    #[error("it is longer than {TEMPLATE_BYTES_MAX} bytes")]
    TooLong,
}

/// A placeholder that has no meaning for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has no {0}, which a template asks for")]
pub struct Missing(pub &'static str);

impl Template {
    /// Whether it says the same of every image.
    pub fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// Whether it begins with a path that has no registry in front: the first part of a path could be
    /// read as one.
    pub fn begins_with_path(&self) -> bool {
        matches!(self.parts.first(), Some(Part::Place(Place::Path)))
    }

    /// The text for one image.
    ///
    /// # Errors
    ///
    /// When it asks for the tag or the digest of an image that has none.
    pub fn render(&self, values: &Values<'_>) -> Result<String, Missing> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Place(Place::Repository) => text.push_str(&values.repository.to_string()),
                Part::Place(Place::Path) => text.push_str(values.repository.path()),
                Part::Place(Place::Registry) => {
                    text.push_str(values.repository.registry().as_str());
                }
                Part::Place(Place::Tag) => {
                    text.push_str(values.tag.ok_or(Missing("tag"))?.as_str());
                }
                Part::Place(Place::Digest) => {
                    text.push_str(&values.digest.ok_or(Missing("digest"))?.to_string());
                }
                Part::Place(Place::Source) => text.push_str(&values.source.to_string()),
            }
        }
        Ok(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(plain) => f.write_str(plain)?,
                Part::Place(place) => write!(f, "{{{}}}", place.name())?,
            }
        }
        Ok(())
    }
}

impl FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Empty);
        }
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(Error::TooLong);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        loop {
            let (plain, after) = match rest.split_once('{') {
                Some((plain, after)) => (plain, Some(after)),
                None => (rest, None),
            };
            if plain.contains('}') {
                return Err(Error::Brace);
            }
            if !plain.is_empty() {
                parts.push(Part::Text(plain.to_owned()));
            }
            let Some(after) = after else { break };
            let (name, after) = after.split_once('}').ok_or(Error::Brace)?;
            let found = Place::ALL.iter().find(|(known, _)| *known == name);
            let (_, place) =
                found.ok_or_else(|| Error::Unknown(name.chars().take(60).collect()))?;
            parts.push(Part::Place(*place));
            rest = after;
        }
        Ok(Self { parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Reference;

    #[test]
    fn placeholders_mean_parts_of_the_name() {
        let image: Reference = "reg.example:5000/team/app:1.2".parse().unwrap();
        let source: Reference = "nginx".parse().unwrap();
        let digest = Digest::sha256(b"x");
        let values = Values {
            repository: &image.repository,
            tag: image.tag.as_ref(),
            digest: Some(&digest),
            source: &source.repository,
        };
        for (template, text) in [
            (
                "{repository}:{tag}",
                "reg.example:5000/team/app:1.2".to_owned(),
            ),
            ("docker.io/{path}", "docker.io/team/app".to_owned()),
            ("{registry}", "reg.example:5000".to_owned()),
            ("{source}", "docker.io/library/nginx".to_owned()),
            ("x@{digest}", format!("x@{digest}")),
            ("plain", "plain".to_owned()),
        ] {
            let read: Template = template.parse().unwrap();
            assert_eq!(read.render(&values).unwrap(), text);
            assert_eq!(read.to_string(), template);
            assert_eq!(read.is_constant(), template == "plain");
        }
        let untagged = Values {
            tag: None,
            ..values
        };
        let tagged: Template = "{tag}".parse().unwrap();
        assert_eq!(tagged.render(&untagged), Err(Missing("tag")));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let read = |text: &str| text.parse::<Template>();
        assert_eq!(read(""), Err(Error::Empty));
        assert_eq!(read("{repo}"), Err(Error::Unknown("repo".to_owned())));
        for bad in ["{", "a{tag", "a}b", "}{"] {
            assert_eq!(read(bad), Err(Error::Brace), "{bad}");
        }
        assert_eq!(read(&"x".repeat(5000)), Err(Error::TooLong));
    }
}

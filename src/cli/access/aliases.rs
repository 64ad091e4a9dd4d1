//! Short names that `registries.conf` gives a full one.

use crate::list::{Entry, Names, Written};
use crate::oci::{Reference, Repository};

use super::registries::Registries;

/// The entries, with the sources that aliases mean. Where they go does not follow from what a host has
/// configured: the destination is named after what is written, as everywhere.
pub(in crate::cli) fn resolved(entries: Vec<Entry>, registries: &Registries) -> Vec<Entry> {
    let resolve = |mut entry: Entry| {
        let first = entry.line.text.split_whitespace().next();
        let alias = first.and_then(|word| of_name(word, registries));
        let Some(alias) = alias else { return entry };
        entry.names = match entry.names {
            Names::Default {
                image,
                registry: Written::No,
            } => Names::Mirror {
                source: Reference {
                    repository: alias,
                    ..image.clone()
                },
                source_registry: Written::Yes,
                destination: image,
                destination_registry: Written::No,
            },
            Names::Mirror {
                source,
                source_registry: Written::No,
                destination,
                destination_registry,
            } => Names::Mirror {
                source: Reference {
                    repository: alias,
                    ..source
                },
                source_registry: Written::Yes,
                destination,
                destination_registry,
            },
            named @ (Names::Default { .. } | Names::Mirror { .. }) => named,
        };
        entry
    };
    entries.into_iter().map(resolve).collect()
}

/// The repository that the name of an image stands for, as it was written; nothing for one with a registry, or
/// without an alias.
pub(in crate::cli) fn of_name(written: &str, registries: &Registries) -> Option<Repository> {
    let name = written.strip_prefix("docker://").unwrap_or(written);
    if Reference::names_registry(name) {
        return None;
    }
    let name = name.split(['@', ':']).next()?;
    Some(registries.alias(name)?.repository.clone())
}

/// An image on the command line: what it means, and how it was written.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Typed {
    reference: Reference,
    written: String,
}

impl std::str::FromStr for Typed {
    type Err = crate::oci::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self {
            reference: text.parse()?,
            written: text.to_owned(),
        })
    }
}

impl Typed {
    /// The image, as a source.
    pub(in crate::cli) fn source(self, registries: &Registries) -> Reference {
        match of_name(&self.written, registries) {
            Some(repository) => Reference {
                repository,
                ..self.reference
            },
            None => self.reference,
        }
    }
}

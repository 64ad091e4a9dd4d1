//! Images that stay where they are: signed or validated, not copied.

use super::{Error, Meant, Plan, Project, Reason, plan_by, rewritten};
use crate::list::{Entry, Names, Written};
use crate::oci::{Reference, Registry, Repository};

/// What the command line says of images that stay where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stay {
    /// Replaces the registry of every image, written or filled in.
    pub registry: Option<Registry>,
    /// Replaces the first part of the path of every image; goes in front of a path of one part.
    pub project: Option<Project>,
}

/// Makes the plan of `entries` for images that are signed or validated where they are, and says what
/// is wrong with those that cannot be: a mirror line means its destination, so that one list serves
/// `mirror`, `sign` and `validate`.
pub fn plan_in_place(entries: Vec<Entry>, stay: &Stay) -> (Plan, Vec<Error>) {
    plan_by(entries, |names| {
        let (image, origin) = place(names, stay)?;
        Ok(Meant {
            source: image.clone(),
            destination: image,
            origin,
        })
    })
}

/// The image that `names` mean under `stay`, and the repository they name as its source.
fn place(names: Names, stay: &Stay) -> Result<(Reference, Repository), Reason> {
    let (image, origin, written) = match names {
        // A registry that is not written is Docker Hub, as everywhere.
        Names::Default { image, registry: _ } => {
            let origin = image.repository.clone();
            (image, origin, Written::Yes)
        }
        Names::Mirror {
            source,
            source_registry: _,
            destination,
            destination_registry,
        } => (destination, source.repository, destination_registry),
    };
    if written == Written::No && stay.registry.is_none() {
        return Err(Reason::NoRegistry(Box::new(image)));
    }
    let repository = rewritten(
        &image.repository,
        stay.registry.as_ref(),
        stay.project.as_ref(),
    )?;
    Ok((
        Reference {
            repository,
            ..image
        },
        origin,
    ))
}

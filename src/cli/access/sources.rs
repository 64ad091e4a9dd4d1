//! Where the sources of a run are really looked for.

use std::collections::HashMap;

use crate::cli::error::Error;
use crate::oci::{Namespace, Namespaced, Reference, Repository};
use crate::plan::{JobId, Plan, Source};
use crate::registry::Tls;

use super::registries::{NoPlace, Place, Registries};

/// The places of the sources of a run, as `registries.conf` has them.
#[derive(Debug, Default)]
pub(in crate::cli) struct Sources {
    places: Vec<Vec<Place>>,
    by_job: HashMap<JobId, Source>,
}

impl Sources {
    /// Those of the jobs of `plan`.
    ///
    /// # Errors
    ///
    /// When `registries.conf` makes no names of them. What it blocks is an error of its line alone.
    pub(in crate::cli) fn of(plan: &Plan, registries: &Registries) -> Result<Self, Error> {
        let mut sources = Self::default();
        for job in plan.distinct() {
            match registries.places(&job.source) {
                Ok(places) => {
                    let is_as_named = places.len() == 1
                        && places.iter().all(|place| place.reference == job.source);
                    if !is_as_named {
                        let named = places.iter().map(|place| place.reference.clone());
                        let source = Source::Places(named.collect());
                        sources.by_job.insert(job.id, source);
                    }
                    sources.places.push(places);
                }
                Err(blocked @ NoPlace::Blocked { .. }) => {
                    let source = Source::Blocked(blocked.to_string());
                    sources.by_job.insert(job.id, source);
                }
                Err(wrong @ (NoPlace::Name(_) | NoPlace::Proxy { .. })) => {
                    return Err(Error::refused(&wrong.to_string()));
                }
            }
        }
        Ok(sources)
    }

    /// Those of one image.
    ///
    /// # Errors
    ///
    /// When `registries.conf` blocks it, or makes no name of it.
    pub(in crate::cli) fn of_one(
        image: &Reference,
        registries: &Registries,
    ) -> Result<Self, Error> {
        let places = registries.places(image);
        let places = places.map_err(|error| {
            let code = match &error {
                NoPlace::Blocked { .. } => 1,
                NoPlace::Name(_) | NoPlace::Proxy { .. } => 2,
            };
            Error::refused(&error.to_string()).with_code(code)
        })?;
        Ok(Self {
            places: vec![places],
            by_job: HashMap::new(),
        })
    }

    /// Where the one image is asked for, in this order.
    pub(in crate::cli) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.places.iter().flatten().map(|place| &place.reference)
    }

    /// The sources of jobs that are looked for elsewhere than their lines say.
    pub(in crate::cli) fn by_job(&self) -> HashMap<JobId, Source> {
        self.by_job.clone()
    }

    /// All repositories that are asked.
    pub(super) fn repositories(&self) -> impl Iterator<Item = &Repository> + Clone {
        let all = self.places.iter().flatten();
        all.map(|place| &place.reference.repository)
    }

    /// Those that stand in front of what lines mean.
    pub(super) fn mirrors(&self) -> impl Iterator<Item = &Repository> + Clone {
        let mirrors = self.places.iter().flatten().filter(|place| place.is_mirror);
        mirrors.map(|place| &place.reference.repository)
    }

    /// Those that lines mean.
    pub(in crate::cli) fn meant(&self) -> impl Iterator<Item = &Repository> + Clone {
        let meant = self
            .places
            .iter()
            .flatten()
            .filter(|place| !place.is_mirror);
        meant.map(|place| &place.reference.repository)
    }

    /// Where certificates are not checked, as `registries.conf` allows it; where one repository is meant by
    /// several tables, they are checked if one of them asks for it.
    pub(super) fn exceptions(&self) -> Namespaced<Tls> {
        let mut exceptions: Namespaced<Tls> = Namespaced::default();
        for place in self.places.iter().flatten() {
            let namespace = Namespace::from(&place.reference.repository);
            let tls = place.tls.unwrap_or_default();
            if exceptions.at(&namespace) != Some(&Tls::Verified) {
                exceptions.insert(namespace, tls);
            }
        }
        exceptions
    }
}

//! Faults that a run of hours meets, each in a trial of its own: the rows of docs/RELIABILITY.md.
//!
//! The built program, or its engine where that shows more, between registries that do what the row says;
//! and what these were asked.

mod connections;
mod destinations;
mod documents;
mod downloads;
mod ends;
mod lists;
mod named;
mod pace;
mod sources;
mod stage;
mod table;
mod trouble;
mod uploads;
mod whole;
mod wire;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        table::trials(),
        downloads::trials(),
        trouble::trials(),
        uploads::trials(),
        pace::trials(),
        ends::trials(),
        destinations::trials(),
        documents::trials(),
        sources::trials(),
        lists::trials(),
        connections::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

//! Faults that a run of hours meets, each in a trial of its own: the rows of docs/RELIABILITY.md.
//!
//! The built program, or its engine where that shows more, between registries that do what the row says;
//! and what these were asked.

mod downloads;
mod ends;
mod pace;
mod stage;
mod table;
mod trouble;
mod uploads;
mod whole;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        table::trials(),
        downloads::trials(),
        trouble::trials(),
        uploads::trials(),
        pace::trials(),
        ends::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

//! Compose files: read as docker compose reads them, and done as each of their services says.

mod beside;
mod failed;
mod keyless;
mod mirroring;
mod page;
mod reading;
mod refused;
mod services;
mod stage;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        reading::trials(),
        services::trials(),
        keyless::trials(),
        beside::trials(),
        failed::trials(),
        refused::trials(),
        mirroring::trials(),
        page::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

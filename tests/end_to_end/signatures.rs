//! Signatures, end to end: made here and read by others, made by others and read here, carried, left
//! behind and made anew; and what becomes of the images that have none.
//!
//! Each is tried on `docker-registry`, which has no referrers API, and on `consign serve`, which has.

mod access;
mod costs;
mod gate;
mod hangar;
mod many;
pub(crate) mod others;
mod ours;
mod policy;
mod refusals;
mod resigned;
mod shape;
pub(crate) mod stand;
mod theirs;
mod twice;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        ours::trials(),
        theirs::trials(),
        hangar::trials(),
        resigned::trials(),
        twice::trials(),
        gate::trials(),
        policy::trials(),
        many::trials(),
        costs::trials(),
        refusals::trials(),
        shape::trials(),
        access::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

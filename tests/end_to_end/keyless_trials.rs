//! Signatures by certificates, and by keys that stand in a log, judged by the built program: what cosign made
//! against an instance of our own, and what is wrong with signatures in one point each.

mod forged;
mod negative;
mod offline;
mod policy;
mod real;
mod stage;
mod vectors;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        forged::trials(),
        negative::trials(),
        offline::trials(),
        policy::trials(),
        real::trials(),
        vectors::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

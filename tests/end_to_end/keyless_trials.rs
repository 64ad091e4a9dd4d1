//! Signatures by certificates, and by keys that stand in a log, judged by the built program: what cosign made
//! against an instance of our own, and what is wrong with signatures in one point each.

mod negative;
mod policy;
mod real;
mod stage;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [negative::trials(), policy::trials(), real::trials()]
        .into_iter()
        .flatten()
        .collect()
}

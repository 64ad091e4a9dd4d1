//! What is attached to an image, and its way with it: into registries with the referrers API and without.
//!
//! Library level, as in [`faults`](crate::faults): an engine between two scripted registries, whose logs
//! say what was asked, in which order, and how often.

#[path = "closure/cost.rs"]
mod cost;
#[path = "closure/lost.rs"]
mod lost;
#[path = "closure/stage.rs"]
mod stage;
#[path = "closure/strip.rs"]
mod strip;
#[path = "closure/travel.rs"]
mod travel;
#[path = "closure/trouble.rs"]
mod trouble;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        travel::trials(),
        cost::trials(),
        strip::trials(),
        trouble::trials(),
        lost::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

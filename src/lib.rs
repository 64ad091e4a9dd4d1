//! `consign`: bulk image mirroring, signing and signature validation.
//!
//! # The path of an image
//!
//! An image reference passes through small stages, each a function from one type to the next, and no
//! stage can be given a less certain type than it needs:
//!
//! | Stage | Where | From | To |
//! | --- | --- | --- | --- |
//! | read | [`list::parse`] | text | entries with their lines, or all bad lines at once |
//! | plan | [`plan::plan`] | entries, rewriting | jobs in list order |
//! | resolve | [`registry::Client::resolve`] | a name | a digest |
//! | transfer | [`transfer::Engine::transfer`] | two names | what stands at the destination |
//! | report | [`report`] | events | screen, failed list, documents |
//!
//! [`runner::run`] takes many jobs through it, bounded, and turns everything that happens into one
//! order of [`event::Event`]s, which the reports consume. Every list line ends in exactly one
//! [`event::Outcome`].
//!
//! # The floors
//!
//! A module imports from lower floors, or along its own where the table in `docs/ARCHITECTURE.md` says
//! so; a test checks the table.
//!
//! 5. [`cli`]: flags, environment, files, signals, exit codes
//! 4. [`runner`]: many jobs · [`report`]: consumers of events
//! 3. [`transfer`]: one image · [`serve`]: a layout as a registry
//! 2. [`registry`]: the distribution API · [`layout`]: OCI image layouts · [`flight`]: one run per key ·
//!    [`pace`]: a job's clock
//! 1. [`list`] · [`compose`] · [`plan`] · [`policy`] · [`event`]: pure · [`cache`]: bytes by their digests, on disk
//! 0. [`oci`]: the words of the specifications · [`text`]: what others wrote, made fit to print · [`limits`]: how
//!    much of anything is read · [`folder`]: folders of this user's own

pub mod attached;
pub mod cache;
pub mod cli;
pub mod compose;
pub mod event;
pub mod flight;
pub mod folder;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod keyless;
pub mod layout;
pub mod limits;
pub mod list;
pub mod oci;
pub mod pace;
pub mod plan;
pub mod policy;
pub mod registry;
pub mod report;
pub mod runner;
pub mod serve;
pub mod sign;
pub mod sigstore;
pub mod template;
pub mod text;
pub mod transfer;
pub mod verify;

#[cfg(test)]
mod floors;

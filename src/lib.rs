//! `consign`: bulk image mirroring, signing and signature validation.

pub mod cli;
pub mod event;
pub mod flight;
pub mod layout;
pub mod list;
pub mod oci;
pub mod pace;
pub mod plan;
pub mod policy;
pub mod registry;
pub mod report;
pub mod runner;
pub mod serve;
pub mod text;
pub mod transfer;

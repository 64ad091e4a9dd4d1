//! `consign`: bulk image mirroring, signing and signature validation.

pub mod event;
pub mod flight;
pub mod layout;
pub mod list;
pub mod oci;
pub mod plan;
pub mod registry;
pub mod serve;
pub mod text;

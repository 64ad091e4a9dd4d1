//! `consign`: bulk image mirroring, signing and signature validation.

pub mod event;
pub mod layout;
pub mod list;
pub mod oci;
pub mod plan;
pub mod serve;
pub mod text;

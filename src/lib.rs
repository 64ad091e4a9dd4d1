//! `consign`: bulk image mirroring, signing and signature validation.

pub mod oci;

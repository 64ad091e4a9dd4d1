//! Tests over `testdata/sigstore`, which the tools of others made, and over what nobody makes.

mod bundles;
mod certificates;
mod keys;
mod payloads;
mod properties;

use std::fs;
use std::path::Path;

use super::{KeyFile, Passphrase, PrivateKey, PublicKey};

/// What opens the test keys.
const PASSPHRASE: &str = "test passphrase";

/// The kinds of keys that cosign imports, each with a file of its name.
const NAMES: [&str; 6] = ["p256", "p384", "p521", "rsa2048", "rsa4096", "ed25519"];

/// The image that everything in the folder signs.
const DIGEST: &str = "sha256:29e0efe5c39075ad8c66dceaf1f7e3d1a45a8790894c64a8e202d7a76325092d";

#[track_caller]
fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sigstore");
    fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[track_caller]
fn text(name: &str) -> String {
    String::from_utf8(file(name)).unwrap()
}

#[track_caller]
fn public(name: &str) -> PublicKey {
    PublicKey::parse(&file(&format!("{name}.pub"))).unwrap()
}

#[track_caller]
fn private(name: &str) -> PrivateKey {
    let KeyFile::Sealed(sealed) = KeyFile::parse(&file(&format!("{name}.key"))).unwrap() else {
        panic!("{name}.key is not sealed");
    };
    sealed.open(&passphrase()).unwrap()
}

fn passphrase() -> Passphrase {
    Passphrase::new(PASSPHRASE.to_owned())
}

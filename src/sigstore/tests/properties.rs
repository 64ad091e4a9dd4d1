//! No input makes a reader panic, and none makes it take more than it was given.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::super::{Bundle, KeyFile, Payload, PrivateKey, PublicKey};
use super::{file, text};

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate().unwrap());

/// Signed by the key, so that everything behind the signature is reached.
fn read_payload(bytes: &[u8]) -> bool {
    let signature = STANDARD.encode(KEY.sign(bytes).unwrap());
    Payload::verify(bytes, &signature, &[KEY.public().clone()]).is_ok()
}

/// `text` with some of its bytes changed, cut out or doubled.
fn bent(text: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0_u8..3);
    prop::collection::vec(change, 1..6).prop_map(move |changes| {
        let mut bytes = text.clone();
        for (at, byte, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(KeyFile::parse(&bytes).is_err());
        prop_assert!(PublicKey::parse(&bytes).is_err());
        prop_assert!(Bundle::parse(&bytes).is_err());
        prop_assert!(!read_payload(&bytes));
    }

    #[test]
    fn any_block_is_read_or_refused(
        label in prop::sample::select(vec!["PUBLIC KEY", "ENCRYPTED SIGSTORE PRIVATE KEY"]),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let body = STANDARD.encode(bytes);
        let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        prop_assert!(KeyFile::parse(pem.as_bytes()).is_err());
    }

    #[test]
    fn a_bent_key_file_is_read_or_refused(bytes in bent(file("p256.key"))) {
        // Opening is not tried: it takes 64 MiB each.
        if let Err(error) = KeyFile::parse(&bytes) {
            prop_assert!(error.to_string().len() < 500);
        }
    }

    #[test]
    fn a_bent_public_key_is_read_or_refused(bytes in bent(file("rsa2048.pub"))) {
        if let Ok(key) = PublicKey::parse(&bytes) {
            // Whatever was read is written in the one way, and reads as the same.
            prop_assert_eq!(PublicKey::parse(key.to_pem().as_bytes()).unwrap(), key);
        }
    }

    #[test]
    fn a_bent_payload_is_read_or_refused(bytes in bent(file("skopeo.payload.json"))) {
        read_payload(&bytes);
        // Nothing changed is what was signed.
        let signature = text("skopeo.sig");
        let keys = [PublicKey::parse(&file("skopeo.pub")).unwrap()];
        if bytes != file("skopeo.payload.json") {
            prop_assert!(Payload::verify(&bytes, &signature, &keys).is_err());
        }
    }

    #[test]
    fn a_bent_bundle_is_read_or_refused(bytes in bent(file("p256.cosign3.bundle.json"))) {
        if let Ok(bundle) = Bundle::parse(&bytes) {
            let keys = [PublicKey::parse(&file("p256.pub")).unwrap()];
            if let Ok((statement, _)) = bundle.verify(&keys) {
                // What is not signed may change; what is said may not.
                prop_assert_eq!(statement.subjects.len(), 1);
                let digest = statement.subjects[0].digest.unwrap().to_string();
                prop_assert_eq!(digest, super::DIGEST);
            }
        }
    }

    #[test]
    fn what_is_written_is_read(
        reference in any::<String>(),
        annotations in prop::collection::btree_map(any::<String>(), any::<String>(), 0..5),
    ) {
        prop_assume!(!annotations.contains_key("timestamp"));
        let digest = super::DIGEST.parse().unwrap();
        let bytes = Payload::write(&reference, &digest, &annotations);
        let signature = STANDARD.encode(KEY.sign(&bytes).unwrap());
        let (read, _) = Payload::verify(&bytes, &signature, &[KEY.public().clone()]).unwrap();
        prop_assert_eq!(read, Payload { reference, digest, optional: annotations });
    }
}

//! No input makes a reader panic; changes of good ones are tried by `crate::fuzzing`.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::super::{Bundle, KeyFile, Payload, PrivateKey, PublicKey};

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate().unwrap());

/// Signed by the key, so that everything behind the signature is reached.
fn read_payload(bytes: &[u8]) -> bool {
    let signature = STANDARD.encode(KEY.sign(bytes).unwrap());
    Payload::verify(bytes, &signature, &[KEY.public().clone()]).is_ok()
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

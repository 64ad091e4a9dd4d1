//! What has to hold of keys, payloads, bundles and certificates, whatever their bytes.
#![expect(clippy::expect_used, reason = "a broken promise is a finding")]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, LazyLock};

use serde::Deserialize;
use serde_json::Value;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::certificate;
use super::{
    Bundle, Certificates, KeyFile, LoggedKeys, Maker, Material, Payload, PublicKey, Refusal,
    Relaxed, SIGNATURE_ANNOTATION, Signers, Statement, TrustRoot, Whom, Words,
};

macro_rules! testdata {
    ($name:literal) => {
        include_bytes!(concat!("../../testdata/sigstore/", $name))
    };
}

/// A payload that `skopeo.key` signed, and its signature.
const SIGNED: &[u8] = testdata!("skopeo.payload.json");
const SIGNATURE: &[u8] = testdata!("skopeo.sig");

static SIGNER: LazyLock<PublicKey> = LazyLock::new(|| key(testdata!("skopeo.pub")));

/// Who is trusted.
static KEYS: LazyLock<[PublicKey; 4]> = LazyLock::new(|| {
    [
        key(testdata!("p256.pub")),
        key(testdata!("p384.pub")),
        key(testdata!("rsa2048.pub")),
        key(testdata!("ed25519.pub")),
    ]
});

/// All that these keys signed.
static MESSAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let bundles: [&[u8]; 4] = [
        testdata!("p256.cosign3.bundle.json"),
        testdata!("p384.cosign3.bundle.json"),
        testdata!("rsa2048.cosign3.bundle.json"),
        testdata!("ed25519.cosign3.bundle.json"),
    ];
    bundles.into_iter().map(message).collect()
});

fn key(pem: &[u8]) -> PublicKey {
    PublicKey::parse(pem).expect("a public key")
}

fn message(bundle: &[u8]) -> Vec<u8> {
    let bundle = Bundle::parse(bundle).expect("a bundle");
    bundle.signed().expect("it has an envelope").0
}

fn check_said(error: &dyn Display) {
    let said = error.to_string();
    assert!(!said.contains(char::is_control), "{said:?}");
    assert!(said.chars().count() < 600, "{said}");
}

/// A payload says what it says to any reader of JSON, what is written is read as the same, and a signature
/// is good for the very bytes that were signed.
pub(crate) fn payload(bytes: &[u8]) {
    let signature = std::str::from_utf8(SIGNATURE).expect("base64");
    let verified = Payload::verify(bytes, signature, std::slice::from_ref(&*SIGNER));
    assert_eq!(verified.is_ok(), bytes == SIGNED);
    let read = match Payload::read(bytes) {
        Ok(read) => read,
        Err(error) => return check_said(&error),
    };
    if let Ok(document) = serde_json::from_slice::<Value>(bytes) {
        let critical = document.get("critical").expect("it is there");
        let digest = critical.pointer("/image/docker-manifest-digest");
        assert_eq!(digest, Some(&Value::from(read.digest.to_string())));
        let reference = critical.pointer("/identity/docker-reference");
        let reference = reference.expect("it is there").as_str();
        assert_eq!(reference.unwrap_or_default(), read.reference);
    }
    let written = Payload::write(&read.reference, &read.digest, &read.optional);
    // Once it is a text, a time is none any more.
    if !read.optional.contains_key("timestamp") {
        assert_eq!(Payload::read(&written).as_ref(), Ok(&read));
    }
}

/// A bundle is accepted for exactly what one of the keys signed.
pub(crate) fn bundle(bytes: &[u8]) {
    if let Ok(statement) = Statement::parse(bytes) {
        assert!(!statement.subjects.is_empty());
    }
    let bundle = match Bundle::parse(bytes) {
        Ok(bundle) => bundle,
        Err(error) => return check_said(&error),
    };
    if bundle.has_certificate() {
        assert!(bundle.verify(&*KEYS).is_err());
    }
    match bundle.verify(&*KEYS) {
        Err(error) => check_said(&error),
        Ok((statement, position)) => {
            assert!(position < KEYS.len());
            let (message, _) = bundle.signed().expect("it was verified");
            assert!(MESSAGES.contains(&message), "nobody signed this");
            let claimed = bundle.claimed_predicate();
            assert_eq!(claimed, Some(&*statement.predicate_type));
        }
    }
}

/// A public key is written in the one way; of a private key nothing is shown.
pub(crate) fn key_file(bytes: &[u8]) {
    match KeyFile::parse(bytes) {
        Ok(KeyFile::Public(key)) => {
            assert_eq!(PublicKey::parse(key.to_pem().as_bytes()).as_ref(), Ok(&key));
        }
        Ok(sealed @ KeyFile::Sealed(_)) => {
            assert_eq!(format!("{sealed:?}"), "Sealed(SealedKey(***))");
        }
        Err(error) => {
            check_said(&error);
            let said = format!("{error} {error:?}");
            let text = String::from_utf8_lossy(bytes);
            let mut lines = text.trim_ascii().lines().map(str::trim);
            // It has the label, which is said; and words of ours are no key.
            let first = lines.next().unwrap_or_default();
            let is_key = |line: &&str| {
                let is_base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
                line.len() >= 24 && line.bytes().all(is_base64) && !first.contains(line)
            };
            let mut body = lines.filter(is_key);
            assert!(!body.any(|line| said.contains(line)), "{said}");
        }
    }
}

/// What has a good shape is decoded without taking long; the fuzzer ends what takes seconds.
pub(crate) fn shape(der: &[u8]) {
    if certificate::check_shape("certificate", der).is_ok() {
        drop(Certificate::from_der(der));
    }
}

/// A trusted root is read or refused in words that can be shown.
pub(crate) fn trusted_root(bytes: &[u8]) {
    match TrustRoot::parse(bytes) {
        Ok(root) => assert!(root.name().is_empty()),
        Err(error) => check_said(&error),
    }
}

/// Whom the certificates of the instance in `testdata/sigstore` name, and who vouched for it.
const JOB: &str = "https://gitlab.instance.test/apps/web//.gitlab-ci.yml@refs/heads/main";
const ISSUER: &str = "https://gitlab.instance.test";

/// Who may have signed: a key with a log's word, or a job with a certificate.
static SIGNERS: LazyLock<[Signers; 2]> = LazyLock::new(|| {
    let root = TrustRoot::parse(testdata!("instance.root.json"));
    let root = Arc::new(root.expect("a trusted root"));
    let keys = vec![key(testdata!("instance.pub"))];
    let words = |text| Words::exact(text).expect("words");
    [
        Signers::Logged(LoggedKeys::new(keys, Arc::clone(&root)).expect("keys")),
        Signers::Certificates(Certificates {
            root,
            whom: Whom::Fitting {
                identity: words(JOB),
                issuer: words(ISSUER),
                claims: Vec::new(),
            },
            relaxed: Relaxed::default(),
        }),
    ]
});

/// All that they signed in envelopes, and without.
static STATED: LazyLock<Vec<u8>> = LazyLock::new(|| message(testdata!("instance.bundle.json")));
const STATED_OF: &[u8] = testdata!("instance.payload.json");

/// A payload with the annotations of its layer.
#[derive(Deserialize)]
struct Layer {
    payload: String,
    annotations: BTreeMap<String, String>,
}

/// What is accepted is exactly what was signed, by who is meant; `bytes` are a bundle, or a payload with
/// annotations. Gives how many of the signers made it.
pub(crate) fn verification(bytes: &[u8]) -> usize {
    if let Ok(bundle) = Bundle::parse(bytes) {
        let judged = SIGNERS.iter().map(|signers| signers.statement(&bundle));
        let made = judged.filter_map(|judged| made(judged.map(|(_, maker)| maker)));
        return made
            .inspect(|()| {
                let (message, _) = bundle.signed().expect("it was verified");
                assert_eq!(message, *STATED, "nobody signed this");
            })
            .count();
    }
    let Ok(layer) = serde_json::from_slice::<Layer>(bytes) else {
        return 0;
    };
    let payload = layer.payload.as_bytes();
    let signature = layer.annotations.get(SIGNATURE_ANNOTATION);
    let signature = signature.map_or("", String::as_str);
    let material = Material::of(&layer.annotations);
    let judged = SIGNERS
        .iter()
        .map(|signers| signers.payload((payload, signature), &material));
    let made = judged.filter_map(|judged| made(judged.map(|(_, maker)| maker)));
    made.inspect(|()| assert_eq!(payload, STATED_OF, "nobody signed this"))
        .count()
}

/// Whether who is meant made it; what is said of others can be shown.
fn made(judged: Result<Maker, Refusal>) -> Option<()> {
    let maker = judged.map_err(|error| check_said(&error)).ok()?;
    check_maker(&maker);
    Some(())
}

fn check_maker(maker: &Maker) {
    match maker {
        // A log that proves that the entry is in it, and promises nothing, does not say when.
        Maker::Key { id, time: _ } => assert_eq!(*id, key(testdata!("instance.pub")).id()),
        Maker::Certificate(certified) => {
            assert_eq!((&*certified.identity, &*certified.issuer), (JOB, ISSUER));
            assert!(certified.logged && certified.transparent && certified.time.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Else nothing of the above would ever be reached.
    #[test]
    fn the_seeds_are_signed_by_one_of_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/verification");
        let mut count = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.ends_with("-certificate") || name.ends_with("-key") {
                assert_eq!(verification(&fs::read(&path).unwrap()), 1, "{name}");
                count += 1;
            }
        }
        assert_eq!(count, 8);
    }
}

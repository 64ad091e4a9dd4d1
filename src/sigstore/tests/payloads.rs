//! Payloads: what is written, what others made, and the strictness of containers/image.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits::signature::PAYLOAD_BYTES_MAX;

use super::super::{Payload, Refusal};
use super::{DIGEST, NAMES, PrivateKey, file, private, public, text};

fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// Signs payloads with one key, to get at what is checked after the signature.
struct Signer(PrivateKey);

impl Signer {
    fn new() -> Self {
        Self(PrivateKey::generate().unwrap())
    }

    fn read(&self, payload: &str) -> Result<Payload, Refusal> {
        let signature = STANDARD.encode(self.0.sign(payload.as_bytes()).unwrap());
        let keys = [self.0.public().clone()];
        let (read, position) = Payload::verify(payload.as_bytes(), &signature, &keys)?;
        assert_eq!(position, 0);
        Ok(read)
    }

    #[track_caller]
    fn reason(&self, payload: &str) -> String {
        match self.read(payload) {
            Err(Refusal::Form(reason)) => reason,
            other => panic!("{payload}: {other:?}"),
        }
    }
}

const GOOD: &str = r#"{"critical":{"identity":{"docker-reference":"reg.example/a:v1"},"image":{"docker-manifest-digest":"sha256:29e0efe5c39075ad8c66dceaf1f7e3d1a45a8790894c64a8e202d7a76325092d"},"type":"cosign container image signature"},"optional":null}"#;

#[test]
fn it_is_written_as_cosign_writes_it() {
    let digest = DIGEST.parse().unwrap();
    let written = Payload::write("reg.example/a:v1", &digest, &BTreeMap::new());
    assert_eq!(String::from_utf8(written).unwrap(), GOOD);
    let reference = "127.0.0.1:5977/demo/app";
    let written = Payload::write(reference, &digest, &annotations(&[("foo", "bar")]));
    assert_eq!(written, file("cosign.payload.json"));
    let pairs = annotations(&[("z", "1"), ("a", "\"<\n"), ("creator", "consign")]);
    let written = Payload::write(reference, &digest, &pairs);
    let text = String::from_utf8(written).unwrap();
    let end = r#""optional":{"a":"\"<\n","creator":"consign","z":"1"}}"#;
    assert!(text.ends_with(end), "{text}");
    assert_eq!(Signer::new().read(&text).unwrap().optional, pairs);
}

#[test]
fn what_cosign_2_and_3_signed_is_accepted() {
    let payload = file("cosign.payload.json");
    for name in NAMES {
        for tool in ["cosign2", "cosign3"] {
            let signature = text(&format!("{name}.{tool}.sig"));
            // The key that made it is the second of two.
            let other = if name == "p256" { "p384" } else { "p256" };
            let keys = [public(other), public(name)];
            let (read, position) = Payload::verify(&payload, &signature, &keys)
                .unwrap_or_else(|error| panic!("{name} by {tool}: {error}"));
            assert_eq!(position, 1);
            assert_eq!(read.reference, "127.0.0.1:5977/demo/app");
            assert_eq!(read.digest.to_string(), DIGEST);
            assert_eq!(read.optional, annotations(&[("foo", "bar")]));
            let foreign = Payload::verify(&payload, &signature, &[public(other)]);
            assert_eq!(foreign, Err(Refusal::Signature), "{name} by {tool}");
        }
    }
}

#[test]
fn what_skopeo_signed_is_accepted() {
    let payload = file("skopeo.payload.json");
    let (read, _) = Payload::verify(&payload, &text("skopeo.sig"), &[public("skopeo")]).unwrap();
    assert_eq!(read.reference, "127.0.0.1:5977/demo/sk:v1");
    assert_eq!(read.digest.to_string(), DIGEST);
    let optional = [
        ("creator", "containers/image 5.39.1"),
        ("timestamp", "1795226940"),
    ];
    assert_eq!(read.optional, annotations(&optional));
}

#[test]
fn the_signature_is_checked_before_anything_is_read() {
    let key = public("p256");
    let signature = text("p256.cosign2.sig");
    let keys = std::slice::from_ref(&key);
    let tampered = text("cosign.payload.json").replace("demo/app", "demo/apt");
    let check = |bytes: &[u8], signature: &str| Payload::verify(bytes, signature, keys);
    for bad in [tampered.as_bytes(), b"", b"{", b"\xff", b"null"] {
        assert_eq!(check(bad, &signature), Err(Refusal::Signature));
    }
    let payload = file("cosign.payload.json");
    assert!(check(&payload, &signature).is_ok());
    assert_eq!(
        Payload::verify(&payload, &signature, &[]),
        Err(Refusal::Signature)
    );
    assert_eq!(check(&payload, ""), Err(Refusal::Signature));
    for bad in [
        signature.trim_end_matches('=').to_owned(),
        format!("{signature}\n"),
        format!(" {signature}"),
        "not base64".to_owned(),
    ] {
        let said = check(&payload, &bad).unwrap_err().to_string();
        assert!(said.contains("not base64"), "{bad}: {said}");
    }
    let long = "A".repeat(8 * 1024);
    assert!(
        check(&payload, &long)
            .unwrap_err()
            .to_string()
            .contains("more than")
    );
    let large = vec![b' '; usize::try_from(PAYLOAD_BYTES_MAX).unwrap() + 1];
    assert!(
        check(&large, &signature)
            .unwrap_err()
            .to_string()
            .contains("more than")
    );
}

/// A change of a good payload, and what containers/image says of it.
const BENT: &[(&str, &str, &str)] = &[
    (
        r#""optional":null"#,
        r#""optional":null,"x":1"#,
        r#"Unknown key "x""#,
    ),
    (
        r#""critical":{"#,
        r#""critical":{"x":1,"#,
        r#"Unknown key "x""#,
    ),
    (r#""image":{"#, r#""image":{"x":1,"#, r#"Unknown key "x""#),
    (
        r#""identity":{"#,
        r#""identity":{"x":1,"#,
        r#"Unknown key "x""#,
    ),
    (
        r#","optional":null"#,
        "",
        r#"Key "optional" missing in a JSON object"#,
    ),
    (
        r#","type":"cosign container image signature""#,
        "",
        r#"Key "type" missing in a JSON object"#,
    ),
    (
        r#""docker-reference":"reg.example/a:v1""#,
        "",
        r#"Key "docker-reference" missing in a JSON object"#,
    ),
    (
        r#""optional":null"#,
        r#""optional":{"timestamp":1.5}"#,
        "Field optional.timestamp is not an integer",
    ),
    (
        r#""optional":null"#,
        r#""optional":{"timestamp":"1"}"#,
        "Field optional.timestamp is not an integer",
    ),
    (
        r#""optional":null"#,
        r#""optional":{"timestamp":1e300}"#,
        "Field optional.timestamp is not an integer",
    ),
    (
        r#""optional":null"#,
        r#""optional":{"timestamp":1e999}"#,
        "Field optional.timestamp is not an integer",
    ),
    (
        r#""optional":null"#,
        r#""optional":{"creator":1}"#,
        "Field optional.creator is not a string",
    ),
    (
        r#""optional":null"#,
        r#""optional":{"a":"1","a":"2"}"#,
        r#"Duplicate key "a""#,
    ),
    (
        r#""optional":null"#,
        r#""optional":[]"#,
        "expected a JSON object",
    ),
    (
        r#""optional":null"#,
        r#""optional":"""#,
        "expected a JSON object",
    ),
    (
        r#""optional":null"#,
        r#""optional":null,"optional":null"#,
        r#"Duplicate key "optional""#,
    ),
    (
        r#""optional":null"#,
        r#""optional":null,"optio\u006eal":null"#,
        r#"Duplicate key "optional""#,
    ),
    (
        r#"{"identity""#,
        r#"{"type":"x","identity""#,
        r#"Duplicate key "type""#,
    ),
    (
        r#""docker-manifest-digest""#,
        r#""docker-manifest-digest":"x","docker-manifest-digest""#,
        r#"Duplicate key "docker-manifest-digest""#,
    ),
    (
        r#""docker-reference""#,
        r#""docker-reference":"x","docker-reference""#,
        r#"Duplicate key "docker-reference""#,
    ),
    (
        "cosign container",
        "Cosign container",
        "Unrecognized signature type Cosign container image signature",
    ),
    (
        r#""cosign container image signature""#,
        "null",
        "Unrecognized signature type ",
    ),
    (
        r#""cosign container image signature""#,
        "1",
        "expected a string",
    ),
    (
        r#"{"docker-reference":"reg.example/a:v1"}"#,
        "null",
        "expected a JSON object",
    ),
    (r#""reg.example/a:v1""#, "{}", "expected a string"),
    (
        r#""critical""#,
        r#""Critical""#,
        r#"Unknown key "Critical""#,
    ),
    (
        r#""optional""#,
        r#""Optional""#,
        r#"Unknown key "Optional""#,
    ),
    (r#""type""#, r#""TYPE""#, r#"Unknown key "TYPE""#),
    ("sha256:29", "sha256:2X", "invalid docker-manifest-digest"),
    ("sha256:", "md5:", "invalid docker-manifest-digest"),
    ("sha256:", "SHA256:", "invalid docker-manifest-digest"),
];

#[test]
fn the_strictness_is_that_of_containers_image() {
    let signer = Signer::new();
    assert!(signer.read(GOOD).is_ok());
    for (from, to, reason) in BENT {
        let bad = GOOD.replacen(from, to, 1);
        assert_ne!(bad, GOOD, "{from}");
        let said = signer.reason(&bad);
        assert!(said.contains(reason), "{bad}\nsaid: {said}\nwant: {reason}");
    }
    for after in ["x", "{}", "\0", ","] {
        let said = signer.reason(&format!("{GOOD}{after}"));
        assert_eq!(said, "Unexpected data after JSON object", "{after:?}");
    }
    for none in [
        "",
        "[]",
        "null",
        "\"x\"",
        "1",
        "{",
        GOOD.trim_end_matches('}'),
    ] {
        signer.reason(none);
    }
}

#[test]
fn what_containers_image_forgives_is_forgiven() {
    let signer = Signer::new();
    for (from, to) in [
        (r#""optional":null"#, r#""optional":{}"#),
        (
            r#""optional":null"#,
            r#""optional":{"timestamp":1e3,"creator":"x"}"#,
        ),
        (
            r#""optional":null"#,
            r#""optional":{"timestamp":null,"creator":null}"#,
        ),
        (
            r#""optional":null"#,
            r#""optional":{"Timestamp":"x","a":{"b":[1,2]}}"#,
        ),
        (r#"{"critical""#, "\n {\t\"critical\""),
        (r#""optional":null}"#, "\"optional\": null } \n"),
        (r#""reg.example/a:v1""#, r#""""#),
        (r#""reg.example/a:v1""#, "null"),
    ] {
        let other = GOOD.replacen(from, to, 1);
        assert_ne!(other, GOOD, "{from}");
        let read = signer.read(&other);
        assert!(read.is_ok(), "{other}: {read:?}");
    }
    let odd = GOOD.replace("null", r#"{"a":{"b":[1, 2]},"c":true,"d":"e"}"#);
    assert_eq!(
        signer.read(&odd).unwrap().optional,
        annotations(&[("a", r#"{"b":[1, 2]}"#), ("c", "true"), ("d", "e")])
    );
}

/// It is read, and can then equal no digest of SHA-256.
#[test]
fn a_digest_of_sha512_is_read_for_the_caller_to_compare() {
    let long = format!("sha512:{}", "ab".repeat(64));
    let read = Signer::new().read(&GOOD.replace(DIGEST, &long)).unwrap();
    assert_eq!(read.digest.to_string(), long);
    assert_ne!(read.digest, DIGEST.parse().unwrap());
}

/// An annotation of this name is a string where an integer has to be.
#[test]
fn an_annotation_named_timestamp_makes_a_payload_that_is_refused() {
    let digest = DIGEST.parse().unwrap();
    let written = Payload::write("a:b", &digest, &annotations(&[("timestamp", "1")]));
    let said = Signer::new().reason(std::str::from_utf8(&written).unwrap());
    assert_eq!(said, "Field optional.timestamp is not an integer");
}

#[test]
fn every_kind_of_key_signs_payloads() {
    let digest = DIGEST.parse().unwrap();
    for name in NAMES {
        let signer = Signer(private(name));
        let written = Payload::write("a:b", &digest, &BTreeMap::new());
        let read = signer.read(std::str::from_utf8(&written).unwrap()).unwrap();
        assert_eq!((read.reference.as_str(), read.digest), ("a:b", digest));
    }
}

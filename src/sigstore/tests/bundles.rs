//! Bundles: what cosign 3 made, what is written, and what is refused by name.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits::signature::BUNDLE_BYTES_MAX;

use super::super::{
    Bundle, COSIGN_SIGN_PREDICATE, KeyError, PrivateKey, Refusal, Statement, StatementSubject,
};
use super::{DIGEST, NAMES, file, private, public, text};

fn subject(name: Option<&str>) -> StatementSubject {
    StatementSubject {
        name: name.map(str::to_owned),
        digest: Some(DIGEST.parse().unwrap()),
        annotations: BTreeMap::from([("foo".to_owned(), "bar".to_owned())]),
    }
}

fn signed(key: &PrivateKey, payload_type: &str, payload: &str) -> String {
    let (kind, body) = (payload_type.len(), payload.len());
    let encoded = format!("DSSEv1 {kind} {payload_type} {body} {payload}");
    let sig = STANDARD.encode(key.sign(encoded.as_bytes()).unwrap());
    let payload = STANDARD.encode(payload);
    format!(
        r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{{"publicKey":{{"hint":"x"}}}},"dsseEnvelope":{{"payload":"{payload}","payloadType":"{payload_type}","signatures":[{{"sig":"{sig}"}}]}}}}"#
    )
}

const IN_TOTO: &str = "application/vnd.in-toto+json";

fn read(key: &PrivateKey, statement: &str) -> Result<Statement, Refusal> {
    let bundle = Bundle::parse(signed(key, IN_TOTO, statement).as_bytes())?;
    let (statement, _) = bundle.verify(&[key.public().clone()])?;
    Ok(statement)
}

#[test]
fn what_cosign_3_signed_is_accepted() {
    for name in NAMES {
        let bundle = Bundle::parse(&file(&format!("{name}.cosign3.bundle.json"))).unwrap();
        assert!(!bundle.has_certificate());
        assert_eq!(bundle.claimed_predicate(), Some(COSIGN_SIGN_PREDICATE));
        let other = if name == "p256" { "p384" } else { "p256" };
        let (statement, position) = bundle
            .verify(&[public(other), public(name)])
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(position, 1);
        assert_eq!(statement.predicate_type, COSIGN_SIGN_PREDICATE);
        assert_eq!(statement.subjects, [subject(None)]);
        assert_eq!(bundle.verify(&[public(other)]), Err(Refusal::Signature));
        assert_eq!(bundle.verify(&[]), Err(Refusal::Signature));
    }
}

/// But for the signature, and without a name, it is theirs to the byte.
#[test]
fn it_is_written_as_cosign_3_writes_it() {
    for name in NAMES {
        let key = private(name);
        let ours = String::from_utf8(Bundle::sign(&key, &subject(None)).unwrap()).unwrap();
        let theirs = text(&format!("{name}.cosign3.bundle.json"));
        let unsigned = |text: &str| text.split(r#"{"sig":""#).next().unwrap().to_owned();
        assert_eq!(unsigned(&ours), unsigned(&theirs), "{name}");
        assert!(ours.contains(&key.public().id()), "the hint is the key's");
        let bundle = Bundle::parse(ours.as_bytes()).unwrap();
        let (statement, _) = bundle.verify(&[key.public().clone()]).unwrap();
        assert_eq!(statement.subjects, [subject(None)], "{name}");
    }
}

#[test]
fn a_subject_keeps_its_name() {
    let key = private("p256");
    let named = subject(Some("reg.example/a:v1"));
    let bundle = Bundle::parse(&Bundle::sign(&key, &named).unwrap()).unwrap();
    let (statement, _) = bundle.verify(&[key.public().clone()]).unwrap();
    assert_eq!(statement.subjects.as_slice(), std::slice::from_ref(&named));
    let bare = StatementSubject {
        annotations: BTreeMap::new(),
        ..named
    };
    let bytes = Bundle::sign(&key, &bare).unwrap();
    let (statement, _) = Bundle::parse(&bytes)
        .unwrap()
        .verify(&[key.public().clone()])
        .unwrap();
    assert_eq!(statement.subjects, [bare]);
}

#[test]
fn a_subject_needs_a_digest_of_sha256() {
    let key = private("p256");
    let long = format!("sha512:{}", "ab".repeat(64));
    for digest in [None, Some(long.parse().unwrap())] {
        let none = StatementSubject {
            digest,
            ..subject(None)
        };
        let refused = Bundle::sign(&key, &none);
        assert!(matches!(refused, Err(KeyError::Form(_))), "{refused:?}");
    }
}

#[test]
fn media_types_are_told_apart() {
    for good in [
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle+json;version=0.2",
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
    ] {
        assert!(Bundle::is_media_type(good));
        let v03 = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let other = text("p256.cosign3.bundle.json").replace(v03, good);
        let bundle = Bundle::parse(other.as_bytes()).unwrap();
        assert!(bundle.verify(&[public("p256")]).is_ok(), "{good}");
    }
    for bad in [
        "",
        "application/json",
        "application/vnd.dev.sigstore.bundle.v0.4+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.4",
    ] {
        assert!(!Bundle::is_media_type(bad), "{bad}");
    }
    // A layer's type has lost its parameter; the bundle itself must say its version.
    let versioned = "application/vnd.dev.sigstore.bundle+json;version=0.2";
    let layer = crate::oci::MediaType::parse(versioned);
    assert!(Bundle::is_media_type(layer.as_str()));
    let v03 = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let other = text("p256.cosign3.bundle.json").replace(v03, layer.as_str());
    assert!(Bundle::parse(other.as_bytes()).is_err());
}

/// A change of a good bundle, and what is said of it.
const BENT: &[(&str, &str, &str)] = &[
    (
        "bundle.v0.3+json",
        "bundle.v0.4+json",
        "no bundle that is known",
    ),
    (
        r#"{"mediaType""#,
        r#"{"mediaType":"x","mediaType""#,
        "duplicate field",
    ),
    (
        r#""dsseEnvelope":{"#,
        r#""dsseEnvelope":{"payload":"","#,
        "duplicate field",
    ),
    (
        r#""dsseEnvelope""#,
        r#""dsseEnvelope":null,"dsseEnvelope""#,
        "duplicate field",
    ),
    (
        r#""signatures":[{"#,
        r#""signatures":[{"sig":"","#,
        "duplicate field",
    ),
    (
        r#"{"publicKey""#,
        r#"{"publicKey":{},"publicKey""#,
        "duplicate field",
    ),
    (
        r#"{"publicKey""#,
        r#"{"certificate":{},"publicKey""#,
        "not exactly one of a public key",
    ),
    (
        r#""publicKey""#,
        r#""other""#,
        "not exactly one of a public key",
    ),
    (
        r#""dsseEnvelope""#,
        r#""other""#,
        "not exactly one of an envelope",
    ),
    (
        r#""dsseEnvelope""#,
        r#""messageSignature":{},"dsseEnvelope""#,
        "not exactly one of an envelope",
    ),
    (
        r#""signatures":[{"#,
        r#""signatures":[{"sig":""},{"#,
        "2 signatures, not one",
    ),
    (
        r#""payload":""#,
        r#""payload":"*"#,
        "payload of the envelope is not base64",
    ),
    (
        r#""sig":""#,
        r#""sig":"*"#,
        "signature of the envelope is not base64",
    ),
    (r#""verificationMaterial""#, r#""other""#, "missing field"),
    ("}]}}", "}]}}}", "trailing characters"),
];

#[test]
fn what_is_no_bundle_is_refused() {
    let good = text("p256.cosign3.bundle.json");
    assert!(Bundle::parse(good.as_bytes()).is_ok());
    for (from, to, reason) in BENT {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let error = Bundle::parse(bad.as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains(reason),
            "{bad}\nsaid: {error}\nwant: {reason}"
        );
    }
    let none = good.split(r#""signatures":"#).next().unwrap();
    let error = Bundle::parse(format!(r#"{none}"signatures":[]}}}}"#).as_bytes());
    assert!(error.unwrap_err().to_string().contains("0 signatures"));
    let large = vec![b' '; usize::try_from(BUNDLE_BYTES_MAX).unwrap() + 1];
    assert!(
        Bundle::parse(&large)
            .unwrap_err()
            .to_string()
            .contains("4 MiB")
    );
    let deep = format!(r#"{{"mediaType":{}"#, "[".repeat(100_000));
    assert!(Bundle::parse(deep.as_bytes()).is_err());
    let deep = good.replacen('{', &format!(r#"{{"x":{},"#, "[".repeat(100_000)), 1);
    assert!(Bundle::parse(deep.as_bytes()).is_err());
}

#[test]
fn certificates_and_message_signatures_are_refused_by_name() {
    let good = text("p256.cosign3.bundle.json");
    let keys = [public("p256")];
    for field in ["certificate", "x509CertificateChain"] {
        let other = good.replace("publicKey", field);
        let bundle = Bundle::parse(other.as_bytes()).unwrap();
        assert!(bundle.has_certificate());
        assert_eq!(bundle.claimed_predicate(), Some(COSIGN_SIGN_PREDICATE));
        let error = bundle.verify(&keys).unwrap_err().to_string();
        assert!(error.contains("carries a certificate"), "{error}");
    }
    let other = good.replace("dsseEnvelope", "messageSignature");
    let bundle = Bundle::parse(other.as_bytes()).unwrap();
    assert_eq!(bundle.claimed_predicate(), None);
    let error = bundle.verify(&keys).unwrap_err().to_string();
    assert!(error.contains("message signature"), "{error}");
}

#[test]
fn a_payload_of_another_type_is_refused_by_name() {
    let key = private("p256");
    let text = signed(&key, "application/vnd.other+json", "{}");
    let bundle = Bundle::parse(text.as_bytes()).unwrap();
    assert_eq!(bundle.claimed_predicate(), None);
    let error = bundle.verify(&[key.public().clone()]).unwrap_err();
    assert!(error.to_string().contains("`application/vnd.other+json`"));
    // The type is signed too.
    let other =
        signed(&key, "application/vnd.other+json", "{}").replace("vnd.other", "vnd.in-toto");
    let bundle = Bundle::parse(other.as_bytes()).unwrap();
    let error = bundle.verify(&[key.public().clone()]);
    assert_eq!(error, Err(Refusal::Signature));
}

#[test]
fn the_signature_is_checked_before_the_statement_is_read() {
    let key = private("p256");
    let other = PrivateKey::generate().unwrap();
    let bundle = Bundle::parse(signed(&other, IN_TOTO, "nothing").as_bytes()).unwrap();
    assert_eq!(
        bundle.verify(&[key.public().clone()]),
        Err(Refusal::Signature)
    );
    assert!(matches!(
        bundle.verify(&[other.public().clone()]),
        Err(Refusal::Form(_))
    ));
}

#[test]
fn statements_are_read_strictly_where_it_matters() {
    let key = private("p256");
    let hex = DIGEST.strip_prefix("sha256:").unwrap();
    let good = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{hex}"}},"annotations":{{"foo":"bar"}}}}],"predicateType":"p","predicate":{{"a":1,"a":2}}}}"#
    );
    let statement = read(&key, &good).unwrap();
    assert_eq!(statement.predicate_type, "p");
    assert_eq!(statement.subjects, [subject(None)]);
    let old = good.replace("Statement/v1", "Statement/v0.1");
    assert_eq!(read(&key, &old).unwrap(), statement);
    for (from, to) in [
        ("Statement/v1", "Statement/v2"),
        (r#""_type""#, r#""type""#),
        (
            r#""predicateType":"p""#,
            r#""predicateType":"q","predicateType":"p""#,
        ),
        (r#""subject":["#, r#""subject":[],"subject":["#),
        (r#"{"sha256""#, r#"{"sha256":"00","sha256""#),
        (r#"{"foo""#, r#"{"foo":"other","foo""#),
        (r#"[{"digest""#, r#"[{"digest":{},"digest""#),
        (r#""predicateType":"p","#, ""),
        (hex, "00"),
        ("29e0", "29E0"),
        (r#""predicate":{"#, r#""predicate":{{"#),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let refused = read(&key, &bad);
        assert!(
            matches!(refused, Err(Refusal::Form(_))),
            "{bad}: {refused:?}"
        );
    }
    let none = good.replacen(
        &format!(r#"{{"digest":{{"sha256":"{hex}"}},"annotations":{{"foo":"bar"}}}}"#),
        "",
        1,
    );
    assert!(
        read(&key, &none)
            .unwrap_err()
            .to_string()
            .contains("no subject")
    );
    let other = good.replacen("sha256", "sha1", 1);
    assert_eq!(read(&key, &other).unwrap().subjects[0].digest, None);
    let named = good.replacen("[{", r#"[{"name":"","#, 1);
    assert_eq!(read(&key, &named).unwrap().subjects[0].name, None);
}

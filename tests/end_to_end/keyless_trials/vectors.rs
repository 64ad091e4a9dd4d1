//! Bundles that the Sigstore project keeps to test its own verifier: from its services and from GitHub's, good
//! ones and broken ones. None is about an image, so none is accepted; but why it is rejected must fit what the
//! verifier says of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use consign::event::Format;
use consign::sigstore;
use consign::sigstore::{Certificates, Material, Relaxed, Signers, TrustRoot, Whom, Words};
use libtest_mimic::Trial;
use serde_json::Value;
use sigstore_trust_root::{
    SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_STAGING_TRUSTED_ROOT, TrustedRoot,
};
use sigstore_types::{Bundle, Sha256Hash};
use sigstore_verify::{VerificationPolicy, Verifier};
use tokio::process::Command;

use super::stage::{Stage, in_order};
use crate::harness::trial;
use crate::instance::Form;
use crate::verify_trials::{Layer, attach};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "keyless::bundles_of_the_sigstore_project_are_judged_as_its_own_verifier_does",
            verdicts,
        ),
        trial(
            "keyless::bundles_of_the_sigstore_project_are_signatures_of_no_image",
            images,
        ),
        trial(
            "keyless::a_signature_of_the_public_instance_is_read_from_annotations",
            annotations,
        ),
    ]
}

/// The folder of those bundles: in the sources of the verifier, of the version that is built in.
async fn folder() -> PathBuf {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--offline", "--locked", "--format-version=1"]);
    let output = cargo.args(["--manifest-path", manifest]).output().await;
    let output = output.expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let mut packages = packages.iter();
    let package = packages.find(|package| package["name"] == "sigstore-verify");
    let manifest = package.expect("it is built in")["manifest_path"].as_str();
    let manifest = Path::new(manifest.expect("a path"));
    manifest.with_file_name("test_data")
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What the verifier says of a bundle, whoever signed; of one that is not about a statement with a digest, what
/// keeps it from being about an image.
fn verdict(root: &TrustedRoot, text: &str) -> Result<(), String> {
    let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let payload = document["dsseEnvelope"]["payload"].as_str();
    let payload = STANDARD.decode(payload.ok_or("no envelope")?);
    let statement: Value = serde_json::from_slice(&payload.map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())?;
    let digest = statement["subject"][0]["digest"]["sha256"].as_str();
    let digest = Sha256Hash::from_hex(digest.ok_or("no digest")?);
    let digest = digest.map_err(|error| error.to_string())?;
    let bundle = Bundle::from_json(text).map_err(|error| error.to_string())?;
    let verifier = Verifier::new(root).map_err(|error| error.to_string())?;
    let anybody = VerificationPolicy::any_identity();
    let judged = verifier.verify(digest, &bundle, &anybody);
    judged.map(drop).map_err(|error| error.to_string())
}

/// Whoever has a certificate of this root.
fn anybody(root: &str) -> Signers {
    let words = |pattern: &str| Words::regexp(pattern).expect("a pattern");
    Signers::Certificates(Certificates {
        root: Arc::new(TrustRoot::parse(root.as_bytes()).expect("a root")),
        whom: Whom::Fitting {
            identity: words("."),
            issuer: words("."),
            claims: Vec::new(),
        },
        relaxed: Relaxed::default(),
    })
}

/// What is said here of the same bundle.
fn ours(root: &str, text: &str) -> Result<(), String> {
    let bundle = sigstore::Bundle::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    let judged = anybody(root).statement(&bundle);
    judged.map(drop).map_err(|error| error.to_string())
}

/// The roots and the bundles in that folder.
async fn material() -> (Vec<String>, Vec<(PathBuf, String)>) {
    let mut roots = vec![
        SIGSTORE_PRODUCTION_TRUSTED_ROOT.to_owned(),
        SIGSTORE_STAGING_TRUSTED_ROOT.to_owned(),
    ];
    let mut bundles = Vec::new();
    for file in files(&folder().await) {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let Ok(document) = serde_json::from_str::<Value>(&text) else {
            continue;
        };
        let authorities = document["certificateAuthorities"].as_array();
        if authorities.is_some_and(|authorities| !authorities.is_empty()) {
            roots.push(text);
        } else if document.get("verificationMaterial").is_some() {
            bundles.push((file, text));
        }
    }
    assert!(roots.len() > 3 && bundles.len() > 15, "{bundles:?}");
    (roots, bundles)
}

/// Bundle by bundle and root by root.
async fn verdicts() {
    let (roots, bundles) = material().await;
    let mut accepted = 0;
    for root in &roots {
        let parsed = TrustedRoot::from_json(root).expect("a root");
        for (file, text) in &bundles {
            let (theirs, ours) = (verdict(&parsed, text), ours(root, text));
            let row = format!("{}: {theirs:?}, here {ours:?}", file.display());
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{row}");
            accepted += usize::from(ours.is_ok());
        }
    }
    assert!(accepted >= 6, "{accepted}");
}

/// A file that cosign signed against the public instance, with what its bundle has in annotations. All is right
/// with the signature, and the file is no payload; of another file the signature is none.
async fn annotations() {
    let folder = folder().await.join("bundles");
    let read = |name: &str| fs::read(folder.join(name)).expect("it reads");
    let file = read("cosign-v3-blob.txt");
    let bundle = read("cosign-v3-blob.sigstore.json");
    let bundle: Value = serde_json::from_slice(&bundle).expect("it is JSON");
    let material = &bundle["verificationMaterial"];
    let entry = &material["tlogEntries"][0];
    let number =
        |value: &Value| -> i64 { value.as_str().expect("text").parse().expect("a number") };
    let log = STANDARD.decode(entry["logId"]["keyId"].as_str().expect("an id"));
    let log = log.expect("it is base64");
    let log: Vec<String> = log.iter().map(|byte| format!("{byte:02x}")).collect();
    let logged = serde_json::json!({
        "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
        "Payload": {
            "body": entry["canonicalizedBody"],
            "integratedTime": number(&entry["integratedTime"]),
            "logIndex": number(&entry["logIndex"]),
            "logID": log.concat(),
        },
    });
    let certificate = material["certificate"]["rawBytes"].as_str().expect("it");
    let pem = format!("-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n");
    let annotations = BTreeMap::from([
        ("dev.sigstore.cosign/certificate".to_owned(), pem),
        ("dev.sigstore.cosign/bundle".to_owned(), logged.to_string()),
    ]);
    let signature = bundle["messageSignature"]["signature"].as_str();
    let signature = signature.expect("a signature");
    let judge = |file: &[u8]| {
        let material = Material::of(&annotations);
        let judged =
            anybody(SIGSTORE_PRODUCTION_TRUSTED_ROOT).payload((file, signature), &material);
        judged.expect_err("it is no payload").to_string()
    };
    assert_eq!(judge(&file), "expected ident at line 1 column 2");
    let said = judge(&[&file, &b" "[..]].concat());
    assert!(said.contains("signature verification failed"), "{said}");
}

/// None of them is about an image, and that is what is said of it.
async fn images() {
    let stage = Stage::new().await;
    let (roots, bundles) = material().await;
    let mut images = Vec::new();
    for (number, (_, text)) in bundles.iter().enumerate() {
        let name = format!("bundle{number}");
        let (image, full) = stage.image(&name).await;
        let layer = Layer {
            media_type: Form::Bundle03.media_type(),
            bytes: Bytes::from(text.clone()),
            annotations: BTreeMap::new(),
            size: None,
            is_there: true,
        };
        attach(&stage.registry, &name, Format::Bundle, &image, &[layer]).await;
        images.push(full);
    }
    for root in roots {
        stage.place.write("root.json", &root);
        let known = "--trusted-root root.json --certificate-identity-regexp . \
                     --certificate-oidc-issuer-regexp . --signed-identity digestOnly";
        let results = stage.validate(known, &images).await.with(3).json_lines();
        assert_eq!(results.len(), bundles.len());
        for ((file, _), result) in bundles.iter().zip(in_order(results)) {
            let file = file.display();
            assert_eq!(result["outcome"], "rejected", "{file}: {result}");
            let reasons = result["validation"]["manifests"][0]["reasons"].to_string();
            let is_of_form = OF_FORM.iter().any(|words| reasons.contains(words));
            assert!(is_of_form, "{file}: {result}");
        }
    }
}

/// Why something is not about an image.
const OF_FORM: &[&str] = &[
    "which is no signature",
    "says nothing of an image",
    "is no bundle that is known",
    "the envelope has 2 signatures, not one",
    "the bundle carries no certificate",
];

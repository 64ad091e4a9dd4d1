//! What anybody who can write to a registry can make of a good signature without a key: each is rejected, and
//! the good one that it was made of is accepted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use consign::event::Format;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::stage::{Stage, in_order};
use crate::harness::trial;
use crate::instance::{Content, Form, Signer};
use crate::registry::{Image, Pushed};
use crate::verify_trials::{Layer, attach};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("keyless::no_bundle_is_accepted_that_was_changed", bundles),
        trial(
            "keyless::no_layer_is_accepted_whose_annotations_were_changed",
            layers,
        ),
        trial(
            "keyless::what_was_signed_of_another_image_or_purpose_is_rejected",
            others,
        ),
    ]
}

/// Changes a bundle as JSON.
type Change = fn(&mut Value);
/// Changes a bundle as text.
type Rewrite = fn(&str) -> String;

const MATERIAL: &str = "/verificationMaterial";
const ENTRY: &str = "/verificationMaterial/tlogEntries/0";
const PROOF: &str = "/verificationMaterial/tlogEntries/0/inclusionProof";

fn at<'a>(document: &'a mut Value, pointer: &str) -> &'a mut Value {
    document.pointer_mut(pointer).expect("it is there")
}

/// What is changed in a bundle, and what is said of it.
const CHANGES: &[(&str, Change)] = &[
    ("is no bundle that is known", |bundle| {
        bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.9+json");
    }),
    (
        "not exactly one of a public key and a certificate",
        |bundle| {
            at(bundle, MATERIAL)["publicKey"] = json!({ "hint": "" });
        },
    ),
    ("not exactly one of an envelope and a signature", |bundle| {
        bundle["messageSignature"] = json!({ "signature": "MAA=" });
    }),
    (
        "not exactly one of a public key and a certificate",
        |bundle| {
            let material = at(bundle, MATERIAL).as_object_mut().expect("an object");
            material.remove("certificate");
        },
    ),
    ("must use a single certificate, not a chain", |bundle| {
        let material = at(bundle, MATERIAL).as_object_mut().expect("an object");
        let leaf = material.remove("certificate");
        material.insert(
            "x509CertificateChain".into(),
            json!({ "certificates": [leaf] }),
        );
    }),
    ("the bundle carries no certificate", |bundle| {
        let material = at(bundle, MATERIAL).as_object_mut().expect("an object");
        material.remove("certificate");
        material.insert("x509CertificateChain".into(), json!({ "certificates": [] }));
    }),
    ("payload is `text/plain`", |bundle| {
        bundle["dsseEnvelope"]["payloadType"] = json!("text/plain");
    }),
    ("signature", |bundle| {
        let sig = &mut bundle["dsseEnvelope"]["signatures"][0]["sig"];
        *sig = json!("MEUCIQDPXkYvbYr/9ZRUfK6XbyTyiPO8ZTdwVxIyEkz3kSxEHwIgdGVzdA==");
    }),
    ("has 2 signatures", |bundle| {
        let signatures = &mut bundle["dsseEnvelope"]["signatures"];
        *signatures = json!([signatures[0], signatures[0]]);
    }),
    ("no verified timestamp", |bundle| {
        at(bundle, ENTRY)["integratedTime"] = json!("0");
    }),
    ("SET", |bundle| {
        at(bundle, ENTRY)["integratedTime"] = json!("1749945611");
    }),
    ("SET", |bundle| at(bundle, ENTRY)["logIndex"] = json!("7")),
    ("negative", |bundle| {
        at(bundle, ENTRY)["logIndex"] = json!("-1");
    }),
    ("a certificate has more than 32768 bytes", |bundle| {
        let leaf = at(bundle, MATERIAL)["certificate"].as_object_mut();
        let sets = leaf.expect("an object");
        sets["rawBytes"] = json!(STANDARD.encode(vec![0x31; 1 << 20]));
    }),
    ("a timestamp has a set of more than 32 elements", |bundle| {
        let set = [&[0x31, 0x81, 200][..], &[5, 0].repeat(100)].concat();
        at(bundle, MATERIAL)["timestampVerificationData"] =
            json!({ "rfc3161Timestamps": [{ "signedTimestamp": STANDARD.encode(set) }] });
    }),
    ("is incompatible with a DSSE envelope", |bundle| {
        at(bundle, ENTRY)["kindVersion"] = json!({ "kind": "hashedrekord", "version": "0.0.1" });
    }),
    ("unsupported Rekor entry", |bundle| {
        at(bundle, ENTRY)["kindVersion"]["version"] = json!("0.0.9");
    }),
    ("SET", |bundle| {
        at(bundle, ENTRY)["canonicalizedBody"] = json!("e30=");
    }),
    ("root hash mismatch", |bundle| {
        at(bundle, PROOF)["logIndex"] = json!("2");
    }),
    ("out of range for tree size 0", |bundle| {
        at(bundle, PROOF)["treeSize"] = json!("0");
    }),
    ("expected 54 proof hashes, got 3", |bundle| {
        at(bundle, PROOF)["treeSize"] = json!("9007199254740993");
    }),
    ("expected 3 proof hashes, got 0", |bundle| {
        at(bundle, PROOF)["hashes"] = json!([]);
    }),
    ("expected 3 proof hashes, got 20000", |bundle| {
        let hashes = &mut at(bundle, PROOF)["hashes"];
        *hashes = json!(vec![hashes[0].clone(); 20_000]);
    }),
    ("Invalid checkpoint format", |bundle| {
        let checkpoint = &mut at(bundle, PROOF)["checkpoint"]["envelope"];
        *checkpoint =
            json!(format!("{}x", checkpoint.as_str().expect("text")).replace('\n', "\n\n"));
    }),
    ("inclusion proof has no checkpoint", |bundle| {
        let checkpoint = at(bundle, PROOF)["checkpoint"].as_object_mut();
        checkpoint.expect("an object").remove("envelope");
    }),
    ("its checkpoint has 150001 signatures", |bundle| {
        let checkpoint = &mut at(bundle, PROOF)["checkpoint"]["envelope"];
        *checkpoint = json!(many(checkpoint.as_str().expect("text")));
    }),
    ("SHA-256 hash must be 32 bytes", |bundle| {
        at(bundle, ENTRY)["logId"]["keyId"] = json!("AAAA");
    }),
    ("no timestamp authorities configured", |bundle| {
        let material = at(bundle, MATERIAL);
        material["timestampVerificationData"] =
            json!({ "rfc3161Timestamps": [{ "signedTimestamp": "MAA=" }] });
    }),
];

/// A checkpoint with 150,000 signatures before its own that are as wrong as they can be: by their names, they are the
/// log's.
fn many(checkpoint: &str) -> String {
    let (body, line) = checkpoint.split_once("\n\n").expect("it has a body");
    let signature = line.trim_end().rsplit(' ').next().expect("a signature");
    let mut bytes = STANDARD.decode(signature).expect("it is base64");
    bytes.truncate(4);
    // An integer pair of DER: one and one.
    bytes.extend([0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01]);
    let wrong = format!("\u{2014} a {}\n", STANDARD.encode(bytes));
    format!("{body}\n\n{}{line}", wrong.repeat(150_000))
}

/// The same where JSON would not show it.
const REWRITES: &[(&str, Rewrite)] = &[
    ("duplicate field `dsseEnvelope`", |text| {
        text.replacen('{', r#"{"dsseEnvelope":{"payload":"e30=","payloadType":"x","signatures":[{"sig":"MAA="}]},"#, 1)
    }),
    ("duplicate field `verificationMaterial`", |text| {
        text.replacen(
            '{',
            r#"{"verificationMaterial":{"publicKey":{"hint":""}},"#,
            1,
        )
    }),
    ("duplicate field `certificate`", |text| {
        text.replacen(
            r#""certificate":"#,
            r#""certificate":{"rawBytes":"MAA="},"certificate":"#,
            1,
        )
    }),
    ("trailing characters", |text| format!("{text}{text}")),
    ("EOF while parsing", |text| {
        text.strip_suffix('}').expect("an object").to_owned()
    }),
    ("invalid type: sequence", |text| {
        format!("{}{text}", "[".repeat(100_000))
    }),
    ("recursion limit exceeded", |text| {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        text.replacen('{', &format!(r#"{{"unknown":{deep},"#), 1)
    }),
    ("malformed certificate", |text| {
        text.replacen(r#""rawBytes":""#, r#""rawBytes":"MAAA"#, 1)
    }),
];

/// Validates what was made of one good signature, each beside the same image under another name.
async fn judged(
    stage: &Stage,
    path: (Format, Form),
    good: &Layer,
    forged: Vec<(&str, Vec<Layer>)>,
) {
    let known = stage.known(Signer::Certificate, path.1);
    let known = known.replace("matchRepository", "digestOnly");
    let here = stage
        .beside("good", path.0, std::slice::from_ref(good))
        .await;
    stage.validate(&known, &[here]).await.with(0);
    let mut images = Vec::new();
    for (number, (_, layers)) in forged.iter().enumerate() {
        let name = format!("forged{number}");
        images.push(stage.beside(&name, path.0, layers).await);
    }
    let results = stage.validate(&known, &images).await.with(3).json_lines();
    assert_eq!(results.len(), forged.len());
    for ((number, (words, _)), result) in forged.iter().enumerate().zip(in_order(results)) {
        assert_eq!(result["outcome"], "rejected", "{number}: {result}");
        let reasons = result["validation"]["manifests"][0]["reasons"].to_string();
        assert!(
            reasons.contains(words),
            "{number} is not `{words}`: {reasons}"
        );
    }
}

impl Stage {
    /// The image that all forged signatures are of.
    async fn forged(&self, name: &str) -> Pushed {
        let image = Image::new(&["forged"]);
        image.push(&self.registry, name, Some("1")).await
    }

    /// The same with these signatures, and its full name.
    async fn beside(&self, name: &str, format: Format, layers: &[Layer]) -> String {
        let image = self.forged(name).await;
        attach(&self.registry, name, format, &image, layers).await;
        format!("{}/{name}:1", self.registry.host())
    }
}

/// The layer of a good signature of the image that all forged ones are of.
async fn good(stage: &Stage, form: Form) -> Layer {
    let image = stage.forged("template").await;
    let content = stage.content("template", form, image.digest);
    stage.recipe(Signer::Certificate).sign(content).layer(form)
}

async fn bundles() {
    let stage = Stage::new().await;
    let form = Form::Bundle03;
    let good = good(&stage, form).await;
    let text = String::from_utf8(good.bytes.to_vec()).expect("it is JSON");
    let with = |text: String| {
        vec![Layer {
            bytes: text.into(),
            ..good.clone()
        }]
    };
    let mut forged = Vec::new();
    for (words, change) in CHANGES {
        let mut bundle: Value = serde_json::from_str(&text).expect("it is JSON");
        change(&mut bundle);
        forged.push((*words, with(bundle.to_string())));
    }
    for (words, rewrite) in REWRITES {
        forged.push((*words, with(rewrite(&text))));
    }
    judged(&stage, (Format::Bundle, form), &good, forged).await;
}

/// What is made of an annotation, and what is said of it.
const ANNOTATIONS: &[(&str, &str, Rewrite)] = &[
    ("more than one", "certificate", |text| text.repeat(2)),
    ("carries no certificate", "certificate", |_| String::new()),
    ("a certificate cannot be read", "certificate", |_| {
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_owned()
    }),
    ("it has no certificate", "certificate", |text| {
        text.replace("CERTIFICATE", "PUBLIC KEY")
    }),
    ("more than 16 certificates", "chain", |text| text.repeat(9)),
    ("more than 262144 bytes", "chain", |text| text.repeat(500)),
    (NO_ENTRY, "bundle", |_| String::new()),
    (NO_ENTRY, "bundle", |_| "null".to_owned()),
    ("log entry cannot be read", "bundle", |_| "{".to_owned()),
    ("no timestamp authorities", "rfc3161timestamp", |_| {
        r#"{"SignedRFC3161Timestamp":"MAA="}"#.to_owned()
    }),
];

const NO_ENTRY: &str = "missing dev.sigstore.cosign/bundle annotation";

/// The same of a log's answer in its annotation.
const ANSWERS: &[(&str, Change)] = &[
    ("SET", |answer| answer["Payload"]["logIndex"] = json!(7)),
    ("negative log index", |answer| {
        answer["Payload"]["logIndex"] = json!(-7);
    }),
    ("SET", |answer| {
        answer["Payload"]["integratedTime"] = json!(1_749_945_611);
    }),
    ("no verified timestamp", |answer| {
        answer["Payload"]["integratedTime"] = json!(0);
    }),
    ("missing field `apiVersion`", |answer| {
        answer["Payload"]["body"] = json!("e30=");
    }),
    ("SHA-256 hash must be 32 bytes", |answer| {
        answer["Payload"]["logID"] = json!("00");
    }),
    ("SET", |answer| answer["SignedEntryTimestamp"] = json!("")),
];

async fn layers() {
    let stage = Stage::new().await;
    let good = good(&stage, Form::Simple).await;
    let name = |name: &str| format!("dev.sigstore.cosign/{name}");
    let mut other = good.clone();
    other.bytes = format!("{} ", String::from_utf8_lossy(&good.bytes)).into();
    let mut forged = vec![("signature verification failed", vec![other])];
    for (words, annotation, rewrite) in ANNOTATIONS {
        let mut layer = good.clone();
        let text = layer.annotations.entry(name(annotation)).or_default();
        *text = rewrite(text);
        forged.push((*words, vec![layer]));
    }
    for (words, change) in ANSWERS {
        let mut layer = good.clone();
        let text = layer.annotations.entry(name("bundle")).or_default();
        let mut answer: Value = serde_json::from_str(text).expect("it is JSON");
        change(&mut answer);
        *text = answer.to_string();
        forged.push((*words, vec![layer]));
    }
    judged(&stage, (Format::Tag, Form::Simple), &good, forged).await;
}

/// Good signatures that say something else.
async fn others() {
    let stage = Stage::new().await;
    let tag = (Format::Tag, Form::Simple);
    let bundle = (Format::Bundle, Form::Bundle03);
    let (another, _) = stage.image("another").await;
    let attest = "https://slsa.dev/provenance/v1";
    let words = [
        "does not match",
        "is not accepted",
        "does not match",
        attest,
        "a bundle of predicate ``",
        "expected ident",
        "expected ident",
    ];
    for signer in [Signer::Certificate, Signer::Key] {
        for (number, words) in words.iter().enumerate() {
            let name = format!("app{number}{signer:?}").to_lowercase();
            let (image, full) = stage.image(&name).await;
            let (path, content) = match number {
                0 => (tag, stage.content(&name, tag.1, another.digest)),
                1 => (tag, stage.content("another", tag.1, image.digest)),
                2 => (bundle, stage.content(&name, bundle.1, another.digest)),
                3 => (bundle, Content::statement(image.digest, attest, &[])),
                4 => (bundle, Content::statement(image.digest, "", &[])),
                5 => (tag, Content::Payload("nothing".to_owned())),
                _ => (bundle, Content::Statement("nothing".to_owned())),
            };
            let signed = stage.recipe(signer).sign(content);
            stage.attach(&name, path, &image, signed).await;
            let ended = stage.validate(&stage.known(signer, path.1), &[full]).await;
            ended.with(3).saying(&[words]);
        }
    }
}
